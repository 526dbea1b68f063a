"""From a protocol's tables to entities, and what a protocol may say about how the API shows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from starlette.routing import Route
from strawberry.types.field import StrawberryField

from clarion.protocol import Protocol
from clarion_graphql.accounts.roles import RoleReader
from clarion_graphql.context import Service
from clarion_graphql.core import CORE
from clarion_graphql.decimals import Scale
from clarion_graphql.entities import (
    Column,
    Entity,
    Kind,
    Relation,
    camel,
    columns_of,
    key_of,
    pascal,
    plural_of,
    table_name,
)
from clarion_graphql.types import Types

FieldMaker = Callable[[Types], Sequence[StrawberryField]]
"""Makes fields of a root type out of the types of the entities."""

RouteMaker = Callable[[Service], Route]
"""Makes a route over a running server."""

_CORE: Final = frozenset(entity.name for entity in CORE)


@dataclass(frozen=True)
class ProtocolApi:
    """How the API shows a protocol's tables beyond what the tables say themselves.

    ``prefix`` goes before the names of its types and fields. ``relations`` and ``derived`` columns are by table name
    without the schema; a relation's target is a table name too, or a core entity's name. ``plurals`` names lists whose
    table names are plural, ``renamed`` columns whose name is that of a relation; ``deprecated`` says of columns that
    will go what to use instead. ``units`` says what the tables' ``NewType`` integers measure, ``scales`` how many of
    them make a whole one. ``log`` are entities over the chain log that the protocol shows besides its tables.
    ``queries`` and ``mutations`` make the fields that it adds to `Query` and `Mutation`, ``routes`` what it serves over
    HTTP beside GraphQL. ``roles`` reads the roles that its contracts give an address.
    """

    prefix: str
    relations: Mapping[str, Sequence[Relation]] = field(default_factory=dict)
    derived: Mapping[str, Sequence[Column]] = field(default_factory=dict)
    plurals: Mapping[str, str] = field(default_factory=dict)
    renamed: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    scales: Mapping[str, Scale] = field(default_factory=dict)
    deprecated: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    log: Sequence[Entity] = ()
    queries: Sequence[FieldMaker] = ()
    mutations: Sequence[FieldMaker] = ()
    routes: Sequence[RouteMaker] = ()
    roles: RoleReader | None = None


def entities_of(protocol: Protocol, api: ProtocolApi | None = None) -> list[Entity]:
    """The entities of a protocol's tables. Without ``api`` their names begin with the protocol's."""
    shown = ProtocolApi(prefix=protocol.name) if api is None else api

    def name_of(table: str) -> str:
        return "_".join(part for part in (shown.prefix, table) if part)

    entities = []
    for row_type in protocol.row_types:
        model: Any = row_type.model
        table = table_name(model).rpartition(".")[2]
        plural = shown.plurals.get(table, plural_of(table))
        entities.append(
            Entity(
                name=pascal(name_of(table)),
                table=table_name(model),
                description=_first_words(model.__doc__ or ""),
                columns=[*_columns(model, table, shown), *shown.derived.get(table, ())],
                key=key_of(model),
                single=camel(name_of(table)),
                plural=camel(name_of(plural)),
                relations=[
                    relation if relation.target in _CORE else replace(relation, target=pascal(name_of(relation.target)))
                    for relation in shown.relations.get(table, ())
                ],
                located=("updated_height", None),
                chain=protocol.chain,
                projection=True,
            )
        )
    return [*entities, *shown.log]


def _first_words(docstring: str) -> str:
    return " ".join(docstring.split())


def _columns(model: Any, table: str, api: ProtocolApi) -> list[Column]:
    columns = []
    found = columns_of(model)
    names = {column.name for column in found}
    for column in found:
        scale = api.scales.get(column.unit)
        description = column.description.replace("Unix seconds of", "Time of")
        if column.name == "updated_height":
            description = description or "Height of the block that last changed the row"
        unit = api.units.get(column.unit)
        measured = f" Unit: {unit}." if unit else ""
        scale = scale if scale is not None and scale.is_told_by(names) else None
        columns.append(
            replace(
                column,
                # an amount can be larger than GraphQL's Int
                kind=Kind.BIG_INT if scale is not None and column.kind is Kind.INT else column.kind,
                description=f"{description}.{measured}",
                shown_as=api.renamed.get(table, {}).get(column.name),
                deprecated=api.deprecated.get(table, {}).get(column.name),
                scale=scale,
            )
        )
    # what every row has comes after what it is
    return sorted(columns, key=lambda column: column.name == "updated_height")
