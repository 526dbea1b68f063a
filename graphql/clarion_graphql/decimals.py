"""Amounts in whole units beside those in base units: exact decimal numbers as text."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import Final

from psycopg import sql

from clarion_graphql.sql import Past, Table

#: A token that claims more decimal places than a 256-bit number has digits has no whole unit that means anything.
MAX_PLACES: Final = 77


@dataclass(frozen=True, slots=True)
class PlacesTable:
    """A table that says how many decimal places each token has: its key, which the rows of others hold under the same
    name, and the column with the number."""

    table: str
    key: str
    column: str


@dataclass(frozen=True, slots=True)
class Scale:
    """How many base units, as a power of ten, make a whole one, and how the field in whole ones is called.

    ``places`` is that power, or where it is told for each token. ``shown`` takes the place of ``ending`` in the
    column's name. ``unit`` names the whole unit.
    """

    places: int | PlacesTable
    unit: str
    shown: str
    ending: str = ""

    def name_of(self, column: str) -> str:
        """The name, as a column's, of the field in whole units."""
        return column.removesuffix(self.ending) + self.shown

    def is_told_by(self, columns: Container[str]) -> bool:
        """Whether a row with these columns says of which scale it is."""
        return isinstance(self.places, int) or self.places.key in columns

    def expression(self, value: sql.Composable) -> sql.Composable:
        """An amount of the row ``t`` in whole units, as text; null where it or the number of places is not known."""
        if isinstance(self.places, int):
            return sql.SQL("trim_scale({} * {})::text").format(value, sql.SQL(f"1e-{self.places}::numeric"))
        return sql.SQL(
            "(SELECT trim_scale({value} * ('1e-' || p.{column})::numeric)::text FROM {table} p "
            "WHERE p.{key} = t.{key} AND p.{column} BETWEEN 0 AND {most})"
        ).format(
            value=value,
            column=sql.Identifier(self.places.column),
            table=Table(self.places.table, Past.PROJECTION),
            key=sql.Identifier(self.places.key),
            most=sql.Literal(MAX_PLACES),
        )


def decimal_text(amount: int, places: int) -> str:
    """``amount`` base units in whole units of ``10^places``, without zeros at the end: 1500, 3 as ``1.5``."""
    whole, part = divmod(abs(amount), 10**places)
    sign = "-" if amount < 0 else ""
    digits = f"{part:0{places}}".rstrip("0") if part else ""
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"
