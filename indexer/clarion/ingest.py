"""Takes what a Stacks source says into the store: blocks through the follower, the mempool beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from psycopg import Connection

from clarion.chains.model import Block, BurnBlock
from clarion.chains.stacks.node_payloads import Item, MempoolDrop, MempoolEntry
from clarion.follower import Followed, Follower
from clarion.store import mempool
from clarion.store.store import Store


def ingest(
    store: Store,
    follower: Follower,
    items: Sequence[Item],
    *,
    settle: Callable[[Connection[Any]], None] | None = None,
) -> Followed:
    """Apply ``items`` in one database transaction, all or nothing.

    ``settle`` writes what must be committed with them, such as the deletion of the posts they came from. Raises what
    ``Store.batch`` and ``Follower.ingest`` raise.
    """
    since = store.tip.sequence
    blocks = [item for item in items if isinstance(item, Block | BurnBlock)]
    mempool_items = [item for item in items if isinstance(item, MempoolEntry | MempoolDrop)]
    with store.batch() as batch:
        followed = follower.ingest(batch, blocks)
        batch.flush()
        mempool.update(store.connection, store.chain, mempool_items, since=since, rolled_back=followed.rolled_back > 0)
        if settle is not None:
            settle(store.connection)
    return followed
