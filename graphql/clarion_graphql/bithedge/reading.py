"""How views read: SQL over BitHedge's tables and the chain log, which an operation may read as they were."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from string import Formatter
from typing import Any, Final, LiteralString, TypeVar

from psycopg import sql

from clarion.protocols.bithedge.units import BurnHeight
from clarion_graphql.context import Info
from clarion_graphql.errors import ApiError, Code
from clarion_graphql.scalars import BigInt
from clarion_graphql.session import Session
from clarion_graphql.sql import Past, Sql, Table

T = TypeVar("T")

#: Most rows of one kind that a view reads of an address or a token; more is an error, never a cut list.
MOST_ROWS: Final = 10_000


def table(name: str) -> Table:
    """A table of the protocol."""
    return Table(f"bithedge.{name}", Past.PROJECTION)


_CURSOR: Final = Table("clarion.cursor", Past.TIP)

BURN_NOW: Final = sql.SQL(
    "(SELECT b.burn_height FROM {} c JOIN clarion.block b ON b.chain = c.chain AND b.hash = c.hash "
    "WHERE c.chain = 'stacks')"
).format(_CURSOR)
"""The Bitcoin block of the receipt."""

_NAMED: Final[Mapping[str, sql.Composable]] = {
    "cursor": _CURSOR,
    "burn_now": BURN_NOW,
    "canonical_block": Table("clarion.canonical_block", Past.LOG),
    "block": Table("clarion.block", Past.LOG),
    "event": Table("clarion.event", Past.LOG),
    "anomaly": Table("clarion.anomaly", Past.LOG),
    "transaction": Table("clarion.transaction", Past.LOG),
}


def composed(text: LiteralString) -> sql.Composed:
    """A piece of SQL in which ``{name}`` is a table: of the protocol, or of the core (``{event}``, ``{cursor}`` …)."""
    names = {name for _, name, _, _ in Formatter().parse(text) if name}
    return sql.SQL(text).format(**{name: _NAMED.get(name) or table(name) for name in names})


def reading(text: LiteralString, *parameters: Any) -> Sql:
    """A query whose ``{name}`` are tables as in :func:`composed`, with parameters for its ``%s``."""
    return Sql(composed(text), parameters)


async def read(session: Session, text: LiteralString, *parameters: Any, most: int = MOST_ROWS) -> list[tuple[Any, ...]]:
    """The rows of a query (:func:`reading`).

    Raises ApiError where there are more than ``most`` or more than the operation may still read.
    """
    rows = await session.fetch(reading(text, *parameters), at_most=1)
    if len(rows) > most:
        raise ApiError(
            Code.LIMIT_EXCEEDED, f"The view would have to read more than {most} rows: read them in pages instead."
        )
    return rows


async def burn_now(info: Info) -> BurnHeight | None:
    """The Bitcoin block that the answer is read at; None while that is not known."""
    receipt = (await info.context.session.receipts()).get("stacks")
    return None if receipt is None or receipt.burn_height is None else BurnHeight(receipt.burn_height)


async def known_burn(info: Info) -> BurnHeight:
    """The Bitcoin block that the answer is read at. Raises ApiError while that is not known."""
    now = await burn_now(info)
    if now is None:
        raise ApiError(
            Code.UNAVAILABLE, "The Bitcoin block of the index's tip is not known yet: ask again after the next block."
        )
    return now


async def parameters(session: Session) -> dict[str, int]:
    """The protocol's parameters by name."""
    return dict(await read(session, "SELECT p.key, p.value FROM {parameter} p"))


def big(value: int | None) -> BigInt | None:
    """An integer, or nothing, as the API has it."""
    return None if value is None else BigInt(value)


def made(kind: type[T], row: Sequence[Any]) -> T:
    """A view's type out of a row that holds its fields in their order."""
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    return kind(**dict(zip(names, row, strict=True)))
