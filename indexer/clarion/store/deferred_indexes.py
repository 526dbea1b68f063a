"""Indexes that cost every event more than to make them of all events at once.

A large file that fills an empty index is written without them, and they are made when it is in. Nothing notes that they
are missing but their absence: whoever opens an index afterwards makes those that are not there, so that a replay that
was killed leaves nothing behind. Queries by contract, sender or transaction id, of a block's transactions and events,
and time travel, are slow until then, never wrong. That no block is there twice is what the blocks' own key says.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, cast

from psycopg import Connection, sql
from psycopg.conninfo import make_conninfo
from sqlalchemy import Index, Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex
from sqlmodel import SQLModel

from clarion.store.database import connect
from clarion.store.tables import SCHEMA, CanonicalBlock, ChangeRow, EventRow, TransactionRow

_NAMES: Final = (
    "event_by_contract",
    "transaction_by_id",
    "transaction_by_sender",
    "transaction_by_contract",
    "change_by_key",
    "canonical_block_by_sequence",
)
_KEYED: Final[tuple[type[SQLModel], ...]] = (EventRow, TransactionRow)
"""Tables whose primary keys are deferred too, and vacuuming, which would read what came in so far again and again."""
FIRST_STATISTICS: Final = 25
"""Postgres' statistics target when it first looks at what came in; its usual one of 100 takes four times as long. It
looks again by itself when it is left alone.
"""
_DIALECT: Final = postgresql.dialect()  # type: ignore[no-untyped-call]


def _indexes() -> list[Index]:
    tables: list[type[SQLModel]] = [EventRow, TransactionRow, ChangeRow, CanonicalBlock]
    found = {str(index.name): index for table in tables for index in _table(table).indexes}
    return [found[name] for name in _NAMES]


def _table(model: type[SQLModel]) -> Table:
    return cast("Table", model.__table__)  # type: ignore[attr-defined]


def _keyed() -> list[Table]:
    return [_table(model) for model in _KEYED]


def _key_name(table: Table) -> str:
    return f"{table.name}_pkey"  # as Postgres names it


def defer_indexes(connection: Connection[Any]) -> None:
    """Drop them; :func:`restore_indexes` has to follow. For an index without blocks."""
    for index in _indexes():
        connection.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(sql.Identifier(SCHEMA, str(index.name))))
    for table in _keyed():
        connection.execute(
            sql.SQL("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {}").format(
                sql.Identifier(SCHEMA, table.name), sql.Identifier(_key_name(table))
            )
        )
        connection.execute(
            sql.SQL("ALTER TABLE {} SET (autovacuum_enabled = off)").format(sql.Identifier(SCHEMA, table.name))
        )


def restore_indexes(connection: Connection[Any]) -> list[str]:
    """Make those that are missing; may take minutes after a file of millions of events. Returns their names.

    The events' are made over the connection, those of other tables meanwhile over one of its own. Postgres then looks
    through the tables once, which it would otherwise not do before it is left alone for a minute. Not within a
    transaction.
    """
    have = _present(connection)
    keys = [table for table in _keyed() if _key_name(table) not in have]
    indexes = [index for index in _indexes() if index.name not in have]
    made = [*map(_key_name, keys), *(str(index.name) for index in indexes)]
    if not made:
        return made
    statements = [(table, _making_key(table)) for table in keys] + [
        (index.table, str(CreateIndex(index, if_not_exists=True).compile(dialect=_DIALECT))) for index in indexes
    ]
    events = _table(EventRow)
    with _connected_beside(connection) as other, ThreadPoolExecutor(1, "clarion indexes") as thread:
        others = [statement for table, statement in statements if table is not events]
        making = thread.submit(_execute_all, other, others)
        try:
            _execute_all(connection, [statement for table, statement in statements if table is events])
            making.result()
        except BaseException:
            other.cancel_safe()
            raise
    with connection.transaction():
        connection.execute(f"SET LOCAL default_statistics_target = {FIRST_STATISTICS}")
        connection.execute("ANALYZE")
    return made


def restore_keys(connection: Connection[Any]) -> None:
    """Make the primary keys that are missing, for whoever reads the chain log by block before all of it is in."""
    have = _present(connection)
    _execute_all(connection, [_making_key(table) for table in _keyed() if _key_name(table) not in have])


def _making_key(table: Table) -> str:
    columns = ", ".join(column.name for column in table.primary_key)
    key = f"ADD CONSTRAINT {_key_name(table)} PRIMARY KEY ({columns})"
    return f'ALTER TABLE {SCHEMA}."{table.name}" {key}, RESET (autovacuum_enabled)'


def _execute_all(connection: Connection[Any], statements: Iterable[str]) -> None:
    for statement in statements:
        connection.execute(statement.encode())


def _connected_beside(connection: Connection[Any]) -> Connection[Any]:
    """Another connection to where this one leads."""
    info = connection.info
    return connect(make_conninfo(**info.get_parameters(), password=info.password or None), autocommit=True)


def _present(connection: Connection[Any]) -> set[str]:
    found = connection.execute("SELECT indexname FROM pg_indexes WHERE schemaname = %s", (SCHEMA,)).fetchall()
    return {name for (name,) in found}
