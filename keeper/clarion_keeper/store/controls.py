"""What is stopped: jobs by name, or everything. People do it with commands, the engine where it meets the unknown."""

from __future__ import annotations

from typing import Any, Final

from psycopg import AsyncConnection

EVERYTHING: Final = "*"
"""The kill switch."""


async def paused(connection: AsyncConnection[Any]) -> dict[str, str]:
    """Why a job is stopped, by job; ``*`` for all of them."""
    cursor = await connection.execute("SELECT job, reason FROM keeper.control WHERE paused")
    return dict(await cursor.fetchall())


async def pause(connection: AsyncConnection[Any], job: str, reason: str) -> None:
    """Stop a job, or everything, until it is resumed."""
    await connection.execute(
        "INSERT INTO keeper.control (job, paused, reason) VALUES (%s, true, %s) "
        "ON CONFLICT (job) DO UPDATE SET paused = true, reason = excluded.reason, at = clock_timestamp()",
        (job, reason),
    )


async def resume(connection: AsyncConnection[Any], job: str) -> bool:
    """Let a job, or everything that ``*`` stopped, go on. False where it was not stopped."""
    cursor = await connection.execute(
        "UPDATE keeper.control SET paused = false, at = clock_timestamp() WHERE job = %s AND paused", (job,)
    )
    return cursor.rowcount == 1
