"""The probes of the keeper's process, and what it says in its log and to Prometheus while it runs."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import psycopg
from structlog.testing import capture_logs
from support.keeper_rows import add_account, add_attempt, add_intent, add_outgoing, lead

from clarion.config import Keeper, Settings
from clarion.config import Metrics as MetricsSettings
from clarion_keeper.views.health import SILENT_SECONDS, watching
from clarion_keeper.views.metrics import Metrics

SETTINGS = Settings(metrics=MetricsSettings(port=0), keeper=Keeper(alert_runway_hours=5))


async def test_probes_and_metrics(database_url: str, connection: psycopg.Connection[Any]) -> None:
    now = [0.0]
    metrics = Metrics(clock=lambda: now[0])
    breakers = {"http://node": "opened"}
    with capture_logs() as lines:
        async with (
            watching(SETTINGS, database_url, metrics, lambda: breakers) as url,
            httpx.AsyncClient(base_url=url or "", timeout=30) as client,
        ):
            assert (await client.get("/healthz")).status_code == 200
            answer = await client.get("/readyz")
            assert (answer.status_code, answer.json()["reasons"]) == (503, ["no keeper has led yet"])

            lead(connection)
            answer = await client.get("/readyz")
            assert (answer.status_code, answer.json()["leader"], answer.json()["alerts"]) == (200, "here:1:ab", [])

            add_account(connection, "daily", balance=400, spent_last_hour=100)
            outgoing = add_outgoing(connection)
            add_attempt(connection, outgoing, 1, state="replaced")
            add_attempt(connection, outgoing, 2)
            add_intent(connection, state="sent", outgoing_id=outgoing, lane="rescue")
            mined = add_outgoing(connection, nonce=5, state="mined", fee_paid=300)
            for number, earned in ((1, 1_000), (2, 2**80)):
                done = {"state": "done", "outgoing_id": mined, "earned_token": "STX", "earned_amount": earned}
                add_intent(connection, key=f"done:{number}", **done)
            spell = add_outgoing(connection, chain="bitcoin", nonce=None, state="final", fee_paid=7_890)
            add_intent(connection, key="lost", chain="bitcoin", state="cancelled", outgoing_id=spell)
            other = {"state": "done", "earned_token": "ST1.token", "earned_amount": 5}
            add_intent(connection, key="before", **other)
            connection.execute("UPDATE keeper.intent SET ended_at = now() WHERE state IN ('done', 'cancelled')")
            connection.execute("UPDATE keeper.intent SET ended_at = now() - interval '2 days' WHERE key = 'before'")
            text = (await client.get("/metrics")).text
            for line in (
                'clarion_keeper_queue{lane="rescue"} 1.0',
                'clarion_keeper_queue{lane="settle"} 0.0',
                'clarion_keeper_profit{token="STX"} 1.2089258196146292e+24',
                'clarion_keeper_profit{token="BTC"} -7890.0',
                'clarion_keeper_stuck{account="daily"} 1.0',
                'clarion_keeper_balance{account="daily"} 400.0',
                'clarion_keeper_runway_hours{account="daily"} 4.0',
                'clarion_keeper_breaker_open{server="http://node"} 1.0',
                'clarion_keeper_alert{alert="funds_run_out"} 1.0',
                'clarion_keeper_alert{alert="no_leader"} 0.0',
            ):
                assert line in text.splitlines(), line
            assert 'clarion_keeper_profit{token="ST1.token"}' not in text
            # an alert that is no reason to take what is served for wrong
            assert (await client.get("/readyz")).status_code == 200

            connection.execute("INSERT INTO keeper.control (job, paused, reason) VALUES ('*', true, 'by hand')")
            answer = await client.get("/readyz")
            assert (answer.status_code, answer.json()["reasons"]) == (503, ["by hand"])

            now[0] = SILENT_SECONDS + 1
            answer = await client.get("/healthz")
            assert (answer.status_code, answer.json()["alive"]) == (503, False)
    told = [(line["event"], line.get("alert"), line["log_level"]) for line in lines]
    assert told.count(("keeper.alert", "no_leader", "error")) == 1
    assert told.count(("keeper.alert", "funds_run_out", "error")) == 1
    assert ("keeper.alert_over", "no_leader", "info") in told


async def test_without_a_port_alerts_are_told_all_the_same(
    database_url: str, connection: psycopg.Connection[Any]
) -> None:
    lead(connection, seconds=-1)
    metrics = Metrics()
    with capture_logs() as lines:
        async with watching(Settings(), database_url, metrics) as url:
            assert url is None
            while not lines:
                connection.execute("SELECT pg_sleep(0.01)")
                await asyncio.sleep(0)
    assert (lines[0]["event"], lines[0]["alert"]) == ("keeper.alert", "no_leader")
