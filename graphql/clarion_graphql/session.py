"""Reading: one read-only snapshot of the database per operation, and everything that is read in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, TypeVar

import psycopg
import psycopg_pool
from psycopg import AsyncConnection, AsyncRawCursor
from psycopg_pool import AsyncConnectionPool
from strawberry.dataloader import DataLoader

from clarion.chains.model import Chain
from clarion.store.database import make_pool
from clarion_graphql.as_of import Moment, PastTables, past_tables
from clarion_graphql.errors import ApiError, Code
from clarion_graphql.receipt import Receipt, outdated_of, read_receipts
from clarion_graphql.sql import Sql, tables_in

#: Longest a statement may run, in milliseconds.
STATEMENT_TIMEOUT_MS: Final = 10_000
#: Longest an operation waits for a connection, in seconds.
CONNECTION_TIMEOUT_S: Final = 5.0
POOL_SIZE: Final = 8
#: Most rows one operation may read, and most that one of its lists could hold were every page full.
MAX_ROWS: Final = 50_000

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


def read_pool(
    url: str,
    *,
    statement_timeout_ms: int = STATEMENT_TIMEOUT_MS,
    connection_timeout_s: float = CONNECTION_TIMEOUT_S,
    role: str | None = None,
) -> AsyncConnectionPool:
    """A closed pool whose transactions are read-only snapshots, read as ``role`` where given."""
    options = (
        "-c default_transaction_isolation=repeatable\\ read -c default_transaction_read_only=on "
        f"-c statement_timeout={statement_timeout_ms} -c timezone=UTC -c jit=off" + (f" -c role={role}" if role else "")
    )
    pool = make_pool(url, max_size=POOL_SIZE, options=options, application_name="clarion graphql")
    pool.timeout = connection_timeout_s
    return pool


@asynccontextmanager
async def snapshot(pool: AsyncConnectionPool) -> AsyncIterator[AsyncConnection[Any]]:
    """A connection in a read-only transaction that sees one state of the database throughout."""
    async with pool.connection() as connection, connection.transaction():
        yield connection


async def fetch(connection: AsyncConnection[Any], query: Sql) -> list[tuple[Any, ...]]:
    """The rows of a query."""
    cursor = await connection.execute(query.text, query.parameters)
    return await cursor.fetchall()


async def fetch_alone(pool: AsyncConnectionPool, query: Sql) -> list[tuple[Any, ...]]:
    """The rows of a query that needs no other in its snapshot: one trip to the database, and no transaction around."""
    async with pool.connection() as connection:
        return await fetch(connection, query)


class _Loader(DataLoader[K, V]):
    """A loader whose value does not go with the first who no longer waits for it: others may wait for the same."""

    def load(self, key: K) -> Awaitable[V]:
        """The value of a key."""
        return asyncio.shield(super().load(key))


class Session:
    """What one operation reads. The snapshot is taken when something is first asked for."""

    def __init__(self, pool: AsyncConnectionPool, *, max_rows: int = MAX_ROWS) -> None:
        self.moments: Sequence[Moment] = ()
        """The blocks to read as of, of each chain one; set before anything is read. None of them: the tips."""
        self._pool = pool
        self._past: PastTables | None = None
        self._stack = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._reading = asyncio.Lock()
        self._failure: psycopg.Error | None = None
        self._closed = False
        self._connection: AsyncConnection[Any] | None = None
        self._rows_left = max_rows
        self._max_rows = max_rows
        self._loaders: dict[Hashable, DataLoader[Any, Any]] = {}
        self._receipts: dict[Chain, Receipt] = {}
        self.outdated: dict[str, int | None] = {}
        """Protocols that were read although their rows are not the tip's, and of which block those are."""

    async def open(self) -> AsyncConnection[Any]:
        """Take the snapshot, if that has not happened yet, and read the receipts in it."""
        async with self._opening:
            self._require_open()
            # the pool may hold connections that a restart of the database broke: nothing was read yet, so try the next
            for attempts_left in reversed(range(POOL_SIZE + 1)):
                if self._connection is not None:
                    break
                try:
                    connection = await self._stack.enter_async_context(snapshot(self._pool))
                    await self._read_receipts(connection)
                    self._connection = connection
                except psycopg.OperationalError as error:
                    await self._stack.aclose()
                    if attempts_left == 0 or isinstance(error, psycopg_pool.PoolTimeout | psycopg.errors.QueryCanceled):
                        raise
        assert self._connection is not None
        return self._connection

    async def _read_receipts(self, connection: AsyncConnection[Any]) -> None:
        if self.moments:
            self._receipts, self._past = await past_tables(connection, self.moments)
        else:
            self._receipts = await read_receipts(connection)

    async def close(self) -> None:
        """Give the connection back, once the statement that may still run on it has ended. What waits reads nothing."""
        self._closed = True
        async with self._opening, self._reading:
            await self._stack.aclose()

    @property
    def was_read(self) -> dict[Chain, Receipt]:
        """The receipts of what was read so far; empty where nothing was."""
        return self._receipts

    async def receipts(self) -> dict[Chain, Receipt]:
        """The tip of every chain in this snapshot, or the blocks that everything is read as of."""
        await self.open()
        return self._receipts

    async def fetch(self, query: Sql, *, at_most: int = 1) -> list[tuple[Any, ...]]:
        """The rows of a query that gives ``at_most`` so many.

        Raises ApiError where those could be more than the operation may still read.
        """
        if at_most > self._rows_left:
            raise ApiError(
                Code.LIMIT_EXCEEDED,
                f"The operation could read more than {self._max_rows} rows: page sizes multiply where lists are "
                f"nested; ask for smaller ones.",
            )
        connection = await self.open()
        if self._past is None:
            self._note_outdated(table.name for table in tables_in(query.text))
        # one after another: an error loses the snapshot, and a table that cannot be told is found out in a savepoint
        async with self._reading:
            rows = await self._read(connection, query)
        self._rows_left -= len(rows)
        return rows

    async def row(self, text: bytes, parameters: Sequence[bytes | None], tables: Iterable[str]) -> list[bytes | None]:
        """The only row of a statement with ``$1`` … over these tables as they are now, all in Postgres' text format."""
        assert not self.moments
        connection = await self.open()
        self._note_outdated(tables)
        async with self._reading:
            self._require_open()
            cursor = AsyncRawCursor(connection)
            try:
                await cursor.execute(text, [None if given is None else given.decode() for given in parameters])
            except psycopg.Error as error:
                self._failure = error
                raise
        assert cursor.pgresult is not None
        return [cursor.pgresult.get_value(0, column) for column in range(cursor.pgresult.nfields)]

    async def _read(self, connection: AsyncConnection[Any], query: Sql) -> list[tuple[Any, ...]]:
        self._require_open()
        if self._failure is not None:
            raise self._failure
        try:
            return await fetch(connection, query if self._past is None else await self._past.read(query))
        except psycopg.Error as error:
            self._failure = error
            raise

    def _require_open(self) -> None:
        """End a resolver whose operation has ended: the connection is another's already."""
        if self._closed:
            raise asyncio.CancelledError

    def _note_outdated(self, tables: Iterable[str]) -> None:
        self.outdated |= outdated_of(self._receipts, tables)

    async def value(self, query: Sql) -> Any:
        """The first column of a query's first row; None without a row."""
        rows = await self.fetch(query)
        return rows[0][0] if rows else None

    def loader(self, name: Hashable, load: Callable[[Sequence[K]], Awaitable[dict[K, V]]]) -> DataLoader[K, V | None]:
        """The batching loader of this name; ``load`` gets the keys asked for in one go."""
        found = self._loaders.get(name)
        if found is None:

            async def load_all(keys: list[K]) -> list[V | None]:
                values = await load(keys)
                return [values.get(key) for key in keys]

            found = self._loaders[name] = _Loader(load_fn=load_all)
        return found
