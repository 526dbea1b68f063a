"""The keeper's turns on a real Postgres, against a chain and a node that are scripted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import psycopg
import pytest

from clarion.chains.stacks.clarity import List, Ok, Tuple, UInt, encode
from clarion.chains.stacks.keys import PrivateKey
from clarion.chains.stacks.networks import Network
from clarion.chains.stacks.node_client import NodeClient
from clarion.chains.stacks.transactions import decode_transaction
from clarion_keeper.former_graph import MinedTransaction
from clarion_keeper.jobs import BITHEDGE_JOBS
from clarion_keeper.keeper import Keeper
from clarion_keeper.outbox import Outbox
from clarion_keeper.state import BitHedgeState, DuePolicy, Receipt

DEPLOYER = "ST1PQHQKV0RJXZFY1DGX8MNSNYVE3VGZJSRTPGZGM"
STX = f"{DEPLOYER}.bh-stx"
KEY = PrivateKey.from_hex("7287ba251d44a4d3fd9276c88ce34c5c52a038955511cccaf77e61068649c17801")


class FakeChain:
    """What GraphQL and the node would say; a test moves it on."""

    def __init__(self) -> None:
        self.height = 10
        self.nonce = 3
        self.due: list[int] = []
        self.blocks: dict[bytes, MinedTransaction] = {}
        self.taken: list[bytes] = []
        self.refusals: list[dict[str, Any]] = []
        self.down = False

    # GraphQL

    async def bithedge_state(self) -> BitHedgeState:
        due = tuple(DuePolicy(policy, "BTC", STX, 100) for policy in self.due)
        fixed = frozenset({("BTC", 100), ("STX", 100)})
        return BitHedgeState(self.receipt, due, {STX: "STX"}, (), fixed)

    async def transactions(self, ids: list[bytes]) -> tuple[dict[bytes, MinedTransaction], Receipt]:
        return {tx_id: self.blocks[tx_id] for tx_id in ids if tx_id in self.blocks}, self.receipt

    @property
    def receipt(self) -> Receipt:
        return Receipt(self.height, f"0x{self.height:02x}", 120, self.height)

    # the node

    def answer(self, request: httpx.Request) -> httpx.Response:
        if self.down:
            raise httpx.ConnectError("refused", request=request)
        path = request.url.path
        if path == "/v2/info":
            body = {"stacks_tip_height": self.height, "stacks_tip": "00", "stacks_tip_consensus_hash": "00"}
            return httpx.Response(200, json={**body, "burn_block_height": 120, "network_id": 1})
        if path.startswith("/v2/accounts/"):
            return httpx.Response(200, json={"balance": "0x10", "locked": "0x0", "nonce": self.nonce})
        assert path == "/v2/transactions"
        if self.refusals:
            return httpx.Response(400, json={"error": "transaction rejected", **self.refusals.pop(0)})
        self.taken.append(request.content)
        return httpx.Response(200, text=json.dumps(decode_transaction(request.content).txid.hex()))

    def mine(self, raw: bytes, codes: dict[int, int]) -> None:
        entries = [Tuple({"policy": UInt(policy), "error": UInt(code)}) for policy, code in codes.items()]
        result = encode(Ok(List(tuple(entries))))
        tx_id = decode_transaction(raw).txid
        self.height += 1
        self.nonce += 1
        self.blocks[tx_id] = MinedTransaction(tx_id, "success", result, self.height, bytes(32), final=False)
        self.due = [policy for policy in self.due if codes.get(policy) != 0]


@pytest.fixture
def chain() -> FakeChain:
    return FakeChain()


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as opened:
        yield opened


@pytest.fixture
def keeper(chain: FakeChain, connection: psycopg.AsyncConnection[Any]) -> Keeper:
    return make_keeper(chain, connection)


def make_keeper(chain: FakeChain, connection: psycopg.AsyncConnection[Any]) -> Keeper:
    node = NodeClient("http://node.test", attempts=1, transport=httpx.MockTransport(chain.answer))
    return Keeper(
        graph=chain,  # type: ignore[arg-type]
        nodes=[node],
        outbox=Outbox(connection),
        key=KEY,
        network=Network.TESTNET,
        deployer=DEPLOYER,
        fee=10_000,
        jobs=BITHEDGE_JOBS,
    )


async def intents(connection: psycopg.AsyncConnection[Any]) -> list[tuple[str, str, str | None]]:
    cursor = await connection.execute("SELECT key, state, outcome FROM keeper.intent ORDER BY id")
    return await cursor.fetchall()


async def outgoing(connection: psycopg.AsyncConnection[Any]) -> list[tuple[int, str]]:
    cursor = await connection.execute("SELECT nonce::int, state FROM keeper.outgoing ORDER BY created_at")
    return await cursor.fetchall()


async def test_what_is_due_is_sent_once_and_followed_to_the_end(
    chain: FakeChain, keeper: Keeper, connection: psycopg.AsyncConnection[Any]
) -> None:
    chain.due = [7, 8]
    await keeper.turn()
    await keeper.turn()
    assert set(chain.taken) == {chain.taken[0]}
    assert await outgoing(connection) == [(3, "broadcast")]

    chain.mine(chain.taken[0], {7: 0, 8: 6012})
    chain.due = []
    await keeper.turn()
    assert await intents(connection) == [("settle:7", "done", "settled"), ("settle:8", "done", "ended already")]
    assert await outgoing(connection) == [(3, "mined")]

    tx_id = decode_transaction(chain.taken[0]).txid
    chain.blocks[tx_id] = replace(chain.blocks[tx_id], final=True)
    await keeper.turn()
    assert await outgoing(connection) == [(3, "final")]


async def test_signed_bytes_survive_a_crash_before_sending(
    chain: FakeChain, keeper: Keeper, connection: psycopg.AsyncConnection[Any]
) -> None:
    chain.due = [7]
    chain.refusals = [{"reason": "ServerFailureDatabase", "txid": ""}]
    await keeper.turn()
    assert await outgoing(connection) == [(3, "signed")]

    await make_keeper(chain, connection).turn()
    assert await outgoing(connection) == [(3, "broadcast")]
    assert len(chain.taken) == 1


async def test_an_orphaned_transaction_goes_out_again_with_the_same_bytes(
    chain: FakeChain, keeper: Keeper, connection: psycopg.AsyncConnection[Any]
) -> None:
    chain.due = [7]
    await keeper.turn()
    chain.mine(chain.taken[0], {7: 0})
    await keeper.turn()
    assert await intents(connection) == [("settle:7", "done", "settled")]

    chain.blocks.clear()
    chain.nonce -= 1
    chain.due = [7]
    await keeper.turn()
    assert chain.taken[-1] == chain.taken[0]
    assert await intents(connection) == [("settle:7", "sent", None)]
    assert await outgoing(connection) == [(3, "broadcast")]


async def test_a_nonce_used_by_another_transaction_releases_what_ours_carried(
    chain: FakeChain, keeper: Keeper, connection: psycopg.AsyncConnection[Any]
) -> None:
    chain.due = [7]
    await keeper.turn()
    chain.nonce += 1
    chain.height += 1
    await keeper.turn()
    states = await intents(connection)
    assert [state for _, state, _ in states] == ["cancelled", "sent"]
    assert await outgoing(connection) == [(3, "rejected"), (4, "broadcast")]


async def test_what_is_no_longer_due_is_not_sent(
    chain: FakeChain, keeper: Keeper, connection: psycopg.AsyncConnection[Any]
) -> None:
    receipt = chain.receipt
    state = BitHedgeState(receipt, (DuePolicy(9, "BTC", STX, 100),), {STX: "STX"}, (), frozenset())
    fixed = replace(state, fixed=frozenset({("BTC", 100), ("STX", 100)}))
    await Outbox(connection).plan(BITHEDGE_JOBS[1].check(fixed), receipt)
    await keeper.turn()
    assert await intents(connection) == [("settle:9", "cancelled", "no longer due")]
    assert chain.taken == []


async def test_an_unknown_refusal_stops_that_job_and_no_other(
    chain: FakeChain, keeper: Keeper, connection: psycopg.AsyncConnection[Any]
) -> None:
    chain.due = [7]
    chain.refusals = [{"reason": "NoSuchContract", "txid": ""}]
    await keeper.turn()
    await keeper.turn()
    assert chain.taken == []
    assert [state for _, state, _ in await intents(connection)] == ["failed"]


async def test_more_than_a_batch_goes_out_in_several_transactions(
    chain: FakeChain, keeper: Keeper, connection: psycopg.AsyncConnection[Any]
) -> None:
    chain.due = list(range(1, 46))
    await keeper.turn()
    assert await outgoing(connection) == [(3, "broadcast"), (4, "broadcast"), (5, "broadcast")]
    assert {state for _, state, _ in await intents(connection)} == {"sent"}


async def test_a_second_keeper_of_the_account_stands_by(database_url: str) -> None:
    async with (
        await psycopg.AsyncConnection.connect(database_url, autocommit=True) as one,
        await psycopg.AsyncConnection.connect(database_url, autocommit=True) as two,
    ):
        assert await Outbox(one).take_over("ST1")
        assert not await Outbox(two).take_over("ST1")
        await one.close()
        # The server notices a closed connection in its own time.
        async with asyncio.timeout(30):
            while not await Outbox(two).take_over("ST1"):
                pass
