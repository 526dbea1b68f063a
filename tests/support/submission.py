"""A regtest with zkUSD, a mock prover, and clients of both, all in this process and without a socket."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import httpx
import msgspec

from clarion.chains.bitcoin.charms.drafts import SpellDraft
from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.bitcoin.rpc import BitcoinRpc
from clarion.chains.bitcoin.transactions import BitcoinTransaction
from clarion.chains.bitcoin.units import Sats
from clarion.dev.bitcoin.keys import Key
from clarion.dev.bitcoin.node import RegtestNode
from clarion.dev.bitcoin.premine import MINER, premine
from clarion.dev.bitcoin.prover import Charge, MockProver
from clarion.dev.bitcoin.prover_server import prover_app, request_of
from clarion.dev.bitcoin.rpc import rpc_app
from clarion.dev.bitcoin.rpc_methods import RpcMethods
from clarion.dev.bitcoin.sender import call_of
from clarion.dev.bitcoin.zkusd_apps import ORACLE, SCROLLS, UNIT
from clarion.dev.bitcoin.zkusd_scenario import ZkUsdScenario
from clarion.protocols.zkusd.apps import contracts
from clarion_keeper.charms.answer import Asked, CharmsFee, Proven
from clarion_keeper.charms.coins import OwnCoins, previous_transactions
from clarion_keeper.charms.nodes import BitcoinNodes
from clarion_keeper.charms.proof_order import ProofOrder, request_form
from clarion_keeper.charms.prover import Prover
from clarion_keeper.charms.psbt import psbt_of, read_psbt, write_psbt
from clarion_keeper.charms.signing import BitcoinLimits, own_scripts, sign_psbt
from clarion_keeper.charms.sizes import FeeRate
from clarion_keeper.charms.wallet import funded

SEED = 3
TIME = 1_700_000_000
NETWORK = BitcoinNetwork.REGTEST
RATE, MOST_RATE = FeeRate(2_000), FeeRate(50_000)
LIMITS = BitcoinLimits(most_fee=Sats(1_000_000), most_spent=Sats(1_000_000))
CHANGE = ORACLE.taproot_script


@dataclass
class World:
    """The spells here are the oracle's: the state lies under a P2WPKH script, the operator pays by taproot."""

    node: RegtestNode
    rpc: BitcoinRpc
    nodes: BitcoinNodes
    prover: Prover
    mock_prover: MockProver
    scenario: ZkUsdScenario
    coins: OwnCoins

    def mine(self, count: int = 1) -> None:
        """Mine what waits."""
        self.node.mine(count, MINER.taproot_script, time=TIME + 600 * len(self.node.chain.blocks))

    async def draft(self, price: int = 99_000 * UNIT) -> SpellDraft:
        """An update of the oracle's price without coins that pay for it."""
        await self.scenario.view.sync()
        made = self.scenario.zkusd.update_price(price)
        return replace(made, inputs=made.inputs[:1])

    async def order(
        self,
        draft: SpellDraft | None = None,
        *,
        rate: FeeRate = RATE,
        most_rate: FeeRate = MOST_RATE,
        mock: bool = True,
    ) -> ProofOrder:
        """The request for a proof of it, paid for with the operator's coins."""
        purse = await self.coins.read()
        paid = funded(
            draft or await self.draft(), purse.coins, change=CHANGE, rate=rate, most_rate=most_rate, mock=mock
        )
        previous = await previous_transactions(self.rpc, [spent.outpoint for spent in paid.inputs])
        asked = Asked(draft=paid, change=CHANGE, fee_rate=rate, mock=mock)
        return ProofOrder(asked=asked, previous=previous, contracts=contracts())

    def mock_prover_answer(self, order: ProofOrder) -> BitcoinTransaction:
        """What the mock prover answers, without a client."""
        return self.mock_prover.prove(request_of(msgspec.json.encode(request_form(order, NETWORK))))

    def signed(
        self, proven: Proven, order: ProofOrder, fee: Sats, keys: tuple[Key, ...] = (ORACLE, SCROLLS)
    ) -> BitcoinTransaction:
        """A transaction of a proven spell, signed by these, one after the other."""
        unsigned = proven.transaction(fee)
        psbt = write_psbt(psbt_of(unsigned, proven.draft.coins, order.previous))
        for key in keys:
            psbt = sign_psbt(key.secret, psbt, LIMITS, NETWORK)
        return read_psbt(psbt).signed_transaction()


@contextlib.asynccontextmanager
async def world(*, charge: Charge | None = None) -> AsyncIterator[World]:
    """Such a world, with the apps deployed."""
    node = RegtestNode(seed=SEED)
    try:
        premine(node, time=TIME)
        methods = RpcMethods(node, lambda: TIME + 600 * len(node.chain.blocks))
        mock_prover = MockProver(charge=charge)
        fee = None
        if charge is not None:
            fee = CharmsFee(script=ORACLE.segwit_script, most=Sats(charge.base + 300))
        rpc_transport = httpx.ASGITransport(rpc_app(methods, user="u", password="p"))
        async with (
            BitcoinRpc("http://node", network=NETWORK, user="u", password="p", transport=rpc_transport) as rpc,
            Prover(
                "http://prover",
                network=NETWORK,
                accept_mock=True,
                fee=fee,
                transport=httpx.ASGITransport(prover_app(mock_prover)),
            ) as prover,
        ):
            scenario = ZkUsdScenario(call_of(methods), seed=SEED, forks=False)
            coins = OwnCoins(rpc, own_scripts(ORACLE.public), NETWORK)
            made = World(node, rpc, BitcoinNodes([rpc]), prover, mock_prover, scenario, coins)
            await scenario.prepare()
            made.mine()
            try:
                yield made
            finally:
                await made.nodes.aclose()
    finally:
        node.close()
