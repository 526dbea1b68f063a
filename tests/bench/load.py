"""Asks a server over several connections, each with one request at a time, and says how long it took:
``python load.py URL CONNECTIONS SECONDS < bodies``.

``bodies`` are the requests' JSON, one a line, asked for round and round. Prints requests, seconds, and the latencies of
half and of nearly all of the requests in milliseconds, as JSON.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Iterator
from typing import cast
from urllib.parse import urlsplit

import uvloop

WARM_UP_S = 0.5


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, requests: Iterator[bytes], latencies: list[float], until: float) -> None:
        self._requests = requests
        self._latencies = latencies
        self._until = until
        self._buffer = b""
        self._began = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def _ask(self) -> None:
        self._began = time.perf_counter()
        if self._began > self._until:
            self._transport.close()
            self.done.set_result(None)
            return
        self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        lower = head.lower()
        at = lower.index(b"content-length:") + 15
        if len(body) < int(lower[at:].split(b"\r\n", 1)[0]):
            return
        if not head.startswith(b"HTTP/1.1 200") or b'"errors"' in body[:9]:
            self.done.set_exception(RuntimeError(self._buffer[:500].decode()))
            self._transport.close()
            return
        self._buffer = b""
        self._latencies.append(time.perf_counter() - self._began)
        self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("the server closed the connection"))


async def ask(url: str, connections: int, seconds: float, bodies: list[bytes]) -> dict[str, float]:
    where = urlsplit(url)
    requests = itertools.cycle(
        f"POST {where.path} HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Type: application/json\r\n"
        f"Accept: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
        for body in bodies
    )
    await _ask_for(WARM_UP_S, where.hostname, where.port, connections, requests)
    began = time.perf_counter()
    latencies = sorted(await _ask_for(seconds, where.hostname, where.port, connections, requests))
    return {
        "requests": len(latencies),
        "seconds": time.perf_counter() - began,
        "p50": latencies[len(latencies) // 2] * 1e3,
        "p99": latencies[int(len(latencies) * 0.99)] * 1e3,
    }


async def _ask_for(
    seconds: float, host: str | None, port: int | None, connections: int, requests: Iterator[bytes]
) -> list[float]:
    """The latencies of what was asked in so many seconds."""
    latencies: list[float] = []
    until = time.perf_counter() + seconds
    loop = asyncio.get_running_loop()
    clients = [
        (await loop.create_connection(lambda: Client(requests, latencies, until), host, port))[1]
        for _ in range(connections)
    ]
    await asyncio.gather(*(client.done for client in clients))
    return latencies


if __name__ == "__main__":
    lines = sys.stdin.buffer.read().splitlines()
    print(json.dumps(uvloop.run(ask(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), lines))))
