"""Interfaces that came with no block are asked of the node."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import msgspec
import psycopg
import pytest
import stamina
from psycopg_pool import AsyncConnectionPool
from support import tokens, toy

from clarion.chains.model import Block, TransactionStatus
from clarion.chains.stacks.node_client import NodeClient, NodeError
from clarion.contract_interfaces import InterfaceFetcher
from clarion.follower import Follower
from clarion.store.database import make_pool
from clarion.store.store import Store

INTERFACE = {"functions": [{"name": "f", "access": "public", "args": [{"name": "n", "type": "uint128"}]}]}


class Node:
    """A node that knows some contracts and counts what it is asked."""

    def __init__(self, *contracts: str) -> None:
        self.contracts = set(contracts)
        self.asked: list[str] = []
        self.down = False

    def answer(self, request: httpx.Request) -> httpx.Response:
        if self.down:
            raise httpx.ConnectError("refused")
        *_, address, name = request.url.path.split("/")
        self.asked.append(f"{address}.{name}")
        if f"{address}.{name}" not in self.contracts:
            return httpx.Response(404, text="No contract interface data found")
        return httpx.Response(200, json=INTERFACE)

    def fetcher(self, url: str) -> InterfaceFetcher:
        return InterfaceFetcher(url, NodeClient("http://node", transport=httpx.MockTransport(self.answer)))


@pytest.fixture(autouse=True)
def without_pauses() -> Iterator[None]:
    with stamina.set_testing(True, attempts=2):
        yield


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[AsyncConnectionPool]:
    async with make_pool(database_url, max_size=1) as opened:
        yield opened


def ingest(connection: psycopg.Connection[Any], *blocks: Block) -> None:
    store = Store(connection, "stacks", [])
    store.open()
    with store.batch() as batch:
        Follower().ingest(batch, blocks)


def known(connection: psycopg.Connection[Any]) -> dict[str, Any]:
    return dict(connection.execute("SELECT contract, interface FROM clarion.contract_interface").fetchall())


async def test_what_was_deployed_or_is_called_is_asked_for(
    database_url: str, connection: psycopg.Connection[Any], pool: AsyncConnectionPool
) -> None:
    told = tokens.deployment(1, f"{toy.DEPLOYER}.told", interface={"functions": []})
    failed = msgspec.structs.replace(
        tokens.deployment(2, f"{toy.DEPLOYER}.failed"), status=TransactionStatus.ABORT_BY_RESPONSE
    )
    first = tokens.block(None, deploy=[told, failed, tokens.deployment(3, tokens.COIN)])
    ingest(connection, first)
    node = Node(tokens.COIN, toy.CONTRACT)
    fetcher = node.fetcher(database_url)

    assert await fetcher.fetch_missing(pool) == 2
    assert sorted(node.asked) == sorted([tokens.COIN, toy.CONTRACT])
    expected = {f"{toy.DEPLOYER}.told": {"functions": []}, tokens.COIN: INTERFACE, toy.CONTRACT: INTERFACE}
    assert known(connection) == expected

    later = f"{toy.DEPLOYER}.later"
    ingest(connection, tokens.block(first, deploy=[tokens.deployment(1, later)]))
    assert await fetcher.fetch_missing(pool) == 0
    # the node does not have it yet, so it is not asked again at once
    assert await fetcher.fetch_missing(pool) == 0
    assert node.asked.count(later) == 1
    node.contracts.add(later)
    assert await node.fetcher(database_url).fetch_missing(pool) == 1
    assert known(connection) == {**expected, later: INTERFACE}


async def test_a_node_that_is_down_is_no_answer(
    database_url: str, connection: psycopg.Connection[Any], pool: AsyncConnectionPool
) -> None:
    node = Node(tokens.COIN, toy.CONTRACT)
    fetcher = node.fetcher(database_url)
    assert await fetcher.fetch_missing(pool) == 0
    ingest(connection, tokens.block(None, deploy=[tokens.deployment(1)]))
    node.down = True
    with pytest.raises(NodeError):
        await fetcher.fetch_missing(pool)
    node.down = False
    assert await fetcher.fetch_missing(pool) == 2
