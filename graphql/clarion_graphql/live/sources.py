"""What the fields of ``Subscription`` resolve to: where their messages come from, not the messages themselves.

A source reads nothing until it is asked to. Whoever serves it decides from where on, how often, and for how many.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from clarion.chains.model import Chain
from clarion_graphql.change_log import Change, FinalBlock, Piece, Start, Step

T = TypeVar("T", Step, Change)


class Source:
    """A source of messages. ``what`` tells sources apart: two that are equal give the same messages."""

    what: Hashable

    def __aiter__(self) -> AsyncIterator[Any]:
        """GraphQL wants a stream. Sources are served by :class:`clarion_graphql.live.hub.Hub` alone."""
        raise TypeError("a source is not iterated: give it to a Hub")


@dataclass(frozen=True, eq=False)
class LogSource(Source, Generic[T]):
    """Entries of a chain's log, in order.

    ``read`` gives the next ones after a sequence; ``start`` where the log stands now.
    ``show_start``, ``show_final`` and ``show`` make the root value that a message is executed on. ``final`` gives the
    highest final block; None where that is not asked for.
    """

    what: Hashable
    chain: Chain
    since: int | None
    read: Callable[[int], Awaitable[Piece[T]]]
    start: Callable[[], Awaitable[Start]]
    show_start: Callable[[Start], Any]
    show_final: Callable[[FinalBlock], Any]
    show: Callable[[T], Any]
    tables: frozenset[str] | None = None
    """Projection tables whose changes it is about; None: it is about blocks."""
    final: Callable[[], Awaitable[FinalBlock]] | None = None


@dataclass(frozen=True, slots=True)
class State:
    """One thing that is so now. It is told again when ``fingerprint`` is another. ``sequence``: when it was so."""

    part: str
    fingerprint: Hashable
    root: Any
    sequence: int


@dataclass(frozen=True, eq=False)
class StateSource(Source):
    """What is so now, by part; read again after every commit of its chains, or notification of its channels."""

    what: Hashable
    heard_of: Sequence[str]
    """Names of chains, or of channels that the feed listens on."""
    read: Callable[[], Awaitable[Sequence[State]]]


@dataclass(frozen=True, eq=False)
class LiveQuery(Source):
    """A query that is answered again when its answer is another. The answer stands under ``response_key``.

    ``roots``: the fields of ``Query`` that it asks for; None where that takes more than a look.
    """

    what: Hashable
    response_key: str
    text: str
    roots: frozenset[str] | None
