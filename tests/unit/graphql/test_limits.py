"""Limits on documents, what operations cost, and that finding out takes no longer than the document is."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from graphql import GraphQLError, build_schema, get_introspection_query, get_operation_ast, parse
from support import toy
from support.hostile import hostile_documents

from clarion.protocol import installed_protocols
from clarion_graphql.documents import MOST_ERRORS, Documents, RequestError
from clarion_graphql.limits import MAX_FRAGMENTS, Limits, check_document, cost_of
from clarion_graphql.schema import build_schema as build_whole_schema

SCHEMA = build_schema(
    """
    type Query { shop: Shop! shops(first: Int, last: Int, after: String): Shops! names: [String!]! recent: [Shop!]! }
    interface Node { id: ID! }
    type Shop implements Node { id: ID! name: String! owner: Owner! goods(first: Int): Goods! }
    type Owner implements Node { id: ID! shop: Shop! }
    type Shops { nodes: [Shop!]! edges: [ShopEdge!]! totalCount: Int! pageInfo: PageInfo! }
    type ShopEdge { cursor: String! node: Shop! }
    type PageInfo { hasNextPage: Boolean! }
    type Goods { nodes: [Good!]! totalCount: Int! }
    type Good { id: ID! seller: Shop! }
    """
)


def cost(text: str, variables: Mapping[str, Any] | None = None) -> int:
    document = parse(text)
    operation = get_operation_ast(document)
    assert operation is not None
    return cost_of(SCHEMA, document, operation).evaluate(variables or {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{ __typename }", 1),
        ("{ shop { id owner { id } } }", 4),
        ("{ names }", 1),
        ("{ shops(first: 10) { totalCount } }", 2),
        ("{ shops(first: 10) { nodes { id name } totalCount } }", 3 + 2 * 10),
        ("{ shops { nodes { id } } }", 2 + 50),
        ("{ shops(last: 7) { edges { cursor node { id } } pageInfo { hasNextPage } } }", 4 + 3 * 7),
        ("{ shops(first: 9999) { nodes { id } } }", 2 + 500),
        ("{ shops(first: -1) { nodes { id } } }", 2),
        ("{ recent { id } }", 1 + 50),
        ("{ shops(first: 3) { nodes { goods(first: 4) { nodes { id } } } } }", 2 + 3 * (2 + 4)),
        ("{ a: shop { id } b: shop { ...F } } fragment F on Shop { id ... on Node { id } }", 1 + 1 + 1 + 2),
        ("query($n: Int) { shops(first: $n) { nodes { id } } }", 2 + 50),
        ("query($n: Int = 5) { shops(first: $n) { nodes { id } } }", 2 + 5),
    ],
)
def test_a_field_costs_one_on_every_object_it_may_be_of(text: str, expected: int) -> None:
    assert cost(text) == expected


def test_variables_decide_about_pages() -> None:
    text = """query($n: Int, $m: Int = 2) {
      shops(first: $n) { nodes { id goods(first: $m) { nodes { id seller { id } } } } totalCount } }"""

    assert cost(text, {"n": 10}) == 3 + 10 * (3 + 2 * 3)
    assert cost(text, {"n": 10, "m": 0}) == 3 + 10 * 3
    assert cost(text, {"n": 1000, "m": 1000}) == 3 + 500 * (3 + 500 * 3)
    # what is no number is refused later: until then it counts as if it were not there
    assert cost(text, {"n": "10", "m": None}) == 3 + 50 * (3 + 2 * 3)


@pytest.mark.parametrize(
    ("text", "variables", "expected"),
    [
        ("{ toyAccountsAggregate { count } }", {}, 1 + 1),
        ("{ toyAccountsAggregate(groupBy: null) { count } }", {}, 1 + 1),
        ("{ toyAccountsAggregate(groupBy: {field: OWNER}) { key { owner } count } }", {}, 1 + 3 * 1000),
        ("{ toyAccountsAggregate(groupBy: [{field: OWNER}], first: 10) { count } }", {}, 1 + 10),
        ("{ toyAccountsAggregate(groupBy: [{field: OWNER}], first: 9999) { count } }", {}, 1 + 1000),
        (
            "query($n: Int = 7) { toyAccountsAggregate(groupBy: {field: OWNER}, first: $n) { count } }",
            {"n": 5},
            1 + 5,
        ),
        ("query($n: Int = 7) { toyAccountsAggregate(groupBy: {field: OWNER}, first: $n) { count } }", {}, 1 + 7),
        ('{ nodes(ids: ["a", "b"]) { nodeId } }', {}, 1 + 2),
        ('{ nodes(ids: "a") { nodeId } }', {}, 1 + 1),
        ("query($ids: [ID!]!) { nodes(ids: $ids) { nodeId } }", {"ids": ["a"] * 200}, 1 + 200),
        ("query($ids: [ID!]!) { nodes(ids: $ids) { nodeId } }", {"ids": ["a"] * 900}, 1 + 500),
        ('{ liquidationLadder(token: "stx", steps: 200) { priceUsd8 positions } }', {}, 1 + 2 * 200),
        ('{ liquidationLadder(token: "stx") { priceUsd8 positions } }', {}, 1 + 2 * 21),
        ('{ candles(asset: "BTC", interval: DAY, from: "2026-01-01T00:00:00Z") { start } }', {}, 1 + 500),
        ('{ poolHistory(token: "stx", interval: DAY, from: "2026-01-01T00:00:00Z") { start } }', {}, 1 + 200),
        ("{ platformAnalytics(interval: DAY) { start tokens { token } } }", {}, 1 + 500 * (2 + 50)),
        ("{ zkusdLiquidationQueue(first: 300) { candidates { rank } } }", {}, 2 + 300),
        ("{ zkusdPriceLadder(changesBps: [1, 2]) { rungs { changeBps } } }", {}, 2 + 2),
    ],
)
def test_lists_that_are_no_pages_count_as_long_as_they_may_be(
    text: str, variables: Mapping[str, Any], expected: int
) -> None:
    schema = build_whole_schema([toy.toy, *installed_protocols().values()])._schema
    document = parse(text)
    operation = get_operation_ast(document)
    assert operation is not None

    assert cost_of(schema, document, operation).evaluate(variables) == expected


def test_a_schema_is_no_short_answer() -> None:
    usual = cost(get_introspection_query())

    assert 500 < usual < 2_000
    assert cost("{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }") > usual / 2


LIMITS = Limits(depth=3, aliases=2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{ shop { owner { shop { owner { id } } } } }", "nests more than 3 levels"),
        ("{ shop { ...A } } fragment A on Shop { owner { shop { owner { id } } } }", "nests more than 3 levels"),
        ("{ a: names b: names c: names }", "more than 2 aliases"),
        ("{ ...A ...B } fragment A on Query { a: names b: names } fragment B on Query { c: names }", "than 2 aliases"),
        ("{ " + "names " * 300 + "}", "the same fields too often"),
        ("{ shop { id" + "} shop { id" * 300 + "} }", "the same fields too often"),
        ("{ shop " + "{ ... " * 110 + "{ id } " + "} " * 110 + "}", "nest in each other"),
        (
            "{ shop { id } }" + "".join(f" fragment F{n} on Shop {{ id }}" for n in range(MAX_FRAGMENTS + 1)),
            "fragments",
        ),
    ],
)
def test_documents_that_are_too_much(text: str, message: str) -> None:
    (error,) = check_document(parse(text), LIMITS)

    assert message in error.message
    assert (error.extensions or {})["code"] == "LIMIT_EXCEEDED"


@pytest.mark.parametrize(
    "text",
    [
        "{ shop { owner { shop { id } } } }",
        "{ a: names b: names names names }",
        "{ shop { ...A } } fragment A on Shop { id ...A owner { ...B } } fragment B on Owner { ...B id }",
        "{ ...Missing }",
        "query A { a: names b: names } query B { a: names b: names }",
        get_introspection_query(),
    ],
)
def test_documents_that_are_not(text: str) -> None:
    assert check_document(parse(text), LIMITS) == []


def test_introspection_can_be_switched_off() -> None:
    for text in (
        '{ __type(name: "Shop") { name } }',
        "{ s: __schema { description } }",
        "{ ...A } fragment A on Query { __schema { description } }",
    ):
        (error,) = check_document(parse(text), Limits(introspection=False))
        assert "introspection is switched off" in error.message
    assert check_document(parse("{ __typename }"), Limits(introspection=False)) == []


HOSTILE = hostile_documents(leaf="names", node="shop", inner="owner", field="id", pages="shops", type_name="Shop")


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_no_document_takes_long(text: str) -> None:
    limits = Limits()
    documents = Documents(SCHEMA, max_tokens=limits.tokens, check=lambda node: check_document(node, limits))
    began = time.process_time()

    errors: Sequence[GraphQLError] = []
    try:
        for operation in documents.read(text).operations:
            cost_of(SCHEMA, operation.document, operation.node)
    except RequestError as refused:
        errors = refused.errors

    assert time.process_time() - began < 1.5
    assert len(errors) <= MOST_ERRORS + 1
