"""Bitcoin blocks: their headers, their transactions read whole, and the root of their ids."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from clarion.chains.bitcoin.transactions import (
    BitcoinTransaction,
    TransactionError,
    double_sha256,
    read_compact_size,
    read_transaction,
    write_compact_size,
    write_transaction,
)

HEADER_BYTES: Final = 80
MAX_BLOCK_BYTES: Final = 4_000_000

_header: Final = struct.Struct("<I32s32sIII")


class BlockHeader(Struct, frozen=True, gc=False):
    """A block's header. Hashes are in display order, ``time`` is Unix seconds."""

    hash: bytes
    version: int
    parent_hash: bytes
    merkle_root: bytes
    time: int
    bits: int
    nonce: int


def target_of(bits: int) -> int:
    """The number that a block's hash may not exceed, by its header's compact form of it; 0 where there is none.

    As Bitcoin Core reads it (``arith_uint256::SetCompact``): how many bytes it has, a sign, and its first 23 bits.
    """
    size, mantissa = bits >> 24, bits & 0x7FFFFF
    target = mantissa << 8 * (size - 3) if size > 3 else mantissa >> 8 * (3 - size)
    return 0 if bits & 0x800000 or target >> 256 else target


def work_of(bits: int) -> int:
    """How many hashes a block of this target takes on average: what branches are compared by (``GetBlockProof``)."""
    target = target_of(bits)
    return (1 << 256) // (target + 1) if target else 0


def parse_header(data: bytes) -> BlockHeader:
    """The header that a block begins with. Raises TransactionError."""
    if len(data) < HEADER_BYTES:
        raise TransactionError(f"{len(data)} bytes are no block: its header alone has {HEADER_BYTES}")
    version, parent_hash, root, time, bits, nonce = _header.unpack_from(data)
    block_hash = double_sha256(data[:HEADER_BYTES])[::-1]
    return BlockHeader(block_hash, version, parent_hash[::-1], root[::-1], time, bits, nonce)


def write_header(header: BlockHeader) -> bytes:
    """The header's bytes."""
    parent_hash, root = header.parent_hash[::-1], header.merkle_root[::-1]
    return _header.pack(header.version, parent_hash, root, header.time, header.bits, header.nonce)


def transactions_of(data: bytes) -> list[BitcoinTransaction]:
    """All transactions of a block, read whole. Raises TransactionError."""
    count, at = read_compact_size(data, HEADER_BYTES)
    found = []
    for _ in range(count):
        transaction, at = read_transaction(data, at)
        found.append(transaction)
    if at != len(data):
        raise TransactionError(f"the block's transactions end at byte {at} of {len(data)}")
    return found


def merkle_root(ids: Sequence[bytes]) -> bytes:
    """The root of a block's transaction ids (both in display order).

    A list whose end repeats has the root of the list without it (CVE-2012-2459); whoever judges blocks by their root
    alone has to refuse a repeated id.
    """
    level = [tx_id[::-1] for tx_id in ids]
    while len(level) > 1:
        if len(level) % 2:
            level.append(level[-1])
        level = [double_sha256(level[place] + level[place + 1]) for place in range(0, len(level), 2)]
    return level[0][::-1]


def check_work(header: BlockHeader) -> None:
    """Raise TransactionError where a block does not have the work that its header says."""
    if int.from_bytes(header.hash, "big") > target_of(header.bits):
        raise TransactionError(f"block {header.hash.hex()} does not have the work that its header asks for")


def check_transactions(data: bytes) -> None:
    """Raise TransactionError where a block's transactions are not those that its header stands for."""
    ids = [transaction.id for transaction in transactions_of(data)]
    if len(set(ids)) != len(ids) or not ids or merkle_root(ids) != parse_header(data).merkle_root:
        raise TransactionError("the block's transactions are not those of its header")


def write_block(header: BlockHeader, transactions: Sequence[BitcoinTransaction]) -> bytes:
    """The block's bytes."""
    parts = [write_header(header), write_compact_size(len(transactions)), *map(write_transaction, transactions)]
    return b"".join(parts)


def new_block(
    parent_hash: bytes,
    transactions: Sequence[BitcoinTransaction],
    *,
    time: int,
    bits: int = 0x207FFFFF,
    version: int = 0x20000000,
) -> bytes:
    """The bytes of a block of these transactions, with the lowest nonce that makes the work that ``bits`` ask for."""
    root = merkle_root([transaction.id for transaction in transactions])
    header = BlockHeader(b"", version, parent_hash, root, time, bits, 0)
    target = target_of(bits)
    while int.from_bytes(double_sha256(write_header(header)), "little") > target:
        header = replace(header, nonce=header.nonce + 1)
    return write_block(header, transactions)
