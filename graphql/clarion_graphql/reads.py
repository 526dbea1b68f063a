"""What a generated field reads: the one description that its resolver and the compiler of whole documents go by.

It is in the ``metadata`` of a Strawberry field under :data:`READS`. A field without it is an ordinary resolver.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from clarion_graphql.entities import Column, Entity, Relation
from clarion_graphql.sql import Sql

READS: Final = "reads"


@dataclass(frozen=True, slots=True)
class ColumnRead:
    """A column of a row; a derived one through its ``derive``."""

    entity: Entity
    column: Column


@dataclass(frozen=True, slots=True)
class DecimalRead:
    """A column's amount in whole units: the text of ``column.scale.expression``."""

    entity: Entity
    column: Column


@dataclass(frozen=True, slots=True)
class NodeIdRead:
    """The row's global id: :func:`clarion_graphql.opaque.encode` of the entity's name and the key's values."""

    entity: Entity


@dataclass(frozen=True, slots=True)
class FinalityRead:
    """How final the block is that last changed the row."""

    entity: Entity


@dataclass(frozen=True, slots=True)
class RelationRead:
    """The row, or the page of rows, that a relation leads to."""

    entity: Entity
    relation: Relation
    target: Entity


@dataclass(frozen=True, slots=True)
class SingleRead:
    """The row that fulfils the condition which the field's arguments become; null without one."""

    entity: Entity
    condition: Callable[[Mapping[str, Any]], Sql]


@dataclass(frozen=True, slots=True)
class ListRead:
    """A page of an entity's rows."""

    entity: Entity


@dataclass(frozen=True, slots=True)
class AggregateRead:
    """An entity's aggregates: :mod:`clarion_graphql.aggregates`."""

    entity: Entity


Read = ColumnRead | DecimalRead | NodeIdRead | FinalityRead | RelationRead | SingleRead | ListRead | AggregateRead
