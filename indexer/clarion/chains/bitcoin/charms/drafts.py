"""Drafts of spells: what is spent with which charms, and what is made of it, in the protocol's words when it is done.

`check` refuses what the protocol would refuse, with the contracts of the apps. A draft is neither proven nor signed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from clarion.chains.bitcoin.charms.apps import AppInput, AppOutput, AppTransaction, check_contracts
from clarion.chains.bitcoin.charms.cbor import Value
from clarion.chains.bitcoin.charms.events import SpellEvent
from clarion.chains.bitcoin.charms.keys import LATEST_VERSION
from clarion.chains.bitcoin.charms.spells import App, Spell
from clarion.chains.bitcoin.charms.spells import Coin as SpellCoin
from clarion.chains.bitcoin.charms.values import from_json
from clarion.chains.bitcoin.coins import Coin, OutPoint
from clarion.chains.bitcoin.scripts import dust_limit
from clarion.chains.bitcoin.units import Sats
from clarion.chains.model import JsonValue

CHARM_SATS: Final = Sats(1_000)
"""What an output with charms holds unless it is said otherwise."""
SCROLL_TAG: Final = "s"
FIRST_WITH_SCROLLS: Final = 15


class DraftError(ValueError):
    """The protocol would refuse this spell, or Bitcoin its transaction. The message says why."""


@dataclass(frozen=True, slots=True)
class SpellInput:
    """What a spell spends: a coin with the charms that lie on it."""

    outpoint: OutPoint
    coin: Coin
    charms: Mapping[App, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SpellOutput:
    """What a spell makes: satoshis under a script, with charms or without. ``beamed_to`` is the hash of the place on
    another chain that the charms go to.
    """

    script: bytes
    charms: Mapping[App, JsonValue] = field(default_factory=dict)
    amount: Sats = CHARM_SATS
    beamed_to: bytes | None = None


@dataclass(frozen=True, slots=True)
class SpellDraft:
    """A spell that is yet to be written. Apps that the inputs or outputs have need no public input here."""

    inputs: Sequence[SpellInput]
    outputs: Sequence[SpellOutput]
    public_inputs: Mapping[App, JsonValue] = field(default_factory=dict)
    refs: Sequence[OutPoint] | None = None
    version: int = LATEST_VERSION

    @property
    def coins(self) -> list[Coin]:
        """What the inputs spend."""
        return [spent.coin for spent in self.inputs]

    def apps(self) -> dict[App, JsonValue]:
        """All apps with their public inputs, in the protocol's order."""
        found = set(self.public_inputs)
        for charms in (*(spent.charms for spent in self.inputs), *(output.charms for output in self.outputs)):
            found.update(charms)
        return {app: self.public_inputs.get(app) for app in sorted(found)}


def outpoint_identity(outpoint: OutPoint) -> bytes:
    """The identity of an app that is deployed by spending this outpoint: SHA-256 of ``txid:vout``."""
    return hashlib.sha256(f"{outpoint.tx_id.hex()}:{outpoint.vout}".encode()).digest()


def spell_of(draft: SpellDraft, *, mock: bool) -> Spell:
    """The draft as it stands in a transaction, which says itself what is spent and what the outputs hold.

    ``mock``: it says of itself that its proof means nothing.
    """
    apps = draft.apps()
    place = {app: index for index, app in enumerate(apps)}
    beamed = {index: output.beamed_to for index, output in enumerate(draft.outputs) if output.beamed_to}
    scrolls = [index for index, output in enumerate(draft.outputs) if any(a.tag == SCROLL_TAG for a in output.charms)]
    return Spell(
        version=draft.version,
        inputs=None,
        refs=None if draft.refs is None else [_outpoint_bytes(ref) for ref in draft.refs],
        outs=[{place[app]: from_json(data) for app, data in output.charms.items()} for output in draft.outputs],
        beamed_outs=beamed or None,
        coins=None,
        scrolls=scrolls if scrolls and draft.version >= FIRST_WITH_SCROLLS else None,
        apps=[(app, from_json(given)) for app, given in apps.items()],
        versioned_apps=None,
        mock=mock,
    )


def proposal(draft: SpellDraft, *, mock: bool) -> Spell:
    """The draft as a prover is asked for it: with its inputs, and the amounts and scripts of its outputs."""
    return msgspec.structs.replace(
        spell_of(draft, mock=mock),
        inputs=[_outpoint_bytes(spent.outpoint) for spent in draft.inputs],
        coins=[SpellCoin(output.amount, output.script) for output in draft.outputs],
    )


def check(
    draft: SpellDraft, contracts: Mapping[bytes, bytes], private_inputs: Mapping[App, Value] | None = None
) -> list[App]:
    """Refuse what the protocol would refuse; gives the apps whose contracts were asked.

    ``contracts`` are modules by verification key; ``private_inputs`` those of apps that have one.

    Raises:
        DraftError: nothing or too little is spent, an outpoint comes twice, or an output is dust.
        SpellNotAllowedError: an amount is none, or a contract is needed that is not given.
        AppRefusedError: a contract refuses.
    """
    if not draft.inputs:
        raise DraftError("a spell spends something")
    if len({spent.outpoint for spent in draft.inputs}) < len(draft.inputs):
        raise DraftError("an outpoint is spent twice")
    for index, output in enumerate(draft.outputs):
        if output.amount < dust_limit(output.script):
            raise DraftError(f"output {index} has {output.amount} satoshis, fewer than are relayed")
    return check_contracts(app_transaction(draft), contracts, private_inputs)


def app_transaction(draft: SpellDraft) -> AppTransaction:
    """The draft as the contracts of its apps see it."""
    return AppTransaction(
        ins=[
            AppInput(
                _outpoint_bytes(spent.outpoint), SpellCoin(spent.coin.amount, spent.coin.script), _data(spent.charms)
            )
            for spent in draft.inputs
        ],
        outs=[AppOutput(SpellCoin(output.amount, output.script), _data(output.charms)) for output in draft.outputs],
        public_inputs=_data(draft.apps()),
    )


def charms_made(event: SpellEvent) -> dict[int, dict[App, JsonValue]]:
    """What charms a spell puts on the outputs of its transaction; those that it beams away are not on them."""
    if not event.acceptable:
        return {}
    return {
        index: {App(use.tag, bytes.fromhex(use.identity), bytes.fromhex(use.vk)): data for use, data in charms}
        for index in range(len(event.outs))
        if str(index) not in event.beamed_outs and (charms := event.charms(index))
    }


def _outpoint_bytes(outpoint: OutPoint) -> bytes:
    return outpoint.tx_id[::-1] + outpoint.vout.to_bytes(4, "little")


def _data(charms: Mapping[App, JsonValue]) -> dict[App, Value]:
    return {app: from_json(data) for app, data in charms.items()}
