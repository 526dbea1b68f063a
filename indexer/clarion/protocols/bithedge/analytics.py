"""What is computed of BitHedge's rows beyond what the contracts compute: yields, risks, volatility, votes.

Everything is an integer in the unit of its type. A ratio of nothing is None, never zero. Time is counted in Bitcoin
blocks, 144 of them a day and 52,560 a year, as in the contracts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import isqrt

from clarion.protocols.bithedge.payoff import payoff_usd8, tokens_down
from clarion.protocols.bithedge.units import (
    BP,
    BURN_BLOCKS_PER_YEAR,
    E12,
    BasisPoints,
    BurnHeight,
    PolicyType,
    Sats,
    TokenAmount,
    Usd8,
)


def share_bp(part: int, whole: int) -> BasisPoints | None:
    """``part`` of ``whole``, rounded down; None of nothing."""
    return BasisPoints(part * BP // whole) if whole > 0 else None


# Yield


def time_weighted(blocks: int, start: BurnHeight, end: BurnHeight) -> TokenAmount | None:
    """The average capital, rounded down, of a window of Bitcoin blocks; None in an empty one.

    ``blocks`` is the sum over the window's blocks of the capital after each, in base units of one token.
    """
    return TokenAmount(blocks // (end - start)) if end > start else None


def apy_bp(earned: int, blocks: int) -> BasisPoints | None:
    """What capital earns in a year of 52,560 Bitcoin blocks at the rate of a window; None without capital.

    ``earned`` x 10000 x 52560 / ``blocks`` (as of :func:`time_weighted`), rounded down, without compounding: earnings
    over time-weighted capital. Losses make it negative.
    """
    return BasisPoints(earned * BP * BURN_BLOCKS_PER_YEAR // blocks) if blocks > 0 else None


# Volatility


def annual_bp(variance: E12) -> BasisPoints:
    """Annual volatility of a variance per Bitcoin block, as bh-oracle has it before its bounds."""
    return BasisPoints(isqrt(variance * BURN_BLOCKS_PER_YEAR) // 100)


# Risk


@dataclass(frozen=True, slots=True)
class CoveredPolicy:
    """A running policy with the part of it that one position covers."""

    policy: int
    tier: str
    token: str
    kind: PolicyType
    asset: str
    strike: Usd8
    notional: Sats
    max_payout: Usd8
    expiry_burn: BurnHeight
    liability: Usd8
    collateral: TokenAmount


@dataclass(frozen=True, slots=True)
class Loss:
    """What a covered policy costs at prices: due of its part, and what its collateral pays of that."""

    due_usd8: Usd8
    paid: TokenAmount
    paid_usd8: Usd8


def shocked(price: Usd8, shock: int) -> Usd8:
    """A price moved by ``shock`` bp (negative: down), rounded down, at least 0."""
    return Usd8(max(0, price * (BP + shock) // BP))


def loss_of(covered: CoveredPolicy, price: Usd8, token_price: Usd8, decimals: int) -> Loss:
    """What one part of a policy would cost were it settled at these prices.

    The part of the payoff by liability, in tokens at most the part's collateral. With a worthless token, all of it.
    """
    payoff = payoff_usd8(covered.kind, covered.strike, price, covered.notional, covered.max_payout)
    due = Usd8(payoff * covered.liability // covered.max_payout) if covered.max_payout else Usd8(0)
    if token_price == 0:
        return Loss(due, covered.collateral if due else TokenAmount(0), Usd8(0))
    wanted = tokens_down(due, decimals, token_price)
    if wanted <= covered.collateral:
        return Loss(due, wanted, due)
    return Loss(due, covered.collateral, Usd8(covered.collateral * token_price // 10**decimals))


def concentration_bp(parts: Iterable[int]) -> BasisPoints | None:
    """Herfindahl-Hirschman index: the sum of the squared shares of a whole, 10000 for one part; None of nothing."""
    listed = list(parts)
    whole = sum(listed)
    return BasisPoints(sum(part * part for part in listed) * BP // whole**2) if whole > 0 else None


# Rewards


def vested(amount: TokenAmount, posted: BurnHeight, all_vested: BurnHeight, now: BurnHeight) -> TokenAmount:
    """The part of a reward that has vested, as bh-incentives has it: linear from posting on, rounded down."""
    if now >= all_vested:
        return amount
    return TokenAmount(amount * max(0, now - posted) // (all_vested - posted))
