"""The index service: takes what a node posts, keeps it, and applies it, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import psycopg
import structlog
import uvicorn

from clarion.chains.model import Block, BlockRef, JsonValue
from clarion.chains.stacks.node_client import NodeClient, NodeError
from clarion.chains.stacks.node_payloads import Item, PayloadError, decode_post
from clarion.chains.stacks.observer import observer_app
from clarion.config import ConfigurationError, Settings
from clarion.follower import Followed, Follower
from clarion.ingest import ingest
from clarion.protocol import DeployedProtocol, installed_protocols
from clarion.store import chain_log, inbox
from clarion.store.database import connect, migrate, open_database
from clarion.store.inbox import InboxPost, InboxWriter
from clarion.store.store import Store, Tip

BATCH_POSTS: Final = 200
BATCH_BYTES: Final = 32 << 20
FETCH_DEPTH: Final = 50
"""Most blocks asked of the node before they are written."""
FETCH_RETRY_SECONDS: Final = 30.0
IDLE_POLL_SECONDS: Final = 5.0
"""How often the inbox is looked at unasked: posts that were put aside may be let in again by another process."""
RECONNECT_SECONDS: Final = (0.2, 5.0)
"""Shortest and longest pause between attempts to reach a database that went away."""

log = structlog.get_logger(__name__)

T = TypeVar("T")


class ServiceError(RuntimeError):
    """The service cannot run. The message says why and what to do."""


def deployed_protocols(settings: Settings) -> list[DeployedProtocol]:
    """The protocols the settings enable, each at its deployer's address.

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
        deployer = settings.deployers.get(name)
        if deployer is None:
            raise ConfigurationError(
                f"deployers: nothing says which address deployed {name} on {settings.network}; set "
                f"CLARION_DEPLOYERS__{name.upper()} to it"
            )
        deployed.append(protocol.deployed_by(deployer))
    return deployed


@dataclass(slots=True)
class Applied:
    """What one turn of the worker did."""

    blocks: list[BlockRef] = field(default_factory=list)
    rolled_back: int = 0
    events: int = 0
    missing: set[bytes] = field(default_factory=set)
    posts: int = 0
    failed: int = 0
    waited_seconds: float = 0.0
    """How long the oldest of the posts had been waiting."""

    def add(self, other: Applied) -> None:
        """Count what another turn did as well."""
        self.blocks += other.blocks
        self.rolled_back += other.rolled_back
        self.events += other.events
        self.missing |= other.missing
        self.posts += other.posts
        self.failed += other.failed
        self.waited_seconds = max(self.waited_seconds, other.waited_seconds)


class Worker:
    """Applies posts from the inbox to one store. For one thread at a time."""

    def __init__(self, database_url: str, protocols: Sequence[DeployedProtocol], *, start_height: int) -> None:
        self._url = database_url
        self._protocols = protocols
        self._start_height = start_height
        self._store: Store | None = None

    @property
    def store(self) -> Store:
        """The open store."""
        if self._store is None:
            raise ServiceError("the worker is not connected")
        return self._store

    def connect(self) -> Tip:
        """Connect: the first time as the chain's writer from now on, later as the same writer as before.

        Raises psycopg.OperationalError where the database does not answer.
        """
        connection = connect(self._url, autocommit=True)
        if self._store is None:
            store = Store(connection, "stacks", self._protocols)
            store.open()
            self._store = store
            self._follower = Follower(store, start_height=self._start_height)
            # What an older version could not read, this one may.
            if retried := inbox.retry_failed(connection):
                log.info("failed_posts_tried_again", posts=retried)
        else:
            self._store.connection.close()
            self._store.reconnect(connection)
        return self._store.tip

    def close(self) -> None:
        """Close the connection."""
        if self._store is not None:
            self._store.connection.close()

    def apply_pending(self) -> Applied:
        """Apply the oldest posts that wait, as many as make a batch; ``posts`` is 0 where none does.

        A post that cannot be read or written is put aside with the reason, and those around it are applied. Raises
        FencedOutError, ProjectionError, and psycopg.OperationalError where the connection is lost.
        """
        posts = inbox.take(self.store.connection, limit=BATCH_POSTS, limit_bytes=BATCH_BYTES)
        try:
            return self._apply(posts)
        except (psycopg.Error, UnicodeEncodeError) as error:
            if not _is_of_the_post(error):
                raise
        total = Applied()
        for post in posts:
            total.add(self._apply_alone(post))
        return total

    def _apply_alone(self, post: InboxPost) -> Applied:
        try:
            return self._apply([post])
        except (psycopg.Error, UnicodeEncodeError) as error:
            if not _is_of_the_post(error):
                raise
            reason = f"{type(error).__name__}: {error}"
        inbox.set_failed(self.store.connection, post.id, reason)
        log.error("post_not_storable", inbox_id=post.id, path=post.path, error=reason)
        return Applied(posts=1, failed=1)

    def _apply(self, posts: Sequence[InboxPost]) -> Applied:
        if not posts:
            return Applied()
        items: list[Item] = []
        done: list[int] = []
        failed: list[tuple[InboxPost, str]] = []
        for post in posts:
            try:
                items += decode_post(post.path, post.body)
                done.append(post.id)
            except PayloadError as error:
                failed.append((post, str(error)))

        def settle(connection: psycopg.Connection[Any]) -> None:
            inbox.remove(connection, done)
            for post, reason in failed:
                inbox.set_failed(connection, post.id, reason)

        followed = ingest(self.store, self._follower, items, settle=settle)
        for post, reason in failed:
            log.error("post_undecodable", inbox_id=post.id, path=post.path, error=reason)
        applied = _applied(followed, items)
        applied.posts, applied.failed, applied.waited_seconds = len(posts), len(failed), posts[0].waited_seconds
        return applied

    def apply_fetched(self, blocks: Sequence[Block]) -> Applied:
        """Apply blocks that were asked of the node."""
        return _applied(ingest(self.store, self._follower, blocks), blocks)

    def knows(self, block_hash: bytes) -> bool:
        """Whether a block is in the chain log."""
        return self.store.header(block_hash) is not None

    def needed(self, hashes: Iterable[bytes]) -> set[bytes]:
        """Those blocks that are not in the chain log although a branch that is higher than the tip builds on them."""
        tip = self.store.tip.height
        found = set()
        for block_hash in hashes:
            height = chain_log.highest_above(self.store.connection, self.store.chain, block_hash)
            if height is not None and (tip is None or height > tip) and not self.knows(block_hash):
                found.add(block_hash)
        return found


def _applied(followed: Followed, items: Sequence[Item]) -> Applied:
    applied = {ref.hash for ref in followed.applied}
    events = sum(len(item.events) for item in items if isinstance(item, Block) and item.hash in applied)
    return Applied(followed.applied, followed.rolled_back, events, followed.missing)


def _is_of_the_post(error: Exception) -> bool:
    """Whether Postgres refuses what a post holds (class 54: more than it can hold), rather than work at all."""
    if isinstance(error, psycopg.Error):
        return isinstance(error, psycopg.DataError) or (error.sqlstate or "").startswith("54")
    return True


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
            if not isinstance(error, psycopg.OperationalError) and not _is_of_the_post(error):
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
            self._missing_changed.set()

    @staticmethod
    async def _pause(event: asyncio.Event, seconds: float) -> None:
        """Wait for the event, at most so long."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), seconds)

    def _report(self, applied: Applied, seconds: float) -> None:
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
                lag_ms=round((applied.waited_seconds + seconds) * 1000),
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
