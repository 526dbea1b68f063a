"""The index service behind a running devnet: its posts, its forks, and the blocks it is asked for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg
from msgspec.structs import replace

from clarion.chains.model import Block, EventKind
from clarion.chains.stacks.node_client import NodeClient
from clarion.config import Node, Observer, Settings
from clarion.indexing import IndexService
from clarion.store import chain_log

DEADLINE_SECONDS = 120
ADDRESS = "ST1PQHQKV0RJXZFY1DGX8MNSNYVE3VGZJSRTPGZGM"

StartDevnet = Callable[..., Any]


@dataclass
class Devnet:
    """The devnet's control routes."""

    client: httpx.AsyncClient

    async def ask(self, path: str, **body: Any) -> Any:
        answer = await self.client.post(f"/devnet/{path}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def tip(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.client.get("/devnet/status")).json()["tip"]
        return found

    async def make_history(self) -> None:
        """Blocks with transfers, token events and prints, empty ones, and several Bitcoin blocks."""
        await self.ask("fund", address=ADDRESS, ustx="5000000", sbtc="700")
        await self.ask("mine")
        await self.ask("burn", blocks=2)
        await self.ask("fund", address=ADDRESS, sbtc="800")
        await self.ask("mine", blocks=3)


@contextlib.asynccontextmanager
async def indexing(database_url: str, node_url: str, port: int = 0) -> AsyncIterator[str]:
    """A service that indexes a devnet, and its observer's URL."""
    settings = Settings(
        database_url=database_url,  # type: ignore[arg-type]
        protocols=[],
        observer=Observer(port=port),
        node=Node(url=node_url),
    )
    service = IndexService(settings, database_url, [])
    listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(service.run(listening.set_result))
    await asyncio.wait({listening, task}, return_when=asyncio.FIRST_COMPLETED)
    try:
        yield listening.result()
    finally:
        service.stop()
        await task


@contextlib.asynccontextmanager
async def control(url: str) -> AsyncIterator[Devnet]:
    async with httpx.AsyncClient(base_url=url, timeout=DEADLINE_SECONDS) as client:
        yield Devnet(client)


async def until_at(observer: str, tip: dict[str, Any]) -> dict[str, Any]:
    """Wait until the index stands at the devnet's tip."""
    async with httpx.AsyncClient(base_url=observer) as client, asyncio.timeout(DEADLINE_SECONDS):
        while True:
            health: dict[str, Any] = (await client.get("/readyz")).json()
            if health["hash"] == tip["index_block_hash"] and health["ready"]:
                return health
            await asyncio.sleep(0.02)


def canonical_blocks(connection: psycopg.Connection[Any]) -> list[Block]:
    hashes = connection.execute("SELECT hash FROM clarion.canonical_block ORDER BY height").fetchall()
    return chain_log.load(connection, "stacks", [block_hash for (block_hash,) in hashes])


@contextlib.asynccontextmanager
async def free_port() -> AsyncIterator[int]:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    yield port


async def test_a_devnets_history_and_its_forks_are_indexed(
    start_devnet: StartDevnet, database_url: str, connection: psycopg.Connection[Any]
) -> None:
    async with free_port() as port:
        devnet = await asyncio.to_thread(start_devnet, observer=f"http://127.0.0.1:{port}")
        async with control(devnet.url) as chain, indexing(database_url, devnet.url, port) as observer:
            await chain.make_history()
            health = await until_at(observer, await chain.tip())
            assert health["missing_blocks"] == []
            before = canonical_blocks(connection)
            assert [block.height for block in before] == list(range(before[-1].height + 1))
            kinds = {event.kind for block in before for event in block.events}
            assert {EventKind.PRINT, EventKind.FT_MINT, EventKind.STX_TRANSFER} <= kinds
            assert all(tx.decode_error is None for block in before for tx in block.transactions)

            forked = await chain.ask("fork", depth=4)
            tip = await chain.tip()
            await until_at(observer, tip)
            after = canonical_blocks(connection)
            kept = forked["fork_point"]["height"] + 1
            assert after[:kept] == before[:kept]
            new = [block["index_block_hash"] for block in forked["new"]["blocks"]]
            assert [f"0x{block.hash.hex()}" for block in after[kept:]] == new
            assert f"0x{after[-1].hash.hex()}" == tip["index_block_hash"]
            # The old branch stays in the log.
            old = {bytes.fromhex(block["index_block_hash"][2:]) for block in forked["old"]["blocks"]}
            orphaned = connection.execute(
                "SELECT hash FROM clarion.block WHERE hash NOT IN (SELECT hash FROM clarion.canonical_block)"
            ).fetchall()
            assert {block_hash for (block_hash,) in orphaned} == old


async def test_a_block_asked_for_is_the_block_that_was_posted(
    start_devnet: StartDevnet, database_url: str, connection: psycopg.Connection[Any]
) -> None:
    async with free_port() as port:
        devnet = await asyncio.to_thread(start_devnet, observer=f"http://127.0.0.1:{port}")
        async with control(devnet.url) as chain, indexing(database_url, devnet.url, port) as observer:
            await chain.make_history()
            await until_at(observer, await chain.tip())
        posted = canonical_blocks(connection)
        assert sum(len(block.events) for block in posted) >= 5
        async with NodeClient(devnet.url) as node:
            for block in posted[1:]:
                asked = await node.block(block.hash)
                assert asked is not None
                assert asked.burn is not None
                assert block.burn is not None
                assert (asked.burn.height, asked.burn.hash) == (block.burn.height, block.burn.hash)
                assert asked.burn.time is not None
                assert {name: value for name, value in asked.extra.items() if value is not None}.items() <= (
                    block.extra.items()
                )
                assert replace(asked, burn=block.burn, extra=block.extra) == block
            assert await node.block(bytes(32)) is None


async def test_an_observer_that_comes_late_asks_for_what_it_missed(
    start_devnet: StartDevnet, database_url: str, connection: psycopg.Connection[Any]
) -> None:
    first = await asyncio.to_thread(start_devnet)
    async with control(first.url) as chain:
        await chain.make_history()
        missed = await chain.tip()
    await asyncio.to_thread(first.stop)
    async with free_port() as port:
        second = await asyncio.to_thread(start_devnet, observer=f"http://127.0.0.1:{port}", state=first.state)
        async with control(second.url) as chain, indexing(database_url, second.url, port) as observer:
            await chain.ask("mine")
            tip = await chain.tip()
            assert tip["height"] == missed["height"] + 1
            await until_at(observer, tip)
    blocks = canonical_blocks(connection)
    assert [block.height for block in blocks][-tip["height"] :] == list(range(1, tip["height"] + 1))
    assert any(event.kind is EventKind.FT_MINT for block in blocks for event in block.events)
