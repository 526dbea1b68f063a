"""bh-liquidation: margin calls, and the allocations that passed to takers under them."""

from __future__ import annotations

from clarion.protocol import EventContext
from clarion.protocols.bithedge.events import (
    MarginCallEscalated,
    MarginCallIssued,
    MarginCallResolved,
    PositionLiquidated,
)
from clarion.protocols.bithedge.protocol import on, tx_text
from clarion.protocols.bithedge.tables import Liquidation, MarginCall
from clarion.store.rows import Rows


@on(MarginCallIssued)
def margin_call_issued(event: MarginCallIssued, at: EventContext, rows: Rows) -> None:
    """A position has lost its worth."""
    rows.delete(MarginCall, event.call)
    rows.insert(
        MarginCall,
        id=event.call,
        provider=event.provider,
        tier=event.tier,
        token=event.token,
        state="open",
        level=event.level,
        issued_burn=event.issued_burn,
        deadline_burn=event.deadline_burn,
        round=event.round,
        price_usd8=event.price_usd8,
        health_bp=event.health_bp,
        liability_usd8=event.liability_usd8,
        capital=event.capital,
        deficit=event.deficit,
        issued_height=at.height,
        issued_time=at.time,
        issued_tx=tx_text(at),
    )


@on(MarginCallEscalated)
def margin_call_escalated(event: MarginCallEscalated, at: EventContext, rows: Rows) -> None:
    """A soft call has turned hard."""
    call = rows.get(MarginCall, event.call)
    if call is None:
        return
    call.level = event.level
    call.deadline_burn = event.deadline_burn
    call.round = event.round
    call.price_usd8 = event.price_usd8
    call.health_bp = event.health_bp
    call.liability_usd8 = event.liability_usd8
    call.capital = event.capital
    call.escalated_height = at.height


@on(MarginCallResolved)
def margin_call_resolved(event: MarginCallResolved, at: EventContext, rows: Rows) -> None:
    """A position is healthy again."""
    call = rows.get(MarginCall, event.call)
    if call is None:
        return
    call.state = "resolved"
    call.resolved_health_bp = event.health_bp
    call.resolved_height = at.height
    call.resolved_time = at.time
    call.resolved_tx = tx_text(at)


@on(PositionLiquidated)
def position_liquidated(event: PositionLiquidated, at: EventContext, rows: Rows) -> None:
    """An allocation has another provider."""
    rows.delete(Liquidation, event.liq)
    rows.insert(
        Liquidation,
        id=event.liq,
        call=event.call,
        policy=event.policy,
        provider=event.provider,
        tier=event.tier,
        token=event.token,
        taker=event.taker,
        is_forced=event.is_forced,
        liability_usd8=event.liability_usd8,
        collateral_from=event.collateral_from,
        collateral_to=event.collateral_to,
        spot_usd8=event.spot_usd8,
        spot_round=event.spot_round,
        token_price_usd8=event.token_price_usd8,
        token_round=event.token_round,
        vol_bp=event.vol_bp,
        fair_usd8=event.fair_usd8,
        price_usd8=event.price_usd8,
        price=event.price,
        paid=event.paid,
        bounty=event.bounty,
        bounty_to=event.bounty_to,
        penalty=event.penalty,
        health_bp_before=event.health_bp_before,
        health_bp_after=event.health_bp_after,
        taker_health_bp=event.taker_health_bp,
        height=at.height,
        burn_height=at.burn_height,
        time=at.time,
        tx_id=tx_text(at),
    )
    call = rows.get(MarginCall, event.call)
    if call is not None:
        call.liquidations += 1
