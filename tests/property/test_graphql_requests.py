"""Any document that fits the schema, and any bytes: every request has an answer, and none finds a defect."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator

import httpx
import pytest
from graphql import StringValueNode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis_graphql import nodes, queries
from support import toy
from support.graphql import Server, answering, toy_app, toy_store

from clarion.chains.model import Block
from clarion_graphql.schema import build_schema, sdl

EXAMPLES = settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)


def text_node(text: str) -> StringValueNode:
    return nodes.String(text)


SCALARS = {
    "BigInt": st.integers(-(2**130), 2**130).map(lambda value: text_node(str(value))),
    "Bytes": st.binary(max_size=40).map(lambda value: text_node(f"0x{value.hex()}")),
    "DateTime": st.datetimes().map(lambda value: text_node(f"{value.isoformat()}Z")),
    "JSON": st.text().map(text_node),
}
REQUESTS = st.fixed_dictionaries(
    {"query": st.sampled_from(["{ __typename }", "query A { blocks { totalCount } }", "{ a", "mutation { x }"])},
    optional={
        "variables": st.dictionaries(st.text(), st.none() | st.integers() | st.text() | st.booleans()) | st.text(),
        "operationName": st.none() | st.text() | st.just("A"),
        "extensions": st.none() | st.dictionaries(st.text(), st.text()) | st.integers(),
    },
).map(lambda request: json.dumps(request).encode())


class Asking:
    """A server, asked from a test that is no coroutine, as Hypothesis wants it."""

    def __init__(self, runner: asyncio.Runner, server: Server) -> None:
        self._runner = runner
        self._server = server

    def post(self, content: bytes) -> httpx.Response:
        headers = {"content-type": "application/json"}
        return self._runner.run(self._server.client.post("/graphql", content=content, headers=headers))


@pytest.fixture
def asking(database_url: str) -> Iterator[Asking]:
    with toy_store(database_url) as store, asyncio.Runner() as runner:
        block: Block | None = None
        with store.batch() as batch:
            for height in range(1, 6):
                block = toy.block(block, [toy.move("a", height), toy.move("b", height)])
                batch.append(block)
                batch.apply(block)
        stack = contextlib.AsyncExitStack()
        server = runner.run(stack.enter_async_context(answering(toy_app(database_url))))
        yield Asking(runner, server)
        runner.run(stack.aclose())


def check(response: httpx.Response) -> None:
    answer = response.json()
    errors = answer.get("errors", [])
    assert "data" in answer or errors
    assert all(error["message"] and error["extensions"]["code"] != "INTERNAL_SERVER_ERROR" for error in errors), errors


def test_documents_that_fit_the_schema(asking: Asking) -> None:
    executed = []

    @EXAMPLES
    @given(queries(sdl(build_schema([toy.toy])), custom_scalars=SCALARS))
    def ask(document: str) -> None:
        response = asking.post(json.dumps({"query": document}).encode())
        assert response.status_code == 200
        check(response)
        executed.append("data" in response.json())

    ask()
    assert any(executed)


def test_requests_of_any_shape(asking: Asking) -> None:
    @EXAMPLES
    @given(REQUESTS, st.none() | st.tuples(st.integers(0, 300), st.binary(max_size=8)))
    def ask(content: bytes, spoilt: tuple[int, bytes] | None) -> None:
        if spoilt is not None:
            place, put = spoilt
            content = content[:place] + put + content[place + len(put) :]
        response = asking.post(content)
        assert response.status_code in (200, 400)
        check(response)

    ask()
