"""GraphQL over server-sent events: what a browser's EventSource and the client graphql-sse see."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from support import toy
from support.graphql import Server, serving, toy_app
from support.index_service import until
from support.live import CHANGES, WAIT_S, ingest

from clarion.config import GraphQL
from clarion.store.store import Store

STREAM = {"Accept": "text/event-stream"}


@pytest.fixture
async def server(database_url: str, store: Store) -> AsyncIterator[Server]:
    async with serving(toy_app(database_url)) as running:
        yield running


class Events:
    """The events of a response."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def next(self) -> tuple[str, str | None, Any]:
        """The next event's name, id and data. Raises StopAsyncIteration at the end."""
        fields: dict[str, str] = {}
        while True:
            line = await asyncio.wait_for(anext(self._lines), WAIT_S)
            name, _, value = line.partition(": ")
            if line:
                fields[name] = value
            elif "event" in fields:
                return fields["event"], fields.get("id"), json.loads(fields.get("data") or "null")

    async def data(self) -> Any:
        """The value of the only field of the next event."""
        name, _, answer = await self.next()
        assert name == "next"
        assert "errors" not in answer, answer
        (value,) = answer["data"].values()
        return value

    async def ends(self) -> None:
        """The operation completes and the response ends."""
        assert (await self.next())[0] == "complete"
        with pytest.raises(StopAsyncIteration):
            await self.next()


@contextlib.asynccontextmanager
async def streamed(
    server: Server,
    document: str,
    headers: dict[str, str] | None = None,
    path: str = "/graphql/stream",
    **variables: Any,
) -> AsyncIterator[Events]:
    request = {"query": document, "variables": variables}
    async with server.client.stream("POST", path, json=request, headers=STREAM | (headers or {})) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        yield Events(response)


class TestStream:
    """Streams that begin."""

    @pytest.mark.parametrize("path", ["/graphql/stream", "/graphql"])
    async def test_a_subscription(self, store: Store, server: Server, path: str) -> None:
        async with streamed(server, CHANGES, path=path) as events:
            assert (await events.data())["op"] == "START"
            ingest(store, [toy.block(None, [toy.move("a", 1)])])
            name, identifier, answer = await events.next()

        assert (name, identifier) == ("next", answer["data"]["changes"]["sequence"])
        assert answer["data"]["changes"]["key"] == ["a"]

    async def test_the_last_events_id_goes_on_after_it(self, store: Store, server: Server) -> None:
        first = toy.block(None, [toy.move("a", 1), toy.move("b", 1), toy.move("c", 1)])
        ingest(store, [first])
        async with streamed(server, CHANGES, since="0") as events:
            _, identifier, _ = await events.next()
            assert identifier is not None
        async with streamed(server, CHANGES, {"Last-Event-ID": identifier}, since="0") as events:
            assert [(await events.data())["key"] for _ in range(2)] == [["b"], ["c"]]

    @pytest.mark.parametrize(
        "document",
        [
            "subscription { live { toyAccounts { totalCount } } }",
            "subscription { finality { finality height } }",
            'subscription { transaction(txId: "0x%s", chain: STACKS) { state } }',
        ],
    )
    async def test_what_is_told_as_it_is_now_comes_whatever_was_told_last(
        self, store: Store, server: Server, document: str
    ) -> None:
        block = toy.block(None, [toy.move("a", 1)])
        ingest(store, [toy.burn_block(1), block])
        document = document.replace("%s", block.transactions[0].id.hex())
        async with streamed(server, document) as events:
            told = await events.next()
        async with streamed(server, document, {"Last-Event-ID": "9000"}) as events:
            assert await events.next() == told

    async def test_what_an_event_source_sends(self, store: Store, server: Server) -> None:
        given = {"query": CHANGES, "variables": '{"since": 0}'}
        ingest(store, [toy.block(None, [toy.move("a", 1)])])
        async with server.client.stream("GET", "/graphql/stream", params=given, headers=STREAM) as response:
            assert (await Events(response).data())["key"] == ["a"]

    async def test_a_query_is_answered_and_complete(self, server: Server) -> None:
        async with streamed(server, "{ __typename }") as events:
            assert (await events.next())[2]["data"] == {"__typename": "Query"}
            await events.ends()

    @pytest.mark.parametrize(
        ("document", "code"),
        [
            ("{", "GRAPHQL_PARSE_FAILED"),
            ("{ nonsense }", "GRAPHQL_VALIDATION_FAILED"),
            ("subscription { blocks(since: -1) { op } }", "BAD_USER_INPUT"),
            ("subscription { blocks(since: 99) { op } }", "SEQUENCE_AHEAD"),
        ],
    )
    async def test_what_cannot_be_executed_is_told_in_the_stream(
        self, server: Server, document: str, code: str
    ) -> None:
        async with streamed(server, document) as events:
            name, _, answer = await events.next()
            assert name == "next"
            assert [error["extensions"]["code"] for error in answer["errors"]] == [code]
            await events.ends()

    async def test_comments_keep_it_open(self, database_url: str, store: Store) -> None:
        app = toy_app(database_url)
        app.event_stream._keep_alive_s = 0.05
        async with serving(app) as server, streamed(server, CHANGES) as events:
            lines = events.response.aiter_lines()
            said = [await asyncio.wait_for(anext(lines), WAIT_S) for _ in range(12)]
        assert said.count(":") >= 2

    async def test_the_group_ends_when_the_client_goes(self, server: Server) -> None:
        hub = server.app.websocket.hub
        async with streamed(server, CHANGES) as events:
            await events.next()
            assert hub.groups == 1

        async def none_left() -> bool:
            return hub.groups == 0

        await until(none_left)


class TestRefused:
    """Requests that no stream begins for."""

    @pytest.mark.parametrize(
        ("request_of", "status"),
        [
            ({"method": "POST", "content": b"{"}, 400),
            ({"method": "POST", "content": b"[]"}, 400),
            ({"method": "POST", "content": b'{"query": 1}'}, 400),
            ({"method": "POST", "content": b"x" * ((1 << 20) + 1)}, 413),
            ({"method": "GET", "params": {"query": "{ __typename }", "extensions": "["}}, 400),
            ({"method": "GET", "headers": {"Last-Event-ID": "x"}, "params": {"query": "{ __typename }"}}, 400),
            ({"method": "PUT", "content": b"{}"}, 405),
        ],
    )
    async def test_bad_requests(self, server: Server, request_of: dict[str, Any], status: int) -> None:
        response = await server.client.request(url="/graphql/stream", **request_of)

        assert response.status_code == status
        assert response.json()["errors"][0]["message"]

    async def test_a_mutation_is_sent_with_post(self, server: Server) -> None:
        given = {"query": "mutation { signOut }"}
        async with server.client.stream("GET", "/graphql/stream", params=given, headers=STREAM) as response:
            (error,) = (await Events(response).next())[2]["errors"]
        assert error["extensions"]["code"] in ("METHOD_NOT_ALLOWED", "GRAPHQL_VALIDATION_FAILED")

    async def test_only_listed_documents(self, database_url: str, store: Store, tmp_path: Any) -> None:
        listed = tmp_path / "documents.json"
        listed.write_text(json.dumps({"one": CHANGES}))
        async with serving(toy_app(database_url, graphql=GraphQL(documents=listed))) as server:
            async with streamed(server, "subscription { blocks { op } }") as events:
                (error,) = (await events.next())[2]["errors"]
                assert error["extensions"]["code"] == "DOCUMENT_NOT_ALLOWED"
            async with server.subscribe("subscription { blocks { op } }") as messages:
                assert (await messages.error())["extensions"]["code"] == "DOCUMENT_NOT_ALLOWED"
            async with streamed(server, CHANGES) as events:
                assert (await events.data())["op"] == "START"
