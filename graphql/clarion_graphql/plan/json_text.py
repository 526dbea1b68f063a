"""JSON as text made in SQL, byte for byte as the resolvers' values are encoded.

``concat`` over constant pieces and columns costs Postgres about a third less than ``json_agg`` over rows, and leaves
every byte to us. ``JSON_SCALAR`` looks a value's type up once for a statement, ``to_json`` for every value.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from types import SimpleNamespace
from typing import Any, Final

import msgspec
from psycopg import sql
from sqlmodel import SQLModel

from clarion_graphql.entities import Column, Entity, Kind
from clarion_graphql.scalars import exact_json
from clarion_graphql.sql import Sql, build, join

Piece = str | Sql
"""A constant text, or an expression whose text it is; null counts as nothing."""

#: Most arguments of a function in Postgres.
_MOST_ARGUMENTS: Final = 100
_NUMBERS: Final = (Kind.INT, Kind.BIG_INT)
#: Nobody outside knows it, so nothing that is stored looks like what it begins.
_SECRET: Final = secrets.token_hex(8)
#: Stands where a value is that GraphQL has no text for: the resolvers are to say what is wrong.
BROKEN: Final = f'"{_SECRET}!"'
_BROKEN_BYTES: Final = BROKEN.encode()
_DERIVED: Final = re.compile(rb'"' + _SECRET.encode() + rb':([0-9]+):([0-9a-f,-]*)"')


class BrokenValueError(Exception):
    """A row holds what cannot be shown."""


def constant(text: str) -> sql.Composable:
    """A text in a statement with parameters."""
    return sql.SQL(sql.Literal(text).as_string().replace("%", "%%"))


def concat(pieces: Iterable[Piece]) -> Sql:
    """The pieces one after another, as one text that is never null."""
    merged: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, str) and merged and isinstance(merged[-1], str):
            merged[-1] += piece
        else:
            merged.append(piece)
    return _concat([Sql(sql.Composed([constant(piece)])) if isinstance(piece, str) else piece for piece in merged])


def _concat(arguments: Sequence[Sql]) -> Sql:
    if len(arguments) > _MOST_ARGUMENTS:
        size = -(-len(arguments) // _MOST_ARGUMENTS)
        size = max(size, 2)
        arguments = [_concat(arguments[at : at + _MOST_ARGUMENTS]) for at in range(0, len(arguments), _MOST_ARGUMENTS)]
        return _concat(arguments)
    return build("concat({arguments})", arguments=join(arguments, ", "))


def members(named: Mapping[str, Sequence[Piece]]) -> list[Piece]:
    """A JSON object of these members."""
    pieces: list[Piece] = ["{"]
    for index, (name, value) in enumerate(named.items()):
        pieces += [f'{"," if index else ""}"{name}":', *value]
    return [*pieces, "}"]


def or_null(text: Sql) -> Sql:
    """A JSON text, ``null`` where it is null."""
    return build("coalesce({text}, 'null')", text=text)


def column_text(entity: Entity, column: Column, derivations: Derivations) -> list[Piece]:
    """A column of the row ``t``."""
    if column.derive is not None:
        return [derivations.derived(entity, column)]
    if column.kind is Kind.JSON:
        return [derivations.json(entity, column)]
    value = Sql(sql.Composed([column.value]))
    nullable = None if column.nullable else not _never_null(entity, column)
    return value_text(value, column.kind, column.enum, broken_if_null=nullable)


def value_text(
    value: Sql, kind: Kind, enum: type[StrEnum] | None = None, *, broken_if_null: bool | None = None
) -> list[Piece]:
    """A value as JSON. Null becomes ``null`` or, with ``broken_if_null``, what is broken; False: it is never null."""
    if enum is not None:
        return [_enum_text(enum, value, nullable=broken_if_null is None)]
    before, text, after = _scalar_text(kind, value)
    if broken_if_null is False:
        return [before, text, after]
    text = _as_text(before, text, after)
    return [or_null(text) if broken_if_null is None else _or_broken(text)]


def decimal_text(entity: Entity, column: Column) -> list[Piece]:
    """A column's amount in whole units."""
    assert column.scale is not None
    value = Sql(sql.Composed([column.scale.expression(column.value)]))
    if isinstance(column.scale.places, int) and not column.nullable:
        if _never_null(entity, column):
            return ['"', value, '"']
        return [_or_broken(build("'\"' || {value} || '\"'", value=value))]
    return [or_null(build("'\"' || {value} || '\"'", value=value))]


def _as_text(before: str, value: Sql, after: str) -> Sql:
    """What :func:`_scalar_text` gave, as one expression; null where the value is."""
    text = build("({value})::text", value=value)
    if not before:
        return text
    return build("({before} || {text} || {after})", before=constant(before), text=text, after=constant(after))


def _scalar_text(kind: Kind, value: Sql) -> tuple[str, Sql, str]:
    """A value that is not null as JSON: a constant text, an expression, a constant text."""
    match kind:
        case Kind.TEXT:
            return "", build("JSON_SCALAR({value})", value=value), ""
        case Kind.INT:  # GraphQL's Int has 32 bits: a larger one is an error of the statement
            return "", build("{value}::int4", value=value), ""
        case Kind.BIG_INT:  # concat writes a number by itself, for half of what a cast before it costs
            return '"', value, '"'
        case Kind.BOOLEAN:
            return "", build("{value}::text", value=value), ""
        case Kind.BYTES:
            return '"0x', build("encode({value}, 'hex')", value=value), '"'
        case Kind.UNIX_TIME:
            return "", whole_seconds_text(build("to_timestamp({value})", value=value)), ""
        case Kind.TIME:
            return '"', _time_text(value), '"'
        case Kind.JSON:
            raise AssertionError("JSON is written by Derivations")


def whole_seconds_text(value: Sql) -> Sql:
    """A ``timestamptz`` without a fraction of a second: Postgres' own JSON is Python's ``isoformat`` then."""
    return build("JSON_SCALAR({value})", value=value)


def _time_text(value: Sql) -> Sql:
    """A ``timestamptz`` as Python's ``isoformat`` has it in UTC: with six digits after the second, or none."""
    return build(
        "replace(to_char({value} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US'), '.000000', '') || '+00:00'",
        value=value,
    )


def _enum_text(enum: type[StrEnum], value: Sql, *, nullable: bool) -> Sql:
    definition: Any = enum
    cases = sql.SQL(" ").join(
        sql.SQL("WHEN {} THEN {}").format(constant(str(member.value)), constant(f'"{member.name}"'))
        for member in definition.__strawberry_definition__.values
    )
    if not nullable:
        return build("CASE {value} {cases} ELSE {broken} END", value=value, cases=cases, broken=constant(BROKEN))
    return build(
        "(SELECT CASE WHEN e.v IS NULL THEN 'null' ELSE CASE e.v {cases} ELSE {broken} END END "
        "FROM (SELECT {value} AS v) e)",
        cases=cases,
        broken=constant(BROKEN),
        value=value,
    )


def _or_broken(text: Sql) -> Sql:
    return build("coalesce({text}, {broken})", text=text, broken=constant(BROKEN))


def _never_null(entity: Entity, column: Column) -> bool:
    """Whether the database itself keeps the column from being null."""
    table = SQLModel.metadata.tables.get(entity.table)
    if table is None or column.expression is not None or column.name not in table.columns:
        return False
    return not table.columns[column.name].nullable


def opaque_text(name: str, columns: Iterable[Column]) -> Sql:
    """What :func:`clarion_graphql.opaque.encode` makes of a name and columns of the row ``t``, without quotes."""
    pieces: list[Piece] = [f"[{json.dumps(name)}"]
    for column in columns:
        value = Sql(sql.Composed([column.value]))
        # a cursor has numbers as they are, of any size
        text = _as_text(*(("", value, "") if column.kind in _NUMBERS else _scalar_text(column.kind, value)))
        pieces += [",", or_null(text) if column.nullable else text]
    return build(
        r"translate(encode(convert_to({json}, 'UTF8'), 'base64'), E'+/=\n', '-_')", json=concat([*pieces, "]"])
    )


class Derivations:
    """Values that Python computes: a statement writes what they are made of, :meth:`fill` puts them in."""

    def __init__(self) -> None:
        self._made: list[Callable[[list[bytes | None]], bytes]] = []

    @property
    def any(self) -> bool:
        """Whether there are any values to put in."""
        return bool(self._made)

    def derived(self, entity: Entity, column: Column) -> Sql:
        """A column with ``derive``."""
        assert column.derive is not None
        derive, nullable = column.derive, column.nullable
        needed = [entity.by_name[name] for name in column.needs]
        if not needed:
            raise TypeError(f"{entity.name}.{column.name} does not say which columns it is derived from")

        def make(values: list[bytes | None]) -> bytes:
            row = SimpleNamespace(
                **{column.name: _read(column, value) for column, value in zip(needed, values, strict=True)}
            )
            return _encoded(column, derive(row), nullable=nullable)

        return self._marker(make, [_raw_text(column) for column in needed])

    def json(self, entity: Entity, column: Column) -> Sql:
        """A column that holds JSON."""

        def make(values: list[bytes | None]) -> bytes:
            return _encoded(column, _read(column, values[0]), nullable=column.nullable)

        return self._marker(make, [_raw_text(column)])

    def _marker(self, make: Callable[[list[bytes | None]], bytes], values: Sequence[Sql]) -> Sql:
        self._made.append(make)
        pieces: list[Piece] = [f'"{_SECRET}:{len(self._made) - 1}:']
        for index, value in enumerate(values):
            pieces += ["," if index else "", build("coalesce(encode({value}, 'hex'), '-')", value=value)]
        return concat([*pieces, '"'])

    def fill(self, text: bytes) -> bytes:
        """The text with the values in place. Raises BrokenValueError where one cannot be shown."""
        if _BROKEN_BYTES in text:
            raise BrokenValueError
        if not self._made:
            return text
        return _DERIVED.sub(self._value, text)

    def _value(self, found: re.Match[bytes]) -> bytes:
        index, values = found.groups()
        read = [None if value == b"-" else bytes.fromhex(value.decode()) for value in values.split(b",")]
        return self._made[int(index)](read)


def _raw_text(column: Column) -> Sql:
    """A column as bytes."""
    value = Sql(sql.Composed([column.value]))
    if column.kind is Kind.BYTES:
        return value
    return build("convert_to({value}::text, 'UTF8')", value=value)


def _read(column: Column, value: bytes | None) -> Any:
    if value is None or column.kind is Kind.BYTES:
        return value
    match column.kind:
        case Kind.TEXT:
            return value.decode()
        case Kind.INT | Kind.BIG_INT:
            return int(value)
        case Kind.BOOLEAN:
            return value == b"true"
        case Kind.JSON:
            return json.loads(value)
        case _:
            raise TypeError(f"{column.name}: nothing is derived from a time")


def _encoded(column: Column, value: Any, *, nullable: bool) -> bytes:
    if value is None:
        if not nullable:
            raise BrokenValueError
        return b"null"
    if column.kind is Kind.JSON:
        return msgspec.json.encode(exact_json(value))
    raise TypeError(f"{column.name}: only JSON is derived")
