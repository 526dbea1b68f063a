from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion_keeper.intents import Amount, Item, Lane
from clarion_keeper.planner import RESERVED_SLOTS, Means, Rule, gate, plan, urgency
from clarion_keeper.rates import Rate
from clarion_keeper.store.intents import Stored

JOBS = {
    "liquidate": (Lane.RESCUE, 1),
    "settle": (Lane.SETTLE, 3),
    "close-round": (Lane.UPKEEP, 2),
    "submit": (Lane.ORACLE, 1),
}


def token_of(item: Item) -> str:
    return str(item["token"])


RULES = {name: Rule(name=name, batch_size=size, group=token_of) for name, (_, size) in JOBS.items()}


def stored(number: int, job: str = "settle", **about: Any) -> Stored:
    defaults: dict[str, Any] = {
        "key": f"{job}:{number}",
        "lane": JOBS[job][0],
        "chain": "stacks",
        "item": {"policy": number, "token": "STX"},
        "state": "planned",
        "value_usd8": 0,
        "reward": None,
        "deadline_burn": None,
        "entity": "",
        "decided_sequence": 1,
        "first_burn": 100,
        "outgoing_id": None,
        "waiting": None,
    }
    return Stored(id=number, job=job, **defaults | about)


def means(*lanes: Lane, slots: int = 25, **about: Any) -> Means:
    return Means(name="main", lanes=lanes or tuple(Lane), slots=slots, balance=about.pop("balance", 10**9), **about)


def planned(candidates: list[Stored], account: Means | None = None, **about: Any) -> Any:
    defaults: dict[str, Any] = {"rules": RULES, "burn_height": 100, "held": {}, "sequence": 1}
    return plan(candidates, means=account or means(), **defaults | about)


candidates = st.lists(
    st.builds(
        lambda number, job, value, first, setbacks, entity, token: stored(
            number, job, value_usd8=value, first_burn=first, setbacks=setbacks, entity=entity, item={"token": token}
        ),
        st.integers(1, 10**6),
        st.sampled_from(sorted(JOBS)),
        st.integers(0, 5),
        st.integers(90, 110),
        st.integers(0, 9),
        st.sampled_from(["", "policy:1", "policy:2"]),
        st.sampled_from(["STX", "sBTC"]),
    ),
    unique_by=lambda intent: intent.id,
    max_size=60,
)


@given(
    candidates,
    st.integers(0, 30),
    st.sets(st.sampled_from(list(Lane)), min_size=1),
    st.integers(0, 4),
    st.sampled_from([{}, {"policy:1": "it differs from the chain"}]),
)
def test_every_intent_of_the_accounts_lanes_is_in_one_batch_or_has_a_reason(
    intents: list[Stored], slots: int, lanes: set[Lane], depth: int, held: dict[str, str]
) -> None:
    rules = {name: replace(rule, depth=depth) for name, rule in RULES.items()}
    account = means(*sorted(lanes, key=lambda lane: lane.rank), slots=slots)
    made = planned(intents, account, rules=rules, held=held)
    batched = [intent for batch in made.batches for intent in batch.intents]
    own = {intent.id for intent in intents if intent.lane in lanes}
    assert sorted([intent.id for intent in batched] + list(made.waiting)) == sorted(own)
    assert all(made.waiting.values())
    assert len(made.batches) <= slots
    for batch in made.batches:
        assert {intent.job for intent in batch.intents} == {batch.job}
        assert len({token_of(intent.item) for intent in batch.intents}) == 1
        assert 0 < len(batch.intents) <= RULES[batch.job].batch_size
        assert all(intent.first_burn + depth <= 100 for intent in batch.intents)
        assert not any(intent.entity in held for intent in batch.intents)
    firsts = [urgency(batch.intents[0]) for batch in made.batches]
    assert firsts == sorted(firsts)


@given(candidates, st.integers(0, 30))
def test_the_order_of_candidates_does_not_matter(intents: list[Stored], slots: int) -> None:
    assert planned(intents, means(slots=slots)) == planned(intents[::-1], means(slots=slots))


@given(candidates, st.integers(0, 40))
def test_less_urgent_lanes_leave_room_for_more_urgent_ones(intents: list[Stored], slots: int) -> None:
    made = planned(intents, means(slots=slots))
    for place, batch in enumerate(made.batches):
        assert slots - (place + 1) >= RESERVED_SLOTS * batch.lane.rank


def test_the_most_at_stake_goes_first_then_the_oldest() -> None:
    small, large, old = stored(1, value_usd8=5), stored(2, value_usd8=50), stored(3, value_usd8=5, first_burn=90)
    rescue = stored(4, "liquidate")
    (first, second) = planned([small, large, old, rescue]).batches
    assert first.intents == (rescue,)
    assert second.intents == (large, old, small)


@pytest.mark.parametrize(
    ("about", "rule", "reason"),
    [
        ({}, {"paused": "a drill"}, "paused: a drill"),
        ({}, {"stale": "the last look at the chain failed: away"}, "the last look at the chain failed: away"),
        ({"first_burn": 99}, {"depth": 2}, "has to stay due until Bitcoin block 101"),
        ({"setbacks": 3}, {}, "has to stay due until Bitcoin block 104, after 3 that came too early"),
        ({"entity": "policy:1"}, {}, "policy:1 is held: it differs"),
        (
            {"decided_sequence": 2},
            {},
            "the account's own transactions are not followed as far as this was decided",
        ),
    ],
)
def test_what_waits_says_why(about: dict[str, Any], rule: dict[str, Any], reason: str) -> None:
    rules = {"settle": replace(RULES["settle"], **rule)}
    made = planned([stored(1, **about)], rules=rules, held={"policy:1": "it differs"})
    assert made.batches == ()
    assert made.waiting == {1: reason}


def test_intents_of_different_groups_never_share_a_transaction() -> None:
    def settle(number: int, token: str) -> Stored:
        return stored(number, value_usd8=10 - number, item={"token": token})

    intents = [settle(1, "STX"), settle(2, "sBTC"), settle(3, "STX"), settle(4, "STX"), settle(5, "STX")]
    made = planned(intents)
    assert [[intent.id for intent in batch.intents] for batch in made.batches] == [[1, 3, 4], [2], [5]]


def test_without_a_slot_it_waits_and_says_for_whom_slots_are_kept() -> None:
    full = planned([stored(1)], means(Lane.SETTLE, slots=0))
    assert "as many transactions pending" in full.waiting[1]
    kept = planned([stored(1)], means(Lane.RESCUE, Lane.SETTLE, slots=RESERVED_SLOTS))
    assert "1 more urgent lane may need" in kept.waiting[1]
    assert planned([stored(1)], means(Lane.RESCUE, Lane.SETTLE, slots=RESERVED_SLOTS + 1)).batches


def test_a_batch_has_the_earliest_deadline_of_its_intents() -> None:
    (batch,) = planned([stored(1, deadline_burn=150), stored(2, deadline_burn=120), stored(3)]).batches
    assert batch.deadline_burn == 120


STX = 2 * 10**8
RATES = {"STX": Rate(STX, 6), "usd": Rate(10**8, 6)}


def test_who_expects_no_reward_is_a_public_service_within_the_budget() -> None:
    fee = Amount(token="STX", amount=1_000)
    assert gate(rewards=[], fee=fee, means=means(), rates={}, min_profit=10**12) is None
    spent = means(hourly_budget=5_000, spent=4_500)
    assert "the hourly budget of account main is used up" in str(
        gate(rewards=[], fee=fee, means=spent, rates={}, min_profit=0)
    )
    enough = means(hourly_budget=5_000, spent=4_000)
    assert gate(rewards=[], fee=fee, means=enough, rates={}, min_profit=0) is None
    poor = means(balance=1_500, min_balance=1_000)
    assert "1000 are to stay" in str(gate(rewards=[], fee=fee, means=poor, rates={}, min_profit=0))


def test_what_leaves_the_account_no_less_needs_no_balance() -> None:
    fee = Amount(token="BTC", amount=1_000)
    poor = means(balance=500, min_balance=400)

    def said(taken: int | None) -> str | None:
        return gate(rewards=[], fee=fee, means=poor, rates={}, min_profit=0, taken=taken)

    assert said(-17_000) is said(0) is said(100) is None, "it pays for itself, or nearly"
    assert said(101) == "account main has 500, of which 400 are to stay, and 101 is needed"
    assert said(None) == "account main has 500, of which 400 are to stay, and 1000 is needed"


def test_a_reward_is_compared_with_the_fee_in_its_own_token_or_at_the_chains_prices() -> None:
    fee = Amount(token="STX", amount=1_000)
    own = [Amount(token="STX", amount=999)]
    assert (
        gate(rewards=own, fee=fee, means=means(), rates={}, min_profit=0) == "at a loss: earns 999 STX and costs 1000"
    )
    assert gate(rewards=own, fee=fee, means=means(), rates={}, min_profit=None) is None
    dollars = [Amount(token="usd", amount=2_000)]
    assert gate(rewards=dollars, fee=fee, means=means(), rates=RATES, min_profit=0) is None
    assert "at a loss: leaves 0" in str(gate(rewards=dollars, fee=fee, means=means(), rates=RATES, min_profit=1))
    assert "nobody knows what usd is worth" in str(
        gate(rewards=dollars, fee=fee, means=means(), rates={"STX": RATES["STX"]}, min_profit=0)
    )


@given(
    st.lists(st.builds(Amount, token=st.sampled_from(["STX", "usd"]), amount=st.integers(0, 10**12)), max_size=5),
    st.integers(1, 10**9),
    st.integers(0, 10**9),
    st.integers(0, 10**10),
    st.integers(0, 10**10),
    st.integers(-(10**9), 10**9),
)
def test_what_passes_is_never_at_a_loss_nor_beyond_the_accounts_means(
    rewards: list[Amount], fee: int, spent: int, budget: int, balance: int, min_profit: int
) -> None:
    account = means(hourly_budget=budget, spent=spent, balance=balance, min_balance=1_000)
    reason = gate(
        rewards=rewards,
        fee=Amount(token="STX", amount=fee),
        means=account,
        rates=RATES,
        min_profit=min_profit,
    )
    earned = sum(amount.amount * RATES[amount.token].usd8 for amount in rewards)
    enough = not rewards or earned - fee * STX >= min_profit * 10**6
    within = spent + fee <= budget and balance - fee >= 1_000
    if reason is None:
        assert within
        assert enough
    elif within and not rewards:
        raise AssertionError("a public service within the budget was refused")
