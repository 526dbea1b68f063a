"""What BitHedge's contracts print: one frozen struct per (contract, topic), schema version 1.

The fields are those of ``docs/contracts.md``, in kebab case on the chain and in snake case here. A field that is
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


# bh-registry


@_printed_by("bh-registry", "role.granted")
class RoleGranted(Event, frozen=True, kw_only=True):
    """``who`` has ``role`` up to and including ``until_burn``; without end where it is None."""

    role: str
    who: str
    until_burn: Uint | None


@_printed_by("bh-registry", "role.revoked")
class RoleRevoked(Event, frozen=True, kw_only=True):
    """``who`` no longer has ``role``."""

    role: str
    who: str


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
    """``version`` of ``module`` may do nothing any more."""

    module: str
    version: Id
    contract: str


# bh-params


@_printed_by("bh-params", "param.set")
class ParamSet(Event, frozen=True, kw_only=True):
    """A parameter's value and bounds, in the unit that ``kind`` names. ``before`` is None for a new one."""

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
    """The guardian stopped a switch."""

    name: str
    reason: str
    since_burn: Height


@_printed_by("bh-params", "breaker.reset")
class BreakerReset(Event, frozen=True, kw_only=True):
    """A switch's breaker is not tripped, since ``since_burn``."""

    name: str
    proposal: Uint | None
    since_burn: Height


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
    """A round gave none: ``deviation``, ``no-quorum`` or ``fallback``. ``candidate_usd8`` is the asset's afterwards."""

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


class PositionEvent(Event, frozen=True, kw_only=True):
    """An event that changes the position (provider, tier, token), with its image before and after.

    ``available`` includes ``requested`` (asked back, not yet withdrawn); ``locked`` backs policies whose maximum
    payouts sum to ``liability_usd8``.
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


@_printed_by("bh-vault", "capital.deposited")
class CapitalDeposited(PositionEvent, frozen=True, kw_only=True):
    """A provider put ``amt`` into a position."""


@_printed_by("bh-vault", "capital.withdrawn")
class CapitalWithdrawn(PositionEvent, frozen=True, kw_only=True):
    """A provider took out what withdrawal request ``request`` asked for."""

    request: Id


@_printed_by("bh-vault", "withdraw.requested")
class WithdrawRequested(PositionEvent, frozen=True, kw_only=True):
    """A provider asked ``amt`` back; it can be withdrawn from ``unlock_burn`` on."""

    request: Id
    unlock_burn: Height


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

    ``collateral`` is the whole of the policy, ``unearned_…``, ``platform_fees_…`` and ``reserve_fees_…`` the token's
    buckets.
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


@_printed_by("bh-vault", "fees.collected")
class FeesCollected(Event, frozen=True, kw_only=True):
    """The treasury (``kind`` platform) or the fund (reserve) took its fees; ``fees_…`` is the token's bucket."""

    kind: str
    to: str
    token: str
    amt: Amount
    fees_before: Amount
    fees_after: Amount


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
    fee_platform: Amount
    fee_reserve: Amount
    premium_provider: Amount
    max_payout_usd8: Usd
    collateral: Amount
    created_burn: Height
    expiry_burn: Height
    cancel_until_burn: Height


class PolicyPaid(Event, frozen=True, kw_only=True):
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


@_printed_by("bh-policy", "policy.settled-itm")
class PolicySettledItm(PolicyPaid, frozen=True, kw_only=True):
    """A policy expired in the money."""


@_printed_by("bh-policy", "policy.exercised")
class PolicyExercised(PolicyPaid, frozen=True, kw_only=True):
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
