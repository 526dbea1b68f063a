"""How well positions cover what they owe, at the market's price or at another: margins, liquidation prices, what-if.

Health is capital x price x (1 - haircut) per liability, in basis points, rounded down (``docs/contracts.md``, section
"Payout and collateral"). It falls with the price of the position's token, so a position has one price for each ratio
below which it is under it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from clarion.protocols.bithedge.payoff import ceil_div, health_bp, required_collateral
from clarion.protocols.bithedge.units import BP, BasisPoints, TokenAmount, Usd8


class Margin(StrEnum):
    """Where a position stands between its tier's ratios."""

    IDLE = "idle"
    HEALTHY = "healthy"
    WARNING = "warning"
    UNDER = "under"
    INSOLVENT = "insolvent"


class Ratios(Protocol):
    """What health reads of a tier; rows of the table ``tier`` have it."""

    @property
    def ratio_min_bp(self) -> BasisPoints:
        """Collateral per liability below which a margin call is hard."""

    @property
    def ratio_warn_bp(self) -> BasisPoints:
        """Collateral per liability below which there is a margin call."""


@dataclass(frozen=True, slots=True)
class Health:
    """A position at a price of its token. ``health`` is None without liability.

    ``deficit`` is what would bring it to its tier's warning ratio, 0 where it is there.
    """

    price: Usd8
    health: BasisPoints | None
    margin: Margin
    deficit: TokenAmount


def margin_of(health: BasisPoints | None, tier: Ratios) -> Margin:
    """Where a health stands."""
    if health is None:
        return Margin.IDLE
    if health >= tier.ratio_warn_bp:
        return Margin.HEALTHY
    if health >= tier.ratio_min_bp:
        return Margin.WARNING
    return Margin.UNDER if health >= BP else Margin.INSOLVENT


def position_health(
    capital: TokenAmount, liability: Usd8, tier: Ratios, *, decimals: int, haircut: BasisPoints, price: Usd8
) -> Health:
    """A position with this capital (available and locked) and liability, at a price above 0 of its token."""
    health = health_bp(capital, decimals, price, haircut, liability)
    needed = required_collateral(liability, decimals, price, tier.ratio_warn_bp, haircut)
    return Health(price, health, margin_of(health, tier), TokenAmount(max(0, needed - capital)))


def price_at_ratio(
    capital: TokenAmount, liability: Usd8, ratio: BasisPoints, *, decimals: int, haircut: BasisPoints
) -> Usd8 | None:
    """The lowest price of the token at which health is still ``ratio``; None where no price gives or takes it.

    Below it the position is under the ratio: with ``ratio`` 10000 that is its liquidation price.
    """
    if liability == 0 or capital == 0:
        return None
    return Usd8(ceil_div(ratio * 10**decimals * liability, capital * (BP - haircut)))
