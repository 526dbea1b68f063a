"""How large a transaction will be when it is signed, and what it then has to pay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NewType

from clarion.chains.bitcoin.scripts import script_type
from clarion.chains.bitcoin.transactions import BitcoinTransaction
from clarion.chains.bitcoin.units import Sats

FeeRate = NewType("FeeRate", int)
"""Satoshis for 1,000 virtual bytes."""

_WITNESS_WEIGHT: Final = {
    "witness_v1_taproot": 1 + 1 + 64,
    "witness_v0_keyhash": 1 + 1 + 72 + 1 + 33,
}
"""Of an input that one key spends: the count of items, and each item after its length. A signature of ECDSA (DER) has
at most 71 bytes and one that says what was signed; one of Schnorr has 64 (BIP 141, BIP 340)."""
_SEGWIT_MARK: Final = 2


class UnknownScriptError(ValueError):
    """Nobody knows how large a witness of this script will be."""


def signed_size(transaction: BitcoinTransaction, scripts: Sequence[bytes]) -> int:
    """Virtual bytes of an unsigned transaction when it is signed, at most.

    ``scripts``: of what its inputs spend, in order. Raises UnknownScriptError where one is neither P2TR nor P2WPKH.
    """
    weight = 4 * transaction.stripped_size + _SEGWIT_MARK + sum(map(_witness_weight, scripts))
    return -(-weight // 4)


def fee_for(size: int, rate: FeeRate) -> Sats:
    """What so many virtual bytes cost, rounded up as nodes do."""
    return Sats(-(-size * rate // 1_000))


def _witness_weight(script: bytes) -> int:
    kind = script_type(script)
    if kind not in _WITNESS_WEIGHT:
        raise UnknownScriptError(f"the script {script.hex()} ({kind}) is spent by what is not known here")
    return _WITNESS_WEIGHT[kind]
