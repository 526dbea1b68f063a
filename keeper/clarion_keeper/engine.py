"""The keeper's engine: who leads, who looks, who sends. `run` is what the command calls.

Each job has a task of its own that looks at the chain, and each account one that follows, plans, signs and sends: a
slow node, signer or job delays nobody else. The tasks share nothing but the tables and the last looks. They are woken
by new blocks, by each other and by a timer, and every round of theirs is complete in itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg
import structlog

from clarion.chains.model import Chain
from clarion.config import Lane, Settings
from clarion_keeper import stacks
from clarion_keeper.executor import Executor, ExecutorError, OpenExecutor
from clarion_keeper.graph import GraphError, Reader, reader_of
from clarion_keeper.job import Job, JobContext, chain_read_by, load_jobs
from clarion_keeper.looking import NOT_YET, Look, look, note_what_others_did, store_look
from clarion_keeper.observer import Observer
from clarion_keeper.rates import Rates, read_rates
from clarion_keeper.signers import SignerError
from clarion_keeper.signers.accounts import hourly_budget, open_signers
from clarion_keeper.store import intents, lease, retention
from clarion_keeper.store.lease import LeaseLostError, Store
from clarion_keeper.turn import Account, Policy

log = structlog.get_logger()

#: The timer wakes every task this often, whether or not blocks come.
WAKE_SECONDS: Final = 5.0
#: How often a keeper that stands by asks whether it may lead, and a leader whether the database is back.
STANDBY_SECONDS: Final = 1.0
#: Whose tasks no block wakes, but the timer alone.
NO_CHAIN: Final = ""
#: A leader renews its lease after this part of it.
RENEWALS: Final = 3


def by_lane(settings: Settings, executors: Mapping[str, Executor]) -> dict[tuple[str, Lane], Executor]:
    """The executor of the account that serves a lane, by chain and lane. ``executors``: by the account's name."""
    return {
        (account.chain, lane): executors[name]
        for name, account in settings.keeper.accounts.items()
        if name in executors
        for lane in account.lanes
    }


class Bells:
    """Wakes tasks: each waits for its own bell, and several rings before it looks again count as one."""

    def __init__(self) -> None:
        self._bells: dict[str, asyncio.Event] = {}
        self._chains: dict[str, str] = {}

    def add(self, name: str, chain: str) -> None:
        """A task that waits for this chain's blocks."""
        self._bells[name] = asyncio.Event()
        self._chains[name] = chain
        self._bells[name].set()

    def ring(self, chain: str, prefix: str = "") -> None:
        """Wake the tasks of a chain whose names begin so."""
        for name, bell in self._bells.items():
            if self._chains[name] == chain and name.startswith(prefix):
                bell.set()

    async def wait(self, name: str, seconds: float) -> None:
        """Until the bell rings, but no longer than this."""
        bell = self._bells[name]
        await _set_or_late(bell, seconds)
        bell.clear()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What an engine works with; `open_parts` makes it from settings."""

    jobs: Sequence[Job[Any]]
    readers: Mapping[Chain, Reader]
    executors: Mapping[str, Executor]


class Engine:
    """One keeper: stands by until it leads, and leads until it is stopped or another one does."""

    def __init__(
        self,
        settings: Settings,
        database_url: str,
        parts: Parts,
        observer: Observer,
        *,
        wake_seconds: float = WAKE_SECONDS,
    ) -> None:
        self._database_url = database_url
        self._lease_seconds = settings.keeper.lease_seconds
        self._keep_days = settings.keeper.keep_days
        self._wake_seconds = wake_seconds
        self._jobs = {job.name: job for job in parts.jobs}
        self._readers = parts.readers
        self._observer = observer
        self._holder = lease.holder_name()
        self._serving = by_lane(settings, parts.executors)
        self._looks: dict[str, Look] = {}
        self._rates: Rates = {}
        policy = Policy(
            dry_run=settings.keeper_dry_run, min_profit=settings.keeper.min_profit, depths=settings.keeper.depths
        )
        self._accounts = [
            Account(
                name,
                settings.keeper.accounts[name],
                executor,
                hourly_budget=hourly_budget(settings, name),
                jobs=self._jobs,
                looks=self._looks,
                rates=lambda: self._rates,
                policy=policy,
                observer=observer,
            )
            for name, executor in parts.executors.items()
        ]

    async def run(self, stopping: asyncio.Event) -> None:
        """Until told to stop. Faults of the database end the leadership, and it is tried for again."""
        standing_by = False
        while not stopping.is_set():
            try:
                async with self._connection() as connection:
                    fence = await lease.acquire(connection, self._holder, self._lease_seconds)
                    if fence is None:
                        if not standing_by:
                            log.info("another keeper leads; standing by", holder=self._holder)
                            self._observer.leads(leading=False)
                        standing_by = True
                    else:
                        standing_by = False
                        await self._lead(connection, fence, stopping)
            except psycopg.OperationalError as error:
                log.warning("the database does not answer; trying again", reason=str(error).strip())
            except Exception:
                log.exception("leading ended in an error that nobody expected; trying again", holder=self._holder)
            await _set_or_late(stopping, STANDBY_SECONDS)

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        connection = await lease.connect(self._database_url, idle_seconds=self._lease_seconds)
        try:
            yield connection
        finally:
            await connection.close()

    async def _lead(self, connection: psycopg.AsyncConnection[Any], fence: int, stopping: asyncio.Event) -> None:
        log.info("leading", holder=self._holder, fence=fence, jobs=sorted(self._jobs))
        self._observer.leads(leading=True)
        self._looks.clear()
        try:
            async with self._connection() as writing:
                store = Store(writing, fence)
                async with store.writing() as first:
                    await intents.end_strays(first, list(self._jobs))
                await self._work(connection, store, stopping)
        except* LeaseLostError:
            log.warning("another keeper leads now; standing by", holder=self._holder, fence=fence)
        except* psycopg.OperationalError as errors:
            log.warning("the database went away", reason=str(errors.exceptions[0]).strip())
        finally:
            self._observer.leads(leading=False)
            with contextlib.suppress(psycopg.OperationalError):
                await lease.release(connection, fence)

    async def _work(self, connection: psycopg.AsyncConnection[Any], store: Store, stopping: asyncio.Event) -> None:
        bells = Bells()
        work: list[Coroutine[Any, Any, None]] = [self._hold(connection, store.fence)]
        for chain, reader in self._readers.items():
            work.append(_ring_on_blocks(reader, bells, chain))
        for job in self._jobs.values():
            chain = chain_read_by(job)
            bells.add(f"job {job.name}", chain)
            work.append(self._repeat(bells, f"job {job.name}", store, self._looking(store, job, bells)))
        for account in self._accounts:
            bells.add(f"account {account.name}", account.chain)
            work.append(self._repeat(bells, f"account {account.name}", store, self._turning(store, account)))
        if "stacks" in self._readers:
            bells.add("rates", "stacks")
            work.append(self._repeat(bells, "rates", store, self._rating(self._readers["stacks"])))
        if self._keep_days is not None:
            bells.add("retention", NO_CHAIN)
            work.append(self._repeat(bells, "retention", store, self._forgetting(store, self._keep_days)))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
            await _stopped_or_done(stopping, tasks)
            for task in tasks:
                task.cancel()

    async def _hold(self, connection: psycopg.AsyncConnection[Any], fence: int) -> None:
        """Renew the lease for as long as this keeper leads."""
        while True:
            await asyncio.sleep(self._lease_seconds / RENEWALS)
            if not await lease.renew(connection, fence, self._lease_seconds):
                raise LeaseLostError("the lease ran out and another keeper took it")

    async def _repeat(self, bells: Bells, name: str, store: Store, once: Callable[[], Awaitable[None]]) -> None:
        """Do something whenever its bell rings. What nobody expected is said, and tried again; a lost lease ends it."""
        while True:
            await bells.wait(name, self._wake_seconds)
            try:
                await once()
            except (LeaseLostError, psycopg.OperationalError):
                raise
            except Exception as error:
                if store.connection.closed:
                    raise psycopg.OperationalError(f"the connection was ended: {error}") from error
                log.exception("something failed that nobody expected; trying again", what=name)
                self._observer.failed(name, repr(error))

    def _looking(self, store: Store, job: Job[Any], bells: Bells) -> Callable[[], Awaitable[None]]:
        chain = chain_read_by(job)
        executor = self._serving.get((job.chain, job.lane))
        served = job.chain == "none" or executor is not None

        async def once() -> None:
            found = await look(job, self._readers[chain], self._observer)
            before = self._looks.get(job.name, NOT_YET)
            if found.error is not None and before.error in (None, NOT_YET.error):
                log.warning("a job cannot look at the chain; it tries on", job=job.name, reason=found.error)
            changed = before.error is not None
            if changed or before.due or found.due:
                if executor is not None:
                    await note_what_others_did(store, job, found, executor, self._observer)
                changed |= await store_look(store, job, found, self._observer, served=served)
            self._looks[job.name] = found
            if changed:
                bells.ring(chain, "account ")

        return once

    def _turning(self, store: Store, account: Account) -> Callable[[], Awaitable[None]]:
        said = ""

        async def once() -> None:
            nonlocal said
            try:
                await account.turn(store)
            except (ExecutorError, GraphError, SignerError) as error:
                if said != (said := str(error)):
                    log.warning("an account's turn ended early; it tries on", account=account.name, reason=said)
                self._observer.turn_failed(account.name, said)
            else:
                said = ""

        return once

    def _rating(self, reader: Reader) -> Callable[[], Awaitable[None]]:
        said = ""

        async def once() -> None:
            nonlocal said
            try:
                self._rates = await read_rates(reader)
            except GraphError as error:
                if said != (said := str(error)):
                    log.info("what tokens are worth cannot be read; it is tried on", reason=said)
            else:
                said = ""

        return once

    def _forgetting(self, store: Store, days: int) -> Callable[[], Awaitable[None]]:
        async def once() -> None:
            async with store.writing() as connection:
                gone = await retention.prune(connection, days)
            if gone:
                log.info("deleted what ended long ago", intents=gone, days=days)

        return once


async def _ring_on_blocks(reader: Reader, bells: Bells, chain: str) -> None:
    while True:
        try:
            async for _ in reader.new_blocks():
                bells.ring(chain)
        except Exception:
            log.exception("new blocks are not heard of; the timer wakes instead", chain=chain)
        await asyncio.sleep(WAKE_SECONDS)


async def _set_or_late(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


async def _stopped_or_done(stopping: asyncio.Event, tasks: Sequence[asyncio.Task[None]]) -> None:
    """Until told to stop, or one of the tasks ends, which none does but with an error."""
    waiting = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


@contextlib.asynccontextmanager
async def open_parts(settings: Settings, *, as_of: int | None = None) -> AsyncIterator[Parts]:
    """Readers, signers, executors and jobs by the settings, while the context lasts.

    ``as_of``: read the chain as of an earlier block of that height.

    Raises:
        ConfigurationError, JobsError, SignerError: something in the settings cannot be used.
    """
    async with contextlib.AsyncExitStack() as stack:
        readers: dict[Chain, Reader] = {}
        indexed: dict[Chain, bool] = {"stacks": bool(settings.sources), "bitcoin": bool(settings.bitcoin.sources)}
        for chain, is_indexed in indexed.items():
            if is_indexed or any(account.chain == chain for account in settings.keeper.accounts.values()):
                reader = reader_of(settings, chain=chain, as_of=as_of)
                readers[chain] = await stack.enter_async_context(reader)
        signers = await stack.enter_async_context(open_signers(settings))
        executors: dict[str, Executor] = {}
        for name, account in settings.keeper.accounts.items():
            opened = _opener(account.chain)(settings, name, signers[name], readers[account.chain])
            executors[name] = await stack.enter_async_context(opened)
        jobs = [job for job in load_jobs(_context(settings, executors)) if chain_read_by(job) in readers]
        yield Parts(jobs=jobs, readers=readers, executors=executors)


def _opener(chain: Chain) -> OpenExecutor:
    if chain == "stacks":
        return stacks.open_executor
    from clarion_keeper import zkusd  # loads Bitcoin's wallet library, which an account on Stacks does not need

    return zkusd.open_executor


def _context(settings: Settings, executors: Mapping[str, Executor]) -> JobContext:
    addresses: dict[Chain, dict[Lane, str]] = {"stacks": {}, "bitcoin": {}}
    for name, account in settings.keeper.accounts.items():
        for lane in account.lanes:
            addresses[account.chain][lane] = executors[name].address
    return JobContext(
        settings=settings,
        network=settings.network.constants,
        deployers=settings.deployers,
        addresses=addresses["stacks"],
        bitcoin_addresses=addresses["bitcoin"],
    )


async def run(
    settings: Settings, database_url: str, *, stopping: asyncio.Event, observer: Observer | None = None
) -> None:
    """Keep until ``stopping`` is set. The database is migrated already.

    Raises:
        ConfigurationError, JobsError, SignerError: something in the settings cannot be used.
    """
    async with open_parts(settings) as parts:
        log.info(
            "keeping",
            dry_run=settings.keeper_dry_run,
            accounts={name: executor.address for name, executor in parts.executors.items()},
            jobs=[job.name for job in parts.jobs],
        )
        await Engine(settings, database_url, parts, observer or Observer()).run(stopping)
