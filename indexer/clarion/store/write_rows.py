"""Writes packed rows: by COPY where they are many, and within the pipeline of a small batch by INSERT.

COPY is the cheapest way for many rows, but it waits for Postgres two or three times and cannot be part of a pipeline.
For a block at the tip that is most of the time. There the same bytes are taken apart into a binary array for each
column, and one statement makes the rows of all tables of them, whose answer nobody waits for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from struct import Struct
from typing import Any, Final

import psycopg
from psycopg import Connection, pq
from sqlalchemy import BigInteger, Boolean, LargeBinary, Numeric, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

from clarion.store import copy
from clarion.store.arrays import PackedArray
from clarion.store.tables import metadata

_TYPES: Final[dict[type[TypeEngine[Any]], str]] = {
    BigInteger: "int8",
    Boolean: "bool",
    JSONB: "jsonb",
    LargeBinary: "bytea",
    Numeric: "numeric",
    Text: "text",
}
_TARGET: Final = re.compile(r"(?P<table>[\w.]+) \((?P<columns>.*)\)", re.DOTALL)
_field_length = Struct(">i").unpack_from
_ROW_HEAD_BYTES: Final = 2
_LENGTH_BYTES: Final = 4


def write_rows(connection: Connection[Any], rows_of: Mapping[bytes, Sequence[bytes]]) -> None:
    """Write rows of some of Clarion's own tables.

    ``rows_of`` maps a table and its columns to rows, both as :func:`clarion.store.copy.copy_rows` takes them.
    """
    if connection.pgconn.pipeline_status == pq.PipelineStatus.OFF:
        for columns, rows in rows_of.items():
            if any(rows):
                copy.copy_rows(connection, columns, rows)
    elif packed := {columns: content for columns, rows in rows_of.items() if (content := b"".join(rows))}:
        statement, types = _insertion(tuple(packed))
        arrays = [
            PackedArray(oid, fields)
            for own_types, content in zip(types, packed.values(), strict=True)
            for oid, fields in zip(own_types, _fields_by_column(content, len(own_types)), strict=True)
        ]
        connection.execute(statement, arrays, prepare=True)


@lru_cache(maxsize=64)
def _insertion(tables: tuple[bytes, ...]) -> tuple[bytes, list[list[int]]]:
    """The statement that inserts into these tables, and the types of the columns of each."""
    inserts = []
    types = []
    for columns in tables:
        target = _TARGET.fullmatch(columns.decode())
        if target is None:
            raise ValueError(f"{columns!r} is not 'schema.table (column, ...)'")
        table = metadata.tables[target["table"]]
        names = [_TYPES[type(table.columns[name.strip(' "')].type)] for name in target["columns"].split(",")]
        arrays = ", ".join(f"%b::{name}[]" for name in names)
        inserts.append(f"INSERT INTO {columns.decode()} SELECT * FROM unnest({arrays})")
        types.append([psycopg.adapters.types[name].oid for name in names])
    *others, last = inserts
    those = ", ".join(f"insert_{number} AS ({insert})" for number, insert in enumerate(others))
    return (f"WITH {those} {last}" if those else last).encode(), types


def _fields_by_column(rows: bytes, count: int) -> list[list[bytes]]:
    of_columns: list[list[bytes]] = [[] for _ in range(count)]
    take = [fields.append for fields in of_columns]
    at, end = 0, len(rows)
    while at < end:
        at += _ROW_HEAD_BYTES
        for take_field in take:
            (length,) = _field_length(rows, at)
            behind = at + _LENGTH_BYTES + length if length > 0 else at + _LENGTH_BYTES
            take_field(rows[at:behind])
            at = behind
    return of_columns
