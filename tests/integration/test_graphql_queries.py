"""Queries over HTTP on a real Postgres: core and projections, filters, pages, receipts, errors."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest
from graphql import get_introspection_query
from sqlalchemy import make_url
from support import toy
from support.graphql import Server, answering, toy_app

from clarion.chains.model import Block, BurnBlock
from clarion.follower import Follower
from clarion.store.store import FINAL_DEPTH, Store
from clarion_graphql.execution import Executor, GraphQLRequest
from clarion_graphql.schema import build_schema


def ingest(store: Store, items: Sequence[Block | BurnBlock]) -> None:
    with store.batch() as batch:
        Follower().ingest(batch, items)


def accounts_block(parent: Block | None, balances: dict[str, int], *, branch: str = "main") -> Block:
    return toy.block(parent, [toy.move(owner, balance) for owner, balance in balances.items()], branch=branch)


def names(connection: Any, field: str = "owner") -> list[Any]:
    return [node[field] for node in connection["nodes"]]


class TestProjections:
    """What any protocol's tables get."""

    async def test_a_row_by_its_key(self, store: Store, server: Server) -> None:
        ingest(store, [accounts_block(None, {"alice": 2**128 - 1})])

        data = await server.data(
            """{ found: toyAccount(owner: "alice") { owner balance note updatedHeight finality }
                 missing: toyAccount(owner: "nobody") { owner } }"""
        )

        assert data == {
            "found": {
                "owner": "alice",
                "balance": "340282366920938463463374607431768211455",
                "note": "burn 1",
                "updatedHeight": 1,
                "finality": "SOFT",
            },
            "missing": None,
        }

    @pytest.mark.parametrize(
        ("condition", "expected"),
        [
            ('{owner: {eq: "a1"}}', ["a1"]),
            ('{owner: {ne: "a1"}}', ["a2", "b1", "b2"]),
            ('{owner: {in: ["a1", "b2", "zz"]}}', ["a1", "b2"]),
            ("{owner: {in: []}}", []),
            ('{owner: {prefix: "a"}}', ["a1", "a2"]),
            ('{owner: {prefix: "%"}}', []),
            ('{owner: {gte: "a2", lt: "b2"}}', ["a2", "b1"]),
            ("{balance: {gt: 100}}", ["b1", "b2"]),
            ('{balance: {eq: "100000000000000000000000000000000000000"}}', ["b2"]),
            ('{balance: {in: [1, "100"]}}', ["a1", "a2"]),
            ("{note: {isNull: true}}", []),
            ("{note: {isNull: false}, balance: {lte: 1}}", ["a1"]),
            ('{or: [{owner: {eq: "a1"}}, {balance: {gt: 1000}}]}', ["a1", "b2"]),
            ("{or: []}", []),
            ("{and: []}", ["a1", "a2", "b1", "b2"]),
            ('{not: {or: [{owner: {prefix: "a"}}, {owner: {eq: "b1"}}]}}', ["b2"]),
            ('{and: [{owner: {prefix: "a"}}, {not: {owner: {eq: "a1"}}}]}', ["a2"]),
            ("{}", ["a1", "a2", "b1", "b2"]),
        ],
    )
    async def test_filters(self, store: Store, server: Server, condition: str, expected: list[str]) -> None:
        ingest(store, [accounts_block(None, {"a1": 1, "a2": 100, "b1": 1000, "b2": 10**38})])

        data = await server.data(f"{{ toyAccounts(filter: {condition}) {{ nodes {{ owner }} totalCount }} }}")

        assert names(data["toyAccounts"]) == expected
        assert data["toyAccounts"]["totalCount"] == len(expected)

    async def test_filters_through_variables(self, store: Store, server: Server) -> None:
        ingest(store, [accounts_block(None, {"a": 1, "b": 2, "c": 2})])

        data = await server.data(
            """query($filter: ToyAccountFilter, $order: [ToyAccountOrder!]) {
                 toyAccounts(filter: $filter, orderBy: $order) { nodes { owner } } }""",
            {
                "filter": {"balance": {"eq": "2"}},
                "order": [{"field": "OWNER", "direction": "DESC"}],
            },
        )

        assert names(data["toyAccounts"]) == ["c", "b"]

    async def test_orders(self, store: Store, server: Server) -> None:
        ingest(store, [accounts_block(None, {"a": 2, "b": 1, "c": 2})])

        data = await server.data(
            """{ byBalance: toyAccounts(orderBy: [{field: BALANCE, direction: DESC}, {field: OWNER}]) {
                   nodes { owner } }
                 byKey: toyAccounts { nodes { owner } } }"""
        )

        assert names(data["byBalance"]) == ["a", "c", "b"]
        assert names(data["byKey"]) == ["a", "b", "c"]


PAGES = """query($order: [ToyAccountOrder!], $first: Int, $after: String, $last: Int, $before: String) {
  toyAccounts(orderBy: $order, first: $first, after: $after, last: $last, before: $before) {
    nodes { owner balance note }
    edges { cursor node { owner } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}"""

ORDERS = [
    None,
    [{"field": "OWNER", "direction": "DESC"}],
    [{"field": "BALANCE"}],
    [{"field": "BALANCE", "direction": "DESC"}, {"field": "OWNER", "direction": "ASC"}],
    [{"field": "NOTE", "direction": "ASC"}],
    [{"field": "NOTE", "direction": "DESC"}, {"field": "BALANCE", "direction": "ASC"}],
]


class TestPages:
    """Relay pages, in both directions."""

    @pytest.fixture
    def rows(self, store: Store) -> None:
        ingest(store, [accounts_block(None, {f"o{number:02}": number % 4 for number in range(23)})])
        store.connection.execute("UPDATE toy.account SET note = CASE WHEN owner < 'o12' THEN NULL ELSE owner END")

    @pytest.mark.usefixtures("rows")
    @pytest.mark.parametrize("order", ORDERS)
    @pytest.mark.parametrize("size", [1, 5, 23])
    async def test_pages_join_to_the_whole_list_in_both_directions(self, server: Server, order: Any, size: int) -> None:
        whole = names((await server.data(PAGES, {"order": order, "first": 500}))["toyAccounts"])
        assert len(whole) == 23

        forwards = []
        after = None
        while True:
            page = (await server.data(PAGES, {"order": order, "first": size, "after": after}))["toyAccounts"]
            forwards += names(page)
            assert [edge["node"]["owner"] for edge in page["edges"]] == names(page)
            assert page["pageInfo"]["hasPreviousPage"] == (after is not None)
            after = page["pageInfo"]["endCursor"]
            assert after == page["edges"][-1]["cursor"]
            if not page["pageInfo"]["hasNextPage"]:
                break
        assert forwards == whole

        backwards: list[str] = []
        before = None
        while True:
            page = (await server.data(PAGES, {"order": order, "last": size, "before": before}))["toyAccounts"]
            backwards = names(page) + backwards
            before = page["pageInfo"]["startCursor"]
            if not page["pageInfo"]["hasPreviousPage"]:
                break
        assert backwards == whole

    async def test_pages_are_stable_while_rows_come_and_go(self, store: Store, server: Server) -> None:
        block = accounts_block(None, {"b": 1, "d": 1, "f": 1, "h": 1})
        ingest(store, [block])
        first = (await server.data(PAGES, {"first": 2}))["toyAccounts"]
        after = first["pageInfo"]["endCursor"]

        # before the place, after it, and the very row the cursor was taken from
        ingest(store, [toy.block(block, [toy.move("a", 1), toy.move("e", 1), toy.close("d")])])
        second = (await server.data(PAGES, {"first": 2, "after": after}))["toyAccounts"]
        third = (await server.data(PAGES, {"first": 2, "after": second["pageInfo"]["endCursor"]}))["toyAccounts"]

        assert names(first) == ["b", "d"]
        assert names(second) == ["e", "f"]
        assert names(third) == ["h"]
        back = (await server.data(PAGES, {"last": 2, "before": after}))["toyAccounts"]
        assert names(back) == ["a", "b"]

    async def test_an_empty_page(self, server: Server) -> None:
        page = (await server.data(PAGES, {}))["toyAccounts"]

        assert page["nodes"] == []
        assert page["pageInfo"] == {
            "hasNextPage": False,
            "hasPreviousPage": False,
            "startCursor": None,
            "endCursor": None,
        }

    async def test_fifty_rows_without_a_size_and_none_for_zero(self, store: Store, server: Server) -> None:
        ingest(store, [accounts_block(None, {f"o{number:02}": 1 for number in range(51)})])

        data = await server.data(
            "{ toyAccounts { nodes { owner } pageInfo { hasNextPage } } "
            "none: toyAccounts(first: 0) { nodes { owner } } }"
        )

        assert len(data["toyAccounts"]["nodes"]) == 50
        assert data["toyAccounts"]["pageInfo"]["hasNextPage"]
        assert data["none"]["nodes"] == []


class TestCore:
    """What needs no projection."""

    async def test_blocks_by_height_and_hash_with_orphans(self, store: Store, server: Server) -> None:
        first = accounts_block(None, {"a": 1})
        lost = accounts_block(first, {"a": 2}, branch="lost")
        second = accounts_block(first, {"a": 3})
        third = accounts_block(second, {"a": 4})
        ingest(store, [first, lost, second, third])

        data = await server.data(
            """query($lost: Bytes!) {
                 byHeight: block(height: 2) { hash canonical finality time }
                 byHash: block(hash: $lost) { height canonical finality parent { height } }
                 missing: block(height: 9) { height }
                 blocks { nodes { height canonical } totalCount }
                 all: blocks(canonical: false, filter: {height: {eq: 2}}) { nodes { hash canonical } }
                 orphaned: blocks(canonical: false, filter: {canonical: {eq: false}}) { nodes { hash } totalCount }
                 none: blocks(filter: {canonical: {eq: false}}) { totalCount }
                 then: blocksAggregate(canonical: false, filter: {canonical: {eq: false}}) { count }
               }""",
            {"lost": f"0x{lost.hash.hex()}"},
        )

        assert data["byHeight"] == {
            "hash": f"0x{second.hash.hex()}",
            "canonical": True,
            "finality": "SOFT",
            "time": "2023-11-14T22:13:40+00:00",
        }
        assert data["byHash"] == {"height": 2, "canonical": False, "finality": None, "parent": {"height": 1}}
        assert data["missing"] is None
        assert data["blocks"] == {"nodes": [{"height": h, "canonical": True} for h in (3, 2, 1)], "totalCount": 3}
        assert {(node["hash"], node["canonical"]) for node in data["all"]["nodes"]} == {
            (f"0x{lost.hash.hex()}", False),
            (f"0x{second.hash.hex()}", True),
        }
        assert data["orphaned"] == {"nodes": [{"hash": f"0x{lost.hash.hex()}"}], "totalCount": 1}
        assert data["none"] == {"totalCount": 0}
        assert data["then"] == [{"count": 1}]

    @pytest.mark.parametrize(
        ("condition", "heights"),
        [
            (f'{{contract: {{eq: "{toy.CONTRACT}"}}}}', [3, 2, 1]),
            ('{contract: {eq: "ST1.other"}}', []),
            ('{topic: {eq: "account.closed"}}', [3]),
            ('{topic: {prefix: "account."}}', [3, 2, 1]),
            ("{kind: {eq: PRINT}}", [3, 2, 1]),
            ("{kind: {in: [STX_TRANSFER, FT_MINT]}}", []),
            (f'{{sender: {{eq: "{toy.DEPLOYER}"}}}}', [3, 2, 1]),
            ('{sender: {eq: "ST2"}}', []),
            ('{not: {sender: {eq: "ST2"}}}', [3, 2, 1]),
            ("{height: {gte: 2}}", [3, 2]),
            ("{height: {gt: 1, lt: 3}}", [2]),
        ],
    )
    async def test_events_of_any_contract(
        self, store: Store, server: Server, condition: str, heights: list[int]
    ) -> None:
        first = accounts_block(None, {"a": 1})
        lost = accounts_block(first, {"a": 2}, branch="lost")
        second = accounts_block(first, {"a": 3})
        third = toy.block(second, [toy.close("a")])
        ingest(store, [first, lost, second, third])

        data = await server.data(f"{{ events(filter: {condition}) {{ nodes {{ height canonical }} totalCount }} }}")

        assert names(data["events"], "height") == heights
        assert data["events"]["totalCount"] == len(heights)

    async def test_what_hangs_on_events_and_transactions(self, store: Store, server: Server) -> None:
        first = accounts_block(None, {"a": 2**100, "b": 2})
        lost = accounts_block(first, {"a": 2}, branch="lost")
        second = accounts_block(first, {"a": 3})
        third = accounts_block(second, {"a": 4})
        ingest(store, [first, lost, second, third])
        tx_id = f"0x{first.transactions[0].id.hex()}"

        data = await server.data(
            """query($tx: Bytes!, $orphaned: Bytes!) {
                 events(filter: {txId: {eq: $tx}}, orderBy: [{field: HEIGHT, direction: ASC}]) {
                   nodes { eventIndex value block { height hash } transaction { txId sender fee nonce status } }
                 }
                 transactions(filter: {txId: {eq: $tx}}) { nodes { events { nodes { eventIndex } totalCount } } }
                 transaction(txId: $tx) { height }
                 orphaned: transaction(txId: $orphaned) { height }
                 every: events(canonical: false, filter: {height: {eq: 2}}) { totalCount }
                 blocks(first: 2) { nodes {
                   height transactions { nodes { txIndex } } events(first: 1) { nodes { topic } } } }
               }""",
            {"tx": tx_id, "orphaned": f"0x{lost.transactions[0].id.hex()}"},
        )

        block = {"height": 1, "hash": f"0x{first.hash.hex()}"}
        transaction = {"txId": tx_id, "sender": toy.DEPLOYER, "fee": "200", "nonce": "1", "status": "success"}
        assert data["events"]["nodes"] == [
            {"eventIndex": 0, "value": move("a", 2**100), "block": block, "transaction": transaction},
            {"eventIndex": 1, "value": move("b", 2), "block": block, "transaction": transaction},
        ]
        assert data["transactions"]["nodes"] == [
            {"events": {"nodes": [{"eventIndex": 0}, {"eventIndex": 1}], "totalCount": 2}}
        ]
        assert data["transaction"] == {"height": 1}
        assert data["orphaned"] is None
        assert data["every"]["totalCount"] == 2
        assert data["blocks"]["nodes"] == [
            {
                "height": height,
                "transactions": {"nodes": [{"txIndex": 0}]},
                "events": {"nodes": [{"topic": "account.moved"}]},
            }
            for height in (3, 2)
        ]

    async def test_anomalies_mempool_and_burn_blocks(self, store: Store, server: Server) -> None:
        first = toy.block(None, [{"topic": "account.renamed", "owner": "a"}])
        other = toy.burn_block(2, "other", parent=toy.burn_block(1))
        ingest(store, [toy.burn_block(1), toy.burn_block(2), other, first])
        store.connection.execute(
            "INSERT INTO clarion.mempool_transaction (tx_id, raw, sender, nonce, fee) VALUES (%s, '', 'ST1', 3, 400)",
            (bytes(32),),
        )

        data = await server.data(
            """{ anomalies { nodes { kind topic contract height detail block { height } } totalCount }
                 burnBlocks(filter: {height: {eq: 2}}) { nodes { hash canonical } }
                 mempoolTransactions(filter: {sender: {eq: "ST1"}}) { nodes { txId nonce fee droppedReason } }
                 mempoolTransaction(txId: "0x00") { nonce }
                 burnBlock(hash: "0x00") { height }
                 status { chains { anomalyCount } inbox { depth oldestSeconds failed } }
               }"""
        )

        assert data["anomalies"]["totalCount"] == 1
        anomaly = data["anomalies"]["nodes"][0]
        assert (anomaly["kind"], anomaly["topic"], anomaly["height"], anomaly["block"]) == (
            "unknown_topic",
            "account.renamed",
            1,
            {"height": 1},
        )
        assert {(node["hash"], node["canonical"]) for node in data["burnBlocks"]["nodes"]} == {
            (f"0x{toy.burn_block(2).hash.hex()}", False),
            (f"0x{other.hash.hex()}", True),
        }
        assert data["mempoolTransactions"]["nodes"] == [
            {"txId": f"0x{'00' * 32}", "nonce": "3", "fee": "400", "droppedReason": None}
        ]
        assert data["mempoolTransaction"] is None
        assert data["burnBlock"] is None
        assert data["status"] == {
            "chains": [{"anomalyCount": 1}],
            "inbox": {"depth": 0, "oldestSeconds": None, "failed": 0},
        }

    async def test_status(self, store: Store, server: Server) -> None:
        block = accounts_block(None, {"a": 1})
        ingest(store, [block])
        store.connection.execute("INSERT INTO clarion.inbox (path, body) VALUES ('/new_block', ''), ('/x', '')")
        store.connection.execute("UPDATE clarion.inbox SET error = 'broken' WHERE path = '/x'")

        answer = await server.query(
            """{ status { version
                 chains { chain receipt { chain height hash burnHeight burnHash finality digest sequence }
                   time lagSeconds updatedAt burnTip }
                 inbox { depth oldestSeconds failed }
                 protocols { name title state filledHeight contracts { name id } } } }"""
        )

        status = answer["data"]["status"]
        (chain,) = status["chains"]
        assert chain["receipt"] == {**answer["extensions"]["receipt"], "chain": "STACKS"}
        assert chain["receipt"]["hash"] == f"0x{block.hash.hex()}"
        assert chain["lagSeconds"] > 0
        assert status["inbox"]["depth"] == 1
        assert status["inbox"]["failed"] == 1
        assert status["inbox"]["oldestSeconds"] >= 0
        assert status["protocols"] == [
            {
                "name": "toy",
                "title": "Toy",
                "state": "live",
                "filledHeight": None,
                "contracts": [{"name": "bank", "id": toy.CONTRACT}],
            }
        ]


def move(owner: str, balance: int) -> dict[str, str]:
    return {"topic": "account.moved", "owner": owner, "balance-after": str(balance)}


class TestReceipts:
    """Every answer says where it was read, and was read there."""

    async def test_of_an_empty_index(self, server: Server) -> None:
        answer = await server.query("{ toyAccounts { totalCount } }")

        assert answer["extensions"]["receipt"] == {
            "chain": "stacks",
            "height": None,
            "hash": None,
            "burnHeight": None,
            "burnHash": None,
            "finality": None,
            "digest": f"0x{'00' * 32}",
            "sequence": "0",
        }

    async def test_names_the_tip(self, store: Store, server: Server) -> None:
        block = accounts_block(None, {"a": 1})
        ingest(store, [toy.burn_block(1), block])

        receipt = (await server.query("{ toyAccounts { totalCount } }"))["extensions"]["receipt"]

        assert receipt == {
            "chain": "stacks",
            "height": 1,
            "hash": f"0x{block.hash.hex()}",
            "burnHeight": 1,
            "burnHash": f"0x{toy.burn_block(1).hash.hex()}",
            "finality": "ANCHORED",
            "digest": f"0x{store.tip.digest.hex()}",
            "sequence": "2",
        }

    async def test_is_absent_where_nothing_was_read(self, server: Server) -> None:
        answer = await server.query("{ __typename }")

        assert answer["data"] == {"__typename": "Query"}
        assert "receipt" not in answer["extensions"]

    async def test_finality_grows_with_burn_blocks(self, store: Store, server: Server) -> None:
        block = accounts_block(None, {"a": 1})
        ingest(store, [block])
        query = '{ toyAccount(owner: "a") { finality } block(height: 1) { finality } }'
        seen = []
        for burn in range(1, FINAL_DEPTH + 2):
            seen.append(await server.query(query))
            ingest(store, [toy.burn_block(burn)])
            if burn > 1:
                block = toy.block(block, burn=toy.burn_block(burn))
                ingest(store, [block])
        seen.append(await server.query(query))

        expected = ["SOFT", *["ANCHORED"] * FINAL_DEPTH, "FINAL"]
        assert [answer["data"]["toyAccount"]["finality"] for answer in seen] == expected
        assert [answer["data"]["block"]["finality"] for answer in seen] == expected
        # the receipt is the tip's
        receipts = [answer["extensions"]["receipt"]["finality"] for answer in seen]
        assert receipts == ["SOFT", *["ANCHORED"] * (FINAL_DEPTH + 1)]

    async def test_data_and_receipt_are_one_snapshot_while_blocks_come_and_go(
        self, store: Store, server: Server
    ) -> None:
        """Every block sets both accounts to its own height: an answer that mixes two blocks shows two balances."""
        writing = asyncio.Event()

        def write() -> None:
            tip = None
            for round_ in itertools.count():
                if stop.is_set():
                    return
                tip = toy.block(tip, [toy.move(name, 1 if tip is None else tip.height + 1) for name in ("a", "b")])
                ingest(store, [tip])
                if round_ % 7 == 6:  # and a branch that is longer takes the last two back
                    with store.batch() as batch:
                        batch.rollback(tip.height - 2)
                        fork = batch.load([batch.canonical_hash(tip.height - 2) or b""])[0]
                    tip = fork
                    other = toy.block(
                        tip, [toy.move(name, tip.height + 1) for name in ("a", "b")], branch=f"round {round_}"
                    )
                    ingest(store, [other])
                    tip = other
                loop.call_soon_threadsafe(writing.set)

        import threading

        stop = threading.Event()
        loop = asyncio.get_running_loop()
        writer = asyncio.create_task(asyncio.to_thread(write))
        await writing.wait()
        heights = set()
        try:
            for _ in range(150):
                answer = await server.query(
                    """{ a: toyAccount(owner: "a") { balance updatedHeight }
                         blocks(first: 1) { nodes { height } }
                         toyAccounts { nodes { balance } }
                         b: toyAccount(owner: "b") { balance finality } }"""
                )
                data, receipt = answer["data"], answer["extensions"]["receipt"]
                height = receipt["height"]
                heights.add(height)
                assert data["a"] == {"balance": str(height), "updatedHeight": height}
                assert data["b"]["balance"] == str(height)
                assert data["b"]["finality"] == "SOFT"
                assert names(data["toyAccounts"], "balance") == [str(height)] * 2
                assert names(data["blocks"], "height") == [height]
        finally:
            stop.set()
            await writer
        assert len(heights) > 3


#: An opaque text of lists in lists, deeper than any decoder goes.
NESTED = base64.urlsafe_b64encode(b"[" * 5_000).decode().rstrip("=")


class TestBadInput:
    """A wrong argument gets a clear error with a code, and never a defect's."""

    @pytest.mark.parametrize(
        ("query", "code", "words"),
        [
            ("{", "GRAPHQL_PARSE_FAILED", "Syntax Error"),
            ("{ nothing }", "GRAPHQL_VALIDATION_FAILED", "Cannot query field 'nothing'"),
            ("{ toyAccounts { nodes } }", "GRAPHQL_VALIDATION_FAILED", "must have a selection of subfields"),
            ("{ block { height } }", "BAD_USER_INPUT", "height or its hash"),
            ('{ block(height: 1, hash: "0x00") { height } }', "BAD_USER_INPUT", "height or its hash"),
            ('{ block(hash: "abc") { height } }', "BAD_USER_INPUT", "0x"),
            ('{ block(hash: "0xabc") { height } }', "BAD_USER_INPUT", "two digits a byte"),
            ('{ toyAccounts(after: "rubbish") { totalCount } }', "BAD_CURSOR", "no cursor of this list"),
            ('{ toyAccounts(after: "WyJvdGhlciJd") { totalCount } }', "BAD_CURSOR", "no cursor of this list"),
            (f'{{ toyAccounts(after: "{NESTED}") {{ totalCount }} }}', "BAD_CURSOR", "no cursor of this list"),
            (f'{{ toyAccounts(after: "{"a" * 100_000}") {{ totalCount }} }}', "BAD_CURSOR", "no cursor of this list"),
            ("{ toyAccounts(first: 501) { totalCount } }", "LIMIT_EXCEEDED", "at most 500"),
            ("{ toyAccounts(last: 501) { totalCount } }", "LIMIT_EXCEEDED", "at most 500"),
            ("{ toyAccounts(first: -1) { totalCount } }", "BAD_USER_INPUT", "0 or more"),
            ("{ toyAccounts(first: 1, last: 1) { totalCount } }", "BAD_USER_INPUT", "not both"),
            ('{ toyAccounts(filter: {balance: {eq: "1.5"}}) { totalCount } }', "BAD_USER_INPUT", "string of digits"),
            ("{ toyAccounts(filter: {balance: {eq: 1.5}}) { totalCount } }", "BAD_USER_INPUT", "string of digits"),
            ("{ toyAccounts(filter: {owner: {eq: null}}) { totalCount } }", "BAD_USER_INPUT", "isNull"),
            ("{ toyAccounts(filter: {owner: null}) { totalCount } }", "BAD_USER_INPUT", "isNull"),
            ('{ toyAccounts(filter: {owner: {eq: "\\u0000"}}) { totalCount } }', "BAD_USER_INPUT", "zero character"),
            ('{ toyAccount(owner: "\\u0000") { owner } }', "BAD_USER_INPUT", "zero character"),
            ("{ toyAccounts(filter: {height: {eq: 1}}) { totalCount } }", "GRAPHQL_VALIDATION_FAILED", "height"),
            (
                "{ toyAccounts(orderBy: [{field: OWNER}, {field: OWNER, direction: DESC}]) { totalCount } }",
                "BAD_USER_INPUT",
                "both directions",
            ),
            (
                "{ toyAccounts(filter: " + "{not: " * 10 + "{}" + "}" * 10 + ") { totalCount } }",
                "LIMIT_EXCEEDED",
                "at most 8 deep",
            ),
            (
                "{ blocks(first: 500) { nodes { transactions(first: 500) { nodes { events { nodes { raw } } } } } } }",
                "LIMIT_EXCEEDED",
                "could hold",
            ),
            (
                "{ blocks(first: 500) { nodes { transactions(first: 500) { nodes { txId } } } } }",
                "LIMIT_EXCEEDED",
                "more than 50000 rows",
            ),
            (
                "{ blocks { nodes { " + "parent { " * 14 + "height" + " }" * 14 + " } } }",
                "LIMIT_EXCEEDED",
                "15 levels deep",
            ),
            (
                "{ " + " ".join(f"a{number}: toyAccounts {{ totalCount }}" for number in range(60)) + " }",
                "LIMIT_EXCEEDED",
                "more than 50 aliases",
            ),
        ],
    )
    async def test_is_refused(self, store: Store, server: Server, query: str, code: str, words: str) -> None:
        chain: list[Block] = []
        for height in range(1, 121):
            chain.append(toy.block(chain[-1] if chain else None, [toy.move("a", height)]))
        ingest(store, chain)

        error = await server.error(query)

        assert error["extensions"]["code"] == code
        assert words in error["message"]

    @pytest.mark.parametrize(
        ("query", "literal"),
        [
            ("{ toyAccounts(filter: {balance: {gt: 1.5}}) { totalCount } }", "1.5"),
            ('{ block(hash: "abc") { height } }', '"abc"'),
        ],
    )
    async def test_a_literal_that_does_not_fit_is_pointed_at(
        self, store: Store, server: Server, query: str, literal: str
    ) -> None:
        assert (await server.error(query))["locations"] == [{"line": 1, "column": query.index(literal) + 1}]

    async def test_what_counts_against_the_limit_is_what_was_read(self, store: Store, server: Server) -> None:
        chain: list[Block] = []
        for height in range(1, 21):
            chain.append(toy.block(chain[-1] if chain else None, [toy.move("a", height)]))
        ingest(store, chain)

        data = await server.data(
            """{ blocks(first: 70) { nodes {
                   events(first: 70) { nodes { height } } transactions(first: 70) { nodes {
                     events(first: 70) { nodes { eventIndex } } } } } } }"""
        )

        assert len(data["blocks"]["nodes"]) == 20

    async def test_a_cursor_of_another_order(self, store: Store, server: Server) -> None:
        ingest(store, [accounts_block(None, {"a": 1, "b": 2})])
        page = (await server.data(PAGES, {"first": 1, "order": [{"field": "BALANCE"}]}))["toyAccounts"]

        error = await server.error(PAGES, {"first": 1, "after": page["pageInfo"]["endCursor"]})

        assert error["extensions"]["code"] == "BAD_CURSOR"

    async def test_a_cursor_that_nothing_is_read_from(self, store: Store, server: Server) -> None:
        ingest(store, [accounts_block(None, {"a": 1})])

        for selected in ("totalCount", "__typename"):
            query = f"query($after: String) {{ toyAccounts(after: $after) {{ {selected} }} }}"
            for _ in range(2):
                assert await server.data(query, {"after": None})
                error = await server.error(query, {"after": "rubbish"})
                assert error["extensions"]["code"] == "BAD_CURSOR"

    async def test_bad_variables(self, server: Server) -> None:
        query = """query($hash: Bytes, $first: Int) {
          block(hash: $hash) { height } toyAccounts(first: $first) { totalCount } }"""

        assert (await server.error(query, {"hash": 5}))["extensions"]["code"] == "BAD_USER_INPUT"
        assert (await server.error(query, {"first": "ten"}))["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"

    @pytest.mark.parametrize("plans", [True, False], ids=["compiled", "resolved"])
    @pytest.mark.parametrize(
        ("query", "variable_type"),
        [
            ("query($v: ChainName = STACKS) { blocks(chain: $v) { nodes { height } } }", "ChainName!"),
            ('query($v: String = "a") { toyAccount(owner: $v) { owner } }', "String!"),
            ("query($v: Boolean = true) { toyAccounts @include(if: $v) { totalCount } }", "Boolean!"),
            ("query($v: Boolean = true) { toyAccounts { totalCount @skip(if: $v) } }", "Boolean!"),
            ("query($v: Boolean = true) { toyAccounts { nodes { ... @include(if: $v) { owner } } } }", "Boolean!"),
            (
                """query($v: Boolean = true) { toyAccounts { nodes { ...F @skip(if: $v) } } }
                fragment F on ToyAccount { note }""",
                "Boolean!",
            ),
            ('query($v: String = "a") { toyAccounts(filter: {owner: {in: [$v]}}) { totalCount } }', "String!"),
            (
                "query($v: ToyAccountOrderField = NOTE) { toyAccounts(orderBy: [{field: $v}]) { totalCount } }",
                "ToyAccountOrderField!",
            ),
            (
                "query($v: ToyAccountGroupField = NOTE) { toyAccountsAggregate(groupBy: [{field: $v}]) { count } }",
                "ToyAccountGroupField!",
            ),
            ("query($v: Int = 5) @minBlock(height: 1, timeoutMs: $v) { toyAccounts { totalCount } }", "Int!"),
        ],
    )
    async def test_null_for_a_variable_with_a_default(
        self, store: Store, database_url: str, caplog: Any, query: str, variable_type: str, plans: bool
    ) -> None:
        ingest(store, [accounts_block(None, {"a": 1})])
        app = toy_app(database_url)
        async with answering(app):
            executor = Executor(build_schema([toy.toy]), app.state.service, plans=plans)
            answers = [
                json.loads((await executor.execute(GraphQLRequest(query, variables))).body)
                for variables in ({}, {"v": None})
            ]
            executor.close()

        assert "errors" not in answers[0]
        (error,) = answers[1]["errors"]
        assert error["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"
        assert f"Expected variable '$v' provided to non-null type '{variable_type}' not to be null." in error["message"]
        assert error["locations"]
        assert "unexpected_error" not in caplog.text

    async def test_a_defect_is_masked_and_logged_under_its_id(
        self, store: Store, server: Server, caplog: pytest.LogCaptureFixture
    ) -> None:
        store.connection.execute("ALTER TABLE toy.account RENAME COLUMN note TO remark")

        error = await server.error("{ toyAccounts { nodes { note } } }")

        identifier = error["extensions"]["id"]
        assert error["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
        assert identifier in error["message"]
        assert "does not exist" not in str(error)
        assert error["path"] == ["toyAccounts"]

    async def test_a_value_that_does_not_fit_its_type_is_a_defect(self, store: Store, server: Server) -> None:
        ingest(store, [accounts_block(None, {"a": 1})])
        store.connection.execute("UPDATE toy.account SET updated_height = 2 ^ 31")

        error = await server.error("{ toyAccounts { nodes { updatedHeight } } }")

        assert error["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
        assert error["path"] == ["toyAccounts", "nodes", 0, "updatedHeight"]

    async def test_a_statement_that_takes_too_long(self, store: Store, database_url: str) -> None:
        app = toy_app(database_url, statement_timeout_ms=50)
        async with answering(app) as server:
            with psycopg.connect(database_url) as blocking:
                blocking.execute("LOCK TABLE toy.account IN ACCESS EXCLUSIVE MODE")

                error = await server.error("{ toyAccounts { nodes { owner } } }")

                blocking.rollback()
        assert error["extensions"]["code"] == "TIMEOUT"
        assert "too long" in error["message"]


class TestDatabase:
    """A database that goes away."""

    async def test_connections_that_a_restart_broke_are_replaced(self, store: Store, server: Server) -> None:
        ingest(store, [accounts_block(None, {"a": 1})])
        # several connections at work, so that several are in the pool
        await asyncio.gather(*(server.data("{ toyAccounts { totalCount } }") for _ in range(20)))
        store.connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

        for _ in range(10):
            assert await server.data("{ toyAccounts { totalCount } }") == {"toyAccounts": {"totalCount": 1}}

    async def test_one_that_does_not_answer(self, database_url: str) -> None:
        url = make_url(database_url).set(database="nowhere").render_as_string(hide_password=False)
        async with answering(toy_app(url, connection_timeout_s=0.2)) as server:
            error = await server.error("{ status { version } }")
            health = await server.client.get("/readyz")

        assert error["extensions"]["code"] == "UNAVAILABLE"
        assert "nowhere" not in error["message"]
        assert health.status_code == 503
        assert health.json() == {"ready": False, "reasons": ["the database does not answer"]}


class TestHttp:
    """What is served besides POST /graphql."""

    async def test_health_schema_and_home(self, store: Store, server: Server) -> None:
        ingest(store, [accounts_block(None, {"a": 1})])

        health = await server.client.get("/readyz")
        schema = await server.client.get("/schema.graphql")
        home = await server.client.get("/")
        ide = await server.client.get("/graphql", headers={"accept": "text/html"})

        assert health.json()["ready"]
        assert health.json()["chains"][0]["height"] == 1
        assert "type ToyAccount implements Node {" in schema.text
        assert "query NewestBlocks" in home.text
        assert "graphiql" in ide.text

    async def test_introspection_fits_the_limits(self, server: Server) -> None:
        data = await server.data(get_introspection_query(input_value_deprecation=True))

        assert "ToyAccount" in {kind["name"] for kind in data["__schema"]["types"]}
