"""Ratios, prices and limits of vaults, by the apps' own integer arithmetic.

Collateral is in satoshis, debt in 10^-8 zkUSD, prices in US dollars a bitcoin x 10^8; arguments go by keyword, so that
none takes another's place. The apps decide by whole percent, rounded down in two steps; basis points are for showing.
What has no value (a ratio without debt) is None.
"""

from __future__ import annotations

from clarion.protocols.zkusd.units import BPS, SATS_PER_BITCOIN, YEAR_BLOCKS, Base, Bps, Percent, Price8, Sats


def value_of(*, collateral: Sats, price8: Price8) -> Base:
    """What collateral is worth, rounded down."""
    return Base(collateral * price8 // SATS_PER_BITCOIN)


def ratio_percent(*, collateral: Sats, debt: Base, price8: Price8) -> Percent | None:
    """A vault's ratio (or the total's) as the apps see it; None without debt."""
    if not debt:
        return None
    return Percent(value_of(collateral=collateral, price8=price8) * 100 // debt)


def ratio_bps(*, collateral: Sats, debt: Base, price8: Price8) -> Bps | None:
    """A vault's ratio (or the total's) in basis points, rounded down; None without debt."""
    if not debt:
        return None
    return Bps(value_of(collateral=collateral, price8=price8) * BPS // debt)


def is_below(*, collateral: Sats, debt: Base, price8: Price8, percent: Percent) -> bool:
    """Whether the ratio is below ``percent``, as the apps see it; without debt it never is."""
    ratio = ratio_percent(collateral=collateral, debt=debt, price8=price8)
    return ratio is not None and ratio < percent


def liquidation_price8(*, collateral: Sats, debt: Base, percent: Percent) -> Price8 | None:
    """The price at which collateral is worth ``percent`` of debt, rounded down; None without debt or collateral."""
    if not debt or not collateral:
        return None
    return Price8(debt * percent * SATS_PER_BITCOIN // (collateral * 100))


def max_debt(*, collateral: Sats, price8: Price8, percent: Percent) -> Base:
    """The greatest debt that keeps the ratio at ``percent``, rounded down."""
    return Base(value_of(collateral=collateral, price8=price8) * 100 // percent)


def min_collateral(*, debt: Base, price8: Price8, percent: Percent) -> Sats | None:
    """The least collateral that keeps the ratio at ``percent``, rounded up; None at no price."""
    if not debt:
        return Sats(0)
    if not price8:
        return None
    # the least value, then the least collateral worth that
    value = -(-debt * percent // 100)
    return Sats(-(-value * SATS_PER_BITCOIN // price8))


def max_mintable(*, collateral: Sats, debt: Base, price8: Price8, percent: Percent) -> Base:
    """By how much the debt can grow; 0 where it is too great already."""
    return Base(max(max_debt(collateral=collateral, price8=price8, percent=percent) - debt, 0))


def withdrawable(*, collateral: Sats, debt: Base, price8: Price8, percent: Percent) -> Sats:
    """By how much the collateral can fall; 0 where it is too small already."""
    least = min_collateral(debt=debt, price8=price8, percent=percent)
    return Sats(0 if least is None else max(collateral - least, 0))


def borrow_fee(*, amount: Base, base_rate_bps: Bps, floor_bps: Bps, cap_bps: Bps) -> Base:
    """The fee of new debt: the base rate on the floor, at most the cap (Liquity's; base rate 0 gives the floor)."""
    return Base(amount * min(base_rate_bps + floor_bps, cap_bps) // BPS)


def clamped_borrow_fee(*, amount: Base, base_rate_bps: Bps, floor_bps: Bps, cap_bps: Bps) -> Base:
    """The fee of new debt as the apps on testnet4 work it out (and never charge): the base rate between the bounds."""
    return Base(amount * max(floor_bps, min(base_rate_bps, cap_bps)) // BPS)


def share(*, amount: int, bps: Bps) -> int:
    """A part of an amount, rounded down."""
    return amount * bps // BPS


def accrued_interest(*, debt: Base, rate_bps: Bps, blocks: int) -> Base:
    """Simple interest over a number of Bitcoin blocks, 52,560 a year; no app applies it."""
    return Base(debt * rate_bps * blocks // YEAR_BLOCKS // BPS)


def price_is_stale(
    *,
    claimed_height: int,
    tip_height: int,
    price_time: int | None,
    now: int | None,
    max_blocks: int,
    max_seconds: int,
) -> bool:
    """Whether a price is too old to rely on: no block said, one to come, or one too long ago by blocks or by seconds.

    ``price_time``: Unix seconds of the block it came in; ``now``: of the tip. Either unknown: only blocks count.
    """
    if claimed_height == 0 or claimed_height > tip_height or tip_height - claimed_height > max_blocks:
        return True
    return price_time is not None and now is not None and now - price_time > max_seconds
