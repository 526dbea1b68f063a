"""Any allocations that matching proposes pass every check of bh-vault, and it proposes some whenever some exist."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from clarion.protocols.bithedge.matching import (
    MAX_ALLOCATIONS,
    Allocation,
    Candidate,
    CapacityError,
    NoTierError,
    capacity,
    classify,
    match,
    strike_bp,
)
from clarion.protocols.bithedge.payoff import health_bp, required_collateral
from clarion.protocols.bithedge.units import BasisPoints, BurnBlocks, TokenAmount, Usd8


@dataclass(frozen=True)
class TierRow:
    name: str
    rank: int
    strike_min_bp: BasisPoints
    strike_max_bp: BasisPoints
    max_duration_burn: BurnBlocks
    ratio_min_bp: BasisPoints
    max_policy_bp: BasisPoints
    max_expiry_bp: BasisPoints
    active: bool = True


@dataclass(frozen=True)
class TokenRow:
    decimals: int
    haircut_bp: BasisPoints


def tier(name: str, rank: int, low: int, high: int, longest: int, *, active: bool = True) -> TierRow:
    bounds = (BasisPoints(low), BasisPoints(high), BurnBlocks(longest))
    return TierRow(name, rank, *bounds, BasisPoints(11_000), BasisPoints(2_500), BasisPoints(2_500), active)


TIERS = (
    tier("aggressive", 2, 9_000, 10_001, 12_960),
    tier("conservative", 0, 7_000, 8_000, 4_320),
    tier("balanced", 1, 8_000, 9_000, 8_640),
)


tiers = st.builds(
    TierRow,
    name=st.just("tier"),
    rank=st.just(0),
    strike_min_bp=st.just(BasisPoints(5_000)),
    strike_max_bp=st.just(BasisPoints(12_001)),
    max_duration_burn=st.just(BurnBlocks(52_560)),
    ratio_min_bp=st.integers(10_000, 50_000).map(BasisPoints),
    max_policy_bp=st.integers(1, 10_000).map(BasisPoints),
    max_expiry_bp=st.integers(1, 10_000).map(BasisPoints),
)
tokens = st.builds(TokenRow, decimals=st.sampled_from([0, 6, 8]), haircut_bp=st.integers(0, 9_000).map(BasisPoints))
prices = st.integers(1, 10**14).map(Usd8)


@st.composite
def positions(draw: st.DrawFn, number: int) -> Candidate:
    available = draw(st.integers(0, 10**15))
    locked = draw(st.one_of(st.just(0), st.integers(0, 10**15)))
    return Candidate(
        provider=f"ST{number}",
        available=TokenAmount(available),
        requested=TokenAmount(draw(st.one_of(st.just(0), st.integers(0, available)))),
        locked=TokenAmount(locked),
        liability=Usd8(draw(st.one_of(st.just(0), st.integers(0, 10**16)))),
        exposure=TokenAmount(draw(st.integers(0, locked))),
        since=draw(st.integers(0, 3)),
        auto_match=draw(st.integers(0, 9)) > 0,
    )


@st.composite
def markets(draw: st.DrawFn) -> list[Candidate]:
    count = draw(st.integers(0, 14))
    return [draw(positions(number)) for number in draw(st.permutations(range(count)))]


def refusal(part: Allocation, held: Candidate, rules: TierRow, token: TokenRow, price: Usd8) -> str | None:
    """The first of bh-vault's checks that an allocation fails."""
    capital = TokenAmount(held.available + held.locked)
    amount = required_collateral(part.liability, token.decimals, price, rules.ratio_min_bp, token.haircut_bp)
    health = health_bp(capital, token.decimals, price, token.haircut_bp, Usd8(held.liability + part.liability))
    checks = {
        "auto-match": held.auto_match,
        "available": held.requested + amount <= held.available,
        "max-policy": amount * 10_000 <= capital * rules.max_policy_bp,
        "max-expiry": (held.exposure + amount) * 10_000 <= capital * rules.max_expiry_bp,
        "health": (health or 0) >= rules.ratio_min_bp,
    }
    return next((name for name, passed in checks.items() if not passed), None)


@given(candidates=markets(), rules=tiers, token=tokens, price=prices, need=st.data(), least=st.integers(0, 10**12))
def test_what_is_proposed_is_accepted(
    candidates: list[Candidate], rules: TierRow, token: TokenRow, price: Usd8, need: st.DataObject, least: int
) -> None:
    by_provider = {candidate.provider: candidate for candidate in candidates}
    rooms = sorted((capacity(candidate, rules, token, price) for candidate in candidates), reverse=True)
    together = sum(rooms[:MAX_ALLOCATIONS])
    assume(together > 0)
    wanted = Usd8(need.draw(st.integers(1, together), label="need"))
    try:
        parts = match(wanted, candidates, tier=rules, token=token, token_price=price, least=Usd8(least))
    except CapacityError:
        # with k allocations of at least `least`, at most the k largest rooms can be filled
        for count in range(1, MAX_ALLOCATIONS + 1):
            usable = [room for room in rooms[:count] if room >= max(least, 1)]
            assert len(usable) < count or wanted < count * least or wanted > sum(usable)
        return
    assert sum(part.liability for part in parts) == wanted
    assert 1 <= len(parts) <= MAX_ALLOCATIONS
    assert len({part.provider for part in parts}) == len(parts)
    for part in parts:
        assert part.liability >= max(least, 1)
        assert refusal(part, by_provider[part.provider], rules, token, price) is None
    again = match(wanted, candidates[::-1], tier=rules, token=token, token_price=price, least=Usd8(least))
    assert again == parts


@given(candidate=positions(0), rules=tiers, token=tokens, price=prices)
def test_capacity_is_the_largest_accepted_allocation(
    candidate: Candidate, rules: TierRow, token: TokenRow, price: Usd8
) -> None:
    room = capacity(candidate, rules, token, price)
    assert room >= 0
    if room:
        assert refusal(Allocation("", room), candidate, rules, token, price) is None
    assert refusal(Allocation("", Usd8(room + 1)), candidate, rules, token, price) is not None


def test_older_and_then_smaller_names_come_first_among_equals() -> None:
    held = Candidate("", TokenAmount(10**12), TokenAmount(0), TokenAmount(0), Usd8(0), TokenAmount(0), 5)
    candidates = [replace(held, provider=f"ST{number:02}", since=number % 2) for number in range(14)]
    rules, token = tier("tier", 0, 5_000, 10_000, 100), TokenRow(6, BasisPoints(0))
    parts = match(Usd8(10**9), candidates, tier=rules, token=token, token_price=Usd8(10**8), least=Usd8(1))
    evens, odds = [f"ST{number:02}" for number in range(0, 14, 2)], ["ST01", "ST03", "ST05"]
    assert [part.provider for part in parts] == evens + odds
    assert max(part.liability for part in parts) - min(part.liability for part in parts) <= 1


def test_a_refused_match_says_what_could_be_covered() -> None:
    with pytest.raises(CapacityError, match="can cover 0 of 7") as caught:
        match(
            Usd8(7),
            [],
            tier=TIERS[0],
            token=TokenRow(6, BasisPoints(0)),
            token_price=Usd8(1),
            least=Usd8(1),
        )
    assert (caught.value.needed, caught.value.coverable) == (7, 0)


@pytest.mark.parametrize(
    ("kind", "strike", "duration", "expected"),
    [
        ("put", 7_000, 4_320, "conservative"),
        ("put", 7_999, 4_320, "conservative"),
        ("put", 8_000, 1, "balanced"),
        ("put", 9_999, 1, "aggressive"),
        ("put", 10_000, 12_960, "aggressive"),
        ("put", 7_500, 4_321, "balanced"),
        ("put", 7_500, 8_641, "aggressive"),
        ("call", 10_000, 1, "aggressive"),
        ("call", 11_000, 1, "aggressive"),
        ("call", 11_001, 1, "balanced"),
        ("call", 13_000, 1, "conservative"),
    ],
)
def test_a_policy_falls_in_the_first_tier_that_takes_it(kind: str, strike: int, duration: int, expected: str) -> None:
    assert classify(TIERS, kind, Usd8(strike), Usd8(10_000), BurnBlocks(duration)).name == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "strike", "duration"),
    [("put", 6_999, 1), ("put", 10_001, 1), ("put", 9_000, 12_961), ("call", 13_001, 1), ("call", 20_001, 1)],
)
def test_some_policies_fall_in_no_tier(kind: str, strike: int, duration: int) -> None:
    with pytest.raises(NoTierError, match=f"no tier takes a {kind}"):
        classify(TIERS, kind, Usd8(strike), Usd8(10_000), BurnBlocks(duration))  # type: ignore[arg-type]


def test_a_tier_that_is_not_active_takes_nothing_and_hands_nothing_on() -> None:
    asleep = [replace(row, active=row.name != "conservative") for row in TIERS]
    with pytest.raises(NoTierError):
        classify(asleep, "put", Usd8(7_500), Usd8(10_000), BurnBlocks(1))


@given(spot=st.integers(1, 10**15), strike=st.integers(1, 10**16))
def test_a_call_is_mirrored_at_spot(spot: int, strike: int) -> None:
    direct = strike_bp("put", Usd8(strike), Usd8(spot))
    mirrored = strike_bp("call", Usd8(strike), Usd8(spot))
    assert direct is not None
    assert mirrored == (20_000 - direct if direct <= 20_000 else None)


@given(st.lists(st.integers(5_000, 12_001), min_size=2, max_size=9, unique=True).map(sorted), st.integers(1, 20_000))
def test_bands_that_touch_leave_no_gap_and_no_overlap(bounds: list[int], place: int) -> None:
    rows = [tier(str(low), rank, low, high, 1) for rank, (low, high) in enumerate(pairwise(bounds))]
    holding = [row.name for row in rows if row.strike_min_bp <= place < row.strike_max_bp]
    if holding:
        assert [classify(rows, "put", Usd8(place), Usd8(10_000), BurnBlocks(1)).name] == holding
    else:
        with pytest.raises(NoTierError):
            classify(rows, "put", Usd8(place), Usd8(10_000), BurnBlocks(1))
