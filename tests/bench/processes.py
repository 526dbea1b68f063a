"""What processes take: Postgres' processor time, and the memory of a process and of those that it starts."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
from psycopg import Connection

SAMPLE_SECONDS = 0.1
ENDED_SECONDS = 60
KEPT = ("checkpointer", "writer", "launcher", "io worker")
"""In the titles of a server's processes that live as long as it does."""


@dataclass(frozen=True)
class PostgresTime:
    """Processor seconds of a server's backends (autovacuum's workers among them) and of all its other processes."""

    backends: float
    others: float

    def __sub__(self, earlier: PostgresTime) -> PostgresTime:
        return PostgresTime(self.backends - earlier.backends, self.others - earlier.others)


def postgres_time(connection: Connection[Any]) -> PostgresTime:
    """What a server took so far, in steps of 10 ms, without the backend of ``connection`` itself.

    Waits until no other backend is there: the time of those that have ended is known exactly.
    """
    own = connection.info.backend_pid
    server = psutil.Process(own).parent()
    assert server is not None
    deadline = time.monotonic() + ENDED_SECONDS
    while True:
        kept = [child for child in server.children() if _lives_on(child)]
        backends = [child for child in server.children() if child not in kept and child.pid != own]
        if not backends:
            break
        assert time.monotonic() < deadline, f"backends do not end: {backends}"
        threading.Event().wait(SAMPLE_SECONDS)
    times = server.cpu_times()
    others = [process.cpu_times() for process in kept]
    return PostgresTime(
        times.children_user + times.children_system,
        times.user + times.system + sum(other.user + other.system for other in others),
    )


def _lives_on(process: psutil.Process) -> bool:
    try:
        return any(word in " ".join(process.cmdline()) for word in KEPT)
    except psutil.NoSuchProcess:
        return False


class Memory:
    """The most memory that a process and each of its children had, in MB, looked at while this is open."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._most: dict[int, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def own(self) -> int:
        """The process' own."""
        return self._most.get(self._process.pid, 0)

    @property
    def largest_child(self) -> int:
        """That of the child with the most; 0 where there was none."""
        return max((most for pid, most in self._most.items() if pid != self._process.pid), default=0)

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            try:
                for process in (self._process, *self._process.children()):
                    self._most[process.pid] = max(self._most.get(process.pid, 0), _high_water(process.pid))
            except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
                continue


def _high_water(pid: int) -> int:
    """A process' peak resident memory since its program began, in MB; getrusage's would have its parent's in it."""
    for line in Path(f"/proc/{pid}/status").read_text("utf-8", "replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) >> 10
    return 0
