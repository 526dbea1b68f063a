"""Executing an operation: from a request to the bytes of its answer.

A document is parsed and validated once (:mod:`clarion_graphql.documents`). What it selects is read by one statement
where it can be compiled (:mod:`clarion_graphql.plan`), and otherwise by Strawberry's resolvers, always in one snapshot
of the database.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import perf_counter
from typing import Any, Final, Literal, TypeGuard, cast

import msgspec
import psycopg
import strawberry
from graphql import DocumentNode, ExecutionResult, GraphQLError, OperationType
from graphql import execute as execute_graphql
from graphql.pyutils import AwaitableOrValue
from strawberry.execution.is_awaitable import optimized_is_awaitable
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from clarion.chains.model import Chain
from clarion.config import Scope
from clarion_graphql import context, documents
from clarion_graphql.accounts.caller import ANYONE, Caller
from clarion_graphql.as_of import moments_of
from clarion_graphql.chains import chains_of
from clarion_graphql.context import Service
from clarion_graphql.documents import Documents, RequestError
from clarion_graphql.errors import ApiError, BadRequestError, Code, show_errors
from clarion_graphql.extensions import channels_of, require_scopes
from clarion_graphql.introspection import SMALLEST_KEPT, Introspections, asks_for_schema_alone
from clarion_graphql.leaves import executor_class
from clarion_graphql.limits import CostModel, Limits, check_document, cost_extension, cost_of, require_cost
from clarion_graphql.metrics import PLANS, durations_of
from clarion_graphql.plan.json_text import BrokenValueError
from clarion_graphql.plan.plans import Plan, Plans, bound, data_of
from clarion_graphql.receipt import Receipt
from clarion_graphql.waiting import wait_for_block

OperationKind = Literal["query", "mutation", "subscription"]

_NO_ANSWER: Final = (
    "A subscription has no single answer: subscribe over WebSocket (graphql-transport-ws), or read an event "
    "stream, from /graphql/stream or with `Accept: text/event-stream`."
)
_KINDS: Final[Mapping[OperationType, OperationKind]] = {
    OperationType.QUERY: "query",
    OperationType.MUTATION: "mutation",
    OperationType.SUBSCRIPTION: "subscription",
}


class GraphQLRequest(msgspec.Struct, frozen=True):
    """What a client asks. ``read_only``: a mutation is refused."""

    query: str
    variables: Mapping[str, Any] | None = None
    operation_name: str | None = None
    read_only: bool = False


class Answer(msgspec.Struct, frozen=True):
    """The whole answer as JSON, and what others need to know of it.

    ``executed`` is false where the request was refused before anything was executed: then the answer holds no
    ``data``. ``kind`` and ``operation_name`` are those of the chosen operation. ``cacheable``: until the next commit
    to the index the same request has the same answer, whoever asks.
    """

    body: bytes
    executed: bool
    has_errors: bool
    kind: OperationKind | None = None
    operation_name: str | None = None
    receipts: Mapping[Chain, Receipt] = msgspec.field(default_factory=dict)
    chains: frozenset[Chain] | None = None
    """The chains that it was read from; None where that may be any."""
    cacheable: bool = False
    tables: frozenset[str] | None = None
    """The tables (``schema.name``) that it was read from; None where that is not known."""

    @property
    def is_query(self) -> bool:
        """Whether the operation was a query."""
        return self.kind == "query"


class Executor:
    """Executes queries and mutations of one schema for one service."""

    def __init__(
        self,
        schema: strawberry.Schema,
        service: Service,
        limits: Limits = Limits(),  # noqa: B008
        *,
        plans: bool = True,
        leaf_loop: bool = True,
    ) -> None:
        """Without ``plans`` resolvers answer everything; without ``leaf_loop`` by graphql-core's executor alone."""
        self.documents = Documents(
            schema._schema,
            max_tokens=limits.tokens,
            check=lambda document: check_document(document, limits),
            suggest=limits.introspection,
        )
        self._limits = limits
        self._schema = schema._schema
        self._service = service
        self._plans = Plans(schema, service.pool) if plans else None
        self._introspections = Introspections()
        self.executor_class = executor_class() if leaf_loop else StrawberryGraphQLCoreExecutionContext

    async def execute(self, request: GraphQLRequest, caller: Caller = ANYONE) -> Answer:
        """The answer to a request of a caller; what is wrong with it is in the answer.

        Raises RefusedError where the caller's quota does not hold what the operation costs.
        """
        try:
            operation = self.documents.read(request.query).operation(request.operation_name)
        except RequestError as refused:
            return self.refused(refused.errors)
        kind = _KINDS[operation.type]
        if kind == "subscription":
            return self.refused([BadRequestError(_NO_ANSWER)], operation)
        if kind == "mutation" and request.read_only:
            return self.refused([ApiError(Code.METHOD_NOT_ALLOWED, "A mutation is sent with POST.")], operation)
        if kind == "query":
            try:
                caller.require(Scope.READ)
                require_scopes(self._schema, operation, caller)
            except GraphQLError as refused:
                return self.refused([refused], operation)
        began = perf_counter()
        try:
            return await self._run(request.query, operation, dict(request.variables or {}), caller)
        finally:
            durations_of(kind, operation.name).observe(perf_counter() - began)

    def chains_of(self, request: GraphQLRequest) -> frozenset[Chain] | None:
        """The chains that a request reads; None where that may be any, or it is refused."""
        try:
            operation = self.documents.read(request.query).operation(request.operation_name)
        except RequestError:
            return None
        return chains_of(self._schema, operation, request.variables or {})

    def channels_of(self, request: GraphQLRequest) -> frozenset[str]:
        """What tells of changes of what a request reads, beside its chains' commits; none where it is refused."""
        try:
            operation = self.documents.read(request.query).operation(request.operation_name)
        except RequestError:
            return frozenset()
        return channels_of(self._schema, operation)

    def cost(self, operation: documents.Operation, variables: Mapping[str, Any]) -> int:
        """What an operation costs: of a subscription, one message. Raises ApiError where it is above the limit."""
        known: CostModel | None = operation.notes.get(CostModel)
        if known is None:
            known = operation.notes[CostModel] = cost_of(self._schema, operation.document, operation.node)
        return require_cost(known, variables, self._limits)

    async def _run(
        self, text: str, operation: documents.Operation, variables: dict[str, Any], caller: Caller
    ) -> Answer:
        running = context.Operation(self._service, caller)
        is_of_past = False
        try:
            cost = self.cost(operation, variables)
            running.cost = cost_extension(cost, self._limits)
            self._service.accounts.charge(caller, cost)
            if operation.node.directives:
                await wait_for_block(self._service, self._schema, operation, variables)
                running.session.moments = moments_of(self._schema, operation, variables)
                is_of_past = bool(running.session.moments)
            running.chains = chains_of(self._schema, operation, variables)
            if cost >= SMALLEST_KEPT and asks_for_schema_alone(self._schema, operation):
                return await self._introspections.answer(
                    text, operation, variables, lambda: self._introspected(operation, variables, running)
                )
            if not is_of_past and operation.type is OperationType.QUERY:
                answer = await self._read(operation, variables, running)
                if answer is not None:
                    return answer
                await running.begin_again()
            result = await self._resolve(operation.document, operation.name, variables, running)
        except GraphQLError as error:
            result = ExecutionResult(None, [error])
        finally:
            await running.close()
        return _answer(operation, result, running)

    async def _read(
        self, operation: documents.Operation, variables: dict[str, Any], running: context.Operation
    ) -> Answer | None:
        """The answer by a plan; None where resolvers are to give the whole of it."""
        plans = self._plans
        planned = None if plans is None else plans.plan(operation, variables)
        if plans is None or planned is None:
            return None
        plan, values = planned
        try:
            if plan.rest is not None:
                return await self._read_and_resolve(operation, plan, values, variables, running)
            data, read = await plans.run(plan, values)
        except psycopg.OperationalError as error:
            return _answer(operation, plan.failed(error), running)
        except (psycopg.Error, BrokenValueError, ApiError, TypeError, ValueError):
            PLANS.labels("stepped_aside").inc()
            return None
        receipts, extensions = read.of(running.chains)
        if read.outdated and (outdated := read.outdated_of(plan.tables)):
            told = context.receipt_extensions(receipts, outdated)
            extensions = msgspec.json.encode(told)[1:-1]
        cost = b'"cost":{"requested":%d,"limit":%d}' % (running.cost["requested"], running.cost["limit"])
        return Answer(
            b"".join((b'{"data":', data, b',"extensions":{', cost, b"," if extensions else b"", extensions, b"}}")),
            executed=True,
            has_errors=False,
            kind="query",
            operation_name=operation.name,
            receipts=receipts,
            chains=running.chains,
            cacheable=True,
            tables=plan.tables,
        )

    async def _read_and_resolve(
        self,
        operation: documents.Operation,
        plan: Plan,
        values: Sequence[Any],
        variables: dict[str, Any],
        running: context.Operation,
    ) -> Answer:
        """The answer where only some of the fields are compiled, all of it in one snapshot."""
        row = await running.session.row(plan.first.text, bound(plan, values), plan.tables)
        assert plan.rest is not None
        result = await self._resolve(plan.rest, operation.name, variables, running)
        if result.data is not None:
            data = data_of(plan, row, result.data)
            result = ExecutionResult(cast("dict[str, Any]", msgspec.Raw(data)), result.errors)
        return _answer(operation, result, running)

    def _introspected(
        self, operation: documents.Operation, variables: dict[str, Any], running: context.Operation
    ) -> Answer:
        """The answer to an operation that asks for nothing but the schema."""
        result = self._begun(operation.document, operation.name, variables, running)
        assert isinstance(result, ExecutionResult)
        return _answer(operation, result, running)

    async def _resolve(
        self, document: DocumentNode, name: str | None, variables: dict[str, Any], running: context.Operation
    ) -> ExecutionResult:
        result = self._begun(document, name, variables, running)
        return result if isinstance(result, ExecutionResult) else await result

    def _begun(
        self, document: DocumentNode, name: str | None, variables: dict[str, Any], running: context.Operation
    ) -> AwaitableOrValue[ExecutionResult]:
        return execute_graphql(
            self._schema,
            document,
            context_value=running,
            variable_values=variables,
            operation_name=name,
            executor_class=self.executor_class,
            is_awaitable=cast("Callable[[Any], TypeGuard[Awaitable[Any]]]", optimized_is_awaitable),
            hide_suggestions=not self.documents.suggest,
            operation_extensions=None,
        )

    def close(self) -> None:
        """Close the connections."""
        if self._plans is not None:
            self._plans.close()

    def refused(self, errors: list[GraphQLError], operation: documents.Operation | None = None) -> Answer:
        """The answer to a request that is not executed."""
        shown = list(errors)
        show_errors(shown)
        return Answer(
            msgspec.json.encode({"errors": [error.formatted for error in shown]}),
            executed=False,
            has_errors=True,
            kind=None if operation is None else _KINDS[operation.type],
            operation_name=None if operation is None else operation.name,
        )


def _answer(operation: documents.Operation, result: ExecutionResult, running: context.Operation) -> Answer:
    errors = result.errors or []
    if errors:
        show_errors(errors)
    # an error without a path, beside no data, is of the request: its variables do not fit
    executed = result.data is not None or any(error.path for error in errors)
    answer: dict[str, Any] = {"data": result.data} if executed else {}
    if errors:
        answer["errors"] = [error.formatted for error in errors]
    has_data = result.data is not None
    if extensions := running.extensions(has_data=has_data):
        answer["extensions"] = extensions
    return Answer(
        msgspec.json.encode(answer),
        executed=executed,
        has_errors=bool(errors),
        kind=_KINDS[operation.type],
        operation_name=operation.name,
        receipts=running.receipts if has_data else {},
        chains=running.chains,
    )
