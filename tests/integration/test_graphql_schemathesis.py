"""Requests that Schemathesis makes up from the schema as the service publishes it, for every root field: no defects."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from graphql import StringValueNode, get_introspection_query
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis.graphql import nodes
from support.graphql import NO_CACHE, Server, answering

from clarion.dev.accounts import DEPLOYER
from clarion.protocol import installed_protocols
from clarion.protocols.bithedge import protocol as bithedge
from clarion_graphql.app import make_app
from clarion_graphql.errors import Code

DEFECTS = {Code.INTERNAL, Code.PARSE_FAILED}
"""What a request that fits the schema is never answered with."""
EXAMPLES = settings(
    max_examples=4,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


def text_node(text: str) -> StringValueNode:
    return nodes.String(text)


SCALARS = {
    "BigInt": st.integers(-(2**130), 2**130).map(lambda value: text_node(str(value))),
    "Bytes": st.binary(max_size=40).map(lambda value: text_node(f"0x{value.hex()}")),
    "DateTime": st.datetimes().map(lambda value: text_node(f"{value.isoformat()}Z")),
    "JSON": st.text().map(text_node),
}


class Asking:
    """A server over a recorded chain with every protocol's schema, asked from a test that is no coroutine."""

    def __init__(self, runner: asyncio.Runner, server: Server) -> None:
        self._runner = runner
        self._server = server

    def post(self, document: str) -> httpx.Response:
        return self._runner.run(self._server.client.post("/graphql", json={"query": document}))


@pytest.fixture
def asking(recorded_bithedge_url: str) -> Iterator[Asking]:
    app = make_app(
        recorded_bithedge_url,
        protocols=list(installed_protocols().values()),
        deployed={"bithedge": bithedge.deployed_by(DEPLOYER.address)},
        graphql=NO_CACHE,
    )
    with asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()
        server = runner.run(stack.enter_async_context(answering(app)))
        yield Asking(runner, server)
        runner.run(stack.aclose())


def ask_for(operation: Any, asking: Asking, outcomes: Counter[str]) -> None:
    """Make up some requests for a root field, and count what they are answered with."""

    @seed(int.from_bytes(hashlib.sha256(operation.label.encode()).digest()[:4]))
    @EXAMPLES
    @given(operation.as_strategy())
    def ask(case: Any) -> None:
        response = asking.post(case.body)
        assert response.status_code == 200, (case.body, response.text)
        answer = response.json()
        codes = {error["extensions"]["code"] for error in answer.get("errors", [])}
        assert codes.isdisjoint(DEFECTS), (case.body, answer["errors"])
        assert codes or answer["data"], case.body
        outcomes.update(codes or {"data"})

    ask()


@pytest.mark.parametrize("every", [29, pytest.param(1, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
def test_every_root_field_of_the_published_schema(asking: Asking, every: int) -> None:
    for name, values in SCALARS.items():
        schemathesis.graphql.scalar(name, values)
    published = schemathesis.graphql.from_dict(asking.post(get_introspection_query()).json()["data"])
    operations = [found.ok() for found in published.get_all_operations()]
    roots = {operation.label.partition(".")[0] for operation in operations}
    assert roots == {"Query", "Mutation"}
    outcomes: Counter[str] = Counter()
    for operation in operations[::every]:
        ask_for(operation, asking, outcomes)

    assert outcomes["data"] > len(operations) // every // 4, outcomes
    assert outcomes[Code.BAD_USER_INPUT] > 0, outcomes
