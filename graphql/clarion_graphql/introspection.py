"""Answers to operations that ask for nothing but the schema, which stays as it is while the server runs."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
from graphql import GraphQLSchema, OperationType

from clarion_graphql.chains import root_fields
from clarion_graphql.documents import Operation
from clarion_graphql.shared_reads import SharedReads

if TYPE_CHECKING:
    from clarion_graphql.execution import Answer

#: What the kept answers and their documents may take, in bytes: that of a schema's every detail has several million.
MAX_BYTES: Final = 32 * 1024 * 1024
#: Operations that cost less, in fields, are executed where they are asked for: they take about a millisecond.
SMALLEST_KEPT: Final = 100

Key = tuple[str, str | None, bytes]


@dataclass(frozen=True, slots=True)
class _Asks:
    """What is noted of an operation."""

    for_schema_alone: bool


def asks_for_schema_alone(schema: GraphQLSchema, operation: Operation) -> bool:
    """Whether all the root fields of an operation are ``__schema``, ``__type`` and ``__typename`` of the query type."""
    asks: _Asks | None = operation.notes.get(_Asks)
    if asks is None:
        is_alone = operation.type is OperationType.QUERY and next(root_fields(schema, operation), None) is None
        asks = operation.notes[_Asks] = _Asks(is_alone)
    return asks.for_schema_alone


class Introspections:
    """Makes such answers in a thread, one after another and each once, and keeps them.

    The largest take seconds. All the others that are served meanwhile share the interpreter with one of them at most.
    """

    def __init__(self, *, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._answers: OrderedDict[Key, Answer] = OrderedDict()
        self._making = SharedReads(1)

    async def answer(
        self, text: str, operation: Operation, variables: Mapping[str, Any], make: Callable[[], Answer]
    ) -> Answer:
        """The answer to an operation of the document ``text``; ``make`` is called in a thread where it is not kept."""
        key = _key(text, operation, variables)
        found = self._answers.get(key)
        if found is not None:
            self._answers.move_to_end(key)
            return found
        return await self._making.read(key, lambda: self._made(key, operation, make))

    async def _made(self, key: Key, operation: Operation, make: Callable[[], Answer]) -> Answer:
        made = await asyncio.to_thread(make)
        if made.has_errors:
            return made
        # a directive may ask for a block first: such a request is looked at each time
        made = msgspec.structs.replace(made, cacheable=not operation.node.directives, tables=frozenset())
        self._answers[key] = made
        self._bytes += _size(key, made)
        while self._bytes > self._max_bytes:
            self._bytes -= _size(*self._answers.popitem(last=False))
        return made


def _key(text: str, operation: Operation, variables: Mapping[str, Any]) -> Key:
    declared = {definition.variable.name.value for definition in operation.node.variable_definitions or ()}
    given = {name: value for name, value in variables.items() if name in declared}
    return text, operation.name, msgspec.json.encode(given, order="deterministic")


def _size(key: Key, answer: Answer) -> int:
    text, _, variables = key
    return len(text) + len(variables) + len(answer.body)
