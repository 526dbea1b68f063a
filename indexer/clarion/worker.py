"""Applies what waits in the inbox, one batch a transaction: the writing half of the index service."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
import structlog

from clarion.chains.model import Block, BlockRef
from clarion.chains.stacks.node_payloads import Item, PayloadError, decode_post
from clarion.follower import Followed, Follower
from clarion.ingest import ingest
from clarion.protocol import DeployedProtocol
from clarion.store import chain_log, inbox
from clarion.store.database import DatabaseError, connect
from clarion.store.inbox import InboxPost
from clarion.store.store import Store, Tip

BATCH_POSTS: Final = 200
BATCH_BYTES: Final = 32 << 20

log = structlog.get_logger(__name__)


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
            raise RuntimeError("connect() comes first")
        return self._store

    def connect(self) -> Tip:
        """Connect: the first time as the chain's writer from now on, later as the same writer as before.

        Raises psycopg.OperationalError where the database does not answer, and DatabaseError where it lacks a table of
        an enabled protocol.
        """
        connection = connect(self._url, autocommit=True)
        if self._store is None:
            try:
                self._require_tables(connection)
            except BaseException:
                connection.close()
                raise
            store = Store(connection, "stacks", self._protocols)
            store.open()
            self._store = store
            self._follower = Follower(start_height=self._start_height)
            # What an older version could not read, this one may.
            if retried := inbox.retry_failed(connection):
                log.info("failed_posts_tried_again", posts=retried)
        else:
            self._store.connection.close()
            self._store.reconnect(connection)
        return self._store.tip

    def _require_tables(self, connection: psycopg.Connection[Any]) -> None:
        for deployed in self._protocols:
            for row_type in deployed.protocol.row_types:
                found = connection.execute("SELECT to_regclass(%s)", (row_type.name,)).fetchone()
                if found == (None,):
                    raise DatabaseError(
                        f"the database has no table {row_type.name}, which the protocol {deployed.protocol.name} "
                        "needs: run the migrations of its package, or take it out of `protocols`"
                    )

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


def is_of_the_post(error: Exception) -> bool:
    """Whether Postgres refuses what a post holds (class 54: more than it can hold), rather than work at all."""
    if isinstance(error, psycopg.Error):
        return isinstance(error, psycopg.DataError) or (error.sqlstate or "").startswith("54")
    return True
