"""GraphQL types from entities: node, filter, order, connection, and the fields that lead to them."""

from __future__ import annotations

import dataclasses
import inspect
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, cast

import strawberry
from psycopg import sql
from strawberry import UNSET
from strawberry.annotation import StrawberryAnnotation
from strawberry.types.base import StrawberryList, StrawberryOptional
from strawberry.types.field import StrawberryField
from strawberry.types.fields.resolver import StrawberryResolver
from strawberry.types.lazy_type import LazyType

from clarion.chains.model import Finality
from clarion_graphql.context import Info
from clarion_graphql.decimals import MAX_PLACES, Scale, decimal_text
from clarion_graphql.entities import Column, Entity, Kind, Relation, camel
from clarion_graphql.enums import Direction, graphql_enum, named_enum
from clarion_graphql.errors import InputError
from clarion_graphql.filters import equal_to
from clarion_graphql.finality import finality_of
from clarion_graphql.lengths import LENGTH, Length
from clarion_graphql.node_ids import encode_node_id
from clarion_graphql.pages import (
    DEFAULT_PAGE,
    MAX_PAGE,
    Page,
    PageRequest,
    count_related,
    count_rows,
    encode_cursor,
    fetch_by,
    fetch_one,
    fetch_page,
    fetch_related_pages,
    page_request,
)
from clarion_graphql.reads import (
    READS,
    ColumnRead,
    DecimalRead,
    FinalityRead,
    ListRead,
    NodeIdRead,
    Read,
    RelationRead,
    SingleRead,
)
from clarion_graphql.scalars import BigInt, Bytes, Decimal, Json
from clarion_graphql.sql import Past, Sql, Table, all_of, build, concrete

Resolver = Callable[..., Any]

ANNOTATIONS: Final[Mapping[Kind, Any]] = {
    Kind.TEXT: str,
    Kind.INT: int,
    Kind.BIG_INT: BigInt,
    Kind.BOOLEAN: bool,
    Kind.BYTES: Bytes,
    Kind.JSON: Json,
    Kind.TIME: datetime,
    Kind.UNIX_TIME: datetime,
}

COMPARISONS: Final[Mapping[str, tuple[str, str]]] = {
    "eq": ("eq", "Equal."),
    "ne": ("ne", "Not equal; null is not equal to any value."),
    "in_": ("in", "One of these."),
    "not_in": ("notIn", "None of these; null is none of them."),
    "lt": ("lt", "Less than."),
    "lte": ("lte", "Less than or equal."),
    "gt": ("gt", "Greater than."),
    "gte": ("gte", "Greater than or equal."),
    "starts_with": ("startsWith", "Starts with."),
    "prefix": ("prefix", "Starts with."),
    "ends_with": ("endsWith", "Ends with."),
    "contains": ("contains", "Has this in it."),
    "contains_insensitive": ("containsInsensitive", "Has this in it, in capital letters or small ones."),
    "is_null": ("isNull", "Null, or (`false`) not null."),
}
NODE_ID: Final = "Its id among all rows of all types, for `node`."
#: The arguments of ``totalCount``.
TOTAL_ARGUMENTS: Final[Mapping[str, tuple[Any, Any, str]]] = {
    "at_most": (
        int | None,
        None,
        "Count no further than this, which is cheaper where there are many: the answer is it where there are as many "
        "or more.",
    )
}
_DEPRECATED: Final = {"prefix": "Use startsWith."}
_EQUALITY: Final = ("eq", "ne", "in_", "not_in", "is_null")
_ORDERED: Final = ("eq", "ne", "in_", "not_in", "lt", "lte", "gt", "gte", "is_null")
#: Beyond those of all text: nothing speeds them up, so the log, which grows without end, has not got them.
_SEARCH: Final = ("ends_with", "contains", "contains_insensitive")
_OPERATORS: Final[Mapping[Kind, tuple[str, ...]]] = {
    Kind.TEXT: (*_ORDERED, "starts_with", "prefix"),
    Kind.INT: _ORDERED,
    Kind.BIG_INT: _ORDERED,
    Kind.BOOLEAN: ("eq", "is_null"),
    Kind.BYTES: _EQUALITY,
    Kind.TIME: _ORDERED,
    Kind.UNIX_TIME: _ORDERED,
}


class _GeneratedField(StrawberryField):
    """A field whose type is known from the start: Strawberry works it out a dozen times for each."""

    _resolved: Any = None

    def resolve_type(self, *, type_definition: Any = None) -> Any:
        """The type, worked out once."""
        if self._resolved is None:
            self._resolved = super().resolve_type(type_definition=type_definition)
        return self._resolved

    def _leave(self, annotation: Any) -> None:
        """A dataclass sets the type to what its class is annotated with, which says nothing here."""

    type = property(resolve_type, _leave)


def make_field(
    name: str,
    annotation: Any,
    description: str,
    *,
    default: Any = dataclasses.MISSING,
    resolver: Resolver | None = None,
    attribute: str | None = None,
    is_subscription: bool = False,
    deprecated: str | None = None,
    reads: Read | None = None,
    length: Length | None = None,
) -> StrawberryField:
    """A field of a generated type; without ``resolver`` it reads the attribute of its source.

    ``deprecated`` says what to use instead; ``reads`` what the field reads, where it is made of an entity; ``length``
    how long its list can be, where that is no page.
    """
    marks: dict[str, Any] = {READS: reads, LENGTH: length}
    return _GeneratedField(
        python_name=attribute or name,
        graphql_name=name,
        type_annotation=StrawberryAnnotation(annotation),
        description=description,
        default=default,
        is_subscription=is_subscription,
        deprecation_reason=deprecated,
        metadata={name: mark for name, mark in marks.items() if mark is not None} or None,
        base_resolver=None if resolver is None else StrawberryResolver(resolver),
    )


def make_type(
    name: str,
    fields: Iterable[StrawberryField],
    description: str,
    *,
    is_input: bool = False,
    interface: type[Any] | None = None,
) -> Any:
    """A Strawberry type out of fields; with ``interface`` it has that one's fields too, each as one of its own."""
    listed: dict[str, StrawberryField] = {}
    for field in fields:
        if field.graphql_name in {other.graphql_name for other in listed.values()} or field.python_name in listed:
            raise ValueError(f"{name} would have two fields {field.graphql_name}; rename a column or a relation")
        listed[field.python_name] = field

    def fill(namespace: dict[str, Any]) -> None:
        namespace.update(listed)
        namespace["__annotations__"] = dict.fromkeys(listed, Any)
        namespace["__module__"] = __name__

    cls = types.new_class(name, () if interface is None else (interface,), {}, fill)
    return strawberry.type(cls, name=name, description=description, is_input=is_input)


def with_arguments(resolver: Resolver, arguments: Mapping[str, tuple[Any, Any, str]]) -> Resolver:
    """Declare a resolver's keyword arguments besides root and info: name to (type, default, description)."""
    parameters = [
        inspect.Parameter("root", inspect.Parameter.POSITIONAL_OR_KEYWORD),
        inspect.Parameter("info", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Info),
    ]
    for name, (annotation, default, description) in arguments.items():
        described = cast("Any", Annotated)[annotation, strawberry.argument(description=description, name=camel(name))]
        parameters.append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=described, default=default)
        )
    resolver.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return resolver


@dataclass(frozen=True)
class _Later(LazyType[Any, Any]):
    """A type that is generated later under a name."""

    registry: Types | None = dataclasses.field(default=None, compare=False)

    def resolve_type(self) -> type[Any]:
        assert self.registry is not None
        found: type[Any] = self.registry.named[self.type_name]
        return found


@strawberry.type(description="Where a page stands in its list.")
class PageInfo:
    """Relay's page information."""

    has_previous_page: bool = strawberry.field(
        description="Whether the list goes on before this page, as far as known."
    )
    has_next_page: bool = strawberry.field(description="Whether the list goes on after this page, as far as known.")
    start_cursor: str | None = strawberry.field(
        description="Cursor of the first row, for `before`; null on an empty page."
    )
    end_cursor: str | None = strawberry.field(description="Cursor of the last row, for `after`; null on an empty page.")


@dataclass(frozen=True, slots=True)
class _Edge:
    cursor: str
    node: Any


class _Connection:
    """A page as the connection types read it."""

    def __init__(self, page: Page, request: PageRequest, count: Callable[[int | None], Any]) -> None:
        self.nodes = page.rows
        self.count = count
        self._page = page
        self._terms = request.terms

    @property
    def edges(self) -> list[_Edge]:
        return [_Edge(encode_cursor(self._terms, row), row) for row in self.nodes]

    @property
    def page_info(self) -> PageInfo:
        rows = self._page.rows
        return PageInfo(
            has_previous_page=self._page.has_previous,
            has_next_page=self._page.has_next,
            start_cursor=encode_cursor(self._terms, rows[0]) if rows else None,
            end_cursor=encode_cursor(self._terms, rows[-1]) if rows else None,
        )


class Types:
    """The types generated so far, by name; one per schema."""

    def __init__(self, entities: Iterable[Entity]) -> None:
        self.entities = {entity.name: entity for entity in entities}
        self.node = _node_interface(self.entities.values())
        self.named: dict[str, Any] = {"FinalityComparison": _finality_comparison()}
        for entity in self.entities.values():
            entity.related = {relation.name: self.entities[relation.target] for relation in entity.relations}
            self._generate(entity)

    def later(self, name: str) -> Any:
        """The type of this name, which may not be generated yet."""
        return _Later(name, __name__, registry=self)

    def _generate(self, entity: Entity) -> None:
        self.named[entity.name] = self._node(entity)
        self.named[f"{entity.name}Filter"] = self._filter(entity)
        self.named[f"{entity.name}ListFilter"] = self._list_filter(entity)
        self.named[f"{entity.name}Order"] = self._order(entity)
        self.named[f"{entity.name}Edge"] = make_type(
            f"{entity.name}Edge",
            [
                make_field("cursor", str, "Its place in the list, for `after` and `before`."),
                make_field("node", self.later(entity.name), "The row."),
            ],
            f"A `{entity.name}` in a list.",
        )
        self.named[f"{entity.name}Connection"] = self._connection(entity)

    def _node(self, entity: Entity) -> Any:
        fields = [
            make_field(
                "nodeId",
                strawberry.ID,
                NODE_ID,
                resolver=_node_id_resolver(entity),
                attribute="node_id",
                reads=NodeIdRead(entity),
            )
        ]
        for column in entity.columns:
            if not column.exposed:
                continue
            fields.append(
                make_field(
                    column.field_name,
                    self.annotation(column),
                    column.description,
                    resolver=None if column.derive is None else _derived(column.derive),
                    attribute=column.name,
                    deprecated=column.deprecated,
                    reads=ColumnRead(entity, column),
                )
            )
            if column.scale is not None:
                fields.append(_decimal_field(entity, column, column.scale))
        fields += [self._relation_field(entity, relation) for relation in entity.relations]
        if entity.located is not None:
            fields.append(
                make_field(
                    "finality",
                    Finality | None,
                    "How final the block is that last changed it; null where that block is not canonical.",
                    resolver=_finality_resolver(entity),
                    reads=FinalityRead(entity),
                )
            )
        return make_type(entity.name, fields, entity.description, interface=self.node)

    def annotation(self, column: Column) -> Any:
        """A column's type in Python, as Strawberry reads it."""
        plain = self.plain(column)
        return plain | None if column.nullable else plain

    def plain(self, column: Column) -> Any:
        """The type of a column's values that are not null."""
        return ANNOTATIONS[column.kind] if column.enum is None else graphql_enum(column.enum)

    def _filter(self, entity: Entity) -> Any:
        name = f"{entity.name}Filter"
        fields = [
            make_field(
                column.field_name,
                StrawberryOptional(self._comparison(column, search=entity.projection)),
                column.description,
                default=UNSET,
                attribute=column.name,
                deprecated=column.deprecated,
            )
            for column in entity.columns
            if column.filterable
        ]
        if entity.located is not None:
            fields.append(
                make_field(
                    "finality",
                    StrawberryOptional(self.named["FinalityComparison"]),
                    "How final the block is that last changed it.",
                    default=UNSET,
                )
            )
        fields += [self._relation_filter(relation) for relation in entity.filter_relations]
        several = StrawberryOptional(StrawberryList(self.later(name)))
        fields += [
            make_field("and", several, "All of these hold.", default=UNSET, attribute="and_"),
            make_field("or", several, "One of these holds.", default=UNSET, attribute="or_"),
            make_field(
                "not", StrawberryOptional(self.later(name)), "This does not hold.", default=UNSET, attribute="not_"
            ),
        ]
        return make_type(name, fields, f"Which `{entity.name}` rows: all conditions hold.", is_input=True)

    def _relation_filter(self, relation: Relation) -> StrawberryField:
        kind, condition = (
            ("ListFilter", "Which of these rows it has.")
            if relation.many
            else ("Filter", "It has this row, which fulfils all conditions; `{}` asks for no more than that.")
        )
        return make_field(
            relation.name,
            StrawberryOptional(self.later(f"{relation.target}{kind}")),
            f"{relation.description} {condition}",
            default=UNSET,
            attribute=f"related_{relation.name}",
        )

    def _list_filter(self, entity: Entity) -> Any:
        optional = StrawberryOptional(self.later(f"{entity.name}Filter"))
        return make_type(
            f"{entity.name}ListFilter",
            [
                make_field("some", optional, "At least one row fulfils this.", default=UNSET),
                make_field("every", optional, "Every row fulfils this; so it is without rows.", default=UNSET),
                make_field("none", optional, "No row fulfils this.", default=UNSET),
            ],
            f"Which `{entity.name}` rows a row has: all conditions hold.",
            is_input=True,
        )

    def _comparison(self, column: Column, *, search: bool) -> Any:
        annotation = self.plain(column)
        operators = _OPERATORS[column.kind] if column.enum is None else _EQUALITY
        listed = types.GenericAlias(list, (annotation,))
        shown = {str: "String", int: "Int", bool: "Boolean", datetime: "DateTime"}.get(annotation, annotation.__name__)
        name = f"{shown}Comparison"
        if search and annotation is str:
            operators, name = (*operators, *_SEARCH), "TextComparison"
        if name not in self.named:
            fields = []
            for operator in sorted(operators, key=list(COMPARISONS).index):
                field_name, description = COMPARISONS[operator]
                of: Any = bool if operator == "is_null" else listed if operator in ("in_", "not_in") else annotation
                deprecated = _DEPRECATED.get(operator)
                fields.append(
                    make_field(
                        field_name, of | None, description, default=UNSET, attribute=operator, deprecated=deprecated
                    )
                )
            self.named[name] = make_type(name, fields, f"Conditions on `{shown}`: all of them hold.", is_input=True)
        return self.named[name]

    def _order(self, entity: Entity) -> Any:
        members = {
            (column.shown_as or column.name).upper(): column.name for column in entity.columns if column.orderable
        }
        name = f"{entity.name}Order"
        field_type = named_enum(f"{name}Field", members, f"What a list of `{entity.name}` can be ordered by.")
        return make_type(
            name,
            [
                make_field("field", field_type, "By what."),
                make_field("direction", Direction, "Which way.", default=Direction.ASC),
            ],
            f"An order of a list of `{entity.name}`.",
            is_input=True,
        )

    def _connection(self, entity: Entity) -> Any:
        edge = self.later(f"{entity.name}Edge")

        return make_type(
            f"{entity.name}Connection",
            [
                make_field("nodes", StrawberryList(self.later(entity.name)), "The page's rows."),
                make_field("edges", StrawberryList(edge), "The page's rows with their cursors."),
                make_field("pageInfo", PageInfo, "Where the page stands.", attribute="page_info"),
                make_field(
                    "totalCount",
                    int,
                    "Rows in the whole list, counted when asked for.",
                    resolver=with_arguments(lambda root, info, **given: root.count(at_most(given)), TOTAL_ARGUMENTS),
                ),
            ],
            f"A page of a list of `{entity.name}`.",
        )

    def page_arguments(self, entity: Entity) -> dict[str, tuple[Any, Any, str]]:
        """The arguments of a list."""
        return {
            "filter": (StrawberryOptional(self.later(f"{entity.name}Filter")), None, "Which rows."),
            "order_by": (
                StrawberryOptional(StrawberryList(self.later(f"{entity.name}Order"))),
                None,
                "The first orders, the next ones break ties. The primary key breaks the last.",
            ),
            "first": (int | None, None, f"Page size from the start, {DEFAULT_PAGE} without, at most {MAX_PAGE}."),
            "after": (str | None, None, "Start after this cursor."),
            "last": (int | None, None, f"Page size from the end instead, at most {MAX_PAGE}."),
            "before": (str | None, None, "End before this cursor."),
        }

    def root_fields(self, entity: Entity) -> list[StrawberryField]:
        """The fields of ``Query`` for one row and for a list."""
        return [self.single_field(entity), self.list_field(entity)]

    def single_field(self, entity: Entity) -> StrawberryField:
        """The field of ``Query`` that finds a row by its key."""

        key = [entity.by_name[name] for name in entity.key]
        return self.row_field(
            entity.single,
            entity,
            f"One `{entity.name}` by its key; null where there is none.",
            {
                column.shown_as or column.name: (self.annotation(column), inspect.Parameter.empty, column.description)
                for column in key
            },
            lambda given: equal_to(entity, {column.name: given[column.shown_as or column.name] for column in key}),
        )

    def row_field(
        self,
        name: str,
        entity: Entity,
        description: str,
        arguments: Mapping[str, tuple[Any, Any, str]],
        condition: Callable[[Mapping[str, Any]], Sql],
    ) -> StrawberryField:
        """The field ``name`` of ``Query`` that finds the row which fulfils what its arguments become."""

        async def resolve(root: Any, info: Info, **given: Any) -> Any:
            return await fetch_one(info.context.session, entity, condition(given))

        return make_field(
            name,
            StrawberryOptional(self.named[entity.name]),
            description,
            resolver=with_arguments(resolve, arguments),
            reads=SingleRead(entity, condition),
        )

    def list_field(self, entity: Entity) -> StrawberryField:
        """The field of ``Query`` that lists rows."""

        async def resolve(root: Any, info: Info, **given: Any) -> Any:
            session = info.context.session
            scope = all_of(argument.condition(given[name]) for name, argument in entity.arguments.items())
            request = page_request(entity, given)
            page = await fetch_page(session, entity, scope, request)
            condition = all_of([scope, request.condition])
            return _Connection(page, request, lambda most: count_rows(session, entity, condition, most))

        own = {
            name: (argument.annotation, argument.default, argument.description)
            for name, argument in entity.arguments.items()
        }
        return make_field(
            entity.plural,
            self.named[f"{entity.name}Connection"],
            f"A list of `{entity.name}` in pages.",
            resolver=with_arguments(resolve, own | self.page_arguments(entity)),
            reads=ListRead(entity),
        )

    def _relation_field(self, entity: Entity, relation: Relation) -> StrawberryField:
        target = self.entities[relation.target]
        if relation.many:
            return make_field(
                relation.name,
                self.later(f"{target.name}Connection"),
                relation.description,
                resolver=with_arguments(_many_resolver(entity, relation, target), self.page_arguments(target)),
                attribute=f"related_{relation.name}",
                reads=RelationRead(entity, relation, target),
            )
        return make_field(
            relation.name,
            StrawberryOptional(self.later(target.name)),
            relation.description,
            resolver=with_arguments(_one_resolver(relation, target), {}),
            attribute=f"related_{relation.name}",
            reads=RelationRead(entity, relation, target),
        )


def _finality_comparison() -> Any:
    return make_type(
        "FinalityComparison",
        [
            make_field("eq", Finality | None, "This final, and no more.", default=UNSET),
            make_field("atLeast", Finality | None, "This final, or more.", default=UNSET, attribute="at_least"),
        ],
        "Conditions on `Finality`, as it is now: all of them hold. A block that is not canonical has none.",
        is_input=True,
    )


def _node_interface(entities: Iterable[Entity]) -> type[Any]:
    names = {entity.make: entity.name for entity in entities}

    class Node:
        node_id: strawberry.ID = strawberry.field(name="nodeId", description=NODE_ID)

        @classmethod
        def resolve_type(cls, row: Any, *_: Any) -> str:
            return names[type(row)]

    return strawberry.interface(Node, description="A row of any type, found by its id.")


def _node_id_resolver(entity: Entity) -> Resolver:
    return lambda root: encode_node_id(entity, root)


def _decimal_field(entity: Entity, column: Column, scale: Scale) -> StrawberryField:
    name = scale.name_of(column.name)
    known = isinstance(scale.places, int) and not column.nullable
    unknown = "" if isinstance(scale.places, int) else " Null where the token is not known."
    return make_field(
        camel(name),
        Decimal if known else Decimal | None,
        f"`{column.field_name}` in {scale.unit}.{unknown}",
        resolver=_decimal_resolver(column, scale),
        attribute=name,
        reads=DecimalRead(entity, column),
    )


def _decimal_resolver(column: Column, scale: Scale) -> Resolver:
    places = scale.places
    if isinstance(places, int):

        def shown(root: Any) -> str | None:
            amount = getattr(root, column.name)
            return None if amount is None else decimal_text(amount, places)

        return shown

    async def resolve(root: Any, info: Info) -> str | None:
        amount, token, session = getattr(root, column.name), getattr(root, places.key), info.context.session
        if amount is None or token is None:
            return None

        async def load(keys: Sequence[str]) -> dict[str, int]:
            query = build(
                "SELECT p.{key}, p.{column} FROM {table} p WHERE p.{key} = ANY({keys})",
                key=sql.Identifier(places.key),
                column=sql.Identifier(places.column),
                table=Table(places.table, Past.PROJECTION),
                keys=Sql(sql.SQL("%s"), (list(keys),)),
            )
            return dict(await session.fetch(query, at_most=len(keys)))

        found = await session.loader(("places", places), load).load(token)
        return None if found is None or not 0 <= found <= MAX_PLACES else decimal_text(amount, found)

    return with_arguments(resolve, {})


def _derived(derive: Callable[[Any], Any]) -> Resolver:
    return lambda root: derive(root)


def _own_values(relation: Relation, row: Any) -> tuple[Any, ...] | None:
    values = tuple(getattr(row, name) for name in relation.own)
    return None if None in values else values


def _one_resolver(relation: Relation, target: Entity) -> Resolver:
    names = tuple(remote for _, remote in relation.pairs)

    async def resolve(root: Any, info: Info) -> Any:
        values = _own_values(relation, root)
        if values is None:
            return None
        session = info.context.session

        async def load(keys: Sequence[tuple[Any, ...]]) -> dict[tuple[Any, ...], Any]:
            return await fetch_by(session, target, names, keys)

        return await session.loader((target.name, names), load).load(values)

    return resolve


def _many_resolver(own: Entity, relation: Relation, target: Entity) -> Resolver:
    async def resolve(root: Any, info: Info, **given: Any) -> Any:
        session = info.context.session
        request = page_request(target, given, relation.order)
        values = _own_values(relation, root)
        if values is None:
            return _Connection(Page([], has_previous=False, has_next=False), request, _no_rows)

        async def load(keys: Sequence[tuple[Any, ...]]) -> dict[tuple[Any, ...], Page]:
            return await fetch_related_pages(session, own, relation, target, request, keys)

        def count(most: int | None) -> Any:
            async def load_counts(keys: Sequence[tuple[Any, ...]]) -> dict[tuple[Any, ...], int]:
                return await count_related(session, own, relation, target, request.condition, keys, most)

            return session.loader((own.name, relation.name, request, "count", most), load_counts).load(values)

        page = await session.loader((own.name, relation.name, request), load).load(values)
        assert page is not None
        return _Connection(page, request, count)

    return resolve


async def _no_rows(most: int | None) -> int:
    return 0


def at_most(arguments: Mapping[str, Any]) -> int | None:
    """The argument of ``totalCount``. Raises InputError for a number below 0."""
    most: int | None = concrete(arguments["at_most"])
    if most is not None and most < 0:
        raise InputError("totalCount: atMost is 0 or more.")
    return most


def _finality_resolver(entity: Entity) -> Resolver:
    assert entity.located is not None
    height_name, hash_name = entity.located

    async def resolve(root: Any, info: Info) -> Finality | None:
        height = getattr(root, height_name)
        block_hash = None if hash_name is None else getattr(root, hash_name)
        return await finality_of(info.context.session, entity.chain_of(root), height, block_hash)

    return with_arguments(resolve, {})
