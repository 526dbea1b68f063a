"""Secondary indexes that cost every event more than to make them of all events at once.

A large file that fills an empty index is written without them, and they are made when it is in. Nothing notes that they
are missing but their absence: whoever opens an index afterwards makes those that are not there, so that a replay that
was killed leaves nothing behind. Queries by contract, sender or transaction id, and time travel, are slow until then,
never wrong.
"""

from __future__ import annotations

from typing import Any, Final

from psycopg import Connection, sql
from sqlalchemy import Index
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex
from sqlmodel import SQLModel

from clarion.store.tables import SCHEMA, ChangeRow, EventRow, TransactionRow

_NAMES: Final = (
    "event_by_contract",
    "transaction_by_id",
    "transaction_by_sender",
    "transaction_by_contract",
    "change_by_key",
)
_DIALECT: Final = postgresql.dialect()  # type: ignore[no-untyped-call]


def _indexes() -> list[Index]:
    tables: list[type[SQLModel]] = [EventRow, TransactionRow, ChangeRow]
    found = {str(index.name): index for table in tables for index in table.__table__.indexes}  # type: ignore[attr-defined]
    return [found[name] for name in _NAMES]


def defer_indexes(connection: Connection[Any]) -> None:
    """Drop them; :func:`restore_indexes` has to follow. For an index without blocks."""
    for index in _indexes():
        connection.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(sql.Identifier(SCHEMA, str(index.name))))


def restore_indexes(connection: Connection[Any]) -> list[str]:
    """Make those that are missing; may take minutes after a file of millions of events. Returns their names.

    Postgres then looks through the tables once, which it would otherwise not do before it is left alone for a minute.
    """
    have = {name for (name,) in connection.execute("SELECT indexname FROM pg_indexes WHERE schemaname = %s", (SCHEMA,))}
    missing = [index for index in _indexes() if index.name not in have]
    for index in missing:
        connection.execute(str(CreateIndex(index, if_not_exists=True).compile(dialect=_DIALECT)).encode())
    if missing:
        connection.execute("ANALYZE")
    return [str(index.name) for index in missing]
