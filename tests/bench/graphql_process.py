"""Serves GraphQL in a process of its own, one way of several: ``python graphql_process.py WAY URL``.

``compiled``: as `clarion serve` does, without kept answers. ``resolvers``: the same without plans. ``handwritten``: a
Starlette endpoint for each query, with the statement that the plan has. Prints where it listens.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import uvicorn
from bench.graphql_queries import QUERIES, BenchQuery
from graphql import parse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clarion.config import GraphQL
from clarion.protocols.bithedge import protocol
from clarion.serving import listen
from clarion_graphql import app as app_module
from clarion_graphql.connection import Connection
from clarion_graphql.documents import Operation
from clarion_graphql.execution import Executor
from clarion_graphql.plan.connections import Statement, parameter
from clarion_graphql.plan.plans import Plans
from clarion_graphql.schema import build_schema
from clarion_graphql.session import read_pool


def handwritten(url: str) -> Starlette:
    """An endpoint ``/<query>`` for each query, which takes the variables as JSON."""
    plans = Plans(build_schema([protocol]), read_pool(url))

    def endpoint(query: BenchQuery) -> Callable[[Request], Awaitable[Response]]:
        document = parse(query.document)
        operation: Any = Operation(document, document.definitions[0])  # type: ignore[arg-type]
        found = plans.plan(operation, query.variables(1))
        assert found is not None
        # only the operation's own column: who writes such an endpoint by hand tells nobody where it was read
        text = found[0].again.text.decode()
        statement = Statement(f"SELECT {text[text.index(', NULL, ') + 8 :]}")
        (name,) = query.variables(1)
        head = b'{"data":{"' + query.root.encode() + b'":'

        async def answer(request: Request) -> Response:
            given = msgspec.json.decode(await request.body())
            values = [given[name], *found[0].parameters[1:]]
            row = await plans._connections.run(statement, [parameter(value) for value in values])
            return Response(head + (row[0] or b"null") + b"}}", media_type="application/json")

        return answer

    return Starlette(routes=[Route(f"/{query.name}", endpoint(query), methods=["POST"]) for query in QUERIES])


def main() -> None:
    way, url = sys.argv[1:]
    if way == "handwritten":
        app = handwritten(url)
    else:
        app_module.Executor = functools.partial(Executor, plans=way == "compiled")  # type: ignore[attr-defined]
        app = app_module.make_app(url, protocols=[protocol], deployed={}, graphql=GraphQL(cache_bytes=0))
    config = uvicorn.Config(app, http=Connection, access_log=False, log_config=None, proxy_headers=False)
    listening = listen("127.0.0.1", 0, what="benchmark", section="GRAPHQL", also="")
    print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
