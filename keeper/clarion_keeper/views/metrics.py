"""What Prometheus is told of the keeper; `docs/keeper.md` says what to watch."""

from __future__ import annotations

import math
from collections import Counter as Count
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import monotonic
from typing import Final

import structlog
from prometheus_client import Counter, Gauge, Histogram

from clarion_keeper.executor import Fate
from clarion_keeper.intents import Amount, Lane, Outcome, Verdict
from clarion_keeper.observer import Observer
from clarion_keeper.planner import Means
from clarion_keeper.store.intents import Stored
from clarion_keeper.views.alerts import ALERTS, Alert
from clarion_keeper.views.watch import Watch

log = structlog.get_logger()

#: From a second to a day: blocks come every few seconds to every ten minutes.
SECONDS: Final = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600, 7_200, 21_600, 86_400)

LEADS: Final = Gauge("clarion_keeper_leads", "1 where this keeper leads, 0 where it stands by.")
QUEUE: Final = Gauge("clarion_keeper_queue", "Open intents.", ["lane"])
QUEUE_AGE: Final = Gauge("clarion_keeper_queue_age_seconds", "Since the oldest open intent was decided.", ["lane"])
MINED: Final = Histogram(
    "clarion_keeper_mined_seconds", "From the decision until a block has it.", ["lane"], buckets=SECONDS
)
ATTEMPTS: Final = Counter(
    "clarion_keeper_attempts",
    "What happened to transactions: signed, replaced, refused (by the signer), mined, dropped, displaced, reorg.",
    ["account", "outcome"],
)
LOOK: Final = Histogram("clarion_keeper_look_seconds", "Time a job took to read the chain and decide.", ["job"])
FAILED: Final = Counter(
    "clarion_keeper_failed", "Errors that nobody expected, by what it was that is tried again.", ["what"]
)
LOOKS_FAILED: Final = Counter("clarion_keeper_looks_failed", "Times a job could not look at the chain.", ["job"])
TURNS_FAILED: Final = Counter(
    "clarion_keeper_turns_failed", "Times that nodes or the signer of an account did not answer.", ["account"]
)
FEES: Final = Counter(
    "clarion_keeper_fees", "Fees of transactions whose block is final, in micro-STX or satoshis.", ["account"]
)
EARNED: Final = Counter(
    "clarion_keeper_earned", "What transactions earned whose block is final, in base units of the token.", ["token"]
)
PROFIT: Final = Gauge(
    "clarion_keeper_profit",
    "Earned within the last day less the fees paid in the token (STX, BTC), in its base units.",
    ["token"],
)
STUCK: Final = Gauge(
    "clarion_keeper_stuck", "Pending transactions that had to be replaced, or that no node takes.", ["account"]
)
BALANCE: Final = Gauge("clarion_keeper_balance", "Balance in micro-STX or satoshis.", ["account"])
RUNWAY: Final = Gauge(
    "clarion_keeper_runway_hours",
    "How long it lasts at the pace of the last hour; NaN: nothing was spent.",
    ["account"],
)
BREAKER: Final = Gauge("clarion_keeper_breaker_open", "1 while a server that kept failing is left alone.", ["server"])
ALERT: Final = Gauge("clarion_keeper_alert", "Things that somebody should look at.", ["alert"])


def set_watch(watch: Watch) -> None:
    """Set the gauges to where the keeper stands."""
    lanes = {facts.lane: facts for facts in watch.lanes}
    for lane in Lane:
        facts = lanes.get(lane)
        QUEUE.labels(lane.value).set(0 if facts is None else facts.open)
        QUEUE_AGE.labels(lane.value).set(0 if facts is None else facts.oldest_seconds)
    PROFIT.clear()
    for profit in watch.profits:
        PROFIT.labels(profit.token).set(float(profit.amount))
    for account in watch.accounts:
        STUCK.labels(account.name).set(account.stuck)
        BALANCE.labels(account.name).set(account.balance)
        RUNWAY.labels(account.name).set(math.nan if account.runway_hours is None else account.runway_hours)


def set_breakers(states: Mapping[str, str]) -> None:
    """Set which servers are left alone: those whose breaker is ``opened``."""
    for server, state in states.items():
        BREAKER.labels(server).set(state == "opened")


class Metrics(Observer):
    """Counts what the engine does, and knows when it last did anything."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._heard = clock()

    @property
    def silent_seconds(self) -> float:
        """How long nothing has been heard of the engine."""
        return self._clock() - self._heard

    def leads(self, leading: bool) -> None:
        """Note who leads."""
        self._heard = self._clock()
        LEADS.set(leading)

    def looked(self, job: str, due: int, seconds: float) -> None:
        """Note how long a job's look took."""
        self._heard = self._clock()
        LOOK.labels(job).observe(seconds)

    def look_failed(self, job: str, reason: str) -> None:
        """Count it."""
        self._heard = self._clock()
        LOOKS_FAILED.labels(job).inc()

    def account(self, means: Means, pending: int) -> None:
        """The account had its turn."""
        self._heard = self._clock()

    def turn_failed(self, account: str, reason: str) -> None:
        """Count it."""
        self._heard = self._clock()
        TURNS_FAILED.labels(account).inc()

    def failed(self, what: str, reason: str) -> None:
        """Count it."""
        self._heard = self._clock()
        FAILED.labels(what).inc()

    def signed(self, account: str, lane: Lane, job: str, *, fee: int, attempt: int) -> None:
        """Count it."""
        ATTEMPTS.labels(account, "signed" if attempt == 1 else "replaced").inc()

    def refused(self, account: str, job: str, reason: str) -> None:
        """Count it."""
        ATTEMPTS.labels(account, "refused").inc()

    def mined(self, account: str, ended: Sequence[tuple[Stored, Outcome]]) -> None:
        """Count it, and how long it took."""
        ATTEMPTS.labels(account, "mined").inc()
        for intent, outcome in ended:
            if outcome.verdict is Verdict.DONE:
                MINED.labels(intent.lane.value).observe(intent.age_seconds)

    def final(self, account: str, fee: int, earned: Sequence[Amount]) -> None:
        """Count its fee and what it earned."""
        FEES.labels(account).inc(fee)
        for amount in earned:
            EARNED.labels(amount.token).inc(amount.amount)

    def lost(self, account: str, job: str, fate: Fate, reason: str) -> None:
        """Count it."""
        ATTEMPTS.labels(account, "reorg" if reason == "reorg" else fate.value).inc()


class AlertLog:
    """Says in the log when an alert begins and when it is over, and how many there are to Prometheus."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Alert] = {}

    def tell(self, found: Iterable[Alert]) -> None:
        """Everything that somebody should look at now."""
        now = {(alert.alert, alert.subject): alert for alert in found}
        for key, alert in now.items():
            if key not in self._known:
                log.error("keeper.alert", alert=alert.alert, subject=alert.subject, reason=alert.message)
        for key, alert in self._known.items():
            if key not in now:
                log.info("keeper.alert_over", alert=alert.alert, subject=alert.subject)
        self._known = now
        counts = Count(alert.alert for alert in now.values())
        for name in ALERTS:
            ALERT.labels(name).set(counts[name])
