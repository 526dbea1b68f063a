"""Clarion's own recordings: blocks of an index, or posts of a node, in a file that is small and checked.

A file is a sequence of Zstandard frames (RFC 8878), so ``zstd -d`` reads it too:

- a skippable frame with the JSON object ``{"format": "clarion-recording", "version": 1, "chain": "stacks"}``,
- frames of records, each with Zstandard's own checksum: a MessagePack array of records, about four megabytes,
- a skippable frame with the JSON object ``{"records": N, "sha256": hex}`` over the decompressed frames of records.

A file without the last one was cut off. Integers in events and transactions are JSON text, which is exact at any size.
Their values and payloads are there as far as their bytes do not say them (``chains.stacks.derived``), or whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, TypeVar

import msgspec
import zstandard

from clarion.chains.model import (
    Block,
    BlockRef,
    BurnBlock,
    Event,
    EventKind,
    Transaction,
    TransactionStatus,
)
from clarion.chains.stacks.recording import Post, RecordingError

FORMAT: Final = "clarion-recording"
VERSION: Final = 1
FRAME_BYTES: Final = 4 << 20
COMPRESSION_LEVEL: Final = 9

_SKIPPABLE: Final = 0x184D2A5C
_SKIPPABLE_MASK: Final = 0xFFFFFFF0
_INPUT_BYTES: Final = 1 << 16
_HEADER_LIMIT: Final = 1 << 16


class _Burn(msgspec.Struct, frozen=True, array_like=True, tag="burn"):
    height: int
    hash: bytes
    parent_hash: bytes | None
    time: int | None


class _Posted(msgspec.Struct, frozen=True, array_like=True, tag="post"):
    path: str
    body: bytes


class _Transaction(msgspec.Struct, frozen=True, array_like=True):
    index: int
    id: bytes
    status: str
    kind: str
    sender: str | None
    sponsor: str | None
    nonce: int | None
    fee: int | None
    contract: str | None
    function: str | None
    payload: bytes
    result: bytes | None
    raw: bytes
    vm_error: str | None
    decode_error: str | None


class _Event(msgspec.Struct, frozen=True, array_like=True):
    tx_index: int
    index: int
    kind: str
    contract: str | None
    topic: str
    value: bytes
    raw: bytes | None


class _Block(msgspec.Struct, frozen=True, array_like=True, tag="block"):
    height: int
    hash: bytes
    parent_hash: bytes
    time: int | None
    burn: _Burn | None
    transactions: list[_Transaction]
    events: list[_Event]
    extra: bytes


class _Header(msgspec.Struct):
    format: str
    version: int
    chain: str


class _End(msgspec.Struct, forbid_unknown_fields=True):
    records: int
    sha256: str


S = TypeVar("S", bound=msgspec.Struct)

_json = msgspec.json.Encoder(order="sorted").encode
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[_Posted | _Burn | _Block]).decode


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recorded block or Bitcoin block. ``number`` counts records from 1."""

    number: int
    item: Block | BurnBlock


class RecordingWriter:
    """Writes a recording to ``file``, which the caller opens and closes. Only :meth:`finish` makes it whole."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL, write_checksum=True)
        self._frame: list[bytes] = []
        self._frame_bytes = 0
        self._sha256 = hashlib.sha256()
        self.records = 0
        self._skippable(_Header(FORMAT, VERSION, "stacks"))

    def post(self, path: str, body: bytes) -> None:
        """Add a post of a node."""
        self._add(_Posted(path, body))

    def item(self, item: Block | BurnBlock) -> None:
        """Add a block or a Bitcoin block."""
        self._add(_burn_record(item) if isinstance(item, BurnBlock) else _block_record(item))

    def _add(self, record: _Posted | _Burn | _Block) -> None:
        encoded = _encode(record)
        self._frame.append(encoded)
        self._frame_bytes += len(encoded)
        self.records += 1
        if self._frame_bytes >= FRAME_BYTES:
            self.flush()

    def flush(self) -> None:
        """End the frame: what was added so far can be read even if nothing follows."""
        if not self._frame:
            return
        # An array of 32-bit length, then its elements: MessagePack's format "array 32".
        content = b"\xdd" + len(self._frame).to_bytes(4, "big") + b"".join(self._frame)
        self._sha256.update(content)
        self._file.write(self._compressor.compress(content))
        self._frame.clear()
        self._frame_bytes = 0

    def finish(self) -> None:
        """Write what says that the recording is whole."""
        self.flush()
        self._skippable(_End(self.records, self._sha256.hexdigest()))

    def _skippable(self, content: msgspec.Struct) -> None:
        encoded = msgspec.json.encode(content)
        self._file.write(_SKIPPABLE.to_bytes(4, "little") + len(encoded).to_bytes(4, "little") + encoded)


def is_compact(file: BinaryIO) -> bool:
    """Whether an open file is a compact recording; its position is at the beginning before and after."""
    start = file.read(8 + _HEADER_LIMIT)
    file.seek(0)
    return start[:4] == _SKIPPABLE.to_bytes(4, "little") and FORMAT.encode() in start[8 : 8 + _size(start)]


def _size(start: bytes) -> int:
    return int.from_bytes(start[4:8], "little")


def read_compact(file: BinaryIO, name: str) -> Iterator[Post | Recorded]:
    """The records of a compact recording in order; ``name`` is the file's, for messages.

    Raises RecordingError where it is damaged, cut off, or of another version; what comes before is given first.
    """
    header = _read_skippable(file, name, _Header)
    if header is None or header.format != FORMAT:
        raise RecordingError(f"{name}: no {FORMAT}")
    if header.version != VERSION or header.chain != "stacks":
        raise RecordingError(
            f"{name}: version {header.version} for {header.chain}; this version of Clarion reads {VERSION} for stacks"
        )
    sha256 = hashlib.sha256()
    number = 0
    while True:
        start = file.read(4)
        file.seek(-len(start), 1)
        if int.from_bytes(start, "little") & _SKIPPABLE_MASK == _SKIPPABLE & _SKIPPABLE_MASK:
            break
        content = _read_frame(file, name, number) if len(start) == 4 else None
        if content is None:
            raise RecordingError(f"{name}: cut off after record {number}")
        sha256.update(content)
        try:
            records = _decode(content)
        except (msgspec.MsgspecError, ValueError) as error:
            raise RecordingError(f"{name}: damaged after record {number}: {error}") from error
        for record in records:
            number += 1
            yield _read_record(record, number, name)
    end = _read_skippable(file, name, _End)
    if end is None:
        raise RecordingError(f"{name}: cut off after record {number}")
    if (end.records, end.sha256) != (number, sha256.hexdigest()):
        raise RecordingError(f"{name}: damaged: it should hold {end.records} records with SHA-256 {end.sha256}")
    if file.read(1):
        raise RecordingError(f"{name}: something follows the end of the recording")


def _read_record(record: _Posted | _Burn | _Block, number: int, name: str) -> Post | Recorded:
    if isinstance(record, _Posted):
        return Post(number, record.path, record.body)
    try:
        return Recorded(number, _burn(record) if isinstance(record, _Burn) else _block(record))
    except (msgspec.MsgspecError, ValueError) as error:
        raise RecordingError(f"{name}: damaged in record {number}: {error}") from error


def _read_skippable(file: BinaryIO, name: str, kind: type[S]) -> S | None:
    """The object in a skippable frame, or None where the file ends within it."""
    start = file.read(8)
    if len(start) < 8:
        return None
    if _size(start) > _HEADER_LIMIT:
        raise RecordingError(f"{name}: damaged: a header of {_size(start)} bytes")
    content = file.read(_size(start))
    if len(content) < _size(start):
        return None
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, ValueError) as error:
        raise RecordingError(f"{name}: damaged: {error}") from error


def _read_frame(file: BinaryIO, name: str, number: int) -> bytes | None:
    """The content of the next frame, or None where the file ends within it; the file is then right behind it."""
    frame = zstandard.ZstdDecompressor().decompressobj()
    parts: list[bytes] = []
    while not frame.eof:
        read = file.read(_INPUT_BYTES)
        if not read:
            return None
        try:
            parts.append(frame.decompress(read))
        except zstandard.ZstdError as error:
            raise RecordingError(f"{name}: damaged after record {number}: {error}") from error
    file.seek(-len(frame.unused_data), 1)
    return b"".join(parts)


def _burn_record(burn: BurnBlock) -> _Burn:
    return _Burn(burn.height, burn.hash, burn.parent_hash, burn.time)


def _burn(record: _Burn) -> BurnBlock:
    return BurnBlock(record.height, record.hash, record.parent_hash, record.time)


def _block_record(block: Block) -> _Block:
    return _Block(
        block.height,
        block.hash,
        block.ref.parent_hash,
        block.time,
        None if block.burn is None else _burn_record(block.burn),
        [
            _Transaction(
                tx.index,
                tx.id,
                tx.status.value,
                tx.kind,
                tx.sender,
                tx.sponsor,
                tx.nonce,
                tx.fee,
                tx.contract,
                tx.function,
                _json(tx.stored_payload),
                tx.result,
                tx.raw,
                tx.vm_error,
                tx.decode_error,
            )
            for tx in block.transactions
        ],
        [
            _Event(
                event.tx_index,
                event.index,
                event.kind.value,
                event.contract,
                event.topic,
                _json(event.stored_value),
                event.raw,
            )
            for event in block.events
        ],
        _json(block.extra),
    )


def _block(record: _Block) -> Block:
    extra: dict[str, Any] = msgspec.json.decode(record.extra, type=dict[str, Any])
    transactions = [
        Transaction(
            tx.index,
            tx.id,
            TransactionStatus(tx.status),
            tx.kind,
            tx.sender,
            tx.sponsor,
            tx.nonce,
            tx.fee,
            tx.contract,
            tx.function,
            msgspec.json.decode(tx.payload),
            tx.result,
            tx.raw,
            tx.vm_error,
            tx.decode_error,
        )
        for tx in record.transactions
    ]
    events = [
        Event(
            event.tx_index,
            event.index,
            EventKind(event.kind),
            event.contract,
            event.topic,
            msgspec.json.decode(event.value),
            event.raw,
        )
        for event in record.events
    ]
    return Block(
        BlockRef("stacks", record.height, record.hash, record.parent_hash),
        record.time,
        None if record.burn is None else _burn(record.burn),
        tuple(transactions),
        tuple(events),
        extra,
    )
