"""The Bitcoin service over a node: it catches up, follows reorgs, waits outages out, and can be killed at any time."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from support import coins, toy
from support.bitcoin_chain import HARDER_BITS, NETWORK, Made, random_chain, read_mock_spells
from support.bitcoin_node import Node
from support.index import truncate_index
from support.index_service import chain, counted, payload, served, until

from clarion import bitcoin_indexing
from clarion.bitcoin_indexing import BitcoinService
from clarion.chains.bitcoin.poller import PROCESSES_FROM
from clarion.chains.bitcoin.scanner import Scanner, scan
from clarion.chains.bitcoin.tracked import Tracked
from clarion.config import (
    Bitcoin,
    BitcoinSourceName,
    ConfigurationError,
    Metrics,
    Observer,
    Settings,
    SourceName,
)
from clarion.follower import Follower
from clarion.indexing import run_indexer
from clarion.ingest import ingest
from clarion.rewind import RewindError, rewind
from clarion.serving import listen, url_of
from clarion.store.generation import make_tables
from clarion.store.store import Store

PROCESS = Path(__file__).resolve().parents[1] / "support" / "bitcoin_index_process.py"


def settings_for(database_url: str, rpc_url: str, **values: Any) -> Settings:
    bitcoin = {"processes": 0, "mock_spells": True, "finality_depth": 50} | values
    return Settings(
        database_url=database_url,  # type: ignore[arg-type]
        protocols=[],
        sources=[],
        bitcoin=Bitcoin(sources=[BitcoinSourceName.RPC], rpc_url=rpc_url, **bitcoin),
    )


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[BitcoinService]:
    assert settings.database_url is not None
    service = BitcoinService(settings, settings.database_url.get_secret_value(), [coins.deployed()])
    task = asyncio.create_task(service.run())
    try:
        yield service
    finally:
        service.stop()
        await task


def tip_of(connection: psycopg.Connection[Any]) -> bytes | None:
    row = connection.execute("SELECT hash FROM clarion.cursor WHERE chain = 'bitcoin'").fetchone()
    return row[0] if row else None


async def indexed(connection: psycopg.Connection[Any], tip: Made) -> None:
    async def reached() -> bool:
        return tip_of(connection) == tip.hash

    await until(reached)


def state(connection: psycopg.Connection[Any]) -> list[Any]:
    return [
        connection.execute(
            "SELECT height, hash, clarion.digest_at(chain, height) FROM clarion.canonical_block ORDER BY height"
        ).fetchall(),
        connection.execute("SELECT * FROM coins.coin ORDER BY outpoint").fetchall(),
    ]


def fresh(connection: psycopg.Connection[Any], blocks: Sequence[Made]) -> list[Any]:
    """What an index of these blocks alone holds, made in a transaction that is undone."""
    with connection.transaction(force_rollback=True):
        truncate_index(connection, "coins.coin")
        store = Store(connection, "bitcoin", [coins.deployed()])
        store.open()
        scanner = Scanner(NETWORK, Tracked())
        found = [scanner.block(made.data, scan(made.data, read_mock_spells), made.height) for made in blocks]
        ingest(store, Follower(start_height=None), found)
        return state(connection)


async def test_it_catches_up_and_follows_reorgs(connection: psycopg.Connection[Any], database_url: str) -> None:
    main = random_chain(40, seed=1)
    node = Node(main)
    rolled_back = counted("clarion_rolled_back_blocks_total", chain="bitcoin")
    async with served(node.app) as url, running(settings_for(database_url, url)) as service:
        await indexed(connection, main[-1])
        for depth in (1, 3, 12):
            base = node.chain
            node.switch(base[:-depth] + random_chain(depth + 1, on=base[-depth - 1], seed=10 + depth))
            await indexed(connection, node.chain[-1])
        base = node.chain
        node.switch(base[:-9] + random_chain(3, on=base[-10], seed=30, bits=HARDER_BITS))  # lower, with more work
        await indexed(connection, node.chain[-1])
        reasons, facts = await service.ready()
        assert (reasons, facts["height"], facts["chain"]) == ([], node.chain[-1].height, "bitcoin")
        await service.measure()
        assert counted("clarion_index_height", chain="bitcoin") == node.chain[-1].height
        assert counted("clarion_source_healthy", chain="bitcoin", source="bitcoin-rpc") == 1
        assert counted("clarion_rolled_back_blocks_total", chain="bitcoin") - rolled_back == 25
    assert state(connection) == fresh(connection, node.chain)


async def test_it_starts_at_its_height_and_follows_a_fork_below_it(
    connection: psycopg.Connection[Any], database_url: str
) -> None:
    main = random_chain(30, seed=2)
    node = Node(main)
    async with served(node.app) as url, running(settings_for(database_url, url, start_height=25)):
        await indexed(connection, main[-1])
        assert connection.execute("SELECT min(height) FROM clarion.block").fetchone() == (25,)
        node.switch(main[:20] + random_chain(12, on=main[19], seed=3))
        await indexed(connection, node.chain[-1])
    assert state(connection) == fresh(connection, node.chain[25:])


async def test_many_missing_blocks_are_read_in_processes(
    connection: psycopg.Connection[Any], database_url: str
) -> None:
    main = random_chain(2 * PROCESSES_FROM, seed=4)
    async with served(Node(main).app) as url, running(settings_for(database_url, url, processes=2)):
        await indexed(connection, main[-1])
    assert state(connection) == fresh(connection, main)


async def test_a_source_that_fails_or_is_behind_is_unhealthy_and_no_reorg(
    connection: psycopg.Connection[Any], database_url: str
) -> None:
    main = random_chain(20, seed=5)
    node = Node(main)

    async def source_is(state: str) -> None:
        async def reached() -> bool:
            row = connection.execute("SELECT state FROM clarion.source WHERE name = 'bitcoin-rpc'").fetchone()
            return row == (state,)

        await until(reached)

    async with served(node.app) as url, running(settings_for(database_url, url, poll_seconds=0.05)) as service:
        await indexed(connection, main[-1])
        node.network = "main"  # is looked at once
        node.switch(main[:10])
        await source_is("behind")
        reasons, _ = await service.ready()
        assert reasons == ["bitcoin: no source is healthy: nobody says how far the chain is"]
        assert tip_of(connection) == main[-1].hash
        node.switch(main[:19] + random_chain(1, on=main[18], seed=6))
        await source_is("forked")
        assert tip_of(connection) == main[-1].hash
        node.switch(main)
        await source_is("healthy")
        harder = main[:15] + random_chain(2, on=main[14], seed=7, bits=HARDER_BITS)
        node.switch(harder)
        await indexed(connection, harder[-1])
        higher = main + random_chain(4, on=main[-1], seed=8)
        node.switch(higher[:-1])  # as much work, and seen later
        await source_is("forked")
        assert tip_of(connection) == harder[-1].hash
        node.switch(higher)
        await source_is("healthy")
        await indexed(connection, higher[-1])


async def test_a_node_of_another_network_is_told_and_not_read(
    connection: psycopg.Connection[Any], database_url: str
) -> None:
    node = Node(random_chain(3, seed=7))
    node.network = "test"
    async with served(node.app) as url, running(settings_for(database_url, url)):

        async def told() -> bool:
            row = connection.execute("SELECT state, detail FROM clarion.source").fetchone()
            return row is not None and row[0] == "unreachable" and "not of regtest" in row[1]

        await until(told)
    assert tip_of(connection) is None


async def test_the_database_may_go_away(
    connection: psycopg.Connection[Any], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bitcoin_indexing, "RECONNECT_SECONDS", (0.01, 0.05))
    main = random_chain(60, seed=8)
    node = Node(main[:20])
    async with served(node.app) as url, running(settings_for(database_url, url)):
        for length in (20, 35, 60):
            node.switch(main[:length])
            await indexed(connection, main[length - 1])
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
    assert state(connection) == fresh(connection, main)


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_it_may_be_killed_at_any_time(connection: psycopg.Connection[Any], database_url: str) -> None:
    choose = random.Random(9)
    node = Node(random_chain(5, seed=10))
    async with served(node.app) as url:
        for _ in range(4):
            process = await asyncio.create_subprocess_exec(
                sys.executable, str(PROCESS), database_url, url, stdout=asyncio.subprocess.PIPE
            )
            assert process.stdout is not None
            assert await process.stdout.readline()
            length = len(node.chain)
            cut = length - choose.randrange(4)
            node.switch(node.chain[:cut] + random_chain(40, on=node.chain[cut - 1], seed=length))
            before = tip_of(connection)

            async def moved(before: bytes | None = before) -> bool:
                return tip_of(connection) != before

            await until(moved)
            process.send_signal(signal.SIGKILL)
            await process.wait()
        async with running(settings_for(database_url, url, finality_depth=100)):
            await indexed(connection, node.chain[-1])
    assert state(connection) == fresh(connection, node.chain)
    assert connection.execute("SELECT count(*) FROM clarion.anomaly").fetchone() == (0,)


async def test_clarion_index_runs_bitcoin_alone_with_its_probes(
    connection: psycopg.Connection[Any], database_url: str
) -> None:
    main = random_chain(10, seed=11)
    with listen("127.0.0.1", 0, what="a free port", section="METRICS") as free:
        port = int(url_of(free).rpartition(":")[2])
    async with served(Node(main).app) as url:
        settings = settings_for(database_url, url).model_copy(update={"metrics": Metrics(port=port)})
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(run_indexer(settings, protocols=[coins.deployed()], ready=ready.set_result))
        async with httpx.AsyncClient(base_url=await ready) as client:
            await indexed(connection, main[-1])

            async def is_ready() -> bool:
                return (await client.get("/readyz")).status_code == 200

            await until(is_ready)
            assert (await client.get("/readyz")).json()["height"] == 9
            assert (await client.get("/healthz")).status_code == 200
            assert 'clarion_index_height{chain="bitcoin"} 9.0' in (await client.get("/metrics")).text.splitlines()
        signal.raise_signal(signal.SIGTERM)
        await task


async def test_two_sources_feed_one_index(connection: psycopg.Connection[Any], database_url: str) -> None:
    main = random_chain(30, seed=13)
    node, other = Node(main), Node(main[:20])
    async with served(node.app) as url, served(other.esplora) as api:
        settings = settings_for(database_url, url, poll_seconds=0.05)
        sources = [BitcoinSourceName.RPC, BitcoinSourceName.ESPLORA]
        bitcoin = settings.bitcoin.model_copy(update={"sources": sources, "esplora_url": api})
        async with running(settings.model_copy(update={"bitcoin": bitcoin})):
            await indexed(connection, main[-1])
            node.down = True  # the other one goes on
            other.switch(main[:-2] + random_chain(5, on=main[-3], seed=14))
            await indexed(connection, other.chain[-1])
    assert state(connection) == fresh(connection, other.chain)


async def test_both_chains_in_one_service(connection: psycopg.Connection[Any], database_url: str) -> None:
    toy.create_tables(connection)
    main, stacks = random_chain(10, seed=15), chain(5)
    async with served(Node(main).app) as url:
        settings = settings_for(database_url, url).model_copy(
            update={"sources": [SourceName.OBSERVER], "observer": Observer(port=0)}
        )
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        protocols = [toy.deployed(), coins.deployed()]
        task = asyncio.create_task(run_indexer(settings, protocols=protocols, ready=ready.set_result))
        async with httpx.AsyncClient(base_url=await ready) as client:
            for block in stacks:
                assert (await client.post("/new_block", content=payload(block))).status_code == 200

            async def both() -> bool:
                answer = (await client.get("/readyz")).json()
                return (answer["height"], answer["bitcoin"]["height"]) == (5, 9)

            await until(both)
            lines = (await client.get("/metrics")).text.splitlines()
            assert {'clarion_index_height{chain="bitcoin"} 9.0', 'clarion_index_height{chain="stacks"} 5.0'} <= set(
                lines
            )
            assert (await client.get("/healthz")).status_code == 200
        signal.raise_signal(signal.SIGTERM)
        await task
    assert connection.execute("SELECT chain, height FROM clarion.cursor ORDER BY chain").fetchall() == [
        ("bitcoin", 9),
        ("stacks", 5),
    ]


async def test_without_sources_there_is_nothing_to_index(database_url: str) -> None:
    settings = settings_for(database_url, "http://127.0.0.1:9").model_copy(update={"bitcoin": Bitcoin()})
    with pytest.raises(ConfigurationError, match="nothing to index"):
        await run_indexer(settings, protocols=[])


async def test_a_rewind_forgets_blocks_that_are_then_read_again(
    connection: psycopg.Connection[Any], database_url: str
) -> None:
    main = random_chain(30, seed=12)
    node = Node(main)
    async with served(node.app) as url:
        async with running(settings_for(database_url, url, finality_depth=25)):
            await indexed(connection, main[-1])
        before = state(connection)
        for refused in ({"accept_final_loss": False, "to": 2}, {"accept_final_loss": True, "to": 90}):
            with pytest.raises(RewindError):
                rewind(
                    database_url,
                    [coins.deployed()],
                    chain="bitcoin",
                    **({"final_depth": 25} | refused),  # type: ignore[arg-type]
                )
        done = rewind(
            database_url,
            [coins.deployed()],
            chain="bitcoin",
            to=11,
            accept_final_loss=True,
            final_depth=25,
            forget=True,
        )
        assert (done.rolled_back, done.tip.height, done.followed) == (18, 11, 0)
        assert connection.execute("SELECT max(height) FROM clarion.event").fetchone() <= (11,)  # type: ignore[operator]
        async with running(settings_for(database_url, url, finality_depth=25)):
            await indexed(connection, main[-1])
    assert state(connection) == before
    with pytest.raises(RewindError, match="posts a block once"):
        rewind(database_url, [], to=1, accept_final_loss=True, final_depth=3, forget=True)


@pytest.fixture(autouse=True)
def _tables(connection: psycopg.Connection[Any]) -> None:
    make_tables(connection, coins.coins, "coins")
