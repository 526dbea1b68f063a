"""The inbox: what a node posted, kept until it has been applied. All SQL about it is here.

A post is answered once its row is committed to disk; it is deleted in the transaction that applies it. So it is
applied once whenever a process dies, and a node never has to send twice because of us.

Posts of one node are in the order it sent them, because it waits for each answer. Those of several nodes mix.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, LiteralString, TypeVar

from psycopg import AsyncConnection, Connection, OperationalError
from psycopg.conninfo import make_conninfo

from clarion.store.database import with_server_settings

CONNECT_TIMEOUT_SECONDS: Final = 5
UNANSWERED_MILLISECONDS: Final = 10_000
"""How long a lost network path goes unnoticed while something was sent over it."""

T = TypeVar("T")
_Post = tuple[str, str, bytes, str | None]


@dataclass(frozen=True, slots=True)
class InboxPost:
    """A post that waits. ``source`` is who sent it; ``waited_seconds`` is since it was received."""

    id: int
    path: str
    body: bytes
    source: str
    waited_seconds: float


async def put(
    connection: AsyncConnection[Any], path: str, body: bytes, *, source: str, error: str | None = None
) -> None:
    """Keep a post, or with ``error`` one that can never be applied. It is durable when this returns in autocommit."""
    await connection.execute(
        "INSERT INTO clarion.inbox (path, body, source, error) VALUES (%s, %b, %s, %s)", (path, body, source, error)
    )


def take(connection: Connection[Any], *, limit: int, limit_bytes: int) -> list[InboxPost]:
    """The oldest posts that wait, in order: at most ``limit``, and no more bytes than asked, yet always the first."""
    cursor = connection.cursor(binary=True)
    cursor.execute(
        """
        SELECT id, path, body, source, waited_seconds FROM (
            SELECT id, path, body, coalesce(source, '') AS source,
                extract(epoch FROM now() - received_at)::float8 AS waited_seconds,
                sum(octet_length(body)) OVER (ORDER BY id) AS bytes, row_number() OVER (ORDER BY id) AS place
            FROM clarion.inbox WHERE error IS NULL ORDER BY id LIMIT %s
        ) oldest WHERE place = 1 OR bytes <= %s ORDER BY id
        """,
        (limit, limit_bytes),
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


STATE: Final[LiteralString] = """
    SELECT count(*) FILTER (WHERE error IS NULL) AS pending, count(*) FILTER (WHERE error IS NOT NULL) AS failed,
    coalesce(extract(epoch FROM now() - min(received_at) FILTER (WHERE error IS NULL)), 0)::float8 AS oldest_seconds
    FROM clarion.inbox
"""
"""How many posts wait, how many could not be applied, and how long the first that waits has: one row."""


class InboxWriter:
    """Keeps posts over a few connections of its own, made when needed and again after they were lost.

    ``connections``: how many posts are written at once. More wait their turn, in the order they came.
    """

    def __init__(self, url: str, *, connections: int = 4) -> None:
        self._url = make_conninfo(
            with_server_settings(url, synchronous_commit="on"), tcp_user_timeout=UNANSWERED_MILLISECONDS
        )
        # the connection used last is used next: where posts come one by one, one connection does
        self._idle: asyncio.LifoQueue[_Lane] = asyncio.LifoQueue()
        self._lanes = [_Lane(self._url) for _ in range(connections)]
        for lane in self._lanes:
            self._idle.put_nowait(lane)
        self._under_way: dict[_Post, asyncio.Task[None]] = {}
        self._failures = 0
        self._failure = OperationalError()

    async def put(self, path: str, body: bytes, *, source: str = "", error: str | None = None) -> None:
        """Keep a post; it is on disk when this returns. Raises psycopg.Error where it cannot be kept now.

        A node that lost patience sends a post again while the first is still being written: the second waits for the
        first and is not written.
        """
        key = (source, path, body, error)
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.create_task(
                self._with_connection(lambda connection: put(connection, path, body, source=source, error=error))
            )
            self._under_way[key] = task
            task.add_done_callback(lambda done: self._written(key, done))
        # whoever asked may go away: what is being written is written, for those who ask again
        await asyncio.shield(task)

    def _written(self, key: _Post, done: asyncio.Task[None]) -> None:
        del self._under_way[key]
        if not done.cancelled():
            done.exception()  # whoever asked has it, if they are still there

    async def close(self) -> None:
        """Finish what is being written and give the connections back."""
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)
        for lane in self._lanes:
            await lane.close()

    async def _with_connection(self, action: Callable[[AsyncConnection[Any]], Awaitable[T]]) -> T:
        failures_before = self._failures
        lane = await self._idle.get()
        try:
            # Whoever waited here while an attempt to connect failed has its answer; else a node's repeated posts
            # would each wait for an attempt of their own.
            if self._failures > failures_before and lane.connection is None:
                raise self._failure
            if lane.connection is not None and not lane.connection.closed:
                try:
                    return await action(lane.connection)
                except OperationalError:
                    # The server may have gone and come back since the last post. Keeping a post twice does no harm.
                    await lane.close()
            try:
                connection = await lane.connect()
            except OperationalError as error:
                self._failures += 1
                self._failure = error
                raise
            return await action(connection)
        finally:
            self._idle.put_nowait(lane)


class _Lane:
    """One connection, or none yet."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.connection: AsyncConnection[Any] | None = None

    async def connect(self) -> AsyncConnection[Any]:
        self.connection = await AsyncConnection.connect(
            self._url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_SECONDS
        )
        return self.connection

    async def close(self) -> None:
        if self.connection is not None:
            await self.connection.close()
            self.connection = None
