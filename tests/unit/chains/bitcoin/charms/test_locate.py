"""Where spells are found, and where they are not."""

import pytest
from support.charms import SPELL, in_output, in_witness, plain_transaction, push, with_witness

from clarion.chains.bitcoin.charms.locate import EnvelopeError, envelopes, instructions
from clarion.chains.bitcoin.transactions import BitcoinTransaction, Output, new_transaction
from clarion.chains.bitcoin.units import Sats

CONTROL = b"\xc0" + bytes(32)


def with_scripts(*scripts: bytes) -> BitcoinTransaction:
    made = tuple(Output(Sats(0), script) for script in scripts)
    return new_transaction(plain_transaction().inputs, made)


def found(transaction: BitcoinTransaction) -> list[tuple[str, bytes | None]]:
    return [(envelope.location, envelope.payload) for envelope in envelopes(transaction)]


def test_in_an_output_at_any_place() -> None:
    transaction = with_scripts(b"\x51", b"\x6a" + SPELL + push(b"payload"), b"\x52")
    assert found(transaction) == [("op_return", b"payload")]


@pytest.mark.parametrize(
    "script",
    [
        b"\x6a\x4c\x05spell" + push(b"payload"),
        b"\x6a\x4d\x05\x00spell" + b"\x4c\x07payload",
        b"\x6a\x4e\x05\x00\x00\x00spell" + b"\x4e\x07\x00\x00\x00payload",
        b"\x51" + SPELL + push(b"payload"),
        push(b"anything") + SPELL + push(b"payload"),
        b"\x00" + SPELL + push(b"payload"),
    ],
)
def test_pushes_and_the_first_instruction_may_be_any(script: bytes) -> None:
    assert found(with_scripts(script)) == [("op_return", b"payload")]


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        (b"\x6a" + SPELL, "no push follows"),
        (b"\x6a" + SPELL + b"\x51", "no push follows"),
        (b"\x6a" + SPELL + push(b"payload") + b"\x51", "something follows"),
        (b"\x6a" + SPELL + push(b"pay") + push(b"load"), "something follows"),
        (b"\x6a" + SPELL + push(b"payload") + b"\x05", "cut off"),
        (b"\x6a" + SPELL + b"\x4d\x05", "cut off"),
        (b"\x6a" + SPELL + b"\x4d\x05\x00abcd", "cut off"),
    ],
)
def test_marked_outputs_that_hold_none(script: bytes, problem: str) -> None:
    (envelope,) = envelopes(with_scripts(script))
    assert envelope.payload is None
    assert problem in (envelope.problem or "")


def test_two_marked_outputs_are_one_too_many() -> None:
    script = b"\x6a" + SPELL + push(b"payload")
    (envelope,) = envelopes(with_scripts(script, script))
    assert (envelope.payload, envelope.problem) == (None, "2 outputs are marked as spells")


@pytest.mark.parametrize(
    "script",
    [b"", SPELL, b"\x6a\x06spells" + push(b"p"), b"\x6a\x63spell", b"\x4d\xffspell", b"\x6aspell", b"\x6a\x51" + SPELL],
)
def test_outputs_that_are_not_marked(script: bytes) -> None:
    assert found(with_scripts(script)) == []


def test_in_the_witness_of_the_last_input() -> None:
    payload = bytes(range(256)) * 5
    transaction = in_witness(plain_transaction(inputs=3), payload)
    assert found(transaction) == [("witness", payload)]
    first, *others = transaction.inputs
    moved = new_transaction((transaction.inputs[-1], *others[:-1], first), transaction.outputs)
    assert found(moved) == []


def test_with_an_annex() -> None:
    script = b"\x00\x63" + SPELL + push(b"payload") + b"\x68"
    transaction = with_witness(plain_transaction(), (script, CONTROL, b"\x50annex"))
    assert found(transaction) == [("witness", b"payload")]


def test_what_follows_the_end_does_not_matter() -> None:
    script = b"\x4c\x00\x63" + SPELL + push(b"pay") + b"\x00" + push(b"load") + b"\x68\x4d\xff"
    assert found(with_witness(plain_transaction(), (script, CONTROL))) == [("witness", b"payload")]


@pytest.mark.parametrize(
    ("script", "control", "problem"),
    [
        (b"\x00\x63" + SPELL + push(b"p") + b"\x68", CONTROL + bytes(32), "more than one leaf"),
        (b"\x00\x63" + SPELL + push(b"p") + b"\x68", b"\x51" + bytes(32), "a version that there cannot be"),
        (b"\x00\x63" + SPELL + push(b"p") + b"\x51\x68", CONTROL, "opcode 0x51"),
        (b"\x00\x63" + SPELL + push(b"p"), CONTROL, "no end"),
        (b"\x00\x63" + SPELL + b"\x05", CONTROL, "cut off"),
    ],
)
def test_marked_witnesses_that_hold_none(script: bytes, control: bytes, problem: str) -> None:
    (envelope,) = envelopes(with_witness(plain_transaction(), (script, control)))
    assert envelope.payload is None
    assert problem in (envelope.problem or "")


@pytest.mark.parametrize(
    "witness",
    [
        (),
        (b"\x00\x63" + SPELL + push(b"p") + b"\x68",),
        (b"\x00\x63" + SPELL + push(b"p") + b"\x68", b"\x50annex"),
        (b"\x63" + SPELL + push(b"p") + b"\x68", CONTROL),
        (b"\x00\x64" + SPELL + push(b"p") + b"\x68", CONTROL),
        (b"\x00\x63\x06spells" + push(b"p") + b"\x68", CONTROL),
        (b"\x00\x63\x4dspell", CONTROL),
        (b"\x00spell", CONTROL),
    ],
)
def test_witnesses_that_are_not_marked(witness: tuple[bytes, ...]) -> None:
    transaction = plain_transaction() if not witness else with_witness(plain_transaction(), witness)
    assert found(transaction) == []


def test_the_output_is_tried_first() -> None:
    both = in_output(in_witness(plain_transaction(), b"of the witness"), b"of the output")
    assert found(both) == [("op_return", b"of the output"), ("witness", b"of the witness")]


def test_instructions_of_a_script() -> None:
    assert list(instructions(b"\x00\x6a\x02ab\x4c\x01c\xac")) == [b"", 0x6A, b"ab", b"c", 0xAC]
    with pytest.raises(EnvelopeError):
        list(instructions(b"\x4e\x00\x00"))
