"""What a prover is asked, in the form that it takes (charms 15.1, ``charms-client/src/request.rs``)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from clarion.chains.bitcoin.addresses import address_of
from clarion.chains.bitcoin.charms.apps import SpellNotAllowedError, app_text, is_simple_transfer
from clarion.chains.bitcoin.charms.cbor import Value, encode
from clarion.chains.bitcoin.charms.drafts import app_transaction, proposal
from clarion.chains.bitcoin.charms.spells import App, write_spell
from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.bitcoin.transactions import BitcoinTransaction, write_transaction
from clarion_keeper.charms.answer import Asked


class OrderError(ValueError):
    """Something that a prover needs is not there; the message says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofOrder:
    """What a prover needs besides the spell.

    Attributes:
        asked: the spell and where the change goes.
        previous: the transactions that made what the spell spends and refers to, by id (display order).
        contracts: modules of apps by their keys (``vk``); those that are not needed are not sent.
        private_inputs: of apps that have one.
    """

    asked: Asked
    previous: Mapping[bytes, BitcoinTransaction]
    contracts: Mapping[bytes, bytes]
    private_inputs: Mapping[App, Value] = field(default_factory=dict)


def request_form(order: ProofOrder, network: BitcoinNetwork) -> dict[str, Any]:
    """The request as JSON. Raises OrderError where a transaction, a contract or the change's address lacks."""
    asked = order.asked
    change = address_of(asked.change, network)
    if change is None:
        raise OrderError(f"the script {asked.change.hex()} that is to receive the change has no address")
    form: dict[str, Any] = {
        "spell": write_spell(proposal(asked.draft, mock=asked.mock)).hex(),
        "prev_txs": [{"bitcoin": write_transaction(one).hex()} for one in _previous(order)],
        "change_address": change,
        "fee_rate": Decimal(asked.fee_rate) / 1_000,
        "chain": "bitcoin",
    }
    if order.private_inputs:
        form["app_private_inputs"] = {
            app_text(app): encode(given).hex() for app, given in sorted(order.private_inputs.items())
        }
    if binaries := _binaries(order):
        form["binaries"] = {key.hex(): base64.b64encode(module).decode() for key, module in sorted(binaries.items())}
    return form


def request_key(order: ProofOrder) -> bytes:
    """What provers know a request by: SHA-256 of the spell's CBOR. Another fee rate or address is the same request."""
    return hashlib.sha256(write_spell(proposal(order.asked.draft, mock=order.asked.mock))).digest()


def _previous(order: ProofOrder) -> Sequence[BitcoinTransaction]:
    """Exactly those transactions that made what is spent and referred to."""
    draft = order.asked.draft
    outpoints = [*(spent.outpoint for spent in draft.inputs), *(draft.refs or ())]
    wanted = dict.fromkeys(outpoint.tx_id for outpoint in outpoints)
    missing = [tx_id.hex() for tx_id in wanted if tx_id not in order.previous]
    if missing:
        raise OrderError(f"the transactions {', '.join(missing)} are needed, which made what the spell spends")
    return [order.previous[tx_id] for tx_id in wanted]


def _binaries(order: ProofOrder) -> dict[bytes, bytes]:
    """Exactly those contracts whose consent the spell needs."""
    transaction = app_transaction(order.asked.draft)
    found = {}
    for app, public in transaction.public_inputs.items():
        try:
            alone = public is None and order.private_inputs.get(app) is None and is_simple_transfer(app, transaction)
        except SpellNotAllowedError as error:
            raise OrderError(str(error)) from error
        if alone:
            continue
        if app.vk not in order.contracts:
            raise OrderError(f"the contract of {app_text(app)} is needed")
        found[app.vk] = order.contracts[app.vk]
    return found
