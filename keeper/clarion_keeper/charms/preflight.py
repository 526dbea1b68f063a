"""Finds out before a prover is asked, which takes minutes and money, whether it would refuse."""

from __future__ import annotations

from clarion.chains.bitcoin.charms.apps import (
    AppRefusedError,
    InvalidModuleError,
    SpellNotAllowedError,
)
from clarion.chains.bitcoin.charms.drafts import DraftError, SpellInput, charms_made, check
from clarion.chains.bitcoin.charms.spells import App
from clarion.chains.bitcoin.charms.verify import read_spell
from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.bitcoin.transactions import BitcoinTransaction
from clarion_keeper.charms.proof_order import ProofOrder


class PreflightError(ValueError):
    """A spell that would not be proven, or could not be sent; the message says why."""


def preflight(order: ProofOrder, network: BitcoinNetwork, *, accept_mock: bool = False) -> list[App]:
    """Check what a prover checks: what is spent is as the spell says, and every contract consents.

    Contracts are run in a sandbox (wasmtime), with the fuel that the protocol's own runner gives them.

    Args:
        order: the spell, with the transactions that made what it spends.
        network: where it is to go.
        accept_mock: take charms for true whose proofs mean nothing; on regtest alone.

    Returns:
        The apps whose contracts were asked.

    Raises:
        PreflightError: it would be refused.
    """
    draft = order.asked.draft
    for place, spent in enumerate(draft.inputs):
        made_by = order.previous.get(spent.outpoint.tx_id)
        if made_by is None:
            raise PreflightError(f"the transaction that made input {place} is not there")
        _check_input(place, spent, made_by, network, accept_mock=accept_mock)
    try:
        return check(draft, order.contracts, order.private_inputs)
    except (DraftError, SpellNotAllowedError, InvalidModuleError, AppRefusedError) as error:
        raise PreflightError(str(error)) from error


def _check_input(
    place: int, spent: SpellInput, made_by: BitcoinTransaction, network: BitcoinNetwork, *, accept_mock: bool
) -> None:
    vout = spent.outpoint.vout
    if made_by.id != spent.outpoint.tx_id or vout >= len(made_by.outputs):
        raise PreflightError(f"the transaction given for input {place} did not make what it spends")
    output = made_by.outputs[vout]
    if (output.amount, output.script) != (spent.coin.amount, spent.coin.script):
        raise PreflightError(
            f"input {place} holds {output.amount} satoshis under {output.script.hex()}, not as drafted"
        )
    event = read_spell(made_by, network, accept_mock=accept_mock and network is BitcoinNetwork.REGTEST)
    found = {} if event is None else charms_made(event).get(vout, {})
    if dict(spent.charms) != found:
        raise PreflightError(f"the charms on input {place} are not those that the spell was drafted for")
