"""Feeds a recorded file of a node's posts through the same code that indexes a live node."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clarion.chains.model import Block
from clarion.chains.stacks.node_payloads import NEW_BLOCK, Item, PayloadError, decode_post
from clarion.chains.stacks.recording import Post, read_recording
from clarion.follower import Follower
from clarion.ingest import ingest
from clarion.protocol import DeployedProtocol
from clarion.store.database import connect, migrate
from clarion.store.generation import require_tables
from clarion.store.store import Store, Tip

BATCH_POSTS = 500
BATCH_BYTES = 16 << 20


@dataclass(slots=True)
class Replayed:
    """What a recorded file held and what the index holds of it afterwards.

    ``transactions`` and ``events`` are those in the file's blocks, repetitions included, as are ``blocks``. Canonical
    and orphaned blocks, blocks that wait for a missing parent, and anomalies are counted in the whole index.
    """

    posts: int = 0
    blocks: int = 0
    transactions: int = 0
    events: int = 0
    other_posts: int = 0
    canonical: int = 0
    orphaned: int = 0
    waiting: int = 0
    anomalies: int = 0
    tip: Tip | None = None
    undecodable: list[str] = field(default_factory=list)
    """Posts that could not be read: the line and what is wrong."""


def replay(
    path: Path,
    database_url: str,
    protocols: Sequence[DeployedProtocol] = (),
    *,
    progress: Callable[[Replayed], None] | None = None,
) -> Replayed:
    """Index a recorded file (``.tsv``, also ``.gz`` and ``.zst``) into a database, which is migrated first.

    The index starts with the first block in the file, whatever its height. What is known already is ignored, so a
    file may be replayed again, or go on after an interruption. A post that cannot be read is counted and passed over.
    ``progress`` is called after every batch. Raises RecordingError where the file is not a recording; the batches
    before that line stay.
    """
    migrate(database_url)
    replayed = Replayed()
    with connect(database_url, autocommit=True) as connection:
        require_tables(connection, "stacks", protocols)
        store = Store(connection, "stacks", protocols)
        store.open()
        follower = Follower(start_height=None)
        for posts in _batches(read_recording(path)):
            ingest(store, follower, [item for post in posts for item in _read(path, post, replayed)])
            replayed.tip = store.tip
            if progress is not None:
                progress(replayed)
        replayed.tip = store.tip
        found = connection.execute(
            """
            WITH RECURSIVE waiting AS (
                SELECT b.hash FROM clarion.block b WHERE b.chain = 'stacks'
                AND NOT EXISTS (SELECT FROM clarion.block p WHERE p.chain = b.chain AND p.hash = b.parent_hash)
                AND NOT EXISTS (SELECT FROM clarion.canonical_block c WHERE c.chain = b.chain AND c.hash = b.hash)
                AND b.height > (SELECT min(height) FROM clarion.canonical_block WHERE chain = 'stacks')
                UNION
                SELECT b.hash FROM clarion.block b JOIN waiting w ON b.chain = 'stacks' AND b.parent_hash = w.hash
            )
            SELECT (SELECT count(*) FROM clarion.canonical_block WHERE chain = 'stacks'),
            (SELECT count(*) FROM clarion.block WHERE chain = 'stacks'),
            (SELECT count(*) FROM waiting), (SELECT count(*) FROM clarion.anomaly WHERE chain = 'stacks')
            """
        ).fetchone()
        assert found is not None
        replayed.canonical, known, replayed.waiting, replayed.anomalies = found
        replayed.orphaned = known - replayed.canonical - replayed.waiting
    return replayed


def _read(path: Path, post: Post, replayed: Replayed) -> list[Item]:
    replayed.posts += 1
    if post.path == NEW_BLOCK:
        replayed.blocks += 1
    else:
        replayed.other_posts += 1
    try:
        items = decode_post(post.path, post.body)
    except PayloadError as error:
        replayed.undecodable.append(f"{path}, line {post.line}: {error}")
        return []
    for item in items:
        if isinstance(item, Block):
            replayed.transactions += len(item.transactions)
            replayed.events += len(item.events)
    return items


def _batches(posts: Iterator[Post]) -> Iterator[list[Post]]:
    batch: list[Post] = []
    size = 0
    for post in posts:
        batch.append(post)
        size += len(post.body)
        if len(batch) == BATCH_POSTS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
