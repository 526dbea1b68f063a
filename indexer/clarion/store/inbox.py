"""The inbox: what a node posted, kept until it has been applied. All SQL about it is here.

A post is answered once its row is committed to disk; it is deleted in the transaction that applies it. So it is
applied once whenever a process dies, and a node never has to send twice because of us.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from psycopg import AsyncConnection, Connection, OperationalError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

CONNECT_TIMEOUT_SECONDS: Final = 5

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class InboxPost:
    """A post that waits. ``waited_seconds`` is since it was received."""

    id: int
    path: str
    body: bytes
    waited_seconds: float


@dataclass(frozen=True, slots=True)
class InboxState:
    """How much waits. ``oldest_seconds`` is how long the first of them has; ``failed`` could not be applied."""

    pending: int
    failed: int
    oldest_seconds: float


async def put(connection: AsyncConnection[Any], path: str, body: bytes, *, error: str | None = None) -> None:
    """Keep a post, or with ``error`` one that can never be applied. It is durable when this returns in autocommit."""
    await connection.execute("INSERT INTO clarion.inbox (path, body, error) VALUES (%s, %b, %s)", (path, body, error))


def take(connection: Connection[Any], *, limit: int, limit_bytes: int) -> list[InboxPost]:
    """The oldest posts that wait, in order: at most ``limit``, and no more bytes than asked, yet always the first."""
    sizes = connection.execute(
        "SELECT id, octet_length(body) FROM clarion.inbox WHERE error IS NULL ORDER BY id LIMIT %s", (limit,)
    ).fetchall()
    ids: list[int] = []
    total = 0
    for post_id, size in sizes:
        total += size
        if ids and total > limit_bytes:
            break
        ids.append(post_id)
    if not ids:
        return []
    cursor = connection.cursor(binary=True)
    cursor.execute(
        "SELECT id, path, body, extract(epoch FROM now() - received_at)::float8 FROM clarion.inbox "
        "WHERE id = ANY(%s) ORDER BY id",
        (ids,),
    )
    return [InboxPost(*row) for row in cursor]


def remove(connection: Connection[Any], ids: Iterable[int]) -> None:
    """Delete posts that have been applied, in the caller's transaction."""
    connection.execute("DELETE FROM clarion.inbox WHERE id = ANY(%s)", (list(ids),))


def set_failed(connection: Connection[Any], post_id: int, error: str) -> None:
    """Put a post aside because it could not be understood."""
    connection.execute(
        "UPDATE clarion.inbox SET error = %s WHERE id = %s", (error.replace("\x00", "\\0")[:10_000], post_id)
    )


def retry_failed(connection: Connection[Any]) -> int:
    """Let posts that were put aside be tried again, as after an update of Clarion. Returns how many.

    Those that were too large to keep have no body and stay.
    """
    return connection.execute(
        "UPDATE clarion.inbox SET error = NULL WHERE error IS NOT NULL AND octet_length(body) > 0"
    ).rowcount


STATE = """
    SELECT count(*) FILTER (WHERE error IS NULL), count(*) FILTER (WHERE error IS NOT NULL),
    coalesce(extract(epoch FROM now() - min(received_at) FILTER (WHERE error IS NULL)), 0)::float8
    FROM clarion.inbox
"""


async def state(connection: AsyncConnection[Any]) -> InboxState:
    """How much waits and for how long."""
    row = await (await connection.execute(STATE)).fetchone()
    assert row is not None
    return InboxState(*row)


class InboxWriter:
    """Keeps posts over one connection of its own, made when needed and again after it was lost."""

    def __init__(self, url: str) -> None:
        options = conninfo_to_dict(url).get("options") or ""
        self._url = make_conninfo(url, options=f"{options} -c synchronous_commit=on".strip())
        self._connection: AsyncConnection[Any] | None = None
        self._lock = asyncio.Lock()
        self._failures = 0
        self._failure = OperationalError()

    async def put(self, path: str, body: bytes, *, error: str | None = None) -> None:
        """Keep a post; it is on disk when this returns. Raises psycopg.Error where it cannot be kept now."""
        await self._with_connection(lambda connection: put(connection, path, body, error=error))

    async def state(self) -> InboxState:
        """How much waits. Raises psycopg.Error where the database cannot be asked."""
        return await self._with_connection(state)

    async def close(self) -> None:
        """Give the connection back."""
        async with self._lock:
            if self._connection is not None:
                await self._connection.close()
                self._connection = None

    async def _with_connection(self, action: Callable[[AsyncConnection[Any]], Awaitable[T]]) -> T:
        failures_before = self._failures
        async with self._lock:
            # Whoever waited here while an attempt to connect failed has its answer; else a node's repeated posts
            # would each wait for an attempt of their own.
            if self._failures > failures_before:
                raise self._failure
            if self._connection is not None and not self._connection.closed:
                try:
                    return await action(self._connection)
                except OperationalError:
                    # The server may have gone and come back since the last post. Keeping a post twice does no harm.
                    await self._connection.close()
            return await action(await self._connect())

    async def _connect(self) -> AsyncConnection[Any]:
        try:
            self._connection = await AsyncConnection.connect(
                self._url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_SECONDS
            )
        except OperationalError as error:
            self._failures += 1
            self._failure = error
            raise
        return self._connection
