"""graphql-transport-ws, message by message: what the server says, and with which code it closes."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from support import toy
from support.graphql import Server, serving, toy_app
from support.index_service import until
from support.live import CHANGES, Client, connected, ingest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.protocol import Event
from websockets.typing import Subprotocol

from clarion.store.store import Store
from clarion_graphql.live.keep_alive import KeepAlive
from clarion_graphql.live.outlets import GONE_AFTER_MS, DirectWebSocket, Queued
from clarion_graphql.live.websocket import MAX_MESSAGE, MAX_OPERATIONS

TYPENAME = "{ __typename }"


@pytest.fixture
async def server(database_url: str, store: Store) -> AsyncIterator[Server]:
    async with serving(toy_app(database_url)) as running:
        yield running


class TestConnection:
    """Before anything is subscribed to."""

    async def test_another_subprotocol_is_not_acceptable(self, server: Server) -> None:
        async with connected(server.url, init=False, subprotocol="graphql-ws") as client:
            assert (await client.closed())[0] == 4406
        async with connect(server.url) as opened:
            with pytest.raises(ConnectionClosed):
                await opened.recv()
            assert opened.close_code == 4406

    async def test_nobody_waits_for_an_init_for_ever(self, database_url: str, store: Store) -> None:
        app = toy_app(database_url)
        app.websocket.init_timeout_s = 0.05
        async with serving(app) as server, connected(server.url, init=False) as client:
            assert await client.closed() == (4408, "Connection initialisation timeout")

    async def test_a_second_init(self, server: Server) -> None:
        async with connected(server.url) as client:
            await client.say({"type": "connection_init"})
            assert await client.closed() == (4429, "Too many initialisation requests")

    async def test_nothing_is_subscribed_to_before_the_acknowledgement(self, server: Server) -> None:
        async with connected(server.url, init=False) as client:
            await client.subscribe(TYPENAME)
            assert await client.closed() == (4401, "Unauthorized")

    @pytest.mark.parametrize("init", [True, False])
    async def test_pings_are_answered_and_pongs_are_not(self, server: Server, init: bool) -> None:
        async with connected(server.url, init=init) as client:
            await client.say({"type": "pong"})
            await client.say({"type": "ping", "payload": {"any": 1}})
            assert await client.hear() == {"type": "pong"}

    @pytest.mark.parametrize(
        "message",
        [
            "",
            "{",
            "[]",
            "null",
            '"text"',
            "{}",
            '{"type":1}',
            '{"type":"nonsense"}',
            '{"type":"subscribe"}',
            '{"type":"subscribe","id":"1"}',
            '{"type":"subscribe","id":1,"payload":{"query":"{ __typename }"}}',
            '{"type":"subscribe","id":"","payload":{"query":"{ __typename }"}}',
            '{"type":"subscribe","id":"1","payload":{"query":1}}',
            '{"type":"subscribe","id":"1","payload":{"query":"{ __typename }","variables":[]}}',
            '{"type":"subscribe","id":"1","payload":{"query":"{ __typename }","operationName":1}}',
            b"\x00\xff",
        ],
    )
    async def test_what_is_no_message(self, server: Server, message: str | bytes) -> None:
        async with connected(server.url) as client:
            await client.say(message)
            assert (await client.closed())[0] == 4400

    @pytest.mark.parametrize("init", [True, False])
    async def test_a_message_that_nests_too_deeply(self, server: Server, init: bool) -> None:
        nested = '{"a":' * 100_000
        async with connected(server.url, init=init) as client:
            await client.say(f'{{"type":"connection_init","payload":{nested}')
            assert await client.closed() == (4400, "Invalid message: its JSON nests too deeply")

    async def test_a_message_that_is_too_long(self, server: Server) -> None:
        async with connected(server.url) as client:
            await client.say({"type": "ping", "payload": "x" * MAX_MESSAGE})
            assert (await client.closed())[0] == 1009


class Pinged(ClientConnection):
    """A client that knows when it was pinged."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.pings = 0

    def process_event(self, event: Event) -> None:
        """Count pings, and answer them as any client does."""
        self.pings += isinstance(event, Frame) and event.opcode is Opcode.PING
        super().process_event(event)


class TestQuiet:
    """Connections on which nothing moves."""

    async def test_they_are_pinged_and_go_on(self, database_url: str, store: Store) -> None:
        app = toy_app(database_url)
        app.websocket._keep_alive = KeepAlive(0.02)
        subprotocols = [Subprotocol("graphql-transport-ws")]
        async with (
            serving(app) as server,
            connect(server.url, subprotocols=subprotocols, compression=None, create_connection=Pinged) as opened,
        ):
            client, pinged = Client(opened), cast("Pinged", opened)
            await client.say({"type": "connection_init"})
            assert await client.hear() == {"type": "connection_ack"}

            async def thrice() -> bool:
                return pinged.pings >= 3

            await until(thrice)
            await client.subscribe(TYPENAME)
            assert (await client.hear())["type"] == "next"

    async def test_where_frames_cannot_be_written_the_ping_is_a_message(self, database_url: str, store: Store) -> None:
        app = toy_app(database_url)
        app.websocket._keep_alive = KeepAlive(0.02)
        async with serving(app, compression=True) as server, connected(server.url) as client:
            assert await client.hear() == {"type": "ping"}
            await client.say({"type": "pong"})
            assert await client.hear() == {"type": "ping"}

    @pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="no such option here")
    async def test_the_kernel_ends_those_whose_client_is_gone(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made: list[Any] = []
        monkeypatch.setattr(DirectWebSocket, "__init__", _noted(DirectWebSocket.__init__, made))
        async with connected(server.url):
            (outlet,) = made
            accepted = outlet._transport.get_extra_info("socket")
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == GONE_AFTER_MS


class TestOperations:
    """Operations on one connection."""

    async def test_a_query_is_answered_and_complete(self, server: Server) -> None:
        async with connected(server.url) as client:
            await client.subscribe(TYPENAME, name="a")
            answer = await client.hear()
            assert (answer["id"], answer["type"], answer["payload"]["data"]) == ("a", "next", {"__typename": "Query"})
            assert await client.hear() == {"id": "a", "type": "complete"}
            await client.subscribe(TYPENAME, name="a")  # the id is free again
            assert (await client.hear())["type"] == "next"

    @pytest.mark.parametrize("document", ["{", "{ nonsense }", "", "subscription { blocks { op } events { op } }"])
    async def test_what_cannot_be_executed_is_one_error(self, server: Server, document: str) -> None:
        async with connected(server.url) as client:
            await client.subscribe(document)
            message = await client.hear()
            assert (message["id"], message["type"]) == ("1", "error")
            assert all(error["message"] and error["extensions"]["code"] for error in message["payload"])
            await client.say({"type": "ping"})
            assert await client.hear() == {"type": "pong"}  # and no `complete` after it

    async def test_an_id_that_is_taken(self, server: Server) -> None:
        async with connected(server.url) as client:
            await client.subscribe(CHANGES)
            await client.hear()
            await client.subscribe(CHANGES)
            assert await client.closed() == (4409, "Subscriber for 1 already exists")

    async def test_the_client_completes(self, store: Store, server: Server) -> None:
        first = toy.block(None, [toy.move("a", 1)])
        async with connected(server.url) as client:
            for name in ("one", "two"):
                await client.subscribe(CHANGES, name=name)
                assert (await client.hear())["id"] == name
            await client.say({"type": "complete", "id": "one"})
            await client.say({"type": "complete", "id": "nobody"})
            await client.say({"type": "ping"})
            assert await client.hear() == {"type": "pong"}
            ingest(store, [first])
            message = await client.hear()
            assert (message["id"], message["payload"]["data"]["changes"]["op"]) == ("two", "INSERT")
            await client.subscribe(CHANGES, name="one")
            assert (await client.hear())["id"] == "one"

    async def test_ids_of_any_text_and_messages_of_any_size(self, store: Store, server: Server) -> None:
        sizes = (1, 100, 1_000, 100_000)
        blocks = [toy.block(None)]
        for size in sizes:
            blocks.append(toy.block(blocks[-1], [toy.move("é" * size, 1)]))
        name = 'a "quoted" \\ \n é 😀'
        async with connected(server.url) as client:
            await client.subscribe(CHANGES, name=name)
            await client.hear()
            for block in blocks:
                ingest(store, [block])
            for size in sizes:
                message = await client.hear()
                assert message["id"] == name
                assert message["payload"]["data"]["changes"]["key"] == ["é" * size]

    async def test_a_connection_has_a_limit_of_operations(self, server: Server) -> None:
        async with connected(server.url) as client:
            for number in range(MAX_OPERATIONS + 1):
                await client.subscribe(CHANGES, name=str(number))
            heard = [await client.hear() for _ in range(MAX_OPERATIONS + 1)]
        (refused,) = [message for message in heard if message["type"] == "error"]
        assert refused["id"] == str(MAX_OPERATIONS)
        assert refused["payload"][0]["extensions"]["code"] == "LIMIT_EXCEEDED"

    async def test_groups_end_with_their_last_member(self, server: Server) -> None:
        hub = server.app.websocket.hub
        async with connected(server.url) as first, connected(server.url) as second:
            for client in (first, second):
                await client.subscribe(CHANGES)
                await client.hear()
            assert hub.groups == 1

        async def none_left() -> bool:
            return hub.groups == 0

        await until(none_left)


class TestOutlets:
    """The way that messages go out."""

    @pytest.mark.parametrize(("compression", "kind"), [(False, DirectWebSocket), (True, Queued)])
    async def test_both_ways_say_the_same(
        self, database_url: str, store: Store, compression: bool, kind: type, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made: list[Any] = []
        monkeypatch.setattr(kind, "__init__", _noted(kind.__init__, made))
        first = toy.block(None, [toy.move("a", 1), toy.move("b", 2)])
        second = toy.block(first, [toy.close("a")])
        ingest(store, [first])
        async with serving(toy_app(database_url), compression=compression) as server, connected(server.url) as client:
            await client.subscribe(CHANGES, {"since": "0"})
            seen = [await client.data() for _ in range(2)]
            ingest(store, [second, toy.block(second, [toy.move("b", 3)])])
            seen += [await client.data() for _ in range(2)]
            await client.subscribe(TYPENAME, name="2")
            assert [(await client.hear())["type"] for _ in range(2)] == ["next", "complete"]

        assert [(one["op"], one["key"]) for one in seen] == [
            ("INSERT", ["a"]),
            ("INSERT", ["b"]),
            ("DELETE", ["a"]),
            ("UPDATE", ["b"]),
        ]
        assert len(made) == 1


def _noted(init: Any, made: list[Any]) -> Any:
    def noted(self: Any, *given: Any) -> None:
        made.append(self)
        init(self, *given)

    return noted
