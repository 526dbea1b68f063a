"""Looks for a private key in whatever form, and gives all that a database holds to look in."""

from __future__ import annotations

import base64

import psycopg
from psycopg import sql


def dump(database_url: str) -> bytes:
    """Every row of every table, as text."""
    tables = "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    parts: list[bytes] = []
    with psycopg.connect(database_url) as connection:
        for name in connection.execute(tables).fetchall():
            with connection.cursor().copy(sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(*name))) as rows:
                parts += [bytes(row) for row in rows]
    return b"".join(parts)


def forms_of(secret: bytes) -> dict[str, bytes]:
    """A key as it could stand somewhere. Of base64 what does not depend on how it is aligned with what is around."""
    forms = {
        "bytes": secret,
        "bytes backwards": secret[::-1],
        "hexadecimal": secret.hex().encode(),
        "capital hexadecimal": secret.hex().upper().encode(),
        "hexadecimal in UTF-16": secret.hex().encode("utf-16-le"),
        "number": str(int.from_bytes(secret, "big")).encode(),
        "hexadecimal in base64": base64.b64encode(secret.hex().encode())[:-4],
    }
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + secret)
        forms[f"base64, shifted by {shift}"] = encoded[4 if shift else 0 : -4]
    return forms


def found_in(data: bytes, secret: bytes) -> list[str]:
    """In which forms a key stands there."""
    return [name for name, form in forms_of(secret).items() if form in data]
