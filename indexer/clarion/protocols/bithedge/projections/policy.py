"""bh-policy: policies and their totals.

What happens to a policy that was created before indexing began is not shown: most of its columns could not be known.
"""

from __future__ import annotations

from clarion.protocol import EventContext
from clarion.protocols.bithedge.events import (
    ClaimOpened,
    ClaimResolved,
    PaidPolicyEvent,
    PolicyCancelled,
    PolicyCreated,
    PolicyExercised,
    PolicyExpiredOtm,
    PolicySettledItm,
    RemainderCovered,
)
from clarion.protocols.bithedge.protocol import on, tx_text
from clarion.protocols.bithedge.tables import Claim, Policy, PolicyTotals, RemainderCover
from clarion.protocols.bithedge.units import BurnHeight, Sats, Usd8
from clarion.store.rows import Rows


@on(PolicyCreated)
def policy_created(event: PolicyCreated, at: EventContext, rows: Rows) -> None:
    """Somebody bought protection."""
    if rows.get(Policy, event.policy) is not None:
        return
    rows.insert(
        Policy,
        id=event.policy,
        owner=event.owner,
        type=event.type,
        style=event.style,
        tier=event.tier,
        asset=event.asset,
        token=event.token,
        strike_usd8=event.strike_usd8,
        notional_sat=event.notional_sat,
        max_payout_usd8=event.max_payout_usd8,
        collateral=event.collateral,
        spot_usd8=event.spot_usd8,
        round=event.round,
        token_price_usd8=event.token_price_usd8,
        token_round=event.token_round,
        vol_bp=event.vol_bp,
        util_bp=event.util_bp,
        premium_usd8=event.premium_usd8,
        premium=event.premium,
        discount=event.discount,
        fee_platform=event.fee_platform,
        fee_reserve=event.fee_reserve,
        premium_provider=event.premium_provider,
        created_burn=event.created_burn,
        expiry_burn=event.expiry_burn,
        cancel_until_burn=event.cancel_until_burn,
        created_height=at.height,
        created_time=at.time,
        created_tx=tx_text(at),
        state="active",
    )
    totals = _totals(event.asset, rows)
    totals.created += 1
    totals.active += 1
    totals.notional_sat = Sats(totals.notional_sat + event.notional_sat)
    totals.max_payout_usd8 = Usd8(totals.max_payout_usd8 + event.max_payout_usd8)
    totals.premium_usd8 = Usd8(totals.premium_usd8 + event.premium_usd8)


@on(PolicySettledItm)
def policy_settled_itm(event: PolicySettledItm, at: EventContext, rows: Rows) -> None:
    """A policy expired in the money."""
    totals = _pay(event, "settled-itm", at, rows)
    if totals is not None:
        totals.settled_itm += 1


@on(PolicyExercised)
def policy_exercised(event: PolicyExercised, at: EventContext, rows: Rows) -> None:
    """A policy was exercised."""
    totals = _pay(event, "exercised", at, rows)
    if totals is not None:
        totals.exercised += 1


@on(PolicyExpiredOtm)
def policy_expired_otm(event: PolicyExpiredOtm, at: EventContext, rows: Rows) -> None:
    """A policy expired worthless."""
    policy = _end(event.policy, "expired-otm", event.settled_burn, at, rows)
    if policy is not None:
        policy.settlement_usd8 = event.price_usd8
        policy.settlement_round = event.round
        policy.payoff_usd8 = Usd8(0)
        _totals(policy.asset, rows).expired_otm += 1


@on(PolicyCancelled)
def policy_cancelled(event: PolicyCancelled, at: EventContext, rows: Rows) -> None:
    """A policy was given back."""
    policy = _end(event.policy, "cancelled", event.settled_burn, at, rows)
    if policy is not None:
        policy.refund = event.refund
        policy.cancel_fee = event.fee
        policy.payoff_usd8 = Usd8(0)
        _totals(policy.asset, rows).cancelled += 1


@on(RemainderCovered)
def remainder_covered(event: RemainderCovered, at: EventContext, rows: Rows) -> None:
    """The fund paid part of what an owner was still owed."""
    rows.delete(RemainderCover, event.seq)
    rows.insert(
        RemainderCover,
        seq=event.seq,
        policy=event.policy,
        by=event.by,
        amount_usd8=event.usd8,
        unpaid_usd8=event.unpaid_usd8_after,
        height=at.height,
        tx_id=tx_text(at),
    )
    policy = rows.get(Policy, event.policy)
    if policy is not None:
        totals = _totals(policy.asset, rows)
        totals.unpaid_usd8 = Usd8(totals.unpaid_usd8 + event.unpaid_usd8_after - policy.unpaid_usd8)
        policy.unpaid_usd8 = event.unpaid_usd8_after


@on(ClaimOpened)
def claim_opened(event: ClaimOpened, at: EventContext, rows: Rows) -> None:
    """An owner claims what is unpaid."""
    rows.delete(Claim, event.policy)
    rows.insert(
        Claim,
        policy=event.policy,
        owner=event.owner,
        state="open",
        unpaid_usd8=event.unpaid_usd8,
        reason_hash=event.reason_hash,
        opened_burn=event.opened_burn,
        opened_height=at.height,
        opened_time=at.time,
        opened_tx=tx_text(at),
    )


@on(ClaimResolved)
def claim_resolved(event: ClaimResolved, at: EventContext, rows: Rows) -> None:
    """An arbiter has decided."""
    claim = rows.get(Claim, event.policy) or rows.insert(
        Claim, policy=event.policy, owner=event.owner, state=event.state, unpaid_usd8=event.unpaid_usd8
    )
    claim.state = event.state
    claim.unpaid_usd8 = event.unpaid_usd8
    claim.approved_usd8 = event.approved_usd8
    claim.resolution_hash = event.reason_hash
    claim.arbiter = event.by
    claim.resolved_burn = event.resolved_burn
    claim.resolved_height = at.height
    claim.resolved_time = at.time
    claim.resolved_tx = tx_text(at)


def _pay(event: PaidPolicyEvent, state: str, at: EventContext, rows: Rows) -> PolicyTotals | None:
    policy = _end(event.policy, state, event.settled_burn, at, rows)
    if policy is None:
        return None
    policy.settlement_usd8 = event.price_usd8
    policy.settlement_round = event.round
    policy.settlement_token_usd8 = event.token_price_usd8
    policy.settlement_token_round = event.token_round
    policy.payoff_usd8 = event.payoff_usd8
    policy.paid = event.paid
    policy.unpaid_usd8 = event.unpaid_usd8
    totals = _totals(policy.asset, rows)
    totals.payoff_usd8 = Usd8(totals.payoff_usd8 + event.payoff_usd8)
    totals.unpaid_usd8 = Usd8(totals.unpaid_usd8 + event.unpaid_usd8)
    return totals


def _end(number: int, state: str, settled_burn: BurnHeight, at: EventContext, rows: Rows) -> Policy | None:
    """Put an active policy in its last state; None where there is none."""
    policy = rows.get(Policy, number)
    if policy is None or policy.state != "active":
        return None
    policy.state = state
    policy.settled_burn = settled_burn
    policy.settled_height = at.height
    policy.settled_time = at.time
    policy.settled_tx = tx_text(at)
    totals = _totals(policy.asset, rows)
    totals.active -= 1
    totals.notional_sat = Sats(totals.notional_sat - policy.notional_sat)
    totals.max_payout_usd8 = Usd8(totals.max_payout_usd8 - policy.max_payout_usd8)
    return policy


def _totals(asset: str, rows: Rows) -> PolicyTotals:
    return rows.get(PolicyTotals, asset) or rows.insert(PolicyTotals, asset=asset)
