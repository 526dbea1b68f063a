"""Aggregates over HTTP on a real Postgres: figures, groups, buckets, orders, and what is refused."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql
from support import toy
from support.graphql import Server

from clarion.follower import Follower
from clarion.store.store import Store
from clarion_graphql.aggregates import AVERAGE_PLACES, Function, GroupKey, Measure, TimeBucket
from clarion_graphql.entities import Column, Kind

ORDERS = [
    ("{by: SUM, field: BALANCE}", ["c", "d", "a", "b"]),
    ("{by: SUM, field: BALANCE, direction: DESC}", ["a", "b", "d", "c"]),
    ("[{by: MAX, field: UPDATED_HEIGHT, direction: DESC}, {by: AVG, field: BALANCE}]", ["c", "d", "a", "b"]),
    ("{by: KEY, field: OWNER, direction: DESC}", ["d", "c", "b", "a"]),
    ("{by: COUNT}", ["a", "b", "c", "d"]),
    ("[{by: COUNT_DISTINCT, field: NOTE}, {by: KEY, field: OWNER, direction: DESC}]", ["d", "c", "b", "a"]),
]


REFUSED = [
    ("{ toyAccountsAggregate(first: -1) { count } }", "BAD_USER_INPUT", "0 or more"),
    ("{ toyAccountsAggregate(first: 1001) { count } }", "LIMIT_EXCEEDED", "at most 1000 groups"),
    (
        "{ toyAccountsAggregate(groupBy: [{field: OWNER}, {field: OWNER}]) { count } }",
        "BAD_USER_INPUT",
        "owner twice",
    ),
    ("{ toyAccountsAggregate(groupBy: {field: OWNER, bucket: DAY}) { count } }", "BAD_USER_INPUT", "no time"),
    ("{ toyAccountsAggregate(groupBy: {field: OWNER, every: 5}) { count } }", "BAD_USER_INPUT", "no number"),
    (
        "{ toyAccountsAggregate(groupBy: {field: UPDATED_HEIGHT, every: 0}) { count } }",
        "BAD_USER_INPUT",
        "1 or more",
    ),
    ("{ toyAccountsAggregate(orderBy: {by: KEY, field: OWNER}) { count } }", "BAD_USER_INPUT", "not in groupBy"),
    ("{ toyAccountsAggregate(orderBy: {by: SUM}) { count } }", "BAD_USER_INPUT", "everything else has one"),
    (
        "{ toyAccountsAggregate(orderBy: {by: COUNT, field: OWNER}) { count } }",
        "BAD_USER_INPUT",
        "COUNT has no field",
    ),
    ("{ toyAccountsAggregate(orderBy: {by: SUM, field: OWNER}) { count } }", "BAD_USER_INPUT", "no SUM of owner"),
    ("{ toyAccountsAggregate(groupBy: {field: BALANCE}) { count } }", "GRAPHQL_VALIDATION_FAILED", "BALANCE"),
    (
        "{ eventsAggregate(groupBy: [{field: HEIGHT}, {field: BLOCK_HASH}, {field: TX_INDEX}, {field: TOPIC}, "
        "{field: KIND}]) { count } }",
        "LIMIT_EXCEEDED",
        "at most 4 fields",
    ),
]


AVERAGED = [[1, 1, 2], [-1, 0, 0], [2**128 - 1, 2**128 - 2, 0], [10, 20], [0], [-5, -6]]


def ingest(store: Store, items: Any) -> None:
    with store.batch() as batch:
        Follower().ingest(batch, items)


@pytest.fixture
def accounts(store: Store) -> None:
    """Accounts of two notes: those of block 1 and those of block 2."""
    first = toy.block(None, [toy.move("a", 2**128 - 1), toy.move("b", 2**128 - 1), toy.move("c", 1)])
    ingest(store, [first, toy.block(first, [toy.move("d", 5), toy.move("c", 2)])])


@pytest.mark.usefixtures("accounts")
class TestFigures:
    """Numbers of all rows, or of those of a filter."""

    async def test_are_exact(self, server: Server) -> None:
        data = await server.data(
            """{ toyAccountsAggregate {
                 count countDistinct { owner note } sum { balance } avg { balance }
                 min { balance updatedHeight } max { balance } key { note } } }"""
        )

        total = 2 * (2**128 - 1) + 7
        assert data["toyAccountsAggregate"] == [
            {
                "count": 4,
                "countDistinct": {"owner": 4, "note": 2},
                "sum": {"balance": str(total)},
                "avg": {"balance": str(Decimal(total // 4)) + ".25"},
                "min": {"balance": "2", "updatedHeight": 1},
                "max": {"balance": str(2**128 - 1)},
                "key": {"note": None},
            }
        ]

    async def test_of_no_rows(self, server: Server) -> None:
        data = await server.data(
            """{ all: toyAccountsAggregate(filter: {owner: {eq: "z"}}) {
                   count countDistinct { owner } sum { balance } avg { balance } min { balance } }
                 groups: toyAccountsAggregate(filter: {owner: {eq: "z"}}, groupBy: {field: NOTE}) { count } }"""
        )

        none = {"count": 0, "countDistinct": {"owner": 0}, "sum": {"balance": None}, "avg": {"balance": None}}
        assert data == {"all": [{**none, "min": {"balance": None}}], "groups": []}

    async def test_through_fragments_and_aliases(self, server: Server) -> None:
        data = await server.data(
            """query($with: Boolean!) { toyAccountsAggregate(filter: {balance: {lt: 10}}) { n: count ...Sums
                 ... on ToyAccountAggregate { low: min { balance } high: max { balance } } } }
               fragment Sums on ToyAccountAggregate { sum { total: balance again: balance @include(if: $with) } }""",
            {"with": False},
        )

        assert data["toyAccountsAggregate"] == [
            {"n": 2, "sum": {"total": "7"}, "low": {"balance": "2"}, "high": {"balance": "5"}}
        ]


@pytest.mark.usefixtures("accounts")
class TestGroups:
    """One group for each value."""

    async def test_are_ordered_by_what_they_are_grouped_by(self, server: Server) -> None:
        data = await server.data("{ toyAccountsAggregate(groupBy: {field: NOTE}) { key { note owner } count } }")

        assert data["toyAccountsAggregate"] == [
            {"key": {"note": "burn 1", "owner": None}, "count": 2},
            {"key": {"note": "burn 2", "owner": None}, "count": 2},
        ]

    async def test_in_another_order(self, server: Server) -> None:
        for order, owners in ORDERS:
            data = await server.data(
                f"""{{ whole: toyAccountsAggregate(groupBy: {{field: OWNER}}, orderBy: {order}) {{ ...Key }}
                       best: toyAccountsAggregate(groupBy: {{field: OWNER}}, orderBy: {order}, first: 2) {{ ...Key }} }}
                     fragment Key on ToyAccountAggregate {{ key {{ owner }} }}"""
            )
            assert [group["key"]["owner"] for group in data["whole"]] == owners
            assert [group["key"]["owner"] for group in data["best"]] == owners[:2]

    async def test_by_several_fields(self, server: Server) -> None:
        data = await server.data(
            """{ toyAccountsAggregate(groupBy: [{field: UPDATED_HEIGHT}, {field: OWNER}],
                   orderBy: {by: KEY, field: UPDATED_HEIGHT, direction: DESC}) { key { updatedHeight owner } } }"""
        )

        keys = [(group["key"]["updatedHeight"], group["key"]["owner"]) for group in data["toyAccountsAggregate"]]
        assert keys == [(2, "c"), (2, "d"), (1, "a"), (1, "b")]

    async def test_as_of_an_earlier_block(self, server: Server) -> None:
        data = await server.data(
            "query @asOf(height: 1) { toyAccountsAggregate(groupBy: {field: NOTE}) { key { note } count } }"
        )

        assert data["toyAccountsAggregate"] == [{"key": {"note": "burn 1"}, "count": 3}]


class TestBuckets:
    """Times and heights cut down."""

    async def test_of_time(self, store: Store, server: Server) -> None:
        ingest(store, [toy.burn_block(height) for height in range(1, 14)])  # ten minutes apart, from 22:23:20 on

        data = await server.data(
            """query($by: TimeBucket!) {
                 hours: burnBlocksAggregate(groupBy: {field: TIME, bucket: HOUR}) { key { time } count max { time } }
                 any: burnBlocksAggregate(groupBy: {field: TIME, bucket: $by}) { key { time } count }
                 weeks: burnBlocksAggregate(groupBy: {field: TIME, bucket: WEEK}) { key { time } }
                 months: burnBlocksAggregate(groupBy: {field: TIME, bucket: MONTH}) { key { time } } }""",
            {"by": "DAY"},
        )

        assert [(group["key"]["time"], group["count"]) for group in data["hours"]] == [
            ("2023-11-14T22:00:00+00:00", 4),
            ("2023-11-14T23:00:00+00:00", 6),
            ("2023-11-15T00:00:00+00:00", 3),
        ]
        assert data["hours"][0]["max"] == {"time": "2023-11-14T22:53:20+00:00"}
        assert [(group["key"]["time"], group["count"]) for group in data["any"]] == [
            ("2023-11-14T00:00:00+00:00", 10),
            ("2023-11-15T00:00:00+00:00", 3),
        ]
        assert data["weeks"] == [{"key": {"time": "2023-11-13T00:00:00+00:00"}}]
        assert data["months"] == [{"key": {"time": "2023-11-01T00:00:00+00:00"}}]

    @pytest.mark.parametrize(("bucket", "hours"), [("HOUR", 1), ("DAY", 24), ("WEEK", 168)])
    @pytest.mark.parametrize("cut", ["", ", first: 3"])
    async def test_of_times_around_1970(
        self, store: Store, server: Server, connection: psycopg.Connection[Any], bucket: str, hours: int, cut: str
    ) -> None:
        ingest(store, [toy.burn_block(height) for height in range(1, 11)])
        connection.execute("UPDATE clarion.burn_block SET time = (height - 5) * %s - 1", (hours * 1_800,))
        data = await server.data(
            f"{{ burnBlocksAggregate(groupBy: {{field: TIME, bucket: {bucket}}}{cut}) {{ key {{ time }} count }} }}"
        )

        monday = datetime(1970, 1, 5, tzinfo=UTC)
        times = [datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=n * hours * 1_800 - 1) for n in range(-4, 6)]
        starts = Counter(monday + (time - monday) // timedelta(hours=hours) * timedelta(hours=hours) for time in times)
        expected = [{"key": {"time": start.isoformat()}, "count": count} for start, count in sorted(starts.items())]
        assert data["burnBlocksAggregate"] == (expected[:3] if cut else expected)

    @pytest.mark.parametrize("bucket", list(TimeBucket))
    @pytest.mark.parametrize("kind", [Kind.TIME, Kind.UNIX_TIME])
    def test_it_begins_where_date_trunc_begins_it(
        self, connection: psycopg.Connection[Any], kind: Kind, bucket: TimeBucket
    ) -> None:
        """Over two centuries, half of one before 1970."""
        key = GroupKey(Column("time", kind, "A time."), None, bucket)
        times = "SELECT time FROM generate_series('1920-01-01'::timestamptz, '2120-01-01', '37:11:59') time"
        if kind is Kind.UNIX_TIME:
            times = f"SELECT extract(epoch FROM time)::bigint AS time FROM ({times}) t"
        row = connection.execute(
            sql.SQL("SELECT count(*), count(*) FILTER (WHERE {} = date_trunc({}, {}, 'UTC')) FROM ({}) t").format(
                key.expression, bucket.value, key.column.selected, sql.SQL(times)
            )
        ).fetchone()
        assert row is not None
        assert row[0] == row[1] > 47_000

    async def test_of_height(self, store: Store, server: Server) -> None:
        tip = None
        blocks = []
        for height in range(1, 8):
            tip = toy.block(tip, [toy.move("a", height)])
            blocks.append(tip)
        ingest(store, [*blocks, toy.block(blocks[2], [toy.move("a", 0)], branch="lost")])

        data = await server.data(
            """{ canonical: eventsAggregate(groupBy: {field: HEIGHT, every: 3}) { key { height } count }
                 every: eventsAggregate(groupBy: {field: HEIGHT, every: 3}, canonical: false) { key { height } count }
                 transactionsAggregate { count sum { fee } } }"""
        )

        def counts(name: str) -> list[tuple[int, int]]:
            return [(group["key"]["height"], group["count"]) for group in data[name]]

        assert counts("canonical") == [(0, 2), (3, 3), (6, 2)]
        assert counts("every") == [(0, 2), (3, 4), (6, 2)]
        assert data["transactionsAggregate"] == [{"count": 7, "sum": {"fee": "1400"}}]

    @given(st.integers(-(2**40), 2**40), st.integers(1, 2**31 - 1))
    def test_a_bucket_is_the_multiple_below(self, value: int, every: int) -> None:
        """The formula of the SQL, whose ``mod`` has the sign of what is divided."""

        bucket = value - _mod(_mod(value, every) + every, every)
        assert bucket % every == 0
        assert bucket <= value < bucket + every


def _mod(number: int, by: int) -> int:
    return abs(number) % by * (1 if number >= 0 else -1)


async def test_what_is_refused(server: Server) -> None:
    for query, code, words in REFUSED:
        error = await server.error(query)
        assert error["extensions"]["code"] == code
        assert words in error["message"]


async def test_too_many_groups_are_told(store: Store, server: Server) -> None:
    ingest(store, [toy.block(None, [toy.move(f"o{number:04}", number) for number in range(1001)])])

    error = await server.error("{ toyAccountsAggregate(groupBy: {field: OWNER}) { count } }")
    data = await server.data("{ toyAccountsAggregate(groupBy: {field: OWNER}, first: 1000) { key { owner } } }")

    assert error["extensions"]["code"] == "LIMIT_EXCEEDED"
    assert "more than 1000 groups" in error["message"]
    assert len(data["toyAccountsAggregate"]) == 1000


def test_averages_are_cut_off_after_so_many_places(store: Store) -> None:
    for values in AVERAGED:
        average = Measure(Function.AVG, Column("value", Kind.BIG_INT, "")).expression
        ((shown,),) = store.connection.execute(
            b"SELECT " + average.as_bytes(store.connection) + b" FROM unnest(%s::numeric[]) t(value)", (values,)
        ).fetchall()
        exact = abs(sum(values)) * 10**AVERAGE_PLACES // len(values) * (1 if sum(values) >= 0 else -1)
        assert Fraction(shown) * 10**AVERAGE_PLACES == exact
        assert "." not in shown or not shown.endswith("0")
