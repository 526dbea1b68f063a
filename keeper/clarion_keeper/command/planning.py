"""`clarion keeper plan`: what the keeper would do now. It reads, decides, plans and simulates as the engine does, and
neither writes nor signs anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from psycopg import AsyncConnection
from rich.console import Group, RenderableType

from clarion.config import KeeperAccount, Settings
from clarion_keeper.command.database import keeper_database
from clarion_keeper.command.text import listing, short, usd
from clarion_keeper.engine import Parts, open_parts
from clarion_keeper.executor import Declined, Draft, Executor, ExecutorError
from clarion_keeper.graph import GraphError, Receipt
from clarion_keeper.intents import Amount, Intent, Lane, Verdict
from clarion_keeper.job import Job, chain_read_by
from clarion_keeper.looking import Look, look
from clarion_keeper.observer import Observer
from clarion_keeper.planner import Batch, Means, Rule, gate, plan, urgency, work_of
from clarion_keeper.rates import BTC, STX, Rates, profit_usd8, read_rates
from clarion_keeper.store import accounts, controls, outgoing
from clarion_keeper.store.intents import Stored
from clarion_keeper.store.lease import connect

#: How long a statement of a look at the tables may leave its transaction open, in seconds.
IDLE_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """A transaction that would be signed now. ``fee`` in micro-STX or satoshis, ``profit_usd8`` in 10^-8 US dollars
    (None: it earns nothing, or nobody knows what the tokens are worth).
    """

    account: str
    lane: Lane
    job: str
    nonce: int | None
    contract: str
    function: str
    fee: int
    profit_usd8: int | None
    intents: tuple[Stored, ...]


@dataclass(frozen=True, slots=True)
class Waits:
    """An intent that would not be sent now, and why."""

    intent: Stored
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What would be done now, in order; what waits; what is under way already; what people have to look at."""

    dry_run: bool
    receipts: Mapping[str, Receipt]
    sends: tuple[Send, ...]
    waits: tuple[Waits, ...]
    under_way: tuple[Stored, ...]
    notices: tuple[Stored, ...]
    failed: Mapping[str, str]
    """Why a job could not look at the chain, or an account not at its nodes, by name."""


def preview(settings: Settings) -> Preview:
    """What a keeper with these settings would do now.

    Raises:
        ConfigurationError, JobsError, SignerError: something in the settings cannot be used.
    """
    with keeper_database(settings) as url:
        return asyncio.run(_preview(settings, url))


async def _preview(settings: Settings, database_url: str) -> Preview:
    async with open_parts(settings) as parts, await connect(database_url, idle_seconds=IDLE_SECONDS) as connection:
        return await preview_with(settings, parts, connection)


async def preview_with(settings: Settings, parts: Parts, connection: AsyncConnection[Any]) -> Preview:
    """The same with jobs, readers and executors that are at hand. ``connection`` is in autocommit mode."""
    await connection.set_read_only(True)
    found = await asyncio.gather(*(look(job, parts.readers[chain_read_by(job)], Observer()) for job in parts.jobs))
    looks = {job.name: one for job, one in zip(parts.jobs, found, strict=True)}
    return await _Planner(settings, parts, looks, connection).preview()


class _Planner:
    """Plans on what the jobs have just found, with what the tables say of what is under way."""

    def __init__(
        self, settings: Settings, parts: Parts, looks: Mapping[str, Look], connection: AsyncConnection[Any]
    ) -> None:
        self._settings = settings
        self._parts = parts
        self._looks = looks
        self._connection = connection
        self._jobs = {job.name: job for job in parts.jobs}
        self._sends: list[Send] = []
        self._waits: list[Waits] = []
        self._failed = {name: found.error for name, found in looks.items() if found.error is not None}

    async def preview(self) -> Preview:
        """Everything."""
        due = await self._due()
        rates = await self._rates()
        paused = await controls.paused(self._connection)
        held = {one.entity: cause for one, cause in self._holding(due)}
        served: set[tuple[str, Lane]] = set()
        for name, executor in self._parts.executors.items():
            account = self._settings.keeper.accounts[name]
            served |= {(account.chain, lane) for lane in account.lanes}
            candidates = [one for one in due if one.chain == account.chain and one.state == "planned"]
            try:
                await self._account(name, account, executor, candidates, rates, paused, held)
            except (ExecutorError, GraphError) as error:
                self._failed[f"account {name}"] = str(error)
        for one in due:
            if one.state == "planned" and one.chain != "none" and (one.chain, one.lane) not in served:
                self._waits.append(Waits(one, f"no account serves the lane {one.lane.value} on {one.chain}"))
        return Preview(
            dry_run=self._settings.keeper_dry_run,
            receipts=self._receipts(),
            sends=tuple(sorted(self._sends, key=lambda send: urgency(send.intents[0]))),
            waits=tuple(sorted(self._waits, key=lambda waits: urgency(waits.intent))),
            under_way=tuple(sorted((one for one in due if one.state == "sent"), key=urgency)),
            notices=tuple(sorted((one for one in due if one.chain == "none"), key=urgency)),
            failed=self._failed,
        )

    def _receipts(self) -> dict[str, Receipt]:
        receipts: dict[str, Receipt] = {}
        for name, found in self._looks.items():
            chain = chain_read_by(self._jobs[name])
            if found.receipt is not None and found.receipt.sequence >= getattr(receipts.get(chain), "sequence", 0):
                receipts[chain] = found.receipt
        return receipts

    async def _due(self) -> list[Stored]:
        """What is due now, as the engine would store it; what is open already keeps its age and its transaction."""
        cursor = await self._connection.execute(
            "SELECT key, id, state, first_burn, outgoing_id FROM keeper.intent WHERE state IN ('planned', 'sent')"
        )
        known = {key: rest for key, *rest in await cursor.fetchall()}
        due: list[Stored] = []
        for name, found in self._looks.items():
            if found.receipt is not None:
                due += [
                    _stored(self._jobs[name], intent, found.receipt, known.get(intent.key), -len(due) - number)
                    for number, intent in enumerate(found.due.values(), start=1)
                ]
        return due

    def _holding(self, due: Sequence[Stored]) -> list[tuple[Stored, str]]:
        return [
            (one, self._looks[one.job].due[one.key].cause) for one in due if self._jobs[one.job].holds and one.entity
        ]

    async def _rates(self) -> Rates:
        reader = self._parts.readers.get("stacks")
        try:
            return {} if reader is None else await read_rates(reader)
        except GraphError as error:
            self._failed["rates"] = str(error)
            return {}

    async def _account(
        self,
        name: str,
        account: KeeperAccount,
        executor: Executor,
        candidates: Sequence[Stored],
        rates: Rates,
        paused: Mapping[str, str],
        held: Mapping[str, str],
    ) -> None:
        live = await outgoing.live(self._connection, name)
        room = await executor.room(live)
        means = Means(
            name=name,
            lanes=tuple(account.lanes),
            slots=len(room.nonces),
            balance=room.balance,
            min_balance=account.min_balance,
            hourly_budget=account.hourly_budget,
            spent=await accounts.spent_last_hour(self._connection, name),
        )
        receipt = self._receipts().get(account.chain)
        if receipt is None:
            return
        made = plan(
            candidates,
            rules=self._rules(paused),
            means=means,
            burn_height=receipt.burn_height,
            held=held,
            sequence=max(one.decided_sequence for one in candidates) if candidates else 0,
        )
        by_id = {one.id: one for one in candidates}
        self._waits += [Waits(by_id[id_], reason) for id_, reason in made.waiting.items()]
        free = list(room.nonces)
        for batch in made.batches:
            nonce = free[0]
            draft, left = await self._draft(executor, batch, receipt, nonce)
            if draft is None:
                continue
            fee = Amount(token=BTC if account.chain == "bitcoin" else STX, amount=draft.fee + draft.costs)
            rewards = tuple(one.reward for one in left if one.reward is not None)
            reason = gate(
                rewards=rewards,
                fee=fee,
                means=means,
                rates=rates,
                min_profit=self._settings.keeper.min_profit,
                taken=draft.taken,
            )
            if reason is not None:
                self._waits += [Waits(one, reason) for one in left]
                continue
            free.pop(0)
            means = replace(means, spent=means.spent + fee.amount, balance=means.balance - fee.amount)
            self._sends.append(
                Send(
                    account=name,
                    lane=batch.lane,
                    job=batch.job,
                    nonce=nonce,
                    contract=draft.contract,
                    function=draft.function,
                    fee=fee.amount,
                    profit_usd8=profit_usd8(rewards, fee, rates) if rewards else None,
                    intents=tuple(left),
                )
            )

    async def _draft(
        self, executor: Executor, batch: Batch, receipt: Receipt, nonce: int | None
    ) -> tuple[Draft | None, list[Stored]]:
        """The simulated transaction with what of the batch would succeed."""
        left = list(batch.intents)
        while left:
            work = work_of(self._jobs[batch.job], left)
            answer = await executor.draft(work, receipt, nonce=nonce)
            if isinstance(answer, Declined) and answer.too_large and len(left) > 1:
                half = len(left) // 2
                self._waits += [Waits(one, "left for a further transaction") for one in left[half:]]
                left = left[:half]
                continue
            outcomes = list(zip(left, answer.outcomes, strict=bool(answer.outcomes)))
            refused = {
                one.id: outcome
                for one, outcome in outcomes
                if isinstance(answer, Declined) or outcome.benign or outcome.verdict is not Verdict.DONE
            }
            self._waits += [Waits(one, f"simulated: {refused[one.id].reason}") for one in left if one.id in refused]
            if isinstance(answer, Draft) and not refused:
                return answer, left
            if isinstance(answer, Declined):
                break
            left = [one for one in left if one.id not in refused]
        return None, []

    def _rules(self, paused: Mapping[str, str]) -> dict[str, Rule]:
        everything = paused.get(controls.EVERYTHING)
        return {
            job.name: Rule(
                name=job.name,
                batch_size=job.batch_size,
                group=job.group,
                depth=self._settings.keeper.depths.get(job.name, job.depth),
                paused=everything if everything is not None else paused.get(job.name),
            )
            for job in self._parts.jobs
        }


def _stored(job: Job[Any], intent: Intent, receipt: Receipt, known: Sequence[Any] | None, new_id: int) -> Stored:
    id_, state, first_burn, outgoing_id = known or (new_id, "planned", receipt.burn_height, None)
    return Stored(
        id=id_,
        key=intent.key,
        job=job.name,
        lane=job.lane,
        chain=job.chain,
        item=intent.item,
        state=state,
        value_usd8=intent.value_usd8,
        reward=intent.reward,
        deadline_burn=intent.deadline_burn,
        entity=intent.entity,
        decided_sequence=receipt.sequence,
        first_burn=min(first_burn, receipt.burn_height),
        outgoing_id=outgoing_id,
        waiting=None,
    )


def preview_json(found: Preview) -> dict[str, Any]:
    """For programs: money as digits."""
    return {
        "dry_run": found.dry_run,
        "blocks": {
            chain: {"height": receipt.height, "hash": receipt.hash, "burn_height": receipt.burn_height}
            for chain, receipt in sorted(found.receipts.items())
        },
        "sends": [
            {
                "account": send.account,
                "lane": send.lane.value,
                "job": send.job,
                "nonce": None if send.nonce is None else str(send.nonce),
                "contract": send.contract,
                "function": send.function,
                "fee": str(send.fee),
                "profit_usd8": None if send.profit_usd8 is None else str(send.profit_usd8),
                "intents": [one.key for one in send.intents],
            }
            for send in found.sends
        ],
        "waits": [
            {"key": waits.intent.key, "job": waits.intent.job, "lane": waits.intent.lane.value, "reason": waits.reason}
            for waits in found.waits
        ],
        "under_way": [one.key for one in found.under_way],
        "notices": [one.key for one in found.notices],
        "failed": dict(sorted(found.failed.items())),
    }


def preview_view(found: Preview) -> RenderableType:
    """For people."""
    title = "would be signed" if found.dry_run else "to be signed"
    title = f"{len(found.sends)} transactions {title}, in this order"
    sends = listing(title, "lane", "account", "nonce", "fee", "profit", wide="for")
    for send in found.sends:
        about = ", ".join(one.entity or one.key for one in send.intents)
        sends.add_row(
            send.lane.value,
            send.account,
            "-" if send.nonce is None else str(send.nonce),
            str(send.fee),
            "-" if send.profit_usd8 is None else usd(send.profit_usd8),
            short(f"{send.job}: {about}"),
        )
    waits = listing(f"{len(found.waits)} intents wait", "lane", "job", wide="what, and why")
    for one in found.waits:
        waits.add_row(
            one.intent.lane.value, one.intent.job, short(f"{one.intent.entity or one.intent.key}: {one.reason}")
        )
    notes = [f"under way: {', '.join(one.key for one in found.under_way)}"] if found.under_way else []
    notes += [f"to look at: {one.key}" for one in found.notices]
    notes += [f"{name}: {reason}" for name, reason in sorted(found.failed.items())]
    return Group(sends, *([waits] if found.waits else []), *map(short, notes))
