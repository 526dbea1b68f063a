"""Margin calls: which positions are called on, made hard and released, from rows made by hand."""

from __future__ import annotations

from typing import Any

import pytest
from support.bithedge_keeper import COIN, INDEX, KEEPER, PROVIDER, STX, TIER, USD, row, rules, state

from clarion.chains.stacks.clarity import StringAscii, principal
from clarion.protocols.bithedge.tables import Asset, MarginCall, Position, PriceRound
from clarion_keeper.bithedge.margins import EscalateMarginCall, IssueMarginCall, ResolveMarginCall
from clarion_keeper.intents import Lane

BURN = 200
KEY = f"{PROVIDER}:{TIER}:{STX}"
ISSUE, ESCALATE, RESOLVE = (job(INDEX, KEEPER) for job in (IssueMarginCall, EscalateMarginCall, ResolveMarginCall))


def position(health_bp: int) -> Any:
    """A position of this health: 1,000 USD of liability in STX at 2 USD with a haircut of a tenth."""
    capital = -(-1_000 * health_bp * COIN // (2 * 9_000))
    return row(Position, provider=PROVIDER, tier=TIER, token=STX, locked=capital, liability_usd8=1_000 * USD)


IDLE = row(Position, provider=PROVIDER, tier=TIER, token=STX, available=5)


def call(level: str, deadline: int) -> Any:
    values = {"provider": PROVIDER, "tier": TIER, "token": STX, "state": "open"}
    return row(MarginCall, id=3, level=level, deadline_burn=deadline, round=6, **values)


def due(*rows: Any, tripped: tuple[str, ...] = ()) -> list[str]:
    found = state(BURN, *rules(BURN, tripped=tripped), *rows)
    return [intent.key for job in (ISSUE, ESCALATE, RESOLVE) for intent in job.check(found)]


@pytest.mark.parametrize(
    ("health", "expected"),
    [(13_500, []), (13_499, [f"issue-margin-call:{KEY}"]), (13_000, [f"issue-margin-call:{KEY}"]), (9_000, None)],
)
def test_a_position_below_its_warning_ratio_is_called_on(health: int, expected: list[str] | None) -> None:
    assert due(position(health)) == ([f"issue-margin-call:{KEY}"] if expected is None else expected)


def test_a_position_has_one_call_at_a_time() -> None:
    assert due(position(13_200), call("soft", BURN)) == []


@pytest.mark.parametrize(
    ("health", "level", "deadline", "is_due"),
    [
        (13_200, "soft", BURN, False),
        (13_200, "soft", BURN - 1, True),
        (12_999, "soft", BURN + 400, True),
        (12_999, "hard", BURN - 1, False),
        (13_000, "soft", BURN + 400, False),
    ],
)
def test_a_soft_call_turns_hard_below_the_least_ratio_or_after_its_deadline(
    health: int, level: str, deadline: int, is_due: bool
) -> None:
    assert due(position(health), call(level, deadline)) == ([f"escalate-margin-call:{KEY}:3"] if is_due else [])


@pytest.mark.parametrize("level", ["soft", "hard"])
@pytest.mark.parametrize(("healed", "is_due"), [(position(13_500), True), (IDLE, True), (position(13_499), False)])
def test_a_call_ends_when_its_position_is_healthy_or_backs_nothing(level: str, healed: Any, is_due: bool) -> None:
    keys = due(healed, call(level, BURN + 400))
    assert (f"resolve-margin-call:{KEY}:3" in keys) is is_due


def test_calls_stop_with_the_switch_but_may_end() -> None:
    assert due(position(13_200), tripped=("liquidate",)) == []
    assert due(position(12_000), call("soft", BURN), tripped=("liquidate",)) == []
    assert due(position(14_000), call("soft", BURN), tripped=("liquidate",)) == [f"resolve-margin-call:{KEY}:3"]


STALE = row(Asset, asset="STX", active=True, price_usd8=2 * USD, last_round=7, next_round=8, opened_burn=BURN - 7)
ANNOUNCED = row(PriceRound, asset="STX", round=7, state="closed", mode="fallback", opened_burn=BURN)


@pytest.mark.parametrize("price", [STALE, ANNOUNCED])
def test_at_a_stale_or_an_announced_price_nothing_is_due(price: Any) -> None:
    assert due(position(12_000), price) == []
    assert due(position(15_000), call("soft", BURN), price) == []
    assert due(IDLE, call("soft", BURN), price) == [f"resolve-margin-call:{KEY}:3"]


def test_the_last_block_of_a_fresh_price_counts() -> None:
    last = row(Asset, asset="STX", active=True, price_usd8=2 * USD, last_round=7, next_round=8, opened_burn=BURN - 6)
    assert due(position(12_000), last) == [f"issue-margin-call:{KEY}"]


def test_an_intent_is_worth_what_the_position_backs_and_goes_by_the_rescue_lane() -> None:
    (intent,) = ISSUE.check(state(BURN, *rules(BURN), position(12_000)))
    assert (intent.value_usd8, intent.deadline_burn, ISSUE.lane) == (1_000 * USD, BURN + 1, Lane.RESCUE)
    assert intent.entity == f"position:{KEY}"
    assert "under" in intent.cause
    call_ = ISSUE.call([intent.item])
    assert (call_.contract, call_.function) == ("bh-liquidation", "issue-margin-call")
    assert call_.arguments == (principal(PROVIDER), StringAscii(TIER), principal(STX))
