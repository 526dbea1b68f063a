"""Rows in BitHedge's tables, put there without events."""

from __future__ import annotations

from typing import Any

import psycopg

from clarion.protocols.bithedge import protocol
from support.table_rows import insert as insert_row


def insert(connection: psycopg.Connection[Any], table: str, **given: Any) -> None:
    """A row with these values; the rest are ``x``, 1 and null."""
    insert_row(connection, protocol, table, **given)
