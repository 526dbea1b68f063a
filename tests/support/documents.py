"""Makes up queries over a schema: any fields, arguments, fragments, aliases, directives and variables, wrong ones too.

The same seed gives the same query. Values are drawn from :class:`Samples`, so that filters find something.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLObjectType,
    GraphQLSchema,
    get_named_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    is_required_argument,
    is_required_input_field,
)

WRONG: Final = (
    None,
    "",
    "x",
    -1,
    0,
    2**40,
    True,
    [],
    {},
    "\x00",
    "0x0g",
    "2020-01-01",
    1.5,
    [None],
    'é"\\\n\u2028',
)
DEPTH: Final = 4
#: How likely an argument is given; a cursor is mostly of another list or order.
_CHANCES: Final = {"first": 0.6, "last": 0.25, "after": 0.03, "before": 0.03, "groupBy": 0.3, "orderBy": 0.2}


@dataclass
class Samples:
    """Values as answers show them: of columns by type and field, and cursors by field."""

    values: dict[tuple[str, str], list[Any]] = field(default_factory=lambda: defaultdict(list))
    cursors: list[str] = field(default_factory=list)


class Name(str):
    """A name of an enum's value, not a string."""


@dataclass(frozen=True)
class Query:
    """A document with its variables."""

    text: str
    variables: Mapping[str, Any]


class Generator:
    """Queries of one seed."""

    def __init__(
        self, schema: GraphQLSchema, samples: Samples, seed: int, *, roots: Callable[[GraphQLField], bool]
    ) -> None:
        self._schema = schema
        self._samples = samples
        self._chance = random.Random(seed)
        self._roots = roots
        self._variables: dict[str, tuple[str, Any, str]] = {}
        self._fragments: list[str] = []
        self._given: dict[str, Any] = {}

    def query(self) -> Query:
        """The next one."""
        self._variables, self._fragments, self._given = {}, [], {}
        query = self._schema.query_type
        assert query is not None
        roots = [name for name, definition in query.fields.items() if self._roots(definition)]
        others = [name for name in query.fields if name not in roots and name in ("status",)]
        parts = []
        for _ in range(self._chance.choice((1, 1, 1, 1, 2, 3))):
            if self._likely(0.03):
                parts.append(self._selected("__typename", None))
            elif others and self._likely(0.04):
                parts.append(self._selected("status", " { version inbox { depth } }"))
            else:
                parts.append(self._field(query, self._chance.choice(roots), DEPTH))
        definitions = ", ".join(f"${name}: {of}{default}" for name, (of, _, default) in self._variables.items())
        name = self._chance.choice(("", " Q"))
        head = f"query{name}({definitions}) " if definitions else self._chance.choice(("", f"query{name} "))
        text = head + "{ " + " ".join(parts) + " }" + "".join(f"\n{fragment}" for fragment in self._fragments)
        return Query(text, self._given)

    def _likely(self, chance: float) -> bool:
        return self._chance.random() < chance

    def _selected(self, name: str, inside: str | None, arguments: str = "") -> str:
        alias = self._chance.choice("abcdefgh") + str(self._chance.randrange(1000)) + ": " if self._likely(0.3) else ""
        directive = ""
        if self._likely(0.08):
            directive = f" @{self._chance.choice(('skip', 'include'))}(if: {self._boolean()})"
        return f"{alias}{name}{arguments}{directive}{inside or ''}"

    def _boolean(self) -> str:
        value = self._chance.random() < 0.5
        if self._likely(0.5):
            return self._variable("Boolean!", value)
        return json.dumps(value)

    def _field(self, of: GraphQLObjectType, name: str, depth: int) -> str:
        definition = of.fields[name]
        entity = get_named_type(definition.type).name.removesuffix("Connection").removesuffix("Aggregate")
        arguments = self._arguments(definition, entity)
        named = get_named_type(definition.type)
        inside = self._selection(named, depth) if isinstance(named, GraphQLObjectType) else None
        return self._selected(name, inside, arguments)

    def _selection(self, of: GraphQLObjectType, depth: int) -> str:
        names = [
            name for name, definition in of.fields.items() if is_leaf_type(get_named_type(definition.type)) or depth > 0
        ]
        leaves = [name for name in names if is_leaf_type(get_named_type(of.fields[name].type))]
        others = [name for name in names if name not in leaves]
        wanted = self._chance.sample(leaves, min(len(leaves), self._chance.randrange(1, 7)))
        wanted += self._chance.sample(others, min(len(others), self._chance.choice((0, 1, 1, 2))))
        if not wanted:
            wanted = others[:1]
        if of.name.endswith("Connection") and "nodes" not in wanted and self._likely(0.7):
            wanted.append("nodes")
        parts = [self._field(of, name, depth - 1) for name in wanted]
        if self._likely(0.15):
            parts.insert(self._chance.randrange(len(parts) + 1), self._selected("__typename", None))
        if self._likely(0.15):
            at = self._chance.randrange(len(parts))
            parts[at:] = [self._fragment(of, " ".join(parts[at:]))]
        if self._likely(0.05):  # the same again: fields merge
            parts.append(parts[0])
        return " { " + " ".join(parts) + " }"

    def _fragment(self, of: GraphQLObjectType, inside: str) -> str:
        directive = f" @include(if: {self._boolean()})" if self._likely(0.2) else ""
        if self._likely(0.5):
            condition = self._chance.choice((f" on {of.name}", "")) if of.interfaces == () else f" on {of.name}"
            return f"...{condition}{directive} {{ {inside} }}"
        name = f"F{len(self._fragments)}"
        self._fragments.append(f"fragment {name} on {of.name} {{ {inside} }}")
        return f"...{name}{directive}"

    def _arguments(self, definition: GraphQLField, entity: str) -> str:
        given = []
        names = list(definition.args)
        for name, argument in definition.args.items():
            if name in ("last", "first") and any(text.startswith(("first", "last")) for text in given):
                if not self._likely(0.03):
                    continue
            elif not is_required_argument(argument) and not self._likely(_CHANCES.get(name, 0.35)):
                continue
            given.append(f"{name}: {self._argument(entity, name, argument)}")
        if "first" in names and not any(text.startswith(("first", "last")) for text in given):
            given.append(f"first: {self._chance.randrange(4)}")
        return f"({', '.join(given)})" if given else ""

    def _argument(self, entity: str, name: str, argument: GraphQLArgument) -> str:
        value = self._value(entity, name, argument.type, 2)
        if self._likely(0.01):
            value = self._chance.choice(WRONG)
        return self._written(value, argument.type, str(argument.type))

    def _value(self, entity: str, name: str, type_: GraphQLInputType, depth: int) -> Any:
        if is_non_null_type(type_):
            type_ = type_.of_type
        elif self._likely(0.005):
            return None
        if is_list_type(type_):
            return [self._value(entity, name, type_.of_type, depth) for _ in range(self._chance.randrange(4))]
        if isinstance(type_, GraphQLEnumType):
            return Name(self._chance.choice(list(type_.values)))
        if isinstance(type_, GraphQLInputObjectType):
            return self._object(entity, name, type_, depth)
        return self._leaf(entity, name, type_.name)

    def _object(self, entity: str, name: str, type_: GraphQLInputObjectType, depth: int) -> dict[str, Any]:
        if type_.name.endswith("Filter"):
            entity = type_.name.removesuffix("Filter").removesuffix("List")
        names = list(type_.fields)
        required = [each for each, of in type_.fields.items() if is_required_input_field(of)]
        simple = [each for each in names if not self._recurs(type_.fields[each].type)]
        pool = names if depth > 0 and self._likely(0.4) else simple
        wanted = self._chance.sample(pool, min(len(pool), self._chance.choice((0, 1, 1, 1, 2, 2, 3))))
        inner = {}
        for each in dict.fromkeys([*required, *wanted]):
            column = name if type_.name.endswith("Comparison") else each
            inner[each] = self._value(entity, column, type_.fields[each].type, depth - 1)
        return inner

    def _recurs(self, type_: GraphQLInputType) -> bool:
        return get_named_type(type_).name.endswith("Filter")

    def _leaf(self, entity: str, name: str, of: str) -> Any:
        known = self._samples.values.get((entity, name)) or self._samples.values.get(("", of))
        match of:
            case "Boolean":
                return self._likely(0.5)
            case "Int" if name in ("first", "last", "atMost", "every"):
                return self._chance.choice((0, 1, 2, 3, 4, 5, 5, 7, 50))
            case "String" if name in ("after", "before"):
                return self._chance.choice(self._samples.cursors) if self._samples.cursors else "x"
        if known and self._likely(0.9):
            return self._chance.choice(known)
        match of:
            case "Int":
                return self._chance.choice((0, 1, 2, 5, 100, -1, 2**31 - 1))
            case "BigInt":
                return self._chance.choice((0, "1", "100000000", str(2**100), -5))
            case "DateTime":
                return self._chance.choice(("2026-01-01T00:00:00Z", "2030-01-01T00:00:00+02:00", "2026-01-01T00:00:00"))
            case "Bytes":
                return self._chance.choice(("0x", "0x00", "0X" + "ab" * 32))
            case _:
                return self._chance.choice(("", "a", "S", "BTC", "put", "é", "%", "_"))

    def _variable(self, of: str, value: Any, default: str = "") -> str:
        name = f"v{len(self._variables)}"
        self._variables[name] = (of, value, default)
        self._given[name] = value
        return f"${name}"

    def _written(self, value: Any, type_: GraphQLInputType, declared: str) -> str:
        """A value as a literal, or as a variable, or with variables in it."""
        if self._likely(0.3):
            written = self._variable(declared, value)
            fate = self._chance.random()
            if fate < 0.02:
                del self._given[written[1:]]
            elif fate < 0.03:
                self._given[written[1:]] = self._chance.choice(WRONG)
            return written
        inner = type_.of_type if is_non_null_type(type_) else type_
        if isinstance(value, dict) and isinstance(inner, GraphQLInputObjectType):
            members = [
                f"{name}: {self._written(each, inner.fields[name].type, str(inner.fields[name].type))}"
                for name, each in value.items()
            ]
            return "{" + ", ".join(members) + "}"
        if isinstance(value, list) and is_list_type(inner):
            return "[" + ", ".join(self._written(each, inner.of_type, str(inner.of_type)) for each in value) + "]"
        return literal(value)


def literal(value: Any) -> str:
    """A value in GraphQL's notation."""
    if isinstance(value, Name):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {literal(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(literal(each) for each in value) + "]"
    return json.dumps(value)


def take_samples(samples: Samples, schema: GraphQLSchema, of: str, value: Any) -> None:
    """Remember what an answer shows of a value of the type ``of``; its fields are not aliased."""
    named = schema.type_map[of]
    if isinstance(value, Sequence) and not isinstance(value, str):
        for each in value:
            take_samples(samples, schema, of, each)
    elif isinstance(named, GraphQLObjectType) and isinstance(value, Mapping):
        for name, inside in value.items():
            within = get_named_type(named.fields[name].type)
            if name in ("cursor", "startCursor", "endCursor") and inside is not None:
                samples.cursors.append(inside)
            elif isinstance(within, GraphQLObjectType):
                take_samples(samples, schema, within.name, inside)
            elif inside is not None:
                samples.values[of, name].append(Name(inside) if isinstance(within, GraphQLEnumType) else inside)
