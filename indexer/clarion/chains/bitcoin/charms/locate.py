"""Where a transaction holds its spell, as the protocol's own reader finds it.

From version 9 on a spell is in an output: ``OP_RETURN "spell" <payload>``, one push, nothing after it. Before, it was
in the witness of the last input, a taproot script of one leaf: ``OP_FALSE OP_IF "spell" <payload>.. OP_ENDIF ..``. The
reader tries the output first and on any error the witness, whatever the version. It looks neither at what the first
instruction of the output is nor at how pushes are written. (Read in charms-client 15.1, ``bitcoin_tx.rs``.)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from msgspec import Struct

from clarion.chains.bitcoin.transactions import BitcoinTransaction, Output
from clarion.chains.bitcoin.units import Sats

MARKER: Final = b"spell"

Location = Literal["op_return", "witness"]

_CONTROL_BLOCK_BYTES: Final = 33
_ANNEX: Final = 0x50
_OP_IF: Final = 0x63
_OP_ENDIF: Final = 0x68
_LONGEST_SHORT_PUSH: Final = 75
_PUSH_LENGTH_BYTES: Final = {76: 1, 77: 2, 78: 4}
_OP_RETURN: Final = b"\x6a"


def spell_output(payload: bytes) -> Output:
    """The output that holds a payload (from version 9 on)."""
    return Output(Sats(0), _OP_RETURN + push(MARKER) + push(payload))


def push(data: bytes) -> bytes:
    """The instruction that pushes bytes, as short as it can be."""
    if len(data) <= _LONGEST_SHORT_PUSH:
        return bytes((len(data),)) + data
    opcode, size = next((code, size) for code, size in _PUSH_LENGTH_BYTES.items() if len(data) < 1 << 8 * size)
    return bytes((opcode,)) + len(data).to_bytes(size, "little") + data


class EnvelopeError(ValueError):
    """A transaction is marked as having a spell, and not in a form that the protocol reads."""


class Envelope(Struct, frozen=True):
    """A place that is marked as holding a spell: its bytes, or what is wrong with it."""

    location: Location
    payload: bytes | None
    problem: str | None = None


def envelopes(transaction: BitcoinTransaction) -> list[Envelope]:
    """The places that are marked as holding a spell, in the order in which the reader tries them; mostly none."""
    found = (_in_outputs(transaction), _in_witness(transaction))
    return [envelope for envelope in found if envelope is not None]


def _in_outputs(transaction: BitcoinTransaction) -> Envelope | None:
    marked = [output.script for output in transaction.outputs if MARKER in output.script and _is_marked(output.script)]
    if not marked:
        return None
    try:
        if len(marked) > 1:
            raise EnvelopeError(f"{len(marked)} outputs are marked as spells")
        return Envelope("op_return", _payload_of_output(marked[0]))
    except EnvelopeError as error:
        return Envelope("op_return", None, str(error))


def _is_marked(script: bytes) -> bool:
    try:
        read = instructions(script)
        next(read)
        return next(read) == MARKER
    except (StopIteration, EnvelopeError):
        return False


def _payload_of_output(script: bytes) -> bytes:
    read = instructions(script)
    next(read)
    next(read)
    payload = next(read, None)
    if not isinstance(payload, bytes):
        raise EnvelopeError("no push follows the mark in the output")
    if next(read, None) is not None:
        raise EnvelopeError("something follows the spell in the output")
    return payload


def _in_witness(transaction: BitcoinTransaction) -> Envelope | None:
    witness = transaction.inputs[-1].witness if transaction.inputs else ()
    if len(witness) > 1 and witness[-1][:1] == bytes((_ANNEX,)):
        witness = witness[:-1]
    if len(witness) < 2:
        return None
    script, control_block = witness[-2:]
    if MARKER not in script:
        return None
    read = instructions(script)
    try:
        if next(read) != b"" or next(read) != _OP_IF or next(read) != MARKER:
            return None
    except (StopIteration, EnvelopeError):
        return None
    try:
        if len(control_block) != _CONTROL_BLOCK_BYTES:
            raise EnvelopeError("the taproot tree has more than one leaf")
        if control_block[0] & 0xFE == _ANNEX:
            raise EnvelopeError("the taproot leaf has a version that there cannot be")
        return Envelope("witness", b"".join(_pushes(read)))
    except EnvelopeError as error:
        return Envelope("witness", None, str(error))


def _pushes(read: Iterator[bytes | int]) -> Iterator[bytes]:
    for instruction in read:
        if isinstance(instruction, bytes):
            yield instruction
        elif instruction == _OP_ENDIF:
            return
        else:
            raise EnvelopeError(f"the opcode {instruction:#04x} is within the spell in the witness")
    raise EnvelopeError("the spell in the witness has no end")


def instructions(script: bytes) -> Iterator[bytes | int]:
    """A script's instructions: the bytes of a push, or an opcode. Raises EnvelopeError where a push is cut off."""
    at = 0
    while at < len(script):
        opcode = script[at]
        at += 1
        if opcode <= _LONGEST_SHORT_PUSH:
            length = opcode
        elif opcode in _PUSH_LENGTH_BYTES:
            size = _PUSH_LENGTH_BYTES[opcode]
            if at + size > len(script):
                raise EnvelopeError("a push's length is cut off")
            length = int.from_bytes(script[at : at + size], "little")
            at += size
        else:
            yield opcode
            continue
        if at + length > len(script):
            raise EnvelopeError("a push is cut off")
        yield script[at : at + length]
        at += length
