"""One account's turn: follow what it sent, send again, replace what is stuck, and sign what is planned.

Every turn is complete in itself: whatever interrupts it, the next one, of this keeper or of another, goes on from what
is stored. Bytes are stored before they are sent, and an intent is bound to its transaction in the same write.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from clarion_keeper.planner import RESERVED_SLOTS, Batch, Means, Rule, gate, no_slot, plan, work_of
from clarion_keeper.rates import BTC, STX, Rates
from clarion_keeper.signers import SigningRefusedError
from clarion_keeper.signers.errors import MAX_HOURLY
from clarion_keeper.signers.exhaustion import Exhaustion
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


@dataclass(slots=True)
class _Turn:
    """What a turn knows.

    ``receipt``: where the index stands. ``live``: the account's transactions that are neither at their end nor
    displaced, by id, as they are stored. ``wanted``: those that no node holds any more, or that nodes want more for.
    ``planned``: what waits for the account to sign it.
    """

    store: Store
    receipt: Receipt
    live: dict[int, Outgoing]
    wanted: set[int] = field(default_factory=set)
    paused: Mapping[str, str] = field(default_factory=dict)
    planned: Sequence[Stored] = ()

    @property
    def unfinished(self) -> list[Outgoing]:
        """By nonce and age."""
        return sorted(self.live.values(), key=lambda one: (one.nonce or 0, one.id))

    @property
    def in_no_block(self) -> list[Outgoing]:
        """Those that wait to be mined."""
        return [one for one in self.unfinished if one.state != "mined"]

    async def changed(self, connection: psycopg.AsyncConnection[Any], id_: int) -> Outgoing:
        """A transaction that was just written, as it is stored now."""
        (one,) = await outgoing.by_ids(connection, [id_])
        if one.state in outgoing.LIVE:
            self.live[id_] = one
        else:
            self.live.pop(id_, None)
        return one


@dataclass(frozen=True, slots=True)
class _Ready:
    batch: Batch
    work: Work
    draft: Draft


class Account:
    """One account at work. ``looks`` and ``rates`` are what the engine knows at the moment.

    ``hourly_budget``: what it may spend in an hour before it or its signer stops.
    """

    def __init__(
        self,
        name: str,
        settings: KeeperAccount,
        executor: Executor,
        *,
        hourly_budget: int,
        jobs: Mapping[str, Job[Any]],
        looks: Mapping[str, Look],
        rates: Callable[[], Rates],
        policy: Policy,
        observer: Observer,
    ) -> None:
        self.name: Final = name
        self.chain: Final = settings.chain
        self._settings = settings
        self._hourly_budget = hourly_budget
        self._executor = executor
        self._jobs = jobs
        self._looks = looks
        self._rates = rates
        self._policy = policy
        self._observer = observer
        self._most_in_a_batch: dict[str, int] = {}
        self._stopped: set[str] = set()
        self._declined: dict[int, tuple[str, float]] = {}
        self._exhaustion = Exhaustion()

    async def turn(self, store: Store) -> None:
        """Once through everything.

        Raises:
            ExecutorError, SignerError: nodes or signer do not answer.
            LeaseLostError: another keeper leads.
        """
        self._stopped.clear()
        turn = await self._follow(store)
        async with store.reading() as connection:
            turn.paused = await controls.paused(connection)
            candidates = await intents.planned(connection, self.chain)
        turn.planned = [intent for intent in candidates if intent.lane in self._settings.lanes]
        if not self._policy.dry_run and controls.EVERYTHING not in turn.paused:
            if not await self._send_again(turn):
                return
            await self._replace_stuck(turn)
        await self._sign_planned(turn)

    # following

    async def _follow(self, store: Store) -> _Turn:
        """Bring every unfinished transaction up to what the chain says."""
        async with store.reading() as connection:
            followed = await outgoing.followed(connection, self.name)
        live = [one for one in followed if one.state in outgoing.LIVE]
        seen, receipt = await self._executor.follow(followed)
        await self._observer.stage("followed")
        turn = _Turn(store, receipt, {one.id: one for one in live})
        unchanged: list[int] = []
        for one in live:
            found = seen.get(one.id)
            if found is None or found.fate is Fate.UNKNOWN:
                continue
            if _is_known(one, found) and not found.final:
                unchanged.append(one.id)
                continue
            await self._apply(turn, one, found)
            if found.fate is Fate.DROPPED:
                turn.wanted.add(one.id)
        for one in followed:
            if one.state == "displaced" and one.id in seen:
                await self._follow_displaced(turn, one, seen[one.id])
        async with store.writing() as connection:
            await outgoing.seen_at(connection, unchanged, receipt)
        await self._observer.stage("applied")
        return turn

    async def _apply(self, turn: _Turn, one: Outgoing, seen: Seen) -> None:
        about = {"account": self.name, "job": one.job, "nonce": one.nonce}
        if one.state == "mined" and not _is_known(one, seen):
            log.info("its block is not canonical any more", outgoing=one.id, height=one.block_height, **about)
            async with turn.store.writing() as connection:
                await outgoing.orphaned(connection, one, turn.receipt)
                await turn.changed(connection, one.id)
            self._observer.lost(self.name, one.job, seen.fate, "reorg")
        if seen.fate is Fate.MINED:
            if not _is_known(one, seen):
                await self._mined(turn, one, seen)
            if seen.final:
                async with turn.store.writing() as connection:
                    await outgoing.final(connection, one)
                    earned = await intents.earned_with(connection, one.id)
                    await turn.changed(connection, one.id)
                self._observer.final(self.name, seen.fee, earned)
        elif seen.fate is Fate.DISPLACED:
            log.warning("displaced", reason=seen.reason, **about)
            verdict = Verdict.DONE if seen.benign else Verdict.AGAIN
            async with turn.store.writing() as connection:
                outcome = Outcome(verdict, seen.reason, benign=seen.benign)
                await outgoing.displaced(connection, one, outcome, turn.receipt)
                await turn.changed(connection, one.id)
            self._observer.lost(self.name, one.job, seen.fate, seen.reason)
        elif seen.fate is Fate.PENDING and one.state == "signed":
            async with turn.store.writing() as connection:
                await outgoing.answered(connection, one, one.newest, Broadcast(taken=Taken.SENT))
                await turn.changed(connection, one.id)

    async def _follow_displaced(self, turn: _Turn, one: Outgoing, seen: Seen) -> None:
        """Until what took its place is final. Where a reorganisation takes that back, it waits again or is mined."""
        if seen.fate is Fate.UNKNOWN:
            return
        about = {"outgoing": one.id, "account": self.name, "job": one.job, "nonce": one.nonce}
        is_free = not any(_is_in_place_of(other, one) for other in turn.live.values())
        if seen.fate is Fate.DISPLACED:
            if seen.final:
                async with turn.store.writing() as connection:
                    await outgoing.rejected(connection, one, Outcome(Verdict.AGAIN, seen.reason))
        elif seen.fate is Fate.MINED:
            if is_free:  # else what is in its place is displaced itself, as the next turn finds
                log.warning("mined after all", **about)
                await self._apply(turn, one, seen)
        elif is_free:
            log.info("what took its place is not canonical any more", **about)
            async with turn.store.writing() as connection:
                await outgoing.orphaned(connection, one, turn.receipt)
                await turn.changed(connection, one.id)
            if seen.fate is Fate.DROPPED:
                turn.wanted.add(one.id)
        else:
            async with turn.store.writing() as connection:
                await outgoing.not_displaced_before(connection, one, turn.receipt)

    async def _mined(self, turn: _Turn, one: Outgoing, seen: Seen) -> None:
        assert seen.tx_id is not None
        async with turn.store.writing() as connection:
            ids = await outgoing.of_attempt(connection, seen.tx_id)
            carried = await intents.by_ids(connection, ids)
            outcomes = self._outcomes(one, seen, carried)
            left_out = [id_ for id_ in await outgoing.carried(connection, one.id) if id_ not in set(ids)]
            by_id = dict(zip(ids, outcomes, strict=True))
            await outgoing.mined(connection, one, seen, by_id, left_out, turn.receipt)
            await turn.changed(connection, one.id)
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
        self._observer.mined(self.name, list(zip(carried, outcomes, strict=True)))
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

    async def _send_again(self, turn: _Turn) -> bool:
        """Send stored bytes that no node is known to have. False where sending must wait."""
        for one in turn.in_no_block:
            if one.state != "signed" and one.id not in turn.wanted:
                continue
            attempt = _to_send(one)
            if attempt is None:
                turn.wanted.add(one.id)
                continue
            answer = await self._send(turn, one, attempt)
            if answer.taken is Taken.SENT:
                turn.wanted.discard(one.id)
            elif answer.taken is Taken.REPLACE:
                turn.wanted.add(one.id)
            elif answer.taken is Taken.STOP:
                await self._give_up(turn, one, answer.reason)
            elif answer.taken is Taken.LATER:
                return False
        return True

    async def _send(self, turn: _Turn, one: Outgoing, attempt: Attempt, stage: str = "") -> Broadcast:
        answer = await self._executor.broadcast(attempt)
        await self._observer.stage(f"{stage}sent", one.job)
        async with turn.store.writing() as connection:
            await outgoing.answered(connection, one, attempt, answer)
            await turn.changed(connection, one.id)
        await self._observer.stage(f"{stage}answered", one.job)
        about = {"tx": f"0x{attempt.tx_id.hex()}", "job": one.job, "nonce": one.nonce, "fee": attempt.fee}
        if answer.taken is not Taken.SENT:
            log.warning("not taken", answer=answer.taken.value, reason=answer.reason, **about)
        elif attempt.state == "signed":
            log.info("sent", nodes=len(answer.nodes), **about)
        return answer

    async def _give_up(self, turn: _Turn, one: Outgoing, reason: str) -> None:
        """It can never be mined: stop its job. Its nonce is free again, or to be freed where later ones wait for it."""
        outcome = Outcome(Verdict.FAILED, reason)
        async with turn.store.writing() as connection:
            if any(_is_behind(other, one) for other in turn.live.values()):
                ids = await outgoing.carried(connection, one.id)
                await intents.end(connection, dict.fromkeys(ids, outcome))
                turn.wanted.add(one.id)
            else:
                await outgoing.rejected(connection, one, outcome)
            await controls.pause(connection, one.job, _stopped(outcome, f"outgoing {one.id}"))
            await turn.changed(connection, one.id)
        self._say_stopped(one.job, reason)

    async def _replace_stuck(self, turn: _Turn) -> None:
        """Replace what is stuck, with what of it is still due.

        Where nothing is, its slot is freed only if what is of use waits behind it: a replacement costs more than what
        it replaces, even where that does nothing any more.
        """
        waiting = sorted(turn.in_no_block, key=lambda one: (one.lane.rank, one.nonce or 0, one.id))
        if not waiting:
            return
        async with turn.store.reading() as connection:
            carried = await intents.sent_with(connection, [one.id for one in waiting])
        due = {one.id: self._still_due(one, carried.get(one.id, []), turn.paused) for one in waiting}
        for one in waiting:
            left = due[one.id]
            if left and await self._replace(turn, one, work_of(self._jobs[one.job], left), left):
                continue
            if turn.planned or any(_is_behind(other, one) and due.get(other.id) for other in turn.live.values()):
                await self._replace(turn, one, None, [])

    def _still_due(self, one: Outgoing, carried: Sequence[Stored], paused: Mapping[str, str]) -> list[Stored]:
        job, looked = self._jobs.get(one.job), self._looks.get(one.job)
        if job is None or one.job in paused:
            return []
        if looked is None or looked.error is not None:
            return list(carried)
        due = [intent for intent in carried if intent.key in looked.due]
        return [replace(intent, item=looked.due[intent.key].item) for intent in due] if job.renews else due

    async def _replace(self, turn: _Turn, one: Outgoing, work: Work | None, due: Sequence[Stored]) -> bool:
        """Replace it if it is stuck, ``work`` None: by nothing. False where what it carries would do nothing."""
        wanted = one.id in turn.wanted
        try:
            draft = await self._executor.replacement(one, work, turn.receipt, wanted=wanted)
        except ExecutorError as error:
            log.warning("whether to replace it cannot be told", outgoing=one.id, job=one.job, reason=str(error))
            return True
        if not isinstance(draft, Draft):
            return draft is None
        await self._observer.stage("replacement drafted", one.job)
        if reason := await self._gate_replacement(turn, one, draft, due):
            log.warning("not replaced", outgoing=one.id, job=one.job, nonce=one.nonce, reason=reason)
            return True
        why = "dropped, or its fee is too low" if wanted else "not mined for long"
        return await self._sign_replacement(turn, one, draft, work, due, why)

    async def _gate_replacement(self, turn: _Turn, one: Outgoing, draft: Draft, due: Sequence[Stored]) -> str | None:
        async with turn.store.reading() as connection:
            spent = await accounts.spent_last_hour(connection, self.name, beside=one.id)
        room = await self._executor.room(turn.unfinished)
        return gate(
            rewards=_rewards(due),
            fee=Amount(token=COINS[self.chain], amount=draft.fee + draft.costs),
            means=self._means(room.balance + one.newest.fee, len(room.nonces), spent),
            rates=self._rates(),
            min_profit=self._policy.min_profit,
        )

    async def _sign_replacement(
        self, turn: _Turn, one: Outgoing, draft: Draft, work: Work | None, due: Sequence[Stored], reason: str
    ) -> bool:
        """False where it turned out that what it carries would do nothing."""
        signed: Signed | Declined
        try:
            if work is None:
                signed = await self._executor.sign_release(draft, one)
            else:
                signed = await self._executor.sign(draft, work, nonce=one.nonce)
        except ExecutorError as error:
            log.warning("not replaced", outgoing=one.id, job=one.job, nonce=one.nonce, reason=str(error))
            return True
        except SigningRefusedError as error:
            self._signer_refused(one.job, error, outgoing=one.id)
            return True
        if isinstance(signed, Declined):
            return False
        self._signer_signed()
        await self._observer.stage("replacement signed", one.job)
        ids = [intent.id for intent in due]
        async with turn.store.writing() as connection:
            await intents.renew(connection, {intent.id: intent.item for intent in due})
            await outgoing.store_replacement(connection, one, signed, ids, turn.receipt, reason)
            stored = await turn.changed(connection, one.id)
        await self._observer.stage("replacement stored", one.job)
        self._observer.signed(self.name, one.lane, one.job, fee=signed.fee, attempt=stored.newest.number)
        log.info("replaced", job=one.job, nonce=one.nonce, fee=signed.fee, attempt=stored.newest.number, reason=reason)
        await self._send(turn, stored, stored.newest, "replacement ")
        return True

    # signing what is planned

    async def _sign_planned(self, turn: _Turn) -> None:
        async with turn.store.reading() as connection:
            spent = await accounts.spent_last_hour(connection, self.name)
            held = await intents.held_entities(connection, [job.name for job in self._jobs.values() if job.holds])
        room = await self._executor.room(turn.unfinished)
        means = self._means(room.balance, len(room.nonces), spent)
        self._observer.account(means, len(turn.in_no_block))
        async with turn.store.writing() as connection:
            await accounts.save(
                connection,
                name=self.name,
                sender=self._executor.address,
                chain=self.chain,
                lanes=[lane.value for lane in self._settings.lanes],
                balance=room.balance,
                nonce=room.confirmed,
                spent=spent,
                hourly_budget=self._hourly_budget,
            )
        candidates = self._not_declined(turn.planned, turn.receipt)
        # Room is looked at when a batch is signed: one that is declined takes nobody's place.
        everybody = replace(means, slots=len(candidates) + RESERVED_SLOTS * len(means.lanes))
        made = plan(
            candidates,
            rules=self._rules(turn.paused),
            means=everybody,
            burn_height=turn.receipt.burn_height,
            held=held,
            sequence=turn.receipt.sequence,
        )
        async with turn.store.writing() as connection:
            await intents.wait(connection, made.waiting)
        left = await self._sign_batches(turn, list(made.batches), list(room.nonces), means)
        async with turn.store.writing() as connection:
            await intents.wait(connection, {intent.id: reason for batch, reason in left for intent in batch.intents})

    async def _sign_batches(
        self, turn: _Turn, batches: list[Batch], free: list[int | None], means: Means
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
                *(self._draft_or_wait(turn, batch, nonce) for batch, nonce in zip(several, free, strict=False))
            )
            for batch, ready in zip(several, drafted, strict=True):
                if ready is None:
                    continue
                if no_slot(means, batch.lane) is not None:
                    batches.insert(0, batch)
                    continue
                cost = await self._sign(turn, ready, free[0], means)
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
                group=job.group,
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

    async def _draft_or_wait(self, turn: _Turn, batch: Batch, nonce: int | None) -> _Ready | None:
        """A draft; None where there is none now. What goes wrong with one batch does not stop the others."""
        try:
            return await self._draft(turn, batch, nonce)
        except (LeaseLostError, psycopg.Error):
            raise
        except ExecutorError as error:
            reason = str(error)
        except Exception as error:
            log.exception("a job's intents cannot be made into a transaction", job=batch.job)
            self._observer.failed(f"job {batch.job}", repr(error))
            reason = repr(error)
        async with turn.store.writing() as connection:
            await intents.wait(connection, {intent.id: f"cannot be simulated: {reason}" for intent in batch.intents})
        return None

    async def _draft(self, turn: _Turn, batch: Batch, nonce: int | None) -> _Ready | None:
        """Simulate a batch; what of it would not succeed is left out. None where nothing is left."""
        job = self._jobs[batch.job]
        left = list(batch.intents)
        while left:
            work = work_of(job, left)
            answer = await self._executor.draft(work, turn.receipt, nonce=nonce)
            await self._observer.stage("drafted", job.name)
            if isinstance(answer, Declined) and answer.too_large and len(left) > 1:
                left = await self._halved(turn, left)
                continue
            refused = await self._refused(turn, left, answer)
            if isinstance(answer, Draft) and not refused:
                return _Ready(Batch(batch.job, batch.lane, tuple(left)), work, answer)
            if isinstance(answer, Declined) or job.name in self._stopped:
                return None
            left = [intent for intent in left if intent.id not in refused]
        return None

    async def _halved(self, turn: _Turn, batch: Sequence[Stored]) -> list[Stored]:
        """The more urgent half of what is too large for a block; no batch of its job is larger from now on."""
        job, most = batch[0].job, len(batch) // 2
        self._most_in_a_batch[job] = most
        log.info("a batch is too large for a block; halved", job=job, intents=len(batch), now=most)
        async with turn.store.writing() as connection:
            reason = "left for a further transaction: together they cost more than a block allows"
            await intents.wait(connection, {intent.id: reason for intent in batch[most:]})
        return list(batch[:most])

    async def _refused(self, turn: _Turn, batch: Sequence[Stored], answer: Draft | Declined) -> dict[int, Outcome]:
        """What of a batch would not succeed, by id; it is written down, and stops the job where nobody expected it."""
        refused = {
            intent.id: outcome
            for intent, outcome in zip(batch, answer.outcomes, strict=bool(answer.outcomes))
            if isinstance(answer, Declined) or outcome.benign or outcome.verdict is not Verdict.DONE
        }
        if not refused:
            return {}
        self._decline(refused, turn.receipt)
        job = batch[0].job
        failed = [outcome for outcome in refused.values() if outcome.verdict is Verdict.FAILED]
        async with turn.store.writing() as connection:
            await intents.simulated(connection, refused)
            if isinstance(answer, Declined) and answer.handed_out is not None:
                await steps.add_once(connection, list(refused), "handed-out", answer.handed_out)
            if failed:
                await controls.pause(connection, job, _stopped(failed[0], "simulation"))
        if failed:
            self._say_stopped(job, failed[0].reason)
        return refused

    async def _sign(self, turn: _Turn, ready: _Ready, nonce: int | None, means: Means) -> int | None:
        """Sign, store and send a batch; gives what it costs, or None where its slot is free still."""
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
            taken=draft.taken,
        )
        if reason is None and self._policy.dry_run:
            reason = f"dry run: {draft.function} of {draft.contract} would go out with a fee of {draft.fee}"
        if reason is not None:
            async with turn.store.writing() as connection:
                await intents.wait(connection, dict.fromkeys(ids, reason))
            return None
        try:
            signed = await self._executor.sign(draft, work, nonce=nonce)
        except ExecutorError as error:
            async with turn.store.writing() as connection:
                await intents.wait(connection, dict.fromkeys(ids, f"not signed: {error}"))
            return None
        except SigningRefusedError as error:
            self._signer_refused(batch.job, error)
            why = intents.HOUR_USED_UP if error.limit == MAX_HOURLY else intents.SIGNER_REFUSES
            async with turn.store.writing() as connection:
                await intents.wait(connection, dict.fromkeys(ids, f"{why}: {error}"))
                await steps.add_once(connection, ids, "refused", {"reason": str(error)})
            self._decline(ids, turn.receipt)
            return None
        if isinstance(signed, Declined):
            if signed.too_large and len(batch.intents) > 1:
                await self._halved(turn, batch.intents)
            else:
                await self._refused(turn, batch.intents, signed)
            return None
        self._signer_signed()
        await self._observer.stage("signed", batch.job)
        stored = await self._store(turn, ready, signed, nonce, ids)
        if stored is None:
            return None
        await self._observer.stage("stored", batch.job)
        self._observer.signed(self.name, batch.lane, batch.job, fee=signed.fee, attempt=1)
        answer = await self._send(turn, stored, stored.newest)
        if answer.taken is Taken.STOP:
            await self._give_up(turn, stored, answer.reason)
        return cost if stored.id in turn.live else None

    async def _store(
        self, turn: _Turn, ready: _Ready, signed: Signed, nonce: int | None, ids: Sequence[int]
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
            async with turn.store.writing() as connection:
                paused = await controls.paused(connection)
                if reason := paused.get(controls.EVERYTHING, paused.get(batch.job)):
                    raise OvertakenError(f"paused: {reason}")
                simulated: dict[str, Any] = {"fee": draft.fee, "costs": draft.costs, **(draft.detail or {})}
                await steps.add(connection, ids, "simulated", simulated)
                id_ = await outgoing.store_signed(connection, slot, signed, ids, turn.receipt)
                return await turn.changed(connection, id_)
        except OvertakenError as error:
            log.info("thrown away before it was stored", job=batch.job, reason=str(error))
            return None

    def _signer_refused(self, job: str, error: SigningRefusedError, **about: Any) -> None:
        """Tell of it; of an hour's limit, which stops everything alike, once until it is over."""
        if error.limit != MAX_HOURLY or self._exhaustion.refused():
            log.error("the signer refuses", account=self.name, job=job, reason=str(error), **about)
        self._observer.refused(self.name, job, str(error))

    def _signer_signed(self) -> None:
        if self._exhaustion.signed():
            log.info("the signer's hourly limit is not used up any more", account=self.name)

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


def _is_behind(other: Outgoing, one: Outgoing) -> bool:
    """Whether another transaction of the account can be mined only after this one."""
    return other.nonce is not None and one.nonce is not None and other.nonce > one.nonce


def _is_in_place_of(other: Outgoing, one: Outgoing) -> bool:
    """Whether another transaction of the account has what this one was to have: its nonce, or on Bitcoin its states."""
    return other.state != "mined" if one.nonce is None else other.nonce == one.nonce


def _to_send(one: Outgoing) -> Attempt | None:
    """The newest attempt that nodes have not refused for its fee."""
    return next((a for a in reversed(one.attempts) if a.state in ("signed", "broadcast")), None)


def _rewards(due: Sequence[Stored]) -> list[Amount]:
    return [intent.reward for intent in due if intent.reward is not None]


def _stopped(outcome: Outcome, where: str) -> str:
    return f"{outcome.reason} ({where})"
