"""Rows in a protocol's tables, put there without events."""

from __future__ import annotations

import json
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Boolean, Numeric, Text
from sqlalchemy.dialects.postgresql import JSONB

from clarion.protocol import Protocol


def insert(connection: psycopg.Connection[Any], protocol: Protocol, table: str, **given: Any) -> None:
    """A row with these values, as far as the table has such columns; the rest are ``x``, 1 and null."""
    (model,) = (row_type.model for row_type in protocol.row_types if row_type.name == f"{protocol.name}.{table}")
    columns = {column.name: column for column in model.__table__.columns}  # type: ignore[attr-defined]
    values = {}
    for column in columns.values():
        is_text, is_list = isinstance(column.type, Text), isinstance(column.type, JSONB)
        if column.name in given:
            value = given[column.name]
            values[column.name] = json.dumps(value) if is_list and not isinstance(value, str) else value
        elif not column.nullable:
            values[column.name] = (
                "x" if is_text else False if isinstance(column.type, Boolean) else "[]" if is_list else 1
            )
            assert is_text or is_list or isinstance(column.type, Boolean | Numeric) or column.type.python_type is int
    connection.execute(
        sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            sql.Identifier(protocol.name, table),
            sql.SQL(", ").join(map(sql.Identifier, values)),
            sql.SQL(", ").join([sql.Placeholder()] * len(values)),
        ),
        list(values.values()),
    )
