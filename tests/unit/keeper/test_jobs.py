"""What the keeper decides, from states alone."""

from __future__ import annotations

import pytest

from clarion.chains.stacks.clarity import Err, List, Ok, Tuple, UInt, Value
from clarion_keeper.jobs import FixExpiryPrice, Intent, Item, Settle, Verdict
from clarion_keeper.state import BitHedgeState, ClosedRound, DuePolicy, Receipt

DEPLOYER = "ST1PQHQKV0RJXZFY1DGX8MNSNYVE3VGZJSRTPGZGM"
STX = f"{DEPLOYER}.bh-stx"
SBTC = "SM3VDXK3WZZSA84XXFKAFAF15NNZX32CTSG82JFQ4.sbtc-token"
RECEIPT = Receipt(height=40, hash="0x01", burn_height=120, sequence=9)


def state(
    *due: DuePolicy, rounds: tuple[ClosedRound, ...] = (), fixed: frozenset[tuple[str, int]] = frozenset()
) -> BitHedgeState:
    return BitHedgeState(RECEIPT, due, {STX: "STX", SBTC: "BTC"}, rounds, fixed)


def keys(intents: list[Intent]) -> list[str]:
    return [intent.key for intent in intents]


def test_a_price_is_fixed_from_the_first_round_opened_at_or_after_the_expiry() -> None:
    rounds = (
        ClosedRound("BTC", 4, 99),
        ClosedRound("BTC", 6, 103),
        ClosedRound("BTC", 5, 100),
        ClosedRound("STX", 2, 101),
    )
    intents = FixExpiryPrice().check(state(DuePolicy(1, "BTC", STX, 100), DuePolicy(2, "BTC", STX, 100), rounds=rounds))
    assert [intent.item for intent in intents] == [
        {"asset": "BTC", "expiry": 100, "round": 5},
        {"asset": "STX", "expiry": 100, "round": 2},
    ]
    assert len(set(keys(intents))) == 2


def test_nothing_is_fixed_twice_or_before_a_round_can_answer() -> None:
    policy = DuePolicy(1, "BTC", SBTC, 100)
    early = (ClosedRound("BTC", 4, 99),)
    answer = (ClosedRound("BTC", 5, 100),)
    assert FixExpiryPrice().check(state(policy, rounds=early)) == []
    assert FixExpiryPrice().check(state(policy, rounds=answer, fixed=frozenset({("BTC", 100)}))) == []
    assert keys(FixExpiryPrice().check(state(policy, rounds=answer))) == ["fix-expiry-price:BTC:100"]


def test_a_policy_is_settled_once_both_its_prices_are_fixed() -> None:
    on_stx, on_sbtc = DuePolicy(7, "BTC", STX, 100), DuePolicy(8, "BTC", SBTC, 90)
    half = frozenset({("BTC", 100), ("BTC", 90)})
    assert keys(Settle().check(state(on_stx, on_sbtc, fixed=half))) == ["settle:8"]
    both = half | {("STX", 100)}
    assert keys(Settle().check(state(on_stx, on_sbtc, fixed=both))) == ["settle:8", "settle:7"]


def test_a_policy_in_an_unknown_token_is_left_alone() -> None:
    policy = DuePolicy(7, "BTC", f"{DEPLOYER}.other", 100)
    assert Settle().check(state(policy, fixed=frozenset({("BTC", 100)}))) == []


ITEMS: list[Item] = [{"policy": 7, "token": STX}, {"policy": 8, "token": SBTC}]


def answers(**codes: int) -> Value:
    entries = [Tuple({"policy": UInt(int(name[1:])), "error": UInt(code)}) for name, code in codes.items()]
    return Ok(List(tuple(entries)))


@pytest.mark.parametrize(
    ("code", "verdict"),
    [(0, Verdict.DONE), (6012, Verdict.DONE), (6014, Verdict.AGAIN), (6013, Verdict.AGAIN), (5024, Verdict.FAILED)],
)
def test_settle_many_is_judged_item_by_item(code: int, verdict: Verdict) -> None:
    outcomes = Settle().outcomes(ITEMS, answers(p8=code, p7=0))
    assert [outcome.verdict for outcome in outcomes] == [Verdict.DONE, verdict]


def test_an_answer_that_misses_a_policy_or_makes_no_sense_fails_it() -> None:
    assert [o.verdict for o in Settle().outcomes(ITEMS, answers(p7=0))] == [Verdict.DONE, Verdict.FAILED]
    assert [o.verdict for o in Settle().outcomes(ITEMS, None)] == [Verdict.FAILED, Verdict.FAILED]


@pytest.mark.parametrize(
    ("result", "verdict"),
    [
        (Ok(UInt(1)), Verdict.DONE),
        (Err(UInt(3018)), Verdict.DONE),
        (Err(UInt(3019)), Verdict.AGAIN),
        (Err(UInt(1)), Verdict.FAILED),
        (None, Verdict.FAILED),
    ],
)
def test_an_expiry_price_that_is_fixed_already_counts_as_done(result: Value | None, verdict: Verdict) -> None:
    (outcome,) = FixExpiryPrice().outcomes([{"asset": "BTC", "expiry": 100, "round": 5}], result)
    assert outcome.verdict is verdict


def test_calls_name_the_contract_function_and_typed_arguments() -> None:
    call = Settle().call(ITEMS)
    assert (call.contract, call.function) == ("bh-policy", "settle-many")
    (items,) = call.arguments
    assert isinstance(items, List)
    assert [str(entry["token"]) for entry in items if isinstance(entry, Tuple)] == [STX, SBTC]
