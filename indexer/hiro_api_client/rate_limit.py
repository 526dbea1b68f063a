"""What the API says about how often it may be asked, and waiting as told.

Hiro's hosted API sends ``ratelimit-remaining`` and ``ratelimit-reset`` (seconds), some of its gateways
``x-ratelimit-remaining-stacks-minute``, and ``retry-after`` (seconds or a date) with status 429.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Final

MINUTE_SECONDS: Final = 60.0
DEFAULT_PAUSE_SECONDS: Final = 5.0
"""The pause after status 429 without a word on how long."""


class RateLimit:
    """Keeps requests back until the API may be asked again. ``clock`` gives Unix seconds."""

    def __init__(self, *, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]]) -> None:
        self._clock = clock
        self._sleep = sleep
        self._open_at = 0.0

    @property
    def pause(self) -> float:
        """Seconds until the next request may be sent."""
        return max(self._open_at - self._clock(), 0.0)

    async def wait(self) -> None:
        """Return once a request may be sent."""
        while (pause := self.pause) > 0:
            await self._sleep(pause)

    def note(self, status: int, headers: Mapping[str, str]) -> None:
        """Take in what an answer says about the next request."""
        pause = self._asked_pause(status, headers)
        if pause > 0:
            self._open_at = max(self._open_at, self._clock() + pause)

    def _asked_pause(self, status: int, headers: Mapping[str, str]) -> float:
        refused = status == 429
        if refused and (asked := self._seconds(headers.get("retry-after"))) is not None:
            return asked
        remaining = _number(headers.get("ratelimit-remaining", headers.get("x-ratelimit-remaining")))
        reset = _number(headers.get("ratelimit-reset", headers.get("x-ratelimit-reset")))
        if reset is not None and (refused or (remaining is not None and remaining <= 0)):
            # Some gateways give the moment instead of the time until then.
            return max(reset - self._clock(), 0.0) if reset > 1e9 else reset
        by_minute = [
            left
            for name, value in headers.items()
            if name.lower().startswith("x-ratelimit-remaining-") and name.lower().endswith("-minute")
            if (left := _number(value)) is not None
        ]
        if by_minute and min(by_minute) <= 0:
            return MINUTE_SECONDS - self._clock() % MINUTE_SECONDS
        return DEFAULT_PAUSE_SECONDS if refused else 0.0

    def _seconds(self, value: str | None) -> float | None:
        if value is None:
            return None
        if (number := _number(value)) is not None:
            return max(number, 0.0)
        try:
            return max(parsedate_to_datetime(value).timestamp() - self._clock(), 0.0)
        except ValueError:
            return None


def _number(value: str | None) -> float | None:
    """The first number of ``50, 50;w=60`` and the like."""
    try:
        return None if value is None else float(value.partition(",")[0].partition(";")[0])
    except ValueError:
        return None
