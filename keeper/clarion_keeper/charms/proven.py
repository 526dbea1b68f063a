"""A spell with its proof: everything of its transaction but the change, which is left to whoever signs.

A proof commits to the inputs, to the spell, and to the outputs that the spell speaks of. The fee can therefore be raised
by lowering the change, without another proof.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from clarion.chains.bitcoin.charms.drafts import SpellDraft, spell_of
from clarion.chains.bitcoin.charms.locate import spell_output
from clarion.chains.bitcoin.charms.spells import write_payload
from clarion.chains.bitcoin.coins import Coin, OutPoint
from clarion.chains.bitcoin.scripts import dust_limit, is_unspendable
from clarion.chains.bitcoin.transactions import BitcoinTransaction, Input, Output, new_transaction
from clarion.chains.bitcoin.units import Sats
from clarion_keeper.charms.sizes import FeeRate, fee_for, signed_size

REPLACEABLE: Final = 0xFFFFFFFD
"""Sequence of an input of a transaction that may be replaced (BIP 125)."""
TRANSACTION_VERSION: Final = 2


class ChangeError(ValueError):
    """The inputs do not pay this fee: others are needed, and with them another proof."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """A proven spell. Transactions of it differ in their change alone, and in signatures.

    Attributes:
        outpoints: what it spends, in order.
        coins: what these hold.
        outputs: all that are fixed: those of the spell, what the prover charges, the spell itself.
        change: script that is paid what is left.
        earlier_answer: the prover's transaction pays another fee than it was asked for: it is the answer to an earlier
            request for the same spell, which provers remember. The fee is set here anyway.
    """

    outpoints: tuple[OutPoint, ...]
    coins: tuple[Coin, ...]
    outputs: tuple[Output, ...]
    change: bytes
    earlier_answer: bool = False

    @property
    def spare(self) -> Sats:
        """Satoshis that the inputs have more than the fixed outputs: for the fee and the change."""
        return Sats(sum(coin.amount for coin in self.coins) - sum(output.amount for output in self.outputs))

    def size(self, *, change: bool) -> int:
        """Virtual bytes when it is signed, with an output for change or without. Raises UnknownScriptError."""
        return signed_size(self._transaction(Sats(1) if change else None), [coin.script for coin in self.coins])

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

    def _transaction(self, left: Sats | None) -> BitcoinTransaction:
        inputs = tuple(Input(*outpoint, b"", REPLACEABLE) for outpoint in self.outpoints)
        change = [] if left is None else [Output(left, self.change)]
        return new_transaction(inputs, (*self.outputs, *change), version=TRANSACTION_VERSION)


def proven_by(
    draft: SpellDraft, proof: bytes, *, change: bytes, charged: Output | None, mock: bool, earlier_answer: bool = False
) -> Proven:
    """A draft with a proof of it. ``charged``: what the prover is paid; ``mock``: whether the proof means nothing."""
    made = [Output(output.amount, output.script) for output in draft.outputs]
    payload = write_payload(spell_of(draft, mock=mock), proof)
    return Proven(
        outpoints=tuple(spent.outpoint for spent in draft.inputs),
        coins=tuple(draft.coins),
        outputs=(*made, *([charged] if charged else []), spell_output(payload)),
        change=change,
        earlier_answer=earlier_answer,
    )


def proven_again(transaction: BitcoinTransaction, coins: Sequence[Coin], change: bytes) -> Proven:
    """The proven spell that a transaction of ours was made of, so that it can be made with another fee.

    Args:
        transaction: as it was stored, signed or not.
        coins: what its inputs spend, in order.
        change: script that its change goes to.
    """
    outputs = transaction.outputs
    if len(outputs) > 1 and outputs[-1].script == change and is_unspendable(outputs[-2].script):
        outputs = outputs[:-1]
    return Proven(
        outpoints=tuple(OutPoint(taken.tx_id, taken.vout) for taken in transaction.inputs),
        coins=tuple(coins),
        outputs=outputs,
        change=change,
    )
