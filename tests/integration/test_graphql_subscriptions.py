"""Subscriptions over WebSocket on a real Postgres: resume, reorganisations, reconnection, filters, errors."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool
from support import toy
from support.graphql import Messages, Server, serving, toy_app

from clarion.chains.model import Block, BurnBlock
from clarion.follower import Follower
from clarion.store.store import FINAL_DEPTH, Store
from clarion_graphql import change_log

BLOCKS = """subscription($since: BigInt) {
  blocks(since: $since) { sequence op block { height hash canonical finality } }
}"""
CHANGES = """subscription($since: BigInt, $key: [String!]) {
  changes(table: TOY_ACCOUNT, key: $key, since: $since) {
    sequence op retraction height table key before after block { height }
  }
}"""
ACCOUNTS = """subscription($since: BigInt, $filter: ToyAccountFilter) {
  toyAccountChanged(since: $since, filter: $filter) {
    sequence op retraction height before { owner balance } after { owner balance finality }
  }
}"""
EVENTS = """subscription($since: BigInt, $contract: String, $topic: String) {
  events(since: $since, contract: $contract, topic: $topic) {
    sequence op block { height } events { topic value eventIndex transaction { txIndex } }
  }
}"""


@pytest.fixture
async def server(database_url: str, store: Store) -> AsyncIterator[Server]:
    async with serving(toy_app(database_url)) as running:
        yield running


def ingest(store: Store, items: Sequence[Block | BurnBlock]) -> None:
    with store.batch() as batch:
        Follower().ingest(batch, items)


async def take(messages: Messages, count: int) -> list[Any]:
    return [await messages.next() for _ in range(count)]


class TestBlocks:
    """The chain as it goes forwards and back."""

    async def test_start_now_and_go_on(self, store: Store, server: Server) -> None:
        first = toy.block(None, [toy.move("alice", 5)])
        ingest(store, [first])

        async with server.subscribe(BLOCKS) as messages:
            start = await messages.next()
            second = toy.block(first)
            ingest(store, [second])
            applied = await messages.next()

        tip = {"height": 1, "hash": f"0x{first.hash.hex()}", "canonical": True, "finality": "SOFT"}
        assert start == {"sequence": "2", "op": "START", "block": tip}
        assert applied == {
            "sequence": "3",
            "op": "APPLY",
            "block": {"height": 2, "hash": f"0x{second.hash.hex()}", "canonical": True, "finality": "SOFT"},
        }

    async def test_start_on_an_empty_index(self, store: Store, server: Server) -> None:
        async with server.subscribe(BLOCKS) as messages:
            assert await messages.next() == {"sequence": "0", "op": "START", "block": None}
            ingest(store, [toy.block(None)])
            assert (await messages.next())["op"] == "APPLY"

    async def test_a_reorganisation_retracts_backwards_and_applies_forwards(self, store: Store, server: Server) -> None:
        first = toy.block(None)
        lost = [toy.block(first, branch="lost")]
        lost.append(toy.block(lost[0], branch="lost"))
        kept = [toy.block(first)]
        for _ in range(2):
            kept.append(toy.block(kept[-1]))
        ingest(store, [first, *lost])

        async with server.subscribe(BLOCKS, {"since": "1"}) as messages:
            assert [(m["op"], m["block"]["height"]) for m in await take(messages, 2)] == [("APPLY", 2), ("APPLY", 3)]
            ingest(store, kept)
            seen = await take(messages, 5)

        assert [(m["op"], m["block"]["hash"]) for m in seen] == [
            ("RETRACT", f"0x{lost[1].hash.hex()}"),
            ("RETRACT", f"0x{lost[0].hash.hex()}"),
            *(("APPLY", f"0x{block.hash.hex()}") for block in kept),
        ]
        assert [m["block"]["canonical"] for m in seen] == [False, False, True, True, True]

    async def test_every_message_is_a_place_to_resume_from(self, store: Store, server: Server) -> None:
        chain = [toy.block(None, [toy.move("a", 1), toy.move("b", 1)])]
        for height in range(2, 7):
            chain.append(toy.block(chain[-1], [toy.move("a", height)]))
        ingest(store, chain)
        async with server.subscribe(BLOCKS, {"since": "0"}) as messages:
            whole = await take(messages, len(chain))

        for place, message in enumerate(whole[:-1], start=1):
            async with server.subscribe(BLOCKS, {"since": message["sequence"]}) as messages:
                assert await take(messages, len(whole) - place) == whole[place:]


class TestEvents:
    """Events by block."""

    async def test_of_a_contract_and_topic_also_when_retracted(self, store: Store, server: Server) -> None:
        first = toy.block(None, [toy.move("a", 1), toy.move("b", 1), toy.close("a")])
        lost = toy.block(first, [toy.close("b")], branch="lost")
        second = toy.block(first)
        third = toy.block(second, [toy.close("b")])

        async with server.subscribe(EVENTS, {"topic": "account.closed", "contract": toy.CONTRACT}) as messages:
            start = await messages.next()
            ingest(store, [first, lost])
            ingest(store, [second, third])
            seen = await take(messages, 4)

        assert (start["op"], start["events"], start["sequence"]) == ("START", [], "0")
        assert [(m["op"], m["block"]["height"], [e["value"]["owner"] for e in m["events"]]) for m in seen] == [
            ("APPLY", 1, ["a"]),
            ("APPLY", 2, ["b"]),
            ("RETRACT", 2, ["b"]),
            ("APPLY", 3, ["b"]),
        ]
        assert seen[0]["events"][0]["eventIndex"] == 2

    async def test_a_block_is_one_message(self, store: Store, server: Server) -> None:
        ingest(store, [toy.block(None, [toy.move("a", 1), toy.move("b", 1)])])

        async with server.subscribe(EVENTS, {"since": "0"}) as messages:
            message = await messages.next()

        assert [event["topic"] for event in message["events"]] == ["account.moved"] * 2


class TestChanges:
    """Rows as they change."""

    async def test_of_a_table_and_a_key(self, store: Store, server: Server) -> None:
        first = toy.block(None, [toy.move("alice", 5), toy.move("bob", 2**100)])
        second = toy.block(first, [toy.move("bob", 6), toy.close("alice")])
        ingest(store, [first, second])

        async with server.subscribe(CHANGES, {"since": "0", "key": ["bob"]}) as messages:
            seen = await take(messages, 2)

        bob = {"owner": "bob", "balance": str(2**100), "note": "burn 1", "updatedHeight": "1"}
        assert seen == [
            {
                "sequence": "3",
                "op": "INSERT",
                "retraction": False,
                "height": 1,
                "table": "TOY_ACCOUNT",
                "key": ["bob"],
                "before": None,
                "after": bob,
                "block": {"height": 1},
            },
            {
                "sequence": "6",
                "op": "UPDATE",
                "retraction": False,
                "height": 2,
                "table": "TOY_ACCOUNT",
                "key": ["bob"],
                "before": bob,
                "after": {"owner": "bob", "balance": "6", "note": "burn 2", "updatedHeight": "2"},
                "block": {"height": 2},
            },
        ]

    async def test_typed_and_filtered_by_the_row_before_or_after(self, store: Store, server: Server) -> None:
        first = toy.block(None, [toy.move("a", 5), toy.move("b", 500)])
        second = toy.block(first, [toy.move("a", 600), toy.move("b", 501)])
        third = toy.block(second, [toy.close("a")])

        async with server.subscribe(ACCOUNTS, {"filter": {"balance": {"lt": 100}}}) as messages:
            start = await messages.next()
            ingest(store, [first, second, third])
            seen = await take(messages, 2)

        assert start["op"] == "START"
        assert [(m["op"], m["before"], m["after"] and m["after"]["balance"]) for m in seen] == [
            ("INSERT", None, "5"),
            ("UPDATE", {"owner": "a", "balance": "5"}, "600"),
        ]
        assert seen[0]["after"]["finality"] == "SOFT"

    async def test_a_reorganisation_is_told_as_retractions(self, store: Store, server: Server) -> None:
        first = toy.block(None, [toy.move("a", 1)])
        lost = toy.block(first, [toy.move("a", 2), toy.move("b", 2)], branch="lost")
        second = toy.block(first, [toy.move("c", 3)])
        third = toy.block(second)
        ingest(store, [first])

        async with server.subscribe(CHANGES, {"since": str(store.tip.sequence)}) as messages:
            ingest(store, [lost])
            ingest(store, [second, third])
            seen = await take(messages, 5)

        def short(message: dict[str, Any]) -> tuple[Any, ...]:
            after = message["after"]
            return message["op"], message["key"], message["retraction"], message["height"], after and after["balance"]

        assert [short(message) for message in seen] == [
            ("UPDATE", ["a"], False, 2, "2"),
            ("INSERT", ["b"], False, 2, "2"),
            ("UPDATE", ["a"], True, 1, "1"),
            ("DELETE", ["b"], True, 1, None),
            ("INSERT", ["c"], False, 2, "3"),
        ]

    async def test_a_rollback_to_nothing(self, store: Store, server: Server) -> None:
        ingest(store, [toy.block(None, [toy.move("a", 1)])])
        async with server.subscribe(CHANGES, {"since": str(store.tip.sequence)}) as messages:
            with store.batch() as batch:
                batch.rollback(None)

            message = await messages.next()

        assert (message["op"], message["retraction"], message["height"], message["block"], message["after"]) == (
            "DELETE",
            True,
            None,
            None,
            None,
        )


@dataclass
class Follow:
    """A client that keeps a copy of the table, and makes sure that each change fits the copy."""

    server: Server
    sequence: int = 0
    rows: dict[str, Any] = field(default_factory=dict)

    async def snapshot(self) -> tuple[dict[str, Any], int]:
        """The table now and the sequence it was read at."""
        answer = await self.server.query(
            "{ toyAccounts(first: 500) { nodes { owner balance note updatedHeight } pageInfo { hasNextPage } } }"
        )
        assert not answer["data"]["toyAccounts"]["pageInfo"]["hasNextPage"]
        nodes = answer["data"]["toyAccounts"]["nodes"]
        rows = {node["owner"]: {**node, "updatedHeight": str(node["updatedHeight"])} for node in nodes}
        return rows, int(answer["extensions"]["receipt"]["sequence"])

    async def until(self, messages: Messages, marker: int) -> None:
        """Take changes until the account ``marker`` has this balance."""
        while True:
            message = await messages.next()
            assert int(message["sequence"]) > self.sequence
            self.sequence = int(message["sequence"])
            (owner,) = message["key"]
            assert self.rows.pop(owner, None) == message["before"]
            if message["after"] is not None:
                self.rows[owner] = message["after"]
            if owner == "marker" and message["after"] and message["after"]["balance"] == str(marker):
                return


@dataclass
class Tree:
    """Every block made so far; new ones are put on any of the newest."""

    store: Store
    blocks: list[Block] = field(default_factory=list)
    count: int = 0

    def grow(self, back: int, moves: Sequence[tuple[str, int | None]], length: int) -> None:
        """Add a branch of ``length`` blocks on the block ``back`` from the newest."""
        parent = self.blocks[max(len(self.blocks) - 1 - back, 0)] if self.blocks else None
        branch: list[Block] = []
        for _ in range(length):
            self.count += 1
            values = [toy.close(owner) if balance is None else toy.move(owner, balance) for owner, balance in moves]
            parent = toy.block(parent, values, branch=f"branch {self.count}")
            branch.append(parent)
        ingest(self.store, branch)
        self.blocks = [*self.blocks, *branch][-12:]

    def mark(self) -> int:
        """Put a block on the tip that sets the account ``marker`` to a new number."""
        assert self.store.tip.hash is not None
        (tip,) = (block for block in self.blocks if block.hash == self.store.tip.hash)
        self.count += 1
        marked = toy.block(tip, [toy.move("marker", self.count)], branch=f"branch {self.count}")
        ingest(self.store, [marked])
        self.blocks = [*self.blocks, marked][-12:]
        return self.count


moves = st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.none() | st.integers(0, 2**128 - 1)), max_size=4)
growth = st.tuples(st.integers(0, 5), moves, st.integers(1, 4))


class TestConsistency:
    """A subscriber holds what a snapshot shows."""

    @given(script=st.lists(st.tuples(growth, st.booleans()), min_size=1, max_size=8))
    @settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
    async def test_a_subscriber_through_forks_and_reconnections_holds_what_a_later_snapshot_shows(
        self, store: Store, server: Server, script: list[tuple[Any, bool]]
    ) -> None:
        tree = Tree(store)
        if store.tip.hash is not None:  # an earlier example's chain goes on
            with store.batch() as batch:
                tree.blocks = batch.load([store.tip.hash])
            tree.count = int(store.connection.execute("SELECT count(*) FROM clarion.block").fetchall()[0][0])
        else:
            tree.grow(0, [("a", 1)], 1)
        follow = Follow(server)
        follow.rows, follow.sequence = await follow.snapshot()
        live = Follow(server, follow.sequence, dict(follow.rows))

        async with server.subscribe(CHANGES, {"since": str(live.sequence)}) as throughout:
            for (back, values, length), reconnect in script:
                tree.grow(back, values, length)
                if reconnect:
                    marker = tree.mark()
                    async with server.subscribe(CHANGES, {"since": str(follow.sequence)}) as messages:
                        await follow.until(messages, marker)
            marker = tree.mark()
            await live.until(throughout, marker)
        async with server.subscribe(CHANGES, {"since": str(follow.sequence)}) as messages:
            await follow.until(messages, marker)

        rows, sequence = await follow.snapshot()
        assert live.rows == follow.rows == rows
        assert live.sequence == follow.sequence == sequence == store.tip.sequence

    async def test_a_query_and_a_subscription_from_its_receipt_miss_and_repeat_nothing(
        self, store: Store, server: Server
    ) -> None:
        tree = Tree(store)
        tree.grow(0, [("a", 1)], 1)
        stop = asyncio.Event()

        async def write() -> None:
            for number in range(200):
                if stop.is_set():
                    return
                await asyncio.to_thread(tree.grow, number % 3, [("a", number), ("b", number)], 1 + number % 4)

        writer = asyncio.create_task(write())
        follows = []
        for _ in range(5):
            follow = Follow(server)
            follow.rows, follow.sequence = await follow.snapshot()
            follows.append(follow)
        stop.set()
        await writer
        marker = tree.mark()
        for follow in follows:
            async with server.subscribe(CHANGES, {"since": str(follow.sequence)}) as messages:
                await follow.until(messages, marker)

        rows, _ = await Follow(server).snapshot()
        assert [follow.rows for follow in follows] == [rows] * 5


FINALITY = "subscription { finality { finality height block { hash } } }"


class TestFinality:
    """Blocks that become anchored and final, and what that says of everything below."""

    async def test_blocks_become_anchored_then_final(self, store: Store, server: Server) -> None:
        tip = toy.block(None)
        ingest(store, [tip])
        async with (
            server.subscribe(FINALITY) as messages,
            server.subscribe("subscription { blocks(since: 1) { finalHeight block { height } } }") as blocks,
        ):
            ingest(store, [toy.burn_block(1)])
            first = await messages.next()
            seen = []
            for height in range(2, FINAL_DEPTH + 2):
                tip = toy.block(tip)
                ingest(store, [toy.burn_block(height), tip])
                seen.append(await messages.next())
            seen.append(await messages.next())
            finals = [await blocks.next() for _ in range(FINAL_DEPTH)]

        assert (first["finality"], first["height"]) == ("ANCHORED", 1)
        anchored = [message["height"] for message in seen if message["finality"] == "ANCHORED"]
        assert anchored == list(range(2, FINAL_DEPTH + 2))
        assert [message["height"] for message in seen if message["finality"] == "FINAL"] == [1]
        assert finals[-1] == {"finalHeight": 1, "block": {"height": FINAL_DEPTH + 1}}
        assert finals[0]["finalHeight"] is None or finals[0]["finalHeight"] == 1

    async def test_what_is_known_comes_first_and_a_reorganisation_goes_back(self, store: Store, server: Server) -> None:
        first = toy.block(None)
        lost = toy.block(first)
        ingest(store, [toy.burn_block(1), toy.burn_block(2), first, lost])
        fork = toy.burn_block(2, "other", parent=toy.burn_block(1))
        async with server.subscribe(FINALITY) as messages:
            before = await messages.next()
            ingest(store, [fork, toy.burn_block(3, "other", parent=fork)])
            after = await messages.next()
        assert before == {"finality": "ANCHORED", "height": 2, "block": {"hash": f"0x{lost.hash.hex()}"}}
        assert after == {"finality": "ANCHORED", "height": 1, "block": {"hash": f"0x{first.hash.hex()}"}}


FINALIZED = {
    "blocks": "subscription($since: BigInt) { blocks(since: $since, finalized: true) "
    "{ sequence op finalHeight block { height finality } } }",
    "events": "subscription($since: BigInt) { events(since: $since, finalized: true) "
    "{ sequence op events { topic } block { height finality } } }",
    "changes": "subscription($since: BigInt) { changes(since: $since, finalized: true) "
    "{ sequence op table key before after height block { height finality } } }",
    "toyAccountChanged": "subscription($since: BigInt) { toyAccountChanged(since: $since, finalized: true) "
    "{ sequence op before { owner } after { owner } height block { height finality } } }",
}


def finalizes(message: Any) -> bool:
    return bool(message["op"] == "FINALIZE")


@pytest.mark.parametrize("name", FINALIZED)
class TestFinalized:
    """Messages that say what is final, among those that say what happened."""

    async def test_they_come_when_a_block_becomes_final_and_first_of_all(
        self, store: Store, server: Server, name: str
    ) -> None:
        tip = toy.block(None, [toy.move("a", 1)])
        ingest(store, [toy.burn_block(1), tip])
        async with server.subscribe(FINALIZED[name]) as messages:
            assert (await messages.next())["op"] == "START"
            told = []
            for height in range(2, FINAL_DEPTH + 4):
                tip = toy.block(tip, [toy.move("a", height)])
                ingest(store, [toy.burn_block(height), tip])
                applied = await messages.next()
                assert not finalizes(applied)
                assert applied["block"]["height"] == height
                if height > FINAL_DEPTH:
                    told.append(await messages.next())
        assert [(one["op"], one["block"]) for one in told] == [
            ("FINALIZE", {"height": height, "finality": "FINAL"}) for height in (1, 2, 3)
        ]
        assert [one.get("height", one["block"]["height"]) for one in told] == [1, 2, 3]
        assert all(one.get("events", []) == [] for one in told)
        assert all(one.get(image) is None for one in told for image in ("before", "after", "key", "table"))

        async with server.subscribe(FINALIZED[name]) as messages:
            start, final = await take(messages, 2)
        assert (start["op"], final) == ("START", told[-1])

    async def test_each_is_a_place_to_go_on_from(self, store: Store, server: Server, name: str) -> None:
        tip = toy.block(None, [toy.move("a", 1)])
        ingest(store, [toy.burn_block(1), tip])
        seen: list[Any] = []
        async with server.subscribe(FINALIZED[name], {"since": "0"}) as messages:
            for height in range(2, FINAL_DEPTH + 4):
                tip = toy.block(tip, [toy.move("a", height)])
                ingest(store, [toy.burn_block(height), tip])
            while not seen or not finalizes(seen[-1]) or seen[-1]["block"]["height"] != 3:
                seen.append(await messages.next())
        told = [int(message["sequence"]) for message in seen]
        assert told == sorted(told)
        happened = [(message["sequence"], message["op"]) for message in seen if not finalizes(message)]
        assert len(happened) == FINAL_DEPTH + 3

        for message in seen:
            left = [one for one in happened if int(one[0]) > int(message["sequence"])]
            async with server.subscribe(FINALIZED[name], {"since": message["sequence"]}) as messages:
                again = await take(messages, len(left) + 1)
            assert [(one["sequence"], one["op"]) for one in again[:-1]] == left
            assert (again[-1]["op"], again[-1]["block"]["height"]) == ("FINALIZE", 3)

    async def test_there_is_none_while_nothing_is_final(self, store: Store, server: Server, name: str) -> None:
        async with server.subscribe(FINALIZED[name]) as messages:
            assert (await messages.next())["op"] == "START"
            ingest(store, [toy.burn_block(1), toy.block(None, [toy.move("a", 1)])])
            assert (await messages.next())["block"] == {"height": 1, "finality": "ANCHORED"}

    async def test_a_bitcoin_block_alone_can_make_a_block_final(self, store: Store, server: Server, name: str) -> None:
        tip = toy.block(None, [toy.move("a", 1)])
        ingest(store, [toy.burn_block(1), tip])
        for height in range(2, FINAL_DEPTH + 2):
            tip = toy.block(tip, [toy.move("a", height)])
            ingest(store, [toy.burn_block(height), tip] if height <= FINAL_DEPTH else [tip])
        async with server.subscribe(FINALIZED[name]) as messages:
            start = await messages.next()
            ingest(store, [toy.burn_block(FINAL_DEPTH + 1)])
            final = await messages.next()
        assert (final["op"], final["block"]["height"], final["sequence"]) == ("FINALIZE", 1, start["sequence"])

    async def test_what_is_wrong_with_reading_it_is_told(
        self, store: Store, server: Server, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        async def read(pool: AsyncConnectionPool, chain: str) -> None:
            async with pool.connection() as connection:
                await connection.execute("SELECT nothing")

        monkeypatch.setattr(change_log, "read_final", read)
        async with server.subscribe(FINALIZED[name]) as messages:
            assert (await messages.next())["op"] == "START"
            (error,) = (await messages.raw())["payload"]["errors"]
            assert error["extensions"]["code"] == "INTERNAL_SERVER_ERROR"


class TestRebuilt:
    """A protocol whose rows were made anew."""

    async def test_row_subscribers_are_told_to_read_again(self, store: Store, server: Server) -> None:
        ingest(store, [toy.block(None, [toy.move("a", 1)])])
        async with (
            server.subscribe(CHANGES) as every,
            server.subscribe(ACCOUNTS) as rows,
            server.subscribe(BLOCKS) as blocks,
        ):
            for messages in (every, rows, blocks):
                assert (await messages.next())["op"] == "START"
            store.connection.execute(
                "UPDATE clarion.protocol SET generation = 2, since_sequence = (SELECT sequence + 1 FROM clarion.cursor)"
            )
            store.connection.execute("UPDATE clarion.cursor SET sequence = sequence + 1")
            store.reconnect(store.connection)
            ingest(store, [toy.block(toy.block(None, [toy.move("a", 1)]), [toy.move("a", 2)])])
            for messages in (every, rows):
                (error,) = (await messages.raw())["payload"]["errors"]
                assert error["extensions"]["code"] == "PROJECTION_REBUILT"
                assert error["extensions"]["protocols"] == ["toy"]
            assert (await blocks.next())["op"] == "APPLY"
        for document in (CHANGES, ACCOUNTS):
            async with server.subscribe(document, {"since": "2"}) as messages:
                assert (await messages.error())["extensions"]["code"] == "PROJECTION_REBUILT"
            async with server.subscribe(document, {"since": "3"}) as messages:
                assert (await messages.next())["op"] == "UPDATE"


class TestMadeAnew:
    """An index that stands below where its subscribers are."""

    @pytest.mark.parametrize("document", [BLOCKS, CHANGES, ACCOUNTS, EVENTS, *FINALIZED.values()])
    async def test_they_are_told(
        self, store: Store, server: Server, connection: psycopg.Connection[Any], document: str
    ) -> None:
        first = toy.block(None, [toy.move("a", 1)])
        ingest(store, [first, toy.block(first, [toy.move("a", 2)])])
        async with server.subscribe(document) as messages:
            assert (await messages.next())["op"] == "START"
            connection.execute("UPDATE clarion.cursor SET sequence = 1")
            connection.execute('SELECT pg_notify(\'clarion\', \'{"chain": "stacks", "sequence": 1}\')')
            (error,) = (await messages.raw())["payload"]["errors"]
            assert error["extensions"]["code"] == "SEQUENCE_AHEAD"


class TestEnds:
    """What goes wrong."""

    async def test_since_ahead_of_the_index(self, store: Store, server: Server) -> None:
        ingest(store, [toy.block(None)])
        for document, since in itertools.product((BLOCKS, EVENTS, CHANGES, ACCOUNTS), ("2", str(2**70))):
            async with server.subscribe(document, {"since": since}) as messages:
                error = await messages.error()
            assert error["extensions"].pop("requestId")
            assert error["extensions"] == {"code": "SEQUENCE_AHEAD", "current": "1"}

    async def test_since_below_what_is_kept(self, store: Store, server: Server) -> None:
        first = toy.block(None, [toy.move("a", 1)])
        second = toy.block(first, [toy.move("a", 2)])
        ingest(store, [first, second])
        store.connection.execute("UPDATE clarion.cursor SET kept_from = 2")
        for document in (BLOCKS, EVENTS, CHANGES, ACCOUNTS):
            async with server.subscribe(document, {"since": "1"}) as messages:
                error = await messages.error()
            assert error["extensions"].pop("requestId")
            assert error["extensions"] == {"code": "SEQUENCE_EXPIRED", "current": "4"}
            async with server.subscribe(document, {"since": "2"}) as messages:
                assert (await messages.next())["sequence"] in ("3", "4")

    async def test_since_below_what_is_kept_of_a_table(self, store: Store, server: Server) -> None:
        first = toy.block(None, [toy.move("a", 1)])
        ingest(store, [first, toy.block(first, [toy.move("a", 2)])])
        store.connection.execute("INSERT INTO clarion.kept VALUES ('stacks', 'toy.account', 2)")
        for document in (CHANGES, ACCOUNTS):
            async with server.subscribe(document, {"since": "3"}) as messages:
                assert (await messages.error())["extensions"]["code"] == "SEQUENCE_EXPIRED"
        async with server.subscribe(BLOCKS, {"since": "1"}) as messages:
            assert (await messages.next())["op"] == "APPLY"

    @pytest.mark.parametrize(
        ("document", "variables", "code"),
        [
            (CHANGES, {"since": "-1"}, "BAD_USER_INPUT"),
            ('subscription { transaction(txId: "0x12") { state } }', {}, "BAD_USER_INPUT"),
            (CHANGES, {"since": str(2**200)}, "SEQUENCE_AHEAD"),
            (CHANGES, {"since": "x"}, "BAD_USER_INPUT"),
            (CHANGES, {"key": ["a", "b"]}, "BAD_USER_INPUT"),
            ('subscription { changes(key: ["a"]) { op } }', {}, "BAD_USER_INPUT"),
            ("subscription { changes(table: NONE) { op } }", {}, "GRAPHQL_VALIDATION_FAILED"),
            (ACCOUNTS, {"filter": {"owner": {"eq": None}}}, "BAD_USER_INPUT"),
            (
                "subscription($chain: ChainName = STACKS) { blocks(chain: $chain) { op } }",
                {"chain": None},
                "GRAPHQL_VALIDATION_FAILED",
            ),
        ],
    )
    async def test_bad_arguments(self, server: Server, document: str, variables: dict[str, Any], code: str) -> None:
        async with server.subscribe(document, variables) as messages:
            error = await messages.error()

        assert error["extensions"]["code"] == code

    async def test_null_for_a_variable_with_a_default_inside(
        self, store: Store, server: Server, caplog: pytest.LogCaptureFixture
    ) -> None:
        document = "subscription($v: Boolean = true) { blocks { op block { height @include(if: $v) } } }"
        ingest(store, [toy.block(None)])

        async with server.subscribe(document, {"v": None}) as messages:
            message = await messages.raw()

        (error,) = message["payload"]["errors"]
        assert error["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"
        assert error["path"] == ["blocks", "block"]
        assert "unexpected_error" not in caplog.text

    async def test_the_database_goes_away_and_comes_back(self, store: Store, server: Server) -> None:
        first = toy.block(None, [toy.move("a", 1)])
        ingest(store, [first])
        async with server.subscribe(CHANGES) as messages:
            assert (await messages.next())["op"] == "START"
            store.connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            ingest(store, [toy.block(first, [toy.move("a", 2)])])

            message = await messages.next()

        assert message["after"]["balance"] == "2"

    async def test_a_client_that_does_not_read_holds_up_nobody(self, store: Store, server: Server) -> None:
        wide = [toy.move(f"{'x' * 2000}{number}", 1) for number in range(200)]
        first = toy.block(None, wide)
        async with (
            server.subscribe(CHANGES, {"since": "0"}),  # nobody reads from it; far more comes than sockets hold
            server.subscribe(BLOCKS, {"since": "0"}) as messages,
        ):
            blocks = [first]
            for number in range(8):
                blocks.append(toy.block(blocks[-1], [toy.move(f"{'x' * 2000}{n}", number + 2) for n in range(200)]))
            for block in blocks:
                ingest(store, [block])

            seen = await take(messages, len(blocks))

        assert [message["block"]["height"] for message in seen] == list(range(1, 10))

    async def test_the_same_subscription_of_many_reads_the_log_once(
        self, store: Store, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = toy.block(None, [toy.move("a", 1)])
        ingest(store, [first])
        reads = []
        read_changes = change_log.read_changes

        async def counted(*given: Any, **options: Any) -> Any:
            reads.append(given)
            return await read_changes(*given, **options)

        monkeypatch.setattr(change_log, "read_changes", counted)
        async with contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(server.subscribe(CHANGES)) for _ in range(40)]
            for messages in clients:
                assert (await messages.next())["op"] == "START"
            reads.clear()
            ingest(store, [toy.block(first, [toy.move("a", 2)])])
            seen = [(await messages.next())["after"]["balance"] for messages in clients]

        assert seen == ["2"] * 40
        assert len(reads) <= 4  # and not one for each

    @pytest.mark.parametrize(
        ("document", "trips"),
        [
            ("subscription { blocks { op finalHeight block { height } } }", 1),
            ("subscription { events { op block { height } events { topic value } } }", 1),
            # the first one asks, for all subscriptions to rows, which tables changed
            ("subscription { changes { op block { height } after } }", 2),
            ("subscription { toyAccountChanged { op block { height } after { owner balance } } }", 2),
        ],
    )
    async def test_how_often_a_commit_asks_the_database(
        self, store: Store, server: Server, monkeypatch: pytest.MonkeyPatch, document: str, trips: int
    ) -> None:
        blocks = [toy.block(None, [toy.move("a", 1)])]
        for number in (2, 3):
            blocks.append(toy.block(blocks[-1], [toy.move("a", number)]))
        asked = []
        execute, transaction = AsyncConnection.execute, AsyncConnection.transaction

        async def counted(connection: AsyncConnection[Any], query: Any, *given: Any, **options: Any) -> Any:
            if query != "SELECT chain, sequence FROM clarion.cursor":  # the feed's, once a second
                asked.append(query)
            return await execute(connection, query, *given, **options)

        def begun(connection: AsyncConnection[Any], *given: Any, **options: Any) -> Any:
            asked.append("BEGIN")
            return transaction(connection, *given, **options)

        ingest(store, blocks[:1])
        async with server.subscribe(document) as messages:
            assert (await messages.next())["block"]["height"] == 1
            ingest(store, blocks[1:2])
            assert (await messages.next())["block"]["height"] == 2
            # what was read to begin with has been by now
            monkeypatch.setattr(AsyncConnection, "execute", counted)
            monkeypatch.setattr(AsyncConnection, "transaction", begun)
            ingest(store, blocks[2:])
            assert (await messages.next())["block"]["height"] == 3

        assert len(asked) == trips, asked

    async def test_queries_over_the_websocket_have_receipts(self, store: Store, server: Server) -> None:
        ingest(store, [toy.block(None, [toy.move("a", 1)])])
        async with server.subscribe("{ toyAccounts { totalCount } }") as messages:
            message = await messages.raw()

        assert message["payload"]["data"] == {"toyAccounts": {"totalCount": 1}}
        assert message["payload"]["extensions"]["receipt"]["sequence"] == "2"
