"""How views read: SQL over a protocol's tables and the chain log, which an operation may read as they were."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from string import Formatter
from typing import Any, Final, LiteralString, TypeVar

from psycopg import sql

from clarion_graphql.entities import Entity
from clarion_graphql.errors import ApiError, Code
from clarion_graphql.scalars import BigInt
from clarion_graphql.session import Session
from clarion_graphql.sql import Past, Sql, Table, build

T = TypeVar("T")

#: Most rows of one kind that a view reads of an address or a token; more is an error, never a cut list.
MOST_ROWS: Final = 10_000

CURSOR: Final = Table("clarion.cursor", Past.TIP)
"""Where each chain stands."""

_CORE: Final[Mapping[str, sql.Composable]] = {
    "cursor": CURSOR,
    "canonical_block": Table("clarion.canonical_block", Past.LOG),
    "block": Table("clarion.block", Past.LOG),
    "event": Table("clarion.event", Past.LOG),
    "anomaly": Table("clarion.anomaly", Past.LOG),
    "transaction": Table("clarion.transaction", Past.LOG),
}


class Tables:
    """The tables of a protocol, and those of the core, as names in SQL.

    ``named`` are further pieces of SQL, which take precedence. Of a protocol whose own tables have names of the
    core's, those of ``own`` are meant.
    """

    def __init__(
        self, protocol: str, named: Mapping[str, sql.Composable] | None = None, *, own: Sequence[str] = ()
    ) -> None:
        self._protocol = protocol
        self._named = {**_CORE, **{name: self.table(name) for name in own}, **(named or {})}

    def table(self, name: str) -> Table:
        """A table of the protocol."""
        return Table(f"{self._protocol}.{name}", Past.PROJECTION)

    def composed(self, text: LiteralString) -> sql.Composed:
        """A piece of SQL in which ``{name}`` is a table of the protocol, or of the core (``{event}``, ``{cursor}``)."""
        names = {name for _, name, _, _ in Formatter().parse(text) if name}
        return sql.SQL(text).format(**{name: self._named.get(name) or self.table(name) for name in names})

    def reading(self, text: LiteralString, *parameters: Any) -> Sql:
        """A query whose ``{name}`` are tables as in :meth:`composed`, with parameters for its ``%s``."""
        return Sql(self.composed(text), parameters)

    async def read(
        self, session: Session, text: LiteralString, *parameters: Any, most: int = MOST_ROWS
    ) -> list[tuple[Any, ...]]:
        """The rows of a query (:meth:`reading`).

        Raises ApiError where there are more than ``most`` or more than the operation may still read.
        """
        rows = await session.fetch(self.reading(text, *parameters), at_most=1)
        _require_few(rows, most)
        return rows

    async def rows(
        self, session: Session, entity: Entity, condition: LiteralString, *parameters: Any, most: int = MOST_ROWS
    ) -> list[Any]:
        """The entity's rows ``t`` that fulfil a condition (as in :meth:`reading`), which may end with an order.

        Raises ApiError where there are more than ``most`` or more than the operation may still read.
        """
        query = build(
            "SELECT {columns} FROM {source} t WHERE {condition} LIMIT {limit}",
            columns=entity.selected,
            source=entity.source,
            condition=self.reading(condition, *parameters),
            limit=Sql(sql.SQL("%s"), (most + 1,)),
        )
        found = await session.fetch(query, at_most=1)
        _require_few(found, most)
        return [entity.make(*row) for row in found]


def _require_few(rows: Sequence[Any], most: int) -> None:
    if len(rows) > most:
        raise ApiError(
            Code.LIMIT_EXCEEDED, f"The view would have to read more than {most} rows: read them in pages instead."
        )


def big(value: int | None) -> BigInt | None:
    """An integer, or nothing, as the API has it."""
    return None if value is None else BigInt(value)


def made(kind: type[T], row: Sequence[Any]) -> T:
    """A view's type out of a row that holds its fields in their order."""
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    return kind(**dict(zip(names, row, strict=True)))
