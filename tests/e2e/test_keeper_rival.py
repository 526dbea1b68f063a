"""The example bot of a third party works by itself, and beside our keeper neither does anything twice or in vain."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from e2e.flow import Flow, open_flow, until
from e2e.index import free_port, indexed
from e2e.test_forks import indexing
from pydantic import SecretStr
from support.graphql import Server, serving

from clarion.chains.stacks.keys import PrivateKey
from clarion.chains.stacks.networks import Network
from clarion.config import Keeper, KeeperAccount, Node, Settings
from clarion.dev.accounts import DEPLOYER, KEEPER
from clarion.dev.insurance import TIER, Insurance
from clarion.dev.run import DEVNET_TOKEN
from clarion.protocols.bithedge import protocol
from clarion.store.database import connect, with_server_settings
from clarion.store.roles import KEEPER as KEEPER_ROLE
from clarion.store.roles import make_roles
from clarion_graphql.app import make_app
from clarion_keeper import engine

BOT = Path(__file__).resolve().parents[2] / "examples" / "liquidation_bot.py"
BOT_KEY = hashlib.sha256(b"a rival's key").hexdigest() + "01"
BOT_ADDRESS = str(PrivateKey.from_hex(BOT_KEY).address(Network.TESTNET))
GIFT = 1_000 * 10**6
#: Deployment, capital and a dozen rounds of prices take a minute each.
pytestmark = pytest.mark.slow

JOBS = ["issue-margin-call", "escalate-margin-call", "resolve-margin-call", "liquidate"]

LIQUIDATIONS = "SELECT policy, provider, bounty_to, bounty FROM bithedge.liquidation WHERE is_forced ORDER BY id"


@dataclass
class Scene:
    """A devnet on which a position is at the edge, an index of it and a GraphQL server."""

    flow: Flow
    server: Server
    node_url: str
    connection: psycopg.Connection[Any]
    folder: Path

    @property
    def graphql_url(self) -> str:
        return f"{self.server.client.base_url}/graphql".replace("//graphql", "/graphql")

    @contextlib.asynccontextmanager
    async def bot(self) -> AsyncIterator[Path]:
        """The bot while it runs; gives what it writes."""
        key_file, log = self.folder / "bot.key", self.folder / "bot.log"
        key_file.write_text(BOT_KEY)
        with log.open("w") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(BOT),
                self.graphql_url,
                self.node_url,
                Network.TESTNET.value,
                str(key_file),
                stdout=output,
                stderr=output,
            )
            try:
                yield log
                assert process.returncode is None, log.read_text()
            finally:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    @contextlib.asynccontextmanager
    async def keeper(self) -> AsyncIterator[None]:
        """Our keeper while it runs, for what margin calls need."""
        key_file = self.folder / "keeper.key"
        key_file.write_text(KEEPER.secret.hex())
        key_file.chmod(0o600)
        settings = Settings(
            state_dir=self.folder / "state",
            deployers={"bithedge": DEPLOYER.address},
            node=Node(url=self.node_url, auth_token=SecretStr(DEVNET_TOKEN)),
            keeper=Keeper(
                graphql_url=self.graphql_url,
                jobs=JOBS,
                accounts={"keeper": KeeperAccount(signer=f"file:{key_file}")},
            ),
        )
        # it can see its own tables and no other: what it knows of the chain, GraphQL told it
        make_roles(self.database_url)
        url = with_server_settings(self.database_url, role=KEEPER_ROLE)
        stopping = asyncio.Event()
        running = asyncio.create_task(engine.run(settings, url, stopping=stopping))
        try:
            yield
        finally:
            stopping.set()
            await running

    database_url: str = ""

    async def fall(self) -> Any:
        """Mine what waits; where nothing does, a Bitcoin block goes by and prices fall. Gives the liquidations."""
        if (await self.flow.devnet.status())["mempool"]["size"]:
            await self.flow.devnet.mine()
        else:
            await self.flow.devnet.burn(1)
            await self.flow.price(97)
        await indexed(self.flow, self.connection)
        return self.connection.execute(LIQUIDATIONS).fetchall()


@pytest.fixture
async def scene(start_devnet: Callable[..., Any], database_url: str, tmp_path: Path) -> AsyncIterator[Scene]:
    port = free_port()
    devnet = start_devnet("--auth-token", DEVNET_TOKEN, observer=f"http://127.0.0.1:{port}")
    deployed = protocol.deployed_by(DEPLOYER.address)
    app = make_app(database_url, protocols=[protocol], deployed={"bithedge": deployed}, node_url=devnet.url)
    async with contextlib.AsyncExitStack() as stack:
        connection = stack.enter_context(connect(database_url, autocommit=True))
        await stack.enter_async_context(indexing(database_url, devnet.url, port))
        server = await stack.enter_async_context(serving(app))
        flow = await stack.enter_async_context(open_flow(devnet.url))
        await flow.begin()
        await flow.devnet.fund(BOT_ADDRESS, micro_stx=GIFT)
        await _gamble(flow)
        yield Scene(flow, server, devnet.url, connection, tmp_path, database_url)


async def _gamble(flow: Flow) -> None:
    """The gambler covers as much as he can, and the fund stands by."""
    scenario = flow.scenario
    insurance = Insurance(scenario.cast, scenario.calls, scenario.reader)
    for _ in range(12):
        world = await flow.world()
        await flow.do(*await insurance.plan(world, ()))
        position = await scenario.reader.position(scenario.cast.gambler.address, TIER, scenario.calls.stx_token)
        policies = [policy for policy in (await flow.world()).policies if policy.tier == TIER]
        if position.liability_usd8 and len(policies) >= 2:
            return
    raise AssertionError("the gambler covers nothing")


def _sent_by(connection: psycopg.Connection[Any], sender: str) -> list[Any]:
    """Function, whether it succeeded, fee and height of everything that somebody sent, as the chain has it."""
    return connection.execute(
        "SELECT function, status = 'success', fee::bigint, height FROM clarion.transaction t "
        "JOIN clarion.canonical_block k USING (chain, height) WHERE k.hash = t.block_hash AND sender = %s "
        "AND function IS NOT NULL ORDER BY height, tx_index",
        (sender,),
    ).fetchall()


async def test_the_bot_liquidates_by_itself(scene: Scene) -> None:
    async with scene.bot() as log:
        found = await until(scene.fall, lambda rows: len(rows) >= 1, "a liquidation by the bot")
        assert {bounty_to for _, _, bounty_to, _ in found} == {BOT_ADDRESS}, log.read_text()
    sent = _sent_by(scene.connection, BOT_ADDRESS)
    assert all(succeeded for _, succeeded, _, _ in sent), (sent, log.read_text())
    assert {"issue-margin-call", "liquidate"} <= {function for function, *_ in sent}
    assert sum(bounty for *_, bounty in found) > sum(fee for _, _, fee, _ in sent)


async def test_a_rival_and_the_keeper_do_nothing_twice(scene: Scene) -> None:
    async with scene.bot() as log, scene.keeper():
        await until(scene.fall, lambda rows: len(rows) >= 1, "a liquidation")
        await until(_sent(scene), lambda number: number == 0, "what the keeper sent")
    found = scene.connection.execute(LIQUIDATIONS).fetchall()
    assert len({(policy, provider) for policy, provider, *_ in found}) == len(found)
    assert {bounty_to for _, _, bounty_to, _ in found} <= {BOT_ADDRESS, KEEPER.address}, log.read_text()
    failed = scene.connection.execute("SELECT job, outcome FROM keeper.intent WHERE state = 'failed'").fetchall()
    assert failed == []
    assert scene.connection.execute("SELECT job, reason FROM keeper.control WHERE paused").fetchall() == []
    _check_what_was_in_vain(scene.connection)
    for policy, provider, bounty_to, _ in found:
        planned = scene.connection.execute(
            "SELECT state, benign FROM keeper.intent WHERE key = %s ORDER BY id DESC LIMIT 1",
            (f"liquidate:{policy}:{provider}",),
        ).fetchall()
        assert planned in ([], [("done", bounty_to != KEEPER.address)]), (policy, provider)


def _check_what_was_in_vain(connection: psycopg.Connection[Any]) -> None:
    """Where a fee of ours did nothing because of a rival's same call, that came in a block after ours was signed, so
    that no simulation could know; and what it was for counts as done.
    """
    in_vain = [tx_id for tx_id, succeeded in connection.execute(_OURS, (KEEPER.address,)) if not succeeded]
    for _, signed_at, rival_at, state, benign in connection.execute(_RIVALS, (KEEPER.address, in_vain)):
        assert rival_at > signed_at, "a simulation could know"
        assert (state, benign) == ("done", True)


_OURS = """
SELECT t.tx_id, t.status = 'success' FROM clarion.transaction t JOIN clarion.canonical_block k USING (chain, height)
WHERE k.hash = t.block_hash AND t.sender = %s AND t.function IS NOT NULL
"""
#: By transaction of ours: the height at which it was signed, that of the same call by somebody else, and its intent.
_RIVALS = """
SELECT o.tx_id, o.height, max(theirs.height), i.state, i.benign
FROM keeper.outgoing o
JOIN keeper.attempt a ON a.tx_id = o.tx_id
JOIN keeper.intent i ON i.id = ANY(a.intents)
JOIN clarion.transaction ours ON ours.chain = 'stacks' AND ours.block_hash = o.block_hash AND ours.tx_id = o.tx_id
JOIN clarion.transaction theirs ON theirs.chain = ours.chain AND theirs.contract = ours.contract
    AND theirs.function = ours.function AND theirs.sender <> %s AND theirs.status = 'success'
    AND theirs.height <= ours.height
    AND clarion.transaction_payload(theirs.kind, theirs.payload, theirs.raw)
        = clarion.transaction_payload(ours.kind, ours.payload, ours.raw)
JOIN clarion.canonical_block k ON k.chain = theirs.chain AND k.height = theirs.height AND k.hash = theirs.block_hash
WHERE o.tx_id = ANY(%s)
GROUP BY o.tx_id, o.height, i.id
"""


def _sent(scene: Scene) -> Callable[[], Any]:
    async def ask() -> int:
        await scene.fall()
        row = scene.connection.execute("SELECT count(*) FROM keeper.intent WHERE state = 'sent'").fetchone()
        assert row is not None
        return int(row[0])

    return ask
