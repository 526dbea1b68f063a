"""The inbox: posts on disk, in order, in batches, and put aside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from clarion.store import inbox
from clarion.store.inbox import InboxWriter


@pytest.fixture
async def writer(database_url: str) -> AsyncIterator[InboxWriter]:
    opened = InboxWriter(database_url)
    yield opened
    await opened.close()


async def put(writer: InboxWriter, *bodies: bytes) -> None:
    for body in bodies:
        await writer.put("/new_block", body)


async def test_posts_come_back_in_order_and_whole(writer: InboxWriter, connection: psycopg.Connection[Any]) -> None:
    bodies = [bytes([number]) * number for number in range(5)]
    await put(writer, *bodies)
    posts = inbox.take(connection, limit=10, limit_bytes=1000)
    assert [post.body for post in posts] == bodies
    assert [post.path for post in posts] == ["/new_block"] * 5
    assert [post.id for post in posts] == sorted(post.id for post in posts)
    assert all(0 <= post.waited_seconds < 300 for post in posts)
    inbox.remove(connection, [posts[0].id, posts[3].id])
    assert [post.body for post in inbox.take(connection, limit=10, limit_bytes=1000)] == [
        bodies[1],
        bodies[2],
        bodies[4],
    ]


@pytest.mark.parametrize(
    ("limit", "limit_bytes", "count"), [(10, 1000, 4), (2, 1000, 2), (10, 30, 3), (10, 29, 2), (10, 5, 1), (10, 0, 1)]
)
async def test_a_batch_is_limited_but_never_empty(
    limit: int, limit_bytes: int, count: int, writer: InboxWriter, connection: psycopg.Connection[Any]
) -> None:
    assert inbox.take(connection, limit=limit, limit_bytes=limit_bytes) == []
    await put(writer, *[b"0123456789"] * 4)
    assert len(inbox.take(connection, limit=limit, limit_bytes=limit_bytes)) == count


async def test_posts_put_aside_are_not_taken_until_they_are_tried_again(
    writer: InboxWriter, connection: psycopg.Connection[Any]
) -> None:
    await put(writer, b"first", b"second")
    await writer.put("/new_block", b"", error="too large")
    first, second = inbox.take(connection, limit=10, limit_bytes=1000)
    inbox.set_failed(connection, first.id, "holds \x00")
    assert [post.id for post in inbox.take(connection, limit=10, limit_bytes=1000)] == [second.id]
    state = connection.execute(inbox.STATE).fetchone()
    assert state is not None
    assert state[:2] == (1, 2)
    errors = connection.execute("SELECT error FROM clarion.inbox WHERE error IS NOT NULL ORDER BY id").fetchall()
    assert errors == [("holds \\0",), ("too large",)]
    assert inbox.retry_failed(connection) == 1
    assert [post.id for post in inbox.take(connection, limit=10, limit_bytes=1000)] == [first.id, second.id]


def test_the_state_of_an_empty_inbox(connection: psycopg.Connection[Any]) -> None:
    assert connection.execute(inbox.STATE).fetchone() == (0, 0, 0.0)


async def test_posts_are_on_disk_whatever_the_server_does_otherwise(
    database_url: str, connection: psycopg.Connection[Any]
) -> None:
    assert connection.execute("SHOW synchronous_commit").fetchone() == ("off",)
    separator = "&" if "?" in database_url else "?"
    writer = InboxWriter(f"{database_url}{separator}options=-c%20application_name%3Dobserver-test")
    await writer.put("/new_block", b"body")
    (opened,) = [lane.connection for lane in writer._lanes if lane.connection is not None]
    for name, value in (("synchronous_commit", "on"), ("application_name", "observer-test")):
        assert await (await opened.execute(f"SHOW {name}")).fetchone() == (value,)
    await writer.close()


async def test_a_connection_that_was_lost_is_made_again(
    writer: InboxWriter, connection: psycopg.Connection[Any]
) -> None:
    await put(writer, b"before")
    connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await put(writer, b"after")
    assert len(inbox.take(connection, limit=10, limit_bytes=1000)) == 2


async def test_posts_that_wait_for_a_connection_share_its_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attempts = 0
    go_on = asyncio.Event()

    async def unreachable(*_: Any, **__: Any) -> Any:
        nonlocal attempts
        attempts += 1
        await go_on.wait()
        raise psycopg.OperationalError("no route to host")

    with monkeypatch.context() as patched:
        patched.setattr(AsyncConnection, "connect", unreachable)
        writer = InboxWriter("postgresql://nowhere", connections=1)
        posts = [asyncio.create_task(put(writer, bytes([number]))) for number in range(5)]
        while attempts == 0:  # noqa: ASYNC110 (the others wait for the connection by then)
            await asyncio.sleep(0)
        go_on.set()
        outcomes = await asyncio.gather(*posts, return_exceptions=True)
        assert [str(outcome) for outcome in outcomes] == ["no route to host"] * 5
        assert attempts == 1
        with pytest.raises(psycopg.OperationalError):
            await put(writer, b"body")
        assert attempts == 2


async def test_a_post_that_is_sent_again_while_it_is_written_is_written_once(
    writer: InboxWriter, connection: psycopg.Connection[Any]
) -> None:
    with connection.transaction():
        connection.execute("LOCK TABLE clarion.inbox")
        impatient = asyncio.create_task(writer.put("/new_block", b"body", source="observer:a"))
        await asyncio.sleep(0)
        impatient.cancel()
        await asyncio.wait({impatient})
        again = asyncio.create_task(writer.put("/new_block", b"body", source="observer:a"))
        from_another = asyncio.create_task(writer.put("/new_block", b"body", source="observer:b"))
        await asyncio.sleep(0)
    await asyncio.gather(again, from_another)
    rows = connection.execute("SELECT source, body FROM clarion.inbox ORDER BY source").fetchall()
    assert rows == [("observer:a", b"body"), ("observer:b", b"body")]
    await writer.put("/new_block", b"body", source="observer:a")
    assert connection.execute("SELECT count(*) FROM clarion.inbox").fetchone() == (3,), "later it is another post"


async def test_posts_of_several_nodes_are_written_side_by_side_and_each_nodes_in_order(
    writer: InboxWriter, connection: psycopg.Connection[Any]
) -> None:
    async def node(name: str) -> None:
        for number in range(20):
            await writer.put("/new_block", bytes([number]), source=name)

    await asyncio.gather(*(node(name) for name in "abcdef"))
    posts = inbox.take(connection, limit=1000, limit_bytes=1000)
    for name in "abcdef":
        assert [post.body for post in posts if post.source == name] == [bytes([number]) for number in range(20)]
    opened = [lane for lane in writer._lanes if lane.connection is not None]
    assert 1 < len(opened) <= 4


async def test_what_is_being_written_is_finished_before_the_connections_close(
    database_url: str, connection: psycopg.Connection[Any]
) -> None:
    writer = InboxWriter(database_url)
    waiting = asyncio.create_task(writer.put("/new_block", b"body"))
    await asyncio.sleep(0)
    await writer.close()
    await waiting
    assert connection.execute("SELECT body FROM clarion.inbox").fetchall() == [(b"body",)]
