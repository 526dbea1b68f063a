"""Rows of any type by their ids, amounts in whole units, and counts with an end."""

from __future__ import annotations

import base64
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

NO_IDS = [
    "",
    "rubbish",
    "ÿ",
    *(
        base64.urlsafe_b64encode(inside.encode()).decode().rstrip("=")
        for inside in (
            "[]",
            "[" * 5_000,
            "{}",
            '["Nothing","a"]',
            '["ToyAccount"]',
            '["ToyAccount",1]',
            '["ToyAccount",null]',
            '["ToyAccount","a","b"]',
            '[["ToyAccount"],"a"]',
            '["Block","stacks","hash"]',
        )
    ),
]


def ingest(store: Store, items: Any) -> None:
    with store.batch() as batch:
        Follower().ingest(batch, items)


class TestNodes:
    """What ``nodeId`` names, ``node`` finds."""

    async def test_every_row_has_an_id_that_finds_it(self, store: Store, server: Server) -> None:
        first = toy.block(None, [toy.move("a", 1), toy.move("ünï", 2)])
        lost = toy.block(first, [toy.move("a", 2)], branch="lost")
        second = toy.block(first, [toy.move("a", 3)])
        ingest(store, [toy.burn_block(1), first, lost, second, toy.block(second)])

        found = await server.data(
            """{ toyAccounts { nodes { __typename nodeId owner } }
                 blocks(canonical: false) { nodes { __typename nodeId hash } }
                 transactions { nodes { __typename nodeId txId } }
                 events { nodes { __typename nodeId height } }
                 burnBlocks { nodes { __typename nodeId height } } }"""
        )
        rows = [row for connection in found.values() for row in connection["nodes"]]
        assert {row["__typename"] for row in rows} == {"ToyAccount", "Block", "Transaction", "Event", "BurnBlock"}
        assert len({row["nodeId"] for row in rows}) == len(rows) == 12

        document = """query($ids: [ID!]!, $one: ID!) { nodes(ids: $ids) { ...Row } node(id: $one) { ...Row } }
            fragment Row on Node { __typename nodeId
              ... on ToyAccount { owner } ... on Block { hash } ... on Transaction { txId }
              ... on Event { height } ... on BurnBlock { height } }"""
        ids = [row["nodeId"] for row in rows]
        again = await server.data(document, {"ids": [*ids[::-1], ids[0]], "one": ids[0]})

        assert again == {"nodes": [*rows[::-1], rows[0]], "node": rows[0]}

    async def test_null_where_there_is_none(self, store: Store, server: Server) -> None:
        first = toy.block(None, [toy.move("a", 1)])
        ingest(store, [first])
        node_id = (await server.data('{ toyAccount(owner: "a") { nodeId } }'))["toyAccount"]["nodeId"]
        ingest(store, [toy.block(first, [toy.close("a")])])

        document = "query($id: ID!) { node(id: $id) { nodeId } nodes(ids: [$id]) { nodeId } }"
        now = await server.data(document, {"id": node_id})
        then = await server.data(document.replace(") {", ") @asOf(height: 1) {", 1), {"id": node_id})

        assert now == {"node": None, "nodes": [None]}
        assert then == {"node": {"nodeId": node_id}, "nodes": [{"nodeId": node_id}]}

    async def test_anything_else_is_no_id(self, server: Server) -> None:
        for text in NO_IDS:
            error = await server.error("query($id: ID!) { node(id: $id) { nodeId } }", {"id": text})
            assert error["extensions"]["code"] == "BAD_USER_INPUT"
            assert "is no id of a row" in error["message"]

    async def test_so_many_at_once(self, server: Server) -> None:
        error = await server.error("query($ids: [ID!]!) { nodes(ids: $ids) { nodeId } }", {"ids": ["a"] * 501})

        assert error["extensions"]["code"] == "LIMIT_EXCEEDED"


async def test_a_count_with_an_end(store: Store, server: Server) -> None:
    first = toy.block(None, [toy.move(f"o{number}", number) for number in range(5)])
    ingest(store, [first])

    data = await server.data(
        """{ toyAccounts(first: 1) { all: totalCount three: totalCount(atMost: 3) nine: totalCount(atMost: 9)
               none: totalCount(atMost: 0) }
             blocks { nodes { events(first: 1) { all: totalCount two: totalCount(atMost: 2) } } } }"""
    )
    error = await server.error("{ toyAccounts { totalCount(atMost: -1) } }")

    assert data["toyAccounts"] == {"all": 5, "three": 3, "nine": 5, "none": 0}
    assert data["blocks"]["nodes"] == [{"events": {"all": 5, "two": 2}}]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"


class TestDecimals:
    """Amounts in whole units, beside those in base units."""

    @pytest.fixture
    def connection(self, database_url: str) -> Iterator[psycopg.Connection[Any]]:
        with connect(database_url, autocommit=True) as opened:
            Store(opened, "stacks").open()
            yield opened

    @pytest.fixture
    async def server(self, database_url: str, connection: psycopg.Connection[Any]) -> AsyncIterator[Server]:
        deployed = {"bithedge": protocol.deployed_by(toy.DEPLOYER)}
        async with answering(
            make_app(database_url, protocols=[protocol], deployed=deployed, graphql=NO_CACHE)
        ) as running:
            yield running

    async def test_of_fixed_units_and_of_the_row_s_token(
        self, connection: psycopg.Connection[Any], server: Server
    ) -> None:
        insert(connection, "token", token="six", decimals=6)
        insert(connection, "token", token="none", decimals=0)
        insert(connection, "token", token="absurd", decimals=10**9)
        for policy, token in enumerate(("six", "none", "absurd", "unknown"), start=1):
            insert(
                connection, "policy", id=policy, token=token, premium=1_500_000, strike_usd8=6_500_000_000_000, paid=0
            )

        data = await server.data(
            """{ policies {
                   nodes { strikeUsd8 strikeUsd notionalBtc premium premiumDecimal paidDecimal settlementUsd } }
                 tokens { nodes { token cap capDecimal } } }"""
        )

        fixed = {"strikeUsd8": "6500000000000", "strikeUsd": "65000", "notionalBtc": "0.00000001"}
        assert data["policies"]["nodes"] == [
            {**fixed, "premium": "1500000", "premiumDecimal": premium, "paidDecimal": paid, "settlementUsd": None}
            for premium, paid in (("1.5", "0"), ("1500000", "0"), (None, None), (None, None))
        ]
        assert {row["token"]: row["capDecimal"] for row in data["tokens"]["nodes"]} == {
            "absurd": None,
            "none": "1",
            "six": "0.000001",
        }
