"""How long after a node's post its block is committed and whoever listens is told, by the index service in a process.

`CLARION_BENCH_RATES` (blocks a second, with commas between; 1,10,100) and `CLARION_BENCH_SECONDS` (5) say how much.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from support import toy
from support.node_posts import body, burn_payload, moves_payload

from clarion.store.database import connect

RATES = [float(rate) for rate in os.environ.get("CLARION_BENCH_RATES", "1,10,100").split(",")]
SECONDS = float(os.environ.get("CLARION_BENCH_SECONDS", "5"))
PROGRAM = Path(__file__).resolve().parents[1] / "support" / "index_process.py"
EVENTS = 10
"""Of a block; each changes a row."""


class Listener:
    """When each height was told on Postgres' channel, which is when its rows are there to be read."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)
        self._connection.execute("LISTEN clarion")
        self.told: dict[int, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        highest = 0
        while not self._stop.is_set():
            for notify in self._connection.notifies(timeout=0.2):
                now = time.perf_counter()
                height = json.loads(notify.payload)["height"] or 0
                for reached in range(highest + 1, height + 1):
                    self.told[reached] = now
                highest = max(highest, height)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._connection.close()

    def wait_for(self, height: int) -> None:
        deadline = time.monotonic() + 60
        while height not in self.told:
            assert time.monotonic() < deadline, f"block {height} was not told"
            time.sleep(0.005)


@pytest.mark.slow
@pytest.mark.parametrize("rate", RATES)
def test_latency_at_the_tip(rate: float, new_index: Callable[[], str], capsys: pytest.CaptureFixture[str]) -> None:
    url = new_index()
    with connect(url, autocommit=True) as connection:
        toy.create_tables(connection)
    count = max(int(rate * SECONDS), 5)
    posts, parent = [body(burn_payload(toy.burn_block(1)))], None
    for number in range(count):
        moves = [toy.move(f"user {(number * EVENTS + index) % 1000}", number) for index in range(EVENTS)]
        parent = toy.block(parent, moves)
        posts.append(body(moves_payload(parent, moves)))
    listener = Listener(url)
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), url], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    reader: threading.Thread | None = None
    try:
        observer = ""
        while not observer.startswith("http"):
            line = process.stdout.readline()
            assert line, "the index service ended"
            observer = line.strip()
        reader = threading.Thread(target=process.stdout.read, daemon=True)
        reader.start()
        client = http.client.HTTPConnection(observer.removeprefix("http://"))
        sent: dict[int, float] = {}
        began = time.perf_counter()
        for number, post in enumerate(posts):
            due = began + (number - 1) / rate
            time.sleep(max(due - time.perf_counter(), 0))
            if number:
                sent[number] = time.perf_counter()
            client.request("POST", "/new_block" if number else "/new_burn_block", post)
            client.getresponse().read()
        listener.wait_for(count)
        client.close()
    finally:
        process.terminate()
        process.wait(20)
        if reader is not None:
            reader.join()
        process.stdout.close()
        listener.close()
    taken = sorted(listener.told[height] - sent[height] for height in sent)
    half, most = taken[len(taken) // 2], taken[min(int(len(taken) * 0.99), len(taken) - 1)]
    behind = sent[count] - began - (count - 1) / rate
    with capsys.disabled():
        print(
            f"\n{rate:5.0f} blocks/s of {EVENTS} events: post to notification p50 {half * 1e3:7.1f} ms, "
            f"p99 {most * 1e3:7.1f} ms ({count} blocks, the last one sent {behind:.1f} s late)"
        )
