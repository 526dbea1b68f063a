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

from clarion.config import GraphQL, Quota
from clarion.store.store import Store
from clarion_graphql.accounts.caller import ANYONE, Caller
from clarion_graphql.execution import Answer, Executor, GraphQLRequest
from clarion_graphql.http import HttpOptions

STREAM = {"Accept": "text/event-stream"}
JSON = {"Content-Type": "application/json"}
ASK = b'{"query": "{ __typename }"}'


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

    async def test_its_answer_has_an_id(self, server: Server) -> None:
        async with streamed(server, "{ nonsense }") as events:
            (error,) = (await events.next())[2]["errors"]
            assert error["extensions"]["requestId"] == events.response.headers["x-request-id"]

    async def test_a_client_that_also_takes_json_is_streamed_a_subscription(
        self, database_url: str, store: Store
    ) -> None:
        # 8 fields, and 1 for the request
        async with serving(toy_app(database_url, quota=Quota(anonymous="9/hour"))) as server:
            accept = {"Accept": "application/json, text/event-stream"}
            async with streamed(server, CHANGES, accept, path="/graphql") as events:
                assert (await events.data())["op"] == "START"

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
            ({"method": "POST", "headers": JSON, "content": b"{"}, 400),
            ({"method": "POST", "headers": JSON, "content": b"[]"}, 400),
            ({"method": "POST", "headers": JSON, "content": b'{"query": 1}'}, 400),
            ({"method": "POST", "headers": JSON, "content": b"[" * 100_000}, 400),
            ({"method": "POST", "headers": JSON, "content": b"x" * ((1 << 20) + 1)}, 413),
            ({"method": "POST", "content": ASK}, 415),
            ({"method": "POST", "headers": {"Content-Type": "text/plain"}, "content": ASK}, 415),
            (
                {"method": "POST", "headers": {"Content-Type": "application/json; charset=latin1"}, "content": ASK},
                415,
            ),
            ({"method": "POST", "headers": JSON | {"Content-Encoding": "gzip"}, "content": ASK}, 415),
            ({"method": "GET", "params": {"query": "{ __typename }", "variables": "[]"}}, 400),
            ({"method": "GET", "params": {"query": "{ __typename }", "extensions": "["}}, 400),
            ({"method": "GET", "headers": {"Last-Event-ID": "x"}, "params": {"query": "{ __typename }"}}, 400),
            ({"method": "PUT", "content": b"{}"}, 405),
        ],
    )
    async def test_bad_requests(self, server: Server, request_of: dict[str, Any], status: int) -> None:
        response = await server.client.request(url="/graphql/stream", **request_of)

        assert response.status_code == status
        (error,) = response.json()["errors"]
        assert error["extensions"]["code"] in ("BAD_REQUEST", "LIMIT_EXCEEDED", "METHOD_NOT_ALLOWED")
        assert error["extensions"]["requestId"] == response.headers["x-request-id"]

    async def test_what_is_wrong_with_a_body_is_said(self, server: Server) -> None:
        said = set()
        nested = b'{"variables": ' + b'{"a":' * 50_000
        for content in (b"{", b"[]", b'{"query": 1}', nested):
            response = await server.client.post("/graphql/stream", content=content, headers=JSON)
            said.add(response.json()["errors"][0]["message"])

        assert len(said) == 4
        assert "The request's JSON nests too deeply." in said

    @pytest.mark.parametrize("path", ["/graphql/stream", "/graphql"])
    async def test_no_page_has_a_mutation_sent_without_the_browser_asking_first(
        self, server: Server, monkeypatch: pytest.MonkeyPatch, path: str
    ) -> None:
        executed: list[GraphQLRequest] = []

        async def noted(self: Executor, request: GraphQLRequest, caller: Caller = ANYONE) -> Answer:
            executed.append(request)
            return self.refused([])

        monkeypatch.setattr(Executor, "execute", noted)
        mutation = b'{"query": "mutation { revokeSession { id } }"}'
        headers = STREAM | {"Origin": "https://elsewhere.example"}
        plain = await server.client.post(path, content=mutation, headers=headers | {"Content-Type": "text/plain"})
        assert (plain.status_code, executed) == (415, [])
        asked = await server.client.post(path, content=mutation, headers=headers | JSON)
        assert (asked.status_code, len(executed)) == (200, 1)

    async def test_a_body_that_does_not_come(self, database_url: str, store: Store) -> None:
        app = toy_app(database_url)
        app.event_stream._options = HttpOptions(body_timeout_s=0.2)
        async with serving(app) as server:
            host, port = server.url.removeprefix("ws://").removesuffix("/graphql").split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(
                b"POST /graphql/stream HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
                b"content-length: 50\r\n\r\n{"
            )
            answer = await asyncio.wait_for(reader.read(), 10)
            writer.close()

        assert answer.startswith(b"HTTP/1.1 408")

    async def test_an_unknown_credential(self, server: Server) -> None:
        response = await server.client.post(
            "/graphql/stream", json={"query": CHANGES}, headers={"Authorization": "Bearer x"}
        )

        (error,) = response.json()["errors"]
        assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
        assert error["extensions"]["code"] == "UNAUTHENTICATED"
        assert error["extensions"]["requestId"] == response.headers["x-request-id"]

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
