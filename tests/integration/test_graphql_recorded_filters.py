"""Filters by related rows and aggregates over a recorded run of BitHedge, against the same asked in SQL by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from fractions import Fraction
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from support.graphql import Server, answering

from clarion.protocols.bithedge import protocol
from clarion.store.database import connect
from clarion_graphql.app import make_app
from clarion_graphql.core import CORE
from clarion_graphql.filters import filter_condition
from clarion_graphql.protocols import entities_of
from clarion_graphql.schema import APIS
from clarion_graphql.sql import build
from clarion_graphql.types import Types

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def connection(recorded_bithedge_url: str) -> Iterator[psycopg.Connection[Any]]:
    with connect(recorded_bithedge_url, autocommit=True) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(recorded_bithedge_url: str) -> AsyncIterator[Server]:
    async with answering(make_app(recorded_bithedge_url, protocols=[protocol], deployed={})) as running:
        yield running


#: A list with its filter, and the same by hand: the lists' keys in order.
FILTERS = [
    (
        "policies",
        "id",
        '{allocations: {some: {tier: {eq: "balanced"}, collateral: {gt: 0}}}}',
        "SELECT DISTINCT policy FROM bithedge.allocation WHERE tier = 'balanced' AND collateral > 0 ORDER BY 1",
    ),
    (
        "policies",
        "id",
        "{allocations: {none: {released: {gt: 0}}}}",
        "SELECT id FROM bithedge.policy EXCEPT SELECT policy FROM bithedge.allocation WHERE released > 0 ORDER BY 1",
    ),
    (
        "policies",
        "id",
        '{allocations: {every: {position: {locked: {eq: "0"}}}}}',
        "SELECT id FROM bithedge.policy EXCEPT SELECT a.policy FROM bithedge.allocation a "
        "LEFT JOIN bithedge.position p USING (provider, tier, token) WHERE p.locked IS DISTINCT FROM 0 ORDER BY 1",
    ),
    (
        "policies",
        "id",
        "{not: {expiryPrice: {}}}",
        "SELECT p.id FROM bithedge.policy p LEFT JOIN bithedge.expiry_price e USING (asset, expiry_burn) "
        "WHERE e.asset IS NULL ORDER BY 1",
    ),
    (
        "providers",
        "provider",
        '{positions: {some: {policies: {some: {state: {eq: "active"}}}}}}',
        "SELECT DISTINCT a.provider FROM bithedge.allocation a JOIN bithedge.policy p ON p.id = a.policy "
        "JOIN bithedge.provider v ON v.provider = a.provider WHERE p.state = 'active' ORDER BY 1",
    ),
    (
        "tokens",
        "token",
        "{feed: {rounds: {some: {submissions: {some: {}}}}}}",
        "SELECT token FROM bithedge.token WHERE asset IN (SELECT asset FROM bithedge.price_submission) ORDER BY 1",
    ),
]


async def test_filters_by_related_rows(server: Server, connection: psycopg.Connection[Any]) -> None:
    for name, key, condition, by_hand in FILTERS:
        expected = [value for (value,) in connection.execute(by_hand.encode())]
        data = await server.data(
            f"{{ {name}(filter: {condition}, first: 500) {{ nodes {{ {key} }} totalCount }} "
            f"all: {name} {{ totalCount }} }}"
        )
        assert [row[key] for row in data[name]["nodes"]] == expected, (name, condition)
        assert data[name]["totalCount"] == len(expected)
        assert expected, condition


async def test_aggregates(server: Server, connection: psycopg.Connection[Any]) -> None:
    data = await server.data(
        """{
          tiers: policiesAggregate(groupBy: [{field: TIER}, {field: TOKEN}]) {
            key { tier token } count countDistinct { owner } sum { premium } avg { strikeUsd8 } max { strikeUsd8 } }
          days: policiesAggregate(groupBy: {field: CREATED_BURN, every: 10}) { key { createdBurn } count }
          status: policiesAggregate(groupBy: {field: STATUS}) { key { status } count }
          events: eventsAggregate(filter: {kind: {eq: PRINT}}, groupBy: [{field: CONTRACT}, {field: TOPIC}]) {
            key { contract topic } count }
        }"""
    )

    by_hand = connection.execute(
        "SELECT tier, token, count(*), count(DISTINCT owner), sum(premium), sum(strike_usd8), max(strike_usd8) "
        "FROM bithedge.policy GROUP BY 1, 2 ORDER BY 1, 2"
    ).fetchall()
    assert len(by_hand) > 2
    assert [
        (
            group["key"]["tier"],
            group["key"]["token"],
            group["count"],
            group["countDistinct"]["owner"],
            int(group["sum"]["premium"]),
            int(group["max"]["strikeUsd8"]),
        )
        for group in data["tiers"]
    ] == [(*row[:5], row[6]) for row in by_hand]
    for group, row in zip(data["tiers"], by_hand, strict=True):
        assert 0 <= Fraction(row[5], row[2]) - Fraction(group["avg"]["strikeUsd8"]) < Fraction(1, 10**12)
    assert [(group["key"]["createdBurn"], group["count"]) for group in data["days"]] == connection.execute(
        "SELECT created_burn / 10 * 10, count(*) FROM bithedge.policy GROUP BY 1 ORDER BY 1"
    ).fetchall()
    policies = await server.data("{ policies(first: 500) { nodes { status } } }")
    shown = [row["status"] for row in policies["policies"]["nodes"]]
    assert {group["key"]["status"]: group["count"] for group in data["status"]} == {
        status: shown.count(status) for status in set(shown)
    }
    assert [(*group["key"].values(), group["count"]) for group in data["events"]] == connection.execute(
        "SELECT e.contract, e.topic, count(*) FROM clarion.event e JOIN clarion.canonical_block c "
        "ON c.chain = e.chain AND c.hash = e.block_hash WHERE e.kind = 'print' GROUP BY 1, 2 ORDER BY 1, 2"
    ).fetchall()


async def test_decimals_are_the_integers_in_whole_units(server: Server) -> None:
    data = await server.data(
        """{ policies(first: 500) { nodes {
               strikeUsd8 strikeUsd notionalSat notionalBtc premium premiumDecimal collateralToken { decimals } } }
             transactions(first: 500) { nodes { fee feeStx } } }"""
    )

    for policy in data["policies"]["nodes"]:
        assert Fraction(policy["strikeUsd"]) * 10**8 == int(policy["strikeUsd8"])
        assert Fraction(policy["notionalBtc"]) * 10**8 == int(policy["notionalSat"])
        places = policy["collateralToken"]["decimals"]
        assert Fraction(policy["premiumDecimal"]) * 10**places == int(policy["premium"])
    for transaction in data["transactions"]["nodes"]:
        assert Fraction(transaction["feeStx"]) * 10**6 == int(transaction["fee"])


async def test_relations_in_filters_are_joined_and_begin_where_an_index_is(connection: psycopg.Connection[Any]) -> None:
    entities = [*CORE, *entities_of(protocol, APIS["bithedge"])]
    types = Types(entities)
    policy = types.entities["Policy"]
    of_provider = types.named["AllocationFilter"](provider=types.named["TextComparison"](eq="ST1"))
    for quantifier, join_ in (("some", "Nested Loop"), ("none", "Anti Join")):
        wanted = types.named["AllocationListFilter"](**{quantifier: of_provider})
        condition = filter_condition(policy, types.named["PolicyFilter"](related_allocations=wanted))
        query = build(
            "EXPLAIN SELECT t.id FROM {source} t WHERE {condition}", source=policy.source, condition=condition
        )
        with connection.transaction():
            # so few rows as a recording has are read as a whole otherwise
            connection.execute("SET LOCAL enable_seqscan = off")
            plan = "\n".join(line for (line,) in connection.execute(query.text, query.parameters))

        assert "allocation_of_provider" in plan, plan
        assert join_ in plan, plan
        assert "SubPlan" not in plan, plan
