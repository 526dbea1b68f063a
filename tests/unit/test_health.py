"""What the probes answer, without a database."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import psycopg
import pytest
from prometheus_client import CollectorRegistry, Gauge
from starlette.applications import Starlette

from clarion.config import Ready
from clarion.health import BatchWatch, IndexFacts, IndexHealth, SourceFacts, facts_json, probe_routes
from clarion.source_health import SourceState

SOURCE = SourceFacts("observer:10.0.0.7", "observer", 100, SourceState.HEALTHY, None, 1.0)
REVISION = IndexHealth("", "stacks", Ready())._revision
WELL = IndexFacts(REVISION, 100, bytes(32), 7, 90, 5.0, 0, 0, 0.0, (SOURCE,))


def test_a_healthy_index_is_ready() -> None:
    assert IndexHealth("", "stacks", Ready()).reasons(WELL) == []
    assert facts_json(WELL)["sources"] == [
        {
            "name": "observer:10.0.0.7",
            "kind": "observer",
            "height": 100,
            "state": "healthy",
            "detail": None,
            "age_ms": 1000,
        }
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"revision": "older"}, "the database is at revision older, not at"),
        ({"height": None}, "nothing is indexed yet"),
        ({"height": 79}, "the index is 21 blocks behind: more than ready.max_lag_blocks"),
        ({"inbox_oldest_seconds": 121.0}, "a post has been waiting for 121 s: more than ready.max_lag_seconds"),
        ({"inbox_failed": 1}, "1 posts could not be applied"),
        ({"sources": (replace(SOURCE, state=SourceState.BEHIND),)}, "no source is healthy"),
        ({"sources": ()}, "no source is healthy"),
        (
            {"sources": (SOURCE, replace(SOURCE, state=SourceState.REWRITES_FINAL, detail="a branch"))},
            "source observer:10.0.0.7 rewrites what is final: a branch",
        ),
    ],
)
def test_each_fault_has_its_reason(change: dict[str, Any], reason: str) -> None:
    (found,) = IndexHealth("", "stacks", Ready()).reasons(replace(WELL, **change))
    assert found.startswith(reason)


@pytest.mark.parametrize("change", [{"height": 80}, {"inbox_oldest_seconds": 120.0}])
def test_limits_may_be_reached(change: dict[str, Any]) -> None:
    assert IndexHealth("", "stacks", Ready()).reasons(replace(WELL, **change)) == []


@pytest.mark.parametrize("state", [state for state in SourceState if state is not SourceState.HEALTHY])
def test_only_healthy_sources_say_how_far_the_chain_is(state: SourceState) -> None:
    other = replace(SOURCE, height=5000, state=state)
    assert replace(WELL, sources=(SOURCE, other)).lag_blocks == 0
    assert replace(WELL, sources=(other,)).lag_blocks is None
    assert replace(WELL, sources=()).lag_blocks is None
    assert replace(WELL, sources=(replace(SOURCE, height=101),)).lag_blocks == 1


def test_a_batch_that_takes_too_long_is_told_while_it_lasts() -> None:
    now = 0.0
    watch = BatchWatch(max_seconds=10, clock=lambda: now)
    with watch:
        now = 10.0
        assert watch.reasons() == []
        now = 11.0
        assert watch.reasons() == ["a batch has been taking 11 s: more than ready.max_batch_seconds"]
    assert watch.reasons() == []
    with pytest.raises(ZeroDivisionError), watch:
        _ = 1 / 0
    now = 1000.0
    assert watch.reasons() == []


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


async def test_routes_answer_as_their_probes_say(registry: CollectorRegistry) -> None:
    height = Gauge("height", "Height.", registry=registry)
    broken: list[str] = []

    async def alive() -> tuple[list[str], dict[str, Any]]:
        return [], {}

    async def ready() -> tuple[list[str], dict[str, Any]]:
        return broken, {"height": 7}

    async def measure() -> None:
        if broken:
            raise psycopg.OperationalError("away")
        height.set(7)

    app = Starlette(routes=probe_routes(alive, ready, measure, registry))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://probes") as client:
        assert (await client.get("/healthz")).json() == {"alive": True, "reasons": []}
        assert (await client.get("/readyz")).json() == {"ready": True, "reasons": [], "height": 7}
        metrics = await client.get("/metrics")
        assert metrics.headers["content-type"].startswith("text/plain; version=")
        assert "height 7.0" in metrics.text
        broken.append("why")
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()) == (503, {"ready": False, "reasons": ["why"], "height": 7})
        assert "height 7.0" in (await client.get("/metrics")).text, "the last that is known"
        assert (await client.get("/healthz")).status_code == 200
