"""What wakes subscriptions: one listener per process on the channel that the indexer notifies at every commit.

Other packages that the API shows tables of may name channels of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import perf_counter
from typing import Final, cast, get_args

import msgspec
import psycopg
import structlog
from psycopg import AsyncConnection, sql

from clarion.chains.model import Chain
from clarion.store.store import CHANNEL
from clarion_graphql.metrics import REPLICA_SECONDS

log = structlog.get_logger(__name__)

#: How often the sequence is read where no notification came, in seconds. It is also how long a reconnection waits.
POLL_S: Final = 1.0
#: How often a replica is asked whether it has a commit: at first, and at most. In seconds.
REPLICA_POLL_S: Final = (0.002, 0.1)
CHAINS: Final[tuple[Chain, ...]] = get_args(Chain)


#: Up to where the primary's log goes. What follows a record that ends with a page begins behind the next page's header,
#: of at most 40 bytes (xlog_internal.h): a replica that has everything stands before that.
_WRITTEN: Final = """
SELECT (l.i - CASE WHEN l.page_offset <= 40 THEN l.page_offset ELSE 0 END)::text FROM (
    SELECT i, (i - '0/0') % current_setting('wal_block_size')::numeric AS page_offset
    FROM pg_current_wal_insert_lsn() i
) l
"""
#: Whether a server replays another one's log, and whether it has a position of that. One that became primary has.
_REPLAYED: Final = """
SELECT pg_is_in_recovery(), NOT pg_is_in_recovery() OR coalesce(pg_last_wal_replay_lsn() >= %s::pg_lsn, false)
"""


class _Notified(msgspec.Struct):
    chain: Chain
    sequence: int


class _Replica:
    """A connection to what is read, to ask how far it is: one of its own, for others wait while there is much to do."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: AsyncConnection | None = None
        self._connected_at = 0.0

    async def has(self, position: str) -> bool:
        """Whether it has replayed a position of the write-ahead log. Raises psycopg.OperationalError."""
        connection = await self._connect()
        row = await (await connection.execute(_REPLAYED.encode(), (position,))).fetchone()
        assert row is not None
        is_replica, has_it = row
        if not is_replica and perf_counter() - self._connected_at > POLL_S:
            # the URL may name a replica too that was away: it is to be asked as soon as it is back
            await self.close()
        return bool(has_it)

    async def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def _connect(self) -> AsyncConnection:
        if self._connection is None or self._connection.closed:
            self._connection = await AsyncConnection.connect(
                self._url, autocommit=True, application_name="clarion graphql feed", connect_timeout=5
            )
            self._connected_at = perf_counter()
        return self._connection


class Feed:
    """Knows the sequence of every chain's index, and lets others wait for it to move.

    Run :meth:`run` as a task. While the database cannot be reached nothing moves; afterwards everybody is woken.

    Args:
        url: of the database that the indexer writes: notifications reach no replica.
        replica_url: of what is read, where that is another one. Nothing is told before it can be read there.
        channels: others to listen on, of what is in no chain.
    """

    def __init__(self, url: str, replica_url: str | None = None, channels: Sequence[str] = ()) -> None:
        self._url = url
        self._replica = None if replica_url is None else _Replica(replica_url)
        self._sequences: dict[Chain, int] = {}
        self._channels: dict[str, int] = dict.fromkeys(channels, 0)
        self.turns: tuple[int, ...] = (0,) * len(CHAINS)
        """Of each of `CHAINS` a number that is another one after every commit that said anything of it, and every
        reconnection.
        """
        self._moved = asyncio.Event()
        self.connected = asyncio.Event()
        """Set while the listener is connected."""

    async def run(self) -> None:
        """Listen until cancelled, connecting again whenever the connection breaks."""
        try:
            while True:
                try:
                    await self._listen()
                except psycopg.Error as error:
                    log.warning("feed.connection_lost", error=str(error).strip(), retry_in_s=POLL_S)
                finally:
                    self.connected.clear()
                await asyncio.sleep(POLL_S)
        finally:
            if self._replica is not None:
                await self._replica.close()

    def sequence(self, chain: Chain) -> int | None:
        """The sequence of a chain's index as last heard; None before anything was."""
        return self._sequences.get(chain)

    async def changed(self, chain: Chain, known: int | None) -> None:
        """Wait until another sequence than ``known`` is heard for the chain."""
        while self._sequences.get(chain) == known:
            await self._moved.wait()

    def turn(self, of: str) -> int:
        """The number of a chain in :attr:`turns`; of another channel one that grows with every notification."""
        return self._channels[of] if of in self._channels else self.turns[CHAINS.index(cast("Chain", of))]

    async def turned(self, of: str, known: int) -> None:
        """Wait until :meth:`turn` is not ``known`` any more."""
        while self.turn(of) == known:
            await self._moved.wait()

    async def _listen(self) -> None:
        connection = await AsyncConnection.connect(
            self._url, autocommit=True, application_name="clarion graphql feed", connect_timeout=5
        )
        async with connection:
            for channel in (CHANNEL, *self._channels):
                await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            self.connected.set()
            for name in (*CHAINS, *self._channels):
                self._wake(name)
            while True:
                # after LISTEN, so that a commit in between is either notified or read
                await self._poll(connection)
                while notifications := [told async for told in connection.notifies(timeout=POLL_S, stop_after=1)]:
                    await self._wait_for_replica(connection)
                    for notification in notifications:
                        if notification.channel == CHANNEL:
                            self._notified(notification.payload)
                        else:
                            self._wake(notification.channel)

    async def _poll(self, connection: AsyncConnection) -> None:
        cursor = await connection.execute("SELECT chain, sequence FROM clarion.cursor")
        sequences = await cursor.fetchall()
        await self._wait_for_replica(connection)
        for chain, sequence in sequences:
            self._set(chain, sequence)

    async def _wait_for_replica(self, connection: AsyncConnection) -> None:
        """Wait until what was committed so far can be read."""
        if self._replica is None:
            return
        began = perf_counter()
        row = await (await connection.execute(_WRITTEN.encode())).fetchone()
        assert row is not None
        pause, longest = REPLICA_POLL_S
        while not await self._replica_has(self._replica, row[0]):
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)
        REPLICA_SECONDS.observe(perf_counter() - began)

    @staticmethod
    async def _replica_has(replica: _Replica, position: str) -> bool:
        try:
            return await replica.has(position)
        except psycopg.OperationalError as error:
            log.warning("feed.replica_unavailable", error=str(error).strip(), retry_in_s=POLL_S)
            await replica.close()
            await asyncio.sleep(POLL_S)
            return False

    def _notified(self, payload: str) -> None:
        try:
            told = msgspec.json.decode(payload, type=_Notified)
        except msgspec.MsgspecError:
            log.warning("feed.unreadable_notification", payload=payload[:200])
            return
        self._wake(told.chain)
        self._set(told.chain, told.sequence)

    def _set(self, chain: Chain, sequence: int) -> None:
        if self._sequences.get(chain) != sequence:
            self._sequences[chain] = sequence
            self._wake(chain)

    def _wake(self, name: str) -> None:
        if name in self._channels:
            self._channels[name] += 1
        else:
            self.turns = tuple(turn + (of == name) for of, turn in zip(CHAINS, self.turns, strict=True))
        self._moved.set()
        self._moved = asyncio.Event()
