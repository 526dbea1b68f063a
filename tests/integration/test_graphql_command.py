"""`clarion serve` as a process: starts, answers, ends cleanly on SIGTERM with clients connected."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from structlog.testing import capture_logs
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from clarion.config import ConfigurationError, Settings
from clarion.store.database import DatabaseError
from clarion.store.roles import ACCOUNT, READER, make_roles
from clarion_graphql.command import prepared_database, run

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(database_url: str, tmp_path: Path) -> Iterator[Start]:
    """Starts `clarion serve` with options and settings."""
    started: list[subprocess.Popen[str]] = []

    def start_with(*options: str, **settings: str) -> subprocess.Popen[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CLARION_")}
        process = subprocess.Popen(
            [sys.executable, "-m", "clarion", "serve", *options],
            cwd=tmp_path,
            env=environment | {"CLARION_DATABASE_URL": database_url} | settings,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start_with
    for process in started:
        process.kill()
        process.communicate()


def address(process: subprocess.Popen[str]) -> str:
    """What the process says it listens on."""
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if found := re.search(r"url=http://([0-9.:]+)/graphql", line):
            return found[1]
    raise AssertionError("".join(said))


def test_serves_and_ends_cleanly(start: Start) -> None:
    process = start("--port", "0", CLARION_DEPLOYERS__BITHEDGE="ST1PQHQKV0RJXZFY1DGX8MNSNYVE3VGZJSRTPGZGM")
    where = address(process)

    health = httpx.get(f"http://{where}/readyz", timeout=30)
    query = "{ status { protocols { name contracts { name id } } } policies { totalCount } }"
    answer: Any = httpx.post(f"http://{where}/graphql", json={"query": query}, timeout=30).json()
    with connect(f"ws://{where}/graphql", subprotocols=[Subprotocol("graphql-transport-ws")]) as socket:
        socket.send('{"type":"connection_init"}')
        socket.recv(timeout=30)
        payload = {"query": "subscription { policyChanged { op } }"}
        socket.send(msgspec.json.encode({"id": "1", "type": "subscribe", "payload": payload}).decode())
        first = msgspec.json.decode(socket.recv(timeout=30))
        process.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=30)

    assert process.wait(30) == 0
    assert health.status_code == 200
    assert answer["data"]["policies"] == {"totalCount": 0}
    (bithedge,) = answer["data"]["status"]["protocols"]
    assert {"name": "bh-policy", "id": "ST1PQHQKV0RJXZFY1DGX8MNSNYVE3VGZJSRTPGZGM.bh-policy"} in bithedge["contracts"]
    assert first["payload"]["data"]["policyChanged"]["op"] == "START"


def test_an_unknown_protocol_is_a_clear_error() -> None:
    with pytest.raises(ConfigurationError, match="protocols names nothing, which no installed package provides"):
        run(Settings(protocols=["bithedge", "nothing"]), "postgresql:///none")


def test_roles_that_are_not_there_are_a_clear_error(database_url: str) -> None:
    for section in ({"graphql": {"reader_role": "nobody_here"}}, {"accounts": {"role": "nobody_here"}}):
        settings = Settings.model_validate({"database_url": database_url, **section})
        with (
            pytest.raises(DatabaseError, match=r"The role nobody_here, .* `clarion db roles` makes it"),
            prepared_database(settings),
        ):
            pass


def test_roles_that_are_there_are_fine(database_url: str) -> None:
    make_roles(database_url)
    given = {"graphql": {"reader_role": READER}, "accounts": {"role": ACCOUNT}}
    with prepared_database(Settings.model_validate({"database_url": database_url, **given})) as url:
        assert url == database_url


def test_a_replica_is_served_while_the_primary_is_gone(database_url: str) -> None:
    gone = "postgresql://nobody@127.0.0.1:1/none"
    settings = Settings.model_validate({"database_url": gone, "graphql": {"database_url": database_url}})
    with capture_logs() as lines, prepared_database(settings) as url:
        assert url == gone
    assert [line["event"] for line in lines] == ["serve.primary_unavailable"]
    alone = Settings.model_validate({"database_url": gone})
    with pytest.raises(DatabaseError, match="The database none is not there"), prepared_database(alone):
        pass
