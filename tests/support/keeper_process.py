"""Keepers as processes of their own, forked from one that has imported everything already.

Run as a program it reads a JSON line for each keeper to start, or to wait for; see `Keepers`. Its keepers are on the
toy chain; other programs that call `serve` have others.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import psycopg

from clarion_keeper.observer import Observer
from support.keeper_world import World, toy_engine

TESTS: Final = Path(__file__).resolve().parents[1]
PROGRAM: Final = "support.keeper_process"

Keep: TypeAlias = Callable[[dict[str, Any], Observer, asyncio.Event], Awaitable[None]]
"""Runs the keeper of an order until the event is set."""

Fault: TypeAlias = tuple[str, int, str] | tuple[str, int, str, str]
"""The stage, the how-manieth time, and `kill`, `stop` or `clock`; last the job that it is reached for, if not any."""


class FaultAt(Observer):
    """Does something to its own process at the ``nth`` time that a stage is reached, and once only.

    ``job``: that it is reached for; empty: for any.
    """

    def __init__(self, stage: str, nth: int, fault: str, job: str = "") -> None:
        self._stage = stage
        self._left = nth
        self._fault = fault
        self._job = job

    async def stage(self, name: str, job: str = "") -> None:
        if name != self._stage or self._job not in ("", job):
            return
        self._left -= 1
        if self._left:
            return
        if self._fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self._fault == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif self._fault == "clock":
            _wall_clock_jumps()


def _wall_clock_jumps(seconds: float = 400 * 86_400) -> None:
    real = time.time
    time.time = lambda: real() + seconds


def _run(keep: Keep, order: dict[str, Any]) -> None:
    fault = order["fault"]
    observer = FaultAt(*fault) if fault else Observer()
    stopping = asyncio.Event()

    async def run() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
        await keep(order, observer, stopping)

    asyncio.run(run())


async def keep_toy(order: dict[str, Any], observer: Observer, stopping: asyncio.Event) -> None:
    """A keeper on the toy chain."""
    await toy_engine(World(order["url"]), observer, **order["settings"]).run(stopping)


def serve(keep: Keep) -> None:
    """Start keepers as the lines on standard input say; each gets an answer on standard output."""
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = os.fork()
            if answer == 0:
                code = 1
                os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # answers alone go to the test
                try:
                    _run(keep, order)
                    code = 0
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(code)
        print(answer, flush=True)


class Keepers:
    """The test's side: starts keepers and waits for them. Use as a context manager; it ends what still runs.

    ``program``: the module that makes them.
    """

    def __init__(self, program: str = PROGRAM) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}  # the code that the test runs
        self._server = subprocess.Popen(
            [sys.executable, "-m", program],
            cwd=TESTS,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._running: set[int] = set()

    def __enter__(self) -> Keepers:
        return self

    def __exit__(self, *error: object) -> None:
        for pid in list(self._running):
            os.kill(pid, signal.SIGKILL)
            self.wait(pid)
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(30)
        assert self._server.stdout is not None
        self._server.stdout.close()

    def start(self, url: str, *, fault: Fault | None = None, **settings: Any) -> int:
        """A keeper's process id."""
        pid = self._ask({"url": url, "fault": fault, "settings": settings})
        self._running.add(pid)
        return pid

    def wait(self, pid: int) -> int:
        """How a keeper ended; minus the signal where it was killed."""
        code = self._ask({"wait": pid})
        self._running.discard(pid)
        return code

    def end(self, pid: int) -> int:
        """Ask a keeper to end, and how it did."""
        os.kill(pid, signal.SIGTERM)
        return self.wait(pid)

    @contextlib.contextmanager
    def keeper(self, url: str, **settings: Any) -> Iterator[int]:
        """A keeper that is asked to end afterwards, and has to do so in order."""
        pid = self.start(url, **settings)
        yield pid
        assert self.end(pid) == 0

    def _ask(self, order: dict[str, Any]) -> int:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(order) + "\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())


class Connected(Protocol):
    """A chain of a test's, with the database that its keepers are on."""

    @property
    def connection(self) -> psycopg.Connection[Any]:
        """A connection of the test's own."""
        ...


def lease_over(world: Connected) -> None:
    """Let the lease have run out: what a clock that jumps does, or time."""
    world.connection.execute("UPDATE keeper.lease SET expires_at = clock_timestamp() - interval '1 year'")


if __name__ == "__main__":
    serve(keep_toy)
