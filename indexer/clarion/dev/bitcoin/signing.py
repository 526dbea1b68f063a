"""Signatures of Bitcoin transactions: what they sign (BIP 143, BIP 341, BIP 342) and where they go."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
from coincurve import PrivateKey

from clarion.chains.bitcoin.coins import Coin
from clarion.chains.bitcoin.key_scripts import tagged_hash
from clarion.chains.bitcoin.transactions import (
    BitcoinTransaction,
    Input,
    Output,
    double_sha256,
    new_transaction,
    write_compact_size,
)
from clarion.dev.bitcoin.keys import Key, leaf_hash

SIGHASH_ALL: Final = 1
_WHOLE_TREE: Final = b"\x00" + b"\xff\xff\xff\xff"
"""Key version, and that no OP_CODESEPARATOR was met."""


def keys_by_script(keys: Sequence[Key]) -> dict[bytes, Key]:
    """The scripts that these keys spend."""
    return {script: one for one in keys for script in (one.segwit_script, one.taproot_script)}


def sign(transaction: BitcoinTransaction, spent: Sequence[Coin], keys: Mapping[bytes, Key]) -> BitcoinTransaction:
    """The transaction with a signature on every input whose coin's script is among ``keys``; others stay as they are.

    ``spent`` are the coins of the inputs, in order: signatures commit to all of them.
    """
    inputs = []
    for index, (taken, coin) in enumerate(zip(transaction.inputs, spent, strict=True)):
        owner = keys.get(coin.script)
        if owner is None:
            inputs.append(taken)
        elif coin.script == owner.segwit_script:
            digest = segwit_digest(transaction, index, owner.segwit_script, coin.amount)
            signature = PrivateKey(owner.secret).sign(digest, hasher=None) + bytes((SIGHASH_ALL,))
            inputs.append(msgspec.structs.replace(taken, witness=(signature, owner.public)))
        else:
            digest = taproot_digest(transaction, index, spent)
            signature = PrivateKey(owner.tweaked_secret()).sign_schnorr(digest, bytes(32))
            inputs.append(msgspec.structs.replace(taken, witness=(signature,)))
    return _with_inputs(transaction, inputs)


def sign_leaf(
    transaction: BitcoinTransaction, index: int, spent: Sequence[Coin], owner: Key, leaf: bytes
) -> BitcoinTransaction:
    """The transaction with what spends input ``index`` by the one script beneath its owner's key.

    The script is to end with that key and OP_CHECKSIG.
    """
    digest = taproot_digest(transaction, index, spent, leaf)
    signature = PrivateKey(owner.secret).sign_schnorr(digest, bytes(32))
    inputs = list(transaction.inputs)
    witness = (signature, leaf, owner.control_block(leaf))
    inputs[index] = msgspec.structs.replace(inputs[index], witness=witness)
    return _with_inputs(transaction, inputs)


def segwit_digest(transaction: BitcoinTransaction, index: int, script: bytes, amount: int) -> bytes:
    """What the signature of a P2WPKH input signs (BIP 143): everything."""
    taken = transaction.inputs[index]
    pay_to_hash = b"\x76\xa9" + script[1:] + b"\x88\xac"
    return double_sha256(
        struct.pack("<I", transaction.version)
        + double_sha256(b"".join(_outpoint(one) for one in transaction.inputs))
        + double_sha256(b"".join(struct.pack("<I", one.sequence) for one in transaction.inputs))
        + _outpoint(taken)
        + _sized(pay_to_hash)
        + struct.pack("<QI", amount, taken.sequence)
        + double_sha256(b"".join(_output(one) for one in transaction.outputs))
        + struct.pack("<II", transaction.lock_time, SIGHASH_ALL)
    )


def taproot_digest(
    transaction: BitcoinTransaction, index: int, spent: Sequence[Coin], leaf: bytes | None = None
) -> bytes:
    """What the signature of a taproot input signs (BIP 341; of a script ``leaf``: BIP 342): everything."""
    parts = [
        b"\x00",  # epoch
        b"\x00",  # SIGHASH_DEFAULT
        struct.pack("<II", transaction.version, transaction.lock_time),
        _sha256(_outpoint(one) for one in transaction.inputs),
        _sha256(struct.pack("<Q", coin.amount) for coin in spent),
        _sha256(_sized(coin.script) for coin in spent),
        _sha256(struct.pack("<I", one.sequence) for one in transaction.inputs),
        _sha256(_output(one) for one in transaction.outputs),
        bytes((0 if leaf is None else 2,)),
        struct.pack("<I", index),
    ]
    if leaf is not None:
        parts += [leaf_hash(leaf), _WHOLE_TREE]
    return tagged_hash("TapSighash", *parts)


def _with_inputs(transaction: BitcoinTransaction, inputs: Sequence[Input]) -> BitcoinTransaction:
    return new_transaction(
        tuple(inputs), transaction.outputs, version=transaction.version, lock_time=transaction.lock_time
    )


def _outpoint(taken: Input) -> bytes:
    return taken.tx_id[::-1] + struct.pack("<I", taken.vout)


def _output(made: Output) -> bytes:
    return struct.pack("<Q", made.amount) + _sized(made.script)


def _sized(data: bytes) -> bytes:
    return write_compact_size(len(data)) + data


def _sha256(parts: Iterable[bytes]) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()
