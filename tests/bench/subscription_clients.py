"""Many WebSocket clients of one server in a process that does little else: it counts frames and notes when they came.

    python subscription_clients.py HOST PORT CLIENTS PAYLOAD

Says `ready` once every client has its START, then at the end of its input one line of JSON: how long connecting took,
and by a block's height when each client was told of it (seconds of the monotonic clock).
"""

from __future__ import annotations

import base64
import json
import os
import re
import resource
import select
import socket
import sys
import time
from collections.abc import Iterator

READ_BYTES = 1 << 18
QUIET_SECONDS = 1.0
"""After the end of the input: when nothing comes for so long, nothing is under way."""
HEIGHT = re.compile(rb'"height":(\d+)')
AT_ONCE = 100
"""Clients that connect at a time: a listener's queue is short."""


def frame(text: bytes) -> bytes:
    """A client's text frame, masked with zeros."""
    size = len(text)
    head = bytes((0x81, 0x80 | size)) if size < 126 else b"\x81\xfe" + size.to_bytes(2, "big")
    return head + bytes(4) + text


def connected(host: str, port: int) -> socket.socket:
    """A connection that has asked to be a WebSocket."""
    client = socket.create_connection((host, port))
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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


def frames(data: bytes) -> Iterator[tuple[int, int]]:
    """Where the payloads of the whole frames are."""
    at = 0
    while at + 4 <= len(data):
        size, start = data[at + 1], at + 2
        if size == 126:
            size, start = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
        elif size == 127:
            size, start = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
        at = start + size
        if at > len(data):
            return
        yield start, at


def main() -> None:
    """Connect, count, report."""
    host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    subscribe = b'{"id":"1","type":"subscribe","payload":%b}' % sys.argv[4].encode()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    clients: list[socket.socket] = []
    began = time.monotonic()
    while len(clients) < count:
        some = [connected(host, port) for _ in range(min(AT_ONCE, count - len(clients)))]
        for client in some:
            read_until(client, b"\r\n\r\n")
            client.sendall(frame(b'{"type":"connection_init"}') + frame(subscribe))
        for client in some:
            read_until(client, b'"START"')
        clients += some
    connecting = time.monotonic() - began
    poll = select.epoll()
    by_number = {client.fileno(): client for client in clients}
    for client in clients:
        client.setblocking(False)
        poll.register(client, select.EPOLLIN)
    os.set_blocking(0, False)
    poll.register(0, select.EPOLLIN)
    print("ready", flush=True)
    buffer = bytearray(READ_BYTES)
    view = memoryview(buffer)
    unread: dict[int, bytes] = {}
    heights: dict[int, list[float]] = {}
    over = False
    while True:
        ready = poll.poll(QUIET_SECONDS if over else None)
        if not ready:
            break
        for number, _ in ready:
            if number == 0:
                over = not os.read(0, 1)
                poll.unregister(0)
                continue
            size = by_number[number].recv_into(view)
            now = time.monotonic()
            if size == 0:
                raise SystemExit("the server ended a connection")
            data = bytes(view[:size])
            if number in unread:
                data = unread.pop(number) + data
            end = 0
            for start, end in frames(data):
                found = HEIGHT.search(data, start, end)
                if found:
                    heights.setdefault(int(found[1]), []).append(now)
            if end < len(data):
                unread[number] = data[end:]
    print(json.dumps({"connecting": connecting, "heights": heights}), flush=True)


main()
