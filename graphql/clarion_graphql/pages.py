"""Lists in pages: orders and cursors to SQL, and the rows of a page.

Pages follow the Relay connection specification. A cursor holds the values of the order's columns, so a page starts
after the same place whatever was inserted or removed since.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final, LiteralString

from psycopg import sql

from clarion_graphql import opaque
from clarion_graphql.entities import Column, Entity, Relation
from clarion_graphql.enums import Direction
from clarion_graphql.errors import ApiError, Code, InputError
from clarion_graphql.filters import filter_condition, key_arrays, parameter, parameters
from clarion_graphql.session import Session
from clarion_graphql.sql import Past, Slot, Sql, Table, all_of, any_of, build, concrete, join

DEFAULT_PAGE: Final = 50
MAX_PAGE: Final = 500

Term = tuple[Column, bool]


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which part of a list is wanted. ``terms`` are the order's columns, each with whether it descends."""

    condition: Sql
    terms: tuple[Term, ...]
    limit: int
    after: tuple[Any, ...] | None
    before: tuple[Any, ...] | None
    backward: bool

    def __hash__(self) -> int:
        return hash((self.condition.text.as_string(), self.terms, self.limit, self.after, self.before, self.backward))

    @property
    def place(self) -> Sql:
        """The condition that keeps to the wanted side of the cursors."""
        return all_of(
            [
                None if self.after is None else _beyond(self.terms, self.after, backward=False),
                None if self.before is None else _beyond(self.terms, self.before, backward=True),
            ]
        )

    @property
    def order(self) -> sql.Composable:
        """The ORDER BY list in which rows are fetched, reversed for ``last``."""
        return sql.SQL(", ").join(
            sql.SQL("{} {}").format(column.value, sql.SQL("DESC" if descending != self.backward else "ASC"))
            for column, descending in self.terms
        )


@dataclass(frozen=True, slots=True)
class Page:
    """A page's rows in the list's order."""

    rows: Sequence[Any]
    has_previous: bool
    has_next: bool


def page_request(
    entity: Entity, arguments: Mapping[str, Any], default_order: Sequence[tuple[str, bool]] | None = None
) -> PageRequest:
    """Read the arguments ``first``, ``after``, ``last``, ``before``, ``filter`` and ``order_by`` of a list.

    ``default_order`` is the order without ``order_by``; None takes the entity's.

    Raises ApiError where they contradict each other, go over a limit, or hold a cursor of another list.
    """
    first, last = concrete(arguments.get("first")), concrete(arguments.get("last"))
    if first is not None and last is not None:
        raise InputError("Give first or last, not both.")
    limit = DEFAULT_PAGE if first is None and last is None else first if last is None else last
    assert limit is not None
    if limit < 0:
        raise InputError("first and last are 0 or more.")
    if limit > MAX_PAGE:
        raise ApiError(Code.LIMIT_EXCEEDED, f"A page holds at most {MAX_PAGE} rows, not {limit}.")
    terms = order_terms(entity, arguments.get("order_by"), default_order)
    after, before = arguments.get("after"), arguments.get("before")
    return PageRequest(
        condition=filter_condition(entity, arguments.get("filter")),
        terms=terms,
        limit=limit,
        after=None if after is None else _place(terms, after),
        before=None if before is None else _place(terms, before),
        backward=last is not None,
    )


def order_terms(
    entity: Entity, order_by: Sequence[Any] | None, default_order: Sequence[tuple[str, bool]] | None = None
) -> tuple[Term, ...]:
    """The columns to order by, completed by the key so that no two rows are equal."""
    wanted = entity.order if default_order is None else default_order
    if order_by:
        wanted = [(str(order.field), order.direction == Direction.DESC) for order in order_by]
    chosen: dict[str, bool] = {}
    for name, descending in wanted:
        if chosen.setdefault(name, descending) != descending:
            raise InputError(f"orderBy names {entity.by_name[name].field_name} in both directions.")
    direction = next(reversed(chosen.values()), False)
    for name in entity.key:
        chosen.setdefault(name, direction)
    return tuple((entity.by_name[name], descending) for name, descending in chosen.items())


def encode_cursor(terms: Sequence[Term], row: Any) -> str:
    """The opaque cursor of a row in an order."""
    return opaque.encode(order_name(terms), [getattr(row, column.name) for column, _ in terms])


def decode_cursor(terms: Sequence[Term], cursor: str) -> tuple[Any, ...]:
    """The values a cursor holds. Raises ApiError where it is no cursor of this order."""
    try:
        order, values = opaque.decode(cursor)
        if order != order_name(terms):
            raise _bad_cursor(cursor)
        return tuple(opaque.value_of(column, value) for (column, _), value in zip(terms, values, strict=True))
    except ValueError:
        raise _bad_cursor(cursor) from None


def _place(terms: Sequence[Term], cursor: Any) -> tuple[Any, ...]:
    """The values of a cursor, also of one that is a slot."""
    if not isinstance(cursor, Slot):
        return decode_cursor(terms, cursor)
    values = cursor.then(lambda given: decode_cursor(terms, given))
    return tuple(values.then(itemgetter(index)) for index in range(len(terms)))


def order_name(terms: Sequence[Term]) -> str:
    """What a cursor says of its order."""
    return ",".join(f"{column.name}{'-' if descending else ''}" for column, descending in terms)


def _bad_cursor(cursor: str) -> ApiError:
    return ApiError(
        Code.BAD_CURSOR,
        f"{cursor[:80]!r} is no cursor of this list. Cursors hold for one list in one order: take them from a page "
        f"with the same orderBy.",
    )


def _beyond(terms: Sequence[Term], values: Sequence[Any], *, backward: bool) -> Sql:
    """The condition for rows after a place in an order (``backward``: before it), nulls last ascending.

    Where every column is in one direction and has no nulls, a row comparison, which an index can answer.
    """
    directions = {descending for _, descending in terms}
    if len(directions) == 1 and not any(column.nullable for column, _ in terms):
        comparison: LiteralString = (
            "({columns}) < ({values})" if directions == {not backward} else "({columns}) > ({values})"
        )
        return build(
            comparison,
            columns=sql.SQL(", ").join(column.value for column, _ in terms),
            values=join([parameter(column, value) for (column, _), value in zip(terms, values, strict=True)], ", "),
        )
    options = []
    equal: list[Sql] = []
    for (column, descending), value in zip(terms, values, strict=True):
        options.append(all_of([*equal, _further(column, value, ascending=descending == backward)]))
        same = build("{column} IS NOT DISTINCT FROM {value}", column=column.value, value=parameter(column, value))
        equal.append(same)
    return any_of(options)


def _further(column: Column, value: Any, *, ascending: bool) -> Sql:
    operator: LiteralString = "{column} > {value}" if ascending else "{column} < {value}"
    beyond = build(operator, column=column.value, value=parameter(column, value))
    if not column.nullable:
        return beyond
    null: LiteralString = (
        "({column} IS NULL AND {value} IS NOT NULL)" if ascending else "({column} IS NOT NULL AND {value} IS NULL)"
    )
    return any_of([beyond, build(null, column=column.value, value=parameter(column, value))])


def _page(rows: list[Any], request: PageRequest) -> Page:
    more = len(rows) > request.limit
    kept = rows[: request.limit]
    if request.backward:
        return Page(kept[::-1], has_previous=more, has_next=request.before is not None)
    return Page(kept, has_previous=request.after is not None, has_next=more)


async def fetch_page(session: Session, entity: Entity, scope: Sql, request: PageRequest) -> Page:
    """A page of an entity's rows within ``scope``."""
    query = build(
        "SELECT {columns} FROM {source} t WHERE {condition} ORDER BY {order} LIMIT {limit}",
        columns=entity.selected,
        source=entity.source,
        condition=all_of([scope, request.condition, request.place]),
        order=request.order,
        limit=Sql(sql.SQL("%s"), (request.limit + 1,)),
    )
    return _page([entity.make(*row) for row in await session.fetch(query, at_most=request.limit)], request)


def count_query(entity: Entity, condition: Sql, at_most: int | None) -> Sql:
    """The query for how many rows of an entity fulfil a condition, counted no further than ``at_most``."""
    if at_most is None:
        return build("SELECT count(*) FROM {source} t WHERE {condition}", source=entity.source, condition=condition)
    return build(
        "SELECT count(*) FROM (SELECT FROM {source} t WHERE {condition} LIMIT {most}) c",
        source=entity.source,
        condition=condition,
        most=sql.Literal(at_most),
    )


async def count_rows(session: Session, entity: Entity, condition: Sql, at_most: int | None) -> int:
    """How many rows of an entity fulfil a condition, counted no further than ``at_most``."""
    return int(await session.value(count_query(entity, condition, at_most)))


async def fetch_one(session: Session, entity: Entity, condition: Sql) -> Any | None:
    """The row that fulfils a condition at most one row does, or None."""
    query = build(
        "SELECT {columns} FROM {source} t WHERE {condition} LIMIT 1",
        columns=entity.selected,
        source=entity.source,
        condition=condition,
    )
    rows = await session.fetch(query)
    return entity.make(*rows[0]) if rows else None


async def fetch_by(
    session: Session, entity: Entity, names: tuple[str, ...], keys: Sequence[tuple[Any, ...]]
) -> dict[tuple[Any, ...], Any]:
    """The rows whose columns ``names`` have one of the values ``keys``, by those values."""
    columns = [entity.by_name[name] for name in names]
    # a table as it was is a query of its own: conditions reach its indexes, a join does not
    each = (
        None
        if not session.moments
        else [
            build("{column} = ANY({values})", column=column.value, values=parameters(column, list(set(values))))
            for column, values in zip(columns, zip(*keys, strict=True), strict=True)
        ]
    )
    query = build(
        "SELECT {columns} FROM {source} t WHERE ({own}) IN (SELECT * FROM unnest({keys})) AND {each}",
        columns=entity.selected,
        source=entity.source,
        own=sql.SQL(", ").join(column.value for column in columns),
        keys=key_arrays(entity, names, keys),
        each=all_of(each or ()),
    )
    found = [entity.make(*row) for row in await session.fetch(query, at_most=len(keys))]
    return {tuple(getattr(row, name) for name in names): row for row in found}


def related_condition(target: Entity, relation: Relation) -> sql.Composed:
    """The condition that the row ``t`` is one that a relation leads to from the key ``k``."""
    keys = [sql.Identifier("k", f"key{index}") for index in range(len(relation.pairs))]
    if relation.condition is not None:
        return sql.Composed([relation.condition])
    if relation.via is None:
        columns = [target.by_name[remote].value for _, remote in relation.pairs]
        return sql.SQL(" AND ").join(_equal(column, key) for column, key in zip(columns, keys, strict=True))
    between = [sql.Identifier("v", name) for name in relation.via.own]
    to_target = [(sql.Identifier("v", name), target.by_name[remote].value) for name, remote in relation.via.pairs]
    return sql.SQL("EXISTS (SELECT FROM {table} v WHERE {condition})").format(
        table=Table(relation.via.table, Past.PROJECTION),
        condition=sql.SQL(" AND ").join(
            _equal(left, right) for left, right in [*zip(between, keys, strict=True), *to_target]
        ),
    )


def _equal(left: sql.Composable, right: sql.Composable) -> sql.Composed:
    return sql.SQL("{} = {}").format(left, right)


def _key_columns(relation: Relation) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(f"key{index}") for index in range(len(relation.pairs)))


async def fetch_related_pages(
    session: Session,
    own: Entity,
    relation: Relation,
    target: Entity,
    request: PageRequest,
    keys: Sequence[tuple[Any, ...]],
) -> dict[tuple[Any, ...], Page]:
    """For each key (of ``own``, in the order of the relation's pairs) a page of rows of ``target``, in one query."""
    query = build(
        "SELECT k.place, r.* FROM unnest({keys}) WITH ORDINALITY AS k({key_columns}, place) CROSS JOIN LATERAL ("
        "SELECT row_number() OVER (ORDER BY {order}) AS row_place, {columns} FROM {source} t WHERE {related} "
        "AND {condition} ORDER BY {order} LIMIT {limit}) r ORDER BY k.place, r.row_place",
        keys=key_arrays(own, relation.own, keys),
        key_columns=_key_columns(relation),
        order=request.order,
        columns=target.selected,
        source=target.source,
        related=related_condition(target, relation),
        condition=all_of([request.condition, request.place]),
        limit=Sql(sql.SQL("%s"), (request.limit + 1,)),
    )
    rows: dict[int, list[Any]] = {}
    for place, _, *values in await session.fetch(query, at_most=len(keys) * request.limit):
        rows.setdefault(place, []).append(target.make(*values))
    return {key: _page(rows.get(index, []), request) for index, key in enumerate(keys, start=1)}


async def count_related(
    session: Session,
    own: Entity,
    relation: Relation,
    target: Entity,
    condition: Sql,
    keys: Sequence[tuple[Any, ...]],
    at_most: int | None,
) -> dict[tuple[Any, ...], int]:
    """For each key how many rows a relation leads to, counted no further than ``at_most``."""
    query = build(
        "SELECT k.place, ({count}) FROM unnest({keys}) WITH ORDINALITY AS k({key_columns}, place)",
        count=count_query(target, all_of([Sql(related_condition(target, relation)), condition]), at_most),
        keys=key_arrays(own, relation.own, keys),
        key_columns=_key_columns(relation),
    )
    return {keys[place - 1]: count for place, count in await session.fetch(query, at_most=len(keys))}
