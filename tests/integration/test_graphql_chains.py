"""Protocols of two chains in one index: whose receipt an answer carries, which block is waited for, read, told of."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from support import coins, toy
from support.graphql import NO_CACHE, Server, serving

from clarion.chains.model import Block
from clarion.config import GraphQL
from clarion.store.database import connect
from clarion.store.store import Store
from clarion_graphql.app import make_app
from clarion_graphql.execution import Executor, GraphQLRequest
from clarion_graphql.schema import build_schema

ALICE, BOB = "0x51", "0x52"
ACCOUNTS = "toyAccounts(orderBy: [{field: OWNER}]) { nodes { owner balance finality } }"
COINS = "coinsCoins(orderBy: [{field: AMOUNT}]) { nodes { owner amount finality } }"


@pytest.fixture
def bitcoin(database_url: str) -> Iterator[Store]:
    """A store of the toy protocol of Bitcoin, open."""
    with connect(database_url, autocommit=True) as connection:
        coins.create_tables(connection)
        store = Store(connection, "bitcoin", [coins.deployed()], final_depth=2)
        store.open()
        yield store


@pytest.fixture
async def server(database_url: str, store: Store, bitcoin: Store) -> AsyncIterator[Server]:
    """GraphQL over both."""
    async with serving(_app(database_url)) as running:
        yield running


def _app(database_url: str, graphql: GraphQL = NO_CACHE) -> Any:
    deployed = {"toy": toy.deployed(), "coins": coins.deployed()}
    return make_app(database_url, protocols=[toy.toy, coins.coins], deployed=deployed, graphql=graphql)


def apply(store: Store, *blocks: Block) -> None:
    with store.batch() as batch:
        for block in blocks:
            batch.append(block)
            batch.apply(block)


@pytest.fixture
def stacks_blocks(store: Store) -> list[Block]:
    first = toy.block(None, [toy.move("a", 1)])
    second = toy.block(first, [toy.move("a", 2)])
    apply(store, first, second)
    return [first, second]


@pytest.fixture
def bitcoin_blocks(bitcoin: Store) -> list[Block]:
    """Three blocks: a coin, spent into two, of which one is lost."""
    first = coins.block(None, [coins.pay({ALICE: 10})])
    second = coins.block(first, [coins.pay({ALICE: 4, BOB: 6}, coins.outpoint(first))])
    third = coins.block(second, [coins.lose(coins.outpoint(second, output=0))])
    apply(bitcoin, first, second, third)
    return [first, second, third]


def heights(answer: dict[str, Any]) -> dict[str, int]:
    assert "errors" not in answer, answer["errors"]
    extensions = answer["extensions"]
    listed = extensions.get("receipts", [extensions["receipt"]])
    assert extensions["receipt"] == listed[0]
    return {receipt["chain"]: receipt["height"] for receipt in listed}


@pytest.mark.usefixtures("stacks_blocks", "bitcoin_blocks")
class TestReceipts:
    """They are those of the chains that were read."""

    @pytest.mark.parametrize(
        ("document", "expected"),
        [
            (f"{{ {ACCOUNTS} }}", {"stacks": 2}),
            (f"{{ {COINS} }}", {"bitcoin": 102}),
            (f"{{ {ACCOUNTS} {COINS} }}", {"stacks": 2, "bitcoin": 102}),
            (f"{{ ...both }} fragment both on Query {{ {COINS} ... on Query {{ {ACCOUNTS} }} }}", None),
            ("{ coinsCoinsAggregate { sum { amount } } }", {"bitcoin": 102}),
            ("{ blocks { nodes { height } } }", {"stacks": 2}),
            ("{ blocks(chain: BITCOIN) { nodes { height } } }", {"bitcoin": 102}),
            ("{ _meta(chain: BITCOIN) { block { number } } }", {"bitcoin": 102}),
            ("{ burnBlocks { nodes { height } } }", {"stacks": 2}),
            ("{ status { version } }", {"stacks": 2, "bitcoin": 102}),
        ],
    )
    async def test_of_a_document(self, server: Server, document: str, expected: dict[str, int] | None) -> None:
        assert heights(await server.query(document)) == (expected or {"stacks": 2, "bitcoin": 102})

    async def test_of_a_variable(self, server: Server) -> None:
        document = "query($chain: ChainName! = BITCOIN) { blocks(chain: $chain, first: 1) { nodes { height } } }"
        for variables, expected in (({}, {"bitcoin": 102}), ({"chain": "STACKS"}, {"stacks": 2})):
            answer = await server.query(document, variables)
            assert heights(answer) == expected
            assert answer["data"]["blocks"]["nodes"] == [{"height": next(iter(expected.values()))}]

    @pytest.mark.parametrize("value", [[], {}, ["BITCOIN", "STACKS"], {"a": []}, 1, None, "bitcoin"])
    async def test_a_variable_that_is_no_chain_is_refused(self, server: Server, value: Any) -> None:
        for document in (
            "query($chain: ChainName!) { blocks(chain: $chain) { totalCount } }",
            "query($chain: ChainName!) @asOf(height: 1, chain: $chain) { blocks { totalCount } }",
        ):
            error = await server.error(document, {"chain": value})
            assert error["extensions"]["code"] in ("BAD_USER_INPUT", "GRAPHQL_VALIDATION_FAILED"), error

    async def test_etags_are_of_the_chains_that_were_read(
        self, server: Server, bitcoin: Store, bitcoin_blocks: list[Block]
    ) -> None:
        async def etag(document: str) -> str:
            response = await server.client.get("/graphql", params={"query": document})
            return response.headers["etag"]

        documents = [f"{{ {ACCOUNTS} }}", f"{{ {COINS} }}", f"{{ {ACCOUNTS} {COINS} }}"]
        before = [await etag(document) for document in documents]
        apply(bitcoin, coins.block(bitcoin_blocks[-1]))
        after = [await etag(document) for document in documents]
        assert [old == new for old, new in zip(before, after, strict=True)] == [True, False, False]


@pytest.mark.usefixtures("stacks_blocks", "bitcoin_blocks")
class TestBlocksOfAQuery:
    """`@asOf`, `@minBlock` and `@afterTx` mean the chain that the query reads."""

    async def test_as_of_one_chain(self, server: Server) -> None:
        answer = await server.query(f"query @asOf(height: 101) {{ {COINS} }}")
        assert heights(answer) == {"bitcoin": 101}
        assert [node["amount"] for node in answer["data"]["coinsCoins"]["nodes"]] == ["4", "6"]

    async def test_as_of_both(self, server: Server) -> None:
        for given in (
            "@asOf(height: 1, chain: STACKS) @asOf(height: 100, chain: BITCOIN)",
            "@asOf(height: 100, chain: BITCOIN) @asOf(height: 1, chain: STACKS)",
        ):
            answer = await server.query(f"query {given} {{ {ACCOUNTS} {COINS} blocks {{ nodes {{ height }} }} }}")
            assert heights(answer) == {"stacks": 1, "bitcoin": 100}
            assert [node["balance"] for node in answer["data"]["toyAccounts"]["nodes"]] == ["1"]
            assert [node["amount"] for node in answer["data"]["coinsCoins"]["nodes"]] == ["10"]
            assert answer["data"]["blocks"]["nodes"] == [{"height": 1}]

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ("@asOf(height: 1)", "The operation reads bitcoin and stacks: @asOf has to name a chain."),
            (
                "@asOf(height: 1, chain: STACKS)",
                "The operation reads bitcoin too: give @asOf once more, with a block of it.",
            ),
            (
                "@asOf(height: 1, chain: STACKS) @asOf(height: 2, chain: STACKS)",
                "@asOf names two blocks of stacks: one operation reads a chain as of one.",
            ),
            ("@minBlock(height: 1)", "The operation reads bitcoin and stacks: @minBlock has to name a chain."),
        ],
    )
    async def test_an_ambiguous_block(self, server: Server, given: str, expected: str) -> None:
        error = await server.error(f"query {given} {{ {ACCOUNTS} {COINS} }}")
        assert error["message"] == expected
        assert error["extensions"]["code"] == "BAD_USER_INPUT"

    async def test_a_row_by_its_id_needs_a_block_of_its_chain(self, server: Server) -> None:
        nodes = (await server.data("{ coinsCoins { nodes { nodeId } } }"))["coinsCoins"]["nodes"]
        document = f'{{ node(id: "{nodes[0]["nodeId"]}") {{ nodeId }} }}'
        for given in ("height: 101", "height: 101, chain: BITCOIN"):
            answer = await server.query(f"query @asOf({given}) {document}")
            assert heights(answer) == {"bitcoin": 101}
            assert answer["data"] == {"node": nodes[0]}
        error = await server.error(f"query @asOf(height: 1, chain: STACKS) {document}")
        assert error["message"] == "The operation reads bitcoin too: give @asOf once more, with a block of it."

    async def test_blocks_by_their_ids_are_of_the_chains_that_these_name(self, server: Server) -> None:
        found = await server.data("{ a: blocks { nodes { nodeId } } b: blocks(chain: BITCOIN) { nodes { nodeId } } }")
        stacks, bitcoin = ([node["nodeId"] for node in found[name]["nodes"]] for name in "ab")
        document = "($ids: [ID!]!) %s { nodes(ids: $ids) { nodeId } }"

        for ids, expected in ((stacks, {"stacks": 2}), (bitcoin, {"bitcoin": 102}), ([*stacks, *bitcoin], None)):
            answer = await server.query(f"query{document % ''}", {"ids": ids})
            assert heights(answer) == (expected or {"stacks": 2, "bitcoin": 102})
        for wrong in ([1], [None], [{}], ["x"], 7, None, {}):
            assert "extensions" in await server.error(f"query{document % ''}", {"ids": wrong})
        then = await server.data(f"query{document % '@asOf(height: 100)'}", {"ids": bitcoin})
        assert [node is not None for node in then["nodes"]] == [node == bitcoin[-1] for node in bitcoin]
        error = await server.error(f"query{document % '@asOf(height: 1)'}", {"ids": [stacks[0], bitcoin[0]]})
        assert error["message"] == "The operation reads bitcoin and stacks: @asOf has to name a chain."

    async def test_waiting_for_a_block(self, server: Server, bitcoin: Store, bitcoin_blocks: list[Block]) -> None:
        assert heights(await server.query(f"query @minBlock(height: 102, timeoutMs: 0) {{ {COINS} }}"))
        error = await server.error(f"query @minBlock(height: 103, timeoutMs: 0) {{ {COINS} }}")
        assert (error["extensions"]["code"], error["extensions"]["chain"]) == ("NOT_YET", "bitcoin")
        tx_id = bitcoin_blocks[0].transactions[0].id.hex()
        assert heights(await server.query(f'query @afterTx(txId: "0x{tx_id}", timeoutMs: 0) {{ {COINS} }}'))


@pytest.mark.usefixtures("stacks_blocks", "bitcoin_blocks")
class TestTheChainLogOfBitcoin:
    """Blocks, transactions and events of Bitcoin, as those of Stacks."""

    async def test_blocks_and_their_finality(self, server: Server, bitcoin_blocks: list[Block]) -> None:
        found = await server.data(
            "{ blocks(chain: BITCOIN) { nodes { height hash burnHeight burnHash finality transactionCount } } "
            "soft: blocks(chain: BITCOIN, filter: {finality: {eq: SOFT}}) { totalCount } "
            "anchored: blocks(chain: BITCOIN, filter: {finality: {atLeast: ANCHORED}}) { totalCount } }"
        )
        assert [(node["height"], node["finality"]) for node in found["blocks"]["nodes"]] == [
            (102, "ANCHORED"),
            (101, "ANCHORED"),
            (100, "FINAL"),
        ]
        for node in found["blocks"]["nodes"]:
            assert (node["burnHeight"], node["burnHash"]) == (node["height"], node["hash"])
        assert (found["soft"]["totalCount"], found["anchored"]["totalCount"]) == (0, 3)

    async def test_rows_and_their_finality(self, server: Server) -> None:
        anchored = "coinsCoins(filter: {finality: {eq: ANCHORED}}) { nodes { owner amount finality } }"
        assert (await server.data(f"{{ {anchored} }}"))["coinsCoins"]["nodes"] == [
            {"owner": BOB, "amount": "6", "finality": "ANCHORED"}
        ]

    async def test_spells_and_spends(self, server: Server, bitcoin_blocks: list[Block]) -> None:
        tx_id = f"0x{bitcoin_blocks[1].transactions[0].id.hex()}"
        found = await server.data(
            "query($txId: Bytes!) { transaction(txId: $txId, chain: BITCOIN) { kind sender fee payload "
            "events { nodes { kind topic contract value } } } "
            "events(chain: BITCOIN, filter: {kind: {eq: SPEND}}) { nodes { height value } } }",
            {"txId": tx_id},
        )
        (event,) = found["transaction"].pop("events")["nodes"]
        assert found["transaction"] == {"kind": "spell", "sender": None, "fee": None, "payload": None}
        assert (event["kind"], event["topic"], event["contract"]) == ("SPELL", "spell", None)
        assert event["value"]["outs"] == [{"0": "4"}, {"0": "6"}]
        (spend,) = found["events"]["nodes"]
        assert (spend["height"], spend["value"]["spent"]) == (102, ["0"])

    async def test_status_tells_of_both(self, server: Server) -> None:
        status = (
            await server.data(
                "{ status { chains { chain burnTip receipt { height finality burnHeight } } "
                "protocols { name chain state } problems } }"
            )
        )["status"]
        assert [(chain["chain"], chain["burnTip"]) for chain in status["chains"]] == [
            ("STACKS", None),
            ("BITCOIN", 102),
        ]
        assert status["chains"][1]["receipt"] == {"height": 102, "finality": "ANCHORED", "burnHeight": 102}
        assert status["protocols"] == [
            {"name": "toy", "chain": "STACKS", "state": "live"},
            {"name": "coins", "chain": "BITCOIN", "state": "live"},
        ]

    async def test_meta_is_of_the_chain(self, server: Server, bitcoin_blocks: list[Block]) -> None:
        found = await server.data(
            "{ stacks: _meta { deployment block { number } } "
            "bitcoin: _meta(chain: BITCOIN) { deployment block { number hash } hasIndexingErrors } }"
        )
        assert found["stacks"]["block"] == {"number": 2}
        assert found["bitcoin"]["block"] == {"number": 102, "hash": f"0x{bitcoin_blocks[2].hash.hex()}"}
        assert found["bitcoin"]["hasIndexingErrors"] is False
        assert found["stacks"]["deployment"] != found["bitcoin"]["deployment"]


class TestSubscriptions:
    """Each goes along one chain, and its `since` is of that one."""

    async def test_rows_of_a_protocol_go_by_its_chain(
        self, server: Server, store: Store, bitcoin: Store, stacks_blocks: list[Block]
    ) -> None:
        first = coins.block(None, [coins.pay({ALICE: 10})])
        second = coins.block(first, [coins.pay({BOB: 10}, coins.outpoint(first))])
        apply(bitcoin, first)
        document = """subscription($since: BigInt) {
          coinsCoinChanged(since: $since) { sequence op retraction before { owner } after { owner finality } }
        }"""
        async with server.subscribe(document) as messages:
            start = await messages.next()
            assert (start["op"], start["sequence"]) == ("START", str(bitcoin.tip.sequence))
            apply(store, toy.block(stacks_blocks[1], [toy.move("a", 9)]))
            apply(bitcoin, second)
            told = [await messages.next(), await messages.next()]
        assert sorted(message["op"] for message in told) == ["DELETE", "INSERT"]
        assert [m["after"] for m in told if m["op"] == "INSERT"] == [{"owner": BOB, "finality": "ANCHORED"}]
        async with server.subscribe(document, {"since": start["sequence"]}) as messages:
            assert [await messages.next(), await messages.next()] == told
            with bitcoin.batch() as batch:
                batch.rollback(100)
            back = [await messages.next(), await messages.next()]
        assert all(message["retraction"] for message in back)

    async def test_changes_are_those_of_the_table_s_chain(
        self, server: Server, bitcoin: Store, stacks_blocks: list[Block]
    ) -> None:
        document = "subscription { changes(table: COINS_COIN, since: 0) { table key height } }"
        async with server.subscribe(document) as messages:
            apply(bitcoin, coins.block(None, [coins.pay({ALICE: 10})]))
            assert (await messages.next())["height"] == 100
        all_of_stacks = "subscription { changes(since: 0) { table height } }"
        async with server.subscribe(all_of_stacks) as messages:
            assert await messages.next() == {"table": "TOY_ACCOUNT", "height": 1}
        other = "subscription { changes(table: COINS_COIN, chain: STACKS) { table } }"
        async with server.subscribe(other) as messages:
            assert (await messages.error())["message"] == "coins.coin is a table of bitcoin, not of stacks."

    async def test_blocks_events_and_finality_of_bitcoin(self, server: Server, bitcoin: Store) -> None:
        first = coins.block(None, [coins.pay({ALICE: 10})])
        blocks = [first, coins.block(first), coins.block(coins.block(first))]
        apply(bitcoin, *blocks)
        for field, count in (("blocks", 3), ('events(topic: "spell")', 1)):
            name, _, arguments = field.partition("(")
            given = f"({arguments.removesuffix(')')}{', ' if arguments else ''}chain: BITCOIN, since: 0)"
            async with server.subscribe(f"subscription {{ {name}{given} {{ op block {{ height }} }} }}") as messages:
                told = [await messages.next() for _ in range(count)]
            assert [message["block"]["height"] for message in told] == [100, 101, 102][:count]
        async with server.subscribe("subscription { finality(chain: BITCOIN) { finality height } }") as messages:
            states = [await messages.next(), await messages.next()]
        assert sorted((state["finality"], state["height"]) for state in states) == [("ANCHORED", 102), ("FINAL", 100)]

    async def test_a_transaction_of_bitcoin(self, server: Server, bitcoin: Store) -> None:
        block = coins.block(None, [coins.pay({ALICE: 10})])
        tx_id = block.transactions[0].id.hex()
        document = """subscription($txId: Bytes!) {
          transaction(txId: $txId, chain: BITCOIN) { state finality transaction { height } waiting { txId } }
        }"""
        async with server.subscribe(document, {"txId": f"0x{tx_id}"}) as messages:
            assert (await messages.next())["state"] == "UNKNOWN"
            apply(bitcoin, block)
            mined = {"state": "MINED", "finality": "ANCHORED", "transaction": {"height": 100}, "waiting": None}
            assert await messages.next() == mined

    async def test_live_queries_of_one_chain_and_of_both(
        self, server: Server, store: Store, bitcoin: Store, stacks_blocks: list[Block]
    ) -> None:
        first = coins.block(None, [coins.pay({ALICE: 10})])
        apply(bitcoin, first)
        both = "subscription { live { coinsCoins { totalCount } toyAccounts { nodes { balance } } } }"
        async with (
            server.subscribe("subscription { live { coinsCoins { totalCount } } }") as one,
            server.subscribe(both) as two,
        ):
            assert (await one.next())["coinsCoins"] == {"totalCount": 1}
            assert await two.next() == {"coinsCoins": {"totalCount": 1}, "toyAccounts": {"nodes": [{"balance": "2"}]}}
            apply(store, toy.block(stacks_blocks[1], [toy.move("a", 9)]))
            assert (await two.next())["toyAccounts"] == {"nodes": [{"balance": "9"}]}
            apply(bitcoin, coins.block(first, [coins.lose(coins.outpoint(first))]))
            assert (await one.next())["coinsCoins"] == {"totalCount": 0}
            assert (await two.next())["coinsCoins"] == {"totalCount": 0}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (f"{{ {COINS} }}", {"bitcoin"}),
        ('{ coinsCoin(outpoint: "x") { amount } ... @include(if: false) { toyAccounts { totalCount } } }', None),
        ("{ mempoolTransactions { totalCount } __typename }", {"stacks"}),
        ('{ node(id: "x") { nodeId } }', {"any"}),
        ("{ nothing }", {"any"}),
        ("{ __typename }", set()),
        ("query($c: ChainName!) { anomalies(chain: $c) { totalCount } }", {"bitcoin"}),
    ],
)
async def test_what_a_live_query_is_woken_by(
    database_url: str, store: Store, bitcoin: Store, document: str, expected: set[str] | None
) -> None:
    async with serving(_app(database_url)) as running:
        executor = Executor(build_schema([toy.toy, coins.coins]), running.app.state.service, plans=False)
        chains = executor.chains_of(GraphQLRequest(document, {"c": "BITCOIN"}))
        assert ({"any"} if chains is None else chains) == (expected if expected is not None else {"stacks", "bitcoin"})
