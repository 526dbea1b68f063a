"""Bitcoin transactions: their serialization (BIP 144), ids, sizes, and back to bytes.

Nothing is taken that a node would not take: a transaction is read to the last byte, lengths are compact, and nothing is
allocated for a length that the bytes cannot hold.
"""

from __future__ import annotations

import hashlib
import struct
from struct import Struct
from typing import Final

from msgspec import Struct as Record

from clarion.chains.bitcoin.units import Sats, outpoint_text, script_text

MAX_TRANSACTION_BYTES: Final = 4_000_000
"""The most a block's weight leaves for one transaction with its witness."""
MAX_SATS: Final = 21_000_000 * 100_000_000
"""The most satoshis there can be (consensus: ``MAX_MONEY``)."""

_uint32: Final = Struct("<I").unpack_from
_uint64: Final = Struct("<Q").unpack_from
_uint16: Final = Struct("<H").unpack_from
_write_uint32: Final = Struct("<I").pack
_write_uint64: Final = Struct("<Q").pack
_write_uint16: Final = Struct("<H").pack

_LEAST_INPUT: Final = 41
_LEAST_OUTPUT: Final = 9


class TransactionError(ValueError):
    """Bytes that are no transaction (or block); the message says what is wrong and at which byte."""


class Input(Record, frozen=True, gc=False):
    """What a transaction spends. ``tx_id`` (display order) and ``vout`` name the output."""

    tx_id: bytes
    vout: int
    script: bytes
    sequence: int
    witness: tuple[bytes, ...] = ()

    @property
    def outpoint(self) -> str:
        """``txid:vout``."""
        return outpoint_text(self.tx_id, self.vout)


class Output(Record, frozen=True, gc=False):
    """What a transaction makes: an amount under a script."""

    amount: Sats
    script: bytes

    @property
    def script_text(self) -> str:
        """The script as ``0x`` and hexadecimal."""
        return script_text(self.script)


class BitcoinTransaction(Record, frozen=True, gc=False):
    """A transaction with its witness."""

    version: int
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    lock_time: int
    id: bytes
    """Display order."""
    size: int
    """Bytes with witness."""
    stripped_size: int
    """Bytes without witness."""

    @property
    def weight(self) -> int:
        """In weight units: three times the size without witness, plus the size with it."""
        return 3 * self.stripped_size + self.size

    @property
    def virtual_size(self) -> int:
        """What fees are paid for, in virtual bytes: the weight divided by four, rounded up."""
        return -(-self.weight // 4)

    @property
    def is_coinbase(self) -> bool:
        """Whether it makes new coins: its one input names no output."""
        return len(self.inputs) == 1 and self.inputs[0].vout == 0xFFFFFFFF and not any(self.inputs[0].tx_id)

    @property
    def has_witness(self) -> bool:
        """Whether any input has a witness."""
        return any(spent.witness for spent in self.inputs)


def double_sha256(data: bytes) -> bytes:
    """SHA-256 twice, in internal order."""
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def parse_transaction(data: bytes) -> BitcoinTransaction:
    """The transaction that these bytes are, with or without witness. Raises TransactionError."""
    if len(data) > MAX_TRANSACTION_BYTES:
        raise TransactionError(f"{len(data)} bytes are too many for a transaction: no block holds it")
    transaction, end = read_transaction(data, 0)
    if end != len(data):
        raise TransactionError(f"{len(data) - end} bytes follow the transaction's end at byte {end}")
    return transaction


def read_transaction(data: bytes, start: int) -> tuple[BitcoinTransaction, int]:
    """The transaction that begins at byte ``start``, and where it ends. Raises TransactionError."""
    try:
        return _read(data, start)
    except (IndexError, struct.error) as error:
        raise TransactionError(f"the transaction at byte {start} is cut off at byte {len(data)}") from error


def _read(data: bytes, start: int) -> tuple[BitcoinTransaction, int]:
    (version,) = _uint32(data, start)
    at = start + 4
    segwit = data[at] == 0 and data[at + 1] != 0
    if segwit:
        if data[at + 1] != 1:
            raise TransactionError(f"unknown flag {data[at + 1]} of the transaction at byte {start}")
        at += 2
    first = at
    count, at = read_compact_size(data, at)
    _fits(data, at, count, _LEAST_INPUT, "inputs")
    spent: list[tuple[bytes, int, bytes, int]] = []
    for _ in range(count):
        tx_id = data[at : at + 32][::-1]
        (vout,) = _uint32(data, at + 32)
        script, at = _read_bytes(data, at + 36)
        (sequence,) = _uint32(data, at)
        at += 4
        spent.append((tx_id, vout, script, sequence))
    count, at = read_compact_size(data, at)
    _fits(data, at, count, _LEAST_OUTPUT, "outputs")
    outputs: list[Output] = []
    for _ in range(count):
        (amount,) = _uint64(data, at)
        if amount > MAX_SATS:
            raise TransactionError(f"an output at byte {at} has {amount} satoshis, more than there can be")
        script, at = _read_bytes(data, at + 8)
        outputs.append(Output(Sats(amount), script))
    body_end = at
    witnesses: list[tuple[bytes, ...]] = []
    if segwit:
        for _ in spent:
            count, at = read_compact_size(data, at)
            _fits(data, at, count, 1, "witness items")
            items: list[bytes] = []
            for _ in range(count):
                item, at = _read_bytes(data, at)
                items.append(item)
            witnesses.append(tuple(items))
        if not any(witnesses):
            raise TransactionError(f"the transaction at byte {start} is marked as having witnesses and has none")
    (lock_time,) = _uint32(data, at)
    end = at + 4
    if segwit:
        stripped = data[start : start + 4] + data[first:body_end] + data[at:end]
        inputs = tuple([Input(*parts, witness) for parts, witness in zip(spent, witnesses, strict=True)])
    else:
        stripped = data[start:end]
        inputs = tuple([Input(*parts) for parts in spent])
    transaction = BitcoinTransaction(
        version, inputs, tuple(outputs), lock_time, double_sha256(stripped)[::-1], end - start, len(stripped)
    )
    return transaction, end


def read_compact_size(data: bytes, at: int) -> tuple[int, int]:
    """A length or count in as few bytes as it takes, and where it ends. Raises TransactionError, IndexError."""
    first = data[at]
    if first < 0xFD:
        return first, at + 1
    if first == 0xFD:
        (value,) = _uint16(data, at + 1)
        least, end = 0xFD, at + 3
    elif first == 0xFE:
        (value,) = _uint32(data, at + 1)
        least, end = 0x1_0000, at + 5
    else:
        (value,) = _uint64(data, at + 1)
        least, end = 0x1_0000_0000, at + 9
    if value < least:
        raise TransactionError(f"the length {value} at byte {at} takes more bytes than it needs")
    return value, end


def _read_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    length, at = read_compact_size(data, at)
    end = at + length
    if end > len(data):
        raise TransactionError(f"{length} bytes at byte {at} go beyond the end at {len(data)}")
    return data[at:end], end


def _fits(data: bytes, at: int, count: int, least: int, what: str) -> None:
    if count * least > len(data) - at:
        raise TransactionError(f"{count} {what} at byte {at} do not fit into the {len(data) - at} bytes left")


def write_compact_size(value: int) -> bytes:
    """A length or count in as few bytes as it takes."""
    if value < 0xFD:
        return bytes((value,))
    if value <= 0xFFFF:
        return b"\xfd" + _write_uint16(value)
    if value <= 0xFFFFFFFF:
        return b"\xfe" + _write_uint32(value)
    return b"\xff" + _write_uint64(value)


def write_transaction(transaction: BitcoinTransaction, *, witness: bool = True) -> bytes:
    """The transaction's bytes, ``witness`` or not; without they are what its id is the hash of."""
    marked = witness and transaction.has_witness
    parts = [_write_uint32(transaction.version), b"\x00\x01" if marked else b""]
    parts.append(write_compact_size(len(transaction.inputs)))
    for spent in transaction.inputs:
        parts += (spent.tx_id[::-1], _write_uint32(spent.vout), _sized(spent.script), _write_uint32(spent.sequence))
    parts.append(write_compact_size(len(transaction.outputs)))
    for made in transaction.outputs:
        parts += (_write_uint64(made.amount), _sized(made.script))
    if marked:
        for spent in transaction.inputs:
            parts.append(write_compact_size(len(spent.witness)))
            parts += map(_sized, spent.witness)
    parts.append(_write_uint32(transaction.lock_time))
    return b"".join(parts)


def new_transaction(
    inputs: tuple[Input, ...], outputs: tuple[Output, ...], *, version: int = 2, lock_time: int = 0
) -> BitcoinTransaction:
    """A transaction of these parts, with its id and sizes."""
    draft = BitcoinTransaction(version, inputs, outputs, lock_time, b"", 0, 0)
    stripped = write_transaction(draft, witness=False)
    size = len(write_transaction(draft))
    return BitcoinTransaction(version, inputs, outputs, lock_time, double_sha256(stripped)[::-1], size, len(stripped))


def _sized(data: bytes) -> bytes:
    return write_compact_size(len(data)) + data
