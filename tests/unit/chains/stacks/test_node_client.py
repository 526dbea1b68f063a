from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import stamina
from support import toy

from clarion.chains.stacks.node_client import (
    FeeEstimate,
    NodeAnswerError,
    NodeClient,
    NodeError,
    SimulationRefusedError,
    TransactionRejectedError,
)
from clarion.chains.stacks.node_payloads import PayloadError

BLOCK = toy.block(None)
assert BLOCK.burn is not None
CONSENSUS_HASH = toy.consensus_hash(BLOCK.burn).hex()
REPLAYED: dict[str, Any] = {
    "block_id": BLOCK.hash.hex(),
    "block_hash": str(BLOCK.extra["block_hash"]).removeprefix("0x"),
    "block_height": 1,
    "parent_block_id": BLOCK.ref.parent_hash.hex(),
    "consensus_hash": CONSENSUS_HASH,
    "timestamp": BLOCK.time,
    "transactions": [],
}
SORTITION = [{"burn_block_hash": "0x" + "33" * 32, "burn_block_height": 5, "burn_header_timestamp": 6}]

Answer = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(autouse=True)
def without_pauses() -> Iterator[None]:
    with stamina.set_testing(True, attempts=3):
        yield


def client(answer: Answer, **options: Any) -> NodeClient:
    return NodeClient("http://node:20443/", transport=httpx.MockTransport(answer), **options)


def answering(**routes: Any) -> Answer:
    """Answers paths that end in a name with JSON, and all others with 404."""

    def answer(request: httpx.Request) -> httpx.Response:
        for name, found in routes.items():
            if request.url.path.startswith(f"/v3/{name.replace('_', '/')}"):
                return httpx.Response(200, json=found)
        return httpx.Response(404, text="not found")

    return answer


async def test_a_block_comes_with_the_bitcoin_block_of_its_consensus_hash() -> None:
    asked: list[str] = []
    give = answering(blocks_replay=REPLAYED, sortitions_consensus=SORTITION)

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.url.path} {request.headers.get('authorization')}")
        return give(request)

    async with client(answer, auth_token="secret") as node:
        block = await node.block(BLOCK.hash)
    assert block is not None
    assert block.ref == BLOCK.ref
    assert block.burn is not None
    assert (block.burn.height, block.burn.hash, block.burn.time) == (5, bytes.fromhex("33" * 32), 6)
    assert asked == [
        f"/v3/blocks/replay/{BLOCK.hash.hex()} secret",
        f"/v3/sortitions/consensus/{CONSENSUS_HASH} None",
    ]


async def test_what_a_node_does_not_have_is_none() -> None:
    async with client(answering()) as node:
        assert await node.block(BLOCK.hash) is None
        assert await node.sortition(CONSENSUS_HASH) is None
    async with client(answering(blocks_replay=REPLAYED)) as node:
        block = await node.block(BLOCK.hash)
    assert block is not None
    assert block.burn is None


async def test_another_block_than_was_asked_for_is_refused() -> None:
    async with client(answering(blocks_replay=REPLAYED)) as node:
        with pytest.raises(NodeError, match=r"was asked for block 0x77.* and gave stacks block 1"):
            await node.block(b"\x77" * 32)


@pytest.mark.parametrize(
    ("status", "complaint"),
    [
        (401, "set CLARION_NODE__AUTH_TOKEN to the node's auth_token"),
        (400, "answered 400: why"),
        (500, "answered 500: why"),
    ],
)
async def test_what_the_node_refuses_is_said_and_not_tried_again(status: int, complaint: str) -> None:
    asked = 0

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        return httpx.Response(status, text="why")

    async with client(answer) as node:
        with pytest.raises(NodeError, match=complaint):
            await node.block(BLOCK.hash)
    assert asked == 1


async def test_an_answer_that_is_no_block_is_refused() -> None:
    async with client(answering(blocks_replay=REPLAYED | {"block_height": None})) as node:
        with pytest.raises(PayloadError, match="block_height"):
            await node.block(BLOCK.hash)


async def test_passing_faults_are_tried_again_and_then_said() -> None:
    asked = 0

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        if asked < 3:
            raise httpx.ConnectError("refused")
        return answering(blocks_replay=REPLAYED)(request)

    async with client(answer) as node:
        assert await node.block(BLOCK.hash) is not None

    def never(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    async with client(never) as node:
        with pytest.raises(NodeError, match=r"/\w+ cannot be reached: .*refused.*is the node running\?"):
            await node.block(BLOCK.hash)


async def test_where_the_node_stands_and_what_an_account_holds() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v2/info":
            info = {
                "stacks_tip_height": 7,
                "stacks_tip": "0x" + "44" * 32,
                "stacks_tip_consensus_hash": CONSENSUS_HASH,
                "burn_block_height": 9,
                "network_id": 0x80000000,
            }
            return httpx.Response(200, json=info)
        assert request.url.path == f"/v2/accounts/{toy.DEPLOYER}"
        assert request.url.query == b"proof=0"
        return httpx.Response(200, json={"balance": "0x" + f"{2**100:032x}", "locked": "0x0a", "nonce": 3})

    async with client(answer) as node:
        info = await node.info()
        account = await node.account(toy.DEPLOYER)
    assert (info.stacks_tip_height, info.stacks_tip, info.burn_block_height) == (7, b"\x44" * 32, 9)
    assert (info.stacks_tip_consensus_hash, info.chain_id) == (bytes.fromhex(CONSENSUS_HASH), 0x80000000)
    assert (account.balance, account.locked, account.nonce) == (2**100, 10, 3)


async def test_sending_gives_the_id_or_the_nodes_reason() -> None:
    def accept(request: httpx.Request) -> httpx.Response:
        assert request.headers["content-type"] == "application/octet-stream"
        assert request.content == b"raw"
        return httpx.Response(200, json="55" * 32)

    async with client(accept) as node:
        assert await node.send(b"raw") == b"\x55" * 32

    body = {
        "error": "transaction rejected",
        "reason": "BadNonce",
        "reason_data": {"expected": 5, "actual": 3, "is_origin": True},
        "txid": "66" * 32,
    }
    async with client(lambda request: httpx.Response(400, json=body)) as node:
        with pytest.raises(TransactionRejectedError, match="BadNonce") as raised:
            await node.send(b"raw")
    assert (raised.value.reason, raised.value.data["expected"], raised.value.tx_id) == ("BadNonce", 5, "66" * 32)

    async with client(lambda request: httpx.Response(400, text="Failed to deserialize")) as node:
        with pytest.raises(TransactionRejectedError, match="Failed to deserialize"):
            await node.send(b"raw")


async def test_a_read_only_call() -> None:
    contract = f"{toy.DEPLOYER}.bank"

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.path == f"/v2/contracts/call-read/{toy.DEPLOYER}/bank/get-balance"
        if b"0xff" in request.content:
            return httpx.Response(200, json={"okay": False, "cause": "NoSuchPublicFunction"})
        return httpx.Response(200, json={"okay": True, "result": "0x03"})

    async with client(answer) as node:
        assert await node.call_read_only(contract, "get-balance", [b"\x03"], sender=toy.DEPLOYER) == b"\x03"
        with pytest.raises(NodeError, match="get-balance failed: NoSuchPublicFunction"):
            await node.call_read_only(contract, "get-balance", [b"\xff"], sender=toy.DEPLOYER)


async def test_what_a_transaction_would_pay() -> None:
    asked: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(json.loads(request.content))
        return httpx.Response(200, json={"estimations": [{"fee": 1}, {"fee": 20}, {"fee": 300}]})

    async with client(answer) as node:
        assert await node.estimate_fees(b"\xab", 180) == FeeEstimate(1, 20, 300)
    assert asked == [{"transaction_payload": "ab", "estimated_len": 180}]


async def test_a_node_that_cannot_estimate_says_so() -> None:
    async with client(lambda _: httpx.Response(400, text='{"reason": "NoEstimateAvailable"}')) as node:
        with pytest.raises(NodeError, match="NoEstimateAvailable"):
            await node.estimate_fees(b"", 180)


def simulating(body: Any, status: int = 200) -> Answer:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/v3/transactions/simulate"
        assert json.loads(request.content) == {"transaction_hex": "80ff"}
        if request.headers.get("authorization") != "token":
            return httpx.Response(401, text="Unauthorized")
        return httpx.Response(status, **({"text": body} if isinstance(body, str) else {"json": body}))

    return answer


SIMULATED: dict[str, Any] = {
    "result_hex": "0x0703",
    "post_condition_aborted": False,
    "vm_error": None,
    "block_height": 12,
}


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, "success"),
        ({"result_hex": "0x0803"}, "abort_by_response"),
        ({"result_hex": "0x0809", "vm_error": "DivisionByZero"}, "abort_by_response"),
        ({"post_condition_aborted": True}, "abort_by_post_condition"),
    ],
)
async def test_a_simulation_ends_as_the_block_would_record_it(changes: dict[str, Any], status: str) -> None:
    async with client(simulating(SIMULATED | changes), auth_token="token") as node:
        simulated = await node.simulate(b"\x80\xff")
    assert (simulated.status, simulated.height) == (status, 12)
    assert simulated.error == changes.get("vm_error")


async def test_what_no_block_could_hold_is_refused_in_the_node_s_words() -> None:
    said = "Failed to simulate transaction: Error processing transaction: Cost overflow\n"
    async with client(simulating(said, 400), auth_token="token") as node:
        with pytest.raises(SimulationRefusedError, match="Cost overflow"):
            await node.simulate(b"\x80\xff")


async def test_a_node_that_does_not_simulate_says_so() -> None:
    async with client(simulating(SIMULATED)) as node:
        with pytest.raises(NodeAnswerError, match="CLARION_NODE__AUTH_TOKEN"):
            await node.simulate(b"\x80\xff")
    async with client(simulating({"surprise": 1}), auth_token="token") as node:
        with pytest.raises(NodeError, match="no simulation"):
            await node.simulate(b"\x80\xff")


async def test_a_transaction_is_in_the_mempool_or_not() -> None:
    waiting = bytes(31) + b"\x01"

    def answer(request: httpx.Request) -> httpx.Response:
        found = request.url.path == f"/v2/transactions/unconfirmed/{waiting.hex()}"
        return httpx.Response(200, json={"tx": "", "status": "Mempool"}) if found else httpx.Response(404)

    async with client(answer) as node:
        assert await node.has_transaction(waiting)
        assert not await node.has_transaction(bytes(32))


async def test_a_node_that_fails_by_itself_has_refused_nothing() -> None:
    async with client(lambda _: httpx.Response(503, text="busy")) as node:
        with pytest.raises(NodeError, match="503") as raised:
            await node.send(b"\x00")
    assert not isinstance(raised.value, NodeAnswerError)
