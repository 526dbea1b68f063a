"""Connections for plans: never more than there may be, none lost to errors, cancellations and a database that goes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import psycopg
import psycopg_pool
import pytest
from psycopg import sql

from clarion.store.database import with_database
from clarion_graphql.plan import connections as module
from clarion_graphql.plan.connections import Connections, Statement, parameter

LOCK = 7
LONG_S = 60.0
SHORT_S = 0.05
BACKEND = "SELECT pg_backend_pid()"
WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


@contextlib.contextmanager
def opened(url: str, *, size: int, timeout_s: float = LONG_S) -> Iterator[Connections]:
    found = Connections(url, size=size, timeout_s=timeout_s)
    yield found
    found.close()


async def number(connections: Connections, text: str) -> int:
    (value,) = await connections.run(Statement(text), [])
    assert value is not None
    return int(value)


async def blocked(connections: Connections, connection: psycopg.Connection[Any], count: int) -> list[asyncio.Task[Any]]:
    """So many tasks whose statements wait until ``connection`` unlocks."""
    connection.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
    statement = Statement(f"SELECT pg_advisory_lock_shared({LOCK}), pg_advisory_unlock_shared({LOCK})")
    tasks = [asyncio.create_task(connections.run(statement, [])) for _ in range(count)]
    async with asyncio.timeout(LONG_S):
        while connection.execute(WAITING).fetchone() != (count,):  # noqa: ASYNC110 (the database)
            await asyncio.sleep(0)
    return tasks


async def test_a_connection_is_used_again_and_statements_are_prepared(database_url: str) -> None:
    statement = Statement("SELECT $1::int + 1, $2::text, pg_backend_pid()")
    with opened(database_url, size=3) as connections:
        rows = [await connections.run(statement, [parameter(value), None]) for value in range(5)]
        prepared = await number(connections, "SELECT count(*) FROM pg_prepared_statements")

    assert [row[:2] for row in rows] == [[b"%d" % (value + 1), None] for value in range(5)]
    assert len({row[2] for row in rows}) == 1
    assert prepared == 1


async def test_statements_are_kept_prepared_up_to_a_number(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PREPARED", 3)
    statements = [Statement(f"SELECT {value}") for value in range(8)]
    with opened(database_url, size=1) as connections:
        for _ in range(4):
            rows = [await connections.run(statement, []) for statement in statements]
        prepared = await number(connections, "SELECT count(*) FROM pg_prepared_statements")

    assert rows == [[b"%d" % value] for value in range(8)]
    assert prepared == 3


async def test_more_tasks_than_connections(database_url: str) -> None:
    statement = Statement("SELECT pg_backend_pid(), $1::int")
    with opened(database_url, size=3) as connections:
        rows = await asyncio.gather(*(connections.run(statement, [parameter(value)]) for value in range(60)))

    assert [row[1] for row in rows] == [b"%d" % value for value in range(60)]
    assert 1 < len({row[0] for row in rows}) <= 3


async def test_an_error_leaves_the_connection_as_it_was(database_url: str) -> None:
    with opened(database_url, size=1) as connections:
        backend = await number(connections, BACKEND)
        failing = Statement("SELECT 1 / $1::int")
        for _ in range(4):
            with pytest.raises(psycopg.errors.DivisionByZero):
                await connections.run(failing, [b"0"])
        with pytest.raises(psycopg.errors.SyntaxError):
            await connections.run(Statement("SELEC"), [])
        assert await connections.run(failing, [b"1"]) == [b"1"]
        assert await number(connections, BACKEND) == backend


async def test_who_waits_too_long_is_told(database_url: str, connection: psycopg.Connection[Any]) -> None:
    with opened(database_url, size=2, timeout_s=SHORT_S) as connections:
        tasks = await blocked(connections, connection, 2)
        with pytest.raises(psycopg_pool.PoolTimeout, match="no connection became free"):
            await number(connections, BACKEND)
        connection.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))
        await asyncio.gather(*tasks)
        assert await number(connections, BACKEND) > 0


async def test_who_goes_away_leaves_the_connection_when_its_statement_has_ended(
    database_url: str, connection: psycopg.Connection[Any]
) -> None:
    with opened(database_url, size=1) as connections:
        backend = await number(connections, BACKEND)
        (task,) = await blocked(connections, connection, 1)
        next_one = asyncio.create_task(number(connections, BACKEND))
        gone = asyncio.create_task(number(connections, BACKEND))
        for one in (task, gone):
            await asyncio.sleep(0)
            one.cancel()
            with pytest.raises(asyncio.CancelledError):
                await one
        assert not next_one.done()
        connection.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))

        assert await next_one == backend


async def test_a_connection_that_broke_is_opened_again(database_url: str, connection: psycopg.Connection[Any]) -> None:
    with opened(database_url, size=1) as connections:
        backend = await number(connections, BACKEND)
        (task,) = await blocked(connections, connection, 1)
        connection.execute("SELECT pg_terminate_backend(%s, 10000)", (backend,))
        with pytest.raises(psycopg.OperationalError):
            await task

        assert await number(connections, BACKEND) != backend


async def test_a_database_that_is_not_there_takes_no_place(database_url: str) -> None:
    with opened(with_database(database_url, "nowhere"), size=1, timeout_s=SHORT_S) as connections:
        for _ in range(3):
            with pytest.raises(psycopg.OperationalError, match="does not exist"):
                await number(connections, BACKEND)


async def test_a_database_that_is_not_there_leaves_nobody_waiting(database_url: str) -> None:
    with opened(with_database(database_url, "nowhere"), size=3) as connections:
        asked = (number(connections, BACKEND) for _ in range(10))
        told = await asyncio.gather(*asked, return_exceptions=True)

    assert [type(each) for each in told] == [psycopg.OperationalError] * 10


@pytest.fixture
def few(connection: psycopg.Connection[Any]) -> Iterator[str]:
    """A role that the database gives two connections."""
    name = f"few_{connection.info.dbname}"
    connection.execute(sql.SQL("CREATE ROLE {} LOGIN CONNECTION LIMIT 2").format(sql.Identifier(name)))
    yield name
    connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def as_role(url: str, role: str) -> str:
    return url.replace("postgres@", f"{role}@")


async def test_where_the_database_gives_fewer_connections_those_answer_all(database_url: str, few: str) -> None:
    statement = Statement("SELECT pg_backend_pid(), $1::int")
    with opened(as_role(database_url, few), size=5) as connections:
        for _ in range(3):
            rows = await asyncio.gather(*(connections.run(statement, [parameter(value)]) for value in range(40)))

            assert [row[1] for row in rows] == [b"%d" % value for value in range(40)]
            assert len({row[0] for row in rows}) <= 2


async def test_a_database_that_gave_no_more_is_not_asked_for_more_at_once(
    database_url: str, connection: psycopg.Connection[Any], few: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = 0
    connect = psycopg.AsyncConnection.connect

    async def counted(*given: Any, **named: Any) -> Any:
        nonlocal attempts
        try:
            return await connect(*given, **named)
        finally:
            attempts += 1

    monkeypatch.setattr(module, "REFUSED_S", LONG_S)
    monkeypatch.setattr(module.AsyncConnection, "connect", counted)
    with opened(as_role(database_url, few), size=3) as connections:
        tasks = await blocked(connections, connection, 2)
        waiting = asyncio.create_task(number(connections, BACKEND))
        async with asyncio.timeout(LONG_S):
            while attempts < 3:  # noqa: ASYNC110 (the database)
                await asyncio.sleep(0)
        others = [asyncio.create_task(number(connections, BACKEND)) for _ in range(5)]
        await asyncio.sleep(0)
        connection.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))
        await asyncio.gather(waiting, *tasks, *others)

    assert attempts == 3


async def test_a_database_that_gives_more_later_is_asked_again(
    database_url: str, connection: psycopg.Connection[Any], few: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REFUSED_S", 0.0)
    with opened(as_role(database_url, few), size=4) as connections:
        await asyncio.gather(*(number(connections, BACKEND) for _ in range(10)))
        connection.execute(sql.SQL("ALTER ROLE {} CONNECTION LIMIT 3").format(sql.Identifier(few)))
        tasks = await blocked(connections, connection, 3)
        connection.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))
        await asyncio.gather(*tasks)


async def test_closing_ends_what_is_idle_and_later_what_is_in_use(
    database_url: str, connection: psycopg.Connection[Any]
) -> None:
    mine = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with opened(database_url, size=2) as connections:
        await asyncio.gather(number(connections, BACKEND), number(connections, BACKEND))
        (task,) = await blocked(connections, connection, 1)
        connections.close()
        connection.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))
        await task
    async with asyncio.timeout(LONG_S):
        while connection.execute(mine).fetchone() != (0,):  # noqa: ASYNC110 (the database)
            await asyncio.sleep(0)


async def quick(connections: Connections, text: str) -> Statement:
    """A statement that every connection has prepared and knows to be quick."""
    statement = Statement(text)
    for _ in range(module.PREPARED_FROM):
        await connections.run(statement, [b"1"])
    await asyncio.gather(*(connections.run(statement, [b"1"]) for _ in range(16)))
    statement.mean = statement.longest = 0.0  # how long it took where the machine was slow is not what is tested
    return statement


async def test_quick_statements_share_few_connections(database_url: str) -> None:
    with opened(database_url, size=8) as connections:
        statement = await quick(connections, "SELECT $1::int, pg_backend_pid()")
        tasks = [asyncio.create_task(connections.run(statement, [b"%d" % value])) for value in range(16)]
        await asyncio.sleep(0)
        loads = [connection.load for connection in connections._busy]
        rows = await asyncio.gather(*tasks)

    assert loads == [module.MOST_AT_A_TIME] * module.SHARED_FROM
    assert [row[0] for row in rows] == [b"%d" % value for value in range(16)]


async def test_the_error_of_one_is_not_that_of_those_behind_it(database_url: str) -> None:
    with opened(database_url, size=1) as connections:
        statement = await quick(connections, "SELECT 60 / $1::int")
        values = [0, 1, 0, 2, 3, 0, 0, 4, 5, 6]
        answers = await asyncio.gather(
            *(connections.run(statement, [b"%d" % value]) for value in values), return_exceptions=True
        )

    for value, answer in zip(values, answers, strict=True):
        if value:
            assert answer == [b"%d" % (60 // value)]
        else:
            assert isinstance(answer, psycopg.errors.DivisionByZero)


async def test_nobody_waits_behind_what_is_not_known_to_be_quick(
    database_url: str, connection: psycopg.Connection[Any]
) -> None:
    with opened(database_url, size=3) as connections:
        statement = await quick(connections, "SELECT $1::int")
        tasks = await blocked(connections, connection, 2)
        rows = await asyncio.gather(*(connections.run(statement, [b"7"]) for _ in range(20)))
        connection.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))
        await asyncio.gather(*tasks)

    assert rows == [[b"7"]] * 20


@pytest.mark.parametrize("slow", ["mean", "longest"])
async def test_a_statement_that_was_slow_is_not_quick_until_it_has_been_for_a_while(
    database_url: str, slow: str
) -> None:
    with opened(database_url, size=2) as connections:
        statement = await quick(connections, "SELECT $1::int")
        setattr(statement, slow, 10.0)
        tasks = [asyncio.create_task(connections.run(statement, [b"1"])) for _ in range(4)]
        await asyncio.sleep(0)
        assert [connection.load for connection in connections._busy] == [1, 1]
        await asyncio.gather(*tasks)
        for _ in range(100):
            await connections.run(statement, [b"1"])
        assert getattr(statement, slow) < 10.0 / 100


async def test_who_is_not_quick_has_a_turn_while_quick_ones_come(database_url: str) -> None:
    done = asyncio.Event()

    async def keep_asking(connections: Connections, statement: Statement) -> None:
        while not done.is_set():
            await connections.run(statement, [b"1"])

    with opened(database_url, size=1) as connections:
        statement = await quick(connections, "SELECT $1::int")
        busy = [asyncio.create_task(keep_asking(connections, statement)) for _ in range(10)]
        await asyncio.sleep(0)
        assert await number(connections, BACKEND) > 0
        done.set()
        await asyncio.gather(*busy)


async def test_who_goes_away_ends_nothing_for_those_behind(
    database_url: str, connection: psycopg.Connection[Any]
) -> None:
    with opened(database_url, size=1) as connections:
        statement = await quick(connections, f"SELECT $1::int, pg_advisory_xact_lock_shared({LOCK})")
        connection.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        tasks = [asyncio.create_task(connections.run(statement, [b"%d" % value])) for value in range(4)]
        await asyncio.sleep(0)
        assert connections._busy[0].load == 4
        for task in tasks[:3]:
            task.cancel()
        connection.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))
        assert (await tasks[3])[0] == b"3"
        await asyncio.gather(*tasks[:3], return_exceptions=True)
        assert (await connections.run(statement, [b"9"]))[0] == b"9"


async def test_all_on_a_connection_that_broke_are_told(database_url: str, connection: psycopg.Connection[Any]) -> None:
    with opened(database_url, size=1) as connections:
        statement = await quick(connections, f"SELECT $1::int, pg_advisory_xact_lock_shared({LOCK})")
        backend = await number(connections, BACKEND)
        connection.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        tasks = [asyncio.create_task(connections.run(statement, [b"1"])) for _ in range(6)]
        await asyncio.sleep(0)
        connection.execute("SELECT pg_terminate_backend(%s, 10000)", (backend,))
        connection.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))
        answers = await asyncio.gather(*tasks, return_exceptions=True)

        assert [isinstance(answer, psycopg.OperationalError) for answer in answers] == [True] * 4 + [False] * 2
        assert await number(connections, BACKEND) != backend


async def test_parameters_and_answers_that_no_socket_takes_at_once(database_url: str) -> None:
    with opened(database_url, size=1) as connections:
        statement = await quick(connections, "SELECT repeat($1::text, 3)")
        texts = [bytes([97 + value]) * 2_000_000 for value in range(5)]
        rows = await asyncio.gather(*(connections.run(statement, [text]) for text in texts))

    assert rows == [[text * 3] for text in texts]


async def test_a_statement_that_cannot_be_prepared_says_why_each_time(database_url: str) -> None:
    with opened(database_url, size=1) as connections:
        statement = Statement("SELECT nothing")
        statement.uses = module.PREPARED_FROM
        for _ in range(2):
            with pytest.raises(psycopg.errors.UndefinedColumn):
                await connections.run(statement, [])
        assert await number(connections, BACKEND) > 0


async def test_closing_tells_who_waits(database_url: str, connection: psycopg.Connection[Any]) -> None:
    with opened(database_url, size=1) as connections:
        (task,) = await blocked(connections, connection, 1)
        waiting = asyncio.create_task(number(connections, BACKEND))
        await asyncio.sleep(0)
        connections.close()
        with pytest.raises(psycopg_pool.PoolClosed):
            await waiting
        with pytest.raises(psycopg_pool.PoolClosed):
            await number(connections, BACKEND)
        connection.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))
        await task


@pytest.mark.parametrize("turns", [1, 2])  # to connect takes more: there is something to wait for each time
async def test_closing_tells_for_whom_a_connection_is_being_opened(database_url: str, turns: int) -> None:
    with opened(database_url, size=1) as connections:
        asked = asyncio.create_task(number(connections, BACKEND))
        for _ in range(turns):
            await asyncio.sleep(0)
        connections.close()
        with pytest.raises(psycopg_pool.PoolClosed):
            await asked


async def test_closing_tells_for_whom_a_connection_is_being_opened_for_long(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connecting = asyncio.Event()

    async def never(*_: Any, **__: Any) -> None:
        connecting.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(module.AsyncConnection, "connect", never)
    with opened(database_url, size=1) as connections:
        asked = asyncio.create_task(number(connections, BACKEND))
        await connecting.wait()
        connections.close()
        with pytest.raises(psycopg_pool.PoolClosed):
            await asked
