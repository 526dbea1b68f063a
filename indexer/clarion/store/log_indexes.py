"""Indexes on the chain log that a protocol's questions need, there as long as the protocol is enabled.

Each one costs every event that it holds, so they are made for an enabled protocol that names them, and dropped when
none does. To make them of many events at once costs half of keeping them while the events come, so they are made
when nothing waits to be indexed, and without holding up the writer. They are in the schema ``clarion`` under
``<protocol>__<name>``; one whose definition changes takes a new name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final

import psycopg
import structlog
from psycopg import AsyncConnection, Connection, sql

from clarion.protocol import Protocol
from clarion.store.database import make_pool

SEPARATOR: Final = "__"
POLL_SECONDS: Final = 10.0

_HAVE: Final = sql.SQL(
    "SELECT c.relname, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
    "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'clarion' AND position({} IN c.relname) > 0"
).format(sql.Literal(SEPARATOR))
_BUSY: Final = (
    "SELECT EXISTS (SELECT FROM clarion.inbox WHERE error IS NULL) "
    "OR NOT EXISTS (SELECT FROM clarion.cursor WHERE height IS NOT NULL)"
)

log = structlog.get_logger(__name__)


def keep_log_indexes(connection: Connection[Any], protocols: Iterable[Protocol]) -> None:
    """Make the indexes that these protocols name and that are missing; drop those that none of them names.

    Over a connection in autocommit mode.
    """
    for what, name, statement in _statements(dict(connection.execute(_HAVE).fetchall()), protocols):
        log.info(what, index=name)
        connection.execute(statement)


class LogIndexKeeper:
    """Does that for an index that runs. Run :meth:`run` as a task until it is cancelled."""

    def __init__(self, database_url: str, protocols: Iterable[Protocol]) -> None:
        self._url = database_url
        self._protocols = tuple(protocols)

    async def run(self) -> None:
        """Look again and again; what fails is tried again."""
        async with make_pool(self._url, min_size=0, max_size=1, application_name="clarion indexes") as pool:
            while True:
                try:
                    async with pool.connection() as connection:
                        await self.look(connection)
                except psycopg.Error as error:
                    log.warning("log_indexes_wait", error=str(error).strip())
                await asyncio.sleep(POLL_SECONDS)

    async def look(self, connection: AsyncConnection[Any]) -> None:
        """Do what is to be done, over a connection in autocommit mode; nothing while the log is empty or posts wait."""
        if await (await connection.execute(_BUSY)).fetchone() == (True,):
            return
        have = await (await connection.execute(_HAVE)).fetchall()
        for what, name, statement in _statements(dict(have), self._protocols):
            log.info(what, index=name)
            await connection.execute(statement)


def _statements(have: Mapping[str, bool], protocols: Iterable[Protocol]) -> list[tuple[str, str, sql.Composed]]:
    """What is to be done: each with what it is, the index's name and the SQL.

    ``have``: the indexes there are, with whether they are whole: one that broke off while it was made is not.
    """
    wanted = {
        f"{protocol.name}{SEPARATOR}{name}": on for protocol in protocols for name, on in protocol.log_indexes.items()
    }
    whole = {name for name, valid in have.items() if valid}
    drop = sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}")
    make = sql.SQL("CREATE INDEX CONCURRENTLY IF NOT EXISTS {} ON {}")
    return [
        *(
            ("drop_log_index", name, drop.format(sql.Identifier("clarion", name)))
            for name in sorted(have.keys() - (whole & wanted.keys()))
        ),
        *(
            ("make_log_index", name, make.format(sql.Identifier(name), _definition(wanted[name])))
            for name in sorted(wanted.keys() - whole)
        ),
    ]


def _definition(on: str) -> sql.Composable:
    return sql.SQL(on)  # what a package's author wrote, nothing from outside
