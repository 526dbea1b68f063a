"""Subscriptions of many: work is done once, nobody misses anything, and who is slow holds up nobody."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import psycopg
import pytest
from support import toy
from support.graphql import NO_CACHE, Server, serving, toy_app
from support.live import CHANGES, Client, connected, ingest, scans

from clarion.chains.model import Block
from clarion.store.store import FINAL_DEPTH, Store
from clarion_graphql.feed import Feed
from clarion_graphql.live import groups
from clarion_graphql.live.websocket import MAX_OPERATIONS

ROWS = "{ toyAccounts(first: 500) { nodes { owner balance } } }"


@pytest.fixture
async def server(database_url: str, store: Store) -> AsyncIterator[Server]:
    async with serving(toy_app(database_url, graphql=NO_CACHE)) as running:
        yield running


def chain_of(length: int, parent: Block | None = None, *, branch: str = "main") -> list[Block]:
    """Blocks that change one or two accounts each."""
    blocks: list[Block] = []
    for number in range(length):
        parent = toy.block(parent, [toy.move("a", number), toy.move(f"b{number % 7}", number)], branch=branch)
        blocks.append(parent)
    return blocks


class Copy:
    """A client's copy of the table: each message must fit it."""

    def __init__(self, rows: dict[str, Any] | None = None, sequence: int = 0) -> None:
        self.rows = dict(rows or {})
        self.sequence = sequence

    def take(self, message: Any) -> None:
        """Fold one message."""
        if message["op"] == "START":
            return
        assert int(message["sequence"]) > self.sequence
        self.sequence = int(message["sequence"])
        (owner,) = message["key"]
        before = message["before"] and message["before"]["balance"]
        assert self.rows.pop(owner, None) == before
        if message["after"] is not None:
            self.rows[owner] = message["after"]["balance"]

    async def follow(self, client: Client, marker: str) -> None:
        """Take what comes until the account ``marker`` is there."""
        while marker not in self.rows:
            self.take(await client.data())


async def table(server: Server) -> dict[str, Any]:
    """The table as a query shows it."""
    nodes = (await server.data(ROWS))["toyAccounts"]["nodes"]
    return {node["owner"]: node["balance"] for node in nodes}


class TestOnce:
    """Identical subscriptions are one."""

    async def test_ten_thousand_are_read_once(
        self, database_url: str, store: Store, connection: psycopg.Connection[Any]
    ) -> None:
        connections = 100
        first = toy.block(None, [toy.move("a", 1)])
        ingest(store, [first])
        async with serving(toy_app(database_url)) as server, contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(connected(server.url)) for _ in range(connections)]
            for client in clients:
                for number in range(MAX_OPERATIONS):
                    await client.subscribe(CHANGES, name=str(number))
                for _ in range(MAX_OPERATIONS):
                    assert (await client.data())["op"] == "START"
            assert server.app.websocket.hub.groups == 1
            blocks = chain_of(5, first)
            for block in blocks:
                ingest(store, [block])
            for client in clients:
                heard = [await client.hear() for _ in range(MAX_OPERATIONS * 10)]
                assert {message["id"] for message in heard} == {str(number) for number in range(MAX_OPERATIONS)}
        # once for each of the commits, and once more to see that there is nothing else
        assert await scans(connection, "clarion.change") <= 2 * len(blocks) + 2

    async def test_other_variables_and_other_documents_are_others(self, store: Store, server: Server) -> None:
        filtered = "subscription($b: BigInt!) { toyAccountChanged(filter: { balance: { gte: $b } }) { sequence } }"
        asked = [(filtered, {"b": "1"}), (filtered, {"b": "2"}), (filtered, {"b": "1"}), (CHANGES, {}), (CHANGES, {})]
        async with connected(server.url) as client:
            for number, (document, variables) in enumerate(asked):
                await client.subscribe(document, variables, name=str(number))
                await client.hear()
            assert server.app.websocket.hub.groups == 3
            ingest(store, [toy.block(None, [toy.move("a", 1)])])
            assert sorted([(await client.hear())["id"] for _ in range(4)]) == ["0", "2", "3", "4"]

    async def test_where_they_begin_makes_no_difference(self, store: Store, server: Server) -> None:
        blocks = chain_of(30)
        ingest(store, blocks)
        literal = "subscription { changes(table: TOY_ACCOUNT, since: %d) { sequence } }"
        async with connected(server.url) as client:
            for since in (0, 20, 40):
                await client.subscribe(CHANGES, {"since": str(since)}, name=f"variable {since}")
                await client.subscribe(literal % since, name=f"literal {since}")
            ingest(store, [toy.block(blocks[-1], [toy.move("marker", 1)])])
            last: dict[str, int] = {}
            while set(last.values()) != {store.tip.sequence} or len(last) < 6:
                message = await client.hear()
                (value,) = message["payload"]["data"].values()
                last[message["id"]] = int(value["sequence"])
            assert server.app.websocket.hub.groups == 2

    async def test_who_comes_back_is_served_from_memory(
        self, database_url: str, store: Store, connection: psycopg.Connection[Any]
    ) -> None:
        blocks = chain_of(20)
        ingest(store, blocks)
        async with serving(toy_app(database_url)) as server, connected(server.url) as client:
            for number in range(50):
                await client.subscribe(CHANGES, {"since": "0"}, name=str(number))
                while int((await client.data())["sequence"]) < store.tip.sequence:
                    pass
        assert await scans(connection, "clarion.change") <= 6


class TestSlow:
    """Clients that do not read."""

    async def test_they_hold_up_nobody_and_miss_nothing(self, store: Store, server: Server) -> None:
        wide = [f"{'x' * 2000}{number}" for number in range(100)]
        blocks = [toy.block(None, [toy.move(owner, 0) for owner in wide])]
        for number in range(1, 40):
            blocks.append(toy.block(blocks[-1], [toy.move(owner, number) for owner in wide]))
        async with connected(server.url, slow=True) as slow, connected(server.url) as quick:
            for client in (slow, quick):
                await client.subscribe(CHANGES)
                assert (await client.data())["op"] == "START"
            # a socket holds a few megabytes, and these are far more
            fast, late = Copy(), Copy()
            for block in blocks:
                ingest(store, [block])
                for _ in wide:
                    fast.take(await quick.data())
            for _ in range(len(blocks) * len(wide)):
                late.take(await slow.data())
        assert late.rows == fast.rows == await table(server)

    async def test_those_that_take_nothing_at_all_are_told_and_closed(self, database_url: str, store: Store) -> None:
        app = toy_app(database_url)
        app.websocket.hub._stall_s = 0.2
        values = [toy.move(f"{'x' * 20_000}{number}", 1) for number in range(200)]
        ingest(store, [toy.block(None, values)])
        blocks = [toy.block(None, values)]
        for number in range(8):
            blocks.append(toy.block(blocks[-1], [toy.move(f"{'x' * 20_000}{n}", number + 2) for n in range(200)]))
        ingest(store, blocks[1:])
        async with serving(app) as server, connected(server.url, slow=True) as slow:
            await slow.subscribe(CHANGES, {"since": "0"})
            last = await slow.data()
            async with asyncio.timeout(30):
                while server.app.websocket.hub.groups:  # noqa: ASYNC110 (what is waited for is the server's)
                    await asyncio.sleep(0.05)
            while (message := await slow.hear())["payload"].get("errors") is None:
                last = message["payload"]["data"]["changes"]
            (error,) = message["payload"]["errors"]
            assert (error["extensions"]["code"], error["extensions"]["sequence"]) == ("TOO_SLOW", last["sequence"])
            assert (await slow.hear())["type"] == "complete"
            assert (await slow.closed())[0] == 4413
            async with connected(server.url) as again:
                await again.subscribe(CHANGES, {"since": last["sequence"]})
                assert int((await again.data())["sequence"]) == int(last["sequence"]) + 1

    async def test_what_is_final_is_not_told_again(self, store: Store, server: Server) -> None:
        tip = toy.block(None, [toy.move("a", 1)])
        ingest(store, [toy.burn_block(1), tip])
        for height in range(2, FINAL_DEPTH + 2):
            tip = toy.block(tip, [toy.move("a", height)])
            ingest(store, [toy.burn_block(height), tip])
        wide = [f"{'x' * 2000}{number}" for number in range(100)]
        document = CHANGES.replace("TOY_ACCOUNT,", "TOY_ACCOUNT, finalized: true,")
        async with connected(server.url, slow=True) as slow:
            await slow.subscribe(document)
            assert [(await slow.data())["op"] for _ in range(2)] == ["START", "FINALIZE"]
            (group,) = server.app.websocket.hub._groups.values()
            told = 0
            while not group._coming:
                told += 1
                tip = toy.block(tip, [toy.move(owner, told) for owner in wide], burn=toy.burn_block(FINAL_DEPTH + 1))
                ingest(store, [tip])
                await asyncio.sleep(0.05)
            last = toy.block(tip, [toy.move("end", 1)], burn=toy.burn_block(FINAL_DEPTH + 1))
            ingest(store, [last])
            ops = []
            while not ops or ops[-1][1] != ["end"]:
                message = await slow.data()
                ops.append((message["op"], message["key"]))
        assert len(ops) == told * len(wide) + 1
        assert "FINALIZE" not in {op for op, _ in ops}


class TestAheadOfTheOthers:
    """Who is brought up from the log may come further than the others are, whom no notification woke yet."""

    @pytest.mark.parametrize("since", [None, "0"])
    @pytest.mark.parametrize("document", [CHANGES, CHANGES.replace("TOY_ACCOUNT,", "TOY_ACCOUNT, finalized: true,")])
    async def test_nothing_comes_twice(
        self, store: Store, server: Server, monkeypatch: pytest.MonkeyPatch, document: str, since: str | None
    ) -> None:
        blocks = chain_of(3)
        ingest(store, blocks)
        before = await table(server)
        async with connected(server.url) as first, connected(server.url) as second:
            await first.subscribe(document)
            assert (await first.data())["op"] == "START"
            heard = asyncio.Event()

            with monkeypatch.context() as deaf:
                deaf.setattr(Feed, "_set", lambda *_: heard.set())
                blocks.append(toy.block(blocks[-1], [toy.move("marker", 1)]))
                ingest(store, blocks[-1:])
                await heard.wait()
                await second.subscribe(document, {"since": since})
                message = await second.data()
            assert int(message["sequence"]) == (store.tip.sequence if since is None else 2)
            copy = Copy(await table(server) if since is None else None, int(message["sequence"]) - (since is not None))
            copy.take(message)
            blocks.append(toy.block(blocks[-1], [toy.move("end", 1)]))
            ingest(store, blocks[-1:])
            await copy.follow(second, "end")
            assert copy.rows == await table(server) != before


class TestReorganisationsUnderLoad:
    """Clients that stayed, clients that came back, and clients that came fresh hold the same rows."""

    async def test_all_hold_what_the_table_holds(
        self, store: Store, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(groups, "KEPT_MESSAGES", 8)  # so that most who come back have to be read for
        tips: list[list[Block]] = [chain_of(3)]
        ingest(store, tips[0])

        def branch(number: int) -> Sequence[Block]:
            """A longer branch from under the tip, or another block on it."""
            chain = tips[0]
            back = number % 4
            kept = chain[: len(chain) - back] or chain[:1]
            new = chain_of(back + 1, kept[-1], branch=f"branch {number}")
            tips[0] = [*kept, *new]
            return new

        async def write() -> None:
            for number in range(60):
                await asyncio.to_thread(ingest, store, branch(number))

        async with contextlib.AsyncExitStack() as stack:
            stayed = [(await stack.enter_async_context(connected(server.url)), Copy()) for _ in range(20)]
            for client, _ in stayed:
                await client.subscribe(CHANGES, {"since": "0"})
            writing = asyncio.create_task(write())
            returning = [Copy() for _ in range(10)]
            for _ in range(4):
                for copy in returning:
                    async with connected(server.url) as client:
                        await client.subscribe(CHANGES, {"since": str(copy.sequence)})
                        for _ in range(3):
                            copy.take(await client.data())
            await writing
            ingest(store, [toy.block(tips[0][-1], [toy.move("marker", 1)])])
            for client, copy in stayed:
                await copy.follow(client, "marker")
            for copy in returning:
                async with connected(server.url) as client:
                    await client.subscribe(CHANGES, {"since": str(copy.sequence)})
                    await copy.follow(client, "marker")
            fresh = Copy()
            async with connected(server.url) as client:
                await client.subscribe(CHANGES, {"since": "0"})
                await fresh.follow(client, "marker")

        rows = await table(server)
        assert all(copy.rows == rows for _, copy in stayed)
        assert all(copy.rows == rows for copy in returning)
        assert fresh.rows == rows
