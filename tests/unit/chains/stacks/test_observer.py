"""The observer under pressure: large bodies at once, senders that fall silent, a store that is slow or away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import psycopg
import pytest
from support.index_service import DEADLINE_SECONDS, served, until

from clarion.chains.stacks.observer import Room, observer_app


class Store:
    """Keeps posts when it is let."""

    def __init__(self) -> None:
        self.waiting: list[bytes] = []
        self.kept: list[bytes] = []
        self.go_on = asyncio.Event()
        self.away = False

    async def keep(self, path: str, body: bytes, *, source: str, error: str | None = None) -> None:
        self.waiting.append(body)
        await self.go_on.wait()
        if self.away:
            raise psycopg.OperationalError("away")
        self.kept.append(body)


@contextlib.asynccontextmanager
async def observing(store: Store, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    options = {"max_body_bytes": 1000, "max_memory_bytes": 2500, **options}
    async with (
        served(observer_app(store.keep, **options)) as url,
        httpx.AsyncClient(base_url=url, timeout=DEADLINE_SECONDS) as client,
    ):
        yield client


async def test_bodies_that_find_no_room_wait_until_others_are_stored() -> None:
    store = Store()
    async with observing(store) as client:
        posts = [asyncio.create_task(client.post("/new_block", content=bytes([n]) * 1000)) for n in range(6)]

        async def two_are_in() -> bool:
            # what needs no room is answered meanwhile
            assert (await client.post("/attachments/new", content=b"x" * 5000)).status_code == 200
            return len(store.waiting) == 2

        await until(two_are_in)
        assert (await client.post("/stackerdb_chunks", content=b"")).status_code == 200
        assert len(store.waiting) == 2, "a third would be more than may be held"
        store.go_on.set()
        assert [answer.status_code for answer in await asyncio.gather(*posts)] == [200] * 6
    assert sorted(store.kept) == [bytes([n]) * 1000 for n in range(6)]


async def test_a_body_of_unknown_size_counts_as_the_largest() -> None:
    store = Store()

    async def chunks() -> AsyncIterator[bytes]:
        yield b"a" * 10

    async with observing(store) as client:
        posts = [asyncio.create_task(client.post("/new_block", content=chunks())) for _ in range(3)]

        async def two_are_in() -> bool:
            return len(store.waiting) == 2

        await until(two_are_in)
        store.go_on.set()
        assert [answer.status_code for answer in await asyncio.gather(*posts)] == [200] * 3


async def test_one_larger_than_all_room_is_taken_alone() -> None:
    store = Store()
    store.go_on.set()
    async with observing(store, max_body_bytes=10_000) as client:
        assert (await client.post("/new_block", content=b"x" * 9000)).status_code == 200
        assert (await client.post("/new_block", content=b"x" * 1000)).status_code == 200
    assert [len(body) for body in store.kept] == [9000, 1000]


async def test_a_store_that_is_away_gives_room_back() -> None:
    store = Store()
    store.away = True
    store.go_on.set()
    async with observing(store) as client:
        for _ in range(5):
            assert (await client.post("/new_block", content=b"x" * 1000)).status_code == 503
        store.away = False
        assert (await client.post("/new_block", content=b"x" * 1000)).status_code == 200


async def test_a_sender_that_falls_silent_is_given_up_and_its_room_with_it() -> None:
    store = Store()
    store.go_on.set()
    async with observing(store, max_memory_bytes=1000, idle_seconds=0.2) as client:
        host, port = client.base_url.host, client.base_url.port
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"POST /new_block HTTP/1.1\r\nHost: observer\r\nContent-Length: 1000\r\n\r\n{")
        await writer.drain()
        assert (await client.post("/new_block", content=b"x" * 1000)).status_code == 200
        assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")
        writer.close()
        await writer.wait_closed()
    assert len(store.kept) == 1


async def test_room_is_given_in_turn_and_waiters_may_leave() -> None:
    room = Room(10)
    order: list[str] = []

    async def hold(name: str, size: int, until_told: asyncio.Event) -> None:
        async with room.for_bytes(size):
            order.append(name)
            await until_told.wait()

    first_done, rest_done = asyncio.Event(), asyncio.Event()
    first = asyncio.create_task(hold("first", 8, first_done))
    await asyncio.sleep(0)
    large = asyncio.create_task(hold("large", 9, rest_done))
    small = asyncio.create_task(hold("small", 2, rest_done))
    leaving = asyncio.create_task(hold("leaving", 5, rest_done))
    await asyncio.sleep(0)
    assert order == ["first"], "small does not overtake large"
    large.cancel()
    leaving.cancel()
    await asyncio.wait({large, leaving})
    await asyncio.sleep(0)
    assert order == ["first", "small"]
    first_done.set()
    await first
    async with room.for_bytes(0):
        pass
    rest_done.set()
    await small
    async with asyncio.timeout(DEADLINE_SECONDS), room.for_bytes(99):
        assert order == ["first", "small"]


@pytest.mark.parametrize("header", ["abc", "-5", "1e3"])
async def test_a_content_length_that_is_none_does_no_harm(header: str) -> None:
    store = Store()
    store.go_on.set()
    async with observing(store) as client:
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writer.write(f"POST /new_block HTTP/1.1\r\nHost: observer\r\nContent-Length: {header}\r\n\r\n".encode())
        await writer.drain()
        assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")
        writer.close()
        await writer.wait_closed()
        assert (await client.post("/new_block", content=b"x")).status_code == 200
