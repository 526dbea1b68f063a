"""A keeper that takes its turns when it is told to, and does nothing in between."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from clarion.config import Lane, Settings
from clarion_keeper.engine import Parts, by_lane
from clarion_keeper.executor import Executor
from clarion_keeper.job import chain_read_by
from clarion_keeper.looking import Look, look, note_what_others_did, store_look
from clarion_keeper.observer import Observer
from clarion_keeper.signers.accounts import hourly_budget
from clarion_keeper.store import lease
from clarion_keeper.store.lease import Store
from clarion_keeper.turn import Account, Policy

LEASE_SECONDS = 60


@dataclass
class TurningKeeper:
    """What an engine does of itself."""

    parts: Parts
    store: Store
    accounts: Sequence[Account]
    serving: dict[tuple[str, Lane], Executor]
    looks: dict[str, Look]
    observer: Observer

    async def look(self) -> None:
        """Every job looks once."""
        for job in self.parts.jobs:
            found = await look(job, self.parts.readers[chain_read_by(job)], self.observer)
            assert found.error is None, found.error
            self.looks[job.name] = found
            executor = self.serving.get((job.chain, job.lane))
            if executor is not None:
                await note_what_others_did(self.store, job, found, executor, self.observer)
            await store_look(self.store, job, found, self.observer)

    async def turn(self) -> None:
        """Look, then follow, plan, sign and send."""
        await self.look()
        for account in self.accounts:
            await account.turn(self.store)


@contextlib.asynccontextmanager
async def turning(
    settings: Settings, database_url: str, parts: Parts, observer: Observer | None = None
) -> AsyncIterator[TurningKeeper]:
    """A keeper that leads, of these settings and parts."""
    connection = await lease.connect(database_url, idle_seconds=LEASE_SECONDS)
    try:
        fence = await lease.acquire(connection, lease.holder_name(), LEASE_SECONDS)
        assert fence is not None
        looks: dict[str, Look] = {}
        told = observer or Observer()
        accounts = [
            Account(
                name,
                settings.keeper.accounts[name],
                executor,
                hourly_budget=hourly_budget(settings, name),
                jobs={job.name: job for job in parts.jobs},
                looks=looks,
                rates=dict,
                policy=Policy(min_profit=settings.keeper.min_profit),
                observer=told,
            )
            for name, executor in parts.executors.items()
        ]
        serving = by_lane(settings, parts.executors)
        yield TurningKeeper(parts, Store(connection, fence), accounts, serving, looks, told)
        await lease.release(connection, fence)
    finally:
        await connection.close()
