"""A devnet that mines when asked to, with indexer, GraphQL and keeper beside it, as the processes that people run."""

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
from clarion.dev.scenario import Scenario, open_scenario


@dataclass
class Stage:
    """A chain, its index, and what reads it."""

    settings: Settings
    folder: Path
    tree: ProcessTree
    scenario: Scenario
    devnet: DevnetClient
    node: NodeClient
    database: psycopg.Connection[Any]

    async def start_readers(self, *, keeper: bool) -> None:
        """Start GraphQL, and the keeper where it is wanted; returns when the index is at the tip and GraphQL ready."""
        start_readers(self.tree, self.folder, keeper=keeper)
        await _is_up(self.tree, f"{self.settings.keeper.graphql_url.removesuffix('/graphql')}/readyz")
        await self.caught_up()

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


@contextlib.asynccontextmanager
async def staged(database_url: str, folder: Path, *, seed: int, keeper: Mapping[str, Any]) -> AsyncIterator[Stage]:
    """A chain without contracts, and its index. ``keeper``: the keeper's settings; `Stage.start_readers` starts it."""
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
        devnet = await stack.enter_async_context(DevnetClient(settings.node.url))
        node = await stack.enter_async_context(NodeClient(settings.node.url))
        database = stack.enter_context(psycopg.connect(database_url, autocommit=True))
        await _is_up(tree, f"{settings.node.url}/v2/info")
        scenario = await stack.enter_async_context(open_scenario(settings.node.url, seed=seed, mine=_mine))
        yield Stage(settings, folder, tree, scenario, devnet, node, database)


def _mine(devnet: DevnetClient) -> NextBlock:
    async def next_block() -> None:
        await devnet.mine()

    return next_block


async def _is_up(tree: ProcessTree, url: str) -> None:
    """Wait until a server answers there, for as long as no process ends."""
    async with httpx.AsyncClient() as http:

        async def ask() -> bool:
            assert tree.poll() == []
            with contextlib.suppress(httpx.TransportError):
                return (await http.get(url)).status_code == 200
            return False

        await until(ask, bool, url)


def accounts_of(folder: Path, lanes: Mapping[str, Sequence[str]]) -> tuple[dict[str, Any], list[Account]]:
    """Accounts of the keeper with lanes of their own, as ``keeper.accounts`` has them; their keys are in ``folder``.

    An account whose name is that of one of the devnet's cast has its key.
    """
    made = [account(name) for name in lanes]
    for one in made:
        key = folder / f"{one.name}.key"
        key.touch(mode=0o600)
        key.write_text(one.secret.hex(), encoding="ascii")
    given = {one.name: {"signer": f"file:{folder / one.name}.key", "lanes": [*lanes[one.name]]} for one in made}
    return given, made
