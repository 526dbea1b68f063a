"""Plays a storm against the chain, the indexer and GraphQL as processes, and looks into the index what came of it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
from e2e.flow import until

from clarion.chains.stacks.node_client import NodeClient
from clarion.config import Devnet, GraphQL, Observer, Settings
from clarion.dev.accounts import Account, account
from clarion.dev.deployment import NextBlock
from clarion.dev.devnet_client import DevnetClient
from clarion.dev.processes import ProcessTree
from clarion.dev.run import DevOptions, settings_of_run, start_devnet, start_index, start_readers, write_settings
from clarion.dev.scenario import open_scenario
from support.storm import Storm


@dataclass
class Stage:
    """A chain with a storm prepared on it, and everything that reads it."""

    settings: Settings
    folder: Path
    tree: ProcessTree
    storm: Storm
    devnet: DevnetClient
    node: NodeClient
    database: psycopg.Connection[Any]

    async def caught_up(self) -> None:
        """Wait until the index is at the chain's tip."""
        tip = (await self.devnet.status())["tip"]["index_block_hash"]

        async def ask() -> str:
            row = self.database.execute("SELECT hash FROM clarion.cursor WHERE chain = 'stacks'").fetchone()
            return f"0x{row[0].hex()}" if row and row[0] else ""

        await until(ask, lambda found: found == tip, "the index's tip")

    async def keeper_turned(self) -> None:
        """Wait until every account of the keeper has had a turn since the last block was mined."""
        row = self.database.execute("SELECT clock_timestamp()").fetchone()
        assert row is not None
        await self.caught_up()

        async def ask() -> bool:
            assert self.tree.poll() == []
            checked = self.database.execute("SELECT checked_at > %s FROM keeper.account", row).fetchall()
            return len(checked) == len(self.settings.keeper.accounts) and all(new for (new,) in checked)

        await until(ask, bool, "a turn of every account")


def _mine(devnet: DevnetClient) -> NextBlock:
    async def next_block() -> None:
        await devnet.mine()

    return next_block


@contextlib.asynccontextmanager
async def staged(
    database_url: str,
    folder: Path,
    *,
    positions: int,
    due: int,
    seed: int,
    keeper: Mapping[str, Any],
    accounts: Sequence[Account],
    runs: bool,
) -> AsyncIterator[Stage]:
    """A storm about to break. ``keeper``: the keeper's settings, and whether it ``runs``; ``accounts`` get money."""
    chosen = Settings(devnet=Devnet(port=0), graphql=GraphQL(port=0), observer=Observer(port=0))
    made = settings_of_run(chosen, DevOptions(seed=seed, block_interval_ms=0, burn_interval_ms=0, zkusd=False), folder)
    given = made.model_dump(mode="json", exclude_unset=True)
    given["keeper"] = {"graphql_url": made.keeper.graphql_url, **keeper}
    settings = Settings.model_validate(given)
    write_settings(folder, settings, database_url)
    (folder / "logs").mkdir()
    tree = ProcessTree(folder / "logs")
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(tree.stop)
        start_index(tree, folder)
        start_devnet(tree, settings, folder)
        http = await stack.enter_async_context(httpx.AsyncClient())

        async def is_up(url: str) -> bool:
            assert tree.poll() == []
            with contextlib.suppress(httpx.TransportError):
                return (await http.get(url)).status_code == 200
            return False

        await until(lambda: is_up(f"{settings.node.url}/v2/info"), bool, "the devnet")
        scenario = await stack.enter_async_context(open_scenario(settings.node.url, seed=seed, mine=_mine))
        devnet = await stack.enter_async_context(DevnetClient(settings.node.url))
        node = await stack.enter_async_context(NodeClient(settings.node.url))
        database = stack.enter_context(psycopg.connect(database_url, autocommit=True))
        storm = Storm(scenario, devnet, node, positions=positions, due=due, seed=seed)
        await storm.prepare(*(account.address for account in accounts))
        start_readers(tree, folder, keeper=runs)
        await until(lambda: is_up(f"{settings.keeper.graphql_url.removesuffix('/graphql')}/readyz"), bool, "GraphQL")
        stage = Stage(settings, folder, tree, storm, devnet, node, database)
        await stage.caught_up()
        yield stage


@dataclass(frozen=True)
class Deed:
    """Something that was done, worth ``value`` (usd8): in which transaction, block and place, for which bounty
    (micro-STX). ``since`` is the block that made it possible."""

    what: str
    value: int
    height: int
    place: int
    tx_id: bytes
    since: int
    bounty: int = 0

    @property
    def blocks(self) -> int:
        """How many blocks it took: 1 where it was mined in the first block that it could be."""
        return self.height - self.since


@dataclass(frozen=True)
class Outcome:
    """What became of a storm that ``began`` at a block. ``left``: what was due and has not been done."""

    began: int
    called: tuple[Deed, ...]
    liquidated: tuple[Deed, ...]
    settled: tuple[Deed, ...]
    left: int

    @property
    def deeds(self) -> tuple[Deed, ...]:
        """Everything that was done."""
        return (*self.called, *self.liquidated, *self.settled)


@dataclass(frozen=True)
class Sent:
    """A mined transaction of the keeper's."""

    tx_id: bytes
    status: str
    function: str
    fee: int
    nonce: int
    height: int


def accounts_of(folder: Path, lanes: Mapping[str, Sequence[str]]) -> tuple[dict[str, Any], list[Account]]:
    """Accounts of the keeper with lanes of their own, as ``keeper.accounts`` has them; their keys are in ``folder``."""
    made = [account(name) for name in lanes]
    for one in made:
        key = folder / f"{one.name}.key"
        key.touch(mode=0o600)
        key.write_text(one.secret.hex(), encoding="ascii")
    given = {one.name: {"signer": f"file:{folder / one.name}.key", "lanes": [*lanes[one.name]]} for one in made}
    return given, made


def sent_by(database: psycopg.Connection[Any], addresses: Sequence[str]) -> list[Sent]:
    """The mined contract calls of these accounts, in order."""
    rows = database.execute(
        "SELECT t.tx_id, t.status, t.function, t.fee::bigint, t.nonce::bigint, t.height "
        "FROM clarion.canonical_block c JOIN clarion.transaction t USING (chain, height) "
        "WHERE t.block_hash = c.hash AND t.sender = ANY(%s) AND t.kind = 'contract_call' ORDER BY t.height, t.tx_index",
        (list(addresses),),
    ).fetchall()
    return [Sent(*row) for row in rows]


def outcome(database: psycopg.Connection[Any], storm: Storm) -> Outcome:
    """What the index says of the positions and policies of a storm."""
    wrecks = {wreck.policy: wreck for wreck in storm.wrecks}
    providers = {wreck.provider: wreck for wreck in storm.wrecks}
    calls = database.execute(
        "SELECT provider, issued_height, issued_tx, round FROM bithedge.margin_call WHERE tier = 'storm' ORDER BY id"
    ).fetchall()
    takeovers = database.execute(
        "SELECT policy, provider, height, tx_id, liability_usd8::bigint, bounty::bigint FROM bithedge.liquidation "
        "WHERE tier = 'storm' ORDER BY id"
    ).fetchall()
    ended = database.execute(
        "SELECT id, settled_height, settled_tx, payoff_usd8::bigint FROM bithedge.policy "
        "WHERE id = ANY(%s) AND state <> 'active'",
        (storm.expiring,),
    ).fetchall()
    places = _places(database, [tx_id for _, _, tx_id, *_ in [*calls, *ended]] + [row[3] for row in takeovers])
    rounds = database.execute(
        "SELECT round, closed_height FROM bithedge.price_round WHERE asset = 'STX' AND state = 'closed' ORDER BY round"
    ).fetchall()
    rounds_of = {provider: number for provider, _, _, number in calls}
    called = [
        Deed("called", providers[provider].liability_usd8, height, *places[tx_id], storm.crash_height)
        for provider, height, tx_id, _ in calls
    ]
    liquidated = [
        Deed("liquidated", liability, height, *places[tx_id], _closed_after(rounds, rounds_of[provider]), bounty)
        for policy, provider, height, tx_id, liability, bounty in takeovers
        if policy in wrecks
    ]
    settled = [
        Deed("settled", payoff, height, *places[tx_id], storm.crash_height) for _, height, tx_id, payoff in ended
    ]
    done = len({row[0] for row in takeovers}) + len(settled)
    return Outcome(
        storm.crash_height, tuple(called), tuple(liquidated), tuple(settled), len(wrecks) + len(storm.expiring) - done
    )


def _places(database: psycopg.Connection[Any], tx_ids: Sequence[str]) -> dict[str, tuple[int, bytes]]:
    rows = database.execute(
        "SELECT t.tx_id, t.tx_index FROM clarion.canonical_block c JOIN clarion.transaction t USING (chain, height) "
        "WHERE t.block_hash = c.hash AND t.tx_id = ANY(%s)",
        ([bytes.fromhex(tx_id.removeprefix("0x")) for tx_id in tx_ids],),
    ).fetchall()
    by_hex = {tx_id.hex(): (place, tx_id) for tx_id, place in rows}
    return {tx_id: by_hex[tx_id.removeprefix("0x")] for tx_id in tx_ids}


def _closed_after(rounds: Sequence[tuple[int, int]], number: int) -> int:
    return next(height for later, height in rounds if later > number)
