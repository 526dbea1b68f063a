"""Plays the cast on a devnet: reads the world, asks the planner, finds prices and cover, signs and sends."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import structlog

from clarion.chains.stacks.clarity import StringAscii, UInt, principal
from clarion.chains.stacks.node_client import NodeClient, NodeError, TransactionRejectedError
from clarion.dev.accounts import Cast, make_cast
from clarion.dev.calls import BitHedgeCalls, Call, Cover
from clarion.dev.deployment import Deployment, NextBlock
from clarion.dev.devnet_client import DevnetClient
from clarion.dev.governance import Governance
from clarion.dev.insurance import Insurance
from clarion.dev.planner import Planner, Purchase
from clarion.dev.printed import Printed
from clarion.dev.rewards import Rewards
from clarion.dev.wallet import Wallet
from clarion.dev.world import World, WorldReader
from clarion.protocols.bithedge.matching import Candidate, CapacityError, match
from clarion.protocols.bithedge.units import BasisPoints, BurnBlocks, TokenAmount, Usd8

SLIPPAGE_PERCENT: Final = 3
"""How much above the quoted premium a buyer will pay."""
POLL_INTERVAL_S: Final = 0.1
RETRY_S: Final = 1.0

Part = Callable[[World, Collection[str]], Awaitable[list[Call]]]
"""What some of the cast sends next, in a world, while the accounts with these addresses wait."""

log = structlog.get_logger("clarion.scenario")


@dataclass(frozen=True, slots=True)
class _Tier:
    """A tier as the contract tells it, in the form that matching reads."""

    name: str
    rank: int
    strike_min_bp: BasisPoints
    strike_max_bp: BasisPoints
    max_duration_burn: BurnBlocks
    ratio_min_bp: BasisPoints
    max_policy_bp: BasisPoints
    max_expiry_bp: BasisPoints
    active: bool


@dataclass(frozen=True, slots=True)
class _Token:
    decimals: int
    haircut_bp: BasisPoints


class Scenario:
    """A seeded cast on one devnet. The same seed on the same chain decides the same."""

    def __init__(
        self,
        *,
        node: NodeClient,
        devnet: DevnetClient,
        cast: Cast,
        chain_id: int,
        seed: int,
        next_block: NextBlock,
        handover: bool = True,
    ) -> None:
        self.cast = cast
        self.calls = BitHedgeCalls(cast.deployer.address)
        self.wallet = Wallet(node, chain_id)
        self.planner = Planner(seed, cast, self.calls)
        self.reader = WorldReader(node, self.calls)
        self._parts: tuple[Part, ...] = (
            Insurance(cast, self.calls, self.reader).plan,
            Governance(seed, cast, self.calls, self.reader, handover=handover).plan,
            Rewards(cast, self.calls, self.reader, Printed(node, cast.deployer.address)).plan,
        )
        self._node = node
        self._devnet = devnet
        self.next_block = next_block

    async def prepare(self) -> None:
        """Put BitHedge on the devnet where it is not there yet.

        Raises:
            DeploymentError: a transaction that is needed failed.
        """
        deployment = Deployment(
            node=self._node,
            devnet=self._devnet,
            wallet=self.wallet,
            cast=self.cast,
            calls=self.calls,
            reader=self.reader,
            next_block=self.next_block,
            market_price=self.planner.market_price,
        )
        await deployment.run()

    async def look(self) -> World:
        """Read what the cast decides from."""
        return await self.reader.read(self.planner.look_at)

    async def act(self, world: World) -> list[Call]:
        """Decide and send what comes next; gives what the node took."""
        for who in self.cast.everyone():
            if self.wallet.is_busy(who):
                await self.wallet.sync(who)
        busy = {who.address for who in self.cast.everyone() if self.wallet.is_busy(who)}
        sent = []
        for action in self.planner.plan(world, busy):
            call = await self.order(action) if isinstance(action, Purchase) else action
            if call and await self.send(call):
                sent.append(call)
        for part in self._parts:
            busy = {who.address for who in self.cast.everyone() if self.wallet.is_busy(who)}
            sent += [call for call in await part(world, busy) if await self.send(call)]
        return sent

    async def run(self) -> None:
        """Prepare, then step with every block, until cancelled."""
        await self.prepare()
        while True:
            await self.act(await self.look())
            await self.next_block()

    async def send(self, call: Call) -> bool:
        """Send a call; False where the node refuses it, which is logged."""
        try:
            tx_id = await self.wallet.send(call)
        except TransactionRejectedError as error:
            log.warning("rejected", what=call.note, reason=error.reason, data=error.data)
            return False
        log.info(call.note, transaction=f"0x{tx_id.hex()}")
        return True

    async def order(self, purchase: Purchase) -> Call | None:
        """The call that buys a policy, or None where it is not sold or not covered."""
        terms = purchase.terms
        quote = await self.reader.quote(terms, purchase.buyer)
        if quote is None:
            return None
        try:
            cover = await self._cover(purchase, quote)
        except CapacityError as error:
            log.info(f"{purchase.buyer.name} finds no cover", why=str(error))
            return None
        most = quote["premium"] * (100 + SLIPPAGE_PERCENT) // 100 + 1
        return self.calls.create_policy(purchase.buyer, terms, most, cover)

    async def _cover(self, purchase: Purchase, quote: dict[str, Any]) -> list[Cover]:
        terms, name = purchase.terms, quote["tier"]
        tier_row = await self.reader.ask("bh-params", "get-tier", StringAscii(name))
        token_row = await self.reader.ask("bh-params", "get-token", principal(terms.token))
        least = await self.reader.ask("bh-params", "get-param", StringAscii("min-allocation-usd8"))
        candidates = []
        for holding in self.planner.holdings:
            if (holding.tier, holding.token) != (name, terms.token):
                continue
            position = await self.reader.position(holding.provider.address, name, terms.token)
            where = (principal(position.provider), StringAscii(name), principal(terms.token), UInt(terms.expiry_burn))
            candidates.append(
                Candidate(
                    provider=position.provider,
                    available=TokenAmount(position.available),
                    requested=TokenAmount(position.requested),
                    locked=TokenAmount(position.locked),
                    liability=Usd8(position.liability_usd8),
                    exposure=TokenAmount(await self.reader.ask("bh-vault", "get-exposure", *where)),
                    since=0,
                )
            )
        allocations = match(
            Usd8(quote["max-payout-usd8"]),
            candidates,
            tier=_Tier(
                name=name,
                rank=0,
                strike_min_bp=tier_row["strike-min-bp"],
                strike_max_bp=tier_row["strike-max-bp"],
                max_duration_burn=tier_row["max-duration-burn"],
                ratio_min_bp=tier_row["ratio-min-bp"],
                max_policy_bp=tier_row["max-policy-bp"],
                max_expiry_bp=tier_row["max-expiry-bp"],
                active=tier_row["active"],
            ),
            token=_Token(token_row["decimals"], token_row["haircut-bp"]),
            token_price=Usd8(quote["token-price-usd8"]),
            least=Usd8(least["ok"]),
        )
        return [Cover(allocation.provider, allocation.liability) for allocation in allocations]


class BlockClock:
    """Waits for a chain that mines by itself."""

    def __init__(self, node: NodeClient) -> None:
        self._node = node
        self._height = -1

    async def next_block(self) -> None:
        """Return once the node's height differs from the last one seen."""
        while (height := (await self._node.info()).stacks_tip_height) == self._height:  # noqa: ASYNC110 (another process)
            await asyncio.sleep(POLL_INTERVAL_S)
        self._height = height


@asynccontextmanager
async def open_scenario(
    url: str,
    *,
    seed: int,
    mine: Callable[[DevnetClient], NextBlock] | None = None,
    cast: Cast | None = None,
    handover: bool = True,
) -> AsyncIterator[Scenario]:
    """A scenario with its connections to the devnet at ``url``.

    ``mine`` makes what mines each block when the scenario wants one, for a devnet without intervals; without it the
    scenario waits for blocks. Without ``handover`` the deployer stays governance.
    """
    async with NodeClient(url) as node, DevnetClient(url) as devnet:
        yield Scenario(
            node=node,
            devnet=devnet,
            cast=cast or make_cast(),
            chain_id=(await node.info()).chain_id,
            seed=seed,
            next_block=mine(devnet) if mine else BlockClock(node).next_block,
            handover=handover,
        )


async def play(url: str, *, seed: int) -> None:
    """Play the scenario on the devnet at ``url`` until SIGINT or SIGTERM.

    A devnet that does not answer is waited for.

    Raises:
        DeploymentError: BitHedge could not be deployed.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    playing = asyncio.create_task(_play_for_ever(url, seed))
    stopped = asyncio.create_task(stopping.wait())
    await asyncio.wait({playing, stopped}, return_when=asyncio.FIRST_COMPLETED)
    for task in (playing, stopped):
        task.cancel()
    with suppress(asyncio.CancelledError):
        await playing


async def _play_for_ever(url: str, seed: int) -> None:
    while True:
        try:
            async with open_scenario(url, seed=seed) as scenario:
                await scenario.run()
        except NodeError as error:
            log.warning("waiting for the devnet", reason=str(error))
            await asyncio.sleep(RETRY_S)
