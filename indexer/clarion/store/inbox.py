"""The inbox: what a node posted, kept until it has been applied. All SQL about it is here.

A post is answered once its row is committed to disk; it is deleted in the transaction that applies it. So it is
applied once whenever a process dies, and a node never has to send twice because of us.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection, Connection


@dataclass(frozen=True, slots=True)
class InboxPost:
    """A post that waits."""

    id: int
    path: str
    body: bytes


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
    cursor.execute("SELECT id, path, body FROM clarion.inbox WHERE id = ANY(%s) ORDER BY id", (ids,))
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
    """Let posts that were put aside be tried again, as after an update of Clarion. Returns how many."""
    return connection.execute("UPDATE clarion.inbox SET error = NULL WHERE error IS NOT NULL").rowcount


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
