"""What other packages add to the API: tables of their own beside the chain's data, found through entry points.

A package names a function without arguments that gives its :class:`Extension` in the entry point group
``clarion.graphql``. This package knows none of them.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Final

from graphql import GraphQLSchema
from strawberry.types.field import StrawberryField

from clarion.config import Scope
from clarion_graphql.accounts.caller import Caller
from clarion_graphql.chains import root_fields
from clarion_graphql.documents import Operation
from clarion_graphql.entities import Entity
from clarion_graphql.protocols import FieldMaker

GROUP: Final = "clarion.graphql"
#: Where a root field's ``metadata`` says what a caller must be allowed beyond what every operation needs.
SCOPE_OF_FIELD: Final = "scope"
#: Where it says what tells of changes of what the field shows, beside the commits of the chains.
CHANNELS_OF_FIELD: Final = "channels"


@dataclass(frozen=True, eq=False)
class Extension:
    """What a package adds.

    ``entities`` are its tables; their types have filters, orders and pages like those of every table, and ``queries``
    and ``subscriptions`` make the root fields that lead to them. ``scope``: what a caller has to be allowed for any of
    it. ``channels``: what the package notifies when a table of its own changes; live queries of its fields hear of
    them, and a :class:`~clarion_graphql.live.sources.StateSource` may.
    """

    scope: Scope
    entities: Sequence[Entity] = ()
    queries: Sequence[FieldMaker] = ()
    subscriptions: Sequence[FieldMaker] = ()
    channels: Sequence[str] = ()


@cache
def installed_extensions() -> tuple[Extension, ...]:
    """The extensions of all installed packages, by name."""
    return tuple(entry.load()() for entry in sorted(importlib.metadata.entry_points(group=GROUP)))


def of_extension(field: StrawberryField, extension: Extension) -> StrawberryField:
    """The root field, marked with who may ask for it and what tells of its changes."""
    marks = {SCOPE_OF_FIELD: extension.scope, CHANNELS_OF_FIELD: tuple(extension.channels)}
    field.metadata = MappingProxyType({**field.metadata, **marks})
    return field


@dataclass(frozen=True, slots=True)
class _Scopes:
    needed: frozenset[Scope]


def require_scopes(schema: GraphQLSchema, operation: Operation, caller: Caller) -> None:
    """Raise ApiError where an operation asks for fields that the caller may not see.

    Fields that ``@skip`` leaves out count too.
    """
    scopes: _Scopes | None = operation.notes.get(_Scopes)
    if scopes is None:
        found = _marks(schema, operation, SCOPE_OF_FIELD)
        scopes = operation.notes[_Scopes] = _Scopes(frozenset(scope for scope in found if scope is not None))
    for scope in sorted(scopes.needed):
        caller.require(scope)


def channels_of(schema: GraphQLSchema, operation: Operation) -> frozenset[str]:
    """What tells of changes of what an operation asks for, beside the commits of the chains."""
    return frozenset(channel for found in _marks(schema, operation, CHANNELS_OF_FIELD) for channel in found or ())


def _marks(schema: GraphQLSchema, operation: Operation, name: str) -> Iterator[Any]:
    """What the fields that an operation asks for are marked with under a name; None where one is not."""
    for _, field in root_fields(schema, operation):
        yield field.extensions["strawberry-definition"].metadata.get(name)
