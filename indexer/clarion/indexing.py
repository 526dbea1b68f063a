"""The index service: takes what a node posts, keeps it, and applies it, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import psycopg
import structlog
import uvicorn
from prometheus_client import Counter, Gauge, Histogram

from clarion.chains.model import Block, JsonValue
from clarion.chains.stacks.node_client import NodeClient, NodeError
from clarion.chains.stacks.node_payloads import PayloadError
from clarion.chains.stacks.observer import observer_app
from clarion.config import ConfigurationError, Settings
from clarion.protocol import DeployedProtocol, installed_protocols
from clarion.store.database import migrate, open_database
from clarion.store.inbox import InboxWriter
from clarion.worker import Applied, Worker, is_of_the_post

FETCH_DEPTH: Final = 50
"""Most blocks asked of the node before they are written."""
FETCH_RETRY_SECONDS: Final = 30.0
IDLE_POLL_SECONDS: Final = 5.0
"""How often the inbox is looked at unasked: posts that were put aside may be let in again by another process."""
RECONNECT_SECONDS: Final = (0.2, 5.0)
"""Shortest and longest pause between attempts to reach a database that went away."""

INDEXED_BLOCKS: Final = Counter("clarion_indexed_blocks", "Blocks that were made canonical.")
INDEXED_EVENTS: Final = Counter("clarion_indexed_events", "Events in posted or fetched blocks made canonical.")
ROLLED_BACK_BLOCKS: Final = Counter("clarion_rolled_back_blocks", "Blocks that were taken back by a reorg.")
FAILED_POSTS: Final = Counter("clarion_failed_posts", "Posts that were put aside because they could not be applied.")
INDEX_HEIGHT: Final = Gauge("clarion_index_height", "Height of the index's tip.")
MISSING_BLOCKS: Final = Gauge("clarion_missing_blocks", "Blocks that others build on and that nobody has sent.")
BATCH_SECONDS: Final = Histogram("clarion_index_batch_seconds", "Time to apply a batch of posts.")
LAG_SECONDS: Final = Histogram("clarion_index_lag_seconds", "From a post's arrival to the commit of what it says.")

log = structlog.get_logger(__name__)

T = TypeVar("T")


class ServiceError(RuntimeError):
    """The service cannot run. The message says why and what to do."""


def deployed_protocols(settings: Settings) -> list[DeployedProtocol]:
    """The protocols the settings enable, each at its deployer's address, or else where its package says it is.

    Raises ConfigurationError where one is not installed or nobody says who deployed it.
    """
    installed = installed_protocols() if settings.protocols else {}
    deployed = []
    for name in settings.protocols:
        protocol = installed.get(name)
        if protocol is None:
            raise ConfigurationError(
                f"protocols: {name} is not installed; installed are {', '.join(sorted(installed)) or 'none'}"
            )
        deployer, network = settings.deployers.get(name), settings.network.value
        try:
            bound = protocol.deployed_on(network) if deployer is None else protocol.deployed_by(deployer, network=network)
        except ValueError as error:
            raise ConfigurationError(
                f"deployers: nothing says which address deployed {name} on {network} ({error}); set "
                f"CLARION_DEPLOYERS__{name.upper()} to it"
            ) from None
        deployed.append(bound)
    return deployed


class _Server(uvicorn.Server):
    """Leaves signals to the service, which ends the worker first."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class IndexService:
    """The observer, the worker and the fetcher of missing blocks over one database."""

    def __init__(self, settings: Settings, database_url: str, protocols: Sequence[DeployedProtocol]) -> None:
        self._settings = settings
        self._worker = Worker(database_url, protocols, start_height=settings.start_height)
        self._inbox = InboxWriter(database_url)
        token = settings.node.auth_token
        self._node = NodeClient(settings.node.url, auth_token=token.get_secret_value() if token else None)
        # One thread: a store has one user at a time, and the event loop goes on taking posts.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="clarion-index")
        self._stop = asyncio.Event()
        self._posted = asyncio.Event()
        self._missing: set[bytes] = set()
        self._missing_changed = asyncio.Event()
        self._problem: str | None = None
        self._fetch_problem: str | None = None

    def stop(self) -> None:
        """Ask the service to finish its batch and end."""
        self._stop.set()
        self._posted.set()
        self._missing_changed.set()

    async def run(self, ready: Callable[[str], None] | None = None) -> None:
        """Serve and index until ``stop``; ``ready`` is given the observer's URL once it listens.

        Raises FencedOutError, ProjectionError or ServiceError.
        """
        listening = self._listen()
        try:
            tip = await self._in_thread(self._worker.connect)
        except BaseException:
            listening.close()
            raise
        host, port = listening.getsockname()[:2]
        server = _Server(
            uvicorn.Config(
                observer_app(self._keep, self._health),
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="off",
                loop="none",
                ws="none",
                timeout_graceful_shutdown=5,
            )
        )
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        log.info("indexing", observer=url, node=self._settings.node.url, height=tip.height, sequence=tip.sequence)
        if ready is not None:
            ready(url)
        serving = asyncio.create_task(server.serve(sockets=[listening]), name="observer")
        working = asyncio.create_task(self._work(), name="worker")
        fetching = asyncio.create_task(self._fetch(), name="fetcher")
        stopping = asyncio.create_task(self._stop.wait(), name="stop")
        try:
            await asyncio.wait({serving, working, fetching, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.stop()
            server.should_exit = True
            fetching.cancel()
            ended = await asyncio.gather(serving, working, fetching, stopping, return_exceptions=True)
            await self._inbox.close()
            await self._in_thread(self._worker.close)
            self._thread.shutdown()
        for outcome in ended:
            if isinstance(outcome, Exception):
                raise outcome
        log.info("stopped", height=self._worker.store.tip.height)

    def _listen(self) -> socket.socket:
        host, port = self._settings.observer.host, self._settings.observer.port
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            return socket.create_server((host, port), family=family, backlog=128)
        except OSError as error:
            raise ServiceError(
                f"the event observer cannot listen on {host}:{port}: {error.strerror or error}; is it running already? "
                "Otherwise set CLARION_OBSERVER__HOST and CLARION_OBSERVER__PORT, and the node's events_observer"
            ) from error

    async def _in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    async def _keep(self, path: str, body: bytes, *, error: str | None = None) -> None:
        await self._inbox.put(path, body, error=error)
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
                self._report(applied, time.monotonic() - started)
                await self._note_missing(applied)
            except psycopg.OperationalError as error:
                if self._problem is None:
                    log.warning("database_lost", error=str(error))
                self._problem = f"the database does not answer: {error}"
                await self._pause(self._stop, pause)
                pause = min(2 * pause, longest)
                continue
            if applied.posts == 0 and not self._stop.is_set():
                await self._pause(self._posted, IDLE_POLL_SECONDS)

    async def _fetch(self) -> None:
        """Ask the node for blocks that others build on and that were never posted."""
        async with self._node:
            while not self._stop.is_set():
                self._missing_changed.clear()
                if not self._missing:
                    await self._missing_changed.wait()
                    continue
                fetched = [await self._fetch_and_apply(block_hash) for block_hash in sorted(self._missing)]
                if any(fetched):
                    self._fetch_problem = None
                elif self._missing:
                    await self._pause(self._missing_changed, FETCH_RETRY_SECONDS)

    async def _fetch_and_apply(self, block_hash: bytes) -> bool:
        """Whether the node gave the block and it is in the chain log now."""
        try:
            blocks = await self._fetch_branch(block_hash)
            if not blocks:
                return False
            started = time.monotonic()
            applied = await self._in_thread(self._worker.apply_fetched, blocks)
            self._report(applied, time.monotonic() - started)
            await self._note_missing(applied)
        except psycopg.Error as error:
            if not isinstance(error, psycopg.OperationalError) and not is_of_the_post(error):
                raise
            self._cannot_fetch(block_hash, f"it cannot be stored: {error}")
            return False
        return True

    async def _fetch_branch(self, block_hash: bytes) -> list[Block]:
        """A missing block and its unknown ancestors, as many as are asked for at once, the oldest first."""
        blocks: list[Block] = []
        while len(blocks) < FETCH_DEPTH and not await self._in_thread(self._worker.knows, block_hash):
            try:
                block = await self._node.block(block_hash)
            except (NodeError, PayloadError) as error:
                self._cannot_fetch(block_hash, str(error))
                break
            if block is None:
                self._cannot_fetch(block_hash, f"{self._node.url} does not have it")
                break
            blocks.append(block)
            if block.height <= max(self._settings.start_height, 1):
                break
            block_hash = block.ref.parent_hash
        return blocks[::-1]

    def _cannot_fetch(self, block_hash: bytes, reason: str) -> None:
        tip = self._worker.store.tip
        remedy = (
            "nothing is indexed yet: if the node began posting at a later block, set CLARION_START_HEIGHT to its height"
            if tip.height is None
            else f"block {tip.height} stays the tip of the index until it comes; post it again from the node's log"
        )
        problem = f"block 0x{block_hash.hex()}, which others build on, is missing: {reason}"
        if problem != self._fetch_problem:
            log.error("block_missing", hash=f"0x{block_hash.hex()}", reason=reason, remedy=remedy)
        self._fetch_problem = problem

    async def _note_missing(self, applied: Applied) -> None:
        """Keep track of which blocks are missing: others may build on none of them any more, or they came."""
        before = set(self._missing)
        self._missing |= applied.missing
        if self._missing and (applied.missing or applied.blocks):
            asked = frozenset(self._missing)
            self._missing -= asked - await self._in_thread(self._worker.needed, asked)
        if self._missing != before:
            MISSING_BLOCKS.set(len(self._missing))
            self._missing_changed.set()

    @staticmethod
    async def _pause(event: asyncio.Event, seconds: float) -> None:
        """Wait for the event, at most so long."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), seconds)

    def _report(self, applied: Applied, seconds: float) -> None:
        lag = applied.waited_seconds + seconds
        INDEXED_BLOCKS.inc(len(applied.blocks))
        INDEXED_EVENTS.inc(applied.events)
        ROLLED_BACK_BLOCKS.inc(applied.rolled_back)
        FAILED_POSTS.inc(applied.failed)
        if applied.posts:
            BATCH_SECONDS.observe(seconds)
            LAG_SECONDS.observe(lag)
        if (height := self._worker.store.tip.height) is not None:
            INDEX_HEIGHT.set(height)
        if applied.rolled_back:
            log.warning("rolled_back", blocks=applied.rolled_back)
        if applied.blocks:
            tip = applied.blocks[-1]
            log.info(
                "indexed",
                height=tip.height,
                hash=f"0x{tip.hash.hex()}",
                blocks=len(applied.blocks),
                events=applied.events,
                ms=round(seconds * 1000),
                lag_ms=round(lag * 1000),
            )

    async def _health(self) -> tuple[bool, dict[str, JsonValue]]:
        tip = self._worker.store.tip
        answer: dict[str, JsonValue] = {
            "chain": "stacks",
            "height": tip.height,
            "hash": None if tip.hash is None else f"0x{tip.hash.hex()}",
            "sequence": tip.sequence,
            "missing_blocks": [f"0x{block_hash.hex()}" for block_hash in sorted(self._missing)],
        }
        problem = self._problem
        try:
            waiting = await self._inbox.state()
        except psycopg.Error as error:
            problem = problem or f"the database does not answer: {error}"
        else:
            answer["inbox_pending"] = waiting.pending
            answer["inbox_oldest_ms"] = round(waiting.oldest_seconds * 1000)
            answer["inbox_failed"] = waiting.failed
        well = problem is None
        answer["status"] = "ok" if well and not self._missing and not answer["inbox_failed"] else "degraded"
        answer["problem"] = problem or (self._fetch_problem if self._missing else None)
        if not well:
            answer["status"] = "down"
        return well, answer


async def run_indexer(
    settings: Settings,
    *,
    protocols: Sequence[DeployedProtocol] | None = None,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Index what a node posts until SIGTERM or SIGINT; then the batch in hand is finished.

    Opens and migrates the database, and takes the chain over from any earlier indexer. ``protocols``: other than what
    the settings enable. ``ready`` is given the observer's URL once it listens. Raises ConfigurationError,
    DatabaseError, FencedOutError, ProjectionError or ServiceError, each with a message for whoever runs this.
    """
    deployed = deployed_protocols(settings) if protocols is None else protocols
    with open_database(settings) as url:
        migrate(url)
        service = IndexService(settings, url, deployed)
        with _stopped_by_signals(service):
            await service.run(ready)


@contextlib.contextmanager
def _stopped_by_signals(service: IndexService) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, service.stop)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
