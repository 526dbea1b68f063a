"""The lease: which of several keepers leads, by the database's clock, and the fence that stops one that lost it.

A leader renews its lease well before it ends. Where it does not (stopped, asleep, cut off), another keeper takes over
and raises the fence. Every write checks the fence in its own transaction: a leader that wakes up late writes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

from psycopg import AsyncConnection

from clarion.store.database import register_types, with_server_settings

LEASE: Final = "keeper"
"""Name of the one lease there is: one keeper leads for all accounts, or else two would sign with one nonce."""


class LeaseLostError(RuntimeError):
    """Another keeper leads now: nothing was written, and nothing may be sent."""


def holder_name() -> str:
    """``host:pid:random``: who holds a lease, for people and unlike any other."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


async def acquire(connection: AsyncConnection[Any], holder: str, seconds: int, *, name: str = LEASE) -> int | None:
    """Take the lease if nobody holds it any more; gives the fence, or None while another one leads."""
    cursor = await connection.execute(
        """
        INSERT INTO keeper.lease AS l (name, holder, fence, expires_at)
        VALUES (%(name)s, %(holder)s, 1, clock_timestamp() + make_interval(secs => %(seconds)s))
        ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, fence = l.fence + 1, expires_at = excluded.expires_at
        WHERE l.expires_at <= clock_timestamp()
        RETURNING fence
        """,
        {"name": name, "holder": holder, "seconds": seconds},
    )
    row = await cursor.fetchone()
    return None if row is None else int(row[0])


async def renew(connection: AsyncConnection[Any], fence: int, seconds: int, *, name: str = LEASE) -> bool:
    """Hold on to the lease for ``seconds`` from now. False where another keeper has it."""
    cursor = await connection.execute(
        "UPDATE keeper.lease SET expires_at = clock_timestamp() + make_interval(secs => %s) "
        "WHERE name = %s AND fence = %s",
        (seconds, name, fence),
    )
    return cursor.rowcount == 1


async def release(connection: AsyncConnection[Any], fence: int, *, name: str = LEASE) -> None:
    """Let the next keeper take over at once."""
    await connection.execute(
        "UPDATE keeper.lease SET expires_at = clock_timestamp() WHERE name = %s AND fence = %s", (name, fence)
    )


@dataclass(slots=True)
class Store:
    """The keeper's tables over one connection in autocommit mode, for a leader with this fence."""

    connection: AsyncConnection[Any]
    fence: int
    name: str = LEASE
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection[Any]]:
        """A transaction that no other keeper can overtake. Raises LeaseLostError where one leads already."""
        async with self._lock, self.connection.transaction():
            cursor = await self.connection.execute(
                "SELECT FROM keeper.lease WHERE name = %s AND fence = %s FOR SHARE", (self.name, self.fence)
            )
            if cursor.rowcount != 1:
                raise LeaseLostError("another keeper leads now")
            yield self.connection

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection[Any]]:
        """The connection, for a while."""
        async with self._lock:
            yield self.connection


async def connect(url: str, *, idle_seconds: int) -> AsyncConnection[Any]:
    """A connection of the keeper's.

    A transaction that its process does not go on with for ``idle_seconds`` (because it was stopped) is ended by the
    server, so that it does not keep the fence from being raised.
    """
    patient = with_server_settings(url, idle_in_transaction_session_timeout=f"{idle_seconds}s")
    connection = await AsyncConnection.connect(patient, autocommit=True, application_name="clarion keeper")
    register_types(connection)
    return connection
