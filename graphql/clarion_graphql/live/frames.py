"""Bytes on the wire: WebSocket frames, messages of graphql-transport-ws, server-sent events.

Formats: RFC 6455 section 5.2 (frames of a server are not masked), the graphql-transport-ws protocol, the WHATWG HTML
standard's section on server-sent events, RFC 9112 section 7.1 (chunks).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

_TEXT: Final = 0x81  # FIN, and the opcode of text
#: A ping with nothing in it.
PING_FRAME: Final = b"\x89\x00"


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a subscription: the answer as JSON, and where it stands.

    ``position`` orders the messages of one group; ``sequence`` is where the index stood.
    """

    position: int
    sequence: int
    body: bytes


def text_frame(payload: bytes) -> bytes:
    """A whole text message in one unmasked frame."""
    size = len(payload)
    if size < 126:
        return b"%c%c%b" % (_TEXT, size, payload)
    if size < 1 << 16:
        return b"%c\x7e%b%b" % (_TEXT, size.to_bytes(2, "big"), payload)
    return b"%c\x7f%b%b" % (_TEXT, size.to_bytes(8, "big"), payload)


def chunk(payload: bytes) -> bytes:
    """A chunk of an HTTP body."""
    return b"%x\r\n%b\r\n" % (len(payload), payload)


class Envelope(ABC):
    """How the messages of one operation of one client look. Envelopes with the same ``key`` give the same bytes."""

    __slots__ = ("key",)
    key: bytes

    @abstractmethod
    def next(self, message: Message) -> bytes:
        """A message with its answer."""

    def packet(self, messages: Sequence[Message]) -> Sequence[bytes]:
        """Several messages in as few pieces as may be."""
        return [b"".join(map(self.next, messages))]

    @abstractmethod
    def refused(self, errors: Sequence[dict[str, Any]]) -> bytes:
        """The only message of an operation that was not executed."""

    @abstractmethod
    def failed(self, errors: Sequence[dict[str, Any]]) -> bytes:
        """The message of an operation that cannot go on."""

    @abstractmethod
    def complete(self) -> bytes:
        """The message that ends an operation."""


class WebSocketEnvelope(Envelope):
    """Messages of graphql-transport-ws under an operation's id; ``framed``: as WebSocket frames."""

    __slots__ = ("_framed", "_id")

    def __init__(self, operation: str, *, framed: bool) -> None:
        self._id = msgspec.json.encode(operation)
        self._framed = framed
        self.key = b"%c%b" % (framed, self._id)

    def next(self, message: Message) -> bytes:
        """A message with its answer."""
        return self._made(b'{"id":%b,"type":"next","payload":%b}' % (self._id, message.body))

    def packet(self, messages: Sequence[Message]) -> Sequence[bytes]:
        """Several messages in as few pieces as may be."""
        return super().packet(messages) if self._framed else [self.next(message) for message in messages]

    def refused(self, errors: Sequence[dict[str, Any]]) -> bytes:
        """The only message of an operation that was not executed."""
        return self._made(b'{"id":%b,"type":"error","payload":%b}' % (self._id, msgspec.json.encode(errors)))

    def failed(self, errors: Sequence[dict[str, Any]]) -> bytes:
        """The message of an operation that cannot go on."""
        body = msgspec.json.encode({"data": None, "errors": errors})
        return self._made(b'{"id":%b,"type":"next","payload":%b}' % (self._id, body))

    def complete(self) -> bytes:
        """The message that ends an operation."""
        return self._made(b'{"id":%b,"type":"complete"}' % self._id)

    def _made(self, payload: bytes) -> bytes:
        return text_frame(payload) if self._framed else payload


class EventStreamEnvelope(Envelope):
    """Server-sent events of an operation; ``chunked``: as chunks of an HTTP body."""

    __slots__ = ("_chunked",)

    def __init__(self, *, chunked: bool) -> None:
        self._chunked = chunked
        self.key = b"%c" % chunked

    def next(self, message: Message) -> bytes:
        """A message with its answer."""
        return self._made(b"event: next\nid: %d\ndata: %b\n\n" % (message.sequence, message.body))

    def refused(self, errors: Sequence[dict[str, Any]]) -> bytes:
        """The only message of an operation that was not executed."""
        return self._made(b"event: next\ndata: %b\n\n" % msgspec.json.encode({"errors": errors})) + self.complete()

    def failed(self, errors: Sequence[dict[str, Any]]) -> bytes:
        """The message of an operation that cannot go on."""
        body = msgspec.json.encode({"data": None, "errors": errors})
        return self._made(b"event: next\ndata: %b\n\n" % body)

    def complete(self) -> bytes:
        """The message that ends an operation."""
        return self._made(b"event: complete\ndata:\n\n")

    def answer(self, body: bytes) -> bytes:
        """The answer of a query or a mutation."""
        return self._made(b"event: next\ndata: %b\n\n" % body)

    def keep_alive(self) -> bytes:
        """A comment, which keeps proxies from closing the connection."""
        return self._made(b":\n\n")

    def _made(self, payload: bytes) -> bytes:
        return chunk(payload) if self._chunked else payload
