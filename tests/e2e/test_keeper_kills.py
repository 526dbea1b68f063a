"""Two keepers on the devnet, the leader killed again and again: every policy is settled once, the books are whole."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from e2e.flow import Flow, open_flow, until

from clarion.chains.stacks.node_client import NodeClient
from clarion.config import Devnet, GraphQL, Observer, Settings
from clarion.dev.accounts import KEEPER
from clarion.dev.processes import ProcessTree
from clarion.dev.run import DevOptions, settings_of_run, start_devnet, start_index, start_readers, write_settings
from clarion.store.database import connect

POLICIES = 8
KILLS = 6


@pytest.fixture
def processes(database_url: str, tmp_path: Path) -> Iterator[tuple[Settings, ProcessTree]]:
    """A devnet that mines on request, the indexer, GraphQL and two keepers of one account."""
    chosen = Settings(devnet=Devnet(port=0), graphql=GraphQL(port=0), observer=Observer(port=0))
    settings = settings_of_run(chosen, DevOptions(block_interval_ms=0, burn_interval_ms=0, zkusd=False), tmp_path)
    settings = settings.model_copy(update={"keeper": settings.keeper.model_copy(update={"lease_seconds": 2})})
    write_settings(tmp_path, settings, database_url)
    tree = ProcessTree(tmp_path / "logs")
    (tmp_path / "logs").mkdir()
    with contextlib.ExitStack() as stack:
        stack.callback(tree.stop)
        start_index(tree, tmp_path)
        start_devnet(tree, settings, tmp_path)
        start_readers(tree, tmp_path, keeper=True)
        first = tree.children["keeper"]
        tree.start("keeper-2", first.command, first.environment)
        yield settings, tree


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_leaders_are_killed_while_policies_are_settled(
    processes: tuple[Settings, ProcessTree], database_url: str
) -> None:
    settings, tree = processes
    with connect(database_url, autocommit=True) as connection:
        await _until_up(settings, tree)
        async with NodeClient(settings.node.url) as node, open_flow(settings.node.url) as flow:
            await flow.begin()
            before = await _had(node, connection)
            await _settle_while_leaders_are_killed(flow, tree, connection)
            _check_books(connection)
            assert await _had(node, connection) == before, "the fees in the books are not what the balance says"


async def _settle_while_leaders_are_killed(flow: Flow, tree: ProcessTree, connection: psycopg.Connection[Any]) -> None:
    chance = random.Random(1)
    policies = [await flow.buy(strike_percent=99, blocks=2) for _ in range(POLICIES)]
    await flow.expire(96)
    kills = 0

    async def step() -> list[str]:
        nonlocal kills
        tree.poll()
        if kills < KILLS and chance.random() < 0.2 and (pid := _leader(connection)) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                kills += 1
        if (await flow.devnet.status())["mempool"]["size"] and chance.random() < 0.5:
            await flow.devnet.mine()
        return [(await flow.policy(number))["state"] for number in policies]

    await until(step, lambda states: "active" not in states, "the settlements", seconds=600)
    await _finish(flow, connection, tree)
    assert kills >= KILLS // 2


async def _until_up(settings: Settings, tree: ProcessTree) -> None:
    async with httpx.AsyncClient() as http:

        async def is_up() -> bool:
            tree.poll()
            with contextlib.suppress(httpx.TransportError):
                return (await http.get(f"{settings.node.url}/v2/info")).status_code == 200
            return False

        await until(is_up, bool, "the devnet")


def _leader(connection: psycopg.Connection[Any]) -> int | None:
    row = connection.execute("SELECT holder FROM keeper.lease WHERE expires_at > now()").fetchone()
    return None if row is None else int(row[0].split(":")[-2])


async def _finish(flow: Flow, connection: psycopg.Connection[Any], tree: ProcessTree) -> None:
    """Mine until the keeper has nothing under way any more."""

    async def under_way() -> int:
        tree.poll()
        await flow.devnet.burn(1)
        await flow.devnet.mine()
        row = connection.execute(
            "SELECT count(*) FROM keeper.outgoing WHERE lane = 'settle' AND state NOT IN ('final', 'rejected')"
        ).fetchone()
        assert row is not None
        await asyncio.sleep(0)
        return int(row[0])

    await until(under_way, lambda count: count == 0, "the books to be closed", seconds=300)


async def _had(node: NodeClient, connection: psycopg.Connection[Any]) -> int:
    """What the account would have without the fees in the books, once these have all that the chain has."""
    found: list[int] = []

    async def ask() -> bool:
        account = await node.account(KEEPER.address)
        row = connection.execute(
            "SELECT count(*), coalesce(sum(fee_paid), 0)::bigint FROM keeper.outgoing WHERE state IN ('mined', 'final')"
        ).fetchone()
        assert row is not None
        found.append(account.balance + row[1])
        return bool(row[0] == account.nonce)

    await until(ask, bool, "the books to have what the chain has", seconds=60)
    return found[-1]


def _check_books(connection: psycopg.Connection[Any]) -> None:
    booked = connection.execute(
        "SELECT tx_id, nonce, fee_paid FROM keeper.outgoing WHERE state IN ('mined', 'final') ORDER BY nonce"
    ).fetchall()
    mined = connection.execute(
        "SELECT t.tx_id, t.nonce, t.fee FROM clarion.transaction t "
        "JOIN clarion.canonical_block b ON b.chain = t.chain AND b.hash = t.block_hash "
        "WHERE t.chain = 'stacks' AND t.sender = %s AND t.tx_id IN (SELECT tx_id FROM keeper.attempt) ORDER BY nonce",
        (KEEPER.address,),
    ).fetchall()
    assert booked == mined, "the books are the chain's"
    assert [nonce for _, nonce, _ in booked] == list(range(len(booked))), "nonces are whole"
    settled = connection.execute(
        "SELECT key FROM keeper.intent WHERE job = 'settle' AND state = 'done' AND NOT benign"
    ).fetchall()
    assert len(settled) == len(set(settled)) == POLICIES, "each is settled once, by us"
    assert connection.execute("SELECT job, reason FROM keeper.control WHERE paused").fetchall() == []
