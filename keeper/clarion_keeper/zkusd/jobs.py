"""zkUSD's jobs: liquidate, redeem, rescue own vaults; and what people have to see: a stale price, states that the
mempool spends already, and vaults that are worth a spell that nobody should send now.

All of them decide on one state. Whether a spell can really be made, and what it costs exactly, is found out when it is
built: see :mod:`clarion_keeper.zkusd.executor`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final

from clarion.chains.bitcoin.addresses import script_of
from clarion.chains.bitcoin.units import script_text
from clarion.chains.model import Chain
from clarion.chains.stacks.clarity import Value
from clarion.config import Keeper, Lane
from clarion.protocols.zkusd.units import Base, Percent
from clarion_keeper.graph import Reader
from clarion_keeper.intents import Amount, Call, Intent, Item, Outcome, Verdict
from clarion_keeper.job import Job, JobChain, JobContext
from clarion_keeper.rates import BTC
from clarion_keeper.zkusd.candidates import Opportunity, Outlook
from clarion_keeper.zkusd.orders import SpellOrder, order_of
from clarion_keeper.zkusd.state import ZkUsdState, read_state

EARNS: Final = "earns"
"""In an intent's item, beside the order: what the spell brings in, in satoshis by the prices it was decided at."""


class Desk:
    """What zkUSD's jobs share: settings, the keeper's own scripts, and one reading for all that ask at a time."""

    def __init__(self, settings: Keeper, scripts: frozenset[str]) -> None:
        self.settings: Final = settings
        self.scripts: Final = scripts
        self._reading = asyncio.Lock()
        self._readings = 0
        self._state: ZkUsdState | None = None

    async def read(self, reader: Reader) -> ZkUsdState:
        """The state, read once for all jobs that ask while it is being read."""
        before = self._readings
        async with self._reading:
            if self._state is None or self._readings == before:
                zkusd = self.settings.zkusd
                self._state = await read_state(
                    reader,
                    scripts=sorted(self.scripts),
                    redeem_most=Base(0 if zkusd.redeem_at_price8 is None else zkusd.redeem_most),
                    rescue_below=Percent(zkusd.rescue_below_percent),
                )
                self._readings += 1
            return self._state

    def outlook(self, state: ZkUsdState) -> Outlook:
        """What can be done."""
        return Outlook(state, self.settings, self.scripts)

    def pays(self, one: Opportunity) -> bool:
        """Whether it earns what ``keeper.min_profit`` asks for, by the estimate of its cost."""
        least = self.settings.min_profit
        return least is None or (one.net >= 0 and one.value_usd8 >= least)


class ZkUsdJob(Job[ZkUsdState]):
    """What zkUSD's jobs have in common. Those of the chain ``bitcoin`` make a spell of an intent, one at a time."""

    chain: JobChain = "bitcoin"
    reads: Chain | None = "bitcoin"

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def read(self, reader: Reader) -> ZkUsdState:
        """See :mod:`clarion_keeper.zkusd.state`."""
        return await self._desk.read(reader)

    def spell(self, items: Sequence[Item]) -> SpellOrder:
        """What the spell of an intent is to do."""
        (item,) = items
        return order_of(item)

    def call(self, items: Sequence[Item]) -> Call:
        """There are no calls on Bitcoin."""
        raise NotImplementedError(f"{self.name} makes spells: see `spell`")

    def outcomes(self, items: Sequence[Item], result: Value | None) -> Sequence[Outcome]:
        """A spell that is mined has done what it says: its proof is that the contracts consented."""
        return [Outcome(Verdict.DONE, "the spell is mined", earned=_earned(item)) for item in items]


class Liquidate(ZkUsdJob):
    """Have the stability pool pay for vaults below the least ratio, for the bonus and the reserve."""

    name = "zkusd-liquidate"
    lane = Lane.RESCUE

    def check(self, state: ZkUsdState) -> Sequence[Intent]:
        """Those that nothing speaks against and that pay, by profit."""
        found = self._desk.outlook(state).liquidations()
        return [_intent(self.name, one) for one in found if not one.problems and self._desk.pays(one)]


class Redeem(ZkUsdJob):
    """Redeem zkUSD that is cheaper elsewhere. Only where ``keeper.zkusd.redeem_at_price8`` is set."""

    name = "zkusd-redeem"
    lane = Lane.UPKEEP

    def check(self, state: ZkUsdState) -> Sequence[Intent]:
        """Those that nothing speaks against and that pay, by profit."""
        found = self._desk.outlook(state).redemptions()
        return [_intent(self.name, one) for one in found if not one.problems and self._desk.pays(one)]


class Rescue(ZkUsdJob):
    """Add collateral to the keeper's own vaults. Only where ``keeper.zkusd.rescue_most`` is set."""

    name = "zkusd-rescue"
    lane = Lane.RESCUE

    def check(self, state: ZkUsdState) -> Sequence[Intent]:
        """Those that nothing speaks against, by what is at stake."""
        found = self._desk.outlook(state).rescues()
        return [_intent(self.name, one, earns=False) for one in found if not one.problems]


class StalePrice(ZkUsdJob):
    """Say where the oracle's price cannot be relied on: nothing is liquidated or redeemed meanwhile."""

    name = "zkusd-stale-price"
    lane = Lane.ORACLE
    chain: JobChain = "none"

    def check(self, state: ZkUsdState) -> Sequence[Intent]:
        """One for each set of apps whose price is stale."""
        return [
            Intent(
                key=f"zkusd:stale-price:{market.name}",
                job=self.name,
                item={"app_set": market.name},
                cause=f"the price of {market.name} is stale: {market.price_age}",
                entity=f"zkusd:{market.name}",
            )
            for market in state.markets
            if market.price8 is not None and market.price_stale
        ]


class Contention(ZkUsdJob):
    """Say which states somebody else's waiting transaction spends: every operation spends the vault manager's, so
    they follow one another, and whoever is first wins.
    """

    name = "zkusd-contention"
    lane = Lane.RESCUE
    chain: JobChain = "none"

    def check(self, state: ZkUsdState) -> Sequence[Intent]:
        """One for each state that is spent in the mempool where there is something to liquidate that pays."""
        found = [one for one in self._desk.outlook(state).liquidations() if self._desk.pays(one)]
        wanted = {one.order.app_set for one in found}
        return [intent for market in wanted for intent in self._of(state, market)]

    def _of(self, state: ZkUsdState, name: str) -> Iterator[Intent]:
        market = next(market for market in state.markets if market.name == name)
        for role, app_state in sorted(market.states.items()):
            spend = state.pending.get(app_state.outpoint)
            if spend is not None and self._desk.scripts.isdisjoint(spend.scripts):
                yield Intent(
                    key=f"zkusd:contention:{name}:{role}",
                    job=self.name,
                    item={"app_set": name, "role": role, "outpoint": app_state.outpoint, "tx_id": spend.tx_id},
                    cause=f"the mempool's transaction {spend.tx_id} spends the state of the {role.replace('_', ' ')}",
                    entity=f"zkusd:{name}:{role}",
                )


class HeldBack(ZkUsdJob):
    """Say which vaults are worth a spell and why none is sent."""

    name = "zkusd-held-back"
    lane = Lane.UPKEEP
    chain: JobChain = "none"

    def check(self, state: ZkUsdState) -> Sequence[Intent]:
        """One for each opportunity that pays and that something speaks against."""
        outlook = self._desk.outlook(state)
        paying = [one for one in (*outlook.liquidations(), *outlook.redemptions()) if self._desk.pays(one)]
        found = [one for one in (*paying, *outlook.rescues()) if one.problems]
        return [
            Intent(
                key=f"{one.order.key}:held-back",
                job=self.name,
                item=one.order.item(),
                value_usd8=one.value_usd8,
                cause=f"{one.cause}. Held back: {'; '.join(one.problems)}",
                entity=f"zkusd:{one.order.app_set}:{one.order.vault}",
            )
            for one in found
        ]


def jobs(context: JobContext) -> Sequence[ZkUsdJob]:
    """zkUSD's jobs: the entry point ``zkusd`` of ``clarion.keeper_jobs``."""
    network = context.settings.bitcoin.network
    scripts = {script_text(script_of(address, network)) for address in context.bitcoin_addresses.values()}
    desk = Desk(context.settings.keeper, frozenset(scripts))
    return [Liquidate(desk), Redeem(desk), Rescue(desk), StalePrice(desk), Contention(desk), HeldBack(desk)]


def _intent(job: str, one: Opportunity, *, earns: bool = True) -> Intent:
    return Intent(
        key=one.order.key,
        job=job,
        item={**one.order.item(), EARNS: one.gross if earns else 0},
        value_usd8=one.value_usd8,
        reward=Amount(token=BTC, amount=one.gross) if earns else None,
        cause=one.cause,
        entity=f"zkusd:{one.order.app_set}:{one.order.vault}",
    )


def _earned(item: Item) -> Amount | None:
    earns = int(item.get(EARNS, 0))  # what was decided by an earlier release does not say
    return Amount(token=BTC, amount=earns) if earns else None
