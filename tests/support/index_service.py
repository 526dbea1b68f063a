"""The index service in the test's own process, the node that posts to it, and the node that it asks."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg
from prometheus_client import REGISTRY
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route
from uvicorn import Config, Server

from clarion.chains.model import Block
from clarion.chains.stacks.node_payloads import decode_new_block
from clarion.config import Node, Observer, Settings
from clarion.follower import Follower
from clarion.indexing import IndexService
from clarion.ingest import ingest
from clarion.store.store import Store
from support import toy
from support.index import truncate_index
from support.node_posts import body, hex_of, moves_payload, replayed_payload

DEADLINE_SECONDS = 120


def settings_for(database_url: str, *, node: str = "http://127.0.0.1:9", **values: Any) -> Settings:
    return Settings(
        database_url=database_url,  # type: ignore[arg-type]
        protocols=[],
        observer=Observer(port=0),
        node=Node(url=node),
        **values,
    )


@dataclass
class Running:
    """A service in this process and a client of its observer."""

    service: IndexService
    url: str
    client: httpx.AsyncClient
    task: asyncio.Task[None]

    async def post(self, path: str, content: bytes) -> httpx.Response:
        return await self.client.post(path, content=content, headers={"content-type": "application/json"})

    async def post_until_accepted(self, path: str, content: bytes) -> None:
        """As a node does: again and again until the answer is exactly 200."""

        async def accepted() -> bool:
            try:
                return (await self.post(path, content)).status_code == 200
            except httpx.TransportError:
                return False

        await until(accepted)

    async def readiness(self) -> dict[str, Any]:
        answer: dict[str, Any] = (await self.client.get("/readyz")).json()
        return answer

    async def until_height(self, height: int) -> dict[str, Any]:
        found: dict[str, Any] = {}

        async def reached() -> bool:
            found.update(await self.readiness())
            return found.get("height") == height and found["inbox_pending"] == 0

        await until(reached)
        return found


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a condition that only others bring about."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not await condition():  # noqa: ASYNC110 (what is waited for is in another process or behind HTTP)
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Running]:
    assert settings.database_url is not None
    service = IndexService(settings, settings.database_url.get_secret_value(), [toy.deployed()])
    listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(service.run(listening.set_result))
    await asyncio.wait({listening, task}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    try:
        async with httpx.AsyncClient(base_url=listening.result(), timeout=DEADLINE_SECONDS) as client:
            yield Running(service, listening.result(), client, task)
    finally:
        service.stop()
        await task


def chain(length: int, *, on: Block | None = None, branch: str = "main") -> list[Block]:
    blocks: list[Block] = []
    for _ in range(length):
        blocks.append(toy.block(blocks[-1] if blocks else on, branch=branch))
    return blocks


def payload(block: Block) -> bytes:
    return body(moves_payload(block, [toy.move(f"owner-{block.height % 3}", block.height)]))


def index_of(connection: psycopg.Connection[Any]) -> list[Any]:
    """The canonical chain with its digests, and the rows that came of it."""
    return [
        connection.execute(
            "SELECT height, hash, clarion.digest_at(chain, height) FROM clarion.canonical_block ORDER BY height"
        ).fetchall(),
        connection.execute("SELECT * FROM toy.account ORDER BY owner").fetchall(),
    ]


def fresh_index(connection: psycopg.Connection[Any], blocks: Sequence[Block]) -> list[Any]:
    """What an index of these blocks alone holds, made in a transaction that is undone."""
    return fresh_index_of_posts(connection, [payload(block) for block in blocks])


def fresh_index_of_posts(connection: psycopg.Connection[Any], posts: Sequence[bytes]) -> list[Any]:
    """What an index of these ``/new_block`` posts alone holds, made in a transaction that is undone."""
    with connection.transaction(force_rollback=True):
        truncate_index(connection, "toy.account")
        store = Store(connection, "stacks", [toy.deployed()])
        store.open()
        ingest(store, Follower(), [decode_new_block(post) for post in posts])
        return index_of(connection)


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


@contextlib.asynccontextmanager
async def served(app: Starlette) -> AsyncIterator[str]:
    """An ASGI application on a port of its own."""
    config = Config(app, host="127.0.0.1", port=0, lifespan="off", log_config=None, ws="none", loop="none")
    server = Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]
    task = asyncio.create_task(server.serve())

    async def started() -> bool:
        return server.started

    await until(started)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


class FakeNode:
    """Answers a node's replay and sortition routes for some blocks."""

    def __init__(self, blocks: Sequence[Block], *, token: str | None = None) -> None:
        self.blocks = {block.hash.hex(): block for block in blocks}
        self.token = token
        self.asked: list[str] = []
        self.app = Starlette(
            routes=[
                Route("/v3/blocks/replay/{block_hash}", self.replay),
                Route("/v3/sortitions/consensus/{consensus_hash}", self.sortition),
            ]
        )

    async def replay(self, request: Request) -> JSONResponse | PlainTextResponse:
        block_hash = request.path_params["block_hash"]
        self.asked.append(block_hash)
        if self.token is not None and request.headers.get("authorization") != self.token:
            return PlainTextResponse("Unauthorized", status_code=401)
        block = self.blocks.get(block_hash)
        if block is None:
            return PlainTextResponse("No such block", status_code=404)
        return JSONResponse(replayed_payload(json.loads(payload(block))))

    async def sortition(self, request: Request) -> JSONResponse | PlainTextResponse:
        for block in self.blocks.values():
            assert block.burn is not None
            if block.burn.hash[:20].hex() == request.path_params["consensus_hash"]:
                return JSONResponse(
                    [{"burn_block_hash": hex_of(block.burn.hash), "burn_block_height": block.burn.height}]
                )
        return PlainTextResponse("Could not find snapshot", status_code=404)
