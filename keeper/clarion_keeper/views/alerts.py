"""What somebody should look at, decided by pure rules on where the keeper stands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from clarion_keeper.intents import Lane
from clarion_keeper.views.watch import Notice, Watch

#: An account whose balance lasts no longer than this is told of, in hours.
RUNWAY_HOURS: Final = 24
#: An account that has spent more of what it may spend in an hour is told of, in percent.
BUDGET_PERCENT: Final = 80
#: A rescue that has been due for more Bitcoin blocks than these is told of.
RESCUE_BLOCKS: Final = 3

#: Every alert and what it means; docs/keeper.md says what to do.
ALERTS: Final = {
    "no_leader": "No keeper leads: nothing is done.",
    "funds_run_out": "An account's balance does not last much longer.",
    "budget_runs_out": "An account has spent most of what it may spend in an hour; then it signs nothing.",
    "rescue_waits": "Something in the lane rescue has been due for too long.",
    "everything_stopped": "The kill switch is on.",
    "job_stopped": "A job is paused, by somebody or because of an error that nobody foresaw.",
    "signer_refuses": "A signer does not sign what it was asked to: a limit other than the hour's forbids it.",
    "intent_failed": "Something could not be done, and trying again does not cure it.",
    "attention": "A job without transactions found something: drift, a price that sources disagree on, a reminder.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something to look at. ``alert`` is one of `ALERTS`, ``subject`` the account, job or intent it is about."""

    alert: str
    subject: str
    message: str
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When to tell: hours that a balance should last, percent of an hour's budget, Bitcoin blocks of a rescue."""

    runway_hours: int = RUNWAY_HOURS
    budget_percent: int = BUDGET_PERCENT
    rescue_blocks: int = RESCUE_BLOCKS


def alerts(watch: Watch, limits: Limits) -> list[Alert]:
    """Everything that somebody should look at now, the most urgent first."""
    return list(_alerts(watch, limits))


def _alerts(watch: Watch, limits: Limits) -> Iterator[Alert]:
    if watch.leader is None:
        yield Alert(alert="no_leader", subject="*", message="no keeper has led yet")
    elif not watch.leader.leads:
        message = f"{watch.leader.holder} held the lease last"
        yield Alert(alert="no_leader", subject="*", message=message, since=watch.leader.until)
    for stop in watch.stops:
        name = "everything_stopped" if stop.job == "*" else "job_stopped"
        yield Alert(alert=name, subject=stop.job, message=stop.reason, since=stop.at)
    for lane in watch.lanes:
        if lane.lane == Lane.RESCUE and lane.oldest_blocks > limits.rescue_blocks:
            message = f"the oldest of {lane.open} has been due for {lane.oldest_blocks} Bitcoin blocks"
            yield Alert(alert="rescue_waits", subject=lane.lane, message=message, since=lane.since)
    for account in watch.accounts:
        runway = account.runway_hours
        unit = "satoshis" if account.chain == "bitcoin" else "micro-STX"
        budget, spent = account.hourly_budget, account.spent_last_hour
        if account.used_up is not None:
            message = f"{account.unsigned} intents wait: {account.used_up}"
            yield Alert(alert="budget_runs_out", subject=account.name, message=message, since=account.checked_at)
        elif budget is not None and spent > 0 and 100 * spent > limits.budget_percent * budget:
            message = f"{spent} of the {budget} {unit} are spent that it may spend in an hour"
            yield Alert(alert="budget_runs_out", subject=account.name, message=message, since=account.checked_at)
        if account.balance <= 0 or (runway is not None and runway < limits.runway_hours):
            lasts = "" if runway is None else f", which lasts for {runway} hours"
            message = f"{account.balance} {unit} are left{lasts}"
            yield Alert(alert="funds_run_out", subject=account.name, message=message, since=account.checked_at)
    yield from _told("signer_refuses", watch.refusals)
    yield from _told("intent_failed", watch.failures)
    yield from _told("attention", watch.notices)


def _told(name: str, notices: Iterable[Notice]) -> Iterator[Alert]:
    for notice in notices:
        about = f" {notice.entity}" if notice.entity else ""
        yield Alert(
            alert=name,
            subject=str(notice.intent),
            message=f"{notice.job}{about}: {notice.message}",
            since=notice.at,
        )
