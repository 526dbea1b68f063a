"""Recorded pieces of Bitcoin's chain: raw blocks in the order of their heights, in one compressed file.

The file begins with the line ``MAGIC``; a Zstandard stream follows. It holds, for each block, its height and its length
(four bytes each, the most significant first) and its bytes, and at the end eight bytes of ones: what lacks them was cut
off.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import BinaryIO, Final

import zstandard

from clarion.chains.bitcoin.blocks import MAX_BLOCK_BYTES

MAGIC: Final = b"clarion bitcoin blocks 1\n"
LEVEL: Final = 6
_head: Final = Struct(">II")
_END: Final = b"\xff" * _head.size


class BitcoinRecordingError(ValueError):
    """A file that is no recording of Bitcoin's blocks, or is damaged; the message says where."""


def is_bitcoin_recording(file: BinaryIO) -> bool:
    """Whether an open file begins as one; it is left at its beginning."""
    found = file.read(len(MAGIC)) == MAGIC
    file.seek(0)
    return found


class BitcoinRecordingWriter:
    """Writes blocks into an open file. :meth:`finish` is the end."""

    def __init__(self, file: BinaryIO) -> None:
        file.write(MAGIC)
        self._stream = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).stream_writer(file, closefd=False)

    def block(self, height: int, data: bytes) -> None:
        """Add a block."""
        self._stream.write(_head.pack(height, len(data)))
        self._stream.write(data)

    def finish(self) -> None:
        """Write the end."""
        self._stream.write(_END)
        self._stream.close()  # type: ignore[no-untyped-call]


def read_bitcoin_recording(file: BinaryIO, name: str) -> Iterator[tuple[int, bytes]]:
    """Heights and bytes of the blocks in an open file; ``name`` is for errors. Raises BitcoinRecordingError."""
    if file.read(len(MAGIC)) != MAGIC:
        raise BitcoinRecordingError(f"{name} is no recording of Bitcoin's blocks")
    with zstandard.ZstdDecompressor().stream_reader(file, closefd=False) as stream:
        last: int | None = None
        while True:
            where = f"{name}, after block {last}" if last is not None else f"{name}, at its beginning"
            try:
                head = _exactly(stream, _head.size, where)
                if head == _END:
                    return
                height, length = _head.unpack(head)
                if length > MAX_BLOCK_BYTES or (last is not None and height != last + 1):
                    raise BitcoinRecordingError(f"{where}: it is damaged: block {height} of {length} bytes follows")
                data = _exactly(stream, length, where)
            except zstandard.ZstdError as error:
                raise BitcoinRecordingError(f"{where}: it is damaged: {error}") from error
            last = height
            yield height, data


def _exactly(stream: zstandard.ZstdDecompressionReader, size: int, where: str) -> bytes:
    parts: list[bytes] = []
    missing = size
    while missing:
        part = stream.read(missing)
        if not part:
            raise BitcoinRecordingError(f"{where}: it is cut off")
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
