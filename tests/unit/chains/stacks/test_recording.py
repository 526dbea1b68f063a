from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import zstandard

from clarion.chains.stacks.recording import Post, RecordingError, read_recording

LINES = b'1\t2021-07-28 22:04:25+00\t/new_block\t{"a": 1}\n2\t2021\t/new_burn_block\t{}\n'
POSTS = [Post(1, "/new_block", b'{"a": 1}'), Post(2, "/new_burn_block", b"{}")]


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_plain_and_compressed_files_read_the_same(tmp_path: Path) -> None:
    assert list(read_recording(written(tmp_path / "posts.tsv", LINES))) == POSTS
    assert list(read_recording(written(tmp_path / "posts.tsv.gz", gzip.compress(LINES)))) == POSTS
    frames = zstandard.compress(LINES[:40]) + zstandard.compress(LINES[40:])
    assert list(read_recording(written(tmp_path / "posts.tsv.zst", frames))) == POSTS


@pytest.mark.parametrize(
    ("column", "body"),
    [
        (rb'{"error": "say \\"no\\"\\n"}', rb'{"error": "say \"no\"\n"}'),  # COPY doubled every backslash
        (rb'{"error": "say \"no\"\n"}', rb'{"error": "say \"no\"\n"}'),  # a recorder that did not
        (rb'{"path": "a\\\\b"}', rb'{"path": "a\\b"}'),
        (b'{"caf\\\\u00e9": 1}', b'{"caf\\u00e9": 1}'),
        (b'{"truncated": "\\', b'{"truncated": "\\'),
    ],
)
def test_backslashes_are_read_as_they_were(tmp_path: Path, column: bytes, body: bytes) -> None:
    (post,) = read_recording(written(tmp_path / "posts.tsv", b"1\t-\t/new_block\t" + column))
    assert post.body == body


def test_the_json_may_hold_tabs_and_lines_may_end_as_on_windows(tmp_path: Path) -> None:
    (post,) = read_recording(written(tmp_path / "posts.tsv", b'1\t-\t/new_block\t{"a":\t1}\r\n'))
    assert post.body == b'{"a":\t1}'


@pytest.mark.parametrize("line", [b"", b"1\t2", b'{"json": 1}', b"1\t-\tnew_block\t{}", b"\x00\xff"])
def test_what_is_no_recording_is_refused_at_its_line(tmp_path: Path, line: bytes) -> None:
    posts = read_recording(written(tmp_path / "posts.tsv", LINES + line + b"\n"))
    assert [next(posts), next(posts)] == POSTS
    with pytest.raises(RecordingError, match=r"posts\.tsv, line 3: expected 4 tab-separated columns"):
        next(posts)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_what_cannot_be_decompressed_is_refused(tmp_path: Path, suffix: str) -> None:
    compressed = gzip.compress(LINES * 99) if suffix == ".gz" else zstandard.compress(LINES * 99)
    for broken in (b"no archive", compressed[:-9]):
        path = written(tmp_path / f"posts.tsv{suffix}", broken)
        with pytest.raises(RecordingError, match="cannot be decompressed"):
            list(read_recording(path))


def test_an_empty_file_holds_no_posts(tmp_path: Path) -> None:
    assert list(read_recording(written(tmp_path / "posts.tsv", b""))) == []
