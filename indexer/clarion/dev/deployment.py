"""Puts BitHedge on a devnet: funded accounts, deployed contracts, genesis rows, and parameters for fast blocks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from clarion.chains.stacks.clarity import StringAscii
from clarion.chains.stacks.node_client import NodeClient
from clarion.dev.accounts import Account, Cast
from clarion.dev.calls import BitHedgeCalls
from clarion.dev.devnet_client import DevnetClient
from clarion.dev.governance import MIN_STAKE_STX
from clarion.dev.insurance import has_insurance, insurance_setup
from clarion.dev.rewards import has_rewards, rewards_setup
from clarion.dev.wallet import Wallet
from clarion.dev.world import ASSETS, WorldReader
from clarion.protocols.bithedge.deployment import FAST_BLOCKS, publish, sources_folder

PARAMETERS: Final = {
    **FAST_BLOCKS,
    "cancel-window": 1,
    "gov-grace": 12,
    "gov-min-stake": MIN_STAKE_STX,
    "soft-call-window": 2,
    "hard-call-window": 2,
    "takeover-min-duration": 1,
    "root-challenge": 2,
    "call-cap-bp": 1_000,
}
"""Parameters for a chain whose Bitcoin blocks are seconds apart."""
SUBMITTER_WEIGHT: Final = 10
GIFT_MICRO_STX: Final = 5_000_000 * 10**6
GIFT_SATS: Final = 50 * 10**8
PATIENCE_BLOCKS: Final = 60
FUNDED_AT_ONCE: Final = 12

NextBlock = Callable[[], Awaitable[None]]
"""Waits for the next Stacks block, or mines it."""


class DeploymentError(Exception):
    """BitHedge could not be put on the devnet; the message says what was refused."""


class Deployment:
    """Brings a devnet to where the cast can begin; what is there already is left as it is."""

    def __init__(
        self,
        *,
        node: NodeClient,
        devnet: DevnetClient,
        wallet: Wallet,
        cast: Cast,
        calls: BitHedgeCalls,
        reader: WorldReader,
        next_block: NextBlock,
        market_price: Callable[[str, int], int],
    ) -> None:
        self._node = node
        self._devnet = devnet
        self._wallet = wallet
        self._cast = cast
        self._calls = calls
        self._reader = reader
        self._next_block = next_block
        self._market_price = market_price

    async def run(self) -> None:
        """Fund, deploy, bootstrap.

        Raises:
            DeploymentError: a transaction failed.
            NodeError: the devnet cannot be reached or refuses.
        """
        await self._fund()
        await self._deploy()
        await self._bootstrap()
        await self._insure()
        await self._reward()

    async def _fund(self) -> None:
        """Gifts for those who have nothing, as many at a time as the node lets one account have waiting."""
        poor = [who for who in self._cast.everyone() if not await self._is_funded(who)]
        for start in range(0, len(poor), FUNDED_AT_ONCE):
            group = poor[start : start + FUNDED_AT_ONCE]
            for who in group:
                await self._devnet.fund(who.address, micro_stx=GIFT_MICRO_STX, sats=GIFT_SATS)
            for who in group:
                await self._until(self._is_funded, who, what=f"A gift to {who.name}")

    async def _is_funded(self, who: Account) -> bool:
        return (await self._node.account(who.address)).balance > 0

    async def _deploy(self) -> None:
        missing = [step for step in publish(sources_folder()) if not await self._is_deployed(step.name)]
        for step in missing:
            await self._wallet.deploy(self._cast.deployer, step.name, step.source)
        for step in missing:
            await self._until(self._is_deployed, step.name, what=f"The deployment of {step.name}")

    async def _is_deployed(self, name: str) -> bool:
        return await self._node.contract_interface(self._calls.contract(name)) is not None

    async def _bootstrap(self) -> None:
        burn_height = (await self._node.info()).burn_block_height
        registry, params, oracle, gov = self._calls.bootstrap(
            self._cast.deployer,
            guardian=self._cast.guardian.address,
            assets=[(name, name == "BTC", self._market_price(name, burn_height)) for name in ASSETS],
            feeders=[(who.address, SUBMITTER_WEIGHT) for who in self._cast.submitters],
        )
        fast = self._calls.set_params(self._cast.deployer, PARAMETERS)
        steps = {
            registry: self._has_modules,
            params: self._has_params,
            oracle: self._has_assets,
            gov: self._has_stake_token,
            fast: self._is_fast,
        }
        missing = [call for call, is_done in steps.items() if not await is_done()]
        for call in missing:
            await self._wallet.send(call)
        for call in missing:
            await self._until(steps[call], what=call.note)

    async def _insure(self) -> None:
        """Roles, a tier and promises, without which nothing of the insurance would happen."""
        calls = insurance_setup(self._cast, self._calls)
        if not await has_insurance(self._reader, self._calls):
            for call in calls:
                await self._wallet.send(call)
        await self._until(has_insurance, self._reader, self._calls, what=calls[-1].note)

    async def _reward(self) -> None:
        """Allocations, a discount and a programme, without which no fee or reward would go anywhere."""
        calls = rewards_setup(self._cast, self._calls, (await self._node.info()).burn_block_height)
        if not await has_rewards(self._reader):
            for call in calls:
                await self._wallet.send(call)
        await self._until(has_rewards, self._reader, what=calls[-1].note)

    async def _has_modules(self) -> bool:
        return await self._reader.ask("bh-registry", "get-active-version", StringAscii("policy")) is not None

    async def _has_params(self) -> bool:
        return await self._reader.ask("bh-params", "get-param-row", StringAscii("min-duration")) is not None

    async def _has_assets(self) -> bool:
        return await self._reader.ask("bh-oracle", "get-asset", StringAscii(ASSETS[0])) is not None

    async def _has_stake_token(self) -> bool:
        return await self._reader.ask("bh-gov", "get-token") is not None

    async def _is_fast(self) -> bool:
        row = await self._reader.ask("bh-params", "get-param-row", StringAscii("min-duration"))
        return bool(row and row["value"] == PARAMETERS["min-duration"])

    async def _until(self, is_done: Callable[..., Awaitable[bool]], *subject: Any, what: str) -> None:
        for _ in range(PATIENCE_BLOCKS):
            if await is_done(*subject):
                return
            await self._next_block()
        raise DeploymentError(
            f"{what} has had no effect after {PATIENCE_BLOCKS} blocks: its transaction failed or was not mined. The "
            "devnet's state and its log tell why."
        )
