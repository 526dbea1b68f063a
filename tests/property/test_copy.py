"""Rows packed by hand for binary COPY are stored as psycopg's own COPY stores them."""

from __future__ import annotations

from typing import Any

import msgspec
import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from clarion.store import copy

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**128), 2**128) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
integers = st.one_of(
    st.integers(-(10**39) + 1, 10**39 - 1),
    st.builds(lambda digits, zeros: digits * 10**zeros, st.integers(-(10**9), 10**9), st.integers(0, 29)),
)
rows = st.tuples(
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | texts,
    st.none() | st.binary(max_size=20),
    st.none() | integers,
    st.none() | plain.filter(lambda value: value is not None),
    st.booleans(),
)


def packed(row: tuple[Any, ...]) -> bytes:
    number, said, raw, amount, value, flag = row
    fields = (
        copy.bigint(number),
        copy.text(said),
        copy.bytea(raw),
        copy.numeric(amount),
        copy.jsonb(None if value is None else msgspec.json.encode(value)),
        copy.TRUE if flag else copy.FALSE,
    )
    return copy.row_head(len(fields)) + b"".join(fields)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(rows, max_size=12))
def test_every_value_is_stored_as_psycopg_stores_it(database_url: str, written: list[tuple[Any, ...]]) -> None:
    columns = "(place bigint, number bigint, said text, raw bytea, amount numeric(39, 0), value jsonb, flag boolean)"
    with psycopg.connect(database_url) as connection:
        connection.execute(f"CREATE TEMP TABLE by_hand {columns}; CREATE TEMP TABLE by_psycopg {columns}".encode())
        place = (copy.row_head(7) + copy.bigint(index) + packed(row)[2:] for index, row in enumerate(written))
        copy.copy_rows(connection, b"by_hand", place)
        with connection.cursor().copy("COPY by_psycopg FROM STDIN") as text_copy:
            for index, row in enumerate(written):
                value = None if row[4] is None else Jsonb(row[4])
                text_copy.write_row((index, *row[:4], value, row[5]))
        assert connection.execute("TABLE by_hand EXCEPT ALL TABLE by_psycopg").fetchall() == []
        counts = "SELECT (SELECT count(*) FROM by_hand), (SELECT count(*) FROM by_psycopg)"
        assert connection.execute(counts).fetchone() == (len(written), len(written))
        same = "SELECT bool_and(h::text = p::text) FROM by_hand h JOIN by_psycopg p USING (place)"
        assert connection.execute(same).fetchone() in ((True,), (None,))
        connection.rollback()
