"""From a block's commit to many subscribers: how long it takes, and what it costs the server.

The server is `clarion serve` on the first core, where Postgres and whoever writes the blocks are too: they work one
after another. Its clients, which ask for the same, are on the last core, and so is, where this may be set, the half of
the loopback device that takes packets in: with clients that are other machines it is theirs too.
`CLARION_BENCH_CLIENTS` (1000,5000), `CLARION_BENCH_SECONDS` (15) and `CLARION_BENCH_MESSAGES` (110000) say how much.
Takes about three minutes.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import psutil
import pytest
from bench.report import Report
from bench.test_tip import running
from support import toy

from clarion.chains.model import Block
from clarion.follower import Follower
from clarion.store.database import connect
from clarion.store.store import Store

CLIENTS = [int(number) for number in os.environ.get("CLARION_BENCH_CLIENTS", "1000,5000").split(",")]
SECONDS = float(os.environ.get("CLARION_BENCH_SECONDS", "15"))
MESSAGES_PER_SECOND = float(os.environ.get("CLARION_BENCH_MESSAGES", "110000"))
"""How many the clients are sent together where it is counted how many there can be."""
PROGRAM = Path(__file__).parent / "subscription_clients.py"
DOCUMENT = (
    "subscription($contract: String) { events(contract: $contract) "
    "{ sequence op block { height } events { topic value eventIndex } } }"
)
PAYLOAD = json.dumps({"query": DOCUMENT, "variables": {"contract": toy.CONTRACT}})
WAIT_SECONDS = 60
LAST_CORE = max(os.sched_getaffinity(0))
WAYS = {
    "clarion": [sys.executable, "-m", "clarion", "serve", "--port", "0"],
    "strawberry": [sys.executable, str(Path(__file__).parent / "strawberry_subscriptions_process.py")],
}


@contextlib.contextmanager
def serving(url: str, way: str = "clarion") -> Iterator[tuple[str, psutil.Process]]:
    """A server over a database, on the first core."""
    command = WAYS[way] if way == "clarion" else [*WAYS[way], url]
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    settings = {"CLARION_DATABASE_URL": url, "CLARION_PROTOCOLS": ""}
    with running(command, settings, subprocess.STDOUT, r"url=http://([0-9.:]+)/graphql") as where:
        (server,) = (child for child in psutil.Process().children() if child.cmdline()[: len(command)] == command)
        server.cpu_affinity([0])
        yield where, server


@contextlib.contextmanager
def on_the_first_core(*processes: psutil.Process) -> Iterator[None]:
    """Keep processes, and those that they start meanwhile, off the core that the clients have."""
    before = {}
    try:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):  # a worker of autovacuum
                before[process] = process.cpu_affinity()
                process.cpu_affinity([0])
        yield
    finally:
        for process, cores in before.items():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.cpu_affinity(cores)


RECEIVING: Final[Mapping[str, str]] = {
    "/sys/class/net/lo/queues/rx-0/rps_cpus": f"{1 << LAST_CORE:x}",
    "/proc/sys/net/core/netdev_max_backlog": "20000",
    "/proc/sys/net/core/netdev_tstamp_prequeue": "0",
}
"""Linux: which core takes in what is sent over loopback (a set, in hex), how many packets may wait for it, and that
they get their time from it (Documentation/networking/scaling.rst, admin-guide/sysctl/net.rst)."""


@pytest.fixture(scope="module")
def receiving_core() -> Iterator[str]:
    """Let the clients' core take in what is sent to them; gives whose it is. Only root may."""
    before: dict[str, str] = {}
    try:
        with contextlib.suppress(OSError):
            for name, value in RECEIVING.items():
                old = Path(name).read_text("ascii")
                Path(name).write_text(value, "ascii")
                before[name] = old
        yield "the clients'" if len(before) == len(RECEIVING) else "the server's"
    finally:
        for name, old in before.items():
            Path(name).write_text(old, "ascii")


class Clients:
    """A process of clients; :attr:`heights` is there when it has ended."""

    def __init__(self, where: str, count: int) -> None:
        host, port = where.rsplit(":", 1)
        command = [sys.executable, str(PROGRAM), host, port, str(count), PAYLOAD]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        psutil.Process(self._process.pid).cpu_affinity([LAST_CORE])
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        self.heights: Mapping[int, list[float]] = {}
        self.connecting = 0.0

    def end(self) -> None:
        """Have them say what they saw."""
        said: dict[str, Any] = json.loads(self._process.communicate(timeout=WAIT_SECONDS)[0])
        self.connecting = said["connecting"]
        self.heights = {int(height): times for height, times in said["heights"].items()}


class Chain:
    """Writes blocks of one event."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tip: Block | None = None

    def commit(self, count: int) -> tuple[int, float]:
        """Commit so many blocks at once; the height, and when the commit was sent."""
        blocks = []
        for _ in range(count):
            self._tip = toy.block(self._tip, [toy.move("somebody", 1 if self._tip is None else self._tip.height)])
            blocks.append(self._tip)
        with self._store.batch() as batch:
            Follower().ingest(batch, blocks)
            batch.flush()
            at = time.time()
        assert self._tip is not None
        return self._tip.height, at


@pytest.fixture
def chain(new_index: Callable[[], str]) -> Iterator[tuple[str, Chain]]:
    """An empty index and who writes it."""
    url = new_index()
    with connect(url, autocommit=True) as connection:
        backend = psutil.Process(connection.info.backend_pid)
        postgres = backend.parent()
        assert postgres is not None
        with on_the_first_core(psutil.Process(), postgres, *postgres.children()):
            store = Store(connection, "stacks", [])
            store.open()
            yield url, Chain(store)


def busy(server: psutil.Process) -> float:
    """Processor seconds of the server so far."""
    times = server.cpu_times()
    return times.user + times.system


def spread(sent: Mapping[int, float], told: Mapping[int, list[float]]) -> tuple[float, float, float]:
    """Half, nearly all and all of the times from a commit to a client, in milliseconds."""
    taken = sorted((at - sent[height]) * 1e3 for height, times in told.items() if height in sent for at in times)
    return taken[len(taken) // 2], taken[int(len(taken) * 0.99)], taken[-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "count", "rate"),
    [*(("clarion", count, rate) for rate in (1, 10) for count in CLIENTS), ("strawberry", CLIENTS[0], 1)],
)
def test_from_commit_to_many_clients(
    chain: tuple[str, Chain], receiving_core: str, report: Report, way: str, count: int, rate: int
) -> None:
    url, writer = chain
    sent: dict[int, float] = {}
    with serving(url, way) as (where, server):
        clients = Clients(where, count)
        writer.commit(1)  # the first block finds nothing where it is at hand later: it does not count
        time.sleep(1)
        before, began = busy(server), time.monotonic()
        for number in range(max(int(SECONDS * rate), 5)):
            time.sleep(max(began + number / rate - time.monotonic(), 0))
            height, at = writer.commit(1)
            sent[height] = at
        clients.end()
        taken, cost = time.monotonic() - began, busy(server) - before
        memory = server.memory_info().rss >> 20
    delivered = sum(len(clients.heights[height]) for height in sent)
    assert delivered == count * len(sent)
    half, most, last = spread(sent, clients.heights)
    report.add(
        "Subscriptions: from a commit to each client",
        {
            "served by": way,
            "clients": str(count),
            "blocks/s": str(rate),
            "taken in on": f"{receiving_core} core",
            "p50": f"{half:.1f} ms",
            "p99": f"{most:.1f} ms",
            "longest": f"{last:.1f} ms",
            "server's core": f"{cost / taken:.0%}",
            "processor time of a message": f"{cost / delivered * 1e6:.1f} µs",
            "connecting": f"{clients.connecting:.1f} s",
            "memory": f"{memory} MB",
        },
    )


@pytest.mark.slow
@pytest.mark.parametrize("count", CLIENTS)
def test_as_many_messages_as_there_can_be(
    chain: tuple[str, Chain], receiving_core: str, report: Report, count: int
) -> None:
    """Blocks ten at a time, so many that the clients together get `CLARION_BENCH_MESSAGES` a second."""
    url, writer = chain
    sent: dict[int, float] = {}
    with serving(url) as (where, server):
        clients = Clients(where, count)
        before, began = busy(server), time.time()
        due = began
        while time.time() - began < SECONDS:
            height, at = writer.commit(10)
            sent[height] = at
            due = max(due + 10 * count / MESSAGES_PER_SECOND, at)
            time.sleep(max(due - time.time(), 0))
        clients.end()
        cost = busy(server) - before
    delivered = sum(len(times) for times in clients.heights.values())
    assert delivered == count * 10 * len(sent)
    half, most, _ = spread(sent, clients.heights)
    taken = max(max(times) for times in clients.heights.values()) - began
    report.add(
        "Subscriptions: as many messages as there can be",
        {
            "clients": str(count),
            "taken in on": f"{receiving_core} core",
            "messages/s": f"{delivered / taken:,.0f}",
            "p50": f"{half:.1f} ms",
            "p99": f"{most:.1f} ms",
            "server's core": f"{cost / taken:.0%}",
            "processor time of a message": f"{cost / delivered * 1e6:.1f} µs",
        },
    )
