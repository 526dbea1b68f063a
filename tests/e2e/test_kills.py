"""The indexer is killed again and again under load: it loses nothing and repeats nothing."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from random import Random
from typing import Any

import httpx
import pytest
from e2e.flow import Flow, open_flow, until
from e2e.index import free_port, index_afresh, indexed, one, state, surviving_chain
from e2e.index_process import run_index

from clarion.store.database import connect

SEED = 20
STEPS = 12
LONGEST_WAIT_SECONDS = 0.05


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
async def test_kills_leave_no_trace(
    start_devnet: Callable[..., Any], database_url: str, second_database_url: str, kills: int
) -> None:
    random = Random(SEED)
    port = free_port()
    devnet = start_devnet(observer=f"http://127.0.0.1:{port}", seed=SEED)
    # a server that has imported everything forks the processes, which then start at once
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["clarion.indexing", "clarion.protocols.bithedge"])

    def start() -> BaseProcess:
        process = context.Process(target=run_index, args=(database_url, devnet.url, port), daemon=True)
        process.start()
        return process

    async with open_flow(devnet.url, seed=SEED) as flow, httpx.AsyncClient() as http:
        await make_load(flow)
        total = (await flow.devnet.status())["posts"]["queued"]
        assert total > 5 * kills
        left = sorted((random.randrange(total) for _ in range(kills)), reverse=True)
        for threshold in left:
            process = start()
            await until(lambda: is_up(http, port), bool, "the index")
            await flow.devnet.post_now()
            await until(
                flow.devnet.status, lambda status, most=threshold: status["posts"]["queued"] <= most, "the next kill"
            )
            process.join(random.random() * LONGEST_WAIT_SECONDS)
            process.kill()
            process.join()
            assert process.exitcode == -signal.SIGKILL
        process = start()
        await until(lambda: is_up(http, port), bool, "the index")
        await flow.devnet.post_now()
        await flow.delivered()
        with connect(database_url, autocommit=True) as connection:
            await indexed(flow, connection)
            process.terminate()
            process.join()
            assert process.exitcode == 0
            assert one(connection, "SELECT count(*) FROM clarion.inbox") == 0
            assert one(connection, "SELECT count(*) FROM clarion.anomaly") == 0
            assert one(connection, "SELECT count(*) FROM bithedge.policy") > 0
            blocks = await surviving_chain(flow.node, one(connection, "SELECT hash FROM clarion.cursor"))
            assert state(connection) == index_afresh(second_database_url, blocks)


async def make_load(flow: Flow) -> None:
    """The cast plays, while what the devnet posts waits because nobody takes it."""
    await flow.begin()
    for number in range(STEPS):
        await flow.scenario.act(await flow.world())
        await (flow.devnet.mine() if number % 4 else flow.devnet.burn())
    await flow.settle()


async def is_up(http: httpx.AsyncClient, port: int) -> bool:
    """Whether the index service answers."""
    try:
        return (await http.get(f"http://127.0.0.1:{port}/healthz")).status_code == 200
    except httpx.TransportError:
        return False
