"""Clarion's own recordings: what is written is read back, and what is damaged or cut off is told."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from support import toy

from clarion.chains.model import Block, BurnBlock, JsonValue
from clarion.chains.stacks import compact_recording
from clarion.chains.stacks.compact_recording import Recorded, RecordingWriter, is_compact, read_compact
from clarion.chains.stacks.recording import Post, RecordingError

POST = ("/new_mempool_tx", b'["0x00"]')


def recording(items: list[Block | BurnBlock | tuple[str, bytes]], *, whole: bool = True) -> bytes:
    file = io.BytesIO()
    writer = RecordingWriter(file)
    for item in items:
        if isinstance(item, tuple):
            writer.post(*item)
        else:
            writer.item(item)
    if whole:
        writer.finish()
    else:
        writer.flush()
    return file.getvalue()


def read(content: bytes) -> list[Post | Recorded]:
    return list(read_compact(io.BytesIO(content), "file"))


def read_until_broken(content: bytes) -> tuple[list[Post | Recorded], str | None]:
    """What is given before the complaint, and the complaint."""
    entries = read_compact(io.BytesIO(content), "file")
    given: list[Post | Recorded] = []
    try:
        while (entry := next(entries, None)) is not None:
            given.append(entry)
    except RecordingError as error:
        return given, str(error)
    return given, None


@pytest.fixture
def chain() -> list[Block | BurnBlock | tuple[str, bytes]]:
    first = toy.block(
        None, [toy.move("alice", 2**128 - 1), {"topic": "x", "negative": -(2**127), "nested": [None, True]}]
    )
    second = toy.block(first)
    return [toy.burn_block(1), first, POST, BurnBlock(2, bytes(32)), second]


def test_everything_comes_back_as_it_was(chain: list[Any]) -> None:
    content = recording(chain)
    assert is_compact(io.BytesIO(content))
    expected = [
        Post(number, *item) if isinstance(item, tuple) else Recorded(number, item)
        for number, item in enumerate(chain, start=1)
    ]
    assert read(content) == expected


def test_a_recording_of_nothing_is_whole() -> None:
    assert read(recording([])) == []


def test_the_same_content_gives_the_same_bytes(chain: list[Any]) -> None:
    assert recording(chain) == recording(chain)


def test_other_tools_decompress_it(chain: list[Any]) -> None:
    with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(recording(chain)), read_across_frames=True) as reader:
        assert b"alice" in reader.read()


VALUES: st.SearchStrategy[JsonValue] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**127), 2**128 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.lists(VALUES, min_size=1, max_size=5))
def test_any_value_comes_back_exactly(values: list[JsonValue]) -> None:
    block = toy.block(None, [{"topic": "any", "value": value} for value in values])
    (recorded,) = read(recording([block]))
    assert isinstance(recorded, Recorded)
    assert recorded.item == block


def test_a_file_that_was_cut_off_anywhere_is_told_and_whole_frames_before_are_given(
    chain: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compact_recording, "FRAME_BYTES", 1)  # a frame for each record
    content = recording(chain)
    whole = read(content)
    counts = set()
    for length in range(len(content)):
        given, problem = read_until_broken(content[:length])
        assert problem is not None
        assert given == whole[: len(given)]
        counts.add(len(given))
        if given:
            assert f"cut off after record {len(given)}" in problem
    assert counts == set(range(len(chain) + 1))


def test_a_recorder_that_was_killed_leaves_what_it_had_flushed(chain: list[Any]) -> None:
    given, problem = read_until_broken(recording(chain, whole=False))
    assert (len(given), problem) == (len(chain), f"file: cut off after record {len(chain)}")


def test_any_damaged_byte_is_noticed(chain: list[Any]) -> None:
    content = recording(chain)
    whole = read(content)
    for at in range(len(content)):
        damaged = bytearray(content)
        damaged[at] ^= 0x5A
        try:
            found = read(bytes(damaged))
        except RecordingError:
            continue
        # The header's JSON has room for what means the same: a space or another key.
        assert found == whole


def test_what_follows_the_end_or_is_left_out_is_noticed(chain: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    content = recording(chain)
    with pytest.raises(RecordingError, match="something follows"):
        read(content + b"\0")
    monkeypatch.setattr(compact_recording, "FRAME_BYTES", 1)
    frames = recording(chain)
    dropped = recording(chain[:-1])
    shorter = dropped[: dropped.rindex(b'{"records"') - 8] + frames[frames.rindex(b'{"records"') - 8 :]
    with pytest.raises(RecordingError, match=f"it should hold {len(chain)} records"):
        read(shorter)


def test_another_version_is_told() -> None:
    content = recording([])
    header = json.dumps({"format": "clarion-recording", "version": 2, "chain": "stacks"}).encode()
    newer = content[:4] + len(header).to_bytes(4, "little") + header + content[8 + content[4] :]
    with pytest.raises(RecordingError, match="version 2 for stacks; this version of Clarion reads 1"):
        read(newer)


@pytest.mark.parametrize(
    "content", [b"", b"1\t2\t/new_block\t{}\n", zstandard.compress(b"1\t2\t/x\t{}"), b"\x5c\x2a\x4d\x18"]
)
def test_other_files_are_told_apart(content: bytes) -> None:
    assert not is_compact(io.BytesIO(content))
