"""SQL text with its parameters, so that the two cannot come apart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, LiteralString

from psycopg import sql


@dataclass(frozen=True, slots=True)
class Sql:
    """A piece of SQL and the parameters of its placeholders, in order."""

    text: sql.SQL | sql.Composed
    parameters: tuple[Any, ...] = ()


TRUE: Final = Sql(sql.SQL("true"))


def literal(text: LiteralString, *parameters: Any) -> Sql:
    """A fixed text with parameters for its ``%s``."""
    return Sql(sql.SQL(text), parameters)


def build(text: LiteralString, **parts: sql.Composable | Sql) -> Sql:
    """``text`` with its ``{names}`` replaced. Parts with parameters must stand in the text in the order given."""
    texts = {name: part.text if isinstance(part, Sql) else part for name, part in parts.items()}
    parameters = tuple(parameter for part in parts.values() if isinstance(part, Sql) for parameter in part.parameters)
    return Sql(sql.SQL(text).format(**texts), parameters)


def join(parts: Iterable[Sql], separator: LiteralString) -> Sql:
    """Parts one after another."""
    listed = list(parts)
    return Sql(
        sql.SQL(separator).join(part.text for part in listed),
        tuple(parameter for part in listed for parameter in part.parameters),
    )


def all_of(conditions: Iterable[Sql | None]) -> Sql:
    """Every condition holds; ``true`` without any."""
    return _combined(conditions, " AND ", TRUE)


def any_of(conditions: Iterable[Sql | None]) -> Sql:
    """One of the conditions holds; ``false`` without any."""
    return _combined(conditions, " OR ", Sql(sql.SQL("false")))


def _combined(conditions: Iterable[Sql | None], separator: LiteralString, empty: Sql) -> Sql:
    listed = [condition for condition in conditions if condition is not None]
    if not listed:
        return empty
    if len(listed) == 1:
        return listed[0]
    return build("({inside})", inside=join(listed, separator))
