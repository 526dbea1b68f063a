"""Projection rows in memory: what a handler reads and writes, and the changes that come of it.

A projection's table is a :class:`Row` subclass. Handlers see each row once (identity map), change its attributes, and
at the end of each block :meth:`Rows.end_block` tells which rows changed, from what, to what. Nothing here touches SQL:
rows come in through a loader and go out as :class:`Change` values.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Literal, Never, ParamSpec, TypeVar, cast

import msgspec
from msgspec.structs import astuple
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
    """What the projector needs to know of a table: its name, columns (in the order of their names), key, and a light
    class for its rows.

    SQLModel instances cost tens of microseconds to make and several per attribute set; handlers therefore get plain
    structs with the same attributes. With their fields in order of name they encode to canonical JSON as they are.
    """

    __slots__ = ("columns", "key_columns", "key_of", "make", "model", "name", "table", "values_of")

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
        self.columns: tuple[str, ...] = tuple(sorted(column.name for column in table.columns))
        self.key_columns: tuple[str, ...] = tuple(column.name for column in table.primary_key)
        self.key_of: Callable[[object], Key] = _tuple_getter(self.key_columns)
        self.make: type[Any] = msgspec.defstruct(
            model.__name__,
            [(name, Any, *_default(model, name)) for name in self.columns],
            kw_only=True,
            eq=False,
            gc=False,
        )
        with_json = any(isinstance(column.type, JSONB) for column in table.columns)
        #: A row's values in the order of the columns, not to be changed by what later happens to the row.
        self.values_of: Callable[[Any], tuple[Any, ...]] = _frozen_values if with_json else astuple

    def row_of(self, values: Sequence[Any]) -> Any:
        """The row with these values, in the order of the columns."""
        return self.make(**dict(zip(self.columns, values, strict=True)))

    def to_json(self, values: Sequence[Any]) -> RowJson:
        """A row's values as the JSON object Postgres makes a row from (``jsonb_populate_record``)."""
        return dict(zip(self.columns, values, strict=True))


def _default(model: type[Row], name: str) -> tuple[Any, ...]:
    field = model.model_fields.get(name)
    if field is None or field.is_required():
        return ()
    default = field.get_default(call_default_factory=True)
    if isinstance(default, list | dict):
        return (msgspec.field(default_factory=lambda: _copy(default)),)
    return (default,)


def _tuple_getter(names: tuple[str, ...]) -> Callable[[object], tuple[Any, ...]]:
    if len(names) == 1:
        get = attrgetter(names[0])
        return lambda row: (get(row),)
    return attrgetter(*names)


#: Canonical JSON: object keys sorted, no white space.
_encode = msgspec.json.Encoder(order="sorted").encode
#: The same of a row, whose fields are in order as they are: sorting them again would take half the time.
_encode_row = msgspec.json.Encoder(order="deterministic").encode
_decode: Callable[[bytes], Any] = msgspec.json.decode


class Change:
    """One row's before and after within one block. ``before`` is None on insert, ``after`` on delete.

    The images are JSON objects, given as such or as their canonical text. Most uses only pass them on, so that the
    projector gives the text, encoded once for the change log, the digest and the table.
    """

    __slots__ = ("_after", "_before", "_key_json", "key", "op", "table")

    def __init__(
        self,
        table: str,
        key: Key,
        op: Op,
        before: RowJson | bytes | None,
        after: RowJson | bytes | None,
        key_json: bytes | None = None,
    ) -> None:
        self.table = table
        self.key = key
        self.op = op
        self._before = before
        self._after = after
        self._key_json = key_json

    @property
    def before(self) -> RowJson | None:
        """The row before."""
        return _decode(self._before) if isinstance(self._before, bytes) else self._before

    @property
    def after(self) -> RowJson | None:
        """The row after."""
        return _decode(self._after) if isinstance(self._after, bytes) else self._after

    @property
    def key_json(self) -> bytes:
        """The key as canonical JSON."""
        return _encode(self.key) if self._key_json is None else self._key_json

    @property
    def before_json(self) -> bytes | None:
        """The row before as canonical JSON."""
        before = self._before
        return before if before is None or isinstance(before, bytes) else _encode(before)

    @property
    def after_json(self) -> bytes | None:
        """The row after as canonical JSON."""
        after = self._after
        return after if after is None or isinstance(after, bytes) else _encode(after)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Change) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash((self.table, self.key, self.op))

    def __repr__(self) -> str:
        return f"Change{self._parts()!r}"

    def _parts(self) -> tuple[Any, ...]:
        return self.table, self.key, self.op, self.before, self.after


class _Entry:
    """A row the projector knows: as it is now (None: does not exist), and as it was when the block began."""

    __slots__ = ("batch", "before", "block", "image", "key", "key_json", "order", "row", "row_type")

    def __init__(self, row_type: RowType, key: Key, row: Any) -> None:
        self.row_type = row_type
        self.key = key
        self.row = row
        self.before: tuple[Any, ...] | None = None
        self.image: bytes | None = None
        """The row after the last block that changed it, as canonical JSON, where that was in this batch."""
        self.key_json: bytes | None = None
        self.order = (row_type.name, [str(part) for part in key])
        """Its place among a block's changes."""
        self.block = -1
        """The last block that touched it, in the count of :class:`Rows`."""
        self.batch = -1


_by_place = attrgetter("order")


class _Cached:
    """The known rows of one table."""

    __slots__ = ("complete", "entries", "row_type")

    def __init__(self, row_type: RowType) -> None:
        self.row_type = row_type
        self.entries: dict[Key, _Entry] = {}
        self.complete = False
        """Whether there is no row but these."""


Loader = Callable[[RowType, Key], Sequence[Any] | None]
#: Asked for several rows at once, gives those that exist, each with its key first.
ManyLoader = Callable[[Mapping[RowType, Sequence[Key]]], Mapping[RowType, Sequence[tuple[Key, Sequence[Any]]]]]


class Rows:
    """The identity map a projection reads and writes through.

    One writer holds it; it is kept between batches as a cache and must be :meth:`clear`\\ ed whenever the database did
    something else (a failed batch, a rollback).

    Asking the database for one row at a time costs more than all else. Rows that a protocol foresees are therefore
    loaded together before a batch (:meth:`prefetch`). Within a batch (:meth:`begin_batch`) a row that is not cached is
    taken not to exist, which is true of most: they are about to be inserted. At the end of the batch all those guesses
    are checked together; where one was wrong, :meth:`rewind` puts in the rows that were found and everything back as it
    was, and the batch is projected once more. Of a table that was empty when the cache was last cleared, every row is
    in the cache until it is trimmed: there a guess is certain.
    """

    def __init__(self, types: Iterable[RowType], load: Loader, *, cache_size: int = 200_000) -> None:
        self._tables: dict[type[Row], _Cached] = {row_type.model: _Cached(row_type) for row_type in types}
        self._load = load
        self._cache_size = cache_size
        self._block = 0
        self._batch = 0
        self._touched: list[_Entry] = []
        self._guessed: dict[RowType, list[Key]] | None = None
        self._journal: list[tuple[_Entry, tuple[Any, ...] | None]] = []
        """Rows touched in the batch, as they were before it."""

    def get(self, table: type[T], *key: JsonValue) -> T | None:
        """The row of ``table`` with this primary key (its columns in order), or None."""
        cached = self._tables.get(table) or self._cached(table)
        entry = cached.entries.get(key) or self._entry(cached, key)
        if entry.block != self._block:
            self._touch(entry)
        row: T | None = entry.row
        return row

    def insert(self, table: Callable[P, T], /, *args: P.args, **columns: P.kwargs) -> T:
        """Add a row: ``rows.insert(Position, provider=..., tier=...)``. Raises ValueError where the key exists."""
        model: Any = table
        cached = self._tables.get(model) or self._cached(model)
        row_type = cached.row_type
        try:
            row: T = row_type.make(*args, **columns)
        except TypeError as error:
            raise TypeError(_what_is_wrong(row_type, args, columns)) from error
        key = row_type.key_of(row)
        entry = cached.entries.get(key) or self._entry(cached, key)
        if entry.row is not None:
            raise ValueError(f"{row_type.name} {key!r} exists already")
        if entry.block != self._block:
            self._touch(entry)
        entry.row = row
        return row

    def delete(self, table: type[T], *key: JsonValue) -> None:
        """Remove a row; does nothing where there is none."""
        cached = self._tables.get(table) or self._cached(table)
        entry = cached.entries.get(key) or self._entry(cached, key)
        if entry.row is not None:
            if entry.block != self._block:
                self._touch(entry)
            entry.row = None

    def end_block(self, height: int) -> list[Change]:
        """The block's changes, ordered by table and key, each changed row stamped with ``height``."""
        changed: list[_Entry] = []
        for entry in self._touched:
            row, before = entry.row, entry.before
            if row is None:
                if before is not None:
                    changed.append(entry)
            elif before is None or astuple(row) != before:
                if entry.row_type.key_of(row) != entry.key:
                    name = entry.row_type.name
                    raise ValueError(f"{name} {entry.key!r}: a handler changed the primary key")
                row.updated_height = height
                changed.append(entry)
            else:
                entry.before = None
        changed.sort(key=_by_place)
        changes: list[Change] = []
        for entry in changed:
            key, values, image, row = entry.key, entry.before, entry.image, entry.row
            op: Op = "insert" if values is None else "delete" if row is None else "update"
            if values is None:
                image = None
            elif image is None:
                image = _encode_row(entry.row_type.to_json(values))
            after = entry.image = None if row is None else _encode_row(row)
            key_json = entry.key_json
            if key_json is None:
                key_json = entry.key_json = _encode(key)
            changes.append(Change(entry.row_type.name, key, op, image, after, key_json))
            entry.before = None
        self._touched.clear()
        self._block += 1
        return changes

    @property
    def complete(self) -> bool:
        """Whether every row there is is cached."""
        return all(cached.complete for cached in self._tables.values())

    def prefetch(self, keys: Iterable[tuple[type[Row], Key]], load_many: ManyLoader) -> None:
        """Load rows that are about to be asked for, together. Only between batches."""
        unknown: dict[RowType, dict[Key, None]] = {}
        for table, key in keys:
            cached = self._tables[table]
            if not cached.complete and key not in cached.entries:
                unknown.setdefault(cached.row_type, {})[key] = None
        found = load_many({row_type: list(asked) for row_type, asked in unknown.items()}) if unknown else {}
        for row_type, asked in unknown.items():
            entries = self._tables[row_type.model].entries
            for key in asked:
                entries[key] = _Entry(row_type, key, None)
            for key, stored in found.get(row_type, ()):
                entries[key] = _Entry(row_type, key, row_type.row_of(stored))

    def begin_batch(self) -> None:
        """From now on take rows that are not cached not to exist, until :meth:`end_batch`."""
        self._batch += 1
        self._guessed = {}
        self._journal.clear()

    @property
    def guessed(self) -> Mapping[RowType, Sequence[Key]]:
        """The keys that were taken not to exist since :meth:`begin_batch` or :meth:`rewind`."""
        return self._guessed or {}

    def rewind(self, found: Mapping[RowType, Sequence[tuple[Key, Sequence[Any]]]]) -> None:
        """Put everything back as it was when the batch began, and put in the rows that were ``found``."""
        for entry, values in self._journal:
            entry.row = None if values is None else entry.row_type.row_of(values)
            entry.before = entry.image = None
        for row_type, rows in found.items():
            entries = self._tables[row_type.model].entries
            for key, stored in rows:
                entries[key] = _Entry(row_type, key, row_type.row_of(stored))
        self._touched.clear()
        self._block += 1
        self.begin_batch()

    def end_batch(self) -> None:
        """What was guessed is true."""
        self._guessed = None
        for entry, _ in self._journal:
            entry.image = None  # to keep them all would double the memory
        self._journal.clear()

    def clear(self, empty: Collection[str] = ()) -> None:
        """Forget everything; rows are loaded again when asked for. ``empty``: names of tables known to hold no row."""
        for cached in self._tables.values():
            cached.entries.clear()
            cached.complete = cached.row_type.name in empty
        self._touched.clear()
        self._block += 1
        self.end_batch()

    def trim(self) -> None:
        """When the cache has grown past its size, drop the half that was touched longest ago. Only between batches."""
        if sum(len(cached.entries) for cached in self._tables.values()) <= self._cache_size:
            return
        touched = sorted(entry.block for cached in self._tables.values() for entry in cached.entries.values())
        oldest_kept = touched[len(touched) // 2] + 1
        for cached in self._tables.values():
            kept = {key: entry for key, entry in cached.entries.items() if entry.block >= oldest_kept}
            cached.complete &= len(kept) == len(cached.entries)
            cached.entries = kept

    def _cached(self, table: type[Row]) -> Never:
        raise TypeError(f"{table.__name__} belongs to no protocol of this index")

    def _entry(self, cached: _Cached, key: Key) -> _Entry:
        row_type = cached.row_type
        if len(key) != len(row_type.key_columns):
            raise TypeError(f"{row_type.name} is keyed by {row_type.key_columns}, got {key!r}")
        row = None
        if self._guessed is None:
            values = None if cached.complete else self._load(row_type, key)
            if values is not None:
                row = row_type.row_of(values)
        elif not cached.complete:
            self._guessed.setdefault(row_type, []).append(key)
        entry = cached.entries[key] = _Entry(row_type, key, row)
        return entry

    def _touch(self, entry: _Entry) -> None:
        entry.block = self._block
        row = entry.row
        entry.before = None if row is None else entry.row_type.values_of(row)
        self._touched.append(entry)
        if self._guessed is not None and entry.batch != self._batch:
            entry.batch = self._batch
            self._journal.append((entry, entry.before))


def _what_is_wrong(row_type: RowType, args: Sequence[Any], columns: Mapping[str, Any]) -> str:
    unknown = columns.keys() - set(row_type.columns)
    if args or unknown:
        return f"{row_type.name} takes its columns by name; not {list(args) or sorted(unknown)!r}"
    lacking = [name for name in row_type.columns if name not in columns and not _default(row_type.model, name)]
    return f"{row_type.name} needs {', '.join(lacking)}"


def _frozen_values(row: Any) -> tuple[Any, ...]:
    """A row's values with copies of mutable ones, so that a handler changing one in place still shows as a change."""
    return tuple([_copy(value) if isinstance(value, list | dict) else value for value in astuple(row)])


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copy(inside) for name, inside in value.items()}
    if isinstance(value, list):
        return [_copy(inside) for inside in value]
    return value
