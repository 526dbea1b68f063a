"""The variables of a request, apart: what a statement depends on, and what it is only given.

Two requests of one operation whose variables have the same shape (the same keys, nulls, enums and booleans) are
answered by the same statement; their strings, numbers, bytes and times are its parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from graphql import (
    GraphQLBoolean,
    GraphQLError,
    GraphQLInputType,
    GraphQLScalarType,
    GraphQLSchema,
    OperationDefinitionNode,
    Undefined,
    is_enum_type,
    is_input_object_type,
    is_list_type,
    is_non_null_type,
)
from graphql.execution.get_variable_signature import GraphQLVariableSignature, get_variable_signature
from graphql.execution.values import VariableValues, get_variable_values, input_is_nested_too_deeply
from graphql.utilities.coerce_input_value import coerce_default_value, coerce_input_value

from clarion_graphql.sql import Slot


class _Value:
    """Stands in a shape where a value is."""

    def __repr__(self) -> str:
        return "*"


_VALUE: Final = _Value()
_ABSENT: Final = ("absent",)


@dataclass(frozen=True, slots=True)
class Variables:
    """The variables of one request: their shape, and the values that are no part of it, in the shape's order."""

    shape: Hashable
    values: Sequence[Any]


class VariableReader:
    """Reads the variables of an operation as GraphQL says they are coerced."""

    def __init__(self, schema: GraphQLSchema, operation: OperationDefinitionNode) -> None:
        self._schema = schema
        self._definitions = operation.variable_definitions or ()
        self._signatures: list[GraphQLVariableSignature] = []
        for definition in self._definitions:
            signature = get_variable_signature(schema, definition)
            if isinstance(signature, GraphQLError):
                raise signature
            self._signatures.append(signature)
        self._leaves = [_leaf(signature.type) for signature in self._signatures]

    def read(self, given: Mapping[str, Any]) -> Variables | None:
        """The variables; None where they do not fit, or are too deep to say."""
        if not self._signatures:
            return _NONE
        values: list[Any] = []
        shape: list[Hashable] = []
        for signature, leaf in zip(self._signatures, self._leaves, strict=True):
            value = given.get(signature.name, Undefined)
            if leaf is not None and value is not Undefined and value is not None:
                try:
                    values.append(leaf.coerce_input_value(value))
                except Exception:  # graphql-core takes any for a value that does not fit
                    return None
                shape.append(_VALUE)
                continue
            coerced = _coerced(signature, value)
            if coerced is Undefined:
                if value is not Undefined or is_non_null_type(signature.type):
                    return None
                shape.append(_ABSENT)
            else:
                shape.append(_shape(coerced, signature.type, values))
        return Variables(tuple(shape), values)

    def with_slots(self, given: Mapping[str, Any], values: Sequence[Any], fix: Callable[[int], None]) -> VariableValues:
        """The variables as graphql-core takes them, with slots for what is no part of the shape.

        ``fix`` is told of each place whose value a statement depends on all the same.
        """
        read = get_variable_values(self._schema, self._definitions, dict(given))
        assert isinstance(read, VariableValues)
        slots = _Slots(values, fix)
        coerced = {
            signature.name: slots.put(read.coerced[signature.name], signature.type)
            for signature in self._signatures
            if signature.name in read.coerced
        }
        return VariableValues(read.sources, coerced)


_NONE: Final = Variables((), ())


def _leaf(type_: GraphQLInputType) -> GraphQLScalarType | None:
    """The type, if its values are no part of a shape and no lists."""
    named = type_.of_type if is_non_null_type(type_) else type_
    return named if isinstance(named, GraphQLScalarType) and _holds_values(named) else None


def _coerced(signature: GraphQLVariableSignature, value: Any) -> Any:
    if value is Undefined:
        return coerce_default_value(signature)
    if isinstance(value, dict | list) and input_is_nested_too_deeply(value, signature.type):
        return Undefined
    return coerce_input_value(value, signature.type)


def _shape(value: Any, type_: GraphQLInputType, values: list[Any]) -> Hashable:
    """The shape of a coerced value; ``values`` gets what is no part of it."""
    if is_non_null_type(type_):
        type_ = type_.of_type
    if value is None:
        return None
    if is_list_type(type_):
        if _holds_values(type_.of_type):
            values.append(value)
            return _VALUE
        return tuple(_shape(item, type_.of_type, values) for item in value)
    if is_input_object_type(type_):
        return tuple(
            (name, _shape(value[field.out_name or name], field.type, values))
            for name, field in type_.fields.items()
            if (field.out_name or name) in value
        )
    if _holds_values(type_):
        values.append(value)
        return _VALUE
    return value  # type: ignore[no-any-return]


def _holds_values(type_: GraphQLInputType) -> bool:
    if is_non_null_type(type_):
        type_ = type_.of_type
    return not (is_list_type(type_) or is_input_object_type(type_) or is_enum_type(type_) or type_ is GraphQLBoolean)


class _Slots:
    """Puts slots into coerced values, in the order of :func:`_shape`."""

    def __init__(self, values: Sequence[Any], fix: Callable[[int], None]) -> None:
        self._values = values
        self._fix = fix
        self._next = 0

    def put(self, value: Any, type_: GraphQLInputType) -> Any:
        if is_non_null_type(type_):
            type_ = type_.of_type
        if value is None:
            return None
        if is_list_type(type_):
            if _holds_values(type_.of_type):
                return [self._slot(many=True)]
            return [self.put(item, type_.of_type) for item in value]
        if is_input_object_type(type_):
            names = {field.out_name or name: field.type for name, field in type_.fields.items()}
            return {name: self.put(value[name], of) for name, of in names.items() if name in value}
        return self._slot() if _holds_values(type_) else value

    def _slot(self, *, many: bool = False) -> Slot:
        index = self._next
        self._next += 1

        def fixed() -> Any:
            self._fix(index)
            return self._values[index]

        return Slot(lambda values: values[index], fixed, many=many)
