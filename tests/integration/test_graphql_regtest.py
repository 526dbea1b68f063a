"""The API over a regtest on which zkUSD's cast acts: it says what the coins hold, before and after a fork."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pytest
from support.graphql import NO_CACHE, Server, answering
from support.regtest import NETWORK, PROTOCOLS, opened, scanned

from clarion.chains.bitcoin.scanner import Scanner
from clarion.chains.bitcoin.tracked import Tracked
from clarion.chains.bitcoin.units import outpoint_text
from clarion.follower import Follower
from clarion.ingest import ingest
from clarion_graphql.app import make_app

SEED = 5
TIME = 1_700_000_000
BLOCKS = 30


class World:
    """A regtest with its cast, and an index that follows it."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        from clarion.dev.bitcoin.node import RegtestNode
        from clarion.dev.bitcoin.premine import premine
        from clarion.dev.bitcoin.rpc_methods import RpcMethods
        from clarion.dev.bitcoin.sender import call_of
        from clarion.dev.bitcoin.zkusd_scenario import ZkUsdScenario

        self.node = RegtestNode(seed=SEED)
        premine(self.node, time=TIME)
        self.scenario = ZkUsdScenario(call_of(RpcMethods(self.node, self.clock)), seed=SEED, forks=False)
        self._store = opened(connection, seed=SEED)
        self._scanner, self._follower, self._told = Scanner(NETWORK, Tracked()), Follower(), 0

    def clock(self) -> int:
        """Ten minutes a block."""
        return TIME + 600 * len(self.node.chain.blocks)

    async def play(self, blocks: int) -> None:
        """Let the cast act in as many blocks, and index them."""
        from clarion.dev.bitcoin.premine import MINER

        for _ in range(blocks):
            await self.scenario.act()
            self.node.mine(1, MINER.taproot_script, time=self.clock())
        self.follow()
        await self.scenario.view.sync()

    async def fork(self, depth: int) -> None:
        """Lose the last blocks and all that was in them, for one block more."""
        from clarion.dev.bitcoin.premine import MINER

        self.node.fork(depth, MINER.taproot_script, time=self.clock(), keep_transactions=False)
        self.follow()
        await self.scenario.view.sync()

    def follow(self) -> None:
        """Index the blocks that are new."""
        blocks = list(self.node.chain.blocks.values())[self._told :]
        self._told += len(blocks)
        ingest(self._store, self._follower, scanned(self._scanner, blocks))


@pytest.fixture
def world(connection: psycopg.Connection[Any]) -> Iterator[World]:
    made = World(connection)

    async def begin() -> None:
        await made.scenario.prepare()
        await made.play(BLOCKS)

    asyncio.run(begin())
    yield made
    made.node.close()


DOCUMENT = """{
  zkusdProtocols { nodes {
    price8 recoveryMode tokenSupply burnedWithoutSpell holders activeVaults reportedCollateral driftDebt collateralGap
    stabilityPool { total collateral diverged } contracts { nodes { role outpoint live forks } }
  } }
  zkusdVaults(filter: {active: {eq: true}}, first: 500) { nodes {
    vaultId outpoint collateral debt icrPercent liquidatable backed finality
  } }
  zkusdLiquidationQueue { recoveryMode candidates { icrPercent vault { vaultId } } }
  zkusdSpDeposits(filter: {live: {eq: true}}) { nodes { outpoint compounded gain } }
  zkusdTokenBalances(filter: {amount: {gt: "0"}}, first: 500) { nodes { script amount } }
  charmsTokens { nodes {
    appId ticker supply held holders supplyDecimal balances(first: 500) { nodes { script amount } }
  } }
  zkusdHealth { score alerts { kind } }
}"""


async def check(world: World, server: Server) -> dict[str, Any]:
    """Hold what the API says to what the coins hold."""
    from clarion.dev.bitcoin.zkusd_operations import compounded, gain

    answer = await server.query(DOCUMENT)
    assert "errors" not in answer, answer["errors"]
    receipt = answer["extensions"]["receipt"]
    assert (receipt["chain"], receipt["height"]) == ("bitcoin", world.node.chain.height)
    data: dict[str, Any] = answer["data"]
    truth = world.scenario.zkusd
    (state,) = data["zkusdProtocols"]["nodes"]
    assert state["price8"] == str(truth.price())
    totals, pool = truth.vault_manager()["protocol"], truth.pool()
    assert state["reportedCollateral"] == str(totals["total_collateral"])
    assert (state["activeVaults"], state["driftDebt"], state["collateralGap"]) == (len(truth.vaults()), "0", "0")
    assert {
        one["role"]: one["outpoint"] for one in state["contracts"]["nodes"] if one["live"] and not one["forks"]
    } == {
        "oracle": place(truth.oracle()),
        "token": place(truth.token()),
        "vault_manager": place(truth.vault_manager()),
        "stability_pool": place(pool),
    }
    assert state["stabilityPool"] == {
        "total": str(pool["total_zkusd"]),
        "collateral": str(pool["total_btc"]),
        "diverged": False,
    }

    vaults = {bytes(vault["id"]).hex(): vault for vault in truth.vaults()}
    shown = {vault["vaultId"]: vault for vault in data["zkusdVaults"]["nodes"]}
    assert shown.keys() == vaults.keys()
    for vault_id, vault in vaults.items():
        one = shown[vault_id]
        assert (one["collateral"], one["debt"]) == (str(vault["collateral"]), str(vault["debt"]))
        assert (one["outpoint"], one["icrPercent"]) == (place(vault), str(truth.ratio(vault)))
        assert (one["liquidatable"], one["backed"]) == (truth.is_liquidatable(vault), True)
    queue = [one["vault"]["vaultId"] for one in data["zkusdLiquidationQueue"]["candidates"]]
    assert sorted(queue) == sorted(vault_id for vault_id, vault in vaults.items() if truth.is_liquidatable(vault))

    deposits = {
        place(deposit): (str(compounded(deposit.data, pool.data)), str(gain(deposit.data, pool.data)))
        for who in _cast()
        for deposit in truth.deposits(who)
    }
    assert {one["outpoint"]: (one["compounded"], one["gain"]) for one in data["zkusdSpDeposits"]["nodes"]} == deposits

    (token,) = [one for one in data["charmsTokens"]["nodes"] if one["appId"] == str_of(truth.apps.zkusd)]
    assert (token["ticker"], token["supply"]) == ("zkUSD", state["tokenSupply"])
    assert int(token["supply"]) == truth.token()["total_supply"] - int(state["burnedWithoutSpell"])
    assert _by_script(token["balances"]["nodes"]) == _by_script(data["zkusdTokenBalances"]["nodes"])
    assert token["holders"] == state["holders"]
    return data


def place(held: Any) -> str:
    """Where a charm is, as outpoints are written."""
    return outpoint_text(held.where.outpoint.tx_id, held.where.outpoint.vout)


def str_of(app: Any) -> str:
    """An app as it is written."""
    return f"{app.tag}/{app.identity.hex()}/{app.vk.hex()}"


def _cast() -> Sequence[Any]:
    from clarion.dev.bitcoin.zkusd_scenario import CAST

    return CAST


def _by_script(balances: Sequence[dict[str, str]]) -> dict[str, str]:
    return {balance["script"]: balance["amount"] for balance in balances}


async def test_what_the_coins_hold_before_and_after_a_fork(database_url: str, world: World) -> None:
    app = make_app(database_url, protocols=PROTOCOLS, deployed={}, graphql=NO_CACHE)
    async with answering(app) as server:
        before = await check(world, server)
        assert before["zkusdVaults"]["nodes"]
        assert before["zkusdSpDeposits"]["nodes"]
        height = world.node.chain.height
        await world.play(4)
        assert await check(world, server) != before
        await world.fork(4)
        await check(world, server)
        past = await server.data(f"query @asOf(height: {height}) " + DOCUMENT)
        assert past["charmsTokens"] == before["charmsTokens"]
        assert past["zkusdSpDeposits"] == before["zkusdSpDeposits"]
        assert past["zkusdLiquidationQueue"] == before["zkusdLiquidationQueue"]
        await world.play(3)
        await check(world, server)
