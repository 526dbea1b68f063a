"""The README's documents give data: queries on the recorded chain, the subscription from its beginning."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from support.graphql import answering, serving

from clarion.dev.accounts import DEPLOYER
from clarion.dev.record import FIXTURES
from clarion.protocols.bithedge import protocol
from clarion_graphql.app import make_app

DOCUMENTS = re.findall(r"```graphql\n(.*?)```", (FIXTURES.parent / "README.md").read_text(), re.DOTALL)


@pytest.fixture
def app(recorded_bithedge_url: str) -> Starlette:
    deployed = {"bithedge": protocol.deployed_by(DEPLOYER.address)}
    return make_app(recorded_bithedge_url, protocols=[protocol], deployed=deployed)


def empty_lists(value: Any, path: str = "") -> Iterator[str]:
    """Where an answer has a list without entries."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from empty_lists(inner, f"{path}.{name}")
    elif isinstance(value, list):
        if not value:
            yield path
        for inner in value:
            yield from empty_lists(inner, f"{path}[]")


async def test_queries_return_data(app: Starlette) -> None:
    # the recorded chain is Stacks', and no keeper runs: what is asked of zkUSD and of one is only held to the schema
    others = ("zkusd", "keeper")
    queries = [
        document
        for document in DOCUMENTS
        if document.startswith("query") and not any(word in document for word in others)
    ]
    async with answering(app) as server:
        for document in queries:
            assert list(empty_lists(await server.data(document))) == [], document
    assert len(queries) >= 4


async def test_the_subscription_delivers(app: Starlette) -> None:
    (document,) = (document for document in DOCUMENTS if document.startswith("subscription"))
    from_the_beginning = document.replace("policyChanged", 'policyChanged(since: "0")')
    async with serving(app) as server, server.subscribe(from_the_beginning) as messages:
        first = await messages.next()
        assert first["op"] == "INSERT"
        assert first["before"] is None
        assert first["after"]["state"] == "active"
