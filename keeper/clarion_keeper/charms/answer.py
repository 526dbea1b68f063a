"""What a prover answered, checked and written anew: of its answer only the proof is used, and what it charges.

A proof commits to the transaction's inputs, the spell, and the outputs that the spell speaks of. Everything else of the
transaction is made here, so that a prover that lies or was broken into can at most be of no use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from clarion.chains.bitcoin.charms.drafts import SpellDraft, spell_of
from clarion.chains.bitcoin.charms.locate import envelopes, spell_output
from clarion.chains.bitcoin.charms.spells import SpellFormatError, read_payload, write_payload
from clarion.chains.bitcoin.charms.verify import read_spell
from clarion.chains.bitcoin.coins import OutPoint
from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.bitcoin.scripts import dust_limit, is_unspendable
from clarion.chains.bitcoin.transactions import (
    BitcoinTransaction,
    Input,
    Output,
    TransactionError,
    new_transaction,
    parse_transaction,
)
from clarion.chains.bitcoin.units import Sats
from clarion_keeper.charms.sizes import FeeRate, fee_for, signed_size

REPLACEABLE: Final = 0xFFFFFFFD
"""Sequence of an input of a transaction that may be replaced (BIP 125)."""
MOST_CHANGE_IGNORED: Final = Sats(300)
"""Change below this is left to the miners by provers (charms 15.1)."""

PROOF_BYTES: Final = 356
"""Of a proof since version 12: prefix, exit code, root, nonce, and the points."""
MOST_MOCK_PROOF_BYTES: Final = 512

_INPUT_WEIGHT: Final = 65
_CHANGE_WEIGHT: Final = 172
_TRANSACTION_VERSION: Final = 2


class AnswerError(ValueError):
    """A prover's answer is not what was asked for; the message says where. It is never signed."""


class ChangeError(ValueError):
    """The inputs do not pay this fee: others are needed, and with them another proof."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CharmsFee:
    """What a prover may charge: an output of at most ``most`` satoshis under ``script``."""

    script: bytes
    most: Sats


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a prover was asked for.

    Attributes:
        draft: the spell, with all inputs of its transaction in order.
        change: script that is paid what is left.
        fee_rate: that the prover was told.
        mock: whether the spell says of itself that its proof means nothing.
    """

    draft: SpellDraft
    change: bytes
    fee_rate: FeeRate
    mock: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """A spell with its proof: transactions of it differ in their change alone, and in signatures.

    Attributes:
        draft: the spell.
        change: script that is paid what is left.
        proof: the proof's bytes.
        charged: what the prover charges, as the output that pays it.
        mock: whether the proof means nothing.
        earlier_answer: the prover's transaction pays another fee than it was asked for: it is the answer to an earlier
            request for the same spell, which provers remember.
    """

    draft: SpellDraft
    change: bytes
    proof: bytes
    charged: Output | None
    mock: bool
    earlier_answer: bool = False

    @property
    def spare(self) -> Sats:
        """Satoshis that the inputs have more than the outputs: for the fee and the change."""
        spent = sum(coin.amount for coin in self.draft.coins)
        return Sats(spent - sum(output.amount for output in self._outputs()))

    def size(self, *, change: bool) -> int:
        """Virtual bytes when it is signed, with an output for change or without. Raises UnknownScriptError."""
        scripts = [coin.script for coin in self.draft.coins]
        return signed_size(self._transaction(Sats(1) if change else None), scripts)

    def fee_at(self, rate: FeeRate) -> Sats:
        """The least fee of this rate that can be paid: where what is left would be dust, all of it.

        Raises:
            ChangeError: the inputs have too little.
        """
        fee = fee_for(self.size(change=True), rate)
        if self.spare - fee >= dust_limit(self.change):
            return fee
        fee = fee_for(self.size(change=False), rate)
        if self.spare < fee:
            raise ChangeError(f"the inputs leave {self.spare} satoshis, and the fee is {fee}")
        return self.spare

    def transaction(self, fee: Sats) -> BitcoinTransaction:
        """The unsigned transaction that pays this fee.

        Raises:
            ChangeError: the inputs have too little, or what is left would be dust.
        """
        left = Sats(self.spare - fee)
        if left < 0:
            raise ChangeError(f"the inputs leave {self.spare} satoshis, and the fee is {fee}")
        if 0 < left < dust_limit(self.change):
            raise ChangeError(f"{left} satoshis of change are too few to be relayed: pay them as fee")
        return self._transaction(left or None)

    def _outputs(self) -> list[Output]:
        made = [Output(output.amount, output.script) for output in self.draft.outputs]
        payload = write_payload(spell_of(self.draft, mock=self.mock), self.proof)
        return [*made, *([self.charged] if self.charged else []), spell_output(payload)]

    def _transaction(self, left: Sats | None) -> BitcoinTransaction:
        inputs = tuple(Input(*spent.outpoint, b"", REPLACEABLE) for spent in self.draft.inputs)
        change = [] if left is None else [Output(left, self.change)]
        return new_transaction(inputs, (*self._outputs(), *change), version=_TRANSACTION_VERSION)


def checked(
    asked: Asked, answer: bytes, *, network: BitcoinNetwork, accept_mock: bool = False, fee: CharmsFee | None = None
) -> Proven:
    """The proof in a prover's answer, where the answer is the transaction that was asked for and the proof holds.

    Args:
        asked: what the prover was asked for.
        answer: the transaction that it answered.
        network: where the transaction is to go.
        accept_mock: take a proof that means nothing; on regtest alone.
        fee: what the prover may charge; None for nothing.

    Raises:
        AnswerError: anything else differs than the amount of the change.
    """
    try:
        found = parse_transaction(answer)
    except TransactionError as error:
        raise AnswerError(f"the prover's answer is no transaction: {error}") from error
    if found.version != _TRANSACTION_VERSION or found.lock_time:
        raise AnswerError(f"the prover's transaction is of version {found.version}, locked until {found.lock_time}")
    if found.has_witness or any(taken.script for taken in found.inputs):
        raise AnswerError("the prover's transaction is signed, and nobody but the keys' owners can sign it")
    outpoints = [OutPoint(taken.tx_id, taken.vout) for taken in found.inputs]
    if outpoints != [spent.outpoint for spent in asked.draft.inputs]:
        raise AnswerError("the prover's transaction does not spend what the spell does, in its order")
    charged, change = _outputs(asked, found, fee)
    proven = Proven(
        draft=asked.draft,
        change=asked.change,
        proof=_proof(found, len(asked.draft.outputs) + bool(charged)),
        charged=charged,
        mock=asked.mock,
        earlier_answer=_is_earlier(asked, found, change),
    )
    if proven.spare < (change.amount if change else 0):
        raise AnswerError("the prover's transaction pays more than its inputs have")
    rebuilt = proven.transaction(proven.spare)
    if rebuilt.outputs != found.outputs[: len(rebuilt.outputs)]:
        raise AnswerError("the prover's transaction holds another spell than the one that it was asked for")
    _check_proof(rebuilt, network, accept_mock=accept_mock, mock=asked.mock)
    return proven


def _outputs(asked: Asked, found: BitcoinTransaction, fee: CharmsFee | None) -> tuple[Output | None, Output | None]:
    """What the prover charges and the change, where there are no other outputs than these and what was asked for."""
    wanted = [Output(output.amount, output.script) for output in asked.draft.outputs]
    if list(found.outputs[: len(wanted)]) != wanted:
        raise AnswerError("the prover's transaction does not begin with the spell's outputs")
    rest = list(found.outputs[len(wanted) :])
    charged = None
    if fee is not None and rest and rest[0].script == fee.script:
        charged = rest.pop(0)
        if charged.amount > fee.most:
            raise AnswerError(
                f"the prover charges {charged.amount} satoshis, and may charge {fee.most}: see "
                "keeper.bitcoin.charms_fee_most"
            )
    if not rest or not is_unspendable(rest[0].script):
        paid = rest[0].script.hex() if rest else "nobody"
        raise AnswerError(f"after the spell's outputs the prover's transaction pays {paid}, which nobody asked for")
    if len(rest) > 2 or any(output.script != asked.change for output in rest[1:]):
        raise AnswerError(
            "the prover's transaction has an output after the spell that is not our change; where the change goes to "
            "an earlier address of ours, it is the answer to an earlier request: another input makes it another spell"
        )
    return charged, rest[1] if len(rest) == 2 else None


def _proof(found: BitcoinTransaction, place: int) -> bytes:
    carrying = envelopes(new_transaction(found.inputs, (found.outputs[place],)))
    payload = carrying[0].payload if carrying else None
    if payload is None:
        raise AnswerError("the prover's transaction holds no spell after the spell's outputs")
    try:
        spell, proof = read_payload(payload)
    except SpellFormatError as error:
        raise AnswerError(f"the spell in the prover's transaction cannot be read: {error}") from error
    # what follows a proof is ignored by whoever verifies it, and paid for by whoever sends it
    if len(proof) > MOST_MOCK_PROOF_BYTES if spell.mock else len(proof) != PROOF_BYTES:
        raise AnswerError(f"the proof in the prover's transaction has {len(proof)} bytes")
    return proof


def _is_earlier(asked: Asked, found: BitcoinTransaction, change: Output | None) -> bool:
    """Whether the fee is another one than follows from the rate (charms 15.1: 65 weight units of witness an input)."""
    spent = sum(coin.amount for coin in asked.draft.coins)
    kept = found.outputs if change is None else found.outputs[:-1]
    bare = new_transaction(found.inputs, tuple(kept))
    weight = 4 * bare.stripped_size + _INPUT_WEIGHT * len(bare.inputs) + _CHANGE_WEIGHT
    fee = -(-weight * (asked.fee_rate // 4) // 1_000)
    left = spent - sum(output.amount for output in kept) - fee
    expected = left if left >= MOST_CHANGE_IGNORED else 0
    return abs(expected - (change.amount if change else 0)) > 1


def _check_proof(transaction: BitcoinTransaction, network: BitcoinNetwork, *, accept_mock: bool, mock: bool) -> None:
    taken = accept_mock and network is BitcoinNetwork.REGTEST
    event = read_spell(transaction, network, accept_mock=taken)
    if event is None or event.status != ("mock" if mock else "verified"):
        why = event.failed_step if event else "there is none"
        raise AnswerError(f"the proof in the prover's transaction does not hold: {why}")
