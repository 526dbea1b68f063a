"""GraphQL types of aggregates, and the field of ``Query`` that gives an entity's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Final

from strawberry.types.base import StrawberryList, StrawberryOptional
from strawberry.types.field import StrawberryField
from strawberry.types.nodes import SelectedField, Selection

from clarion_graphql.aggregates import (
    AVERAGE_PLACES,
    MAX_GROUPS,
    MAX_KEYS,
    AggregateRequest,
    Function,
    Measure,
    TimeBucket,
    aggregate_columns,
    aggregate_request,
    fetch_groups,
    group_columns,
    ordered_columns,
    summed_columns,
)
from clarion_graphql.context import Info
from clarion_graphql.entities import Column, Entity
from clarion_graphql.enums import Direction, graphql_enum, named_enum
from clarion_graphql.lengths import Length
from clarion_graphql.reads import AggregateRead
from clarion_graphql.scalars import BigInt, Decimal
from clarion_graphql.sql import all_of
from clarion_graphql.types import Types, make_field, make_type, with_arguments

graphql_enum(
    TimeBucket,
    {
        "HOUR": "The hour.",
        "DAY": "The day.",
        "WEEK": "The week; it begins on Monday.",
        "MONTH": "The month.",
    },
)
graphql_enum(
    Function,
    {
        "KEY": "What is grouped by.",
        "COUNT": "How many rows.",
        "COUNT_DISTINCT": "How many different values.",
        "SUM": "The sum.",
        "AVG": "The average.",
        "MIN": "The least.",
        "MAX": "The greatest.",
    },
)

#: The fields of an aggregate that hold a figure a column, by the attribute they are read from.
FIGURES: Final[Mapping[str, tuple[Function, str, str]]] = {
    "countDistinct": (Function.COUNT_DISTINCT, "Distinct", "How many different values a column has; null is none."),
    "sum": (Function.SUM, "Sum", "The sum of a column; null without any value."),
    "avg": (Function.AVG, "Average", "The average of a column; null without any value."),
    "min": (Function.MIN, "Extremes", "The least value of a column; null without any."),
    "max": (Function.MAX, "Extremes", "The greatest value of a column; null without any."),
}


def aggregate_field(types: Types, entity: Entity) -> StrawberryField:
    """The field of ``Query`` for an entity's aggregates; generates their types."""
    name = entity.name
    columns = group_columns(entity)
    group_field = named_enum(f"{name}GroupField", _members(columns), f"What `{name}` rows can be grouped by.")
    any_field = named_enum(
        f"{name}AggregateField", _members(aggregate_columns(entity)), f"What figures of `{name}` rows can be of."
    )
    aggregate = _aggregate_type(types, entity, columns)
    group_by = make_type(
        f"{name}GroupBy",
        [
            make_field("field", group_field, "By which field."),
            make_field(
                "bucket", TimeBucket | None, "For a time: cut it down to the start of this, in UTC.", default=None
            ),
            make_field(
                "every",
                int | None,
                "For a height or another number: cut it down to a multiple of this, such as 144 blocks.",
                default=None,
            ),
        ],
        f"What to group `{name}` rows by.",
        is_input=True,
    )
    order = make_type(
        f"{name}AggregateOrder",
        [
            make_field("by", Function, "By which figure."),
            make_field("field", any_field | None, "Of which field; none for `COUNT`.", default=None),
            make_field("direction", Direction, "Which way.", default=Direction.ASC),
        ],
        f"An order of groups of `{name}` rows.",
        is_input=True,
    )

    async def resolve(root: Any, info: Info, **given: Any) -> Any:
        scope = all_of(argument.condition(given[key]) for key, argument in entity.arguments.items())
        request = aggregate_request(entity, given)
        measures = list(dict.fromkeys(_measures(entity, info.selected_fields)))
        rows = await fetch_groups(info.context.session, entity, scope, request, measures)
        return [_group(columns, request, measures, row) for row in rows]

    own = {
        key: (argument.annotation, argument.default, argument.description) for key, argument in entity.arguments.items()
    }
    arguments = {
        "filter": (StrawberryOptional(types.named[f"{name}Filter"]), None, "Which rows."),
        "group_by": (
            StrawberryOptional(StrawberryList(group_by)),
            None,
            f"One group for each value of these fields, at most {MAX_KEYS}. Without it all rows are one group.",
        ),
        "order_by": (
            StrawberryOptional(StrawberryList(order)),
            None,
            "The order of the groups; what they are grouped by, ascending, breaks ties.",
        ),
        "first": (
            int | None,
            None,
            f"How many groups, at most {MAX_GROUPS}. Without it more than so many are an error.",
        ),
    }
    return make_field(
        f"{entity.plural}Aggregate",
        StrawberryList(aggregate),
        f"`{name}` rows counted and summed up, in groups.",
        resolver=with_arguments(resolve, own | arguments),
        reads=AggregateRead(entity),
        length=Length(MAX_GROUPS, "first", only_with="groupBy"),
    )


def _aggregate_type(types: Types, entity: Entity, columns: Sequence[Column]) -> Any:
    name = entity.name
    shown: dict[str, tuple[Sequence[Column], Callable[[Column], Any]]] = {
        "Distinct": (columns, lambda _: int),
        "Sum": (summed_columns(entity), lambda _: BigInt | None),
        "Average": (summed_columns(entity), lambda _: Decimal | None),
        "Extremes": (ordered_columns(entity), lambda column: StrawberryOptional(types.plain(column))),
    }
    descriptions = {
        "Distinct": f"How many different values columns of `{name}` have.",
        "Sum": f"Sums of columns of `{name}`.",
        "Average": f"Averages of columns of `{name}`, cut off after {AVERAGE_PLACES} decimal places.",
        "Extremes": f"The least or greatest values of columns of `{name}`.",
    }
    figures = {
        part: _columns_type(f"{name}Aggregate{part}", of, annotation, descriptions[part])
        for part, (of, annotation) in shown.items()
        if of
    }
    key = _columns_type(
        f"{name}AggregateKey",
        columns,
        lambda column: StrawberryOptional(types.plain(column)),
        f"What a group of `{name}` rows has in common; null where it is not grouped by.",
    )
    return make_type(
        f"{name}Aggregate",
        [
            make_field("key", key, "What its rows have in common: a bucket by its start."),
            make_field("count", int, "How many rows."),
            *(
                make_field(field_name, figures[part], description)
                for field_name, (_, part, description) in FIGURES.items()
                if part in figures
            ),
        ],
        f"Figures of a group of `{name}` rows.",
    )


def _columns_type(name: str, columns: Iterable[Column], annotation: Callable[[Column], Any], description: str) -> Any:
    fields = [
        make_field(column.field_name, annotation(column), column.description, attribute=column.name)
        for column in columns
    ]
    return make_type(name, fields, description)


def _members(columns: Iterable[Column]) -> dict[str, str]:
    return {(column.shown_as or column.name).upper(): column.name for column in columns}


def _fields(selections: Iterable[Selection]) -> Iterator[SelectedField]:
    """The fields selected, those of fragments too."""
    for selection in selections:
        if isinstance(selection, SelectedField):
            yield selection
        else:
            yield from _fields(selection.selections)


def _measures(entity: Entity, selected: Iterable[Selection]) -> Iterator[Measure]:
    """The figures that a selection of aggregates asks for, perhaps one of them twice."""
    columns = {column.field_name: column for column in entity.columns}
    for field in _fields(inside for outer in selected for inside in outer.selections):
        if field.name == "count":
            yield Measure(Function.COUNT)
        elif field.name in FIGURES:
            function = FIGURES[field.name][0]
            for figure in _fields(field.selections):
                if figure.name in columns:
                    yield Measure(function, columns[figure.name])


def _group(
    columns: Sequence[Column], request: AggregateRequest, measures: Sequence[Measure], row: Sequence[Any]
) -> Any:
    """A group as its type reads it; what was not asked for is not there."""
    figures: dict[str, Any] = {name: SimpleNamespace() for name in FIGURES}
    by_function = {function: name for name, (function, _, _) in FIGURES.items()}
    for measure, value in zip(measures, row[len(request.keys) :], strict=True):
        if measure.column is None:
            figures["count"] = value
        else:
            setattr(figures[by_function[measure.function]], measure.column.name, value)
    key = dict.fromkeys((column.name for column in columns), None)
    key.update((part.column.name, value) for part, value in zip(request.keys, row, strict=False))
    return SimpleNamespace(key=SimpleNamespace(**key), **figures)
