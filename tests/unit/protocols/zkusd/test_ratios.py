"""The arithmetic of vaults: known figures, and what holds for all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion.protocols.zkusd import ratios
from clarion.protocols.zkusd.app_sets import Rules
from clarion.protocols.zkusd.units import Base, Bps, Percent, Price8, Sats

ONE = 10**8
PRICE = Price8(100_000 * ONE)
MCR = Percent(110)

COLLATERAL = st.builds(Sats, st.integers(1, 21_000_000 * ONE))
DEBT = st.builds(Base, st.integers(1, 2**64 - 1))
PRICES = st.builds(Price8, st.integers(1_000 * ONE, 10_000_000 * ONE))


@pytest.mark.parametrize(
    ("collateral", "debt", "percent", "bps"),
    [
        (ONE, 50_000 * ONE, 200, 20_000),
        (ONE, 100_000 * ONE, 100, 10_000),
        (98_000_000, 90_000 * ONE, 108, 10_888),
        (500_000, 12 * ONE, 4166, 416_666),
        (ONE, 0, None, None),
        (0, ONE, 0, 0),
    ],
)
def test_ratios(collateral: int, debt: int, percent: int | None, bps: int | None) -> None:
    assert ratios.ratio_percent(collateral=Sats(collateral), debt=Base(debt), price8=PRICE) == percent
    assert ratios.ratio_bps(collateral=Sats(collateral), debt=Base(debt), price8=PRICE) == bps


def test_limits() -> None:
    assert ratios.max_debt(collateral=Sats(ONE), price8=PRICE, percent=MCR) == 9_090_909_090_909
    assert ratios.min_collateral(debt=Base(50_000 * ONE), price8=PRICE, percent=MCR) == 55_000_000
    half = {"collateral": Sats(ONE), "debt": Base(50_000 * ONE)}
    assert ratios.liquidation_price8(**half, percent=MCR) == 5_500_000_000_000
    assert ratios.max_mintable(**half, price8=PRICE, percent=MCR) == 9_090_909_090_909 - 50_000 * ONE
    assert ratios.withdrawable(**half, price8=PRICE, percent=MCR) == 45_000_000
    assert ratios.max_mintable(**half, price8=Price8(1), percent=MCR) == 0
    assert ratios.withdrawable(**half, price8=Price8(1), percent=MCR) == 0


def test_what_has_no_value_is_none() -> None:
    assert ratios.liquidation_price8(collateral=Sats(ONE), debt=Base(0), percent=MCR) is None
    assert ratios.liquidation_price8(collateral=Sats(0), debt=Base(5), percent=MCR) is None
    assert ratios.min_collateral(debt=Base(5), price8=Price8(0), percent=MCR) is None
    assert ratios.min_collateral(debt=Base(0), price8=Price8(0), percent=MCR) == 0
    assert ratios.withdrawable(collateral=Sats(5), debt=Base(5), price8=Price8(0), percent=MCR) == 0


@pytest.mark.parametrize(
    ("percent", "recovery", "below"), [(109, False, True), (110, False, False), (149, True, True), (150, True, False)]
)
def test_thresholds(percent: int, recovery: bool, below: bool) -> None:
    rules = Rules()
    threshold = rules.threshold_percent(recovery=recovery)
    debt = Base(100 * ONE)
    collateral = Sats(percent * ONE * ONE // PRICE)
    assert ratios.is_below(collateral=collateral, debt=debt, price8=PRICE, percent=threshold) is below


@pytest.mark.parametrize(("total", "threshold"), [(149, 149), (120, 120), (100, 110), (None, 150)])
def test_apps_that_judge_by_the_total(total: int | None, threshold: int) -> None:
    rules = Rules(recovery_below_total=True)
    of = None if total is None else Percent(total)
    assert rules.threshold_percent(recovery=True, total_percent=of) == threshold
    assert rules.threshold_percent(recovery=False, total_percent=of) == 110


def test_fees() -> None:
    floor, cap, amount = Bps(50), Bps(500), Base(100_000 * ONE)
    expected = {50: 500 * ONE, 100: 1_000 * ONE, 1_000: 5_000 * ONE}
    for rate, fee in expected.items():
        clamped = ratios.clamped_borrow_fee(amount=amount, base_rate_bps=Bps(rate), floor_bps=floor, cap_bps=cap)
        assert clamped == fee
    assert ratios.borrow_fee(amount=amount, base_rate_bps=Bps(50), floor_bps=floor, cap_bps=cap) == 1_000 * ONE
    assert ratios.borrow_fee(amount=amount, base_rate_bps=Bps(900), floor_bps=floor, cap_bps=cap) == 5_000 * ONE
    assert ratios.share(amount=amount, bps=Rules().redemption_fee_bps) == 750 * ONE
    assert ratios.share(amount=10_000 * ONE, bps=Bps(5)) == 5 * ONE
    assert ratios.accrued_interest(debt=Base(1000 * ONE), rate_bps=Bps(100), blocks=52_560) == 10 * ONE


@pytest.mark.parametrize(
    ("claimed", "tip", "price_time", "now", "stale"),
    [
        (0, 100, None, None, True),
        (101, 100, None, None, True),
        (94, 100, None, None, False),
        (93, 100, None, None, True),
        (100, 100, 1000, 4600, False),
        (100, 100, 1000, 4601, True),
    ],
)
def test_staleness(claimed: int, tip: int, price_time: int | None, now: int | None, stale: bool) -> None:
    rules = Rules()
    found = ratios.price_is_stale(
        claimed_height=claimed,
        tip_height=tip,
        price_time=price_time,
        now=now,
        max_blocks=rules.max_price_age_blocks,
        max_seconds=rules.max_price_age_seconds,
    )
    assert found is stale


@given(COLLATERAL, DEBT, PRICES)
def test_debt_never_makes_safer_and_collateral_never_riskier(collateral: Sats, debt: Base, price8: Price8) -> None:
    at = ratios.ratio_bps(collateral=collateral, debt=debt, price8=price8)
    more_debt = ratios.ratio_bps(collateral=collateral, debt=Base(debt + 1), price8=price8)
    more_collateral = ratios.ratio_bps(collateral=Sats(collateral + 1), debt=debt, price8=price8)
    assert at is not None
    assert more_debt is not None
    assert more_collateral is not None
    assert more_debt <= at <= more_collateral


@given(COLLATERAL, DEBT, PRICES)
def test_limits_are_the_last_that_hold(collateral: Sats, debt: Base, price8: Price8) -> None:
    least = ratios.min_collateral(debt=debt, price8=price8, percent=MCR)
    assert least is not None
    assert not ratios.is_below(collateral=least, debt=debt, price8=price8, percent=MCR)
    assert ratios.is_below(collateral=Sats(least - 1), debt=debt, price8=price8, percent=MCR)
    most = ratios.max_debt(collateral=collateral, price8=price8, percent=MCR)
    assert not ratios.is_below(collateral=collateral, debt=most, price8=price8, percent=MCR)
    assert ratios.is_below(collateral=collateral, debt=Base(most + 1), price8=price8, percent=MCR)


@given(COLLATERAL, DEBT)
def test_a_vault_is_below_at_its_liquidation_price_and_no_longer_soon_above(collateral: Sats, debt: Base) -> None:
    price8 = ratios.liquidation_price8(collateral=collateral, debt=debt, percent=MCR)
    assert price8 is not None
    if price8:
        assert ratios.is_below(collateral=collateral, debt=debt, price8=Price8(price8 - 1), percent=MCR)
    # the apps round the value down to a base unit, which the price makes up for
    above = Price8(price8 + 1 + 2 * ONE // collateral + 1)
    assert not ratios.is_below(collateral=collateral, debt=debt, price8=above, percent=MCR)
