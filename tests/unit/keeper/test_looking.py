"""What a job's look at the chain comes to where its author made a mistake."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from clarion_keeper.graph import Reader, Receipt
from clarion_keeper.intents import Intent, Item, Lane
from clarion_keeper.job import Job
from clarion_keeper.looking import look
from clarion_keeper.observer import Observer

RECEIPT = Receipt(5, "0x05", 50, 105)


@dataclass(frozen=True)
class State:
    receipt: Receipt = RECEIPT


class Sweep(Job[State]):
    name = "sweep"
    lane = Lane.UPKEEP

    def __init__(self, *due: Intent) -> None:
        self._due = due

    async def read(self, reader: Reader) -> State:
        return State()

    def check(self, state: State) -> Sequence[Intent]:
        return self._due

    def group(self, item: Item) -> str:
        return str(item["token"])


def intent(key: str, job: str = "sweep", **item: str) -> Intent:
    return Intent(key=key, job=job, item=item)


async def test_what_is_due_is_told_by_key() -> None:
    one, other = intent("sweep:1", token="STX"), intent("sweep:2", token="sBTC")
    found = await look(Sweep(one, other), Reader("http://graphql.test/graphql"), Observer())
    assert (found.error, found.receipt, found.due) == (None, RECEIPT, {"sweep:1": one, "sweep:2": other})


@pytest.mark.parametrize(
    ("due", "reason"),
    [
        ([intent("sweep:1", token="STX")] * 2, "sweep gives sweep:1 twice"),
        ([intent("settle:1", "settle", token="STX")], "an intent of the job settle"),
        ([intent("sweep:1")], "KeyError('token')"),
    ],
)
async def test_a_mistake_is_the_jobs_alone(due: list[Intent], reason: str) -> None:
    found = await look(Sweep(*due), Reader("http://graphql.test/graphql"), Observer())
    assert found.due == {}
    assert reason in str(found.error)
