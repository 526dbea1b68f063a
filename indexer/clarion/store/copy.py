"""Rows in the format of ``COPY … (FORMAT binary)``, packed by hand: the cheapest way into Postgres.

A field is its length (four bytes, -1 for null) and its bytes; a row is the count of its fields (two bytes) and the
fields. Whoever packs rows of a table puts fields together in the order of the columns it names; what many rows share is
packed once. Format: PostgreSQL's documentation of ``COPY`` ("Binary Format") and ``numeric_send`` in its ``numeric.c``.
"""

from __future__ import annotations

import select
from collections.abc import Generator, Iterable, Iterator
from functools import lru_cache
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:  # packing works without a database, in processes that need not load its driver
    from psycopg import Connection

_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER: Final = b"\xff\xff"
NULL: Final = b"\xff\xff\xff\xff"
TRUE: Final = b"\0\0\0\1\1"
FALSE: Final = b"\0\0\0\1\0"

_SENT_BYTES: Final = 1 << 17
"""Given to libpq at a time, which moves all that it holds whenever the socket takes a part of it."""

_length = Struct(">i").pack
_bigint = Struct(">iq").pack
_jsonb = Struct(">iB").pack
_numeric = Struct(">ihHHH").pack
_numeric_of_one_digit = Struct(">ihHHHH").pack
_NUMERIC_BASE: Final = 10_000
_NEGATIVE: Final = 0x4000
_JSONB_VERSION: Final = 1


def copy_rows(connection: Connection[Any], columns: bytes, rows: Iterable[bytes]) -> None:
    """Write rows. ``columns``: the table and the columns that the rows have, as ``COPY`` takes them."""
    finish(connection, copying(connection, columns, rows))


def copying(connection: Connection[Any], columns: bytes, rows: Iterable[bytes]) -> Generator[None, None, None]:
    """Write rows as :func:`copy_rows` does, in steps: each ends where Postgres has enough for the moment.

    The connection is not to be used for anything else before the last step. To close the iterator breaks off.
    """
    from psycopg.copy import LibpqWriter

    content = memoryview(b"".join((_HEADER, *rows, _TRAILER)))
    with connection.cursor() as cursor:
        writer = LibpqWriter(cursor, flush_threshold=len(content) + 1)  # that is, it never waits
        with cursor.copy(b"COPY %b FROM STDIN (FORMAT binary)" % columns, writer=writer) as copy:
            for at in range(0, len(content), _SENT_BYTES):
                copy.write(content[at : at + _SENT_BYTES])
                while connection.pgconn.flush():
                    yield


def finish(connection: Connection[Any], steps: Iterator[None]) -> None:
    """Take all steps that are left, each when Postgres is ready for it."""
    ready = select.poll()
    ready.register(connection.fileno(), select.POLLOUT)
    for _ in steps:
        ready.poll()


def row_head(count: int) -> bytes:
    """What a row of ``count`` fields begins with."""
    return count.to_bytes(2, "big")


def bigint(value: int | None) -> bytes:
    """A field of type ``bigint``."""
    return NULL if value is None else _bigint(8, value)


def text(value: str | None) -> bytes:
    """A field of type ``text``. Postgres refuses one that holds NUL."""
    if value is None:
        return NULL
    raw = value.encode()
    return _length(len(raw)) + raw


#: The same for texts of which there are few: names of contracts, tables and topics.
common_text = lru_cache(maxsize=65_536)(text)


def bytea(value: bytes | None) -> bytes:
    """A field of type ``bytea``."""
    return NULL if value is None else _length(len(value)) + value


def jsonb(encoded: bytes | None) -> bytes:
    """A field of type ``jsonb``, given as JSON text."""
    return NULL if encoded is None else _jsonb(len(encoded) + 1, _JSONB_VERSION) + encoded


def numeric(value: int | None) -> bytes:
    """A field of type ``numeric`` that is a whole number."""
    if value is None:
        return NULL
    if 0 < value < _NUMERIC_BASE:
        return _numeric_of_one_digit(10, 1, 0, 0, 0, value)
    rest = abs(value)
    digits: list[int] = []
    while rest:
        rest, digit = divmod(rest, _NUMERIC_BASE)
        digits.append(digit)
    weight = max(len(digits) - 1, 0)
    raw = b"".join([digit.to_bytes(2, "big") for digit in reversed(digits)])
    return _numeric(8 + len(raw), len(digits), weight, _NEGATIVE if value < 0 else 0, 0) + raw


#: The same for numbers of which there are few: nonces and fees.
common_numeric = lru_cache(maxsize=65_536)(numeric)
