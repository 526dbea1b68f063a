"""An index's tables, for tests that begin again in one database."""

from __future__ import annotations

from typing import Any

from psycopg import Connection, sql


def truncate_index(connection: Connection[Any], *tables: str) -> None:
    """Empty every core table and the projection tables named, as if nothing had been indexed."""
    core = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'clarion' ORDER BY 1").fetchall()
    names = [sql.Identifier("clarion", name) for (name,) in core]
    names += [sql.Identifier(*table.split(".")) for table in tables]
    connection.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(names)))
