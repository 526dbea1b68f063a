"""Ends asyncio tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

CANCEL_AGAIN_SECONDS: Final = 1.0


async def cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel tasks until they have ended.

    Before Python 3.12 ``asyncio.wait_for`` loses a cancellation that comes in the moment its wait ends.
    """
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=CANCEL_AGAIN_SECONDS)
