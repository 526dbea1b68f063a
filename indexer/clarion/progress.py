"""How fast a backfill goes and how long it will take."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

EVERY_SECONDS: Final = 10.0


class Progress:
    """Counts what was applied, and now and then says at what rate.

    ``targets``: heights of the tips of those who give the blocks, as far as they are known.
    """

    def __init__(self, *, every_seconds: float = EVERY_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._every_seconds = every_seconds
        self._clock = clock
        self._since = clock()
        self._blocks = 0
        self._events = 0
        self.targets: dict[str, int] = {}

    def add(self, height: int, blocks: int, events: int) -> dict[str, int] | None:
        """Count what was applied up to ``height``; from time to time give the rates since the last time.

        ``eta_seconds`` is until the highest target is reached at this rate; it is left out where that is not known.
        """
        self._blocks += blocks
        self._events += events
        now = self._clock()
        seconds = now - self._since
        if seconds < self._every_seconds:
            return None
        rates = {
            "height": height,
            "blocks_per_s": int(self._blocks / seconds),
            "events_per_s": int(self._events / seconds),
        }
        behind = max(self.targets.values(), default=0) - height
        if behind > 0:
            rates["behind"] = behind
            rates["eta_seconds"] = int(behind * seconds / self._blocks)
        self._since, self._blocks, self._events = now, 0, 0
        return rates
