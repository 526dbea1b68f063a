"""Answers that are kept: for how long, how many, and which."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from clarion.chains.model import Chain
from clarion_graphql.execution import Answer
from clarion_graphql.feed import CHAINS
from clarion_graphql.response_cache import CachedAnswer, ResponseCache


class FeedOfTests:
    """Turns when it is told to."""

    def __init__(self) -> None:
        self.turns = (0,) * len(CHAINS)
        self.connected = asyncio.Event()
        self.connected.set()

    def move(self, chain: str) -> None:
        self.turns = tuple(turn + (of == chain) for of, turn in zip(CHAINS, self.turns, strict=True))


def cache(max_bytes: int = 100_000) -> tuple[ResponseCache, FeedOfTests]:
    feed = FeedOfTests()
    return ResponseCache(cast("Any", feed), max_bytes=max_bytes), feed


def answer(
    body: bytes = b"{}",
    *,
    cacheable: bool = True,
    has_errors: bool = False,
    tables: Collection[str] | None = ("toy.account",),
    chains: Collection[Chain] | None = None,
) -> CachedAnswer:
    known = None if tables is None else frozenset(tables)
    read = None if chains is None else frozenset(chains)
    return CachedAnswer(Answer(body, True, has_errors, "query", cacheable=cacheable, tables=known, chains=read))


def test_until_one_of_its_chains_moves() -> None:
    kept, feed = cache()
    given_answers = {
        b"stacks": answer(chains=["stacks"]),
        b"bitcoin": answer(chains=["bitcoin"]),
        b"both": answer(chains=["stacks", "bitcoin"]),
    }
    for request, given_answer in given_answers.items():
        kept.put(request, given_answer, kept.now())
    before = kept.now()
    feed.move("bitcoin")
    assert [kept.get(request) is not None for request in given_answers] == [True, False, False]

    for request, given_answer in given_answers.items():
        kept.put(request, given_answer, before)
    assert [kept.get(request) is not None for request in given_answers] == [True, False, False]

    feed.move("stacks")
    assert kept.get(b"stacks") is None
    kept.put(b"bitcoin", given_answers[b"bitcoin"], kept.now())
    assert kept.get(b"bitcoin") is given_answers[b"bitcoin"]


def test_until_any_chain_moves_where_its_chains_are_not_known() -> None:
    kept, feed = cache()
    for chain in ("stacks", "bitcoin"):
        given_answer = answer()
        kept.put(b"request", given_answer, kept.now())
        assert kept.get(b"request") is given_answer
        assert kept.get(b"another") is None
        feed.move(chain)
        assert kept.get(b"request") is None


def test_an_answer_that_was_read_before_a_commit_is_not_kept_after_it() -> None:
    kept, feed = cache()
    before = kept.now()
    feed.move("stacks")
    kept.put(b"request", answer(), before)

    assert kept.get(b"request") is None


def test_nothing_is_given_without_a_feed() -> None:
    kept, feed = cache()
    kept.put(b"request", answer(), kept.now())
    feed.connected.clear()
    assert kept.get(b"request") is None
    feed.connected.set()
    assert kept.get(b"request") is not None


def test_what_is_not_kept() -> None:
    kept, _ = cache()
    for unkept in (
        answer(cacheable=False),
        answer(has_errors=True),
        answer(tables=None),
        answer(tables=["toy.account", "clarion.mempool_transaction"]),
        answer(b"x" * 90_000),
    ):
        kept.put(b"request", unkept, kept.now())
        assert kept.get(b"request") is None


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 12_000), st.integers(0, 3_000))))
def test_no_more_than_the_bytes_allowed(requests: list[tuple[int, int, int]]) -> None:
    kept, _ = cache(40_000)
    for number, size, encoded in requests:
        request = b"%d" % number
        found = kept.get(request)
        if found is None:
            found = answer(b"x" * size)
            kept.put(request, found, kept.now())
        if "gzip" not in found.encoded:
            kept.encoded(request, found, "gzip", b"y" * encoded)

        held = sum(kept._size(request, one) for request, one in kept._answers.items())
        assert kept._bytes == held
        assert held <= 40_000


def test_the_least_used_is_dropped_first() -> None:
    kept, _ = cache(12_000)
    for name in b"abcdefgh":  # as many as there is room for
        kept.put(bytes([name]), answer(b"x" * 400), kept.now())
    assert kept.get(b"a") is not None
    kept.put(b"i", answer(b"x" * 400), kept.now())

    assert kept.get(b"b") is None
    assert kept.get(b"a") is not None
    assert kept.get(b"i") is not None
