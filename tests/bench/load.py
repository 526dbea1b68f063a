"""Asks a server over several connections, each with one request at a time, and says how long it took:
``python load.py URL CONNECTIONS SECONDS < bodies``.

``bodies`` are the requests' JSON, one a line, asked for round and round. Prints requests, seconds, the latencies of
half and of nearly all of the requests in milliseconds, and its own processor time a request in microseconds, as JSON.

It works on the same processors as those that it asks, and what it takes itself is missing there: so it does without an
event loop's tasks and protocols.
"""

from __future__ import annotations

import itertools
import json
import selectors
import socket
import sys
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

WARM_UP_S = 0.5
_AT_ONCE = 1 << 18
_END = b"\r\n\r\n"


class Client:
    """One connection."""

    __slots__ = ("_head", "_left", "began", "socket")

    def __init__(self, where: tuple[str, int]) -> None:
        self.socket = socket.create_connection(where)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.began = 0.0
        self._head = b""
        self._left: int | None = None
        """How much of the answer's body is still to come; None before its head has."""

    def ask(self, request: bytes) -> None:
        """Send a request."""
        self.began = time.perf_counter()
        self.socket.sendall(request)

    def take(self) -> bool:
        """Read what came; whether the answer is whole. Raises RuntimeError for one that is not as it should be."""
        data = self.socket.recv(_AT_ONCE)
        if not data:
            raise ConnectionError("the server closed the connection")
        if self._left is None:
            data = self._head + data if self._head else data
            end = data.find(_END)
            if end < 0:
                self._head = data
                return False
            self._head = b""
            body = end + len(_END)
            if not data.startswith(b"HTTP/1.1 200") or data.startswith(b'{"errors"', body):
                raise RuntimeError(data[:500].decode())
            lower = data[:body].lower()
            at = lower.index(b"content-length:") + 15
            self._left = int(lower[at : lower.index(b"\r\n", at)]) - (len(data) - body)
        else:
            self._left -= len(data)
        if self._left:
            return False
        self._left = None
        return True


def ask(url: str, connections: int, seconds: float, bodies: list[bytes]) -> dict[str, float]:
    """Ask for a while, after a shorter one."""
    where = urlsplit(url)
    assert where.hostname is not None
    assert where.port is not None
    requests = itertools.cycle(
        f"POST {where.path} HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Type: application/json\r\n"
        f"Accept: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
        for body in bodies
    )
    _ask_for(WARM_UP_S, (where.hostname, where.port), connections, requests)
    began, processor = time.perf_counter(), time.process_time()
    latencies = sorted(_ask_for(seconds, (where.hostname, where.port), connections, requests))
    processor = time.process_time() - processor
    return {
        "requests": len(latencies),
        "seconds": time.perf_counter() - began,
        "p50": latencies[len(latencies) // 2] * 1e3,
        "p99": latencies[int(len(latencies) * 0.99)] * 1e3,
        "processor": processor / len(latencies) * 1e6,
    }


def _ask_for(seconds: float, where: tuple[str, int], connections: int, requests: Iterator[bytes]) -> list[float]:
    """The latencies of what was asked in so many seconds."""
    latencies: list[float] = []
    until = time.perf_counter() + seconds
    with selectors.DefaultSelector() as selector:
        for _ in range(connections):
            client = Client(where)
            selector.register(client.socket, selectors.EVENT_READ, client)
            client.ask(next(requests))
        while selector.get_map():
            for key, _ in selector.select():
                client = key.data
                if not client.take():
                    continue
                now = time.perf_counter()
                latencies.append(now - client.began)
                if now < until:
                    client.ask(next(requests))
                else:
                    selector.unregister(client.socket)
                    client.socket.close()
    return latencies


if __name__ == "__main__":
    lines = sys.stdin.buffer.read().splitlines()
    print(json.dumps(ask(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), lines)))
