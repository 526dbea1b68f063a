"""Fees are whole numbers of micro-STX, never below what nodes take, never above the cap, and rise when replaced."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion.chains.stacks.node_client import FeeEstimate
from clarion.config import FeePolicyName, Keeper
from clarion_keeper.stacks.fees import Escalating, Estimated, FeeCapError, FeePolicy, Fixed, Pricing, fee_policy

AMOUNTS = st.integers(1, 10**12)
ESTIMATES = st.none() | st.lists(st.integers(0, 10**12), min_size=3, max_size=3).map(
    lambda fees: FeeEstimate(*sorted(fees))
)


@st.composite
def policies(draw: st.DrawFn) -> FeePolicy:
    first, cap, percent = draw(AMOUNTS), draw(AMOUNTS), draw(st.integers(1, 10_000))
    raised, over = draw(st.integers(125, 1_000)), draw(st.integers(1, 1_000))
    found: list[FeePolicy] = [
        Fixed(first, cap, raised),
        Estimated(first, cap, percent, raised),
        Escalating(first, cap, percent, raised, over),
    ]
    return draw(st.sampled_from(found))


PRICINGS = st.builds(
    Pricing,
    size=st.integers(180, 100_000),
    estimate=ESTIMATES,
    burn_blocks_left=st.none() | st.integers(-100, 1000),
    burn_blocks_given=st.none() | st.integers(-5, 1000),
    replaced=st.none() | AMOUNTS,
)


@given(policies(), PRICINGS)
def test_a_fee_is_within_its_bounds_and_above_what_it_replaces(policy: FeePolicy, pricing: Pricing) -> None:
    if pricing.size > policy.cap:
        with pytest.raises(FeeCapError, match=r"raise keeper\.fee_cap"):
            policy.fee(pricing)
        return
    fee = policy.fee(pricing)
    if fee is None:
        assert pricing.replaced is not None
        assert pricing.replaced >= policy.cap
        return
    assert isinstance(fee, int)
    assert pricing.size <= fee <= policy.cap
    assert pricing.replaced is None or fee > pricing.replaced


@given(policies(), PRICINGS)
def test_replacing_again_and_again_ends_exactly_at_the_cap(policy: FeePolicy, pricing: Pricing) -> None:
    if pricing.size > policy.cap or (pricing.replaced or 0) > policy.cap:
        return
    fees = []
    replaced = pricing.replaced
    while (fee := policy.fee(Pricing(size=pricing.size, estimate=pricing.estimate, replaced=replaced))) is not None:
        fees.append(fee)
        replaced = fee
        assert len(fees) <= 200, "a quarter more each time reaches any cap soon"
    assert fees == sorted(set(fees))
    assert replaced == policy.cap


@given(PRICINGS, AMOUNTS, AMOUNTS)
def test_a_fee_never_falls_as_the_deadline_comes_near(pricing: Pricing, first: int, cap: int) -> None:
    policy = Escalating(first, cap, 100, 125, 6)
    if pricing.size > cap:
        return
    fees = [
        policy.fee(Pricing(size=pricing.size, estimate=pricing.estimate, burn_blocks_left=left))
        for left in (1000, 6, 5, 4, 3, 2, 1, 0, -7)
    ]
    known = [fee for fee in fees if fee is not None]
    assert len(known) == len(fees)
    assert known == sorted(known)
    assert known[-1] == known[-2] == cap
    assert known[0] == known[1]


def test_a_fixed_fee_is_what_it_says_until_it_has_to_rise() -> None:
    policy = Fixed(10_000, 20_000, 125)
    assert policy.fee(Pricing(size=300)) == 10_000
    assert policy.fee(Pricing(size=300, replaced=10_000)) == 12_500
    assert policy.fee(Pricing(size=300, replaced=19_000)) == 20_000
    assert policy.fee(Pricing(size=300, replaced=20_000)) is None
    assert policy.fee(Pricing(size=15_000)) == 15_000, "the least that nodes take comes before the wish"


def test_an_estimate_is_paid_in_part_and_a_replacement_asks_for_the_first_place() -> None:
    policy = Estimated(10_000, 1_000_000, 110, 125)
    estimate = FeeEstimate(300, 1001, 40_000)
    assert policy.fee(Pricing(size=300, estimate=estimate)) == 1102
    assert policy.fee(Pricing(size=300, estimate=estimate, replaced=1102)) == 44_000
    assert policy.fee(Pricing(size=300)) == 10_000, "no node estimates anything"


def test_escalation_is_slow_first_and_fast_at_the_end() -> None:
    policy = Escalating(10_000, 370_000, 100, 125, 6)
    fees = [policy.fee(Pricing(size=300, burn_blocks_left=left)) for left in (7, 6, 5, 4, 3, 2, 1, 0)]
    assert fees == [10_000, 10_000, 20_000, 50_000, 100_000, 170_000, 260_000, 370_000]


def test_what_was_given_little_time_rises_over_that_time() -> None:
    policy = Escalating(10_000, 370_000, 100, 125, 6)

    def fees(given: int) -> list[int | None]:
        left = (given, *range(given - 1, -2, -1))
        return [policy.fee(Pricing(size=300, burn_blocks_left=one, burn_blocks_given=given)) for one in left]

    assert fees(2) == [10_000, 100_000, 370_000, 370_000]
    assert fees(0) == [370_000, 370_000]
    assert fees(20)[:15] == [10_000] * 15


@pytest.mark.parametrize(
    ("name", "kind"),
    [(FeePolicyName.FIXED, Fixed), (FeePolicyName.ESTIMATE, Estimated), (FeePolicyName.ESCALATING, Escalating)],
)
def test_the_settings_name_the_policy(name: FeePolicyName, kind: type[FeePolicy]) -> None:
    policy = fee_policy(Keeper(fee_policy=name, fee_first=7, fee_cap=70_000))
    assert isinstance(policy, kind)
    assert policy.cap == 70_000
