"""Recorded posts of a node: files of four tab-separated columns, as ``COPY`` writes an observer's table of raw posts.

The columns are a sequence number, when the post came, its path and its JSON. ``.gz`` and ``.zst`` files are read as
they are.
"""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import msgspec
import zstandard

PIECE_BYTES: Final = 1 << 20
"""Of a file, decompressed, that are read at a time."""
_COLUMNS: Final = 4
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
#: Backslash sequences of Postgres' COPY text format; any other character stands for itself.
_ESCAPED: Final = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


class RecordingError(ValueError):
    """A file is not a recording. The message names the file, the line and what is wrong."""


@dataclass(frozen=True, slots=True)
class Post:
    """One recorded post. ``line`` counts from 1."""

    line: int
    path: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Lines:
    """A piece of a file: whole lines. ``first`` is the number of the first one."""

    first: int
    content: bytes


def read_recording(path: Path) -> Iterator[Post]:
    """The posts of a recorded file in the order they came.

    Raises RecordingError at a line that has not four columns, OSError where the file cannot be read.
    """
    with path.open("rb") as file:
        for lines in read_lines(file, path):
            yield from posts_of(lines, path)


def read_lines(file: BinaryIO, path: Path, *, size: int = PIECE_BYTES) -> Iterator[Lines]:
    """The lines of a file that is open, in pieces of at least ``size`` bytes.

    How it is compressed follows from ``path``. Raises RecordingError where it cannot be decompressed, after what came
    before.
    """
    first, held, parts = 1, 0, list[bytes]()
    broken: RecordingError | None = None
    with _decompressed(file, path) as content:
        while broken is None:
            data = b""
            try:
                data = content.read1(size)
            except (EOFError, gzip.BadGzipFile, zstandard.ZstdError) as error:
                broken = RecordingError(f"{path}: cannot be decompressed: {error}")
                broken.__cause__ = error
            if not data:
                break
            parts.append(data)
            held += len(data)
            if held >= size and (whole := data.rfind(b"\n") + 1):
                lines = Lines(first, b"".join((*parts[:-1], memoryview(data)[:whole])))
                yield lines
                first += _count_lines(lines.content)
                parts = [data[whole:]]
                held = len(parts[0])
    rest = b"".join(parts)
    if broken is not None:
        rest = rest[: rest.rfind(b"\n") + 1]
    if rest:
        yield Lines(first, rest)
    if broken is not None:
        raise broken


def _count_lines(content: bytes) -> int:
    """How many line ends there are. ``bytes.count`` looks at each byte; lines are long, so to find them is faster."""
    count, at = 0, content.find(b"\n")
    while at >= 0:
        count, at = count + 1, content.find(b"\n", at + 1)
    return count


def posts_of(lines: Lines, path: Path) -> Iterator[Post]:
    """The posts of these lines. ``path`` is for errors. Raises RecordingError at a line that has not four columns."""
    for number, line in enumerate(io.BytesIO(lines.content), start=lines.first):
        columns = line.rstrip(b"\r\n").split(b"\t", _COLUMNS - 1)
        if len(columns) != _COLUMNS or not columns[2].startswith(b"/"):
            raise RecordingError(
                f"{path}, line {number}: expected {_COLUMNS} tab-separated columns (id, time, path, JSON), "
                f"found {line[:80]!r}"
            )
        yield Post(number, columns[2].decode("utf-8", "replace"), _unescape(columns[3]))


def _decompressed(file: BinaryIO, path: Path) -> io.BufferedReader:
    if path.suffix == ".gz":
        return io.BufferedReader(cast("io.RawIOBase", gzip.open(file, "rb")), buffer_size=PIECE_BYTES)
    if path.suffix == ".zst":
        return io.BufferedReader(_ZstdFile(file), buffer_size=PIECE_BYTES)
    return cast("io.BufferedReader", file)


class _ZstdFile(io.RawIOBase):
    """A file of Zstandard frames. Unlike the library's own reader it tells a file that was cut off from a whole one."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._input = b""
        self._output = memoryview(b"")

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` with what is decompressed next; 0 at the end."""
        while not self._output:
            self._input = self._input or self._file.read(1 << 16)
            if not self._input:
                if self._frame is not None:
                    raise EOFError("the file ends within a frame")
                return 0
            self._frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
            self._output = memoryview(self._frame.decompress(self._input))
            self._input = self._frame.unused_data
            if self._frame.eof:
                self._frame = None
        count = min(len(buffer), len(self._output))
        buffer[:count] = self._output[:count]
        self._output = self._output[count:]
        return count

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


def _unescape(column: bytes) -> bytes:
    """A column as it was before COPY doubled its backslashes; some recorders write JSON as it is instead."""
    if b"\\" not in column:
        return column
    text = _ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[1]), column)
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.MsgspecError, ValueError):
        return column
    return text
