"""What holds for every premium, payout and split, whatever the numbers."""

from __future__ import annotations

import json
from fractions import Fraction
from math import ceil, floor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from clarion.protocols.bithedge import payoff, pricing
from clarion.protocols.bithedge.units import E12, BasisPoints, BurnBlocks, PolicyType, Sats, TokenAmount, Usd8

#: What the contracts gave for some terms; their own tests write these.
VECTORS = Path(__file__).parents[2] / "contracts" / "tests" / "vectors"

kinds = st.sampled_from(["put", "call"])
prices = st.integers(1, 10**15).map(Usd8)
amounts = st.integers(0, 10**18).map(TokenAmount)
notionals = st.integers(1, 10**12).map(Sats)
decimals = st.sampled_from([0, 6, 8, 18])
shares = st.lists(st.integers(0, 10**16), min_size=1, max_size=10)


@given(amount=st.integers(0, 10**20), parts=shares)
def test_a_split_sums_to_the_whole_and_is_fair(amount: int, parts: list[int]) -> None:
    given_out = payoff.split(amount, parts)
    total = sum(parts)
    assert sum(given_out) == (amount if total else 0)
    for share, part in zip(parts, given_out, strict=True):
        exact = Fraction(amount * share, total) if total else Fraction(0)
        assert floor(exact) <= part <= ceil(exact)


@given(dividend=st.integers(0, 10**30), divisor=st.integers(1, 10**20))
def test_ceil_div(dividend: int, divisor: int) -> None:
    assert payoff.ceil_div(dividend, divisor) == ceil(Fraction(dividend, divisor))


@given(usd=st.integers(0, 10**20).map(Usd8), places=decimals, price=prices)
def test_rounding_favours_whoever_holds_the_tokens(usd: Usd8, places: int, price: Usd8) -> None:
    down, up = payoff.tokens_down(usd, places, price), payoff.tokens_up(usd, places, price)
    assert up - down in (0, 1)
    assert payoff.value_usd8(down, places, price) <= usd <= Fraction(up * price, 10**places)


@given(
    collateral=amounts,
    places=decimals,
    price=prices,
    ratio=st.integers(10_000, 50_000).map(BasisPoints),
    haircut=st.integers(0, 9_999).map(BasisPoints),
)
def test_what_collateral_can_cover_is_the_inverse_of_what_a_liability_needs(
    collateral: TokenAmount, places: int, price: Usd8, ratio: BasisPoints, haircut: BasisPoints
) -> None:
    most = payoff.coverable_usd8(collateral, places, price, ratio, haircut)
    assert payoff.required_collateral(most, places, price, ratio, haircut) <= collateral
    assert payoff.required_collateral(Usd8(most + 1), places, price, ratio, haircut) > collateral
    needed = payoff.required_collateral(most, places, price, ratio, haircut)
    assert (payoff.health_bp(needed, places, price, haircut, most) or ratio) >= ratio


@given(kind=kinds, strike=prices, price=prices, notional=notionals, cap=st.integers(1_000, 50_000).map(BasisPoints))
def test_a_payoff_is_never_more_than_its_most_and_only_paid_in_the_money(
    kind: PolicyType, strike: Usd8, price: Usd8, notional: Sats, cap: BasisPoints
) -> None:
    most = payoff.max_payout_usd8(kind, strike, notional, cap)
    paid = payoff.payoff_usd8(kind, strike, price, notional, most)
    assert 0 <= paid <= most
    if (price >= strike) if kind == "put" else (price <= strike):
        assert paid == 0
    assert payoff.payoff_usd8("put", strike, Usd8(0), notional, most) == min(most, strike * notional // 10**8)


@given(
    share=st.integers(0, 10_000),
    allocations=st.lists(st.tuples(st.integers(1, 10**18).map(Usd8), amounts), min_size=1, max_size=10),
    places=decimals,
    price=prices,
)
def test_what_is_paid_and_unpaid_make_up_what_is_owed(
    share: int, allocations: list[tuple[Usd8, TokenAmount]], places: int, price: Usd8
) -> None:
    owed = Usd8(sum(liability for liability, _ in allocations) * share // 10_000)
    settled = payoff.settlement(owed, allocations, places, price)
    due = payoff.tokens_down(owed, places, price)
    assert settled.paid == sum(settled.losses) <= due
    assert 0 <= settled.unpaid <= owed
    assert (settled.unpaid == 0) or settled.paid < due
    total = sum(liability for liability, _ in allocations)
    for loss, (liability, collateral) in zip(settled.losses, allocations, strict=True):
        # Nobody pays for another: at most the own collateral, and at most the own share.
        assert loss <= collateral
        assert loss <= ceil(Fraction(due * liability, total))
        assert loss in (collateral, floor(Fraction(due * liability, total)), ceil(Fraction(due * liability, total)))


@given(
    liabilities=st.lists(st.integers(1, 10**16).map(Usd8), min_size=1, max_size=10),
    share=st.integers(0, 10_000),
    places=decimals,
    locked_at=prices,
    ratio=st.integers(10_000, 50_000).map(BasisPoints),
    haircut=st.integers(0, 5_000).map(BasisPoints),
)
def test_collateral_pays_everything_while_its_price_stays(
    liabilities: list[Usd8], share: int, places: int, locked_at: Usd8, ratio: BasisPoints, haircut: BasisPoints
) -> None:
    allocations = [
        (liability, payoff.required_collateral(liability, places, locked_at, ratio, haircut))
        for liability in liabilities
    ]
    settled = payoff.settlement(Usd8(sum(liabilities) * share // 10_000), allocations, places, locked_at)
    assert settled.unpaid == 0


@given(
    kind=kinds,
    spot=prices,
    strike=prices,
    notional=notionals,
    volatility=st.integers(0, 50_000).map(BasisPoints),
    duration=st.integers(0, 52_560).map(BurnBlocks),
    share=st.integers(1, 10_000),
)
def test_a_share_of_a_policy_is_worth_at_most_what_it_can_pay_and_at_least_what_it_would_pay_now(
    kind: PolicyType,
    spot: Usd8,
    strike: Usd8,
    notional: Sats,
    volatility: BasisPoints,
    duration: BurnBlocks,
    share: int,
) -> None:
    most = payoff.max_payout_usd8(kind, strike, notional, BasisPoints(10_000))
    assume(most > 0)
    liability = Usd8(max(1, most * share // 10_000))
    worth = pricing.take_over_usd8(
        kind,
        spot=spot,
        strike=strike,
        notional=notional,
        volatility=volatility,
        duration=duration,
        max_payout=most,
        liability=liability,
    )
    assert worth <= liability
    assert worth >= payoff.payoff_usd8(kind, strike, spot, notional, most) * liability // most


def test_the_reference_payout() -> None:
    strike, price, notional = Usd8(41_225 * 10**8), Usd8(39_000 * 10**8), Sats(10**7)
    most = payoff.max_payout_usd8("put", strike, notional, BasisPoints(10_000))
    assert payoff.payoff_usd8("put", strike, price, notional, most) == 22_250_000_000


terms = st.fixed_dictionaries(
    {
        "spot": prices,
        "strike": prices,
        "notional": notionals,
        "volatility": st.integers(0, 50_000).map(BasisPoints),
        "duration": st.integers(0, 52_560).map(BurnBlocks),
        "type_multiplier": st.integers(5_000, 30_000).map(BasisPoints),
        "tier_multiplier": st.integers(5_000, 20_000).map(BasisPoints),
        "utilisation_multiplier": st.integers(10_000, 40_000).map(BasisPoints),
        "floor": st.integers(0, 1_000).map(BasisPoints),
    }
)


@given(kind=kinds, terms=terms, more=st.sampled_from(["type_multiplier", "tier_multiplier", "notional", "floor"]))
def test_a_premium_has_a_floor_and_grows_with_what_makes_it_dear(
    kind: PolicyType, terms: dict[str, Any], more: str
) -> None:
    premium = pricing.premium_usd8(kind, **terms)
    assert premium >= Fraction(terms["spot"] * terms["notional"] * terms["floor"], 10**12)
    assert pricing.premium_usd8(kind, **(terms | {more: terms[more] + 1})) >= premium


@given(terms=terms)
def test_a_put_costs_at_least_its_intrinsic_value_at_neutral_multipliers(terms: dict[str, Any]) -> None:
    neutral = {name: BasisPoints(10_000) for name in ("type_multiplier", "tier_multiplier", "utilisation_multiplier")}
    premium = pricing.premium_usd8("put", **(terms | neutral))
    assert premium >= Fraction(max(0, terms["strike"] - terms["spot"]) * terms["notional"], 10**8)


@given(left=st.integers(0, 40_000), right=st.integers(0, 40_000))
def test_the_density_falls_with_distance(left: int, right: int) -> None:
    assert (pricing.density_bp(left) - pricing.density_bp(right)) * (right - left) >= 0


@pytest.mark.parametrize(("m", "d"), [(0, 10_000), (2_500, 7_178), (10_000, 2_088), (30_000, 10), (10**9, 10)])
def test_the_density_at_its_knots(m: int, d: int) -> None:
    assert pricing.density_bp(m) == d


def test_an_at_the_money_month_costs_what_bachelier_says() -> None:
    # 0.4 x 100,000 USD x 60% x sqrt(4320 / 52560) = 6,880.6 USD
    value = pricing.time_value_usd8(Usd8(10**13), Usd8(10**13), BasisPoints(6_000), BurnBlocks(4_320))
    assert value // 10**8 == 6_880


@given(
    premium=st.integers(0, 10**18).map(Usd8),
    places=decimals,
    price=prices,
    fees=st.tuples(st.integers(0, 5_000), st.integers(0, 5_000)),
    discount=st.integers(0, 10_000).map(BasisPoints),
)
def test_the_parts_of_a_premium_sum_to_it_and_a_discount_costs_the_platform_alone(
    premium: Usd8, places: int, price: Usd8, fees: tuple[int, int], discount: BasisPoints
) -> None:
    shares_of = (BasisPoints(fees[0]), BasisPoints(fees[1]))
    full = pricing.premium_parts(premium, places, price, *shares_of)
    parts = pricing.premium_parts(premium, places, price, *shares_of, discount)
    assert parts.platform + parts.reserve + parts.provider == parts.premium
    assert parts.provider >= 0
    assert (parts.provider, parts.reserve) == (full.provider, full.reserve)
    assert full.discount == 0 <= parts.discount == full.premium - parts.premium


@given(variance=st.integers(0, 10**15).map(E12), bounds=st.tuples(st.integers(1, 50_000), st.integers(1, 50_000)))
def test_volatility_stays_within_its_bounds(variance: E12, bounds: tuple[int, int]) -> None:
    low, high = sorted(bounds)
    volatility = pricing.annual_volatility_bp(variance, BasisPoints(low), BasisPoints(high))
    assert low <= volatility <= high


@given(available=amounts, locked=amounts, slope=st.integers(0, 30_000).map(BasisPoints))
def test_the_surcharge_is_between_none_and_the_slope(
    available: TokenAmount, locked: TokenAmount, slope: BasisPoints
) -> None:
    used = pricing.utilisation_bp(available, locked)
    assert 0 <= used <= 10_000
    assert 10_000 <= pricing.utilisation_multiplier_bp(slope, used) <= 10_000 + slope


def vectors(name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))
    return [{key: value if key == "type" else int(value) for key, value in row.items()} for row in rows]


def test_premiums_are_the_contracts() -> None:
    rows = vectors("premium")
    assert len(rows) > 100
    for row in rows:
        premium = pricing.premium_usd8(
            row["type"],
            spot=row["spot"],
            strike=row["strike"],
            notional=row["notional"],
            volatility=row["volBp"],
            duration=row["blocks"],
            type_multiplier=row["typeMultBp"],
            tier_multiplier=row["tierMultBp"],
            utilisation_multiplier=row["utilMultBp"],
            floor=row["floorBp"],
        )
        assert premium == row["premiumUsd8"], row


def test_prices_of_take_overs_are_the_contracts() -> None:
    rows = vectors("take-over")
    assert len(rows) > 50
    for row in rows:
        worth = pricing.take_over_usd8(
            row["type"],
            spot=row["spot"],
            strike=row["strike"],
            notional=row["notional"],
            volatility=row["volBp"],
            duration=row["blocks"],
            max_payout=row["maxPayout"],
            liability=row["liability"],
        )
        assert worth == row["takeOverUsd8"], row
