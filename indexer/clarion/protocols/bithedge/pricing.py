"""Premiums: the arithmetic of the contract bh-math, to the same last digit.

The price is Bachelier's (normally distributed moves): intrinsic value plus 0.4 x S x sigma x sqrt(T) x d(m), where the
table d(m) tells how the time value falls with the distance m of the strike from spot. Steps and roundings are those of
``docs/contracts.md``, section "Premium". The contract's integers end at 2^128 - 1 and it aborts above; here they do
not end.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import isqrt
from typing import Final

from clarion.protocols.bithedge.payoff import ceil_div, intrinsic_usd8, tokens_up
from clarion.protocols.bithedge.units import (
    BP,
    BURN_BLOCKS_PER_YEAR,
    E8,
    E12,
    BasisPoints,
    BurnBlocks,
    PolicyType,
    Sats,
    TokenAmount,
    Usd8,
)

NO_DISCOUNT: Final = BasisPoints(0)
"""What a buyer without a discount has."""

#: (distance of strike from spot in standard deviations, value relative to at the money), both in basis points.
_DENSITY: Final = (
    (0, 10_000),
    (2_500, 7_178),
    (5_000, 4_958),
    (7_500, 3_288),
    (10_000, 2_088),
    (12_500, 1_268),
    (15_000, 735),
    (20_000, 213),
    (25_000, 50),
    (30_000, 10),
)


def density_bp(moneyness: int) -> BasisPoints:
    """Time value relative to at the money, for a strike this many basis points of a standard deviation off spot."""
    for (left, high), (right, low) in pairwise(_DENSITY):
        if moneyness < right:
            return BasisPoints(high - (high - low) * (moneyness - left) // (right - left))
    return BasisPoints(_DENSITY[-1][1])


def time_value_usd8(spot: Usd8, strike: Usd8, volatility: BasisPoints, duration: BurnBlocks) -> Usd8:
    """What one whole unit costs beyond its intrinsic value."""
    stdev_e8 = isqrt(volatility * volatility * duration * E8 // BURN_BLOCKS_PER_YEAR)
    stdev = spot * stdev_e8 // E8
    if stdev == 0:
        return Usd8(0)
    density = density_bp(abs(strike - spot) * BP // stdev)
    return Usd8(ceil_div(stdev * density * 4, 100_000))


def premium_usd8(
    kind: PolicyType,
    *,
    spot: Usd8,
    strike: Usd8,
    notional: Sats,
    volatility: BasisPoints,
    duration: BurnBlocks,
    type_multiplier: BasisPoints,
    tier_multiplier: BasisPoints,
    utilisation_multiplier: BasisPoints,
    floor: BasisPoints,
) -> Usd8:
    """The premium of a policy; at least the share ``floor`` of spot x notional."""
    unit = intrinsic_usd8(kind, strike, spot) + time_value_usd8(spot, strike, volatility, duration)
    base = ceil_div(unit * notional, E8)
    loaded = ceil_div(base * type_multiplier * tier_multiplier * utilisation_multiplier, BP**3)
    return Usd8(max(loaded, ceil_div(spot * notional * floor, E8 * BP)))


def utilisation_bp(available: TokenAmount, locked: TokenAmount) -> BasisPoints:
    """Locked share of a (tier, token) pool; 0 for an empty one."""
    capital = available + locked
    return BasisPoints(locked * BP // capital if capital else 0)


def utilisation_multiplier_bp(slope: BasisPoints, utilisation: BasisPoints) -> BasisPoints:
    """The surcharge for a pool that is used: none when empty, ``slope`` when full."""
    return BasisPoints(BP + slope * utilisation // BP)


def annual_volatility_bp(variance: E12, least: BasisPoints, greatest: BasisPoints) -> BasisPoints:
    """Annual volatility from the variance per Bitcoin block, within the parameters' bounds."""
    annual = isqrt(variance * BURN_BLOCKS_PER_YEAR) // 100
    return BasisPoints(min(max(annual, least), greatest))


def take_over_usd8(
    kind: PolicyType,
    *,
    spot: Usd8,
    strike: Usd8,
    notional: Sats,
    volatility: BasisPoints,
    duration: BurnBlocks,
    max_payout: Usd8,
    liability: Usd8,
) -> Usd8:
    """What the share ``liability`` of a live policy's ``max_payout`` is worth now; at most the share itself."""
    unit = intrinsic_usd8(kind, strike, spot) + time_value_usd8(spot, strike, volatility, duration)
    share = ceil_div(notional * liability, max_payout)
    return Usd8(min(liability, ceil_div(unit * share, E8)))


@dataclass(frozen=True, slots=True)
class PremiumParts:
    """A premium in tokens and who gets it; the parts sum to it. ``discount`` is what the buyer saved."""

    premium: TokenAmount
    discount: TokenAmount
    platform: TokenAmount
    reserve: TokenAmount
    provider: TokenAmount


def premium_parts(
    premium: Usd8,
    decimals: int,
    token_price: Usd8,
    platform: BasisPoints,
    reserve: BasisPoints,
    discount: BasisPoints = NO_DISCOUNT,
) -> PremiumParts:
    """A premium in tokens, rounded up, and its parts: the fees rounded down, the rest to the providers.

    The buyer's ``discount`` comes off the platform's fee, what is left of it rounded up, and off nothing else.
    """
    whole = tokens_up(premium, decimals, token_price)
    fee_whole = whole * platform // BP
    fee_platform = TokenAmount(ceil_div(fee_whole * (BP - discount), BP))
    fee_reserve = TokenAmount(whole * reserve // BP)
    saved = TokenAmount(fee_whole - fee_platform)
    return PremiumParts(
        premium=TokenAmount(whole - saved),
        discount=saved,
        platform=fee_platform,
        reserve=fee_reserve,
        provider=TokenAmount(whole - fee_whole - fee_reserve),
    )
