"""Runs a regtest node as a server, which mines at an interval where it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clarion.dev.bitcoin.kernel import remove_leftovers
from clarion.dev.bitcoin.node import RegtestNode
from clarion.dev.bitcoin.premine import MINER, premine
from clarion.dev.bitcoin.rpc import rpc_app, write_cookie
from clarion.dev.bitcoin.rpc_methods import Clock, RpcMethods
from clarion.dev.bitcoin.sender import call_of
from clarion.dev.bitcoin.zkusd_scenario import ZkUsdScenario
from clarion.serving import Server, listen, url_of
from clarion.tasks import cancel

COOKIE_NAME: Final = ".cookie"
GRACE_S: Final = 1


@dataclass(frozen=True, slots=True)
class RegtestAccess:
    """How a server is reached."""

    url: str
    user: str
    password: str
    cookie_file: Path
    methods: RpcMethods


@contextlib.asynccontextmanager
async def serving(
    node: RegtestNode, listening: socket.socket, folder: Path, *, clock: Clock
) -> AsyncIterator[RegtestAccess]:
    """Serve the node's RPC within; its cookie file is in ``folder``."""
    cookie = folder / COOKIE_NAME
    user, password = write_cookie(cookie)
    methods = RpcMethods(node, clock)
    server = Server(rpc_app(methods, user=user, password=password), graceful_seconds=GRACE_S)
    running = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield RegtestAccess(url_of(listening), user, password, cookie, methods)
    finally:
        methods.stop()
        server.should_exit = True
        await running
        cookie.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class RegtestOptions:
    """How a regtest is run.

    ``interval_ms`` is the time between blocks; 0: only when asked. ``keeper_blocks``: see `ZkUsdScenario`.
    """

    host: str
    port: int
    folder: Path
    seed: int
    interval_ms: int
    scenario: bool
    keeper_blocks: int = 0


async def run_regtest(options: RegtestOptions, ready: Callable[[RegtestAccess], None]) -> None:
    """Run a regtest until SIGINT or SIGTERM; the chain in its folder goes on, an empty one is given its first blocks.

    Raises:
        KernelMissingError: the consensus library is not installed.
        ServiceError: the port is taken.
    """
    listening = listen(options.host, options.port, what="regtest's RPC", section="REGTEST")
    remove_leftovers(options.folder)  # whoever had the port is gone
    node = RegtestNode(options.folder, seed=options.seed)
    try:
        premine(node, time=wall_clock())
        async with serving(node, listening, options.folder, clock=wall_clock) as access:
            ready(access)
            running = [asyncio.create_task(stop_signal())]
            if options.interval_ms:
                running.append(asyncio.create_task(_mine(access.methods, options.interval_ms)))
            if options.scenario:
                scenario = ZkUsdScenario(
                    call_of(access.methods), seed=options.seed, keeper_blocks=options.keeper_blocks
                )
                running.append(asyncio.create_task(scenario.run()))
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            await cancel(running)
            for task in done:
                task.result()
    finally:
        node.close()


def wall_clock() -> int:
    """Unix time now."""
    return int(time.time())


async def stop_signal() -> None:
    """Return at SIGINT or SIGTERM."""
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    await stopping.wait()


async def _mine(methods: RpcMethods, interval_ms: int) -> None:
    while True:
        await asyncio.sleep(interval_ms / 1_000)
        methods.generatetoaddress(1, MINER.address)
