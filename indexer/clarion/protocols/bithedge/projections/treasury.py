"""bh-treasury: platform fees, who gets them, and who pays less of them."""

from __future__ import annotations

from clarion.protocol import EventContext
from clarion.protocols.bithedge.events import (
    AllocationSet,
    DiscountSet,
    DiscountUsed,
    Event,
    FeeCollected,
    FeeDistributed,
    FeesPassedOn,
    ProgramDrawn,
    ProgramFunded,
    ProgramUnfunded,
    ShareClaimed,
    SpendMade,
    TreasuryContributed,
)
from clarion.protocols.bithedge.protocol import on, tx_text
from clarion.protocols.bithedge.tables import (
    FeeDiscount,
    ProgramFund,
    TreasuryAllocation,
    TreasuryEntry,
    TreasuryHolding,
    TreasuryShare,
)
from clarion.protocols.bithedge.units import TokenAmount, plus
from clarion.store.rows import Rows

MAX_ALLOCATIONS = 10
"""Most allocations that a set has."""


@on(FeeCollected)
def fee_collected(event: FeeCollected, at: EventContext, rows: Rows) -> None:
    """Platform fees came out of the vault."""
    holding = _holding(event.token, rows)
    holding.collected = event.collected_after
    holding.fees = plus(holding.fees, event.amt)
    _enter(event, at, rows, "fee-collected", event.token, event.amt)


@on(TreasuryContributed)
def treasury_contributed(event: TreasuryContributed, at: EventContext, rows: Rows) -> None:
    """Somebody gave tokens to the treasury's own share."""
    holding = _holding(event.token, rows)
    holding.shared = plus(holding.shared, event.amt)
    holding.contributed = plus(holding.contributed, event.amt)
    _receive(event, rows)
    _enter(event, at, rows, "contributed", event.token, event.amt, account=event.from_)


@on(AllocationSet)
def allocation_set(event: AllocationSet, at: EventContext, rows: Rows) -> None:
    """One part of a new set; the ranks that the set does not have are gone."""
    for rank in (event.rank, *range(event.count, MAX_ALLOCATIONS)):
        rows.delete(TreasuryAllocation, rank)
    rows.insert(
        TreasuryAllocation,
        rank=event.rank,
        name=event.name,
        receiver=event.receiver,
        share_bp=event.share_bp,
        proposal=event.proposal,
        set_height=at.height,
    )


@on(FeeDistributed)
def fee_distributed(event: FeeDistributed, at: EventContext, rows: Rows) -> None:
    """An allocation's part of collected fees is its receiver's."""
    holding = _holding(event.token, rows)
    holding.collected = event.collected_after
    holding.shared = plus(holding.shared, event.amt)
    _receive(event, rows)
    _enter(
        event,
        at,
        rows,
        "fee-distributed",
        event.token,
        event.amt,
        account=event.receiver,
        allocation=event.name,
        batch=event.batch,
    )


@on(ShareClaimed)
def share_claimed(event: ShareClaimed, at: EventContext, rows: Rows) -> None:
    """A receiver took its share."""
    holding = _holding(event.token, rows)
    holding.shared = plus(holding.shared, -event.amt)
    holding.claimed = plus(holding.claimed, event.amt)
    _share(event.receiver, event.token, rows).amount = event.share_after
    _enter(event, at, rows, "share-claimed", event.token, event.amt, account=event.receiver)


@on(SpendMade)
def spend_made(event: SpendMade, at: EventContext, rows: Rows) -> None:
    """Governance paid somebody."""
    holding = _holding(event.token, rows)
    holding.shared = plus(holding.shared, -event.amt)
    holding.spent = plus(holding.spent, event.amt)
    _share(event.receiver, event.token, rows).amount = event.share_after
    _enter(event, at, rows, "spent", event.token, event.amt, account=event.to, proposal=event.proposal)


@on(ProgramFunded)
def program_funded(event: ProgramFunded, at: EventContext, rows: Rows) -> None:
    """Part of the own share waits for a programme."""
    holding = _holding(event.token, rows)
    holding.shared = plus(holding.shared, -event.amt)
    holding.programs = plus(holding.programs, event.amt)
    _share(event.receiver, event.token, rows).amount = event.share_after
    _fund(event.program, event.token, rows).amount = event.funds_after
    _enter(event, at, rows, "program-funded", event.token, event.amt, program=event.program, proposal=event.proposal)


@on(ProgramUnfunded)
def program_unfunded(event: ProgramUnfunded, at: EventContext, rows: Rows) -> None:
    """What waited for a programme is the treasury's own again."""
    holding = _holding(event.token, rows)
    holding.shared = plus(holding.shared, event.amt)
    holding.programs = plus(holding.programs, -event.amt)
    _share(event.receiver, event.token, rows).amount = event.share_after
    _fund(event.program, event.token, rows).amount = event.funds_after
    _enter(event, at, rows, "program-unfunded", event.token, event.amt, program=event.program, proposal=event.proposal)


@on(FeesPassedOn)
def fees_passed_on(event: FeesPassedOn, at: EventContext, rows: Rows) -> None:
    """The treasury that replaced this one got its fees and its own share."""
    holding = _holding(event.token, rows)
    holding.collected = event.collected_after
    holding.shared = plus(holding.shared, -event.share_before)
    holding.passed_on = plus(holding.passed_on, event.amt)
    _share(event.receiver, event.token, rows).amount = event.share_after
    _enter(event, at, rows, "passed-on", event.token, event.amt, account=event.to, proposal=event.proposal)


@on(ProgramDrawn)
def program_drawn(event: ProgramDrawn, at: EventContext, rows: Rows) -> None:
    """What waited for a programme is with the incentives module."""
    holding = _holding(event.token, rows)
    holding.programs = plus(holding.programs, -event.amt)
    _fund(event.program, event.token, rows).amount = event.funds_after
    _enter(event, at, rows, "program-drawn", event.token, event.amt, account=event.to, program=event.program)


@on(DiscountSet)
def discount_set(event: DiscountSet, at: EventContext, rows: Rows) -> None:
    """A user pays less, for a while."""
    discount = _discount(event.user, rows)
    discount.discount_bp = event.discount_bp
    discount.until_burn = event.until_burn
    discount.proposal = event.proposal


@on(DiscountUsed)
def discount_used(event: DiscountUsed, at: EventContext, rows: Rows) -> None:
    """A policy cost less."""
    discount = _discount(event.user, rows)
    discount.discount_bp = event.discount_bp
    discount.uses += 1


def _enter(
    event: Event,
    at: EventContext,
    rows: Rows,
    kind: str,
    token: str,
    amount: TokenAmount,
    *,
    account: str | None = None,
    allocation: str | None = None,
    batch: int | None = None,
    program: int | None = None,
    proposal: int | None = None,
) -> None:
    rows.delete(TreasuryEntry, event.seq)
    rows.insert(
        TreasuryEntry,
        seq=event.seq,
        kind=kind,
        token=token,
        amount=amount,
        account=account,
        allocation=allocation,
        batch=batch,
        program=program,
        proposal=proposal,
        height=at.height,
        burn_height=at.burn_height,
        time=at.time,
        tx_id=tx_text(at),
    )


def _receive(event: TreasuryContributed | FeeDistributed, rows: Rows) -> None:
    share = _share(event.receiver, event.token, rows)
    share.amount = event.share_after
    share.received = plus(share.received, event.amt)


def _holding(token: str, rows: Rows) -> TreasuryHolding:
    return rows.get(TreasuryHolding, token) or rows.insert(TreasuryHolding, token=token)


def _share(receiver: str, token: str, rows: Rows) -> TreasuryShare:
    return rows.get(TreasuryShare, receiver, token) or rows.insert(TreasuryShare, receiver=receiver, token=token)


def _fund(program: int, token: str, rows: Rows) -> ProgramFund:
    return rows.get(ProgramFund, program, token) or rows.insert(ProgramFund, program=program, token=token)


def _discount(who: str, rows: Rows) -> FeeDiscount:
    return rows.get(FeeDiscount, who) or rows.insert(FeeDiscount, who=who)
