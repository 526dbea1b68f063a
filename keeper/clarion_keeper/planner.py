"""Pure planning: which intents go out now, in which order and together with which others, and why the rest waits.

A batch's fee is known only after it was drafted and simulated, so planning has two parts: `plan` orders and groups what
is due, `gate` says of a drafted batch whether it is worth its fee and within the account's means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from clarion_keeper.executor import Work
from clarion_keeper.intents import Amount, Item, Lane
from clarion_keeper.job import Job
from clarion_keeper.rates import Rates, profit_usd8
from clarion_keeper.store.intents import Stored

RESERVED_SLOTS: Final = 4
"""Nonces of an account that a lane leaves free for each more urgent lane which the account serves too."""
MOST_SETBACKS: Final = 6
"""After so many setbacks of an intent's like its pause does not grow any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What planning has to know of a job. ``paused``: why it is stopped; None where it is not.

    ``group``: what an intent may share a transaction with. ``stale``: why its last look at the chain is not to be acted
    on; None where it is.
    """

    name: str
    batch_size: int
    group: Callable[[Item], str]
    depth: int = 0
    paused: str | None = None
    stale: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What an account may spend and send now. Money in its chain's smallest unit.

    ``slots``: how many more transactions it may have pending. ``spent``: fees of the last hour.
    """

    name: str
    lanes: tuple[Lane, ...]
    slots: int
    balance: int
    min_balance: int = 0
    hourly_budget: int | None = None
    spent: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction is to do: intents of one job and group, the most urgent first."""

    job: str
    lane: Lane
    intents: tuple[Stored, ...]

    @property
    def deadline_burn(self) -> int | None:
        """The earliest deadline among them."""
        return min((i.deadline_burn for i in self.intents if i.deadline_burn is not None), default=None)


@dataclass(frozen=True, slots=True)
class Plan:
    """Batches in the order in which they are to be signed, and why every other intent waits, by its id."""

    batches: tuple[Batch, ...] = ()
    waiting: Mapping[int, str] = field(default_factory=dict)


def plan(
    candidates: Iterable[Stored],
    *,
    rules: Mapping[str, Rule],
    means: Means,
    burn_height: int,
    held: Mapping[str, str],
    sequence: int,
) -> Plan:
    """What an account should sign now.

    ``candidates`` are planned intents; those of lanes that the account does not serve are left to others. ``held``:
    why nothing may be done about an entity, by entity. ``sequence``: up to where the account's own transactions were
    followed; what was decided on a later state waits until they were followed as far.
    """
    waiting: dict[int, str] = {}
    ready: list[Stored] = []
    for intent in candidates:
        if intent.lane not in means.lanes:
            continue
        reason = _why_not(intent, rules.get(intent.job), burn_height, held, sequence)
        if reason is None:
            ready.append(intent)
        else:
            waiting[intent.id] = reason
    batches: list[Batch] = []
    for batch in batched(ready, rules):
        reason = no_slot(means, batch.lane, taken=len(batches))
        if reason is None:
            batches.append(batch)
        else:
            waiting.update((intent.id, reason) for intent in batch.intents)
    return Plan(tuple(batches), waiting)


def urgency(intent: Stored) -> tuple[int, int, int, str]:
    """Sorts by lane, then by money at stake, then by age, then by key."""
    return (intent.lane.rank, -intent.value_usd8, intent.first_burn, intent.key)


def _why_not(intent: Stored, rule: Rule | None, burn_height: int, held: Mapping[str, str], sequence: int) -> str | None:
    if rule is None:
        return f"the job {intent.job} is not enabled"
    if rule.paused is not None:
        return f"paused: {rule.paused}"
    if rule.stale is not None:
        return rule.stale
    if intent.entity and intent.entity in held:
        return f"{intent.entity} is held: {held[intent.entity]}"
    if intent.decided_sequence > sequence:
        return "the account's own transactions are not followed as far as this was decided"
    due_from = intent.first_burn + rule.depth
    if intent.setbacks:
        due_from += 2 ** (min(intent.setbacks, MOST_SETBACKS) - 1)
    if burn_height < due_from:
        after = f", after {intent.setbacks} that came too early" if intent.setbacks else ""
        return f"has to stay due until Bitcoin block {due_from}{after}"
    return None


def batched(intents: Iterable[Stored], rules: Mapping[str, Rule]) -> list[Batch]:
    """Intents of one job, lane and group together, where the most urgent one of them stands."""
    filling: dict[tuple[str, Lane, str], list[Stored]] = {}
    batches: list[list[Stored]] = []
    for intent in sorted(intents, key=urgency):
        rule = rules[intent.job]
        key = (intent.job, intent.lane, rule.group(intent.item))
        batch = filling.get(key)
        if batch is None or len(batch) >= rule.batch_size:
            batch = filling[key] = []
            batches.append(batch)
        batch.append(intent)
    return [Batch(batch[0].job, batch[0].lane, tuple(batch)) for batch in batches]


def work_of(job: Job[Any], intents: Sequence[Stored]) -> Work:
    """What a transaction of these intents of a job is to do."""
    return Work(
        job=job,
        items=tuple(intent.item for intent in intents),
        keys=tuple(intent.key for intent in intents),
        deadline_burn=min((i.deadline_burn for i in intents if i.deadline_burn is not None), default=None),
        first_burn=min(intent.first_burn for intent in intents),
    )


def no_slot(means: Means, lane: Lane, *, taken: int = 0) -> str | None:
    """Why an account has no room for one more transaction of a lane, ``taken`` of its slots being taken; None: it has.

    Some slots are kept for more urgent lanes that the account serves.
    """
    if means.slots - taken <= 0:
        return f"account {means.name} has as many transactions pending as nodes take of one account"
    more_urgent = sum(other.rank < lane.rank for other in means.lanes)
    if taken + 1 <= means.slots - RESERVED_SLOTS * more_urgent:
        return None
    reserved = f", which {more_urgent} more urgent lane{'s' if more_urgent > 1 else ''} may need" if more_urgent else ""
    return f"account {means.name} has room for {means.slots - taken} more transactions{reserved}"


def gate(
    *,
    rewards: Sequence[Amount],
    fee: Amount,
    means: Means,
    rates: Rates,
    min_profit: int | None,
    taken: int | None = None,
) -> str | None:
    """Why a drafted transaction is not to be signed now; None where it is.

    ``fee`` is all that it costs; ``means`` are what there would be without any earlier version of the transaction. What
    expects a reward may not make less than ``min_profit`` (10^-8 US dollars; None: any). What expects none is a public
    service: it passes within the budget. ``taken``: how much less the account has afterwards, if that is not the fee.
    """
    needed = fee.amount if taken is None else taken
    if means.hourly_budget is not None and means.spent + fee.amount > means.hourly_budget:
        return (
            f"the hourly budget of account {means.name} is used up: {means.spent} of {means.hourly_budget} spent, "
            f"{fee.amount} needed"
        )
    if needed > 0 and means.balance - needed < means.min_balance:
        return (
            f"account {means.name} has {means.balance}, of which {means.min_balance} are to stay, and {needed} is "
            "needed"
        )
    if min_profit is None or not rewards:
        return None
    if all(reward.token == fee.token for reward in rewards) and min_profit == 0:
        earned = sum(reward.amount for reward in rewards)
        return None if earned >= fee.amount else f"at a loss: earns {earned} {fee.token} and costs {fee.amount}"
    profit = profit_usd8(tuple(rewards), fee, rates)
    if profit is None:
        unknown = sorted({amount.token for amount in (*rewards, fee)} - rates.keys())
        return f"nobody knows what {', '.join(unknown)} is worth, so the reward cannot be compared with the fee"
    if profit < min_profit:
        return f"at a loss: leaves {profit} of 10^-8 USD after a fee of {fee.amount}, {min_profit} is asked for"
    return None
