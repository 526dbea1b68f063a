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
from clarion_graphql.plan.json_text import BROKEN, Derivations
from clarion_graphql.plan.shapes import VariableReader
from clarion_graphql.receipt import TIPS_AS_JSON, Receipt, outdated_of, receipts_of
from clarion_graphql.session import POOL_SIZE
from clarion_graphql.sql import Slot, Sql, join

#: Most shapes of variables, and values that statements depend on, that are remembered of one operation.
MOST_PLANS: Final = 64

_PLACEHOLDER: Final = re.compile("%(%|s)")
#: The name of the snapshot that a statement reads; null on a replica, where that does not say all.
_SNAPSHOT: Final = "CASE WHEN NOT pg_is_in_recovery() THEN pg_current_snapshot()::text END"
#: What comes before an operation's own columns: the snapshot and the receipts in it.
_HEAD: Final = f"SELECT {_SNAPSHOT}, ({TIPS_AS_JSON})"
#: The same without the receipts, which cost more than many a query.
_SHORT_HEAD: Final = f"SELECT {_SNAPSHOT}, NULL"
_HEAD_COLUMNS: Final = 2


class Receipts:
    """The receipts of a snapshot, and how they stand in ``extensions``."""

    def __init__(self, by_chain: Mapping[Chain, Receipt]) -> None:
        self.by_chain = by_chain
        self.outdated = any(receipt.outdated for receipt in by_chain.values())
        """Some protocol's rows are not the tip's."""
        self._of: dict[frozenset[Chain] | None, tuple[Mapping[Chain, Receipt], bytes]] = {}

    def of(self, chains: frozenset[Chain] | None) -> tuple[Mapping[Chain, Receipt], bytes]:
        """Those of some chains (None: all), and ``"receipt":…`` of them, without braces; empty without any."""
        found = self._of.get(chains)
        if found is None:
            receipts = receipts_for(chains, self.by_chain)
            found = self._of[chains] = receipts, msgspec.json.encode(receipt_extensions(receipts, {}))[1:-1]
        return found

    def outdated_of(self, tables: frozenset[str]) -> dict[str, int | None]:
        """The protocols of these tables whose rows are not the tip's, and of which block those are."""
        return outdated_of(self.by_chain, tables)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run for an operation with variables of one shape."""

    first: Statement
    """Gives the snapshot, the receipts in it, and the fields' JSON."""
    again: Statement
    """The same without the receipts: where it gives the snapshot that these are known of, they need not be read."""
    parameters: Sequence[Any]
    fields: Sequence[RootField]
    texts: Sequence[bytes]
    """Of each field its name, and its value where that is constant."""
    derivations: Derivations
    as_it_is: bool
    """What the statement gives is the fields' JSON: nothing is put into it, and it cannot be broken."""
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


@dataclass(slots=True)
class _Shape:
    """The plans of one shape, by the values that they depend on all the same; None where there can be none."""

    fixed: set[int] = field(default_factory=set)
    plans: OrderedDict[Hashable, Plan | None] = field(default_factory=OrderedDict)

    def key(self, values: Sequence[Any]) -> Hashable:
        """What the plan for these values is found by; not to be hashed where it depends on a list."""
        return tuple([values[index] for index in sorted(self.fixed)]) if self.fixed else ()


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
        self._snapshot: bytes | None = None
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
            key = shape.key(values)
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
            shape.plans[shape.key(values)] = made
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

    async def run(self, plan: Plan, values: Sequence[Any]) -> tuple[bytes, Receipts]:
        """The JSON of ``data``, and the receipts. Raises psycopg.Error, and whatever is wrong with a value."""
        parameters = bound(plan, values)
        if self._snapshot is not None:
            row = await self._row(plan.again, parameters)
            if row[0] is not None and row[0] == self._snapshot:
                return data_of(plan, row), self._receipts
        row = await self._row(plan.first, parameters)
        receipts = self._receipts = Receipts(receipts_of(row[1] or b"[]"))
        self._snapshot = row[0]
        return data_of(plan, row), receipts

    async def _row(self, statement: Statement, parameters: Sequence[bytes | None]) -> Row:
        for _ in range(POOL_SIZE):
            try:
                return await self._connections.run(statement, parameters)
            except psycopg.OperationalError as error:
                # a restart of the database breaks every connection there was
                if isinstance(error, psycopg_pool.PoolTimeout | psycopg.errors.QueryCanceled):
                    raise
        return await self._connections.run(statement, parameters)

    def close(self) -> None:
        """Close the connections."""
        self._connections.close()


def bound(plan: Plan, values: Sequence[Any]) -> list[bytes | None]:
    """The parameters of a plan. Raises InputError for a value that means nothing."""
    return [parameter(given.read(values) if isinstance(given, Slot) else given) for given in plan.parameters]


def data_of(plan: Plan, row: Row, resolved: Mapping[str, Any] | None = None) -> bytes:
    """The JSON of ``data``, of a row of the plan and of what resolvers gave."""
    columns = iter(row[_HEAD_COLUMNS:])
    parts: list[bytes] = []
    for root, text in zip(plan.fields, plan.texts, strict=True):
        parts.append(text)
        if isinstance(root.text, Sql):
            value = next(columns) or b"null"
            parts.append(value if plan.as_it_is else plan.derivations.fill(value))
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
    places = iter(range(1, len(selected.parameters) + 1))
    text = _PLACEHOLDER.sub(lambda found: "%" if found[1] == "%" else f"${next(places)}", selected.text.as_string())
    return Plan(
        Statement(f"{_HEAD}, {text}"),
        Statement(f"{_SHORT_HEAD}, {text}"),
        selected.parameters,
        compiled.fields,
        [
            f'{"," if index else "{"}"{root.name}":{root.text if isinstance(root.text, str) else ""}'.encode()
            for index, root in enumerate(compiled.fields)
        ],
        compiled.derivations,
        BROKEN not in text and not compiled.derivations.any,
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
