"""Decoding in other processes: the same blocks, in order, and an end in every case."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pytest
from support import toy
from support.node_posts import body, burn_payload, moves_payload

from clarion.chains.model import Block, EventKind
from clarion.decoding import Decoded, Decoders, DecodingProcessError, Undecodable, chunked, decode
from clarion.store.packed import Interest, PackedBlock

NOTHING = Interest(frozenset(), frozenset(), deployments=False)
EVERYTHING = Interest(frozenset(), None, deployments=True)
BANK = Interest(frozenset({toy.CONTRACT}), frozenset(), deployments=False)


class Raw(NamedTuple):
    path: str
    body: bytes


def posts(count: int) -> list[Raw]:
    found = [Raw("/new_burn_block", body(burn_payload(toy.burn_block(1))))]
    parent = None
    for height in range(count):
        parent = toy.block(parent, [toy.move("alice", height)])
        found.append(Raw("/new_block", body(moves_payload(parent, [toy.move("alice", height), toy.move("bob", 1)]))))
    return [*found, Raw("/new_block", b"not JSON"), Raw("/new_microblocks", b"")]


@pytest.fixture
def decoders() -> Iterator[Decoders]:
    with Decoders(2, BANK) as running:
        yield running


def blocks(decoded: Sequence[Decoded]) -> list[Block]:
    return [item for of in decoded if isinstance(of, list) for item in of if isinstance(item, Block)]


def test_other_processes_say_the_same_in_the_same_order(decoders: Decoders) -> None:
    asked = posts(40)
    here = [decode(*post, BANK) for post in asked]
    assert decoders.decode(asked) == here
    streamed = list(decoders.stream(chunked(asked, size=3_000)))
    assert [post for chunk, _ in streamed for post in chunk] == asked
    assert [of for _, decoded in streamed for of in decoded] == here
    assert len(streamed) > 10
    assert len(blocks(here)) == 40
    assert isinstance(here[-2], Undecodable)


def test_only_what_is_of_interest_is_kept_as_values() -> None:
    post = posts(1)[1]
    kept = {
        name: blocks([decode(*post, interest)])[0]
        for name, interest in {"nothing": NOTHING, "bank": BANK, "everything": EVERYTHING}.items()
    }
    for block in kept.values():
        assert isinstance(block, PackedBlock)
        assert (block.transaction_count, block.event_count) == (1, 2)
    assert (kept["nothing"].transactions, kept["nothing"].events) == ((), ())
    assert len(kept["bank"].events) == len(kept["everything"].events) == 2
    assert kept["bank"].transaction(0).id == kept["bank"].transactions[0].id
    with pytest.raises((LookupError, IndexError)):
        kept["nothing"].transaction(0)


def test_an_interest_covers_another_that_wants_no_more() -> None:
    prints = Interest(frozenset(), frozenset({EventKind.PRINT}), deployments=False)
    assert EVERYTHING.covers(prints)
    assert not prints.covers(EVERYTHING)
    assert BANK.covers(NOTHING)
    assert not NOTHING.covers(BANK)
    assert not prints.covers(BANK)
    assert not BANK.covers(Interest(BANK.contracts, frozenset(), deployments=True))


def test_what_the_source_raises_comes_after_what_was_before_it(decoders: Decoders) -> None:
    def broken() -> Iterator[list[Raw]]:
        yield posts(2)
        raise OSError("the file ends here")

    stream = decoders.stream(broken())
    assert len(blocks(next(stream)[1])) == 2
    with pytest.raises(OSError, match="the file ends here"):
        next(stream)


def test_a_stream_may_be_left_early_and_another_begun(decoders: Decoders) -> None:
    stream = decoders.stream(chunked(posts(60), size=1_000))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert len(blocks(decoders.decode(posts(3)))) == 3


def test_a_process_that_was_killed_is_told_of(decoders: Decoders) -> None:
    for process in decoders._processes:
        os.kill(process._process.pid, signal.SIGKILL)
        process._process.wait()
    with pytest.raises(DecodingProcessError, match="ended early"):
        decoders.decode(posts(5))
