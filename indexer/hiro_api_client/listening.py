"""Wake-ups over the API's WebSocket (``/extended/v1/ws``, JSON-RPC 2.0), as dependable as polling.

A socket can die without a word: behind a gateway that forgot it, or before a server that lost its subscriptions. It
is closed and opened anew when pings go unanswered and when nothing came for a long time, and every new connection is a
wake-up itself, because what happened before is not repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from hiro_api_client.errors import InvalidAnswerError
from hiro_api_client.types import Wakeup

_PATH = "/extended/v1/ws"


class _Message(msgspec.Struct):
    id: int | None = None
    method: str | None = None
    params: Any = None
    result: Any = None
    error: Any = None


_message = msgspec.json.Decoder(_Message)


async def listen(
    url: str,
    subscriptions: Sequence[Mapping[str, str]],
    *,
    headers: Mapping[str, str],
    ping_seconds: float,
    silence_seconds: float,
    backoff_seconds: tuple[float, float],
) -> AsyncGenerator[Wakeup, None]:
    """Wake-ups until the iteration is ended; never raises for what the network does."""
    shortest, longest = backoff_seconds
    pause = shortest
    while True:
        with contextlib.suppress(OSError, TimeoutError, ssl.SSLError, WebSocketException):
            async with connect(
                _websocket_url(url),
                additional_headers=dict(headers),
                open_timeout=ping_seconds,
                ping_interval=ping_seconds,
                ping_timeout=ping_seconds,
                close_timeout=1,
                max_size=None,
            ) as socket:
                await _subscribe(socket, subscriptions, ping_seconds)
                pause = shortest
                yield Wakeup(reason="connected")
                while True:
                    async with asyncio.timeout(silence_seconds):
                        received = await socket.recv()
                    message = _read(received)
                    if message.method is not None:
                        yield Wakeup(reason=message.method, params=message.params)
        await asyncio.sleep(pause)
        pause = min(2 * pause, longest)


async def _subscribe(
    socket: ClientConnection, subscriptions: Sequence[Mapping[str, str]], timeout_seconds: float
) -> None:
    for number, params in enumerate(subscriptions, start=1):
        request = {"jsonrpc": "2.0", "id": number, "method": "subscribe", "params": dict(params)}
        await socket.send(msgspec.json.encode(request).decode())
    waiting = set(range(1, len(subscriptions) + 1))
    async with asyncio.timeout(timeout_seconds):
        while waiting:
            message = _read(await socket.recv())
            if message.error is not None:
                raise InvalidAnswerError(_PATH, f"the API refused a subscription: {message.error}")
            waiting.discard(message.id or 0)


def _read(received: str | bytes) -> _Message:
    try:
        return _message.decode(received)
    except msgspec.MsgspecError as error:
        raise InvalidAnswerError(_PATH, f"the API sent what is no JSON-RPC message: {error}") from error


def _websocket_url(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{'wss' if scheme == 'https' else 'ws'}://{rest}{_PATH}"
