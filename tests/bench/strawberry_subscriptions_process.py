"""Serves subscriptions the way Strawberry does by itself: ``python strawberry_subscriptions_process.py URL``.

The schema, its resolvers, the listener and the reads are those of `clarion serve`, and a block is read once for all;
but each client's operation is executed and written by Strawberry's own graphql-transport-ws. Prints where it listens.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from strawberry.asgi import GraphQL

from clarion.serving import listen
from clarion_graphql.app import make_app
from clarion_graphql.context import Operation, Service
from clarion_graphql.extensions import installed_extensions
from clarion_graphql.live.sources import LogSource
from clarion_graphql.schema import build_schema


def main() -> None:
    app = make_app(sys.argv[1], protocols=[], deployed={})
    service: Service = app.state.service

    async def messages(source: LogSource[Any]) -> AsyncIterator[Any]:
        start = await source.start()
        yield source.show_start(start)
        position = start.sequence
        while True:
            await service.feed.changed(source.chain, position)
            piece = await service.log_reads.read((source.what, position), lambda at=position: source.read(at))
            for entry in piece.entries:
                yield source.show(entry)
            position = piece.up_to

    class Endpoint(GraphQL[Operation, None]):
        async def get_context(self, request: Any, response: Any) -> Operation:
            return Operation(service)

    LogSource.__aiter__ = messages  # type: ignore[method-assign,assignment]
    app.websocket = Endpoint(build_schema([], installed_extensions()))  # type: ignore[attr-defined]
    listening = listen("127.0.0.1", 0, what="benchmark", section="GRAPHQL", also="")
    print(f"url=http://127.0.0.1:{listening.getsockname()[1]}/graphql", flush=True)
    config = uvicorn.Config(
        app,
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        access_log=False,
        log_config=None,
        proxy_headers=False,
    )
    uvicorn.Server(config).run(sockets=[listening])


main()
