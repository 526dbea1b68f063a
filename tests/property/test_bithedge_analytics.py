"""What holds for yields, risks and vesting, whatever the numbers."""

from __future__ import annotations

from fractions import Fraction
from math import floor

from hypothesis import given
from hypothesis import strategies as st

from clarion.protocols.bithedge import analytics
from clarion.protocols.bithedge.units import BurnHeight, Sats, TokenAmount, Usd8

amounts = st.integers(0, 10**24)
heights = st.integers(0, 10**7).map(BurnHeight)
prices = st.integers(0, 10**15).map(Usd8)
covered = st.builds(
    analytics.CoveredPolicy,
    policy=st.integers(1, 10**6),
    tier=st.just("balanced"),
    token=st.just("stx"),
    kind=st.sampled_from(["put", "call"]),
    asset=st.just("BTC"),
    strike=st.integers(1, 10**15).map(Usd8),
    notional=st.integers(1, 10**12).map(Sats),
    max_payout=st.integers(1, 10**18).map(Usd8),
    expiry_burn=heights,
    liability=st.integers(0, 10**18).map(Usd8),
    collateral=st.integers(0, 10**18).map(TokenAmount),
)


@given(part=amounts, rest=amounts)
def test_shares_sum_to_at_most_the_whole(part: int, rest: int) -> None:
    shares = [analytics.share_bp(own, part + rest) for own in (part, rest)]
    if part + rest == 0:
        assert shares == [None, None]
    else:
        known = [share for share in shares if share is not None]
        assert len(known) == 2
        assert 9_999 <= sum(known) <= 10_000


@given(earned=st.integers(-(10**24), 10**24), capital=st.integers(1, 10**24), blocks=st.integers(1, 10**7))
def test_apy_is_earnings_of_a_year_over_capital(earned: int, capital: int, blocks: int) -> None:
    found = analytics.apy_bp(earned, capital * blocks)
    assert found == floor(Fraction(earned * 10_000, capital) * Fraction(52_560, blocks))


@given(earned=st.integers(-(10**24), 10**24))
def test_there_is_no_apy_without_capital(earned: int) -> None:
    assert analytics.apy_bp(earned, 0) is None


@given(capital=amounts, start=heights, length=st.integers(1, 10**6))
def test_capital_that_stays_is_its_own_average(capital: int, start: BurnHeight, length: int) -> None:
    end = BurnHeight(start + length)
    assert analytics.time_weighted(capital * length, start, end) == capital
    assert analytics.time_weighted(0, start, start) is None


@given(price=prices, shock=st.integers(-20_000, 10**6))
def test_a_shocked_price_is_rounded_down_and_not_negative(price: Usd8, shock: int) -> None:
    found = analytics.shocked(price, shock)
    assert found == max(0, floor(Fraction(price * (10_000 + shock), 10_000)))
    assert analytics.shocked(price, 0) == price


@given(policy=covered, price=prices, token_price=prices, decimals=st.sampled_from([0, 6, 8]))
def test_a_loss_is_within_collateral_and_what_is_due(
    policy: analytics.CoveredPolicy, price: Usd8, token_price: Usd8, decimals: int
) -> None:
    loss = analytics.loss_of(policy, price, token_price, decimals)
    assert 0 <= loss.paid <= policy.collateral
    assert 0 <= loss.paid_usd8 <= loss.due_usd8 <= policy.liability
    worth = Fraction(loss.paid * token_price, 10**decimals)
    assert worth <= loss.due_usd8 or token_price == 0
    if loss.paid_usd8 < loss.due_usd8:
        assert loss.paid == policy.collateral


@given(policy=covered, token_price=st.integers(1, 10**15).map(Usd8))
def test_a_policy_at_its_strike_costs_nothing(policy: analytics.CoveredPolicy, token_price: Usd8) -> None:
    assert analytics.loss_of(policy, policy.strike, token_price, 6) == analytics.Loss(Usd8(0), TokenAmount(0), Usd8(0))


@given(parts=st.lists(amounts, max_size=20))
def test_concentration_is_between_even_and_one(parts: list[int]) -> None:
    found = analytics.concentration_bp(parts)
    several = [part for part in parts if part]
    if not several:
        assert found is None
    else:
        assert found is not None
        assert 10_000 // len(several) <= found <= 10_000
        assert (found == 10_000) or len(several) > 1


@given(count=st.integers(1, 100), part=st.integers(1, 10**20))
def test_even_parts_are_as_concentrated_as_one_over_their_number(count: int, part: int) -> None:
    assert analytics.concentration_bp([part] * count) == 10_000 // count


@given(
    amount=amounts.map(TokenAmount), posted=heights, vesting=st.integers(0, 10**5), later=st.integers(-10, 2 * 10**5)
)
def test_vesting_is_linear_and_ends_with_all(amount: TokenAmount, posted: BurnHeight, vesting: int, later: int) -> None:
    end = BurnHeight(posted + vesting)
    now = BurnHeight(max(0, posted + later))
    found = analytics.vested(amount, posted, end, now)
    assert 0 <= found <= amount
    if now >= end:
        assert found == amount
    elif now <= posted:
        assert found == 0
    else:
        assert found == floor(Fraction(amount * (now - posted), vesting))


def test_a_loss_by_hand() -> None:

    policy = analytics.CoveredPolicy(
        policy=1,
        tier="balanced",
        token="stx",
        kind="put",
        asset="BTC",
        strike=Usd8(100_000 * 10**8),
        notional=Sats(10**7),
        max_payout=Usd8(10_000 * 10**8),
        expiry_burn=BurnHeight(1),
        liability=Usd8(4_000 * 10**8),
        collateral=TokenAmount(1_000 * 10**6),
    )
    # 0.1 BTC, 20,000 dollars in the money: 2,000 due, 40 % of it here: 800, at 2 dollars a token 400 tokens
    assert analytics.loss_of(policy, Usd8(80_000 * 10**8), Usd8(2 * 10**8), 6) == analytics.Loss(
        Usd8(800 * 10**8), TokenAmount(400 * 10**6), Usd8(800 * 10**8)
    )
    # at half a dollar 1,600 tokens would be due, and 1,000 are there
    assert analytics.loss_of(policy, Usd8(80_000 * 10**8), Usd8(5 * 10**7), 6) == analytics.Loss(
        Usd8(800 * 10**8), TokenAmount(1_000 * 10**6), Usd8(500 * 10**8)
    )
