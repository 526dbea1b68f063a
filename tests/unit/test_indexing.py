"""How a service ends what runs beside it."""

from __future__ import annotations

import asyncio
import contextlib

from clarion import tasks


async def test_a_task_that_loses_a_cancellation_is_cancelled_again() -> None:
    lost = 0
    begun = asyncio.Event()

    async def loses_one() -> None:
        nonlocal lost
        begun.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        lost += 1
        await asyncio.Event().wait()

    task = asyncio.create_task(loses_one())
    await begun.wait()
    async with asyncio.timeout(60):
        await tasks.cancel([task])
    assert (lost, task.cancelled()) == (1, True)
