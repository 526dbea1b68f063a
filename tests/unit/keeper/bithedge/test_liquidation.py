"""Liquidations: who is taken over by whom, for what, and when not, from rows made by hand."""

from __future__ import annotations

from typing import Any

import pytest
from support.bithedge_keeper import COIN, FUND, INDEX, KEEPER, PROVIDER, STX, TIER, USD, row, rules, state

from clarion.chains.stacks.clarity import Err, Ok, UInt, principal
from clarion.protocols.bithedge.tables import (
    Allocation,
    FundCover,
    FundHolding,
    FundTakeover,
    MarginCall,
    Policy,
    Position,
    Switch,
)
from clarion_keeper.bithedge.liquidation import Liquidate
from clarion_keeper.intents import Amount, Intent, Verdict

BURN = 1_000
JOB = Liquidate(INDEX, KEEPER)
FAR = BURN + 3_000
CALL = {"id": 3, "provider": PROVIDER, "tier": TIER, "token": STX, "state": "open"}


def hard(deadline: int = BURN - 1, **values: Any) -> Any:
    return row(MarginCall, **{**CALL, "level": "hard", "deadline_burn": deadline, "round": 6, **values})


def backed(number: int, liability: int, collateral: int, *, expiry: int = FAR, provider: str = PROVIDER) -> list[Any]:
    """A put far out of the money with one allocation; amounts in USD and STX."""
    terms = {"type": "put", "asset": "BTC", "strike_usd8": 90_000 * USD, "notional_sat": liability * 10**8 // 90_000}
    where = {"tier": TIER, "token": STX, "expiry_burn": expiry, "state": "active"}
    return [
        row(Policy, id=number, max_payout_usd8=liability * USD, **terms, **where),
        row(
            Allocation,
            policy=number,
            provider=provider,
            liability_usd8=liability * USD,
            collateral=collateral * COIN,
            **where,
        ),
    ]


def position(provider: str, available: int, locked: int, liability: int) -> Any:
    """Amounts in STX and USD."""
    amounts = {"available": available * COIN, "locked": locked * COIN, "liability_usd8": liability * USD}
    return row(Position, provider=provider, tier=TIER, token=STX, **amounts)


RICH_FUND = [
    position(FUND, 10**6, 0, 0),
    row(FundCover, tier=TIER, token=STX, max_liability_usd8=10**9 * USD),
    row(FundHolding, token=STX, balance=10**12, cover=0),
]
#: 1,000 USD of liability behind 600 STX of which 540 USD count twice over: a health of 108%.
FAILING = [position(PROVIDER, 0, 600, 1_000), *backed(1, 1_000, 600)]


def due(*rows: Any, burn: int = BURN, tripped: tuple[str, ...] = (), **more: Any) -> list[Intent]:
    return list(JOB.check(state(burn, *rules(burn, tripped=tripped, **more), *rows)))


def test_a_position_past_its_deadline_passes_to_the_fund_for_a_bounty() -> None:
    (intent,) = due(*FAILING, hard(), *RICH_FUND)
    assert intent.key == f"liquidate:1:{PROVIDER}"
    assert (intent.item["taker"], intent.item["min-paid"]) == (FUND, 0)
    assert intent.reward == Amount(token=STX, amount=6 * COIN)
    assert (intent.value_usd8, intent.deadline_burn) == (1_000 * USD, BURN + 1)
    call = JOB.call([intent.item])
    assert (call.contract, call.function, call.post_conditions) == ("bh-liquidation", "liquidate", ())
    assert call.arguments == (UInt(1), principal(PROVIDER), principal(FUND), UInt(0))


@pytest.mark.parametrize(
    "rows",
    [
        [hard(BURN)],
        [hard(level="soft")],
        [hard(state="resolved")],
        [hard(round=7)],
        [hard(), row(Switch, name="deposit", is_open=True, since_burn=BURN - 144)],
        [hard(), position(PROVIDER, 900, 600, 1_000)],
        [],
    ],
    ids=["not over", "soft", "ended", "same round", "deposits just reopened", "healthy", "no call"],
)
def test_a_call_whose_time_has_not_come_is_left_alone(rows: list[Any]) -> None:
    assert due(*FAILING, *RICH_FUND, *rows) == []


def test_an_insolvent_position_has_no_time() -> None:
    assert len(due(*FAILING, *RICH_FUND, hard(BURN + 100), stx=1)) == 1


@pytest.mark.parametrize("switch", ["liquidate", "deposit"])
def test_nothing_passes_on_while_a_switch_is_off(switch: str) -> None:
    assert due(*FAILING, hard(), *RICH_FUND, tripped=(switch,)) == []


@pytest.mark.parametrize(
    "rows",
    [
        [position(FUND, 500, 0, 0)],
        [position(FUND, 2_000, 0, 0)],
        [row(FundCover, tier=TIER, token=STX, max_liability_usd8=999 * USD)],
        [row(FundHolding, token=STX, balance=10, cover=10)],
        [row(FundTakeover, seq=1, policy=1, collateral=250_000 * COIN)],
        backed(1, 1_000, 600, expiry=BURN + 143),
        backed(1, 1_000, 600, expiry=BURN),
    ],
    ids=["no capital", "too large a share", "liability", "critical", "taken before", "too soon", "expired"],
)
def test_the_fund_takes_only_what_it_can_bear(rows: list[Any]) -> None:
    assert due(*FAILING, hard(), *RICH_FUND, *rows) == []


def test_the_keepers_own_position_takes_what_the_fund_cannot_if_it_is_paid_the_whole_price() -> None:
    own = position(KEEPER, 5_000, 0, 0)
    (intent,) = due(*FAILING, hard(), own)
    assert intent.item["taker"] == KEEPER
    assert 0 < int(intent.item["min-paid"]) <= 600 * COIN
    poor = [position(PROVIDER, 0, 600, 1_000), *backed(1, 1_000, 2)]
    assert due(*poor, hard(), own) == []


def test_the_fund_comes_first_and_nobody_takes_over_from_itself() -> None:
    own = position(KEEPER, 5_000, 0, 0)
    (intent,) = due(*FAILING, hard(), own, *RICH_FUND)
    assert intent.item["taker"] == FUND
    of_fund = [position(FUND, 0, 600, 1_000), *backed(1, 1_000, 600, provider=FUND)]
    (intent,) = due(*of_fund, *RICH_FUND[1:], hard(provider=FUND), own)
    assert intent.item["taker"] == KEEPER


def test_only_as_many_allocations_pass_on_as_bring_the_position_back() -> None:
    parts = [*backed(1, 300, 200), *backed(2, 500, 200), *backed(3, 200, 200)]
    failing = [position(PROVIDER, 0, 600, 1_000), *parts]
    intents = due(*failing, hard(), *RICH_FUND)
    assert [intent.item["policy"] for intent in intents] == [2]
    worse = [position(PROVIDER, 0, 600, 2_000), *backed(1, 700, 200), *backed(2, 800, 200), *backed(3, 500, 200)]
    intents = due(*worse, hard(), *RICH_FUND)
    assert [intent.item["policy"] for intent in intents] == [2, 1]


def test_what_a_taker_bears_already_counts_for_the_next() -> None:
    parts = [*backed(1, 700, 200), *backed(2, 800, 200), *backed(3, 500, 200)]
    own = position(KEEPER, 800, 0, 0)
    intents = due(position(PROVIDER, 0, 600, 2_000), *parts, hard(), own)
    assert [intent.item["policy"] for intent in intents] == [2]


def test_one_policy_passes_on_once_a_look() -> None:
    other = "ST2REHHS5J3CERCRBEPMGH7921Q6PYKAADT7JP2VB"
    rows = [*FAILING, position(other, 0, 600, 1_000), *backed(1, 1_000, 600, provider=other)[1:]]
    intents = due(*rows, hard(), hard(id=4, provider=other), *RICH_FUND)
    assert [intent.item["policy"] for intent in intents] == [1]


def test_what_is_earned_is_said_where_the_call_went_through() -> None:
    (intent,) = due(*FAILING, hard(), *RICH_FUND)
    (done,) = JOB.outcomes([intent.item], Ok(UInt(1)))
    assert (done.verdict, done.benign, done.earned) == (Verdict.DONE, False, intent.reward)
    (first,) = JOB.outcomes([intent.item], Err(UInt(9013)))
    assert (first.verdict, first.benign, first.earned) == (Verdict.DONE, True, None)
    (later,) = JOB.outcomes([intent.item], Err(UInt(9010)))
    assert later.verdict is Verdict.AGAIN
