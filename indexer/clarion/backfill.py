"""Brings protocols into an index that runs: fills their rows from the chain log in processes beside the indexer.

``python -m clarion.backfill`` is such a process. It is told on standard input what to fill (:class:`Task` as one JSON
line), ends by itself when the generation can be switched to, and ends with the process that started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import msgspec
import psycopg
import structlog

from clarion.chains.model import Chain
from clarion.child import stop_with_parent
from clarion.protocol import DeployedProtocol, ProjectionError, installed_protocol
from clarion.store.database import connect
from clarion.store.generation import (
    CHUNK_BLOCKS,
    Filling,
    GenerationError,
    Progress,
    prune,
    ready_protocols,
    switch,
)
from clarion.store.store import Store

POLL_SECONDS: Final = 1.0
RETRY_SECONDS: Final = (1.0, 60.0)
"""Before a process that ended early is started again: at first, and at most."""
DEFECTIVE: Final = 3
"""Exit code where the protocol's package is at fault: trying again does not help."""
STOP_SECONDS: Final = 10.0

log = structlog.get_logger(__name__)


class Task(msgspec.Struct, frozen=True):
    """What a process is to fill. ``protocol`` is the name of an installed one."""

    database_url: str
    chain: Chain
    protocol: str
    contracts: dict[str, str]
    traits: dict[str, str]
    only: list[str] | None
    network: str
    told: dict[str, Any]
    chunk_blocks: int = CHUNK_BLOCKS

    @classmethod
    def of(cls, database_url: str, chain: Chain, deployed: DeployedProtocol, chunk_blocks: int = CHUNK_BLOCKS) -> Task:
        """The task that fills ``deployed``."""
        only = None if deployed.only is None else sorted(deployed.only)
        contracts, traits = dict(deployed.contracts), dict(deployed.traits)
        where = deployed.network, dict(deployed.told)
        return cls(database_url, chain, deployed.protocol.name, contracts, traits, only, *where, chunk_blocks)

    def deployed(self) -> DeployedProtocol:
        """The protocol, loaded from its package. Raises LookupError."""
        only = None if self.only is None else frozenset(self.only)
        protocol = installed_protocol(self.protocol)
        return DeployedProtocol(protocol, self.contracts, self.traits, only, self.network, self.told)


def fill(
    database_url: str,
    chain: Chain,
    deployed: DeployedProtocol,
    *,
    chunk_blocks: int = CHUNK_BLOCKS,
    forced: bool = False,
) -> Iterator[Progress]:
    """Fill a protocol's next generation until it can be switched to; gives how far it is after every chunk.

    ``forced``: also one whose live generation is what it would be. Raises ProjectionError, GenerationError,
    psycopg.Error.
    """
    name = f"clarion fill {deployed.protocol.name}"
    with connect(database_url, autocommit=True, application_name=name) as connection:
        filling = Filling(connection, chain, deployed, chunk_blocks=chunk_blocks, forced=forced)
        while filling.step():
            yield filling.progress


class Backfills:
    """Keeps the processes that fill protocols, and switches to what they have filled.

    ``in_writer`` runs a function in the thread that owns the store. Run :meth:`run` as a task until it is cancelled.
    """

    def __init__(
        self,
        database_url: str,
        store: Callable[[], Store],
        in_writer: Callable[..., Awaitable[Any]],
        *,
        chunk_blocks: int = CHUNK_BLOCKS,
    ) -> None:
        self._url = database_url
        self._store = store
        self._in_writer = in_writer
        self._chunk_blocks = chunk_blocks
        self._fillers: dict[str, _Filler] = {}
        self._defective: set[str] = set()

    async def run(self) -> None:
        """Fill, switch and clear up. Raises FencedOutError where another process has become the writer."""
        try:
            while True:
                try:
                    await self._turn()
                except psycopg.OperationalError as error:
                    log.warning("backfill_waits_for_database", error=str(error).strip())
                await asyncio.sleep(POLL_SECONDS)
        finally:
            await asyncio.gather(*(filler.stop() for filler in self._fillers.values()))

    async def _turn(self) -> None:
        store = self._store()
        for deployed in await self._in_writer(ready_protocols, store):
            if deployed.protocol.name not in self._defective:
                await self._switch(store, deployed)
        waiting = {d.protocol.name: d for d in store.waiting if d.protocol.name not in self._defective}
        for name in self._fillers.keys() - waiting.keys():
            await self._fillers.pop(name).stop()
        for name, deployed in waiting.items():
            filler = self._fillers.get(name)
            if filler is None:
                filler = self._fillers[name] = _Filler(Task.of(self._url, store.chain, deployed, self._chunk_blocks))
            await filler.keep_running()
        await self._in_writer(prune, store.connection, store.chain)

    async def _switch(self, store: Store, deployed: DeployedProtocol) -> None:
        started = time.monotonic()
        try:
            switched = await self._in_writer(switch, store, deployed)
        except (GenerationError, psycopg.errors.LockNotAvailable) as error:
            log.warning("protocol_not_switched", protocol=deployed.protocol.name, error=str(error).strip())
            return
        except ProjectionError as error:
            self._defective.add(deployed.protocol.name)
            log.error("protocol_not_switched", protocol=deployed.protocol.name, error=str(error))
            return
        if switched:
            seconds = time.monotonic() - started
            log.info("protocol_live", protocol=deployed.protocol.name, ms=round(seconds * 1000))


class _Filler:
    """One protocol's process: started, and started again where it ended early."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._process: Process | None = None
        self._pause = RETRY_SECONDS[0]
        self._not_before = 0.0

    async def keep_running(self) -> None:
        """Start the process where none runs and it is time to."""
        if self._process is not None and self._process.returncode is None:
            return
        if self._process is not None:
            self._ended(self._process.returncode or 0)
            self._process = None
        if time.monotonic() < self._not_before:
            return
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "clarion.backfill",
            stdin=PIPE,
            stdout=DEVNULL,
            preexec_fn=stop_with_parent(signal.SIGTERM),
        )
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(self._task) + b"\n")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            await self._process.stdin.drain()
        log.info("protocol_filling", protocol=self._task.protocol, pid=self._process.pid)

    def _ended(self, code: int) -> None:
        if code == 0:  # the next turn switches, unless too many blocks came meanwhile
            self._pause = RETRY_SECONDS[0]
            self._not_before = time.monotonic() + 2 * POLL_SECONDS
        elif code == DEFECTIVE:
            self._not_before = float("inf")
        else:
            log.warning("backfill_ended_early", protocol=self._task.protocol, code=code, again_in_s=self._pause)
            self._not_before = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, RETRY_SECONDS[1])

    async def stop(self) -> None:
        """End the process."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()


def main() -> int:
    """Fill what standard input says, until it is done or the parent is gone; returns the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, meant for the parent, which then ends this
    parent = os.getppid()
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=Task)
    try:
        for _ in fill(task.database_url, task.chain, task.deployed(), chunk_blocks=task.chunk_blocks):
            if os.getppid() != parent:
                return 1
    except (ProjectionError, LookupError) as error:
        print(f"clarion: {task.protocol} cannot be filled: {error}", file=sys.stderr)
        return DEFECTIVE
    except (GenerationError, psycopg.Error) as error:
        print(f"clarion: filling {task.protocol}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
