"""The first blocks of a regtest: they pay the cast, and are old enough that it can begin at once.

Where coins come from follows from the seed alone, and with it which apps will be deployed: so an index can be told
which to follow before the chain is there.
"""

from __future__ import annotations

from typing import Final

from clarion.chains.bitcoin.blocks import transactions_of
from clarion.chains.bitcoin.coins import COINBASE_MATURITY, OutPoint
from clarion.chains.bitcoin.units import Sats
from clarion.dev.bitcoin.keys import Key, key
from clarion.dev.bitcoin.miner import make_block
from clarion.dev.bitcoin.node import RegtestNode, block_tag
from clarion.dev.bitcoin.zkusd_apps import DEPLOYER, apps_deployed_by
from clarion.protocols.zkusd.apps import ZkUsdApps

MINER: Final = key("miner")
FAUCET: Final = key("faucet")
DEPLOYMENTS: Final = 4
"""The first blocks' rewards: each pays for the deployment of an app of zkUSD."""
FAUCET_BLOCKS: Final = 6
PREMINED_BLOCKS: Final = DEPLOYMENTS + FAUCET_BLOCKS + COINBASE_MATURITY
BLOCK_SECONDS: Final = 600


def receivers() -> list[Key]:
    """Whom each of the first blocks pays."""
    return [DEPLOYER] * DEPLOYMENTS + [FAUCET] * FAUCET_BLOCKS + [MINER] * COINBASE_MATURITY


def premine(node: RegtestNode, *, time: int) -> None:
    """Mine what there is not yet of the first blocks, ten minutes apart, the last at Unix time ``time``."""
    for number, receiver in enumerate(receivers()[node.chain.height :], start=node.chain.height + 1):
        node.mine(1, receiver.taproot_script, time=time - (PREMINED_BLOCKS - number) * BLOCK_SECONDS)


def deployment_coins(seed: int) -> list[OutPoint]:
    """The coins that a node of this seed pays the deployer in its first blocks."""
    coins = []
    for height in range(1, DEPLOYMENTS + 1):
        block = make_block(
            parent=bytes(32),
            height=height,
            time=0,
            script=DEPLOYER.taproot_script,
            transactions=(),
            fees=Sats(0),
            tag=block_tag(seed, height),
        )
        coins.append(OutPoint(transactions_of(block)[0].id, 0))
    return coins


def zkusd_apps(seed: int) -> ZkUsdApps:
    """The apps of zkUSD that are deployed on a regtest of this seed."""
    oracle, token, vault_manager, stability_pool = deployment_coins(seed)
    return apps_deployed_by(oracle, token, vault_manager, stability_pool)
