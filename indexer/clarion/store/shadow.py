"""Projection tables beside the live ones, to try things on: never committed, so nothing is left of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from psycopg import Connection, sql

from clarion.chains.model import Chain
from clarion.protocol import DeployedProtocol
from clarion.store.generation import make_tables
from clarion.store.registry import fingerprint
from clarion.store.row_sql import RowTables
from clarion.store.rows import RowJson, RowType
from clarion.store.time_travel import as_of

#: How many blocks are loaded from the chain log and projected together.
CHUNK_BLOCKS: Final = 500


class ShadowError(RuntimeError):
    """What is asked for cannot be tried. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class RowDifference:
    """A row of a table that is not the same on two sides; None: it does not exist there."""

    table: str
    key: tuple[Any, ...]
    stored: RowJson | None
    derived: RowJson | None


class Shadow:
    """Empty copies of some protocols' tables. Made by :func:`shadow`."""

    def __init__(
        self,
        connection: Connection[Any],
        chain: Chain,
        protocols: Sequence[DeployedProtocol],
        schemas: Mapping[str, str],
    ) -> None:
        self.connection = connection
        self.chain: Chain = chain
        self.row_types = [row_type for deployed in protocols for row_type in deployed.protocol.row_types]
        self.tables = RowTables(self.row_types, schemas)
        self._schemas = schemas

    def name_of(self, row_type: RowType) -> sql.Identifier:
        """The copy of a table."""
        schema, _, table = row_type.name.partition(".")
        return sql.Identifier(self._schemas[schema], table)

    def fill(self, height: int) -> int:
        """Copy the rows as they were at a canonical block; returns how many. Raises TimeTravelError."""
        rows = 0
        for row_type in self.row_types:
            columns = sql.SQL(", ").join(map(sql.Identifier, row_type.columns))
            rows += self.connection.execute(
                sql.SQL("INSERT INTO {copy} ({columns}) SELECT {columns} FROM {past} t WHERE %s").format(
                    copy=self.name_of(row_type),
                    columns=columns,
                    past=as_of(self.connection, row_type.name, height, self.chain),
                ),
                (True,),
            ).rowcount
            self.connection.execute(sql.SQL("ANALYZE {}").format(self.name_of(row_type)))
        return rows

    def digests(self, height: int) -> dict[str, bytes]:
        """Each protocol's stored digest at a height: its latest at or below. One that changed nothing has none."""
        return dict(
            self.connection.execute(
                "SELECT DISTINCT ON (d.protocol) d.protocol, d.digest FROM clarion.digest d "
                "JOIN clarion.protocol p ON p.chain = d.chain AND p.name = d.protocol AND p.generation = d.generation "
                "WHERE d.chain = %s AND d.height <= %s ORDER BY d.protocol, d.height DESC",
                (self.chain, height),
            ).fetchall()
        )

    def size(self) -> int:
        """How many bytes the copies take with their indexes."""
        total = 0
        for row_type in self.row_types:
            found = self.connection.execute(
                "SELECT pg_total_relation_size(%s::regclass)", (self.name_of(row_type).as_string(),)
            ).fetchone()
            assert found is not None
            total += found[0]
        return total

    def difference(self, height: int) -> RowDifference | None:
        """The first row of the copies, by table and key, that is not as it was at a canonical block."""
        for row_type in self.row_types:
            columns = row_type.columns
            found = self.connection.execute(
                sql.SQL(
                    "SELECT {keys}, CASE WHEN l.updated_height IS NOT NULL THEN jsonb_build_object({stored}) END, "
                    "CASE WHEN s.updated_height IS NOT NULL THEN jsonb_build_object({derived}) END "
                    "FROM {past} l FULL JOIN {copy} s USING ({key}) "
                    "WHERE ({left}) IS DISTINCT FROM ({right}) AND %s ORDER BY {keys} LIMIT 1"
                ).format(
                    keys=_listed(row_type.key_columns),
                    key=_listed(row_type.key_columns),
                    stored=_pairs("l", columns),
                    derived=_pairs("s", columns),
                    past=as_of(self.connection, row_type.name, height, self.chain),
                    copy=self.name_of(row_type),
                    left=_listed(columns, "l"),
                    right=_listed(columns, "s"),
                ),
                (True,),
            ).fetchone()
            if found is not None:
                *key, stored, derived = found
                return RowDifference(row_type.name, tuple(key), stored, derived)
        return None


def _listed(columns: Sequence[str], source: str | None = None) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(source, name) if source else sql.Identifier(name) for name in columns)


def _pairs(source: str, columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(part for name in columns for part in (sql.Literal(name), sql.Identifier(source, name)))


@contextmanager
def shadow(
    connection: Connection[Any], chain: Chain, protocols: Sequence[DeployedProtocol], purpose: str
) -> Iterator[Shadow]:
    """Copies of these protocols' tables in schemas of their own, over one snapshot of the database.

    ``connection`` is in autocommit mode. All of it is one transaction that is rolled back: whatever ends it, a kill
    too, nothing stays. Raises ShadowError where a protocol is not live as it is deployed here.
    """
    with connection.transaction(force_rollback=True):
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        for reason in not_live(connection, chain, protocols).values():
            raise ShadowError(reason)
        number = connection.info.backend_pid
        schemas = {
            deployed.protocol.name: f"clarion_{purpose}_{number}__{deployed.protocol.name}" for deployed in protocols
        }
        for deployed in protocols:
            make_tables(connection, deployed.protocol, schemas[deployed.protocol.name])
        yield Shadow(connection, chain, protocols, schemas)


def not_live(connection: Connection[Any], chain: Chain, protocols: Sequence[DeployedProtocol]) -> dict[str, str]:
    """Of these protocols those that have no rows to compare with, by name, and why."""
    live = dict(
        connection.execute(
            "SELECT name, fingerprint FROM clarion.protocol "
            "WHERE chain = %s AND generation > 0 AND stopped_sequence IS NULL",
            (chain,),
        ).fetchall()
    )
    reasons = {}
    for deployed in protocols:
        name = deployed.protocol.name
        if name not in live:
            reasons[name] = (
                f"{name} is not indexed on {chain} now: there is nothing to compare with. `clarion protocols` says why."
            )
        elif live[name] != fingerprint(deployed):
            reasons[name] = (
                f"the rows of {name} on {chain} were made by another version of it, or of other contracts, than "
                f"what is installed and set: use that one, or make them anew with `clarion backfill {name}`."
            )
    return reasons
