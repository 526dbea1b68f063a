"""What nodes say to a transaction, and what several of them say together."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from support.submission import CHANGE, NETWORK, World

from clarion.chains.bitcoin.coins import Coin, OutPoint
from clarion.chains.bitcoin.rpc import BitcoinRpc, RpcError
from clarion.chains.bitcoin.transactions import BitcoinTransaction, Input, Output, new_transaction
from clarion.chains.bitcoin.units import Sats
from clarion.config import BreakerPreset
from clarion.dev.bitcoin.mempool import Policy
from clarion.dev.bitcoin.signing import keys_by_script, sign
from clarion.dev.bitcoin.zkusd_apps import ORACLE
from clarion_keeper.charms import nodes as nodes_module
from clarion_keeper.charms.broadcast import broadcast, broadcast_package, meaning
from clarion_keeper.charms.nodes import BitcoinNodes, NodesUnavailableError
from clarion_keeper.executor import Taken

DOWN = httpx.MockTransport(lambda request: httpx.Response(503))


def node(name: str, answer: Callable[[str, list[Any]], Any] | httpx.MockTransport) -> BitcoinRpc:
    """A node that answers with results, or with an error where the answer is a pair of code and word."""

    def respond(request: httpx.Request) -> httpx.Response:
        assert not isinstance(answer, httpx.MockTransport)
        call = json.loads(request.content)
        result = answer(call["method"], call["params"])
        error = None
        if isinstance(result, tuple):
            code, word = result
            result, error = None, {"code": code, "message": word}
        return httpx.Response(200, json={"id": call["id"], "result": result, "error": error})

    transport = answer if isinstance(answer, httpx.MockTransport) else httpx.MockTransport(respond)
    return BitcoinRpc("http://node", network=NETWORK, transport=transport, name=name)


def refusing(name: str, word: str) -> BitcoinRpc:
    return node(name, lambda method, _: [{"allowed": False, "reject-reason": word}])


TRANSACTION = new_transaction((Input(b"\x01" * 32, 0, b"", 0xFFFFFFFD),), (Output(Sats(5_000), CHANGE),))


async def said(*nodes: BitcoinRpc) -> tuple[Taken, str, tuple[str, ...]]:
    answer = await broadcast(BitcoinNodes(nodes), TRANSACTION)
    return answer.taken, answer.reason, answer.nodes


async def test_one_node_that_takes_it_is_enough() -> None:
    takes = node("b", lambda method, _: [{"allowed": True}] if method == "testmempoolaccept" else "aa")
    refuses = refusing("a", "datacarrier")
    down = node("c", DOWN)
    assert await said(refuses, takes, down) == (Taken.SENT, "", ("b",))


async def test_what_is_there_already_is_sent() -> None:
    assert await said(refusing("a", "txn-already-in-mempool")) == (Taken.SENT, "", ("a",))
    known = node(
        "a",
        lambda method, _: (
            [{"allowed": True}] if method == "testmempoolaccept" else (-27, "Transaction outputs already in utxo set")
        ),
    )
    assert await said(known) == (Taken.SENT, "", ("a",))


async def test_the_word_that_counts_is_not_that_of_a_node_that_is_behind() -> None:
    spent, poor = refusing("a", "missing-inputs"), refusing("b", "min relay fee not met")
    late, never = refusing("c", "too-long-mempool-chain"), refusing("d", "datacarrier")
    assert await said(never, late, poor, spent) == (Taken.SPENT, "missing-inputs", ())
    assert await said(never, late, poor) == (Taken.REPLACE, "min relay fee not met", ())
    assert await said(never, late) == (Taken.LATER, "too-long-mempool-chain", ())
    assert await said(never) == (Taken.STOP, "datacarrier", ())


async def test_it_waits_where_nobody_answers() -> None:
    taken, reason, nodes = await said(node("a", DOWN), node("b", DOWN))
    assert (taken, nodes) == (Taken.LATER, ())
    assert "does not answer" in reason


def test_details_after_a_word() -> None:
    assert meaning("insufficient fee, rejecting replacement ab, less fees than conflicting txs") is Taken.REPLACE
    assert meaning("min relay fee not met, 10 < 123") is Taken.REPLACE
    assert meaning("mempool-script-verify-flag-failed (Invalid Schnorr signature), input 0") is Taken.STOP


async def test_a_node_that_keeps_failing_is_left_alone() -> None:
    asked: list[str] = []

    def fail(request: httpx.Request) -> httpx.Response:
        asked.append(json.loads(request.content)["method"])
        return httpx.Response(503)

    good = node("good", lambda method, _: 7)
    nodes = BitcoinNodes([node("bad", httpx.MockTransport(fail)), good], BreakerPreset.STRICT)
    for _ in range(10):
        assert await nodes.call("getblockcount") == 7
    assert len(asked) == 3 * 3  # each call is tried three times, after three calls it is left alone
    assert nodes.breaker_states == {"bad": "opened", "good": "closed"}


class Stalling(httpx.AsyncBaseTransport):
    """A node that takes requests and does not answer."""

    def __init__(self) -> None:
        self.cancelled = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled += 1
        raise AssertionError("nobody sets the event")


async def test_a_node_that_stalls_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes_module, "PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr(nodes_module, "GRACE_SECONDS", 0.01)
    stalling = Stalling()
    stalls = BitcoinRpc("http://node", network=NETWORK, transport=stalling, name="stalls")
    takes = node("takes", lambda method, _: [{"allowed": True}] if method == "testmempoolaccept" else 7)
    nodes = BitcoinNodes([stalls, takes])
    assert await nodes.call("getblockcount") == 7
    answer = await broadcast(nodes, TRANSACTION)
    assert (answer.taken, answer.nodes) == (Taken.SENT, ("takes",))
    await nodes.aclose()
    assert stalling.cancelled == 2


async def test_what_makes_no_sense_is_no_answer() -> None:
    garbled = node("garbled", lambda method, _: [{"txid": "ab"}])
    taken, reason, _ = await said(garbled)
    assert taken is Taken.LATER
    assert "garbled answers what makes no sense: KeyError('allowed')" in reason
    assert await said(garbled, refusing("b", "missing-inputs")) == (Taken.SPENT, "missing-inputs", ())


async def test_a_refusal_is_the_answer_of_the_first_node() -> None:
    refuses = node("a", lambda method, _: (-8, "Block height out of range"))
    with pytest.raises(RpcError, match="Block height out of range"):
        await BitcoinNodes([refuses, node("b", lambda method, _: 7)]).call("getblockhash", 9)


async def test_no_node_at_all() -> None:
    with pytest.raises(ValueError, match="at least one"):
        BitcoinNodes([])
    with pytest.raises(NodesUnavailableError, match="does not answer"):
        await BitcoinNodes([node("a", DOWN)]).rates(2)


async def test_rates_are_whole_and_never_too_low(regtest: World) -> None:
    rates = await regtest.nodes.rates(2)
    assert (rates.estimate, rates.least, rates.incremental) == (2_000, 1_000, 1_000)
    answers = {
        "getmempoolinfo": {"mempoolminfee": 0.00001001, "minrelaytxfee": 0.000001, "incrementalrelayfee": 1e-6},
        "estimatesmartfee": {"errors": ["Insufficient data or no feerate found"], "blocks": 2},
    }
    poor = await BitcoinNodes([node("a", lambda method, _: answers[method])]).rates(2)
    assert (poor.estimate, poor.least, poor.incremental) == (None, 1_001, 100)


async def pay(regtest: World, output: Output, *, fee: int = 2_000) -> BitcoinTransaction:
    """A payment of the oracle's operator."""
    coin = next(iter((await regtest.coins.read()).coins.items()))
    return spend(coin[0], coin[1].amount, output, fee=fee)


def spend(outpoint: OutPoint, amount: int, output: Output, *, fee: int) -> BitcoinTransaction:
    change = Output(Sats(amount - output.amount - fee), CHANGE)
    unsigned = new_transaction((Input(*outpoint, b"", 0xFFFFFFFD),), (output, change))
    return sign(unsigned, [Coin(Sats(amount), CHANGE, 1, coinbase=False)], keys_by_script([ORACLE]))


async def test_a_package_pays_for_its_parent(regtest: World) -> None:
    """As spells until version 8 come: in two transactions, of which the first alone pays too little."""
    regtest.node.mempool.policy = Policy(min_relay=3_000)
    parent = await pay(regtest, Output(Sats(10_000), CHANGE), fee=200)
    child = spend(OutPoint(parent.id, 1), parent.outputs[1].amount, Output(Sats(9_000), CHANGE), fee=5_000)
    alone = await broadcast(regtest.nodes, parent)
    assert (alone.taken, alone.reason) == (Taken.REPLACE, "min relay fee not met")
    together = await broadcast_package(regtest.nodes, [parent, child])
    assert (together.taken, together.nodes) == (Taken.SENT, ("bitcoin-rpc",))
    again = await broadcast_package(regtest.nodes, [parent, child])
    assert again.taken is Taken.SENT
    poor = spend(OutPoint(child.id, 1), child.outputs[1].amount, Output(Sats(9_000), CHANGE), fee=10)
    refused = await broadcast_package(regtest.nodes, [child, poor])
    assert (refused.taken, refused.reason) == (Taken.REPLACE, "min relay fee not met")


async def test_what_is_contended(regtest: World) -> None:
    mine = await pay(regtest, Output(Sats(10_000), CHANGE))
    spent = OutPoint(mine.inputs[0].tx_id, mine.inputs[0].vout)
    free = next(one for one in (await regtest.coins.read()).coins if one != spent)
    assert (await broadcast(regtest.nodes, mine)).taken is Taken.SENT
    found = await regtest.nodes.contention([spent, free, OutPoint(b"\x05" * 32, 0)])
    assert dict(found.waiting) == {spent: mine.id}
    assert found.gone == (OutPoint(b"\x05" * 32, 0),)
    assert await regtest.nodes.replaced_fees(mine.id) == 2_000
    child = spend(OutPoint(mine.id, 1), mine.outputs[1].amount, Output(Sats(10_000), CHANGE), fee=3_000)
    await broadcast(regtest.nodes, child)
    assert await regtest.nodes.replaced_fees(mine.id) == 5_000
    regtest.mine()
    assert (await regtest.nodes.contention([spent])).gone == (spent,)
    assert await regtest.nodes.replaced_fees(mine.id) is None
