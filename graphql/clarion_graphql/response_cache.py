"""Answers that are sent again as they are until the index moves."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from clarion.chains.model import Chain
from clarion_graphql.execution import Answer
from clarion_graphql.feed import CHAINS, Feed
from clarion_graphql.metrics import Durations, durations_of

#: What an entry takes beside its request and its answer, in bytes, about.
_ENTRY_BYTES: Final = 1_000
#: The largest answer that is kept, as a part of all that may be.
_LARGEST_PART: Final = 8
#: Tables that change without the feed being told.
_UNHEARD: Final = frozenset({"clarion.mempool_transaction"})

Turns = tuple[int, ...]


@dataclass(eq=False, slots=True)
class CachedAnswer:
    """An answer, and what was made of it on the way to clients."""

    answer: Answer
    encoded: dict[str, bytes] = field(default_factory=dict)
    """The body by content coding."""
    etag: bytes | None = None
    _durations: Durations | None = None

    def observe(self, seconds: float) -> None:
        """Note how long it took to give it again."""
        if self._durations is None:
            self._durations = durations_of("query", self.answer.operation_name)
        self._durations.observe(seconds)


class ResponseCache:
    """Keeps the answers to requests, byte for byte the same ones, while the feed hears of no commit to their chains.

    An answer is kept where its snapshot was taken after the feed's last news of its chains, and given while there are
    no others: so none is older than what the feed knows. While the feed is not connected nothing is given.
    """

    def __init__(self, feed: Feed, *, max_bytes: int, unheard: Collection[str] = ()) -> None:
        """``unheard``: further tables (``schema.name``) that change without a commit to a chain's index."""
        self._feed = feed
        self._unheard = _UNHEARD | frozenset(unheard)
        self._max_bytes = max_bytes
        self._bytes = 0
        self._turns: Turns = ()
        self._answers: OrderedDict[bytes, CachedAnswer] = OrderedDict()

    def get(self, request: bytes) -> CachedAnswer | None:
        """The answer to a request; None where it has to be executed."""
        if not self._max_bytes:
            return None
        self._forget_old()
        found = self._answers.get(request)
        if found is None or not self._feed.connected.is_set():
            return None
        self._answers.move_to_end(request)
        return found

    def now(self) -> Turns:
        """What to call :meth:`put` with: what the feed knew before the request was executed."""
        return self._feed.turns

    def put(self, request: bytes, answer: CachedAnswer, executed_after: Turns) -> None:
        """Keep an answer, if it is one to keep and the index has not moved since its request was executed."""
        given, size = answer.answer, self._size(request, answer)
        if (
            not given.cacheable
            or given.has_errors
            or given.tables is None
            or not self._unheard.isdisjoint(given.tables)
        ):
            return
        if size * _LARGEST_PART > self._max_bytes:
            return
        self._forget_old()
        if request in self._answers or _is_of(given, self._moved_since(executed_after)):
            return
        self._answers[request] = answer
        self._bytes += size
        self._drop_oldest()

    def encoded(self, request: bytes, answer: CachedAnswer, coding: str, body: bytes) -> None:
        """Keep the body in a content coding beside an answer."""
        answer.encoded[coding] = body
        if self._answers.get(request) is answer:
            self._bytes += len(body)
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        while self._bytes > self._max_bytes:
            self._bytes -= self._size(*self._answers.popitem(last=False))

    def _forget_old(self) -> None:
        turns = self._feed.turns
        if turns is not self._turns:
            moved = self._moved_since(turns)
            self._turns = turns
            for request in [request for request, kept in self._answers.items() if _is_of(kept.answer, moved)]:
                self._bytes -= self._size(request, self._answers.pop(request))

    def _moved_since(self, turns: Turns) -> frozenset[Chain]:
        """The chains of which the feed knew something else then."""
        if not self._turns:
            return frozenset(CHAINS)
        return frozenset(chain for chain, then, now in zip(CHAINS, turns, self._turns, strict=True) if then != now)

    @staticmethod
    def _size(request: bytes, answer: CachedAnswer) -> int:
        return _ENTRY_BYTES + len(request) + len(answer.answer.body) + sum(map(len, answer.encoded.values()))


def _is_of(answer: Answer, chains: frozenset[Chain]) -> bool:
    """Whether an answer was read from one of these chains, or may have been."""
    return bool(chains) and (answer.chains is None or not chains.isdisjoint(answer.chains))
