"""How much a caller may still ask for. Strategy and notation of rates are those of the library `limits`."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from limits import RateLimitItem, parse_many
from limits.storage.base import SlidingWindowCounterSupport, Storage
from limits.strategies import SlidingWindowCounterRateLimiter

from clarion.config import Quota
from clarion_graphql.accounts.caller import Caller, CallerKind
from clarion_graphql.accounts.errors import RefusedError
from clarion_graphql.errors import ApiError, Code

#: How many callers' counts are kept; those that began longest ago are forgotten first.
MOST_CALLERS: Final = 100_000


@dataclass(slots=True)
class _Window:
    """What was counted in a window of time, and in the one before."""

    number: int
    count: int = 0
    before: int = 0


class BoundedMemory(Storage, SlidingWindowCounterSupport):
    """Counts of sliding windows in memory that cannot grow without end.

    The library's own memory storage keeps every caller and goes through all of them every 10 ms.
    """

    STORAGE_SCHEME = None

    def __init__(self, clock: Callable[[], float] = time.time, most_keys: int = MOST_CALLERS) -> None:
        super().__init__()
        self._clock = clock
        self._windows: OrderedDict[str, _Window] = OrderedDict()
        self._most_keys = most_keys

    @property
    def base_exceptions(self) -> type[Exception]:
        """None is raised."""
        return ValueError

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count ``amount`` where that stays within ``limit`` for any ``expiry`` seconds; whether it does."""
        if not self.fits(key, limit, expiry, amount):
            return False
        self._windows[key].count += amount
        return True

    def fits(self, key: str, limit: int, expiry: int, amount: int) -> bool:
        """Whether ``amount`` could be counted now."""
        window, seconds_left = self._window(key, expiry)
        return window.before * seconds_left <= (limit - window.count - amount) * expiry

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """The count of the window before and for how long it still weighs, and the same of the current one."""
        window, seconds_left = self._window(key, expiry)
        return window.before, seconds_left, window.count, seconds_left + expiry

    def clear_sliding_window(self, key: str, expiry: int) -> None:
        """Forget a key."""
        self.clear(key)

    def _window(self, key: str, expiry: int) -> tuple[_Window, float]:
        number, elapsed = divmod(self._clock(), expiry)
        window = self._windows.get(key)
        if window is None or window.number != number:
            before = window.count if window is not None and window.number == number - 1 else 0
            window = self._windows[key] = _Window(int(number), before=before)
            self._windows.move_to_end(key)
            if len(self._windows) > self._most_keys:
                self._windows.popitem(last=False)
        return window, expiry - elapsed

    def get(self, key: str) -> int:
        """The count of the current window."""
        window = self._windows.get(key)
        return 0 if window is None else window.count

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count ``amount`` whatever the limit; returns the count."""
        window, _ = self._window(key, expiry)
        window.count += amount
        return window.count

    def get_expiry(self, key: str) -> float:
        """When the storage forgets a key by itself: it does when there are too many."""
        return math.inf

    def check(self) -> bool:
        """Memory is always there."""
        return True

    def reset(self) -> int:
        """Forget everything; returns how many keys there were."""
        count = len(self._windows)
        self._windows.clear()
        return count

    def clear(self, key: str) -> None:
        """Forget a key."""
        self._windows.pop(key, None)


class Quotas:
    """Counts what callers ask for. Of one process: several let through as many times as much."""

    def __init__(self, settings: Quota, clock: Callable[[], float] = time.time) -> None:
        self._storage = BoundedMemory(clock)
        self._limiter = SlidingWindowCounterRateLimiter(self._storage)
        self._rates: dict[CallerKind, list[RateLimitItem]] = {
            kind: [] if rate is None else parse_many(rate)
            for kind, rate in {
                CallerKind.ANONYMOUS: settings.anonymous,
                CallerKind.SESSION: settings.signed_in,
                CallerKind.API_KEY: settings.api_key,
            }.items()
        }
        self._most_connections = settings.connections
        self._connections: dict[str, int] = {}

    def charge(self, caller: Caller, cost: int) -> None:
        """Take ``cost`` off what the caller may still ask for. Raises RefusedError (429) where that is not enough.

        What is refused is not taken off.
        """
        if not caller.quota_key:
            return
        rates = self._rates[caller.kind]
        for rate in rates:
            if cost > rate.amount:
                raise RefusedError(
                    429,
                    ApiError(
                        Code.RATE_LIMITED,
                        f"The operation costs {cost}, more than the quota of {rate} ever has: ask for fewer rows.",
                    ),
                )
            if not self._storage.fits(rate.key_for(caller.quota_key), rate.amount, rate.get_expiry(), cost):
                wait = self._seconds_until(rate, caller.quota_key, cost)
                raise RefusedError(
                    429,
                    ApiError(
                        Code.RATE_LIMITED, f"The quota of {rate} is used up. Try again in {wait} s.", retryAfter=wait
                    ),
                    wait,
                )
        for rate in rates:
            self._limiter.hit(rate, caller.quota_key, cost=cost)

    def _seconds_until(self, rate: RateLimitItem, key: str, cost: int) -> int:
        """When ``cost`` fits again if nothing else is asked for, in whole seconds from now."""
        expiry = rate.get_expiry()
        before, left, count, _ = self._storage.get_sliding_window(rate.key_for(key), expiry)
        room = (rate.amount - cost) * expiry
        if count + cost <= rate.amount:
            seconds = (left * before + count * expiry - room) / before
        else:  # what is counted now begins to lose weight when its window ends
            seconds = (left * count + count * expiry - room) / count
        return max(1, math.ceil(seconds))

    @contextmanager
    def connection(self, caller: Caller) -> Iterator[None]:
        """Count a connection for as long as it lasts. Raises RefusedError (429) where the caller has too many."""
        if self._most_connections is None or not caller.quota_key:
            yield
            return
        count = self._connections.get(caller.quota_key, 0)
        if count >= self._most_connections:
            raise RefusedError(
                429,
                ApiError(
                    Code.RATE_LIMITED,
                    f"There are {count} connections of this caller already: close one before the next.",
                ),
            )
        self._connections[caller.quota_key] = count + 1
        try:
            yield
        finally:
            if self._connections[caller.quota_key] == 1:
                del self._connections[caller.quota_key]
            else:
                self._connections[caller.quota_key] -= 1
