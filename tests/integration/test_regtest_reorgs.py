"""Real blocks of a regtest through reorganizations: zkUSD's and Charms' rows and digests are those of a fresh index."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from support.index import truncate_index
from support.regtest import NETWORK, PROTOCOLS, opened, scanned, state

from clarion.chains.bitcoin.scanner import Scanner
from clarion.chains.bitcoin.tracked import Tracked
from clarion.dev.bitcoin.adversary import HARMFUL, HARMLESS, Adversary
from clarion.dev.bitcoin.chain import ChainBlock
from clarion.dev.bitcoin.node import RegtestNode
from clarion.dev.bitcoin.premine import MINER, premine
from clarion.dev.bitcoin.rpc_methods import RpcMethods
from clarion.dev.bitcoin.sender import call_of
from clarion.dev.bitcoin.zkusd_scenario import BORROWERS, TROUBLEMAKER, ZkUsdScenario
from clarion.follower import Followed, Follower
from clarion.ingest import ingest
from clarion.store.generation import make_tables

SEED = 5
TIME = 1_700_000_000


ANOMALIES = {
    "impostor_state": "ImpostorState",
    "destroyed_token": "CharmBurned",
    "unbacked_collateral": "UnbackedCollateral",
    "unbacked_mint": "SupplyMismatch",
    "price_of_the_sender": "PriceNotOracle",
    "closed_without_totals": "TotalsDrift",
    "healthy_vault_liquidated": "HealthyVaultLiquidated",
    "redeemed_from_nobody": "EmptyRedemption",
    "forked_state": "StateForked",
    "destroyed_vault": "VaultVanished",
}
"""What zkUSD's protocol says of the cases that concern it."""


class World:
    """A regtest with the zkUSD cast, and an index that is told of every block as it comes."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.node = RegtestNode(seed=SEED)
        premine(self.node, time=TIME)
        self.scenario = ZkUsdScenario(call_of(RpcMethods(self.node, lambda: self._clock)), seed=SEED, forks=False)
        self.adversary = Adversary(self.scenario.zkusd, self.scenario.view, self.scenario.sender, TROUBLEMAKER)
        self._connection = connection
        self._scanner, self._follower = Scanner(NETWORK, Tracked()), Follower()
        self._told = 0
        self._store = opened(connection, seed=SEED)

    @property
    def _clock(self) -> int:
        return TIME + 600 * len(self.node.chain.blocks)

    def play(self, blocks: int) -> list[str]:
        """Let the cast act in as many blocks."""

        async def act() -> list[str]:
            done = []
            for _ in range(blocks):
                done += await self.scenario.act()
                self.node.mine(1, MINER.taproot_script, time=self._clock)
            return done

        return asyncio.run(act())

    def misbehave(self, case: str) -> None:
        """Do one case and mine it."""

        async def do() -> None:
            await self.scenario.view.sync()
            await self.adversary.do(case)

        asyncio.run(do())
        self.node.mine(1, MINER.taproot_script, time=self._clock)

    def leave(self, tip: ChainBlock) -> None:
        """Replace what came after a block by empty blocks; what was in there is lost."""
        depth = self.node.chain.height - tip.height
        self.node.fork(depth, MINER.taproot_script, time=self._clock, keep_transactions=False)

    def follow(self) -> Followed:
        """Tell the index of the blocks that it has not heard of, those of lost branches too."""
        blocks = list(self.node.chain.blocks.values())[self._told :]
        self._told += len(blocks)
        return ingest(self._store, self._follower, scanned(self._scanner, blocks))

    def kinds(self) -> set[str]:
        """What happened to zkUSD in the last block, as the index says."""
        query = "SELECT kind FROM zkusd.event WHERE height = %s"
        return {kind for (kind,) in self._connection.execute(query, [self.node.chain.height])}

    def state(self) -> dict[str, Any]:
        """What the index holds."""
        return state(self._store.connection)

    def fresh(self) -> dict[str, Any]:
        """What an index of the chain as it is now holds, made in a transaction that is undone."""
        with self._connection.transaction(force_rollback=True):
            truncate_index(self._connection, *(row_type.name for p in PROTOCOLS for row_type in p.row_types))
            store = opened(self._connection, seed=SEED)
            chain = [self.node.chain.blocks[digest] for digest in self.node.chain.active]
            ingest(store, Follower(), scanned(Scanner(NETWORK, Tracked()), chain))
            return state(store.connection)


@pytest.fixture
def world(connection: psycopg.Connection[Any]) -> Iterator[World]:
    """A regtest on which everybody has a vault."""
    for protocol in PROTOCOLS:
        make_tables(connection, protocol, protocol.name)
    made = World(connection)
    asyncio.run(made.scenario.prepare())
    made.play(12)
    yield made
    made.node.close()


def test_reorgs_over_what_zkusd_does(world: World) -> None:
    world.follow()
    for depth in (1, 3, 6):
        lost = world.play(depth)
        assert lost
        before = world.follow()
        assert not before.rolled_back
        world.node.fork(depth, MINER.taproot_script, time=TIME, keep_transactions=depth != 3)
        assert world.follow().rolled_back == depth
        assert world.state() == world.fresh()
        world.play(2)
        world.follow()
    found = world.state()
    assert found == world.fresh()
    assert found["zkusd.vault"]
    assert found["charms.balance"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("depth", [20, 50, 100])
def test_a_deep_reorg(world: World, depth: int) -> None:
    world.play(depth - 10)
    world.follow()
    world.node.fork(depth, MINER.taproot_script, time=TIME)
    assert world.follow().rolled_back == depth
    assert world.state() == world.fresh()
    world.play(10)
    world.follow()
    assert world.state() == world.fresh()


def test_what_breaks_the_rules_is_undone_as_well(world: World) -> None:
    asyncio.run(endow(world))
    world.follow()
    for case in (*HARMLESS, *HARMFUL):
        tip, before = world.node.chain.tip, world.state()
        world.misbehave(case)
        world.follow()
        assert case not in ANOMALIES or ANOMALIES[case] in world.kinds()
        assert world.state()["chain"][:-1] == before["chain"]
        world.leave(tip)
        assert world.follow().rolled_back == 1, case
        after = world.state()
        for table in ("charms.charm", "charms.balance", "zkusd.vault", "zkusd.stability_pool", "zkusd.token_balance"):
            assert after[table] == before[table], (case, table)
    assert world.state() == world.fresh()


def test_what_breaks_the_rules_for_good_and_then_goes(world: World) -> None:
    asyncio.run(endow(world))
    tip = world.node.chain.tip
    for case in (*HARMLESS, *HARMFUL):
        world.misbehave(case)
    world.follow()
    found = world.state()
    assert found == world.fresh()
    depth = world.node.chain.height - tip.height
    world.leave(tip)
    assert world.follow().rolled_back == depth
    assert world.state() == world.fresh()


async def endow(world: World) -> None:
    """Give the troublemaker some zkUSD to lose."""
    scenario = world.scenario
    await scenario.view.sync()
    giver = next(who for who in BORROWERS if scenario.zkusd.balance(who))
    draft = scenario.zkusd.transfer(giver, TROUBLEMAKER.taproot_script, 1_000)
    await scenario.sender.cast(draft, giver)
    world.node.mine(1, MINER.taproot_script, time=TIME)
