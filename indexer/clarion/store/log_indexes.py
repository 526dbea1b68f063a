"""Indexes on the chain log that a protocol's questions need, there as long as the protocol is enabled.

Each one costs every event that it holds, so they are made when a protocol is enabled that names them, and dropped when
none is. They are in the schema ``clarion`` under ``<protocol>__<name>``; one whose definition changes takes a new name.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import structlog
from psycopg import Connection, sql

from clarion.protocol import Protocol

SEPARATOR: Final = "__"

log = structlog.get_logger(__name__)


def keep_log_indexes(connection: Connection[Any], protocols: Iterable[Protocol]) -> None:
    """Make the indexes that these protocols name and that are missing; drop those that none of them names.

    Over a connection in autocommit mode. Reading goes on meanwhile; writing waits, on a long chain for minutes.
    """
    wanted = {
        f"{protocol.name}{SEPARATOR}{name}": on for protocol in protocols for name, on in protocol.log_indexes.items()
    }
    found = connection.execute(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = 'clarion' AND c.relkind = 'i' AND position(%s IN c.relname) > 0",
        (SEPARATOR,),
    )
    have = {name for (name,) in found}
    for name in sorted(have - wanted.keys()):
        connection.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(sql.Identifier("clarion", name)))
        log.info("log_index_dropped", index=name)
    for name in sorted(wanted.keys() - have):
        log.info("log_index_making", index=name)
        statement = sql.SQL("CREATE INDEX IF NOT EXISTS {} ON ").format(sql.Identifier(name))
        connection.execute(statement.as_bytes() + wanted[name].encode())
