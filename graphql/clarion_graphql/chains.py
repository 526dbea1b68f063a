"""Which chains an operation reads: what its receipts, its block and its lifetime in caches go by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from graphql import (
    EnumValueNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLSchema,
    InlineFragmentNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    value_from_ast_untyped,
)
from strawberry.types.field import StrawberryField

from clarion.chains.model import Chain
from clarion_graphql.documents import Operation
from clarion_graphql.enums import ChainName
from clarion_graphql.errors import InputError
from clarion_graphql.reads import READS, AggregateRead, ListRead, SingleRead

#: Where a field's ``metadata`` names its chain, if no entity does.
CHAIN_OF_FIELD: Final = "chain"
#: Where the ``metadata`` of a field for rows of any type has a :data:`ChainsOfIds`.
CHAINS_OF_IDS: Final = "chains_of_ids"
_ARGUMENT: Final = "chain"
_ENTITY_READS: Final = (AggregateRead, ListRead, SingleRead)


def of_chain(field: StrawberryField, chain: Chain) -> StrawberryField:
    """The field, marked as one that reads a chain."""
    field.metadata = MappingProxyType({CHAIN_OF_FIELD: chain, **field.metadata})
    return field


ChainsOfIds = Callable[[Sequence[Any]], frozenset[Chain] | None]
"""The chains of the rows that ids name, as they were sent; None where one of them is no id."""


@dataclass(frozen=True, slots=True)
class _Fields:
    """What the root fields of an operation say of their chains. ``any``: one of them may read whichever there are."""

    named: frozenset[Chain]
    variables: Mapping[str, Chain]
    """Variables that name a chain, and which it is where they are not given."""
    ids: Sequence[tuple[ChainsOfIds, ValueNode]]
    """What says the chains of ids, and the ids or one id."""
    any: bool


def chains_of(schema: GraphQLSchema, operation: Operation, variables: Mapping[str, Any]) -> frozenset[Chain] | None:
    """The chains whose rows an operation reads; None where it may read those of any.

    Fields that ``@skip`` leaves out count too.
    """
    fields: _Fields | None = operation.notes.get(_Fields)
    if fields is None:
        fields = operation.notes[_Fields] = _fields_of(schema, operation)
    if fields.any:
        return None
    if not fields.variables and not fields.ids:
        return fields.named
    found = fields.named | {_named(variables.get(name), default) for name, default in fields.variables.items()}
    for chains_of_ids, node in fields.ids:
        given = value_from_ast_untyped(node, dict(variables))
        of_ids = chains_of_ids(given if isinstance(given, list) else [given])
        if of_ids is None:
            return None
        found |= of_ids
    return found


def only_chain_of(schema: GraphQLSchema, operation: Operation, variables: Mapping[str, Any], directive: str) -> Chain:
    """The chain that a directive without ``chain`` means: the one that the operation reads.

    Raises InputError where it reads several.
    """
    chains = chains_of(schema, operation, variables)
    if not chains:
        return "stacks"
    if len(chains) > 1:
        raise InputError(f"The operation reads {' and '.join(sorted(chains))}: @{directive} has to name a chain.")
    return next(iter(chains))


def root_fields(schema: GraphQLSchema, operation: Operation) -> Iterator[tuple[FieldNode, GraphQLField]]:
    """The fields of the root type that an operation asks for, those in fragments too, without ``__typename``."""
    root = schema.get_root_type(operation.type)
    assert root is not None
    fragments = {
        definition.name.value: definition
        for definition in operation.document.definitions
        if isinstance(definition, FragmentDefinitionNode)
    }
    for node in _root_nodes(operation.node.selection_set, fragments):
        field = root.fields.get(node.name.value)
        if field is not None:
            yield node, field


def _fields_of(schema: GraphQLSchema, operation: Operation) -> _Fields:
    named: set[Chain] = set()
    variables: dict[str, Chain] = {}
    ids: list[tuple[ChainsOfIds, ValueNode]] = []
    is_any = False
    for node, field in root_fields(schema, operation):
        chains_of_ids = _definition(field).metadata.get(CHAINS_OF_IDS)
        if chains_of_ids is not None:
            ids += [(chains_of_ids, given.value) for given in node.arguments or ()]
            continue
        if _ARGUMENT not in field.args:
            chain = _chain_of(field)
            if chain is None:
                is_any = True
            else:
                named.add(chain)
            continue
        default = _named(field.args[_ARGUMENT].default_value, "stacks")
        value = next((given.value for given in node.arguments or () if given.name.value == _ARGUMENT), None)
        if isinstance(value, VariableNode):
            variables[value.name.value] = _default_of(operation, value.name.value, default)
        else:
            named.add(_named(value.value if isinstance(value, EnumValueNode) else None, default))
    return _Fields(frozenset(named), variables, ids, is_any)


def _root_nodes(selected: SelectionSetNode, fragments: Mapping[str, FragmentDefinitionNode]) -> Iterator[FieldNode]:
    seen: set[str] = set()
    waiting = [selected]
    while waiting:
        for node in waiting.pop().selections:
            if isinstance(node, FieldNode):
                yield node
            elif isinstance(node, InlineFragmentNode):
                waiting.append(node.selection_set)
            elif isinstance(node, FragmentSpreadNode) and node.name.value not in seen:
                seen.add(node.name.value)
                waiting.append(fragments[node.name.value].selection_set)


def _chain_of(field: GraphQLField) -> Chain | None:
    """The chain of a field without an argument for it; None where it may be any."""
    metadata = _definition(field).metadata
    read = metadata.get(READS)
    return read.entity.chain if isinstance(read, _ENTITY_READS) else metadata.get(CHAIN_OF_FIELD)


def _definition(field: GraphQLField) -> StrawberryField:
    definition: StrawberryField = field.extensions["strawberry-definition"]
    return definition


def _default_of(operation: Operation, variable: str, default: Chain) -> Chain:
    for definition in operation.node.variable_definitions or ():
        if definition.variable.name.value == variable and isinstance(definition.default_value, EnumValueNode):
            return _named(definition.default_value.value, default)
    return default


def _named(value: Any, default: Chain) -> Chain:
    """The chain that a value of the enum ``ChainName`` names, by its name or as the member.

    Variables come as they were sent: any JSON. What is no chain is refused where they are checked.
    """
    if isinstance(value, ChainName):
        return value.value
    return ChainName[value].value if isinstance(value, str) and value in ChainName.__members__ else default
