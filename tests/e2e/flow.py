"""BitHedge on a devnet that mines when asked to: the steps of a policy's life, one by one."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from clarion.chains.stacks.clarity import UInt
from clarion.chains.stacks.node_client import NodeClient
from clarion.dev.calls import Call, PolicyTerms
from clarion.dev.devnet_client import DevnetClient
from clarion.dev.planner import Purchase
from clarion.dev.scenario import Scenario, open_scenario
from clarion.dev.settlement import settlement_calls
from clarion.dev.world import World

POLL_SECONDS = 0.05
DEADLINE_SECONDS = 150

T = TypeVar("T")


async def until(
    ask: Callable[[], Awaitable[T]], holds: Callable[[T], bool], what: str, *, seconds: float = DEADLINE_SECONDS
) -> T:
    """Ask again and again until the answer is as expected; fails with the last one."""
    deadline = time.monotonic() + seconds
    while True:
        answer = await ask()
        if holds(answer):
            return answer
        assert time.monotonic() < deadline, f"{what}: still {answer!r} after {seconds:g} s"
        await asyncio.sleep(POLL_SECONDS)


@dataclass
class Flow:
    """A devnet with BitHedge on it, and its cast."""

    scenario: Scenario
    devnet: DevnetClient
    node: NodeClient

    async def begin(self) -> None:
        """Contracts, capital in every pool, and a first price of everything."""
        await self.scenario.prepare()
        await self.do(
            *(
                self.scenario.calls.deposit(held.provider, held.token, held.tier, held.target)
                for held in self.scenario.planner.holdings
            )
        )
        await self.price(100)

    async def do(self, *calls: Call) -> None:
        """Send calls and mine them."""
        for call in calls:
            assert await self.scenario.send(call), call.note
        await self.devnet.mine()

    async def world(self) -> World:
        """What the contracts say now."""
        return await self.scenario.look()

    async def price(self, percent: int) -> None:
        """A round of every asset, at so many percent of its last price (at first, of the market's)."""
        world = await self.world()
        submitters = self.scenario.cast.submitters
        prices = {
            asset: (view.price_usd8 or self.scenario.planner.market_price(asset, 0)) * percent // 100
            for asset, view in world.assets.items()
        }
        for asset, view in world.assets.items():
            for submitter in submitters:
                call = self.scenario.calls.submit_price(
                    submitter, asset, view.next_round, prices[asset], world.burn_height
                )
                assert await self.scenario.send(call), call.note
        await self.devnet.mine()
        await self.do(
            *(
                self.scenario.calls.close_round(submitters[0], asset, view.next_round)
                for asset, view in world.assets.items()
            )
        )

    async def buy(self, *, strike_percent: int = 99, blocks: int = 2, token: str | None = None) -> int:
        """A European put of the first buyer that expires so many Bitcoin blocks ahead; gives its number."""
        world = await self.world()
        terms = PolicyTerms(
            type="put",
            style="european",
            asset="BTC",
            strike_usd8=world.assets["BTC"].price_usd8 * strike_percent // 100,
            notional_sat=2_000_000,
            expiry_burn=world.burn_height + blocks,
            token=token or self.scenario.calls.stx_token,
        )
        call = await self.scenario.order(Purchase(self.scenario.cast.buyers[0], terms))
        assert call is not None, "nobody sells the policy"
        await self.do(call)
        number = await self.scenario.reader.ask("bh-policy", "get-last-policy")
        assert isinstance(number, int)
        return number

    async def expire(self, percent: int, blocks: int = 2) -> None:
        """Bitcoin blocks go by, then a price is closed."""
        await self.devnet.burn(blocks)
        await self.price(percent)

    async def settle(self) -> None:
        """Do what a keeper does, until nothing is due."""
        keeper = self.scenario.cast.keeper
        while due := await settlement_calls(self.scenario.reader, self.scenario.calls, keeper, await self.world()):
            await self.do(*due)

    async def policy(self, number: int) -> dict[str, Any]:
        """A policy's row in the contract."""
        row = await self.scenario.reader.ask("bh-policy", "get-policy", UInt(number))
        assert isinstance(row, dict)
        return row

    async def delivered(self) -> None:
        """Wait until every post has been taken."""
        await until(self.devnet.status, lambda status: status["posts"]["queued"] == 0, "posts that wait")


@contextlib.asynccontextmanager
async def open_flow(url: str, *, seed: int = 1) -> AsyncIterator[Flow]:
    """A flow on the devnet at ``url``."""
    async with (
        open_scenario(url, seed=seed, mine=lambda devnet: devnet.mine) as scenario,
        DevnetClient(url) as devnet,
        NodeClient(url) as node,
    ):
        yield Flow(scenario, devnet, node)
