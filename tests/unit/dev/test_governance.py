"""What the cast does about governance, by what bh-gov says."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any, cast

import pytest

from clarion.chains.stacks.clarity import Value
from clarion.chains.stacks.clarity_forms import to_python
from clarion.chains.stacks.post_conditions import AmountCode
from clarion.dev.accounts import make_cast
from clarion.dev.calls import BitHedgeCalls, Call
from clarion.dev.governance import EVERY_FORGOTTEN, EVERY_STOPPED, EVERY_WITHDRAWN, MIN_STAKE_STX, Governance
from clarion.dev.world import World, WorldReader

CAST = make_cast()
CALLS = BitHedgeCalls(CAST.deployer.address)
VOTERS = CAST.providers[:-1]


class Reader:
    """Answers as contracts would whose state is this."""

    def __init__(self) -> None:
        self.is_governed = True
        self.staked = True
        self.delegate: str | None = CAST.providers[0].address
        self.power = MIN_STAKE_STX
        self.voted = False
        self.number = 0
        self.proposal: dict[str, Any] | None = None

    async def ask(self, contract: str, function: str, *arguments: Value) -> Any:
        known: dict[str, Any] = {
            "has-role": self.is_governed,
            "get-stake": int(self.staked),
            "get-delegate": self.delegate or to_python(arguments[0]),
            "get-power-at": self.power,
            "get-last-proposal": self.number,
            "get-proposal": self.proposal,
            "get-vote": {"choice": "for", "power": 1} if self.voted else None,
        }
        assert contract == ("bh-registry" if function == "has-role" else "bh-gov")
        return known[function]

    def has(self, number: int, state: str) -> None:
        """The last proposal, made at Bitcoin block 100."""
        dates = {"created-burn": 100, "voting-ends-burn": 106, "eta-burn": 108, "grace-ends-burn": 120}
        self.number, self.proposal = number, {"state": state, "actions": 2, **dates}


@pytest.fixture
def reader() -> Reader:
    return Reader()


def plan(
    reader: Reader, *, height: int = 0, burn: int = 100, busy: Collection[str] = (), handover: bool = True
) -> list[Call]:
    governance = Governance(1, CAST, CALLS, cast("WorldReader", reader), handover=handover)
    world = World(
        height=height, burn_height=burn, assets={}, positions={}, yields={}, policies=(), requests=(), owed=()
    )
    return asyncio.run(governance.plan(world, busy))


def told(calls: list[Call]) -> list[tuple[str, str]]:
    return [(call.sender.name, call.function) for call in calls]


def test_one_provider_after_another_stakes_exactly_what_it_says(reader: Reader) -> None:
    reader.staked = reader.is_governed = False
    reader.power = 0
    calls = [plan(reader, height=height) for height in range(len(CAST.providers))]
    assert [told(group) for group in calls] == [[(who.name, "stake")] for who in CAST.providers]
    amounts = [to_python(group[0].arguments[1]) for group in calls]
    assert amounts == sorted(amounts, reverse=True)
    assert sum(amounts) > MIN_STAKE_STX
    for (call,), amount in zip(calls, amounts, strict=True):
        assert call.post_conditions == (CALLS.sends(CALLS.stx_token, amount, AmountCode.EQUAL),)


def test_the_last_provider_lets_the_first_vote(reader: Reader) -> None:
    reader.delegate, reader.is_governed = None, False
    reader.power = 0
    assert told(plan(reader, height=len(CAST.providers) - 1)) == [(CAST.providers[-1].name, "delegate-to")]
    assert plan(reader, height=0) == []


def test_governance_is_handed_over_once_enough_is_staked(reader: Reader) -> None:
    reader.is_governed = False
    assert told(plan(reader)) == [("deployer", "handover")]
    assert plan(reader, handover=False) == []
    reader.power -= 1
    assert plan(reader) == []


def test_one_proposal_at_a_time_and_not_at_once_after_another(reader: Reader) -> None:
    assert told(plan(reader)) == [(VOTERS[1].name, "propose")]
    assert plan(reader, busy=[VOTERS[1].address]) == []
    reader.has(1, "executed")
    assert plan(reader, burn=111) == []
    assert told(plan(reader, burn=112)) == [(VOTERS[2].name, "propose")]


def test_voters_vote_once_and_most_of_them_for_it(reader: Reader) -> None:
    reader.has(1, "active")
    calls = plan(reader)
    assert {call.function for call in calls} == {"vote"}
    choices = [to_python(call.arguments[1]) for call in calls]
    assert choices.count("for") > len(VOTERS) // 2
    assert len({call.sender for call in calls}) == len(calls)
    reader.voted = True
    assert plan(reader) == []


def test_a_vote_that_is_over_is_counted_and_what_passed_is_executed_in_its_time(reader: Reader) -> None:
    reader.has(1, "active")
    assert told(plan(reader, burn=107)) == [(VOTERS[1].name, "finalize")]
    reader.has(1, "queued")
    assert plan(reader, burn=107) == []
    (execution,) = plan(reader, burn=108)
    assert (execution.function, len(to_python(execution.arguments[1]))) == ("execute", 2)


@pytest.mark.parametrize(
    ("number", "state", "burn", "expected"),
    [
        (EVERY_WITHDRAWN, "active", 102, "cancel"),
        (EVERY_STOPPED, "queued", 107, "cancel"),
        (EVERY_FORGOTTEN, "queued", 108, None),
        (EVERY_FORGOTTEN, "queued", 121, "expire"),
    ],
)
def test_some_proposals_fail(reader: Reader, number: int, state: str, burn: int, expected: str | None) -> None:
    reader.has(number, state)
    calls = plan(reader, burn=burn)
    assert [call.function for call in calls] == ([expected] if expected else [])
    if number == EVERY_STOPPED:
        assert calls[0].sender == CAST.guardian
