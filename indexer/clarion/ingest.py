"""Takes what Stacks sources say into the store: blocks through the follower, the mempool beside them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import psycopg
from psycopg import Connection

from clarion.chains.model import Block, BurnBlock
from clarion.chains.stacks.node_payloads import Item, MempoolDrop, MempoolEntry
from clarion.follower import Followed, Follower
from clarion.metrics import STAGE_SECONDS
from clarion.protocol import ProjectionError
from clarion.store import mempool
from clarion.store.store import Store, notify

PIPELINED_ROWS: Final = 500
"""Blocks, transactions and events together up to which a batch waits for Postgres as rarely as possible."""


def ingest(
    store: Store,
    follower: Follower,
    items: Sequence[Item],
    *,
    source: str = "",
    settle: Callable[[Connection[Any]], None] | None = None,
) -> Followed:
    """Apply ``items`` of one source in one database transaction, all or nothing.

    ``settle`` writes what must be committed with them, such as the deletion of the posts they came from. Raises what
    ``Store.batch`` and ``Follower.ingest`` raise.
    """
    return ingest_all(
        store, follower, [(source, items)], settle=None if settle is None else lambda connection, _: settle(connection)
    )


def ingest_all(
    store: Store,
    follower: Follower,
    said: Iterable[tuple[str, Sequence[Item]]],
    *,
    settle: Callable[[Connection[Any], Followed], None] | None = None,
) -> Followed:
    """The same for several sources: what each said, in the order it came. ``settle`` is given what came of it too."""
    said = list(said)
    pipelined = sum(_rows(item) for _, items in said for item in items) <= PIPELINED_ROWS
    if pipelined:
        # what is refused in a pipeline is told too late to say what it was of; the second time it is told at once
        with contextlib.suppress(psycopg.DataError, psycopg.IntegrityError, ProjectionError):
            return _ingest_all(store, follower, said, settle, pipelined=True)
    return _ingest_all(store, follower, said, settle, pipelined=False)


def _rows(item: Item) -> int:
    return 1 + item.transaction_count + item.event_count if isinstance(item, Block) else 1


def _ingest_all(
    store: Store,
    follower: Follower,
    said: Sequence[tuple[str, Sequence[Item]]],
    settle: Callable[[Connection[Any], Followed], None] | None,
    *,
    pipelined: bool,
) -> Followed:
    since = store.tip.sequence
    followed = Followed()
    mempool_items: list[MempoolEntry | MempoolDrop] = []
    expected = [item for _, items in said for item in items if isinstance(item, Block | BurnBlock)]
    committing = time.perf_counter()
    with store.batch(expected, pipelined=pipelined) as batch:
        with stage("apply"):
            for source, items in said:
                blocks = [item for item in items if isinstance(item, Block | BurnBlock)]
                mempool_items += [item for item in items if isinstance(item, MempoolEntry | MempoolDrop)]
                if blocks:
                    followed.add(follower.ingest(batch, blocks, source=source))
        with stage("write"):
            batch.flush()
            rolled_back = followed.rolled_back > 0
            mempool.update(store.connection, store.chain, mempool_items, since=since, rolled_back=rolled_back)
            if mempool_items:
                notify(store.connection, store.chain, batch.tip)
            if settle is not None:
                settle(store.connection, followed)
        committing = time.perf_counter()
    STAGE_SECONDS.labels("commit").observe(time.perf_counter() - committing)
    return followed


@contextlib.contextmanager
def stage(name: str) -> Iterator[None]:
    """Measure a stage of a batch."""
    started = time.perf_counter()
    yield
    STAGE_SECONDS.labels(name).observe(time.perf_counter() - started)
