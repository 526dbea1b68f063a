"""Connections over sockets: what is answered the short way is what uvicorn's long way gives, in the same order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from support.graphql import Server, serving, toy_app

from clarion.config import GraphQL
from clarion.store.store import Store
from clarion_graphql.http import Response

DOCUMENTS = ["{ __typename }", "{ a: __typename }", "{ b: __typename }"]
#: What is another one in every response.
OWN = (b"date", b"x-request-id", b"content-length")

Answer = tuple[int, dict[bytes, bytes], bytes]


def request(document: str, *headers: str, version: str = "1.1", chunked: bool = False) -> bytes:
    body = json.dumps({"query": document}).encode()
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
    lines = [f"POST /graphql HTTP/{version}", "Host: here", "Content-Type: application/json", framing, *headers]
    sent = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body
    return "\r\n".join([*lines, "", ""]).encode() + sent


class Client:
    """One connection, and the answers that come over it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, *parts: bytes) -> None:
        self._writer.write(b"".join(parts))

    async def answer(self) -> Answer:
        head = await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), 20)
        first, *lines = head[:-4].split(b"\r\n")
        headers = dict(line.lower().split(b": ", 1) for line in lines)
        return int(first.split()[1]), headers, await self._reader.readexactly(int(headers[b"content-length"]))

    async def is_closed(self) -> bool:
        return await self._reader.read(1) == b""


@asynccontextmanager
async def connected(server: Server) -> AsyncIterator[Client]:
    url = server.client.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


def same(answer: Answer) -> Answer:
    """An answer without what no two have in common."""
    status, headers, body = answer
    own_id = headers.get(b"x-request-id", b"?")
    return status, {name: value for name, value in headers.items() if name not in OWN}, body.replace(own_id, b"?")


@pytest.fixture
async def server(store: Store, database_url: str) -> AsyncIterator[Server]:
    async with serving(toy_app(database_url)) as server:
        yield server


@pytest.fixture
def posted(server: Server, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The bodies that went the short way."""
    return note_posted(server, monkeypatch)


def note_posted(server: Server, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    endpoint: Any = server.app
    bodies: list[bytes] = []
    post = endpoint.graphql.post

    async def note(scope: Any, head: Any, body: bytes) -> Response:
        bodies.append(body)
        answer: Response = await post(scope, head, body)
        return answer

    monkeypatch.setattr(endpoint.graphql, "post", note)
    return bodies


async def test_both_ways_give_the_same(server: Server, posted: list[bytes]) -> None:
    async with connected(server) as client:
        for headers in (
            [],
            ["Accept: application/graphql-response+json"],
            ["Accept: image/png"],
            ["Origin: https://elsewhere"],
            ["Authorization: Bearer nothing"],
            ["Connection: keep-alive"],
        ):
            for document in (*DOCUMENTS, "{ __typename", "{ nothing }", "subscription { blocks { sequence } }"):
                before = len(posted)
                client.send(request(document, *headers))
                short = await client.answer()
                assert len(posted) == before + 1
                client.send(request(document, *headers, chunked=True))
                assert same(await client.answer()) == same(short)
                assert len(posted) == before + 1


@pytest.mark.parametrize("headers", [["Connection: close"], ["Expect: 100-continue"], ["Accept: text/event-stream"]])
async def test_what_is_unusual_goes_the_long_way(server: Server, posted: list[bytes], headers: Sequence[str]) -> None:
    async with connected(server) as client:
        client.send(request(DOCUMENTS[0], *headers))
        assert await client._reader.readuntil(b"\r\n\r\n")
    assert posted == []


async def test_a_request_in_pieces(server: Server, posted: list[bytes]) -> None:
    sent = request(DOCUMENTS[0])
    async with connected(server) as client:
        for at in (1, 10, 30, sent.index(b"\r\n\r\n"), sent.index(b"\r\n\r\n") + 4, len(sent) - 1):
            client.send(sent[:at])
            await asyncio.sleep(0.01)  # so that it comes alone; where it does not, the test only shows less
            client.send(sent[at:])
            assert (await client.answer())[0] == 200
        client.send(sent)
        assert (await client.answer())[0] == 200
    assert posted[-1:] == [sent.partition(b"\r\n\r\n")[2]]


async def test_answers_come_in_the_order_of_the_requests(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint: Any = server.app
    post, asked, go_on = endpoint.graphql.post, asyncio.Event(), asyncio.Event()

    async def wait(scope: Any, head: Any, body: bytes) -> Response:
        asked.set()
        await go_on.wait()
        answer: Response = await post(scope, head, body)
        return answer

    monkeypatch.setattr(endpoint.graphql, "post", wait)
    async with connected(server) as client:
        client.send(request(DOCUMENTS[0]))
        await asked.wait()
        # while the first is being answered: one whole, one the long way, and one that ends later
        last = request(DOCUMENTS[2])
        client.send(request(DOCUMENTS[1]), request(DOCUMENTS[0], chunked=True), last[:50])
        go_on.set()
        first = (await client.answer())[2]
        client.send(last[50:])
        bodies = [first, *[(await client.answer())[2] for _ in range(3)]]
    assert [list(json.loads(body)["data"]) for body in bodies] == [["__typename"], ["a"], ["__typename"], ["b"]]


async def test_several_at_once(server: Server) -> None:
    async with connected(server) as client:
        client.send(*(request(document) for document in DOCUMENTS))
        bodies = [(await client.answer())[2] for _ in DOCUMENTS]
    assert [list(json.loads(body)["data"]) for body in bodies] == [["__typename"], ["a"], ["b"]]


async def test_a_connection_ends_when_the_server_does(store: Store, database_url: str) -> None:
    async with serving(toy_app(database_url)) as server:
        endpoint: Any = server.app
        post, asked, go_on = endpoint.graphql.post, asyncio.Event(), asyncio.Event()

        async def wait(scope: Any, head: Any, body: bytes) -> Response:
            asked.set()
            await go_on.wait()
            answer: Response = await post(scope, head, body)
            return answer

        endpoint.graphql.post = wait
        url = server.client.base_url
        client = Client(*await asyncio.open_connection(url.host, url.port))
        client.send(request(DOCUMENTS[0]))
        await asked.wait()
        asyncio.get_running_loop().call_later(0.3, go_on.set)  # the server is being shut down by then
    status, headers, body = await client.answer()
    assert (status, json.loads(body)["data"]) == (200, {"__typename": "Query"})
    assert headers[b"connection"] == b"close"
    assert await client.is_closed()
    client._writer.close()


async def test_a_body_that_is_too_large(store: Store, database_url: str) -> None:
    async with (
        serving(toy_app(database_url, graphql=GraphQL(max_body_bytes=1_000))) as server,
        connected(server) as client,
    ):
        client.send(request("{ __typename }" + " " * 1_000))
        status, headers, _ = await client.answer()
        assert (status, headers[b"connection"]) == (413, b"close")
        assert await client.is_closed()


async def test_answers_that_are_kept(store: Store, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(toy_app(database_url, graphql=GraphQL())) as server, connected(server) as client:
        bodies = note_posted(server, monkeypatch)
        client.send(request("{ toyAccounts { nodes { owner } } }"))
        first = await client.answer()
        for _ in range(20):  # one that is answered before the feed has read its first sequence is not kept
            before = len(bodies)
            client.send(request("{ toyAccounts { nodes { owner } } }"))
            again = await client.answer()
            if len(bodies) == before:
                break
        else:
            pytest.fail("the answer is not kept")
        assert same(again) == same(first)
        assert again[1][b"x-request-id"] != first[1][b"x-request-id"]
