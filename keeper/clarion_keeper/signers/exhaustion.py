"""Whether an account's hourly limit is used up, so that it can be said once and not for everything that waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

QUIET_SECONDS: Final = 60.0
"""A limit is used up until nothing was refused for so long: it comes free bit by bit, and each bit is spent at once."""


class Exhaustion:
    """What was refused and signed, seen from one account's limit. ``clock`` gives seconds that never go back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._refused_at: float | None = None

    def refused(self) -> bool:
        """The limit refused something. True where that is news."""
        is_news = self._refused_at is None
        self._refused_at = self._clock()
        return is_news

    def signed(self) -> bool:
        """Something was signed. True where the limit was used up before, and is not any more."""
        if self._refused_at is None or self._clock() - self._refused_at < QUIET_SECONDS:
            return False
        self._refused_at = None
        return True
