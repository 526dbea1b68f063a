"""The executor with the plain leaf fields in one loop answers as graphql-core's does, whatever the values are."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncIterator, Generator
from typing import Any, cast

import graphql
import pytest
import strawberry
from graphql import ExecutionResult, parse
from graphql.execution import execute_subscription_event
from strawberry.execution.is_awaitable import optimized_is_awaitable
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from clarion_graphql import leaves
from clarion_graphql.leaves import LeafExecutor, executor_class


@strawberry.enum
class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


def shout(value: Any) -> Any:
    if value == "silent":
        raise ValueError("nothing to shout")
    return None if value == "nothing" else f"{value}!"


Shout = cast("Any", type("Shout", (str,), {}))
SCALARS = {Shout: strawberry.scalar(name="Shout", serialize=shout)}


class Denied(strawberry.BasePermission):
    message = "denied"

    def has_permission(self, source: Any, info: Any, **kwargs: Any) -> bool:
        return not isinstance(source.number, int)


class Later:
    """A value that is there when it is awaited."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __await__(self) -> Generator[Any, None, Any]:
        yield from asyncio.sleep(0).__await__()
        if isinstance(self._value, Exception):
            raise self._value
        return self._value


@strawberry.type
class Thing:
    text: str
    maybe_text: str | None
    number: int
    maybe_number: int | None
    truth: bool
    id: strawberry.ID
    colour: Colour
    maybe_colour: Colour | None
    shout: Shout
    maybe_shout: Shout | None
    texts: list[str]
    maybe_texts: list[str | None] | None
    nested: list[list[int]]
    colours: list[Colour]
    other: Thing | None
    guarded: str | None = strawberry.field(permission_classes=[Denied])

    @strawberry.field
    def of_root(root: Any) -> str | None:  # noqa: N805
        return maker(root.maybe_number)

    @strawberry.field
    def of_self(self) -> str | None:
        return str(self.maybe_number)

    @strawberry.field
    def with_argument(self, times: int = 1) -> str:
        return self.text * times

    @strawberry.field
    async def found_Later(self) -> str:
        return self.text


def maker(number: Any) -> Any:
    """What a resolver may give: a value, an error, something to be awaited."""
    MADE.append(number)
    if number == 13:
        raise ValueError("unlucky")
    return Later(str(number)) if number == 14 else str(number)


MADE: list[Any] = []


@strawberry.type
class Query:
    things: list[Thing | None]
    sure: list[Thing]


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def things(self) -> AsyncIterator[Thing]:
        yield thing()


SCHEMA = strawberry.Schema(Query, subscription=Subscription, config=StrawberryConfig(scalar_map=SCALARS))
PLAIN: dict[str, Any] = {
    "text": "a",
    "maybe_text": None,
    "number": 1,
    "maybe_number": 2,
    "truth": True,
    "id": "i",
    "colour": Colour.RED,
    "maybe_colour": None,
    "shout": "s",
    "maybe_shout": None,
    "texts": ["x", "y"],
    "maybe_texts": ["x", None],
    "nested": [[1], [2, 3]],
    "colours": [Colour.RED, Colour.BLUE],
    "other": None,
    "guarded": "g",
}
#: Values that are no ordinary ones of their fields; those that are made are awaited, so that each way needs its own.
ODD: list[tuple[str, Any]] = [
    ("text", lambda: None),
    ("text", lambda: 5),
    ("text", lambda: {"no": "text"}),
    ("text", lambda: ValueError("no text")),
    ("text", lambda: Later("in time")),
    ("text", lambda: Later(None)),
    ("text", lambda: Later(ValueError("too late"))),
    ("maybe_text", lambda: ValueError("no text")),
    ("maybe_text", lambda: Later(ValueError("too late"))),
    ("maybe_text", lambda: True),
    ("maybe_text", lambda: graphql.Undefined),
    ("maybe_text", lambda: ["a"]),
    ("number", lambda: 2**31),
    ("number", lambda: -(2**31)),
    ("number", lambda: 1.5),
    ("number", lambda: 2.0),
    ("number", lambda: True),
    ("number", lambda: "7"),
    ("maybe_number", lambda: 2**31),
    ("maybe_number", lambda: 13),
    ("maybe_number", lambda: 14),
    ("truth", lambda: 1),
    ("truth", lambda: "yes"),
    ("id", lambda: 3),
    ("id", lambda: 1.5),
    ("colour", lambda: "red"),
    ("colour", lambda: "green"),
    ("maybe_colour", lambda: "green"),
    ("maybe_colour", lambda: Later(Colour.BLUE)),
    ("shout", lambda: "silent"),
    ("shout", lambda: "nothing"),
    ("maybe_shout", lambda: "silent"),
    ("maybe_shout", lambda: "nothing"),
    ("texts", lambda: None),
    ("texts", lambda: ["x", None]),
    ("texts", lambda: [None, None]),
    ("texts", lambda: ("x", "y")),
    ("texts", lambda: iter(["x", "y"])),
    ("texts", lambda: "xy"),
    ("texts", lambda: ["x", Later("y")]),
    ("texts", lambda: [Later("x"), Later(ValueError("too late"))]),
    ("texts", lambda: [ValueError("no item"), "x"]),
    ("maybe_texts", lambda: [{}, "x", []]),
    ("maybe_texts", lambda: [ValueError("no item"), None]),
    ("maybe_texts", lambda: 7),
    ("maybe_texts", list),
    ("nested", lambda: [[1], None]),
    ("colours", lambda: [Colour.RED, "green"]),
    ("other", lambda: thing(text=None)),
    ("other", lambda: Later(thing(number="many"))),
    ("guarded", lambda: Later("g")),
]
ALL = """
  __typename text maybeText number again: number maybeNumber truth id colour maybeColour shout maybeShout texts
  maybeTexts nested colours guarded ofRoot ofSelf foundLater withArgument(times: 2) kind: __typename
  other { text number other { id } }
"""
DOCUMENTS = [
    f"{{ things {{ {ALL} }} }}",
    f"{{ sure {{ {ALL} }} }}",
    "{ things { text maybeText number texts maybeTexts colours shout maybeShout maybeColour } }",
    "{ sure { maybeText text } things { number id } }",
    """
    query($yes: Boolean = true) {
      things { ...Some number @skip(if: $yes) ... on Thing @include(if: $yes) { colour other { id } } text }
    }
    fragment Some on Thing { b: text a: maybeText text other { text } ...More }
    fragment More on Thing { ofRoot maybeNumber maybeTexts truth }
    """,
]


def thing(**given: Any) -> Thing:
    return Thing(**{**PLAIN, **given})


async def run(kind: type[Any], text: str, root: Any) -> ExecutionResult:
    result = graphql.execute(
        SCHEMA._schema,
        parse(text),
        root_value=root,
        executor_class=kind,
        is_awaitable=cast("Any", optimized_is_awaitable),
        operation_extensions=None,
    )
    return result if isinstance(result, ExecutionResult) else await result


def told(result: ExecutionResult) -> tuple[str, list[Any]]:
    errors = [(error.formatted, type(error.original_error)) for error in result.errors or []]
    # as text: the order of the fields counts, and 1 is not True
    return repr(result.data), errors


async def compare(text: str, *given: dict[str, Any]) -> None:
    said = []
    for kind in (StrawberryGraphQLCoreExecutionContext, LeafExecutor):
        MADE.clear()
        rows = [thing(**{name: make() for name, make in row.items()}) for row in ({}, *given, {})]
        result = await run(kind, text, Query(things=cast("Any", rows), sure=rows))
        said.append((told(result), list(MADE)))
        await asyncio.sleep(0)
    assert said[0] == said[1]


@pytest.mark.parametrize("text", DOCUMENTS)
@pytest.mark.parametrize("index", range(len(ODD)))
async def test_odd_values(text: str, index: int) -> None:
    name, value = ODD[index]
    await compare(text, {name: value})


@pytest.mark.parametrize("text", DOCUMENTS)
@pytest.mark.parametrize("index", range(len(ODD)))
async def test_several_odd_values_of_one_object_and_of_two(text: str, index: int) -> None:
    name, value = ODD[index]
    for other, another in ODD[index % 7 :: 7]:
        await compare(text, {name: value, other: another})
        await compare(text, {name: value}, {other: another})


class Bare:
    """Has none of the attributes."""

    number = 1


@pytest.mark.parametrize("text", DOCUMENTS)
async def test_attributes_that_are_not_there(text: str) -> None:
    said = [
        told(await run(kind, text, Query(things=cast("Any", [thing(), Bare()]), sure=[thing()])))
        for kind in (StrawberryGraphQLCoreExecutionContext, LeafExecutor)
    ]
    assert said[0] == said[1]


async def test_plain_fields_need_no_info(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    build = LeafExecutor.build_resolve_info

    def noted(self: Any, field: Any, nodes: Any, *rest: Any) -> Any:
        asked.append(nodes[0].name.value)
        return build(self, field, nodes, *rest)

    monkeypatch.setattr(LeafExecutor, "build_resolve_info", noted)
    result = await run(
        LeafExecutor,
        "{ sure { __typename text maybeText number colour texts ofRoot nested foundLater guarded } }",
        Query(things=[], sure=[thing()]),
    )
    assert result.data is not None
    assert asked == ["sure", "nested", "foundLater", "guarded"]


def test_messages_of_a_subscription_leave_nothing_behind() -> None:
    executor = executor_class().build(
        SCHEMA._schema, parse("subscription { things { text other { text } } }"), operation_extensions=None
    )
    assert not isinstance(executor, list)
    for _ in range(3):
        event = executor.build_per_event_executor({"things": thing(other=thing())})
        result = execute_subscription_event(event)
        assert isinstance(result, ExecutionResult)
    assert not executor._relevant_sub_fields
    assert isinstance(executor, LeafExecutor)
    assert not executor._steps


def test_another_graphql_core_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert executor_class() is LeafExecutor
    monkeypatch.setattr(leaves, "version", lambda name: "3.4.0")
    assert executor_class() is StrawberryGraphQLCoreExecutionContext
    monkeypatch.undo()
    monkeypatch.setattr(graphql.execution.Executor, "execute_fields", lambda self, fields: {})
    assert executor_class() is StrawberryGraphQLCoreExecutionContext
