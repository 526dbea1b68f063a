"""Projection rows in memory: what a handler reads and writes, and the changes that come of it.

A projection's table is a :class:`Row` subclass. Handlers see each row once (identity map), change its attributes, and
at the end of each block :meth:`Rows.end_block` tells which rows changed, from what, to what. Nothing here touches SQL:
rows come in through a loader and go out as :class:`Change` values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal, ParamSpec, TypeVar, cast

from sqlalchemy import BigInteger, Boolean, Numeric, Table, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from clarion.chains.model import JsonValue

Op = Literal["insert", "update", "delete"]
RowJson = dict[str, JsonValue]
Key = tuple[JsonValue, ...]

#: An unsigned 128-bit integer column, Clarity's ``uint``. Money and shares are stored so, in their smallest unit.
UINT128 = Numeric(39, 0)


class Row(SQLModel):
    """A projection table's base. Columns hold text, integers, booleans or JSON: no float or clock can enter.

    ``updated_height`` is the chain height of the block that last changed the row; the projector sets it.
    """

    updated_height: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs={"nullable": False})


class RowSchemaError(TypeError):
    """A projection table has a column that cannot be rebuilt bit for bit from the chain."""


T = TypeVar("T", bound=Row)
P = ParamSpec("P")


class RowType:
    """What the projector needs to know of a table: its name, columns, key, and a light class for its rows.

    SQLModel instances cost tens of microseconds to make and several per attribute set; handlers therefore get plain
    slotted objects with the same attributes.
    """

    __slots__ = ("columns", "defaults", "key_columns", "key_of", "make", "model", "name", "table", "values_of")

    def __init__(self, model: type[Row]) -> None:
        table = cast("Table", model.__table__)  # type: ignore[attr-defined]
        for column in table.columns:
            if not isinstance(column.type, Text | BigInteger | Boolean | Numeric | JSONB) or (
                isinstance(column.type, Numeric) and column.type.scale != 0
            ):
                raise RowSchemaError(
                    f"{table.fullname}.{column.name} is {column.type!r}; use Text, BigInteger, Boolean, JSONB, UINT128"
                )
        self.model = model
        self.table = table
        self.name: str = table.fullname
        self.columns: tuple[str, ...] = tuple(column.name for column in table.columns)
        self.key_columns: tuple[str, ...] = tuple(column.name for column in table.primary_key)
        self.values_of: Callable[[object], tuple[Any, ...]] = _tuple_getter(self.columns)
        self.key_of: Callable[[object], Key] = _tuple_getter(self.key_columns)
        self.make: type[Any] = type(model.__name__, (_LightRow,), {"__slots__": self.columns, "columns": self.columns})
        self.defaults: dict[str, Any] = {
            name: field.get_default(call_default_factory=True)
            for name, field in model.model_fields.items()
            if not field.is_required()
        }

    def to_json(self, values: Sequence[Any]) -> RowJson:
        """A row's values as the JSON object Postgres makes a row from (``jsonb_populate_record``)."""
        return dict(zip(self.columns, values, strict=True))


class _LightRow:
    __slots__ = ()
    columns: tuple[str, ...] = ()

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.columns)
        return f"{type(self).__name__}({inside})"


def _tuple_getter(names: tuple[str, ...]) -> Callable[[object], tuple[Any, ...]]:
    if len(names) == 1:
        get = attrgetter(names[0])
        return lambda row: (get(row),)
    return attrgetter(*names)


@dataclass(frozen=True, slots=True)
class Change:
    """One row's before and after within one block, as JSON. ``before`` is None on insert, ``after`` on delete."""

    table: str
    key: Key
    op: Op
    before: RowJson | None
    after: RowJson | None


class _Entry:
    """A row the projector knows: as it is now (None: does not exist), and as it was when the block began."""

    __slots__ = ("before", "row", "touched")

    def __init__(self, row: Any) -> None:
        self.row = row
        self.before: tuple[Any, ...] | None = None
        self.touched = False


Loader = Callable[[RowType, Key], Sequence[Any] | None]


class Rows:
    """The identity map a projection reads and writes through.

    One writer holds it; it is kept between batches as a cache and must be :meth:`clear`\\ ed whenever the database did
    something else (a failed batch, a rollback).
    """

    def __init__(self, types: Iterable[RowType], load: Loader, *, cache_size: int = 200_000) -> None:
        self._types: dict[type[Row], RowType] = {row_type.model: row_type for row_type in types}
        self._load = load
        self._cache_size = cache_size
        self._entries: dict[tuple[RowType, Key], _Entry] = {}
        self._touched: list[tuple[RowType, Key, _Entry]] = []

    def get(self, table: type[T], *key: JsonValue) -> T | None:
        """The row of ``table`` with this primary key (its columns in order), or None."""
        row_type = self._type(table)
        if len(key) != len(row_type.key_columns):
            raise TypeError(f"{row_type.name} is keyed by {row_type.key_columns}, got {key!r}")
        entry = self._entry(row_type, key)
        self._touch(row_type, key, entry)
        return cast("T | None", entry.row)

    def insert(self, table: Callable[P, T], /, *args: P.args, **columns: P.kwargs) -> T:
        """Add a row: ``rows.insert(Position, provider=..., tier=...)``. Raises ValueError where the key exists."""
        row_type = self._type(cast("type[T]", table))
        row = row_type.make()
        for name in row_type.columns:
            if name in columns:
                setattr(row, name, columns[name])
            elif name in row_type.defaults:
                setattr(row, name, _copy(row_type.defaults[name]))
            else:
                raise TypeError(f"{row_type.name} needs {name}")
        unknown = columns.keys() - set(row_type.columns)
        if args or unknown:
            raise TypeError(f"{row_type.name} takes its columns by name; not {args or sorted(unknown)!r}")
        key = row_type.key_of(row)
        entry = self._entry(row_type, key)
        if entry.row is not None:
            raise ValueError(f"{row_type.name} {key!r} exists already")
        self._touch(row_type, key, entry)
        entry.row = row
        return cast("T", row)

    def delete(self, table: type[T], *key: JsonValue) -> None:
        """Remove a row; does nothing where there is none."""
        row_type = self._type(table)
        entry = self._entry(row_type, key)
        self._touch(row_type, key, entry)
        entry.row = None

    def end_block(self, height: int) -> list[Change]:
        """The block's changes, ordered by table and key, each changed row stamped with ``height``."""
        changes: list[Change] = []
        for row_type, key, entry in self._touched:
            before, row = entry.before, entry.row
            entry.touched, entry.before = False, None
            if row is not None and row_type.key_of(row) != key:
                raise ValueError(f"{row_type.name} {key!r}: a handler changed the primary key")
            if row is None:
                if before is not None:
                    changes.append(Change(row_type.name, key, "delete", row_type.to_json(before), None))
                continue
            values = row_type.values_of(row)
            if values == before:
                continue
            row.updated_height = height
            after = row_type.to_json(row_type.values_of(row))
            old = None if before is None else row_type.to_json(before)
            changes.append(Change(row_type.name, key, "insert" if old is None else "update", old, after))
        self._touched.clear()
        changes.sort(key=lambda change: (change.table, [str(part) for part in change.key]))
        return changes

    def clear(self) -> None:
        """Forget everything; rows are loaded again when asked for."""
        self._entries.clear()
        self._touched.clear()

    def trim(self) -> None:
        """Drop the cache when it has grown past its size. Only between batches."""
        if len(self._entries) > self._cache_size:
            self.clear()

    def _type(self, table: type[Row]) -> RowType:
        row_type = self._types.get(table)
        if row_type is None:
            raise TypeError(f"{table.__name__} belongs to no protocol of this index")
        return row_type

    def _entry(self, row_type: RowType, key: Key) -> _Entry:
        entry = self._entries.get((row_type, key))
        if entry is None:
            values = self._load(row_type, key)
            row = None
            if values is not None:
                row = row_type.make()
                for name, value in zip(row_type.columns, values, strict=True):
                    setattr(row, name, value)
            entry = self._entries[row_type, key] = _Entry(row)
        return entry

    def _touch(self, row_type: RowType, key: Key, entry: _Entry) -> None:
        if not entry.touched:
            entry.touched = True
            entry.before = None if entry.row is None else _frozen(row_type.values_of(entry.row))
            self._touched.append((row_type, key, entry))


def _frozen(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Copies of mutable JSON values, so that a handler changing one in place still shows as a change."""
    return tuple(_copy(value) if isinstance(value, list | dict) else value for value in values)


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copy(inside) for name, inside in value.items()}
    if isinstance(value, list):
        return [_copy(inside) for inside in value]
    return value
