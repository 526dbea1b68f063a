"""The thread in which an indexing service works on its database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from clarion.health import BatchWatch, Reasons

T = TypeVar("T")


class WorkerThread:
    """One thread, for a store has one user at a time, and the event loop goes on taking posts.

    ``max_seconds``: what takes longer counts as stuck.
    """

    def __init__(self, name: str, *, max_seconds: float) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._watch = BatchWatch(max_seconds=max_seconds)

    async def __call__(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function there, after those that were asked for before. Raises what it raises."""

        def run() -> T:
            with self._watch:
                return function(*arguments)

        return await asyncio.get_running_loop().run_in_executor(self._executor, run)

    def reasons(self) -> Reasons:
        """Why it counts as stuck."""
        return self._watch.reasons()

    def close(self) -> None:
        """Wait until it has done what it was asked for."""
        self._executor.shutdown()
