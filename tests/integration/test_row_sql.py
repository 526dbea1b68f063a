"""Rows get into their table the same, one or many, by statement or by COPY."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from psycopg import Connection
from sqlalchemy import BigInteger, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from clarion.protocol import ProjectionError, Protocol
from clarion.store.generation import make_tables
from clarion.store.row_sql import LEAST_TO_COPY, RowTables
from clarion.store.rows import UINT128, Change, Op, Row, RowType


class Thing(Row, table=True):
    __tablename__ = "thing"
    __table_args__ = {"schema": "row_sql_test"}
    owner: str = Field(primary_key=True, sa_type=Text)
    number: int = Field(primary_key=True, sa_type=BigInteger)
    amount: int | None = Field(default=None, sa_type=UINT128)
    flag: bool | None = Field(default=None)
    note: str | None = Field(default=None, sa_type=Text)
    tags: Any = Field(default=None, sa_type=JSONB, nullable=True)


TYPE = RowType(Thing)
MANY = LEAST_TO_COPY
ODD: list[dict[str, Any]] = [
    {"amount": 2**128 - 1, "flag": True, "note": "tab\tline\nreturn\rslash\\ \\N \\. é 𝄞", "tags": [1, {"b": "\\\n"}]},
    {"amount": 0, "flag": False, "note": "", "tags": {"a": [2**127, None]}},
    {"note": "\\N", "tags": "text"},
    {"number": -(2**63), "tags": 7},
    {"owner": "", "number": 2**63 - 1, "tags": []},
]


@pytest.fixture(autouse=True)
def _thing_table(connection: Connection[Any]) -> None:
    make_tables(connection, Protocol("row_sql_test", tables=[Thing]), "row_sql_test")


@pytest.fixture
def tables() -> RowTables:
    return RowTables([TYPE])


def row(**values: Any) -> dict[str, Any]:
    return dict.fromkeys(TYPE.columns) | {"owner": "alice", "number": 1, "updated_height": 5} | values


def change(op: Op, after: dict[str, Any]) -> Change:
    encoded = None if op == "delete" else msgspec.json.encode(after, order="sorted")
    return Change("row_sql_test.thing", (after["owner"], after["number"]), op, None, encoded)


def filler(count: int = MANY) -> list[dict[str, Any]]:
    return [row(owner="filler", number=number, tags=[number]) for number in range(count)]


def stored(connection: Connection[Any]) -> list[dict[str, Any]]:
    names = ", ".join(TYPE.columns)
    found = connection.execute(f"SELECT {names} FROM row_sql_test.thing ORDER BY owner, number".encode()).fetchall()
    return [dict(zip(TYPE.columns, values, strict=True)) for values in found]


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (row["owner"], row["number"]))


@pytest.mark.parametrize("others", [0, MANY], ids=["statement", "COPY"])
def test_what_a_row_holds_is_what_the_table_holds(connection: Connection[Any], tables: RowTables, others: int) -> None:
    rows = [row(**({"number": place} | values)) for place, values in enumerate(ODD)] + filler(others)
    tables.write(connection, [change("insert", one) for one in rows])
    assert stored(connection) == in_order(rows)


@pytest.mark.parametrize("others", [0, MANY], ids=["statement", "COPY"])
def test_the_last_of_several_changes_counts(connection: Connection[Any], tables: RowTables, others: int) -> None:
    there, gone = row(number=1), row(number=2)
    tables.write(connection, [change("insert", there), change("insert", gone)])
    again, passing = row(number=2, note="again"), row(number=3)
    new = row(number=4, note="new")
    changes = [
        *[change("insert", one) for one in filler(others)],
        change("update", there | {"note": "first"}),
        change("delete", gone),
        change("insert", passing),
        change("insert", new),
        change("update", there | {"note": "last"}),
        change("insert", again),
        change("delete", passing),
        change("update", new | {"amount": 4}),
    ]
    tables.write(connection, changes)
    assert stored(connection) == in_order([there | {"note": "last"}, again, new | {"amount": 4}, *filler(others)])


@pytest.mark.parametrize("others", [0, MANY], ids=["statement", "COPY"])
def test_a_value_of_another_type_becomes_what_postgres_makes_of_its_json(
    connection: Connection[Any], tables: RowTables, others: int
) -> None:
    rows = [row(note=True), row(number=2, note=7), row(number=3, note=[1])]
    tables.write(connection, [change("insert", one) for one in rows + filler(others)])
    assert [one["note"] for one in stored(connection)[:3]] == ["true", "7", "[1]"]


@pytest.mark.parametrize("others", [0, MANY], ids=["statement", "COPY"])
@pytest.mark.parametrize(
    "values", [{"note": "a\x00b"}, {"amount": 10**39}, {"number": 2**63}, {"amount": "x"}, {"owner": None}]
)
def test_what_no_table_can_hold_is_a_defect_of_the_package(
    connection: Connection[Any], tables: RowTables, values: dict[str, Any], others: int
) -> None:
    changes = [change("insert", one) for one in [row(**values), *filler(others)]]
    with pytest.raises(ProjectionError, match=r"row_sql_test\.thing"), connection.transaction():
        tables.write(connection, changes)
    assert stored(connection) == []


def test_many_rows_can_be_written_within_a_pipeline(connection: Connection[Any], tables: RowTables) -> None:
    with connection.pipeline(), connection.transaction():
        tables.write(connection, [change("insert", one) for one in filler()])
    assert stored(connection) == filler()


def test_tables_without_rows_are_known(connection: Connection[Any], tables: RowTables) -> None:
    assert tables.empty(connection) == ["row_sql_test.thing"]
    tables.write(connection, [change("insert", row())])
    assert tables.empty(connection) == []
    assert RowTables([]).empty(connection) == []
