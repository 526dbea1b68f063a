"""The examples that docs/keeper.md goes through: a job in one file, and a third party's bot."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from graphql import parse, validate
from support.committed_schema import committed_schema

from clarion.chains.stacks.clarity import Bool, Err, Ok, UInt, contract_principal
from clarion.chains.stacks.networks import Network
from clarion.config import Keeper, Settings
from clarion_keeper.graph import Reader
from clarion_keeper.intents import Amount, Lane, Verdict
from clarion_keeper.job import Job, JobContext, load_jobs

ROOT = Path(__file__).resolve().parents[3]
JOB, BOT = ROOT / "examples" / "exercise_job.py", ROOT / "examples" / "liquidation_bot.py"
DEPLOYER, OWNER = "ST1PQHQKV0RJXZFY1DGX8MNSNYVE3VGZJSRTPGZGM", "ST2CY5V39NHDPWSXMW9QDT3HC3GD6Q6XX4CFRK9AG"
TOKEN = f"{DEPLOYER}.bh-stx"
RECEIPT = {"chain": "STACKS", "height": 40, "hash": "0x28", "burnHeight": 100, "sequence": "9"}


def context(addresses: dict[Lane, str]) -> JobContext:
    settings = Settings(protocols=[], keeper=Keeper(job_files=[JOB], jobs=["exercise-ours"] if addresses else None))
    return JobContext(settings, Network.TESTNET, {"bithedge": DEPLOYER}, addresses)


@pytest.fixture
def job() -> Job[Any]:
    (job,) = [job for job in load_jobs(context({Lane.SETTLE: OWNER})) if job.name == "exercise-ours"]
    return job


def answer(request: httpx.Request) -> httpx.Response:
    asked = json.loads(request.content)
    if "exerciseCheck" in asked["query"]:
        pays = asked["variables"]["policy"] != 8
        check = {"eligible": pays, "payout": "70" if pays else None, "payoffUsd8": "50" if pays else None}
        data: dict[str, Any] = {"exerciseCheck": check}
    elif "policies" in asked["query"]:
        assert (asked["variables"]["owner"], asked["variables"]["until"]) == (OWNER, 106)
        nodes = [{"id": number, "token": TOKEN, "expiryBurn": 104} for number in (7, 8)]
        data = {"policies": {"nodes": nodes, "pageInfo": {"hasNextPage": False, "endCursor": None}}}
    else:
        data = {"blocks": {"nodes": [{"height": 40}]}}
    return httpx.Response(200, json={"data": data, "extensions": {"receipt": RECEIPT}})


async def test_the_job_decides_on_what_graphql_says(job: Job[Any]) -> None:
    async with Reader("http://test/graphql", transport=httpx.MockTransport(answer)) as reader:
        state = await job.read(reader)
    assert state.receipt.height == 40
    (intent,) = job.check(state)
    assert (intent.key, intent.entity, intent.deadline_burn) == ("exercise-ours:7", "policy:7", 103)
    assert (intent.value_usd8, intent.reward) == (50, Amount(token=TOKEN, amount=70))
    assert job.check(state) == [intent]
    call = job.call([intent.item])
    assert (call.contract, call.function) == (f"{DEPLOYER}.bh-policy", "exercise")
    assert call.arguments == (UInt(7), contract_principal(TOKEN))


@pytest.mark.parametrize(
    ("result", "verdict", "benign"),
    [
        (Ok(Bool(True)), Verdict.DONE, False),
        (Err(UInt(6012)), Verdict.DONE, True),
        (Err(UInt(6020)), Verdict.AGAIN, False),
        (Err(UInt(6015)), Verdict.FAILED, False),
        (None, Verdict.FAILED, False),
    ],
)
def test_the_job_knows_its_endings(job: Job[Any], result: Any, verdict: Verdict, benign: bool) -> None:
    (outcome,) = job.outcomes([{"policy": 7, "token": TOKEN}], result)
    assert (outcome.verdict, outcome.benign) == (verdict, benign)


def test_without_an_account_of_its_lane_there_is_no_job() -> None:
    assert "exercise-ours" not in {job.name for job in load_jobs(context({}))}


def documents() -> Iterator[str]:
    """Every GraphQL document in the examples."""
    for path in (JOB, BOT):
        text = path.read_text(encoding="utf-8")
        for found in re.findall(
            r'"""((?:query|mutation).*?)"""|"((?:query|mutation|subscription)[ (][^"]*)"', text, re.S
        ):
            document = (found[0] or found[1]).strip()
            if "%s" in document:
                for name in ("IssueMarginCall", "EscalateMarginCall", "Liquidate"):
                    yield document.replace("%s", name)
            else:
                yield document


@pytest.mark.parametrize("document", list(documents()), ids=lambda document: document[:30])
def test_documents_fit_the_schema(document: str) -> None:
    assert validate(committed_schema(), parse(document)) == []


def test_the_bot_is_short_and_reads_nothing_but_graphql() -> None:
    text = BOT.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 100
    assert set(re.findall(r"^(?:from|import) (\w[\w.]*)", text, re.MULTILINE)) == {
        "sys",
        "pathlib",
        "typing",
        "httpx",
        "clarion.chains.stacks.keys",
        "clarion.chains.stacks.networks",
        "clarion.chains.stacks.signing",
        "clarion.chains.stacks.transactions",
    }
    assert len(list(documents())) >= 9
