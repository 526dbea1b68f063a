"""The part of the cast around fees and rewards: a treasurer, the guardian who watches the roots, and whoever claims.

The treasurer collects platform fees, has them shared out, fills a programme, and posts what each epoch gives: computed
from the contracts' events by the published rule. Every fourth time it errs; the guardian, who computes the same, voids
the root, and it is posted again. Users claim what has vested, some of them more than once. What nobody claims returns.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any, Final

from clarion.chains.stacks.clarity import NONE, Buffer, List, StringAscii, Tuple, UInt, Value, principal
from clarion.dev.accounts import Account, Cast
from clarion.dev.amounts import tokens
from clarion.dev.calls import BitHedgeCalls, Call
from clarion.dev.printed import Printed
from clarion.dev.world import World, WorldReader
from clarion.protocols.bithedge.events import EpochVoided
from clarion.protocols.bithedge.incentives import epoch_of, epoch_points, rewards
from clarion.protocols.bithedge.merkle import RewardTree
from clarion.protocols.bithedge.units import BasisPoints, BurnBlocks, BurnHeight, TokenAmount

PROGRAM: Final = 1
EPOCH_CAP_STX: Final = 500 * 10**6
TERMS: Final = {
    "epoch-burn": 6,
    "epochs": 1_000,
    "epoch-cap": EPOCH_CAP_STX,
    "premium-bp": 6_000,
    "vesting-burn": 4,
    "claim-burn": 6,
}
"""The programme's terms but for its start."""
START_BLOCKS: Final = 12
"""Bitcoin blocks from the setup to the programme's start: the call has to be mined before."""
CLAIMABLE_EPOCHS: Final = 4
"""How many of the last epochs can still be open for claims."""
EVERY_WRONG: Final = 4
SHARES_BP: Final = {"insurance": 2_000, "community": 3_000, "reserve": 5_000}
DISCOUNT_BP: Final = 2_500
DISCOUNT_BLOCKS: Final = 1_000_000
GIFT_STX: Final = 10 * 10**6
TURNS: Final = 30
"""Stacks blocks after which the treasurer's chores come around again."""


async def has_rewards(reader: WorldReader) -> bool:
    """Whether the setup has been mined, by the last thing that it does."""
    return await reader.ask("bh-incentives", "get-program", UInt(PROGRAM)) is not None


def rewards_setup(cast: Cast, calls: BitHedgeCalls, burn_height: int) -> list[Call]:
    """What governance does so that this part of the cast can act."""

    def govern(contract: str, function: str, *arguments: Value, what: str) -> Call:
        return calls.call(cast.deployer, contract, function, *arguments, note=f"{cast.deployer.name} {what}")

    treasurer = cast.treasurer
    receivers = {"insurance": calls.contract("bh-fund"), "community": treasurer.address}
    allocations = [
        {
            "name": StringAscii(name),
            "receiver": principal(receivers.get(name, calls.contract("bh-treasury"))),
            "share-bp": UInt(share),
        }
        for name, share in SHARES_BP.items()
    ]
    start = {"start-burn": burn_height + START_BLOCKS}
    buyer = cast.buyers[0]
    return [
        govern(
            "bh-registry",
            "grant-role",
            StringAscii("keeper"),
            principal(treasurer.address),
            NONE,
            what="lets the treasurer post rewards",
        ),
        govern("bh-treasury", "set-allocations", List(tuple(map(Tuple, allocations))), NONE, what="allocates the fees"),
        govern(
            "bh-treasury",
            "set-discount",
            principal(buyer.address),
            UInt(DISCOUNT_BP),
            UInt(burn_height + DISCOUNT_BLOCKS),
            NONE,
            what=f"gives {buyer.name} a discount",
        ),
        govern(
            "bh-incentives",
            "create-program",
            principal(calls.stx_token),
            Tuple({name: UInt(value) for name, value in {**TERMS, **start}.items()}),
            NONE,
            what="starts a programme",
        ),
    ]


class Rewards:
    """Decides what treasurer, guardian and users send next, at most one call each."""

    def __init__(self, cast: Cast, calls: BitHedgeCalls, reader: WorldReader, printed: Printed) -> None:
        self._cast = cast
        self._calls = calls
        self._reader = reader
        self._printed = printed
        self._accounts = {who.address: who for who in cast.everyone()}
        self._trees: dict[int, RewardTree | None] = {}

    async def plan(self, world: World, busy: Collection[str]) -> list[Call]:
        """The calls that are due. Accounts in ``busy`` (addresses) wait.

        Raises:
            NodeError: the node cannot be reached, does not give its blocks, or a read-only call failed.
        """
        if await self._printed.follow():
            self._trees.clear()
        program = await self._reader.ask("bh-incentives", "get-program", UInt(PROGRAM))
        ended = (world.burn_height - program["start-burn"]) // program["epoch-burn"]
        numbers = range(max(1, ended - CLAIMABLE_EPOCHS + 1), min(ended, program["epochs"]) + 1)
        epochs = {number: await self._epoch(number) for number in numbers}
        found = []
        if self._cast.treasurer.address not in busy:
            found.append(self._post(program, epochs) or self._close(world, epochs) or await self._chore(world, program))
        if self._cast.guardian.address not in busy:
            found.append(self._watch(world, program, epochs))
        found += await self._claims(world, program, epochs, busy)
        return [call for call in found if call is not None]

    def _post(self, program: Any, epochs: dict[int, Any]) -> Call | None:
        """The rewards of the last epoch that is over."""
        number = max(epochs, default=0)
        tree = self._tree(program, number) if number else None
        if tree is None or epochs[number] or program["ended"] or program["budget"] < program["epoch-cap"]:
            return None
        voided = any(isinstance(event, EpochVoided) and event.epoch == number for _, event in self._printed.events)
        if number % EVERY_WRONG == 0 and not voided:
            first = replace(tree.rewards[0], amount=TokenAmount(tree.rewards[0].amount // 2))
            tree = RewardTree(PROGRAM, number, [first, *tree.rewards[1:]])
        treasurer = self._cast.treasurer
        arguments = (UInt(PROGRAM), UInt(number), Buffer(tree.root), UInt(tree.total), UInt(len(tree.rewards)))
        note = f"{treasurer.name} posts the rewards of epoch {number}"
        return self._calls.call(treasurer, "bh-incentives", "post-root", *arguments, note=note)

    def _close(self, world: World, epochs: dict[int, Any]) -> Call | None:
        """What nobody claimed of an epoch returns."""
        treasurer = self._cast.treasurer
        for number, row in epochs.items():
            if row and world.burn_height > row["deadline-burn"] and not row["closed"]:
                note = f"{treasurer.name} closes epoch {number}"
                return self._calls.call(
                    treasurer, "bh-incentives", "close-epoch", UInt(PROGRAM), UInt(number), note=note
                )
        return None

    async def _chore(self, world: World, program: Any) -> Call | None:
        """What the treasurer does now and then, where there is something to it."""
        token, treasurer = self._calls.stx_token, self._cast.treasurer
        stx = principal(token)

        def chore(contract: str, function: str, *arguments: Value, what: str) -> Call:
            return self._calls.call(treasurer, contract, function, *arguments, note=f"{treasurer.name} {what}")

        def give(contract: str, *arguments: Value, amount: int, to: str) -> Call:
            note = f"{treasurer.name} gives {to} {tokens(token, amount)}"
            gift = (*arguments, stx, UInt(amount))
            return self._calls.pay(treasurer, contract, "contribute", *gift, token=token, amount=amount, note=note)

        if not program["ended"] and program["budget"] < 2 * program["epoch-cap"]:
            return give("bh-incentives", UInt(PROGRAM), amount=8 * EPOCH_CAP_STX, to="the programme")
        match world.height % TURNS:
            case 4:
                buckets = await self._reader.ask("bh-vault", "get-buckets", stx)
                if buckets["platform-fees"]:
                    return chore("bh-treasury", "collect", stx, what="collects platform fees")
            case 10:
                holdings = await self._reader.ask("bh-treasury", "get-holdings", stx)
                if holdings["collected"] >= 10_000:
                    return chore("bh-treasury", "distribute", stx, what="shares platform fees out")
            case 16:
                if await self._reader.ask("bh-treasury", "get-share", principal(treasurer.address), stx):
                    return chore("bh-treasury", "claim-share", stx, what="claims the community's share")
            case 22:
                if await self._reader.ask("bh-treasury", "get-program-funds", UInt(PROGRAM), stx):
                    return chore("bh-incentives", "draw-funds", UInt(PROGRAM), stx, what="draws the programme's funds")
            case 28:
                return give("bh-treasury", amount=GIFT_STX, to="the treasury")
        return None

    def _watch(self, world: World, program: Any, epochs: dict[int, Any]) -> Call | None:
        """The guardian voids a root that does not follow from the events."""
        guardian = self._cast.guardian
        for number, row in epochs.items():
            tree = self._tree(program, number)
            if not row or world.burn_height + 1 >= row["claimable-burn"] or (tree and row["root"] == tree.root):
                continue
            note = f"{guardian.name} voids the rewards of epoch {number}"
            return self._calls.call(
                guardian, "bh-incentives", "void-root", UInt(PROGRAM), UInt(number), NONE, note=note
            )
        return None

    async def _claims(self, world: World, program: Any, epochs: dict[int, Any], busy: Collection[str]) -> list[Call]:
        """One user of each open epoch after the other; every other user claims as soon as something has vested."""
        calls: dict[str, Call] = {}
        for number, row in epochs.items():
            tree = self._tree(program, number)
            if not row or not tree or row["root"] != tree.root:
                continue
            if not row["claimable-burn"] <= world.burn_height < row["deadline-burn"]:
                continue
            index = world.height % len(tree.rewards)
            reward = tree.rewards[index]
            who = self._accounts.get(reward.who)
            if who is None or who.address in busy or who.address in calls:
                continue
            claimed = await self._reader.ask(
                "bh-incentives", "get-claimed", UInt(PROGRAM), UInt(number), principal(who.address)
            )
            is_vested = world.burn_height >= row["vested-burn"]
            if claimed < reward.amount and (is_vested or (index % 2 == 0 and claimed == 0)):
                calls[who.address] = self._claim(who, number, tree, index)
        return list(calls.values())

    def _claim(self, who: Account, number: int, tree: RewardTree, index: int) -> Call:
        proof = List(tuple(Buffer(sibling) for sibling in tree.proof(index)))
        amount = UInt(tree.rewards[index].amount)
        arguments = (UInt(PROGRAM), UInt(number), amount, UInt(index), proof, principal(self._calls.stx_token))
        note = f"{who.name} claims rewards of epoch {number}"
        return self._calls.call(who, "bh-incentives", "claim", *arguments, note=note)

    def _tree(self, program: Any, number: int) -> RewardTree | None:
        """The rewards of an epoch, from the events; None where nobody gets any."""
        if number not in self._trees:
            epoch = epoch_of(BurnHeight(program["start-burn"]), BurnBlocks(program["epoch-burn"]), number)
            points = epoch_points(epoch, self._printed.events)
            given = rewards(TokenAmount(program["epoch-cap"]), BasisPoints(program["premium-bp"]), *points)
            self._trees[number] = RewardTree(PROGRAM, number, given) if given else None
        return self._trees[number]

    async def _epoch(self, number: int) -> Any:
        return await self._reader.ask("bh-incentives", "get-epoch", UInt(PROGRAM), UInt(number))
