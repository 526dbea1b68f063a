"""One read for all who ask for the same at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from contextvars import Context, ContextVar
from typing import Any, TypeVar

T = TypeVar("T")
#: Whose places a read holds that is being made.
_WITHIN: ContextVar[SharedReads | None] = ContextVar("within", default=None)


class SharedReads:
    """Runs at most ``limit`` reads at once, and each only once while several wait for it.

    A block wakes every subscription: those that are at one place of the change log and ask for the same get one answer,
    and the rest of the database's connections stay with the queries. A read holds its place until it is done, so one
    that waited for another of the same could wait for ever: that is a RuntimeError.
    """

    def __init__(self, limit: int) -> None:
        self._slots = asyncio.Semaphore(limit)
        self._running: dict[Hashable, asyncio.Task[Any]] = {}

    async def read(self, what: Hashable, load: Callable[[], Awaitable[T]]) -> T:
        """The result of ``load``, or of the one that runs for ``what`` already. Raises what that raises."""
        if _WITHIN.get() is self:
            raise RuntimeError(f"{what} is read within another read that holds one of the same places")
        task = self._running.get(what)
        if task is None:
            # what it says in the log, or in errors, is of nobody's request alone
            task = self._running[what] = asyncio.create_task(self._load(load), context=Context())
            task.add_done_callback(lambda done: self._forget(what, done))
        # somebody who goes away does not take the result from the others
        result: T = await asyncio.shield(task)
        return result

    async def _load(self, load: Callable[[], Awaitable[T]]) -> T:
        _WITHIN.set(self)
        async with self._slots:
            return await load()

    def _forget(self, what: Hashable, done: asyncio.Task[Any]) -> None:
        del self._running[what]
        if not done.cancelled():
            done.exception()  # told to whoever still waits; nobody waiting is no defect
