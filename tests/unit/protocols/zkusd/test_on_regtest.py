"""The development chain's scenario, whose every spell the contracts accepted: figures agree, and nothing is odd."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from functools import partial

import pytest
from support.zkusd_chain import Chain

from clarion.chains.bitcoin.charms.verify import read_spells
from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.bitcoin.scanner import Scanner, scan
from clarion.chains.bitcoin.tracked import Tracked
from clarion.dev.bitcoin.premine import MINER, premine, zkusd_apps
from clarion.dev.bitcoin.zkusd_scenario import ZkUsdScenario
from clarion.protocols.zkusd.tables import Liquidation, ProtocolState, SpDeposit, StabilityPool, Vault

NETWORK = BitcoinNetwork.REGTEST
SEED = 5
TIME = 1_700_000_000
BLOCKS = 45
UNHARMFUL = {"ImpostorState", "CharmBurned"}
"""What the scenario's troublemaker does."""


@pytest.fixture(scope="module")
def chain() -> Iterator[Chain]:
    """The scenario's blocks, folded."""
    pytest.importorskip("pbk", reason="needs py-bitcoinkernel, a development dependency")
    from clarion.dev.bitcoin.node import RegtestNode
    from clarion.dev.bitcoin.rpc_methods import RpcMethods
    from clarion.dev.bitcoin.sender import call_of

    node = RegtestNode(seed=SEED)
    premine(node, time=TIME)

    def clock() -> int:
        return TIME + 600 * len(node.chain.blocks)

    scenario = ZkUsdScenario(call_of(RpcMethods(node, clock)), seed=SEED, forks=False)

    async def play() -> None:
        await scenario.prepare()
        for _ in range(BLOCKS):
            await scenario.act()
            node.mine(1, MINER.taproot_script, time=clock())

    asyncio.run(play())
    made = Chain(zkusd_apps(SEED).parameters("regtest"), start=-1)
    scanner, reader = Scanner(NETWORK, Tracked()), partial(read_spells, network=NETWORK, accept_mock=True)
    for block in node.chain.blocks.values():
        made.add(scanner.block(block.raw, scan(block.raw, reader), block.height))
    yield made
    node.close()


def test_the_cast_does_everything_and_nothing_is_odd(chain: Chain) -> None:
    told = Counter(chain.kinds())
    assert {"VaultOpened", "DebtMinted", "DebtRepaid", "VaultLiquidated", "LiquidationOffset"} <= told.keys()
    assert {"StabilityDeposit", "StabilityWithdrawal", "BtcRewardClaimed", "Redemption"} <= told.keys()
    assert set(chain.kinds(anomalies=True)) <= UNHARMFUL


def test_what_is_reported_is_what_there_is(chain: Chain) -> None:
    [found] = chain.rows(ProtocolState)
    assert (found["drift_collateral"], found["drift_debt"], found["drift_vaults"]) == (0, 0, 0)
    assert found["drift_supply"] == found["burned_without_spell"]
    assert found["backing_sats"] == found["computed_collateral"]
    assert found["reported_supply"] == found["computed_debt"] - found["reserves"]
    assert all(vault["backed"] for vault in chain.rows(Vault))


def test_the_replay_is_the_pool_to_the_last_unit(chain: Chain) -> None:
    [pool] = chain.rows(StabilityPool)
    assert (pool["replayed"], pool["diverged"], pool["offsets"] > 0) == (True, False, True)
    for observed, replayed in (
        ("total", "replayed_total"),
        ("collateral", "replayed_collateral"),
        ("product_p", "replayed_p"),
        ("scale", "replayed_scale"),
    ):
        assert pool[observed] == pool[replayed]
    for deposit in chain.rows(SpDeposit):
        if deposit["live"]:
            assert (deposit["initial"], deposit["snapshot_p"]) == (deposit["replayed_initial"], deposit["replayed_p"])
            assert deposit["snapshot_s"] == deposit["replayed_s"]
    for claim in (row["data"] for row in chain.events() if row["kind"] == "BtcRewardClaimed"):
        assert claim["amount"] == claim["due"]


def test_liquidations_are_of_vaults_that_were_at_risk(chain: Chain) -> None:
    done = chain.rows(Liquidation)
    assert done
    for row in done:
        assert (row["healthy"], row["pool_debt"], row["used_price8"]) == (False, row["debt"], None)
        # the bonus is half a percent of what is seized
        assert row["pool_collateral"] == row["collateral"] - row["collateral"] * 50 // 10_000
