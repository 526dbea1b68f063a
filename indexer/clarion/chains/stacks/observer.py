"""The event observer: the HTTP server a Stacks node posts to.

A node repeats a post for ever until it is answered exactly 200, and stands still meanwhile. So every post is answered
200 once it is safe or known to be without use, whatever it holds; only what may work later (the database is away) is
answered 503. See stacks-core, ``stacks-node/src/event_dispatcher/worker.rs``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Final, Protocol

import psycopg
import structlog
from prometheus_client import Counter
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from clarion.chains.stacks.node_payloads import DROP_MEMPOOL_TX, NEW_BLOCK, NEW_BURN_BLOCK, NEW_MEMPOOL_TX

#: Posts that are kept. All others are answered and dropped: a microblock's transactions come again with the block that
#: confirms them, and the rest says nothing about the chain.
KEPT_PATHS: Final = frozenset({NEW_BLOCK, NEW_BURN_BLOCK, NEW_MEMPOOL_TX, DROP_MEMPOOL_TX})

IDLE_SECONDS: Final = 60.0

POSTS: Final = Counter("clarion_observer_posts", "Posts by path (other: not kept) and answer.", ["path", "status"])

log = structlog.get_logger(__name__)


class Keep(Protocol):
    """Where posts are kept."""

    async def __call__(self, path: str, body: bytes, *, source: str, error: str | None = None) -> None:
        """Keep a post durably; ``error`` says why it can never be applied. Raises psycopg.Error where it cannot."""


class Room:
    """Room in memory for bodies that are being received and written, shared by all connections.

    Who finds none waits, in turn, before reading on: TCP then slows the node down.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._free = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @contextlib.asynccontextmanager
    async def for_bytes(self, size: int) -> AsyncIterator[None]:
        """Hold room for ``size`` bytes, or for all there is."""
        size = min(size, self._size)
        if size > self._free or (size > 0 and self._waiting):
            await self._turn(size)
        else:
            self._free -= size
        try:
            yield
        finally:
            self._give_back(size)

    async def _turn(self, size: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            # a turn that came in the same moment is passed on
            self._give_back(0 if turn.cancelled() else size)
            raise

    def _give_back(self, size: int) -> None:
        self._free += size
        while self._waiting and (self._waiting[0][1].cancelled() or self._waiting[0][0] <= self._free):
            asked, turn = self._waiting.popleft()
            if not turn.cancelled():
                self._free -= asked
                turn.set_result(None)


def observer_app(
    keep: Keep,
    *,
    max_body_bytes: int,
    max_memory_bytes: int,
    idle_seconds: float = IDLE_SECONDS,
    routes: Sequence[Route] = (),
) -> Starlette:
    """The observer's ASGI application: every POST is a node's. ``routes`` are served beside.

    ``max_body_bytes``: a larger post is answered and only its size is kept. ``max_memory_bytes``: what bodies may take
    at once. ``idle_seconds``: a sender that is silent for so long within a post is given up.
    """
    room = Room(max_memory_bytes)

    async def post(request: Request) -> JSONResponse:
        answer = await take(request)
        path = request.url.path
        POSTS.labels(path if path in KEPT_PATHS else "other", answer.status_code).inc()
        return answer

    async def take(request: Request) -> JSONResponse:
        path = request.url.path
        limit = max_body_bytes if path in KEPT_PATHS else 0
        async with room.for_bytes(min(_announced_size(request, limit), limit)):
            try:
                body, size = await _read(request, limit, idle_seconds)
            except (ClientDisconnect, TimeoutError):
                return JSONResponse({"error": "the post ended early"}, status_code=400)
            if path not in KEPT_PATHS:
                return JSONResponse({"status": "ignored"})
            error = None
            if size > limit:
                error = f"{path} of {size} bytes is larger than observer.max_body_bytes, {limit}"
                body = b""
                log.error("post_too_large", path=path, bytes=size, limit=limit)
            try:
                await keep(path, body, source=_source(request), error=error)
            except psycopg.Error as failure:
                log.warning("post_not_stored", path=path, bytes=size, error=str(failure))
                return JSONResponse({"error": "not stored; send it again"}, status_code=503)
        return JSONResponse({"status": "ok"})

    return Starlette(routes=[*routes, Route("/{path:path}", post, methods=["POST"])])


def _source(request: Request) -> str:
    """Name of the node that posts: its address. Ports change with every post."""
    return f"observer:{request.client.host}" if request.client else "observer"


def _announced_size(request: Request, limit: int) -> int:
    """How large the body will be, or ``limit`` where the sender does not tell."""
    announced = request.headers.get("content-length", "")
    return int(announced) if announced.isdigit() else limit


async def _read(request: Request, limit: int, idle_seconds: float) -> tuple[bytes, int]:
    """The body up to about ``limit`` bytes, and its whole size.

    All of it is received even so: a node whose sending is cut off reads no answer and sends again. Raises
    ClientDisconnect, and TimeoutError where nothing comes for ``idle_seconds``.
    """
    chunks: list[bytes] = []
    size = 0
    stream = aiter(request.stream())
    while True:
        async with asyncio.timeout(idle_seconds):
            chunk = await anext(stream, None)
        if chunk is None:
            return b"".join(chunks), size
        if size < limit:
            chunks.append(chunk)
        size += len(chunk)
