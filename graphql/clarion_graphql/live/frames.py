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
    return _text_head(len(payload)) + payload


def _text_head(size: int) -> bytes:
    """What stands before a text message of this size."""
    if size < 126:
        return b"%c%c" % (_TEXT, size)
    if size < 1 << 16:
        return b"%c\x7e%b" % (_TEXT, size.to_bytes(2, "big"))
    return b"%c\x7f%b" % (_TEXT, size.to_bytes(8, "big"))


def chunk(payload: bytes) -> bytes:
    """A chunk of an HTTP body."""
    return b"%x\r\n%b\r\n" % (len(payload), payload)


#: A run of bytes in which every member's own name is to be put between one and the next.
Segments = Sequence[bytes]


class Envelope(ABC):
    """How the messages of one operation of one client look.

    Envelopes of the same ``shape`` differ in nothing but their ``name``: it stands between the segments of a message.
    """

    __slots__ = ("name", "shape")
    name: bytes
    shape: bytes

    def next(self, message: Message) -> bytes:
        """A message with its answer."""
        (piece,) = self.segments([message])
        return self.name.join(piece)

    @abstractmethod
    def segments(self, messages: Sequence[Message]) -> Sequence[Segments]:
        """Several messages in as few pieces as may be, without the name."""

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
    """Messages of graphql-transport-ws under an operation's id; ``framed``: as WebSocket frames.

    The name is the id as JSON. How long it is says a frame's head, so it is part of the shape.
    """

    __slots__ = ("_framed",)

    def __init__(self, operation: str, *, framed: bool) -> None:
        self.name = msgspec.json.encode(operation)
        self._framed = framed
        self.shape = b"%c%d" % (framed, len(self.name))

    def segments(self, messages: Sequence[Message]) -> Sequence[Segments]:
        """Several messages in as few pieces as may be, without the id."""
        before = b'{"id":'
        afters = [b',"type":"next","payload":%b}' % message.body for message in messages]
        if not self._framed:
            return [(before, after) for after in afters]
        heads = [_text_head(len(before) + len(self.name) + len(after)) + before for after in afters]
        return [(heads[0], *(after + head for after, head in zip(afters, heads[1:], strict=False)), afters[-1])]

    def refused(self, errors: Sequence[dict[str, Any]]) -> bytes:
        """The only message of an operation that was not executed."""
        return self._made(b'{"id":%b,"type":"error","payload":%b}' % (self.name, msgspec.json.encode(errors)))

    def failed(self, errors: Sequence[dict[str, Any]]) -> bytes:
        """The message of an operation that cannot go on."""
        body = msgspec.json.encode({"data": None, "errors": errors})
        return self._made(b'{"id":%b,"type":"next","payload":%b}' % (self.name, body))

    def complete(self) -> bytes:
        """The message that ends an operation."""
        return self._made(b'{"id":%b,"type":"complete"}' % self.name)

    def _made(self, payload: bytes) -> bytes:
        return text_frame(payload) if self._framed else payload


class EventStreamEnvelope(Envelope):
    """Server-sent events of an operation; ``chunked``: as chunks of an HTTP body."""

    __slots__ = ("_chunked",)

    def __init__(self, *, chunked: bool) -> None:
        self._chunked = chunked
        self.name = b""
        self.shape = b"%c" % chunked

    def segments(self, messages: Sequence[Message]) -> Sequence[Segments]:
        """Several messages in one piece; nothing in them is a client's own."""
        events = (
            self._made(b"event: next\nid: %d\ndata: %b\n\n" % (message.sequence, message.body)) for message in messages
        )
        return [(b"".join(events),)]

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
