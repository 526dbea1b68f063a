"""`clarion keeper plan`: what the engine would do next, without doing any of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from support.keeper_rows import add_account
from support.keeper_world import (
    ACCOUNTS,
    ToyExecutor,
    ToyJob,
    ToyNotice,
    ToyReader,
    World,
    settings,
    toy_jobs,
)

from clarion.config import Lane, Settings
from clarion_keeper.command.planning import Preview, preview_json, preview_view, preview_with
from clarion_keeper.engine import Parts
from clarion_keeper.store.lease import connect


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    world = World(database_url).create()
    yield world
    world.close()


async def preview(world: World, *more: Any, chosen: Settings | None = None) -> Preview:
    parts = Parts(
        jobs=[*toy_jobs(world), *more],
        readers={"stacks": ToyReader(world)},
        executors={name: ToyExecutor(world, f"ST{name}") for name in ACCOUNTS},
    )
    connection = await connect(world.url, idle_seconds=5)
    try:
        return await preview_with(chosen or settings(), parts, connection)
    finally:
        await connection.close()


def tables(connection: psycopg.Connection[Any]) -> dict[str, list[Any]]:
    names = ("intent", "outgoing", "attempt", "step", "account", "lease", "control", "coin")
    return {name: connection.execute(f"SELECT * FROM keeper.{name}").fetchall() for name in names}


def waits(found: Preview) -> dict[str, str]:
    return {one.intent.key: one.reason for one in found.waits}


async def test_what_goes_out_in_which_order_and_with_which_nonce(
    world: World, connection: psycopg.Connection[Any]
) -> None:
    things = {
        **{f"s{n}": {"job": "settle", "value": n} for n in range(4)},
        **{f"r{n}": {"job": "rescue", "value": n, "reward": 500} for n in range(2)},
        "u": {"job": "upkeep", "value": 10**9},
    }
    world.mine(things=things)
    before, chain = tables(connection), world.read()
    found = await preview(world)
    assert [(send.account, send.nonce, [one.key for one in send.intents]) for send in found.sends] == [
        ("hurry", 0, ["rescue:r1"]),
        ("hurry", 1, ["rescue:r0"]),
        ("rest", 0, ["settle:s3", "settle:s2", "settle:s1"]),
        ("rest", 1, ["settle:s0"]),
        ("rest", 2, ["upkeep:u"]),
    ]
    assert {send.fee for send in found.sends} == {100}
    assert (found.waits, found.under_way, found.dry_run) == ((), (), False)
    assert tables(connection) == before
    assert world.read() == chain


async def test_why_others_wait(world: World, connection: psycopg.Connection[Any]) -> None:
    world.mine(
        things={
            "loss": {"job": "rescue", "reward": 99},
            "held": {"job": "rescue", "entity": "policy:1"},
            "broken": {"job": "settle", "broken": True},
            "paused": {"job": "upkeep"},
            "deep": {"job": "deep"},
            "strange": {"job": "oracle"},
            "drift": {"job": "reconcile", "entity": "policy:1"},
        }
    )
    connection.execute("INSERT INTO keeper.control (job, paused, reason) VALUES ('upkeep', true, 'by hand')")
    found = await preview(
        world,
        ToyJob(world, "deep", Lane.SETTLE, 1, depth=2),
        ToyJob(world, "oracle", Lane.ORACLE, 1),
        ToyNotice(world, "reconcile", Lane.UPKEEP, 1),
    )
    burn = world.read()["burn"]
    assert waits(found) == {
        "rescue:loss": "at a loss: earns 99 STX and costs 100",
        "rescue:held": "policy:1 is held: it is due",
        "settle:broken": "simulated: nobody expected that",
        "upkeep:paused": "paused: by hand",
        "deep:deep": f"has to stay due until Bitcoin block {burn + 2}",
        "oracle:strange": "no account serves the lane oracle on stacks",
    }
    assert found.sends == ()
    assert [one.key for one in found.notices] == ["reconcile:drift"]
    assert preview_json(found)["waits"][0]["lane"] == "rescue"
    assert preview_view(found) is not None


async def test_budgets_are_kept_over_all_that_would_go_out(world: World, connection: psycopg.Connection[Any]) -> None:
    add_account(connection, "hurry")
    world.mine(things={f"r{n}": {"job": "rescue", "value": n} for n in range(3)})
    chosen = settings()
    account = chosen.keeper.accounts["hurry"].model_copy(update={"hourly_budget": 250})
    accounts = {**chosen.keeper.accounts, "hurry": account}
    chosen = chosen.model_copy(update={"keeper": chosen.keeper.model_copy(update={"accounts": accounts})})
    found = await preview(world, chosen=chosen)
    assert [send.intents[0].key for send in found.sends] == ["rescue:r2", "rescue:r1"]
    assert waits(found)["rescue:r0"].startswith("the hourly budget of account hurry is used up: 200 of 250 spent")


async def test_a_node_that_does_not_answer_is_said(world: World) -> None:
    world.mine(things={"r": {"job": "rescue"}})
    world.set(down=True)
    found = await preview(world)
    assert found.sends == ()
    assert found.failed["account hurry"] == "the node does not answer"
