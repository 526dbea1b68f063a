"""The engine on a real Postgres and a toy chain: nothing lost, nothing twice, nonces whole, books balanced.

Keepers run as processes of their own that are killed, stopped and doubled at every boundary of their work.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from support.keeper_process import Fault, Keepers, lease_over
from support.keeper_world import ACCOUNTS, FUNDS, ToyExecutor, World, toy_engine

from clarion_keeper.observer import STAGES, Observer

TIMEOUT_S = 60
PATIENCE_S = 200
SENDING = ("rescue", "settle", "upkeep")
REWARD = 20_000


@pytest.fixture(scope="module")
def keepers() -> Iterator[Keepers]:
    with Keepers() as keepers:
        yield keepers


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    world = World(database_url).create()
    yield world
    world.close()


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.02)


def work(count: int, **about: Any) -> dict[str, dict[str, Any]]:
    """Things of every job that sends; each pays another reward, which is more than any fee here."""
    return {
        f"{job}-{number}": {"job": job, "value": number, "reward": REWARD + number, **about}
        for job in SENDING
        for number in range(count)
    }


class Pace:
    """Mines when every account has had a turn since the last block: the chain is not faster than the keeper."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._turns: dict[str, Any] = {}

    def mine(self, blocks: int = 1) -> None:
        """Mine, if it is time."""
        turns = dict(self._world.query("SELECT name, checked_at FROM keeper.account"))
        if len(turns) == len(ACCOUNTS) and all(turns[name] != self._turns.get(name) for name in turns):
            self._turns = turns
            self._world.mine(blocks=blocks)


def mine_until_done(world: World, left: Sequence[str] = ()) -> None:
    """Mine what is sent while the keeper works, until nothing else is due."""
    pace = Pace(world)

    def step() -> bool:
        if world.read()["mempool"]:
            pace.mine()
        return world.due() == list(left)

    until(step, "everything to be done")


def settle_books(world: World) -> None:
    """Mine until the keeper has seen everything final."""
    world.mine(blocks=7)

    def closed() -> bool:
        if world.read()["mempool"]:
            world.mine(blocks=7)
        return not world.query(
            "SELECT FROM keeper.outgoing WHERE state NOT IN ('final', 'rejected')"
        ) and not world.query("SELECT FROM keeper.intent WHERE state IN ('planned', 'sent')")

    until(closed, "the books to be closed")


def check_books(world: World, *, wasted: int | None = 0) -> None:
    """The keeper's tables against the chain, and what the tables add up to against the accounts' balances.

    ``wasted``: transactions in which everything was done already.
    """
    state = world.read()
    canonical = [(block, tx) for block in state["blocks"] for tx in block["txs"]]
    senders = {name.upper() for name in ACCOUNTS}
    ours = {tx["id"]: (block, tx) for block, tx in canonical if state["txs"][tx["id"]]["sender"] in senders}

    done = world.done()
    assert {thing: len(by) for thing, by in done.items() if len(by) != 1} == {}, "something was done twice"
    for sender in senders:
        nonces = [state["txs"][tx_id]["nonce"] for tx_id in ours if state["txs"][tx_id]["sender"] == sender]
        assert nonces == list(range(len(nonces))), "nonces are not whole"

    booked = world.query(
        "SELECT encode(tx_id, 'hex'), block_height, fee_paid::bigint FROM keeper.outgoing "
        "WHERE state IN ('mined', 'final')",
    )
    assert {(tx, height, fee) for tx, height, fee in booked} == {
        (tx_id, block["height"], state["txs"][tx_id]["fee"]) for tx_id, (block, _) in ours.items()
    }, "the books are not the chain's"
    assert len(booked) == len(ours)
    paid = dict(world.query("SELECT sender, sum(fee_paid)::bigint FROM keeper.outgoing GROUP BY sender"))
    earned = dict(
        world.query(
            "SELECT o.sender, sum(i.earned_amount)::bigint FROM keeper.intent i "
            "JOIN keeper.outgoing o ON o.id = i.outgoing_id WHERE i.state = 'done' AND i.earned_amount IS NOT NULL "
            "GROUP BY o.sender"
        )
    )
    assert {sender: world.balance(sender) for sender in senders} == {
        sender: FUNDS - (paid.get(sender) or 0) + earned.get(sender, 0) for sender in senders
    }, "fees and rewards in the books are not what the balances say"
    if wasted is not None:
        idle = [tx["id"] for _, tx in ours.values() if tx["results"] and "ok" not in tx["results"].values()]
        assert len(idle) == wasted
    twice = world.query(
        "SELECT key FROM keeper.intent i JOIN keeper.outgoing o ON o.id = i.outgoing_id "
        "WHERE i.state = 'done' AND NOT i.benign AND o.state IN ('mined', 'final') GROUP BY key HAVING count(*) > 1",
    )
    assert twice == [], "an intent was done by two transactions"
    claimed = {
        key
        for (key,) in world.query(
            "SELECT key FROM keeper.intent WHERE state = 'done' AND NOT benign AND chain <> 'none'"
        )
    }
    by_us = {f"{_job_of(state, thing)}:{thing}" for thing, (tx_id,) in done.items() if tx_id in ours}
    assert claimed == by_us, "what counts as done is not what the chain says we did"


def _job_of(state: Any, thing: str) -> str:
    return str(next(block["things"][thing]["job"] for block in state["blocks"] if thing in block["things"]))


def test_everything_due_is_done_once_and_in_order_of_value(world: World, keepers: Keepers) -> None:
    world.mine(things=work(7))
    with keepers.keeper(world.url):
        until(
            lambda: (
                world.query("SELECT FROM keeper.intent WHERE state = 'planned'") == []
                and len(world.query("SELECT FROM keeper.intent WHERE state = 'sent'")) == 21
            ),
            "everything to be sent",
        )
        mine_until_done(world)
        settle_books(world)
    check_books(world)
    rescued = world.query(
        "SELECT i.value_usd8::int FROM keeper.intent i JOIN keeper.outgoing o ON o.id = i.outgoing_id "
        "WHERE i.job = 'rescue' ORDER BY o.nonce",
    )
    assert [value for (value,) in rescued] == [6, 5, 4, 3, 2, 1, 0]
    lanes = world.query("SELECT lane FROM keeper.outgoing WHERE account = 'rest' ORDER BY nonce")
    assert [lane for (lane,) in lanes] == ["settle"] * 3 + ["upkeep"] * 4
    steps = world.query(
        "SELECT what FROM keeper.step s JOIN keeper.intent i ON i.id = s.intent_id WHERE i.key = 'rescue:rescue-6' "
        "ORDER BY s.id",
    )
    assert [what for (what,) in steps] == ["decided", "simulated", "signed", "sent", "mined", "ended"]


def killed_at(world: World, keepers: Keepers, faults: Sequence[Fault], seed: int) -> None:
    """One keeper after another is killed; the last one does the rest, and nothing is lost or doubled."""
    chance = random.Random(f"{faults} {seed}")
    world.mine(things={**work(4), "odd": {"job": "watch"}})
    for number, fault in enumerate(faults):
        if fault[0].startswith("replacement"):
            world.set(min_fee=150 * 2**number)
        pid = keepers.start(world.url, fault=fault)
        assert _live_until_dead(world, pid, chance), f"keeper {number} was never at {fault}"
        assert keepers.wait(pid) == -signal.SIGKILL
        if number < len(faults) - 1 or chance.random() < 0.5:
            late = {**work(4), "watch": {"job": "watch"}}  # so that the next one has as much to do
            things = {f"{thing}-late-{number}": about for thing, about in late.items()}
            world.mine(things=things, blocks=chance.randint(1, 2))
        lease_over(world)
    with keepers.keeper(world.url):
        mine_until_done(world, left=_notices(world))
        world.rival(_notices(world))
        settle_books(world)
    check_books(world)


def _notices(world: World) -> list[str]:
    """What is due and for people alone."""
    return [thing for thing in world.due() if thing.startswith(("odd", "watch"))]


def _live_until_dead(world: World, pid: int, chance: random.Random) -> bool:
    """Let the chain go on until the keeper dies; False where it does not."""
    deadline, pace = time.monotonic() + TIMEOUT_S, Pace(world)
    while _runs(pid):
        if time.monotonic() > deadline:
            return False
        pace.mine(blocks=chance.randint(1, 3))
        time.sleep(0.02)
    return True


def _runs(pid: int) -> bool:
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:  # noqa: PTH123
        return file.read().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("stage", ["decided", "signed", "stored", "sent", "replacement stored", "replacement sent"])
def test_a_kill_where_it_could_do_most_harm(world: World, keepers: Keepers, stage: str) -> None:
    killed_at(world, keepers, [(stage, 1, "kill")], 0)


def _jobs_of(stage: str) -> tuple[str, ...]:
    """The jobs whose work has this stage; of those that are an account's it is nobody's."""
    return {"read": (*SENDING, "watch"), "decided": (*SENDING, "watch"), "followed": ("",), "applied": ("",)}.get(
        stage, SENDING
    )


EVERY_STEP: list[Fault] = [(stage, nth, "kill", job) for stage in STAGES for job in _jobs_of(stage) for nth in (1, 2)]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("fault", EVERY_STEP, ids=lambda fault: f"{fault[0]}, {fault[3] or 'account'}, {fault[1]}")
def test_a_kill_at_every_step_of_every_job_and_again_while_it_is_made_good(
    world: World, keepers: Keepers, fault: Fault, seed: int
) -> None:
    """The first keeper dies at this step, and as many of those that take over as the seed says at others."""
    chance = random.Random(f"{fault} {seed}")
    killed_at(world, keepers, [fault, *chance.sample(EVERY_STEP, seed)], seed)


@pytest.mark.parametrize("stage", ["signed", "stored", "sent"])
def test_a_stopped_leader_is_taken_over_from_and_writes_nothing_more(
    world: World, keepers: Keepers, stage: str
) -> None:
    world.mine(things=work(2))
    stopped = keepers.start(world.url, fault=(stage, 1, "stop"))
    until(lambda: _is_stopped(stopped), "the leader to stand still")
    with keepers.keeper(world.url):
        mine_until_done(world)
        os.kill(stopped, signal.SIGCONT)
        settle_books(world)
        check_books(world)
        (fence,) = world.query("SELECT fence FROM keeper.lease")[0]
        assert fence == 2
        assert keepers.end(stopped) == 0
    check_books(world)


def _is_stopped(pid: int) -> bool:
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:  # noqa: PTH123
        return file.read().rpartition(")")[2].split()[0] == "T"


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_two_keepers_whose_lease_runs_out_all_the_time(world: World, keepers: Keepers, seed: int) -> None:
    chance = random.Random(seed)
    with keepers.keeper(world.url), keepers.keeper(world.url):
        for round_ in range(6):
            world.mine(things={f"{job}-{round_}": {"job": job} for job in ("rescue", "settle", "upkeep")})
            until(lambda: bool(world.query("SELECT FROM keeper.lease")), "a leader")
            lease_over(world)
            until(lambda: bool(world.query("SELECT FROM keeper.lease WHERE expires_at > now()")), "the next leader")
            if chance.random() < 0.5:
                world.mine(blocks=chance.randint(1, 2))
        mine_until_done(world)
        settle_books(world)
    check_books(world)
    assert world.query("SELECT fence FROM keeper.lease")[0][0] >= 2


def test_a_leader_that_ends_hands_over_at_once(world: World, keepers: Keepers) -> None:
    first = keepers.start(world.url, lease_seconds=3600)
    until(lambda: bool(world.query("SELECT FROM keeper.lease")), "a leader")
    with keepers.keeper(world.url, lease_seconds=3600):
        assert keepers.end(first) == 0
        world.mine(things=work(1))
        mine_until_done(world)
        settle_books(world)
    check_books(world)


def test_a_node_that_is_away_only_delays(world: World, keepers: Keepers) -> None:
    world.mine(things=work(1))
    world.set(down=True)
    with keepers.keeper(world.url):
        until(lambda: len(world.query("SELECT FROM keeper.intent WHERE state = 'planned'")) == 3, "the decision")
        assert world.query("SELECT FROM keeper.outgoing") == []
        world.set(down=False)
        until(lambda: len(world.query("SELECT FROM keeper.outgoing WHERE state = 'broadcast'")) == 3, "sending")
        world.set(down=True)
        world.mine(things={"late": {"job": "rescue"}})
        until(lambda: bool(world.query("SELECT FROM keeper.intent WHERE key = 'rescue:late'")), "the decision")
        world.set(down=False)
        mine_until_done(world)
        settle_books(world)
    check_books(world)


def test_an_index_that_does_not_answer_only_delays(world: World, keepers: Keepers) -> None:
    world.mine(things=work(1))
    world.set(silent=True)
    with keepers.keeper(world.url):
        until(lambda: len(world.query("SELECT FROM keeper.account")) == len(ACCOUNTS), "a turn of every account")
        assert world.query("SELECT FROM keeper.intent") == []
        world.set(silent=False)
        until(lambda: len(world.query("SELECT FROM keeper.outgoing WHERE state = 'broadcast'")) == 3, "sending")
        world.set(silent=True)
        world.mine(things={"late": {"job": "rescue"}})
        until(lambda: len(world.query("SELECT FROM keeper.intent WHERE state = 'done'")) == 3, "following")
        assert world.query("SELECT FROM keeper.intent WHERE key = 'rescue:late'") == []
        world.set(silent=False)
        mine_until_done(world)
        settle_books(world)
    check_books(world)


def test_a_database_that_ends_all_connections_only_delays(world: World, keepers: Keepers) -> None:
    world.mine(things=work(2))
    world.set(down=True)  # what is planned stays so until it was seen
    with keepers.keeper(world.url):
        for state in ("planned", "sent", "done"):
            until(lambda: bool(world.query(f"SELECT FROM keeper.intent WHERE state = '{state}'")), state)  # noqa: B023
            world.query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'clarion keeper' AND datname = current_database()"
            )
            if state == "planned":
                world.set(down=False)
            elif state == "sent":
                world.mine()
        mine_until_done(world)
        settle_books(world)
    check_books(world)
    assert world.query("SELECT fence FROM keeper.lease")[0][0] > 1


def test_a_wall_clock_that_jumps_changes_nothing(world: World, keepers: Keepers) -> None:
    world.mine(things=work(2))
    with keepers.keeper(world.url, fault=("stored", 2, "clock")):
        mine_until_done(world)
        settle_books(world)
    check_books(world)
    assert world.query("SELECT fence FROM keeper.lease") == [(1,)]


@pytest.mark.parametrize("drop", [False, True], ids=["to the mempool", "dropped"])
def test_a_reorg_that_removes_the_keepers_transactions(world: World, keepers: Keepers, drop: bool) -> None:
    world.mine(things=work(2))
    with keepers.keeper(world.url):
        mine_until_done(world)
        until(lambda: len(world.query("SELECT FROM keeper.intent WHERE state = 'done'")) == 6, "the outcomes")
        first = set(world.query("SELECT tx_id FROM keeper.attempt"))
        world.reorganise(world.read()["blocks"][-1]["height"] - 1, drop=drop)
        until(lambda: len(world.query("SELECT FROM keeper.step WHERE what = 'orphaned'")) == 6, "the reorg to be seen")
        mine_until_done(world)
        settle_books(world)
    check_books(world)
    assert set(world.query("SELECT tx_id FROM keeper.attempt")) == first, "the same bytes were mined again"


def test_a_reorg_that_removes_the_cause(world: World, keepers: Keepers) -> None:
    world.mine(blocks=2)
    world.set(capacity=0)
    world.mine(things=work(1))
    with keepers.keeper(world.url):
        until(lambda: len(world.query("SELECT FROM keeper.outgoing WHERE state = 'broadcast'")) == 3, "sending")
        world.drop_mempool()
        world.set(down=True)
        world.reorganise(1, keep_things=False)
        assert world.due() == []
        world.set(down=False, capacity=100)
        # what was sent already may be mined in vain, or its nonces are freed: none stays open, none is missing
        settle_books(world)
    check_books(world, wasted=None)
    assert {state for (state,) in world.query("SELECT state FROM keeper.intent")} <= {"cancelled"}


def test_what_was_planned_and_is_not_due_any_more_is_cancelled(world: World, keepers: Keepers) -> None:
    world.mine(blocks=2)
    world.set(down=True)
    world.mine(things=work(1))
    with keepers.keeper(world.url):
        until(lambda: len(world.query("SELECT FROM keeper.intent WHERE state = 'planned'")) == 3, "the decision")
        world.reorganise(1, keep_things=False)
        until(lambda: world.query("SELECT FROM keeper.intent WHERE state = 'planned'") == [], "the cancellation")
        world.set(down=False)
        world.mine(things={"other": {"job": "settle"}})
        mine_until_done(world)
        settle_books(world)
    check_books(world)
    assert [row for row in world.query("SELECT key, state FROM keeper.intent") if row[1] != "cancelled"] == [
        ("settle:other", "done")
    ]


def test_a_rival_that_is_first_costs_nothing_that_simulation_can_save(world: World, keepers: Keepers) -> None:
    world.set(down=True)
    world.mine(things=work(2))
    with keepers.keeper(world.url):
        until(lambda: len(world.query("SELECT FROM keeper.intent WHERE state = 'planned'")) == 6, "the decision")
        world.rival(["rescue-0", "settle-1"])
        world.set(down=False)
        mine_until_done(world)
        settle_books(world)
    check_books(world)
    assert len(world.query("SELECT FROM keeper.outgoing")) == 3


def test_a_rival_that_overtakes_what_was_sent_counts_as_done(world: World, keepers: Keepers) -> None:
    world.mine(things={"rescue-0": {"job": "rescue"}})
    with keepers.keeper(world.url):
        until(lambda: len(world.query("SELECT FROM keeper.outgoing WHERE state = 'broadcast'")) == 1, "sending")
        world.rival(["rescue-0"])
        world.mine()
        settle_books(world)
    check_books(world, wasted=1)
    assert world.query("SELECT state, benign, outcome FROM keeper.intent") == [("done", True, "done already")]


class RivalAt(Observer):
    """At some stages somebody else does some of what is due, in a block of its own.

    ``chance``: decides when and what; None: everything, once everything is decided and ``stage`` is reached for the
    first job or for an account.
    """

    def __init__(self, world: World, stage: str, chance: random.Random | None = None) -> None:
        self._world = world
        self._stage = stage
        self._chance = chance
        self.took: dict[str, int] = {}

    async def stage(self, name: str, job: str = "") -> None:
        due = self._world.due()
        if self._chance is None:
            things = due if self._is_time(name, job) else []
        else:
            things = self._chance.sample(due, 1) if due and self._chance.random() < 0.1 else []
        if things:
            self._world.rival(things)
            self.took |= dict.fromkeys(things, self._world.read()["blocks"][-1]["height"])

    def _is_time(self, name: str, job: str) -> bool:
        if name != self._stage or job not in ("", SENDING[0]) or self.took:
            return False
        return len(self._world.query("SELECT FROM keeper.intent")) == len(self._world.due())


@contextlib.asynccontextmanager
async def racing(
    url: str, stage: str, chance: random.Random | None = None
) -> AsyncIterator[tuple[RivalAt, dict[str, ToyExecutor]]]:
    """A keeper in this process, beside a rival; the test works on the chain from another thread."""
    with contextlib.closing(World(url)) as world:
        rival = RivalAt(world, stage, chance)
        executors = {name: ToyExecutor(world, name.upper()) for name in ACCOUNTS}
        stopping = asyncio.Event()
        running = asyncio.create_task(toy_engine(world, rival, executors=executors).run(stopping))
        try:
            yield rival, executors
        finally:
            stopping.set()
            await running


def check_race(world: World, rival: RivalAt, executors: Mapping[str, ToyExecutor]) -> list[list[str]]:
    """A fee was lost only for what a rival did after our last simulation of it, and all of it counts as done.

    So does what was never sent. Gives what was carried in vain, by transaction. What made way for others before it was
    mined is no longer due.
    """
    state = world.read()
    in_vain = [
        (tx["id"], list(tx["results"]))
        for block in state["blocks"]
        for tx in block["txs"]
        if state["txs"][tx["id"]]["sender"] != "RIVAL" and tx["results"] and "ok" not in tx["results"].values()
    ]
    simulated_at = {tx_id.hex(): at for one in executors.values() for tx_id, at in one.simulated_at.items()}
    for tx_id, things in in_vain:
        assert any(rival.took[thing] > simulated_at[tx_id] for thing in things), "a simulation knew that it was in vain"
    tried = {thing for _, things in in_vain for thing in things}
    for key, state_, benign, outgoing in world.query(
        "SELECT key, state, benign, outgoing_id FROM keeper.intent ORDER BY id"
    ):
        thing = key.partition(":")[2]
        if thing in tried or (thing in rival.took and outgoing is None):
            assert (state_, benign) == ("done", True), key
        elif thing in rival.took:
            assert state_ in ("done", "cancelled"), key
    assert world.query("SELECT FROM keeper.control WHERE paused") == []
    return [things for _, things in in_vain]


@pytest.mark.parametrize(
    "stage",
    [stage if stage == "drafted" else pytest.param(stage, marks=pytest.mark.slow) for stage in STAGES],
)
async def test_a_rival_costs_a_fee_only_where_no_simulation_could_know(world: World, stage: str) -> None:
    world.mine(things=work(1))
    if stage.startswith("replacement"):
        world.set(min_fee=150)

    def go_on(rival: RivalAt) -> None:
        pace = Pace(world)

        def step() -> bool:
            if stage.startswith("replacement"):
                pace.mine()
            return bool(rival.took)

        until(step, "the rival")
        world.set(min_fee=0)
        settle_books(world)

    async with racing(world.url, stage) as (rival, executors):
        await asyncio.to_thread(go_on, rival)
    in_vain = check_race(world, rival, executors)
    check_books(world, wasted=len(in_vain))
    if stage == "drafted":
        assert [f"{SENDING[0]}-0"] not in in_vain, "it was signed after the rival's block"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
async def test_a_race_with_a_rival_all_the_time(world: World, seed: int) -> None:
    world.set(min_fee=150)

    def go_on() -> None:
        for round_ in range(4):
            world.mine(things={f"{thing}-{round_}": about for thing, about in work(3).items()})
            mine_until_done(world)
        world.set(min_fee=0)  # what is of no use is not replaced
        settle_books(world)

    async with racing(world.url, "", random.Random(seed)) as (rival, executors):
        await asyncio.to_thread(go_on)
    assert rival.took, "there was no race"
    check_books(world, wasted=len(check_race(world, rival, executors)))


def test_what_nodes_refuse_for_good_leaves_no_gap(world: World, keepers: Keepers) -> None:
    world.set(unsendable=["settle-0"])
    world.mine(things=work(1))
    with keepers.keeper(world.url):
        mine_until_done(world, left=["settle-0"])
        assert world.query("SELECT outcome FROM keeper.intent WHERE job = 'settle' AND state = 'failed'") == [
            ("BadFunctionArgument",)
        ]
        (stop,) = world.query("SELECT job, reason FROM keeper.control WHERE paused")
        assert stop[0] == "settle"
        assert stop[1].startswith("BadFunctionArgument")


def test_what_nodes_refuse_for_good_is_freed_where_others_wait_behind_it(world: World, keepers: Keepers) -> None:
    world.set(capacity=0)
    world.mine(things=work(1))
    with keepers.keeper(world.url):
        until(lambda: len(world.read()["mempool"]) == 3, "sending")
        world.set(unsendable=["settle-0"])
        world.drop_mempool()
        until(lambda: bool(world.query("SELECT FROM keeper.control WHERE paused")), "the stop")
        world.set(capacity=100)
        mine_until_done(world, left=["settle-0"])
        until(lambda: world.query("SELECT state FROM keeper.intent WHERE job = 'upkeep'") == [("done",)], "the outcome")
    assert world.query(
        "SELECT array_length(intents, 1) FROM keeper.attempt a JOIN keeper.outgoing o "
        "ON o.id = a.outgoing_id WHERE o.job = 'settle' AND a.state = 'mined'"
    ) == [(None,)]


def test_what_is_sent_again_says_what_is_true_by_now(world: World, keepers: Keepers) -> None:
    world.set(min_fee=150, price=100)
    world.mine(things={"btc": {"job": "price"}})
    with keepers.keeper(world.url):
        until(lambda: len(world.query("SELECT FROM keeper.outgoing WHERE state = 'broadcast'")) == 1, "sending")
        world.set(price=200)
        mine_until_done(world)
        settle_books(world)
    check_books(world)
    state = world.read()
    (mined,) = [tx["id"] for block in state["blocks"] for tx in block["txs"]]
    assert state["txs"][mined]["prices"] == [200]
    assert world.query("SELECT item->'price', (SELECT count(*) FROM keeper.attempt) FROM keeper.intent") == [(200, 2)]


def test_the_hourly_budget_is_kept_to_the_last_unit(world: World, keepers: Keepers) -> None:
    """Four transactions of 100 and one replacement by 200 use up 500; the others are not replaced."""
    at_most = (
        "SELECT sum(f.fee)::int FROM (SELECT o.account, max(a.fee) AS fee FROM keeper.outgoing o "
        "JOIN keeper.attempt a ON a.outgoing_id = o.id GROUP BY o.id) f GROUP BY f.account"
    )
    world.set(min_fee=150)
    world.mine(things=work(4))
    with keepers.keeper(world.url, hourly_budget=500):
        pace = Pace(world)

        def step() -> bool:
            pace.mine()
            return world.query(at_most) == [(500,), (500,)] and world.read()["blocks"][-1]["height"] >= 10

        until(step, "the budgets to be used up")
        world.set(min_fee=0)
        world.mine(things={"late": {"job": "rescue"}})
        mine_until_done(world, left=["late"])
        assert world.query(at_most) == [(500,), (500,)]
        reason = "the hourly budget of account hurry is used up: 500 of 500 spent, 100 needed"
        until(
            lambda: world.query("SELECT waiting FROM keeper.intent WHERE key = 'rescue:late'") == [(reason,)],
            "the reason",
        )
        spent = "SELECT spent_last_hour::int, hourly_budget::int FROM keeper.account"
        until(lambda: world.query(spent) == [(500, 500), (500, 500)], "the accounts to say so")
    assert {sender: world.balance(sender) for sender in ("HURRY", "REST")} == {
        "HURRY": FUNDS - 500 + 4 * REWARD + 6,
        "REST": FUNDS - 500 + 8 * REWARD + 12,
    }


def test_a_full_mempool_is_outbid(world: World, keepers: Keepers) -> None:
    world.set(min_fee=1_000)
    world.mine(things=work(2))
    with keepers.keeper(world.url):
        mine_until_done(world)
        settle_books(world)
    check_books(world)
    fees = world.query("SELECT max(fee)::int, count(*) FROM keeper.attempt GROUP BY outgoing_id")
    assert all(1_000 <= fee < 2_000 and attempts > 1 for fee, attempts in fees)


def test_transactions_that_the_nodes_forget_are_sent_again(world: World, keepers: Keepers) -> None:
    world.set(capacity=0)
    world.mine(things=work(2))
    with keepers.keeper(world.url):
        until(lambda: len(world.read()["mempool"]) == 4, "sending")
        world.drop_mempool()
        until(lambda: len(world.read()["mempool"]) == 4, "sending again")
        world.set(capacity=100)
        mine_until_done(world)
        settle_books(world)
    check_books(world)


def test_the_unknown_stops_its_job_until_it_is_resumed(world: World, keepers: Keepers) -> None:
    world.mine(things={**work(1), "bad": {"job": "settle", "broken": True, "value": 99}})
    with keepers.keeper(world.url):
        until(lambda: bool(world.query("SELECT FROM keeper.control WHERE paused")), "the stop")
        until(lambda: len(world.query("SELECT FROM keeper.outgoing")) == 2, "the others")
        waiting = world.query("SELECT DISTINCT waiting FROM keeper.intent WHERE job = 'settle' AND state = 'planned'")
        assert waiting
        mine_until_done(world, left=["bad", "settle-0"])
        assert world.query("SELECT job, reason FROM keeper.control WHERE paused") == [
            ("settle", "nobody expected that (simulation)")
        ]


def test_the_kill_switch_stops_everything_and_what_was_sent_is_followed(world: World, keepers: Keepers) -> None:
    world.mine(things=work(1))
    with keepers.keeper(world.url):
        until(lambda: len(world.query("SELECT FROM keeper.outgoing WHERE state = 'broadcast'")) == 3, "sending")
        world.connection.execute("INSERT INTO keeper.control (job, paused, reason) VALUES ('*', true, 'a drill')")
        world.mine(things={"late": {"job": "rescue"}})
        until(
            lambda: (
                world.query("SELECT waiting FROM keeper.intent WHERE key = 'rescue:late'") == [("paused: a drill",)]
            ),
            "the reason",
        )
        until(lambda: len(world.query("SELECT FROM keeper.intent WHERE state = 'done'")) == 3, "following")
        assert len(world.query("SELECT FROM keeper.outgoing")) == 3
        world.connection.execute("UPDATE keeper.control SET paused = false")
        mine_until_done(world)
        settle_books(world)
    check_books(world)


def test_a_dry_run_goes_up_to_signing(world: World, keepers: Keepers) -> None:
    world.mine(things=work(1))
    with keepers.keeper(world.url, dry_run=True):
        until(
            lambda: (
                {waiting for (waiting,) in world.query("SELECT waiting FROM keeper.intent")}
                == {"dry run: do of toy would go out with a fee of 100"}
            ),
            "the plan",
        )
        world.rival(["rescue-0"])
        ended = "SELECT state, benign FROM keeper.intent WHERE key = 'rescue:rescue-0' AND ended_at IS NOT NULL"
        until(lambda: bool(world.query(ended)), "the end of what a rival did")
        assert world.query(ended) == [("done", True)]
    assert world.query("SELECT FROM keeper.attempt") == []
    assert world.read()["mempool"] == []


def test_what_has_to_be_deep_waits_until_it_is(world: World, keepers: Keepers) -> None:
    world.mine(things=work(1))
    with keepers.keeper(world.url, depths={"settle": 3}):
        mine_until_done(world, left=["settle-0"])
        until(
            lambda: (
                world.query("SELECT waiting FROM keeper.intent WHERE job = 'settle'")
                == [("has to stay due until Bitcoin block 104",)]
            ),
            "the reason",
        )
        pace = Pace(world)

        def step() -> bool:
            pace.mine()
            return not world.due()

        until(step, "everything to be done")
        settle_books(world)
    check_books(world)
    assert world.query("SELECT first_burn, burn >= 104 FROM keeper.outgoing WHERE job = 'settle'") == [(104, True)]


def test_nothing_is_done_about_what_people_have_to_look_at(world: World, keepers: Keepers) -> None:
    world.mine(things={"odd": {"job": "watch", "entity": "policy:1"}})
    with keepers.keeper(world.url):
        until(lambda: bool(world.query("SELECT FROM keeper.intent WHERE chain = 'none'")), "the notice")
        world.mine(
            things={
                "held": {"job": "settle", "entity": "policy:1"},
                "free": {"job": "settle", "entity": "policy:2"},
            }
        )
        mine_until_done(world, left=["held", "odd"])
        assert world.query("SELECT waiting FROM keeper.intent WHERE key = 'settle:held'") == [
            ("policy:1 is held: it is due",)
        ]
        world.rival(["odd"])
        mine_until_done(world)
        until(
            lambda: world.query("SELECT state, outcome FROM keeper.intent WHERE chain = 'none'") == [("done", "over")],
            "the notice to be over",
        )
        settle_books(world)
