"""Rows in BitHedge's tables, put there without events."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Boolean, Numeric, Text
from sqlalchemy.dialects.postgresql import JSONB

from clarion.protocols.bithedge import protocol


def insert(connection: psycopg.Connection[Any], table: str, **given: Any) -> None:
    """A row with these values; the rest are ``x``, 1 and null."""
    (model,) = (row_type.model for row_type in protocol.row_types if row_type.name == f"bithedge.{table}")
    values = {}
    for column in model.__table__.columns:  # type: ignore[attr-defined]
        if column.name in given:
            values[column.name] = given[column.name]
        elif not column.nullable:
            is_text, is_list = isinstance(column.type, Text), isinstance(column.type, JSONB)
            values[column.name] = (
                "x" if is_text else False if isinstance(column.type, Boolean) else "[]" if is_list else 1
            )
            assert is_text or is_list or isinstance(column.type, Boolean | Numeric) or column.type.python_type is int
    connection.execute(
        sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            sql.Identifier("bithedge", table),
            sql.SQL(", ").join(map(sql.Identifier, values)),
            sql.SQL(", ").join([sql.Placeholder()] * len(values)),
        ),
        list(values.values()),
    )
