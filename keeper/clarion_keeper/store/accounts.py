"""The keeper's accounts as the leader saw them last, and what they spend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import AsyncConnection


async def spent_last_hour(connection: AsyncConnection[Any], account: str, *, beside: int | None = None) -> int:
    """Fees of what the account signed in the last hour, as far as they were or may still be paid; smallest unit.

    Until a transaction is final, its dearest version may be the one that is paid for. ``beside``: an outgoing that is
    left out.
    """
    cursor = await connection.execute(
        """
        SELECT coalesce(sum(CASE WHEN o.state = 'final' THEN o.fee_paid ELSE a.fee END), 0) FROM keeper.outgoing o
        JOIN LATERAL (
            SELECT max(fee) AS fee, max(signed_at) AS signed_at FROM keeper.attempt WHERE outgoing_id = o.id
        ) a ON true
        WHERE o.account = %s AND o.id IS DISTINCT FROM %s AND a.signed_at > clock_timestamp() - interval '1 hour'
            AND (o.state IN ('signed', 'broadcast', 'mined')
                OR o.state = 'final' AND o.ended_at > clock_timestamp() - interval '1 hour')
        """,
        (account, beside),
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def save(
    connection: AsyncConnection[Any],
    *,
    name: str,
    sender: str,
    chain: str,
    lanes: Sequence[str],
    balance: int,
    nonce: int | None,
    spent: int,
    hourly_budget: int | None,
) -> None:
    """What an account has, as nodes said just now."""
    await connection.execute(
        """
        INSERT INTO keeper.account (name, sender, chain, lanes, balance, nonce, spent_last_hour,
            hourly_budget, checked_at)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, clock_timestamp())
        ON CONFLICT (name) DO UPDATE SET sender = excluded.sender, chain = excluded.chain, lanes = excluded.lanes,
            balance = excluded.balance, nonce = excluded.nonce, spent_last_hour = excluded.spent_last_hour,
            hourly_budget = excluded.hourly_budget, checked_at = excluded.checked_at
        """,
        (name, sender, chain, list(lanes), balance, nonce, spent, hourly_budget),
    )
