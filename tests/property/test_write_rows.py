"""Rows that go in by INSERT within a pipeline are those that go in by COPY."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from clarion.store import copy
from clarion.store.change_log import CHANGE_COLUMNS
from clarion.store.packed import EVENT_COLUMNS, TRANSACTION_COLUMNS
from clarion.store.write_rows import write_rows

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9)
packed_text = st.builds(copy.text, texts)
packed_hash = st.builds(copy.bytea, st.binary(max_size=33))
packed_number = st.builds(copy.bigint, st.integers(-(2**63), 2**63 - 1))
packed_numeric = st.builds(copy.numeric, st.none() | st.integers(0, 2**64 - 1))
packed_json = st.sampled_from([None, b"null", b"{}", b'{"a": [1, "x", null]}', b"12", b'""']).map(copy.jsonb)
null = st.just(copy.NULL)
FIELDS = {
    EVENT_COLUMNS: [packed_text, packed_number, packed_hash, packed_number, packed_number, packed_text]
    + [packed_text | null, packed_text, packed_json, packed_hash | null],
    TRANSACTION_COLUMNS: [packed_text, packed_number, packed_hash, packed_number, packed_hash, packed_text, packed_text]
    + [packed_text | null, packed_text | null, packed_numeric, packed_numeric, packed_text | null, packed_text | null]
    + [packed_json, packed_hash | null, packed_hash, packed_text | null, packed_text | null],
    CHANGE_COLUMNS: [packed_text, packed_number, packed_number, packed_hash, packed_text]
    + [packed_json.filter(lambda field: field != copy.NULL), packed_text, packed_json, packed_json]
    + [st.sampled_from([copy.TRUE, copy.FALSE])],
}


@st.composite
def rows(draw: st.DrawFn) -> dict[bytes, list[bytes]]:
    """Rows of some tables, each in pieces as they are packed; in order to differ in the key, numbered in it."""
    made: dict[bytes, list[bytes]] = {}
    for columns, fields in FIELDS.items():
        count = draw(st.integers(0, 3))
        made[columns] = []
        for number in range(count):
            of_row = [draw(field) for field in fields]
            of_row[1] = copy.bigint(number)
            made[columns] += [copy.row_head(len(of_row)), *of_row]
    return made


def written(connection: psycopg.Connection[Any], made: dict[bytes, list[bytes]], *, pipelined: bool) -> list[Any]:
    with connection.transaction(force_rollback=True):
        if pipelined:
            with connection.pipeline():
                write_rows(connection, made)
        else:
            write_rows(connection, made)
        tables = ("event", "transaction", "change")
        return [
            connection.execute(
                sql.SQL("SELECT t::text FROM {} t ORDER BY 1").format(sql.Identifier("clarion", table))
            ).fetchall()
            for table in tables
        ]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows())
def test_both_ways_store_the_same(database_url: str, made: dict[bytes, list[bytes]]) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        by_copy = written(connection, made, pipelined=False)
        assert written(connection, made, pipelined=True) == by_copy
        assert [len(of_table) for of_table in by_copy] == [
            made[columns].count(copy.row_head(len(FIELDS[columns])))
            for columns in (EVENT_COLUMNS, TRANSACTION_COLUMNS, CHANGE_COLUMNS)
        ]


def test_what_is_no_table_with_columns_is_refused(database_url: str) -> None:
    row = copy.row_head(1) + copy.text("x")
    with (
        psycopg.connect(database_url, autocommit=True) as connection,
        connection.pipeline(),
        pytest.raises(ValueError, match=r"not 'schema\.table \(column, \.\.\.\)'"),
    ):
        write_rows(connection, {b"clarion.event": [row]})
