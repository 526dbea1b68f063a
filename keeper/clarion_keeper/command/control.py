"""Stopping jobs and letting them go on. A keeper that runs looks at this before everything that it signs."""

from __future__ import annotations

import asyncio

from psycopg import AsyncConnection

from clarion.config import Settings
from clarion_keeper.command.database import keeper_database
from clarion_keeper.store import controls


class NotPausedError(Exception):
    """There is nothing to resume."""


def pause_job(settings: Settings, job: str, reason: str) -> None:
    """Stop a job, or everything (``*``)."""

    async def run(url: str) -> None:
        async with await AsyncConnection.connect(url, autocommit=True) as connection:
            await controls.pause(connection, job, reason)

    with keeper_database(settings) as url:
        asyncio.run(run(url))


def resume_job(settings: Settings, job: str) -> dict[str, str]:
    """Let a job, or everything (``*``), go on; gives what is still paused, with the reasons.

    Raises:
        NotPausedError: it was not paused.
    """

    async def run(url: str) -> dict[str, str]:
        async with await AsyncConnection.connect(url, autocommit=True) as connection:
            resumed = await controls.resume(connection, job)
            paused = await controls.paused(connection)
        if not resumed:
            listed = ", ".join(sorted(paused)) or "nothing"
            raise NotPausedError(
                f"{'The kill switch is not on' if job == '*' else f'{job} is not paused'}: {listed} is."
            )
        return paused

    with keeper_database(settings) as url:
        return asyncio.run(run(url))
