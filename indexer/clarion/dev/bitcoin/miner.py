"""Makes regtest blocks: coinbase, commitments and the (easy) proof of work. The same input gives the same block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from clarion.chains.bitcoin.blocks import merkle_root, new_block, target_of
from clarion.chains.bitcoin.transactions import (
    BitcoinTransaction,
    Input,
    Output,
    double_sha256,
    new_transaction,
    write_transaction,
)
from clarion.chains.bitcoin.units import Sats

SUBSIDY: Final = Sats(50 * 100_000_000)
HALVING_INTERVAL: Final = 150
"""Blocks after which the subsidy halves on regtest (Bitcoin Core, ``kernel/chainparams.cpp``)."""
MAX_BLOCK_WEIGHT: Final = 4_000_000
REGTEST_BITS: Final = 0x207F_FFFF
TARGET: Final = target_of(REGTEST_BITS)
_WITNESS_COMMITMENT: Final = bytes.fromhex("6a24aa21a9ed")
_NO_TRANSACTION: Final = bytes(32)


def subsidy(height: int) -> Sats:
    """New coins in the block at this height."""
    return Sats(SUBSIDY >> (height // HALVING_INTERVAL))


def script_number(value: int) -> bytes:
    """A push of a positive number in a script, as short as it can be (BIP 34)."""
    if value <= 16:
        return bytes((0x50 + value if value else 0,))
    body = value.to_bytes((value.bit_length() + 8) // 8, "little")
    return bytes((len(body),)) + body


def make_block(
    *,
    parent: bytes,
    height: int,
    time: int,
    script: bytes,
    transactions: Sequence[BitcoinTransaction],
    fees: Sats,
    tag: bytes,
) -> bytes:
    """A serialized block on ``parent`` (display order) at Unix time ``time``, its reward under ``script``.

    ``tag`` (up to 90 bytes) stands in the coinbase: blocks that differ in nothing else have different hashes by it.
    """
    witness_ids = [double_sha256(write_transaction(transaction))[::-1] for transaction in transactions]
    witness_root = merkle_root([_NO_TRANSACTION, *witness_ids])[::-1]
    commitment = _WITNESS_COMMITMENT + double_sha256(witness_root + _NO_TRANSACTION)
    mark = script_number(height) + bytes((len(tag),)) + tag
    coinbase = new_transaction(
        (Input(_NO_TRANSACTION, 0xFFFFFFFF, mark, 0xFFFFFFFF, (_NO_TRANSACTION,)),),
        (Output(Sats(subsidy(height) + fees), script), Output(Sats(0), commitment)),
    )
    return new_block(parent, [coinbase, *transactions], time=time, bits=REGTEST_BITS)
