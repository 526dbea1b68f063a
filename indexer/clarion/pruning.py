"""Pruning beside an index that runs: now and then, over a connection of its own."""

from __future__ import annotations

import asyncio
import threading
from typing import Final

import psycopg
import structlog

from clarion.chains.model import Chain
from clarion.config import Settings
from clarion.store.database import connect
from clarion.store.retention import Pruned, Retention, RetentionError, prune

log = structlog.get_logger(__name__)

APPLICATION_NAME: Final = "clarion prune"


def retention_of(settings: Settings) -> Retention:
    """What the settings keep."""
    kept = settings.retention
    return Retention(kept.tables, kept.feed, kept.dropped_mempool_days)


def prune_database(
    database_url: str, chain: Chain, retention: Retention, stopped: threading.Event | None = None
) -> Pruned:
    """Prune until all is done or ``stopped`` is set. Raises RetentionError and psycopg.Error."""
    ended = stopped or threading.Event()
    with connect(database_url, autocommit=True, application_name=APPLICATION_NAME) as connection:
        return prune(connection, chain, retention, stopped=ended.is_set)


class Pruner:
    """Prunes every now and then. Run :meth:`run` as a task until it is cancelled."""

    def __init__(self, database_url: str, chain: Chain, retention: Retention, *, interval_seconds: float) -> None:
        self._url = database_url
        self._chain: Chain = chain
        self._retention = retention
        self._interval_seconds = interval_seconds

    async def run(self) -> None:
        """Prune again and again; what fails is tried again. Without anything to delete it only waits."""
        stopped = threading.Event()
        try:
            while True:
                if not self._retention.keeps_everything:
                    await self._turn(stopped)
                await asyncio.sleep(self._interval_seconds)
        finally:
            stopped.set()

    async def _turn(self, stopped: threading.Event) -> None:
        try:
            done = await asyncio.to_thread(prune_database, self._url, self._chain, self._retention, stopped)
        except RetentionError as error:
            log.error("prune_refused", error=str(error))
        except psycopg.Error as error:
            log.warning("prune_waits", error=str(error).strip())
        else:
            if done != Pruned():
                log.info(
                    "pruned",
                    changes=done.changes,
                    history=done.history,
                    steps=done.steps,
                    blocks=done.blocks,
                    mempool_transactions=done.mempool_transactions,
                )
