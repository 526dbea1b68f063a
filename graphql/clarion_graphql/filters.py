"""Filters to SQL: conditions on the columns of a row, on the rows it is related to, and on how final its block is."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final, LiteralString

from psycopg import sql
from strawberry import UNSET

from clarion.chains.model import Finality
from clarion_graphql.entities import Column, Entity, Kind, Relation, camel
from clarion_graphql.errors import ApiError, Code, InputError
from clarion_graphql.receipt import ANCHORED, FINALITY
from clarion_graphql.sql import TRUE, Past, Sql, Table, all_of, any_of, build, converted, converted_all, join

#: How deep ``and``, ``or``, ``not`` and relations may be nested.
MAX_FILTER_DEPTH: Final = 8
#: Most conditions in one filter.
MAX_CONDITIONS: Final = 500
#: Most relations that one filter may follow.
MAX_RELATIONS: Final = 16
#: Most values in one ``in`` or ``notIn``.
MAX_VALUES: Final = 1000

# none builds a pattern out of a value: what a client writes is only ever compared
_OPERATORS: Final[Mapping[str, LiteralString]] = {
    "eq": "{column} = {value}",
    "ne": "{column} IS DISTINCT FROM {value}",
    "lt": "{column} < {value}",
    "lte": "{column} <= {value}",
    "gt": "{column} > {value}",
    "gte": "{column} >= {value}",
    "prefix": "{column} ^@ {value}",
    "starts_with": "{column} ^@ {value}",
    "ends_with": "reverse({column}) ^@ reverse({value})",
    "contains": "strpos({column}, {value}) > 0",
    "contains_insensitive": "strpos(lower({column}), lower({value})) > 0",
}
_LISTS: Final[Mapping[str, LiteralString]] = {
    "in_": "{column} = ANY({values})",
    "not_in": "({column} = ANY({values})) IS NOT TRUE",
}
_FINALITIES: Final = (Finality.SOFT, Finality.ANCHORED, Finality.FINAL)


def parameter(column: Column, value: Any) -> Sql:
    """A value as a parameter of the column's type. Raises InputError for a value that Postgres cannot hold."""
    known = converted(value, lambda given: _sql_value(column, given))
    return Sql(sql.SQL("%s::") + column.kind.sql_type, (known,))


def parameters(column: Column, values: Sequence[Any]) -> Sql:
    """Values as one parameter, an array of the column's type."""
    known = converted_all(values, lambda given: [_sql_value(column, value) for value in given])
    return Sql(sql.SQL("%s::") + column.kind.sql_type + sql.SQL("[]"), (known,))


def key_arrays(entity: Entity, names: Sequence[str], keys: Sequence[tuple[Any, ...]]) -> Sql:
    """Keys, tuples of the columns ``names``, as one array a column: the arguments of ``unnest``."""
    columns = [entity.by_name[name] for name in names]
    return join(
        [parameters(column, values) for column, values in zip(columns, zip(*keys, strict=True), strict=True)], ", "
    )


def equal_to(entity: Entity, values: Mapping[str, Any]) -> Sql:
    """The condition that columns have these values."""
    return all_of(
        build("{column} = {value}", column=entity.by_name[name].value, value=parameter(entity.by_name[name], value))
        for name, value in values.items()
    )


def filter_condition(entity: Entity, given: Any) -> Sql:
    """A filter input as a condition on the row ``t``.

    Raises InputError for a value that means nothing, ApiError where the filter goes over a limit.
    """
    return TRUE if given is None else _Filter().condition(entity, given, 0)


class _Filter:
    """One filter on its way to SQL, with what it has asked for so far."""

    def __init__(self) -> None:
        self._conditions = 0
        self._relations = 0

    def condition(self, entity: Entity, given: Any, depth: int) -> Sql:
        if depth > MAX_FILTER_DEPTH:
            raise ApiError(
                Code.LIMIT_EXCEEDED, f"A filter nests and, or, not and relations at most {MAX_FILTER_DEPTH} deep."
            )
        conditions: list[Sql] = []
        for column in entity.columns:
            comparison = getattr(given, column.name, UNSET) if column.filterable else UNSET
            if comparison is not UNSET:
                conditions.append(self._comparison(column, _not_null(comparison, column.field_name)))
        if entity.located is not None and (wanted := getattr(given, "finality", UNSET)) is not UNSET:
            conditions.append(_finality(entity, _not_null(wanted, "finality")))
        for relation in entity.filter_relations:
            wanted = getattr(given, f"related_{relation.name}", UNSET)
            if wanted is not UNSET:
                conditions.append(self._related(entity, relation, _not_null(wanted, relation.name), depth + 1))
        for name, combine in (("and_", all_of), ("or_", any_of)):
            several = getattr(given, name, UNSET)
            if several is not UNSET:
                listed = _not_null(several, name[:-1])
                conditions.append(combine([self.condition(entity, inside, depth + 1) for inside in listed]))
        negated = getattr(given, "not_", UNSET)
        if negated is not UNSET:
            inside = self.condition(entity, _not_null(negated, "not"), depth + 1)
            conditions.append(build("({inside}) IS NOT TRUE", inside=inside))
        return all_of(conditions)

    def _comparison(self, column: Column, comparison: Any) -> Sql:
        conditions = []
        for operator in dataclasses.fields(comparison):
            value = getattr(comparison, operator.name)
            if value is UNSET:
                continue
            self._conditions += 1
            if self._conditions > MAX_CONDITIONS:
                raise ApiError(Code.LIMIT_EXCEEDED, f"A filter holds at most {MAX_CONDITIONS} conditions.")
            value = _not_null(value, f"{column.field_name}.{camel(operator.name.rstrip('_'))}")
            conditions.append(_operation(column, operator.name, value))
        condition = all_of(conditions)
        return condition if column.within is None else Sql(column.within.format(condition.text), condition.parameters)

    def _related(self, entity: Entity, relation: Relation, given: Any, depth: int) -> Sql:
        """That the rows a relation leads to are as wanted: the only one, or some, every one, or none of many."""
        target = entity.related[relation.name]
        if not relation.many:
            return self._exists(entity, relation, self.condition(target, given, depth))
        conditions = []
        for quantifier in ("some", "every", "none"):
            wanted = getattr(given, quantifier, UNSET)
            if wanted is UNSET:
                continue
            inside = self.condition(target, _not_null(wanted, f"{relation.name}.{quantifier}"), depth)
            if quantifier == "every":
                inside = build("({inside}) IS NOT TRUE", inside=inside)
            found = self._exists(entity, relation, inside)
            conditions.append(found if quantifier == "some" else build("NOT {found}", found=found))
        return all_of(conditions)

    def _exists(self, entity: Entity, relation: Relation, condition: Sql) -> Sql:
        """That a relation leads from the row ``t`` to a row that fulfils a condition.

        The inner rows, named ``t`` as well, are out of sight where their keys are compared with the outer row's. The
        planner joins them: it can begin with either side.
        """
        self._relations += 1
        if self._relations > MAX_RELATIONS:
            raise ApiError(Code.LIMIT_EXCEEDED, f"A filter follows at most {MAX_RELATIONS} relations.")
        target = entity.related[relation.name]
        names = [sql.Identifier(f"key{index}") for index in range(len(relation.pairs))]
        own = [entity.by_name[name].value for name in relation.own]
        if relation.via is None:
            keys: list[sql.Composable] = [target.by_name[remote].value for _, remote in relation.pairs]
            rows: sql.Composable = sql.SQL("{} t").format(target.source)
        else:
            keys = [sql.Identifier("v", name) for name in relation.via.own]
            rows = sql.SQL("{} v JOIN {} t ON {}").format(
                Table(relation.via.table, Past.PROJECTION),
                target.source,
                sql.SQL(" AND ").join(
                    sql.SQL("{} = {}").format(sql.Identifier("v", name), target.by_name[remote].value)
                    for name, remote in relation.via.pairs
                ),
            )
        return build(
            "EXISTS (SELECT FROM (SELECT {keys} FROM {rows} WHERE {condition}) r WHERE {joined})",
            keys=sql.SQL(", ").join(sql.SQL("{} AS {}").format(*pair) for pair in zip(keys, names, strict=True)),
            rows=rows,
            condition=condition,
            joined=sql.SQL(" AND ").join(
                sql.SQL("r.{} = {}").format(name, value) for name, value in zip(names, own, strict=True)
            ),
        )


def _operation(column: Column, operator: str, value: Any) -> Sql:
    if operator == "is_null":
        text: LiteralString = "{column} IS NULL" if value else "{column} IS NOT NULL"
        return build(text, column=column.value)
    if operator in _LISTS:
        name = camel(operator.rstrip("_"))
        few = converted_all(value, lambda values: _few(values, f"{column.field_name}.{name}"))
        return build(_LISTS[operator], column=column.value, values=parameters(column, few))
    return build(_OPERATORS[operator], column=column.value, value=parameter(column, value))


def _few(values: Sequence[Any], name: str) -> Sequence[Any]:
    if len(values) > MAX_VALUES:
        raise ApiError(Code.LIMIT_EXCEEDED, f"{name} holds at most {MAX_VALUES} values.")
    return values


#: The finality of the block of a row ``t`` of any chain, found by its key for each row.
_OF_ROW: Final[LiteralString] = (
    "(SELECT "
    + FINALITY
    + " FROM clarion.canonical_block c JOIN clarion.cursor u ON u.chain = c.chain "
    + "JOIN clarion.block b ON b.chain = c.chain AND b.hash = c.hash "
    + ANCHORED
    + " WHERE c.chain = t.chain AND c.height = {height} AND c.hash = {hash}) = ANY({wanted})"
)
_FINAL_HEIGHT: Final[LiteralString] = "(SELECT u.final_height FROM clarion.cursor u WHERE u.chain = {chain})"
#: The heights of the blocks of a chain that are anchored and not yet final: few, and read once.
_ANCHORED_HEIGHTS: Final[LiteralString] = (
    "ARRAY(SELECT c.height FROM clarion.cursor u JOIN clarion.canonical_block c ON c.chain = u.chain "
    "AND c.height > coalesce(u.final_height, -1) JOIN clarion.block b ON b.chain = c.chain AND b.hash = c.hash "
    + ANCHORED
    + " WHERE u.chain = {chain} AND (a.hash IS NOT NULL OR u.chain = 'bitcoin'))"
)
_OF_HEIGHT: Final[Mapping[Finality, LiteralString]] = {
    Finality.FINAL: "{height} <= " + _FINAL_HEIGHT,
    Finality.ANCHORED: "{height} = ANY(" + _ANCHORED_HEIGHTS + ")",
    Finality.SOFT: "({height} > coalesce(" + _FINAL_HEIGHT + ", -1) AND {height} <> ALL(" + _ANCHORED_HEIGHTS + "))",
}


def _finality(entity: Entity, comparison: Any) -> Sql:
    """That the block of the row ``t`` is canonical and so final, as the indexer has it now."""
    assert entity.located is not None
    height_name, hash_name = entity.located
    height = entity.by_name[height_name].value
    wanted = set(_FINALITIES)
    for name in ("eq", "at_least"):
        value = getattr(comparison, name)
        if value is not UNSET:
            place = _FINALITIES.index(Finality(_not_null(value, f"finality.{camel(name)}")))
            wanted &= set(_FINALITIES[place : place + 1] if name == "eq" else _FINALITIES[place:])
    listed = sorted(wanted)
    if entity.chain is None:
        assert hash_name is not None
        return build(
            _OF_ROW,
            height=height,
            hash=entity.by_name[hash_name].value,
            wanted=Sql(sql.SQL("%s::text[]"), ([finality.value for finality in listed],)),
        )
    chain = sql.Literal(entity.chain)
    canonical = (
        None
        if hash_name is None
        else build(
            "EXISTS (SELECT FROM clarion.canonical_block c "
            "WHERE c.chain = {chain} AND c.height = {height} AND c.hash = {hash})",
            chain=chain,
            height=height,
            hash=entity.by_name[hash_name].value,
        )
    )
    return all_of([canonical, any_of(build(_OF_HEIGHT[finality], height=height, chain=chain) for finality in listed)])


def _sql_value(column: Column, value: Any) -> Any:
    """A value as the column's Postgres type takes it."""
    if isinstance(value, datetime):
        zoned = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
        return math.floor(zoned.timestamp()) if column.kind is Kind.UNIX_TIME else zoned
    if isinstance(value, Enum):
        return value.value
    return _checked_text(value) if isinstance(value, str) else value


def _checked_text(value: str) -> str:
    """A text that Postgres can hold. Raises InputError otherwise."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError("A text holds a lone surrogate, which is no character.") from None
    if "\0" in value:
        raise InputError("A text holds a zero character, which no stored text does.")
    return value


def _not_null(value: Any, name: str) -> Any:
    if value is None:
        raise InputError(f"{name} is null in a filter. Leave it out to match everything, or use isNull to match null.")
    return value
