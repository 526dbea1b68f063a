"""A client of graphql-transport-ws that sends what it is told to, and a chain to subscribe to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec
from psycopg import Connection
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from clarion.chains.model import Block, BurnBlock
from clarion.follower import Follower
from clarion.store.store import Store
from support.index_service import until

WAIT_S = 120
CHANGES = """subscription($since: BigInt) {
  changes(table: TOY_ACCOUNT, since: $since) { sequence op retraction height key before after }
}"""


def ingest(store: Store, items: Sequence[Block | BurnBlock]) -> None:
    """Commit blocks."""
    with store.batch() as batch:
        Follower().ingest(batch, items)


class Client:
    """One connection."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def say(self, message: Mapping[str, Any] | str | bytes) -> None:
        """Send a message, or any text or bytes."""
        text = message if isinstance(message, str | bytes) else msgspec.json.encode(message).decode()
        await self.socket.send(text)

    async def hear(self) -> Any:
        """The next message."""
        return msgspec.json.decode(await asyncio.wait_for(self.socket.recv(), WAIT_S))

    async def subscribe(self, document: str, variables: Mapping[str, Any] | None = None, name: str = "1") -> None:
        """Begin an operation."""
        payload = {"query": document, "variables": dict(variables or {})}
        await self.say({"id": name, "type": "subscribe", "payload": payload})

    async def data(self) -> Any:
        """The value of the only field of the next message, which is an answer."""
        message = await self.hear()
        assert message["type"] == "next", message
        assert "errors" not in message["payload"], message
        (value,) = message["payload"]["data"].values()
        return value

    async def closed(self) -> tuple[int, str]:
        """The code and the reason that the server closes with."""
        with contextlib.suppress(ConnectionClosed):
            async with asyncio.timeout(WAIT_S):
                while True:
                    await self.socket.recv()
        assert self.socket.close_code is not None
        return self.socket.close_code, self.socket.close_reason or ""


@contextlib.asynccontextmanager
async def connected(
    url: str, *, init: bool = True, subprotocol: str = "graphql-transport-ws", slow: bool = False
) -> AsyncIterator[Client]:
    """A connection.

    Args:
        url: where the WebSocket is.
        init: that the server has acknowledged.
        subprotocol: what is offered.
        slow: it takes from its socket only what it is asked for; a client that is quick takes what there is.
    """
    options: dict[str, Any] = {"max_queue": 16, "close_timeout": 0.1} if slow else {"max_queue": None}
    async with connect(url, subprotocols=[Subprotocol(subprotocol)], max_size=None, **options) as socket:
        client = Client(socket)
        if init:
            await client.say({"type": "connection_init"})
            assert await client.hear() == {"type": "connection_ack"}
        yield client


async def scans(connection: Connection[Any], table: str) -> int:
    """How often a table was read, as the database counts: backends tell when they end, so GraphQL's have to end."""

    async def ended() -> bool:
        backends = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE %s"
        return not connection.execute(backends, ("clarion graphql%",)).fetchall()

    await until(ended)
    found = connection.execute(
        "SELECT coalesce(seq_scan, 0) + coalesce(idx_scan, 0) FROM pg_stat_user_tables WHERE relid = %s::regclass",
        (table,),
    ).fetchone()
    assert found is not None
    return int(found[0])
