"""Applies what waits in the inbox or what sources give, one batch a transaction: the writing half of the services."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
import structlog

from clarion.batch_size import MOST_BYTES, BatchSize
from clarion.chains.model import Block, BlockRef, Chain
from clarion.chains.stacks.node_payloads import Item, PayloadError, decode_post
from clarion.follower import Followed, Follower, Refused
from clarion.ingest import ingest_all, stage
from clarion.protocol import DeployedProtocol
from clarion.source_health import Sources, SourceState
from clarion.store import chain_log, inbox
from clarion.store.database import connect
from clarion.store.deferred_indexes import restore_indexes
from clarion.store.generation import require_tables
from clarion.store.inbox import InboxPost
from clarion.store.store import FINAL_DEPTH, Store, Tip

BATCH_POSTS: Final = 200
"""Posts of a batch at first; while the inbox is long and batches are quick, up to ten times as many."""
RECONNECT_SECONDS: Final = (0.2, 5.0)
"""Shortest and longest pause between attempts to reach a database that went away."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Applied:
    """What one turn of the worker did."""

    blocks: list[BlockRef] = field(default_factory=list)
    rolled_back: int = 0
    events: int = 0
    missing: set[bytes] = field(default_factory=set)
    refused: list[Refused] = field(default_factory=list)
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
        self.refused += other.refused
        self.posts += other.posts
        self.failed += other.failed
        self.waited_seconds = max(self.waited_seconds, other.waited_seconds)


class Worker:
    """Applies what is said of one chain to its store. For one thread at a time. The inbox is of Stacks' posts."""

    def __init__(
        self,
        database_url: str,
        protocols: Sequence[DeployedProtocol],
        *,
        chain: Chain = "stacks",
        start_height: int,
        final_depth: int = FINAL_DEPTH,
        behind_blocks: int = 10,
    ) -> None:
        self._url = database_url
        self._chain: Chain = chain
        self._protocols = protocols
        self._start_height = start_height
        self._final_depth = final_depth
        self._store: Store | None = None
        self._size = BatchSize(posts=BATCH_POSTS, most_posts=10 * BATCH_POSTS)
        #: What is known of the sources; for the worker's thread alone.
        self.sources = Sources(chain, behind_blocks=behind_blocks)

    @property
    def store(self) -> Store:
        """The open store."""
        if self._store is None:
            raise RuntimeError("connect() comes first")
        return self._store

    def connect(self) -> Tip:
        """Connect: the first time as the chain's writer from now on, later as the same writer as before.

        Tables that an enabled protocol lacks are made. Raises psycopg.OperationalError where the database does not
        answer.
        """
        connection = connect(self._url, autocommit=True)
        if self._store is None:
            try:
                require_tables(connection, self._chain, self._protocols)
                if made := restore_indexes(connection):
                    log.info("indexes_made", names=made)
            except BaseException:
                connection.close()
                raise
            store = Store(connection, self._chain, self._protocols, final_depth=self._final_depth)
            store.open()
            self._store = store
            known = self.sources.load(connection)
            self._follower = Follower(start_height=self._start_height, known_sources=known)
            # What an older version could not read, this one may.
            if self._chain == "stacks" and (retried := inbox.retry_failed(connection)):
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
        with stage("read"):
            posts = inbox.take(self.store.connection, limit=self._size.posts, limit_bytes=MOST_BYTES)
        began = time.monotonic()
        try:
            applied = self._apply(posts)
            self._size.took(time.monotonic() - began, len(posts))
            return applied
        except (psycopg.Error, UnicodeEncodeError) as error:
            if not is_of_the_post(error):
                raise
        total = Applied()
        for post in posts:
            total.add(self._apply_alone(post))
        return total

    def _apply_alone(self, post: InboxPost) -> Applied:
        try:
            return self._apply([post])
        except (psycopg.Error, UnicodeEncodeError) as error:
            if not is_of_the_post(error):
                raise
            blocks = [str(item.ref) for item in decode_post(post.path, post.body) if isinstance(item, Block)]
            reason = f"{' '.join([post.path, *blocks])}: {type(error).__name__}: {error}"
        inbox.set_failed(self.store.connection, post.id, reason)
        log.error("post_not_storable", inbox_id=post.id, path=post.path, error=reason)
        return Applied(posts=1, failed=1)

    def _apply(self, posts: Sequence[InboxPost]) -> Applied:
        if not posts:
            return Applied()
        said: list[tuple[str, list[Item]]] = []
        done: list[int] = []
        failed: list[tuple[InboxPost, str]] = []
        with stage("decode"):
            for post in posts:
                if not said or said[-1][0] != post.source:
                    said.append((post.source, []))
                try:
                    said[-1][1].extend(decode_post(post.path, post.body))
                    done.append(post.id)
                except PayloadError as error:
                    failed.append((post, str(error)))

        def settle(connection: psycopg.Connection[Any]) -> None:
            inbox.remove(connection, done)
            for post, reason in failed:
                inbox.set_failed(connection, post.id, reason)

        applied = self._ingest(said, settle)
        for post, reason in failed:
            log.error("post_undecodable", inbox_id=post.id, path=post.path, source=post.source, error=reason)
        applied.posts, applied.failed, applied.waited_seconds = len(posts), len(failed), posts[0].waited_seconds
        return applied

    def apply_said(self, source: str, items: Sequence[Item]) -> Applied:
        """Apply what a source that is asked gave: blocks, and what it tells beside them."""
        return self._ingest([(source, items)], lambda connection: None)

    def _ingest(
        self, said: Sequence[tuple[str, Sequence[Item]]], settle: Callable[[psycopg.Connection[Any]], None]
    ) -> Applied:
        def settle_all(connection: psycopg.Connection[Any], followed: Followed) -> None:
            self.sources.heard(said, followed.refused)
            self._judge_sources()
            settle(connection)

        followed = ingest_all(self.store, self._follower, said, settle=settle_all)
        return _applied(followed, [item for _, items in said for item in items])

    def note_answer(self, source: str, height: int, block_hash: bytes, burn_height: int) -> None:
        """Take note of where a source that was asked says that it stands."""
        self.sources.answered(source, height, block_hash, burn_height)
        self._judge_sources()

    def note_failure(self, source: str, detail: str) -> None:
        """Take note that a source does not give what it was asked for."""
        self.sources.failed(source, detail)
        self._judge_sources()

    def _judge_sources(self) -> None:
        for source in self.sources.judge(self.store.tip.height, self.store.canonical_hash, self._lost):
            write = log.info if source.state is SourceState.HEALTHY else log.warning
            write("source_changed", source=source.name, state=source.state.value, detail=source.detail)
        self.sources.write(self.store.connection)

    def _lost(self, block_hash: bytes) -> bool:
        """Whether a block above the tip is of a branch with less work. (By height it waits for its ancestors.)"""
        header = self.store.header(block_hash)
        return header is not None and header.work is not None

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
    return Applied(followed.applied, followed.rolled_back, events, followed.missing, followed.refused)


def is_of_the_post(error: Exception) -> bool:
    """Whether Postgres refuses what a post holds (class 54: more than it can hold), rather than work at all."""
    if isinstance(error, psycopg.Error):
        return isinstance(error, psycopg.DataError) or (error.sqlstate or "").startswith("54")
    return True
