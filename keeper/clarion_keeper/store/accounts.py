"""The keeper's accounts as the leader saw them last, and what they spend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import AsyncConnection


async def spent_last_hour(connection: AsyncConnection[Any], account: str) -> int:
    """Fees of what the account signed in the last hour and that was or may still be mined; smallest unit."""
    cursor = await connection.execute(
        """
        SELECT coalesce(sum(coalesce(o.fee_paid, a.fee)), 0) FROM keeper.outgoing o
        JOIN LATERAL (
            SELECT max(fee) AS fee, max(signed_at) AS signed_at FROM keeper.attempt WHERE outgoing_id = o.id
        ) a ON true
        WHERE o.account = %s AND o.state <> 'rejected' AND a.signed_at > clock_timestamp() - interval '1 hour'
        """,
        (account,),
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
) -> None:
    """What an account has, as nodes said just now."""
    await connection.execute(
        """
        INSERT INTO keeper.account (name, sender, chain, lanes, balance, nonce, spent_last_hour, checked_at)
        VALUES (%s, %s, %s, %s, %s, %s, %s, clock_timestamp())
        ON CONFLICT (name) DO UPDATE SET sender = excluded.sender, chain = excluded.chain, lanes = excluded.lanes,
            balance = excluded.balance, nonce = excluded.nonce, spent_last_hour = excluded.spent_last_hour,
            checked_at = excluded.checked_at
        """,
        (name, sender, chain, list(lanes), balance, nonce, spent),
    )
