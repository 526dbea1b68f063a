"""A prover's answer is checked: whoever changes it gets nothing signed but what was asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st
from support.submission import CHANGE, NETWORK, RATE, world

from clarion.chains.bitcoin.charms.drafts import SpellDraft, SpellInput, SpellOutput, charms_made
from clarion.chains.bitcoin.charms.locate import envelopes, spell_output
from clarion.chains.bitcoin.charms.spells import App, Spell, read_payload, write_payload
from clarion.chains.bitcoin.charms.verify import read_spell
from clarion.chains.bitcoin.coins import Coin, OutPoint
from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.bitcoin.transactions import (
    BitcoinTransaction,
    Input,
    Output,
    new_transaction,
    parse_transaction,
    write_transaction,
)
from clarion.chains.bitcoin.units import Sats
from clarion.dev.bitcoin.keys import key
from clarion.dev.bitcoin.prover import Charge, MockProver
from clarion.dev.bitcoin.prover_server import request_of
from clarion.dev.bitcoin.spell_builder import MOCK_PROOF
from clarion.dev.bitcoin.zkusd_apps import ORACLE
from clarion_keeper.charms.answer import AnswerError, Asked, CharmsFee, Proven, checked
from clarion_keeper.charms.proof_order import ProofOrder, request_form
from clarion_keeper.charms.prover import Prover
from clarion_keeper.charms.sizes import FeeRate

STRANGER = key("stranger")
GENUINE = "283559062cb6"


Recorded = tuple[ProofOrder, bytes, bytes]


@pytest.fixture(scope="module")
def recorded(order: ProofOrder) -> Recorded:
    """A request, its answer, and what is signed of it."""
    answer = MockProver().prove(request_of(msgspec.json.encode(request_form(order, NETWORK))))
    proven = taken(order.asked, answer)
    return order, write_transaction(answer), write_transaction(proven.transaction(proven.fee_at(RATE)))


def taken(asked: Asked, answer: BitcoinTransaction | bytes, fee: CharmsFee | None = None) -> Proven:
    data = answer if isinstance(answer, bytes) else write_transaction(answer)
    return checked(asked, data, network=NETWORK, accept_mock=True, fee=fee)


@pytest_asyncio.fixture
async def answer(order: ProofOrder, prover: Prover) -> BitcoinTransaction:
    return parse_transaction(await prover.answer(order))


async def test_an_answer_is_the_spell_its_payload_and_the_change(order: ProofOrder, answer: BitcoinTransaction) -> None:
    proven = taken(order.asked, answer)
    assert not proven.earlier_answer
    assert proven.proof == MOCK_PROOF
    assert len(answer.outputs) == 3
    # with the fee that the prover took it is the same transaction, but that it can be replaced
    fee = Sats(proven.spare - answer.outputs[-1].amount)
    ours = proven.transaction(fee)
    assert ours.outputs == answer.outputs
    assert {spent.sequence for spent in ours.inputs} == {0xFFFFFFFD}
    assert {spent.sequence for spent in answer.inputs} == {0xFFFFFFFF}


async def test_no_byte_of_an_answer_can_be_changed(order: ProofOrder, answer: BitcoinTransaction) -> None:
    """Either it is refused, or what is signed does not depend on it. A mock proof's own bytes mean nothing."""
    data = write_transaction(answer)
    fee = taken(order.asked, answer).fee_at(RATE)
    ours = write_transaction(taken(order.asked, answer).transaction(fee))
    carried = answer.outputs[1].script
    proof_from = data.index(carried) + len(carried) - len(_octets(MOCK_PROOF))
    proof = range(proof_from, proof_from + len(_octets(MOCK_PROOF)))
    let_pass = 0
    for place in (place for place in range(len(data)) if place not in proof):
        changed = bytearray(data)
        changed[place] ^= 1 << place % 8
        try:
            proven = taken(order.asked, bytes(changed))
        except AnswerError:
            continue
        let_pass += 1
        assert write_transaction(proven.transaction(fee)) == ours, f"byte {place}"
    assert let_pass <= 8 + 4 * len(answer.inputs)  # the amount of the change, and whether it can be replaced


def _octets(proof: bytes) -> bytes:
    """A proof in CBOR, without the head of its array."""
    return b"".join(bytes((one,)) if one < 24 else bytes((24, one)) for one in proof)


def genuine(chain_data: Path) -> tuple[Asked, BitcoinTransaction]:
    """A transaction of mainnet as the answer to a request for its spell; what its inputs hold is made up."""
    recorded = json.loads((chain_data / "charms" / "genuine-spells.json").read_text())
    transaction = parse_transaction(
        bytes.fromhex(next(one["hex"] for one in recorded if one["txid"].startswith(GENUINE)))
    )
    bare = new_transaction(
        tuple(Input(spent.tx_id, spent.vout, b"", spent.sequence) for spent in transaction.inputs), transaction.outputs
    )
    event = read_spell(transaction, BitcoinNetwork.MAINNET, accept_mock=False)
    assert event is not None
    assert event.status == "verified"
    assert event.version == 12
    made = charms_made(event)
    draft = SpellDraft(
        [
            SpellInput(OutPoint(spent.tx_id, spent.vout), Coin(Sats(1_000_000), CHANGE, 1, coinbase=False))
            for spent in bare.inputs
        ],
        [
            SpellOutput(output.script, made.get(place, {}), output.amount)
            for place, output in enumerate(bare.outputs[: len(event.outs)])
        ],
        {App(use.tag, bytes.fromhex(use.identity), bytes.fromhex(use.vk)): use.public_input for use in event.apps},
        version=event.version,
    )
    change = bare.outputs[-1].script
    return Asked(draft=draft, change=change, fee_rate=FeeRate(1_000), mock=False), bare


def charge_of(asked: Asked, answer: BitcoinTransaction) -> CharmsFee | None:
    after = answer.outputs[len(asked.draft.outputs)]
    return None if after.script.startswith(b"\x6a") else CharmsFee(script=after.script, most=after.amount)


def test_no_byte_of_a_genuine_proof_can_be_changed(chain_data: Path) -> None:
    asked, answer = genuine(chain_data)
    fee = charge_of(asked, answer)

    def take(data: bytes) -> Proven:
        return checked(asked, data, network=BitcoinNetwork.MAINNET, fee=fee)

    data = write_transaction(answer)
    proven = take(data)
    ours = write_transaction(proven.transaction(proven.spare))
    place_of_spell = next(place for place, output in enumerate(answer.outputs) if output.script.startswith(b"\x6a"))
    script = answer.outputs[place_of_spell].script
    start = data.index(script)
    # the rest is the same for mocks; a byte of each kind, and each of the proof's
    for place in range(start, start + len(script), 5):
        changed = bytearray(data)
        changed[place] ^= 0x01
        try:
            other = take(bytes(changed))
        except AnswerError:
            continue
        assert write_transaction(other.transaction(other.spare)) == ours, f"byte {place}"


def test_nothing_may_follow_a_proof(chain_data: Path) -> None:
    asked, answer = genuine(chain_data)
    place = next(place for place, output in enumerate(answer.outputs) if output.script.startswith(b"\x6a"))
    (envelope,) = envelopes(answer)
    assert envelope.payload is not None
    spell, proof = read_payload(envelope.payload)
    outputs = list(answer.outputs)
    outputs[place] = spell_output(write_payload(spell, proof + b"\x00"))
    assert len(proof) == 356
    longer = new_transaction(answer.inputs, tuple(outputs))
    with pytest.raises(AnswerError, match="has 357 bytes"):
        checked(asked, write_transaction(longer), network=BitcoinNetwork.MAINNET, fee=charge_of(asked, answer))


def other(
    answer: BitcoinTransaction,
    *,
    inputs: Sequence[Input] | None = None,
    outputs: Sequence[Output] | None = None,
    version: int = 2,
    lock_time: int = 0,
) -> BitcoinTransaction:
    return new_transaction(
        tuple(answer.inputs if inputs is None else inputs),
        tuple(answer.outputs if outputs is None else outputs),
        version=version,
        lock_time=lock_time,
    )


async def test_who_is_refused(order: ProofOrder, answer: BitcoinTransaction) -> None:
    first, carrier, change = answer.outputs
    to_stranger = Output(Sats(400), STRANGER.taproot_script)
    signed = [Input(one.tx_id, one.vout, b"", one.sequence, (b"\x01" * 64,)) for one in answer.inputs]
    cases = {
        "does not spend what the spell does": other(answer, inputs=answer.inputs[::-1]),
        "spend what the spell does, in its order": other(answer, inputs=answer.inputs[:1]),
        "does not begin with the spell's outputs": other(answer, outputs=[change, carrier, first]),
        "pays .*, which nobody asked for": other(answer, outputs=[first, to_stranger, carrier, change]),
        "an output after the spell that is not our change": other(answer, outputs=[first, carrier, to_stranger]),
        "that is not our change; where": other(answer, outputs=[first, carrier, change, change]),
        "pays nobody, which nobody asked for": other(answer, outputs=[first]),
        "holds no spell": other(answer, outputs=[first, Output(Sats(0), b"\x6a\x01a"), change]),
        "another spell": other(answer, outputs=[first, Output(Sats(1), carrier.script), change]),
        "is signed": other(answer, inputs=signed),
        "is signed, and nobody": other(answer, inputs=[msgspec.structs.replace(answer.inputs[0], script=b"\x51")]),
        "of version 3": other(answer, version=3),
        "locked until 9": other(answer, lock_time=9),
        "more than its inputs have": other(
            answer, outputs=[first, carrier, Output(Sats(change.amount + 10**9), change.script)]
        ),
    }
    for why, case in cases.items():
        with pytest.raises(AnswerError, match=why):
            taken(order.asked, case)


OTHER_SPELLS: dict[str, Callable[[Spell], Spell]] = {
    "an older version": lambda spell: msgspec.structs.replace(spell, version=14),
    "a later version": lambda spell: msgspec.structs.replace(spell, version=16),
    "another operation": lambda spell: msgspec.structs.replace(spell, apps=[(spell.apps[0][0], "govern")]),
    "other data": lambda spell: msgspec.structs.replace(spell, outs=[{0: 7}]),
    "no outputs": lambda spell: msgspec.structs.replace(spell, outs=[]),
    "a beam": lambda spell: msgspec.structs.replace(spell, beamed_outs={0: bytes(32)}),
    "no scrolls": lambda spell: msgspec.structs.replace(spell, scrolls=None),
    "references": lambda spell: msgspec.structs.replace(spell, refs=[]),
    "its inputs": lambda spell: msgspec.structs.replace(spell, inputs=[]),
}


@pytest.mark.parametrize("which", OTHER_SPELLS)
async def test_another_spell_is_refused_whatever_its_proof_says(
    order: ProofOrder, answer: BitcoinTransaction, which: str
) -> None:
    (envelope,) = envelopes(answer)
    assert envelope.payload is not None
    spell, proof = read_payload(envelope.payload)
    changed = spell_output(write_payload(OTHER_SPELLS[which](spell), proof))
    first, _, change = answer.outputs
    with pytest.raises(AnswerError, match="another spell"):
        taken(order.asked, other(answer, outputs=[first, changed, change]))


@settings(max_examples=200)
@given(st.data())
def test_whatever_is_answered_nothing_else_is_signed(recorded: Recorded, data: st.DataObject) -> None:
    order, answer, ours = recorded
    start = data.draw(st.integers(0, len(answer)))
    end = data.draw(st.integers(start, min(start + 40, len(answer))))
    changed = answer[:start] + data.draw(st.binary(max_size=40)) + answer[end:]
    try:
        proven = taken(order.asked, changed)
    except AnswerError:
        return
    # only what a mock's proof says may differ: it proves nothing
    made = proven.transaction(proven.fee_at(RATE))
    expected = parse_transaction(ours)
    assert made.inputs == expected.inputs
    assert [(one.amount, one.script) for one in made.outputs if one.amount] == [
        (one.amount, one.script) for one in expected.outputs if one.amount
    ]


async def test_mock_proofs_are_for_regtest_alone(order: ProofOrder, answer: BitcoinTransaction) -> None:
    data = write_transaction(answer)
    for network, accept_mock in ((NETWORK, False), (BitcoinNetwork.MAINNET, True), (BitcoinNetwork.TESTNET4, True)):
        with pytest.raises(AnswerError, match="does not hold: mock: the spell says that it is a mock"):
            checked(order.asked, data, network=network, accept_mock=accept_mock)
    # a real spell that was asked for is not answered with a mock
    with pytest.raises(AnswerError):
        taken(replace(order.asked, mock=False), answer)


async def test_a_proof_that_is_none_is_refused(order: ProofOrder, answer: BitcoinTransaction) -> None:
    (envelope,) = envelopes(answer)
    assert envelope.payload is not None
    spell, _ = read_payload(envelope.payload)
    first, _, change = answer.outputs
    for proof, why in ((b"", "does not hold: proof_points"), (bytes(513), "has 513 bytes")):
        carrier = spell_output(write_payload(spell, proof))
        with pytest.raises(AnswerError, match=why):
            taken(order.asked, other(answer, outputs=[first, carrier, change]))


async def test_what_is_charged_is_limited() -> None:
    charge = Charge(address=ORACLE.segwit_address, base=Sats(1_200))
    async with world(charge=charge) as regtest:
        order = await regtest.order()
        answer = parse_transaction(await regtest.prover.answer(order))
    fee = CharmsFee(script=ORACLE.segwit_script, most=Sats(1_500))
    proven = taken(order.asked, answer, fee)
    assert proven.charged == Output(Sats(1_500), ORACLE.segwit_script)
    assert proven.transaction(proven.fee_at(RATE)).outputs[1] == proven.charged
    with pytest.raises(AnswerError, match="charges 1500 satoshis, and may charge 1499"):
        taken(order.asked, answer, replace(fee, most=Sats(1_499)))
    with pytest.raises(AnswerError, match="which nobody asked for"):
        taken(order.asked, answer)
    with pytest.raises(AnswerError, match="which nobody asked for"):
        taken(order.asked, answer, replace(fee, script=STRANGER.segwit_script))


async def test_an_earlier_answer_is_told_and_paid_as_wanted(order: ProofOrder, prover: Prover) -> None:
    """The trap: a prover knows a spell by its CBOR, and forgets which fee rate was asked for."""
    first = await prover.prove(order)
    again = replace(order, asked=replace(order.asked, fee_rate=FeeRate(8_000)))
    assert await prover.answer(again) == await prover.answer(order)
    second = await prover.prove(again)
    assert not first.earlier_answer
    assert second.earlier_answer
    assert second.fee_at(FeeRate(8_000)) == 4 * first.fee_at(RATE)


async def test_a_rate_whose_fee_leaves_no_change_is_no_earlier_answer(order: ProofOrder, prover: Prover) -> None:
    lowest = await prover.prove(order)
    draft = order.asked.draft
    # an output more takes all but 299 satoshis of the change
    answer = parse_transaction(await prover.answer(order))
    taken_by = SpellOutput(CHANGE, {}, Sats(answer.outputs[-1].amount - 299 - 43 * RATE // 1_000))
    bigger = replace(draft, outputs=[*draft.outputs, taken_by])
    other_order = replace(order, asked=replace(order.asked, draft=bigger))
    proven = await prover.prove(other_order)
    assert len(parse_transaction(await prover.answer(other_order)).outputs) == 3
    assert not proven.earlier_answer
    assert not lowest.earlier_answer
