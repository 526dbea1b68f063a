"""Feeds a recorded file through the same code that indexes a live node."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import psycopg

from clarion.batch_size import MOST_BYTES, BatchSize
from clarion.chains.model import Block
from clarion.chains.stacks.compact_recording import Recorded, is_compact, read_compact
from clarion.chains.stacks.node_payloads import NEW_BLOCK, Item, PayloadError, decode_post
from clarion.chains.stacks.recording import Post, RecordingError, posts_of, read_lines
from clarion.decoding import Decoded, Decoders, Entry, Undecodable, default_processes
from clarion.follower import Follower
from clarion.ingest import ingest
from clarion.protocol import DeployedProtocol
from clarion.store.database import connect, migrate
from clarion.store.deferred_indexes import defer_indexes, restore_indexes, restore_keys
from clarion.store.generation import require_tables
from clarion.store.log_indexes import keep_log_indexes
from clarion.store.packed import Interest
from clarion.store.store import FINAL_DEPTH, Store, Tip
from clarion.worker import is_of_the_post

BATCH_POSTS = 5_000
"""Most posts of a batch."""
LARGE_BYTES = 1 << 20
"""A file at least as large is decoded in processes of its own, and fills an empty index before indexes are made."""

_ReadEntry: TypeAlias = tuple[Entry, Decoded]
"""A post, or a block of a recording of an index (which has no line), and what it says."""


@dataclass(slots=True)
class Replayed:
    """What a recorded file held and what the index holds of it afterwards.

    ``transactions`` and ``events`` are those in the file's blocks, repetitions included, as are ``blocks``. Canonical
    and orphaned blocks, blocks that wait for a missing parent, and anomalies are counted in the whole index.
    """

    posts: int = 0
    """Posts, or blocks and Bitcoin blocks in a recording of an index."""
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
    bytes_read: int = 0
    """How much of the file was read, of ``bytes_total``; compressed bytes where it is compressed."""
    bytes_total: int = 0


def replay(
    path: Path,
    database_url: str,
    protocols: Sequence[DeployedProtocol] = (),
    *,
    final_depth: int = FINAL_DEPTH,
    progress: Callable[[Replayed], None] | None = None,
) -> Replayed:
    """Index a recorded file into a database, which is migrated first.

    The file is one of posts (``.tsv``, also ``.gz`` and ``.zst``) or one that ``clarion record`` made. The index starts
    with the first block in the file, whatever its height. What is known already is ignored, so a file may be replayed
    again, or go on after an interruption. A post that cannot be read is counted and passed over. ``final_depth`` is how
    many Bitcoin blocks on top make a block final. ``progress`` is called after every batch. Raises RecordingError where
    the file is not a recording, is damaged or was cut off; what comes before stays.
    """
    replayed = Replayed(bytes_total=path.stat().st_size)
    with path.open("rb") as file, ExitStack() as stack:
        compact = is_compact(file)
        decoders: Decoders | None = None
        if not compact and replayed.bytes_total >= LARGE_BYTES and (processes := default_processes()):
            # first of all: they start while the database is made ready
            decoders = stack.enter_context(Decoders(processes, Interest.of(protocols)))
        migrate(database_url)
        connection = stack.enter_context(connect(database_url, autocommit=True))
        require_tables(connection, "stacks", protocols)
        store = Store(connection, "stacks", protocols, final_depth=final_depth)
        store.open()
        follower = Follower(start_height=None)
        if store.tip.height is None and replayed.bytes_total >= LARGE_BYTES:
            defer_indexes(connection)
            store.before_log_is_read = partial(restore_keys, connection)
        stack.callback(_restore_indexes, connection)
        read: Iterator[_ReadEntry]
        if compact:
            read = map(_read, read_compact(file, str(path)))
        elif decoders is not None:
            stream = stack.enter_context(contextlib.closing(decoders.stream(read_lines(file, path), path)))
            read = chain.from_iterable(stream)
        else:
            posts = chain.from_iterable(posts_of(lines, path) for lines in read_lines(file, path))
            read = map(_read, posts)
        stack.enter_context(_without_cycles())
        size = BatchSize(most_posts=BATCH_POSTS)
        for batch in _batches(read, size):
            began = time.monotonic()
            counted = [(entry, _count(path, entry, decoded, replayed)) for entry, decoded in batch]
            _ingest(store, follower, path, counted, replayed)
            size.took(time.monotonic() - began, len(batch))
            replayed.tip, replayed.bytes_read = store.tip, replayed.bytes_total if file.closed else file.tell()
            del batch, counted
            gc.collect(1)
            if progress is not None:
                progress(replayed)
        replayed.tip = store.tip
        keep_log_indexes(connection, [deployed.protocol for deployed in protocols])
        _count_index(connection, replayed)
    return replayed


def _count_index(connection: psycopg.Connection[Any], replayed: Replayed) -> None:
    """Count what is in the whole index. Only blocks that do not count are looked at one by one: they are few."""
    found = connection.execute(
        """
        WITH RECURSIVE other AS MATERIALIZED (
            SELECT b.hash, b.parent_hash, b.height FROM clarion.block b WHERE b.chain = 'stacks'
            AND NOT EXISTS (SELECT FROM clarion.canonical_block c WHERE c.chain = b.chain AND c.hash = b.hash)
        ), waiting AS (
            SELECT o.hash FROM other o
            WHERE NOT EXISTS (SELECT FROM clarion.block p WHERE p.chain = 'stacks' AND p.hash = o.parent_hash)
            AND o.height > (SELECT min(height) FROM clarion.canonical_block WHERE chain = 'stacks')
            UNION
            SELECT o.hash FROM other o JOIN waiting w ON o.parent_hash = w.hash
        )
        SELECT (SELECT count(*) FROM clarion.canonical_block WHERE chain = 'stacks'), (SELECT count(*) FROM other),
        (SELECT count(*) FROM waiting), (SELECT count(*) FROM clarion.anomaly WHERE chain = 'stacks')
        """
    ).fetchone()
    assert found is not None
    replayed.canonical, others, replayed.waiting, replayed.anomalies = found
    replayed.orphaned = others - replayed.waiting


@contextlib.contextmanager
def _without_cycles() -> Iterator[None]:
    """Look for garbage in cycles only when told to: what a batch makes has none, and is much to look through."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _restore_indexes(connection: psycopg.Connection[Any]) -> None:
    """Also where the file breaks off; where the connection is lost, whoever opens the index next does it."""
    if not connection.closed:
        restore_indexes(connection)


def _ingest(
    store: Store,
    follower: Follower,
    path: Path,
    read: Sequence[tuple[Entry, Sequence[Item]]],
    replayed: Replayed,
) -> None:
    """Apply a batch; where Postgres does not take what a post holds, that post alone is passed over."""
    try:
        ingest(store, follower, [item for _, items in read for item in items])
    except (psycopg.Error, UnicodeEncodeError) as error:
        if not is_of_the_post(error):
            raise
        if len(read) > 1:
            for alone in read:
                _ingest(store, follower, path, [alone], replayed)
            return
        ((entry, items),) = read
        where = f"line {entry.line}" if entry.line else ", ".join(map(str, items))
        replayed.undecodable.append(f"{path}, {where}: {type(error).__name__}: {error}")


def _read(entry: Post | Recorded) -> _ReadEntry:
    if isinstance(entry, Post):
        at = Entry(entry.line, entry.path == NEW_BLOCK, len(entry.body))
        try:
            return at, decode_post(entry.path, entry.body)
        except PayloadError as error:
            return at, Undecodable(str(error))
    item = entry.item
    if not isinstance(item, Block):
        return Entry(0, is_block=False, bytes=0), [item]
    # about how much memory it takes
    size = sum(len(tx.raw) for tx in item.transactions) + 500 * len(item.events)
    return Entry(0, is_block=True, bytes=size), [item]


def _count(path: Path, entry: Entry, decoded: Decoded, replayed: Replayed) -> list[Item]:
    """What an entry says, counted."""
    replayed.posts += 1
    replayed.blocks += entry.is_block
    replayed.other_posts += not entry.is_block
    if isinstance(decoded, Undecodable):
        replayed.undecodable.append(f"{path}, line {entry.line}: {decoded.reason}")
        return []
    for item in decoded:
        if isinstance(item, Block):
            replayed.transactions += item.transaction_count
            replayed.events += item.event_count
    return decoded


def _batches(read: Iterator[_ReadEntry], size: BatchSize) -> Iterator[list[_ReadEntry]]:
    """Entries by the batch. Where the file breaks off, what came before is given first."""
    batch: list[_ReadEntry] = []
    held = 0
    broken: RecordingError | None = None
    while True:
        try:
            one = next(read, None)
        except RecordingError as error:
            one, broken = None, error
        if one is None:
            break
        batch.append(one)
        held += one[0].bytes
        if len(batch) >= size.posts or held >= MOST_BYTES:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch
    if broken is not None:
        raise broken
