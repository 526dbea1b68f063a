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

from clarion_keeper.graph import GraphError, MovedError, NothingIndexedError, Reader, Receipt
from clarion_keeper.intents import Intent
from clarion_keeper.job import Job
from clarion_keeper.observer import Observer
from clarion_keeper.store import intents
from clarion_keeper.store.lease import LeaseLostError, Store

log = structlog.get_logger()

#: How often a job reads again because a block came while it read.
READS: Final = 5
#: How long a job may take to read.
READ_SECONDS: Final = 60.0


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
