"""The part of the cast that governs: providers stake, propose, vote, and have what passed executed.

Once enough is staked the deployer hands governance over. From then on one proposal at a time goes its way: most are
executed; some are withdrawn, outvoted, stopped by the guardian, or forgotten. Everything follows from the seed and
from what the contracts say at one tip.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from random import Random
from typing import Any, Final

from clarion.chains.stacks.clarity import (
    NONE,
    Bool,
    Buffer,
    List,
    Some,
    StringAscii,
    Tuple,
    UInt,
    Value,
    encode,
    principal,
)
from clarion.dev.accounts import Account, Cast
from clarion.dev.amounts import tokens
from clarion.dev.calls import BitHedgeCalls, Call
from clarion.dev.world import World, WorldReader

STAKE_STX: Final = 20_000 * 10**6
"""What the first provider stakes; the others stake less and less, down to half of it."""
MIN_STAKE_STX: Final = 15_000 * 10**6
"""Parameter gov-min-stake on a devnet."""
REST_BLOCKS: Final = 6
"""Bitcoin blocks from the end of a vote to the next proposal, at least."""
EVERY_WITHDRAWN: Final = 9
EVERY_STOPPED: Final = 7
EVERY_OUTVOTED: Final = 5
EVERY_FORGOTTEN: Final = 11
"""Of how many proposals one fares like this, by its number."""
DISCOUNT_BLOCKS: Final = 500


class Governance:
    """Decides what stakers, deployer and guardian send next, at most one call each."""

    def __init__(self, seed: int, cast: Cast, calls: BitHedgeCalls, reader: WorldReader, *, handover: bool) -> None:
        self._seed = seed
        self._cast = cast
        self._calls = calls
        self._reader = reader
        self._handover = handover
        self._stakers = cast.providers
        self._voters = cast.providers[:-1] or cast.providers

    async def plan(self, world: World, busy: Collection[str]) -> list[Call]:
        """The calls that are due. Accounts in ``busy`` (addresses) wait.

        Raises:
            NodeError: the node cannot be reached or a read-only call failed.
        """
        taken, calls = set(busy), []
        for call in [*await self._stake(world), *await self._govern(world)]:
            if call.sender.address not in taken:
                taken.add(call.sender.address)
                calls.append(call)
        return calls

    async def _stake(self, world: World) -> list[Call]:
        """One provider after another looks at its stake; the last one has the first vote with it."""
        place = world.height % len(self._stakers)
        who, first = self._stakers[place], self._stakers[0]
        if not await self._ask("get-stake", principal(who.address)):
            amount = STAKE_STX * (2 * len(self._stakers) - place) // (2 * len(self._stakers))
            token = self._calls.stx_token
            note = f"{who.name} stakes {tokens(token, amount)}"
            arguments = (principal(token), UInt(amount))
            return [self._calls.pay(who, "bh-gov", "stake", *arguments, token=token, amount=amount, note=note)]
        if who not in self._voters and await self._ask("get-delegate", principal(who.address)) == who.address:
            note = f"{who.name} lets {first.name} vote"
            return [self._call(who, "delegate-to", principal(first.address), note=note)]
        return []

    async def _govern(self, world: World) -> list[Call]:
        """The handover, the next step of the last proposal, or a new one."""
        governance = self._calls.contract("bh-gov")
        if not await self._reader.ask("bh-registry", "has-role", StringAscii("governance"), principal(governance)):
            counted = await self._ask("get-power-at", NONE, UInt(world.burn_height - 1))
            if not self._handover or counted < MIN_STAKE_STX:
                return []
            deployer = self._cast.deployer
            note = f"{deployer.name} hands governance over"
            return [self._calls.call(deployer, "bh-registry", "handover", principal(governance), note=note)]
        number = await self._ask("get-last-proposal")
        row = await self._ask("get-proposal", UInt(number)) if number else None
        if row is None or row["state"] not in ("active", "queued"):
            is_early = row is not None and world.burn_height < row["voting-ends-burn"] + REST_BLOCKS
            return [] if is_early else [self._propose(number + 1, world)]
        if row["state"] == "queued":
            return self._end(number, row, world)
        proposer = self._proposer(number)
        if world.burn_height > row["voting-ends-burn"]:
            return [self._call(proposer, "finalize", UInt(number), note=f"{proposer.name} counts proposal {number}")]
        if number % EVERY_WITHDRAWN == 0 and world.burn_height > row["created-burn"] + 1:
            return [self._call(proposer, "cancel", UInt(number), note=f"{proposer.name} withdraws proposal {number}")]
        return await self._votes(number)

    async def _votes(self, number: int) -> list[Call]:
        calls = []
        for who in self._voters:
            choice = self._choice(number, who)
            if choice and await self._ask("get-vote", UInt(number), principal(who.address)) is None:
                note = f"{who.name} votes {choice} on proposal {number}"
                calls.append(self._call(who, "vote", UInt(number), StringAscii(choice), note=note))
        return calls

    def _choice(self, number: int, who: Account) -> str | None:
        """How somebody votes; some do not."""
        luck = Random(f"{self._seed}/vote/{number}/{who.name}").random()
        if luck < 0.1:
            return None
        if luck < 0.2:
            return "abstain"
        against = number % EVERY_OUTVOTED == 0
        return "against" if against != (luck > 0.9) else "for"

    def _end(self, number: int, row: dict[str, Any], world: World) -> list[Call]:
        guardian, proposer = self._cast.guardian, self._proposer(number)
        if number % EVERY_STOPPED == 0:
            return [self._call(guardian, "cancel", UInt(number), note=f"{guardian.name} stops proposal {number}")]
        if world.burn_height > row["grace-ends-burn"]:
            return [self._call(proposer, "expire", UInt(number), note=f"{proposer.name} ends proposal {number}")]
        if world.burn_height < row["eta-burn"] or number % EVERY_FORGOTTEN == 0:
            return []
        brought = List(tuple(principal(self._calls.stx_token) for _ in range(row["actions"])))
        note = f"{proposer.name} executes proposal {number}"
        return [self._call(proposer, "execute", UInt(number), brought, note=note)]

    def _propose(self, number: int, world: World) -> Call:
        proposer, actions = self._proposer(number), self._actions(number, world)
        title = f"Proposal {number} of the devnet"
        items = List(
            tuple(Tuple({"kind": StringAscii(kind), "data": Buffer(encode(data))}) for kind, data in actions),
        )
        arguments = (Buffer(hashlib.sha256(title.encode()).digest()), StringAscii(f"devnet:proposal/{number}"), items)
        note = f"{proposer.name} proposes {', '.join(kind for kind, _ in actions)}"
        return self._call(proposer, "propose", *arguments, note=note)

    def _proposer(self, number: int) -> Account:
        return self._voters[number % len(self._voters)]

    def _actions(self, number: int, world: World) -> list[tuple[str, Value]]:
        """What a proposal does: something that can be seen and that harms nobody."""
        fee = List((Tuple({"key": StringAscii("cancel-fee-bp"), "value": UInt(400 + number % 4 * 50)}),))
        buyer = self._cast.buyers[number % len(self._cast.buyers)]
        discount = Tuple(
            {
                "user": principal(buyer.address),
                "bp": UInt(500 + number % 5 * 100),
                "until-burn": UInt(world.burn_height + DISCOUNT_BLOCKS),
            }
        )
        helper = Tuple(
            {
                "role": StringAscii("keeper"),
                "who": principal(self._cast.keeper.address),
                "until-burn": Some(UInt(world.burn_height + DISCOUNT_BLOCKS)),
            }
        )
        switch = Tuple({"name": StringAscii("cancel"), "on": Bool(True)})
        every: list[list[tuple[str, Value]]] = [
            [("set-params", fee)],
            [("set-discount", discount)],
            [("set-params", fee), ("set-flag", switch)],
            [("grant-role", helper), ("set-discount", discount)],
        ]
        return every[number % len(every)]

    def _call(self, who: Account, function: str, *arguments: Value, note: str) -> Call:
        return self._calls.call(who, "bh-gov", function, *arguments, note=note)

    async def _ask(self, function: str, *arguments: Value) -> Any:
        return await self._reader.ask("bh-gov", function, *arguments)
