"""Aggregates to SQL: rows counted and summed up, as a whole or in groups, with time and heights in buckets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from psycopg import sql

from clarion_graphql.entities import Column, Entity, Kind
from clarion_graphql.enums import Direction
from clarion_graphql.errors import ApiError, Code, InputError
from clarion_graphql.filters import filter_condition
from clarion_graphql.session import Session
from clarion_graphql.sql import Sql, all_of, build, concrete

#: Most groups in one answer.
MAX_GROUPS: Final = 1000
#: Most columns to group by.
MAX_KEYS: Final = 4
#: Decimal places of an average; what is beyond them is cut off.
AVERAGE_PLACES: Final = 12


class TimeBucket(StrEnum):
    """What a time is cut down to, in UTC."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class Function(StrEnum):
    """What groups can be ordered by."""

    KEY = "key"
    COUNT = "count"
    COUNT_DISTINCT = "count_distinct"
    SUM = "sum"
    AVG = "avg"
    MIN = "min"
    MAX = "max"


_SUMMED: Final = (Kind.INT, Kind.BIG_INT)
_ORDERED: Final = (Kind.INT, Kind.BIG_INT, Kind.TIME, Kind.UNIX_TIME)


#: Buckets that are all of one length, in seconds.
_BUCKET_SECONDS: Final = {TimeBucket.HOUR: 3_600, TimeBucket.DAY: 86_400, TimeBucket.WEEK: 604_800}
#: When a bucket of each of them begins: Monday, 5 January 1970, in Unix time.
_MONDAY: Final = 345_600
#: So many buckets before that all times that Postgres has are later: a division rounds towards 0, and so down.
_BUCKETS_BEFORE: Final = 10**9


@dataclass(frozen=True, slots=True)
class GroupKey:
    """A column to group by, as it is or cut down to a bucket's start."""

    column: Column
    every: int | None
    bucket: TimeBucket | None

    @property
    def number(self) -> sql.Composable | None:
        """The number of the bucket, where seconds tell it: rows are grouped by that for half of what a time costs."""
        seconds = None if self.bucket is None else _BUCKET_SECONDS.get(self.bucket)
        if seconds is None or self.column.kind is not Kind.UNIX_TIME:
            return None
        return sql.SQL("(({value} + {before}) / {seconds})").format(
            value=self.column.value, before=sql.SQL(str(_before(seconds))), seconds=sql.SQL(str(seconds))
        )

    @property
    def expression(self) -> sql.Composable:
        """The key over the row ``t``."""
        value = self.column.value
        if self.bucket is not None:
            seconds = _BUCKET_SECONDS.get(self.bucket)
            if seconds is None:
                return sql.SQL("date_trunc({}, {}, 'UTC')").format(sql.Literal(self.bucket.value), self.column.selected)
            if self.number is not None:
                return sql.SQL("to_timestamp({number} * {seconds} - {before})").format(
                    number=self.number, seconds=sql.SQL(str(seconds)), before=sql.SQL(str(_before(seconds)))
                )
            # date_trunc finds its time zone by name, again for every row
            return sql.SQL("date_bin('{} seconds', {}, to_timestamp({}))").format(
                sql.SQL(str(seconds)), value, sql.SQL(str(_MONDAY))
            )
        if self.every is not None:
            # the remainder is one of a division that rounds down, for numbers below 0 too
            return sql.SQL("({value} - mod(mod({value}, {every}) + {every}, {every}))").format(
                value=value, every=sql.SQL(str(self.every))
            )
        return self.column.selected


def _before(seconds: int) -> int:
    """How long before 1970 the buckets of a length are counted from, in seconds."""
    return _BUCKETS_BEFORE * seconds - _MONDAY


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure of a group: a function of a column's values; ``count`` is of the rows and has none."""

    function: Function
    column: Column | None = None

    @property
    def expression(self) -> sql.Composable:
        """The figure over the rows ``t`` of a group. An average is a decimal number as text."""
        if self.column is None:
            return sql.SQL("count(*)")
        if self.function is Function.AVG:
            return sql.SQL("trim_scale({} * {})::text").format(
                self.comparable, sql.SQL(f"1e-{AVERAGE_PLACES}::numeric")
            )
        value = self.comparable
        of_time = self.function in (Function.MIN, Function.MAX) and self.column.kind is Kind.UNIX_TIME
        return sql.SQL("to_timestamp({})").format(value) if of_time else value

    @property
    def comparable(self) -> sql.Composable:
        """The same as a value that orders as the figure does."""
        if self.column is None:
            return sql.SQL("count(*)")
        value = self.column.value
        match self.function:
            case Function.COUNT_DISTINCT:
                return sql.SQL("count(DISTINCT {})").format(value)
            case Function.AVG:
                return sql.SQL("div(sum({value}) * {scale}, nullif(count({value}), 0))").format(
                    value=value, scale=sql.SQL(str(10**AVERAGE_PLACES))
                )
            case _:
                return sql.SQL("{}({})").format(sql.SQL(self.function.value), value)


@dataclass(frozen=True, slots=True)
class AggregateRequest:
    """Which groups are wanted. ``order`` are SQL terms; ``limit`` is one more than may be given without ``cut``."""

    condition: Sql
    keys: tuple[GroupKey, ...]
    order: tuple[sql.Composable, ...]
    limit: int
    cut: bool


def aggregate_columns(entity: Entity) -> list[Column]:
    """The columns that any figure can be of."""
    return [
        column
        for column in entity.columns
        if column.exposed and column.stored and column.derive is None and column.kind is not Kind.JSON
    ]


def group_columns(entity: Entity) -> list[Column]:
    """The columns that rows can be grouped by and distinct values counted of: all but amounts."""
    return [column for column in aggregate_columns(entity) if column.kind is not Kind.BIG_INT]


def ordered_columns(entity: Entity) -> list[Column]:
    """The columns that have a least and a greatest value: numbers and times."""
    return [column for column in aggregate_columns(entity) if column.kind in _ORDERED and column.enum is None]


def summed_columns(entity: Entity) -> list[Column]:
    """The columns whose sum means something: numbers that are no name or place of a row."""
    return [
        column
        for column in aggregate_columns(entity)
        if column.kind in _SUMMED
        and column.name not in entity.key
        and not column.name.endswith(("height", "_index", "_id"))
        and column.unit != "BurnHeight"
    ]


def aggregate_request(entity: Entity, arguments: Mapping[str, Any]) -> AggregateRequest:
    """Read the arguments ``filter``, ``group_by``, ``order_by`` and ``first``.

    Raises ApiError where they contradict each other or go over a limit.
    """
    keys = _keys(entity, arguments.get("group_by") or ())
    first = concrete(arguments.get("first"))
    if first is not None and first < 0:
        raise InputError("first is 0 or more.")
    if first is not None and first > MAX_GROUPS:
        raise ApiError(Code.LIMIT_EXCEEDED, f"An answer holds at most {MAX_GROUPS} groups, not {first}.")
    return AggregateRequest(
        condition=filter_condition(entity, arguments.get("filter")),
        keys=keys,
        order=_order(entity, keys, arguments.get("order_by") or ()),
        limit=MAX_GROUPS + 1 if first is None else first,
        cut=first is not None,
    )


def _keys(entity: Entity, wanted: Sequence[Any]) -> tuple[GroupKey, ...]:
    if len(wanted) > MAX_KEYS:
        raise ApiError(Code.LIMIT_EXCEEDED, f"groupBy names at most {MAX_KEYS} fields.")
    keys: list[GroupKey] = []
    for given in wanted:
        column = entity.by_name[str(given.field)]
        if column in [key.column for key in keys]:
            raise InputError(f"groupBy names {column.field_name} twice.")
        if given.bucket is not None and column.kind not in (Kind.TIME, Kind.UNIX_TIME):
            raise InputError(f"groupBy: {column.field_name} is no time; bucket is for times.")
        every = concrete(given.every)
        if every is not None and column.kind is not Kind.INT:
            raise InputError(f"groupBy: {column.field_name} is no number; every is for heights and other numbers.")
        if every is not None and every < 1:
            raise InputError("groupBy: every is 1 or more.")
        bucket = None if given.bucket is None else TimeBucket(given.bucket)
        keys.append(GroupKey(column, every, bucket))
    return tuple(keys)


def _order(entity: Entity, keys: Sequence[GroupKey], wanted: Sequence[Any]) -> tuple[sql.Composable, ...]:
    places = {key.column: sql.SQL(str(place)) for place, key in enumerate(keys, start=1)}
    terms: list[sql.Composable] = []
    for given in wanted:
        function = Function(given.by)
        column = None if given.field is None else entity.by_name[str(given.field)]
        if (column is None) != (function is Function.COUNT):
            raise InputError("orderBy: COUNT has no field, and everything else has one.")
        if function is Function.KEY:
            assert column is not None
            if column not in places:
                raise InputError(f"orderBy: {column.field_name} is not in groupBy.")
            value: sql.Composable = places[column]
        else:
            _require_figure(entity, function, column)
            value = Measure(function, column).comparable
        terms.append(sql.SQL("{} {}").format(value, sql.SQL("DESC" if given.direction == Direction.DESC else "ASC")))
    return (*terms, *places.values())


def _require_figure(entity: Entity, function: Function, column: Column | None) -> None:
    fitting = {
        Function.COUNT_DISTINCT: group_columns,
        Function.SUM: summed_columns,
        Function.AVG: summed_columns,
        Function.MIN: ordered_columns,
        Function.MAX: ordered_columns,
    }.get(function)
    if fitting is not None and column is not None and column not in fitting(entity):
        raise InputError(f"orderBy: there is no {function.name} of {column.field_name}.")


def aggregate_query(entity: Entity, scope: Sql, request: AggregateRequest, measures: Sequence[Measure]) -> Sql:
    """The query for groups: first their keys, then the measures, each in the order given. One group without keys."""
    keys = request.keys
    listed = [key.expression for key in keys] + [measure.expression for measure in measures]
    grouped = sql.SQL(" GROUP BY {}").format(
        sql.SQL(", ").join(key.number or sql.SQL(str(place)) for place, key in enumerate(keys, start=1))
    )
    ordered = sql.SQL(" ORDER BY {}").format(sql.SQL(", ").join(request.order))
    return build(
        "SELECT {listed} FROM {source} t WHERE {condition}{grouped}{ordered} LIMIT {limit}",
        listed=sql.SQL(", ").join(listed),
        source=entity.source,
        condition=all_of([scope, request.condition]),
        grouped=grouped if keys else sql.SQL(""),
        ordered=ordered if request.order else sql.SQL(""),
        limit=Sql(sql.SQL("%s"), (request.limit,)),
    )


async def fetch_groups(
    session: Session, entity: Entity, scope: Sql, request: AggregateRequest, measures: Sequence[Measure]
) -> list[tuple[Any, ...]]:
    """The rows of :func:`aggregate_query`. Raises ApiError where there are more groups than an answer may hold."""
    rows = await session.fetch(aggregate_query(entity, scope, request, measures), at_most=MAX_GROUPS)
    if len(rows) > MAX_GROUPS:
        raise ApiError(
            Code.LIMIT_EXCEEDED,
            f"There are more than {MAX_GROUPS} groups: narrow them with filter, group more coarsely, or say with "
            f"first how many are wanted.",
        )
    return rows
