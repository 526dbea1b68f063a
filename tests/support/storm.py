"""A market crash on a devnet: hundreds of positions that no longer cover what they back, policies that expire in the
money, blocks that are full, fees up tenfold, and a mempool that loses transactions.

One tier, ``storm``, asks for 110 % and lets one policy bind a whole position, so that every position stands near its
limit before the crash. Everything follows from the seed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import httpx

from clarion.chains.stacks.clarity import Bool, OptionalNone, StringAscii, Tuple, UInt, contract_principal, principal
from clarion.chains.stacks.node_client import NodeClient
from clarion.chains.stacks.payloads import ContractCall
from clarion.chains.stacks.signing import signed_transaction
from clarion.dev.accounts import NETWORK, Account, account
from clarion.dev.calls import Call, Cover, PolicyTerms
from clarion.dev.devnet_client import DevnetClient
from clarion.dev.scenario import Scenario

BP: Final = 10_000
E6: Final = 10**6
E8: Final = 10**8
TIER: Final = "storm"
TIER_ROW: Final = {
    "strike-min-bp": 5_000,
    "strike-max-bp": 7_000,
    "max-duration-burn": 1_000,
    "premium-mult-bp": 10_000,
    "ratio-min-bp": 11_000,
    "ratio-warn-bp": 11_000,
    "max-policy-bp": BP,
    "max-expiry-bp": BP,
}
JOBS: Final = ("fix-expiry-price", "settle", "issue-margin-call", "escalate-margin-call", "liquidate")
"""What a keeper has to do in a storm; prices are looked after by the oracle's providers."""
DUE_TIER: Final = "aggressive"
LIVE_BLOCKS: Final = 300
"""Bitcoin blocks that the policies behind the positions have to live."""
DUE_BLOCKS: Final = 4
"""Bitcoin blocks until the others expire."""
BOUND_BP: Final = 9_900
"""What a position's policy binds of it."""
FUND_STX: Final = 6_000_000 * E6
GIFT_STX: Final = 60_000 * E6
SOLID_STX: Final = 500_000 * E6
CHAINED: Final = 20
"""Transactions of one account that wait at once."""
IN_A_BLOCK: Final = 60
"""Transactions of everybody that wait at once: a block of hundreds keeps a devnet busy for long."""
DEAR_FEE: Final = 1_200_000
"""What the oracle's providers pay while blocks are full, in micro-STX: more than the keeper may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """What a storm is like. Fees in micro-STX a byte, ``dropped`` the part of the mempool that is lost now and then."""

    capacity: int
    strangers: int
    calm_fees: tuple[int, int]
    wild_fees: tuple[int, int]
    wild_blocks: int
    dropped: float
    drop_every: int
    burn_every: int


@dataclass(frozen=True, slots=True)
class Wreck:
    """A position that the crash leaves insolvent, and the policy that it backs."""

    provider: str
    policy: int
    liability_usd8: int


class Storm:
    """Prepares the world, lets the prices fall, and mines a block at a time."""

    def __init__(
        self, scenario: Scenario, devnet: DevnetClient, node: NodeClient, *, positions: int, due: int, seed: int
    ) -> None:
        self._scenario = scenario
        self._devnet = devnet
        self._node = node
        self._random = Random(seed)
        self._stx = scenario.calls.stx_token
        self.owners = [account(f"storm-provider-{number}") for number in range(positions)]
        self._buyers = [account(f"storm-buyer-{number}") for number in range(max(1, -(-(positions + due) // CHAINED)))]
        self._solid = [account(f"storm-solid-{number}") for number in range(2)]
        self._due = due
        self.wrecks: list[Wreck] = []
        self.expiring: list[int] = []
        self.crash_height = 0
        self.blocks = 0

    async def prepare(self, *others: str) -> None:
        """Contracts, capital, policies. ``others``: further addresses that get money for fees."""
        await self._scenario.prepare()
        cast, calls = self._scenario.cast, self._scenario.calls
        everyone = [*self.owners, *self._buyers, *self._solid]
        await self._give([*((who.address, GIFT_STX) for who in everyone), *((who, GIFT_STX) for who in others)])
        await self._give([(who.address, SOLID_STX) for who in self._solid] + [(cast.deployer.address, 2 * FUND_STX)])
        stx, none = principal(self._stx), OptionalNone()
        row = Tuple({**{name: UInt(value) for name, value in TIER_ROW.items()}, "active": Bool(True)})

        def govern(contract: str, function: str, *arguments: Any) -> Call:
            return calls.call(cast.deployer, contract, function, *arguments, note=f"{function} for the storm")

        gift = (stx, UInt(FUND_STX))
        await self._do(
            govern("bh-params", "set-tier", StringAscii(TIER), row, none),
            calls.set_params(cast.deployer, {"oracle-max-deviation-bp": 5_000}),
            calls.pay(
                cast.deployer, "bh-fund", "capitalize", *gift, token=self._stx, amount=FUND_STX, note="fills the fund"
            ),
            govern("bh-fund", "set-coverage", StringAscii(TIER), stx, UInt(0), UInt(10**9 * E8), none),
        )
        await self._do(
            calls.call(
                cast.steward, "bh-fund", "allocate", stx, StringAscii(TIER), UInt(FUND_STX * 9 // 10), note="allocates"
            )
        )
        fund = await self._scenario.reader.position(calls.contract("bh-fund"), TIER, self._stx)
        assert fund.available == FUND_STX * 9 // 10, "the fund has nothing to take over with"
        await self.price({"BTC": 100, "STX": 100}, dear=False)
        stakes = {who.address: self._random.randrange(1_000, 20_000) * E6 for who in self.owners}
        await self._do(
            *(calls.deposit(who, self._stx, TIER, stakes[who.address]) for who in self.owners),
            *(calls.deposit(who, self._stx, DUE_TIER, SOLID_STX) for who in self._solid),
        )
        await self._sell(stakes)

    async def _sell(self, stakes: dict[str, int]) -> None:
        """One policy behind each owner's position, and those that are to expire, in a random order of value."""
        world = await self._scenario.look()
        btc, stx = world.assets["BTC"].price_usd8, world.assets["STX"].price_usd8
        token = await self._scenario.reader.ask("bh-params", "get-token", principal(self._stx))
        wanted: list[tuple[str, int, int, int]] = []
        for who in self.owners:
            worth = stakes[who.address] * BOUND_BP // BP * stx // 10 ** token["decimals"]
            liability = worth * (BP - token["haircut-bp"]) // TIER_ROW["ratio-min-bp"]
            wanted.append((who.address, btc * 60 // 100, liability, world.burn_height + LIVE_BLOCKS))
        for number in range(self._due):
            solid = self._solid[number % len(self._solid)]
            notional_usd8 = self._random.randrange(200, 2_000) * E8
            wanted.append((solid.address, btc * 99 // 100, notional_usd8, world.burn_height + DUE_BLOCKS))
        policies = []
        for number, (provider, strike, liability, expiry) in enumerate(wanted):
            notional = liability * E8 // strike
            terms = PolicyTerms("put", "european", "BTC", strike, notional, expiry, self._stx)
            cover = [Cover(provider, strike * notional // E8)]
            buyer = self._buyers[number // CHAINED]
            policies.append(self._scenario.calls.create_policy(buyer, terms, GIFT_STX // 100, cover))
        before = await self._scenario.reader.ask("bh-policy", "get-last-policy")
        await self._do(*policies)
        after = await self._scenario.reader.ask("bh-policy", "get-last-policy")
        assert after - before == len(policies), f"{len(policies) - (after - before)} policies were not sold"
        for number in range(before + 1, after + 1):
            row = await self._scenario.reader.ask("bh-policy", "get-policy", UInt(number))
            if row["tier"] == TIER:
                (part,) = row["allocations"] if "allocations" in row else await self._allocations(number)
                self.wrecks.append(Wreck(part["provider"], number, part["liability-usd8"]))
            else:
                self.expiring.append(number)

    async def _allocations(self, policy: int) -> Any:
        lock = await self._scenario.reader.ask("bh-vault", "get-lock", UInt(policy))
        return lock["allocations"]

    async def crash(self) -> None:
        """The policies that are to expire do, and prices fall: BTC by a tenth, STX by two fifths."""
        await self._devnet.burn(DUE_BLOCKS)
        await self.price({"BTC": 90, "STX": 60}, dear=True)
        self.crash_height = (await self._node.info()).stacks_tip_height

    async def price(self, percent: dict[str, int], *, dear: bool) -> None:
        """A round of each of these assets, at so many percent of its last price, in two blocks or more."""
        world = await self._scenario.look()
        calls, submitters = self._scenario.calls, self._scenario.cast.submitters
        submissions, closings = [], []
        for asset, part in percent.items():
            view = world.assets[asset]
            usd8 = (view.price_usd8 or self._scenario.planner.market_price(asset, 0)) * part // 100
            submissions += [
                calls.submit_price(who, asset, view.next_round, usd8, world.burn_height) for who in submitters
            ]
            closings.append(calls.close_round(submitters[0], asset, view.next_round))
        for group in (submissions, closings):
            if dear:
                await self._send_dear(group)
            else:
                for call in group:
                    assert await self._scenario.send(call), call.note
                await self.mine()

    async def congest(self, weather: Weather, *, wild: bool) -> None:
        """Strangers fill the blocks, at the calm fees or the wild ones."""
        fees = weather.wild_fees if wild else weather.calm_fees
        await self._control(
            "congestion", capacity=weather.capacity, strangers=weather.strangers, stranger_fees=list(fees)
        )

    async def step(self, weather: Weather) -> None:
        """One block of the storm; now and then a Bitcoin block with a price round before it, and a loss."""
        if self.blocks == weather.wild_blocks:
            await self.congest(weather, wild=False)
        if self.blocks % weather.drop_every == weather.drop_every - 1:
            await self._control("drop", fraction=weather.dropped, reason="TooExpensive")
        if self.blocks % weather.burn_every == weather.burn_every - 1:
            await self._devnet.burn()
            await self.price({"STX": 100}, dear=True)
        else:
            await self.mine()
        self.blocks += 1

    async def mine(self) -> None:
        """One Stacks block."""
        await self._devnet.mine()

    async def _do(self, *calls: Call) -> None:
        """Send calls and mine them, in as many blocks as that takes."""
        waiting: Counter[str] = Counter()
        for call in calls:
            if waiting[call.sender.address] >= CHAINED or waiting.total() >= IN_A_BLOCK:
                await self.mine()
                waiting.clear()
            waiting[call.sender.address] += 1
            assert await self._scenario.send(call), call.note
        await self.mine()

    async def _give(self, gifts: Iterable[tuple[str, int]]) -> None:
        """Money from the faucet, as many gifts in a block as it may have waiting."""
        for number, (address, micro_stx) in enumerate(gifts, 1):
            await self._devnet.fund(address, micro_stx=micro_stx)
            if number % CHAINED == 0:
                await self.mine()
        await self.mine()

    async def _send_dear(self, calls: Iterable[Call]) -> None:
        """Send calls for a fee that nobody else pays, and mine until all of them are in."""
        nonces: dict[str, int] = {}
        for call in calls:
            nonce = nonces.get(call.sender.address)
            if nonce is None:
                nonce = (await self._node.account(call.sender.address)).nonce
            nonces[call.sender.address] = nonce + 1
            await self._node.send(await self._signed(call.sender, call, nonce))
        while any([(await self._node.account(who)).nonce < nonce for who, nonce in nonces.items()]):
            await self.mine()

    async def _signed(self, sender: Account, call: Call, nonce: int) -> bytes:
        return signed_transaction(
            ContractCall(contract_principal(call.contract), call.function, call.arguments),
            sender.key,
            nonce=nonce,
            fee=DEAR_FEE,
            network=NETWORK,
            post_conditions=call.post_conditions,
            post_condition_mode=call.post_condition_mode,
            chain_id=(await self._node.info()).chain_id,
        ).encode()

    async def _control(self, route: str, **body: Any) -> None:
        async with httpx.AsyncClient(base_url=self._devnet.url, timeout=60) as http:
            response = await http.post(f"/devnet/{route}", json=body)
            response.raise_for_status()
