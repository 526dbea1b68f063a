"""Opaque texts that clients hold and give back: cursors and ids of rows, each a name with values of columns."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from clarion_graphql.entities import Column, Kind
from clarion_graphql.errors import InputError
from clarion_graphql.scalars import hex_text, parse_bytes

#: Most characters of such a text: it holds a row's key and what rows are ordered by.
MAX_LENGTH: Final = 65_536

_TYPES: Final[Mapping[Kind, type]] = {
    Kind.TEXT: str,
    Kind.INT: int,
    Kind.BIG_INT: int,
    Kind.BOOLEAN: bool,
    Kind.BYTES: bytes,
    Kind.TIME: datetime,
    Kind.UNIX_TIME: datetime,
}


def encode(name: str, values: Iterable[Any]) -> str:
    """A name and values of columns as one text: JSON in URL-safe base64 without padding."""
    listed = [name, *(_plain(value) for value in values)]
    return base64.urlsafe_b64encode(msgspec.json.encode(listed)).decode().rstrip("=")


def decode(text: str) -> tuple[Any, list[Any]]:
    """The name and the values as JSON has them. Raises ValueError for any other text."""
    if len(text) > MAX_LENGTH:
        raise ValueError(f"longer than {MAX_LENGTH} characters")
    try:
        padded = text + "=" * (-len(text) % 4)
        name, *values = msgspec.json.decode(base64.b64decode(padded, altchars=b"-_", validate=True), type=list[Any])
    except (binascii.Error, msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ValueError(f"not an opaque text: {error}") from None
    return name, values


def value_of(column: Column, value: Any) -> Any:
    """A column's value from JSON. Raises ValueError for what is none of the column's."""
    if value is None and column.nullable:
        return None
    read: Any = value
    try:
        if column.kind is Kind.BYTES:
            read = parse_bytes(value)
        elif column.kind in (Kind.TIME, Kind.UNIX_TIME):
            read = datetime.fromisoformat(value)
    except (TypeError, InputError) as error:
        raise ValueError(f"{column.name}: {error}") from None
    fits = column.kind is not Kind.INT or (isinstance(read, int) and -(2**63) <= read < 2**63)
    if type(read) is not _TYPES[column.kind] or not fits:
        raise ValueError(f"{column.name}: of another type")
    return read


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return hex_text(value)
    return value.isoformat() if isinstance(value, datetime) else value
