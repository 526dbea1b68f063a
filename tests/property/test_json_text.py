"""JSON that the database makes is, byte for byte, what Python's encoder makes of the same values."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec
import psycopg
import pytest
import strawberry
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import sql

from clarion.store.database import connect
from clarion_graphql import opaque
from clarion_graphql.entities import Column, Kind
from clarion_graphql.plan.json_text import BROKEN, Piece, concat, members, opaque_text, value_text
from clarion_graphql.scalars import hex_text
from clarion_graphql.sql import Sql

EXAMPLES = settings(max_examples=30)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
SMALL = st.integers(-(2**31), 2**31 - 1)
LARGE = st.integers(-(2**130), 2**130)
TIMES = st.datetimes(timezones=st.just(UTC))
SECONDS = st.integers(0, 253_402_300_799)


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


KINDS: list[tuple[Kind, str, st.SearchStrategy[Any], Callable[[Any], Any]]] = [
    (Kind.TEXT, "text", TEXTS, str),
    (Kind.INT, "int8", SMALL, int),
    (Kind.BIG_INT, "numeric", LARGE, str),
    (Kind.BOOLEAN, "boolean", st.booleans(), bool),
    (Kind.BYTES, "bytea", st.binary(), hex_text),
    (Kind.TIME, "timestamptz", TIMES, datetime.isoformat),
    (Kind.UNIX_TIME, "int8", SECONDS, lambda seconds: at(seconds).isoformat()),
]
OF_KINDS = pytest.mark.parametrize(("kind", "stored", "values", "shown"), KINDS, ids=[kind.name for kind, *_ in KINDS])


@strawberry.enum
class Side(StrEnum):
    PUT = "put"
    FIXED_CALL = "call %s's"


class Database:
    """Works out a text for every row of one column, ``t.v``."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def texts(self, pieces: list[Piece], stored: str, values: list[Any]) -> list[str]:
        text = concat(pieces)
        query = sql.SQL("SELECT {} FROM unnest(%s::{}[]) WITH ORDINALITY t(v, n) ORDER BY n")
        rows = self._connection.execute(query.format(text.text, sql.SQL(stored)), (*text.parameters, values))  # type: ignore[arg-type]  # a type of KINDS
        return [row[0] for row in rows]


@pytest.fixture
def database(database_url: str) -> Any:
    with connect(database_url, autocommit=True) as connection:
        connection.execute("SET timezone TO 'UTC'")
        yield Database(connection)


def column(kind: Kind, *, nullable: bool) -> Column:
    return Column("v", kind, "", nullable=nullable)


VALUE = Sql(sql.Composed([sql.Identifier("t", "v")]))


@OF_KINDS
def test_values(
    database: Database, kind: Kind, stored: str, values: st.SearchStrategy[Any], shown: Callable[[Any], Any]
) -> None:
    @EXAMPLES
    @given(st.lists(st.none() | values, min_size=1))
    def compare(listed: list[Any]) -> None:
        encoded = [msgspec.json.encode(None if value is None else shown(value)).decode() for value in listed]
        assert database.texts(value_text(VALUE, kind), stored, listed) == encoded
        strict = [BROKEN if value is None else text for value, text in zip(listed, encoded, strict=True)]
        assert database.texts(value_text(VALUE, kind, broken_if_null=True), stored, listed) == strict
        given = [value for value in listed if value is not None]
        never_null = [text for value, text in zip(listed, encoded, strict=True) if value is not None]
        assert database.texts(value_text(VALUE, kind, broken_if_null=False), stored, given) == never_null

    compare()


@OF_KINDS
def test_opaque_texts(
    database: Database, kind: Kind, stored: str, values: st.SearchStrategy[Any], shown: Callable[[Any], Any]
) -> None:
    @EXAMPLES
    @given(st.lists(st.none() | values, min_size=1))
    def compare(listed: list[Any]) -> None:
        made = database.texts([opaque_text("it's 100%", [column(kind, nullable=True)])], stored, listed)
        as_read = [at(value) if kind is Kind.UNIX_TIME and value is not None else value for value in listed]
        assert made == [opaque.encode("it's 100%", [value]) for value in as_read]
        for text, value in zip(made, as_read, strict=True):
            name, (back,) = opaque.decode(text)
            assert (name, opaque.value_of(column(kind, nullable=True), back)) == ("it's 100%", value)

    compare()


def test_enums(database: Database) -> None:
    stored = [*Side, None, "neither", ""]

    assert database.texts(value_text(VALUE, Kind.TEXT, Side), "text", stored) == [
        '"PUT"',
        '"FIXED_CALL"',
        "null",
        BROKEN,
        BROKEN,
    ]
    assert database.texts(value_text(VALUE, Kind.TEXT, Side, broken_if_null=True), "text", stored)[2] == BROKEN


def test_an_int_beyond_32_bits_is_an_error(database: Database) -> None:
    with pytest.raises(psycopg.errors.NumericValueOutOfRange):
        database.texts(value_text(VALUE, Kind.INT), "int8", [2**31])


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 10_050])
def test_objects_of_any_size(database: Database, count: int) -> None:
    named = {f"a{number}%": value_text(VALUE, Kind.INT) for number in range(count)}

    assert database.texts(members(named), "int8", [7]) == [
        msgspec.json.encode({f"a{number}%": 7 for number in range(count)}).decode()
    ]
