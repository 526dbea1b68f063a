"""The engine on a real Postgres and a toy chain: nothing lost, nothing twice, nonces whole, books balanced.

Keepers run as processes of their own that are killed, stopped and doubled at every boundary of their work.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from support.keeper_process import Keepers, lease_over
from support.keeper_world import ACCOUNTS, World

from clarion_keeper.observer import STAGES

TIMEOUT_S = 60


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
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.02)


def work(count: int, **about: Any) -> dict[str, dict[str, Any]]:
    """Things of every job."""
    jobs = ("rescue", "settle", "upkeep")
    return {f"{job}-{number}": {"job": job, "value": number, **about} for job in jobs for number in range(count)}


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
    """The keeper's tables against the chain. ``wasted``: transactions in which everything was done already."""
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
    if wasted is not None:
        idle = [tx["id"] for _, tx in ours.values() if tx["results"] and "ok" not in tx["results"].values()]
        assert len(idle) == wasted
    twice = world.query(
        "SELECT key FROM keeper.intent i JOIN keeper.outgoing o ON o.id = i.outgoing_id "
        "WHERE i.state = 'done' AND NOT i.benign AND o.state IN ('mined', 'final') GROUP BY key HAVING count(*) > 1",
    )
    assert twice == [], "an intent was done by two transactions"
    claimed = {key for (key,) in world.query("SELECT key FROM keeper.intent WHERE state = 'done' AND NOT benign")}
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


def killed_at(world: World, keepers: Keepers, stage: str, nth: int, seed: int) -> bool:
    """A keeper is killed at a stage, the next one does the rest; whether the first got that far."""
    chance = random.Random(f"{stage} {nth} {seed}")
    world.mine(things=work(2))
    if stage.startswith("replacement"):
        world.set(min_fee=150)
    pid = keepers.start(world.url, fault=(stage, nth, "kill"))
    ended = _live_until_dead(world, pid, chance)
    assert keepers.wait(pid) == (-signal.SIGKILL if ended else 0)
    if chance.random() < 0.5:
        world.mine(things={"late": {"job": "settle"}}, blocks=chance.randint(1, 2))
    lease_over(world)
    with keepers.keeper(world.url):
        mine_until_done(world)
        settle_books(world)
    check_books(world)
    return ended


def _live_until_dead(world: World, pid: int, chance: random.Random) -> bool:
    """Let the chain go on until the keeper dies; False where everything was done before, and it was asked to end."""
    deadline, pace = time.monotonic() + TIMEOUT_S, Pace(world)
    while _runs(pid):
        assert time.monotonic() < deadline
        if not world.due():
            os.kill(pid, signal.SIGTERM)
            return False
        pace.mine(blocks=chance.randint(1, 3))
        time.sleep(0.02)
    return True


def _runs(pid: int) -> bool:
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:  # noqa: PTH123
        return file.read().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("stage", STAGES)
def test_a_kill_at_every_stage(world: World, keepers: Keepers, stage: str) -> None:
    assert killed_at(world, keepers, stage, 1, 0), f"{stage} was not reached"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("nth", [1, 2, 3, 5])
@pytest.mark.parametrize("stage", STAGES)
def test_a_kill_at_every_stage_and_every_time(world: World, keepers: Keepers, stage: str, nth: int, seed: int) -> None:
    killed_at(world, keepers, stage, nth, seed + 1)


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
        until(
            # done where a simulation met the rival's block before the job did
            lambda: (
                world.query("SELECT state FROM keeper.intent WHERE key = 'rescue:rescue-0'")
                in ([("cancelled",)], [("done",)])
            ),
            "the end of what a rival did",
        )
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
