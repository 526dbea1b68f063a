"""bh-vault: positions, locks, premiums, yield, fees, and the totals of them all."""

from __future__ import annotations

from clarion.protocol import EventContext
from clarion.protocols.bithedge.events import (
    AllocationMoved,
    AllocationMovedIn,
    AllocationMovedOut,
    AutomatchSet,
    CapitalDeposited,
    CapitalMovedIn,
    CapitalMovedOut,
    CapitalWithdrawn,
    CollateralLocked,
    CollateralReleased,
    Event,
    FeesCollected,
    LockClosed,
    PayoutDebited,
    PositionEvent,
    PremiumEarned,
    PremiumEscrowed,
    PremiumRefunded,
    WithdrawRequested,
    YieldClaimed,
    YieldCredited,
)
from clarion.protocols.bithedge.payoff import split
from clarion.protocols.bithedge.protocol import on, tx_text
from clarion.protocols.bithedge.tables import (
    AccountEntry,
    Allocation,
    Exposure,
    PolicyLock,
    Position,
    Provider,
    TierPool,
    TokenPool,
    WithdrawRequest,
    YieldBalance,
)
from clarion.protocols.bithedge.units import BurnHeight, TokenAmount, Usd8, plus
from clarion.store.rows import Rows


@on(CapitalDeposited)
def capital_deposited(event: CapitalDeposited, at: EventContext, rows: Rows) -> None:
    """Capital came in."""
    position = _arrive(event, at, rows)
    for holder in (position, _tier_pool(event.tier, event.token, rows), _token_pool(event.token, rows)):
        holder.deposited = plus(holder.deposited, event.amt)
    _enter(event, at, rows, "deposit", event.provider, event.token, event.amt, tier=event.tier)


@on(WithdrawRequested)
def withdraw_requested(event: WithdrawRequested, at: EventContext, rows: Rows) -> None:
    """A provider wants capital back."""
    _move_position(event, at, rows)
    request = _request(event, event.request, rows)
    request.unlock_burn = event.unlock_burn
    request.requested_height = at.height


@on(CapitalWithdrawn)
def capital_withdrawn(event: CapitalWithdrawn, at: EventContext, rows: Rows) -> None:
    """Capital went out."""
    position = _move_position(event, at, rows)
    for holder in (position, _tier_pool(event.tier, event.token, rows), _token_pool(event.token, rows)):
        holder.withdrawn = plus(holder.withdrawn, event.amt)
    request = _request(event, event.request, rows)
    request.paid = event.amt
    request.state = "withdrawn"
    request.withdrawn_height = at.height
    _enter(event, at, rows, "withdrawal", event.provider, event.token, event.amt, tier=event.tier)


@on(CapitalMovedOut)
def capital_moved_out(event: CapitalMovedOut, at: EventContext, rows: Rows) -> None:
    """Capital left for another tier."""
    _move_out(event, event.amt, at, rows)
    _enter(event, at, rows, "tier-out", event.provider, event.token, event.amt, tier=event.tier)


@on(CapitalMovedIn)
def capital_moved_in(event: CapitalMovedIn, at: EventContext, rows: Rows) -> None:
    """Capital came from another tier."""
    _arrive(event, at, rows)
    _move_in(event, event.amt, rows)
    _enter(event, at, rows, "tier-in", event.provider, event.token, event.amt, tier=event.tier)


@on(AutomatchSet)
def automatch_set(event: AutomatchSet, at: EventContext, rows: Rows) -> None:
    """A provider takes policies, or takes none."""
    _provider(event.provider, at, rows).auto_match = event.on


@on(CollateralLocked)
def collateral_locked(event: CollateralLocked, at: EventContext, rows: Rows) -> None:
    """A position backs part of a policy."""
    position = _move_position(event, at, rows)
    position.active_policies += 1
    _set_exposure(event, rows)
    lock = _lock(event.policy, event.tier, event.token, event.expiry_burn, rows)
    rows.delete(Allocation, event.policy, event.provider)
    rows.insert(
        Allocation,
        policy=event.policy,
        provider=event.provider,
        place=len(lock.providers),
        tier=event.tier,
        token=event.token,
        expiry_burn=event.expiry_burn,
        state="active",
        liability_usd8=event.liability_usd8,
        collateral=event.amt,
    )
    lock.providers = [*lock.providers, event.provider]


@on(PremiumEscrowed)
def premium_escrowed(event: PremiumEscrowed, at: EventContext, rows: Rows) -> None:
    """The owner paid; every provider's part of it is known."""
    lock = _lock(event.policy, event.tier, event.token, event.expiry_burn, rows)
    lock.module = event.module
    lock.owner = event.owner
    lock.max_payout_usd8 = event.max_payout_usd8
    lock.collateral = event.collateral
    lock.premium = event.amt
    lock.premium_provider = event.premium_provider
    _share_premium(lock, rows)
    tier_pool = _tier_pool(event.tier, event.token, rows)
    tier_pool.premium_unearned = plus(tier_pool.premium_unearned, event.premium_provider)
    token_pool = _token_pool(event.token, rows)
    token_pool.unearned = event.unearned_after
    token_pool.platform_fees = event.platform_fees_after
    token_pool.reserve_fees = event.reserve_fees_after
    token_pool.premiums = plus(token_pool.premiums, event.amt)
    for pool in (tier_pool, token_pool):
        pool.active_policies += 1
        pool.policies += 1
    _enter(event, at, rows, "premium-paid", event.owner, event.token, event.amt, tier=event.tier, policy=event.policy)


@on(PayoutDebited)
def payout_debited(event: PayoutDebited, at: EventContext, rows: Rows) -> None:
    """A position lost collateral to a policy's owner."""
    position = _move_position(event, at, rows)
    for holder in (position, _tier_pool(event.tier, event.token, rows), _token_pool(event.token, rows)):
        holder.paid_out = plus(holder.paid_out, event.amt)
    allocation = rows.get(Allocation, event.policy, event.provider)
    if allocation is not None:
        allocation.paid = plus(allocation.paid, event.amt)
    account = event.provider
    _enter(event, at, rows, "payout-debit", account, event.token, event.amt, tier=event.tier, policy=event.policy)


@on(CollateralReleased)
def collateral_released(event: CollateralReleased, at: EventContext, rows: Rows) -> None:
    """A position no longer backs a policy."""
    position = _move_position(event, at, rows)
    position.active_policies -= 1
    _set_exposure(event, rows)
    allocation = rows.get(Allocation, event.policy, event.provider)
    if allocation is not None:
        allocation.released = event.amt
        allocation.state = "released"


@on(PremiumEarned)
def premium_earned(event: PremiumEarned, at: EventContext, rows: Rows) -> None:
    """A provider's part of a premium became yield."""
    balance = _yield(event.provider, event.token, rows)
    balance.claimable = event.yield_after
    balance.earned = plus(balance.earned, event.amt)
    allocation = rows.get(Allocation, event.policy, event.provider)
    tier = None if allocation is None else allocation.tier
    if allocation is not None:
        allocation.premium_earned = plus(allocation.premium_earned, event.amt)
        position = _position(event.provider, allocation.tier, event.token, rows)
        position.premium_earned = plus(position.premium_earned, event.amt)
    account = event.provider
    _enter(event, at, rows, "premium-earned", account, event.token, event.amt, tier=tier, policy=event.policy)


@on(PremiumRefunded)
def premium_refunded(event: PremiumRefunded, at: EventContext, rows: Rows) -> None:
    """The owner of a cancelled policy got premium back."""
    _enter(event, at, rows, "premium-refund", event.to, event.token, event.amt, policy=event.policy)


@on(LockClosed)
def lock_closed(event: LockClosed, at: EventContext, rows: Rows) -> None:
    """The vault is done with a policy."""
    token_pool = _token_pool(event.token, rows)
    token_pool.unearned = event.unearned_after
    token_pool.yield_payable = event.yield_after
    token_pool.premiums_earned = plus(token_pool.premiums_earned, event.earned)
    token_pool.premiums_refunded = plus(token_pool.premiums_refunded, event.refunded)
    token_pool.active_policies -= 1
    lock = rows.get(PolicyLock, event.policy)
    if lock is not None:
        lock.state = "closed"
        lock.paid = event.paid
        lock.refunded = event.refunded
        lock.earned = event.earned
        _take_premium_back(lock, rows)
        tier_pool = _tier_pool(lock.tier, lock.token, rows)
        tier_pool.premium_unearned = plus(tier_pool.premium_unearned, -lock.premium_provider)
        tier_pool.premium_earned = plus(tier_pool.premium_earned, event.earned)
        tier_pool.active_policies -= 1
    if event.paid:
        _enter(event, at, rows, "payout", event.to, event.token, event.paid, policy=event.policy)


@on(AllocationMovedOut)
def allocation_moved_out(event: AllocationMovedOut, at: EventContext, rows: Rows) -> None:
    """A provider no longer covers its part of a policy, and paid for that."""
    position = _move_out(event, event.paid, at, rows)
    position.active_policies -= 1
    _set_exposure(event, rows)
    allocation = rows.get(Allocation, event.policy, event.provider)
    if allocation is not None:
        allocation.released = plus(allocation.released, event.amt)
        allocation.state = "moved"
    if event.paid:
        account = event.provider
        _enter(event, at, rows, "takeover-paid", account, event.token, event.paid, tier=event.tier, policy=event.policy)


@on(AllocationMovedIn)
def allocation_moved_in(event: AllocationMovedIn, at: EventContext, rows: Rows) -> None:
    """A provider covers another's part of a policy, added to what it may have of it already."""
    position = _move_position(event, at, rows)
    _move_in(event, event.received, rows)
    _set_exposure(event, rows)
    allocation = rows.get(Allocation, event.policy, event.provider)
    if allocation is None or allocation.state != "active":
        rows.delete(Allocation, event.policy, event.provider)
        allocation = rows.insert(
            Allocation,
            policy=event.policy,
            provider=event.provider,
            place=0,
            tier=event.tier,
            token=event.token,
            expiry_burn=event.expiry_burn,
            state="active",
            liability_usd8=Usd8(0),
            collateral=TokenAmount(0),
        )
        position.active_policies += 1
    allocation.liability_usd8 = Usd8(allocation.liability_usd8 + event.liability_usd8)
    allocation.collateral = plus(allocation.collateral, event.amt)
    if event.received:
        account = event.provider
        _enter(
            event,
            at,
            rows,
            "takeover-received",
            account,
            event.token,
            event.received,
            tier=event.tier,
            policy=event.policy,
        )


@on(YieldCredited)
def yield_credited(event: YieldCredited, at: EventContext, rows: Rows) -> None:
    """Somebody got a bounty or a penalty as yield."""
    balance = _yield(event.provider, event.token, rows)
    balance.claimable = event.yield_after
    balance.credited = plus(balance.credited, event.amt)
    _enter(event, at, rows, event.kind, event.provider, event.token, event.amt, policy=event.policy)


@on(AllocationMoved)
def allocation_moved(event: AllocationMoved, at: EventContext, rows: Rows) -> None:
    """A policy's collateral and the providers' parts of its premium are others now."""
    _token_pool(event.token, rows).yield_payable = event.yield_after
    lock = rows.get(PolicyLock, event.policy)
    if lock is None:
        return
    lock.collateral = event.collateral_after
    _take_premium_back(lock, rows)
    left = rows.get(Allocation, event.policy, event.from_)
    if left is not None:
        left.premium = TokenAmount(0)
    lock.providers = [*(who for who in lock.providers if who not in (event.from_, event.to)), event.to]
    for place, allocation in enumerate(_allocations(lock, rows)):
        allocation.place = place
    _share_premium(lock, rows)


@on(YieldClaimed)
def yield_claimed(event: YieldClaimed, at: EventContext, rows: Rows) -> None:
    """A provider took earned premiums out."""
    balance = _yield(event.provider, event.token, rows)
    balance.claimable = event.yield_after
    balance.claimed = plus(balance.claimed, event.amt)
    token_pool = _token_pool(event.token, rows)
    token_pool.yield_payable = plus(token_pool.yield_payable, event.yield_after - event.yield_before)
    token_pool.yield_claimed = plus(token_pool.yield_claimed, event.amt)
    _enter(event, at, rows, "yield-claim", event.provider, event.token, event.amt)


@on(FeesCollected)
def fees_collected(event: FeesCollected, at: EventContext, rows: Rows) -> None:
    """The treasury or the fund took its fees out."""
    token_pool = _token_pool(event.token, rows)
    if event.kind == "platform":
        token_pool.platform_fees = event.fees_after
    else:
        token_pool.reserve_fees = event.fees_after
    token_pool.fees_collected = plus(token_pool.fees_collected, event.amt)
    _enter(event, at, rows, "fee-collection", event.to, event.token, event.amt)


def _move_position(event: PositionEvent, at: EventContext, rows: Rows) -> Position:
    """Give a position its image after the event, and move the totals by the difference."""
    _provider(event.provider, at, rows)
    position = _position(event.provider, event.tier, event.token, rows)
    position.available = event.available_after
    position.locked = event.locked_after
    position.requested = event.requested_after
    position.liability_usd8 = event.liability_usd8_after
    held_before = event.available_before + event.locked_before > 0
    held_after = event.available_after + event.locked_after > 0
    for pool in (_tier_pool(event.tier, event.token, rows), _token_pool(event.token, rows)):
        pool.available = plus(pool.available, event.available_after - event.available_before)
        pool.locked = plus(pool.locked, event.locked_after - event.locked_before)
        pool.requested = plus(pool.requested, event.requested_after - event.requested_before)
        pool.liability_usd8 = Usd8(pool.liability_usd8 + event.liability_usd8_after - event.liability_usd8_before)
        pool.positions += held_after - held_before
    return position


def _arrive(event: CapitalDeposited | CapitalMovedIn, at: EventContext, rows: Rows) -> Position:
    """A position that capital came to from outside it."""
    position = _move_position(event, at, rows)
    position.arrived_height = event.arrived_stacks
    if position.first_deposit_height is None:
        position.first_deposit_height = at.height
        position.first_deposit_burn = at.burn_height
    return position


def _move_out(
    event: CapitalMovedOut | AllocationMovedOut, amount: TokenAmount, at: EventContext, rows: Rows
) -> Position:
    position = _move_position(event, at, rows)
    for holder in (position, _tier_pool(event.tier, event.token, rows), _token_pool(event.token, rows)):
        holder.moved_out = plus(holder.moved_out, amount)
    return position


def _move_in(event: CapitalMovedIn | AllocationMovedIn, amount: TokenAmount, rows: Rows) -> None:
    position = _position(event.provider, event.tier, event.token, rows)
    for holder in (position, _tier_pool(event.tier, event.token, rows), _token_pool(event.token, rows)):
        holder.moved_in = plus(holder.moved_in, amount)


def _share_premium(lock: PolicyLock, rows: Rows) -> None:
    """Give every allocation of a policy its part of the providers' premium, by liability."""
    allocations = _allocations(lock, rows)
    shares = split(lock.premium_provider, [allocation.liability_usd8 for allocation in allocations])
    for allocation, share in zip(allocations, shares, strict=True):
        allocation.premium = TokenAmount(share)
        position = _position(allocation.provider, allocation.tier, allocation.token, rows)
        position.premium_unearned = plus(position.premium_unearned, share)


def _take_premium_back(lock: PolicyLock, rows: Rows) -> None:
    """The premium of a policy's allocations is no longer to be earned by them."""
    for allocation in _allocations(lock, rows):
        position = _position(allocation.provider, allocation.tier, allocation.token, rows)
        position.premium_unearned = plus(position.premium_unearned, -allocation.premium)


def _set_exposure(
    event: CollateralLocked | CollateralReleased | AllocationMovedOut | AllocationMovedIn, rows: Rows
) -> None:
    key = (event.provider, event.tier, event.token, event.expiry_burn)
    if event.exposure_after == 0:
        rows.delete(Exposure, *key)
        return
    exposure = rows.get(Exposure, *key)
    if exposure is None:
        rows.insert(
            Exposure,
            provider=event.provider,
            tier=event.tier,
            token=event.token,
            expiry_burn=event.expiry_burn,
            amount=event.exposure_after,
        )
    else:
        exposure.amount = event.exposure_after


def _provider(principal: str, at: EventContext, rows: Rows) -> Provider:
    return rows.get(Provider, principal) or rows.insert(Provider, provider=principal, first_seen_height=at.height)


def _position(provider: str, tier: str, token: str, rows: Rows) -> Position:
    return rows.get(Position, provider, tier, token) or rows.insert(Position, provider=provider, tier=tier, token=token)


def _yield(provider: str, token: str, rows: Rows) -> YieldBalance:
    return rows.get(YieldBalance, provider, token) or rows.insert(YieldBalance, provider=provider, token=token)


def _tier_pool(tier: str, token: str, rows: Rows) -> TierPool:
    return rows.get(TierPool, tier, token) or rows.insert(TierPool, tier=tier, token=token)


def _token_pool(token: str, rows: Rows) -> TokenPool:
    return rows.get(TokenPool, token) or rows.insert(TokenPool, token=token)


def _request(event: PositionEvent, number: int, rows: Rows) -> WithdrawRequest:
    return rows.get(WithdrawRequest, number) or rows.insert(
        WithdrawRequest,
        id=number,
        provider=event.provider,
        tier=event.tier,
        token=event.token,
        amount=event.amt,
        state="pending",
    )


def _lock(policy: int, tier: str, token: str, expiry_burn: BurnHeight, rows: Rows) -> PolicyLock:
    return rows.get(PolicyLock, policy) or rows.insert(
        PolicyLock, policy=policy, tier=tier, token=token, expiry_burn=expiry_burn, state="locked", providers=[]
    )


def _allocations(lock: PolicyLock, rows: Rows) -> list[Allocation]:
    found = (rows.get(Allocation, lock.policy, provider) for provider in lock.providers)
    return [allocation for allocation in found if allocation is not None]


def _enter(
    event: Event,
    at: EventContext,
    rows: Rows,
    kind: str,
    account: str,
    token: str,
    amount: TokenAmount,
    *,
    tier: str | None = None,
    policy: int | None = None,
) -> None:
    rows.delete(AccountEntry, event.seq)
    rows.insert(
        AccountEntry,
        seq=event.seq,
        account=account,
        kind=kind,
        token=token,
        amount=amount,
        tier=tier,
        policy=policy,
        height=at.height,
        burn_height=at.burn_height,
        time=at.time,
        tx_id=tx_text(at),
    )
