"""The wake-up by new blocks outlives a server that goes away or says nonsense."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import cast

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from clarion_keeper import graph
from clarion_keeper.graph import Reader

NONSENSE = ("not JSON", "[]", "7", '{"type": 7}', '{"kind": "next"}', '{"type": "complete"}')


async def test_blocks_wake_whatever_the_server_said_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "RECONNECT_SECONDS", 0)
    said: list[str] = []

    async def answer(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.send('{"type": "connection_ack"}')
        await socket.recv()
        if len(said) < len(NONSENSE):
            said.append(NONSENSE[len(said)])
            await socket.send(said[-1])
        elif len(said) == len(NONSENSE):
            said.append("hangs up")
            await socket.close()
        else:
            await socket.send('{"type": "next", "id": "blocks", "payload": {}}')
        await socket.wait_closed()

    async with (
        serve(answer, "127.0.0.1", 0, subprotocols=[Subprotocol("graphql-transport-ws")]) as server,
        Reader(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/graphql") as reader,
        contextlib.aclosing(cast("AsyncGenerator[None, None]", reader.new_blocks())) as blocks,
    ):
        async with asyncio.timeout(30):
            await anext(blocks)
    assert said == [*NONSENSE, "hangs up"]
