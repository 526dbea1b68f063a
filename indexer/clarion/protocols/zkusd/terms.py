"""What an operation of the contracts that come with Clarion pays to whom: figures alone.

The rules are those of ``contracts/charms``: unlike the rules that queues go by (:mod:`.queues`), the pool pays for a
vault whatever its ratio, as far as it can, and nothing is redistributed. Amounts of zkUSD are in base units (10^-8).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from clarion.protocols.zkusd.ratios import ratio_percent
from clarion.protocols.zkusd.units import BPS, ONE_BASE, SATS_PER_BITCOIN, Base, Percent, Price8, Sats

REDEMPTION_FEE_BPS: Final = 75
LIQUIDATION_BONUS_BPS: Final = 50
MINIMUM_PERCENT: Final = Percent(110)
CRITICAL_PERCENT: Final = Percent(150)
POOL_MINIMUM: Final = Base(ONE_BASE)
"""What the pool keeps, and the least that it pays."""


class NotPossibleError(Exception):
    """An operation cannot be done as things stand; the message says why."""


class OwnerUnknownError(NotPossibleError):
    """A vault that ends pays its owner what is left, and the script that the vault names by its hash is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiquidationTerms:
    """Who gets what when a vault is liquidated."""

    paid: Base
    """Debt that the pool pays."""
    seized: Sats
    """Collateral that is taken for it."""
    bonus: Sats
    """Part of that for who makes the transaction; the rest is the pool's."""
    reserve: Base
    """zkUSD that is minted for who makes the transaction: the vault's reserve, where the whole debt was paid."""
    returned: Sats
    """Collateral that is left for the owner of a vault that ends."""
    whole: bool
    """The vault ends; otherwise it goes on with what is left."""

    @property
    def gained(self) -> Sats:
        """Collateral that the pool gets."""
        return Sats(self.seized - self.bonus)

    def worth(self, price8: Price8) -> Sats:
        """What who makes the transaction gets, in satoshis at the price, rounded down."""
        return Sats(self.bonus + self.reserve * SATS_PER_BITCOIN // price8)


@dataclass(frozen=True, slots=True, kw_only=True)
class RedemptionTerms:
    """What a redemption takes of a vault."""

    burned: Base
    taken: Sats
    """Collateral for who redeems."""
    left: Sats
    """Collateral that stays in the vault, or is its owner's where the vault ends."""
    whole: bool
    """Everything but the reserve is paid, and the vault ends."""


def can_be_liquidated(*, collateral: Sats, debt: Base, price8: Price8, total_percent: Percent | None) -> bool:
    """Whether the contract lets a vault be liquidated, if the pool can pay. ``total_percent``: all vaults' ratio."""
    own = ratio_percent(collateral=collateral, debt=debt, price8=price8)
    if own is None:
        return False
    return own < MINIMUM_PERCENT or _in_recovery(own, total_percent)


def liquidation_terms(
    *,
    collateral: Sats,
    debt: Base,
    price8: Price8,
    total_percent: Percent | None,
    pool_total: Base,
    min_debt: Base,
    reserve: Base,
) -> LiquidationTerms:
    """What a liquidation pays at a price, with so much zkUSD in the pool.

    Raises:
        NotPossibleError: the vault cannot be liquidated, or the pool cannot pay.
    """
    own = ratio_percent(collateral=collateral, debt=debt, price8=price8)
    if own is None:
        raise NotPossibleError("the vault has no debt")
    available = max(pool_total - POOL_MINIMUM, 0)
    paid, seized = int(debt), int(collateral)
    if own >= MINIMUM_PERCENT:
        if not _in_recovery(own, total_percent):
            raise NotPossibleError(f"a vault of {own} % cannot be liquidated")
        if available < debt:
            raise NotPossibleError("the pool cannot pay the whole debt, as it has to in recovery mode")
        seized = min(seized, paid * MINIMUM_PERCENT // 100 * SATS_PER_BITCOIN // price8)
    elif available < debt:
        paid = min(available, debt - min_debt)
        if paid < POOL_MINIMUM:
            raise NotPossibleError("the pool cannot pay the debt")
        seized = collateral * paid // debt
    whole = paid == debt
    return LiquidationTerms(
        paid=Base(paid),
        seized=Sats(seized),
        bonus=Sats(seized * LIQUIDATION_BONUS_BPS // BPS),
        reserve=reserve if whole else Base(0),
        returned=Sats(collateral - seized if whole else 0),
        whole=whole,
    )


def redemption_terms(
    *, collateral: Sats, debt: Base, price8: Price8, amount: Base, min_debt: Base, reserve: Base
) -> RedemptionTerms:
    """What redeeming ``amount`` takes of a vault at a price: down to the least debt, or all but the reserve.

    Raises:
        NotPossibleError: the vault's ratio is too low, or nothing can be redeemed.
    """
    own = ratio_percent(collateral=collateral, debt=debt, price8=price8)
    if own is None or own < MINIMUM_PERCENT:
        raise NotPossibleError(f"what is below {MINIMUM_PERCENT} % cannot be redeemed from")
    all_of_it = debt - reserve
    burned = all_of_it if amount >= all_of_it else min(amount, debt - min_debt)
    if burned <= 0:
        raise NotPossibleError("what would be left is below the least debt")
    worth = burned * SATS_PER_BITCOIN // price8
    taken = worth - -(-worth * REDEMPTION_FEE_BPS // BPS)
    return RedemptionTerms(
        burned=Base(burned), taken=Sats(taken), left=Sats(collateral - taken), whole=burned == all_of_it
    )


def _in_recovery(own: Percent, total_percent: Percent | None) -> bool:
    return total_percent is not None and total_percent < CRITICAL_PERCENT and own < total_percent
