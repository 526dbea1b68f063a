"""Handlers: what a spell, or a spend without one, does to charms."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import to_builtins

from clarion.chains.bitcoin.charms.events import AppUse, SpellEvent, SpendEvent
from clarion.chains.bitcoin.charms.spells import FIRST_WITH_ALL_INPUTS
from clarion.chains.model import EventKind
from clarion.protocol import EventContext, Protocol
from clarion.protocols.charms.ledger import DESTROYED, NFT, UNKNOWN, Ledger
from clarion.protocols.charms.tables import App, Balance, Charm, Coin, Nft, Spell, Token, Transfer
from clarion.store.rows import Rows

protocol = Protocol(
    "charms",
    tables=[Spell, App, Token, Balance, Charm, Coin, Nft, Transfer],
    title="Charms on Bitcoin",
    chain="bitcoin",
)


@protocol.on_any(kind=EventKind.SPELL)
def spell_cast(event: SpellEvent, at: EventContext, rows: Rows) -> None:
    """Spend and make charms. A spell that is not accepted makes none, and destroys what it spends."""
    ledger = Ledger(at, rows)
    spent: list[Charm] = []
    made: list[Charm] = []
    if event.acceptable:
        ledger.name_apps(event)
        within = _inputs_of_spell(event)
        spent = ledger.spend(event.inputs[:within])
        lost = ledger.spend(event.inputs[within:])
        made = ledger.make(event)
        _move(event, ledger, spent, made)
        ledger.lose(lost, DESTROYED)
    else:
        spent = ledger.spend(event.inputs)
        ledger.lose(spent, UNKNOWN if event.status == "unsupported" else DESTROYED)
    rows.insert(
        Spell,
        tx_id=at.tx_text,
        height=at.height,
        tx_index=at.tx_index,
        time=at.time,
        status=event.status,
        failed_step=event.failed_step,
        version=event.version,
        location=event.location,
        mock=event.mock,
        apps=[{"app": use.id, **_said_of(use)} for use in event.apps],
        refs=event.refs,
        scrolls=event.scrolls,
        charms_in=len(spent),
        charms_out=len(made),
    )


@protocol.on_any(kind=EventKind.SPEND)
def spent_without_spell(event: SpendEvent, at: EventContext, rows: Rows) -> None:
    """Destroy the charms of the outputs that are spent."""
    ledger = Ledger(at, rows)
    ledger.lose(ledger.spend(event.inputs), DESTROYED)


def _inputs_of_spell(event: SpellEvent) -> int:
    """How many of the transaction's inputs belong to an accepted spell: until version 9 the last one did not."""
    if event.version is not None and event.version < FIRST_WITH_ALL_INPUTS:
        return max(len(event.inputs) - 1, 0)
    return len(event.inputs)


def _move(event: SpellEvent, ledger: Ledger, spent: Sequence[Charm], made: Sequence[Charm]) -> None:
    before: dict[str, list[Charm]] = {}
    after: dict[str, list[Charm]] = {}
    for found, charms in ((before, spent), (after, made)):
        for charm in charms:
            found.setdefault(charm.app, []).append(charm)
    uses = {use.id: use for use in event.apps}
    placeholder = len({charm.outpoint for charm in spent}) < _inputs_of_spell(event)
    for app in sorted(before.keys() | after.keys()):
        ins, outs = before.get(app, []), after.get(app, [])
        amounts = [[charm for charm in charms if charm.amount is not None] for charms in (ins, outs)]
        if any(amounts):
            evidence = not placeholder or _shows_contract(uses.get(app), event.apps)
            ledger.move_token(app, *amounts, evidence=evidence)
        elif (ins or outs)[0].tag != "t":
            ledger.move_nfts(app, ins, outs)
        for charm in outs:
            if charm.tag == NFT:
                ledger.describe_token(charm)


def _shows_contract(use: AppUse | None, apps: Sequence[AppUse]) -> bool:
    """Whether a spell shows that an app's contract ran: it was told something, or looks after another app as well.

    What is beamed in from another chain needs neither.
    """
    return use is not None and (
        use.public_input is not None or any(other.vk == use.vk and other.id != use.id for other in apps)
    )


def _said_of(use: AppUse) -> dict[str, object]:
    said = to_builtins(use)
    return {name: said[name] for name in ("public_input", "wasm_hash", "version") if name in said}
