"""Rows against read-only calls: what differs is found, shown, held and looked at again."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, cast

import httpx
import pytest
from support.bithedge_keeper import COIN, PROVIDER, STX, TIER, row, rules, state
from support.bithedge_rows import DEPLOYER

from clarion.chains.stacks.clarity import Tuple, UInt, Value, encode
from clarion.chains.stacks.hashing import index_block_hash
from clarion.chains.stacks.node_client import NodeClient
from clarion.protocols.bithedge.tables import MarginCall, Policy, Position
from clarion_keeper.bithedge.reading import Index
from clarion_keeper.bithedge.reconciliation import MOST_CALLS, Drift, Reconcile, ReconciliationState, Subject, compare
from clarion_keeper.bithedge.reconciliation import subjects as all_subjects
from clarion_keeper.graph import Receipt

BURN = 100
POSITION = row(Position, provider=PROVIDER, tier=TIER, token=STX, available=3 * COIN, locked=COIN, liability_usd8=7)
ENTITY = f"position:{PROVIDER}:{TIER}:{STX}"
ON_CHAIN = {"available": 3 * COIN, "locked": COIN, "requested": 0, "liability-usd8": 7}


def subjects(*rows: Any) -> list[Subject]:
    return list(all_subjects(state(BURN, *rows).chain))


HEADER, CONSENSUS = bytes(31) + b"\x01", bytes(20)
TIP = f"0x{index_block_hash(HEADER, CONSENSUS).hex()}"


class FakeNode:
    """A node at a block, for which every position is the same."""

    def __init__(self) -> None:
        self.tips = [HEADER]
        self.position = ON_CHAIN
        self.calls = 0
        self.is_down = False

    def answer(self, request: httpx.Request) -> httpx.Response:
        if self.is_down:
            raise httpx.ConnectError("down")
        if request.url.path == "/v2/info":
            tip = self.tips.pop(0) if len(self.tips) > 1 else self.tips[0]
            about = {"stacks_tip_height": 1, "burn_block_height": 1, "network_id": 1}
            consensus = {"stacks_tip_consensus_hash": CONSENSUS.hex()}
            return httpx.Response(200, json={**about, **consensus, "stacks_tip": tip.hex()})
        self.calls += 1
        assert request.url.path.endswith("/bh-vault/get-position")
        found = Tuple({name: UInt(value) for name, value in self.position.items()})
        return httpx.Response(200, json={"okay": True, "result": f"0x{encode(found).hex()}"})


class FakeLook:
    """One position, at a height."""

    def __init__(self, height: int) -> None:
        self.receipt = Receipt(height, TIP, BURN, height)

    def state(self) -> Any:
        return state(BURN, POSITION)

    async def learn(self, *_: Any) -> None:
        pass


class FakeIndex:
    """An index whose tip a test moves."""

    deployer = DEPLOYER

    def __init__(self) -> None:
        self.height = 40

    async def look(self, _: Any) -> Any:
        return FakeLook(self.height)


def reconcile(node: FakeNode | None = None, index: FakeIndex | None = None) -> Any:
    transport = httpx.MockTransport((node or FakeNode()).answer)
    connect = functools.partial(NodeClient, "http://node.test", attempts=1, transport=transport)
    return Reconcile(cast("Index", index or FakeIndex()), connect)


async def found(job: Any) -> list[str]:
    return [intent.entity for intent in job.check(await job.read(None))]


async def test_a_row_that_differs_is_held_until_it_agrees_again() -> None:
    node, index = FakeNode(), FakeIndex()
    job = reconcile(node, index)
    node.position = ON_CHAIN | {"locked": 5}
    assert await found(job) == [ENTITY]
    index.height += 1
    assert await found(job) == [ENTITY]
    node.position = ON_CHAIN
    index.height += 1
    assert await found(job) == []


async def test_rows_are_compared_every_few_blocks_and_after_a_reorganisation() -> None:
    node, index = FakeNode(), FakeIndex()
    job = reconcile(node, index)
    for height, calls in ((40, 1), (41, 1), (49, 1), (50, 2), (51, 2), (48, 3)):
        index.height = height
        assert await found(job) == []
        assert node.calls == calls, height


@pytest.mark.parametrize("tips", [[bytes(32)], [HEADER, bytes(32)]], ids=["elsewhere", "moved on"])
async def test_answers_of_another_block_prove_nothing(tips: list[bytes]) -> None:
    node, index = FakeNode(), FakeIndex()
    node.tips, node.position = tips, ON_CHAIN | {"locked": 5}
    job = reconcile(node, index)
    assert await found(job) == []
    node.tips = [HEADER]
    assert await found(job) == [ENTITY]


async def test_what_was_found_stays_while_the_node_is_away() -> None:
    node = FakeNode()
    job = reconcile(node)
    node.position = ON_CHAIN | {"locked": 5}
    assert await found(job) == [ENTITY]
    node.is_down = True
    assert await found(job) == [ENTITY]


async def drifts(listed: Sequence[Subject], answer: Any) -> list[Drift]:
    async def ask(contract: str, function: str, arguments: Sequence[Value]) -> Any:
        return answer

    return await compare(listed, ask)


async def test_a_row_that_is_what_the_contract_says_is_no_drift() -> None:
    listed = subjects(POSITION)
    assert [subject.entity for subject in listed] == [ENTITY]
    assert await drifts(listed, ON_CHAIN | {"more": 1}) == []


@pytest.mark.parametrize("field", list(ON_CHAIN))
async def test_each_field_that_differs_is_named_with_both_values(field: str) -> None:
    (drift,) = await drifts(subjects(POSITION), ON_CHAIN | {field: 99})
    assert drift.fields == {field: (ON_CHAIN[field], 99)}
    assert f"{field} is {ON_CHAIN[field]} in the index, 99 on chain" in drift.in_words


async def test_a_row_of_something_that_is_not_there_is_drift() -> None:
    (drift,) = await drifts(subjects(POSITION), None)
    assert set(drift.fields) == set(ON_CHAIN)


def test_everything_that_jobs_act_on_is_compared() -> None:
    call = row(MarginCall, id=3, provider=PROVIDER, tier=TIER, token=STX, state="open", level="soft")
    listed = subjects(*rules(BURN), POSITION, call, row(Policy, id=5, state="active"))
    assert [(one.entity, one.function) for one in listed] == [
        ("asset:BTC", "get-asset"),
        ("asset:STX", "get-asset"),
        (ENTITY, "get-call"),
        (ENTITY, "get-position"),
        ("policy:5", "get-policy"),
    ]


def test_an_intent_holds_what_differs() -> None:
    (subject,) = subjects(POSITION)
    drift = Drift(subject, {"locked": (1, 2)})
    job = reconcile()
    (intent,) = job.check(ReconciliationState(Receipt(1, "0x01", 1, 1), {ENTITY: drift}))
    assert (intent.key, intent.entity) == (f"reconcile:{ENTITY}", ENTITY)
    assert (job.holds, job.chain) == (True, "none")
    assert job.check(ReconciliationState(Receipt(1, "0x01", 1, 1), {})) == []


def test_many_rows_take_turns_until_each_was_compared() -> None:
    job: Any = reconcile()
    listed = subjects(*rules(BURN), *(row(Policy, id=number, state="active") for number in range(350)))
    looked: set[str] = set()
    for _ in range(4):
        chosen = job._chosen(listed)
        assert len(chosen) <= MOST_CALLS
        assert {"asset:BTC", "asset:STX"} <= {subject.entity for subject in chosen}
        looked |= {subject.entity for subject in chosen}
        job._turn += 1
    assert len(looked) == 352


def test_what_differs_is_looked_at_in_every_turn() -> None:
    job: Any = reconcile()
    listed = subjects(*(row(Policy, id=number, state="active") for number in range(350)))
    job._drifts = {"policy:340": Drift(listed[340], {})}
    for _ in range(3):
        chosen = [subject.entity for subject in job._chosen(listed)]
        assert chosen.count("policy:340") == 1
        job._turn += 1
