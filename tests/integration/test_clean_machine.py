"""A machine with nothing but an empty database follows recorded mainnet over the API, the network cut for a while."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from support.hiro_api import HiroApi, serving
from support.index_service import until

from clarion.chains.stacks.recording import read_recording
from clarion.protocols.stacks import protocol as stacks
from clarion.replay import replay
from clarion.store.database import connect

ENDED_SECONDS = 60


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Function that begins ``clarion index`` with these settings, in a home of its own; ended by SIGTERM."""
    log = tmp_path / "index.log"
    begun: list[subprocess.Popen[bytes]] = []

    def begin(**settings: str) -> subprocess.Popen[bytes]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("CLARION_")}
        environment = own | {"HOME": str(tmp_path)} | {f"CLARION_{name}": value for name, value in settings.items()}
        command = [sys.executable, "-m", "clarion", "index"]
        with log.open("wb") as output:
            begun.append(subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=output, stderr=output))
        return begun[-1]

    yield begin
    for process in begun:
        process.send_signal(signal.SIGTERM)
        assert process.wait(ENDED_SECONDS) == 0, log.read_text()


def canonical(connection: psycopg.Connection[Any]) -> list[Any]:
    return connection.execute(
        "SELECT height, hash, clarion.digest_at(chain, height) FROM clarion.canonical_block ORDER BY height"
    ).fetchall()


def moved(connection: psycopg.Connection[Any]) -> list[Any]:
    """Every event of the canonical chain, by what it says itself."""
    return connection.execute(
        "SELECT e.height, e.tx_index, e.event_index, e.kind, e.contract, e.topic, e.raw FROM clarion.event e "
        "JOIN clarion.canonical_block c ON c.chain = e.chain AND c.hash = e.block_hash ORDER BY 1, 2, 3"
    ).fetchall()


@pytest.mark.timeout(180)
async def test_it_catches_up_after_the_network_was_cut(
    chain_data: Path,
    empty_database_url: str,
    database_url: str,
    begin: Callable[..., subprocess.Popen[bytes]],
    tmp_path: Path,
) -> None:
    recording = chain_data / "stacks" / "mainnet-2021-four-forks.tsv"
    posts = [(post.path, post.body) for post in read_recording(recording)]
    replay(recording, database_url, [stacks.deployed_at({})])
    with connect(database_url, autocommit=True) as connection:
        expected = canonical(connection), moved(connection)
    assert len({digest for _, _, digest in expected[0]}) > 20, "blocks that change nothing prove nothing"

    api = HiroApi()
    given = iter(posts)

    def post_up_to(height: int) -> None:
        while not api.canonical or api.tip.height < height:
            api.post(*next(given))

    post_up_to(15)
    async with serving(api) as server:
        settings = {"NETWORK": "mainnet", "SOURCES": "hiro", "PROTOCOLS": "stacks", "OBSERVER__PORT": "0"}
        settings |= {"HIRO__URL": server.url, "HIRO__POLL_SECONDS": "0.05", "DATABASE_URL": empty_database_url}
        settings["METRICS__PORT"] = "0"
        index = begin(**settings)

        async def row(query: str) -> Any:
            assert index.poll() is None, (tmp_path / "index.log").read_text()
            with contextlib.suppress(psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
                with connect(empty_database_url, autocommit=True) as connection:
                    found = connection.execute(query).fetchone()  # type: ignore[call-overload]
                return found and found[0]
            return None

        async def at_the_tip() -> bool:
            return bool(await row("SELECT hash FROM clarion.cursor") == bytes.fromhex(api.tip.hash[2:]))

        async def unreachable() -> bool:
            return bool(await row("SELECT state FROM clarion.source WHERE name = 'hiro'") == "unreachable")

        await until(at_the_tip)
        # The first cut is in the middle of an answer, then nothing answers any more.
        api.cut = 3
        post_up_to(25)
        await until(at_the_tip)
        await server.stop()
        post_up_to(44)  # a fork is among them
        await until(unreachable)
        await server.start()
        for post in given:
            api.post(*post)
        await until(at_the_tip)

    with connect(empty_database_url, autocommit=True) as connection:
        assert (canonical(connection), moved(connection)) == expected
