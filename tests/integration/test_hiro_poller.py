"""Recorded chains through the API and the poller into Postgres: the same index as from the posts themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from support import toy
from support.hiro_api import HiroApi, Post, serving
from support.index import truncate_index

from clarion.chains.model import Block, BurnBlock
from clarion.chains.stacks.hiro_poller import Health, HiroPoller, IndexTip, SourceState
from clarion.chains.stacks.node_payloads import NEW_BLOCK, NEW_BURN_BLOCK, decode_post
from clarion.chains.stacks.recording import read_recording
from clarion.dev.accounts import DEPLOYER
from clarion.follower import Follower
from clarion.ingest import ingest
from clarion.protocol import DeployedProtocol
from clarion.protocols.bithedge import protocol as bithedge
from clarion.store.database import connect
from clarion.store.store import Store
from hiro_api_client import HiroApiClient

REPOSITORY = Path(__file__).parents[2]
DEVNET = REPOSITORY / "fixtures" / "bithedge-devnet.tsv.zst"


class StoredIndex:
    """An index in Postgres, as the poller sees it and feeds it."""

    def __init__(self, connection: psycopg.Connection[Any], protocols: Sequence[DeployedProtocol] = ()) -> None:
        self.store = Store(connection, "stacks", protocols)
        self.store.open()
        self._follower = Follower(start_height=0)
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
        self.poller = HiroPoller(
            client,
            index,
            report=self._note,
            **{"poll_seconds": 0.02, "backoff_seconds": (0.01, 0.05), "listen": False} | options,
        )
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


def posts_of(path: Path) -> list[Post]:
    return [(post.path, post.body) for post in read_recording(path) if post.path in (NEW_BLOCK, NEW_BURN_BLOCK)]


def blocks_of(posts: Sequence[Post]) -> list[Block]:
    blocks = [item for path, body in posts if path == NEW_BLOCK for item in decode_post(path, body)]
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
    left_out = {"block": ["extra", "seen_at"], "transaction": ["raw"], "event": []}
    for table, columns in left_out.items():
        hash_column = "hash" if table == "block" else "block_hash"
        rows[table] = connection.execute(
            f"SELECT to_jsonb(t) - %s::text[] FROM clarion.{table} t JOIN clarion.canonical_block c "
            f"ON c.chain = t.chain AND c.hash = t.{hash_column} ORDER BY 1",
            (columns,),
        ).fetchall()
    return rows


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with connect(database_url, autocommit=True) as opened:
        toy.create_tables(opened)
        yield opened


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
    posts = [post for post in posts_of(DEVNET) if post[0] == NEW_BLOCK][:150]
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
