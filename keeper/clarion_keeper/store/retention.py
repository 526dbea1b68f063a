"""How long the record is kept: intents that ended long ago, their steps and transactions go, a few at a time."""

from __future__ import annotations

from typing import Any, Final

from psycopg import AsyncConnection

BATCH: Final = 200
"""Intents that go at once. Each has a handful of steps, so that nobody waits long for the locks."""


async def prune(connection: AsyncConnection[Any], days: int, most: int = BATCH) -> int:
    """Delete up to ``most`` intents that ended more than ``days`` ago, the oldest first; gives how many.

    An intent stays for as long as its transaction is not at its end for as many days; the transaction goes with the
    last of its intents. What is open is never touched.
    """
    cursor = await connection.execute(
        """
        WITH old AS MATERIALIZED (
            SELECT i.id, i.outgoing_id FROM keeper.intent i LEFT JOIN keeper.outgoing o ON o.id = i.outgoing_id
            WHERE i.ended_at < clock_timestamp() - make_interval(days => %(days)s)
                AND i.state IN ('done', 'failed', 'cancelled')
                AND (o.id IS NULL OR o.ended_at < clock_timestamp() - make_interval(days => %(days)s)
                    AND o.state IN ('final', 'rejected'))
            ORDER BY i.ended_at LIMIT %(most)s
        ), emptied AS MATERIALIZED (
            SELECT DISTINCT outgoing_id AS id FROM old WHERE outgoing_id IS NOT NULL AND NOT EXISTS (
                SELECT FROM keeper.intent i WHERE i.outgoing_id = old.outgoing_id AND i.id NOT IN (SELECT id FROM old))
        ), steps AS (
            DELETE FROM keeper.step WHERE intent_id IN (SELECT id FROM old)
        ), attempts AS (
            DELETE FROM keeper.attempt WHERE outgoing_id IN (SELECT id FROM emptied)
        ), outgoings AS (
            DELETE FROM keeper.outgoing WHERE id IN (SELECT id FROM emptied)
        )
        DELETE FROM keeper.intent WHERE id IN (SELECT id FROM old)
        """,
        {"days": days, "most": most},
    )
    return cursor.rowcount
