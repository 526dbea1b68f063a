"""Reads and writes projection tables, set by set: one statement for many rows, in the tables' own schema or another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Final

import msgspec
import psycopg
from msgspec.structs import astuple
from psycopg import Connection, pq, sql
from sqlalchemy import Boolean, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

from clarion.protocol import ProjectionError
from clarion.store.chain_log import json_text
from clarion.store.rows import Change, Key, RowType

LEAST_TO_COPY: Final = 100
"""How many new rows of a table go in by COPY, which waits for Postgres more often than a statement."""


class RowSql:
    """The statements of one projection table. ``schema``: another than the protocol's own, with the same tables."""

    def __init__(self, row_type: RowType, schema: str | None = None) -> None:
        own_schema, _, name = row_type.name.partition(".")
        self.row_type = row_type
        self.table = sql.Identifier(schema or own_schema, name)

    def load(self, connection: Connection[Any], key: Key) -> Sequence[Any] | None:
        """A row's values in the order of the columns, or None."""
        return connection.execute(self._load, key).fetchone()

    def load_many(self, connection: Connection[Any], keys: Sequence[Key]) -> list[tuple[Key, Sequence[Any]]]:
        """Those rows of these keys that exist: the key and the values in the order of the columns."""
        found = connection.execute(self._load_many, (self._key_objects(keys),)).fetchall()
        row_type = self.row_type
        positions = [row_type.columns.index(name) for name in row_type.key_columns]
        return [(tuple([row[position] for position in positions]), row) for row in found]

    def write(self, connection: Connection[Any], changes: Iterable[Change]) -> None:
        """Bring the table to the ``after`` of these changes, the last per row, in two statements at most.

        Many rows that are new go in by COPY.
        """
        final: dict[Key, bytes | None] = {}
        new: set[Key] = set()
        for change in changes:
            key = change.key
            if change.op == "insert" and key not in final:
                new.add(key)
            final[key] = change.after_json
        gone = [key for key, after in final.items() if after is None and key not in new]
        kept = [after for after in final.values() if after is not None]
        if gone:
            connection.execute(self._delete, (self._key_objects(gone),))
        if len(new) >= LEAST_TO_COPY and connection.pgconn.pipeline_status == pq.PipelineStatus.OFF:
            fresh = [after for key in new if (after := final[key]) is not None]
            if self._copied(connection, fresh):
                kept = [after for key, after in final.items() if after is not None and key not in new]
        if kept:
            connection.execute(self._upsert, ((b"[%b]" % b",".join(kept)).decode(),))

    def _copied(self, connection: Connection[Any], rows: Iterable[bytes]) -> bool:
        """Put in new rows, given as JSON, by COPY; False where one is not of its columns' types, and none is put in."""
        try:
            read = [astuple(self._decoder.decode(row)) for row in rows]
        except msgspec.ValidationError:
            return False  # what Postgres makes of it as JSON is what counts
        if self._json_places:
            read = [self._with_text(values) for values in read]
        with connection.cursor() as cursor, cursor.copy(self._copy) as copy:
            for values in read:
                copy.write_row(values)
        return True

    def _with_text(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        row = list(values)
        for place in self._json_places:
            raw = bytes(row[place])
            row[place] = None if raw == b"null" else raw.decode()
        return tuple(row)

    @cached_property
    def _json_places(self) -> list[int]:
        types = self.row_type.table.columns
        return [place for place, name in enumerate(self.row_type.columns) if isinstance(types[name].type, JSONB)]

    @cached_property
    def _decoder(self) -> msgspec.json.Decoder[Any]:
        """Reads rows as the values that COPY takes; a JSON column stays as it is."""
        types = self.row_type.table.columns
        return msgspec.json.Decoder(
            msgspec.defstruct(
                self.row_type.model.__name__, [(name, _python_type(types[name].type)) for name in self.row_type.columns]
            )
        )

    @cached_property
    def _copy(self) -> bytes:
        return _text(
            sql.SQL("COPY {table} ({columns}) FROM STDIN").format(
                table=self.table, columns=sql.SQL(", ").join(map(sql.Identifier, self.row_type.columns))
            )
        )

    @cached_property
    def is_empty(self) -> sql.Composed:
        """The condition that the table holds no row."""
        return sql.SQL("NOT EXISTS (SELECT FROM {})").format(self.table)

    @cached_property
    def _load(self) -> bytes:
        return _text(
            sql.SQL("SELECT {columns} FROM {table} WHERE {condition}").format(
                columns=sql.SQL(", ").join(map(sql.Identifier, self.row_type.columns)),
                table=self.table,
                condition=sql.SQL(" AND ").join(
                    sql.SQL("{} = %s").format(sql.Identifier(column)) for column in self.row_type.key_columns
                ),
            )
        )

    @cached_property
    def _load_many(self) -> bytes:
        return _text(
            sql.SQL("SELECT {columns} FROM {keys} JOIN {table} t USING ({key})").format(
                columns=sql.SQL(", ").join(sql.Identifier("t", name) for name in self.row_type.columns),
                keys=self._keys,
                table=self.table,
                key=sql.SQL(", ").join(map(sql.Identifier, self.row_type.key_columns)),
            )
        )

    @cached_property
    def _upsert(self) -> bytes:
        row_type = self.row_type
        rest = [column for column in row_type.columns if column not in row_type.key_columns]
        return _text(
            sql.SQL(
                "INSERT INTO {table} ({columns}) "
                "SELECT {columns} FROM jsonb_populate_recordset(NULL::{table}, %s::jsonb) "
                "ON CONFLICT ({key}) DO UPDATE SET {assignments}"
            ).format(
                table=self.table,
                columns=sql.SQL(", ").join(map(sql.Identifier, row_type.columns)),
                key=sql.SQL(", ").join(map(sql.Identifier, row_type.key_columns)),
                assignments=sql.SQL(", ").join(
                    sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in rest
                ),
            )
        )

    @cached_property
    def _delete(self) -> bytes:
        return _text(
            sql.SQL("DELETE FROM {table} t USING {keys} WHERE {condition}").format(
                table=self.table,
                keys=self._keys,
                condition=sql.SQL(" AND ").join(
                    sql.SQL("t.{0} = k.{0}").format(sql.Identifier(name)) for name in self.row_type.key_columns
                ),
            )
        )

    @property
    def _keys(self) -> sql.Composed:
        """The rows ``k`` of keys given as :meth:`_key_objects` has them."""
        return sql.SQL("jsonb_populate_recordset(NULL::{}, %s::jsonb) k").format(self.table)

    def _key_objects(self, keys: Iterable[Key]) -> str | None:
        """Keys as a JSON array of objects."""
        names = self.row_type.key_columns
        return json_text([dict(zip(names, key, strict=True)) for key in keys])


def _python_type(kind: TypeEngine[Any]) -> Any:
    if isinstance(kind, JSONB):
        return msgspec.Raw
    return (str if isinstance(kind, Text) else bool if isinstance(kind, Boolean) else int) | None


def _text(query: sql.Composed) -> bytes:
    """A statement as it is sent. Composing one anew each time costs more than sending it."""
    return query.as_bytes()


@contextmanager
def _of_the_package(table: str) -> Iterator[None]:
    """Tell a value that a table cannot hold as what it is: a defect of the protocol's package."""
    try:
        yield
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        raise ProjectionError(
            f"a handler made a row of {table} that the table cannot hold: {str(error).strip()}. Nothing of the blocks "
            "was written; let the package refuse such events (see docs/protocols.md) and start again."
        ) from error


class RowTables:
    """Several projection tables together: what a projector's rows come from and its changes go to."""

    def __init__(self, row_types: Iterable[RowType], schemas: Mapping[str, str] | None = None) -> None:
        """``schemas`` maps a protocol's schema to the one to use in its place."""
        other = schemas or {}
        self._tables = {
            row_type.name: RowSql(row_type, other.get(row_type.name.partition(".")[0])) for row_type in row_types
        }

    @property
    def names(self) -> list[str]:
        """The tables' names, as changes have them."""
        return list(self._tables)

    def empty(self, connection: Connection[Any]) -> list[str]:
        """The names of the tables that hold no row."""
        if not self._tables:
            return []
        asked = sql.SQL(", ").join(table.is_empty for table in self._tables.values())
        found = connection.execute(sql.SQL("SELECT {}").format(asked)).fetchone()
        assert found is not None
        return [name for name, is_empty in zip(self._tables, found, strict=True) if is_empty]

    def load(self, connection: Connection[Any], row_type: RowType, key: Key) -> Sequence[Any] | None:
        """A row's values in the order of the columns, or None."""
        return self._tables[row_type.name].load(connection, key)

    def load_many(
        self, connection: Connection[Any], keys: Mapping[RowType, Sequence[Key]]
    ) -> dict[RowType, list[tuple[Key, Sequence[Any]]]]:
        """Those rows of these keys that exist, a statement for each table. Raises ProjectionError for an unfit key."""
        found = {}
        for row_type, own in keys.items():
            with _of_the_package(row_type.name):
                found[row_type] = self._tables[row_type.name].load_many(connection, own)
        return {row_type: rows for row_type, rows in found.items() if rows}

    def write(self, connection: Connection[Any], changes: Iterable[Change]) -> None:
        """Bring the tables to the ``after`` of these changes, the last per row. Raises ProjectionError for others."""
        by_table: dict[str, list[Change]] = {}
        for change in changes:
            by_table.setdefault(change.table, []).append(change)
        for name, own in by_table.items():
            with _of_the_package(name):
                self._tables[name].write(connection, own)
