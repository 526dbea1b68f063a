"""Settlement: what is due, what it is worth, how batches shrink and grow."""

from __future__ import annotations

from typing import Any

import pytest
from support.bithedge_keeper import INDEX, KEEPER, PROVIDER, SBTC, STX, TIER, USD, row, rules, state

from clarion.chains.stacks.clarity import Err, List, Ok, Tuple, UInt, Value
from clarion.protocols.bithedge.tables import Allocation, ExpiryPrice, Policy, PriceRound
from clarion_keeper.bithedge.settlement import MOST_POLICIES, Settle
from clarion_keeper.intents import Item, Verdict

BURN = 120
STRIKE = 90_000 * USD
ITEMS: list[Item] = [{"policy": 7, "token": SBTC}, {"policy": 8, "token": SBTC}]


def job() -> Settle:
    return Settle(INDEX, KEEPER)


def policy(number: int, expiry: int, token: str = STX, notional: int = 10**6) -> list[Any]:
    """A put at 90,000 with one allocation that can pay all of it."""
    terms = {"type": "put", "asset": "BTC", "strike_usd8": STRIKE, "notional_sat": notional}
    most = STRIKE * notional // 10**8
    made = row(Policy, id=number, token=token, expiry_burn=expiry, max_payout_usd8=most, state="active", **terms)
    backed = {"liability_usd8": most, "collateral": 10**15, "state": "active"}
    return [made, row(Allocation, policy=number, provider=PROVIDER, tier=TIER, token=token, **backed)]


def fixed(asset: str, expiry: int, price: int) -> list[Any]:
    number = expiry * 10
    return [
        row(ExpiryPrice, asset=asset, expiry_burn=expiry, round=number, price_usd8=price * USD),
        row(PriceRound, asset=asset, round=number, state="closed", opened_burn=expiry, closed_burn=expiry + 4),
    ]


def due(*rows: Any) -> list[Any]:
    return list(job().check(state(BURN, *rules(BURN), *rows)))


def test_a_policy_is_due_once_both_its_prices_are_fixed() -> None:
    rows = [*policy(7, 100), *policy(8, 90, SBTC), *fixed("BTC", 100, 80_000), *fixed("BTC", 90, 80_000)]
    assert [intent.key for intent in due(*rows)] == ["settle:8"]
    assert [intent.key for intent in due(*rows, *fixed("STX", 100, 2))] == ["settle:8", "settle:7"]


def test_its_value_is_what_its_owner_gets_and_its_deadline_follows_the_later_price() -> None:
    rows = [*policy(7, 100, SBTC), *fixed("BTC", 100, 80_000)]
    (intent,) = due(*rows)
    assert (intent.value_usd8, intent.deadline_burn, intent.entity) == (100 * USD, 106, "policy:7")
    (intent,) = due(*policy(7, 100, SBTC), *fixed("BTC", 100, 95_000))
    assert intent.value_usd8 == 0


@pytest.mark.parametrize(("expiry", "token"), [(BURN + 1, SBTC), (100, "other.token")])
def test_what_has_not_expired_or_is_in_an_unknown_token_is_left_alone(expiry: int, token: str) -> None:
    assert due(*policy(7, expiry, token), *fixed("BTC", expiry, 80_000)) == []


def test_a_policy_that_expires_at_this_very_block_is_due() -> None:
    assert len(due(*policy(7, BURN, SBTC), *fixed("BTC", BURN, 80_000))) == 1


def test_one_policy_is_settled_by_settle_and_several_by_settle_many() -> None:
    one, many = job().call(ITEMS[:1]), job().call(ITEMS)
    assert (one.contract, one.function, one.arguments[0]) == ("bh-policy", "settle", UInt(7))
    assert (many.contract, many.function, many.post_conditions) == ("bh-policy", "settle-many", ())
    (items,) = many.arguments
    assert isinstance(items, List)
    assert [str(entry["token"]) for entry in items if isinstance(entry, Tuple)] == [SBTC, SBTC]


def test_policies_of_different_tokens_go_into_different_transactions() -> None:
    rows = [policy(7, 100), policy(8, 100, SBTC), policy(9, 100), fixed("BTC", 100, 80_000), fixed("STX", 100, 2)]
    groups = {intent.key: job().group(intent.item) for intent in due(*(row for several in rows for row in several))}
    assert groups == {"settle:7": STX, "settle:8": SBTC, "settle:9": STX}


def answers(**codes: int) -> Value:
    entries = [Tuple({"policy": UInt(int(name[1:])), "error": UInt(code)}) for name, code in codes.items()]
    return Ok(List(tuple(entries)))


@pytest.mark.parametrize(
    ("code", "verdict", "benign"),
    [
        (0, Verdict.DONE, False),
        (6012, Verdict.DONE, True),
        (6014, Verdict.AGAIN, False),
        (6013, Verdict.AGAIN, False),
        (5024, Verdict.AGAIN, False),
        (5033, Verdict.FAILED, False),
    ],
)
def test_a_batch_is_judged_policy_by_policy(code: int, verdict: Verdict, benign: bool) -> None:
    first, second = job().outcomes(ITEMS, answers(p8=code, p7=0))
    assert first.verdict is Verdict.DONE
    assert (second.verdict, second.benign) == (verdict, benign)


def test_an_answer_that_misses_a_policy_fails_it() -> None:
    assert [o.verdict for o in job().outcomes(ITEMS, answers(p7=0))] == [Verdict.DONE, Verdict.FAILED]
    assert [o.verdict for o in job().outcomes(ITEMS, UInt(1))] == [Verdict.FAILED, Verdict.FAILED]


@pytest.mark.parametrize(("code", "verdict"), [(6012, Verdict.DONE), (6011, Verdict.AGAIN), (1, Verdict.FAILED)])
def test_a_single_policy_is_judged_by_its_error(code: int, verdict: Verdict) -> None:
    assert [o.verdict for o in job().outcomes(ITEMS[:1], Err(UInt(code)))] == [verdict]


def test_a_batch_without_a_result_is_halved_down_to_single_policies_and_grows_again() -> None:
    settle = job()
    sizes = []
    items: list[Item] = [{"policy": number, "token": STX} for number in range(MOST_POLICIES)]
    for _ in range(6):
        outcomes = settle.outcomes(items[: settle.batch_size], None)
        assert {outcome.verdict for outcome in outcomes} == {Verdict.AGAIN}
        sizes.append(settle.batch_size)
    assert sizes == [10, 5, 2, 1, 1, 1]
    settle.outcomes(items[:1], Ok(UInt(1)))
    for size in (2, 4, 8, 16, 20, 20):
        assert settle.batch_size == size
        settle.outcomes(items[:size], answers(**{f"p{number}": 0 for number in range(size)}))


def test_a_small_batch_that_goes_through_says_nothing_of_larger_ones() -> None:
    settle = job()
    settle.outcomes(ITEMS * 8, None)
    settle.outcomes(ITEMS, answers(p7=0, p8=0))
    assert settle.batch_size == 8
