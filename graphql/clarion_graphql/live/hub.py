"""Where subscriptions begin: which group one belongs to, and what is executed for the group's messages."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeGuard, cast

import msgspec
import strawberry
from graphql import (
    ExecutionResult,
    FieldNode,
    GraphQLError,
    VariableNode,
    create_source_event_stream,
    execute_subscription_event,
)
from graphql.execution.execute import Executor as CoreExecutor
from strawberry.execution.is_awaitable import optimized_is_awaitable

from clarion.config import Scope
from clarion_graphql import context, documents
from clarion_graphql.accounts.caller import ANYONE, Caller
from clarion_graphql.context import Service
from clarion_graphql.documents import RequestError
from clarion_graphql.errors import show_errors
from clarion_graphql.execution import Executor
from clarion_graphql.extensions import require_scopes
from clarion_graphql.live.groups import STALL_S, Group, Render, group_of
from clarion_graphql.live.live_answers import LiveAnswers
from clarion_graphql.live.members import Member
from clarion_graphql.live.sources import LiveQuery, LogSource, Source
from clarion_graphql.live.touched import ReadTables, TouchedTables
from clarion_graphql.metrics import GROUPS

#: How many requests are remembered with the group that they belong to.
REMEMBERED: Final = 4_096


@dataclass(frozen=True, slots=True)
class Request:
    """What a client subscribes to. ``variables`` is JSON, as it was sent."""

    query: str
    variables: bytes = b"{}"
    operation_name: str | None = None


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A request that was understood: its group's key, what it costs, where it begins, and how to make the group."""

    key: Hashable
    cost: int
    since: int | None
    source: Source
    executor: CoreExecutor[Any]
    variables: dict[str, Any]
    operation: documents.Operation


class Hub:
    """All subscriptions of a server.

    ``stall_s``: how long a client may take nothing before its connection ends, in seconds.
    """

    def __init__(
        self, schema: strawberry.Schema, service: Service, executor: Executor, *, stall_s: float = STALL_S
    ) -> None:
        self._schema = schema._schema
        self._service = service
        self._executor = executor
        self._stall_s = stall_s
        self._touched = TouchedTables(service.pool, service.short_reads)
        self._read_tables = ReadTables.of_schema(schema)
        self._groups: dict[Hashable, Group] = {}
        self._prepared: OrderedDict[Request, _Prepared] = OrderedDict()

    @property
    def groups(self) -> int:
        """How many different subscriptions there are now."""
        return len(self._groups)

    async def open(
        self, request: Request, member: Member, caller: Caller = ANYONE, *, since: int | None = None
    ) -> Callable[[], None]:
        """Begin a subscription; what is returned ends it.

        ``since`` stands above the one in the request. Where no log is followed, what is so now comes first, whatever
        was told before.

        Raises:
            RequestError: it cannot begin.
            RefusedError: the caller's quota does not hold what a message of it costs.
        """
        try:
            caller.require(Scope.SUBSCRIBE)
        except GraphQLError as error:
            raise RequestError([error]) from None
        prepared = self._prepared.get(request)
        if prepared is None:
            prepared = await self._prepare(request, caller)
            self._prepared[request] = prepared
            if len(self._prepared) > REMEMBERED:
                self._prepared.popitem(last=False)
        else:
            self._prepared.move_to_end(request)
        try:
            require_scopes(self._schema, prepared.operation, caller)
        except GraphQLError as error:
            raise RequestError([error]) from None
        self._service.accounts.charge(caller, prepared.cost)
        if isinstance(prepared.source, LogSource):
            member.position = prepared.since if since is None else since
        group = self._live_group(prepared, caller) if isinstance(prepared.source, LiveQuery) else self._group(prepared)
        group.admit(member)
        return partial(group.leave, member)

    def _group(self, prepared: _Prepared) -> Group:
        return self._groups.get(prepared.key) or self._new_group(
            prepared.key, prepared.source, partial(self._render, prepared.executor)
        )

    def _live_group(self, prepared: _Prepared, caller: Caller) -> Group:
        """A live query may read what is for its caller alone: only callers that are not known share a group."""
        query = prepared.source
        assert isinstance(query, LiveQuery)
        try:
            caller.require(Scope.READ)
        except GraphQLError as error:
            raise RequestError([error]) from None
        key = (prepared.key, caller.credential)
        return self._groups.get(key) or self._new_group(
            key, self._live_answers(query, prepared.variables, caller).source(), _as_it_is
        )

    def _live_answers(self, query: LiveQuery, variables: dict[str, Any], caller: Caller) -> LiveAnswers:
        reads = self._read_tables.of(query, variables)
        return LiveAnswers(query, variables, self._executor, self._touched, reads, caller)

    def _new_group(self, key: Hashable, source: Source, render: Render) -> Group:
        made = self._groups[key] = group_of(
            source,
            self._service.feed,
            self._service.log_reads,
            self._touched,
            render,
            stall_s=self._stall_s,
            abandoned=partial(self._abandoned, key),
        )
        GROUPS.inc()
        return made

    def _abandoned(self, key: Hashable) -> None:
        del self._groups[key]
        GROUPS.dec()

    async def _prepare(self, request: Request, caller: Caller) -> _Prepared:
        operation = self._executor.documents.read(request.query).operation(request.operation_name)
        variables = _decoded(request.variables)
        try:
            cost = self._executor.cost(operation, variables)
        except GraphQLError as error:
            raise RequestError([error]) from None
        executor = self._executor.executor_class.build(
            self._schema,
            operation.document,
            context_value=context.Operation(self._service, caller),
            raw_variable_values=variables,
            operation_name=operation.name,
            is_awaitable=cast("Callable[[Any], TypeGuard[Awaitable[Any]]]", optimized_is_awaitable),
            hide_suggestions=not self._executor.documents.suggest,
            operation_extensions=None,
        )
        if isinstance(executor, list):
            raise RequestError(executor)
        found = create_source_event_stream(executor)
        source = await found if executor.is_awaitable(found) else found
        if isinstance(source, ExecutionResult):
            raise RequestError(source.errors or [])
        assert isinstance(source, Source)
        since = source.since if isinstance(source, LogSource) else None
        text, rest = _without_since(request.query, operation, variables)
        key = (text, operation.name, msgspec.json.encode(rest, order="deterministic"), source.what)
        return _Prepared(key, cost, since, source, executor, variables, operation)

    async def _render(self, executor: CoreExecutor[Any], root: Any) -> bytes:
        """The answer for one message, as JSON."""
        operation = context.Operation(self._service)
        event = executor.build_per_event_executor(root)
        event.context_value = operation
        try:
            outcome = execute_subscription_event(event)
            result = outcome if isinstance(outcome, ExecutionResult) else await outcome
        finally:
            await operation.close()
        answer: dict[str, Any] = {"data": result.data}
        if result.errors:
            show_errors(result.errors)
            answer["errors"] = [error.formatted for error in result.errors]
        if extensions := operation.extensions():
            answer["extensions"] = extensions
        return msgspec.json.encode(answer)


async def _as_it_is(body: bytes) -> bytes:
    return body


def _decoded(variables: bytes) -> dict[str, Any]:
    """Variables from JSON. Raises RequestError where they are no object."""
    try:
        return msgspec.json.decode(variables, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise RequestError([GraphQLError("variables is a JSON object.")]) from None


def _without_since(
    text: str, operation: documents.Operation, variables: Mapping[str, Any]
) -> tuple[str, Mapping[str, Any]]:
    """The document and its variables without where the subscription begins: for the rest they may be the same."""
    field = operation.node.selection_set.selections[0]
    if not isinstance(field, FieldNode):
        return text, variables
    given = next((argument for argument in field.arguments or () if argument.name.value == "since"), None)
    if given is None or given.loc is None:
        return text, variables
    if isinstance(given.value, VariableNode):
        name = given.value.name.value
        # once where it is declared and once here: whatever else it may stand for is part of the answer
        if text.count(f"${name}") == 2:
            return text, {key: value for key, value in variables.items() if key != name}
        return text, variables
    return text[: given.loc.start] + text[given.loc.end :], variables
