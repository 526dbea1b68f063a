"""Where a client's bytes go out, and whether it takes them.

Every message through ASGI costs three times what its bytes cost, so where the server is uvicorn, without TLS and
without compression, bytes that are framed already are written to its transport, or, where that holds nothing back, to
the socket under it. Everything this relies on is looked at first; wherever something is different, messages go through
ASGI's ``send``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

#: Most bytes that wait in the process for one client, beside one message. A transport has the same limit.
MAX_WAITING: Final = 64 * 1024
#: How long a client's machine may leave what it is sent without an acknowledgement, in milliseconds. Then it is gone.
GONE_AFTER_MS: Final = 40_000


_TRANSPORT: Final = ("write", "is_closing", "abort", "get_write_buffer_size")


class Outlet(ABC):
    """A client's end of a connection."""

    __slots__ = ()

    #: Whether bytes are to be framed for the wire before they are written.
    direct: bool

    @property
    @abstractmethod
    def ready(self) -> bool:
        """Whether it takes more now: it is open, and little waits to be sent."""

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether nothing can be written any more."""

    def offer(self, data: bytes) -> bool:
        """Have one message sent where it is ready; whether it was."""
        if not self.ready:
            return False
        self.write(data)
        return True

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Have one message sent. What is written after the end of the connection is lost."""

    @abstractmethod
    async def drained(self) -> None:
        """Wait until it takes more, or is closed."""

    @abstractmethod
    def abort(self) -> None:
        """End the connection, whatever waits to be sent."""

    async def close(self) -> None:  # noqa: B027
        """Send what waits, and free what it holds. A transport does so itself."""


class DirectWebSocket(Outlet):
    """uvicorn's transport of a WebSocket, and the number of the socket that is under it."""

    __slots__ = ("_number", "_protocol", "_transport", "_writable")
    direct = True

    def __init__(self, protocol: WebSocketsSansIOProtocol, number: int) -> None:
        self._protocol = protocol
        self._number = number
        self._transport = protocol.transport
        self._writable = protocol.writable

    @property
    def ready(self) -> bool:
        """Whether it takes more now: it is open, and little waits to be sent."""
        return self._writable.is_set() and not self.closed

    @property
    def closed(self) -> bool:
        """Whether nothing can be written any more."""
        return self._protocol.close_sent or self._transport.is_closing()

    def offer(self, data: bytes) -> bool:
        """Have one message sent where it is ready; whether it was.

        Everything sent to many goes through it, and each object that it looks at has left the processor's caches since
        the last time: it asks the transport alone. That is closing wherever the protocol has sent a close by itself.
        Where nothing waits in the transport the kernel is given the bytes: the transport would keep them until the
        loop's next turn, which costs more than all the rest that is done here for a message.
        """
        transport = self._transport
        if transport.is_closing():
            return False
        if waiting := transport.get_write_buffer_size():
            if waiting > MAX_WAITING:
                return False
            transport.write(data)
            return True
        try:
            taken = os.write(self._number, data)
        except BlockingIOError:
            taken = 0
        except OSError:  # the connection is broken: the transport is told so itself, and closes
            return False
        if taken < len(data):
            transport.write(data[taken:])
        return True

    def write(self, data: bytes) -> None:
        """Have one message sent. What is written after the end of the connection is lost."""
        if not self.closed:
            self._transport.write(data)

    async def drained(self) -> None:
        """Wait until it takes more, or is closed."""
        await self._writable.wait()

    def abort(self) -> None:
        """End the connection, whatever waits to be sent."""
        self._transport.abort()


class DirectResponse(Outlet):
    """uvicorn's transport of a chunked HTTP response that has begun."""

    __slots__ = ("_cycle", "_transport")
    direct = True

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._transport = cycle.transport

    @property
    def ready(self) -> bool:
        """Whether it takes more now: it is open, and little waits to be sent."""
        return not self._cycle.flow.write_paused and not self.closed

    @property
    def closed(self) -> bool:
        """Whether nothing can be written any more."""
        return self._cycle.disconnected or self._cycle.response_complete or self._transport.is_closing()

    def write(self, data: bytes) -> None:
        """Have one message sent. What is written after the end of the connection is lost."""
        if not self.closed:
            self._transport.write(data)

    async def drained(self) -> None:
        """Wait until it takes more, or is closed."""
        await self._cycle.flow.drain()

    def abort(self) -> None:
        """End the connection, whatever waits to be sent."""
        self._transport.abort()


class Queued(Outlet):
    """Any ASGI server. ``message`` makes the ASGI message of some bytes."""

    direct = False

    def __init__(self, send: Send, message: Callable[[bytes], MutableMapping[str, Any]]) -> None:
        self._send = send
        self._message = message
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._closed = False
        self._written = asyncio.Event()
        self._taken = asyncio.Event()
        self._taken.set()
        self._sending = asyncio.create_task(self._run())

    @property
    def ready(self) -> bool:
        """Whether it takes more now: it is open, and little waits to be sent."""
        return self._taken.is_set() and not self._closed

    @property
    def closed(self) -> bool:
        """Whether nothing can be written any more."""
        return self._closed

    def write(self, data: bytes) -> None:
        """Have one message sent. What is written after the end of the connection is lost."""
        if self._closed:
            return
        self._waiting.append(data)
        self._size += len(data)
        self._written.set()
        if self._size > MAX_WAITING:
            self._taken.clear()

    async def drained(self) -> None:
        """Wait until it takes more, or is closed."""
        await self._taken.wait()

    def abort(self) -> None:
        """End the connection, whatever waits to be sent."""
        self._closed = True
        self._taken.set()
        self._sending.cancel()

    async def close(self) -> None:
        """Send what waits; a client that takes nothing is for the caller to bound."""
        while self._waiting and not self._closed:
            self._taken.clear()
            await self._taken.wait()
        self.abort()

    async def _run(self) -> None:
        try:
            while True:
                await self._written.wait()
                while self._waiting:
                    data = self._waiting[0]
                    await self._send(self._message(data))
                    self._waiting.popleft()
                    self._size -= len(data)
                self._taken.set()
                self._written.clear()
        except (OSError, RuntimeError):  # the client is gone; RuntimeError: the connection was closed meanwhile
            self._closed = True
            self._taken.set()


def websocket_outlet(scope: Scope, send: Send) -> Outlet:
    """The outlet of a WebSocket that was accepted."""
    protocol = getattr(send, "__self__", None)
    _notice_when_gone(getattr(protocol, "transport", None))
    number = _number_of_socket(getattr(protocol, "transport", None))
    if (
        type(protocol) is WebSocketsSansIOProtocol
        and number is not None
        and scope["scheme"] == "ws"
        and not protocol.conn.extensions
        and protocol.handshake_complete
        and _has(protocol, close_sent=bool, writable=asyncio.Event)
        and _is_transport(protocol.transport)
    ):
        return DirectWebSocket(protocol, number)
    return Queued(send, lambda data: {"type": "websocket.send", "text": data.decode()})


def response_outlet(scope: Scope, send: Send) -> Outlet:
    """The outlet of an HTTP response whose head was sent, without a content length."""
    cycle = getattr(send, "__self__", None)
    _notice_when_gone(getattr(cycle, "transport", None))
    if (
        type(cycle) is RequestResponseCycle
        and scope["scheme"] == "http"
        and scope["method"] != "HEAD"
        and cycle.chunked_encoding is True
        and _has(cycle, response_complete=bool, disconnected=bool)
        and _has(cycle.flow, write_paused=bool)
        and _is_transport(cycle.transport)
    ):
        return DirectResponse(cycle)
    return Queued(send, lambda data: {"type": "http.response.body", "body": data, "more_body": True})


def _notice_when_gone(transport: object) -> None:
    """Let the kernel end the connection of a client that is gone: by itself it tries on for a quarter of an hour."""
    ask = getattr(transport, "get_extra_info", None)
    connection = None if ask is None else ask("socket")
    if connection is not None and hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux has it
        with contextlib.suppress(OSError):  # it is over already, or no TCP
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GONE_AFTER_MS)


def _number_of_socket(transport: object) -> int | None:
    """The file descriptor that takes what a transport is given as it is; None where there is none, or TLS between.

    What a proxy says of the scheme is no proof that there is no TLS here.
    """
    ask = getattr(transport, "get_extra_info", None)
    if ask is None or ask("ssl_object") is not None or ask("sslcontext") is not None:
        return None
    connection = ask("socket")
    number = -1 if connection is None else connection.fileno()
    return number if number >= 0 else None


def _has(thing: object, **attributes: type) -> bool:
    return all(isinstance(getattr(thing, name, None), kind) for name, kind in attributes.items())


def _is_transport(transport: object) -> bool:
    return all(callable(getattr(transport, name, None)) for name in _TRANSPORT)
