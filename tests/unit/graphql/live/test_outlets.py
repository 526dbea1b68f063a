"""What reaches a client's socket, in which order, and what does not."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import pytest
import uvloop
from hypothesis import example, given
from hypothesis import strategies as st
from support.index_service import until
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from clarion_graphql.live.outlets import MAX_WAITING, DirectWebSocket, Outlet, _number_of_socket

T = TypeVar("T")
LOOPS = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
NewLoop = Callable[[], asyncio.AbstractEventLoop]
#: Of the kernel's buffer: less than tests write.
BUFFER_BYTES = 16 * 1024


def run(new_loop: NewLoop, main: Callable[[], Awaitable[T]]) -> T:
    async def done() -> T:
        return await main()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(done())


class Server(asyncio.Protocol):
    """What an outlet knows of uvicorn's protocol."""

    close_sent = False

    def __init__(self) -> None:
        self.writable = asyncio.Event()
        self.writable.set()
        self.transport: Any = None
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.writable.set()
        self.lost.set()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()


@dataclass
class Connected:
    """Both ends of a connection."""

    outlet: Outlet
    server: Server
    number: int
    client: socket.socket

    def read_now(self) -> bytes:
        """What is there, without a turn of the loop."""
        try:
            return self.client.recv(1 << 20)
        except BlockingIOError:
            return b""

    async def read(self, size: int) -> bytes:
        """So many bytes."""
        loop, seen = asyncio.get_running_loop(), b""
        while len(seen) < size:
            data = await loop.sock_recv(self.client, size - len(seen))
            assert data
            seen += data
        return seen


@asynccontextmanager
async def connected() -> AsyncIterator[Connected]:
    ours, client = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
    for end in (ours, client):
        end.setblocking(False)
    transport, server = await asyncio.get_running_loop().connect_accepted_socket(Server, ours)
    number = _number_of_socket(transport)
    assert number is not None
    outlet = DirectWebSocket(cast("WebSocketsSansIOProtocol", server), number)
    with client:
        try:
            yield Connected(outlet, server, number, client)
        finally:
            transport.abort()
            await server.lost.wait()


@LOOPS
class TestOffer:
    """The way that everything takes that is sent to many."""

    def test_a_message_is_with_the_kernel_at_once(self, new_loop: NewLoop) -> None:
        async def main() -> None:
            async with connected() as both:
                assert both.outlet.offer(b"one")
                assert both.outlet.offer(b"two")
                assert both.read_now() == b"onetwo"

        run(new_loop, main)

    @given(st.lists(st.tuples(st.integers(1, 3 * MAX_WAITING), st.booleans()), min_size=1, max_size=12))
    @example([(10 * MAX_WAITING, True), (1, True), (1, False), (1, True)])
    def test_a_client_that_reads_slowly_gets_all_that_was_taken_in_order(
        self, new_loop: NewLoop, sent: list[tuple[int, bool]]
    ) -> None:
        messages = [(bytes([number + 1]) * size, offered) for number, (size, offered) in enumerate(sent)]
        whole = b"".join(message for message, _ in messages)

        async def main() -> None:
            async with connected() as both:
                reading = asyncio.create_task(both.read(len(whole)))
                for message, offered in messages:
                    if not offered:
                        both.outlet.write(message)
                    while offered and not both.outlet.offer(message):
                        assert not both.outlet.closed
                        await both.outlet.drained()
                        await asyncio.sleep(0)
                assert await reading == whole

        run(new_loop, main)

    def test_who_reads_nothing_is_refused_and_what_was_refused_is_not_sent(self, new_loop: NewLoop) -> None:
        async def main() -> None:
            async with connected() as both:
                taken = 0
                while both.outlet.offer(b"a" * 10_000):
                    taken += 10_000
                    assert taken < 10 * MAX_WAITING
                assert not both.outlet.offer(b"b")
                assert await both.read(taken) == b"a" * taken
                await both.outlet.drained()
                assert both.outlet.offer(b"c")
                assert await both.read(1) == b"c"

        run(new_loop, main)

    def test_what_the_kernel_has_no_room_for_waits_in_the_transport(self, new_loop: NewLoop) -> None:
        async def main() -> None:
            async with connected() as both:
                size = 0
                with suppress(BlockingIOError):
                    while True:
                        size += os.write(both.number, bytes(1000))
                assert both.outlet.offer(b"a")
                assert await both.read(size + 1) == bytes(size) + b"a"

        run(new_loop, main)

    def test_what_the_transport_holds_goes_first(self, new_loop: NewLoop) -> None:
        async def main() -> None:
            async with connected() as both:
                whole = b"1" * (4 * BUFFER_BYTES)
                both.outlet.write(whole)
                assert both.outlet.offer(b"2")
                assert await both.read(len(whole) + 1) == whole + b"2"

        run(new_loop, main)

    def test_a_client_that_is_gone_takes_nothing(self, new_loop: NewLoop) -> None:
        async def main() -> None:
            async with connected() as both:
                both.client.close()
                assert not both.outlet.offer(b"one")

                async def closed() -> bool:
                    return both.outlet.closed

                await until(closed)
                assert not both.outlet.offer(b"two")

        run(new_loop, main)

    def test_nobody_gets_what_is_for_a_client_whose_socket_had_the_same_number(self, new_loop: NewLoop) -> None:
        async def main() -> None:
            async with connected() as both:
                both.server.transport.abort()
                assert not both.outlet.offer(b"late")
                await both.server.lost.wait()
                with ExitStack() as open_sockets:
                    while True:  # a new socket has the lowest number that is free
                        pair = [open_sockets.enter_context(end) for end in socket.socketpair()]
                        if both.number in (numbers := [end.fileno() for end in pair]):
                            break
                        assert max(numbers) < both.number + 100
                    other = pair[1 - numbers.index(both.number)]
                    other.setblocking(False)
                    assert not both.outlet.offer(b"late")
                    both.outlet.write(b"late")
                    with pytest.raises(BlockingIOError):
                        other.recv(1)

        run(new_loop, main)


@LOOPS
def test_bytes_go_past_no_tls(new_loop: NewLoop) -> None:
    """The kernel must not be given what TLS would have made unreadable."""

    def context(purpose: int) -> ssl.SSLContext:
        made = ssl.SSLContext(purpose)
        made.maximum_version = ssl.TLSVersion.TLSv1_2
        made.set_ciphers("aNULL:@SECLEVEL=0")  # needs no certificate
        return made

    async def main() -> None:
        loop, servers = asyncio.get_running_loop(), [Server(), Server()]
        ours, theirs = socket.socketpair()
        trusting = context(ssl.PROTOCOL_TLS_CLIENT)
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        await asyncio.gather(
            loop.connect_accepted_socket(lambda: servers[0], ours, ssl=context(ssl.PROTOCOL_TLS_SERVER)),
            loop.create_connection(lambda: servers[1], sock=theirs, ssl=trusting, server_hostname=""),
        )
        for server in servers:
            assert _number_of_socket(server.transport) is None
            server.transport.abort()
        for server in servers:
            await server.lost.wait()

    run(new_loop, main)
