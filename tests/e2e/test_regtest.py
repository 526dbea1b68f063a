"""A regtest and the index service as processes: forks, kills of both, and what a fresh index has at the end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from support.regtest import NETWORK, PROTOCOLS, opened, scanned, state

from clarion.chains.bitcoin.scanner import Scanner
from clarion.chains.bitcoin.tracked import Tracked
from clarion.dev.bitcoin.node import RegtestNode
from clarion.dev.bitcoin.premine import PREMINED_BLOCKS, zkusd_apps
from clarion.follower import Follower
from clarion.ingest import ingest
from clarion.store.database import connect
from clarion.store.generation import make_tables

SEED = 11
DEADLINE_SECONDS = 200


class Processes:
    """`clarion` commands with the settings of one test."""

    def __init__(self, folder: Path, database_url: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._environment = os.environ | {
            "CLARION_STATE_DIR": str(folder),
            "CLARION_DATABASE_URL": database_url,
            "CLARION_SOURCES": "",
            "CLARION_PROTOCOLS": "charms,zkusd",
            "CLARION_PARAMETERS": json.dumps({"zkusd": zkusd_apps(SEED).parameters("regtest")}),
            "CLARION_BITCOIN__SOURCES": "rpc",
            "CLARION_BITCOIN__RPC_URL": f"http://127.0.0.1:{port}",
            "CLARION_BITCOIN__RPC_COOKIE_FILE": str(folder / "regtest" / ".cookie"),
            "CLARION_BITCOIN__MOCK_SPELLS": "true",
            "CLARION_BITCOIN__FINALITY_DEPTH": "50",
            "CLARION_REGTEST__PORT": str(port),
            "CLARION_REGTEST__SEED": str(SEED),
        }

    def start(self, name: str, *options: str, **settings: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, "-m", "clarion", name, *options],
                env=self._environment | settings,
                stdout=log,
                stderr=log,
            )

    def end(self, name: str, number: int = signal.SIGKILL) -> None:
        process = self._running.pop(name)
        process.send_signal(number)
        assert process.wait(DEADLINE_SECONDS) == (0 if number == signal.SIGTERM else -number)

    def end_all(self) -> None:
        for process in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()


@pytest.fixture
def processes(tmp_path: Path, database_url: str) -> Iterator[Processes]:
    made = Processes(tmp_path, database_url)
    yield made
    made.end_all()


def wait_until(holds: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"no {what} after {DEADLINE_SECONDS} s"
        time.sleep(0.1)


def indexed(connection: psycopg.Connection[Any]) -> tuple[int, bytes]:
    query = "SELECT height, hash FROM clarion.cursor WHERE chain = 'bitcoin' AND hash IS NOT NULL"
    return connection.execute(query).fetchone() or (-1, b"")


def fresh(database_url: str, node: RegtestNode) -> dict[str, Any]:
    with connect(database_url, autocommit=True) as connection:
        for protocol in PROTOCOLS:
            make_tables(connection, protocol, protocol.name)
        chain = [node.chain.blocks[digest] for digest in node.chain.active]
        ingest(opened(connection, seed=SEED), Follower(), scanned(Scanner(NETWORK, Tracked()), chain))
        return state(connection)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kills_and_forks_leave_what_a_fresh_index_has(
    processes: Processes, database_url: str, second_database_url: str
) -> None:
    quick = {"CLARION_REGTEST__BLOCK_INTERVAL_MS": "400"}
    with connect(database_url, autocommit=True) as connection:

        def reached(height: int) -> None:
            wait_until(lambda: indexed(connection)[0] >= height, f"block {height} in the index")

        processes.start("regtest", **quick)
        processes.start("index")
        reached(PREMINED_BLOCKS + 10)
        processes.end("index")
        processes.start("index")
        reached(PREMINED_BLOCKS + 20)
        processes.end("regtest")
        processes.start("regtest", **quick)
        reached(PREMINED_BLOCKS + 45)
        processes.end("regtest", signal.SIGTERM)
        # what was mined last is told by a node that mines no more
        processes.start("regtest", "--no-scenario", CLARION_REGTEST__BLOCK_INTERVAL_MS="0")
        node = RegtestNode(processes.folder / "regtest", seed=SEED)
        tip = node.chain.tip
        wait_until(lambda: indexed(connection) == (tip.height, tip.hash), "the node's tip in the index")
        processes.end("index", signal.SIGTERM)
        assert len(node.chain.blocks) > len(node.chain.active), "the chain forked"
        found = state(connection)
        assert found == fresh(second_database_url, node)
        node.close()
        assert found["zkusd.vault"]
        assert found["charms.charm"]
