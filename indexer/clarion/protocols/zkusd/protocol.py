"""The protocol object and its two handlers."""

from __future__ import annotations

from typing import Final

from clarion.chains.bitcoin.charms.events import SpellEvent, SpendEvent
from clarion.chains.model import EventKind
from clarion.protocol import EventContext, Protocol
from clarion.protocols.zkusd.app_sets import parameters
from clarion.protocols.zkusd.events import UnreadableSpell
from clarion.protocols.zkusd.projections.prices import follow_prices
from clarion.protocols.zkusd.projections.reading import Transaction, rows_of
from clarion.protocols.zkusd.projections.stability import follow_pool
from clarion.protocols.zkusd.projections.states import follow_states
from clarion.protocols.zkusd.projections.tokens import follow_tokens, read_flow
from clarion.protocols.zkusd.projections.totals import follow_day, follow_totals
from clarion.protocols.zkusd.projections.vaults import follow_vaults
from clarion.protocols.zkusd.tables import TABLES
from clarion.store.rows import Rows

protocol: Final = Protocol(
    "zkusd", tables=TABLES, title="zkUSD", chain="bitcoin", parameters=parameters, foresight=rows_of
)
"""zkUSD: a stablecoin on bitcoin collateral, by Charms."""


@protocol.on_any(kind=EventKind.SPELL)
def spell(event: SpellEvent, at: EventContext, rows: Rows) -> None:
    """Carry on whatever of the sets' charms a spell spends and makes."""
    _follow(event, at, rows)


@protocol.on_any(kind=EventKind.SPEND)
def spend(event: SpendEvent, at: EventContext, rows: Rows) -> None:
    """End whatever of the sets' charms is spent without a spell."""
    _follow(event, at, rows)


def _follow(event: SpellEvent | SpendEvent, at: EventContext, rows: Rows) -> None:
    transaction = Transaction(event, at, rows)
    for view in transaction.views():
        view.begin()
        if view.lost == "unreadable" and isinstance(event, SpellEvent):
            view.emit(UnreadableSpell(version=event.version, reason=event.failed_step))
        read_flow(view)
        follow_states(view)
        follow_prices(view)
        follow_vaults(view)
        follow_pool(view)
        follow_tokens(view)
        view.report_strange()
        follow_totals(view)
        follow_day(view)
    transaction.keep_coins()
