"""Runs a regtest node as a server, which mines at an interval where it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clarion.dev.bitcoin.node import RegtestNode
from clarion.dev.bitcoin.rpc import rpc_app, write_cookie
from clarion.dev.bitcoin.rpc_methods import Clock, RpcMethods
from clarion.serving import Server, url_of

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
        server.should_exit = True
        await running
        cookie.unlink(missing_ok=True)


async def mine_at_interval(methods: RpcMethods, address: str, *, interval_s: float) -> None:
    """Mine a block every so often, with the rewards to ``address``, until cancelled."""
    while True:
        await asyncio.sleep(interval_s)
        methods.generatetoaddress(1, address)
