"""Filters by related rows, by finality and by parts of a text, on a real Postgres."""

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
from clarion.store.store import FINAL_DEPTH, Store
from clarion_graphql.app import make_app


def ingest(store: Store, items: Any) -> None:
    with store.batch() as batch:
        Follower().ingest(batch, items)


TEXTS = [
    ('{startsWith: "a_"}', ["a_1"]),
    ('{prefix: "a_"}', ["a_1"]),
    ('{startsWith: ""}', ["A%1", "a_1", "ab1", "b\\2"]),
    ('{endsWith: "1"}', ["A%1", "a_1", "ab1"]),
    ('{endsWith: "%1"}', ["A%1"]),
    ('{endsWith: ""}', ["A%1", "a_1", "ab1", "b\\2"]),
    ('{contains: "%"}', ["A%1"]),
    ('{contains: "_"}', ["a_1"]),
    ('{contains: "\\\\"}', ["b\\2"]),
    ('{contains: "b"}', ["ab1", "b\\2"]),
    ('{contains: "a%1"}', []),
    ('{containsInsensitive: "a%"}', ["A%1"]),
    ('{containsInsensitive: "B"}', ["ab1", "b\\2"]),
    ('{notIn: ["ab1", "zz"]}', ["A%1", "a_1", "b\\2"]),
    ("{notIn: []}", ["A%1", "a_1", "ab1", "b\\2"]),
]

BLOCKS = [
    ("{events: {some: {}}}", [4, 2, 1]),
    ("{events: {none: {}}}", [3]),
    ('{events: {some: {topic: {eq: "account.closed"}}}}', [4, 2]),
    ('{events: {none: {topic: {eq: "account.closed"}}}}', [3, 1]),
    ('{events: {every: {topic: {eq: "account.closed"}}}}', [4, 3]),
    ('{events: {some: {}, every: {topic: {eq: "account.closed"}}}}', [4]),
    ('{events: {some: {topic: {eq: "account.moved"}}}, height: {gt: 1}}', [2]),
    ('{not: {events: {some: {topic: {eq: "account.closed"}}}}}', [3, 1]),
    ('{or: [{events: {none: {}}}, {events: {every: {topic: {eq: "account.moved"}}}}]}', [3, 1]),
    ("{parent: {height: {eq: 2}}}", [3]),
    ("{parent: {}}", [4, 3, 2]),
    ("{not: {parent: {}}}", [1]),
    ('{parent: {events: {some: {topic: {eq: "account.moved"}}}}}', [3, 2]),
    ('{parent: {parent: {parent: {events: {some: {topic: {eq: "account.moved"}}}}}}}', [4]),
    ("{events: {some: {transaction: {nonce: {eq: 2}}}}}", [2]),
]

POLICIES = [
    ('{allocations: {some: {provider: {eq: "bob"}}}}', [1, 2]),
    ('{allocations: {none: {provider: {eq: "bob"}}}}', [3]),
    ('{allocations: {every: {provider: {eq: "bob"}}}}', [2]),
    ('{allocations: {some: {provider: {eq: "bob"}}, none: {provider: {eq: "ann"}}}}', [2]),
    ("{allocations: {some: {collateral: {gte: 20}}}}", [2, 3]),
    ('{collateralToken: {asset: {eq: "BTC"}}}', [1]),
    ("{collateralToken: {}}", [1]),
    ("{not: {collateralToken: {}}}", [2, 3]),
    ("{claim: {}}", []),
    ('{allocations: {some: {position: {provider: {in: ["cid"]}}}}}', [3]),
    ('{state: {eq: "active"}, allocations: {some: {}}}', [1, 2]),
    ("{allocations: {}}", [1, 2, 3]),
]

POSITIONS = [
    ('{policies: {some: {state: {eq: "active"}}}}', ["ann", "bob"]),
    ('{policies: {none: {state: {eq: "active"}}}}', ["cid", "dan"]),
    ('{policies: {every: {state: {eq: "active"}}}}', ["ann", "bob", "dan"]),
    ("{policies: {none: {}}}", ["dan"]),
    ("{policies: {some: {collateralToken: {}}}}", ["ann", "bob"]),
]

REFUSED = [
    ("{events: null}", "BAD_USER_INPUT", "events is null in a filter"),
    ("{events: {some: null}}", "BAD_USER_INPUT", "events.some is null in a filter"),
    ("{parent: null}", "BAD_USER_INPUT", "parent is null in a filter"),
    ("{finality: null}", "BAD_USER_INPUT", "finality is null in a filter"),
    ("{finality: {eq: null}}", "BAD_USER_INPUT", "finality.eq is null in a filter"),
    ("{hash: {notIn: null}}", "BAD_USER_INPUT", "hash.notIn is null in a filter"),
    ("{parent: " * 9 + "{}" + "}" * 9, "LIMIT_EXCEEDED", "at most 8 deep"),
    ("{or: [" + "{parent: {}}, " * 17 + "]}", "LIMIT_EXCEEDED", "at most 16 relations"),
    ("{or: [" + "{height: {eq: 1}}, " * 501 + "]}", "LIMIT_EXCEEDED", "at most 500 conditions"),
    ("{events: {any: {}}}", "GRAPHQL_VALIDATION_FAILED", "any"),
    ("{height: {notIn: [" + "1, " * 1001 + "]}}", "LIMIT_EXCEEDED", "notIn holds at most 1000"),
]


class TestTexts:
    """Parts of a text; what a client writes is never a pattern."""

    async def test_of_a_projection(self, store: Store, server: Server) -> None:
        ingest(store, [toy.block(None, [toy.move(owner, 1) for owner in ("a_1", "A%1", "ab1", "b\\2")])])
        for condition, expected in TEXTS:
            data = await server.data(f"{{ toyAccounts(filter: {{owner: {condition}}}) {{ nodes {{ owner }} }} }}")
            assert sorted(row["owner"] for row in data["toyAccounts"]["nodes"]) == expected, condition

    async def test_null_is_in_no_list(self, store: Store, server: Server) -> None:
        ingest(store, [toy.block(None, [toy.move("a", 1), toy.move("b", 1)])])
        store.connection.execute("UPDATE toy.account SET note = NULL WHERE owner = 'a'")

        data = await server.data(
            """{ out: toyAccounts(filter: {note: {notIn: ["burn 1"]}}) { nodes { owner } }
                 in: toyAccounts(filter: {not: {note: {notIn: ["burn 1"]}}}) { nodes { owner } } }"""
        )

        assert data == {"out": {"nodes": [{"owner": "a"}]}, "in": {"nodes": [{"owner": "b"}]}}

    async def test_the_log_is_not_searched(self, server: Server) -> None:
        for operator in ("contains", "endsWith", "containsInsensitive"):
            error = await server.error(f'{{ events(filter: {{topic: {{{operator}: "a"}}}}) {{ totalCount }} }}')
            assert error["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"


class TestLog:
    """Blocks, transactions and events by each other."""

    async def test_by_related_rows(self, store: Store, server: Server) -> None:
        first = toy.block(None, [toy.move("a", 1)])
        second = toy.block(first, [toy.move("b", 1), toy.close("a")])
        third = toy.block(second)
        ingest(store, [first, second, third, toy.block(third, [toy.close("b")])])
        for condition, heights in BLOCKS:
            data = await server.data(f"{{ blocks(filter: {condition}) {{ nodes {{ height }} totalCount }} }}")
            assert [row["height"] for row in data["blocks"]["nodes"]] == heights, condition
            assert data["blocks"]["totalCount"] == len(heights)

    async def test_of_relations_and_counts(self, store: Store, server: Server) -> None:
        first = toy.block(None, [toy.move("a", 1)])
        ingest(store, [first, toy.block(first, [toy.move("b", 1), toy.close("a")])])

        data = await server.data(
            """{ blocks { nodes { transactions(filter: {events: {some: {topic: {eq: "account.closed"}}}}) {
                   totalCount nodes { height } } } } }"""
        )

        assert [row["transactions"]["totalCount"] for row in data["blocks"]["nodes"]] == [1, 0]

    async def test_as_of_an_earlier_block(self, store: Store, server: Server) -> None:
        first = toy.block(None, [toy.move("a", 1)])
        ingest(store, [first, toy.block(first, [toy.move("b", 1)])])
        document = """{ blocks(filter: {events: {some: {contract: {startsWith: "ST"}}}}) { nodes { height } } }"""

        data = await server.data(f"query @asOf(height: 1) {document}")

        assert data["blocks"]["nodes"] == [{"height": 1}]


async def test_by_finality(store: Store, server: Server) -> None:
    """Block 1 is final, the next ones anchored, the last one soft."""
    last = FINAL_DEPTH + 2
    burns = [toy.burn_block(height) for height in range(1, last)]
    blocks = [toy.block(None, [toy.move("o1", 1)], burn=burns[0])]
    for height in range(2, last + 1):
        burn = burns[height - 1] if height < last else toy.burn_block(last)
        blocks.append(toy.block(blocks[-1], [toy.move(f"o{height}", 1)], burn=burn))
    lost = toy.block(blocks[-2], [], branch="lost", burn=toy.burn_block(last))
    items: list[Any] = []
    for burn, block in zip(burns, blocks[:-1], strict=True):
        items += [burn, block]
    ingest(store, [*items, lost, blocks[-1], toy.block(blocks[-1], burn=toy.burn_block(last))])

    async def heights(condition: str) -> set[int]:
        data = await server.data(
            f"""{{ blocks(filter: {{finality: {condition}}}, canonical: false, first: 500) {{ nodes {{ height }} }}
                   toyAccounts(filter: {{finality: {condition}}}, first: 500) {{ nodes {{ owner finality }} }} }}"""
        )
        found = {row["height"] for row in data["blocks"]["nodes"]}
        assert {int(row["owner"][1:]) for row in data["toyAccounts"]["nodes"]} == found - {last + 1}
        return found

    every = set(range(1, last + 2))
    final, anchored, soft = await heights("{eq: FINAL}"), await heights("{eq: ANCHORED}"), await heights("{eq: SOFT}")
    assert min(final) == 1
    assert soft == {last, last + 1}
    assert final | anchored | soft == every
    assert not final & anchored
    assert await heights("{atLeast: FINAL}") == final
    assert await heights("{atLeast: ANCHORED}") == final | anchored
    assert await heights("{atLeast: SOFT}") == every
    assert await heights("{atLeast: ANCHORED, eq: SOFT}") == set()
    # what lost has none, whichever is asked for
    data = await server.data(
        """query($hash: Bytes!) { blocks(canonical: false, filter: {hash: {eq: $hash}, finality: {atLeast: SOFT}}) {
             nodes { hash } } }""",
        {"hash": f"0x{lost.hash.hex()}"},
    )
    assert data["blocks"]["nodes"] == []


class TestProjections:
    """Rows of a protocol by rows that they lead to, directly and through another table."""

    @pytest.fixture
    def connection(self, database_url: str) -> Iterator[psycopg.Connection[Any]]:
        with connect(database_url, autocommit=True) as opened:
            Store(opened, "stacks").open()
            for policy, state in ((1, "active"), (2, "active"), (3, "expired-otm")):
                insert(opened, "policy", id=policy, state=state, token="sbtc" if policy == 1 else "unknown")
            for policy, provider in ((1, "ann"), (1, "bob"), (2, "bob"), (3, "cid")):
                insert(opened, "allocation", policy=policy, provider=provider, collateral=policy * 10)
            for provider in ("ann", "bob", "cid", "dan"):
                insert(opened, "position", provider=provider)
            insert(opened, "token", token="sbtc", asset="BTC")
            yield opened

    @pytest.fixture
    async def server(self, database_url: str, connection: psycopg.Connection[Any]) -> AsyncIterator[Server]:
        deployed = {"bithedge": protocol.deployed_by(toy.DEPLOYER)}
        async with answering(
            make_app(database_url, protocols=[protocol], deployed=deployed, graphql=NO_CACHE)
        ) as running:
            yield running

    async def test_both(self, server: Server) -> None:
        for condition, policies in POLICIES:
            data = await server.data(f"{{ policies(filter: {condition}) {{ nodes {{ id }} totalCount }} }}")
            assert [row["id"] for row in data["policies"]["nodes"]] == policies, condition
            assert data["policies"]["totalCount"] == len(policies)
        for condition, providers in POSITIONS:
            data = await server.data(f"{{ positions(filter: {condition}) {{ nodes {{ provider }} }} }}")
            assert [row["provider"] for row in data["positions"]["nodes"]] == providers, condition


async def test_what_is_refused(server: Server) -> None:
    for condition, code, words in REFUSED:
        error = await server.error(f"{{ blocks(filter: {condition}) {{ totalCount }} }}")
        assert error["extensions"]["code"] == code, condition
        assert words in error["message"]
