"""Connections for plans: libpq's own calls, woken by the event loop.

A statement on a psycopg connection costs three times the processor time of what libpq itself takes, and asyncpg half
as much again as this. It is psycopg's libpq all the same, with its errors.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

import psycopg
import psycopg_pool
from psycopg import AsyncConnection
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGconn, PGresult

#: How many statements a connection keeps prepared.
MOST_PREPARED: Final = 300
#: Used so often, a statement is prepared.
PREPARED_FROM: Final = 2


class Statement:
    """A statement's text with ``$1`` …; one that is used again is prepared on each connection that runs it."""

    __slots__ = ("name", "text", "uses")
    _numbers = itertools.count(1)

    def __init__(self, text: str) -> None:
        self.text = text.encode()
        self.name = b"plan_%d" % next(self._numbers)
        self.uses = 0


Row = list[bytes | None]


class _Connection:
    """One connection, used by one task at a time."""

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        self._connection = connection
        self._pgconn: PGconn = connection.pgconn
        self._pgconn.nonblocking = 1
        self._socket = self._pgconn.socket
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._readable)
        self._prepared: OrderedDict[bytes, None] = OrderedDict()
        self._result: asyncio.Future[PGresult] | None = None
        self._when_idle: Callable[[_Connection], None] | None = None
        self.broken = False

    async def run(self, statement: Statement, parameters: Sequence[bytes | None]) -> Row:
        """The only row that a statement gives. Raises psycopg.Error."""
        if statement.uses < PREPARED_FROM:
            statement.uses += 1
            self._pgconn.send_query_params(statement.text, parameters)
            return _row(await self._answer())
        if statement.name in self._prepared:
            self._prepared.move_to_end(statement.name)
        else:
            await self._prepare(statement)
        self._pgconn.send_query_prepared(statement.name, parameters)
        return _row(await self._answer())

    def when_idle(self, then: Callable[[_Connection], None]) -> None:
        """Call ``then`` once the statement that a task no longer waits for has ended."""
        if self._result is None:
            then(self)
        else:
            self._when_idle = then

    def close(self) -> None:
        self.broken = True
        self._unwatch()
        self._pgconn.finish()

    async def _prepare(self, statement: Statement) -> None:
        try:
            if len(self._prepared) >= MOST_PREPARED:
                oldest, _ = self._prepared.popitem(last=False)
                self._pgconn.send_query_params(b"DEALLOCATE " + oldest, None)
                _require(await self._answer(), ExecStatus.COMMAND_OK)
            self._pgconn.send_prepare(statement.name, statement.text)
            _require(await self._answer(), ExecStatus.COMMAND_OK)
        except asyncio.CancelledError:
            self.broken = True  # nobody will know whether it is prepared
            raise
        self._prepared[statement.name] = None

    async def _answer(self) -> PGresult:
        result: asyncio.Future[PGresult] = self._loop.create_future()
        self._result = result
        if self._pgconn.flush():
            self._loop.add_writer(self._socket, self._writable)
        return await result

    def _writable(self) -> None:
        try:
            if not self._pgconn.flush():
                self._loop.remove_writer(self._socket)
        except psycopg.Error as error:
            self._fail(error)

    def _readable(self) -> None:
        pgconn = self._pgconn
        try:
            pgconn.consume_input()
            if self._result is None or pgconn.is_busy():
                return
            first = pgconn.get_result()
            while pgconn.get_result() is not None:
                pass
        except psycopg.Error as error:
            self._fail(error)
            return
        if first is None or pgconn.status != ConnStatus.OK:
            self._fail(psycopg.OperationalError("the connection broke"))
        else:
            self._end(first)

    def _fail(self, error: psycopg.Error) -> None:
        self.broken = True
        self._unwatch()
        self._end(error)

    def _end(self, outcome: PGresult | psycopg.Error) -> None:
        result, self._result = self._result, None
        if result is not None and not result.done():
            if isinstance(outcome, psycopg.Error):
                result.set_exception(outcome)
            else:
                result.set_result(outcome)
        then, self._when_idle = self._when_idle, None
        if then is not None:
            then(self)

    def _unwatch(self) -> None:
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)


def _require(result: PGresult, status: ExecStatus) -> None:
    if result.status != status:
        raise error_from_result(result)


def _row(result: PGresult) -> Row:
    _require(result, ExecStatus.TUPLES_OK)
    assert result.ntuples == 1
    return [result.get_value(0, column) for column in range(result.nfields)]


class Connections:
    """At most ``size`` connections, opened when they are needed; the one used last is used next."""

    def __init__(self, url: str, *, size: int, timeout_s: float, **parameters: Any) -> None:
        self._url = url
        self._parameters = parameters
        self._timeout_s = timeout_s
        self._idle: list[_Connection] = []
        self._free = size
        self._waiting: deque[asyncio.Future[_Connection | None]] = deque()
        self._closed = False

    async def run(self, statement: Statement, parameters: Sequence[bytes | None]) -> Row:
        """The only row that a statement gives.

        Raises psycopg.Error; psycopg_pool.PoolTimeout where no connection became free in time.
        """
        connection = self._idle.pop() if self._idle else await self._take()
        if connection.broken:  # while nobody used it
            connection.close()
            connection = await self._open()
        try:
            row = await connection.run(statement, parameters)
        except asyncio.CancelledError:
            # a client that goes away does not end the statement: the connection is free when that has ended
            connection.when_idle(self._give_back)
            raise
        except BaseException:
            self._give_back(connection)
            raise
        self._give_back(connection)
        return row

    async def _take(self) -> _Connection:
        if self._free:
            self._free -= 1
            return await self._open()
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[_Connection | None] = loop.create_future()
        self._waiting.append(waiting)
        late = loop.call_later(self._timeout_s, self._give_up, waiting)
        try:
            given = await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled() and waiting.exception() is None:
                self._hand_on(waiting.result())  # it came at the same moment
            raise
        finally:
            late.cancel()
        return await self._open() if given is None else given

    def _give_up(self, waiting: asyncio.Future[_Connection | None]) -> None:
        if not waiting.done():
            waiting.set_exception(psycopg_pool.PoolTimeout(f"no connection became free in {self._timeout_s} s"))

    async def _open(self) -> _Connection:
        try:
            return _Connection(await AsyncConnection.connect(self._url, **self._parameters))
        except BaseException:
            self._hand_on(None)
            raise

    def _give_back(self, connection: _Connection) -> None:
        if self._closed:
            connection.close()
        else:
            self._hand_on(connection)

    def _hand_on(self, connection: _Connection | None) -> None:
        """Give a connection, or None: the right to open one, to who waits first."""
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(connection)
                return
        if connection is None:
            self._free += 1
        else:
            self._idle.append(connection)

    def close(self) -> None:
        """Close every connection, those that are in use when their statements have ended."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()


def parameter(value: Any) -> bytes | None:
    """A parameter in Postgres' text format; the statement casts it. Raises TypeError for what has none."""
    match value:
        case None:
            return None
        case str():
            return value.encode()
        case bool():
            return b"t" if value else b"f"
        case int():
            return b"%d" % value
        case bytes():
            return b"\\x" + value.hex().encode()
        case datetime():
            return value.isoformat().encode()
        case list() | tuple():
            return b"{" + b",".join(_item(parameter(item)) for item in value) + b"}"
    raise TypeError(f"no parameter: {type(value).__name__}")


def _item(text: bytes | None) -> bytes:
    if text is None:
        return b"NULL"
    return b'"' + text.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
