"""`transaction(txId)`: from the mempool to the last Bitcoin block that makes it final, and back."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from support import toy
from support.graphql import Server, serving, toy_app

from clarion.chains.model import Block
from clarion.chains.stacks.node_payloads import Item, MempoolDrop, MempoolEntry
from clarion.follower import Follower
from clarion.ingest import ingest
from clarion.store.store import FINAL_DEPTH, Store

DOCUMENT = """subscription($txId: Bytes!) {
  transaction(txId: $txId) {
    state finality transaction { height status canonical } waiting { sender droppedReason replacedBy }
  }
}"""


@pytest.fixture
async def server(database_url: str, store: Store) -> AsyncIterator[Server]:
    async with serving(toy_app(database_url)) as running:
        yield running


def said(store: Store, *items: Item) -> None:
    ingest(store, Follower(), items)


def waiting(tx_id: bytes) -> MempoolEntry:
    return MempoolEntry(tx_id, b"\x00", toy.DEPLOYER, 1, 200)


def tx_of(block: Block) -> bytes:
    return block.transactions[0].id


async def test_from_the_mempool_to_final(store: Store, server: Server) -> None:
    first = toy.block(None)
    block = toy.block(first, [toy.move("a", 1)])
    said(store, toy.burn_block(1), first)
    tip = block
    async with server.subscribe(DOCUMENT, {"txId": f"0x{tx_of(block).hex()}"}) as messages:
        nothing = await messages.next()
        said(store, waiting(tx_of(block)))
        held = await messages.next()
        said(store, block)
        mined = await messages.next()
        said(store, toy.burn_block(2))
        anchored = await messages.next()
        for height in range(3, FINAL_DEPTH + 3):
            tip = toy.block(tip)
            said(store, toy.burn_block(height), tip)
        final = await messages.next()

    assert nothing == {"state": "UNKNOWN", "finality": None, "transaction": None, "waiting": None}
    assert held["state"] == "PENDING"
    assert held["waiting"] == {"sender": toy.DEPLOYER, "droppedReason": None, "replacedBy": None}
    row = {"height": 2, "status": "success", "canonical": True}
    assert mined == {"state": "MINED", "finality": "SOFT", "transaction": row, "waiting": None}
    assert (anchored["state"], anchored["finality"]) == ("MINED", "ANCHORED")
    assert (final["state"], final["finality"]) == ("MINED", "FINAL")


async def test_a_reorganisation_takes_it_back_and_another_block_mines_it(store: Store, server: Server) -> None:
    first = toy.block(None)
    lost = toy.block(first, [toy.move("a", 1)], branch="lost")
    said(store, first, lost)
    async with server.subscribe(DOCUMENT, {"txId": f"0x{tx_of(lost).hex()}"}) as messages:
        assert (await messages.next())["state"] == "MINED"
        second = toy.block(first)
        said(store, second, toy.block(second))
        back = await messages.next()

    assert (back["state"], back["finality"], back["transaction"]["canonical"]) == ("RETRACTED", None, False)
    assert back["waiting"]["droppedReason"] is None  # the node has it again


async def test_the_node_drops_it(store: Store, server: Server) -> None:
    tx_id, other = toy.digest_of("tx"), toy.digest_of("other")
    said(store, toy.block(None), waiting(tx_id))
    async with server.subscribe(DOCUMENT, {"txId": f"0x{tx_id.hex()}"}) as messages:
        assert (await messages.next())["state"] == "PENDING"
        said(store, MempoolDrop((tx_id,), "ReplaceByFee", other))
        dropped = await messages.next()

    assert dropped["state"] == "DROPPED"
    assert dropped["waiting"]["droppedReason"] == "ReplaceByFee"
    assert dropped["waiting"]["replacedBy"] == f"0x{other.hex()}"
