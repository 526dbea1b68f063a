"""From what an operation selects to one statement that writes the JSON of the answer.

Conditions, orders, cursors and limits are those of the resolvers: the same functions make them. Here is only how rows
become text. What has no equal here raises :class:`NotCompiledError`, or whatever the builders raise, and the resolvers
answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import strawberry
from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    GraphQLField,
    GraphQLObjectType,
    GraphQLOutputType,
    OperationDefinitionNode,
    get_named_type,
    is_non_null_type,
)
from graphql.execution.collect_fields import (
    FieldDetailsList,
    FragmentDetails,
    GroupedFieldSet,
    collect_fields,
    collect_subfields,
)
from graphql.execution.values import VariableValues, get_argument_values
from psycopg import sql
from strawberry.types.arguments import convert_arguments
from strawberry.types.field import StrawberryField

from clarion_graphql import documents
from clarion_graphql.aggregate_types import FIGURES
from clarion_graphql.aggregates import (
    MAX_GROUPS,
    AggregateRequest,
    Function,
    Measure,
    aggregate_query,
    aggregate_request,
)
from clarion_graphql.entities import Column, Entity, Kind, Relation
from clarion_graphql.pages import PageRequest, Term, count_query, order_name, page_request, related_condition
from clarion_graphql.plan.json_text import (
    BROKEN,
    Derivations,
    Piece,
    column_text,
    concat,
    constant,
    decimal_text,
    members,
    opaque_text,
    or_null,
    value_text,
    whole_seconds_text,
)
from clarion_graphql.reads import (
    READS,
    AggregateRead,
    ColumnRead,
    DecimalRead,
    FinalityRead,
    ListRead,
    NodeIdRead,
    Read,
    RelationRead,
    SingleRead,
)
from clarion_graphql.receipt import ANCHORED, FINALITY
from clarion_graphql.session import MAX_ROWS
from clarion_graphql.sql import Sql, all_of, build, concrete, join, tables_in
from clarion_graphql.types import at_most

#: A row's place on its page, and how many rows were fetched: no column is called so.
_PLACE: Final = sql.Identifier("t", "#")
_FETCHED: Final = sql.Identifier("t", "##")


class NotCompiledError(Exception):
    """There is no statement for this; the message says of what."""


@dataclass(frozen=True, slots=True)
class RootField:
    """A root field of an operation. ``text`` is its JSON (null for null); None where a resolver is needed."""

    name: str
    nodes: Sequence[FieldNode]
    nullable: bool
    text: Sql | str | None


@dataclass(frozen=True, slots=True)
class Compiled:
    """The root fields of an operation in order, and the tables that they read."""

    fields: Sequence[RootField]
    derivations: Derivations
    tables: frozenset[str]


def compile_operation(schema: strawberry.Schema, operation: documents.Operation, variables: VariableValues) -> Compiled:
    """What a query selects, for variables of one shape. Raises NotCompiledError, or what the builders raise."""
    return _Compiler(schema, operation, variables).compile()


@dataclass(eq=False)
class _Rows:
    """The rows that a selection is read from, at most so many, once for each row around."""

    entity: Entity
    most: int


class _Compiler:
    def __init__(self, schema: strawberry.Schema, operation: documents.Operation, variables: VariableValues) -> None:
        self._schema = schema
        self._graphql = schema._schema
        self._operation: OperationDefinitionNode = operation.node
        self._variables = variables
        self._fragments = {
            definition.name.value: FragmentDetails(definition)
            for definition in operation.document.definitions
            if isinstance(definition, FragmentDefinitionNode)
        }
        self._derivations = Derivations()
        self._tables: set[str] = set()
        self._rows = 0

    def compile(self) -> Compiled:
        query = self._graphql.query_type
        assert query is not None
        collected = collect_fields(self._graphql, self._fragments, self._variables, query, self._operation)
        fields = [
            self._root(query, name, details)
            for name, details in _without_defer(collected.grouped_field_set, collected.new_defer_usages).items()
        ]
        for root in fields:
            if isinstance(root.text, Sql):
                self._tables |= {table.name for table in tables_in(root.text.text)}
        return Compiled(fields, self._derivations, frozenset(self._tables))

    def _root(self, query: GraphQLObjectType, name: str, details: FieldDetailsList) -> RootField:
        nodes = [detail.node for detail in details]
        if nodes[0].name.value == "__typename":
            return RootField(name, nodes, False, f'"{query.name}"')
        definition = query.fields.get(nodes[0].name.value)
        if definition is None:  # of introspection
            return RootField(name, nodes, True, None)
        text: Sql | None = None
        match _reads(definition):
            case SingleRead(entity, condition):
                text = self._single(entity, condition(self._arguments(definition, nodes[0])), definition.type, details)
            case ListRead(entity):
                text = self._list(entity, definition, details)
            case AggregateRead(entity):
                text = self._aggregates(entity, definition, details)
            case _:
                pass
        return RootField(name, nodes, not is_non_null_type(definition.type), text)

    def _single(self, entity: Entity, condition: Sql, type_: GraphQLOutputType, details: FieldDetailsList) -> Sql:
        self._count(1)
        self._tables.add(entity.table)
        return build(
            "(SELECT {text} FROM {source} t WHERE {condition} LIMIT 1)",
            text=concat(self._row(_Rows(entity, 1), type_, details)),
            source=entity.source,
            condition=condition,
        )

    def _list(self, entity: Entity, definition: GraphQLField, details: FieldDetailsList) -> Sql:
        given = self._arguments(definition, details[0].node)
        scope = all_of(argument.condition(given[name]) for name, argument in entity.arguments.items())
        page = _Page(entity, page_request(entity, given), scope, times=1)
        text = self._page(page, definition.type, details)
        return build("(SELECT {text} FROM {rows} p)", text=text, rows=page.rows)

    def _aggregates(self, entity: Entity, definition: GraphQLField, details: FieldDetailsList) -> Sql:
        given = self._arguments(definition, details[0].node)
        scope = all_of(argument.condition(given[name]) for name, argument in entity.arguments.items())
        groups = _Groups(entity, aggregate_request(entity, given), scope)
        self._count(MAX_GROUPS)
        self._tables.add(entity.table)
        group, selected = self._selection(definition.type, details)
        named: dict[str, Sequence[Piece]] = {}
        for name, inside in selected.items():
            match inside[0].node.name.value:
                case "__typename":
                    named[name] = [f'"{group.name}"']
                case "count":
                    named[name] = groups.figure(Measure(Function.COUNT))
                case "key":
                    named[name] = self._figures(group.fields["key"], inside, groups.key)
                case figures if figures in FIGURES:
                    function = FIGURES[figures][0]
                    named[name] = self._figures(group.fields[figures], inside, partial(groups.figure_of, function))
                case other:
                    raise NotCompiledError(f"{group.name}.{other}")
        return groups.text(concat(members(named)))

    def _figures(
        self, definition: GraphQLField, details: FieldDetailsList, text_of: Callable[[str], list[Piece]]
    ) -> list[Piece]:
        """An object with a value for each column that is asked for, by the column's name in the API."""
        figures, selected = self._selection(definition.type, details)
        named: dict[str, Sequence[Piece]] = {}
        for name, inside in selected.items():
            field_name = inside[0].node.name.value
            named[name] = [f'"{figures.name}"'] if field_name == "__typename" else text_of(field_name)
        return members(named)

    def _relation(self, around: _Rows, read: RelationRead, definition: GraphQLField, details: FieldDetailsList) -> Sql:
        own, relation, target = read.entity, read.relation, read.target
        keys = build(
            "(SELECT {keys}) k",
            keys=sql.SQL(", ").join(
                sql.SQL("{} AS {}").format(own.by_name[name].value, sql.Identifier(f"key{index}"))
                for index, name in enumerate(relation.own)
            ),
        )
        self._tables.add(target.table)
        if not relation.many:
            self._count(around.most)
            is_unique = set(target.key) <= {remote for _, remote in relation.pairs}
            first = "CROSS JOIN LATERAL (SELECT t.* FROM {source} t WHERE {same} LIMIT 1) t"
            found = build(
                f"(SELECT {{text}} FROM {{keys}} {'JOIN {source} t ON {same}' if is_unique else first})",
                text=concat(self._row(_Rows(target, around.most), definition.type, details)),
                keys=keys,
                source=target.source,
                same=_same_keys(target, relation),
            )
            return or_null(found)
        request = page_request(target, self._arguments(definition, details[0].node), relation.order)
        nullable = [f"key{index}" for index, name in enumerate(relation.own) if own.by_name[name].nullable]
        scope = all_of(
            [
                Sql(related_condition(target, relation)),
                *(Sql(sql.SQL("k.{} IS NOT NULL").format(sql.Identifier(name))) for name in nullable),
            ]
        )
        page = _Page(target, request, scope, times=around.most, nullable_keys=nullable)
        text = self._page(page, definition.type, details)
        return build("(SELECT {text} FROM {keys} CROSS JOIN LATERAL {rows} p)", text=text, keys=keys, rows=page.rows)

    def _page(self, page: _Page, type_: GraphQLOutputType, details: FieldDetailsList) -> Sql:
        """The text of a connection, over the row ``p`` of ``page.rows``."""
        connection, selected = self._selection(type_, details)
        self._count(page.most)
        self._tables.add(page.entity.table)
        named: dict[str, Sequence[Piece]] = {}
        for name, inside in selected.items():
            match inside[0].node.name.value:
                case "__typename":
                    named[name] = [f'"{connection.name}"']
                case "nodes":
                    row = self._row(page.inside, connection.fields["nodes"].type, inside)
                    named[name] = ["[", page.listed(concat(row)), "]"]
                case "edges":
                    row = self._edge(page, connection.fields["edges"].type, inside)
                    named[name] = ["[", page.listed(concat(row)), "]"]
                case "pageInfo":
                    named[name] = self._page_info(page, connection.fields["pageInfo"].type, inside)
                case "totalCount":
                    self._count(page.times)
                    most = at_most(self._arguments(connection.fields["totalCount"], inside[0].node))
                    named[name] = [page.total(most)]
                case other:
                    raise NotCompiledError(f"{connection.name}.{other}")
        return concat(members(named))

    def _edge(self, page: _Page, type_: GraphQLOutputType, details: FieldDetailsList) -> list[Piece]:
        edge, selected = self._selection(type_, details)
        named: dict[str, Sequence[Piece]] = {}
        for name, inside in selected.items():
            match inside[0].node.name.value:
                case "__typename":
                    named[name] = [f'"{edge.name}"']
                case "cursor":
                    named[name] = ['"', _cursor_text(page.request.terms), '"']
                case "node":
                    named[name] = self._row(page.inside, edge.fields["node"].type, inside)
                case other:
                    raise NotCompiledError(f"{edge.name}.{other}")
        return members(named)

    def _page_info(self, page: _Page, type_: GraphQLOutputType, details: FieldDetailsList) -> list[Piece]:
        information, selected = self._selection(type_, details)
        named: dict[str, Sequence[Piece]] = {}
        for name, inside in selected.items():
            match inside[0].node.name.value:
                case "__typename":
                    named[name] = [f'"{information.name}"']
                case "hasNextPage":
                    named[name] = [page.has_next]
                case "hasPreviousPage":
                    named[name] = [page.has_previous]
                case "startCursor":
                    named[name] = [page.end_cursor(first=True)]
                case "endCursor":
                    named[name] = [page.end_cursor(first=False)]
                case other:
                    raise NotCompiledError(f"{information.name}.{other}")
        return members(named)

    def _row(self, rows: _Rows, type_: GraphQLOutputType, details: FieldDetailsList) -> list[Piece]:
        """The object of the row ``t``."""
        node, selected = self._selection(type_, details)
        named: dict[str, Sequence[Piece]] = {}
        for name, inside in selected.items():
            field_name = inside[0].node.name.value
            if field_name == "__typename":
                named[name] = [f'"{node.name}"']
                continue
            definition = node.fields[field_name]
            match _reads(definition):
                case ColumnRead(entity, column):
                    named[name] = column_text(entity, column, self._derivations)
                case DecimalRead(entity, column):
                    self._count(rows.most)
                    named[name] = decimal_text(entity, column)
                case NodeIdRead(entity):
                    key = [entity.by_name[part] for part in entity.key]
                    named[name] = ['"', opaque_text(entity.name, key), '"']
                case FinalityRead(entity):
                    self._count(rows.most)
                    named[name] = [_finality_text(entity)]
                case RelationRead() as read:
                    named[name] = [self._relation(rows, read, definition, inside)]
                case _:
                    raise NotCompiledError(f"{node.name}.{field_name}")
        return members(named)

    def _selection(
        self, type_: GraphQLOutputType, details: FieldDetailsList
    ) -> tuple[GraphQLObjectType, GroupedFieldSet]:
        named = get_named_type(type_)
        if not isinstance(named, GraphQLObjectType):
            raise NotCompiledError(f"the type {named.name}")
        collected = collect_subfields(self._graphql, self._fragments, self._variables, self._operation, named, details)
        return named, _without_defer(collected.grouped_field_set, collected.new_defer_usages)

    def _arguments(self, definition: GraphQLField, node: FieldNode) -> dict[str, Any]:
        """What the field's resolver would get."""
        values = get_argument_values(definition, node, self._variables)
        return convert_arguments(
            values,
            _strawberry_field(definition).arguments,
            self._schema.schema_converter.scalar_registry,
            self._schema.config,
        )

    def _count(self, rows: int) -> None:
        """Note that so many rows may be read; the resolvers, who count those there are, say when it is too much."""
        self._rows += rows
        if self._rows > MAX_ROWS:
            raise NotCompiledError(f"more than {MAX_ROWS} rows")


class _Page:
    """A page of a list on its way to SQL: what is asked of its rows decides how they are fetched."""

    def __init__(
        self, entity: Entity, request: PageRequest, scope: Sql, *, times: int, nullable_keys: Sequence[str] = ()
    ) -> None:
        self.entity = entity
        self.request = request
        self.times = times
        self.most = times * request.limit
        self.inside = _Rows(entity, self.most)
        self._scope = scope
        self._nullable_keys = nullable_keys
        self._one_more = False
        self._placed = request.backward
        self._fetched = False
        self._counted = False
        self._columns: list[Callable[[], Sql]] = []

    @property
    def rows(self) -> Sql:
        """The subselect of one row with everything that was asked for."""
        request = self.request
        if not self._columns:
            # values that no statement reads have to make sense all the same
            unread = request.place.parameters + (() if self._counted else request.condition.parameters)
            for value in unread:
                concrete(value)
            return Sql(sql.SQL("(SELECT)"))
        fetched = build(
            "SELECT t.* FROM {source} t WHERE {condition} ORDER BY {order} LIMIT {limit}",
            source=self.entity.source,
            condition=all_of([self._scope, request.condition, request.place]),
            order=request.order,
            limit=sql.SQL(str(request.limit + self._one_more)),
        )
        if self._placed or self._one_more:
            fetched = build(
                """SELECT row_number() OVER () AS "#", {count}t.* FROM ({fetched}) t""",
                count=sql.SQL('count(*) OVER () AS "##", ') if self._fetched else sql.SQL(""),
                fetched=fetched,
            )
        columns = [
            build("{value} AS {name}", value=make(), name=sql.Identifier(f"a{index}"))
            for index, make in enumerate(self._columns)
        ]
        return build("(SELECT {columns} FROM ({fetched}) t)", columns=join(columns, ", "), fetched=fetched)

    def _add(self, make: Callable[[], Sql]) -> Sql:
        """A column over the fetched rows, made once it is known how they are fetched."""
        self._columns.append(make)
        return Sql(sql.Composed([sql.Identifier("p", f"a{len(self._columns) - 1}")]))

    def listed(self, text: Sql) -> Sql:
        """The texts of the page's rows with commas between."""

        def make() -> Sql:
            return build(
                "string_agg({text}, ','{order}){kept}",
                text=text,
                order=sql.SQL(" ORDER BY {} DESC").format(_PLACE) if self.request.backward else sql.SQL(""),
                kept=self._kept(),
            )

        return self._add(make)

    def _kept(self) -> sql.Composable:
        if not self._one_more:
            return sql.SQL("")
        return sql.SQL(" FILTER (WHERE {} <= {})").format(_PLACE, sql.SQL(str(self.request.limit)))

    def total(self, most: int | None) -> Sql:
        """``totalCount``."""
        self._counted = True
        counted = count_query(self.entity, all_of([self._scope, self.request.condition]), most)
        return build("({counted})::int4", counted=counted)

    @property
    def has_next(self) -> Piece:
        """``hasNextPage``."""
        return self._given(self.request.before) if self.request.backward else self._more()

    @property
    def has_previous(self) -> Piece:
        """``hasPreviousPage``."""
        return self._more() if self.request.backward else self._given(self.request.after)

    def _more(self) -> Piece:
        self._one_more = True
        more = self._add(lambda: Sql(sql.SQL("count(*) > {}").format(sql.SQL(str(self.request.limit)))))
        return build("({more})::text", more=more)

    def _given(self, place: object) -> Piece:
        if place is None:
            return "false"
        if not self._nullable_keys:
            return "true"
        known = sql.SQL(" AND ").join(
            sql.SQL("k.{} IS NOT NULL").format(sql.Identifier(name)) for name in self._nullable_keys
        )
        return build("({known})::text", known=known)

    def end_cursor(self, *, first: bool) -> Sql:
        """``startCursor`` or ``endCursor``."""
        self._placed = True
        limit = sql.SQL(str(self.request.limit))
        if first == self.request.backward:
            self._fetched = True
            where = sql.SQL("{} = least({}, {})").format(_PLACE, _FETCHED, limit)
        else:
            where = sql.SQL("{} = 1 AND {} > 0").format(_PLACE, limit)

        def make() -> Sql:
            return build("max({cursor}) FILTER (WHERE {where})", cursor=_cursor_text(self.request.terms), where=where)

        return or_null(build("'\"' || {cursor} || '\"'", cursor=self._add(make)))


class _Groups:
    """Aggregates on their way to SQL: what is asked of a group decides which figures are computed."""

    def __init__(self, entity: Entity, request: AggregateRequest, scope: Sql) -> None:
        self._entity = entity
        self._request = request
        self._scope = scope
        self._columns = {column.field_name: column for column in entity.columns}
        self._measures: list[Measure] = []

    def key(self, name: str) -> list[Piece]:
        """What a group has in common in a column: null where it is not grouped by."""
        column = self._columns[name]
        for index, part in enumerate(self._request.keys):
            if part.column is column:
                return _plain_text(index, column)
        return ["null"]

    def figure_of(self, function: Function, name: str) -> list[Piece]:
        """A figure of a column."""
        return self.figure(Measure(function, self._columns[name]))

    def figure(self, measure: Measure) -> list[Piece]:
        """A figure, computed once."""
        if measure not in self._measures:
            self._measures.append(measure)
        index = len(self._request.keys) + self._measures.index(measure)
        match measure.function:
            case Function.COUNT | Function.COUNT_DISTINCT:
                return [build("{value}::int4", value=_group_column(index))]
            case Function.SUM | Function.AVG:  # numbers as strings of digits
                return value_text(_group_column(index), Kind.BIG_INT)
            case _:
                assert measure.column is not None
                return _plain_text(index, measure.column)

    def text(self, group: Sql) -> Sql:
        """The list of groups, from the text of one."""
        listed = build("string_agg({group}, ',')", group=group)
        if not self._request.cut:  # more than so many are an error
            listed = build(
                "CASE WHEN count(*) > {most} THEN {broken} ELSE {listed} END",
                most=sql.SQL(str(MAX_GROUPS)),
                broken=constant(BROKEN),
                listed=listed,
            )
        names = [sql.Identifier(f"a{index}") for index in range(len(self._request.keys) + len(self._measures))]
        if not names:
            raise NotCompiledError("aggregates without figures")
        return build(
            "(SELECT concat('[', {listed}, ']') FROM ({rows}) g({names}))",
            listed=listed,
            rows=aggregate_query(self._entity, self._scope, self._request, self._measures),
            names=sql.SQL(", ").join(names),
        )


def _group_column(index: int) -> Sql:
    return Sql(sql.Composed([sql.Identifier("g", f"a{index}")]))


def _plain_text(index: int, column: Column) -> list[Piece]:
    """A group's key or extreme value; a time is no longer seconds there."""
    value = _group_column(index)
    if column.kind is Kind.UNIX_TIME:
        return [or_null(build("({text})::text", text=whole_seconds_text(value)))]
    return value_text(value, column.kind, column.enum)


def _without_defer(selected: GroupedFieldSet, defer_usages: Sequence[object]) -> GroupedFieldSet:
    if defer_usages:
        raise NotCompiledError("@defer")
    return selected


def _strawberry_field(definition: GraphQLField) -> StrawberryField:
    found = definition.extensions["strawberry-definition"]
    assert isinstance(found, StrawberryField)
    return found


def _reads(definition: GraphQLField) -> Read | None:
    found: Read | None = _strawberry_field(definition).metadata.get(READS)
    return found


def _cursor_text(terms: Sequence[Term]) -> Sql:
    """The cursor of the row ``t`` in an order, without quotes: what ``pages.encode_cursor`` makes."""
    return opaque_text(order_name(terms), [column for column, _ in terms])


def _same_keys(target: Entity, relation: Relation) -> Sql:
    return all_of(
        build("{column} = {key}", column=target.by_name[remote].value, key=sql.Identifier("k", f"key{index}"))
        for index, (_, remote) in enumerate(relation.pairs)
    )


def _finality_text(entity: Entity) -> Sql:
    """The finality of the row ``t`` as JSON: what :func:`clarion_graphql.finality.finality_of` tells."""
    assert entity.located is not None
    height, block_hash = entity.located
    canonical = sql.SQL("c.chain = {} AND c.height = {}").format(
        sql.Literal(entity.chain) if entity.chain is not None else sql.Identifier("t", "chain"),
        entity.by_name[height].value,
    )
    if block_hash is not None:
        canonical += sql.SQL(" AND c.hash = {}").format(entity.by_name[block_hash].value)
    return or_null(
        build(
            "(SELECT '\"' || upper({finality}) || '\"' FROM clarion.canonical_block c "
            "JOIN clarion.cursor u ON u.chain = c.chain "
            "JOIN clarion.block b ON b.chain = c.chain AND b.hash = c.hash {anchored} WHERE {canonical})",
            finality=sql.SQL(FINALITY),
            anchored=sql.SQL(ANCHORED),
            canonical=canonical,
        )
    )
