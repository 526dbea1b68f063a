"""A keeper on the toy chain that takes one turn at a time: what others did, and what took a transaction's place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.keeper_world import FUNDS, ToyExecutor, ToyReader, World, settings, toy_jobs
from support.turning_keeper import TurningKeeper, turning

from clarion_keeper import looking
from clarion_keeper.engine import Parts
from clarion_keeper.executor import Declined, Draft, ExecutorError, Fate, Outgoing, Seen, Signed, Work
from clarion_keeper.graph import Receipt
from clarion_keeper.intents import Amount, Outcome
from clarion_keeper.observer import Observer
from clarion_keeper.signers import SigningRefusedError, exhaustion


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    world = World(database_url).create()
    yield world
    world.close()


class Executor(ToyExecutor):
    """One that remembers what it was asked about.

    ``faulty``: how it fails from the second question on. ``blind_to``: transactions whose fate it cannot tell.
    ``refuses``: what its signer says instead of signing.
    """

    def __init__(self, world: World, address: str) -> None:
        super().__init__(world, address)
        self.asked: list[tuple[str, ...]] = []
        self.faulty: Callable[[], Awaitable[None]] | None = None
        self.blind_to: set[int] = set()
        self.refuses: SigningRefusedError | None = None

    async def follow(self, outgoings: Sequence[Outgoing]) -> tuple[Mapping[int, Seen], Receipt]:
        seen, receipt = await super().follow(outgoings)
        return {id_: Seen(fate=Fate.UNKNOWN) if id_ in self.blind_to else one for id_, one in seen.items()}, receipt

    async def sign(self, draft: Draft, work: Work, *, nonce: int | None) -> Signed | Declined:
        if self.refuses is not None:
            raise self.refuses
        return await super().sign(draft, work, nonce=nonce)

    async def over(self, work: Work) -> Sequence[Outcome | None]:
        self.asked.append(work.keys)
        if self.faulty is not None and len(self.asked) > 1:
            await self.faulty()
        return await super().over(work)


async def no_answer() -> None:
    raise ExecutorError("no node answers")


async def mistake() -> None:
    raise ZeroDivisionError


async def silence() -> None:
    await asyncio.Event().wait()


class Told(Observer):
    """Remembers the fee and the gain of what is final, and how often a signer refused."""

    def __init__(self) -> None:
        self.booked: list[tuple[int, list[Amount]]] = []
        self.refusals = 0

    def refused(self, account: str, job: str, reason: str) -> None:
        self.refusals += 1

    def final(self, account: str, fee: int, earned: Sequence[Amount]) -> None:
        self.booked.append((fee, list(earned)))


@pytest.fixture
async def keeper(world: World) -> AsyncIterator[TurningKeeper]:
    executors = {"hurry": Executor(world, "HURRY"), "rest": Executor(world, "REST")}
    parts = Parts(jobs=toy_jobs(world), readers={"stacks": ToyReader(world)}, executors=executors)
    async with turning(settings(), world.url, parts, Told()) as keeper:
        yield keeper


def asked(keeper: TurningKeeper) -> list[tuple[str, ...]]:
    return [keys for executor in keeper.parts.executors.values() for keys in executor.asked]  # type: ignore[attr-defined]


def ends(world: World) -> dict[str, tuple[Any, ...]]:
    """State, whether somebody else did it, and outcome of every intent."""
    rows = world.query("SELECT key, state, benign, outcome FROM keeper.intent ORDER BY id")
    return {key: tuple(rest) for key, *rest in rows}


BY_SOMEBODY = ("done", True, "somebody else did it")
NOT_DUE = ("cancelled", False, "no longer due")


async def test_what_a_rival_does_between_two_looks_is_done(world: World, keeper: TurningKeeper) -> None:
    world.mine(things={f"{job}-{number}": {"job": job} for job in ("rescue", "settle") for number in range(4)})
    await keeper.look()
    world.rival(["rescue-1", "settle-0", "settle-1", "settle-2", "settle-3"])
    await keeper.look()
    found = ends(world)
    assert {key for key, end in found.items() if end == BY_SOMEBODY} == {
        "rescue:rescue-1", *(f"settle:settle-{number}" for number in range(4)),
    }  # fmt: skip
    assert {end[0] for end in found.values()} == {"done", "planned"}
    # in batches as large as the job's transactions, and each once
    assert sorted(map(len, asked(keeper))) == [1, 1, 3]
    assert world.query("SELECT FROM keeper.attempt") == []
    (reason,) = world.query(
        "SELECT s.detail->>'reason' FROM keeper.step s JOIN keeper.intent i ON i.id = s.intent_id "
        "WHERE i.key = 'rescue:rescue-1' AND s.what = 'waited'"
    )[0]
    assert reason == "somebody else did it, says the node: done already"
    await keeper.look()
    assert len(asked(keeper)) == 3


async def test_a_cause_that_is_taken_back_is_cancelled(world: World, keeper: TurningKeeper) -> None:
    world.mine(blocks=2)
    world.mine(things={"rescue-0": {"job": "rescue"}, "settle-0": {"job": "settle"}})
    await keeper.look()
    world.reorganise(1, keep_things=False)
    await keeper.look()
    assert ends(world) == {"rescue:rescue-0": NOT_DUE, "settle:settle-0": NOT_DUE}
    assert sorted(asked(keeper)) == [("rescue:rescue-0",), ("settle:settle-0",)]


@pytest.mark.parametrize("fault", [no_answer, mistake, silence])
async def test_what_the_chain_does_not_say_in_time_is_cancelled(
    world: World, keeper: TurningKeeper, fault: Callable[[], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    world.mine(things={"rescue-0": {"job": "rescue", "value": 2}, "rescue-1": {"job": "rescue", "value": 1}})
    await keeper.look()
    world.rival(["rescue-0", "rescue-1"])
    hurry = keeper.parts.executors["hurry"]
    assert isinstance(hurry, Executor)
    hurry.faulty = fault
    monkeypatch.setattr(looking, "OTHERS_SECONDS", 0.2)
    await keeper.look()
    assert ends(world) == {"rescue:rescue-0": BY_SOMEBODY, "rescue:rescue-1": NOT_DUE}


async def test_a_lane_that_no_account_serves_is_not_asked_about(world: World, keeper: TurningKeeper) -> None:
    world.mine(things={"odd": {"job": "watch"}, "rescue-0": {"job": "rescue"}})
    del keeper.serving[("stacks", keeper.parts.jobs[1].lane)]
    await keeper.look()
    world.rival(["odd", "rescue-0"])
    await keeper.look()
    assert ends(world) == {"watch:odd": ("done", False, "over"), "rescue:rescue-0": NOT_DUE}
    assert asked(keeper) == []


def transactions(world: World) -> list[tuple[Any, ...]]:
    """Nonce, state and paid fee of everything that was signed, in order."""
    return world.query("SELECT nonce::int, state, fee_paid::int FROM keeper.outgoing ORDER BY id")


def back_in_the_mempool(world: World, first: int = 0) -> None:
    """The bytes of what was signed from the ``first`` on are with the nodes again, and nothing else."""
    rows = world.query("SELECT encode(tx_id, 'hex') FROM keeper.attempt ORDER BY outgoing_id, number")
    with world.changing() as state:
        state["mempool"] = [tx_id for (tx_id,) in rows[first:]]


async def test_an_hour_that_is_used_up_is_said_once_for_all_that_waits(
    world: World, keeper: TurningKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = keeper.observer
    assert isinstance(told, Told)
    executor = keeper.parts.executors["rest"]
    assert isinstance(executor, Executor)
    executor.refuses = SigningRefusedError("max_hourly", "some come free at noon")
    with capture_logs() as lines:
        for number in range(3):
            world.mine(things={f"{job}-{number}": {"job": job} for job in ("settle", "upkeep")})
            await keeper.turn()
    assert [line for line in lines if line["log_level"] in ("warning", "error")] == [
        {
            "event": "the signer refuses",
            "log_level": "error",
            "account": "rest",
            "job": "settle",
            "reason": "some come free at noon",
        }
    ]
    assert told.refusals == 2 + 2 + 3, "each batch is counted"
    waiting = world.query("SELECT DISTINCT waiting FROM keeper.intent WHERE state = 'planned'")
    assert waiting == [("the hourly limit of the signer is used up: some come free at noon",)]
    monkeypatch.setattr(exhaustion, "QUIET_SECONDS", 0)
    executor.refuses = None
    world.mine()
    with capture_logs() as lines:
        await keeper.turn()
    assert [line["event"] for line in lines].count("the signer's hourly limit is not used up any more") == 1
    assert world.query("SELECT count(*) FROM keeper.intent WHERE state = 'planned'") == [(0,)]


PAID = {"job": "rescue", "reward": 20_000}


async def test_a_fee_and_a_gain_are_told_of_once_they_are_final(world: World, keeper: TurningKeeper) -> None:
    told = keeper.observer
    assert isinstance(told, Told)
    world.mine(things={f"settle-{number}": {"job": "settle", "reward": 1_000} for number in range(2)})
    await keeper.turn()
    world.mine()
    await keeper.turn()
    world.reorganise(1)
    await keeper.turn()
    world.mine(blocks=6)
    await keeper.turn()
    assert transactions(world) == [(0, "mined", 100)]
    assert told.booked == []
    world.mine()
    for _ in range(2):
        await keeper.turn()
        assert told.booked == [(100, [Amount(token="STX", amount=2_000)])]


async def displaced(world: World, keeper: TurningKeeper) -> None:
    """Something else takes the nonce of the only transaction."""
    world.mine(things={"rescue-0": PAID})
    await keeper.turn()
    world.usurp("HURRY")
    await keeper.turn()
    assert transactions(world) == [(0, "displaced", None)]
    assert ends(world) == {"rescue:rescue-0": ("cancelled", False, "nonce 0 was used by another transaction")}


async def test_what_is_displaced_for_good_is_rejected(world: World, keeper: TurningKeeper) -> None:
    await displaced(world, keeper)
    await keeper.turn()
    assert transactions(world) == [(0, "displaced", None), (1, "broadcast", None)], "what it carried is still due"
    world.mine(blocks=5)
    await keeper.turn()
    assert transactions(world) == [(0, "displaced", None), (1, "mined", 100)]
    world.mine()
    await keeper.turn()
    assert transactions(world)[0] == (0, "rejected", None)
    assert world.query("SELECT state FROM keeper.attempt ORDER BY outgoing_id") == [("refused",), ("mined",)]


@pytest.mark.parametrize("dropped", [False, True])
async def test_what_displaced_it_is_taken_back_and_the_same_bytes_go_out(
    world: World, keeper: TurningKeeper, dropped: bool
) -> None:
    await displaced(world, keeper)
    world.reorganise(1, drop=True)
    if not dropped:
        back_in_the_mempool(world)
    await keeper.turn()
    assert transactions(world) == [(0, "broadcast", None)]
    assert len(world.read()["mempool"]) == 1
    world.mine()
    await keeper.turn()
    assert transactions(world) == [(0, "mined", 100)]
    found = world.query("SELECT state, benign, earned_amount::int FROM keeper.intent ORDER BY id")
    assert [end for end in found if end[0] != "cancelled"] == [("done", False, 20_000)]
    assert world.balance("HURRY") == FUNDS + 20_000 - 100


async def test_what_is_mined_after_all_is_in_the_books(world: World, keeper: TurningKeeper) -> None:
    """It does what the next one was signed for."""
    await displaced(world, keeper)
    await keeper.turn()
    assert transactions(world) == [(0, "displaced", None), (1, "broadcast", None)]
    world.reorganise(1, drop=True)
    back_in_the_mempool(world)
    world.set(capacity=1)
    world.mine()
    await keeper.turn()
    assert transactions(world) == [(0, "mined", 100), (1, "broadcast", None)]
    world.mine()
    await keeper.turn()
    assert transactions(world) == [(0, "mined", 100), (1, "mined", 100)]
    assert world.query("SELECT state, benign, earned_amount::int FROM keeper.intent ORDER BY id") == [
        ("done", False, 20_000),
        ("done", True, None),
    ]
    assert world.balance("HURRY") == FUNDS + 20_000 - 2 * 100
    world.mine(blocks=6)
    await keeper.turn()
    assert transactions(world) == [(0, "final", 100), (1, "final", 100)]


async def test_of_two_with_one_nonce_the_living_is_followed_first(world: World, keeper: TurningKeeper) -> None:
    await displaced(world, keeper)
    world.reorganise(1, drop=True)
    hurry = keeper.parts.executors["hurry"]
    assert isinstance(hurry, Executor)
    world.mine(things={"rescue-1": {**PAID, "value": 1}})
    hurry.blind_to = {1}
    await keeper.turn()
    # the nonce went to what is worth more
    assert transactions(world) == [(0, "displaced", None), (0, "broadcast", None), (1, "broadcast", None)]
    hurry.blind_to = set()
    await keeper.turn()
    assert transactions(world)[0] == (0, "displaced", None), "its place is taken"
    (height,) = world.query("SELECT height FROM keeper.outgoing ORDER BY id")[0]
    assert height == world.read()["blocks"][-1]["height"]
    back_in_the_mempool(world)
    with world.changing() as state:
        del state["mempool"][1:]
    world.mine()
    hurry.blind_to = {2}
    await keeper.turn()
    assert transactions(world)[:2] == [(0, "displaced", None), (0, "broadcast", None)], "it waits for its turn"
    hurry.blind_to = set()
    await keeper.turn()
    assert transactions(world)[:2] == [(0, "mined", 100), (0, "displaced", None)]
    assert world.query("SELECT key, earned_amount::int FROM keeper.intent WHERE state = 'done'") == [
        ("rescue:rescue-0", 20_000)
    ]
