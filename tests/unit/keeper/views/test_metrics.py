"""What Prometheus is told of the keeper."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from clarion.config import BreakerPreset
from clarion_keeper.breakers import Breakers, states_of_all
from clarion_keeper.executor import Fate
from clarion_keeper.intents import Amount, Lane, Outcome, Verdict
from clarion_keeper.store.intents import Stored
from clarion_keeper.views import metrics
from clarion_keeper.views.metrics import Metrics, set_breakers

PAGE = Path(__file__).parents[4] / "docs" / "keeper.md"


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def stored(**given: object) -> Stored:
    values = {
        "id": 1,
        "key": "settle:7",
        "job": "settle",
        "lane": Lane.SETTLE,
        "chain": "stacks",
        "item": {},
        "state": "sent",
        "value_usd8": 0,
        "reward": None,
        "deadline_burn": None,
        "entity": "",
        "decided_sequence": 1,
        "first_burn": 1,
        "outgoing_id": 1,
        "waiting": None,
    }
    return Stored(**{**values, **given})  # type: ignore[arg-type]


def test_what_was_mined_is_counted_with_its_fee_time_and_gain() -> None:
    before = {
        "fees": value("clarion_keeper_fees_total", account="a"),
        "earned": value("clarion_keeper_earned_total", token="STX"),
        "count": value("clarion_keeper_mined_seconds_count", lane="rescue"),
        "sum": value("clarion_keeper_mined_seconds_sum", lane="rescue"),
    }
    earned = Outcome(Verdict.DONE, "liquidated", earned=Amount(token="STX", amount=70))
    again = Outcome(Verdict.AGAIN, "not yet")
    intent = stored(lane=Lane.RESCUE, age_seconds=42)
    heard = Metrics()
    heard.mined("a", [(intent, earned), (intent, again)])
    assert value("clarion_keeper_mined_seconds_count", lane="rescue") - before["count"] == 1
    assert value("clarion_keeper_mined_seconds_sum", lane="rescue") - before["sum"] == 42
    assert value("clarion_keeper_fees_total", account="a") == before["fees"], "a reorganisation may undo it"
    heard.final("a", 500, [Amount(token="STX", amount=70)])
    assert value("clarion_keeper_fees_total", account="a") - before["fees"] == 500
    assert value("clarion_keeper_earned_total", token="STX") - before["earned"] == 70


def test_attempts_are_counted_by_what_became_of_them() -> None:
    heard = Metrics()
    heard.signed("b", Lane.SETTLE, "settle", fee=1, attempt=1)
    heard.signed("b", Lane.SETTLE, "settle", fee=2, attempt=2)
    heard.refused("b", "settle", "max_fee")
    heard.lost("b", "settle", Fate.DISPLACED, "nonce taken")
    heard.lost("b", "settle", Fate.PENDING, "reorg")
    for outcome in ("signed", "replaced", "refused", "displaced", "reorg"):
        assert value("clarion_keeper_attempts_total", account="b", outcome=outcome) == 1


def test_how_long_the_engine_has_been_silent() -> None:
    now = [100.0]
    heard = Metrics(clock=lambda: now[0])
    now[0] = 130.0
    assert heard.silent_seconds == 30
    heard.leads(True)
    assert heard.silent_seconds == 0
    assert value("clarion_keeper_leads") == 1


def test_a_server_that_is_left_alone_is_told_of() -> None:
    set_breakers({"http://a": "opened", "http://b": "closed", "http://c": "half-opened"})
    assert [value("clarion_keeper_breaker_open", server=f"http://{name}") for name in "abc"] == [1, 0, 0]


def test_the_page_names_every_metric() -> None:
    named = set(re.findall(r"`(clarion_keeper_\w+?)(?:_total)?[{`]", PAGE.read_text(encoding="utf-8")))
    there = {
        found._name for found in vars(metrics).values() if getattr(found, "_name", "").startswith("clarion_keeper_")
    }
    assert there == named


async def test_breakers_are_told_of_wherever_they_are_used() -> None:
    async def fail() -> None:
        raise ConnectionError

    async def work() -> None:
        pass

    one, other = Breakers(BreakerPreset.STRICT), Breakers(BreakerPreset.STRICT)
    await other.call("http://node", work)
    for _ in range(3):
        with pytest.raises(ConnectionError):
            await one.call("http://node", fail)
    await other.call("http://node", work)
    assert states_of_all()["http://node"] == "opened"
    set_breakers(states_of_all())
    assert value("clarion_keeper_breaker_open", server="http://node") == 1
