"""A GraphQL server over the toy protocol on a test's database, and clients for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx
import msgspec
import psycopg
import uvicorn
from starlette.applications import Starlette
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from clarion.config import GraphQL
from clarion.store.database import connect as connect_database
from clarion.store.store import Store
from clarion_graphql.app import make_app
from clarion_graphql.connection import Connection
from support import toy

NO_CACHE: Final = GraphQL(cache_bytes=0)


@dataclass
class Server:
    """A running server: ``client`` speaks HTTP to it, ``url`` is where its WebSocket is."""

    client: httpx.AsyncClient
    url: str
    app: Any

    async def query(self, document: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The whole answer to a document."""
        response = await self.client.post("/graphql", json={"query": document, "variables": dict(variables or {})})
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    async def data(self, document: str, variables: Mapping[str, Any] | None = None) -> Any:
        """The data of an answer without errors."""
        answer = await self.query(document, variables)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    async def error(self, document: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The only error of an answer."""
        answer = await self.query(document, variables)
        (error,) = answer["errors"]
        return dict(error)

    @contextlib.asynccontextmanager
    async def subscribe(
        self, document: str, variables: Mapping[str, Any] | None = None, operation: str | None = None
    ) -> AsyncIterator[Messages]:
        """A subscription, over a connection of its own. ``operation``: which one of the document's."""
        async with connect(self.url, subprotocols=[Subprotocol("graphql-transport-ws")]) as socket:
            await socket.send('{"type":"connection_init"}')
            assert msgspec.json.decode(await socket.recv())["type"] == "connection_ack"
            payload = {"query": document, "variables": dict(variables or {}), "operationName": operation}
            await socket.send(msgspec.json.encode({"id": "1", "type": "subscribe", "payload": payload}).decode())
            yield Messages(socket)


@dataclass
class Messages:
    """The messages of a subscription."""

    socket: ClientConnection

    async def raw(self) -> dict[str, Any]:
        """The next message as it comes."""
        message: dict[str, Any] = msgspec.json.decode(await asyncio.wait_for(self.socket.recv(), 120))
        return message

    async def next(self) -> Any:
        """The next message's data: the value of its only field."""
        message = await self.raw()
        assert message["type"] == "next", message
        assert "errors" not in message["payload"], message["payload"]
        (value,) = message["payload"]["data"].values()
        return value

    async def error(self) -> dict[str, Any]:
        """The error that the subscription is refused with."""
        message = await self.raw()
        assert message["type"] == "error", message
        (error,) = message["payload"]
        return dict(error)


@contextlib.asynccontextmanager
async def serving(app: Starlette, *, compression: bool = False) -> AsyncIterator[Server]:
    """Serve an application on a free port, in this event loop. ``compression``: of what goes over WebSocket."""
    config = uvicorn.Config(
        app,
        port=0,
        http=Connection,
        ws="websockets-sansio",
        ws_per_message_deflate=compression,
        ws_ping_interval=None,
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
    )
    server = uvicorn.Server(config)
    with contextlib.closing(config.bind_socket()) as listener:
        port = listener.getsockname()[1]
        running = asyncio.create_task(server.serve(sockets=[listener]))
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            try:
                await app.state.service.feed.connected.wait()
                yield Server(client, f"ws://127.0.0.1:{port}/graphql", app)
            finally:
                server.should_exit = True
                await running


@contextlib.asynccontextmanager
async def answering(app: Starlette) -> AsyncIterator[Server]:
    """An application without a socket: only HTTP."""
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(base_url="http://test", transport=transport, timeout=30) as client,
    ):
        yield Server(client, "", app)


@contextlib.contextmanager
def toy_store(database_url: str) -> Any:
    """A store over the toy protocol in a migrated database."""
    with connect_database(database_url, autocommit=True) as connection:
        with contextlib.suppress(psycopg.errors.DuplicateTable):
            toy.create_tables(connection)
        store = Store(connection, "stacks", [toy.deployed()])
        store.open()
        yield store


def toy_app(database_url: str, **options: Any) -> Starlette:
    """The application over the toy protocol; it keeps no answers unless ``graphql`` says so.

    A test that asks at once after a commit would get what was before it: the feed may not have heard yet.
    """
    deployed = {"toy": toy.deployed()}
    return make_app(database_url, protocols=[toy.toy], deployed=deployed, **{"graphql": NO_CACHE, **options})
