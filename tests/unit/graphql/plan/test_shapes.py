"""Variables, apart: what a statement depends on and what it is only given."""

from __future__ import annotations

from typing import Any

import pytest
from graphql import OperationDefinitionNode, build_schema, parse

from clarion_graphql.plan.shapes import VariableReader
from clarion_graphql.sql import Slot, concrete

SCHEMA = build_schema(
    """
    enum Way { UP DOWN }
    input Inside { text: String, texts: [String!], way: Way, more: [Inside!], yes: Boolean }
    type Query { field(inside: Inside, number: Int, way: Way): String }
    """
)


def reader(definitions: str) -> VariableReader:
    operation = parse(f"query({definitions}) {{ field }}").definitions[0]
    assert isinstance(operation, OperationDefinitionNode)
    return VariableReader(SCHEMA, operation)


def read(definitions: str, **given: Any) -> Any:
    return reader(definitions).read(given)


def test_values_are_no_part_of_the_shape() -> None:
    one = read("$number: Int, $inside: Inside", number=1, inside={"text": "a", "texts": ["b"]})
    other = read("$number: Int, $inside: Inside", number=2, inside={"text": "c", "texts": ["d", "e"]})

    assert one.shape == other.shape
    assert list(other.values) == [2, "c", ["d", "e"]]


@pytest.mark.parametrize(
    "given",
    [
        {"inside": None},
        {"inside": {}},
        {"inside": {"text": None}},
        {"inside": {"way": "UP"}},
        {"inside": {"way": "DOWN"}},
        {"inside": {"yes": True}},
        {"inside": {"yes": False}},
        {"inside": {"more": []}},
        {"inside": {"more": [{}]}},
        {},
    ],
)
def test_what_a_statement_depends_on_is(given: dict[str, Any]) -> None:
    assert read("$inside: Inside", **given).shape != read("$inside: Inside", inside={"text": "a"}).shape


@pytest.mark.parametrize("given", [{"number": "x"}, {"number": None}, {}, {"number": 2**40}])
def test_what_does_not_fit_has_no_shape(given: dict[str, Any]) -> None:
    assert read("$number: Int!", **given) is None


def test_a_default_counts_where_nothing_is_given() -> None:
    assert list(read("$number: Int = 7").values) == [7]


def test_slots_stand_for_values_and_tell_when_they_are_needed() -> None:
    fixed: list[int] = []
    given = {"number": 3, "inside": {"texts": ["a", "b"], "way": "UP"}}
    variables = reader("$number: Int, $inside: Inside")
    found = variables.read(given)
    assert found is not None

    coerced = variables.with_slots(given, found.values, fixed.append).coerced

    assert isinstance(coerced["number"], Slot)
    assert coerced["inside"]["way"] == "UP"
    assert coerced["inside"]["texts"][0].read([4, ["c"]]) == ["c"]
    assert not fixed
    assert concrete(coerced["number"]) == 3
    assert fixed == [0]


@pytest.mark.parametrize("ask", [bool, len, list, str, lambda slot: slot == 1, lambda slot: slot < 1, hash])
def test_nothing_can_be_asked_of_a_slot(ask: Any) -> None:
    with pytest.raises(TypeError):
        ask(Slot(lambda values: values[0], lambda: 1))
