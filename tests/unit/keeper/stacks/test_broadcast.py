"""A transaction goes to all nodes at once, and their refusals mean one thing."""

from __future__ import annotations

from typing import Any

import pytest
from support import signing
from support.stacks_node import FakeNode

from clarion.chains.stacks.signing import sign
from clarion_keeper.executor import Taken
from clarion_keeper.stacks.broadcast import broadcast
from clarion_keeper.stacks.nodes import Nodes

RAW = sign(signing.unsigned(), signing.KEY).encode()


def nodes(*found: FakeNode) -> Nodes:
    for number, node in enumerate(found):
        node.url = f"http://node{number}:20443"
    return Nodes([node.client() for node in found])


async def test_every_node_gets_it_and_one_is_enough() -> None:
    up, down, full = FakeNode(), FakeNode(down=True), FakeNode(refusal={"reason": "TooMuchChaining"})
    answer = await broadcast(nodes(down, full, up), RAW)
    assert (answer.taken, answer.nodes) == (Taken.SENT, ("http://node2:20443",))
    assert [node.asked for node in (up, down, full)] == [["/v2/transactions"]] * 3


async def test_what_a_node_has_already_counts_as_sent() -> None:
    node = FakeNode()
    assert (await broadcast(nodes(node), RAW)).taken is Taken.SENT
    assert (await broadcast(nodes(node), RAW)).taken is Taken.SENT


@pytest.mark.parametrize(
    ("refusal", "taken"),
    [
        ({"reason": "TooMuchChaining", "reason_data": {"expected": 28, "actual": 29}}, Taken.LATER),
        ({"reason": "NotEnoughFunds", "reason_data": {"expected": "0x2", "actual": "0x1"}}, Taken.LATER),
        ({"reason": "ConflictingNonceInMempool"}, Taken.LATER),
        ({"reason": "ServerFailureDatabase"}, Taken.LATER),
        ({"reason": "BadNonce", "reason_data": {"expected": 4, "actual": 3}}, Taken.SPENT),
        ({"reason": "BadNonce", "reason_data": {"expected": 2, "actual": 3}}, Taken.LATER),
        ({"reason": "FeeTooLow", "reason_data": {"expected": 300, "actual": 180}}, Taken.REPLACE),
        ({"reason": "NoSuchContract"}, Taken.STOP),
        ({"reason": "NoSuchPublicFunction"}, Taken.STOP),
        ({"reason": "BadFunctionArgument"}, Taken.STOP),
        ({"reason": "SignatureValidation"}, Taken.STOP),
        ({"reason": "ReasonOfTomorrow"}, Taken.STOP),
    ],
)
async def test_a_refusal_says_what_to_do(refusal: dict[str, Any], taken: Taken) -> None:
    answer = await broadcast(nodes(FakeNode(refusal=refusal)), RAW)
    assert answer.taken is taken
    assert answer.nodes == ()
    assert refusal["reason"] in answer.reason


async def test_one_node_that_is_behind_does_not_speak_for_the_others() -> None:
    behind = FakeNode(refusal={"reason": "NoSuchContract"})
    full = FakeNode(refusal={"reason": "TooMuchChaining"})
    assert (await broadcast(nodes(behind, full), RAW)).taken is Taken.LATER
    ahead = FakeNode(refusal={"reason": "BadNonce", "reason_data": {"expected": 9, "actual": 3}})
    assert (await broadcast(nodes(behind, full, ahead), RAW)).taken is Taken.SPENT
    assert (await broadcast(nodes(behind), RAW)).taken is Taken.STOP


async def test_no_node_at_all_is_later_and_says_who_was_asked() -> None:
    answer = await broadcast(nodes(FakeNode(down=True), FakeNode(down=True)), RAW)
    assert answer.taken is Taken.LATER
    assert "node0" in answer.reason
    assert "node1" in answer.reason
