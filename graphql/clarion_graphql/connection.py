"""HTTP connections of the server: uvicorn's, with a short way for what nearly every request is.

A POST to ``/graphql`` that came whole is handed to its endpoint as it is, without ASGI's messages; everything else is
uvicorn's to take apart and to answer. The headers of a request are read once: a client sends the same ones again.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import httptools
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from clarion_graphql.http import EVENT_STREAM, Endpoint, Head, Header, Response

if TYPE_CHECKING:
    import asyncio

_BEGIN: Final = b"POST /graphql HTTP/1.1\r\n"
_END: Final = b"\r\n\r\n"
#: Heads that are remembered, and how long one may be for that, in bytes.
_MOST_HEADS: Final = 1_000
_LONGEST_HEAD: Final = 4_000
#: What changes how a body comes or what becomes of the connection.
_UNUSUAL: Final = frozenset(
    (b"transfer-encoding", b"expect", b"upgrade", b"connection", b"keep-alive", b"content-encoding")
)
_STATUS_LINES: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


class _Reader:
    """Collects what httptools finds in the head of a request."""

    def __init__(self) -> None:
        self.headers: list[Header] = []
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.complete = True


class _KnownHead:
    """The head of a POST to ``/graphql`` whose body comes as it is, ``length`` bytes of it."""

    __slots__ = ("head", "headers", "length")

    def __init__(self, headers: list[Header], length: int) -> None:
        self.headers = headers
        self.head = Head(headers)
        self.length = length


def _read_head(text: bytes) -> _KnownHead | None:
    """What the head says; None where the short way is not for it."""
    reader = _Reader()
    parser = httptools.HttpRequestParser(reader)
    try:
        parser.feed_data(text)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    headers = reader.headers
    names = [name for name, _ in headers]
    usual = _UNUSUAL.isdisjoint(names) or headers.count((b"connection", b"keep-alive")) == len(
        _UNUSUAL.intersection(names)
    )
    length = dict(headers).get(b"content-length", b"")
    if not reader.complete or not usual or names.count(b"content-length") != 1 or not length.isdigit():
        return None
    known = _KnownHead(headers, int(length))
    return None if EVENT_STREAM in known.head.accepted else known


_heads: dict[bytes, _KnownHead | None] = {}


def _head_of(text: bytes) -> _KnownHead | None:
    try:
        return _heads[text]
    except KeyError:
        pass
    known = _read_head(text)
    if len(text) <= _LONGEST_HEAD:
        if len(_heads) >= _MOST_HEADS:
            _heads.clear()
        _heads[text] = known
    return known


class Connection(HttpToolsProtocol):
    """One connection. The application has its endpoint as ``graphql``."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        endpoint = getattr(self.app, "graphql", None)
        self._endpoint: Endpoint | None = endpoint if isinstance(endpoint, Endpoint) else None
        self._within = False
        """The parser has a part of a request."""
        self._answering: asyncio.Task[None] | None = None
        self._waiting = b""
        """What came while a request was being answered."""
        self._is_last = False
        self._known: _KnownHead | None = None
        self._scope: Scope = {}

    def data_received(self, data: bytes) -> None:
        """Answer what came if it is one whole request, or let uvicorn do it."""
        if self._answering is not None:
            self._waiting += data
            self.flow.pause_reading()
            return
        if not data.startswith(_BEGIN) or self._within or not self._is_idle():
            super().data_received(data)
            return
        begin = data.find(_END) + len(_END)
        known = _head_of(data[:begin]) if begin >= len(_END) else None
        if known is None or self._endpoint is None or len(data) - begin != known.length:
            super().data_received(data)
            return
        self._unset_keepalive_if_required()
        body = data[begin:]
        scope = self._scope_of(known)
        response = None if self.flow.write_paused else self._endpoint.kept(scope, known.head, body)
        if response is not None:
            self._write(response)
            return
        self._answering = task = self.loop.create_task(self._answer(self._endpoint, scope, known.head, body))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _answer(self, endpoint: Endpoint, scope: Scope, head: Head, body: bytes) -> None:
        try:
            response = await endpoint.post(scope, head, body)
            if self.flow.write_paused:
                await self.flow.drain()
        finally:
            self._answering = None
        if self.transport.is_closing():
            return
        self._write(response)
        if self._waiting and not self.transport.is_closing():
            data, self._waiting = self._waiting, b""
            self.data_received(data)

    def _is_idle(self) -> bool:
        return self.cycle is None or (self.cycle.response_complete and not self.pipeline)

    def _scope_of(self, known: _KnownHead) -> Scope:
        if known is not self._known:
            self._known = known
            self._scope = {
                "type": "http",
                "method": "POST",
                "path": "/graphql",
                "query_string": b"",
                "headers": known.headers,
                "client": self.client,
            }
        return self._scope

    def _write(self, response: Response) -> None:
        lines = [_STATUS_LINES[response.status]]
        for name, value in self.server_state.default_headers:
            lines += (name, b": ", value, b"\r\n")
        closes = self._is_last
        for name, value in response.headers:
            lines += (name, b": ", value, b"\r\n")
            closes = closes or name == b"connection"
        if self._is_last:
            lines.append(b"connection: close\r\n")
        lines += (b"\r\n", response.body)
        self.transport.write(b"".join(lines))
        if closes:
            self.transport.close()
        self.on_response_complete()

    def on_message_begin(self) -> None:
        """Note that a request has begun."""
        self._within = True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """Note that it is whole."""
        self._within = False
        super().on_message_complete()

    def shutdown(self) -> None:
        """Close the connection when what is being answered has been."""
        if self._answering is None:
            super().shutdown()
        else:
            self._is_last = True
