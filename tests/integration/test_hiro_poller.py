"""Recorded chains through the API and the poller into Postgres: the same index as from the posts themselves."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from starlette.responses import JSONResponse, PlainTextResponse
from support import toy
from support.hiro_api import HiroApi, Post, rate_limited, serving
from support.index import truncate_index
from support.node_posts import body, moves_payload

from clarion.chains.model import Block, BurnBlock
from clarion.chains.stacks import hiro_poller
from clarion.chains.stacks.hiro_poller import Health, HiroPoller, IndexTip, SourceState
from clarion.chains.stacks.node_payloads import NEW_BLOCK, NEW_BURN_BLOCK, decode_post
from clarion.chains.stacks.recording import read_recording
from clarion.dev.accounts import DEPLOYER
from clarion.follower import Follower
from clarion.ingest import ingest
from clarion.protocol import DeployedProtocol
from clarion.protocols.bithedge import protocol as bithedge
from clarion.store.store import Store
from hiro_api_client import HiroApiClient

pytestmark = pytest.mark.usefixtures("toy_tables")

REPOSITORY = Path(__file__).parents[2]
DEVNET = REPOSITORY / "fixtures" / "bithedge-devnet.tsv.zst"


class StoredIndex:
    """An index in Postgres, as the poller sees it and feeds it."""

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        protocols: Sequence[DeployedProtocol] = (),
        *,
        start_height: int = 0,
    ) -> None:
        self.store = Store(connection, "stacks", protocols)
        self.store.open()
        self._follower = Follower(start_height=start_height)
        self.given: list[Block | BurnBlock] = []

    async def tip(self) -> IndexTip | None:
        tip = self.store.tip
        if tip.height is None or tip.hash is None:
            return None
        header = self.store.header(tip.hash)
        assert header is not None
        return IndexTip(tip.height, tip.hash, header.burn_height)

    async def knows(self, block_hash: bytes) -> bool:
        return self.store.header(block_hash) is not None

    def apply(self, items: Sequence[Block | BurnBlock]) -> None:
        self.given += items
        followed = ingest(self.store, self._follower, items)
        assert not followed.missing


class Following:
    """A poller at work in the background; ``until`` waits for what it does."""

    def __init__(self, url: str, index: StoredIndex, **options: Any) -> None:
        client = HiroApiClient(url, attempts=2, retry_seconds=0.001)
        self.health: list[Health] = []
        defaults: dict[str, Any] = {"poll_seconds": 0.02, "backoff_seconds": (0.01, 0.05), "listen": False}
        self.poller = HiroPoller(client, index, report=self._note, **(defaults | options))
        self._index = index
        self._changed = asyncio.Event()

    def _note(self, health: Health) -> None:
        if self.health[-1:] != [health]:
            self.health.append(health)
        self._changed.set()

    async def __aenter__(self) -> Following:
        await self.poller.__aenter__()
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.poller.__aexit__(None, None, None)

    async def _run(self) -> None:
        async with aclosing(self.poller.follow()) as lists:
            async for items in lists:
                self._index.apply(items)
                self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                self._changed.clear()
                changed = asyncio.create_task(self._changed.wait())
                await asyncio.wait({changed, self._task}, return_when=asyncio.FIRST_COMPLETED)
                if self._task.done():
                    self._task.result()
                changed.cancel()

    @property
    def states(self) -> list[SourceState]:
        return [health.state for health in self.health]


def posts_of(path: Path, *, most: int | None = None) -> list[Post]:
    """The posts of blocks in a recording, the first ``most`` of them."""
    found = ((post.path, post.body) for post in read_recording(path) if post.path == NEW_BLOCK)
    return list(itertools.islice(found, most))


def blocks_of(posts: Sequence[Post]) -> list[Block]:
    blocks = [item for path, body in posts for item in decode_post(path, body)]
    return [block for block in blocks if isinstance(block, Block) and block.height > 0]


def with_their_burn_blocks(blocks: Sequence[Block]) -> list[Block | BurnBlock]:
    """What the posts say of Bitcoin blocks that have Stacks blocks: the API tells no others."""
    items: list[Block | BurnBlock] = []
    for block in blocks:
        assert block.burn is not None
        items += [block.burn, block]
    return items


def everything(connection: psycopg.Connection[Any]) -> dict[str, list[Any]]:
    """All rows of the canonical chain, but for what the API does not tell, and the digest of every block."""
    rows = {
        "digest": connection.execute(
            "SELECT height, hash, clarion.digest_at('stacks', height) FROM clarion.canonical_block ORDER BY height"
        ).fetchall()
    }
    # The API tells of a transaction and of an event what a node's bytes of it say.
    told = {
        "block": "to_jsonb(t) - '{extra,seen_at}'::text[]",
        "transaction": "to_jsonb(t) - '{raw}'::text[] "
        "|| jsonb_build_object('payload', clarion.transaction_payload(t.kind, t.payload, t.raw))",
        "event": "to_jsonb(t) || jsonb_build_object('value', clarion.event_value(t.kind, t.value, t.raw))",
    }
    for table, columns in told.items():
        hash_column = "hash" if table == "block" else "block_hash"
        rows[table] = connection.execute(
            f"SELECT {columns} FROM clarion.{table} t JOIN clarion.canonical_block c "
            f"ON c.chain = t.chain AND c.hash = t.{hash_column} ORDER BY 1"
        ).fetchall()
    return rows


def indexed(
    connection: psycopg.Connection[Any], items: Sequence[Block | BurnBlock], protocols: Sequence[DeployedProtocol] = ()
) -> dict[str, list[Any]]:
    """All there is after ``items`` themselves were indexed; the tables are empty again afterwards."""
    StoredIndex(connection, protocols).apply(items)
    rows = everything(connection)
    truncate_index(connection, *(row_type.name for deployed in protocols for row_type in deployed.protocol.row_types))
    return rows


async def test_a_recorded_devnet_through_cuts_forks_and_restarts(connection: psycopg.Connection[Any]) -> None:
    protocols = [bithedge.deployed_by(DEPLOYER.address)]
    posts = posts_of(DEVNET, most=115)
    blocks = blocks_of(posts)
    assert len({block.height for block in blocks}) + 17 == len(blocks), "both forks of the recording are in it"
    expected = indexed(connection, with_their_burn_blocks(blocks), protocols)
    assert len({row[2] for row in expected["digest"]}) > 50

    index = StoredIndex(connection, protocols)
    api = HiroApi(posts[:41])
    async with serving(api) as server, Following(server.url, index, batch=7) as following:
        await following.until(lambda: index.store.tip.height == 40)

        await server.stop()
        for path, body in posts[41:80]:
            api.post(path, body)
        await following.until(lambda: SourceState.UNREACHABLE in following.states)
        assert index.store.tip.height == 40
        await server.start()
        await following.until(lambda: index.store.tip.height == api.tip.height)
        assert following.states[-1] is SourceState.HEALTHY

        seen = len(index.given)
        height = api.tip.height
        await server.stop()
        server.api = HiroApi(posts[:60])
        await server.start()
        await following.until(lambda: following.states[-1] is SourceState.BEHIND)
        assert (len(index.given), index.store.tip.height) == (seen, height)
        await server.stop()
        server.api = api
        await server.start()
        for start in range(80, len(posts), 10):
            for path, body in posts[start : start + 10]:
                api.post(path, body)
            await following.until(lambda: index.store.tip.height == api.tip.height)
        await following.until(lambda: following.states[-1] is SourceState.HEALTHY)

    assert everything(connection) == expected


def toy_chain(
    length: int, *, on: Block | None = None, branch: str = "main", burn: BurnBlock | None = None
) -> list[Block]:
    """Blocks in each of which one account is moved, all anchored to ``burn`` or each to a Bitcoin block of its own."""
    blocks: list[Block] = []
    for _ in range(length):
        parent = blocks[-1] if blocks else on
        height = 1 if parent is None else parent.height + 1
        anchor = burn or toy.burn_block(height, branch)
        blocks.append(toy.block(parent, [toy.move("anna", height)], branch=branch, burn=anchor))
    return blocks


def post_all(api: HiroApi, blocks: Sequence[Block]) -> None:
    for block in blocks:
        values = [event.value for event in block.events]
        api.post(NEW_BLOCK, body(moves_payload(block, [value for value in values if isinstance(value, dict)])))


def canonical(connection: psycopg.Connection[Any]) -> list[bytes]:
    rows = connection.execute("SELECT hash FROM clarion.canonical_block ORDER BY height").fetchall()
    return [row[0] for row in rows]


def hashes(blocks: Sequence[Block]) -> list[bytes]:
    return [block.hash for block in blocks]


async def test_mainnet_with_four_forks(chain_data: Path, connection: psycopg.Connection[Any]) -> None:
    file = chain_data / "stacks" / "mainnet-2021-four-forks.tsv"
    blocks = blocks_of(posts_of(file))
    expected = indexed(connection, with_their_burn_blocks(blocks))
    index, api = StoredIndex(connection), HiroApi()
    raw = [(post.path, post.body) for post in read_recording(file) if post.path != NEW_BURN_BLOCK]
    async with serving(api) as server, Following(server.url, index) as following:
        await following.until(lambda: following.states == [SourceState.BEHIND])
        for path, posted in raw:
            api.post(path, posted)
            await following.until(lambda: not api.canonical or index.store.tip.height == api.tip.height)
    got = everything(connection)
    for rows in (expected["event"], got["event"]):
        for (row,) in rows:
            if row["kind"] == "stx_lock":
                del row["value"]["contract_identifier"]  # nodes of that time did not tell, today's do
    assert got == expected


async def test_a_wake_up_shortens_the_wait_at_the_tip(connection: psycopg.Connection[Any]) -> None:
    blocks = toy_chain(4)
    index, api = StoredIndex(connection), HiroApi()
    post_all(api, blocks[:3])
    async with serving(api) as server:
        async with Following(server.url, index, listen=True, poll_seconds=3600) as following:
            await following.until(lambda: index.store.tip.height == 3 and len(api.listeners) == 1)
            post_all(api, blocks[3:])
            await following.until(lambda: index.store.tip.height == 4)
        assert canonical(connection) == hashes(blocks)


async def test_looking_at_an_unchanged_tip_is_one_small_request(connection: psycopg.Connection[Any]) -> None:
    index, api = StoredIndex(connection), HiroApi()
    post_all(api, toy_chain(3))
    async with serving(api) as server, Following(server.url, index, poll_seconds=0.001) as following:
        await following.until(lambda: index.store.tip.height == 3)
        asked = api.asked.copy()
        await following.until(lambda: api.asked["/extended"] >= asked["/extended"] + 20)
    assert [name for name in (api.asked - asked) if name != "/extended"] == []
    assert api.headers_seen[-1]["if-none-match"] == f'"{api.tip.hash}"'


async def test_backfill_asks_little_for_many_blocks(connection: psycopg.Connection[Any]) -> None:
    blocks = toy_chain(90)
    index, api = StoredIndex(connection), HiroApi()
    post_all(api, blocks)
    async with serving(api) as server, Following(server.url, index, poll_seconds=3600) as following:
        await following.until(lambda: index.store.tip.height == 90)
    assert canonical(connection) == hashes(blocks)
    assert api.asked == {
        "/extended": 4,
        "/extended/v2/blocks/{block}": 3,
        "/extended/v2/blocks": 3,
        "/extended/v3/transactions": 3,
        "/extended/v1/tx/multiple": 3,
    }


async def test_a_fork_deeper_than_a_batch(connection: psycopg.Connection[Any]) -> None:
    trunk, burn = toy_chain(5), toy.burn_block(6)
    old = toy_chain(20, on=trunk[-1], branch="old", burn=burn)
    new = toy_chain(40, on=trunk[-1], branch="new", burn=burn)
    index, api = StoredIndex(connection), HiroApi()
    post_all(api, trunk + old)
    async with serving(api) as server, Following(server.url, index, batch=6) as following:
        await following.until(lambda: index.store.tip.height == 25)
        post_all(api, new)
        await following.until(lambda: index.store.tip.height == 45)
    assert canonical(connection) == hashes(trunk + new)


async def test_a_bitcoin_fork_that_leaves_a_lower_tip(connection: psycopg.Connection[Any]) -> None:
    trunk = toy_chain(5)
    old = toy_chain(6, on=trunk[-1], branch="old")
    new = toy.block(trunk[-1], [toy.move("ben", 1)], branch="new", burn=toy.burn_block(12, "new"))
    index, api = StoredIndex(connection), HiroApi()
    post_all(api, trunk + old)
    async with serving(api) as server, Following(server.url, index) as following:
        await following.until(lambda: index.store.tip.height == 11)
        # Bitcoin went on from block 5: what was anchored to 6 to 11 is gone, the first new block is anchored to 12.
        api.go_back_to(5)
        post_all(api, [new])
        await following.until(lambda: new.hash in {item.hash for item in index.given if isinstance(item, Block)})
        assert following.states[-1] is SourceState.HEALTHY


async def test_an_api_that_is_behind_is_no_fork(connection: psycopg.Connection[Any]) -> None:
    blocks = toy_chain(8)
    stale = toy_chain(2, on=blocks[4], branch="stale")
    index, api = StoredIndex(connection), HiroApi()
    post_all(api, blocks)
    async with serving(api) as server, Following(server.url, index) as following:
        await following.until(lambda: index.store.tip.height == 8)
        api.go_back_to(5)
        post_all(api, stale)
        await following.until(lambda: following.states[-1] is SourceState.BEHIND)
        assert following.health[-1].detail == "its tip is 7, the index is at 8"
        assert following.health[-1].height == 7
        post_all(api, blocks[5:])
        await following.until(lambda: following.states[-1] is SourceState.HEALTHY)
    assert canonical(connection) == hashes(blocks)


async def test_cut_connections_and_refusals_on_the_way(connection: psycopg.Connection[Any]) -> None:
    blocks = toy_chain(24)
    index, api = StoredIndex(connection), HiroApi()
    post_all(api, blocks)
    faults = 0

    def fault(path: str) -> None:
        nonlocal faults
        asked = api.asked.total() + faults
        if asked % 3 == 1:
            api.cut += 1
        elif asked % 5 == 2:
            api.answers.append(rate_limited(retry_after="0"))
        elif asked % 7 == 3:
            api.answers.append(PlainTextResponse("broken", status_code=502))
        else:
            return
        faults += 1

    api.before = fault
    async with serving(api) as server, Following(server.url, index, batch=4) as following:
        await following.until(lambda: index.store.tip.height == 24)
    assert canonical(connection) == hashes(blocks)
    assert faults > 10


@pytest.mark.parametrize(
    "route",
    ["/extended/v2/blocks", "/extended/v3/transactions", "/extended/v1/tx/multiple"],
    ids=["headers", "transactions", "details"],
)
async def test_a_fork_while_a_batch_is_read(connection: psycopg.Connection[Any], route: str) -> None:
    trunk, burn = toy_chain(10), toy.burn_block(11)
    old = toy_chain(10, on=trunk[-1], branch="old", burn=burn)
    new = toy_chain(12, on=trunk[-1], branch="new", burn=burn)
    index, api = StoredIndex(connection), HiroApi()
    post_all(api, trunk + old)

    def fork(path: str) -> None:
        if path == route:
            api.before = lambda path: None
            post_all(api, new)

    api.before = fork
    async with serving(api) as server, Following(server.url, index) as following:
        await following.until(lambda: index.store.tip.height == 22)
    assert canonical(connection) == hashes(trunk + new)


async def test_a_block_the_index_does_not_take_is_offered_again(connection: psycopg.Connection[Any]) -> None:
    blocks = toy_chain(3)
    index, api = StoredIndex(connection), HiroApi()
    post_all(api, blocks)
    offers: list[list[bytes]] = []
    apply = index.apply

    def reluctant(items: Sequence[Block | BurnBlock]) -> None:
        offers.append([item.hash for item in items if isinstance(item, Block)])
        if len(offers) == 3:
            apply(items)

    index.apply = reluctant  # type: ignore[method-assign]
    async with serving(api) as server, Following(server.url, index) as following:
        await following.until(lambda: index.store.tip.height == 3)
    assert offers == [hashes(blocks)] * 3
    assert following.health[0].state is SourceState.HEALTHY
    details = {health.detail for health in following.health if health.detail}
    assert details == {f"the index was given {blocks[-1].ref} and does not hold it"}


async def test_one_block_for_a_missing_parent(connection: psycopg.Connection[Any]) -> None:
    blocks = toy_chain(3)
    index, api = StoredIndex(connection), HiroApi()
    post_all(api, blocks)
    async with serving(api) as server, HiroPoller(HiroApiClient(server.url), index) as poller:
        block = await poller.block(blocks[1].hash)
        assert block is not None
        assert block.events[0].value == blocks[1].events[0].value
        assert await poller.block(bytes(32)) is None


async def test_it_begins_where_it_is_told_to(connection: psycopg.Connection[Any]) -> None:
    blocks = toy_chain(12)
    index, api = StoredIndex(connection, start_height=7), HiroApi()
    post_all(api, blocks)
    async with serving(api) as server, Following(server.url, index, start_height=7, batch=3) as following:
        await following.until(lambda: index.store.tip.height == 12)
    assert canonical(connection) == hashes(blocks[6:])


async def test_it_waits_for_the_block_it_is_to_begin_with(connection: psycopg.Connection[Any]) -> None:
    blocks = toy_chain(8)
    index, api = StoredIndex(connection, start_height=7), HiroApi()
    post_all(api, blocks[:5])
    async with serving(api) as server, Following(server.url, index, start_height=7) as following:
        await following.until(lambda: following.states == [SourceState.BEHIND])
        assert following.health[0].detail == "its tip is 5, the index begins with 7"
        post_all(api, blocks[5:])
        await following.until(lambda: index.store.tip.height == 8)
    assert canonical(connection) == hashes(blocks[6:])


async def test_an_api_of_another_chain(connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hiro_poller, "DEEP_FORK", 20)
    index, api = StoredIndex(connection), HiroApi()
    index.apply(with_their_burn_blocks(toy_chain(50, burn=toy.burn_block(1))))
    given = len(index.given)
    post_all(api, toy_chain(60, branch="testnet", burn=toy.burn_block(1)))
    async with serving(api) as server, Following(server.url, index) as following:
        await following.until(lambda: SourceState.UNREACHABLE in following.states)
    assert len(index.given) == given
    assert "is of another chain: its block 1 (0x" in (following.health[-1].detail or "")


async def test_what_the_index_raises_ends_it(connection: psycopg.Connection[Any]) -> None:
    api = HiroApi()
    post_all(api, toy_chain(2))
    index = StoredIndex(connection)

    async def lost() -> IndexTip | None:
        raise psycopg.OperationalError("the connection is lost")

    index.tip = lost  # type: ignore[method-assign]
    async with serving(api) as server, HiroPoller(HiroApiClient(server.url), index, listen=False) as poller:
        with pytest.raises(psycopg.OperationalError, match="connection is lost"):
            await anext(poller.follow())


async def test_it_may_be_begun_again_after_a_batch_that_was_not_applied(connection: psycopg.Connection[Any]) -> None:
    blocks = toy_chain(12)
    index, api = StoredIndex(connection), HiroApi()
    post_all(api, blocks)
    async with serving(api) as server:
        options: dict[str, Any] = {"batch": 3, "poll_seconds": 0.02, "listen": False}
        async with HiroPoller(HiroApiClient(server.url), index, **options) as poller:
            async with aclosing(poller.follow()) as lists:
                index.apply(await anext(lists))
                await anext(lists)  # the database goes away
            async with aclosing(poller.follow()) as lists:
                while index.store.tip.height != 12:
                    index.apply(await anext(lists))
    assert canonical(connection) == hashes(blocks)
    counted = connection.execute("SELECT count(*) FROM clarion.canonical_burn_block").fetchone()
    assert counted == (12,)


async def test_rubbish_is_a_fault_of_the_api(connection: psycopg.Connection[Any]) -> None:
    blocks = toy_chain(2)
    index, api = StoredIndex(connection), HiroApi()
    post_all(api, blocks)
    tip = {"block_height": 2, "index_block_hash": "0xzz", "burn_block_height": 2}
    api.answers.append(JSONResponse({"status": "ready", "chain_tip": tip}))
    api.answers.append(PlainTextResponse("<html>"))
    async with serving(api) as server, Following(server.url, index) as following:
        await following.until(lambda: index.store.tip.height == 2)
    assert canonical(connection) == hashes(blocks)
    details = [health.detail or "" for health in following.health if health.state is SourceState.UNREACHABLE]
    assert details[0].startswith("the Hiro API's tip: ")
    assert details[1].startswith("/extended: the answer is not of the documented shape")
