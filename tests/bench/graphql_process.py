"""Serves GraphQL in a process of its own, one way of several: ``python graphql_process.py WAY URL``.

``kept``: as `clarion serve` does. ``compiled``: the same, but no answer is kept. ``resolvers``: without plans either.
``handwritten``: a Starlette endpoint for each query, with the statement that the plan has, on the same server.
``empty ASGI`` and ``empty protocol`` answer everything with 1,000 bytes: none is faster. Prints where it listens.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, cast

import msgspec
import psycopg
import uvicorn
import uvloop
from bench.graphql_queries import QUERIES, BenchQuery
from graphql import parse
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from clarion.config import GraphQL
from clarion.protocols.bithedge import protocol
from clarion.serving import listen
from clarion_graphql import app as app_module
from clarion_graphql.connection import Connection
from clarion_graphql.documents import Operation
from clarion_graphql.execution import Executor
from clarion_graphql.plan.connections import parameter
from clarion_graphql.plan.plans import Plans
from clarion_graphql.scheduling import give_way
from clarion_graphql.schema import build_schema
from clarion_graphql.session import POOL_SIZE, read_pool
from clarion_graphql.sql import Slot


class OneAtATime:
    """Connections as one would have them by hand: each runs one prepared statement at a time, the one used last next.

    They are libpq's own and not psycopg's, which takes three times the processor time.
    """

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        self._url = url
        self._options = options
        self._free: asyncio.LifoQueue[_Prepared | None] = asyncio.LifoQueue()
        for _ in range(POOL_SIZE):
            self._free.put_nowait(None)

    async def run(self, name: bytes, text: bytes, parameters: Sequence[bytes | None]) -> bytes | None:
        """The only value that a statement gives."""
        connection = await self._free.get()
        if connection is None:
            connection = _Prepared(await psycopg.AsyncConnection.connect(self._url, **self._options))
        try:
            if name not in connection.prepared:
                connection.prepared.add(name)
                connection.pgconn.send_prepare(name, text)
                await connection.result()
            connection.pgconn.send_query_prepared(name, parameters)
            return (await connection.result()).get_value(0, 0)
        finally:
            self._free.put_nowait(connection)


class _Prepared:
    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection
        self._result: asyncio.Future[PGresult] | None = None
        self.pgconn = connection.pgconn
        self.pgconn.nonblocking = 1
        self.prepared: set[bytes] = set()
        asyncio.get_running_loop().add_reader(self.pgconn.socket, self._readable)

    async def result(self) -> PGresult:
        self._result = asyncio.get_running_loop().create_future()
        assert self.pgconn.flush() == 0, "the statement is longer than a socket takes"
        result = await self._result
        assert result.status in {ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK}, result.error_message
        return result

    def _readable(self) -> None:
        self.pgconn.consume_input()
        if self._result is not None and not self.pgconn.is_busy():
            waiting, self._result = self._result, None
            first = self.pgconn.get_result()
            while self.pgconn.get_result() is not None:
                pass
            assert first is not None
            waiting.set_result(first)


def handwritten(url: str) -> Starlette:
    """An endpoint ``/<query>`` for each query, which takes the variables as JSON."""
    pool = read_pool(url)
    plans = Plans(build_schema([protocol]), pool)
    connections = OneAtATime(url, cast("dict[str, Any]", pool.kwargs))

    def endpoint(query: BenchQuery) -> Callable[[Request], Awaitable[Response]]:
        document = parse(query.document)
        operation: Any = Operation(document, document.definitions[0])  # type: ignore[arg-type]
        found = plans.plan(operation, query.variables(1))
        assert found is not None
        # only the operation's own column: who writes such an endpoint by hand tells nobody where it was read
        text = found[0].again.text.decode()
        statement = f"SELECT {text[text.index(', NULL, ') + 8 :]}".encode()
        (name,) = query.variables(1)
        given_at = [isinstance(value, Slot) for value in found[0].parameters].index(True)
        head = b'{"data":{"' + query.root.encode() + b'":'

        async def answer(request: Request) -> Response:
            given = msgspec.json.decode(await request.body())
            values = list(found[0].parameters)
            values[given_at] = given[name]
            value = await connections.run(query.name.encode(), statement, [parameter(value) for value in values])
            return Response(head + (value or b"null") + b"}}", media_type="application/json")

        return answer

    return Starlette(routes=[Route(f"/{query.name}", endpoint(query), methods=["POST"]) for query in QUERIES])


_ANSWER: Final = b'{"data":{"nothing":"%b"}}' % (b" " * 976)


async def empty(scope: Scope, receive: Receive, send: Send) -> None:
    """An ASGI application that does nothing."""
    if scope["type"] == "lifespan":
        for said in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{said}.complete"})
        return
    await receive()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_ANSWER))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": _ANSWER})


class EmptyProtocol(asyncio.Protocol):
    """Answers whatever comes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
            % (len(_ANSWER), _ANSWER)
        )


async def serve_nothing(listening: socket.socket) -> None:
    server = await asyncio.get_running_loop().create_server(EmptyProtocol, sock=listening)
    await server.serve_forever()


def main() -> None:
    way, url = sys.argv[1:]
    listening = listen("127.0.0.1", 0, what="benchmark", section="GRAPHQL", also="")
    print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    if way == "empty protocol":
        uvloop.run(serve_nothing(listening))
        return
    if way == "handwritten":
        app: ASGIApp = handwritten(url)
    elif way == "empty ASGI":
        app = empty
    else:
        app_module.Executor = functools.partial(Executor, plans=way != "resolvers")  # type: ignore[misc,assignment]
        give_way()
        settings = GraphQL() if way == "kept" else GraphQL(cache_bytes=0)
        app = app_module.make_app(url, protocols=[protocol], deployed={}, graphql=settings)
    config = uvicorn.Config(app, http=Connection, access_log=False, log_config=None, proxy_headers=False)
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
