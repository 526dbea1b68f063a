"""What ``status`` and ``_meta`` say of an index that is well, behind, still, or has not understood something."""

from __future__ import annotations

from typing import Any

from support import toy
from support.graphql import Server

from clarion.follower import Follower
from clarion.store.store import Store

STATUS = (
    """{ status { problems chains { lagBlocks stalled silentSeconds sources { name kind state height detail } } } }"""
)
META = "{ _meta { block { number hash parentHash timestamp } deployment hasIndexingErrors } }"


def ingest(store: Store, items: Any) -> None:
    with store.batch() as batch:
        Follower().ingest(batch, items)


def heard(store: Store, name: str, height: int | None, state: str = "healthy", detail: str | None = None) -> None:
    store.connection.execute(
        "INSERT INTO clarion.source (chain, name, kind, height, state, detail) "
        "VALUES ('stacks', %s, 'node', %s, %s, %s)",
        (name, height, state, detail),
    )


class TestProblems:
    """Nothing is said of an index that is well, and everything of one that is not."""

    async def test_of_an_empty_index(self, server: Server) -> None:
        status = (await server.data(STATUS))["status"]

        assert status["problems"] == ["Nothing of stacks is indexed yet."]

    async def test_of_one_that_is_well(self, store: Store, server: Server) -> None:
        ingest(store, [toy.block(None, [toy.move("a", 1)])])
        heard(store, "node:a", 3)
        heard(store, "node:b", 900, "forked", "on another branch")

        status = (await server.data(STATUS))["status"]

        (chain,) = status["chains"]
        assert (status["problems"], chain["lagBlocks"], chain["stalled"]) == ([], 2, False)
        assert chain["silentSeconds"] >= 0
        assert chain["sources"] == [
            {"name": "node:a", "kind": "node", "state": "healthy", "height": 3, "detail": None},
            {"name": "node:b", "kind": "node", "state": "forked", "height": 900, "detail": "on another branch"},
        ]

    async def test_of_one_that_is_behind_and_then_stands_still(self, store: Store, server: Server) -> None:
        ingest(store, [toy.block(None, [toy.move("a", 1)])])
        heard(store, "node:a", 22)

        behind = (await server.data(STATUS))["status"]
        store.connection.execute("UPDATE clarion.cursor SET updated_at = now() - interval '1000 s'")
        still = (await server.data(STATUS))["status"]

        assert behind["problems"] == ["The index of stacks is 21 blocks behind."]
        assert still["chains"][0]["stalled"]
        (problem,) = still["problems"]
        assert problem.startswith("The index of stacks has stood still for 100")

    async def test_of_one_whose_sources_are_not_healthy(self, store: Store, server: Server) -> None:
        ingest(store, [toy.block(None, [toy.move("a", 1)])])
        heard(store, "node:a", 9, "rewrites_final", "block 3")

        status = (await server.data(STATUS))["status"]

        assert status["chains"][0]["lagBlocks"] is None
        assert status["problems"] == [
            "No source of stacks is healthy: nobody says how far the chain is.",
            "The source node:a would replace final blocks of stacks: block 3.",
        ]

    async def test_of_what_was_not_understood_and_not_applied(self, store: Store, server: Server) -> None:
        ingest(store, [toy.block(None, [{"topic": "account.renamed", "owner": "a"}])])
        store.connection.execute("INSERT INTO clarion.inbox (path, body, error) VALUES ('/x', '', 'broken')")
        store.connection.execute("UPDATE clarion.protocol SET stopped_sequence = 0")

        status = (await server.data(STATUS))["status"]

        assert status["problems"] == [
            "Events and transactions of stacks that were not understood: 1; see anomalies.",
            "Payloads of a node that could not be applied: 1.",
            "The rows of toy have not been made yet.",
        ]


class TestMeta:
    """The same in the words of The Graph."""

    async def test_of_the_tip_and_of_an_earlier_block(self, store: Store, server: Server) -> None:
        empty = (await server.data(META))["_meta"]
        first = toy.block(None, [toy.move("a", 1)])
        second = toy.block(first, [{"topic": "account.renamed", "owner": "a"}])
        ingest(store, [first, second])

        now = (await server.data(META))["_meta"]
        then = (await server.data(f"query @asOf(height: 1) {META}"))["_meta"]

        assert (empty["block"], empty["hasIndexingErrors"]) == (None, False)
        assert now["block"] == {
            "number": 2,
            "hash": f"0x{second.hash.hex()}",
            "parentHash": f"0x{first.hash.hex()}",
            "timestamp": 1_700_000_020,
        }
        assert now["hasIndexingErrors"]
        assert (then["block"]["number"], then["hasIndexingErrors"]) == (1, False)
        assert len({meta["deployment"] for meta in (empty, now, then)}) == 1

    async def test_names_what_rows_are_made_of(self, store: Store, server: Server) -> None:
        ingest(store, [toy.block(None, [toy.move("a", 1)])])
        before = (await server.data(META))["_meta"]["deployment"]

        store.connection.execute("UPDATE clarion.protocol SET fingerprint = 'of another package'")

        assert (await server.data(META))["_meta"]["deployment"] != before

    async def test_of_a_chain_that_is_not_indexed(self, server: Server) -> None:
        assert await server.data("{ _meta(chain: BITCOIN) { deployment } }") == {"_meta": None}

    async def test_rows_that_stand_still_are_errors(self, store: Store, server: Server) -> None:
        ingest(store, [toy.block(None, [toy.move("a", 1)])])
        assert not (await server.data(META))["_meta"]["hasIndexingErrors"]

        store.connection.execute("UPDATE clarion.protocol SET stopped_sequence = 1")

        assert (await server.data(META))["_meta"]["hasIndexingErrors"]
