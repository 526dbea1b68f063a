"""bh-fund: the insurance fund's money, what it promised, what it paid and what it took over."""

from __future__ import annotations

from typing import Final

from clarion.protocol import EventContext
from clarion.protocols.bithedge.events import (
    CapitalPassedOn,
    CoverageSet,
    Event,
    FundAllocated,
    FundCapitalized,
    FundStatusChanged,
    RecoveryContributed,
    RecoveryEnded,
    RecoveryStarted,
    ShortfallCovered,
    TakeoverRecorded,
)
from clarion.protocols.bithedge.protocol import on, tx_text
from clarion.protocols.bithedge.tables import (
    FundCover,
    FundEntry,
    FundHolding,
    FundPayment,
    FundTakeover,
    RecoveryPlan,
)
from clarion.protocols.bithedge.units import TokenAmount, plus
from clarion.store.rows import Rows

RELEASE: Final = "release"
"""Kind of a capitalisation with the fund's own capital out of the vault."""


@on(FundCapitalized)
def fund_capitalized(event: FundCapitalized, at: EventContext, rows: Rows) -> None:
    """The fund got tokens."""
    holding = _holding(event.token, rows)
    holding.balance = event.balance_after
    if event.kind == RELEASE:
        holding.released = plus(holding.released, event.amt)
    else:
        holding.received = plus(holding.received, event.amt)
    account = None if event.kind == RELEASE else event.from_
    _enter(event, at, rows, event.kind, event.token, event.amt, event.balance_after, account=account)


@on(FundStatusChanged)
def fund_status_changed(event: FundStatusChanged, _at: EventContext, rows: Rows) -> None:
    """The fund promises more, or less, of what it has than a level allows; or a recovery plan began or ended."""
    _holding(event.token, rows).state = event.state


@on(CoverageSet)
def coverage_set(event: CoverageSet, at: EventContext, rows: Rows) -> None:
    """Governance says what the fund will do for a tier."""
    _holding(event.token, rows).cover = event.cover_after
    cover = _cover(event.tier, event.token, rows)
    cover.left = event.left_after
    cover.max_liability_usd8 = event.max_liability_usd8_after
    cover.proposal = event.proposal
    cover.set_height = at.height


@on(ShortfallCovered)
def shortfall_covered(event: ShortfallCovered, at: EventContext, rows: Rows) -> None:
    """An owner got more than collateral could pay."""
    holding = _holding(event.token, rows)
    holding.balance = event.balance_after
    holding.cover = event.cover_after
    holding.paid = plus(holding.paid, event.amt)
    cover = _cover(event.tier, event.token, rows)
    cover.left = event.left_after
    cover.paid = plus(cover.paid, event.amt)
    rows.delete(FundPayment, event.seq)
    rows.insert(
        FundPayment,
        seq=event.seq,
        policy=event.policy,
        owner=event.owner,
        tier=event.tier,
        token=event.token,
        amount=event.amt,
        amount_usd8=event.usd8,
        unpaid_usd8=event.unpaid_usd8_after,
        round=event.round,
        price_usd8=event.price_usd8,
        height=at.height,
        burn_height=at.burn_height,
        time=at.time,
        tx_id=tx_text(at),
    )
    _enter(
        event,
        at,
        rows,
        "shortfall",
        event.token,
        event.amt,
        event.balance_after,
        account=event.owner,
        policy=event.policy,
        tier=event.tier,
    )


@on(FundAllocated)
def fund_allocated(event: FundAllocated, at: EventContext, rows: Rows) -> None:
    """Capital of the fund went into its position in the vault."""
    holding = _holding(event.token, rows)
    holding.balance = event.balance_after
    holding.allocated = plus(holding.allocated, event.amt)
    _enter(event, at, rows, "allocation", event.token, event.amt, event.balance_after, tier=event.tier)


@on(CapitalPassedOn)
def capital_passed_on(event: CapitalPassedOn, at: EventContext, rows: Rows) -> None:
    """The fund that replaced this one got what was not promised."""
    holding = _holding(event.token, rows)
    holding.balance = event.balance_after
    holding.passed_on = plus(holding.passed_on, event.amt)
    _enter(event, at, rows, "passed-on", event.token, event.amt, event.balance_after, account=event.to)


@on(TakeoverRecorded)
def takeover_recorded(event: TakeoverRecorded, at: EventContext, rows: Rows) -> None:
    """The fund's position backs what another did."""
    rows.delete(FundTakeover, event.seq)
    rows.insert(
        FundTakeover,
        seq=event.seq,
        policy=event.policy,
        provider=event.provider,
        tier=event.tier,
        token=event.token,
        expiry_burn=event.expiry_burn,
        liability_usd8=event.liability_usd8,
        collateral=event.collateral,
        price=event.price,
        paid=event.paid,
        height=at.height,
        time=at.time,
        tx_id=tx_text(at),
    )


@on(RecoveryStarted)
def recovery_started(event: RecoveryStarted, at: EventContext, rows: Rows) -> None:
    """Governance asks for money."""
    rows.delete(RecoveryPlan, event.plan)
    rows.insert(
        RecoveryPlan,
        id=event.plan,
        token=event.token,
        target=event.target,
        raised=event.raised,
        ends_burn=event.ends_burn,
        state=event.state,
        proposal=event.proposal,
        started_height=at.height,
    )


@on(RecoveryContributed)
def recovery_contributed(event: RecoveryContributed, _at: EventContext, rows: Rows) -> None:
    """Somebody gave."""
    plan = rows.get(RecoveryPlan, event.plan)
    if plan is not None:
        plan.raised = event.raised_after
        plan.contributions += 1


@on(RecoveryEnded)
def recovery_ended(event: RecoveryEnded, at: EventContext, rows: Rows) -> None:
    """A plan has what it wanted, or no time left."""
    plan = rows.get(RecoveryPlan, event.plan)
    if plan is not None:
        plan.state = event.state
        plan.ended_height = at.height


def _enter(
    event: Event,
    at: EventContext,
    rows: Rows,
    kind: str,
    token: str,
    amount: TokenAmount,
    balance: TokenAmount,
    *,
    account: str | None = None,
    policy: int | None = None,
    tier: str | None = None,
) -> None:
    rows.delete(FundEntry, event.seq)
    rows.insert(
        FundEntry,
        seq=event.seq,
        kind=kind,
        token=token,
        amount=amount,
        balance=balance,
        account=account,
        policy=policy,
        tier=tier,
        height=at.height,
        burn_height=at.burn_height,
        time=at.time,
        tx_id=tx_text(at),
    )


def _holding(token: str, rows: Rows) -> FundHolding:
    return rows.get(FundHolding, token) or rows.insert(FundHolding, token=token)


def _cover(tier: str, token: str, rows: Rows) -> FundCover:
    return rows.get(FundCover, tier, token) or rows.insert(FundCover, tier=tier, token=token)
