"""How much of the past is kept: deletes what neither time travel, nor the feed, nor a rollback needs any more.

Everything happens in small transactions, each of which first says what is gone by it: a reader sees either what was
there or that it is not kept, and nobody waits. Nothing above the final block is touched: a rollback needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, LiteralString

from psycopg import Connection

from clarion.chains.model import Chain

#: How many sequence numbers, keys or transactions one database transaction is about at most (or one block's).
CHUNK: Final = 2_000
#: The key in :attr:`Retention.tables` that stands for every table that is not named.
OTHERS: Final = "*"


class RetentionError(ValueError):
    """A retention names what there is not; the message says what."""


@dataclass(frozen=True, slots=True)
class Retention:
    """What to keep. Numbers are blocks under the tip; None keeps everything. What is not final is always kept.

    ``tables``: how far back a projection table (``schema.name``, or ``*`` for the others) can be read as it was.
    ``feed``: how far back subscriptions can go on, and what blocks held that lost is kept.
    ``dropped_mempool_days``: how many days a transaction is kept that the node dropped without mining it.
    """

    tables: Mapping[str, int | None] = field(default_factory=dict)
    feed: int | None = None
    dropped_mempool_days: int | None = None

    @property
    def keeps_everything(self) -> bool:
        """Whether there is never anything to delete."""
        limits = (*self.tables.values(), self.feed, self.dropped_mempool_days)
        return all(limit is None for limit in limits)


@dataclass(slots=True)
class Pruned:
    """How many rows were deleted."""

    changes: int = 0
    history: int = 0
    steps: int = 0
    blocks: int = 0
    """Blocks that lost, with their transactions and events."""
    mempool_transactions: int = 0


def prune(
    connection: Connection[Any],
    chain: Chain,
    retention: Retention,
    *,
    chunk: int = CHUNK,
    stopped: Callable[[], bool] = lambda: False,
) -> Pruned:
    """Delete what need not be kept, until all is done or ``stopped``; what is left is done the next time.

    ``connection`` is in autocommit mode. Any number of processes may prune, and the index may go on. Raises
    RetentionError.
    """
    pruning = _Pruning(connection, chain, chunk)
    for _ in pruning.steps(retention):
        if stopped():
            break
    return pruning.pruned


# Of the keys that changed between two sequences, only the newest change of a canonical block stays, and none where it
# deleted the row. Changes of earlier generations go.
_SUPERSEDED: Final[LiteralString] = """
WITH newest AS (
    SELECT changed.key, (
        SELECT max(c.sequence) FROM clarion.change c
        JOIN clarion.canonical_block k ON k.chain = c.chain AND k.height = c.height AND k.hash = c.block_hash
        WHERE c.chain = %(chain)s AND c."table" = %(table)s AND c.key = changed.key
            AND clarion.key_hash(c."table", c.key) = clarion.key_hash(%(table)s, changed.key)
            AND c.sequence > %(since)s AND c.sequence <= %(to)s AND NOT c.retraction
    ) AS sequence
    FROM (
        SELECT DISTINCT key FROM clarion.change
        WHERE chain = %(chain)s AND sequence > %(from)s AND sequence <= %(to)s AND "table" = %(table)s
    ) changed
), history AS (
    DELETE FROM clarion.history h USING newest n
    WHERE h.chain = %(chain)s AND h."table" = %(table)s AND h.generation = %(generation)s AND h.key = n.key
        AND n.sequence IS NOT NULL RETURNING 1
), gone AS (
    DELETE FROM clarion.change c USING newest n
    WHERE c.chain = %(chain)s AND c."table" = %(table)s AND c.key = n.key AND c.sequence <= %(to)s
        AND clarion.key_hash(c."table", c.key) = clarion.key_hash(%(table)s, n.key)
        AND (c.sequence IS DISTINCT FROM n.sequence OR c.after IS NULL) RETURNING 1
)
SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM history)
"""
_SUPERSEDED_HISTORY: Final[LiteralString] = """
DELETE FROM clarion.history h WHERE chain = %(chain)s AND "table" = %(table)s AND generation = %(generation)s
    AND key = ANY(%(keys)s::jsonb[]) AND (after IS NULL OR EXISTS (
        SELECT FROM clarion.history n WHERE n.chain = h.chain AND n."table" = h."table" AND n.generation = h.generation
            AND n.key = h.key AND n.height > h.height
    ))
"""
# What time travel does not read: of blocks that lost, of rollbacks, of earlier generations.
_OF_FEED_ONLY: Final[LiteralString] = """
DELETE FROM clarion.change c WHERE c.chain = %(chain)s AND c.sequence > %(from)s AND c.sequence <= %(to)s AND (
    c.retraction
    OR NOT EXISTS (
        SELECT FROM clarion.canonical_block k WHERE k.chain = c.chain AND k.height = c.height AND k.hash = c.block_hash
    )
    OR NOT EXISTS (
        SELECT FROM clarion.protocol p WHERE p.chain = c.chain AND p.name = split_part(c."table", '.', 1)
            AND p.since_sequence < c.sequence
    )
)
"""
# Blocks that were applied and lost: only the feed's steps, which go with them, name them any more.
_LOST: Final[LiteralString] = """
WITH lost AS (
    SELECT DISTINCT s.height, s.hash FROM clarion.step s
    WHERE s.chain = %(chain)s AND s.sequence <= %(to)s AND s.height <= %(height)s AND NOT EXISTS (
        SELECT FROM clarion.canonical_block k WHERE k.chain = s.chain AND k.height = s.height AND k.hash = s.hash
    )
), transactions AS (
    DELETE FROM clarion.transaction t USING lost l
    WHERE t.chain = %(chain)s AND t.height = l.height AND t.block_hash = l.hash
), events AS (
    DELETE FROM clarion.event e USING lost l
    WHERE e.chain = %(chain)s AND e.height = l.height AND e.block_hash = l.hash
)
DELETE FROM clarion.block b USING lost l WHERE b.chain = %(chain)s AND b.height = l.height AND b.hash = l.hash
"""
_DROPPED: Final[LiteralString] = """
DELETE FROM clarion.mempool_transaction WHERE tx_id = ANY(ARRAY(
    SELECT tx_id FROM clarion.mempool_transaction
    WHERE dropped_reason IS NOT NULL AND received_at < now() - make_interval(days => %s) LIMIT %s
))
"""


@dataclass(frozen=True, slots=True)
class _Table:
    name: str
    generation: int
    since: int


class _Pruning:
    def __init__(self, connection: Connection[Any], chain: Chain, chunk: int) -> None:
        self._connection = connection
        self._chain = chain
        self._chunk = chunk
        self.pruned = Pruned()

    def steps(self, retention: Retention) -> Iterator[None]:
        """Prune; yields after every transaction."""
        if retention.dropped_mempool_days is not None:
            yield from self._mempool(retention.dropped_mempool_days)
        cursor = self._row("SELECT height, final_height, kept_from FROM clarion.cursor WHERE chain = %s", self._chain)
        if cursor is None or cursor[0] is None or cursor[1] is None:
            return
        tip, final, kept_from = cursor
        if retention.feed is not None:
            yield from self._feed(kept_from, min(final, tip - retention.feed))
        for table, blocks in self._limited(retention):
            yield from self._table(table, min(final, tip - blocks))

    def _row(self, query: LiteralString, *parameters: Any) -> tuple[Any, ...] | None:
        return self._connection.execute(query, parameters).fetchone()

    def _limited(self, retention: Retention) -> list[tuple[_Table, int]]:
        """The tables of live protocols of which not everything is kept, each with how many blocks are."""
        tables = [
            _Table(*row)
            for row in self._connection.execute(
                "SELECT p.name || '.' || t.tablename, p.generation, p.since_sequence FROM clarion.protocol p "
                "JOIN pg_tables t ON t.schemaname = p.name "
                "WHERE p.chain = %s AND p.generation > 0 AND p.stopped_sequence IS NULL ORDER BY 1",
                (self._chain,),
            )
        ]
        known = {table.name for table in tables}
        live = {name.partition(".")[0] for name in known}
        unknown = [name for name in retention.tables if name not in known and name.partition(".")[0] in live]
        if unknown:
            raise RetentionError(
                f"retention.tables names {', '.join(unknown)}; the tables are {', '.join(sorted(known))}"
            )
        limited = []
        for table in tables:
            blocks = retention.tables.get(table.name, retention.tables.get(OTHERS))
            if blocks is not None:
                limited.append((table, blocks))
        return limited

    def _mempool(self, days: int) -> Iterator[None]:
        deleted = self._chunk
        while deleted == self._chunk:
            deleted = self._connection.execute(_DROPPED, (days, self._chunk)).rowcount
            self.pruned.mempool_transactions += deleted
            yield

    def _feed(self, kept_from: int, height: int) -> Iterator[None]:
        block = self._row(
            "SELECT sequence FROM clarion.canonical_block WHERE chain = %s AND height = %s", self._chain, height
        )
        while block is not None and kept_from < block[0]:
            following = min(kept_from + self._chunk, block[0])
            window = {"chain": self._chain, "from": kept_from, "to": following, "height": height}
            with self._connection.transaction():
                self.pruned.changes += self._connection.execute(_OF_FEED_ONLY, window).rowcount
                self.pruned.blocks += self._connection.execute(_LOST, window).rowcount
                self.pruned.steps += self._connection.execute(
                    "DELETE FROM clarion.step WHERE chain = %(chain)s AND sequence <= %(to)s", window
                ).rowcount
                # last, for the indexer waits for this row
                self._connection.execute(
                    "UPDATE clarion.cursor SET kept_from = greatest(kept_from, %(to)s) WHERE chain = %(chain)s", window
                )
            kept_from = following
            yield

    def _table(self, table: _Table, target: int) -> Iterator[None]:
        """Let a table be readable from ``target`` on, window by window."""
        kept = self._row(
            'SELECT from_height FROM clarion.kept WHERE chain = %s AND "table" = %s', self._chain, table.name
        )
        lowest = self._row("SELECT min(height) FROM clarion.canonical_block WHERE chain = %s", self._chain)
        assert lowest is not None
        height = lowest[0] if kept is None else kept[0]
        # up to here the past of a generation that was filled in is in its history
        switch = self._row(
            "SELECT max(height) FROM clarion.canonical_block WHERE chain = %s AND sequence <= %s",
            self._chain,
            table.since,
        )
        switched = -1 if switch is None or switch[0] is None else switch[0]
        while height < target:
            if height == switched:
                yield from self._history(table)
            height = self._window(table, height, min(target, switched) if height < switched else target)
            yield

    def _window(self, table: _Table, height: int, target: int) -> int:
        """One transaction: what is superseded as of a following block, which is returned."""
        with self._connection.transaction():
            bounds = self._row(
                """
                SELECT b.sequence, n.height, n.sequence FROM clarion.canonical_block b CROSS JOIN LATERAL (
                    (SELECT height, sequence FROM clarion.canonical_block n
                    WHERE n.chain = b.chain AND n.height > b.height AND n.height <= %s AND n.sequence <= b.sequence + %s
                    ORDER BY n.height DESC LIMIT 1)
                    UNION ALL
                    (SELECT height, sequence FROM clarion.canonical_block n
                    WHERE n.chain = b.chain AND n.height > b.height ORDER BY n.height LIMIT 1)
                ) n WHERE b.chain = %s AND b.height = %s ORDER BY n.height DESC LIMIT 1
                """,
                target,
                self._chunk,
                self._chain,
                height,
            )
            assert bounds is not None
            begin, following, end = bounds
            first = self._row("SELECT min(height) FROM clarion.canonical_block WHERE chain = %s", self._chain)
            self._connection.execute(
                'INSERT INTO clarion.kept (chain, "table", from_height) VALUES (%s, %s, %s) '
                'ON CONFLICT (chain, "table") DO UPDATE SET from_height = greatest(kept.from_height, %s)',
                (self._chain, table.name, following, following),
            )
            found = self._connection.execute(
                _SUPERSEDED,
                {
                    "chain": self._chain,
                    "table": table.name,
                    "generation": table.generation,
                    "since": table.since,
                    "from": 0 if first is not None and first[0] == height else begin,
                    "to": end,
                },
            ).fetchone()
            assert found is not None
            self.pruned.changes += found[0]
            self.pruned.history += found[1]
        return int(following)

    def _history(self, table: _Table) -> Iterator[None]:
        """Of the history that ends at the height from which the table is kept, the last row of every key stays."""
        last = None
        while True:
            keys = [
                key
                for (key,) in self._connection.execute(
                    'SELECT key::text FROM clarion.history WHERE chain = %(chain)s AND "table" = %(table)s '
                    "AND generation = %(generation)s AND (%(last)s::jsonb IS NULL OR key > %(last)s::jsonb) "
                    "GROUP BY key ORDER BY key LIMIT %(chunk)s",
                    {
                        "chain": self._chain,
                        "table": table.name,
                        "generation": table.generation,
                        "last": last,
                        "chunk": self._chunk,
                    },
                )
            ]
            if not keys:
                return
            last = keys[-1]
            self.pruned.history += self._connection.execute(
                _SUPERSEDED_HISTORY,
                {"chain": self._chain, "table": table.name, "generation": table.generation, "keys": keys},
            ).rowcount
            yield
