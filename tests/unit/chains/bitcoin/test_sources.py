"""The sources of Bitcoin's blocks against what a node and an API answer, and how they say what is wrong."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import stamina
from support.bitcoin_chain import Made, random_chain
from support.bitcoin_node import Node

from clarion.chains.bitcoin.esplora import Esplora
from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.bitcoin.rpc import BitcoinRpc, RpcError
from clarion.chains.bitcoin.source import BitcoinSourceError, BlockGoneError, SourceTip

REGTEST = BitcoinNetwork.REGTEST
CHAIN = random_chain(5, seed=1)


@pytest.fixture(autouse=True)
def _no_pauses() -> Iterator[None]:
    with stamina.set_testing(True, attempts=3):
        yield


def rpc(node: Callable[[httpx.Request], httpx.Response], **options: Any) -> BitcoinRpc:
    return BitcoinRpc(
        "http://127.0.0.1:1", network=REGTEST, transport=httpx.MockTransport(node), poll_seconds=0.01, **options
    )


async def test_a_nodes_chain_is_read() -> None:
    async with rpc(Node(CHAIN)) as source:
        await source.check()
        assert await source.tip() == SourceTip(4, CHAIN[4].hash)
        assert await source.hashes([3, 1, 2]) == [CHAIN[3].hash, CHAIN[1].hash, CHAIN[2].hash]
        assert await source.hashes([]) == []
        assert await source.block(CHAIN[2].hash) == CHAIN[2].data
        await source.wait(await source.tip())


async def test_what_a_node_does_not_have_is_gone() -> None:
    async with rpc(Node(CHAIN)) as source:
        with pytest.raises(BlockGoneError, match="getblockhash 9: Block height out of range"):
            await source.hashes([1, 9])
        with pytest.raises(BlockGoneError, match="Block not found"):
            await source.block(bytes(32))


async def test_a_node_of_another_network_is_refused() -> None:
    node = Node(CHAIN)
    node.network = "main"
    async with rpc(node) as source:
        with pytest.raises(BitcoinSourceError, match="network main, not of regtest"):
            await source.check()


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.Response(503, text="Work queue depth exceeded"),
        httpx.Response(500, json={"id": 1, "result": None, "error": {"code": -28, "message": "Loading block index…"}}),
    ],
)
async def test_what_passes_is_tried_again(failure: httpx.Response | Exception) -> None:
    node = Node(CHAIN)
    node.fail = [failure, failure]
    async with rpc(node) as source:
        assert (await source.tip()).height == 4
        node.fail = [failure] * 9
        with pytest.raises(BitcoinSourceError, match=r"http://127.0.0.1:1 does not answer: .+; does it run\?"):
            await source.tip()


async def test_a_cookie_is_read_anew_for_each_call(tmp_path: Path) -> None:
    node, cookie = Node(CHAIN), tmp_path / ".cookie"
    cookie.write_text("__cookie__:one\n")
    async with rpc(node, cookie_file=cookie) as source:
        await source.tip()
        cookie.write_text("__cookie__:two")
        await source.tip()
        assert node.authorizations == [
            f"Basic {base64.b64encode(f'__cookie__:{password}'.encode()).decode()}" for password in ("one", "two")
        ]
        cookie.write_text("nonsense")
        with pytest.raises(BitcoinSourceError, match="no cookie file"):
            await source.tip()
        cookie.unlink()
        with pytest.raises(BitcoinSourceError, match="is not there"):
            await source.tip()


async def test_user_and_password_and_their_refusal() -> None:
    node = Node(CHAIN)
    async with rpc(node, user="me", password="secret") as source:
        await source.tip()
        assert node.authorizations == [f"Basic {base64.b64encode(b'me:secret').decode()}"]
        node.fail = [httpx.Response(401)]
        with pytest.raises(BitcoinSourceError, match="CLARION_BITCOIN__RPC_USER"):
            await source.tip()


async def test_a_pruned_block_is_said_to_be_pruned() -> None:
    node = Node(CHAIN)
    error = {"code": -1, "message": "Block not available (pruned data)"}
    async with rpc(node) as source:
        node.fail = [httpx.Response(500, json={"id": 1, "result": None, "error": error})]
        with pytest.raises(BitcoinSourceError, match="START_HEIGHT"):
            await source.block(CHAIN[1].hash)


async def test_what_is_no_node_is_said() -> None:
    async with rpc(lambda _: httpx.Response(200, text="<html>")) as source:
        with pytest.raises(BitcoinSourceError, match="no Bitcoin node"):
            await source.tip()


async def test_a_node_that_cannot_wait_is_polled() -> None:
    node = Node(CHAIN, waits=False)
    async with rpc(node) as source:
        tip = await source.tip()
        await source.wait(tip)
        asked = len(node.authorizations)
        await source.wait(tip)
        assert len(node.authorizations) == asked
        with pytest.raises(RpcError, match="Method not found"):
            await source.call("waitfornewblock", 1)


def api(chain: list[Made], *, first: list[httpx.Response | Exception] | None = None) -> httpx.MockTransport:
    """An Esplora API over a chain; ``first`` is what it answers first."""

    def answer(request: httpx.Request) -> httpx.Response:
        if first:
            failing = first.pop(0)
            if isinstance(failing, Exception):
                raise failing
            return failing
        match request.url.path.removeprefix("/api").strip("/").split("/"):
            case ["blocks", "tip", "height"]:
                return httpx.Response(200, text=str(chain[-1].height))
            case ["block-height", height] if int(height) < len(chain):
                return httpx.Response(200, text=chain[int(height)].hash.hex())
            case ["block", block_hash, "raw"]:
                for made in chain:
                    if made.hash.hex() == block_hash:
                        return httpx.Response(200, content=made.data)
        return httpx.Response(404, text="Block not found")

    return httpx.MockTransport(answer)


def esplora(transport: httpx.MockTransport) -> Esplora:
    return Esplora("http://127.0.0.1:1/api/", network=REGTEST, transport=transport, poll_seconds=0.01)


async def test_an_apis_chain_is_read() -> None:
    async with esplora(api(CHAIN)) as source:
        assert await source.tip() == SourceTip(4, CHAIN[4].hash)
        assert await source.hashes(range(1, 4)) == [made.hash for made in CHAIN[1:4]]
        assert await source.block(CHAIN[2].hash) == CHAIN[2].data
        await source.wait(await source.tip())
        with pytest.raises(BlockGoneError, match="Block not found"):
            await source.hashes([7])
        with pytest.raises(BlockGoneError):
            await source.block(bytes(32))
        with pytest.raises(BitcoinSourceError, match="another network than regtest"):
            await source.check()


async def test_an_api_that_leaves_a_transaction_out_is_not_believed() -> None:
    made = next(made for made in CHAIN if len(made.data) > 300)
    other = CHAIN[0] if made is not CHAIN[0] else CHAIN[1]
    forged = Made(made.height, made.data[:80] + other.data[80:], made.hash, ())
    async with esplora(api([forged])) as source:
        with pytest.raises(BitcoinSourceError, match="not those of its header"):
            await source.block(made.hash)


@pytest.mark.parametrize("failure", [httpx.ConnectError("refused"), httpx.Response(429), httpx.Response(502)])
async def test_an_api_that_is_busy_is_asked_again(failure: httpx.Response | Exception) -> None:
    async with esplora(api(CHAIN, first=[failure, failure])) as source:
        assert (await source.tip()).height == 4
    async with esplora(api(CHAIN, first=[failure] * 9)) as source:
        with pytest.raises(BitcoinSourceError, match="does not answer"):
            await source.tip()
    async with esplora(api(CHAIN, first=[httpx.Response(400, text="no")])) as source:
        with pytest.raises(BitcoinSourceError, match="HTTP 400: no"):
            await source.tip()
