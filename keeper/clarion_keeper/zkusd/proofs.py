"""What a transaction proved: from its bytes, so that its fee can be raised without another proof after a restart."""

from __future__ import annotations

from collections.abc import Sequence

from clarion.chains.bitcoin.charms.drafts import SpellDraft, SpellInput, SpellOutput, charms_made
from clarion.chains.bitcoin.charms.locate import envelopes
from clarion.chains.bitcoin.charms.spells import App, read_payload
from clarion.chains.bitcoin.charms.verify import read_spell
from clarion.chains.bitcoin.coins import Coin, OutPoint
from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.bitcoin.transactions import BitcoinTransaction
from clarion.chains.bitcoin.units import Sats
from clarion_keeper.charms.answer import ChangeError, CharmsFee, Proven


class NotOursError(ValueError):
    """A transaction is not one that the keeper made."""


def proven_of(
    transaction: BitcoinTransaction,
    spent: Sequence[Coin],
    *,
    change: bytes,
    fee: CharmsFee | None,
    network: BitcoinNetwork,
    accept_mock: bool,
) -> Proven:
    """The spell of a transaction that the keeper made, with its proof.

    Args:
        transaction: one of its attempts, signed or not.
        spent: what its inputs spend, in order.
        change: the keeper's own script.
        fee: what the prover may charge.
        network: whose transaction it is.
        accept_mock: take a proof for true that means nothing; on regtest alone.

    Raises:
        NotOursError: made anew it is another transaction than this one.
    """
    event = read_spell(transaction, network, accept_mock=accept_mock)
    carried = [envelope.payload for envelope in envelopes(transaction) if envelope.payload is not None]
    if event is None or not event.acceptable or not carried:
        raise NotOursError(f"the transaction {transaction.id.hex()} holds no spell that can be read")
    spell, proof = read_payload(carried[0])
    made = charms_made(event)
    public = {App(use.tag, bytes.fromhex(use.identity), bytes.fromhex(use.vk)): use.public_input for use in event.apps}
    outputs = transaction.outputs[: len(event.outs)]
    draft = SpellDraft(
        [
            SpellInput(OutPoint(taken.tx_id, taken.vout), coin)
            for taken, coin in zip(transaction.inputs, spent, strict=True)
        ],
        [SpellOutput(output.script, made.get(place, {}), output.amount) for place, output in enumerate(outputs)],
        public,
        version=spell.version,
    )
    after = transaction.outputs[len(outputs)]
    charged = after if fee is not None and after.script == fee.script else None
    proven = Proven(draft=draft, change=change, proof=proof, charged=charged, mock=spell.mock)
    paid = Sats(sum(coin.amount for coin in spent) - sum(output.amount for output in transaction.outputs))
    try:
        again = proven.transaction(paid).outputs
    except ChangeError:
        again = ()
    if again != transaction.outputs:
        raise NotOursError(f"the transaction {transaction.id.hex()} is not of the form that the keeper makes")
    return proven
