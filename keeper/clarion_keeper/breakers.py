"""Circuit breakers: a server that keeps failing is left alone for a while, so that it delays nobody.

The state is kept by the library ``purgatory``: closed until so many failures in a row, then open for a while, then half
open until the next call says which. An answer that refuses something is no failure.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.model import HALF_OPENED, OPENED, Context, OpenedState

from clarion.config import BreakerPreset

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """After how many failures in a row a server is left alone, and for how long."""

    failures: int
    pause_seconds: int


PRESETS: Final[Mapping[BreakerPreset, Patience]] = {
    BreakerPreset.DEFAULT: Patience(5, 30),
    BreakerPreset.STRICT: Patience(3, 60),
    BreakerPreset.RELAXED: Patience(10, 15),
}


class LeftAloneError(Exception):
    """The server failed too often a moment ago and is not asked now."""


_all: Final[weakref.WeakSet[Breakers]] = weakref.WeakSet()


def states_of_all() -> dict[str, str]:
    """The state of every server's breaker in this process; ``opened`` where that is so for any who ask it."""
    found: dict[str, str] = {}
    for breakers in _all:
        for name, state in breakers.states.items():
            if found.get(name) != OPENED:
                found[name] = state
    return found


class Breakers:
    """A breaker for each server, by name. ``answers``: exceptions that are answers of a server that works.

    ``clock``: seconds that never go back. The library goes by the wall clock alone, and would leave a server alone for
    as long as that was set back.
    """

    def __init__(
        self,
        preset: BreakerPreset,
        *,
        answers: Sequence[type[BaseException]] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        patience = self._patience = PRESETS[preset]
        self._clock = clock
        self._opened_at: dict[str, float] = {}
        self._factory = AsyncCircuitBreakerFactory(
            default_threshold=patience.failures,
            default_ttl=patience.pause_seconds,
            exclude=[asyncio.CancelledError, *answers],
        )
        self._states: dict[str, str] = {}
        self._factory.add_listener(self._changed)
        _all.add(self)

    def _changed(self, name: str, kind: str, event: object) -> None:
        if kind == "state_changed":
            self._states[name] = state = str(getattr(event, "state", ""))
            if state == OPENED:
                self._opened_at[name] = self._clock()

    @property
    def states(self) -> Mapping[str, str]:
        """``closed``, ``opened`` or ``half-opened`` by server, of those that were ever asked."""
        return self._states

    async def call(self, name: str, work: Callable[[], Awaitable[T]]) -> T:
        """What ``work`` gives. Raises LeftAloneError where the breaker is open, else whatever ``work`` raises."""
        if self._states.get(name) == OPENED and self._clock() - self._opened_at[name] >= self._patience.pause_seconds:
            half_open = Context(name, self._patience.failures, self._patience.pause_seconds, state=HALF_OPENED)
            await self._factory.uow.contexts.register(half_open)
            self._states[name] = HALF_OPENED
        breaker = await self._factory.get_breaker(name)
        self._states.setdefault(name, breaker.context.state)
        try:
            async with breaker:
                return await work()
        except OpenedState:
            raise LeftAloneError(f"{name} failed too often a moment ago; it is asked again soon") from None
