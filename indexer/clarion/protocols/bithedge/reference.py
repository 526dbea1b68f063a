"""Figures to compare with: what a textbook model makes of a policy and of capital. No money moves by them.

Everything goes in and comes out as an integer in its type's unit. In between are decimals of 50 digits, whose roots,
logarithms and exponentials are rounded correctly, so that every machine gives the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Context, Decimal, localcontext
from itertools import pairwise
from typing import Final

from clarion.protocols.bithedge.units import (
    BP,
    BURN_BLOCKS_PER_YEAR,
    BasisPoints,
    BurnBlocks,
    PolicyType,
    Usd8,
)

VERSION: Final = 1
"""Of the constants below: it rises when one changes."""
RISK_FREE_BP: Final = BasisPoints(200)
"""Annual rate, continuously compounded, that the Black-Scholes price discounts with."""
YIELD_OF_VOLATILITY_BP: Final = BasisPoints(8_000)
"""Part of the annual volatility that is a yield estimate's base."""
YIELD_DAYS: Final = 90
"""Days after which a yield estimate has reached 1 - 1/e of its base."""
USUAL_VOLATILITY_BP: Final = BasisPoints(2_000)
"""Volatility at which a yield estimate is neither raised nor lowered; half of what is above it raises it."""
INSOLVENT_SCORE_BP: Final = BasisPoints(7_000)
"""Risk score of a cover that is worth just what it covers; below that it rises to 10000 at a worth of nothing."""
UNDER_SCORE_BP: Final = BasisPoints(3_000)
"""Risk score at the tier's least ratio; from the warning ratio on it is 0."""
MOST_RISK: Final = 10
"""Highest risk level of a yield estimate."""

_CONTEXT: Final = Context(prec=50)
_PI: Final = Decimal("3.14159265358979323846264338327950288419716939937510582")
#: Beyond so many standard deviations a normal distribution has nothing that a unit here could show.
_TAIL: Final = 12


def _cumulative(x: Decimal) -> Decimal:
    """The standard normal distribution function: 1/2 + phi(x) (x + x^3/3 + x^5/(3 5) + ...).

    Abramowitz and Stegun, Handbook of Mathematical Functions, 26.2.11.
    """
    if abs(x) > _TAIL:
        return Decimal(x > 0)
    term = total = x
    divisor = 1
    while total + term != total:
        divisor += 2
        term = term * x * x / divisor
        total += term
    return Decimal("0.5") + (-x * x / 2).exp() / (2 * _PI).sqrt() * total


@dataclass(frozen=True, slots=True)
class BlackScholes:
    """``value`` of one whole unit, and how likely the model takes it that the policy ends in the money."""

    value: Usd8
    in_the_money: BasisPoints


def black_scholes(
    kind: PolicyType, *, spot: Usd8, strike: Usd8, volatility: BasisPoints, duration: BurnBlocks
) -> BlackScholes:
    """The Black-Scholes price of a European option on one whole unit, without a cap, to the nearest unit.

    Call: S N(d1) - K e^(-rT) N(d2); put: K e^(-rT) N(-d2) - S N(-d1); with d1 = (ln(S/K) + (r + s^2/2) T) / (s sqrt T),
    d2 = d1 - s sqrt T and r = :data:`RISK_FREE_BP` (Black and Scholes, 1973). N(d2), or N(-d2) of a put, is the
    probability, rounded down. Without time or volatility it is the discounted intrinsic value. Prices are above 0.
    """
    with localcontext(_CONTEXT):
        years = Decimal(duration) / BURN_BLOCKS_PER_YEAR
        sigma, rate = Decimal(volatility) / BP, Decimal(RISK_FREE_BP) / BP
        stdev = sigma * years.sqrt()
        discounted = strike * (-rate * years).exp()
        sign = -1 if kind == "put" else 1
        if stdev == 0:
            value = max(Decimal(0), sign * (spot - discounted))
            likely = Decimal(value > 0)
        else:
            d1 = ((Decimal(spot) / strike).ln() + (rate + sigma * sigma / 2) * years) / stdev
            likely = _cumulative(sign * (d1 - stdev))
            value = max(Decimal(0), sign * (spot * _cumulative(sign * d1) - discounted * likely))
        return BlackScholes(_nearest(value), BasisPoints(int((likely * BP).to_integral_value(ROUND_DOWN))))


def _nearest(value: Decimal) -> Usd8:
    return Usd8(int(value.to_integral_value(ROUND_HALF_EVEN)))


def annualised_bp(part: int, whole: int, duration: BurnBlocks) -> BasisPoints | None:
    """``part`` of ``whole`` for a duration, at that rate for a year of 52,560 blocks, rounded up; None of nothing."""
    if whole <= 0 or duration <= 0:
        return None
    return BasisPoints(-(-part * BP * BURN_BLOCKS_PER_YEAR // (whole * duration)))


@dataclass(frozen=True, slots=True)
class YieldModel:
    """A yield estimate for a stay and its factors; each rounded down, the yield from the factors before that.

    ``risk_level`` is 1 to :data:`MOST_RISK`.
    """

    base: BasisPoints
    duration: BasisPoints
    market: BasisPoints
    total: BasisPoints
    risk_level: int


def yield_model(volatility: BasisPoints, tier_multiplier: BasisPoints, rank: int, days: int) -> YieldModel:
    """What capital in a tier might earn in so many days, by the model that quotes have for providers.

    0.8 s x tier x (1 - e^(-days/90)) x (1 + (s - 0.2) / 2), with s the annual volatility. The risk level is
    1 + (1, 3, 5, ... by the tier's rank) + min(3, days/120) + min(2, 10 s), rounded down, at most 10.
    """
    with localcontext(_CONTEXT):
        sigma = Decimal(volatility) / BP
        base = sigma * YIELD_OF_VOLATILITY_BP / BP
        duration = 1 - (-Decimal(days) / YIELD_DAYS).exp()
        market = 1 + (sigma - Decimal(USUAL_VOLATILITY_BP) / BP) / 2
        total = base * duration * market * tier_multiplier / BP
        risk = 2 + 2 * rank + min(Decimal(3), Decimal(days) / 120) + min(Decimal(2), 10 * sigma)
        return YieldModel(
            base=BasisPoints(int(base * BP)),
            duration=BasisPoints(int(duration * BP)),
            market=BasisPoints(int(market * BP)),
            total=BasisPoints(int(total * BP)),
            risk_level=min(MOST_RISK, int(risk)),
        )


def risk_score_bp(cover: BasisPoints, least: BasisPoints, warning: BasisPoints) -> BasisPoints:
    """How endangered a cover is, 0 to 10000, rounded down: linear between its tier's ratios.

    0 from the ``warning`` ratio on, :data:`UNDER_SCORE_BP` at the ``least``, :data:`INSOLVENT_SCORE_BP` at 100%,
    10000 at 0.
    """
    steps = ((warning, 0), (least, UNDER_SCORE_BP), (BP, INSOLVENT_SCORE_BP), (0, BP))
    for (above, low), (below, high) in pairwise(steps):
        if cover >= above:
            return BasisPoints(low)
        if cover >= below and above > below:
            return BasisPoints(low + (high - low) * (above - cover) // (above - below))
    return BasisPoints(BP)
