"""Pays for spells: which coins go in, and whose keys then have to sign."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final

from clarion.chains.bitcoin.charms.drafts import SpellDraft, SpellInput
from clarion.chains.bitcoin.coins import Coin, OutPoint
from clarion.chains.bitcoin.scripts import dust_limit
from clarion.chains.bitcoin.transactions import BitcoinTransaction, Output
from clarion.chains.bitcoin.units import outpoint_text
from clarion_keeper.charms.answer import PROOF_BYTES, CharmsFee, Proven
from clarion_keeper.charms.psbt import Psbt, PsbtError, psbt_of, read_psbt
from clarion_keeper.charms.sizes import FeeRate, fee_for

PROVER_MARGIN: Final = 500
"""Virtual bytes that are paid for besides the transaction's own: provers guess its size before they know it, and refuse
where the inputs do not pay for the guess."""
_LARGEST_OCTETS: Final = b"\xff" * PROOF_BYTES
"""A proof of which every byte takes two in CBOR."""


class NotEnoughCoinsError(RuntimeError):
    """The coins do not pay for a spell. ``missing`` satoshis at least."""

    def __init__(self, missing: int, rate: FeeRate) -> None:
        super().__init__(
            f"{missing} satoshis are missing for the spell at {rate} satoshis per 1,000 virtual bytes: pay the "
            "account, or wait until what it has is confirmed"
        )
        self.missing = missing


def funded(
    draft: SpellDraft,
    coins: Mapping[OutPoint, Coin],
    *,
    change: bytes,
    rate: FeeRate,
    most_rate: FeeRate,
    fee: CharmsFee | None = None,
    mock: bool = False,
    reserved: Collection[OutPoint] = (),
) -> SpellDraft:
    """The draft with coins that pay for it, after its own inputs.

    One coin if one is enough, the smallest such; otherwise the largest first. So many that the fee can be raised to
    ``most_rate`` without another proof; where there are too few for that, so many that it can be paid at ``rate``.

    Args:
        draft: the spell, which may have inputs that pay for some of it already.
        coins: the account's own, confirmed, without charms (see `clarion_keeper.charms.coins`).
        change: script that is paid what is left.
        rate: what the transaction is to pay.
        most_rate: what it may come to pay.
        fee: what the prover may charge.
        mock: whether the proof means nothing.
        reserved: outpoints that other transactions of ours spend.

    Raises:
        NotEnoughCoinsError: they do not pay for it even at ``rate``.
    """
    taken = {spent.outpoint for spent in draft.inputs} | set(reserved)
    free = [SpellInput(outpoint, coin) for outpoint, coin in coins.items() if outpoint not in taken]
    free.sort(key=lambda one: (one.coin.amount, one.outpoint))

    def missing(chosen: Sequence[SpellInput], at: FeeRate) -> int:
        return _missing(_with(draft, chosen), at, change=change, fee=fee, mock=mock)

    for at in (most_rate, rate) if most_rate > rate else (rate,):
        if missing((), at) <= 0:
            return draft
        for one in free:
            if missing((one,), at) <= 0:
                return _with(draft, (one,))
        chosen: list[SpellInput] = []
        for one in reversed(free):
            if missing((*chosen, one), at) < missing(chosen, at):  # a coin may hold less than it costs to spend
                chosen.append(one)
            if missing(chosen, at) <= 0:
                return _with(draft, chosen)
    raise NotEnoughCoinsError(missing(chosen, rate), rate)


def to_sign(proven: Proven, transaction: BitcoinTransaction, previous: Mapping[bytes, BitcoinTransaction]) -> Psbt:
    """What a signer is given of a transaction of a proven spell. ``previous``: those that made its inputs, by id."""
    return psbt_of(transaction, proven.draft.coins, previous)


def signed(asked: Psbt, answer: bytes) -> Psbt:
    """What a signer gave back. Raises PsbtError where it is of another transaction, or has changed what it spends."""
    found = read_psbt(answer, strict=False)
    same = found.transaction == asked.transaction and all(
        (one.amount, one.script) == (other.amount, other.script)
        for one, other in zip(found.inputs, asked.inputs, strict=True)
    )
    if not same:
        raise PsbtError("the signer gave back another transaction than it was given")
    return found


def others(psbt: Psbt, scripts: Collection[bytes]) -> dict[str, bytes]:
    """Inputs (``txid:vout``) that nobody with these scripts can sign, with their own scripts."""
    return {
        outpoint_text(taken.tx_id, taken.vout): one.script
        for taken, one in zip(psbt.transaction.inputs, psbt.inputs, strict=True)
        if one.witness is None and one.script not in scripts
    }


def _with(draft: SpellDraft, chosen: Sequence[SpellInput]) -> SpellDraft:
    return replace(draft, inputs=[*draft.inputs, *chosen])


def _missing(draft: SpellDraft, rate: FeeRate, *, change: bytes, fee: CharmsFee | None, mock: bool) -> int:
    """Satoshis that the inputs lack; 0 or fewer where they have enough. Change that is no dust is left then."""
    charged = None if fee is None else Output(fee.most, fee.script)
    likely = Proven(draft=draft, change=change, proof=_LARGEST_OCTETS, charged=charged, mock=mock)
    needed = fee_for(likely.size(change=True) + PROVER_MARGIN, rate) + dust_limit(change)
    return needed - likely.spare
