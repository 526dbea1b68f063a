"""How much one request may ask for: what is refused before anything is validated, and what before anything is read.

:func:`check_document` takes time in proportion to the document, whatever is in it; GraphQL's own validation does not:
fragments that spread each other make a short document a huge one. :func:`cost_of` says what an operation costs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, prod
from typing import Any, Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLEnumType,
    GraphQLError,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    NullValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    StringValueNode,
    ValueNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_list_type,
)

from clarion_graphql.errors import ApiError, Code
from clarion_graphql.lengths import LENGTH, Length
from clarion_graphql.pages import DEFAULT_PAGE, MAX_PAGE


@dataclass(frozen=True, slots=True)
class Limits:
    """What one operation may hold. ``cost`` is in fields: see :func:`cost_of`."""

    depth: int = 15
    aliases: int = 50
    tokens: int = 5_000
    cost: int = 500_000
    introspection: bool = True
    """Whether clients may ask for the schema."""


#: Fields and fragments of a document, counted again wherever a fragment is spread.
MAX_SELECTIONS: Final = 20_000
#: How often one field of an answer may be selected again with another, compared pair by pair when validating.
MAX_COMPARISONS: Final = 20_000
MAX_FRAGMENTS: Final = 200
#: Fields whose selections nest in each other, and fragments in these.
_MAX_NESTING: Final = 100
#: The depth at which a query for the schema begins: how deep it goes depends on the schema, and GraphQL's rules say.
_OF_SCHEMA: Final = -_MAX_NESTING


def check_document(document: DocumentNode, limits: Limits) -> list[GraphQLError]:
    """Why a parsed document is more than one request may ask for; empty where it is not."""
    fragments = {
        definition.name.value: definition
        for definition in document.definitions
        if isinstance(definition, FragmentDefinitionNode)
    }
    if len(fragments) > MAX_FRAGMENTS:
        return [_too_much(f"The document has {len(fragments)} fragments; at most {MAX_FRAGMENTS} are allowed.")]
    walk = _Walk(fragments, limits)
    try:
        for definition in document.definitions:
            if isinstance(definition, OperationDefinitionNode | FragmentDefinitionNode):
                walk.definition(definition)
    except ApiError as error:
        return [error]
    return []


def _too_much(message: str) -> ApiError:
    return ApiError(Code.LIMIT_EXCEEDED, message)


class _Merged:
    """The selections that make up one field of an answer."""

    __slots__ = ("fields", "times")

    def __init__(self) -> None:
        self.times = 0
        self.fields: dict[str, _Merged] = {}


class _Walk:
    """Counts what a document selects, fragments expanded, and stops where that is too much."""

    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode], limits: Limits) -> None:
        self._fragments = fragments
        self._limits = limits
        self._selections = 0
        self._comparisons = 0
        self._aliases = 0
        self._inside: set[str] = set()

    def definition(self, node: OperationDefinitionNode | FragmentDefinitionNode) -> None:
        self._aliases = 0
        of_schema = isinstance(node, FragmentDefinitionNode) and node.type_condition.name.value.startswith("__")
        self._visit(node.selection_set, _Merged(), depth=_OF_SCHEMA if of_schema else 0, nesting=0)

    def _visit(self, selection_set: SelectionSetNode, into: _Merged, *, depth: int, nesting: int) -> None:
        if depth > self._limits.depth:
            raise _too_much(
                f"The operation nests more than {self._limits.depth} levels deep, which is its limit of depth."
            )
        if nesting > _MAX_NESTING:
            raise _too_much(f"Selections and fragments nest in each other more than {_MAX_NESTING} levels deep.")
        for selection in selection_set.selections:
            self._selections += 1
            if self._selections > MAX_SELECTIONS:
                raise _too_much(f"With its fragments expanded the document has more than {MAX_SELECTIONS} selections.")
            if isinstance(selection, FieldNode):
                self._field(selection, into, depth, nesting)
            elif isinstance(selection, InlineFragmentNode):
                self._visit(selection.selection_set, into, depth=depth, nesting=nesting + 1)
            elif isinstance(selection, FragmentSpreadNode):
                self._spread(selection.name.value, into, depth, nesting)

    def _field(self, node: FieldNode, into: _Merged, depth: int, nesting: int) -> None:
        if node.alias is not None:
            self._aliases += 1
            if self._aliases > self._limits.aliases:
                raise _too_much(f"The operation has more than {self._limits.aliases} aliases.")
        name = node.name.value
        if name in ("__schema", "__type") and not self._limits.introspection:
            raise ApiError(Code.FORBIDDEN, "This server does not tell its schema: introspection is switched off.")
        key = name if node.alias is None else node.alias.value
        merged = into.fields.get(key)
        if merged is None:
            merged = into.fields[key] = _Merged()
        self._comparisons += merged.times
        merged.times += 1
        if self._comparisons > MAX_COMPARISONS:
            raise _too_much(f"The document selects the same fields too often, {key!r} {merged.times} times.")
        if node.selection_set is not None:
            inside = _OF_SCHEMA if name.startswith("__") else depth + 1
            self._visit(node.selection_set, merged, depth=inside, nesting=nesting + 1)

    def _spread(self, name: str, into: _Merged, depth: int, nesting: int) -> None:
        fragment = self._fragments.get(name)
        if fragment is None or name in self._inside:
            return  # validation says so
        self._inside.add(name)
        self._visit(fragment.selection_set, into, depth=depth, nesting=nesting + 1)
        self._inside.discard(name)


@dataclass(frozen=True, slots=True)
class _Size:
    """How many items a list holds at most, where a variable says so."""

    variable: str
    default: int
    most: int

    def value(self, variables: Mapping[str, Any]) -> int:
        given = variables.get(self.variable)
        if isinstance(given, list):
            given = len(given)
        return _within(given, self.most) if isinstance(given, int) else self.default


class CostModel:
    """What an operation costs, as far as its variables do not decide: a sum of products of page sizes."""

    def __init__(self, terms: Mapping[tuple[_Size, ...], int]) -> None:
        self._fixed = terms.get((), 0)
        self._terms = [(sizes, times) for sizes, times in terms.items() if sizes]

    def evaluate(self, variables: Mapping[str, Any]) -> int:
        """The cost with these variables, as they were sent."""
        cost = self._fixed
        for sizes, times in self._terms:
            cost += times * prod(size.value(variables) for size in sizes)
        return cost


def require_cost(model: CostModel, variables: Mapping[str, Any], limits: Limits) -> int:
    """The cost of an operation. Raises ApiError where it is above the limit."""
    cost = model.evaluate(variables)
    if cost > limits.cost:
        raise ApiError(
            Code.LIMIT_EXCEEDED,
            f"The answer could hold {cost} fields, were every page full; at most {limits.cost} are allowed. Ask for "
            f"smaller pages (`first`), above all where lists are nested, or for fewer fields.",
            cost=cost_extension(cost, limits),
        )
    return cost


def cost_extension(cost: int, limits: Limits) -> dict[str, int]:
    """What `extensions.cost` says."""
    return {"requested": cost, "limit": limits.cost}


def cost_of(schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode) -> CostModel:
    """What an operation of a valid document costs.

    The cost is the number of fields that the answer can hold: every field that is selected counts once for each object
    that it is selected on, where every page is as full as its size allows (50 rows where none is given) and every
    other list as long as it may be (:mod:`clarion_graphql.lengths`; 50 where its field does not say). What `@skip` and
    `@include` leave out counts.
    """
    counting = _Counting(schema, document, operation)
    root = schema.get_root_type(operation.operation)
    if root is not None:
        counting.selections(operation.selection_set, root, 1, (), DEFAULT_PAGE)
    return CostModel(counting.terms)


class _Counting:
    def __init__(self, schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode) -> None:
        self.terms: dict[tuple[_Size, ...], int] = defaultdict(int)
        self._schema = schema
        self._listed: Mapping[tuple[str, str], int] | None = None
        self._fragments = {
            definition.name.value: definition
            for definition in document.definitions
            if isinstance(definition, FragmentDefinitionNode)
        }
        self._defaults = {
            definition.variable.name.value: size
            for definition in operation.variable_definitions or ()
            if (size := _size_in(definition.default_value)) is not None
        }

    def selections(
        self, node: SelectionSetNode, parent: GraphQLNamedType, times: int, sizes: tuple[_Size, ...], page: int | _Size
    ) -> None:
        """Count what is selected on ``times`` x ``sizes`` objects; ``page``: what the lists among their fields hold."""
        for selection in node.selections:
            if isinstance(selection, FieldNode):
                self._field(selection, parent, times, sizes, page)
                continue
            fragment: InlineFragmentNode | FragmentDefinitionNode
            if isinstance(selection, FragmentSpreadNode):
                fragment = self._fragments[selection.name.value]
            else:
                assert isinstance(selection, InlineFragmentNode)
                fragment = selection
            condition = fragment.type_condition
            on = parent if condition is None else self._schema.get_type(condition.name.value)
            assert on is not None
            self.selections(fragment.selection_set, on, times, sizes, page)

    def _field(
        self,
        node: FieldNode,
        parent: GraphQLNamedType,
        times: int,
        sizes: tuple[_Size, ...],
        page: int | _Size,
    ) -> None:
        self.terms[sizes] += times
        if node.selection_set is None:
            return
        assert isinstance(parent, GraphQLObjectType | GraphQLInterfaceType)
        definition = self._schema.get_field(parent, node.name.value)
        assert definition is not None
        if (parent.name, node.name.value) == ("__Type", "ofType"):
            times //= 2  # about half of what fields are of is a list or not null, and half of these once more
        own = self._own_length(node, definition)
        is_list = is_list_type(get_nullable_type(definition.type))
        if is_list:
            length = self._length(parent.name, node.name.value, page if own is None else own)
            if isinstance(length, _Size):
                sizes = (*sizes, length)
            else:
                times *= length
        inside = DEFAULT_PAGE if own is None or is_list else own
        self.selections(node.selection_set, get_named_type(definition.type), times, sizes, inside)

    def _own_length(self, node: FieldNode, definition: GraphQLField) -> int | _Size | None:
        """How many items a field's arguments ask for; None where the field says nothing of that."""
        field = (definition.extensions or {}).get("strawberry-definition")
        length: Length | None = None if field is None else field.metadata.get(LENGTH)
        given = {argument.name.value: argument.value for argument in node.arguments or ()}
        if length is None:
            if "first" not in definition.args:
                return None
            sizes = (given[name] for name in ("first", "last") if name in given)
            size = next((value for value in sizes if not isinstance(value, NullValueNode)), None)
            return self._asked(size, DEFAULT_PAGE, MAX_PAGE)
        if length.only_with is not None and isinstance(given.get(length.only_with, NullValueNode()), NullValueNode):
            return 1
        if length.argument is None:
            return length.most
        usual = definition.args[length.argument].default_value
        return self._asked(given.get(length.argument), usual if isinstance(usual, int) else length.most, length.most)

    def _asked(self, value: ValueNode | None, default: int, most: int) -> int | _Size:
        """How many items an argument asks for; ``default``: where it is not given."""
        if isinstance(value, VariableNode):
            name = value.name.value
            return _Size(name, _within(self._defaults.get(name, default), most), most)
        size = _size_in(value)
        return default if size is None else _within(size, most)

    def _length(self, parent: str, field: str, page: int | _Size) -> int | _Size:
        if not parent.startswith("__"):
            return page
        if self._listed is None:
            self._listed = _introspected(self._schema)
        return self._listed.get((parent, field), 1)


def _size_in(value: ValueNode | None) -> int | None:
    """The number of items that a value asks for; None where it says none."""
    if isinstance(value, ListValueNode):
        return len(value.values)
    if isinstance(value, StringValueNode):
        return 1  # for a list, one value is a list of one
    return int(value.value) if isinstance(value, IntValueNode) else None


def _within(size: int, most: int) -> int:
    # a size that is none of the list's is refused when it is read
    return max(0, min(size, most))


def _introspected(schema: GraphQLSchema) -> Mapping[tuple[str, str], int]:
    """How long the lists are that say what a schema is like: on average where there are many."""
    types = list(schema.type_map.values())
    objects = [kind for kind in types if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType)]
    inputs = [kind for kind in types if isinstance(kind, GraphQLInputObjectType)]
    enums = [kind for kind in types if isinstance(kind, GraphQLEnumType)]
    fields = [field for kind in objects for field in kind.fields.values()]
    return {
        ("__Schema", "types"): len(types),
        ("__Schema", "directives"): len(schema.directives),
        ("__Type", "fields"): _mean(len(fields), len(types)),
        ("__Type", "inputFields"): _mean(sum(len(kind.fields) for kind in inputs), len(types)),
        ("__Type", "enumValues"): _mean(sum(len(kind.values) for kind in enums), len(types)),
        ("__Field", "args"): _mean(sum(len(field.args) for field in fields), len(fields)),
        ("__Directive", "args"): _mean(
            sum(len(directive.args) for directive in schema.directives), len(schema.directives)
        ),
    }


def _mean(total: int, among: int) -> int:
    return ceil(total / among) if among else 0
