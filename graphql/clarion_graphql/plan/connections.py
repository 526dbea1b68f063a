"""Connections for plans: libpq's own calls, woken by the event loop.

A statement on a psycopg connection costs three times the processor time of what libpq itself takes, and asyncpg half
as much again as this. It is psycopg's libpq all the same, with its errors.

Where all connections that are worth having are busy, a quick statement is sent behind other quick ones, in libpq's
pipeline mode: the database goes from one to the next without waiting, and what it works on stays in its caches. Each
ends with a Sync of its own, so that it is a transaction of its own, and its error is no other's.
https://www.postgresql.org/docs/current/libpq-pipeline-mode.html
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
#: With so many connections busy, quick statements share them: more at a time only take each other's place in caches.
SHARED_FROM: Final = 4
#: Most quick statements that one connection has at a time.
MOST_AT_A_TIME: Final = 4
#: What takes less on the whole, in seconds, is quick. What takes more has the caches for long enough to itself.
QUICK_S: Final = 0.004
#: What took longer of late, in seconds, is not quick: so long others may wait behind it.
QUICK_AT_MOST_S: Final = 0.02
#: Where the database gives no further connection, so long those that there are do alone, in seconds.
REFUSED_S: Final = 1.0
#: How much of what it once took a statement is still thought to take after the next answer.
_REMEMBERED: Final = 0.9


class Statement:
    """A statement's text with ``$1`` …; one that is used again is prepared on each connection that runs it."""

    __slots__ = ("longest", "mean", "name", "text", "uses")
    _numbers = itertools.count(1)

    def __init__(self, text: str) -> None:
        self.text = text.encode()
        self.name = b"plan_%d" % next(self._numbers)
        self.uses = 0
        self.mean = 0.0
        """How long it took of late, in seconds."""
        self.longest = 0.0

    @property
    def quick(self) -> bool:
        """Whether others may be sent with it on one connection."""
        return self.mean < QUICK_S and self.longest < QUICK_AT_MOST_S

    def took(self, seconds: float) -> None:
        """Note how long the database took for it."""
        self.mean = seconds + (self.mean - seconds) * _REMEMBERED
        self.longest = max(seconds, self.longest * _REMEMBERED)


Row = list[bytes | None]


class _Request:
    """A statement that somebody waits for."""

    __slots__ = ("answer", "late", "parameters", "sent", "statement", "syncs")

    def __init__(self, statement: Statement, parameters: Sequence[bytes | None]) -> None:
        self.statement = statement
        self.parameters = parameters
        self.answer: asyncio.Future[PGresult] = asyncio.get_running_loop().create_future()
        self.late: asyncio.TimerHandle | None = None
        """What ends its wait for a connection."""
        self.sent = 0.0
        self.syncs = 1
        """So many Syncs are still to come."""

    def fail(self, error: psycopg.Error) -> None:
        """Tell who still waits."""
        self.no_longer_waits()
        if not self.answer.done():
            self.answer.set_exception(error)

    def no_longer_waits(self) -> None:
        """It has a connection, or there is none for it."""
        if self.late is not None:
            self.late.cancel()


class _Connection:
    """One connection. What it was sent is answered in that order."""

    def __init__(self, connection: AsyncConnection[Any], ended: Callable[[_Connection], None]) -> None:
        """``ended`` is called when a statement has ended, and when the connection broke."""
        self._connection = connection
        self._ended = ended
        self._pgconn: PGconn = connection.pgconn
        self._pgconn.nonblocking = 1
        self._pgconn.enter_pipeline_mode()
        self._socket = self._pgconn.socket
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._readable)
        self._prepared: OrderedDict[bytes, None] = OrderedDict()
        self._sent: deque[_Request] = deque()
        self._outcome: PGresult | None = None
        """What came of the first statement sent: an error, or what came last."""
        self._shared = True
        """All that it was sent is quick."""
        self._answered = 0.0
        self.broken = False

    @property
    def load(self) -> int:
        """How many statements it was sent that have not ended."""
        return len(self._sent)

    def accepts(self, statement: Statement) -> bool:
        """Whether a statement may be sent behind what it was sent."""
        return (
            self._shared and len(self._sent) < MOST_AT_A_TIME and statement.quick and statement.name in self._prepared
        )

    def send(self, request: _Request) -> None:
        """Send a statement. An idle connection takes every one."""
        statement = request.statement
        request.sent = self._loop.time()
        self._sent.append(request)
        try:
            if statement.uses < PREPARED_FROM:
                statement.uses += 1
                self._shared = False
                self._pgconn.send_query_params(statement.text, request.parameters)
            else:
                if statement.name in self._prepared:
                    self._prepared.move_to_end(statement.name)
                    self._shared = self._shared and statement.quick
                else:
                    self._shared = False
                    self._prepare(request)
                self._pgconn.send_query_prepared(statement.name, request.parameters)
            self._pgconn.pipeline_sync()
            if self._pgconn.flush():
                self._loop.add_writer(self._socket, self._writable)
        except psycopg.Error as error:
            self._fail(error)

    def close(self) -> None:
        self.broken = True
        self._unwatch()
        self._pgconn.finish()

    def _prepare(self, request: _Request) -> None:
        if len(self._prepared) >= MOST_PREPARED:
            oldest, _ = self._prepared.popitem(last=False)
            self._pgconn.send_query_params(b"DEALLOCATE " + oldest, None)
        self._pgconn.send_prepare(request.statement.name, request.statement.text)
        self._pgconn.pipeline_sync()
        request.syncs = 2

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
            nothing = False  # between two results there is one None; two of them: there is nothing more
            while self._sent and not pgconn.is_busy():
                result = pgconn.get_result()
                if result is None:
                    if nothing:
                        break
                    nothing = True
                    continue
                nothing = False
                if result.status == ExecStatus.PIPELINE_SYNC:
                    self._synced()
                elif self._outcome is None or self._outcome.status != ExecStatus.FATAL_ERROR:
                    self._outcome = result
        except psycopg.Error as error:
            self._fail(error)
        else:
            if pgconn.status != ConnStatus.OK:
                self._fail(psycopg.OperationalError("the connection broke"))

    def _synced(self) -> None:
        request = self._sent[0]
        request.syncs -= 1
        if request.syncs:  # it is to be prepared
            if self._outcome is not None and self._outcome.status == ExecStatus.COMMAND_OK:
                self._prepared[request.statement.name] = None
            return
        self._sent.popleft()
        outcome, self._outcome = self._outcome, None
        now = self._loop.time()
        request.statement.took(now - max(request.sent, self._answered))
        self._answered = now
        assert outcome is not None
        if not request.answer.done():
            request.answer.set_result(outcome)
        if not self._sent:
            self._shared = True
        self._ended(self)

    def _fail(self, error: psycopg.Error) -> None:
        if self.broken:
            return
        self.broken = True
        self._unwatch()
        while self._sent:
            self._sent.popleft().fail(psycopg.OperationalError(str(error)))
        self._ended(self)

    def _unwatch(self) -> None:
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)


def _row(answer: PGresult) -> Row:
    if answer.status != ExecStatus.TUPLES_OK:
        raise error_from_result(answer)
    assert answer.ntuples == 1
    return [answer.get_value(0, column) for column in range(answer.nfields)]


class Connections:
    """At most ``size`` connections, opened when they are needed; the one used last is used next.

    A database may give fewer than ``size``: then who asks waits for one of those that there are.
    """

    def __init__(self, url: str, *, size: int, timeout_s: float, **parameters: Any) -> None:
        self._url = url
        self._parameters = parameters
        self._timeout_s = timeout_s
        self._shared_from = min(size, SHARED_FROM)
        self._free = size
        """So many more may be opened."""
        self._refused_until = 0.0
        """Until then no further connection is opened beside those that there are."""
        self._opening: set[asyncio.Task[AsyncConnection[Any]]] = set()
        self._busy: list[_Connection] = []
        self._idle: list[_Connection] = []
        self._waiting: deque[_Request] = deque()
        self._closed = False

    async def run(self, statement: Statement, parameters: Sequence[bytes | None]) -> Row:
        """The only row that a statement gives. Who does not wait for it any more does not end it.

        Raises psycopg.Error; psycopg_pool.PoolTimeout where no connection became free in time.
        """
        if self._closed:
            raise psycopg_pool.PoolClosed("the connections are closed")
        request = _Request(statement, parameters)
        connection = None
        while self._waiting and self._waiting[0].answer.done():
            self._waiting.popleft()  # it was given up
        if not self._waiting:  # nobody goes before who waits
            connection = self._shared_by(statement) or self._from_idle()
        if connection is not None:
            connection.send(request)
        else:
            self._wait(request)
            if asyncio.get_running_loop().time() >= self._refused_until or not (self._busy or self._opening):
                self._open_for_who_waits()
        return _row(await request.answer)

    def close(self) -> None:
        """Close every connection, those that are in use when their statements have ended."""
        self._closed = True
        for task in self._opening:
            task.cancel()
        while self._waiting:
            self._waiting.popleft().fail(psycopg_pool.PoolClosed("the connections are closed"))
        while self._idle:
            self._idle.pop().close()

    def _shared_by(self, statement: Statement) -> _Connection | None:
        """The busy connection with the least to do that a statement may be sent on, behind others."""
        if len(self._busy) < self._shared_from:
            return None
        found = None
        for connection in self._busy:
            if connection.accepts(statement) and (found is None or connection.load < found.load):
                found = connection
        return found

    def _from_idle(self) -> _Connection | None:
        if not self._idle:
            return None
        connection = self._idle.pop()
        self._busy.append(connection)
        return connection

    def _wait(self, request: _Request) -> None:
        """Let a request wait for a connection, but not for too long."""
        self._waiting.append(request)
        request.late = asyncio.get_running_loop().call_later(self._timeout_s, self._give_up, request)

    def _open(self, request: _Request) -> None:
        """Open a connection for a request: a task of its own does it, for who asked may go away meanwhile."""
        self._free -= 1
        task = asyncio.get_running_loop().create_task(AsyncConnection.connect(self._url, **self._parameters))
        self._opening.add(task)
        task.add_done_callback(lambda done: self._opened(done, request))

    def _opened(self, task: asyncio.Task[AsyncConnection[Any]], request: _Request) -> None:
        self._opening.discard(task)
        if task.cancelled():  # by close(), maybe before it began
            request.fail(psycopg_pool.PoolClosed("the connections are closed"))
            return
        error = task.exception()
        if error is not None:
            self._free += 1
            self._refused(request, str(error))
            return
        connection = _Connection(task.result(), self._ended)
        self._busy.append(connection)
        if request.answer.done():
            self._ended(connection)
        else:
            connection.send(request)

    def _refused(self, request: _Request, reason: str) -> None:
        """Go on without a connection: the database is gone, or gives no more than there are or are being opened."""
        self._refused_until = asyncio.get_running_loop().time() + REFUSED_S
        self._wait(request)
        connection = self._from_idle()
        if connection is not None:
            self._ended(connection)
        elif not self._busy and not self._opening:
            while self._waiting:
                self._waiting.popleft().fail(psycopg.OperationalError(reason))

    def _open_for_who_waits(self) -> None:
        while self._free and self._waiting:
            request = self._waiting.popleft()
            if not request.answer.done():
                request.no_longer_waits()
                self._open(request)

    def _ended(self, connection: _Connection) -> None:
        """Go on with a connection on which a statement has ended, or that broke."""
        if connection.broken:
            (self._busy if connection in self._busy else self._idle).remove(connection)
            connection.close()
            self._free += 1
            self._open_for_who_waits()
            return
        while self._waiting and not connection.broken:
            request = self._waiting[0]
            gone = request.answer.done()
            if not gone and connection.load and not connection.accepts(request.statement):
                return
            self._waiting.popleft()
            if not gone:
                request.no_longer_waits()
                connection.send(request)
        if connection.load == 0 and not connection.broken:
            self._busy.remove(connection)
            if self._closed:
                connection.close()
            else:
                self._idle.append(connection)

    def _give_up(self, request: _Request) -> None:
        request.fail(psycopg_pool.PoolTimeout(f"no connection became free in {self._timeout_s} s"))


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
