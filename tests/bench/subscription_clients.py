"""Many WebSocket clients of one server in a process that does little else: it counts frames and says when they came.

    python subscription_clients.py HOST PORT CLIENTS PAYLOAD

Says `ready` once every client has its START, then at the end of its input one line of JSON: how long connecting took,
and by a block's height when each client was told of it (seconds of the wall clock).

Each gives its subscription an id of its own, as libraries do. Real clients are machines of their own: none waits until
another has read. So what counts is when the kernel took the bytes in for a client's socket, which it notes (socket(7),
SO_TIMESTAMPNS), and not when this process came round to reading them. Nor does a server wake other machines: this
process waits for nothing, it looks again after a while.
"""

from __future__ import annotations

import base64
import gc
import json
import os
import re
import resource
import select
import socket
import struct
import sys
import time
import uuid
from collections.abc import Iterator
from typing import Final

READ_BYTES: Final = 1 << 14
QUIET_SECONDS: Final = 3.0
"""After the end of the input: when nothing comes for so long, nothing is under way."""
INPUT_SECONDS: Final = 0.05
"""How often it is looked whether the input has ended."""
HEIGHT: Final = re.compile(rb'"height":\s*(\d+)')
AT_ONCE: Final = 100
"""Clients that connect at a time: a listener's queue is short."""
MOST_AT_ONCE: Final = 1024
LOOK_SECONDS: Final = 0.01
"""How often it is looked what came."""
SO_TIMESTAMPNS: Final = 35
"""linux/asm-generic/socket.h; the value that comes with what is read is seconds and nanoseconds of the wall clock."""
TIMESPEC: Final = struct.Struct("@qq")
ANCILLARY_BYTES: Final = socket.CMSG_SPACE(TIMESPEC.size)
TEXT, PING, PONG = 0x81, 0x89, 0x8A
"""A frame's first byte (RFC 6455 section 5.2)."""


def frame(kind: int, payload: bytes) -> bytes:
    """A client's frame, masked with zeros."""
    size = len(payload)
    head = bytes((kind, 0x80 | size)) if size < 126 else bytes((kind, 0xFE)) + size.to_bytes(2, "big")
    return head + bytes(4) + payload


def connected(host: str, port: int) -> socket.socket:
    """A connection that has asked to be a WebSocket."""
    client = socket.create_connection((host, port))
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    key = base64.b64encode(os.urandom(16)).decode()
    client.sendall(
        f"GET /graphql HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n".encode()
    )
    return client


def read_until(client: socket.socket, what: bytes) -> None:
    """Read up to what the server says then."""
    seen = b""
    while what not in seen:
        data = client.recv(READ_BYTES)
        if not data or b'"type":"error"' in data:
            raise SystemExit(f"the server ended a connection: {(seen + data)[-300:]!r}")
        seen += data


def frames(data: bytes) -> Iterator[tuple[int, int, int]]:
    """The first byte of each whole frame, and where its payload is."""
    at = 0
    while at + 2 <= len(data):
        kind, size, start = data[at], data[at + 1], at + 2
        if size >= 126:
            start = at + (4 if size == 126 else 10)
            size = int.from_bytes(data[at + 2 : start], "big")
        if len(data) < start or len(data) < start + size:
            return
        at = start + size
        yield kind, start, at


def connect_all(host: str, port: int, count: int, payload: bytes) -> dict[socket.socket, bytes]:
    """Clients that were told where their subscription begins, and the ids of these."""
    clients: dict[socket.socket, bytes] = {}
    while len(clients) < count:
        some = {connected(host, port): str(uuid.uuid4()).encode() for _ in range(min(AT_ONCE, count - len(clients)))}
        for client, name in some.items():
            read_until(client, b"\r\n\r\n")
            subscribe = b'{"id":"%b","type":"subscribe","payload":%b}' % (name, payload)
            client.sendall(frame(TEXT, b'{"type":"connection_init"}') + frame(TEXT, subscribe))
        for client in some:
            read_until(client, b'"START"')
        clients |= some
    return clients


class Heard:
    """What the clients, by the numbers of their sockets, were told, and when."""

    def __init__(self, clients: dict[socket.socket, bytes]) -> None:
        self._clients = {client.fileno(): (client, name) for client, name in clients.items()}
        self.times: dict[int, list[float]] = {}
        self._known: dict[bytes, list[list[float]]] = {}
        """By what was read at once, without ids: all clients are told the same, and it is taken apart once."""
        self._unread: dict[int, bytes] = {}

    def read(self, number: int) -> None:
        """Take what came to a client."""
        client, name = self._clients[number]
        data, ancillary, _, _ = client.recvmsg(READ_BYTES, ANCILLARY_BYTES)
        known = self._known.get(data.replace(name, b"")) if number not in self._unread else None
        if known is None:
            if not data:
                raise SystemExit("the server ended a connection")
            known = self._taken_apart(number, data)
        if known:
            ((_, _, stamp),) = ancillary
            seconds, nanoseconds = TIMESPEC.unpack(stamp)
            for times in known:
                times.append(seconds + nanoseconds / 1e9)

    def _taken_apart(self, number: int, data: bytes) -> list[list[float]]:
        whole = self._unread.pop(number, b"") + data
        told, taken, pings = [], 0, False
        for kind, start, end in frames(whole):
            taken = end
            if kind == PING:
                pings = True
                os.write(number, frame(PONG, whole[start:end]))
            elif found := HEIGHT.search(whole, start, end):
                told.append(self.times.setdefault(int(found[1]), []))
        if taken < len(whole):
            self._unread[number] = whole[taken:]
        elif whole is data and not pings:
            self._known[data.replace(self._clients[number][1], b"")] = told
        return told


def input_has_ended() -> bool:
    """Whether nobody writes to this process any more."""
    return bool(select.select([0], [], [], 0)[0]) and not os.read(0, 1)


def main() -> None:
    """Connect, count, report."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    began = time.monotonic()
    clients = connect_all(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4].encode())
    connecting = time.monotonic() - began
    poll = select.epoll()
    for client in clients:
        client.setblocking(False)
        poll.register(client, select.EPOLLIN)
    print("ready", flush=True)
    gc.disable()
    heard = Heard(clients)
    quiet_since = looked = time.monotonic()
    over = False
    while not over or time.monotonic() - quiet_since < QUIET_SECONDS:
        ready = poll.poll(0, MOST_AT_ONCE)
        for number, _ in ready:
            heard.read(number)
        if ready:
            quiet_since = time.monotonic()
            continue
        if not over and time.monotonic() - looked > INPUT_SECONDS:
            looked = quiet_since = time.monotonic()
            over = input_has_ended()
        time.sleep(LOOK_SECONDS)
    print(json.dumps({"connecting": connecting, "heights": heard.times}), flush=True)


main()
