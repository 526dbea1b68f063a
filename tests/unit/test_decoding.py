"""Decoding in other processes: the same blocks, in order, and an end in every case."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from support import toy
from support.node_posts import body, burn_payload, moves_payload

from clarion.chains.model import Block, EventKind
from clarion.chains.stacks.recording import Lines, RecordingError, read_lines
from clarion.decoding import Decoded, Decoders, DecodingProcessError, Entry, Undecodable, decode
from clarion.store.packed import Interest, PackedBlock

NOTHING = Interest(frozenset(), frozenset(), deployments=False)
EVERYTHING = Interest(frozenset(), None, deployments=True)
FILE = Path("posts.tsv")
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


def recorded(some: Sequence[Raw]) -> bytes:
    """A file of these posts."""
    lines = (b"%d\t-\t%b\t%b\n" % (number, post.path.encode(), post.body) for number, post in enumerate(some, 1))
    return b"".join(lines)


def pieces(some: Sequence[Raw], size: int) -> Iterator[Lines]:
    """The same in pieces."""
    return read_lines(io.BytesIO(recorded(some)), FILE, size=size)


@pytest.fixture
def decoders() -> Iterator[Decoders]:
    with Decoders(2, BANK) as running:
        yield running


def blocks(decoded: Sequence[Decoded]) -> list[Block]:
    return [item for of in decoded if isinstance(of, list) for item in of if isinstance(item, Block)]


def test_other_processes_say_the_same_in_the_same_order(decoders: Decoders) -> None:
    asked = posts(40)
    here = [decode(*post, BANK) for post in asked]
    streamed = list(decoders.stream(pieces(asked, size=3_000), FILE))
    assert [entry for piece in streamed for entry, _ in piece] == [
        Entry(line, post.path == "/new_block", len(post.body)) for line, post in enumerate(asked, 1)
    ]
    assert [of for piece in streamed for _, of in piece] == here
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
    def broken() -> Iterator[Lines]:
        yield Lines(1, recorded(posts(2)))
        raise OSError("the file ends here")

    stream = decoders.stream(broken(), FILE)
    assert len(blocks([of for _, of in next(stream)])) == 2
    with pytest.raises(OSError, match="the file ends here"):
        next(stream)


def test_a_line_that_is_no_post_is_told_after_what_was_before_it(decoders: Decoders) -> None:
    given = recorded(posts(2))
    stream = decoders.stream([Lines(1, given), Lines(6, given + b"no post\n" + given), Lines(20, given)], FILE)
    assert len(blocks([of for _, of in next(stream)])) == 2
    assert len(blocks([of for _, of in next(stream)])) == 2
    with pytest.raises(RecordingError, match=r"posts\.tsv, line 11: expected 4 tab-separated columns"):
        next(stream)


def test_a_stream_may_be_left_early_and_another_begun(decoders: Decoders) -> None:
    stream = decoders.stream(pieces(posts(300), size=1_000), FILE)
    next(stream)
    stream.close()
    (piece,) = decoders.stream(pieces(posts(3), size=1 << 20), FILE)
    assert len(blocks([of for _, of in piece])) == 3


def test_a_process_that_was_killed_is_told_of(decoders: Decoders) -> None:
    for process in decoders._processes[:1]:
        os.kill(process._process.pid, signal.SIGKILL)
        process._process.wait()
    with pytest.raises(DecodingProcessError, match="ended early"):
        list(decoders.stream(pieces(posts(300), size=1_000), FILE))
