"""The Bitcoin half of the index service: reads blocks from sources, finds what matters to Charms, and applies it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import psycopg
import structlog
from starlette.applications import Starlette

from clarion.backfill import Backfills
from clarion.bitcoin_nodes import rpc_of
from clarion.chains.bitcoin.charms.keys import LATEST_VERSION
from clarion.chains.bitcoin.charms.verify import read_spells
from clarion.chains.bitcoin.esplora import Esplora
from clarion.chains.bitcoin.poller import BitcoinPoller, ReadBlock
from clarion.chains.bitcoin.scanner import Scanner
from clarion.chains.bitcoin.source import BitcoinSourceError, BlockSource, SourceTip
from clarion.chains.bitcoin.tracked import Tracked, readable_now
from clarion.chains.model import JsonValue
from clarion.config import Bitcoin, BitcoinSourceName, Metrics, Settings
from clarion.decoding import default_processes
from clarion.health import IndexHealth, Reasons, facts_json, probe_routes
from clarion.protocol import DeployedProtocol
from clarion.pruning import Pruner, retention_of
from clarion.reporting import Reporter
from clarion.serving import Server, listen, url_of
from clarion.store.log_indexes import LogIndexKeeper
from clarion.store.store import Tip
from clarion.tasks import cancel
from clarion.worker import RECONNECT_SECONDS, Applied, Worker, is_of_the_post
from clarion.worker_thread import WorkerThread

NOT_STORABLE_SECONDS: Final = 30.0
"""Before blocks that could not be stored are read again."""

log = structlog.get_logger(__name__)


def sources_of(settings: Bitcoin) -> list[BlockSource]:
    """The sources that the settings name."""
    made: list[BlockSource] = []
    if BitcoinSourceName.RPC in settings.sources:
        made.append(rpc_of(settings))
    if BitcoinSourceName.ESPLORA in settings.sources and settings.esplora_url is not None:
        made.append(Esplora(settings.esplora_url, network=settings.network, poll_seconds=settings.poll_seconds))
    return made


class BitcoinService:
    """The pollers of the sources, and the worker that applies what they read, over one database."""

    def __init__(self, settings: Settings, database_url: str, protocols: Sequence[DeployedProtocol]) -> None:
        bitcoin = settings.bitcoin
        self._settings = bitcoin
        self._worker = Worker(
            database_url,
            protocols,
            chain="bitcoin",
            start_height=bitcoin.start_height,
            final_depth=bitcoin.finality_depth,
            behind_blocks=bitcoin.behind_blocks,
        )
        self._tracked = Tracked()
        self._scanner = Scanner(bitcoin.network, self._tracked)
        limits = settings.ready.model_copy(update={"max_lag_blocks": bitcoin.behind_blocks})
        self._health = IndexHealth(database_url, "bitcoin", limits)
        self._in_thread = WorkerThread("clarion-bitcoin", max_seconds=settings.ready.max_batch_seconds)
        self._feeds = [_Feed(self, source) for source in sources_of(bitcoin)]
        self._backfills = Backfills(database_url, lambda: self._worker.store, self._in_thread)
        self._log_indexes = LogIndexKeeper(database_url, [deployed.protocol for deployed in protocols])
        self._pruner = Pruner(
            database_url, "bitcoin", retention_of(settings), interval_seconds=settings.retention.interval_seconds
        )
        self._reporter = Reporter("bitcoin")
        self._stop = asyncio.Event()
        self._connecting = asyncio.Lock()
        self._problem: str | None = None
        self._tasks: list[asyncio.Task[Any]] = []

    def stop(self) -> None:
        """Ask the service to finish its batch and end."""
        self._stop.set()

    async def run(self) -> None:
        """Index until :meth:`stop`. Raises FencedOutError or ProjectionError."""
        tip = await self._in_thread(self._connect)
        network, sources = self._settings.network.value, [feed.source.name for feed in self._feeds]
        log.info("indexing_bitcoin", network=network, sources=sources, height=tip.height, tracked=len(self._tracked))
        try:
            async with contextlib.AsyncExitStack() as stack:
                for feed in self._feeds:
                    await stack.enter_async_context(feed.source)
                await self._run_all()
        finally:
            await self._health.close()
            await self._in_thread(self._worker.close)
            self._in_thread.close()
        log.info("stopped_bitcoin", height=self._worker.store.tip.height)

    async def _run_all(self) -> None:
        """Run everything until told to stop, or until the first thing ends by itself."""
        background = [
            *(asyncio.create_task(feed.run(), name=feed.source.name) for feed in self._feeds),
            asyncio.create_task(self._backfills.run(), name="bitcoin backfills"),
            asyncio.create_task(self._pruner.run(), name="bitcoin pruner"),
            asyncio.create_task(self._log_indexes.run(), name="bitcoin log indexes"),
        ]
        self._tasks = [*background, asyncio.create_task(self._stop.wait(), name="stop")]
        try:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.stop()
            await cancel(background)
            ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        for outcome in ended:
            if isinstance(outcome, Exception):
                raise outcome

    async def alive(self) -> Reasons:
        """What speaks against its being alive."""
        ended = [f"{task.get_name()} has ended" for task in self._tasks if task.done()]
        return [*ended, *self._in_thread.reasons()]

    async def ready(self) -> tuple[Reasons, dict[str, JsonValue]]:
        """What speaks against relying on it, and the facts."""
        reasons = await self.alive()
        answer: dict[str, JsonValue] = {"chain": "bitcoin", "network": self._settings.network.value}
        if self._problem is not None:
            reasons.append(self._problem)
        try:
            facts = await self._health.facts()
        except psycopg.Error as error:
            if self._problem is None:
                reasons.append(f"the database does not answer: {error}")
        else:
            reasons += [f"bitcoin: {reason}" for reason in self._health.reasons(facts)]
            answer |= facts_json(facts)
        return reasons, answer

    async def measure(self) -> None:
        """Bring the metrics up to date. Raises psycopg.Error."""
        await self._health.measure()

    def _connect(self) -> Tip:
        tip = self._worker.connect()
        connection = self._worker.store.connection
        self._tracked.load(connection)
        spells, height = readable_now(connection, LATEST_VERSION)
        if height is not None:
            remedy = f"clarion rewind --chain bitcoin --to {height - 1} --accept-final-loss --forget"
            log.warning("spells_can_be_read_now", spells=spells, first_height=height, remedy=remedy)
        return tip

    async def reconnect(self, error: psycopg.OperationalError) -> None:
        """Connect to the database anew after it went away, however long that takes."""
        pause, longest = RECONNECT_SECONDS
        async with self._connecting:
            log.warning("database_lost", chain="bitcoin", error=str(error))
            while True:
                self._problem = f"the database does not answer: {error}"
                try:
                    await self._in_thread(self._worker.connect)
                except psycopg.OperationalError as again:
                    error = again
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, longest)
                else:
                    break
            log.info("database_back", chain="bitcoin")
            self._problem = None

    async def knows(self, block_hash: bytes, *, as_canonical: bool) -> bool:
        """Whether a block is in the chain log; with ``as_canonical``, whether it counts."""
        return await self._in_thread(self._knows, block_hash, as_canonical)

    def _knows(self, block_hash: bytes, as_canonical: bool) -> bool:
        store = self._worker.store
        header = store.header(block_hash)
        return header is not None and (not as_canonical or store.canonical_hash(header.ref.height) == block_hash)

    async def apply(self, source: str, blocks: Sequence[ReadBlock]) -> Applied:
        """Apply blocks that a source gave. Raises what the worker raises."""
        started = time.monotonic()
        applied = await self._in_thread(self._apply, source, blocks)
        self._reporter.applied(applied, time.monotonic() - started, self._worker.store.tip.height)
        return applied

    def _apply(self, source: str, blocks: Sequence[ReadBlock]) -> Applied:
        found = [self._scanner.block(block.data, block.scanned, block.height) for block in blocks]
        return self._worker.apply_said(source, found)

    async def note(self, source: str, said: SourceTip | str) -> None:
        """Take note of where a source stands, or of why it cannot say."""
        if isinstance(said, SourceTip):
            self._reporter.targets[source] = said.height
            note = partial(self._worker.note_answer, source, said.height, said.hash, said.height)
        else:
            note = partial(self._worker.note_failure, source, said)
        await self._in_thread(note)

    @property
    def settings(self) -> Bitcoin:
        """What is set for Bitcoin."""
        return self._settings


class BitcoinProbes:
    """The server of probes and metrics where Bitcoin alone is indexed; beside Stacks, the observer tells of both."""

    def __init__(self, service: BitcoinService, settings: Metrics) -> None:
        self._service = service
        self._settings = settings
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Ask it to end."""
        self._stop.set()

    async def run(self, ready: Callable[[str], None] | None = None) -> None:
        """Serve until :meth:`stop`, or only wait where no port is set. Raises ServiceError."""
        ready = ready or (lambda _: None)
        host, port = self._settings.host, self._settings.port
        if port is None:
            ready("")
            await self._stop.wait()
            return
        with listen(host, port, what="metrics server", section="METRICS") as listening:
            routes = probe_routes(self._alive, self._service.ready, self._service.measure)
            server = Server(Starlette(routes=routes), graceful_seconds=1)
            serving = asyncio.create_task(server.serve(sockets=[listening]))
            stopping = asyncio.create_task(self._stop.wait())
            ready(url_of(listening))
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            server.should_exit = True
            await serving
            await cancel([stopping])

    async def _alive(self) -> tuple[Reasons, dict[str, JsonValue]]:
        return await self._service.alive(), {}


class _Feed:
    """One source's poller and the service that it feeds."""

    def __init__(self, service: BitcoinService, source: BlockSource) -> None:
        self.source = source
        self._service = service
        settings = service.settings
        reader = partial(read_spells, network=settings.network, accept_mock=settings.mock_spells)
        self._poller = BitcoinPoller(
            source,
            self,
            reader,
            start_height=settings.start_height,
            report=self._report,
            processes=default_processes() if settings.processes is None else settings.processes,
        )
        self._missing = False
        """Whether blocks that the index has build on some that it has not, so that only what counts is known."""
        self._problem: str | None = None

    async def knows(self, block_hash: bytes) -> bool:
        """For the poller: whether a block is in the index."""
        return await self._service.knows(block_hash, as_canonical=self._missing)

    async def run(self) -> None:
        """Feed, until cancelled. Raises FencedOutError or ProjectionError."""
        while True:
            try:
                async with contextlib.aclosing(self._poller.follow()) as following:
                    async for blocks in following:
                        applied = await self._service.apply(self.source.name, blocks)
                        self._missing, self._problem = bool(applied.missing), None
            except psycopg.OperationalError as error:
                await self._service.reconnect(error)
            except (psycopg.Error, UnicodeEncodeError) as error:
                if not is_of_the_post(error):
                    raise
                self._problem = f"blocks {blocks[0].height} to {blocks[-1].height} cannot be stored: {error}"
                log.error("blocks_not_storable", source=self.source.name, error=self._problem)
                await self._service.note(self.source.name, self._problem)
                await asyncio.sleep(NOT_STORABLE_SECONDS)

    async def _report(self, said: SourceTip | BitcoinSourceError) -> None:
        if isinstance(said, BitcoinSourceError):
            log.warning("bitcoin_source_failed", source=self.source.name, error=str(said))
            await self._service.note(self.source.name, str(said))
        elif self._problem is None:
            await self._service.note(self.source.name, said)
