"""Rows in the keeper's tables, put there without a keeper."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

INTENT: dict[str, Any] = {
    "key": "settle:7",
    "job": "settle",
    "lane": "settle",
    "chain": "stacks",
    "item": {"policy": 7},
    "state": "planned",
    "value_usd8": 5_000_000_000,
    "cause": "policy 7 expired at 100",
    "entity": "policy:7",
    "decided_height": 10,
    "decided_hash": "0x0a",
    "decided_burn": 101,
    "decided_sequence": 5,
    "first_burn": 100,
}
OUTGOING: dict[str, Any] = {
    "chain": "stacks",
    "account": "daily",
    "sender": "ST1PQHQKV0RJXZFY1DGX8MNSNYVE3VGZJSRTPGZGM",
    "nonce": 4,
    "lane": "settle",
    "job": "settle",
    "contract": "ST1PQHQKV0RJXZFY1DGX8MNSNYVE3VGZJSRTPGZGM.bh-policy",
    "function": "settle",
    "state": "broadcast",
    "height": 10,
    "burn": 101,
    "first_burn": 101,
}


def add(connection: psycopg.Connection[Any], table: str, **values: Any) -> Any:
    """A row of ``keeper.<table>``; gives its first column."""
    names = sql.SQL(", ").join(map(sql.Identifier, values))
    given = [Jsonb(value) if isinstance(value, dict) else value for value in values.values()]
    row = connection.execute(
        sql.SQL("INSERT INTO {} AS t ({}) VALUES ({}) RETURNING t.*").format(
            sql.Identifier("keeper", table), names, sql.SQL(", ").join([sql.Placeholder()] * len(given))
        ),
        given,
    ).fetchone()
    assert row is not None
    return row[0]


def add_intent(connection: psycopg.Connection[Any], **values: Any) -> int:
    """An intent; gives its id."""
    return int(add(connection, "intent", **{**INTENT, **values}))


def add_outgoing(connection: psycopg.Connection[Any], **values: Any) -> int:
    """A transaction without attempts; gives its id."""
    return int(add(connection, "outgoing", **{**OUTGOING, **values}))


def add_attempt(connection: psycopg.Connection[Any], outgoing: int, number: int = 1, **values: Any) -> bytes:
    """A signed version; gives its id."""
    tx_id = bytes([number]) * 31 + outgoing.to_bytes(1, "big")
    given = {"fee": 1_000 * number, "raw": b"signed bytes", "intents": [], "state": "broadcast", **values}
    add(connection, "attempt", tx_id=tx_id, outgoing_id=outgoing, number=number, **given)
    return tx_id


def add_step(connection: psycopg.Connection[Any], intent: int, what: str, **detail: Any) -> int:
    """A line of an intent's record."""
    return int(add(connection, "step", intent_id=intent, what=what, detail=detail))


def add_account(connection: psycopg.Connection[Any], name: str, **values: Any) -> None:
    """An account."""
    given = {"sender": f"ST{name.upper()}", "chain": "stacks", "lanes": ["settle"], "balance": 9_000_000}
    add(connection, "account", name=name, **{**given, "nonce": 4, "spent_last_hour": 0, **values})


def lead(connection: psycopg.Connection[Any], seconds: int = 60) -> None:
    """A keeper leads for so many seconds from now."""
    connection.execute(
        "INSERT INTO keeper.lease VALUES ('keeper', 'here:1:ab', 1, clock_timestamp() + make_interval(secs => %s)) "
        "ON CONFLICT (name) DO UPDATE SET expires_at = excluded.expires_at",
        (seconds,),
    )
