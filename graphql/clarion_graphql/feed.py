"""What wakes subscriptions: one listener per process on the channel that the indexer notifies at every commit."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final, get_args

import msgspec
import psycopg
import structlog
from psycopg import AsyncConnection, sql

from clarion.chains.model import Chain
from clarion.store.store import CHANNEL

log = structlog.get_logger(__name__)

#: How often the sequence is read where no notification came, in seconds. It is also how long a reconnection waits.
POLL_S: Final = 1.0
CHAINS: Final[tuple[Chain, ...]] = get_args(Chain)


class _Notified(msgspec.Struct):
    chain: Chain
    sequence: int


class Feed:
    """Knows the sequence of every chain's index, and lets others wait for it to move.

    Run :meth:`run` as a task. While the database cannot be reached nothing moves; afterwards everybody is woken.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._sequences: dict[Chain, int] = {}
        self._turns: Counter[Chain] = Counter()
        self._moved = asyncio.Event()
        self.connected = asyncio.Event()
        """Set while the listener is connected."""

    async def run(self) -> None:
        """Listen until cancelled, connecting again whenever the connection breaks."""
        while True:
            try:
                await self._listen()
            except psycopg.Error as error:
                log.warning("feed.connection_lost", error=str(error).strip(), retry_in_s=POLL_S)
            finally:
                self.connected.clear()
            await asyncio.sleep(POLL_S)

    def sequence(self, chain: Chain) -> int | None:
        """The sequence of a chain's index as last heard; None before anything was."""
        return self._sequences.get(chain)

    async def changed(self, chain: Chain, known: int | None) -> None:
        """Wait until another sequence than ``known`` is heard for the chain."""
        while self._sequences.get(chain) == known:
            await self._moved.wait()

    def turn(self, chain: Chain) -> int:
        """A number that is another one after every commit that said anything of the chain, and every reconnection."""
        return self._turns[chain]

    async def turned(self, chain: Chain, known: int) -> None:
        """Wait until :meth:`turn` is not ``known`` any more."""
        while self._turns[chain] == known:
            await self._moved.wait()

    async def _listen(self) -> None:
        connection = await AsyncConnection.connect(
            self._url, autocommit=True, application_name="clarion graphql feed", connect_timeout=5
        )
        async with connection:
            await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL)))
            self.connected.set()
            for chain in CHAINS:
                self._wake(chain)
            while True:
                # after LISTEN, so that a commit in between is either notified or read
                await self._poll(connection)
                async for notification in connection.notifies(timeout=POLL_S):
                    self._notified(notification.payload)

    async def _poll(self, connection: AsyncConnection) -> None:
        for chain, sequence in await (
            await connection.execute("SELECT chain, sequence FROM clarion.cursor")
        ).fetchall():
            self._set(chain, sequence)

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

    def _wake(self, chain: Chain) -> None:
        self._turns[chain] += 1
        self._moved.set()
        self._moved = asyncio.Event()
