from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from clarion.chains.model import Block, BlockRef, BurnBlock, EventKind
from clarion.chains.model import Event as ChainEvent
from clarion.chains.stacks.clarity import Buffer, UInt, Value, encode
from clarion.chains.stacks.clarity_forms import decode_python
from clarion.chains.stacks.hashing import sha512_256
from clarion.chains.stacks.node_client import NodeInfo
from clarion.dev.accounts import make_cast
from clarion.dev.calls import BitHedgeCalls, Call
from clarion.dev.printed import Printed
from clarion.dev.rewards import EPOCH_CAP_STX, PROGRAM, TERMS, Rewards, rewards_setup
from clarion.dev.world import World
from clarion.protocols.bithedge.events import EpochVoided, Event, PolicyCreated
from clarion.protocols.bithedge.incentives import epoch_of, epoch_points, rewards
from clarion.protocols.bithedge.merkle import RewardTree
from clarion.protocols.bithedge.units import BasisPoints, BurnBlocks, BurnHeight, TokenAmount

CAST = make_cast()
CALLS = BitHedgeCalls(CAST.deployer.address)
BUYERS = CAST.buyers[:3]
START = 100
RICH = {**TERMS, "start-burn": START, "budget": 10 * EPOCH_CAP_STX, "ended": False}
ENVELOPE: dict[str, Any] = {"v": 1, "actor": CAST.deployer.address, "caller": CAST.deployer.address}


def bought(number: int, owner: str, until: int) -> tuple[BurnHeight, Event]:
    """A policy that counts in the epoch of the block after ``until``."""
    fields: dict[str, Any] = dict.fromkeys(PolicyCreated.__struct_fields__, 1)
    told: dict[str, Any] = {
        "topic": "policy.created",
        "seq": number,
        "policy": number,
        "owner": owner,
        "premium_usd8": 10**8 * number,
    }
    return BurnHeight(until - 1), PolicyCreated(**{**fields, **ENVELOPE, **told, "cancel_until_burn": until})


def voided(epoch: int) -> tuple[BurnHeight, Event]:
    fields: dict[str, Any] = dict.fromkeys(EpochVoided.__struct_fields__, 1)
    return BurnHeight(START), EpochVoided(**{**fields, **ENVELOPE, "topic": "epoch.voided", "seq": 1, "epoch": epoch})


def events_of(epoch: int) -> list[tuple[BurnHeight, Event]]:
    """Three buyers' policies, all in one epoch."""
    until = START + (epoch - 1) * TERMS["epoch-burn"]
    return [bought(number, who.address, until) for number, who in enumerate(BUYERS, start=1)]


def tree_of(epoch: int) -> RewardTree:
    points = epoch_points(epoch_of(BurnHeight(START), BurnBlocks(TERMS["epoch-burn"]), epoch), events_of(epoch))
    return RewardTree(PROGRAM, epoch, rewards(TokenAmount(EPOCH_CAP_STX), BasisPoints(TERMS["premium-bp"]), *points))


def posted(tree: RewardTree, *, at: int, closed: bool = False) -> dict[str, Any]:
    return {
        "root": tree.root,
        "total": tree.total,
        "claimable-burn": at + 2,
        "vested-burn": at + 4,
        "deadline-burn": at + 10,
        "closed": closed,
    }


class Told:
    """Answers as the contracts would: nothing to do, unless a test says otherwise."""

    def __init__(
        self,
        more: Mapping[str, Any] | None = None,
        *,
        program: Mapping[str, Any] = RICH,
        epochs: Mapping[int, Any] | None = None,
    ) -> None:
        self.program = program
        self.epochs = epochs or {}
        self.more = more or {}

    async def ask(self, _contract: str, function: str, *arguments: Value) -> Any:
        plain = [decode_python(encode(argument)) for argument in arguments]
        if function == "get-epoch":
            return self.epochs.get(plain[1])
        answers = {
            "get-program": self.program,
            "get-claimed": 0,
            "get-buckets": {"platform-fees": 0},
            "get-holdings": {"collected": 0},
            "get-share": 0,
            "get-program-funds": 0,
        }
        return self.more.get(function, answers[function])


class Log:
    """A chain whose events are known."""

    def __init__(self, events: list[tuple[BurnHeight, Event]]) -> None:
        self.events = events

    async def follow(self) -> bool:
        return False


def world(burn: int, height: int = 3) -> World:
    return World(height, burn, {}, {}, {}, (), (), ())


async def planned(
    told: Told, events: list[tuple[BurnHeight, Event]], at: World, busy: tuple[str, ...] = ()
) -> list[tuple[str, str, tuple[Value, ...]]]:
    calls = await Rewards(CAST, CALLS, told, Log(events)).plan(at, busy)  # type: ignore[arg-type]
    assert len({call.sender for call in calls}) == len(calls)
    return [(call.sender.name, call.function, call.arguments) for call in calls]


def end_of(epoch: int) -> int:
    return START + epoch * TERMS["epoch-burn"]


async def test_an_epoch_is_posted_when_it_is_over_and_somebody_has_points() -> None:
    tree = tree_of(1)
    assert await planned(Told(), events_of(1), world(end_of(1) - 1)) == []
    (call,) = await planned(Told(), events_of(1), world(end_of(1)))
    expected = (UInt(PROGRAM), UInt(1), Buffer(tree.root), UInt(tree.total), UInt(3))
    assert call == (CAST.treasurer.name, "post-root", expected)
    assert await planned(Told(), [], world(end_of(1))) == []
    assert await planned(Told(), events_of(1), world(end_of(1)), (CAST.treasurer.address,)) == []
    assert await planned(Told(epochs={1: posted(tree, at=end_of(1))}), events_of(1), world(end_of(1) + 1)) == []


async def test_every_fourth_root_is_wrong_until_the_guardian_has_voided_it() -> None:
    right, events = tree_of(4), events_of(4)
    (call,) = await planned(Told(), events, world(end_of(4)))
    root = call[2][2]
    assert isinstance(root, Buffer)
    assert (call[1], root == Buffer(right.root)) == ("post-root", False)
    wrong = posted(right, at=end_of(4)) | {"root": root.value}
    watched = await planned(Told(epochs={4: wrong}), events, world(end_of(4)))
    assert [(name, function) for name, function, _ in watched] == [(CAST.guardian.name, "void-root")]
    (call,) = await planned(Told(), [*events, voided(4)], world(end_of(4)))
    assert call[1:] == ("post-root", (UInt(PROGRAM), UInt(4), Buffer(right.root), UInt(right.total), UInt(3)))


async def test_a_root_that_can_be_claimed_by_is_no_longer_watched_and_a_wrong_one_not_claimed() -> None:
    wrong = posted(tree_of(1), at=end_of(1)) | {"root": bytes(32)}
    assert await planned(Told(epochs={1: wrong}), events_of(1), world(end_of(1) + 2)) == []


@pytest.mark.parametrize(
    ("height", "blocks", "claimed", "claims"),
    [
        (0, 1, 0, False),
        (0, 2, 0, True),
        (0, 3, 1, False),
        (1, 2, 0, False),
        (1, 4, 0, True),
        (0, 4, 1, True),
        (2, 4, 10**12, False),
        (2, 10, 0, False),
    ],
)
async def test_users_claim_what_is_vested(height: int, blocks: int, claimed: int, claims: bool) -> None:
    tree = tree_of(1)
    told = Told({"get-claimed": claimed}, epochs={1: posted(tree, at=end_of(1))})
    calls = await planned(told, events_of(1), world(end_of(1) + blocks, height=300 + height))
    assert [function for _, function, _ in calls if function == "claim"] == ["claim"] * claims
    for name, _, arguments in calls:
        reward = tree.rewards[height]
        assert reward.who == next(who.address for who in BUYERS if who.name == name)
        assert arguments[2:4] == (UInt(reward.amount), UInt(height))


async def test_an_epoch_is_closed_after_its_deadline_once() -> None:
    tree, late = tree_of(1), world(end_of(1) + 11)
    open_epoch = {1: posted(tree, at=end_of(1))}
    calls = await planned(Told(epochs=open_epoch), events_of(1), late)
    assert [(name, function) for name, function, _ in calls] == [(CAST.treasurer.name, "close-epoch")]
    assert await planned(Told(epochs={1: posted(tree, at=end_of(1), closed=True)}), events_of(1), late) == []


@pytest.mark.parametrize(
    ("height", "answers", "function"),
    [
        (4, {"get-buckets": {"platform-fees": 5}}, "collect"),
        (10, {"get-holdings": {"collected": 10**6}}, "distribute"),
        (16, {"get-share": 5}, "claim-share"),
        (22, {"get-program-funds": 5}, "draw-funds"),
        (28, {}, "contribute"),
        (4, {}, None),
        (10, {}, None),
        (16, {}, None),
        (22, {}, None),
        (5, {"get-share": 5}, None),
    ],
)
async def test_chores_come_around_where_there_is_something_to_them(
    height: int, answers: dict[str, Any], function: str | None
) -> None:
    calls = await planned(Told(answers), [], world(START, height=height))
    assert [name for _, name, _ in calls] == ([] if function is None else [function])


async def test_a_programme_is_filled_before_it_is_empty_but_not_after_its_end() -> None:
    poor = {**RICH, "budget": EPOCH_CAP_STX}
    ((_, function, arguments),) = await planned(Told(program=poor), [], world(START))
    assert (function, arguments[0]) == ("contribute", UInt(PROGRAM))
    assert await planned(Told(program={**poor, "ended": True}), [], world(START)) == []


def test_the_setup_allocates_everything_and_moves_nothing_of_the_deployers() -> None:
    calls: list[Call] = rewards_setup(CAST, CALLS, 50)
    assert [call.function for call in calls] == ["grant-role", "set-allocations", "set-discount", "create-program"]
    assert {call.sender for call in calls} == {CAST.deployer}
    (parts, _) = [decode_python(encode(argument)) for argument in calls[1].arguments]
    assert sum(part["share-bp"] for part in parts) == 10_000
    terms = decode_python(encode(calls[3].arguments[1]))
    assert terms["start-burn"] > 50


class Chain:
    """A node with blocks that a test makes; the hash of a block is what its name hashes to."""

    def __init__(self) -> None:
        self.blocks: dict[bytes, Block] = {}
        self.tip = ""

    def add(self, name: str, parent: str, height: int, *topics: str) -> None:
        events = [
            ChainEvent(0, index, EventKind.PRINT, contract, topic, value)
            for index, (contract, topic, value) in enumerate(map(self._print, topics))
        ]
        ref = BlockRef("stacks", height, self.hash(name), self.hash(parent))
        self.blocks[ref.hash] = Block(ref, 0, BurnBlock(height * 10, bytes(32)), (), tuple(events), {})
        self.tip = name

    @staticmethod
    def hash(name: str) -> bytes:
        return sha512_256(name.encode() + bytes(20))

    @staticmethod
    def _print(name: str) -> tuple[str, str, Any]:
        deployer = CAST.deployer.address if name.startswith("own") else CAST.guardian.address
        value = {**ENVELOPE, "topic": "program.ended", "seq": int(name[3:]), "program": 1, "proposal": None}
        return f"{deployer}.bh-incentives", "program.ended", value

    async def info(self) -> NodeInfo:
        return NodeInfo(0, self.tip.encode(), bytes(20), 0, 0)

    async def block(self, block_hash: bytes) -> Block | None:
        return self.blocks.get(block_hash)


async def test_what_was_printed_follows_the_chain_through_forks() -> None:
    chain = Chain()
    printed = Printed(chain, CAST.deployer.address)  # type: ignore[arg-type]

    def seen() -> list[tuple[int, int]]:
        return [(height, event.seq) for height, event in printed.events]

    chain.add("a", "genesis", 1, "own1")
    chain.add("b", "a", 2, "own2", "foe1", "own3")
    assert not await printed.follow()
    assert seen() == [(10, 1), (20, 2), (20, 3)]
    assert not await printed.follow()
    chain.add("c", "b", 3, "own4")
    assert not await printed.follow()
    assert seen() == [(10, 1), (20, 2), (20, 3), (30, 4)]
    chain.add("x", "a", 2)
    chain.add("y", "x", 3, "own2")
    assert await printed.follow()
    assert seen() == [(10, 1), (30, 2)]
    chain.add("z", "nowhere", 1, "own1")
    assert await printed.follow()
    assert seen() == [(10, 1)]
