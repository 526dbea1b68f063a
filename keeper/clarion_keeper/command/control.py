"""Stopping jobs and letting them go on. A keeper that runs looks at this before everything that it signs."""

from __future__ import annotations

import asyncio

from psycopg import AsyncConnection

from clarion.config import Settings
from clarion_keeper.command.database import keeper_database, remembered_context
from clarion_keeper.job import JobsError, load_jobs
from clarion_keeper.store import controls


class NotPausedError(Exception):
    """There is nothing to resume."""


class UnknownJobError(Exception):
    """There is no such job; the message names those that there are."""


def pause_job(settings: Settings, job: str, reason: str) -> None:
    """Stop a job, or everything (``*``).

    Raises:
        UnknownJobError: no job has that name, nor ever had an intent.
    """

    async def run(url: str) -> None:
        if job != controls.EVERYTHING:
            await _require_known(settings, url, job)
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


async def _require_known(settings: Settings, url: str, job: str) -> None:
    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        cursor = await connection.execute("SELECT DISTINCT job FROM keeper.intent")
        known = {name for (name,) in await cursor.fetchall()}
    try:
        known |= {one.name for one in load_jobs(await remembered_context(settings, url))}
    except JobsError:
        return  # whoever wants to stop something is not kept from it because something else is broken
    if job not in known:
        raise UnknownJobError(f"There is no job {job}. There are: {', '.join(sorted(known)) or 'none'}.")
