"""Takes what Stacks sources say into the store: blocks through the follower, the mempool beside them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from psycopg import Connection

from clarion.chains.model import Block, BurnBlock
from clarion.chains.stacks.node_payloads import Item, MempoolDrop, MempoolEntry
from clarion.follower import Followed, Follower
from clarion.metrics import STAGE_SECONDS
from clarion.store import mempool
from clarion.store.store import Store


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
    since = store.tip.sequence
    followed = Followed()
    mempool_items: list[MempoolEntry | MempoolDrop] = []
    committing = time.perf_counter()
    with store.batch() as batch:
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
            if settle is not None:
                settle(store.connection, followed)
        committing = time.perf_counter()
    STAGE_SECONDS.labels("commit").observe(time.perf_counter() - committing)
    return followed


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Measure a stage of a batch."""
    started = time.perf_counter()
    yield
    STAGE_SECONDS.labels(name).observe(time.perf_counter() - started)
