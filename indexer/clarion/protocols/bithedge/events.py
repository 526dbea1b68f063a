"""What BitHedge's contracts print: one frozen struct per (contract, topic), schema version 1.

The fields are those of ``contracts/events.json``, in kebab case on the chain and in snake case here. A field that is
missing, unknown, negative or of another type, or another schema version, makes the event undecodable.

Units are in the names: ``…_usd8`` US dollars x 10^8, ``…_bp`` 1/10000, ``…_sat`` satoshis, ``…_burn`` Bitcoin block
heights (or Bitcoin blocks for a duration), ``…_e12`` x 10^12; ``amt``, ``premium``, ``collateral``, ``paid``,
``refund``, ``earned`` and ``fee_…`` are base units of the event's ``token``. Principals and hashes are text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from clarion.protocols.bithedge.units import E12, BasisPoints, BurnBlocks, BurnHeight, Sats, TokenAmount, Usd8

_UINT: Final = Meta(ge=0)
#: Counters and heights that the contracts bound far below this; it is what a ``bigint`` column holds.
_INT64: Final = Meta(ge=0, le=2**63 - 1)

Uint = Annotated[int, _UINT]
Id = Annotated[int, _INT64]
Count = Annotated[int, _INT64]
Usd = Annotated[Usd8, _UINT]
Sat = Annotated[Sats, _UINT]
Amount = Annotated[TokenAmount, _UINT]
Bp = Annotated[BasisPoints, _UINT]
Height = Annotated[BurnHeight, _INT64]
Blocks = Annotated[BurnBlocks, _INT64]
StacksHeight = Annotated[int, _INT64]
Variance = Annotated[E12, _UINT]


class Event(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True):
    """The envelope of every event.

    ``seq`` counts a contract's events from 1 without gaps. ``actor`` is the transaction's sender (``tx-sender``),
    ``caller`` who called the contract (``contract-caller``).
    """

    topic: str
    v: Literal[1]
    seq: Id
    actor: str
    caller: str


E = TypeVar("E", bound=type[Event])
_events: dict[tuple[str, str], type[Event]] = {}

EVENTS: Final[Mapping[tuple[str, str], type[Event]]] = MappingProxyType(_events)
"""Every event by (contract short name, topic)."""


def _printed_by(contract: str, topic: str) -> Callable[[E], E]:
    def register(event: E) -> E:
        if (contract, topic) in _events:
            raise ValueError(f"{contract} {topic} is declared twice")
        _events[contract, topic] = event
        return event

    return register


def source_of(event: type[Event]) -> tuple[str, str]:
    """The (contract short name, topic) that this struct decodes. Raises KeyError for a struct that is no event."""
    for source, declared in _events.items():
        if declared is event:
            return source
    raise KeyError(f"{event.__name__} is no event of BitHedge")


# Everything below is written by `make events` from contracts/events.json.


class PositionEvent(Event, frozen=True, kw_only=True):
    """An event that changes the position (provider, tier, token), with its image before and after.

    ``available`` includes ``requested`` (asked back, not yet withdrawn); ``locked`` backs policies whose maximum
    payouts sum to ``liability_usd8``. Pool and buckets move by the same differences.
    """

    provider: str
    tier: str
    token: str
    amt: Amount
    available_before: Amount
    available_after: Amount
    locked_before: Amount
    locked_after: Amount
    requested_before: Amount
    requested_after: Amount
    liability_usd8_before: Usd
    liability_usd8_after: Usd


class PaidPolicyEvent(Event, frozen=True, kw_only=True):
    """A policy ended in the money: ``payoff_usd8`` was due, ``paid`` was paid, ``unpaid_usd8`` is still owed."""

    policy: Id
    owner: str
    token: str
    round: Id
    price_usd8: Usd
    token_round: Id
    token_price_usd8: Usd
    payoff_usd8: Usd
    paid: Amount
    unpaid_usd8: Usd
    settled_burn: Height


# bh-registry


@_printed_by("bh-registry", "role.granted")
class RoleGranted(Event, frozen=True, kw_only=True):
    """``who`` has ``role`` up to and including ``until_burn``; without end where it is none."""

    role: str
    who: str
    until_burn: Uint | None


@_printed_by("bh-registry", "role.revoked")
class RoleRevoked(Event, frozen=True, kw_only=True):
    """``who`` no longer has ``role``."""

    role: str
    who: str


@_printed_by("bh-registry", "role.expired")
class RoleExpired(Event, frozen=True, kw_only=True):
    """The row of a role whose last height has passed is gone; ``who`` had lost it by then."""

    role: str
    who: str
    until_burn: Height | None


@_printed_by("bh-registry", "module.registered")
class ModuleRegistered(Event, frozen=True, kw_only=True):
    """A contract is version ``version`` of ``module`` from ``active_from_burn`` on, once somebody activates it."""

    module: str
    version: Id
    contract: str
    code_hash: str
    active_from_burn: Height


@_printed_by("bh-registry", "module.activated")
class ModuleActivated(Event, frozen=True, kw_only=True):
    """``version`` is the module's active one; ``from_version`` now only closes what it opened."""

    module: str
    version: Id
    contract: str
    from_version: Id | None


@_printed_by("bh-registry", "module.deprecated")
class ModuleDeprecated(Event, frozen=True, kw_only=True):
    """``version`` of ``module`` may begin nothing any more; it still ends what it locked."""

    module: str
    version: Id
    contract: str


@_printed_by("bh-registry", "migration.begun")
class MigrationBegun(Event, frozen=True, kw_only=True):
    """A module's rows begin to be copied to its next version. ``hash`` is 32 zero bytes."""

    migration: Id
    module: str
    from_version: Id | None
    version: Id
    cursor: Uint
    hash: str
    done: bool


@_printed_by("bh-registry", "migration.stepped")
class MigrationStepped(Event, frozen=True, kw_only=True):
    """A migration got as far as ``cursor``; ``hash`` chains what its steps copied."""

    migration: Id
    module: str
    from_version: Id | None
    version: Id
    cursor: Uint
    hash: str
    done: bool


@_printed_by("bh-registry", "migration.finished")
class MigrationFinished(Event, frozen=True, kw_only=True):
    """A migration ended at ``hash``; the version can be activated."""

    migration: Id
    module: str
    from_version: Id | None
    version: Id
    cursor: Uint
    hash: str
    done: bool


# bh-params


@_printed_by("bh-params", "param.set")
class ParamSet(Event, frozen=True, kw_only=True):
    """A parameter's value and bounds, in the unit that ``kind`` names. ``before`` is none for a new one."""

    key: str
    kind: str
    value: Uint
    before: Uint | None
    min: Uint
    max: Uint
    proposal: Uint | None


@_printed_by("bh-params", "flag.set")
class FlagSet(Event, frozen=True, kw_only=True):
    """Governance turned a switch on or off."""

    name: str
    on: bool
    before: bool | None
    proposal: Uint | None


@_printed_by("bh-params", "breaker.tripped")
class BreakerTripped(Event, frozen=True, kw_only=True):
    """The guardian, or a metric above its limit, stopped a switch."""

    name: str
    reason: str
    since_burn: Height


@_printed_by("bh-params", "breaker.reset")
class BreakerReset(Event, frozen=True, kw_only=True):
    """A switch's breaker is not tripped, since ``since_burn``."""

    name: str
    proposal: Uint | None
    since_burn: Height


@_printed_by("bh-params", "metric.set")
class MetricSet(Event, frozen=True, kw_only=True):
    """What a module's figure may be at most before ``breaker`` trips. ``limit_before`` is none for a new one."""

    name: str
    module: str
    value: Uint
    limit: Uint
    limit_before: Uint | None
    breaker: str
    proposal: Id | None


@_printed_by("bh-params", "metric.reported")
class MetricReported(Event, frozen=True, kw_only=True):
    """A module said how high one of its figures is; above ``limit`` the breaker trips."""

    name: str
    module: str
    value: Uint
    value_before: Uint
    limit: Uint
    breaker: str


@_printed_by("bh-params", "tier.set")
class TierSet(Event, frozen=True, kw_only=True):
    """A risk tier's rules. ``rank`` is its place, from 0, in the order in which tiers are tried."""

    name: str
    rank: Id
    strike_min_bp: Bp
    strike_max_bp: Bp
    max_duration_burn: Blocks
    premium_mult_bp: Bp
    ratio_min_bp: Bp
    ratio_warn_bp: Bp
    max_policy_bp: Bp
    max_expiry_bp: Bp
    active: bool
    proposal: Uint | None


@_printed_by("bh-params", "token.set")
class TokenSet(Event, frozen=True, kw_only=True):
    """A collateral token. ``asset`` is the price feed that values it, ``asset_name`` its name in post-conditions."""

    token: str
    asset: str
    asset_name: str
    native: bool
    decimals: Count
    haircut_bp: Bp
    cap: Amount
    active: bool
    proposal: Uint | None


@_printed_by("bh-params", "fees.set")
class FeesSet(Event, frozen=True, kw_only=True):
    """How a premium is shared; the three sum to 10000."""

    provider_bp: Bp
    platform_bp: Bp
    reserve_bp: Bp
    proposal: Uint | None


# bh-oracle


@_printed_by("bh-oracle", "asset.set")
class AssetSet(Event, frozen=True, kw_only=True):
    """A price feed. ``reference_usd8`` is what its first round is compared with."""

    asset: str
    insurable: bool
    reference_usd8: Usd
    active: bool


@_printed_by("bh-oracle", "provider.set")
class ProviderSet(Event, frozen=True, kw_only=True):
    """An oracle provider's weight; 0 removes it."""

    provider: str
    weight: Uint
    weight_before: Uint
    total_weight: Uint


@_printed_by("bh-oracle", "price.submitted")
class PriceSubmitted(Event, frozen=True, kw_only=True):
    """A provider's price in a round. The first submission opens the round at ``opened_burn``."""

    asset: str
    round: Id
    provider: str
    price_usd8: Usd
    weight: Uint
    observed_burn: Height
    opened_burn: Height
    count_after: Count
    weight_after: Uint


@_printed_by("bh-oracle", "round.closed")
class RoundClosed(Event, frozen=True, kw_only=True):
    """A round gave a price. ``mode`` is ``normal``, ``confirmed`` or ``fallback``."""

    asset: str
    round: Id
    price_usd8: Usd
    price_before: Usd
    count: Count
    weight: Uint
    deviation_bp: Bp
    spread_bp: Bp
    var_e12_before: Variance
    var_e12: Variance
    opened_burn: Height
    closed_burn: Height
    mode: str
    prev_round: Id
    prev_opened_burn: Height


@_printed_by("bh-oracle", "round.rejected")
class RoundRejected(Event, frozen=True, kw_only=True):
    """A round gave none: ``deviation``, ``no_quorum`` or ``fallback``. ``candidate_usd8`` is the asset's afterwards."""

    asset: str
    round: Id
    reason: str
    price_usd8: Usd
    price_before: Usd
    count: Count
    weight: Uint
    deviation_bp: Bp
    opened_burn: Height
    closed_burn: Height
    candidate_usd8: Usd | None


@_printed_by("bh-oracle", "expiry-price.fixed")
class ExpiryPriceFixed(Event, frozen=True, kw_only=True):
    """The price that everything of ``asset`` expiring at ``expiry_burn`` settles at."""

    asset: str
    expiry_burn: Height
    round: Id
    price_usd8: Usd


@_printed_by("bh-oracle", "fallback.set")
class FallbackSet(Event, frozen=True, kw_only=True):
    """The guardian announced a price that may be applied from ``from_burn`` on."""

    asset: str
    price_usd8: Usd
    reason: str
    from_burn: Height


@_printed_by("bh-oracle", "fallback.cancelled")
class FallbackCancelled(Event, frozen=True, kw_only=True):
    """Governance or the guardian withdrew an announced price."""

    asset: str
    price_usd8: Usd


# bh-vault


@_printed_by("bh-vault", "capital.deposited")
class CapitalDeposited(PositionEvent, frozen=True, kw_only=True):
    """A provider put ``amt`` into a position."""

    arrived_stacks: StacksHeight


@_printed_by("bh-vault", "capital.withdrawn")
class CapitalWithdrawn(PositionEvent, frozen=True, kw_only=True):
    """A provider took out what withdrawal request ``request`` asked for."""

    request: Id


@_printed_by("bh-vault", "withdraw.requested")
class WithdrawRequested(PositionEvent, frozen=True, kw_only=True):
    """A provider asked ``amt`` back; it can be withdrawn from ``unlock_burn`` on."""

    request: Id
    unlock_burn: Height


@_printed_by("bh-vault", "capital.moved-out")
class CapitalMovedOut(PositionEvent, frozen=True, kw_only=True):
    """A provider took free capital out of a position, for one of another tier."""

    to_tier: str


@_printed_by("bh-vault", "capital.moved-in")
class CapitalMovedIn(PositionEvent, frozen=True, kw_only=True):
    """A provider's capital arrived from a position of another tier."""

    from_tier: str
    arrived_stacks: StacksHeight


@_printed_by("bh-vault", "automatch.set")
class AutomatchSet(Event, frozen=True, kw_only=True):
    """Whether policies may be put on a provider's positions."""

    provider: str
    on: bool
    before: bool


@_printed_by("bh-vault", "collateral.locked")
class CollateralLocked(PositionEvent, frozen=True, kw_only=True):
    """``amt`` of a position backs ``liability_usd8`` of a policy's maximum payout.

    ``exposure_…`` is what the position has locked for policies of the same expiry.
    """

    policy: Id
    liability_usd8: Usd
    expiry_burn: Height
    exposure_before: Amount
    exposure_after: Amount


@_printed_by("bh-vault", "premium.escrowed")
class PremiumEscrowed(Event, frozen=True, kw_only=True):
    """The owner paid ``amt``; the providers' part waits in the vault until the policy ends.

    ``collateral`` is the whole of the policy, ``unearned_…``, ``platform_fees_…`` and ``reserve_fees_…`` the
    token's buckets.
    """

    policy: Id
    module: str
    owner: str
    tier: str
    token: str
    expiry_burn: Height
    max_payout_usd8: Usd
    collateral: Amount
    amt: Amount
    premium_provider: Amount
    fee_platform: Amount
    fee_reserve: Amount
    unearned_before: Amount
    unearned_after: Amount
    platform_fees_before: Amount
    platform_fees_after: Amount
    reserve_fees_before: Amount
    reserve_fees_after: Amount


@_printed_by("bh-vault", "payout.debited")
class PayoutDebited(PositionEvent, frozen=True, kw_only=True):
    """``amt`` of a position's locked collateral went to the policy's owner."""

    policy: Id


@_printed_by("bh-vault", "collateral.released")
class CollateralReleased(PositionEvent, frozen=True, kw_only=True):
    """What a policy left of a position's collateral is available again; its liability is gone."""

    policy: Id
    liability_usd8: Usd
    expiry_burn: Height
    exposure_before: Amount
    exposure_after: Amount


@_printed_by("bh-vault", "premium.earned")
class PremiumEarned(Event, frozen=True, kw_only=True):
    """A provider earned ``amt`` of a policy's premium; ``yield_…`` is what the provider can claim of the token."""

    policy: Id
    provider: str
    token: str
    amt: Amount
    yield_before: Amount
    yield_after: Amount


@_printed_by("bh-vault", "premium.refunded")
class PremiumRefunded(Event, frozen=True, kw_only=True):
    """A cancelled policy's owner got ``amt`` of the premium back."""

    policy: Id
    to: str
    token: str
    amt: Amount


@_printed_by("bh-vault", "lock.closed")
class LockClosed(Event, frozen=True, kw_only=True):
    """The vault is done with a policy.

    ``paid`` and ``refunded`` went to ``to``, ``earned`` became the providers' yield. ``unearned_…`` and ``yield_…``
    are the token's buckets.
    """

    policy: Id
    to: str
    token: str
    paid: Amount
    refunded: Amount
    earned: Amount
    unearned_before: Amount
    unearned_after: Amount
    yield_before: Amount
    yield_after: Amount


@_printed_by("bh-vault", "yield.claimed")
class YieldClaimed(Event, frozen=True, kw_only=True):
    """A provider took ``amt`` of earned premium; ``yield_…`` is what the provider can claim of the token."""

    provider: str
    token: str
    amt: Amount
    yield_before: Amount
    yield_after: Amount


@_printed_by("bh-vault", "allocation.moved-out")
class AllocationMovedOut(PositionEvent, frozen=True, kw_only=True):
    """A provider's allocation of a policy went to a taker.

    ``amt`` of collateral is free again, ``paid`` left the position.
    """

    policy: Id
    liability_usd8: Usd
    paid: Amount
    expiry_burn: Height
    exposure_before: Amount
    exposure_after: Amount


@_printed_by("bh-vault", "allocation.moved-in")
class AllocationMovedIn(PositionEvent, frozen=True, kw_only=True):
    """A taker got an allocation of a policy and ``received`` its price; ``amt`` of collateral is locked anew."""

    policy: Id
    liability_usd8: Usd
    received: Amount
    expiry_burn: Height
    exposure_before: Amount
    exposure_after: Amount


@_printed_by("bh-vault", "yield.credited")
class YieldCredited(Event, frozen=True, kw_only=True):
    """A bounty or a penalty (``kind``) of a moved allocation; ``yield_…`` is what ``provider`` can claim of the
    token.
    """

    policy: Id
    kind: str
    provider: str
    token: str
    amt: Amount
    yield_before: Amount
    yield_after: Amount


@_printed_by("bh-vault", "allocation.moved")
class AllocationMoved(Event, frozen=True, kw_only=True):
    """An allocation of a live policy passed from one provider to another.

    ``collateral_…`` is the policy's, ``yield_…`` the token's bucket.
    """

    policy: Id
    from_: str = msgspec.field(name="from")
    to: str
    tier: str
    token: str
    token_price_usd8: Usd
    liability_usd8: Usd
    price: Amount
    bounty: Amount
    penalty: Amount
    collateral_before: Amount
    collateral_after: Amount
    yield_before: Amount
    yield_after: Amount


@_printed_by("bh-vault", "fees.collected")
class FeesCollected(Event, frozen=True, kw_only=True):
    """The treasury (``kind`` platform) or the fund (reserve) took its fees; ``fees_…`` is the token's bucket."""

    kind: str
    to: str
    token: str
    amt: Amount
    fees_before: Amount
    fees_after: Amount


# bh-treasury


@_printed_by("bh-treasury", "fee.collected")
class FeeCollected(Event, frozen=True, kw_only=True):
    """The treasury took the platform's part of premiums out of the vault."""

    token: str
    amt: Amount
    collected_before: Amount
    collected_after: Amount


@_printed_by("bh-treasury", "treasury.contributed")
class TreasuryContributed(Event, frozen=True, kw_only=True):
    """Somebody gave the treasury tokens; ``share_…`` is the treasury's own."""

    from_: str = msgspec.field(name="from")
    receiver: str
    token: str
    amt: Amount
    share_before: Amount
    share_after: Amount


@_printed_by("bh-treasury", "allocation.set")
class AllocationSet(Event, frozen=True, kw_only=True):
    """One of ``count`` allocations of a new set, ``rank`` its place from 0; those of the old set are gone."""

    rank: Id
    count: Count
    name: str
    receiver: str
    share_bp: Bp
    proposal: Id | None


@_printed_by("bh-treasury", "fee.distributed")
class FeeDistributed(Event, frozen=True, kw_only=True):
    """An allocation's part of collected fees.

    ``share_…`` is what its receiver can claim, ``collected_…`` what is left to share out.
    """

    batch: Id
    name: str
    receiver: str
    token: str
    amt: Amount
    share_before: Amount
    share_after: Amount
    collected_before: Amount
    collected_after: Amount


@_printed_by("bh-treasury", "share.claimed")
class ShareClaimed(Event, frozen=True, kw_only=True):
    """A receiver took what had been shared out to it."""

    receiver: str
    token: str
    amt: Amount
    share_before: Amount
    share_after: Amount


@_printed_by("bh-treasury", "spend.made")
class SpendMade(Event, frozen=True, kw_only=True):
    """Governance spent ``amt`` of the treasury's own share."""

    to: str
    receiver: str
    token: str
    amt: Amount
    share_before: Amount
    share_after: Amount
    proposal: Id | None


@_printed_by("bh-treasury", "program.funded")
class ProgramFunded(Event, frozen=True, kw_only=True):
    """Part of the treasury's own share is set aside for an incentives programme."""

    program: Id
    receiver: str
    token: str
    amt: Amount
    share_before: Amount
    share_after: Amount
    funds_before: Amount
    funds_after: Amount
    proposal: Id | None


@_printed_by("bh-treasury", "program.drawn")
class ProgramDrawn(Event, frozen=True, kw_only=True):
    """The incentives module took what was set aside for a programme."""

    program: Id
    to: str
    token: str
    amt: Amount
    funds_before: Amount
    funds_after: Amount


@_printed_by("bh-treasury", "program.unfunded")
class ProgramUnfunded(Event, frozen=True, kw_only=True):
    """What was set aside for programme ``program`` and not drawn is the treasury's own share again."""

    program: Id
    receiver: str
    token: str
    amt: Amount
    share_before: Amount
    share_after: Amount
    funds_before: Amount
    funds_after: Amount
    proposal: Id | None


@_printed_by("bh-treasury", "fees.passed-on")
class FeesPassedOn(Event, frozen=True, kw_only=True):
    """A replaced treasury sent its collected fees and its own share to ``to``, its successor."""

    to: str
    receiver: str
    token: str
    amt: Amount
    collected_before: Amount
    collected_after: Amount
    share_before: Amount
    share_after: Amount
    proposal: Id | None


@_printed_by("bh-treasury", "discount.set")
class DiscountSet(Event, frozen=True, kw_only=True):
    """A user pays a lower platform fee up to and including ``until_burn``."""

    user: str
    discount_bp: Bp
    until_burn: Height
    proposal: Id | None


@_printed_by("bh-treasury", "discount.used")
class DiscountUsed(Event, frozen=True, kw_only=True):
    """A discount lowered a policy's platform fee."""

    user: str
    discount_bp: Bp
    fee_before: Amount
    fee_after: Amount


# bh-policy


@_printed_by("bh-policy", "policy.created")
class PolicyCreated(Event, frozen=True, kw_only=True):
    """A policy and everything its premium was computed from."""

    policy: Id
    owner: str
    type: str
    style: str
    tier: str
    asset: str
    token: str
    strike_usd8: Usd
    notional_sat: Sat
    spot_usd8: Usd
    round: Id
    token_price_usd8: Usd
    token_round: Id
    vol_bp: Bp
    util_bp: Bp
    premium_usd8: Usd
    premium: Amount
    discount: Amount
    fee_platform: Amount
    fee_reserve: Amount
    premium_provider: Amount
    max_payout_usd8: Usd
    collateral: Amount
    created_burn: Height
    created_stacks: StacksHeight
    expiry_burn: Height
    cancel_until_burn: Height


@_printed_by("bh-policy", "policy.settled-itm")
class PolicySettledItm(PaidPolicyEvent, frozen=True, kw_only=True):
    """A policy expired in the money."""


@_printed_by("bh-policy", "policy.exercised")
class PolicyExercised(PaidPolicyEvent, frozen=True, kw_only=True):
    """The owner exercised a policy before its expiry."""


@_printed_by("bh-policy", "policy.expired-otm")
class PolicyExpiredOtm(Event, frozen=True, kw_only=True):
    """A policy expired worthless."""

    policy: Id
    owner: str
    token: str
    round: Id
    price_usd8: Usd
    settled_burn: Height


@_printed_by("bh-policy", "policy.cancelled")
class PolicyCancelled(Event, frozen=True, kw_only=True):
    """The owner gave a new policy back: ``refund`` of the premium was returned, ``fee`` of it kept."""

    policy: Id
    owner: str
    token: str
    refund: Amount
    fee: Amount
    settled_burn: Height


@_printed_by("bh-policy", "remainder.covered")
class RemainderCovered(Event, frozen=True, kw_only=True):
    """The fund paid ``usd8`` of what a policy's collateral had not covered."""

    policy: Id
    by: str
    usd8: Usd
    unpaid_usd8_before: Usd
    unpaid_usd8_after: Usd


@_printed_by("bh-policy", "claim.opened")
class ClaimOpened(Event, frozen=True, kw_only=True):
    """The owner of a policy with an unpaid remainder asks for it to be looked at."""

    policy: Id
    owner: str
    unpaid_usd8: Usd
    reason_hash: str
    opened_burn: Height


@_printed_by("bh-policy", "claim.resolved")
class ClaimResolved(Event, frozen=True, kw_only=True):
    """An arbiter approved ``approved_usd8`` of a claim, beyond the fund's cap for one event, or rejected it."""

    policy: Id
    owner: str
    by: str
    state: str
    unpaid_usd8: Usd
    approved_usd8: Usd
    reason_hash: str
    resolved_burn: Height


# bh-fund


@_printed_by("bh-fund", "fund.capitalized")
class FundCapitalized(Event, frozen=True, kw_only=True):
    """The fund got tokens; ``kind`` says from where."""

    kind: str
    from_: str = msgspec.field(name="from")
    token: str
    amt: Amount
    balance_before: Amount
    balance_after: Amount


@_printed_by("bh-fund", "fund.status-changed")
class FundStatusChanged(Event, frozen=True, kw_only=True):
    """The part of the fund's balance that is promised crossed a level, or a recovery plan began or ended."""

    token: str
    state: str
    before: str
    used_bp: Bp


@_printed_by("bh-fund", "coverage.set")
class CoverageSet(Event, frozen=True, kw_only=True):
    """What the fund still pays for a tier in a token, and the most liability its own position may take over there."""

    tier: str
    token: str
    left_before: Amount
    left_after: Amount
    max_liability_usd8_before: Usd
    max_liability_usd8_after: Usd
    cover_before: Amount
    cover_after: Amount
    proposal: Id | None


@_printed_by("bh-fund", "shortfall.covered")
class ShortfallCovered(Event, frozen=True, kw_only=True):
    """The fund paid the owner part of what a policy's collateral had not covered.

    ``payment_…`` is what it has paid for this policy in this token.
    """

    policy: Id
    owner: str
    tier: str
    token: str
    amt: Amount
    usd8: Usd
    round: Id
    price_usd8: Usd
    unpaid_usd8_after: Usd
    payment_before: Amount
    payment_after: Amount
    left_before: Amount
    left_after: Amount
    cover_before: Amount
    cover_after: Amount
    balance_before: Amount
    balance_after: Amount


@_printed_by("bh-fund", "fund.allocated")
class FundAllocated(Event, frozen=True, kw_only=True):
    """The fund put ``amt`` into its own position in the vault, to take allocations over with."""

    tier: str
    token: str
    amt: Amount
    balance_before: Amount
    balance_after: Amount


@_printed_by("bh-fund", "capital.passed-on")
class CapitalPassedOn(Event, frozen=True, kw_only=True):
    """A replaced fund sent what it had not promised to ``to``, its successor."""

    to: str
    token: str
    amt: Amount
    balance_before: Amount
    balance_after: Amount
    proposal: Id | None


@_printed_by("bh-fund", "takeover.recorded")
class TakeoverRecorded(Event, frozen=True, kw_only=True):
    """The fund took an allocation of a policy over."""

    policy: Id
    provider: str
    tier: str
    token: str
    expiry_burn: Height
    liability_usd8: Usd
    collateral: Amount
    price: Amount
    paid: Amount
    taken_usd8_before: Usd
    taken_usd8_after: Usd
    collateral_before: Amount
    collateral_after: Amount


@_printed_by("bh-fund", "recovery.started")
class RecoveryStarted(Event, frozen=True, kw_only=True):
    """A plan to raise ``target`` of a token for the fund by ``ends_burn``."""

    plan: Id
    token: str
    target: Amount
    raised: Amount
    ends_burn: Height
    state: str
    proposal: Id | None


@_printed_by("bh-fund", "recovery.contributed")
class RecoveryContributed(Event, frozen=True, kw_only=True):
    """Somebody gave to a recovery plan."""

    plan: Id
    from_: str = msgspec.field(name="from")
    token: str
    amt: Amount
    raised_before: Amount
    raised_after: Amount


@_printed_by("bh-fund", "recovery.ended")
class RecoveryEnded(Event, frozen=True, kw_only=True):
    """A recovery plan reached its target or its end."""

    plan: Id
    token: str
    raised: Amount
    target: Amount
    state: str


# bh-liquidation


@_printed_by("bh-liquidation", "margin-call.issued")
class MarginCallIssued(Event, frozen=True, kw_only=True):
    """A position is below its tier's warning ratio (``level`` soft) or its minimum (hard); after ``deadline_burn``
    it may be liquidated.
    """

    call: Id
    provider: str
    tier: str
    token: str
    level: str
    issued_burn: Height
    deadline_burn: Height
    round: Id
    price_usd8: Usd
    health_bp: Bp | None
    liability_usd8: Usd
    capital: Amount
    deficit: Amount


@_printed_by("bh-liquidation", "margin-call.escalated")
class MarginCallEscalated(Event, frozen=True, kw_only=True):
    """A position under a soft call fell below its tier's minimum, or did not answer in time."""

    call: Id
    provider: str
    tier: str
    token: str
    level: str
    issued_burn: Height
    deadline_burn: Height
    round: Id
    price_usd8: Usd
    health_bp: Bp | None
    liability_usd8: Usd
    capital: Amount


@_printed_by("bh-liquidation", "margin-call.resolved")
class MarginCallResolved(Event, frozen=True, kw_only=True):
    """A position is healthy again, or backs nothing any more."""

    call: Id
    provider: str
    tier: str
    token: str
    health_bp: Bp | None


@_printed_by("bh-liquidation", "position.liquidated")
class PositionLiquidated(Event, frozen=True, kw_only=True):
    """An allocation of a failing position was taken over at its fair value.

    ``is_forced`` is false where the provider asked for it.
    """

    liq: Id
    call: Id
    policy: Id
    provider: str
    tier: str
    token: str
    taker: str
    is_forced: bool
    liability_usd8: Usd
    collateral_from: Amount
    collateral_to: Amount
    spot_usd8: Usd
    spot_round: Id
    vol_bp: Bp
    fair_usd8: Usd
    price_usd8: Usd
    token_price_usd8: Usd
    token_round: Id
    price: Amount
    paid: Amount
    bounty: Amount
    bounty_to: str
    penalty: Amount
    penalty_to: str
    health_bp_before: Bp | None
    health_bp_after: Bp | None
    taker_health_bp: Bp | None


# bh-incentives


@_printed_by("bh-incentives", "program.created")
class ProgramCreated(Event, frozen=True, kw_only=True):
    """An incentives programme and its terms."""

    program: Id
    token: str
    start_burn: Height
    epoch_burn: Blocks
    epochs: Count
    epoch_cap: Amount
    premium_bp: Bp
    vesting_burn: Blocks
    claim_burn: Blocks
    proposal: Id | None


@_printed_by("bh-incentives", "budget.added")
class BudgetAdded(Event, frozen=True, kw_only=True):
    """A programme has more to give."""

    program: Id
    from_: str = msgspec.field(name="from")
    token: str
    amt: Amount
    budget_before: Amount
    budget_after: Amount


@_printed_by("bh-incentives", "budget.returned")
class BudgetReturned(Event, frozen=True, kw_only=True):
    """What an ended programme did not give went back."""

    program: Id
    to: str
    token: str
    amt: Amount
    budget_before: Amount
    budget_after: Amount


@_printed_by("bh-incentives", "program.ended")
class ProgramEnded(Event, frozen=True, kw_only=True):
    """A programme takes no more epochs."""

    program: Id
    proposal: Id | None


@_printed_by("bh-incentives", "epoch.posted")
class EpochPosted(Event, frozen=True, kw_only=True):
    """The Merkle root of an epoch's rewards.

    It can be voided before ``claimable_burn``; claims vest until ``vested_burn`` and end at ``deadline_burn``.
    """

    program: Id
    epoch: Id
    token: str
    root: str
    total: Amount
    leaves: Count
    posted_burn: Height
    claimable_burn: Height
    vested_burn: Height
    deadline_burn: Height
    budget_before: Amount
    budget_after: Amount


@_printed_by("bh-incentives", "epoch.voided")
class EpochVoided(Event, frozen=True, kw_only=True):
    """A posted root was refused; its total is back in the budget."""

    program: Id
    epoch: Id
    token: str
    root: str
    total: Amount
    budget_before: Amount
    budget_after: Amount
    proposal: Id | None


@_printed_by("bh-incentives", "epoch.closed")
class EpochClosed(Event, frozen=True, kw_only=True):
    """After the deadline, what nobody claimed is back in the budget."""

    program: Id
    epoch: Id
    token: str
    amt: Amount
    budget_before: Amount
    budget_after: Amount


@_printed_by("bh-incentives", "reward.claimed")
class RewardClaimed(Event, frozen=True, kw_only=True):
    """A user took what had vested of a reward."""

    program: Id
    epoch: Id
    who: str
    token: str
    index: Id
    entitled: Amount
    amt: Amount
    claimed_before: Amount
    claimed_after: Amount
    epoch_claimed_before: Amount
    epoch_claimed_after: Amount


# bh-gov


@_printed_by("bh-gov", "governance.begun")
class GovernanceBegun(Event, frozen=True, kw_only=True):
    """Governance by stake begins, with its token."""

    token: str
    asset_name: str


@_printed_by("bh-gov", "stake.added")
class StakeAdded(Event, frozen=True, kw_only=True):
    """A staker put governance tokens in."""

    staker: str
    token: str
    amt: Amount
    stake_before: Amount
    stake_after: Amount


@_printed_by("bh-gov", "stake.removed")
class StakeRemoved(Event, frozen=True, kw_only=True):
    """A staker took governance tokens out."""

    staker: str
    token: str
    amt: Amount
    stake_before: Amount
    stake_after: Amount


@_printed_by("bh-gov", "power.changed")
class PowerChanged(Event, frozen=True, kw_only=True):
    """A principal's voting power from ``from_burn`` on, its checkpoint number ``index``; without ``who`` that of
    everybody together.
    """

    who: str | None
    index: Id
    from_burn: Height
    power_before: Amount
    power_after: Amount


@_printed_by("bh-gov", "delegation.set")
class DelegationSet(Event, frozen=True, kw_only=True):
    """A staker gave the power of their stake to ``to``."""

    staker: str
    from_: str = msgspec.field(name="from")
    to: str
    amt: Amount


@_printed_by("bh-gov", "action.added")
class ActionAdded(Event, frozen=True, kw_only=True):
    """One of a proposal's actions: the governance function ``kind``, its arguments as the consensus bytes of a
    tuple.
    """

    proposal: Id
    index: Id
    kind: str
    data: str


@_printed_by("bh-gov", "proposal.created")
class ProposalCreated(Event, frozen=True, kw_only=True):
    """A proposal, with the rules and dates that hold for it."""

    proposal: Id
    proposer: str
    title_hash: str
    uri: str
    actions: Count
    about_guardian: bool
    created_burn: Height
    snapshot_burn: Height
    total_power: Amount
    voting_ends_burn: Height
    eta_burn: Height
    grace_ends_burn: Height
    quorum_bp: Bp
    pass_bp: Bp
    for_power: Amount
    against_power: Amount
    abstain_power: Amount
    state: str


@_printed_by("bh-gov", "vote.cast")
class VoteCast(Event, frozen=True, kw_only=True):
    """A vote with the power that the voter had at the snapshot."""

    proposal: Id
    voter: str
    choice: str
    power: Amount
    locked_until_burn: Height
    for_after: Amount
    against_after: Amount
    abstain_after: Amount


@_printed_by("bh-gov", "proposal.finalized")
class ProposalFinalized(Event, frozen=True, kw_only=True):
    """The voting is over: the proposal is ``queued`` until ``eta_burn``, or ``defeated``."""

    proposal: Id
    state: str
    for_power: Amount
    against_power: Amount
    abstain_power: Amount
    eta_burn: Height
    grace_ends_burn: Height


@_printed_by("bh-gov", "proposal.executed")
class ProposalExecuted(Event, frozen=True, kw_only=True):
    """All actions of a proposal were executed."""

    proposal: Id
    actions: Count


@_printed_by("bh-gov", "proposal.expired")
class ProposalExpired(Event, frozen=True, kw_only=True):
    """Nobody executed a proposal before its grace period ended."""

    proposal: Id


@_printed_by("bh-gov", "proposal.cancelled")
class ProposalCancelled(Event, frozen=True, kw_only=True):
    """The proposer withdrew a proposal, or the guardian stopped a queued one."""

    proposal: Id
    from_state: str
