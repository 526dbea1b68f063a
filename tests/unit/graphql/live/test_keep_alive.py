"""Who is pinged, and how often."""

from __future__ import annotations

import asyncio
from typing import Any

from support.index_service import until
from support.written_outlet import Written

from clarion_graphql.live.frames import PING_FRAME, Message, WebSocketEnvelope
from clarion_graphql.live.keep_alive import KeepAlive
from clarion_graphql.live.members import Member
from clarion_graphql.live.outlets import Outlet
from clarion_graphql.live.websocket import _Connection, _Operation


def a_connection(outlet: Outlet) -> tuple[_Connection, Member]:
    nothing: Any = None
    connection = _Connection(nothing, {}, nothing, outlet)
    member = Member(outlet, WebSocketEnvelope("1", framed=True), lambda too_slow: None)
    connection._operations["1"] = _Operation(member)
    return connection, member


def test_who_was_sent_something_is_not_pinged() -> None:
    outlet = Written()
    connection, member = a_connection(outlet)
    connection.ping_if_quiet()
    for position in (1, 2):
        member.send(Message(position, position, b"{}"))
        outlet.written.clear()
        connection.ping_if_quiet()
        assert outlet.written == []
    connection.ping_if_quiet()
    assert outlet.written == [PING_FRAME]


def test_who_takes_nothing_is_not_pinged() -> None:
    outlet = Written()
    connection, _ = a_connection(outlet)
    connection.ping_if_quiet()
    outlet.ready = False
    connection.ping_if_quiet()
    assert outlet.written == []


def test_where_frames_cannot_be_written_the_ping_is_a_message() -> None:
    outlet = Written(direct=False)
    connection, _ = a_connection(outlet)
    connection.ping_if_quiet()
    connection.ping_if_quiet()
    assert outlet.written == [b'{"type":"ping"}']


async def test_every_connection_has_its_turn_until_it_ends() -> None:
    keep_alive, turns = KeepAlive(0.001), [0] * 50

    def turn(number: int) -> None:
        turns[number] += 1

    async def connection(number: int, ending: asyncio.Event) -> None:
        with keep_alive.connection(lambda: turn(number)):
            await ending.wait()

    ending = asyncio.Event()
    tasks = [asyncio.create_task(connection(number, ending)) for number in range(len(turns))]

    async def all_twice() -> bool:
        return min(turns) >= 2

    await until(all_twice)
    assert max(turns) - min(turns) <= 1
    ending.set()
    await asyncio.gather(*tasks)
    assert keep_alive._running is None
