"""How long after a node's post its block is committed and told, by the index service in a process.

Told on Postgres' channel, and by `clarion serve`, in another process, to a client that subscribed to the events.
`CLARION_BENCH_RATES` (blocks a second, with commas between; 1,10,100) and `CLARION_BENCH_SECONDS` (5) say how much.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from support import toy
from support.node_posts import body, burn_payload, moves_payload
from websockets.sync.client import connect as connect_websocket
from websockets.typing import Subprotocol

from clarion.store.database import connect

RATES = [float(rate) for rate in os.environ.get("CLARION_BENCH_RATES", "1,10,100").split(",")]
SECONDS = float(os.environ.get("CLARION_BENCH_SECONDS", "5"))
PROGRAM = Path(__file__).resolve().parents[1] / "support" / "index_process.py"
EVENTS = 10
"""Of a block; each changes a row."""
TENURE_BLOCKS = 60
"""Blocks of the chain on one Bitcoin block, which is posted before them."""
WAIT_SECONDS = 60
EVENTS_OF_THE_BANK = (
    "subscription($contract: String) { events(contract: $contract, since: 0) "
    "{ op block { height } events { topic value eventIndex } } }"
)


class Told:
    """When each height was told of; a height tells of those below it too."""

    def __init__(self) -> None:
        self.at: dict[int, float] = {}
        self._highest = 0
        self._changed = threading.Condition()

    def up_to(self, height: int) -> None:
        now = time.perf_counter()
        with self._changed:
            for reached in range(self._highest + 1, height + 1):
                self.at[reached] = now
            self._highest = max(self._highest, height)
            self._changed.notify_all()

    def wait_for(self, height: int) -> None:
        with self._changed:
            told = self._changed.wait_for(lambda: self._highest >= height, WAIT_SECONDS)
        assert told, f"block {height} was not told"


@contextmanager
def notified(url: str) -> Iterator[Told]:
    """By Postgres' channel, which is when a block's rows are there to be read."""
    told, stop = Told(), threading.Event()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("LISTEN clarion")

        def listen() -> None:
            while not stop.is_set():
                for notify in connection.notifies(timeout=0.2):
                    told.up_to(json.loads(notify.payload)["height"] or 0)

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield told
        finally:
            stop.set()
            thread.join()


@contextmanager
def subscribed(url: str) -> Iterator[Told]:
    """By a subscription to the events, served by a process of its own."""
    command = [sys.executable, "-m", "clarion", "serve", "--port", "0"]
    settings = {"CLARION_DATABASE_URL": url, "CLARION_PROTOCOLS": ""}
    told = Told()
    with running(command, settings, subprocess.STDOUT, r"url=http://([0-9.:]+)/graphql") as where:
        subprotocols = [Subprotocol("graphql-transport-ws")]
        with connect_websocket(f"ws://{where}/graphql", subprotocols=subprotocols, compression=None) as socket:
            socket.send('{"type":"connection_init"}')
            assert json.loads(socket.recv(WAIT_SECONDS))["type"] == "connection_ack"
            payload = {"query": EVENTS_OF_THE_BANK, "variables": {"contract": toy.CONTRACT}}
            socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))

            def listen() -> None:
                for message in socket:
                    said = json.loads(message)
                    if said["type"] == "ping":
                        socket.send('{"type":"pong"}')
                    elif said["payload"]["data"]["events"]["op"] == "APPLY":
                        applied = said["payload"]["data"]["events"]
                        assert len(applied["events"]) == EVENTS
                        told.up_to(applied["block"]["height"])

            thread = threading.Thread(target=listen)
            thread.start()
            try:
                yield told
            finally:
                socket.close()
                thread.join()


@contextmanager
def running(command: list[str], settings: Mapping[str, str], stderr: int, said: str) -> Iterator[str]:
    """A process, until the end; gives what the pattern ``said`` finds in what it says when it is ready."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CLARION_")}
    process = subprocess.Popen(
        command, env={**environment, **settings}, stdout=subprocess.PIPE, stderr=stderr, text=True
    )
    assert process.stdout is not None
    with process.stdout as speaks:
        found = next((match[1] for line in speaks if (match := re.search(said, line))), None)
        reader = threading.Thread(target=speaks.read)
        reader.start()
        try:
            assert found, f"{command} ended"
            yield found
        finally:
            process.terminate()
            process.wait(20)
            reader.join()


def posts(count: int) -> Iterator[tuple[int | None, str, bytes]]:
    """Posts of a node: the block's height (None for a Bitcoin block), the path and the JSON."""
    parent = None
    for height in range(1, count + 1):
        burn = toy.burn_block(1 + height // TENURE_BLOCKS)
        if height == 1 or height % TENURE_BLOCKS == 0:
            yield None, "/new_burn_block", body(burn_payload(burn))
        moves = [toy.move(f"user {(height * EVENTS + index) % 1000}", height) for index in range(EVENTS)]
        parent = toy.block(parent, moves, burn=burn)
        yield height, "/new_block", body(moves_payload(parent, moves))


@pytest.mark.slow
@pytest.mark.parametrize("rate", RATES)
def test_latency_at_the_tip(rate: float, new_index: Callable[[], str], capsys: pytest.CaptureFixture[str]) -> None:
    url = new_index()
    with connect(url, autocommit=True) as connection:
        toy.create_tables(connection)
    count = max(int(rate * SECONDS), 5)
    prepared = list(posts(count))
    sent: dict[int, float] = {}
    command = [sys.executable, str(PROGRAM), url]
    with (
        notified(url) as committed,
        subscribed(url) as received,
        running(command, {}, subprocess.DEVNULL, "http://(.*)") as observer,
    ):
        client = http.client.HTTPConnection(observer)
        began = time.perf_counter()
        for height, path, post in prepared:
            if height is not None:
                due = began + (height - 1) / rate
                time.sleep(max(due - time.perf_counter(), 0))
                sent[height] = time.perf_counter()
            client.request("POST", path, post)
            client.getresponse().read()
        committed.wait_for(count)
        received.wait_for(count)
        client.close()
    behind = sent[count] - began - (count - 1) / rate
    taken = max(committed.at[count] - began, count / rate)
    with capsys.disabled():
        print(
            f"\n{rate:5.0f} blocks/s of {EVENTS} events: to notification {spread(sent, committed.at)}, "
            f"to a GraphQL subscriber {spread(sent, received.at)} "
            f"({count} blocks, {count / taken:.0f} a second, the last one sent {behind:.1f} s late)"
        )


def spread(sent: Mapping[int, float], told: Mapping[int, float]) -> str:
    """Half and nearly all of the times between."""
    taken = sorted(told[height] - at for height, at in sent.items())
    half, most = taken[len(taken) // 2], taken[min(int(len(taken) * 0.99), len(taken) - 1)]
    return f"p50 {half * 1e3:.1f} ms, p99 {most * 1e3:.1f} ms"
