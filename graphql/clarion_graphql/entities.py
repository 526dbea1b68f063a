"""What can be queried: entities with their columns and relations, each declared once.

An entity is a table (of the core, or a projection) as the API shows it. Types, filters, orders, connections, SQL and
subscriptions all follow from it.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from functools import cached_property
from types import UnionType
from typing import Any, Final, cast

import msgspec
from psycopg import sql
from sqlalchemy import BigInteger, Boolean, DateTime, LargeBinary, Numeric, Text
from sqlalchemy import Table as SqlAlchemyTable
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine
from sqlmodel import SQLModel

from clarion.chains.model import Chain
from clarion_graphql.decimals import Scale
from clarion_graphql.sql import Past, Sql, Table, tables_in


class Kind(Enum):
    """A column's type. ``UNIX_TIME`` is stored as seconds and shown as a time."""

    TEXT = "text"
    INT = "int"
    BIG_INT = "big_int"
    BOOLEAN = "boolean"
    BYTES = "bytes"
    JSON = "json"
    TIME = "time"
    UNIX_TIME = "unix_time"

    @property
    def sql_type(self) -> sql.SQL:
        """The Postgres type that parameters are cast to."""
        return _SQL_TYPES[self]


_SQL_TYPES: Final[Mapping[Kind, sql.SQL]] = {
    Kind.TEXT: sql.SQL("text"),
    Kind.INT: sql.SQL("bigint"),
    Kind.BIG_INT: sql.SQL("numeric"),
    Kind.BOOLEAN: sql.SQL("boolean"),
    Kind.BYTES: sql.SQL("bytea"),
    Kind.JSON: sql.SQL("jsonb"),
    Kind.TIME: sql.SQL("timestamptz"),
    Kind.UNIX_TIME: sql.SQL("bigint"),
}


_KINDS: Final[tuple[tuple[type[TypeEngine[Any]], Kind], ...]] = (
    (JSONB, Kind.JSON),
    (BigInteger, Kind.INT),
    (Numeric, Kind.BIG_INT),
    (Boolean, Kind.BOOLEAN),
    (LargeBinary, Kind.BYTES),
    (DateTime, Kind.TIME),
    (Text, Kind.TEXT),
)


#: Integer columns of these names hold Unix seconds.
_UNIX_TIME: Final = re.compile(r"(^|_)time$")


@dataclass(frozen=True, eq=False)
class Column:
    """One column of an entity.

    ``expression`` computes it from the row ``t`` where it is not a plain column. ``within`` wraps a condition on it,
    for a column of another table (``EXISTS (… AND {})``). ``derive`` computes what is shown from the row as it was
    selected, when it is asked for, from its columns ``needs``. ``shown_as`` names it otherwise in the API. ``unit`` is
    the name of the ``NewType`` that says what it measures. ``exposed``: it is a field of the type; ``stored``: it is
    selected. Only indexed or small tables' columns should be ``filterable`` and ``orderable``. ``deprecated`` says what
    to use instead of a column that will go. ``scale``: it is an amount that is shown in whole units as well.
    """

    name: str
    kind: Kind
    description: str
    unit: str = ""
    nullable: bool = False
    enum: type[StrEnum] | None = None
    expression: sql.Composable | None = None
    within: sql.SQL | None = None
    derive: Callable[[Any], Any] | None = None
    needs: tuple[str, ...] = ()
    shown_as: str | None = None
    exposed: bool = True
    stored: bool = True
    filterable: bool = True
    orderable: bool = True
    deprecated: str | None = None
    scale: Scale | None = None

    @property
    def value(self) -> sql.Composable:
        """The column as an expression over the row ``t``."""
        return sql.Identifier("t", self.name) if self.expression is None else self.expression

    @property
    def field_name(self) -> str:
        """Its name in the API."""
        return camel(self.shown_as or self.name)

    @property
    def selected(self) -> sql.Composable:
        """The column as it is selected."""
        return sql.SQL("to_timestamp({})").format(self.value) if self.kind is Kind.UNIX_TIME else self.value


@dataclass(frozen=True)
class Via:
    """A table between two entities: its columns that equal the row's, and pairs of (its column, the target's)."""

    table: str
    own: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Relation:
    """From a row to others: ``pairs`` of (own column, column of ``target``) that are equal.

    With ``via`` the second of each pair is a column of the table between. With ``condition``, written over the target's
    row ``t`` and the own columns ``k.key0``, ``k.key1`` …, the second of each pair says nothing. ``order`` is the order
    without ``orderBy`` where it is not the target's.
    """

    name: str
    target: str
    pairs: tuple[tuple[str, str], ...]
    description: str
    many: bool = False
    order: tuple[tuple[str, bool], ...] | None = None
    via: Via | None = None
    condition: sql.Composable | None = None

    @property
    def own(self) -> tuple[str, ...]:
        """The row's columns that say which rows it leads to."""
        return tuple(own for own, _ in self.pairs)


@dataclass(frozen=True)
class Argument:
    """An argument of an entity's root fields that narrows what they see."""

    annotation: Any
    default: Any
    description: str
    condition: Callable[[Any], Sql | None]


@dataclass(eq=False)
class Entity:
    """A table as the API shows it.

    ``order`` is the order without ``orderBy``: (column, descending), completed by ``key``. ``located`` names the
    columns (height, block hash or None) that say in which block the row is: it is what ``finality`` is told from.
    """

    name: str
    table: str
    description: str
    columns: Sequence[Column]
    key: tuple[str, ...]
    single: str
    plural: str
    order: tuple[tuple[str, bool], ...] = ()
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    relations: list[Relation] = field(default_factory=list)
    related: Mapping[str, Entity] = field(default_factory=dict)
    """Where its relations lead, by their names; known once all entities of a schema are."""
    located: tuple[str, str | None] | None = None
    chain: Chain | None = None
    """The chain its heights are of; None where a column ``chain`` says it."""
    projection: bool = False

    def __repr__(self) -> str:
        return f"Entity({self.name})"

    @cached_property
    def by_name(self) -> dict[str, Column]:
        """Columns by name."""
        return {column.name: column for column in self.columns}

    @cached_property
    def stored(self) -> tuple[Column, ...]:
        """The columns that are selected, in the order of :attr:`make`'s arguments."""
        return tuple(column for column in self.columns if column.stored)

    @cached_property
    def filter_relations(self) -> tuple[Relation, ...]:
        """The relations that a filter can follow: those told by columns."""
        return tuple(relation for relation in self.relations if relation.condition is None)

    @cached_property
    def selected(self) -> sql.SQL | sql.Composed:
        """The SELECT list of its stored columns over the row ``t``."""
        columns = [sql.SQL("{} AS {}").format(column.selected, sql.Identifier(column.name)) for column in self.stored]
        listed = sql.SQL(", ").join(columns)
        return listed if any(tables_in(listed)) else sql.SQL(listed.as_string())

    @cached_property
    def make(self) -> Callable[..., Any]:
        """A light class for its rows, with an attribute per selected column."""
        return msgspec.defstruct(f"{self.name}Row", [(column.name, Any) for column in self.stored])

    @cached_property
    def source(self) -> sql.Identifier:
        """The table's quoted name."""
        if self.projection:
            return Table(self.table, Past.PROJECTION)
        if self.located is not None and self.located[0] == "height":
            return Table(self.table, Past.LOG)
        return sql.Identifier(*self.table.split("."))

    def chain_of(self, row: Any) -> Chain:
        """The chain a row belongs to."""
        return self.chain if self.chain is not None else cast("Chain", row.chain)


def camel(name: str) -> str:
    """``expiry_burn`` as ``expiryBurn``."""
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)


def pascal(name: str) -> str:
    """``expiry_price`` as ``ExpiryPrice``."""
    whole = camel(name)
    return whole[:1].upper() + whole[1:]


def plural_of(name: str) -> str:
    """``policy`` as ``policies``, ``price`` as ``prices``, ``match`` as ``matches``."""
    if re.search(r"[^aeiou]y$", name):
        return name[:-1] + "ies"
    return name + ("es" if re.search(r"(s|x|z|ch|sh)$", name) else "s")


def columns_of(model: type[SQLModel]) -> list[Column]:
    """The columns of a SQLModel table, described by each field's ``description`` or its column's comment."""
    table = cast("SqlAlchemyTable", model.__table__)  # type: ignore[attr-defined]
    columns = []
    for column in table.columns:
        kind = next((kind for sql_type, kind in _KINDS if isinstance(column.type, sql_type)), None)
        if kind is None:
            raise TypeError(f"{table.fullname}.{column.name}: the API has no type for {column.type!r}")
        information = model.model_fields[column.name]
        columns.append(
            Column(
                name=column.name,
                kind=Kind.UNIX_TIME if kind is Kind.INT and _UNIX_TIME.search(column.name) else kind,
                description=information.description or column.comment or "",
                unit=_unit_of(information.annotation),
                nullable=bool(column.nullable),
                enum=_enum_of(information.annotation),
                filterable=kind is not Kind.JSON,
                orderable=kind is not Kind.JSON,
            )
        )
    return columns


def _enum_of(annotation: Any) -> type[StrEnum] | None:
    options = typing.get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    return next((option for option in options if isinstance(option, type) and issubclass(option, StrEnum)), None)


def _unit_of(annotation: Any) -> str:
    """The name of the ``NewType`` that says what an integer measures, or nothing."""
    options = typing.get_args(annotation) or (annotation,)
    return next((option.__name__ for option in options if isinstance(option, typing.NewType)), "")


def table_name(model: type[SQLModel]) -> str:
    """A SQLModel table's name with its schema."""
    return cast("SqlAlchemyTable", model.__table__).fullname  # type: ignore[attr-defined]


def key_of(model: type[SQLModel]) -> tuple[str, ...]:
    """The names of a SQLModel table's primary key columns, in order."""
    return tuple(column.name for column in cast("SqlAlchemyTable", model.__table__).primary_key)  # type: ignore[attr-defined]
