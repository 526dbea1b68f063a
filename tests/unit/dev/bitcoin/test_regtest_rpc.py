"""The regtest node answers as Bitcoin Core does: names, results, errors, HTTP."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest_asyncio

from clarion.chains.bitcoin.blocks import parse_header, transactions_of
from clarion.chains.bitcoin.coins import OutPoint
from clarion.chains.bitcoin.transactions import (
    BitcoinTransaction,
    Input,
    Output,
    new_transaction,
    parse_transaction,
    write_transaction,
)
from clarion.chains.bitcoin.units import Sats
from clarion.dev.bitcoin.keys import key
from clarion.dev.bitcoin.node import RegtestNode
from clarion.dev.bitcoin.server import RegtestAccess, serving
from clarion.dev.bitcoin.signing import keys_by_script, sign

TIME = 1_700_000_000
ALICE, MINER = key("alice"), key("miner")
NOWHERE = "00" * 32


class Rpc:
    """A client that keeps amounts exact."""

    def __init__(self, access: RegtestAccess, node: RegtestNode) -> None:
        self.access, self.node = access, node
        self.http = httpx.AsyncClient(base_url=access.url, auth=(access.user, access.password))

    async def post(self, body: Any) -> httpx.Response:
        return await self.http.post("/", content=msgspec.json.encode(body))

    async def __call__(self, method: str, *params: Any, **named: Any) -> Any:
        answer = await self.post({"method": method, "params": named or list(params), "id": 1})
        form = json.loads(answer.content, parse_float=Decimal)
        assert form["error"] is None, form["error"]
        assert answer.status_code == 200
        assert form["id"] == 1
        return form["result"]

    async def error(self, method: str, *params: Any) -> tuple[int, str]:
        answer = await self.post({"method": method, "params": list(params), "id": 1})
        assert answer.status_code in (404, 500)
        form = answer.json()
        assert form["result"] is None
        return form["error"]["code"], form["error"]["message"]


@pytest_asyncio.fixture
async def rpc(tmp_path: Path) -> AsyncIterator[Rpc]:
    """A node with one coin of Alice's that can be spent, served."""
    node = RegtestNode()
    node.mine(1, ALICE.taproot_script, time=TIME)
    node.mine(100, MINER.taproot_script, time=TIME)
    listening = socket.create_server(("127.0.0.1", 0))
    async with serving(node, listening, tmp_path, clock=lambda: TIME) as access:
        client = Rpc(access, node)
        yield client
        await client.http.aclose()
    node.close()


def payment(node: RegtestNode, *, fee: int = 1_000) -> BitcoinTransaction:
    outpoint = OutPoint(node.chain.blocks[node.chain.active[1]].transactions[0].id, 0)
    coin = node.chain.coins[outpoint]
    draft = new_transaction(
        (Input(*outpoint, b"", 0xFFFFFFFD),), (Output(Sats(coin.amount - fee), ALICE.segwit_script),)
    )
    return sign(draft, [coin], keys_by_script([ALICE]))


async def test_the_chain(rpc: Rpc) -> None:
    info = await rpc("getblockchaininfo")
    tip = await rpc("getbestblockhash")
    assert (info["chain"], info["blocks"], info["bestblockhash"]) == ("regtest", 101, tip)
    assert await rpc("getblockcount") == 101
    assert await rpc("getblockhash", 101) == tip
    assert await rpc("getblockhash", 0) == "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206"
    assert await rpc.error("getblockhash", 102) == (-8, "Block height out of range")
    assert (await rpc.error("getblockhash", "102"))[0] == -3
    assert (await rpc("getnetworkinfo"))["version"] == 300_000
    assert await rpc("getzmqnotifications") == []
    assert (await rpc("getindexinfo"))["txindex"] == {"synced": True, "best_block_height": 101}
    pool = await rpc("getmempoolinfo")
    assert (pool["size"], pool["minrelaytxfee"], pool["fullrbf"]) == (0, Decimal("0.00001"), True)


async def test_a_block_in_every_form(rpc: Rpc) -> None:
    paid = payment(rpc.node)
    await rpc("sendrawtransaction", write_transaction(paid).hex())
    (mined,) = await rpc("generatetoaddress", 1, MINER.address)
    raw = bytes.fromhex(await rpc("getblock", mined, 0))
    assert parse_header(raw).hash.hex() == mined
    assert transactions_of(raw)[1] == paid
    ids = await rpc("getblock", mined)
    assert ids["tx"][1] == paid.id.hex()
    assert (ids["size"], ids["height"], ids["confirmations"], ids["nTx"]) == (len(raw), 102, 1, 2)
    assert ids["previousblockhash"] == await rpc("getblockhash", 101)
    whole = await rpc("getblock", mined, 2)
    assert whole["tx"][1]["fee"] == Decimal("0.00001")
    assert whole["tx"][1]["vout"][0]["value"] == Decimal("49.99999")
    assert whole["tx"][1]["vout"][0]["scriptPubKey"]["address"] == ALICE.segwit_address
    assert parse_transaction(bytes.fromhex(whole["tx"][1]["hex"])) == paid
    assert "prevout" not in whole["tx"][1]["vin"][0]
    prevouts = await rpc("getblock", blockhash=mined, verbosity=3)
    assert prevouts["tx"][1]["vin"][0]["prevout"]["value"] == Decimal(50)
    assert prevouts["tx"][1]["vin"][0]["prevout"]["generated"] is True
    header = await rpc("getblockheader", mined)
    assert header == {name: ids[name] for name in header}
    assert await rpc("getblockheader", mined, False) == raw[:80].hex()
    assert await rpc.error("getblock", NOWHERE) == (-5, "Block not found")
    assert (await rpc.error("getblock", "xx"))[0] == -8


async def test_a_transaction_from_the_mempool_to_a_block_and_back(rpc: Rpc) -> None:
    paid = payment(rpc.node)
    raw, tx_id = write_transaction(paid).hex(), paid.id.hex()
    (tried,) = await rpc("testmempoolaccept", [raw])
    assert tried["allowed"] is True
    assert tried["fees"]["base"] == Decimal("0.00001")
    assert await rpc("getrawmempool") == []
    assert await rpc("sendrawtransaction", raw) == tx_id
    assert await rpc("sendrawtransaction", raw) == tx_id
    assert await rpc("getrawmempool") == [tx_id]
    assert (await rpc("getmempoolentry", tx_id))["fees"]["ancestor"] == Decimal("0.00001")
    spent = {"txid": paid.inputs[0].tx_id.hex(), "vout": 0}
    assert await rpc("gettxspendingprevout", [spent]) == [spent | {"spendingtxid": tx_id}]
    assert await rpc("gettxout", spent["txid"], 0) is None
    assert (await rpc("gettxout", spent["txid"], 0, False))["value"] == Decimal(50)
    assert (await rpc("gettxout", tx_id, 0))["confirmations"] == 0
    assert await rpc("getrawtransaction", tx_id) == raw
    assert "blockhash" not in await rpc("getrawtransaction", tx_id, True)
    (mined,) = await rpc("generatetoaddress", 1, MINER.address)
    shown = await rpc("getrawtransaction", tx_id, 2)
    assert (shown["blockhash"], shown["confirmations"]) == (mined, 1)
    assert shown["vin"][0]["prevout"]["scriptPubKey"]["address"] == ALICE.address
    assert await rpc.error("sendrawtransaction", raw) == (-27, "Transaction outputs already in utxo set")
    assert (await rpc("gettxout", tx_id, 0))["confirmations"] == 1
    (unspent,) = (await rpc("scantxoutset", "start", [f"addr({ALICE.segwit_address})"]))["unspents"]
    assert (unspent["txid"], unspent["amount"]) == (tx_id, Decimal("49.99999"))
    await rpc("invalidateblock", mined)
    assert await rpc("getrawmempool") == [tx_id]
    gone = await rpc("getblock", mined)
    assert gone["confirmations"] == -1
    tips = {tip["hash"]: tip["status"] for tip in await rpc("getchaintips")}
    assert tips == {mined: "invalid", await rpc("getbestblockhash"): "active"}
    await rpc("reconsiderblock", mined)
    assert await rpc("getbestblockhash") == mined
    assert await rpc("getrawmempool") == []


async def test_what_a_sender_does_wrong(rpc: Rpc) -> None:
    cheap = write_transaction(payment(rpc.node, fee=10)).hex()
    assert (await rpc.error("sendrawtransaction", cheap))[0] == -26
    assert (await rpc("testmempoolaccept", [cheap]))[0]["reject-reason"] == "min relay fee not met"
    dear = write_transaction(payment(rpc.node, fee=10**8)).hex()
    code, message = await rpc.error("sendrawtransaction", dear)
    assert (code, message.split(" (")[0]) == (-25, "Fee exceeds maximum configured by user")
    assert (await rpc("testmempoolaccept", [dear]))[0]["reject-reason"] == "max-fee-exceeded"
    assert await rpc("getrawmempool") == []
    orphan = new_transaction((Input(b"\x01" * 32, 0, b"", 0),), (Output(Sats(1_000), ALICE.taproot_script),))
    assert await rpc.error("sendrawtransaction", write_transaction(orphan).hex()) == (
        -25, "bad-txns-inputs-missingorspent",
    )  # fmt: skip
    assert (await rpc("testmempoolaccept", [write_transaction(orphan).hex()]))[0]["reject-reason"] == "missing-inputs"
    for damaged in ("", "zz", cheap[:-2], cheap + "00"):
        assert (await rpc.error("sendrawtransaction", damaged))[0] == -22
    assert (await rpc.error("getrawtransaction", NOWHERE))[0] == -5
    assert (await rpc.error("getmempoolentry", NOWHERE))[0] == -5
    assert await rpc("sendrawtransaction", dear, 0) == payment(rpc.node, fee=10**8).id.hex()


async def test_a_package(rpc: Rpc) -> None:
    parent = payment(rpc.node, fee=0)
    output = parent.outputs[0]
    with rpc.node.mempool.trial():
        draft = new_transaction((Input(parent.id, 0, b"", 0),), (Output(Sats(output.amount - 900), output.script),))
    coin = rpc.node.chain.coins[OutPoint(parent.inputs[0].tx_id, 0)]
    child = sign(draft, [coin._replace(amount=output.amount, script=output.script)], keys_by_script([ALICE]))
    package = [write_transaction(one).hex() for one in (parent, child)]
    assert (await rpc("submitpackage", [package[0]]))["package_msg"] == "transaction failed"
    taken = await rpc("submitpackage", package)
    assert taken["package_msg"] == "success"
    assert {one["txid"] for one in taken["tx-results"].values()} == {parent.id.hex(), child.id.hex()}
    assert (await rpc("getmempoolentry", child.id.hex()))["depends"] == [parent.id.hex()]
    assert (await rpc("estimatesmartfee", 6))["errors"] == ["Insufficient data or no feerate found"]
    await rpc("generatetoaddress", 1, MINER.address)
    assert (await rpc("estimatesmartfee", 6))["feerate"] >= Decimal("0.00001")


async def test_blocks_by_hand_and_forks(rpc: Rpc) -> None:
    paid = payment(rpc.node)
    tip = await rpc("getbestblockhash")
    made = await rpc("generateblock", MINER.address, [write_transaction(paid).hex()])
    assert (await rpc("getblock", made["hash"]))["tx"][1] == paid.id.hex()
    beside = await rpc("mineonblock", tip, f"raw({MINER.segwit_script.hex()})")
    assert await rpc("getbestblockhash") == made["hash"]
    tips = {one["hash"]: one["status"] for one in await rpc("getchaintips")}
    assert tips == {made["hash"]: "active", beside["hash"]: "valid-fork"}
    code, message = await rpc.error("generateblock", MINER.address, [write_transaction(paid).hex()])
    assert code == -25
    assert "TestBlockValidity failed" in message
    switched = await rpc("fork", 3, MINER.address, 5)
    assert switched["disconnected"][0] == made["hash"]
    assert len(switched["connected"]) == 5
    assert switched["connected"][-1] == await rpc("getbestblockhash")
    assert (await rpc.error("fork", 500, MINER.address))[0] == -8
    raw = bytes.fromhex(await rpc("getblock", tip, 0))
    assert await rpc("submitblock", raw.hex()) == "duplicate"
    assert (await rpc.error("submitblock", "00"))[0] == -22


async def test_waiting_for_a_block(rpc: Rpc) -> None:
    tip = await rpc("getbestblockhash")
    assert (await rpc("waitfornewblock", 1))["hash"] == tip
    waiting = asyncio.create_task(rpc("waitfornewblock"))
    await rpc("getblockcount")
    (mined,) = await rpc("generatetoaddress", 1, MINER.address)
    if not waiting.done():  # it may have asked only after the block was there
        await rpc("generatetoaddress", 1, MINER.address)
    assert (await waiting)["height"] in (102, 103)
    assert (await rpc("waitfornewblock", 0, tip))["hash"] != tip
    assert mined


async def test_who_waits_for_a_block_is_answered_when_the_node_ends(tmp_path: Path) -> None:
    node = RegtestNode()
    async with serving(node, socket.create_server(("127.0.0.1", 0)), tmp_path, clock=lambda: TIME) as access:
        client = Rpc(access, node)
        assert await client("getblockcount") == 0
        waiting = asyncio.create_task(client("waitfornewblock"))
        await client("getblockcount")
    assert (await waiting)["height"] == 0
    assert not access.cookie_file.exists()
    await client.http.aclose()
    node.close()


async def test_who_may_ask(rpc: Rpc) -> None:
    user, password = rpc.access.cookie_file.read_text().split(":")
    assert rpc.access.cookie_file.stat().st_mode & 0o777 == 0o600
    for auth, status in (((user, password), 200), ((user, "wrong"), 401), (None, 401)):
        async with httpx.AsyncClient(auth=auth) as http:
            answer = await http.post(rpc.access.url, content=b'{"method": "getblockcount", "id": 0}')
            assert answer.status_code == status


async def test_json_rpc_in_both_versions_and_in_batches(rpc: Rpc) -> None:
    assert (await rpc.post({"jsonrpc": "2.0", "method": "getblockcount", "id": 5})).json() == {
        "jsonrpc": "2.0", "result": 101, "id": 5,
    }  # fmt: skip
    wrong = await rpc.post({"jsonrpc": "2.0", "method": "nothing", "id": "a"})
    assert (wrong.status_code, wrong.json()["error"]) == (200, {"code": -32601, "message": "Method not found"})
    assert (await rpc.post({"jsonrpc": "2.0", "method": "getblockcount"})).status_code == 204
    batch = await rpc.post([{"method": "getblockcount", "id": 1}, {"method": "nothing", "id": 2}, 3])
    assert batch.status_code == 200
    assert [one["error"] and one["error"]["code"] for one in batch.json()] == [None, -32601, -32600]
    assert await rpc.error("nothing") == (-32601, "Method not found")
    assert (await rpc.error("getblockhash"))[0] == -1
    assert (await rpc.http.post("/", content=b"{")).json()["error"]["code"] == -32700
    tip = await rpc("getbestblockhash")
    wrong_kinds: list[tuple[str, list[Any]]] = [
        ("getblock", [tip, [1]]),
        ("getblock", [tip, "all"]),
        ("sendrawtransaction", [write_transaction(payment(rpc.node)).hex(), "much"]),
        ("gettxspendingprevout", [["x"]]),
        ("generatetoaddress", [1, 5]),
        ("generatetoaddress", ["1", MINER.address]),
    ]
    for method, parameters in wrong_kinds:
        assert (await rpc.error(method, *parameters))[0] == -3
    assert await rpc("getblockcount") == 101
    for name in ("_announce", "names", "stop", "__init__"):
        assert (await rpc.error(name))[0] == -32601
