"""Wake-ups over a WebSocket that is closed, falls silent, or is forgotten on the way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from support import toy
from support.hiro_api import HiroApi, serving
from support.node_posts import body, moves_payload

from hiro_api_client import HiroApiClient, InvalidAnswerError, Wakeup


class Gateway:
    """Passes connections on, until it forgets them: then it keeps them open and drops what comes."""

    def __init__(self, port: int) -> None:
        self._behind = port
        self.forgets = False
        self.connections = 0
        self._pipes: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.close()
            for pipe in self._pipes:
                pipe.cancel()
            await asyncio.gather(*self._pipes, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.forgets = False
        reader_behind, writer_behind = await asyncio.open_connection("127.0.0.1", self._behind)
        for source, sink in ((reader, writer_behind), (reader_behind, writer)):
            self._pipes.add(asyncio.create_task(self._pipe(source, sink)))

    async def _pipe(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                if not self.forgets:
                    sink.write(data)
                    await sink.drain()
        finally:
            sink.close()


def posted(number: int) -> tuple[str, bytes]:
    block = toy.block(None)
    for _ in range(number):
        block = toy.block(block)
    return "/new_block", body(moves_payload(block))


async def next_of(wakeups: AsyncIterator[Wakeup]) -> str:
    async with asyncio.timeout(20):
        return (await anext(wakeups)).reason


async def test_a_wake_up_for_every_connection_and_every_block() -> None:
    api = HiroApi([posted(0)])
    async with serving(api) as server:
        client = HiroApiClient(server.url, api_key="secret")
        wakeups = client.listen(addresses=[toy.CONTRACT], backoff_seconds=(0.01, 0.05))
        assert await next_of(wakeups) == "connected"
        assert api.headers_seen[-1]["x-api-key"] == "secret"
        api.post(*posted(1))
        async with asyncio.timeout(20):
            told = await anext(wakeups)
        assert (told.reason, told.params["height"]) == ("block", 2)

        await server.stop()
        waiting = asyncio.create_task(next_of(wakeups))
        await server.start()
        assert await waiting == "connected"
        api.post(*posted(2))
        assert await next_of(wakeups) == "block"
        await wakeups.aclose()


async def test_a_silent_socket_is_opened_anew() -> None:
    api = HiroApi([posted(0)])
    api.silent = True
    async with serving(api) as server:
        wakeups = HiroApiClient(server.url).listen(silence_seconds=0.05, backoff_seconds=(0.01, 0.05))
        assert [await next_of(wakeups) for _ in range(3)] == ["connected"] * 3
        await wakeups.aclose()


async def test_a_forgotten_socket_is_found_by_its_pings() -> None:
    api = HiroApi([posted(0)])
    async with serving(api) as server:
        gateway = Gateway(int(server.url.rpartition(":")[2]))
        async with gateway.serving() as url:
            wakeups = HiroApiClient(url).listen(ping_seconds=0.3, backoff_seconds=(0.01, 0.05))
            assert await next_of(wakeups) == "connected"
            gateway.forgets = True
            assert await next_of(wakeups) == "connected"
            assert gateway.connections == 2
            api.post(*posted(1))
            assert await next_of(wakeups) == "block"
            await wakeups.aclose()


async def test_an_event_that_does_not_exist_is_refused() -> None:
    async with serving(HiroApi([posted(0)])) as server:
        wakeups = HiroApiClient(server.url).listen(["blocks"])
        with pytest.raises(InvalidAnswerError, match=r"^/extended/v1/ws: the API refused a subscription: .*Invalid"):
            await next_of(wakeups)
