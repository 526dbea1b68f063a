"""Looking: each job reads the chain at one block and says what is due; the difference is stored.

Every job looks for itself: one that is slow, or that fails, delays and stops no other.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
import structlog

from clarion_keeper.executor import Executor, ExecutorError
from clarion_keeper.graph import GraphError, MovedError, NothingIndexedError, Reader, Receipt
from clarion_keeper.intents import Intent, Outcome
from clarion_keeper.job import Job
from clarion_keeper.observer import Observer
from clarion_keeper.planner import Rule, batched, work_of
from clarion_keeper.store import intents
from clarion_keeper.store.lease import LeaseLostError, Store

log = structlog.get_logger()

#: How often a job reads again because a block came while it read.
READS: Final = 5
#: How long a job may take to read.
READ_SECONDS: Final = 60.0
#: How long the chain is asked what others did, while what is due waits to be stored.
OTHERS_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Look:
    """What a job found the last time. ``error``: why it is not to be acted on; None where it is."""

    receipt: Receipt | None = None
    due: Mapping[str, Intent] = field(default_factory=dict)
    error: str | None = None


NOT_YET: Final = Look(error="it has not looked at the chain yet")
"""Before a job's first look."""


class InvalidIntentsError(Exception):
    """A job's check gave intents that cannot be kept apart, or another job's."""


async def look(job: Job[Any], reader: Reader, observer: Observer) -> Look:
    """Let a job read and check. Whatever it raises becomes the look's error."""
    began = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(READ_SECONDS):
            receipt, due = await _read_and_check(job, reader, observer)
    except NothingIndexedError:
        return Look(error="nothing is indexed yet")
    except TimeoutError:
        reason = f"its look at the chain took more than {READ_SECONDS:g} seconds"
    except GraphError as error:
        reason = str(error)
    except (LeaseLostError, psycopg.OperationalError):
        raise
    except Exception as error:
        log.exception("a job cannot look at the chain", job=job.name)
        reason = repr(error)
    else:
        observer.looked(job.name, len(due), asyncio.get_running_loop().time() - began)
        return Look(receipt, due)
    observer.look_failed(job.name, reason)
    return Look(error=f"the last look at the chain failed: {reason}")


async def _read_and_check(job: Job[Any], reader: Reader, observer: Observer) -> tuple[Receipt, dict[str, Intent]]:
    for reads in range(1, READS + 1):
        try:
            state = await job.read(reader)
        except MovedError:
            if reads == READS:
                raise
            continue
        break
    await observer.stage("read", job.name)
    # a long calculation must not keep the lease from being renewed
    due = await asyncio.to_thread(job.check, state)
    _check_intents(job, due)
    return state.receipt, {intent.key: intent for intent in due}


def _check_intents(job: Job[Any], due: Sequence[Intent]) -> None:
    twice = [key for key, count in Counter(intent.key for intent in due).items() if count > 1]
    if twice:
        raise InvalidIntentsError(f"{job.name} gives {twice[0]} twice: a key stands for one thing")
    for intent in due:
        job.group(intent.item)  # a mistake in it is this job's, and not that of the account which plans with it
    if strangers := [intent for intent in due if intent.job != job.name]:
        raise InvalidIntentsError(f"{job.name} gives an intent of the job {strangers[0].job}")


async def note_what_others_did(
    store: Store, job: Job[Any], looked: Look, executor: Executor, observer: Observer
) -> None:
    """Ask the chain what became of planned intents that a look does not find due any more, before it is stored.

    What somebody else did is noted, and so ends as done. What the chain is not sure of, or does not say in time, is
    left to be cancelled.
    """
    if looked.receipt is None:
        return
    async with store.reading() as connection:
        gone = await intents.no_longer_due(connection, job.name, list(looked.due))
    done: dict[int, Outcome] = {}
    try:
        async with asyncio.timeout(OTHERS_SECONDS):
            rule = Rule(name=job.name, batch_size=job.batch_size, group=job.group)
            for batch in batched(gone, {job.name: rule}):
                outcomes = await executor.over(work_of(job, batch.intents))
                told = zip(batch.intents, outcomes, strict=True)
                done |= {intent.id: outcome for intent, outcome in told if outcome is not None}
    except (TimeoutError, ExecutorError) as error:
        log.info("what became of some intents is not known", job=job.name, reason=str(error) or "it took too long")
    except Exception as error:
        log.exception("what became of some intents cannot be told", job=job.name)
        observer.failed(f"job {job.name}", repr(error))
    if done:
        async with store.writing() as connection:
            await intents.simulated(connection, done)


async def store_look(store: Store, job: Job[Any], looked: Look, observer: Observer, *, served: bool = True) -> bool:
    """Store what a look found; gives whether something is new or gone.

    ``served``: whether an account has the job's lane; what nobody sends waits with that reason.
    """
    if looked.receipt is None:
        return False
    async with store.writing() as connection:
        decided = await intents.decide(
            connection,
            job=job.name,
            lane=job.lane,
            chain=job.chain,
            due=list(looked.due.values()),
            receipt=looked.receipt,
        )
        if not served:
            await intents.wait_all(connection, job.name, f"no account serves the lane {job.lane.value} on {job.chain}")
    await observer.stage("decided", job.name)
    if decided.new or decided.cancelled:
        log.info(
            "decided",
            job=job.name,
            new=decided.new,
            no_longer_due=decided.cancelled,
            height=looked.receipt.height,
            burn_height=looked.receipt.burn_height,
        )
    return bool(decided.new or decided.cancelled)
