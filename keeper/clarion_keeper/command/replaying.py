"""`clarion keeper replay`: what the jobs would have decided at an earlier block. Pure, so always the same answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from clarion.chains.model import Chain
from clarion.config import Settings
from clarion_keeper.command.database import keeper_database, remembered_context
from clarion_keeper.command.text import listing, short
from clarion_keeper.graph import GraphError, Reader, Receipt, reader_of
from clarion_keeper.intents import Intent, Lane
from clarion_keeper.job import Job, chain_read_by, load_jobs


class ReplayError(RuntimeError):
    """The block cannot be read; the message says why."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What one job would have decided. ``skipped``: why it was not asked; empty where it was."""

    job: str
    lane: Lane
    due: tuple[Intent, ...] = ()
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class Replay:
    """What all jobs would have decided at a block."""

    chain: Chain
    receipt: Receipt
    jobs: tuple[Decided, ...]


def replay_block(settings: Settings, chain: Chain, height: int) -> Replay:
    """Ask every job of a chain about one of its blocks. Raises ReplayError."""
    with keeper_database(settings) as url:
        return asyncio.run(_replay(settings, url, chain, height))


async def _replay(settings: Settings, database_url: str, chain: Chain, height: int) -> Replay:
    jobs = load_jobs(await remembered_context(settings, database_url))
    async with AsyncExitStack() as stack:
        reader = await stack.enter_async_context(reader_of(settings, chain=chain, as_of=height))
        try:
            receipt = await reader.tip()
        except GraphError as error:
            raise ReplayError(f"Block {height} of {chain} cannot be read: {error}") from error
        asked = [job for job in jobs if chain_read_by(job) == chain]
        decided = [await _decide(job, reader) for job in sorted(asked, key=lambda job: (job.lane.rank, job.name))]
    return Replay(chain, receipt, tuple(decided))


async def _decide(job: Job[Any], reader: Reader) -> Decided:
    if not job.replayable:
        return Decided(job.name, job.lane, skipped="it looks at more than the chain")
    try:
        due = job.check(await job.read(reader))
    except GraphError as error:
        return Decided(job.name, job.lane, skipped=str(error))
    ordered = sorted(due, key=lambda intent: (-intent.value_usd8, intent.key))
    return Decided(job.name, job.lane, tuple(ordered))


def replay_json(replayed: Replay) -> dict[str, Any]:
    """For programs: the same for the same block, byte for byte."""
    receipt = replayed.receipt
    return {
        "block": {
            "chain": replayed.chain,
            "height": receipt.height,
            "hash": receipt.hash,
            "burn_height": receipt.burn_height,
        },
        "jobs": [
            {
                "job": decided.job,
                "lane": decided.lane.value,
                "skipped": decided.skipped or None,
                "due": [_intent_json(intent) for intent in decided.due],
            }
            for decided in replayed.jobs
        ],
    }


def _intent_json(intent: Intent) -> dict[str, Any]:
    reward = intent.reward
    return {
        "key": intent.key,
        "entity": intent.entity,
        "cause": intent.cause,
        "value_usd8": str(intent.value_usd8),
        "reward": None if reward is None else {"token": reward.token, "amount": str(reward.amount)},
        "deadline_burn": intent.deadline_burn,
        "item": dict(sorted(intent.item.items())),
    }


def replay_view(replayed: Replay) -> RenderableType:
    """For people."""
    receipt = replayed.receipt
    burn = f", Bitcoin block {receipt.burn_height}" if replayed.chain == "stacks" else ""
    table = listing(
        f"{replayed.chain} block {receipt.height} {receipt.hash}{burn}", "lane", "job", wide="what, and why"
    )
    for decided in replayed.jobs:
        for intent in decided.due:
            what = f"{intent.entity or intent.key}: {intent.cause}"
            table.add_row(decided.lane.value, decided.job, short(what))
    return Group(table, *_notes(replayed.jobs))


def _notes(jobs: Sequence[Decided]) -> list[Text]:
    quiet = ", ".join(decided.job for decided in jobs if not decided.due and not decided.skipped)
    notes = [Text(f"{decided.job} was not asked: {decided.skipped}") for decided in jobs if decided.skipped]
    return [Text(f"nothing due: {quiet}"), *notes] if quiet else notes
