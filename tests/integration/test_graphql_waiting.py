"""Queries that wait for a block or a transaction, on a real Postgres that is written to meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from support import toy
from support.graphql import Server, answering, serving, toy_app

from clarion.follower import Follower
from clarion.store.store import Store
from clarion_graphql import waiting
from clarion_graphql.context import MAX_SHORT_READS

QUERY = "query($height: Int, $hash: Bytes) @minBlock(height: $height, hash: $hash) { toyAccounts { nodes { owner } } }"
AFTER = "query($tx: Bytes, $ms: Int! = 20000) @afterTx(txId: $tx, timeoutMs: $ms) { toyAccounts { nodes { owner } } }"


REFUSED = [
    ('@minBlock(height: 1, hash: "0x00")', "not both"),
    ("@minBlock(height: 1, timeoutMs: 30001)", "from 0 to 30000"),
    ('@afterTx(txId: "0x00", timeoutMs: -1)', "from 0 to 30000"),
    ('@afterTx(txId: "0x11")', "has 32 bytes, not 1"),
]


def ingest(store: Store, items: Any) -> None:
    with store.batch() as batch:
        Follower().ingest(batch, items)


def owners(answer: dict[str, Any]) -> list[str]:
    assert "errors" not in answer, answer["errors"]
    return [row["owner"] for row in answer["data"]["toyAccounts"]["nodes"]]


class TestMet:
    """What is there already is not waited for."""

    async def test_at_once(self, store: Store, server: Server) -> None:
        block = toy.block(None, [toy.move("a", 1)])
        ingest(store, [block])

        asked: list[tuple[str, dict[str, Any]]] = [
            (QUERY, {"height": 1}),
            (QUERY, {"height": 0}),
            (QUERY, {"hash": f"0x{block.hash.hex()}"}),
            (QUERY, {}),
            (AFTER, {"tx": f"0x{block.transactions[0].id.hex()}", "ms": 0}),
            (AFTER, {"tx": None, "ms": 0}),
        ]
        for document, variables in asked:
            answer = await server.query(document, variables)
            assert owners(answer) == ["a"]
            assert answer["extensions"]["receipt"]["height"] == 1


class TestWaiting:
    """A block that comes meanwhile lets the query go on, over a snapshot that has it."""

    @pytest.fixture
    async def ready(self, database_url: str, store: Store) -> Any:
        async with serving(toy_app(database_url)) as running:
            yield running

    async def test_for_a_height_a_block_and_a_transaction(self, store: Store, ready: Server) -> None:
        first = toy.block(None, [toy.move("a", 1)])
        second = toy.block(first, [toy.move("b", 1)])
        wanted: list[tuple[str, dict[str, Any]]] = [
            (QUERY, {"hash": f"0x{second.hash.hex()}"}),
            (AFTER, {"tx": f"0x{second.transactions[0].id.hex()}"}),
            *[(QUERY, {"height": 2})] * 20,
        ]
        asked = [asyncio.create_task(ready.query(document, variables)) for document, variables in wanted]
        await asyncio.to_thread(ingest, store, [first])
        assert owners(await ready.query(QUERY, {"height": 1})) == ["a"]
        assert not any(task.done() for task in asked)

        await asyncio.to_thread(ingest, store, [second])

        for answer in await asyncio.gather(*asked):
            assert owners(answer) == ["a", "b"]
            assert answer["extensions"]["receipt"]["height"] == 2

    async def test_a_block_that_lost_is_not_there(self, store: Store, ready: Server) -> None:
        first = toy.block(None, [toy.move("a", 1)])
        lost = toy.block(first, [toy.move("b", 1)], branch="lost")
        ingest(store, [first, lost])
        second = toy.block(first, [toy.move("c", 1)])
        ingest(store, [second, toy.block(second)])

        document = QUERY.replace("hash: $hash", "hash: $hash, timeoutMs: 0")
        error = await ready.error(document, {"hash": f"0x{lost.hash.hex()}"})
        missing = await ready.error(AFTER, {"tx": f"0x{lost.transactions[0].id.hex()}", "ms": 0})

        assert error["extensions"]["code"] == missing["extensions"]["code"] == "NOT_YET"
        assert (error["extensions"]["height"], error["extensions"]["chain"]) == (3, "stacks")


class TestNotYet:
    """An honest answer where it takes too long."""

    async def test_says_how_high_the_index_is(self, store: Store, server: Server) -> None:
        document = "query @minBlock(height: 7, timeoutMs: 30) { toyAccounts { nodes { owner } } }"
        empty = await server.error(document)
        ingest(store, [toy.block(None, [toy.move("a", 1)])])
        error = await server.error(document)

        assert empty["extensions"].items() >= {"code": "NOT_YET", "chain": "stacks", "height": None}.items()
        assert "is empty" in empty["message"]
        assert error["extensions"].items() >= {"code": "NOT_YET", "chain": "stacks", "height": 1}.items()
        assert "has not got block 7 after 30 ms: it is at height 1. Ask again." in error["message"]

    async def test_says_what_the_node_said_of_a_transaction(self, store: Store, server: Server) -> None:
        ingest(store, [toy.block(None, [toy.move("a", 1)])])
        store.connection.execute(
            "INSERT INTO clarion.mempool_transaction (tx_id, raw, dropped_reason) VALUES (%s, '', NULL), (%s, '', %s)",
            (b"\1" * 32, b"\2" * 32, "STALE_COLLECT"),
        )

        told = [(await server.error(AFTER, {"tx": "0x" + f"0{tx}" * 32, "ms": 0}))["message"] for tx in "123"]

        assert "the node holds it" in told[0]
        assert "it was dropped: STALE_COLLECT" in told[1]
        assert "height 1. Ask" in told[2]

    async def test_a_database_that_is_busy_holds_nobody_up(
        self, database_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ingest(store, [toy.block(None, [toy.move("a", 1)])])
        monkeypatch.setattr(waiting, "LOOK_S", 0.0)
        async with serving(toy_app(database_url)) as busy:
            reads, done = busy.app.state.service.short_reads, asyncio.Event()
            holding = [asyncio.create_task(reads.read(number, done.wait)) for number in range(MAX_SHORT_READS)]
            error = await busy.error("query @minBlock(height: 1, timeoutMs: 30) { toyAccounts { totalCount } }")
            done.set()
            await asyncio.gather(*holding)
            answer = await busy.query("query @minBlock(height: 1) { toyAccounts { totalCount } }")

        assert error["extensions"].items() >= {"code": "NOT_YET", "chain": "stacks", "height": None}.items()
        assert "after 30 ms: the database did not say in time. Ask again." in error["message"]
        assert answer["data"] == {"toyAccounts": {"totalCount": 1}}

    async def test_what_is_refused(self, server: Server) -> None:
        for directive, words in REFUSED:
            error = await server.error(f"query {directive} {{ toyAccounts {{ totalCount }} }}")
            assert error["extensions"]["code"] == "BAD_USER_INPUT"
            assert words in error["message"]

    async def test_with_as_of(self, store: Store, server: Server) -> None:
        first = toy.block(None, [toy.move("a", 1)])
        ingest(store, [first, toy.block(first, [toy.move("b", 1)])])

        answer = await server.query("query @minBlock(height: 2) @asOf(height: 1) { toyAccounts { nodes { owner } } }")

        assert owners(answer) == ["a"]

    async def test_a_database_that_does_not_answer(self, database_url: str) -> None:
        url = database_url.rsplit("/", 1)[0] + "/nowhere"
        async with answering(toy_app(url, connection_timeout_s=0.2)) as server:
            error = await server.error("query @minBlock(height: 1) { status { version } }")

        assert error["extensions"]["code"] == "UNAVAILABLE"
