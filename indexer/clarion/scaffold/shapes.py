"""Types of printed values, inferred from samples of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from clarion.chains.stacks import clarity as cl


@dataclass(frozen=True, slots=True)
class Plain:
    """A type without parts. ``any`` is what samples do not agree on; ``nothing`` is what no sample shows."""

    name: Literal["int", "bool", "str", "any", "nothing"]


@dataclass(frozen=True, slots=True)
class Optional:
    """A value that may be none."""

    inner: Shape


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list."""

    inner: Shape


@dataclass(frozen=True, slots=True)
class TupleOf:
    """A tuple; fields in the order of their names."""

    fields: tuple[tuple[str, Shape], ...]


Shape: TypeAlias = Plain | Optional | ListOf | TupleOf

ANY = Plain("any")
NOTHING = Plain("nothing")


def shape_of(value: cl.Value) -> Shape:
    """The shape of a value's JSON form (see ``clarity_forms``)."""
    match value:
        case cl.Int() | cl.UInt():
            return Plain("int")
        case cl.Bool():
            return Plain("bool")
        case cl.Buffer() | cl.StringAscii() | cl.StringUtf8() | cl.StandardPrincipal() | cl.ContractPrincipal():
            return Plain("str")
        case cl.OptionalNone():
            return Optional(NOTHING)
        case cl.Some():
            inner = shape_of(value.value)
            return ANY if isinstance(inner, Optional) else Optional(inner)
        case cl.List():
            return ListOf(merge_all(shape_of(entry) for entry in value.values))
        case cl.Tuple():
            return TupleOf(tuple((name, shape_of(field)) for name, field in sorted(value.fields.items())))
    return ANY


def merge_all(shapes: Iterable[Shape]) -> Shape:
    """The shape that all of these fit; ``nothing`` of none."""
    merged: Shape = NOTHING
    for shape in shapes:
        merged = merge(merged, shape)
    return merged


def merge(left: Shape, right: Shape) -> Shape:
    """The narrowest shape that both fit. A field that only one tuple has becomes optional."""
    if left == right or right == NOTHING:
        return left
    if left == NOTHING:
        return right
    match left, right:
        case Optional(), Optional():
            return _optional(merge(left.inner, right.inner))
        case (Optional(), other) | (other, Optional()):
            inner = left.inner if isinstance(left, Optional) else right.inner if isinstance(right, Optional) else ANY
            return _optional(merge(inner, other))
        case ListOf(), ListOf():
            return ListOf(merge(left.inner, right.inner))
        case TupleOf(), TupleOf():
            ours, theirs = dict(left.fields), dict(right.fields)
            fields = []
            for name in sorted(ours | theirs):
                both = merge(ours.get(name, NOTHING), theirs.get(name, NOTHING))
                fields.append((name, both if name in ours and name in theirs else _optional(both)))
            return TupleOf(tuple(fields))
    return ANY


def _optional(shape: Shape) -> Shape:
    return shape if isinstance(shape, Optional) or shape == ANY else Optional(shape)
