"""The index service: takes what sources tell, keeps it, and applies it, until it is told to stop.

Of Stacks: a node posts to the observer; the inbox keeps that until the worker has applied it. Blocks that are missing
are asked of whoever can give them. Of Bitcoin: see :mod:`clarion.bitcoin_indexing`.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final

import psycopg
import structlog
from starlette.applications import Starlette

from clarion import hiro_feed, metrics
from clarion.backfill import Backfills
from clarion.bitcoin_indexing import BitcoinProbes, BitcoinService
from clarion.chains.model import Chain, JsonValue
from clarion.chains.stacks.hashing import index_block_hash
from clarion.chains.stacks.node_client import NodeClient, NodeError
from clarion.chains.stacks.observer import observer_app
from clarion.config import ConfigurationError, Settings, SourceName
from clarion.contract_interfaces import InterfaceFetcher
from clarion.discovery import is_contract_id
from clarion.fetcher import BlockGiver, Fetcher
from clarion.health import IndexHealth, Reasons, facts_json, probe_routes
from clarion.hiro_feed import HiroFeed
from clarion.protocol import STX, DeployedProtocol, Protocol, installed_protocols
from clarion.protocols import stacks
from clarion.pruning import Pruner, retention_of
from clarion.reporting import Reporter
from clarion.serving import Server, listen, url_of
from clarion.store.database import migrate, open_database
from clarion.store.inbox import InboxWriter
from clarion.store.log_indexes import LogIndexKeeper
from clarion.tasks import cancel
from clarion.worker import RECONNECT_SECONDS, Applied, Worker
from clarion.worker_thread import WorkerThread

IDLE_POLL_SECONDS: Final = 5.0
"""How often the inbox is looked at unasked: posts that were put aside may be let in again by another process."""
WATCH_SECONDS: Final = 15.0
"""How often the node is asked where it stands."""

log = structlog.get_logger(__name__)


def deployed_protocols(settings: Settings, chain: Chain | None = None) -> list[DeployedProtocol]:
    """The protocols the settings enable, each at its deployer's address, or else where its package says it is.

    ``chain``: those of this chain alone. Raises ConfigurationError where one is not installed, nobody says who deployed
    it, or it cannot do with what it is told.
    """
    installed = installed_protocols() if settings.protocols else {}
    deployed = []
    for name in settings.protocols:
        protocol = installed.get(name)
        if protocol is None:
            raise ConfigurationError(
                f"protocols: {name} is not installed; installed are {', '.join(sorted(installed)) or 'none'}"
            )
        if chain not in (None, protocol.chain):
            continue
        if protocol.chain == "bitcoin":
            deployed.append(_told(settings, protocol))
            continue
        deployer, network = settings.deployers.get(name), settings.network.value
        parameters = settings.parameters.get(name)
        only = settings.only.get(name) or None
        if wrong := [contract for contract in only or () if contract != STX and not is_contract_id(contract)]:
            raise ConfigurationError(f"only: {name}: {', '.join(wrong)}: neither a contract's id nor {STX}")
        try:
            bound = (
                protocol.deployed_by(deployer, network=network, only=only, parameters=parameters)
                if deployer
                else protocol.deployed_on(network, only=only, parameters=parameters)
            )
        except ValueError as error:
            raise ConfigurationError(
                f"deployers: nothing says which address deployed {name} on {network} ({error}); set "
                f"CLARION_DEPLOYERS__{name.upper()} to it"
            ) from None
        deployed.append(bound)
    return deployed


def _told(settings: Settings, protocol: Protocol) -> DeployedProtocol:
    """A protocol of Bitcoin with what the settings tell it."""
    try:
        return protocol.deployed_on(
            settings.bitcoin.network.value, parameters=settings.parameters.get(protocol.name, {})
        )
    except ValueError as error:
        raise ConfigurationError(f"parameters: {protocol.name}: {error}") from None


class IndexService:
    """The observer, the worker, the fetcher of missing blocks and the probes over one database.

    ``bitcoin``: runs beside it; the probes tell of both.
    """

    def __init__(
        self,
        settings: Settings,
        database_url: str,
        protocols: Sequence[DeployedProtocol],
        *,
        bitcoin: BitcoinService | None = None,
    ) -> None:
        self._settings = settings
        self._bitcoin = bitcoin
        self._worker = Worker(
            database_url,
            protocols,
            start_height=settings.start_height,
            final_depth=settings.finality_burn_depth,
            behind_blocks=settings.ready.source_behind_blocks,
        )
        self._inbox = InboxWriter(database_url, connections=settings.observer.connections)
        self._health = IndexHealth(database_url, "stacks", settings.ready)
        token = settings.node.auth_token
        self._node = NodeClient(settings.node.url, auth_token=token.get_secret_value() if token else None)
        # Asked again and again anyway: a try that fails is not repeated.
        self._watched_node = NodeClient(settings.node.url, attempts=1)
        self._in_thread = WorkerThread("clarion-index", max_seconds=settings.ready.max_batch_seconds)
        self._hiro = (
            HiroFeed(settings, self._worker, in_thread=self._in_thread, applied=self._applied)
            if SourceName.HIRO in settings.sources
            else None
        )
        givers: list[tuple[str, BlockGiver, tuple[type[Exception], ...]]] = []
        if SourceName.OBSERVER in settings.sources:
            givers.append(("node", self._node, (NodeError,)))
        if self._hiro is not None:
            givers.append((hiro_feed.NAME, self._hiro, hiro_feed.ERRORS))
        self._fetcher = Fetcher(
            self._worker,
            givers,
            start_height=settings.start_height,
            in_thread=self._in_thread,
            report=self._report,
        )
        self._backfills = Backfills(database_url, lambda: self._worker.store, self._in_thread)
        self._log_indexes = LogIndexKeeper(database_url, [deployed.protocol for deployed in protocols])
        shows_contracts = stacks.protocol.name in {deployed.protocol.name for deployed in protocols}
        self._interfaces = InterfaceFetcher(database_url, self._node) if shows_contracts else None
        self._pruner = Pruner(
            database_url, "stacks", retention_of(settings), interval_seconds=settings.retention.interval_seconds
        )
        self._reporter = Reporter("stacks")
        self._stop = asyncio.Event()
        self._posted = asyncio.Event()
        self._problem: str | None = None
        self._tasks: list[asyncio.Task[Any]] = []

    def stop(self) -> None:
        """Ask the service to finish its batch and end."""
        self._stop.set()
        self._posted.set()

    async def run(self, ready: Callable[[str], None] | None = None) -> None:
        """Serve and index until ``stop``; ``ready`` is given the observer's URL once it listens.

        Raises FencedOutError, ProjectionError or ServiceError.
        """
        settings = self._settings
        probes = probe_routes(self._alive, self._ready, self._measure)
        observer = observer_app(
            self._keep,
            max_body_bytes=settings.observer.max_body_bytes,
            max_memory_bytes=settings.observer.max_memory_bytes,
            routes=probes,
        )
        with contextlib.ExitStack() as sockets:
            host, port = settings.observer.host, settings.observer.port
            also = ", and the node's events_observer"
            listening = sockets.enter_context(listen(host, port, what="event observer", section="OBSERVER", also=also))
            servers = [(Server(observer, graceful_seconds=5), listening)]
            if settings.metrics.port is not None:
                host, port = settings.metrics.host, settings.metrics.port
                for_metrics = sockets.enter_context(listen(host, port, what="metrics server", section="METRICS"))
                servers.append((Server(Starlette(routes=probes), graceful_seconds=1), for_metrics))
            tip = await self._in_thread(self._worker.connect)
            url = url_of(listening)
            log.info("indexing", observer=url, node=self._node.url, height=tip.height, sequence=tip.sequence)
            if ready is not None:
                ready(url)
            await self._run_all(servers)
        log.info("stopped", height=self._worker.store.tip.height)

    async def _run_all(self, servers: Sequence[tuple[Server, socket.socket]]) -> None:
        """Run everything until told to stop, or until the first thing ends by itself."""
        background = [
            asyncio.create_task(self._fetcher.run(), name="fetcher"),
            asyncio.create_task(self._backfills.run(), name="backfills"),
            asyncio.create_task(self._pruner.run(), name="pruner"),
        ]
        if SourceName.OBSERVER in self._settings.sources:
            background.append(asyncio.create_task(self._watch_node(), name="node"))
        if self._hiro is not None:
            background.append(asyncio.create_task(self._hiro.run(), name="hiro"))
        background.append(asyncio.create_task(self._log_indexes.run(), name="log indexes"))
        if self._interfaces is not None:
            background.append(asyncio.create_task(self._interfaces.run(), name="interfaces"))
        own = [
            *(asyncio.create_task(server.serve(sockets=[listening]), name="server") for server, listening in servers),
            asyncio.create_task(self._work(), name="worker"),
            asyncio.create_task(self._stop.wait(), name="stop"),
        ]
        self._tasks = [*background, *own]
        try:
            async with self._node, self._watched_node, self._hiro or contextlib.nullcontext():
                try:
                    await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    # what asks the node and the API ends before they are closed
                    self.stop()
                    for server, _ in servers:
                        server.should_exit = True
                    await cancel(background)
        finally:
            ended = await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._inbox.close()
            await self._health.close()
            await self._in_thread(self._worker.close)
            self._in_thread.close()
        for outcome in ended:
            if isinstance(outcome, Exception):
                raise outcome

    async def _keep(self, path: str, body: bytes, *, source: str, error: str | None = None) -> None:
        if SourceName.OBSERVER not in self._settings.sources:
            return
        await self._inbox.put(path, body, source=source, error=error)
        self._posted.set()

    async def _work(self) -> None:
        """Apply what comes, until told to stop; over a new connection after one was lost."""
        pause, longest = RECONNECT_SECONDS
        while not self._stop.is_set():
            self._posted.clear()
            try:
                if self._problem is not None:
                    await self._in_thread(self._worker.connect)
                    log.info("database_back")
                    self._problem, (pause, _) = None, RECONNECT_SECONDS
                started = time.monotonic()
                applied = await self._in_thread(self._worker.apply_pending)
                await self._applied(applied, time.monotonic() - started)
            except psycopg.OperationalError as error:
                if self._problem is None:
                    log.warning("database_lost", error=str(error))
                self._problem = f"the database does not answer: {error}"
                await self._pause(self._stop, pause)
                pause = min(2 * pause, longest)
                continue
            if applied.posts == 0 and not self._stop.is_set():
                await self._pause(self._posted, IDLE_POLL_SECONDS)

    async def _applied(self, applied: Applied, seconds: float) -> None:
        self._report(applied, seconds)
        await self._fetcher.note(applied)
        metrics.MISSING_BLOCKS.set(len(self._fetcher.missing))

    async def _watch_node(self) -> None:
        """Note where the node stands, again and again: the index may be behind it, or it behind the index."""
        while True:
            try:
                info = await self._watched_node.info()
            except (NodeError, ValueError, LookupError, TypeError, AttributeError) as error:
                note: tuple[Any, ...] = (self._worker.note_failure, "node", str(error) or repr(error))
            else:
                block_hash = index_block_hash(info.stacks_tip, info.stacks_tip_consensus_hash)
                self._reporter.targets["node"] = info.stacks_tip_height
                where = (info.stacks_tip_height, block_hash, info.burn_block_height)
                note = (self._worker.note_answer, "node", *where)
            with contextlib.suppress(psycopg.OperationalError):  # the worker finds out and connects again
                await self._in_thread(*note)
            await asyncio.sleep(WATCH_SECONDS)

    @staticmethod
    async def _pause(event: asyncio.Event, seconds: float) -> None:
        """Wait for the event, at most so long."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), seconds)

    def _report(self, applied: Applied, seconds: float) -> None:
        if self._hiro is not None and self._hiro.tip_height is not None:
            self._reporter.targets[hiro_feed.NAME] = self._hiro.tip_height
        self._reporter.applied(applied, seconds, self._worker.store.tip.height)

    async def _alive(self) -> tuple[Reasons, dict[str, JsonValue]]:
        ended = [f"{task.get_name()} has ended" for task in self._tasks if task.done()]
        of_bitcoin = [] if self._bitcoin is None else await self._bitcoin.alive()
        return [*ended, *self._in_thread.reasons(), *of_bitcoin], {}

    async def _measure(self) -> None:
        await self._health.measure()
        if self._bitcoin is not None:
            await self._bitcoin.measure()

    async def _ready(self) -> tuple[Reasons, dict[str, JsonValue]]:
        reasons, answer = await self._alive()
        answer |= {
            "chain": "stacks",
            "missing_blocks": [f"0x{block_hash.hex()}" for block_hash in sorted(self._fetcher.missing)],
        }
        if self._problem is not None:
            reasons.append(self._problem)
        if self._fetcher.missing:
            reasons.append(
                self._fetcher.problem or f"{len(self._fetcher.missing)} blocks that others build on are missing"
            )
        try:
            facts = await self._health.facts()
        except psycopg.Error as error:
            if self._problem is None:
                reasons.append(f"the database does not answer: {error}")
        else:
            reasons += self._health.reasons(facts)
            answer |= facts_json(facts)
        if self._bitcoin is not None:
            of_bitcoin, answer["bitcoin"] = await self._bitcoin.ready()
            reasons += [reason for reason in of_bitcoin if reason not in reasons]
        return reasons, answer


async def run_indexer(
    settings: Settings,
    *,
    protocols: Sequence[DeployedProtocol] | None = None,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Index the chains that the settings name sources of until SIGTERM or SIGINT; then the batch in hand is finished.

    Opens and migrates the database, and takes the chains over from any earlier indexer. ``protocols``: other than what
    the settings enable. ``ready`` is given the observer's URL once it listens; without Stacks that of the metrics, or
    an empty text. Raises ConfigurationError, DatabaseError, FencedOutError, ProjectionError or ServiceError, each with
    a message for whoever runs this.
    """
    if not settings.sources and not settings.bitcoin.sources:
        raise ConfigurationError("sources and bitcoin.sources are empty: there is nothing to index")
    deployed = deployed_protocols(settings) if protocols is None else protocols
    with open_database(settings) as url:
        migrate(url)
        bitcoin: BitcoinService | None = None
        services: list[tuple[Callable[[], None], Awaitable[None]]] = []
        if settings.bitcoin.sources:
            bitcoin = BitcoinService(settings, url, [one for one in deployed if one.protocol.chain == "bitcoin"])
            services.append((bitcoin.stop, bitcoin.run()))
        if settings.sources:
            of_stacks = [one for one in deployed if one.protocol.chain == "stacks"]
            stacks_service = IndexService(settings, url, of_stacks, bitcoin=bitcoin)
            services.append((stacks_service.stop, stacks_service.run(ready)))
        elif bitcoin is not None:
            probes = BitcoinProbes(bitcoin, settings.metrics)
            services.append((probes.stop, probes.run(ready)))
        await _run_together(services)


async def _run_together(services: Sequence[tuple[Callable[[], None], Awaitable[None]]]) -> None:
    """Run services, each with what stops it, until a signal or until the first of them ends."""

    def stop() -> None:
        for stop_one, _ in services:
            stop_one()

    with _on_signals(stop):
        tasks = [asyncio.ensure_future(running) for _, running in services]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        stop()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in ended:
        if isinstance(outcome, BaseException):
            raise outcome


@contextlib.contextmanager
def _on_signals(stop: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
