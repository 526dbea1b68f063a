"""zkUSD on a regtest: the contracts accept every operation, and the figures add up whatever the cast does."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from clarion.chains.bitcoin.charms.apps import AppRefusedError
from clarion.chains.bitcoin.charms.drafts import SpellDraft
from clarion.dev.bitcoin.adversary import HARMFUL, HARMLESS, Adversary
from clarion.dev.bitcoin.keys import Key
from clarion.dev.bitcoin.node import RegtestNode
from clarion.dev.bitcoin.premine import MINER, deployment_coins, premine, receivers, zkusd_apps
from clarion.dev.bitcoin.rpc_methods import RpcMethods
from clarion.dev.bitcoin.sender import call_of
from clarion.dev.bitcoin.zkusd_apps import FEES, LIQUIDATION_RESERVE, ORACLE, UNIT
from clarion.dev.bitcoin.zkusd_operations import compounded, gain
from clarion.dev.bitcoin.zkusd_scenario import (
    BORROWERS,
    CAST,
    KEEPER,
    REDEEMER,
    TROUBLEMAKER,
    ZkUsdScenario,
    market_price,
)
from clarion.protocols.zkusd.apps import POOL_BASE_SATS, owner_of
from clarion.protocols.zkusd.terms import NotPossibleError

SEED = 3
TIME = 1_700_000_000
ANNA, BERT = BORROWERS[0], BORROWERS[-1]


class World:
    """A regtest with zkUSD deployed, driven step by step."""

    def __init__(self, *, seed: int = SEED, forks: bool = False) -> None:
        self.node = RegtestNode(seed=seed)
        premine(self.node, time=TIME)
        self.call = call_of(RpcMethods(self.node, self.clock))
        self.scenario = ZkUsdScenario(self.call, seed=seed, forks=forks)
        self.zkusd, self.view, self.sender = self.scenario.zkusd, self.scenario.view, self.scenario.sender
        self.run(self.scenario.prepare())
        self.mine()

    def clock(self) -> int:
        return TIME + 600 * len(self.node.chain.blocks)

    def run(self, doing: object) -> None:
        asyncio.run(doing)  # type: ignore[arg-type]

    def mine(self) -> None:
        self.node.mine(1, MINER.taproot_script, time=self.clock())
        self.run(self.view.sync())

    def cast(self, draft: SpellDraft, payer: Key) -> None:
        self.run(self.sender.cast(draft, payer))

    def act(self) -> list[str]:
        done: list[str] = []

        async def act() -> None:
            done.extend(await self.scenario.act())

        self.run(act())
        return done

    def check(self, *, destroyed: bool = False) -> None:
        """What holds of the figures; where zkUSD was ``destroyed``, there is less of it than the supply says."""
        zkusd = self.zkusd
        totals, vaults, pool = zkusd.vault_manager()["protocol"], zkusd.vaults(), zkusd.pool()
        supply = zkusd.token()["total_supply"]
        assert totals["total_debt"] == sum(vault["debt"] for vault in vaults)
        assert totals["total_collateral"] == sum(vault["collateral"] for vault in vaults)
        assert totals["active_vault_count"] == len(vaults)
        assert supply == totals["total_debt"] - len(vaults) * LIQUIDATION_RESERVE
        assert all(vault.where.coin.amount == vault["collateral"] for vault in vaults)
        held = sum(data for _, data in self.view.with_charm(zkusd.apps.zkusd) if isinstance(data, int))
        assert held < supply if destroyed else held == supply
        assert pool.where.coin.amount == POOL_BASE_SATS + pool["total_btc"]
        deposits = [deposit for who in CAST for deposit in zkusd.deposits(who)]
        assert pool["depositor_count"] == len(deposits)
        assert sum(compounded(deposit.data, pool.data) for deposit in deposits) <= pool["total_zkusd"]
        assert sum(gain(deposit.data, pool.data) for deposit in deposits) <= pool["total_btc"]


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.node.close()


def test_apps_are_known_before_they_are_deployed(world: World) -> None:
    blocks = [world.node.chain.blocks[digest] for digest in world.node.chain.active[1:5]]
    assert [outpoint.tx_id for outpoint in deployment_coins(SEED)] == [block.transactions[0].id for block in blocks]
    assert zkusd_apps(SEED) == world.zkusd.apps != zkusd_apps(SEED + 1)
    assert world.zkusd.is_deployed()


def test_the_first_blocks_are_made_once_and_go_on_where_a_kill_ended_them(tmp_path: Path) -> None:
    node = RegtestNode(tmp_path, seed=SEED)
    for receiver in receivers()[:3]:
        node.mine(1, receiver.taproot_script, time=TIME - 10**6)
    node.close()
    again = RegtestNode(tmp_path, seed=SEED)
    premine(again, time=TIME)
    first = [again.chain.blocks[digest].transactions[0].id for digest in again.chain.active[1:5]]
    assert first == [outpoint.tx_id for outpoint in deployment_coins(SEED)]
    tip = again.chain.tip
    assert tip.header.time == TIME
    premine(again, time=TIME)
    assert again.chain.tip is tip
    again.close()


def test_every_operation(world: World) -> None:
    zkusd, cast = world.zkusd, world.cast
    cast(zkusd.open(ANNA, collateral=5 * UNIT // 100, borrow=2_000 * UNIT), ANNA)
    cast(zkusd.open(BERT, collateral=3 * UNIT // 100, borrow=1_500 * UNIT), BERT)
    (anna,) = zkusd.vaults(ANNA)
    assert anna["debt"] == (2_000 + 10 + 2) * UNIT
    assert zkusd.balance(FEES) == (10 + 7) * UNIT + UNIT // 2
    world.check()
    for collateral, debt in ((100_000, 0), (0, 50 * UNIT), (-1_000, -20 * UNIT), (-1_000, 0), (0, -UNIT)):
        (anna,) = zkusd.vaults(ANNA)
        cast(zkusd.adjust(ANNA, anna, collateral=collateral, debt=debt), ANNA)
        world.check()
    cast(zkusd.position(ANNA, 1_600 * UNIT), ANNA)
    cast(zkusd.position(BERT, 800 * UNIT), BERT)
    cast(zkusd.transfer(BERT, REDEEMER.taproot_script, 300 * UNIT), BERT)
    world.check()
    before = zkusd.vaults(BERT)[0]
    cast(zkusd.redeem(REDEEMER, before, 100 * UNIT), REDEEMER)
    (after,) = zkusd.vaults(BERT)
    assert before["debt"] - after["debt"] == 100 * UNIT
    assert before["collateral"] - after["collateral"] == 99_250  # 0.001 bitcoin, less 0.75 %
    world.check()
    world.mine()
    while not zkusd.is_liquidatable(zkusd.vaults(BERT)[0]):
        cast(zkusd.update_price(0), ORACLE)
    total = zkusd.total_ratio()
    assert total is not None
    assert total < 150  # recovery mode
    with pytest.raises(AppRefusedError, match="in recovery mode"):
        cast(zkusd.adjust(ANNA, zkusd.vaults(ANNA)[0], debt=UNIT), ANNA)
    bonus = zkusd.balance(KEEPER)
    cast(zkusd.liquidate(KEEPER, zkusd.vaults(BERT)[0], BERT), KEEPER)
    assert zkusd.balance(KEEPER) == bonus + LIQUIDATION_RESERVE
    assert not zkusd.vaults(BERT)
    assert zkusd.pool()["total_btc"] > 0
    world.check()
    world.mine()
    with pytest.raises(NotPossibleError, match="cannot be liquidated"):
        zkusd.liquidate(KEEPER, zkusd.vaults(ANNA)[0], ANNA)
    (deposit,) = zkusd.deposits(BERT)
    owed = compounded(deposit.data, zkusd.pool().data)
    held = zkusd.balance(BERT)
    cast(zkusd.position(BERT, 0), BERT)
    assert zkusd.balance(BERT) == held + owed
    cast(zkusd.transfer(BERT, ANNA.taproot_script, zkusd.balance(BERT)), BERT)
    cast(zkusd.position(ANNA, 100 * UNIT), ANNA)
    world.check()
    world.mine()


def test_a_vault_is_closed_with_what_others_paid(world: World) -> None:
    zkusd, cast = world.zkusd, world.cast
    cast(zkusd.open(ANNA, collateral=UNIT // 10, borrow=500 * UNIT), ANNA)
    cast(zkusd.open(BERT, collateral=UNIT // 10, borrow=900 * UNIT), BERT)
    (vault,) = zkusd.vaults(ANNA)
    with pytest.raises(NotPossibleError, match="lacks"):
        zkusd.close(ANNA, vault)
    cast(zkusd.transfer(BERT, ANNA.taproot_script, 10 * UNIT), BERT)
    cast(zkusd.close(ANNA, vault), ANNA)
    assert not zkusd.vaults(ANNA)
    assert zkusd.balance(ANNA) == (510 - 502) * UNIT - UNIT // 2
    world.check()


def test_a_redemption_that_ends_a_vault_pays_its_owner(world: World) -> None:
    zkusd, cast = world.zkusd, world.cast
    cast(zkusd.open(ANNA, collateral=UNIT // 10, borrow=500 * UNIT), ANNA)
    cast(zkusd.open(BERT, collateral=UNIT // 10, borrow=900 * UNIT), BERT)
    cast(zkusd.transfer(BERT, REDEEMER.taproot_script, 800 * UNIT), BERT)
    (vault,) = zkusd.vaults(ANNA)
    with pytest.raises(NotPossibleError, match="left for the owner"):
        zkusd.redeem(REDEEMER, vault, 800 * UNIT)
    cast(zkusd.redeem(REDEEMER, vault, 800 * UNIT, owner=ANNA), REDEEMER)
    assert not zkusd.vaults(ANNA)
    world.check()


def test_a_pool_that_is_too_small_pays_what_it_can(world: World) -> None:
    zkusd, cast = world.zkusd, world.cast
    cast(zkusd.open(ANNA, collateral=UNIT // 10, borrow=1_000 * UNIT), ANNA)
    cast(zkusd.open(BERT, collateral=2 * UNIT // 100, borrow=1_000 * UNIT), BERT)
    cast(zkusd.position(ANNA, 401 * UNIT), ANNA)
    while zkusd.ratio(zkusd.vaults(BERT)[0]) >= 110:
        cast(zkusd.update_price(0), ORACLE)
    (before,) = zkusd.vaults(BERT)
    cast(zkusd.liquidate(KEEPER, before, BERT), KEEPER)
    (after,) = zkusd.vaults(BERT)
    assert before["debt"] - after["debt"] == 400 * UNIT
    assert zkusd.pool()["total_zkusd"] == UNIT
    assert zkusd.pool()["current_scale"] == 0
    world.check()


def test_a_cast_goes_through_a_fall_and_a_recovery_and_forks_and_restarts() -> None:
    world = World(forks=True)
    done: list[str] = []
    for _ in range(60):
        done += world.act()
        world.mine()
    words = Counter(word for note in done for word in note.split())
    for word in ("opens", "deposits", "withdraws", "repays", "redeems", "liquidated", "sends", "adds", "fork"):
        assert words[word], f"no {word}"
    world.check(destroyed="destroyed_token" in done)
    again = ZkUsdScenario(world.call, seed=SEED)
    world.run(again.prepare())
    assert again.view.outputs == world.view.outputs
    world.node.close()


def test_the_same_seed_does_the_same() -> None:
    tips = []
    for _ in range(2):
        world = World(seed=9)
        for _ in range(3):
            world.act()
            world.mine()
        tips.append(world.node.chain.tip.hash)
        world.node.close()
    assert tips[0] == tips[1]


@pytest.mark.parametrize("case", [case for case in HARMFUL if case != "destroyed_vault"])
def test_no_contract_allows_what_does_harm(world: World, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cast = world.cast
    cast(world.zkusd.open(ANNA, collateral=UNIT // 10, borrow=500 * UNIT), ANNA)
    monkeypatch.setattr(world.sender, "cast_unchecked", world.sender.cast)
    with pytest.raises(AppRefusedError):
        world.run(Adversary(world.zkusd, world.view, world.sender, TROUBLEMAKER).do(case))


def test_cases_are_what_they_are_called(world: World) -> None:
    adversary = Adversary(world.zkusd, world.view, world.sender, TROUBLEMAKER)
    assert all(callable(getattr(adversary, case)) for case in (*HARMLESS, *HARMFUL))
    with pytest.raises(ValueError, match="no case is called"):
        world.run(adversary.do("run"))


def test_the_market_moves_no_more_than_the_oracle_may() -> None:
    prices = [market_price(SEED, height) for height in range(300)]
    steps = [abs(later - earlier) * 10_000 // earlier for earlier, later in pairwise(prices)]
    assert max(steps) < 500
    assert min(prices) < 65_000 * UNIT < 99_000 * UNIT < max(prices)


def test_owners_are_told_by_their_scripts() -> None:
    assert owner_of(ANNA.taproot_script) != owner_of(ANNA.segwit_script)


def test_a_keeper_is_given_time_for_a_vault_before_the_cast_does_it() -> None:
    world = World()
    world.scenario = ZkUsdScenario(world.call, seed=SEED, forks=False, keeper_blocks=2)
    world.zkusd, world.view, world.sender = world.scenario.zkusd, world.scenario.view, world.scenario.sender
    world.run(world.view.sync())
    world.cast(world.zkusd.open(ANNA, collateral=5 * UNIT // 100, borrow=2_000 * UNIT), ANNA)
    world.cast(world.zkusd.position(ANNA, 1_990 * UNIT), ANNA)
    world.cast(world.zkusd.open(BERT, collateral=192 * UNIT // 10_000, borrow=1_000 * UNIT), BERT)
    world.mine()
    while not world.zkusd.is_liquidatable(world.zkusd.vaults(BERT)[0]):
        world.cast(world.zkusd.update_price(0), ORACLE)
        world.mine()
    for _ in range(2):
        assert not any("price" in note or "liquidated" in note for note in world.act())
        world.mine()
    assert "the price moves" in world.act()
    world.node.close()
