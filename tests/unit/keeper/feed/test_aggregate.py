"""One price from many quotes: what counts, and what a liar can do."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from statistics import median as exact_median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion_keeper.feed.aggregate import Aggregate, Limits, aggregate, distance_bp, median
from clarion_keeper.feed.quotes import Currency, Pair, Quote

E8 = 10**8
NOW = 1_700_000_000_000
LIMITS = Limits()
PRICES = st.integers(1, 10**18)


def quote(number: int, usd8: int, *, currency: str = "USD", age_ms: int | None = 1_000) -> Quote:
    time = None if age_ms is None else NOW - age_ms
    return Quote(f"source{number}", Pair("BTC", Currency(currency)), usd8, None, time)


def made(quotes: Sequence[Quote], limits: Limits = LIMITS, **rates: Aggregate) -> Aggregate:
    given = {Currency(name): rate for name, rate in rates.items()}
    return aggregate("BTC", quotes, rates=given, at_ms=NOW, limits=limits)


def of(*prices: int, limits: Limits = LIMITS) -> Aggregate:
    return made([quote(number, price) for number, price in enumerate(prices)], limits)


@given(st.lists(PRICES, min_size=1, max_size=12))
def test_the_median_is_the_exact_one_rounded_down(prices: list[int]) -> None:
    assert median(prices) == int(Fraction(exact_median([Fraction(price) for price in prices])))


@given(st.lists(PRICES, max_size=12), st.randoms(use_true_random=False))
def test_order_does_not_matter(prices: list[int], random: random.Random) -> None:
    quotes = [quote(number, price) for number, price in enumerate(prices)]
    shuffled = random.sample(quotes, len(quotes))
    assert made(quotes) == made(shuffled)


@given(st.integers(10**4, 10**14), st.lists(st.integers(-10, 10), min_size=3, max_size=9), PRICES, st.integers(0, 9))
def test_one_liar_among_four_or_more_never_moves_the_price_out_of_the_honest_range(
    centre: int, offsets: list[int], lie: int, place: int
) -> None:
    honest = [centre + centre * offset // 10_000 for offset in offsets]
    told = [*honest]
    told.insert(place % (len(told) + 1), lie)
    price = of(*told)
    assert price.price_usd8 is not None
    assert min(honest) <= price.price_usd8 <= max(honest)
    assert not price.problem


@given(st.lists(PRICES, min_size=4, max_size=12), PRICES, st.integers(0, 12))
def test_whatever_the_others_say_a_price_without_a_problem_is_theirs(honest: list[int], lie: int, place: int) -> None:
    told = [*honest]
    told.insert(place % (len(told) + 1), lie)
    price = of(*told)
    if not price.problem:
        assert price.price_usd8 is not None
        assert min(honest) <= price.price_usd8 <= max(honest)


@given(st.lists(PRICES, max_size=12), st.integers(1, 6), st.integers(1, 2_000), st.integers(1, 2_000))
def test_what_is_said_without_a_problem_keeps_to_the_limits(
    prices: list[int], min_sources: int, outlier_bp: int, max_spread_bp: int
) -> None:
    price = of(
        *prices,
        limits=Limits(min_sources=min_sources, outlier_bp=outlier_bp, max_spread_bp=max_spread_bp),
    )
    counted = [source for source in price.sources if source.counts]
    assert price.counted == len(counted)
    assert 0 <= price.confidence <= 95
    if not price.problem:
        assert price.price_usd8 is not None
        assert len(counted) >= min_sources
        assert price.spread_bp <= max_spread_bp
        values = [source.price_usd8 or 0 for source in counted]
        assert price.price_usd8 == median(values)
        assert (max(values) - min(values)) * 10_000 <= price.spread_bp * price.price_usd8


def test_fences_drop_what_is_far_from_sources_that_agree() -> None:
    price = of(60_000 * E8, 60_010 * E8, 60_020 * E8, 60_030 * E8, 61_500 * E8)
    assert [source.left_out for source in price.sources] == [
        "",
        "",
        "",
        "",
        "outside the others' range, 246 bp from the median",
    ]
    assert price.price_usd8 == 60_015 * E8


def test_sources_that_agree_to_the_cent_do_not_drop_one_that_is_a_dollar_off() -> None:
    price = of(60_000 * E8, 60_000 * E8, 60_000 * E8, 60_001 * E8)
    assert price.counted == 4


def test_what_is_five_percent_off_does_not_count_with_three_sources() -> None:
    price = of(60_000 * E8, 60_100 * E8, 63_200 * E8)
    assert [source.left_out for source in price.sources] == ["", "", "515 bp from the median"]
    assert price.problem == "sources disagree: 2 of 3 are within 500 bp of the median"


def test_two_camps_are_no_price() -> None:
    price = of(50_000 * E8, 50_001 * E8, 50_002 * E8, 60_000 * E8, 60_001 * E8, 60_002 * E8)
    assert price.problem == "sources disagree: 0 of 6 are within 500 bp of the median"
    assert price.price_usd8 is None
    assert price.confidence == 0


def test_a_majority_outvotes_the_rest_and_a_minority_does_not() -> None:
    near = [100 * E8 + number for number in range(4)]
    assert not of(*near, 120 * E8, 130 * E8, 80 * E8).problem
    assert of(*near[:3], 120 * E8, 130 * E8, 80 * E8, 70 * E8).problem == (
        "sources disagree: 3 of 7 are within 500 bp of the median"
    )


def test_a_wide_spread_is_no_price() -> None:
    price = of(9_600 * E8, 10_000 * E8, 10_400 * E8)
    assert price.spread_bp == 800
    assert price.problem == "sources disagree: they are 800 bp apart, above 500"


def test_too_few_sources_are_no_price() -> None:
    assert of().problem == "only 0 of at least 3 sources"
    assert of(1, 2).problem == "only 2 of at least 3 sources"


@pytest.mark.parametrize(
    ("prices", "confidence"),
    [
        ([100], 30),
        ([100, 100], 50),
        ([100, 100, 100], 70),
        ([100] * 4, 85),
        ([100] * 5, 95),
        ([100] * 9, 95),
        ([10_000, 10_000, 10_350], 67),
    ],
)
def test_confidence_follows_sources_and_their_distance(prices: list[int], confidence: int) -> None:
    assert of(*prices).confidence == confidence


def test_what_is_old_or_from_the_future_does_not_count() -> None:
    ages = [0, 120_000, 120_001, -30_000, -30_001, None]
    price = made([quote(number, 100 * E8, age_ms=age) for number, age in enumerate(ages)])
    assert [source.left_out for source in price.sources] == ["", "", "120 s old", "", "30 s in the future", ""]
    assert price.age_ms == 120_000
    assert made([quote(0, 5, age_ms=-10)]).age_ms == 0
    assert made([quote(0, 5, age_ms=None)]).age_ms is None


def test_stablecoins_count_with_a_rate_alone() -> None:
    quotes = [quote(0, 60_000 * E8), quote(1, 60_000 * E8), quote(2, 60_600 * E8, currency="USDT")]
    assert [source.left_out for source in made(quotes).sources] == ["", "", "no rate of USDT to USD"]
    rate = of(99 * E8 // 100, 99 * E8 // 100, 99 * E8 // 100)
    price = made(quotes, USDT=rate)
    assert [source.price_usd8 for source in price.sources] == [60_000 * E8, 60_000 * E8, 59_994 * E8]
    assert price.counted == 3
    broken = replace(rate, problem="sources disagree")
    assert made(quotes, USDT=broken).sources[2].left_out == "rate of USDT to USD: sources disagree"
    assert made(quotes, USDC=rate).sources[2].left_out == "no rate of USDT to USD"


def test_distances_are_the_contract_s() -> None:
    assert (distance_bp(10_099, 10_000), distance_bp(9_901, 10_000), distance_bp(10_100, 10_000)) == (99, 99, 100)
