"""The web application: ``/graphql`` over HTTP and WebSocket, the schema, health, and a page to try it on."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

import psycopg
import structlog
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send
from strawberry.http.ides import get_graphql_ide_html

from clarion.chains.bitcoin.rpc import BitcoinRpc
from clarion.chains.stacks.networks import Network
from clarion.config import Accounts as AccountSettings
from clarion.config import GraphQL as GraphQLSettings
from clarion.config import Quota, Ready
from clarion.health import probe_answer
from clarion.protocol import DeployedProtocol, Protocol
from clarion_graphql.accounts.accounts import Accounts
from clarion_graphql.accounts.client import Proxies
from clarion_graphql.accounts.store import write_pool
from clarion_graphql.context import Service
from clarion_graphql.execution import Executor
from clarion_graphql.extensions import installed_extensions
from clarion_graphql.feed import Feed
from clarion_graphql.home import home_page
from clarion_graphql.http import Endpoint, HttpOptions
from clarion_graphql.limits import Limits
from clarion_graphql.live.hub import Hub
from clarion_graphql.live.sse import EventStreamEndpoint
from clarion_graphql.live.websocket import WebSocketEndpoint
from clarion_graphql.persisted import PersistedQueries, read_allowed
from clarion_graphql.response_cache import ResponseCache
from clarion_graphql.schema import apis_of, build_schema, sdl
from clarion_graphql.session import CONNECTION_TIMEOUT_S, STATEMENT_TIMEOUT_MS, read_pool
from clarion_graphql.transactions.unsigned import node_of

log = structlog.get_logger(__name__)

GRAPHQL_PATH: Final = "/graphql"
EVENT_STREAM_PATH: Final = "/graphql/stream"


class _App(Starlette):
    """Sends what is served as it comes past the middleware, straight to its endpoint."""

    graphql: Endpoint
    websocket: WebSocketEndpoint
    event_stream: EventStreamEndpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection or request."""
        if scope["type"] == "http" and scope["path"] == GRAPHQL_PATH:
            await self.graphql(scope, receive, send)
        elif scope["type"] == "websocket" and scope["path"] == GRAPHQL_PATH:
            await self.websocket(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] == EVENT_STREAM_PATH and scope["method"] != "OPTIONS":
            await self.event_stream(scope, receive, send)
        elif scope["type"] == "http":
            await super().__call__(scope, receive, self._with_request_id(scope, send))
        else:
            await super().__call__(scope, receive, send)

    def _with_request_id(self, scope: Scope, send: Send) -> Send:
        """Sends answers with the request's id; those who make one find the request as ``state.request``."""
        service: Service = self.state.service
        request = service.accounts.request_of(scope)
        scope.setdefault("state", {})["request"] = request
        header = (b"x-request-id", request.request_id.encode())

        async def send_with_it(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), header]}
            await send(message)

        return send_with_it


def make_app(
    database_url: str,
    *,
    protocols: Sequence[Protocol],
    deployed: Mapping[str, DeployedProtocol],
    network: Network = Network.TESTNET,
    node_url: str | None = None,
    bitcoin: BitcoinRpc | None = None,
    graphql: GraphQLSettings | None = None,
    accounts: AccountSettings | None = None,
    quota: Quota | None = None,
    ready: Ready | None = None,
    statement_timeout_ms: int = STATEMENT_TIMEOUT_MS,
    connection_timeout_s: float = CONNECTION_TIMEOUT_S,
) -> Starlette:
    """The application over one database.

    Args:
        database_url: of the database that the indexer writes, which also tells when it did.
        protocols: what is in the schema.
        deployed: by protocol, where the contracts of those are that is known of.
        network: whose addresses sign in, and whose transactions are prepared.
        node_url: RPC address of the node that is asked for fees and nonces; None: nobody is.
        bitcoin: the node that is asked what waits in Bitcoin's mempool; None: nobody is.
        graphql: which database is read, as whom, and which proxies are before the server.
        accounts: who may sign in and what the others may do.
        quota: how much callers may ask for.
        ready: how far the index may be behind before `status` calls that a problem.
        statement_timeout_ms: longest that a statement may run, in milliseconds.
        connection_timeout_s: longest that an operation waits for a connection, in seconds.
    """
    graphql, accounts = graphql or GraphQLSettings(), accounts or AccountSettings()
    extensions = installed_extensions()
    schema = build_schema(protocols, extensions)
    read_url, write_url = (
        database_url if url is None else url.get_secret_value() for url in (graphql.database_url, accounts.database_url)
    )
    pool = read_pool(
        read_url,
        statement_timeout_ms=statement_timeout_ms,
        connection_timeout_s=connection_timeout_s,
        role=graphql.reader_role,
    )
    feed = Feed(
        database_url,
        read_url if graphql.database_url is not None else None,
        [channel for extension in extensions for channel in extension.channels],
    )
    writes = write_pool(write_url, accounts.role)
    callers = Accounts(
        writes,
        network=network,
        settings=accounts,
        quota=quota or Quota(),
        proxies=Proxies(graphql.proxies, graphql.proxy_header),
    )
    node = node_of(node_url)
    service = Service(
        pool,
        feed,
        tuple(protocols),
        dict(deployed),
        writes,
        callers,
        network=network,
        node=node,
        bitcoin=bitcoin,
        ready=ready or Ready(),
    )

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        # a database that is down now may come back: requests say so meanwhile
        await pool.open(wait=False)
        await writes.open(wait=False)
        running = [asyncio.create_task(work) for work in (feed.run(), callers.run())]
        gc.collect()
        gc.freeze()
        try:
            yield
        finally:
            for task in running:
                task.cancel()
            await asyncio.wait(running)
            await writes.close()
            executor.close()
            await pool.close()
            if node is not None:
                await node.close()
            if bitcoin is not None:
                await bitcoin.__aexit__(None, None, None)

    async def healthz(request: Request) -> JSONResponse:
        return probe_answer("alive", [], {})

    async def readyz(request: Request) -> JSONResponse:
        session = service.session()
        try:
            receipts = await session.receipts()
        except psycopg.Error as error:
            log.warning("ready.database_unavailable", error=str(error).strip())
            return probe_answer("ready", ["the database does not answer"], {})
        finally:
            await session.close()
        return probe_answer("ready", [], {"chains": [receipt.to_json() for receipt in receipts.values()]})

    async def schema_definition(request: Request) -> PlainTextResponse:
        return PlainTextResponse(sdl(schema))

    async def home(request: Request) -> HTMLResponse:
        return HTMLResponse(home_page(GRAPHQL_PATH, [protocol.name for protocol in protocols]))

    app = _App(
        routes=[
            Route("/", home),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            *([Route("/schema.graphql", schema_definition)] if graphql.introspection else []),
            *(make(service) for api in apis_of(protocols) for make in api.routes),
        ],
        middleware=[
            Middleware(
                CORSMiddleware, allow_origins=graphql.origins, allow_methods=["GET", "POST"], allow_headers=["*"]
            )
        ],
        lifespan=lifespan,
    )
    app.state.service = service
    limits = Limits(
        depth=graphql.max_depth,
        aliases=graphql.max_aliases,
        tokens=graphql.max_tokens,
        cost=graphql.max_cost,
        introspection=graphql.introspection,
    )
    executor = Executor(schema, service, limits)
    hub = Hub(schema, service, executor)
    persisted = PersistedQueries(None if graphql.documents is None else read_allowed(graphql.documents))
    app.websocket = WebSocketEndpoint(hub, executor, persisted, service, max_message=graphql.max_body_bytes)
    options = HttpOptions(
        origins=graphql.origins,
        max_body_bytes=graphql.max_body_bytes,
        max_batch=graphql.max_batch,
        max_requests=graphql.max_requests,
        compression=graphql.compression,
    )
    app.event_stream = EventStreamEndpoint(hub, executor, persisted, service, options)
    app.graphql = Endpoint(
        executor,
        callers,
        persisted,
        ResponseCache(
            feed,
            max_bytes=graphql.cache_bytes,
            unheard=[entity.table for extension in extensions for entity in extension.entities],
        ),
        options,
        page=get_graphql_ide_html("graphiql") if graphql.introspection else None,
        event_stream=app.event_stream,
    )
    return app
