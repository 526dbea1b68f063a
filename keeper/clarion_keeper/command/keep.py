"""The `clarion keep` command."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import Annotated, Any, Final

import psycopg
import structlog
import typer
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from clarion.chains.stacks.codec_errors import CodecError
from clarion.chains.stacks.keys import PrivateKey
from clarion.chains.stacks.node_client import NodeClient, NodeError
from clarion.config import Settings, load_settings
from clarion.store.database import migrate, open_database
from clarion.telemetry import configure_logging
from clarion_keeper.former_graph import Graph, GraphError
from clarion_keeper.jobs import BITHEDGE_JOBS
from clarion_keeper.keeper import Keeper
from clarion_keeper.outbox import Outbox

log = structlog.get_logger()

#: The timer wakes the keeper this often, whether or not blocks come.
WAKE_SECONDS: Final = 5
#: How often a keeper that stands by asks whether it may take over.
STANDBY_SECONDS: Final = 1.0


class KeeperError(Exception):
    """The keeper cannot start; the message says what is missing."""


def keep(
    key_file: Annotated[Path | None, typer.Option(help="File with the keeper's private key in hexadecimal.")] = None,
    graphql_url: Annotated[str | None, typer.Option(help="Where to read what there is to do.")] = None,
) -> None:
    """Run the keeper: fix expiry prices and settle expired policies with signed transactions."""
    given: dict[str, Any] = {"key_file": key_file, "graphql_url": graphql_url}
    settings = load_settings({"keeper": {name: value for name, value in given.items() if value is not None}})
    configure_logging(settings.log)
    with open_database(settings) as database_url:
        migrate(database_url)
        asyncio.run(run(settings, database_url))


def read_key(path: Path | None) -> PrivateKey:
    """The private key in a file. Raises KeeperError without repeating what the file holds."""
    if path is None:
        raise KeeperError("The keeper has no key: name a file in keeper.key_file or --key-file")
    try:
        return PrivateKey.from_hex(path.read_text(encoding="ascii").strip())
    except (OSError, UnicodeDecodeError) as error:
        raise KeeperError(f"The key file {path} cannot be read: {error.__class__.__name__}") from None
    except CodecError:
        raise KeeperError(f"The key file {path} holds no private key: 64 or 66 hexadecimal digits are needed") from None


async def run(settings: Settings, database_url: str) -> None:
    """Keep until SIGINT or SIGTERM."""
    deployer = settings.deployers.get("bithedge")
    if deployer is None:
        raise KeeperError("Nobody knows where the BitHedge contracts are: set deployers.bithedge to their deployer")
    stopping, wake = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    token = settings.node.auth_token
    async with contextlib.AsyncExitStack() as stack:
        connection = await psycopg.AsyncConnection.connect(database_url, autocommit=True)
        await stack.enter_async_context(connection)
        graph = await stack.enter_async_context(Graph(settings.keeper.graphql_url))
        nodes = [
            await stack.enter_async_context(NodeClient(url, auth_token=token.get_secret_value() if token else None))
            for url in settings.keeper_node_urls
        ]
        keeper = Keeper(
            graph=graph,
            nodes=nodes,
            outbox=Outbox(connection),
            key=read_key(settings.keeper.key_file),
            network=settings.network.constants,
            deployer=deployer,
            fee=settings.keeper.fee_micro_stx,
            jobs=BITHEDGE_JOBS,
        )
        await _take_over(Outbox(connection), keeper.address, stopping)
        scheduler = AsyncIOScheduler()
        scheduler.add_job(wake.set, "interval", seconds=WAKE_SECONDS)
        scheduler.start()
        stack.callback(scheduler.shutdown, wait=False)
        blocks = asyncio.create_task(_wake_on_blocks(graph, wake))
        stack.callback(blocks.cancel)
        log.info("keeping", address=keeper.address, jobs=[job.name for job in BITHEDGE_JOBS])
        while not stopping.is_set():
            wake.clear()
            try:
                await keeper.turn()
            except (GraphError, NodeError) as error:
                log.warning("turn ended early, trying again", reason=str(error))
            await _either(wake, stopping)


async def _either(first: asyncio.Event, second: asyncio.Event) -> None:
    waiting = [asyncio.create_task(event.wait()) for event in (first, second)]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()


async def _take_over(outbox: Outbox, address: str, stopping: asyncio.Event) -> None:
    standing_by = False
    while not stopping.is_set() and not await outbox.take_over(address):
        if not standing_by:
            log.info("another keeper of this account works; standing by", address=address)
            standing_by = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), STANDBY_SECONDS)


async def _wake_on_blocks(graph: Graph, wake: asyncio.Event) -> None:
    async for _ in graph.new_blocks():
        wake.set()
