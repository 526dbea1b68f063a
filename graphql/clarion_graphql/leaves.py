"""What executes operations that resolvers answer: graphql-core's executor, with the plain leaf fields in one loop.

graphql-core builds a path and an info for each field of each object, asks for its arguments, and looks four times
whether a value can be awaited: several times what reading a row's attribute and writing it down takes. A leaf field
whose resolver does no more than that needs none of it, as long as its value is an ordinary one. Any other value, and
what is wrong with one, is left to graphql-core, which is given the value that was read: it says what it always says.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from operator import attrgetter
from typing import Any, Final
from weakref import WeakKeyDictionary

import structlog
from graphql import (
    GraphQLBoolean,
    GraphQLField,
    GraphQLID,
    GraphQLLeafType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLString,
    TypeNameMetaFieldDef,
    Undefined,
    is_leaf_type,
)
from graphql.execution import Executor
from graphql.pyutils import Path, gather_with_cancel
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.types.field import StrawberryField

log = structlog.get_logger(__name__)

#: The version of graphql-core whose executor is known here; its parts may have other meanings in another one.
KNOWN_VERSION: Final = "3.3."

#: Types of values that can neither be awaited nor be an error.
_PLAIN: Final = frozenset({bool, int, float, str, bytes, list, tuple, dict})
#: Scalars that write down a value of this very type as it is.
_AS_IT_IS: Final[Mapping[GraphQLLeafType, type]] = {GraphQLString: str, GraphQLID: str, GraphQLBoolean: bool}

#: The module of the resolvers that Strawberry makes of fields.
_RESOLVERS: Final = "strawberry.schema.schema_converter"

Read = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A field whose value is read off its object, and how that is written down."""

    read: Read
    is_nullable: bool
    as_it_is: type | None
    """Values of this very type are written down as they are."""
    write: Callable[[Any], Any]
    """For others. Raises _UnusualError, and whatever a scalar raises."""


class _UnusualError(Exception):
    """The value is not one that the loop writes down."""


class _Given:
    """Gives what was read already in place of a field's resolver."""

    def __init__(self, read: Callable[[], Any]) -> None:
        self._read = read

    def get_field_resolver(self, resolve: Any) -> Callable[..., Any]:
        """What is called instead of ``resolve``, as graphql-core asks its middleware."""
        return lambda source, info: self._read()


Step = tuple[str, Any, "_Leaf | None"]
"""A field's name in the answer, where it stands in the document, and what reads it if it is a plain leaf."""

_LEAVES: Final[WeakKeyDictionary[GraphQLSchema, dict[tuple[str, str], _Leaf | None]]] = WeakKeyDictionary()


class LeafExecutor(StrawberryGraphQLCoreExecutionContext):
    """Strawberry's executor, with a selection's plain leaf fields in one loop."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._leaves = _LEAVES.setdefault(self.schema, {})
        self._steps: dict[tuple[str, int], tuple[Any, list[Step] | None]] = {}

    def execute_fields(
        self,
        parent_type: GraphQLObjectType,
        source_value: Any,
        path: Path | None,
        grouped_field_set: Any,
        *rest: Any,
    ) -> Any:
        """The fields of one object, by their names in the answer; to be awaited where one of them is."""
        key = parent_type.name, id(grouped_field_set)
        known = self._steps.get(key)
        if known is None:
            # the fields are held, so that no others get their place in memory
            known = self._steps[key] = grouped_field_set, self._steps_of(parent_type, grouped_field_set)
        steps = known[1]
        if steps is None or path is None:
            return super().execute_fields(parent_type, source_value, path, grouped_field_set, *rest)
        results: dict[str, Any] = {}
        awaited: list[str] = []
        try:
            for name, details, leaf in steps:
                if leaf is None:
                    result = self.execute_field(
                        parent_type, source_value, details, Path(path, name, parent_type.name), *rest
                    )
                    if result is Undefined:
                        continue
                else:
                    try:
                        value = leaf.read(source_value)
                    except Exception as error:
                        given = _raising(error)
                    else:
                        if type(value) is leaf.as_it_is or (value is None and leaf.is_nullable):
                            results[name] = value
                            continue
                        try:
                            results[name] = leaf.write(value)
                            continue
                        except Exception:  # graphql-core says what is wrong with it
                            given = _giving(value)
                    result = self._as_ever(given, parent_type, source_value, path, name, details, *rest)
                results[name] = result
                if self.is_awaitable(result):
                    awaited.append(name)
        except Exception:
            if awaited:
                self.settle_in_background([results[name] for name in awaited])
            raise
        return _when_there(results, awaited) if awaited else results

    def build_per_event_executor(self, payload: Any) -> Any:
        """The executor of one message of a subscription."""
        executor: Any = super().build_per_event_executor(payload)
        # what is remembered of an operation's selections is found again by the fields of one message alone
        executor._relevant_sub_fields = {}
        executor._steps = {}
        return executor

    def _as_ever(
        self,
        read: Callable[[], Any],
        parent_type: GraphQLObjectType,
        source: Any,
        path: Path,
        name: str,
        details: Any,
        *rest: Any,
    ) -> Any:
        """The field by graphql-core, of a value that was read already."""
        self.middleware_manager = _Given(read)  # type: ignore[assignment]
        try:
            return self.execute_field(parent_type, source, details, Path(path, name, parent_type.name), *rest)
        finally:
            self.middleware_manager = None

    def _steps_of(self, parent_type: GraphQLObjectType, grouped_field_set: Any) -> list[Step] | None:
        """What to do for each field; None where none of them is a plain leaf."""
        if self.middleware_manager is not None or self.abort_signal is not None:
            return None
        steps = [(name, details, self._leaf(parent_type, details)) for name, details in grouped_field_set.items()]
        return steps if any(leaf is not None for _, _, leaf in steps) else None

    def _leaf(self, parent_type: GraphQLObjectType, details: Any) -> _Leaf | None:
        node = details[0].node
        if node.arguments:
            return None
        key = parent_type.name, node.name.value
        try:
            return self._leaves[key]
        except KeyError:
            leaf = self._leaves[key] = _leaf_of(self.schema, parent_type, node.name.value, self.is_awaitable)
            return leaf


def _raising(error: Exception) -> Callable[[], Any]:
    def read() -> Any:
        raise error

    return read


def _giving(value: Any) -> Callable[[], Any]:
    return lambda: value


async def _when_there(results: dict[str, Any], awaited: list[str]) -> dict[str, Any]:
    if len(awaited) == 1:
        (name,) = awaited
        results[name] = await results[name]
    else:
        found = await gather_with_cancel(*(results[name] for name in awaited))
        results.update(zip(awaited, found, strict=True))
    return results


def _leaf_of(
    schema: GraphQLSchema, parent_type: GraphQLObjectType, name: str, is_awaitable: Callable[[Any], bool]
) -> _Leaf | None:
    """A field as a plain leaf; None where it is none."""
    field = schema.get_field(parent_type, name)
    if field is None or field.args:
        return None
    type_ = field.type
    is_nullable = not isinstance(type_, GraphQLNonNull)
    inner = type_.of_type if isinstance(type_, GraphQLNonNull) else type_
    write = _write_of(inner, is_awaitable)
    read = _read_of(schema, parent_type, field) if write is not None else None
    if write is None or read is None:
        return None
    return _Leaf(read, is_nullable, _AS_IT_IS.get(inner) if is_leaf_type(inner) else None, write)


def _write_of(type_: Any, is_awaitable: Callable[[Any], bool]) -> Callable[[Any], Any] | None:
    if isinstance(type_, GraphQLList):
        item = type_.of_type
        may_be_null = not isinstance(item, GraphQLNonNull)
        leaf = item.of_type if isinstance(item, GraphQLNonNull) else item
        return _list_writer(_leaf_writer(leaf, is_awaitable), may_be_null) if is_leaf_type(leaf) else None
    return _leaf_writer(type_, is_awaitable) if is_leaf_type(type_) else None


def _leaf_writer(type_: GraphQLLeafType, is_awaitable: Callable[[Any], bool]) -> Callable[[Any], Any]:
    coerce = type_.coerce_output_value

    def write(value: Any) -> Any:
        if value is None or value is Undefined or isinstance(value, Exception):
            raise _UnusualError
        if type(value) not in _PLAIN and is_awaitable(value):
            raise _UnusualError
        written = coerce(value)
        if written is None or written is Undefined or (type(written) not in _PLAIN and is_awaitable(written)):
            raise _UnusualError
        return written

    return write


def _list_writer(write: Callable[[Any], Any], may_be_null: bool) -> Callable[[Any], Any]:
    def write_all(value: Any) -> Any:
        if type(value) not in (list, tuple):
            raise _UnusualError
        return [None if item is None and may_be_null else write(item) for item in value]

    return write_all


def _read_of(schema: GraphQLSchema, parent_type: GraphQLObjectType, field: GraphQLField) -> Read | None:
    """What reads a field off its object as its resolver does; None where that may do more."""
    if field is TypeNameMetaFieldDef:
        return lambda source: parent_type.name
    definition = field.extensions.get("strawberry-definition")
    made_by = getattr(schema, "_strawberry_schema", None)
    if (
        made_by is None
        or made_by.exception_handlers
        or not isinstance(definition, StrawberryField)
        or type(definition).get_result is not StrawberryField.get_result
        or definition.extensions
        or definition.is_async
        or definition.arguments
        or getattr(field.resolve, "__module__", None) != _RESOLVERS
    ):
        return None
    resolver = definition.base_resolver
    if resolver is None:
        name = definition.python_name
        if definition.default_resolver is getattr and "." not in name:
            return attrgetter(name)
        return None
    if resolver.info_parameter is not None or resolver.parent_parameter is not None:
        return None
    if resolver.root_parameter is not None and resolver.self_parameter is None:
        name = resolver.root_parameter.name
        return lambda source: resolver(**{name: source})
    return None


def _is_known() -> bool:
    """Whether the executor is the one whose parts are used here."""
    base = StrawberryGraphQLCoreExecutionContext
    fields = ("self", "parent_type", "source_value", "path", "grouped_field_set", "position_context")
    field = ("self", "parent_type", "source", "field_details_list", "path", "position_context")
    return (
        version("graphql-core").startswith(KNOWN_VERSION)
        and getattr(base, "execute_fields", None) is getattr(Executor, "execute_fields", False)
        and getattr(base, "execute_field", None) is getattr(Executor, "execute_field", False)
        and tuple(inspect.signature(Executor.execute_fields).parameters) == fields
        and tuple(inspect.signature(Executor.execute_field).parameters) == field
        and hasattr(base, "settle_in_background")
        and "self._relevant_sub_fields" in inspect.getsource(Executor.collect_subfields)
    )


def executor_class() -> type[StrawberryGraphQLCoreExecutionContext]:
    """What operations are executed with: Strawberry's own executor where graphql-core is not the one known here."""
    if _is_known():
        return LeafExecutor
    log.warning("graphql.unknown_executor", version=version("graphql-core"), known=KNOWN_VERSION)
    return StrawberryGraphQLCoreExecutionContext
