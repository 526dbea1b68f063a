"""What Prometheus is told of the keeper; `docs/keeper.md` says what to watch."""

from __future__ import annotations

import math
from collections import Counter as Count
from collections.abc import Iterable, Mapping
from typing import Final

import structlog
from prometheus_client import Counter, Gauge, Histogram

from clarion_keeper.intents import Lane
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
    "clarion_keeper_attempts", "Signed versions of transactions, by what became of them.", ["account", "outcome"]
)
FEES: Final = Counter("clarion_keeper_fees", "Fees paid, in micro-STX or satoshis.", ["account"])
EARNED: Final = Counter("clarion_keeper_earned", "What was earned, in base units of the token.", ["token"])
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
    for account in watch.accounts:
        STUCK.labels(account.name).set(account.stuck)
        BALANCE.labels(account.name).set(account.balance)
        RUNWAY.labels(account.name).set(math.nan if account.runway_hours is None else account.runway_hours)


def set_breakers(states: Mapping[str, str]) -> None:
    """Set which servers are left alone: those whose breaker is ``opened``."""
    for server, state in states.items():
        BREAKER.labels(server).set(state == "opened")


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
