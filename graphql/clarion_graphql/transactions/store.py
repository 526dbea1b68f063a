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
#: Of how many sent transactions it is remembered that they were made of one prepared; the newest links.
MOST_LINKS: Final = 50


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
_TRACK: Final = "INSERT INTO clarion_account.tracked_transaction (tx_id) VALUES (%s) ON CONFLICT (tx_id) DO NOTHING"
_ADD_LINK: Final = """
INSERT INTO clarion_account.tracked_link (tx_id, prepared_id) VALUES (%s, %s)
ON CONFLICT (tx_id, prepared_id) DO UPDATE SET linked_at = now()
"""
_FORGET_LINKS: Final = f"""
DELETE FROM clarion_account.tracked_link WHERE prepared_id = %(id)s AND tx_id IN (
    SELECT tx_id FROM clarion_account.tracked_link WHERE prepared_id = %(id)s
    ORDER BY linked_at DESC, tx_id OFFSET {MOST_LINKS})
"""
_SENT: Final = """
LEFT JOIN clarion_account.tracked_link l ON l.prepared_id = p.id
LEFT JOIN clarion_account.tracked_transaction t ON t.tx_id = l.tx_id
"""
_BY_PREPARED: Final = f"""
SELECT {_LINK} FROM clarion_account.prepared_transaction p {_SENT} WHERE p.id = %s ORDER BY l.linked_at, l.tx_id
"""
_LINKED: Final = """
LEFT JOIN clarion_account.tracked_link l ON l.tx_id = t.tx_id
LEFT JOIN clarion_account.prepared_transaction p ON p.id = l.prepared_id
"""
_BY_TRANSACTION: Final = f"""
SELECT {_LINK} FROM clarion_account.tracked_transaction t {_LINKED} WHERE t.tx_id = %s
ORDER BY (p.sender = %s AND p.payload = %s) DESC NULLS LAST, l.linked_at, l.prepared_id LIMIT 1
"""
_ONE: Final = f"""
SELECT {_LINK} FROM clarion_account.tracked_transaction t {_LINKED} WHERE t.tx_id = %s AND l.prepared_id = %s
"""
_BY_SENDER: Final = f"""
SELECT {_LINK} FROM (
    SELECT * FROM clarion_account.prepared_transaction WHERE sender = %s ORDER BY prepared_at DESC, id LIMIT %s
) p {_SENT} ORDER BY p.prepared_at DESC, p.id, l.linked_at, l.tx_id
"""


class Prepared:
    """The tables of what was prepared and sent."""

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
        """Remember that a transaction was sent, and what it is said to be made of; both may be said of others too.

        Raises UnknownPreparedError.
        """
        async with self._pool.connection() as connection:
            await connection.execute(_TRACK, (tx_id,))
            if prepared_id is not None:
                try:
                    await connection.execute(_ADD_LINK, (tx_id, prepared_id))
                except psycopg.errors.ForeignKeyViolation:
                    raise UnknownPreparedError(prepared_id) from None
                await connection.execute(_FORGET_LINKS, {"id": prepared_id})
            await connection.execute(_SWEEP_TRACKED)

    async def of_prepared(self, identifier: str) -> list[Link]:
        """The prepared transaction with each that is said to be made of it; empty where there is none prepared."""
        return await self._links(_BY_PREPARED, (identifier,))

    async def of_transaction(self, tx_id: bytes, sender: str | None, payload: bytes | None) -> Link | None:
        """What is known of a transaction that was tracked.

        Of several that it is said to be made of, the one with its sender and payload; else the one said first.
        """
        found = await self._links(_BY_TRANSACTION, (tx_id, sender, payload))
        return found[0] if found else None

    async def one(self, tx_id: bytes, prepared_id: str) -> Link | None:
        """The link of two, where somebody made it."""
        found = await self._links(_ONE, (tx_id, prepared_id))
        return found[0] if found else None

    async def of_sender(self, sender: str, first: int) -> list[Link]:
        """What was prepared for somebody, the newest first, each with all that are said to be made of it."""
        return await self._links(_BY_SENDER, (sender, first))

    async def _links(self, query: str, parameters: tuple[Any, ...]) -> list[Link]:
        async with self._pool.connection() as connection, connection.cursor(row_factory=class_row(Link)) as cursor:
            await cursor.execute(query.encode(), parameters)
            return await cursor.fetchall()
