"""A seeded world of faults around a real index process: nothing is lost, nothing doubled, every digest is equal.

A chain that forks is posted by two nodes, one behind the other, to an index service in a process of its own, over a
Postgres of its own. Meanwhile processes are killed at the boundaries of every stage, Postgres dies and comes back, its
connections break, its disk is full, a second indexer takes over, posts come in halves, and the node that is asked for
what is missing fails and lies. When all is well again the index must be the one that was given the winning blocks
alone.

The name of a test case is its seed: run that case again to see the same world and the same faults in the same order.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

import httpx
import psutil
import psycopg
import pytest
from simulation import stages
from simulation.index_process import FENCED_OUT, run_index
from simulation.node import GARBAGE, AskedNode, PostingNode
from support import toy
from support.index_service import fresh_index_of_posts, index_of
from support.simulated_node import SimulatedNode

from clarion.follower import REWRITES_FINAL
from clarion.store.database import connect, create_database, migrate
from clarion.store.embedded import TEST_SETTINGS, EmbeddedPostgres

QUICK_SEEDS = range(3)
SLOW_SEEDS = range(100, 104)

UP_SECONDS: Final = 60
HEALED_SECONDS: Final = 90
REACHED_SECONDS: Final = 1.5
"""How long a fault waits for its stage: not every stage comes with the next posts."""
SMALL_DISK_MIB: Final = 256
POLL_SECONDS: Final = 0.005


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for what other processes bring about; whether it came."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(POLL_SECONDS)
    return True


class World:
    """The chain, its nodes, the database and the index process, and what may happen to them."""

    def __init__(self, seed: int, steps: int, server: EmbeddedPostgres) -> None:
        self.chance = random.Random(seed)
        self.server = server
        self.database_url = server.url(f"world_{seed}")
        create_database(self.database_url)
        migrate(self.database_url)
        self.open()
        toy.create_tables(self.connection)

        posts: list[tuple[str, bytes]] = []
        self.chain = SimulatedNode(self.chance, lambda path, content: posts.append((path, content)))
        for _ in range(steps):
            self.chain.step()
        self.chain.win()

        self.asked = AskedNode(self.chain, seed=seed)
        self.nodes = [
            PostingNode(posts, lambda: self.observer, seed=seed, address="127.0.0.1", loses=0.08),
            PostingNode(posts, lambda: self.observer, seed=~seed, address="127.0.0.2", loses=0.3),
        ]
        self.context = multiprocessing.get_context("forkserver")
        # a server that has imported everything forks the processes, which then start at once
        self.context.set_forkserver_preload(["clarion.indexing", "clarion.protocol"])
        self.happened: list[str] = []
        self.process = self.start_index()
        for node in self.nodes:
            node.start()

    def open(self) -> None:
        """Connect, as somebody who looks on and makes trouble."""
        self.connection = connect(self.database_url, autocommit=True)
        self.connection.execute("SET synchronous_commit = on")

    def close(self) -> None:
        for node in self.nodes:
            node.stop()
        self.process.kill()
        self.process.join()
        self.asked.close()
        self.connection.close()

    # The index process

    def start_index(self) -> BaseProcess:
        """Start an index process, to which the nodes post from now on."""
        listening, telling = self.context.Pipe(duplex=False)
        process = self.context.Process(target=run_index, args=(self.database_url, self.asked.url, telling), daemon=True)
        process.start()
        telling.close()
        assert listening.poll(UP_SECONDS), "the index process does not listen"
        self.observer = listening.recv()
        return process

    def kill(self) -> None:
        assert self.process.exitcode is None, f"the index process had ended with {self.process.exitcode}"
        self.process.kill()
        self.process.join()
        assert self.process.exitcode == -signal.SIGKILL

    # Faults

    def go_on(self) -> None:
        """The nodes post some more."""
        leader, follower = self.nodes
        leader.allow(self.chance.randrange(2, 14))
        follower.allow(self.chance.randrange(12))

    def stage(self) -> tuple[str, str]:
        return self.chance.choice(stages.STAGES)

    def killed_at_a_boundary(self, stage: tuple[str, str] | None = None, *, at_commit: bool | None = None) -> None:
        """kill -9 while a stage has just been written, or while it is being committed."""
        stage = stage or self.stage()
        at_commit = self.chance.random() < 0.3 if at_commit is None else at_commit
        with (
            stages.fault_at(self.connection, stage, stages.WAIT, at_commit=at_commit) as happened,
            stages.held(self.connection),
        ):
            self.go_on()
            reached = until(happened, REACHED_SECONDS)
            self.kill()
        self.happened.append(f"killed at {stage}, {at_commit=}, {reached=}")
        self.process = self.start_index()

    def killed_at_any_moment(self) -> None:
        self.go_on()
        until(lambda: False, self.chance.random() * 0.05)
        self.kill()
        self.process = self.start_index()

    def cut_off_at_a_boundary(self) -> None:
        """The database ends the connection that has just written a stage."""
        stage = self.stage()
        at_commit = self.chance.random() < 0.3
        with stages.fault_at(self.connection, stage, stages.CUT_OFF, at_commit=at_commit) as happened:
            self.go_on()
            reached = until(happened, REACHED_SECONDS)
        self.happened.append(f"cut off at {stage}, {at_commit=}, {reached=}")

    def disk_full_at_a_boundary(self) -> None:
        """There is no room for what a stage writes, for a while."""
        stage = self.stage()
        at_commit = self.chance.random() < 0.3
        with stages.fault_at(self.connection, stage, stages.DISK_FULL, at_commit=at_commit) as happened:
            self.go_on()
            reached = until(happened, REACHED_SECONDS)
        self.happened.append(f"disk full at {stage}, {at_commit=}, {reached=}")

    def connections_lost(self) -> None:
        self.go_on()
        self.connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    def postgres_restarts(self) -> None:
        """Postgres is told to stop, or dies at once and recovers."""
        self.go_on()
        (pid,) = self.connection.execute("SELECT pg_backend_pid()").fetchone() or (0,)
        postmaster = psutil.Process(pid).parent()
        assert postmaster is not None
        if self.chance.random() < 0.5:
            os.kill(postmaster.pid, signal.SIGQUIT)  # its immediate shutdown, as after a crash
        self.server.stop()
        self.go_on()
        self.connection.close()
        self.server.start()
        self.open()

    def disk_full(self, folder: Path) -> None:
        """What room there is in the database's folder is taken, until posts are refused; then there is room again."""
        ballast = folder / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))
        self.go_on()

        def is_refused() -> bool:
            with contextlib.suppress(httpx.TransportError):
                large = GARBAGE + self.chance.randbytes(4 << 20)
                answer = httpx.post(f"{self.observer}/new_block", content=large, timeout=UP_SECONDS)
                return answer.status_code == 503
            return False

        assert until(is_refused, UP_SECONDS), "there was more room than there was to write"
        ballast.unlink()
        try:
            self.connection.execute("SELECT 1")
        except psycopg.OperationalError:  # Postgres gives up where it cannot write its log
            self.connection.close()
            self.server.stop()
            self.server.start()
            self.open()

    def another_indexer(self) -> None:
        """A second index process takes over; the first must end by itself, with a clear error."""
        first, first_observer = self.process, self.observer
        self.process = self.start_index()
        second_observer, self.observer = self.observer, first_observer  # the nodes do not know yet
        self.go_on()
        until(lambda: all(node.idle for node in self.nodes), 0.2)
        self.observer = second_observer
        self.go_on()
        if not until(lambda: first.exitcode is not None, REACHED_SECONDS):
            # it had nothing to write: as long as it is told nothing, it does no harm
            first.kill()
            first.join()
        else:
            assert first.exitcode == FENCED_OUT
        self.happened.append(f"taken over, the first ended with {first.exitcode}")

    def trouble(self) -> None:
        """One fault."""
        fault = self.chance.choice(
            [
                *[self.killed_at_a_boundary] * 4,
                self.killed_at_any_moment,
                *[self.cut_off_at_a_boundary] * 2,
                *[self.disk_full_at_a_boundary] * 2,
                self.connections_lost,
                self.postgres_restarts,
                self.another_indexer,
            ]
        )
        self.happened.append(fault.__name__)
        fault()

    # The end

    def heal(self) -> None:
        """Everything works again and the nodes post what is left."""
        self.asked.faulty = False
        for node in self.nodes:
            node.allow(1 << 30)

        def indexed() -> bool:
            assert self.process.exitcode is None, f"the index process ended with {self.process.exitcode}"
            waiting = self.connection.execute("SELECT count(*) FROM clarion.inbox WHERE error IS NULL").fetchone()
            tip = self.connection.execute("SELECT hash FROM clarion.cursor").fetchone()
            return all(node.finished for node in self.nodes) and waiting == (0,) and tip == (self.chain.chain[-1].hash,)

        assert until(indexed, HEALED_SECONDS), self.state()

    def state(self) -> str:
        """Where things stand, for whoever looks for the reason of a failure."""
        asked = {
            "tip": self.chain.chain[-1].ref,
            "cursor": self.connection.execute("SELECT height, hash, final_height FROM clarion.cursor").fetchall(),
            "inbox": self.connection.execute("SELECT id, path, source, error FROM clarion.inbox").fetchmany(5),
            "posted": [node.delivered for node in self.nodes],
            "happened": self.happened,
        }
        return "\n".join(f"{name}: {said}" for name, said in asked.items())

    def check(self) -> None:
        """Nothing is lost, nothing doubled, every digest is that of an index of the winning blocks."""
        connection, chain = self.connection, self.chain.chain
        found = index_of(connection)
        assert [block_hash for _, block_hash, _ in found[0]] == [block.hash for block in chain], self.state()
        assert found == fresh_index_of_posts(connection, [self.chain.payloads[block.hash] for block in chain])
        digest = connection.execute("SELECT digest FROM clarion.cursor").fetchone()
        assert digest == (found[0][-1][2],)
        assert chain_of_steps(connection) == [block.hash for block in chain]
        accounts = connection.execute("SELECT owner, balance, note, updated_height FROM toy.account").fetchall()
        assert rows_of_changes(connection) == {owner: tuple(row) for owner, *row in accounts}
        kept = connection.execute("SELECT body FROM clarion.inbox WHERE error IS NOT NULL").fetchall()
        assert all(content.startswith(GARBAGE) for (content,) in kept)
        anomalies = connection.execute("SELECT DISTINCT kind FROM clarion.anomaly").fetchall()
        # a node that is far behind announces Bitcoin blocks that would replace final ones
        assert {kind for (kind,) in anomalies} <= {REWRITES_FINAL}


def chain_of_steps(connection: psycopg.Connection[Any]) -> list[bytes]:
    """The chain as somebody has it who follows the steps."""
    chain: list[bytes] = []
    for op, block_hash in connection.execute("SELECT op, hash FROM clarion.step ORDER BY sequence"):
        if op == "apply":
            chain.append(block_hash)
        else:
            assert chain.pop() == block_hash
    return chain


def rows_of_changes(connection: psycopg.Connection[Any]) -> dict[str, tuple[Any, ...]]:
    """The rows as somebody has them who follows the changes."""
    rows: dict[str, tuple[Any, ...]] = {}
    for (owner,), after in connection.execute("SELECT key, after FROM clarion.change ORDER BY sequence"):
        if after is None:
            del rows[owner]
        else:
            rows[owner] = (int(after["balance"]), after["note"], after["updated_height"])
    return rows


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[EmbeddedPostgres]:
    """A server that the tests may stop and start."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="clarion-simulation-", dir=memory if memory.is_dir() else None) as folder:
        Path(folder).chmod(0o711)  # where root runs the tests, Postgres runs as another account
        server = EmbeddedPostgres(Path(folder) / "postgres", settings=TEST_SETTINGS)
        try:
            server.start()
            yield server
        finally:
            server.remove()


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A folder with little room, which every account may enter; only root can make one."""
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("only root can make a small disk")
    with tempfile.TemporaryDirectory(prefix="clarion-simulation-") as open_folder:
        Path(open_folder).chmod(0o711)
        folder = Path(open_folder) / "disk"
        folder.mkdir()
        options = f"size={SMALL_DISK_MIB}m,mode=711"
        command = [mount, "-t", "tmpfs", "-o", options, "tmpfs", folder]
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            pytest.skip("this root may not make a small disk")
        try:
            yield folder
        finally:
            subprocess.run(["umount", folder], check=True)


@contextlib.contextmanager
def world(seed: int, steps: int, server: EmbeddedPostgres) -> Iterator[World]:
    opened = World(seed, steps, server)
    try:
        yield opened
    finally:
        opened.close()


def live(seed: int, server: EmbeddedPostgres, *, steps: int, faults: int) -> None:
    print(f"seed {seed}")
    with world(seed, steps, server) as lived:
        for _ in range(faults):
            lived.trouble()
        lived.heal()
        lived.check()


@pytest.mark.parametrize("seed", QUICK_SEEDS)
def test_faults_leave_no_trace(seed: int, own_postgres: EmbeddedPostgres) -> None:
    live(seed, own_postgres, steps=60, faults=8)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SLOW_SEEDS)
def test_many_faults_leave_no_trace(seed: int, own_postgres: EmbeddedPostgres) -> None:
    live(seed, own_postgres, steps=400, faults=50)


@pytest.mark.slow
def test_a_kill_at_every_boundary_leaves_no_trace(own_postgres: EmbeddedPostgres) -> None:
    with world(1_000, 300, own_postgres) as lived:
        for stage in stages.STAGES:
            for at_commit in (False, True):
                lived.killed_at_a_boundary(stage, at_commit=at_commit)
        reached = {said for said in lived.happened if "reached=True" in said}
        lived.heal()
        lived.check()
    assert len(reached) > len(stages.STAGES), lived.happened


@pytest.mark.slow
def test_a_disk_that_is_full_leaves_no_trace(small_disk: Path) -> None:
    settings = {**TEST_SETTINGS, "max_wal_size": "64MB", "min_wal_size": "32MB"}
    server = EmbeddedPostgres(small_disk / "postgres", settings=settings)
    try:
        server.start()
        with world(2_000, 400, server) as lived:
            for _ in range(3):
                lived.go_on()
                lived.disk_full(small_disk)
            lived.heal()
            lived.check()
    finally:
        server.remove()
