"""zkUSD on a regtest with all that a keeper talks to: an index, the API, a node's RPC, the prover's stand-in."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg

from clarion.bitcoin_nodes import rpc_of
from clarion.chains.bitcoin.scanner import Scanner
from clarion.chains.bitcoin.tracked import Tracked
from clarion.chains.bitcoin.transactions import MAX_SATS
from clarion.config import Bitcoin, BitcoinSourceName, Lane, Settings
from clarion.dev.bitcoin import prover_server
from clarion.dev.bitcoin.chain import ChainBlock
from clarion.dev.bitcoin.keys import Key
from clarion.dev.bitcoin.mempool import Policy
from clarion.dev.bitcoin.node import RegtestNode
from clarion.dev.bitcoin.premine import MINER, premine, zkusd_apps
from clarion.dev.bitcoin.rpc_methods import RpcMethods
from clarion.dev.bitcoin.sender import call_of
from clarion.dev.bitcoin.server import serving as serving_rpc
from clarion.dev.bitcoin.zkusd_apps import ORACLE, SCROLLS, UNIT
from clarion.dev.bitcoin.zkusd_scenario import BORROWERS, KEEPER, ZkUsdScenario
from clarion.follower import Follower
from clarion.ingest import ingest
from clarion.serving import listen
from clarion.store.database import connect
from clarion_graphql.app import make_app
from clarion_keeper.charms.opening import charms_fee_of, open_nodes, prover_of
from clarion_keeper.charms.proof_order import ProofOrder
from clarion_keeper.charms.prover import Prover
from clarion_keeper.engine import Parts, open_parts
from clarion_keeper.graph import Reader
from clarion_keeper.job import JobContext, load_jobs
from clarion_keeper.observer import Observer
from clarion_keeper.signers import Purpose
from clarion_keeper.signers.bitcoin import BitcoinKey
from clarion_keeper.signers.limits import BitcoinLimits
from clarion_keeper.signers.protocol import SignBitcoin
from clarion_keeper.zkusd import BitcoinExecutor
from support.graphql import NO_CACHE, serving
from support.regtest import NETWORK, PROTOCOLS, opened, scanned
from support.turning_keeper import TurningKeeper, turning

SEED = 5
TIME = 1_700_000_000
ANNA, BERT, CARL = BORROWERS[:3]
COLLATERAL = 3_600_000
"""Of the vault that falls."""
BONUS = COLLATERAL * 50 // 10_000
CHARMED = 1_000
"""Satoshis that lie under the keeper's own charms after a liquidation."""
STEPS = ("contracts asked", "proven", f"signed by {KEEPER.name}", f"signed by {SCROLLS.name}")
"""What the executor does between the engine's stages of drafting and of signing, in order."""
JOBS = (
    "zkusd-liquidate",
    "zkusd-redeem",
    "zkusd-rescue",
    "zkusd-stale-price",
    "zkusd-contention",
    "zkusd-held-back",
)


class Town:
    """A regtest with zkUSD deployed and indexed, where everything happens when a test says so."""

    def __init__(self, connection: psycopg.Connection[Any], policy: Policy | None = None) -> None:
        self.node = RegtestNode(seed=SEED) if policy is None else RegtestNode(seed=SEED, policy=policy)
        premine(self.node, time=TIME)
        self.methods = RpcMethods(self.node, self.clock)
        self.call = call_of(self.methods)
        self.scenario = ZkUsdScenario(self.call, seed=SEED, forks=False)
        self.zkusd, self.view, self.sender = self.scenario.zkusd, self.scenario.view, self.scenario.sender
        self.connection = connection
        self._store = opened(connection, seed=SEED)
        self._scanner, self._follower, self._told = Scanner(NETWORK, Tracked()), Follower(), 0

    def clock(self) -> int:
        """Ten minutes a block."""
        return TIME + 600 * len(self.node.chain.blocks)

    async def mine(self, blocks: int = 1, *, index: bool = True) -> None:
        """Mine what waits, and index it unless told not to."""
        for _ in range(blocks):
            self.node.mine(1, MINER.taproot_script, time=self.clock())
        if index:
            self.index()
        await self.view.sync()

    async def fork(self, depth: int, *, keep: bool) -> None:
        """Lose the last blocks for one more; what was in them waits again where it is kept."""
        self.node.fork(depth, MINER.taproot_script, time=self.clock(), keep_transactions=keep)
        self.index()
        await self.view.sync()

    def index(self) -> None:
        """Index the blocks that are new."""
        blocks: list[ChainBlock] = list(self.node.chain.blocks.values())[self._told :]
        self._told += len(blocks)
        ingest(self._store, self._follower, scanned(self._scanner, blocks))

    async def open_vault(self, owner: Key, *, collateral: int, borrow: int) -> None:
        """Open a vault, in a block of its own."""
        await self.sender.cast(self.zkusd.open(owner, collateral=collateral, borrow=borrow), owner)
        await self.mine()

    async def deposit(self, owner: Key, value: int) -> None:
        """Have so much in the stability pool."""
        await self.sender.cast(self.zkusd.position(owner, value), owner)
        await self.mine()

    async def set_price(self, dollars: int) -> None:
        """Move the oracle's price there, a step a block."""
        while self.zkusd.price() != dollars * UNIT:
            await self.sender.cast(self.zkusd.update_price(dollars * UNIT), ORACLE)
            await self.mine()

    async def mine_without_the_mempool(self, blocks: int, *transactions: str) -> None:
        """Blocks as they are made where others pay more: of these transactions alone."""
        for _ in range(blocks):
            await self.call("generateblock", MINER.address, list(transactions))
        self.index()
        await self.view.sync()

    async def let_fall(self) -> None:
        """Two vaults, one of which ends at 107 %, and a pool that can pay for it."""
        await self.open_vault(ANNA, collateral=30_000_000, borrow=10_000 * UNIT)
        await self.open_vault(BERT, collateral=COLLATERAL, borrow=2_000 * UNIT)
        await self.deposit(ANNA, 8_000 * UNIT)
        await self.set_price(60_000)

    def funds(self) -> int:
        """Satoshis of the keeper without those under its charms."""
        return sum(one.coin.amount for one in self.view.of_script(KEEPER.taproot_script) if not one.charms)

    def waiting(self) -> list[bytes]:
        """What is in the mempool."""
        return list(self.node.mempool.entries)

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """What the database says."""
        return self.connection.execute(query, parameters).fetchall()


@contextlib.asynccontextmanager
async def town_of(
    database_url: str,
    folder: Path,
    *,
    policy: Policy | None = None,
    cosigned: bool = True,
    lane: Lane = Lane.RESCUE,
    **keeper: Any,
) -> AsyncIterator[tuple[Town, Settings]]:
    """A town with its servers, and a keeper's settings: ``keeper`` are further ones.

    ``cosigned``: the keeper may ask for the signature of whom states and vaults lie at. ``lane``: what its account
    serves.
    """
    with connect(database_url, autocommit=True) as connection:
        town = Town(connection, policy)
        try:
            await town.scenario.prepare()
            await town.mine()
            async with contextlib.AsyncExitStack() as stack:
                listening = listen("127.0.0.1", 0, what="RPC", section="REGTEST")
                rpc = await stack.enter_async_context(serving_rpc(town.node, listening, folder, clock=town.clock))
                proving = listen("127.0.0.1", 0, what="prover", section="REGTEST")
                prover = await stack.enter_async_context(prover_server.serving(proving))
                bitcoin = Bitcoin(
                    sources=[BitcoinSourceName.RPC],
                    network=NETWORK,
                    rpc_url=rpc.url,
                    rpc_cookie_file=rpc.cookie_file,
                    mock_spells=True,
                )
                app = make_app(
                    database_url, protocols=PROTOCOLS, deployed={}, graphql=NO_CACHE, bitcoin=rpc_of(bitcoin)
                )
                server = await stack.enter_async_context(serving(app))
                cosigners = [_key_file(folder, SCROLLS)] if cosigned else []
                yield (
                    town,
                    Settings(
                        state_dir=folder,
                        database_url=database_url,
                        sources=[],
                        protocols=["charms", "zkusd"],
                        parameters={"zkusd": zkusd_apps(SEED).parameters("regtest")},
                        bitcoin=bitcoin,
                        keeper={
                            "graphql_url": str(server.client.base_url.join("/graphql")),
                            "prover_url": prover,
                            "accounts": {
                                "btc": {
                                    "signer": _key_file(folder, KEEPER),
                                    "chain": "bitcoin",
                                    "lanes": [lane],
                                }
                            },
                            "jobs": list(JOBS),
                            **keeper,
                            "zkusd": {"cosigners": cosigners, "charms_fee": 0, **keeper.get("zkusd", {})},
                        },
                    ),
                )
        finally:
            town.node.close()


class InProcessSigner:
    """A key in the keeper's own process: what an agent does, without the agent. ``observer`` hears of signatures."""

    def __init__(self, key: Key, observer: Observer | None = None) -> None:
        self._name = key.name
        self._observer = observer or Observer()
        limits = BitcoinLimits(NETWORK.value, max_fee=MAX_SATS, max_spent=MAX_SATS, max_hourly=MAX_SATS)
        self._key = BitcoinKey(key.secret, limits)
        self.address = self._key.identity.address
        self.public_key = bytes.fromhex(self._key.identity.public_key)

    async def sign_stacks(self, unsigned: bytes, *, purpose: Purpose) -> bytes:
        raise NotImplementedError

    async def sign_bitcoin(self, psbt: bytes, *, purpose: Purpose) -> bytes:
        signed = self._key.sign(SignBitcoin(1, psbt, purpose), lambda spending: None).psbt
        await self._observer.stage(f"signed by {self._name}")
        return signed

    async def aclose(self) -> None:
        """There is nothing to hang up."""


def _observed(prover: Prover, observer: Observer) -> Prover:
    """The prover, with a stage before it is asked and one when it has answered."""
    answer = prover.answer

    async def staged(order: ProofOrder) -> bytes:
        await observer.stage("contracts asked")
        found = await answer(order)
        await observer.stage("proven")
        return found

    prover.answer = staged  # type: ignore[method-assign]
    return prover


@contextlib.asynccontextmanager
async def in_process_parts(
    settings: Settings, *cosigners: Key, observer: Observer | None = None
) -> AsyncIterator[Parts]:
    """What a keeper of these settings works with, with keys in this process: that saves starting one for each.

    ``observer`` hears of its executor's steps: `STEPS`.
    """
    observer = observer or Observer()
    async with contextlib.AsyncExitStack() as stack:
        reader = await stack.enter_async_context(Reader(settings.keeper.graphql_url, chain="bitcoin"))
        signer = InProcessSigner(KEEPER, observer)
        executor = BitcoinExecutor(
            settings,
            reader=reader,
            signer=signer,
            cosigners=[InProcessSigner(key, observer) for key in cosigners],
            nodes=await stack.enter_async_context(open_nodes(settings)),
            prover=_observed(await stack.enter_async_context(prover_of(settings)), observer),
            charms_fee=charms_fee_of(settings),
        )
        context = JobContext(
            settings=settings,
            network=settings.network.constants,
            deployers={},
            bitcoin_addresses=dict.fromkeys(settings.keeper.accounts["btc"].lanes, signer.address),
        )
        yield Parts(jobs=load_jobs(context), readers={"bitcoin": reader}, executors={"btc": executor})


@contextlib.asynccontextmanager
async def keeping(
    settings: Settings, parts: contextlib.AbstractAsyncContextManager[Parts] | None = None
) -> AsyncIterator[TurningKeeper]:
    """A keeper of these settings; ``parts`` are what it works with, if not what the settings say."""
    assert settings.database_url is not None
    url = settings.database_url.get_secret_value()
    async with parts or open_parts(settings) as given, turning(settings, url, given) as keeper:
        yield keeper


def _key_file(folder: Path, key: Key) -> str:
    path = folder / f"{key.name.replace(' ', '-')}.key"
    path.touch(mode=0o600)
    path.write_text(key.secret.hex())
    return f"file:{path}"
