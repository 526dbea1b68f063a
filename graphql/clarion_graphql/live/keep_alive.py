"""Connections on which nothing moves are kept open.

Proxies and address translation forget a connection that is quiet for long, many of them after a minute. To ping and to
read the pong costs as much as ten messages, so only those clients are pinged that were sent nothing meanwhile, and not
all of them at once. That a client is gone the kernel finds out: see `clarion_graphql.live.outlets`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Iterator
from contextvars import Context
from typing import Final

#: How often a quiet client is pinged, in seconds.
PING_S: Final = 20.0
#: Into so many parts of the interval the pings are spread.
_TURNS: Final = 20


class KeepAlive:
    """Asks every connection in turn to ping its client if it is quiet."""

    def __init__(self, ping_s: float = PING_S) -> None:
        self._ping_s = ping_s
        self._turns: list[dict[Callable[[], None], None]] = [{} for _ in range(_TURNS)]
        self._next = itertools.cycle(self._turns)
        self._running: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def connection(self, ping_if_quiet: Callable[[], None]) -> Iterator[None]:
        """Call it once in an interval while the context lasts."""
        turn = next(self._next)
        turn[ping_if_quiet] = None
        if self._running is None:
            self._running = asyncio.create_task(self._run(), context=Context())
        try:
            yield
        finally:
            del turn[ping_if_quiet]
            if not any(self._turns):
                self._running.cancel()
                self._running = None

    async def _run(self) -> None:
        for turn in itertools.cycle(self._turns):
            await asyncio.sleep(self._ping_s / _TURNS)
            for ping_if_quiet in list(turn):
                ping_if_quiet()
