"""When a price is submitted, when not, and when it is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion_keeper.feed.aggregate import Aggregate
from clarion_keeper.feed.rules import (
    AssetState,
    Clocks,
    Decision,
    OpenRound,
    OracleRules,
    Say,
    SubmitRules,
    clock_problem,
    decide,
)

E8 = 10**8
LAST = 60_000 * E8
BURN = 1_000
ORACLE = OracleRules(is_open=True, weight=1, max_age_burn=12, timeout_burn=6)
RULES = SubmitRules(deviation_bp=100, heartbeat_burn=None, min_gap_burn=2)
CLOCKS = Clocks(sources_offset_ms=0, max_offset_ms=30_000, tip_offset_ms=-60_000, max_tip_offset_ms=3_600_000)
ASSET = AssetState(asset="BTC", active=True, next_round=8, price_usd8=LAST, opened_burn=BURN, own_burn=BURN - 10)


def price(usd8: int | None = LAST, problem: str = "") -> Aggregate:
    return Aggregate("BTC", 0, usd8, (), 0, None, 95, problem)


def said(
    asset: AssetState = ASSET,
    usd8: int | None = LAST,
    *,
    problem: str = "",
    burn: int = BURN,
    oracle: OracleRules = ORACLE,
    rules: SubmitRules = RULES,
    clocks: Clocks = CLOCKS,
) -> Decision:
    return decide(asset, price(usd8, problem), burn=burn, oracle=oracle, rules=rules, clocks=clocks)


def test_a_price_near_the_last_one_is_not_submitted() -> None:
    assert said() == Decision(Say.WAIT, "nothing new: the price is near the last one, which is not old")


@pytest.mark.parametrize(
    ("usd8", "say"),
    [
        (LAST * 10_100 // 10_000, Say.SUBMIT),
        (LAST * 10_100 // 10_000 - 1, Say.WAIT),
        (LAST * 9_900 // 10_000, Say.SUBMIT),
        (LAST * 9_900 // 10_000 + 1, Say.WAIT),
    ],
)
def test_a_move_of_the_set_size_is_submitted(usd8: int, say: Say) -> None:
    assert said(usd8=usd8).say is say


@pytest.mark.parametrize(("heartbeat", "age", "say"), [(None, 5, Say.WAIT), (None, 6, Say.SUBMIT), (3, 3, Say.SUBMIT)])
def test_an_old_price_is_renewed_at_half_of_its_life_or_as_set(heartbeat: int | None, age: int, say: Say) -> None:
    rules = replace(RULES, heartbeat_burn=heartbeat)
    assert said(replace(ASSET, opened_burn=BURN - age), rules=rules).say is say


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"price_usd8": None}, "no price yet"),
        ({"open_round": OpenRound(opened_burn=BURN, has_own=False)}, "round 8 is open and lacks our price"),
        ({"waiting": True}, "policies that have expired wait"),
        ({"candidate_usd8": LAST // 2}, "may confirm the rejected price"),
    ],
)
def test_what_others_wait_for_is_submitted(change: dict[str, Any], reason: str) -> None:
    decision = said(replace(ASSET, **change))
    assert decision.say is Say.SUBMIT
    assert reason in decision.reason


def test_our_prices_keep_their_distance_except_a_second_opinion() -> None:
    moved = LAST * 2
    for own_burn, say in ((BURN - 1, Say.WAIT), (BURN - 2, Say.SUBMIT), (None, Say.SUBMIT)):
        assert said(replace(ASSET, own_burn=own_burn), moved).say is say
    assert said(replace(ASSET, own_burn=BURN, candidate_usd8=moved), moved).say is Say.SUBMIT


@pytest.mark.parametrize(
    ("change", "oracle", "reason"),
    [
        ({}, {"is_open": False}, "the switch oracle is off"),
        ({}, {"weight": 0}, "no provider"),
        ({"active": False}, {}, "takes no rounds"),
        ({"opened_burn": BURN + 1}, {}, "above the tip's"),
        ({"open_round": OpenRound(opened_burn=BURN + 1, has_own=False)}, {}, "above the tip's"),
        ({"open_round": OpenRound(opened_burn=BURN - 1, has_own=True)}, {}, "has our price"),
        ({"open_round": OpenRound(opened_burn=BURN - 7, has_own=False)}, {}, "timed out"),
    ],
)
def test_what_the_contract_would_refuse_waits(change: dict[str, Any], oracle: dict[str, Any], reason: str) -> None:
    decision = said(replace(ASSET, **change), LAST * 2, oracle=replace(ORACLE, **oracle))
    assert decision.say is Say.WAIT
    assert reason in decision.reason


def test_the_last_block_of_a_round_is_not_too_late() -> None:
    opened = OpenRound(opened_burn=BURN - ORACLE.timeout_burn, has_own=False)
    assert said(replace(ASSET, open_round=opened, opened_burn=BURN - 6), LAST * 2).say is Say.SUBMIT


def test_a_price_that_cannot_be_relied_on_is_refused_whatever_is_due() -> None:
    due = replace(ASSET, waiting=True, opened_burn=BURN - 11)
    assert said(due, problem="sources disagree") == Decision(Say.REFUSE, "sources disagree")
    assert said(due, None) == Decision(Say.REFUSE, "no source has a price")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({}, ""),
        ({"sources_offset_ms": 30_000}, ""),
        ({"sources_offset_ms": 30_001}, "our clock is 30 s behind the exchanges'"),
        ({"sources_offset_ms": -31_000}, "our clock is 31 s ahead of the exchanges'"),
        ({"sources_offset_ms": None}, "no source says what time it is"),
        ({"tip_offset_ms": None}, ""),
        ({"tip_offset_ms": 3_600_001}, "our clock is 3600 s behind the time of the chain's tip"),
        ({"tip_offset_ms": -7_200_000}, "our clock is 7200 s ahead of the time of the chain's tip"),
    ],
)
def test_clocks_that_disagree_refuse(change: dict[str, Any], problem: str) -> None:
    clocks = replace(CLOCKS, **change)
    assert clock_problem(clocks).startswith(problem)
    assert bool(clock_problem(clocks)) == bool(problem)
    assert said(replace(ASSET, waiting=True), clocks=clocks).say is (Say.REFUSE if problem else Say.SUBMIT)


ROUNDS = st.none() | st.builds(OpenRound, opened_burn=st.integers(BURN - 20, BURN + 2), has_own=st.booleans())


@given(
    st.builds(
        AssetState,
        asset=st.just("BTC"),
        active=st.booleans(),
        next_round=st.integers(1, 9),
        price_usd8=st.none() | st.integers(1, 2 * LAST),
        opened_burn=st.integers(BURN - 20, BURN + 2),
        candidate_usd8=st.none() | st.integers(1, LAST),
        open_round=ROUNDS,
        own_burn=st.none() | st.integers(BURN - 20, BURN),
        waiting=st.booleans(),
    ),
    st.none() | st.integers(1, 2 * LAST),
    st.sampled_from(["", "sources disagree"]),
    st.booleans(),
    st.integers(0, 2),
    st.none() | st.integers(-60_000, 60_000),
)
def test_what_is_submitted_is_taken_by_the_contract_and_can_be_relied_on(
    asset: AssetState, usd8: int | None, problem: str, is_open: bool, weight: int, offset: int | None
) -> None:
    """The conditions of ``bh-oracle.submit-price``, one by one."""
    oracle = replace(ORACLE, is_open=is_open, weight=weight)
    decision = said(asset, usd8, problem=problem, oracle=oracle, clocks=replace(CLOCKS, sources_offset_ms=offset))
    if decision.say is not Say.SUBMIT:
        assert decision.reason
        return
    assert usd8 is not None
    assert not problem
    assert offset is not None
    assert abs(offset) <= 30_000
    assert oracle.is_open
    assert oracle.weight > 0
    assert asset.active
    assert asset.opened_burn <= BURN
    if asset.open_round is not None:
        assert asset.open_round.opened_burn <= BURN <= asset.open_round.opened_burn + oracle.timeout_burn
        assert not asset.open_round.has_own
