"""Plans: compiled operations, kept with their documents, and run."""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

import msgspec
import psycopg
import psycopg_pool
import strawberry
from graphql import (
    DocumentNode,
    ExecutionResult,
    FragmentDefinitionNode,
    GraphQLError,
    OperationDefinitionNode,
    SelectionSetNode,
)
from psycopg_pool import AsyncConnectionPool

from clarion.chains.model import Chain
from clarion_graphql import documents
from clarion_graphql.context import receipt_extensions, receipts_for
from clarion_graphql.metrics import PLANS
from clarion_graphql.plan.compile import Compiled, RootField, compile_operation
from clarion_graphql.plan.connections import Connections, Row, Statement, parameter
from clarion_graphql.plan.json_text import Derivations
from clarion_graphql.plan.shapes import VariableReader
from clarion_graphql.receipt import TIPS_AS_JSON, Receipt, outdated_of, receipts_of
from clarion_graphql.session import POOL_SIZE
from clarion_graphql.sql import Slot, Sql, join

#: Most shapes of variables, and values that statements depend on, that are remembered of one operation.
MOST_PLANS: Final = 64

_PLACEHOLDER: Final = re.compile("%(%|s)")
#: The snapshot that the statement reads, and the receipts in it where it is not the one that is known ($1).
#: On a replica the name of a snapshot does not say all.
_HEAD: Final = (
    "SELECT pg_current_snapshot()::text, CASE WHEN pg_current_snapshot()::text = $1 AND NOT pg_is_in_recovery() "
    f"THEN NULL ELSE ({TIPS_AS_JSON}) END"
)
_HEAD_COLUMNS: Final = 2


class Receipts:
    """The receipts of a snapshot, and how they stand in ``extensions``."""

    def __init__(self, by_chain: Mapping[Chain, Receipt]) -> None:
        self.by_chain = by_chain
        self._of: dict[frozenset[Chain] | None, tuple[Mapping[Chain, Receipt], bytes]] = {}

    def of(self, chains: frozenset[Chain] | None) -> tuple[Mapping[Chain, Receipt], bytes]:
        """Those of some chains (None: all), and ``"receipt":…`` of them, without braces; empty without any."""
        found = self._of.get(chains)
        if found is None:
            receipts = receipts_for(chains, self.by_chain)
            found = self._of[chains] = receipts, msgspec.json.encode(receipt_extensions(receipts, {}))[1:-1]
        return found


@dataclass(frozen=True, slots=True)
class Plan:
    """A statement for an operation with variables of one shape. The first of its parameters is the known snapshot."""

    statement: Statement
    parameters: Sequence[Any]
    fields: Sequence[RootField]
    texts: Sequence[bytes]
    """Of each field its name, and its value where that is constant."""
    derivations: Derivations
    tables: frozenset[str]
    rest: DocumentNode | None
    """The operation with only those fields that have resolvers; None where all are compiled."""

    def failed(self, error: Exception) -> ExecutionResult:
        """What is told where the statement failed: an error for each field that it was to give."""
        errors = [
            GraphQLError("The fields cannot be read.", root.nodes, path=[root.name], original_error=error)
            for root in self.fields
            if isinstance(root.text, Sql)
        ]
        if any(not root.nullable for root in self.fields if isinstance(root.text, Sql)):
            return ExecutionResult(None, errors[:1])
        constants = {root.name: json.loads(root.text) for root in self.fields if isinstance(root.text, str)}
        return ExecutionResult({root.name: constants.get(root.name) for root in self.fields}, errors)


@dataclass(frozen=True, slots=True)
class Selected:
    """What a plan read: the JSON of ``data``."""

    data: bytes
    receipts: Receipts
    tables: frozenset[str]

    @property
    def outdated(self) -> dict[str, int | None]:
        """Protocols that were read although their rows are not the tip's, and of which block those are."""
        return outdated_of(self.receipts.by_chain, self.tables)


@dataclass(slots=True)
class _Shape:
    """The plans of one shape, by the values that they depend on all the same; None where there can be none."""

    fixed: set[int] = field(default_factory=set)
    plans: OrderedDict[Hashable, Plan | None] = field(default_factory=OrderedDict)


@dataclass(slots=True)
class _Known:
    """What is known of an operation."""

    variables: VariableReader
    shapes: OrderedDict[Hashable, _Shape] = field(default_factory=OrderedDict)


class Plans:
    """Finds or makes the plan of an operation, and runs it."""

    def __init__(self, schema: strawberry.Schema, pool: AsyncConnectionPool) -> None:
        """``pool`` says how to connect; its own connections are not used."""
        self._schema = schema
        options = cast("dict[str, Any]", pool.kwargs)
        self._connections = Connections(cast("str", pool.conninfo), size=POOL_SIZE, timeout_s=pool.timeout, **options)
        self._snapshot: bytes = b""
        self._receipts = Receipts({})

    def plan(self, operation: documents.Operation, given: Mapping[str, Any]) -> tuple[Plan, Sequence[Any]] | None:
        """The plan of an operation and the values for it; None where its resolvers are to answer."""
        known: _Known | None = operation.notes.get(Plans)
        if known is None:
            reader = VariableReader(self._schema._schema, operation.node)
            known = operation.notes[Plans] = _Known(reader)
        variables = known.variables.read(given)
        if variables is None:
            return None
        shape = known.shapes.get(variables.shape)
        if shape is None:
            shape = known.shapes[variables.shape] = _Shape()
            _forget_oldest(known.shapes)
        values = variables.values
        try:
            key = tuple(values[index] for index in sorted(shape.fixed))
            if key in shape.plans:
                found = shape.plans[key]
                return None if found is None else (found, values)
        except TypeError:  # a list that a statement depends on
            return None
        before = len(shape.fixed)
        made = self._make(operation, known.variables, given, values, shape.fixed)
        if len(shape.fixed) != before:  # plans made before may depend on these values as well
            shape.plans.clear()
        try:
            shape.plans[tuple(values[index] for index in sorted(shape.fixed))] = made
        except TypeError:
            return None
        _forget_oldest(shape.plans)
        return None if made is None else (made, values)

    def _make(
        self,
        operation: documents.Operation,
        reader: VariableReader,
        given: Mapping[str, Any],
        values: Sequence[Any],
        fixed: set[int],
    ) -> Plan | None:
        try:
            variables = reader.with_slots(given, values, fixed.add)
            made = _plan(operation, compile_operation(self._schema, operation, variables))
        except Exception:  # whatever is wrong with the request, the resolvers say it
            made = None
        PLANS.labels("not_made" if made is None else "made").inc()
        return made

    async def run(self, plan: Plan, values: Sequence[Any]) -> Selected:
        """What a plan reads. Raises psycopg.Error, and whatever is wrong with a value."""
        parameters = bound(plan, values)
        for attempts_left in reversed(range(POOL_SIZE + 1)):
            snapshot, receipts = self._snapshot, self._receipts
            try:
                row = await self._connections.run(plan.statement, [snapshot, *parameters])
                break
            except psycopg.OperationalError as error:
                # a restart of the database breaks every connection there was
                if attempts_left == 0 or isinstance(error, psycopg_pool.PoolTimeout | psycopg.errors.QueryCanceled):
                    raise
        if row[1] is not None:
            receipts = Receipts(receipts_of(row[1]))
            self._snapshot, self._receipts = row[0] or b"", receipts
        return Selected(data_of(plan, row), receipts, plan.tables)

    def close(self) -> None:
        """Close the connections."""
        self._connections.close()


def bound(plan: Plan, values: Sequence[Any]) -> list[bytes | None]:
    """The parameters of a plan after the first. Raises InputError for a value that means nothing."""
    return [parameter(given.read(values) if isinstance(given, Slot) else given) for given in plan.parameters]


def data_of(plan: Plan, row: Row, resolved: Mapping[str, Any] | None = None) -> bytes:
    """The JSON of ``data``, of a row of the plan and of what resolvers gave."""
    columns = iter(row[_HEAD_COLUMNS:])
    parts: list[bytes] = []
    for root, text in zip(plan.fields, plan.texts, strict=True):
        parts.append(text)
        if isinstance(root.text, Sql):
            parts.append(plan.derivations.fill(next(columns) or b"null"))
        elif root.text is None:
            assert resolved is not None
            parts.append(msgspec.json.encode(resolved[root.name]))
    parts.append(b"}")
    return b"".join(parts)


def _plan(operation: documents.Operation, compiled: Compiled) -> Plan | None:
    columns = [root.text for root in compiled.fields if isinstance(root.text, Sql)]
    if not columns:
        return None
    selected = join(columns, ", ")
    places = iter(range(2, len(selected.parameters) + 2))
    text = _PLACEHOLDER.sub(lambda found: "%" if found[1] == "%" else f"${next(places)}", selected.text.as_string())
    return Plan(
        Statement(f"{_HEAD}, {text}"),
        selected.parameters,
        compiled.fields,
        [
            f'{"," if index else "{"}"{root.name}":{root.text if isinstance(root.text, str) else ""}'.encode()
            for index, root in enumerate(compiled.fields)
        ],
        compiled.derivations,
        compiled.tables,
        _rest(operation, [root for root in compiled.fields if root.text is None]),
    )


def _rest(operation: documents.Operation, roots: Sequence[RootField]) -> DocumentNode | None:
    if not roots:
        return None
    node = operation.node
    only = OperationDefinitionNode(
        operation=node.operation,
        name=node.name,
        variable_definitions=node.variable_definitions,
        directives=node.directives,
        selection_set=SelectionSetNode(selections=tuple(field for root in roots for field in root.nodes)),
        loc=node.loc,
    )
    fragments = [
        definition for definition in operation.document.definitions if isinstance(definition, FragmentDefinitionNode)
    ]
    return DocumentNode(definitions=(only, *fragments), loc=operation.document.loc)


def _forget_oldest(kept: OrderedDict[Hashable, Any]) -> None:
    if len(kept) > MOST_PLANS:
        kept.popitem(last=False)
