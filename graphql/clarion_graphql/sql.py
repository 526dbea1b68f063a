"""SQL text with its parameters, so that the two cannot come apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, LiteralString, NoReturn

from psycopg import sql


class Past(Enum):
    """How a table is read as it was at an earlier block."""

    PROJECTION = "projection"
    """From the change log: ``clarion.as_of``."""
    LOG = "log"
    """By the column ``height``: its rows never change."""
    TIP = "tip"
    """``clarion.cursor``, which then stands at that block."""


class Table(sql.Identifier):
    """A table (``schema.name``) in a query that an operation may read as it was at an earlier block."""

    def __init__(self, name: str, past: Past) -> None:
        super().__init__(*name.split("."))
        self.name = name
        self.past = past


def tables_in(text: sql.Composable) -> Iterator[Table]:
    """The tables that a query reads and that may be read as they were."""
    if isinstance(text, Table):
        yield text
    elif isinstance(text, sql.Composed):
        for part in text:
            yield from tables_in(part)


def with_relations(text: sql.Composable, relations: Mapping[str, sql.Composable]) -> sql.Composable:
    """A query with relations in place of such tables, by the tables' names."""
    if isinstance(text, Table):
        return relations[text.name]
    if isinstance(text, sql.Composed):
        return sql.Composed([with_relations(part, relations) for part in text])
    return text


class Slot:
    """A parameter that is not known yet: what becomes of a client's value each time that a statement runs.

    It goes where the value would go, into the parameters of a :class:`Sql`. Nothing can be asked of it, so that SQL
    which would be another one for another value cannot be taken for all values: what needs the value asks
    :func:`concrete` for it.
    """

    __slots__ = ("_fix", "many", "read")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, read: Callable[[Sequence[Any]], Any], fix: Callable[[], Any], *, many: bool = False) -> None:
        self.read = read
        """The parameter, from the values of one request."""
        self.many = many
        """It is the only item of a list and stands for all of the list's, however many those are."""
        self._fix = fix

    def then(self, convert: Callable[[Any], Any]) -> Slot:
        """What ``convert`` makes of the value."""
        read, fix = self.read, self._fix
        return Slot(lambda values: convert(read(values)), lambda: convert(fix()))

    def fix(self) -> Any:
        """The value of the request that the statement is made for: it is only for requests with the same one."""
        return self._fix()

    def _unknown(self, *_: object) -> NoReturn:
        raise TypeError("the value of a variable is not known when a statement is made")

    __bool__ = __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __len__ = __iter__ = _unknown
    __str__ = __repr__ = __format__ = __int__ = __index__ = _unknown


def concrete(value: Any) -> Any:
    """A value, also of a :class:`Slot`."""
    return value.fix() if isinstance(value, Slot) else value


def converted(value: Any, convert: Callable[[Any], Any]) -> Any:
    """What ``convert`` makes of a value; of a :class:`Slot`'s when it is known."""
    return value.then(convert) if isinstance(value, Slot) else convert(value)


def converted_all(values: Any, convert: Callable[[Sequence[Any]], Any]) -> Any:
    """What ``convert`` makes of a list that may hold slots, or is one."""
    if isinstance(values, Slot):
        return values.then(convert)
    listed = list(values)
    if not any(isinstance(value, Slot) for value in listed):
        return convert(listed)
    if len(listed) == 1 and listed[0].many:
        return listed[0].then(convert)
    return Slot(
        lambda known: convert([value.read(known) if isinstance(value, Slot) else value for value in listed]),
        lambda: convert([concrete(value) for value in listed]),
    )


@dataclass(frozen=True, slots=True)
class Sql:
    """A piece of SQL and the parameters of its placeholders, in order."""

    text: sql.SQL | sql.Composed
    parameters: tuple[Any, ...] = ()


TRUE: Final = Sql(sql.SQL("true"))


def literal(text: LiteralString, *parameters: Any) -> Sql:
    """A fixed text with parameters for its ``%s``."""
    return Sql(sql.SQL(text), parameters)


def build(text: LiteralString, /, **parts: sql.Composable | Sql) -> Sql:
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
