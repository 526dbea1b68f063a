"""Shortfalls and recovery plans, from rows made by hand."""

from __future__ import annotations

from typing import Any

import pytest
from support.bithedge_keeper import COIN, INDEX, KEEPER, SBTC, STX, TIER, USD, row, rules, state

from clarion.protocols.bithedge.tables import (
    Claim,
    FundCover,
    FundHolding,
    FundPayment,
    Policy,
    PriceRound,
    RecoveryPlan,
)
from clarion_keeper.bithedge.fund import CompleteRecovery, CoverShortfall
from clarion_keeper.intents import Intent

BURN = 500
COVER, COMPLETE = CoverShortfall(INDEX, KEEPER), CompleteRecovery(INDEX, KEEPER)


def unpaid(number: int, usd: int) -> Any:
    return row(Policy, id=number, tier=TIER, token=STX, state="settled-itm", unpaid_usd8=usd * USD)


def fund(balance: int, left: int, token: str = STX) -> list[Any]:
    """Amounts in base units."""
    return [
        row(FundHolding, token=token, balance=balance, cover=left),
        row(FundCover, tier=TIER, token=token, left=left, max_liability_usd8=0),
    ]


def due(*rows: Any, tripped: tuple[str, ...] = ()) -> list[Intent]:
    return list(COVER.check(state(BURN, *rules(BURN, tripped=tripped), *rows)))


def test_the_fund_pays_in_the_policys_token_up_to_its_caps() -> None:
    (intent,) = due(unpaid(1, 100), *fund(1_000 * COIN, 900 * COIN))
    assert intent.item == {"policy": 1, "token": STX}
    assert (intent.value_usd8, intent.key) == (100 * USD, f"cover-shortfall:1:{STX}:{100 * USD}")
    (capped,) = due(unpaid(1, 10_000), *fund(1_000 * COIN, 900 * COIN))
    assert capped.value_usd8 == 500 * USD


@pytest.mark.parametrize(
    "rows",
    [
        [],
        fund(1_000 * COIN, 0),
        fund(0, 900 * COIN),
        [*fund(750 * COIN, 900 * COIN), row(FundPayment, seq=1, policy=1, token=STX, amount=250 * COIN)],
        [*fund(1_000 * COIN, 900 * COIN), row(PriceRound, asset="STX", round=7, state="closed", mode="fallback")],
    ],
    ids=["no fund", "no cover", "no balance", "cap reached", "announced price"],
)
def test_where_the_fund_can_pay_nothing_it_is_not_asked(rows: list[Any]) -> None:
    assert due(unpaid(1, 10_000), *rows) == []


def test_an_approved_claim_lifts_the_cap() -> None:
    paid = [*fund(750 * COIN, 900 * COIN), row(FundPayment, seq=1, policy=1, token=STX, amount=250 * COIN)]
    claim = row(Claim, policy=1, state="approved", unpaid_usd8=10_000 * USD, approved_usd8=40 * USD)
    (intent,) = due(unpaid(1, 10_000), *paid, claim)
    assert intent.value_usd8 == 40 * USD


def test_another_token_pays_where_the_policys_own_is_used_up() -> None:
    (intent,) = due(unpaid(1, 100), *fund(0, 0), *fund(10**8, 10**8, SBTC))
    assert intent.item == {"policy": 1, "token": SBTC}


def test_a_payment_of_cents_waits_unless_it_is_all_that_is_left() -> None:
    assert due(unpaid(1, 100), *fund(COIN, COIN)) == []
    dust = row(Policy, id=1, tier=TIER, token=STX, state="settled-itm", unpaid_usd8=2)
    assert [intent.value_usd8 for intent in due(dust, *fund(1_000 * COIN, 900 * COIN))] == []
    cents = row(Policy, id=1, tier=TIER, token=STX, state="settled-itm", unpaid_usd8=USD // 2)
    assert [intent.value_usd8 for intent in due(cents, *fund(1_000 * COIN, 900 * COIN))] == [USD // 2]


def test_what_is_owed_most_goes_first_and_counts_for_the_others() -> None:
    rows = [unpaid(1, 100), unpaid(2, 400), *fund(1_000 * COIN, 210 * COIN)]
    intents = due(*rows)
    assert [(intent.item["policy"], intent.value_usd8) for intent in intents] == [(2, 400 * USD), (1, 20 * USD)]


def test_nothing_is_paid_while_cover_is_switched_off() -> None:
    assert due(unpaid(1, 100), *fund(1_000 * COIN, 900 * COIN), tripped=("cover",)) == []


@pytest.mark.parametrize(
    ("raised", "ends", "is_due"),
    [(100, BURN + 1, True), (99, BURN, False), (99, BURN - 1, True), (0, BURN - 1, True)],
)
def test_a_plan_ends_when_it_is_full_or_over(raised: int, ends: int, is_due: bool) -> None:
    plan = row(RecoveryPlan, id=4, token=STX, target=100, raised=raised, ends_burn=ends, state="open")
    intents = COMPLETE.check(state(BURN, *rules(BURN), plan))
    assert [intent.key for intent in intents] == (["complete-recovery:4"] if is_due else [])


def test_a_plan_that_has_ended_is_left_alone() -> None:
    plan = row(RecoveryPlan, id=4, token=STX, target=100, raised=100, ends_burn=1, state="completed")
    assert COMPLETE.check(state(BURN, *rules(BURN), plan)) == []
