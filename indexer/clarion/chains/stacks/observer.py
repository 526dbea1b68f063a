"""The event observer: the HTTP server a Stacks node posts to.

A node repeats a post for ever until it is answered exactly 200, and stands still meanwhile. So every post is answered
200 once it is safe or known to be without use, whatever it holds; only what may work later (the database is away) is
answered 503. See stacks-core, ``stacks-node/src/event_dispatcher/worker.rs``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import psycopg
import structlog
from prometheus_client import Counter
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from clarion.chains.model import JsonValue
from clarion.chains.stacks.node_payloads import DROP_MEMPOOL_TX, NEW_BLOCK, NEW_BURN_BLOCK, NEW_MEMPOOL_TX

#: Posts that are kept. All others are answered and dropped: a microblock's transactions come again with the block that
#: confirms them, and the rest says nothing about the chain.
KEPT_PATHS: Final = frozenset({NEW_BLOCK, NEW_BURN_BLOCK, NEW_MEMPOOL_TX, DROP_MEMPOOL_TX})

MAX_BODY_BYTES: Final = 500 << 20
"""The genesis block of mainnet is about 80 MB."""

POSTS: Final = Counter("clarion_observer_posts", "Posts by path (other: not kept) and answer.", ["path", "status"])

log = structlog.get_logger(__name__)


class Keep(Protocol):
    """Where posts are kept."""

    async def __call__(self, path: str, body: bytes, *, error: str | None = None) -> None:
        """Keep a post durably; ``error`` says why it can never be applied. Raises psycopg.Error where it cannot."""


Health = Callable[[], Awaitable[tuple[bool, dict[str, JsonValue]]]]


def observer_app(keep: Keep, health: Health, *, max_body_bytes: int = MAX_BODY_BYTES) -> Starlette:
    """The observer's ASGI application: every POST is a node's, ``GET /health`` is for people and probes.

    ``health`` gives whether all is well (200 or 503) and what to answer.
    """

    async def post(request: Request) -> JSONResponse:
        answer = await take(request)
        path = request.url.path
        POSTS.labels(path if path in KEPT_PATHS else "other", answer.status_code).inc()
        return answer

    async def take(request: Request) -> JSONResponse:
        path = request.url.path
        try:
            body, size = await _read(request, max_body_bytes if path in KEPT_PATHS else 0)
        except ClientDisconnect:
            return JSONResponse({"error": "the post ended early"}, status_code=400)
        if path not in KEPT_PATHS:
            return JSONResponse({"status": "ignored"})
        error = None
        if size > max_body_bytes:
            error = f"{path} of {size} bytes is larger than the {max_body_bytes} that are accepted"
            body = b""
            log.error("post_too_large", path=path, bytes=size, limit=max_body_bytes)
        try:
            await keep(path, body, error=error)
        except psycopg.Error as failure:
            log.warning("post_not_stored", path=path, bytes=size, error=str(failure))
            return JSONResponse({"error": "not stored; send it again"}, status_code=503)
        return JSONResponse({"status": "ok"})

    async def show_health(request: Request) -> JSONResponse:
        well, answer = await health()
        return JSONResponse(answer, status_code=200 if well else 503)

    return Starlette(
        routes=[
            Route("/health", show_health, methods=["GET"]),
            Route("/{path:path}", post, methods=["POST"]),
        ]
    )


async def _read(request: Request, limit: int) -> tuple[bytes, int]:
    """The body up to about ``limit`` bytes, and its whole size.

    All of it is received even so: a node whose sending is cut off reads no answer and sends again.
    """
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        if size < limit:
            chunks.append(chunk)
        size += len(chunk)
    return b"".join(chunks), size
