"""One account's turn: follow what it sent, send again, replace what is stuck, and sign what is planned.

Every turn is complete in itself: whatever interrupts it, the next one, of this keeper or of another, goes on from what
is stored. Bytes are stored before they are sent, and an intent is bound to its transaction in the same write.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import psycopg
import structlog

from clarion.config import KeeperAccount
from clarion_keeper.executor import (
    Attempt,
    Broadcast,
    Declined,
    Draft,
    Executor,
    ExecutorError,
    Fate,
    Outgoing,
    Seen,
    Signed,
    Taken,
    Work,
)
from clarion_keeper.graph import Receipt
from clarion_keeper.intents import Amount, Outcome, Verdict
from clarion_keeper.job import Job
from clarion_keeper.looking import NOT_YET, Look
from clarion_keeper.observer import Observer
from clarion_keeper.planner import RESERVED_SLOTS, Batch, Means, Rule, gate, no_slot, plan
from clarion_keeper.rates import BTC, STX, Rates
from clarion_keeper.signers import SigningRefusedError
from clarion_keeper.store import accounts, controls, intents, outgoing, steps
from clarion_keeper.store.intents import Stored
from clarion_keeper.store.lease import LeaseLostError, Store
from clarion_keeper.store.outgoing import OvertakenError, Slot

log = structlog.get_logger()

#: How many batches are simulated at once.
DRAFTS_AT_ONCE: Final = 8
#: For how long what simulation or signer declined is not tried again while no block comes.
DECLINED_SECONDS: Final = 10.0
#: For how long an account signs before it looks at the chain again.
SIGN_SECONDS: Final = 10.0
#: Statuses of a transaction that ran and answered.
ANSWERED: Final = frozenset({"success", "abort_by_response"})
COINS: Final = {"stacks": STX, "bitcoin": BTC}


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the settings say of all accounts. ``min_profit`` in 10^-8 US dollars."""

    dry_run: bool = False
    min_profit: int | None = 0
    depths: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class _Ready:
    batch: Batch
    work: Work
    draft: Draft


class Account:
    """One account at work. ``looks`` and ``rates`` are what the engine knows at the moment."""

    def __init__(
        self,
        name: str,
        settings: KeeperAccount,
        executor: Executor,
        *,
        jobs: Mapping[str, Job[Any]],
        looks: Mapping[str, Look],
        rates: Callable[[], Rates],
        policy: Policy,
        observer: Observer,
    ) -> None:
        self.name: Final = name
        self.chain: Final = settings.chain
        self._settings = settings
        self._executor = executor
        self._jobs = jobs
        self._looks = looks
        self._rates = rates
        self._policy = policy
        self._observer = observer
        self._most_in_a_batch: dict[str, int] = {}
        self._stopped: set[str] = set()
        self._declined: dict[int, tuple[str, float]] = {}

    async def turn(self, store: Store) -> None:
        """Once through everything.

        Raises:
            ExecutorError, SignerError: nodes or signer do not answer.
            LeaseLostError: another keeper leads.
        """
        self._stopped.clear()
        receipt, wanted = await self._follow(store)
        async with store.reading() as connection:
            paused = await controls.paused(connection)
        if not self._policy.dry_run and controls.EVERYTHING not in paused:
            if not await self._send_again(store, wanted, receipt):
                return
            await self._replace(store, wanted, paused, receipt)
        await self._sign_planned(store, paused, receipt)

    # following

    async def _follow(self, store: Store) -> tuple[Receipt, set[int]]:
        """Bring every unfinished transaction up to what the chain says; gives those that no node holds any more."""
        async with store.reading() as connection:
            live = await outgoing.live(connection, self.name)
        seen, receipt = await self._executor.follow(live)
        await self._observer.stage("followed")
        dropped: set[int] = set()
        unchanged: list[int] = []
        for one in live:
            found = seen.get(one.id)
            if found is None or found.fate is Fate.UNKNOWN:
                continue
            if _is_known(one, found) and not found.final:
                unchanged.append(one.id)
                continue
            await self._apply(store, one, found, receipt)
            if found.fate is Fate.DROPPED:
                dropped.add(one.id)
        async with store.writing() as connection:
            await outgoing.seen_at(connection, unchanged, receipt)
        await self._observer.stage("applied")
        return receipt, dropped

    async def _apply(self, store: Store, one: Outgoing, seen: Seen, receipt: Receipt) -> None:
        about = {"account": self.name, "job": one.job, "nonce": one.nonce}
        if one.state == "mined" and not _is_known(one, seen):
            log.info("its block is not canonical any more", outgoing=one.id, height=one.block_height, **about)
            async with store.writing() as connection:
                await outgoing.orphaned(connection, one, receipt)
            self._observer.lost(self.name, one.job, seen.fate, "reorg")
        if seen.fate is Fate.MINED:
            if not _is_known(one, seen):
                await self._mined(store, one, seen, receipt)
            if seen.final:
                async with store.writing() as connection:
                    await outgoing.final(connection, one)
        elif seen.fate is Fate.DISPLACED:
            log.warning("displaced", reason=seen.reason, **about)
            verdict = Verdict.DONE if seen.benign else Verdict.AGAIN
            async with store.writing() as connection:
                outcome = Outcome(verdict, seen.reason, benign=seen.benign)
                await outgoing.rejected(connection, one, outcome, "displaced")
            self._observer.lost(self.name, one.job, seen.fate, seen.reason)
        elif seen.fate is Fate.PENDING and one.state == "signed":
            async with store.writing() as connection:
                await outgoing.answered(connection, one, one.newest, Broadcast(taken=Taken.SENT))

    async def _mined(self, store: Store, one: Outgoing, seen: Seen, receipt: Receipt) -> None:
        assert seen.tx_id is not None
        async with store.writing() as connection:
            ids = await outgoing.of_attempt(connection, seen.tx_id)
            carried = await intents.by_ids(connection, ids)
            outcomes = self._outcomes(one, seen, carried)
            left_out = [id_ for id_ in await outgoing.carried(connection, one.id) if id_ not in set(ids)]
            by_id = dict(zip(ids, outcomes, strict=True))
            await outgoing.mined(connection, one, seen, by_id, left_out, receipt)
            failed = [outcome for outcome in outcomes if outcome.verdict is Verdict.FAILED]
            if failed:
                await controls.pause(connection, one.job, _stopped(failed[0], f"transaction 0x{seen.tx_id.hex()}"))
        for (verdict, reason), count in Counter((o.verdict, o.reason) for o in outcomes).items():
            log.info(
                "mined",
                tx=f"0x{seen.tx_id.hex()}",
                job=one.job,
                height=seen.height,
                fee=seen.fee,
                verdict=verdict.value,
                reason=reason,
                intents=count,
            )
        self._observer.mined(self.name, seen.fee, list(zip(carried, outcomes, strict=True)))
        if failed:
            self._say_stopped(one.job, failed[0].reason)

    def _outcomes(self, one: Outgoing, seen: Seen, carried: Sequence[Stored]) -> list[Outcome]:
        if not carried:
            return []
        if seen.status not in ANSWERED:
            return [Outcome(Verdict.FAILED, f"transaction ended {seen.status} {seen.reason}".rstrip()) for _ in carried]
        job = self._jobs.get(one.job)
        if job is None:
            return [Outcome(Verdict.DONE, "mined; its job is not enabled") for _ in carried]
        try:
            outcomes = list(job.outcomes([intent.item for intent in carried], seen.result))
        except Exception as error:
            log.exception("a job cannot tell what became of its intents", job=one.job)
            return [Outcome(Verdict.FAILED, f"mined, and its job cannot tell what that means: {error!r}")] * len(
                carried
            )
        if len(outcomes) != len(carried):
            return [Outcome(Verdict.FAILED, f"{len(outcomes)} outcomes for {len(carried)} intents")] * len(carried)
        return outcomes

    # sending again and replacing

    async def _send_again(self, store: Store, wanted: set[int], receipt: Receipt) -> bool:
        """Send stored bytes that no node is known to have. False where sending must wait. Adds to ``wanted``."""
        async with store.reading() as connection:
            live = await outgoing.live(connection, self.name)
        for one in live:
            attempt = _to_send(one)
            if one.state == "mined" or (one.state != "signed" and one.id not in wanted):
                continue
            if attempt is None:
                wanted.add(one.id)
                continue
            answer = await self._send(store, one, attempt)
            if answer.taken is Taken.SENT:
                wanted.discard(one.id)
            elif answer.taken is Taken.REPLACE:
                wanted.add(one.id)
            elif answer.taken is Taken.STOP:
                await self._give_up(store, one, answer.reason, receipt)
            elif answer.taken is Taken.LATER:
                return False
        return True

    async def _send(self, store: Store, one: Outgoing, attempt: Attempt, stage: str = "") -> Broadcast:
        answer = await self._executor.broadcast(attempt)
        await self._observer.stage(f"{stage}sent")
        async with store.writing() as connection:
            await outgoing.answered(connection, one, attempt, answer)
        await self._observer.stage(f"{stage}answered")
        about = {"tx": f"0x{attempt.tx_id.hex()}", "job": one.job, "nonce": one.nonce, "fee": attempt.fee}
        if answer.taken is not Taken.SENT:
            log.warning("not taken", answer=answer.taken.value, reason=answer.reason, **about)
        elif attempt.state == "signed":
            log.info("sent", nodes=len(answer.nodes), **about)
        return answer

    async def _give_up(self, store: Store, one: Outgoing, reason: str, receipt: Receipt) -> None:
        """It can never be mined: stop its job. Its nonce is filled where later ones wait for it."""
        outcome = Outcome(Verdict.FAILED, reason)
        async with store.reading() as connection:
            live = await outgoing.live(connection, self.name)
        if one.nonce is not None and any(other.nonce is not None and other.nonce > one.nonce for other in live):
            draft = await self._executor.replacement(one, None, receipt, wanted=True)
            if isinstance(draft, Draft):
                await self._sign_replacement(store, one, draft, None, receipt, reason)
            async with store.writing() as connection:
                ids = await outgoing.carried(connection, one.id)
                await intents.end(connection, dict.fromkeys(ids, outcome))
                await controls.pause(connection, one.job, _stopped(outcome, f"outgoing {one.id}"))
        else:
            async with store.writing() as connection:
                await outgoing.rejected(connection, one, outcome)
                await controls.pause(connection, one.job, _stopped(outcome, f"outgoing {one.id}"))
        self._say_stopped(one.job, reason)

    async def _replace(self, store: Store, wanted: set[int], paused: Mapping[str, str], receipt: Receipt) -> None:
        """Replace what is stuck, with what of it is still due; where nothing is, free its slot."""
        async with store.reading() as connection:
            live = await outgoing.live(connection, self.name)
        for one in sorted(live, key=lambda one: (one.lane.rank, one.nonce or 0, one.id)):
            if one.state == "mined":
                continue
            async with store.reading() as connection:
                carried = await intents.by_ids(connection, await outgoing.carried(connection, one.id))
            work, due = self._still_due(one, carried, paused)
            try:
                draft = await self._executor.replacement(one, work, receipt, wanted=one.id in wanted)
                if isinstance(draft, Declined):
                    work, due = None, []
                    draft = await self._executor.replacement(one, None, receipt, wanted=one.id in wanted)
            except ExecutorError as error:
                log.warning("whether to replace it cannot be told", outgoing=one.id, job=one.job, reason=str(error))
                continue
            if not isinstance(draft, Draft):
                continue
            await self._observer.stage("replacement drafted")
            if reason := await self._gate_replacement(store, one, draft, due):
                log.warning("not replaced", outgoing=one.id, job=one.job, nonce=one.nonce, reason=reason)
                continue
            why = "dropped, or its fee is too low" if one.id in wanted else "not mined for long"
            await self._sign_replacement(store, one, draft, work, receipt, why, [intent.id for intent in due])

    def _still_due(
        self, one: Outgoing, carried: Sequence[Stored], paused: Mapping[str, str]
    ) -> tuple[Work | None, list[Stored]]:
        job, looked = self._jobs.get(one.job), self._looks.get(one.job)
        if job is None or one.job in paused:
            return None, []
        if looked is None or looked.error is not None:
            due = list(carried)
        else:
            due = [intent for intent in carried if intent.key in looked.due]
        return (_work(job, due), due) if due else (None, [])

    async def _gate_replacement(self, store: Store, one: Outgoing, draft: Draft, due: Sequence[Stored]) -> str | None:
        async with store.reading() as connection:
            live = await outgoing.live(connection, self.name)
            spent = await accounts.spent_last_hour(connection, self.name)
        room = await self._executor.room(live)
        means = self._means(room.balance, len(room.nonces), spent)
        return gate(
            rewards=_rewards(due),
            fee=Amount(token=COINS[self.chain], amount=draft.fee + draft.costs),
            means=means,
            rates=self._rates(),
            min_profit=self._policy.min_profit,
            reserved=one.newest.fee,
        )

    async def _sign_replacement(
        self,
        store: Store,
        one: Outgoing,
        draft: Draft,
        work: Work | None,
        receipt: Receipt,
        reason: str,
        ids: Sequence[int] = (),
    ) -> None:
        try:
            if work is None:
                signed = await self._executor.sign_release(draft, one)
            else:
                signed = await self._executor.sign(draft, work, nonce=one.nonce)
        except ExecutorError as error:
            log.warning("not replaced", outgoing=one.id, job=one.job, nonce=one.nonce, reason=str(error))
            return
        except SigningRefusedError as error:
            log.error("the signer refuses to replace a transaction", outgoing=one.id, job=one.job, reason=str(error))
            self._observer.refused(self.name, one.job, str(error))
            return
        await self._observer.stage("replacement signed")
        async with store.writing() as connection:
            await outgoing.store_replacement(connection, one, signed, ids, receipt, reason)
            (stored,) = await outgoing.by_ids(connection, [one.id])
        await self._observer.stage("replacement stored")
        self._observer.signed(self.name, one.lane, one.job, fee=signed.fee, attempt=stored.newest.number)
        log.info("replaced", job=one.job, nonce=one.nonce, fee=signed.fee, attempt=stored.newest.number, reason=reason)
        await self._send(store, stored, stored.newest, "replacement ")

    # signing what is planned

    async def _sign_planned(self, store: Store, paused: Mapping[str, str], receipt: Receipt) -> None:
        async with store.reading() as connection:
            live = await outgoing.live(connection, self.name)
            candidates = await intents.planned(connection, self.chain)
            spent = await accounts.spent_last_hour(connection, self.name)
            held = await intents.held_entities(connection, [job.name for job in self._jobs.values() if job.holds])
        room = await self._executor.room(live)
        means = self._means(room.balance, len(room.nonces), spent)
        self._observer.account(means, sum(one.state != "mined" for one in live))
        async with store.writing() as connection:
            await accounts.save(
                connection,
                name=self.name,
                sender=self._executor.address,
                chain=self.chain,
                lanes=[lane.value for lane in self._settings.lanes],
                balance=room.balance,
                nonce=room.confirmed,
                spent=spent,
            )
        candidates = self._not_declined(candidates, receipt)
        # Room is looked at when a batch is signed: one that is declined takes nobody's place.
        everybody = replace(means, slots=len(candidates) + RESERVED_SLOTS * len(means.lanes))
        made = plan(
            candidates,
            rules=self._rules(paused),
            means=everybody,
            burn_height=receipt.burn_height,
            held=held,
            sequence=receipt.sequence,
        )
        async with store.writing() as connection:
            await intents.wait(connection, made.waiting)
        left = await self._sign_batches(store, list(made.batches), list(room.nonces), means, receipt)
        async with store.writing() as connection:
            await intents.wait(connection, {intent.id: reason for batch, reason in left for intent in batch.intents})

    async def _sign_batches(
        self, store: Store, batches: list[Batch], free: list[int | None], means: Means, receipt: Receipt
    ) -> list[tuple[Batch, str]]:
        """Draft batches, as many at once as may be simulated, and sign them; gives those that there is no room for.

        Each that is signed takes the first of the ``free`` nonces away. After a while the rest waits for the next turn:
        the account's transactions are to be followed too.
        """
        clock = asyncio.get_running_loop().time
        until = clock() + SIGN_SECONDS
        while batches and no_slot(means, batches[0].lane) is None:
            if clock() > until:
                return [(batch, "others come first in this turn, which took long") for batch in batches]
            count = min(DRAFTS_AT_ONCE, len(free))
            several, batches = batches[:count], batches[count:]
            drafted = await asyncio.gather(
                *(
                    self._draft_or_wait(store, batch, receipt, nonce)
                    for batch, nonce in zip(several, free, strict=False)
                )
            )
            for batch, ready in zip(several, drafted, strict=True):
                if ready is None:
                    continue
                if no_slot(means, batch.lane) is not None:
                    batches.insert(0, batch)
                    continue
                cost = await self._sign(store, ready, free[0], means, receipt)
                if cost is not None:
                    free.pop(0)
                    means = replace(means, slots=len(free), spent=means.spent + cost, balance=means.balance - cost)
        return [(batch, no_slot(means, batch.lane) or "") for batch in batches]

    def _not_declined(self, candidates: Sequence[Stored], receipt: Receipt) -> list[Stored]:
        """Those that were not declined at this very block a moment ago."""
        now = asyncio.get_running_loop().time()
        self._declined = {
            id_: (tip, until) for id_, (tip, until) in self._declined.items() if tip == receipt.hash and until > now
        }
        return [intent for intent in candidates if intent.id not in self._declined]

    def _decline(self, ids: Iterable[int], receipt: Receipt) -> None:
        """Remember that simulation or signer would say the same again at this block."""
        until = asyncio.get_running_loop().time() + DECLINED_SECONDS
        self._declined |= dict.fromkeys(ids, (receipt.hash, until))

    def _rules(self, paused: Mapping[str, str]) -> dict[str, Rule]:
        everything = paused.get(controls.EVERYTHING)
        return {
            job.name: Rule(
                name=job.name,
                batch_size=self._most_in_a_batch.get(job.name, job.batch_size),
                depth=(self._policy.depths or {}).get(job.name, job.depth),
                paused=everything if everything is not None else paused.get(job.name),
                stale=self._looks.get(job.name, NOT_YET).error,
            )
            for job in self._jobs.values()
        }

    def _means(self, balance: int, slots: int, spent: int) -> Means:
        return Means(
            name=self.name,
            lanes=tuple(self._settings.lanes),
            slots=slots,
            balance=balance,
            min_balance=self._settings.min_balance,
            hourly_budget=self._settings.hourly_budget,
            spent=spent,
        )

    async def _draft_or_wait(self, store: Store, batch: Batch, receipt: Receipt, nonce: int | None) -> _Ready | None:
        """A draft; None where there is none now. What goes wrong with one batch does not stop the others."""
        try:
            return await self._draft(store, batch, receipt, nonce)
        except (LeaseLostError, psycopg.Error):
            raise
        except ExecutorError as error:
            reason = str(error)
        except Exception as error:
            log.exception("a job's intents cannot be made into a transaction", job=batch.job)
            self._observer.failed(f"job {batch.job}", repr(error))
            reason = repr(error)
        async with store.writing() as connection:
            await intents.wait(connection, {intent.id: f"cannot be simulated: {reason}" for intent in batch.intents})
        return None

    async def _draft(self, store: Store, batch: Batch, receipt: Receipt, nonce: int | None) -> _Ready | None:
        """Simulate a batch; what of it would not succeed is left out. None where nothing is left."""
        job = self._jobs[batch.job]
        left = list(batch.intents)
        while left:
            work = _work(job, left)
            answer = await self._executor.draft(work, receipt, nonce=nonce)
            await self._observer.stage("drafted")
            if isinstance(answer, Declined) and answer.too_large and len(left) > 1:
                most = self._most_in_a_batch[job.name] = len(left) // 2
                log.info("a batch is too large for a block; halved", job=job.name, intents=len(left), now=most)
                async with store.writing() as connection:
                    reason = "left for a further transaction: together they cost more than a block allows"
                    await intents.wait(connection, {intent.id: reason for intent in left[most:]})
                left = left[:most]
                continue
            refused = {
                intent.id: outcome
                for intent, outcome in zip(left, answer.outcomes, strict=bool(answer.outcomes))
                if isinstance(answer, Declined) or outcome.benign or outcome.verdict is not Verdict.DONE
            }
            if refused:
                self._decline(refused, receipt)
                await self._simulated(store, job.name, refused, answer)
            if isinstance(answer, Draft) and not refused:
                return _Ready(Batch(batch.job, batch.lane, tuple(left)), work, answer)
            if isinstance(answer, Declined) or job.name in self._stopped:
                return None
            left = [intent for intent in left if intent.id not in refused]
        return None

    async def _simulated(
        self, store: Store, job: str, refused: Mapping[int, Outcome], answer: Draft | Declined
    ) -> None:
        failed = [outcome for outcome in refused.values() if outcome.verdict is Verdict.FAILED]
        async with store.writing() as connection:
            await intents.simulated(connection, refused)
            if isinstance(answer, Declined) and answer.handed_out is not None:
                await steps.add_once(connection, list(refused), "handed-out", answer.handed_out)
            if failed:
                await controls.pause(connection, job, _stopped(failed[0], "simulation"))
        if failed:
            self._say_stopped(job, failed[0].reason)

    async def _sign(self, store: Store, ready: _Ready, nonce: int | None, means: Means, receipt: Receipt) -> int | None:
        """Sign, store and send a batch; gives what it costs, or None where it was not signed."""
        batch, work, draft = ready.batch, ready.work, ready.draft
        if batch.job in self._stopped:
            return None
        ids = [intent.id for intent in batch.intents]
        cost = draft.fee + draft.costs
        reason = gate(
            rewards=_rewards(batch.intents),
            fee=Amount(token=COINS[self.chain], amount=cost),
            means=means,
            rates=self._rates(),
            min_profit=self._policy.min_profit,
        )
        if reason is None and self._policy.dry_run:
            reason = f"dry run: {draft.function} of {draft.contract} would go out with a fee of {draft.fee}"
        if reason is not None:
            async with store.writing() as connection:
                await intents.wait(connection, dict.fromkeys(ids, reason))
            return None
        try:
            signed = await self._executor.sign(draft, work, nonce=nonce)
        except ExecutorError as error:
            async with store.writing() as connection:
                await intents.wait(connection, dict.fromkeys(ids, f"not signed: {error}"))
            return None
        except SigningRefusedError as error:
            log.error("the signer refuses", account=self.name, job=batch.job, reason=str(error))
            async with store.writing() as connection:
                await intents.wait(connection, dict.fromkeys(ids, f"the signer refuses: {error}"))
                await steps.add_once(connection, ids, "refused", {"reason": str(error)})
            self._decline(ids, receipt)
            self._observer.refused(self.name, batch.job, str(error))
            return None
        await self._observer.stage("signed")
        stored = await self._store(store, ready, signed, nonce, ids, receipt)
        if stored is None:
            return None
        await self._observer.stage("stored")
        self._observer.signed(self.name, batch.lane, batch.job, fee=signed.fee, attempt=1)
        answer = await self._send(store, stored, stored.newest)
        if answer.taken is Taken.STOP:
            await self._give_up(store, stored, answer.reason, receipt)
        return cost

    async def _store(
        self, store: Store, ready: _Ready, signed: Signed, nonce: int | None, ids: Sequence[int], receipt: Receipt
    ) -> Outgoing | None:
        batch, draft = ready.batch, ready.draft
        slot = Slot(
            chain=self.chain,
            account=self.name,
            sender=self._executor.address,
            nonce=nonce,
            lane=batch.lane,
            job=batch.job,
            contract=draft.contract,
            function=draft.function,
            deadline_burn=batch.deadline_burn,
        )
        try:
            async with store.writing() as connection:
                paused = await controls.paused(connection)
                if reason := paused.get(controls.EVERYTHING, paused.get(batch.job)):
                    raise OvertakenError(f"paused: {reason}")
                simulated: dict[str, Any] = {"fee": draft.fee, "costs": draft.costs, **(draft.detail or {})}
                await steps.add(connection, ids, "simulated", simulated)
                id_ = await outgoing.store_signed(connection, slot, signed, ids, receipt)
                (stored,) = await outgoing.by_ids(connection, [id_])
        except OvertakenError as error:
            log.info("thrown away before it was stored", job=batch.job, reason=str(error))
            return None
        return stored

    def _say_stopped(self, job: str, reason: str) -> None:
        self._stopped.add(job)
        log.error("job stopped: look into it, then `clarion keeper resume`", job=job, reason=reason)
        self._observer.job_stopped(job, reason)


def _is_known(one: Outgoing, seen: Seen) -> bool:
    """Whether the chain says of a mined outgoing what is stored."""
    return (
        one.state == "mined"
        and seen.fate is Fate.MINED
        and (one.tx_id, one.block_hash) == (seen.tx_id, seen.block_hash)
    )


def _to_send(one: Outgoing) -> Attempt | None:
    """The newest attempt that nodes have not refused for its fee."""
    return next((a for a in reversed(one.attempts) if a.state in ("signed", "broadcast")), None)


def _work(job: Job[Any], due: Sequence[Stored]) -> Work:
    return Work(
        job=job,
        items=tuple(intent.item for intent in due),
        keys=tuple(intent.key for intent in due),
        deadline_burn=min((i.deadline_burn for i in due if i.deadline_burn is not None), default=None),
        first_burn=min(i.first_burn for i in due),
    )


def _rewards(due: Sequence[Stored]) -> list[Amount]:
    return [intent.reward for intent in due if intent.reward is not None]


def _stopped(outcome: Outcome, where: str) -> str:
    return f"{outcome.reason} ({where})"
