"""What somebody is told of: pure rules on where the keeper stands."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from clarion.config import Keeper
from clarion_keeper.views.alerts import ALERTS, Alert, Limits, alerts
from clarion_keeper.views.metrics import ALERT, AlertLog
from clarion_keeper.views.watch import AccountFacts, LaneFacts, Leader, Notice, Stop, Watch

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LEADER = Leader(holder="here:1:ab", fence=3, leads=True, until=NOW)
ACCOUNT = AccountFacts(
    name="daily", chain="stacks", balance=2_400, spent_last_hour=100, pending=0, stuck=0, checked_at=NOW
)
RESCUE = LaneFacts(lane="rescue", open=2, oldest_seconds=60, oldest_blocks=3, since=NOW)
NOTICE = Notice(intent=7, job="reconcile", entity="policy:7", message="differs", at=NOW)
QUIET = Watch(
    leader=LEADER, accounts=(ACCOUNT,), lanes=(RESCUE,), profits=(), stops=(), notices=(), refusals=(), failures=()
)
PAGE = Path(__file__).parents[4] / "docs" / "keeper.md"


def told(watch: Watch, **limits: int) -> list[tuple[str, str]]:
    return [(alert.alert, alert.subject) for alert in alerts(watch, Limits(**limits))]


def test_nothing_is_told_while_all_is_well() -> None:
    assert told(QUIET) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"leader": None}, ("no_leader", "*")),
        ({"leader": replace(LEADER, leads=False)}, ("no_leader", "*")),
        ({"stops": (Stop(job="*", reason="by hand", at=NOW),)}, ("everything_stopped", "*")),
        ({"stops": (Stop(job="settle", reason="u1", at=NOW),)}, ("job_stopped", "settle")),
        ({"lanes": (replace(RESCUE, oldest_blocks=4),)}, ("rescue_waits", "rescue")),
        ({"accounts": (replace(ACCOUNT, balance=2_399),)}, ("funds_run_out", "daily")),
        ({"accounts": (replace(ACCOUNT, balance=0, spent_last_hour=0),)}, ("funds_run_out", "daily")),
        ({"accounts": (replace(ACCOUNT, hourly_budget=124),)}, ("budget_runs_out", "daily")),
        ({"refusals": (NOTICE,)}, ("signer_refuses", "7")),
        ({"failures": (NOTICE,)}, ("intent_failed", "7")),
        ({"notices": (NOTICE,)}, ("attention", "7")),
    ],
)
def test_each_is_told_of_by_name(change: dict[str, Any], expected: tuple[str, str]) -> None:
    assert told(replace(QUIET, **change)) == [expected]


def test_limits_are_the_operators() -> None:
    assert told(QUIET, runway_hours=25) == [("funds_run_out", "daily")]
    assert told(QUIET, rescue_blocks=2) == [("rescue_waits", "rescue")]
    assert told(replace(QUIET, accounts=(replace(ACCOUNT, spent_last_hour=0),)), runway_hours=10**6) == []


def test_a_budget_that_lasts_is_not_told_of() -> None:
    assert told(replace(QUIET, accounts=(replace(ACCOUNT, hourly_budget=125),))) == []
    assert told(replace(QUIET, accounts=(replace(ACCOUNT, hourly_budget=0, spent_last_hour=0),))) == []
    at_half = replace(QUIET, accounts=(replace(ACCOUNT, hourly_budget=199),))
    assert told(at_half) == []
    assert told(at_half, budget_percent=50) == [("budget_runs_out", "daily")]


def test_other_lanes_may_wait() -> None:
    assert told(replace(QUIET, lanes=(replace(RESCUE, lane="upkeep", oldest_blocks=400),))) == []


def test_messages_hold_the_figures() -> None:
    watch = replace(QUIET, accounts=(replace(ACCOUNT, balance=500, hourly_budget=110),), notices=(NOTICE,))
    assert [alert.message for alert in alerts(watch, Limits())] == [
        "100 of the 110 micro-STX are spent that it may spend in an hour",
        "500 micro-STX are left, which lasts for 5 hours",
        "reconcile policy:7: differs",
    ]


def test_the_defaults_are_those_of_the_settings() -> None:
    settings = Keeper()
    assert Limits() == Limits(
        runway_hours=settings.alert_runway_hours,
        budget_percent=settings.alert_budget_percent,
        rescue_blocks=settings.alert_rescue_blocks,
    )


def test_the_page_says_what_to_do_about_each() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("## Alerts")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == sorted(ALERTS, key=lambda name: table.index(f"`{name}`"))


def test_the_log_says_when_one_begins_and_ends() -> None:
    alert_log, alert = AlertLog(), Alert(alert="job_stopped", subject="settle", message="u1")
    with capture_logs() as lines:
        alert_log.tell([alert])
        alert_log.tell([alert])
        assert ALERT.labels("job_stopped")._value.get() == 1
        alert_log.tell([])
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("keeper.alert", "error"),
        ("keeper.alert_over", "info"),
    ]
    assert ALERT.labels("job_stopped")._value.get() == 0
