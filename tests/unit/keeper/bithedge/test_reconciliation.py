"""Rows against read-only calls: what differs is found, shown, held and looked at again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from support.bithedge_keeper import COIN, PROVIDER, STX, TIER, row, rules, state

from clarion.chains.stacks.clarity import Value
from clarion.protocols.bithedge.tables import MarginCall, Policy, Position
from clarion_keeper.bithedge.reading import Index
from clarion_keeper.bithedge.reconciliation import MOST_CALLS, Drift, Reconcile, ReconciliationState, Subject, compare
from clarion_keeper.bithedge.reconciliation import subjects as all_subjects
from clarion_keeper.graph import Receipt

BURN = 100
POSITION = row(Position, provider=PROVIDER, tier=TIER, token=STX, available=3 * COIN, locked=COIN, liability_usd8=7)
ENTITY = f"position:{PROVIDER}:{TIER}:{STX}"
ON_CHAIN = {"available": 3 * COIN, "locked": COIN, "requested": 0, "liability-usd8": 7}


def subjects(*rows: Any) -> list[Subject]:
    return list(all_subjects(state(BURN, *rows).chain))


async def drifts(found: Sequence[Subject], answer: Any) -> list[Drift]:
    async def ask(contract: str, function: str, arguments: Sequence[Value]) -> Any:
        return answer

    return await compare(found, ask)


async def test_a_row_that_is_what_the_contract_says_is_no_drift() -> None:
    found = subjects(POSITION)
    assert [subject.entity for subject in found] == [ENTITY]
    assert await drifts(found, ON_CHAIN | {"more": 1}) == []


@pytest.mark.parametrize("field", list(ON_CHAIN))
async def test_each_field_that_differs_is_named_with_both_values(field: str) -> None:
    (drift,) = await drifts(subjects(POSITION), ON_CHAIN | {field: 99})
    assert drift.fields == {field: (ON_CHAIN[field], 99)}
    assert f"{field} is {ON_CHAIN[field]} in the index, 99 on chain" in drift.in_words


async def test_a_row_of_something_that_is_not_there_is_drift() -> None:
    (drift,) = await drifts(subjects(POSITION), None)
    assert set(drift.fields) == set(ON_CHAIN)


def test_everything_that_jobs_act_on_is_compared() -> None:
    call = row(MarginCall, id=3, provider=PROVIDER, tier=TIER, token=STX, state="open", level="soft")
    found = subjects(*rules(BURN), POSITION, call, row(Policy, id=5, state="active"))
    assert [(one.entity, one.function) for one in found] == [
        ("asset:BTC", "get-asset"),
        ("asset:STX", "get-asset"),
        (ENTITY, "get-call"),
        (ENTITY, "get-position"),
        ("policy:5", "get-policy"),
    ]


def test_an_intent_holds_what_differs() -> None:
    (subject,) = subjects(POSITION)
    drift = Drift(subject, {"locked": (1, 2)})
    job = Reconcile(Index("ST1"), "http://node.test")
    (intent,) = job.check(ReconciliationState(Receipt(1, "0x01", 1, 1), {ENTITY: drift}))
    assert (intent.key, intent.entity) == (f"reconcile:{ENTITY}", ENTITY)
    assert (job.holds, job.chain) == (True, "none")
    assert job.check(ReconciliationState(Receipt(1, "0x01", 1, 1), {})) == []


def test_many_rows_take_turns_until_each_was_compared() -> None:
    job: Any = Reconcile(Index("ST1"), "http://node.test")
    found = subjects(*rules(BURN), *(row(Policy, id=number, state="active") for number in range(350)))
    looked: set[str] = set()
    for _ in range(4):
        chosen = job._chosen(found)
        assert len(chosen) <= MOST_CALLS
        assert {"asset:BTC", "asset:STX"} <= {subject.entity for subject in chosen}
        looked |= {subject.entity for subject in chosen}
        job._turn += 1
    assert len(looked) == 352


def test_what_differs_is_looked_at_in_every_turn() -> None:
    job: Any = Reconcile(Index("ST1"), "http://node.test")
    found = subjects(*(row(Policy, id=number, state="active") for number in range(350)))
    job._drifts = {"policy:340": Drift(found[340], {})}
    for _ in range(3):
        chosen = [subject.entity for subject in job._chosen(found)]
        assert chosen.count("policy:340") == 1
        job._turn += 1
