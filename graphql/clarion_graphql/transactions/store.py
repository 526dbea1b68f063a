"""Prepared and tracked transactions in the database."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import psycopg
from psycopg.rows import class_row
from psycopg_pool import AsyncConnectionPool

#: How long what was prepared or tracked is remembered.
KEPT_DAYS: Final = 30
ID_BYTES: Final = 16
#: How many old rows one insert removes, at most.
SWEPT: Final = 100


class UnknownPreparedError(LookupError):
    """There is no prepared transaction with this id, or not any more."""


@dataclass(frozen=True, slots=True)
class NewPrepared:
    """What is kept of a prepared transaction."""

    action: str
    sender: str
    contract: str
    function: str
    payload: bytes
    height: int
    valid_until_burn: int | None


@dataclass(frozen=True, slots=True)
class Link:
    """A prepared transaction, one that was sent, or both. Of what was only sent, nothing more is known here."""

    prepared_id: str | None
    tx_id: bytes | None
    action: str | None
    sender: str | None
    contract: str | None
    function: str | None
    payload: bytes | None
    height: int | None
    valid_until_burn: int | None
    prepared_at: datetime | None
    tracked_at: datetime | None


_LINK: Final = (
    "p.id AS prepared_id, t.tx_id, p.action, p.sender, p.contract, p.function, p.payload, p.height, "
    "p.valid_until_burn, p.prepared_at, t.tracked_at"
)
_ADD: Final = """
INSERT INTO clarion_account.prepared_transaction
    (id, action, sender, contract, function, payload, height, valid_until_burn)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
"""
_SWEEP: Final = """
DELETE FROM clarion_account.{table} WHERE {key} IN (
    SELECT {key} FROM clarion_account.{table} WHERE {age} < now() - make_interval(days => {days})
    ORDER BY {age} LIMIT {rows} FOR UPDATE SKIP LOCKED)
"""
_SWEEP_PREPARED: Final = _SWEEP.format(
    table="prepared_transaction", key="id", age="prepared_at", days=KEPT_DAYS, rows=SWEPT
)
_SWEEP_TRACKED: Final = _SWEEP.format(
    table="tracked_transaction", key="tx_id", age="tracked_at", days=KEPT_DAYS, rows=SWEPT
)
_TRACK: Final = """
INSERT INTO clarion_account.tracked_transaction (tx_id, prepared_id) VALUES (%s, %s)
ON CONFLICT (tx_id) DO UPDATE SET prepared_id = coalesce(tracked_transaction.prepared_id, excluded.prepared_id)
"""
_BY_PREPARED: Final = f"""
SELECT {_LINK} FROM clarion_account.prepared_transaction p
LEFT JOIN clarion_account.tracked_transaction t ON t.prepared_id = p.id
WHERE p.id = %s ORDER BY t.tracked_at DESC
"""
_BY_TRANSACTION: Final = f"""
SELECT {_LINK} FROM clarion_account.tracked_transaction t
LEFT JOIN clarion_account.prepared_transaction p ON p.id = t.prepared_id
WHERE t.tx_id = %s
"""
_BY_SENDER: Final = f"""
SELECT {_LINK} FROM clarion_account.prepared_transaction p
LEFT JOIN clarion_account.tracked_transaction t ON t.prepared_id = p.id
WHERE p.sender = %s ORDER BY p.prepared_at DESC, t.tracked_at DESC LIMIT %s
"""


class Prepared:
    """The two tables."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    async def add(self, new: NewPrepared) -> str:
        """Keep a prepared transaction and give its id. Forgets some of what is older than :data:`KEPT_DAYS`."""
        identifier = secrets.token_hex(ID_BYTES)
        values = (new.action, new.sender, new.contract, new.function, new.payload, new.height, new.valid_until_burn)
        async with self._pool.connection() as connection:
            await connection.execute(_ADD, (identifier, *values))
            await connection.execute(_SWEEP_PREPARED)
        return identifier

    async def track(self, tx_id: bytes, prepared_id: str | None) -> None:
        """Remember that a transaction was sent. A link to a prepared one stays as it was first made.

        Raises UnknownPreparedError.
        """
        async with self._pool.connection() as connection:
            try:
                await connection.execute(_TRACK, (tx_id, prepared_id))
            except psycopg.errors.ForeignKeyViolation:
                raise UnknownPreparedError(prepared_id) from None
            await connection.execute(_SWEEP_TRACKED)

    async def of_prepared(self, identifier: str) -> list[Link]:
        """The prepared transaction with every one that was sent of it, the newest first; empty where there is none."""
        return await self._links(_BY_PREPARED, (identifier,))

    async def of_transaction(self, tx_id: bytes) -> Link | None:
        """What is known of a transaction that was tracked."""
        found = await self._links(_BY_TRANSACTION, (tx_id,))
        return found[0] if found else None

    async def of_sender(self, sender: str, first: int) -> list[Link]:
        """What was prepared for somebody, the newest first."""
        return await self._links(_BY_SENDER, (sender, first))

    async def _links(self, query: str, parameters: tuple[Any, ...]) -> list[Link]:
        async with self._pool.connection() as connection, connection.cursor(row_factory=class_row(Link)) as cursor:
            await cursor.execute(query.encode(), parameters)
            return await cursor.fetchall()
