"""The rule of who gets how much of an epoch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion.protocols.bithedge.incentives import (
    Epoch,
    MissingPriceError,
    OfferedCapital,
    PolicyPremium,
    TokenPrice,
    capital_points,
    epoch_of,
    on_offer,
    premium_points,
    rewards,
    share_out,
)
from clarion.protocols.bithedge.merkle import Reward
from clarion.protocols.bithedge.units import BasisPoints, BurnBlocks, BurnHeight, TokenAmount, Usd8

EPOCH = Epoch(BurnHeight(100), BurnHeight(110))
PRICES = {"stx": TokenPrice(6, Usd8(2 * 10**8)), "sbtc": TokenPrice(8, Usd8(100_000 * 10**8))}

points = st.dictionaries(st.sampled_from("ABCDEF"), st.integers(1, 10**30))
totals = st.integers(0, 10**24).map(TokenAmount)
changes = st.lists(
    st.builds(
        OfferedCapital,
        st.integers(90, 120).map(BurnHeight),
        st.sampled_from("AB"),
        st.sampled_from(["balanced", "aggressive"]),
        st.sampled_from(["stx", "sbtc"]),
        st.integers(0, 10**15).map(TokenAmount),
    ),
    max_size=25,
).map(lambda items: sorted(items, key=lambda item: item.burn_height))


def premium(owner: str, usd: int, until: int, *, cancelled: bool = False) -> PolicyPremium:
    return PolicyPremium(owner, Usd8(usd), BurnHeight(until), cancelled)


def offer(height: int, amount: int, provider: str = "A", tier: str = "balanced", token: str = "stx") -> OfferedCapital:
    return OfferedCapital(BurnHeight(height), provider, tier, token, TokenAmount(amount))


def test_epochs_follow_each_other_without_gap_or_overlap() -> None:
    first, second = (epoch_of(BurnHeight(7), BurnBlocks(5), number) for number in (1, 2))
    assert (first, second) == (Epoch(BurnHeight(7), BurnHeight(12)), Epoch(BurnHeight(12), BurnHeight(17)))


def test_a_policy_counts_once_its_cancel_window_is_over_and_never_if_cancelled() -> None:
    policies = [
        premium("A", 1, 98),
        premium("A", 10, 99),
        premium("A", 100, 108),
        premium("A", 1_000, 109),
        premium("B", 10_000, 105, cancelled=True),
        premium("C", 0, 105),
    ]
    assert premium_points(EPOCH, policies) == {"A": 110}


@given(windows=st.lists(st.integers(80, 160), max_size=20))
def test_every_policy_counts_in_exactly_one_epoch(windows: list[int]) -> None:
    policies = [premium("A", 1, until) for until in windows]
    counted = [premium_points(epoch_of(BurnHeight(80), BurnBlocks(9), number), policies) for number in range(1, 11)]
    assert sum(points.get("A", 0) for points in counted) == sum(1 for until in windows if 80 <= until + 1 < 170)


def test_capital_counts_by_the_blocks_it_was_on_offer() -> None:
    million = 10**6
    assert capital_points(EPOCH, [offer(50, 3 * million)], PRICES) == {"A": 3 * 10 * 2 * 10**8}
    assert capital_points(EPOCH, [offer(104, million), offer(107, 0)], PRICES) == {"A": 3 * 2 * 10**8}
    assert capital_points(EPOCH, [offer(109, million)], PRICES) == {"A": 2 * 10**8}
    both = [offer(50, million), offer(50, 10**8, token="sbtc"), offer(60, million, tier="aggressive"), offer(108, 0)]
    assert capital_points(EPOCH, both, PRICES) == {"A": (8 * 2 + 10 * 2 + 10 * 100_000) * 10**8}


def test_capital_that_comes_and_goes_in_a_block_or_later_counts_nothing() -> None:
    assert capital_points(EPOCH, [offer(105, 10**12), offer(105, 0)], PRICES) == {}
    assert capital_points(EPOCH, [offer(50, 10**12), offer(100, 0), offer(110, 10**12)], PRICES) == {}


@given(capital=changes)
def test_capital_points_are_the_sum_over_the_blocks(capital: list[OfferedCapital]) -> None:
    blocks: dict[tuple[str, str], TokenAmount] = {}
    for height in range(EPOCH.start_burn, EPOCH.end_burn):
        latest = {(c.provider, c.tier, c.token): c.amount for c in capital if c.burn_height <= height}
        for (provider, _, token), amount in latest.items():
            blocks[provider, token] = TokenAmount(blocks.get((provider, token), 0) + amount)
    expected: dict[str, int] = {}
    for (provider, token), amount in blocks.items():
        price = PRICES[token]
        expected[provider] = expected.get(provider, 0) + amount * price.price_usd8 // 10**price.decimals
    assert capital_points(EPOCH, capital, PRICES) == {who: own for who, own in expected.items() if own}


def test_capital_without_a_price_is_an_error_only_where_it_counts() -> None:
    with pytest.raises(MissingPriceError, match="other was on offer and has no price before Bitcoin block 110"):
        capital_points(EPOCH, [offer(99, 1, token="other")], PRICES)
    assert capital_points(EPOCH, [offer(99, 1, token="other"), offer(100, 0, token="other")], PRICES) == {}


def test_requested_capital_is_not_on_offer_and_without_auto_match_only_what_is_locked_is() -> None:
    position = (TokenAmount(100), TokenAmount(40), TokenAmount(30))
    assert (on_offer(*position, auto_match=True), on_offer(*position, auto_match=False)) == (110, 40)


@given(total=totals, own=points)
def test_shares_are_fair_and_never_exceed_the_total(total: TokenAmount, own: dict[str, int]) -> None:
    parts = share_out(total, own)
    assert set(parts) == set(own)
    if own:
        assert total - len(own) < sum(parts.values()) <= total
    for who, part in parts.items():
        assert part * sum(own.values()) <= total * own[who] < (part + 1) * sum(own.values())


@given(total=totals, premium_bp=st.integers(0, 10_000).map(BasisPoints), paid=points, provided=points)
def test_rewards_sum_to_at_most_the_total_and_name_everybody_once(
    total: TokenAmount, premium_bp: BasisPoints, paid: dict[str, int], provided: dict[str, int]
) -> None:
    given_out = rewards(total, premium_bp, paid, provided)
    assert sum(reward.amount for reward in given_out) <= total
    assert [reward.who for reward in given_out] == sorted({reward.who for reward in given_out})
    assert all(reward.amount > 0 for reward in given_out)
    assert {reward.who for reward in given_out} <= set(paid) | set(provided)


def test_a_part_without_points_is_not_given_out() -> None:
    total, share = TokenAmount(1_000), BasisPoints(6_000)
    assert rewards(total, share, {"A": 1}, {}) == [Reward("A", TokenAmount(600))]
    assert rewards(total, share, {"A": 1}, {"A": 1, "B": 3}) == [
        Reward("A", TokenAmount(700)),
        Reward("B", TokenAmount(300)),
    ]
