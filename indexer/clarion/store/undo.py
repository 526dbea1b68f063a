"""What a rollback writes: from the change log, the rows as they were at a block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import Connection

from clarion.chains.model import Chain
from clarion.store.rows import Change, Op

# One sort and no join: of two sets whose sizes Postgres cannot know, it would compare every row with every other.
_NET_CHANGES = """
WITH since AS MATERIALIZED (
    SELECT "table", key, sequence, before, after FROM clarion.change c
    WHERE chain = %(chain)s AND sequence > %(sequence)s AND (height > %(height)s OR retraction)
        AND "table" = ANY(%(tables)s) AND sequence > (
            SELECT p.since_sequence FROM clarion.protocol p
            WHERE p.chain = c.chain AND p.name = split_part(c."table", '.', 1)
        )
), net AS (
    SELECT DISTINCT ON ("table", key) "table", key,
        last_value(after) OVER w AS now, first_value(before) OVER w AS "then"
    FROM since WINDOW w AS (
        PARTITION BY "table", key ORDER BY sequence ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
    )
)
SELECT "table", key, now, "then" FROM net WHERE now IS DISTINCT FROM "then" ORDER BY "table", key
"""


def net_changes(
    connection: Connection[Any], chain: Chain, sequence: int, height: int, tables: Sequence[str]
) -> list[Change]:
    """Per row of these tables changed after ``sequence``: from what it is now back to what it was then.

    The oldest change of a row after a sequence holds the row as it was at that sequence, whatever was applied and
    retracted since; the newest holds the row as it is. ``height`` is that of the block that wrote ``sequence``:
    what a protocol that became live later has written for blocks up to there stays, and what an earlier generation
    of it has written is none of its rows.
    """
    found = connection.execute(
        _NET_CHANGES, {"chain": chain, "sequence": sequence, "height": height, "tables": list(tables)}
    )
    changes = []
    for table, key, now, then in found:
        op: Op = "delete" if then is None else "insert" if now is None else "update"
        changes.append(Change(table, tuple(key), op, now, then))
    return changes
