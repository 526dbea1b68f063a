"""BitHedge over GraphQL: every table and relation on a real Postgres, and where policies stand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest
from support import toy
from support.bithedge_tables import insert
from support.graphql import NO_CACHE, Server, answering

from clarion.follower import Follower
from clarion.protocols.bithedge import protocol
from clarion.store.database import connect
from clarion.store.store import Store
from clarion_graphql.app import make_app
from clarion_graphql.entities import Entity, Kind
from clarion_graphql.protocols import entities_of
from clarion_graphql.schema import APIS

ENTITIES = entities_of(protocol, APIS["bithedge"])
BY_NAME = {entity.name: entity for entity in ENTITIES}
BURN_NOW = 1000
QUOTED = '"x"'


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with connect(database_url, autocommit=True) as opened:
        store = Store(opened, "stacks")
        store.open()
        with store.batch() as batch:
            Follower().ingest(batch, [toy.block(None, burn=toy.burn_block(BURN_NOW))])
        yield opened


@pytest.fixture
async def server(database_url: str, connection: psycopg.Connection[Any]) -> AsyncIterator[Server]:
    deployed = {"bithedge": protocol.deployed_by(toy.DEPLOYER)}
    app = make_app(database_url, protocols=[protocol], deployed=deployed, graphql=NO_CACHE)
    async with answering(app) as running:
        yield running


def fields_of(entity: Entity) -> str:
    return " ".join(column.field_name for column in entity.columns if column.exposed)


async def test_every_table_in_a_list_and_by_key_with_every_field_and_relation(
    connection: psycopg.Connection[Any], server: Server
) -> None:
    """All rows have the same keys, so that every relation leads to exactly one."""
    numbers = dict.fromkeys(("settlement_round", "last_round", "policy", "proposal", "program", "epoch"), 1)
    words = dict.fromkeys(("proposer", "account", "token"), "x")
    for entity in ENTITIES:
        insert(connection, entity.table.partition(".")[2], **numbers, **words, state="active")
    for entity in ENTITIES:
        relations = " ".join(
            f"{relation.name} {{ {'nodes { finality } totalCount' if relation.many else 'finality'} }}"
            for relation in entity.relations
        )
        keys = ", ".join(
            f"{column.field_name}: {1 if column.kind is Kind.INT else QUOTED}"
            for column in map(entity.by_name.__getitem__, entity.key)
        )
        selection = f"{fields_of(entity)} {relations} finality"

        data = await server.data(
            f"{{ {entity.plural} {{ nodes {{ {selection} }} totalCount }} {entity.single}({keys}) {{ {selection} }} }}"
        )

        assert data[entity.plural]["totalCount"] == 1, entity
        (node,) = data[entity.plural]["nodes"]
        assert node == data[entity.single], entity
        for relation in entity.relations:
            if relation.target == "Event":  # there are none of these keys
                continue
            expected = {"finality": "SOFT"}
            found = node[relation.name]
            assert found == ({"nodes": [expected], "totalCount": 1} if relation.many else expected), relation.name


async def test_where_policies_stand(connection: psycopg.Connection[Any], server: Server) -> None:
    insert(connection, "token", token="STX-token", asset="STX")
    insert(connection, "asset", asset="BTC", price_usd8=50)
    for expiry, assets in ((900, ("BTC", "STX")), (901, ("BTC",)), (902, ("STX",))):
        for asset in assets:
            insert(connection, "expiry_price", asset=asset, expiry_burn=expiry)
    policies = {
        1: ("active", BURN_NOW + 145, "ACTIVE"),
        2: ("active", BURN_NOW + 144, "EXPIRING"),
        3: ("active", BURN_NOW + 1, "EXPIRING"),
        4: ("active", BURN_NOW, "AWAITING_PRICE"),
        5: ("active", 901, "AWAITING_PRICE"),
        6: ("active", 902, "AWAITING_PRICE"),
        7: ("active", 900, "SETTLEABLE"),
        8: ("settled-itm", 900, "SETTLED_ITM"),
        9: ("expired-otm", 900, "EXPIRED_OTM"),
        10: ("exercised", 900, "EXERCISED"),
        11: ("cancelled", 900, "CANCELLED"),
    }
    for number, (state, expiry, _) in policies.items():
        put = number % 2
        insert(
            connection,
            "policy",
            id=number,
            state=state,
            asset="BTC" if number < 10 else "ETH",
            token="STX-token",
            expiry_burn=expiry,
            type="put" if put else "call",
            strike_usd8=60,
        )

    data = await server.data(
        """{ policies { nodes { id status blocksToExpiry inTheMoney } }
             due: policies(filter: {status: {eq: SETTLEABLE}}) { nodes { id } totalCount }
             awaiting: policies(filter: {status: {in: [AWAITING_PRICE]}, expiryBurn: {lte: 1000}}) { nodes { id } }
             soon: policies(filter: {blocksToExpiry: {gt: 0, lte: 144}}) { nodes { id } } }"""
    )

    assert {node["id"]: node["status"] for node in data["policies"]["nodes"]} == {
        number: status for number, (_, _, status) in policies.items()
    }
    assert {node["id"]: node["blocksToExpiry"] for node in data["policies"]["nodes"]} == {
        number: expiry - BURN_NOW for number, (_, expiry, _) in policies.items()
    }
    assert {node["id"]: node["inTheMoney"] for node in data["policies"]["nodes"]} == {
        number: bool(number % 2) if number < 10 else None for number in policies
    }
    assert data["due"] == {"nodes": [{"id": 7}], "totalCount": 1}
    assert [node["id"] for node in data["awaiting"]["nodes"]] == [4, 5, 6]
    assert [node["id"] for node in data["soon"]["nodes"]] == [2, 3]


async def test_the_status_is_not_known_without_a_burn_block(
    connection: psycopg.Connection[Any], server: Server
) -> None:
    connection.execute("UPDATE clarion.block SET burn_height = NULL")
    insert(connection, "policy", id=1, state="active")
    insert(connection, "policy", id=2, state="cancelled")

    data = await server.data("{ policies { nodes { status blocksToExpiry } } }")

    assert data["policies"]["nodes"] == [
        {"status": None, "blocksToExpiry": None},
        {"status": "CANCELLED", "blocksToExpiry": None},
    ]


async def test_policies_of_a_position_through_its_allocations(
    connection: psycopg.Connection[Any], server: Server
) -> None:
    for provider in ("p1", "p2", "p3"):
        insert(connection, "position", provider=provider, tier="t", token="k")
    for policy, providers in ((1, ["p1"]), (2, ["p1", "p2"]), (3, ["p2"])):
        insert(connection, "policy", id=policy, state="active" if policy < 3 else "cancelled")
        for provider in providers:
            insert(connection, "allocation", policy=policy, provider=provider, tier="t", token="k")
    insert(connection, "allocation", policy=3, provider="p1", tier="other", token="k")

    data = await server.data(
        """{ positions { nodes { provider
               policies(orderBy: [{field: ID, direction: DESC}]) { nodes { id } totalCount }
               active: policies(filter: {state: {eq: "active"}}, first: 1) {
                 nodes { id } totalCount pageInfo { hasNextPage endCursor } } } } }"""
    )

    seen = {
        node["provider"]: (
            [policy["id"] for policy in node["policies"]["nodes"]],
            node["policies"]["totalCount"],
            [policy["id"] for policy in node["active"]["nodes"]],
            node["active"]["totalCount"],
            node["active"]["pageInfo"]["hasNextPage"],
        )
        for node in data["positions"]["nodes"]
    }
    assert seen == {
        "p1": ([2, 1], 2, [1], 2, True),
        "p2": ([3, 2], 2, [2], 1, False),
        "p3": ([], 0, [], 0, False),
    }


async def test_what_the_keeper_asks(connection: psycopg.Connection[Any], server: Server) -> None:
    from clarion_keeper import graph, rates

    insert(connection, "token", token="x", asset="STX")
    insert(connection, "asset", asset="STX", price_usd8=2 * 10**8)

    worth = await server.data(rates._DOCUMENT, {"first": 500, "after": None})
    wanted = {"ids": [f"0x{'00' * 32}"], "first": 500, "chain": "STACKS"}
    transactions = await server.data(graph._TRANSACTIONS, wanted)
    await server.data(graph._TIP, {"chain": "STACKS"})

    assert [(node["token"], node["feed"]) for node in worth["tokens"]["nodes"]] == [("x", {"priceUsd8": "200000000"})]
    assert worth["assets"]["nodes"] == [{"asset": "STX", "priceUsd8": "200000000"}]
    assert transactions["transactions"]["nodes"] == []
