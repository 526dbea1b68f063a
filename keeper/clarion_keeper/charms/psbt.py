"""Partially signed transactions (PSBT, BIP 174): what goes to a signer, and what comes back.

Of the format is written and read what a signer of single keys needs: the unsigned transaction, and for each input the
output that it spends, the transaction that made it, and in the end the witness. Other fields are refused in what is to
be signed, so that nothing is signed that was not looked at. In what comes back from a signer they are ignored, but for
signatures that are not put together to a witness yet.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from clarion.chains.bitcoin.coins import Coin
from clarion.chains.bitcoin.scripts import script_type
from clarion.chains.bitcoin.transactions import (
    BitcoinTransaction,
    TransactionError,
    new_transaction,
    parse_transaction,
    read_compact_size,
    write_compact_size,
    write_transaction,
)
from clarion.chains.bitcoin.units import Sats

MAGIC: Final = b"psbt\xff"
MAX_BYTES: Final = 4_000_000
_UNSIGNED_TRANSACTION: Final = b"\x00"
_MAKING_TRANSACTION, _SPENT_OUTPUT, _FINAL_WITNESS = b"\x00", b"\x01", b"\x08"
_PARTIAL_SIGNATURE, _TAPROOT_SIGNATURE = b"\x02", b"\x13"
_SEPARATOR: Final = b"\x00"


class PsbtError(ValueError):
    """Bytes that are no PSBT of the form that is read here; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class PsbtInput:
    """An input: what it spends, the transaction that made that (where it is given), and its witness (where signed)."""

    amount: Sats
    script: bytes
    made_by: BitcoinTransaction | None = None
    witness: tuple[bytes, ...] | None = None


@dataclass(frozen=True, slots=True)
class Psbt:
    """A transaction that is to be signed, with what its inputs spend, in order."""

    transaction: BitcoinTransaction
    inputs: tuple[PsbtInput, ...]

    @property
    def fee(self) -> int:
        """Satoshis that the inputs have more than the outputs; negative where they have fewer."""
        spent = sum(one.amount for one in self.inputs)
        return spent - sum(output.amount for output in self.transaction.outputs)

    @property
    def unsigned(self) -> list[int]:
        """Which inputs have no witness yet."""
        return [index for index, one in enumerate(self.inputs) if one.witness is None]

    def signed_transaction(self) -> BitcoinTransaction:
        """The transaction with all witnesses. Raises PsbtError where an input has none."""
        if self.unsigned:
            raise PsbtError(f"inputs {', '.join(map(str, self.unsigned))} are not signed")
        inputs = tuple(
            msgspec.structs.replace(taken, witness=one.witness or ())
            for taken, one in zip(self.transaction.inputs, self.inputs, strict=True)
        )
        plain = self.transaction
        return new_transaction(inputs, plain.outputs, version=plain.version, lock_time=plain.lock_time)


def psbt_of(
    transaction: BitcoinTransaction, spent: Sequence[Coin], previous: Mapping[bytes, BitcoinTransaction]
) -> Psbt:
    """What a signer is given of an unsigned transaction.

    Args:
        transaction: without signatures.
        spent: what its inputs spend, in order.
        previous: the transactions that made these, by id (display order). Those of inputs that are not taproot are
            shown: what such an input holds can be seen there alone.
    """
    inputs = tuple(
        PsbtInput(coin.amount, coin.script, None if is_taproot(coin.script) else previous.get(taken.tx_id))
        for taken, coin in zip(transaction.inputs, spent, strict=True)
    )
    return Psbt(transaction, inputs)


def is_taproot(script: bytes) -> bool:
    """Whether a signature for this script is of the amounts of all inputs (BIP 341)."""
    return script_type(script) == "witness_v1_taproot"


def write_psbt(psbt: Psbt) -> bytes:
    """The bytes of version 0."""
    parts = [MAGIC, _pair(_UNSIGNED_TRANSACTION, write_transaction(psbt.transaction, witness=False)), _SEPARATOR]
    for one in psbt.inputs:
        if one.made_by is not None:
            parts.append(_pair(_MAKING_TRANSACTION, write_transaction(one.made_by)))
        parts.append(_pair(_SPENT_OUTPUT, one.amount.to_bytes(8, "little") + _sized(one.script)))
        if one.witness is not None:
            items = write_compact_size(len(one.witness)) + b"".join(map(_sized, one.witness))
            parts.append(_pair(_FINAL_WITNESS, items))
        parts.append(_SEPARATOR)
    parts += [_SEPARATOR] * len(psbt.transaction.outputs)
    return b"".join(parts)


def read_psbt(data: bytes, *, strict: bool = True) -> Psbt:
    """The PSBT that these bytes are.

    ``strict``: refuse fields that are not known here; otherwise they are ignored.

    Raises:
        PsbtError: it is none, an input does not say what it spends, or says it in two ways.
    """
    if len(data) > MAX_BYTES:
        raise PsbtError(f"{len(data)} bytes are too many for a PSBT")
    if not data.startswith(MAGIC):
        raise PsbtError("the bytes do not begin as a PSBT does")
    try:
        return _read(data, strict=strict)
    except (IndexError, struct.error):
        raise PsbtError(f"the PSBT is cut off at byte {len(data)}") from None
    except TransactionError as error:
        raise PsbtError(f"a transaction in the PSBT cannot be read: {error}") from error


def _read(data: bytes, *, strict: bool) -> Psbt:
    fields, at = _map(data, len(MAGIC))
    _known(fields, (_UNSIGNED_TRANSACTION,), "the PSBT", strict=strict)
    if _UNSIGNED_TRANSACTION not in fields:
        raise PsbtError("the PSBT has no unsigned transaction (version 2 is not read here)")
    transaction = parse_transaction(fields[_UNSIGNED_TRANSACTION])
    if transaction.has_witness or any(taken.script for taken in transaction.inputs):
        raise PsbtError("the unsigned transaction of the PSBT has signatures")
    inputs = []
    for index, taken in enumerate(transaction.inputs):
        fields, at = _map(data, at)
        known = (_MAKING_TRANSACTION, _SPENT_OUTPUT, _FINAL_WITNESS)
        _known(fields, known, f"input {index}", strict=strict)
        inputs.append(_input(fields, index, taken.tx_id, taken.vout))
    for index in range(len(transaction.outputs)):
        fields, at = _map(data, at)
        _known(fields, (), f"output {index}", strict=strict)
    if at != len(data):
        raise PsbtError(f"{len(data) - at} bytes follow the PSBT's end")
    return Psbt(transaction, tuple(inputs))


def _input(fields: Mapping[bytes, bytes], index: int, tx_id: bytes, vout: int) -> PsbtInput:
    made_by, output = None, fields.get(_SPENT_OUTPUT)
    if output is None:
        raise PsbtError(f"input {index} does not say what it spends")
    script, end = _bytes(output, 8)
    if end != len(output):
        raise PsbtError(f"bytes follow what input {index} spends")
    amount = Sats(int.from_bytes(output[:8], "little"))
    if _MAKING_TRANSACTION in fields:
        made_by = parse_transaction(fields[_MAKING_TRANSACTION])
        if made_by.id != tx_id or vout >= len(made_by.outputs):
            raise PsbtError(f"the transaction given with input {index} did not make what it spends")
        if (made_by.outputs[vout].amount, made_by.outputs[vout].script) != (amount, script):
            raise PsbtError(f"input {index} does not spend what it says: the transaction that made it says otherwise")
    return PsbtInput(amount, script, made_by, _witness(fields, index))


def _witness(fields: Mapping[bytes, bytes], index: int) -> tuple[bytes, ...] | None:
    """An input's witness, which signers of a single key may leave to others to put together (BIP 174, BIP 371)."""
    if _FINAL_WITNESS in fields:
        return _items(fields[_FINAL_WITNESS], index)
    if _TAPROOT_SIGNATURE in fields:
        return (fields[_TAPROOT_SIGNATURE],)
    partial = [(value, key[1:]) for key, value in fields.items() if key[:1] == _PARTIAL_SIGNATURE]
    return partial[0] if len(partial) == 1 else None


def _items(data: bytes, index: int) -> tuple[bytes, ...]:
    count, at = read_compact_size(data, 0)
    items = []
    for _ in range(count):
        item, at = _bytes(data, at)
        items.append(item)
    if at != len(data):
        raise PsbtError(f"bytes follow the witness of input {index}")
    return tuple(items)


def _known(fields: Mapping[bytes, bytes], known: Sequence[bytes], where: str, *, strict: bool) -> None:
    unknown = sorted(fields.keys() - set(known))
    if strict and unknown:
        raise PsbtError(f"{where} has fields that are not looked at here: {', '.join(key.hex() for key in unknown)}")


def _map(data: bytes, at: int) -> tuple[dict[bytes, bytes], int]:
    """The fields of one map by their keys, and where it ends."""
    fields: dict[bytes, bytes] = {}
    while True:
        key, at = _bytes(data, at)
        if not key:
            return fields, at
        if key in fields:
            raise PsbtError(f"the field {key.hex()} comes twice before byte {at}")
        fields[key], at = _bytes(data, at)


def _bytes(data: bytes, at: int) -> tuple[bytes, int]:
    length, at = read_compact_size(data, at)
    end = at + length
    if end > len(data):
        raise PsbtError(f"{length} bytes at byte {at} go beyond the end at {len(data)}")
    return data[at:end], end


def _pair(key: bytes, value: bytes) -> bytes:
    return _sized(key) + _sized(value)


def _sized(data: bytes) -> bytes:
    return write_compact_size(len(data)) + data
