"""Reference figures: known values, and what holds whatever the numbers."""

from __future__ import annotations

from math import erf, exp, log, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion.protocols.bithedge.reference import annualised_bp, black_scholes, risk_score_bp, yield_model
from clarion.protocols.bithedge.units import BasisPoints, BurnBlocks, PolicyType, Usd8

YEAR = 52_560
prices = st.integers(10**10, 10**15).map(Usd8)
volatilities = st.integers(1_000, 20_000).map(BasisPoints)
durations = st.integers(1, 2 * YEAR).map(BurnBlocks)
kinds = st.sampled_from(["put", "call"])


def test_a_year_at_the_money_costs_what_the_textbook_says() -> None:
    # S = K = 100, s = 20%, r = 2%: call 8.9160, put 6.9359; N(d2) = N(0) = 1/2
    terms = {"spot": Usd8(100 * 10**8), "strike": Usd8(100 * 10**8)}
    call = black_scholes("call", **terms, volatility=BasisPoints(2_000), duration=BurnBlocks(YEAR))
    put = black_scholes("put", **terms, volatility=BasisPoints(2_000), duration=BurnBlocks(YEAR))
    assert (call.value // 10**4, put.value // 10**4) == (89_160, 69_359)
    assert (call.in_the_money, put.in_the_money) == (5_000, 5_000)


@given(kind=kinds, spot=prices, percent=st.integers(50, 150), volatility=volatilities, duration=durations)
def test_it_is_what_floats_make_of_the_same_formula(
    kind: PolicyType, spot: Usd8, percent: int, volatility: BasisPoints, duration: BurnBlocks
) -> None:
    strike = Usd8(spot * percent // 100)
    found = black_scholes(kind, spot=spot, strike=strike, volatility=volatility, duration=duration)
    years, sigma, sign = duration / YEAR, volatility / 10_000, -1 if kind == "put" else 1
    d1 = (log(spot / strike) + (0.02 + sigma**2 / 2) * years) / (sigma * sqrt(years))
    likely = (1 + erf(sign * (d1 - sigma * sqrt(years)) / sqrt(2))) / 2
    value = sign * (spot * (1 + erf(sign * d1 / sqrt(2))) / 2 - strike * exp(-0.02 * years) * likely)
    assert found.value == pytest.approx(value, rel=1e-6, abs=spot * 1e-9)
    assert abs(found.in_the_money - likely * 10_000) <= 1


@given(spot=prices, strike=prices, volatility=volatilities, duration=durations)
def test_a_call_less_a_put_is_spot_less_the_discounted_strike(
    spot: Usd8, strike: Usd8, volatility: BasisPoints, duration: BurnBlocks
) -> None:
    call, put = (
        black_scholes(kind, spot=spot, strike=strike, volatility=volatility, duration=duration)
        for kind in ("call", "put")
    )
    assert call.value - put.value == pytest.approx(spot - strike * exp(-0.02 * duration / YEAR), rel=1e-9, abs=10**4)
    assert 9_998 <= call.in_the_money + put.in_the_money <= 10_000


@pytest.mark.parametrize(("kind", "value", "likely"), [("put", 10, 10_000), ("call", 0, 0)])
def test_without_time_it_is_what_it_would_pay_now(kind: PolicyType, value: int, likely: int) -> None:
    found = black_scholes(kind, spot=Usd8(90), strike=Usd8(100), volatility=BasisPoints(6_000), duration=BurnBlocks(0))
    assert (found.value, found.in_the_money) == (value, likely)


def test_what_a_day_costs_is_365_times_as_much_a_year() -> None:
    assert annualised_bp(1, 10_000, BurnBlocks(144)) == 365
    assert annualised_bp(1, 3, BurnBlocks(YEAR)) == 3_334
    assert annualised_bp(1, 0, BurnBlocks(144)) is None
    assert annualised_bp(1, 1, BurnBlocks(0)) is None


def test_a_yield_estimate_by_hand() -> None:
    # s = 60%: 0.48 x (1 - 1/e) x 1.2 x 0.8 = 29.12%; 1 + 1 + 0.75 + 2 is over 4
    found = yield_model(BasisPoints(6_000), BasisPoints(8_000), 0, 90)
    assert (found.base, found.duration, found.market, found.total) == (4_800, 6_321, 12_000, 2_912)
    assert found.risk_level == 4
    assert yield_model(BasisPoints(6_000), BasisPoints(12_000), 2, 3_650).risk_level == 10


@given(volatility=volatilities, days=st.integers(1, 3_650), rank=st.integers(0, 5))
def test_a_longer_stay_earns_more_and_risks_more(volatility: BasisPoints, days: int, rank: int) -> None:
    one, more = (yield_model(volatility, BasisPoints(10_000), rank, stay) for stay in (days, days + 1))
    assert 0 <= one.total <= more.total
    assert 1 <= one.risk_level <= more.risk_level <= 10


@pytest.mark.parametrize(
    ("cover", "score"),
    [(20_000, 0), (13_000, 0), (12_500, 1_500), (12_000, 3_000), (11_000, 5_000), (10_000, 7_000), (0, 10_000)],
)
def test_the_risk_score_between_a_tier_s_ratios(cover: int, score: int) -> None:
    assert risk_score_bp(BasisPoints(cover), BasisPoints(12_000), BasisPoints(13_000)) == score
    assert risk_score_bp(BasisPoints(10_000), BasisPoints(10_000), BasisPoints(10_000)) == 0
