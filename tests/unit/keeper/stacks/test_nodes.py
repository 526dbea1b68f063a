"""Several nodes as one: a node that fails is left alone, one that refuses is not."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from support import signing
from support.stacks_node import FakeNode

from clarion.chains.stacks.clarity import Ok, UInt
from clarion.chains.stacks.node_client import FeeEstimate, NodeClient, NodeError, SimulationRefusedError
from clarion.config import BreakerPreset
from clarion_keeper.breakers import PRESETS
from clarion_keeper.stacks.nodes import Nodes

RAW = signing.unsigned().encode()
ADDRESS = "ST1PQHQKV0RJXZFY1DGX8MNSNYVE3VGZJSRTPGZGM"


@pytest.mark.parametrize("preset", list(BreakerPreset))
async def test_a_node_that_keeps_failing_is_left_alone(preset: BreakerPreset) -> None:
    node, other = FakeNode(down=True), FakeNode(url="http://other:20443")
    both = Nodes([node.client(), other.client()], preset)
    for _ in range(PRESETS[preset].failures + 3):
        assert (await both.account(ADDRESS)).nonce == 3
    assert len(node.asked) == PRESETS[preset].failures
    assert both.breaker_states == {"http://node:20443": "opened", "http://other:20443": "closed"}


async def test_refusals_open_no_breaker() -> None:
    node = FakeNode(estimate=None, refusal={"reason": "FeeTooLow"})
    one = Nodes([node.client()], BreakerPreset.STRICT)
    for _ in range(10):
        assert await one.estimate_fees(b"", 300) is None
        with pytest.raises(NodeError, match="Bad Request"):
            await one.simulate(RAW)
        assert not await one.is_waiting(bytes(32))
    assert one.breaker_states == {"http://node:20443": "closed"}


async def test_answers_of_another_form_count_as_failures() -> None:
    garbage = NodeClient(
        "http://bad", attempts=1, transport=httpx.MockTransport(lambda _: httpx.Response(200, json=[]))
    )
    one = Nodes([garbage], BreakerPreset.STRICT)
    for _ in range(3):
        assert await one.estimate_fees(b"", 300) is None
    with pytest.raises(NodeError, match="failed too often"):
        await one.account(ADDRESS)


async def test_the_node_that_is_furthest_is_believed() -> None:
    behind, ahead = FakeNode(height=8, nonce=2), FakeNode(url="http://ahead", height=11, nonce=5)
    both = Nodes([behind.client(), ahead.client()])
    assert (await both.account(ADDRESS)).nonce == 5
    assert await both.tip_height() == 11


async def test_an_estimate_comes_from_the_first_node_that_has_one() -> None:
    both = Nodes([FakeNode(estimate=None).client(), FakeNode(url="http://other").client()])
    assert await both.estimate_fees(b"\x02", 300) == FeeEstimate(300, 1000, 5000)


async def test_what_any_node_holds_is_waiting() -> None:
    has, has_not = FakeNode(mempool={bytes(32)}), FakeNode(url="http://other")
    assert await Nodes([has_not.client(), has.client()]).is_waiting(bytes(32))
    has.down = has_not.down = True
    with pytest.raises(NodeError, match=r"cannot be reached.*; .*cannot be reached"):
        await Nodes([has_not.client(), has.client()]).is_waiting(bytes(32))


async def test_only_the_one_that_simulates_is_believed() -> None:
    mute, knowing = FakeNode(), FakeNode(url="http://knows", simulates=lambda _: Ok(UInt(1)))
    simulated = await Nodes([mute.client(), knowing.client(auth_token="token")]).simulate(RAW)
    assert (simulated.status, simulated.result, simulated.height) == ("success", Ok(UInt(1)), 11)
    knowing.simulates = lambda _: "Error processing transaction: BadNonce"
    with pytest.raises(SimulationRefusedError, match="BadNonce"):
        await Nodes([mute.client(), knowing.client()]).simulate(RAW)


async def test_a_node_that_stalls_holds_nobody_up_and_is_left_alone_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("clarion_keeper.stacks.nodes.GRACE_SECONDS", 0)
    stalled = asyncio.Event()

    async def stall(request: httpx.Request) -> httpx.Response:
        await stalled.wait()
        raise httpx.ReadTimeout("no answer", request=request)

    slow = NodeClient("http://slow", attempts=1, transport=httpx.MockTransport(stall))
    both = Nodes([slow, FakeNode().client()], BreakerPreset.STRICT)
    for _ in range(3):
        assert (await both.account(ADDRESS)).nonce == 3
    assert both.breaker_states["http://slow"] == "closed", "nobody knows yet how it ends"
    stalled.set()
    this = asyncio.current_task()
    await asyncio.wait([task for task in asyncio.all_tasks() if task is not this])
    assert both.breaker_states["http://slow"] == "opened"
    assert (await both.account(ADDRESS)).nonce == 3
    await both.aclose()


async def test_closing_gives_up_on_nodes_that_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clarion_keeper.stacks.nodes.GRACE_SECONDS", 0)
    given_up = []

    async def stall(request: httpx.Request) -> httpx.Response:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            given_up.append(request.url.path)
            raise
        raise AssertionError("it waits for ever")

    slow = NodeClient("http://slow", attempts=1, transport=httpx.MockTransport(stall))
    both = Nodes([slow, FakeNode().client()])
    assert await both.tip_height() == 10
    await both.aclose()
    assert given_up == ["/v2/info"]


def test_there_has_to_be_a_node() -> None:
    with pytest.raises(ValueError, match="at least one node"):
        Nodes([])
