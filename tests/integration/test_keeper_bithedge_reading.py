"""What BitHedge's jobs read over GraphQL is enough: they decide as on all rows, at many blocks of a recorded run."""

from __future__ import annotations

import builtins
import contextlib
import os
import random
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from psycopg import Connection
from support.bithedge_twin import RowsSource
from support.graphql import Server, answering

from clarion.dev.accounts import DEPLOYER
from clarion.protocols.bithedge import protocol
from clarion.protocols.bithedge.state import State
from clarion.protocols.bithedge.units import BurnHeight
from clarion.store.database import connect
from clarion.store.time_travel import as_of_query
from clarion_graphql.app import make_app
from clarion_keeper.bithedge import JOBS
from clarion_keeper.bithedge.incentives import EpochRoot, PostRewardRoot, RewardRootDiffers, Roots
from clarion_keeper.bithedge.margins import IssueMarginCall, open_calls
from clarion_keeper.bithedge.reading import TABLES, BitHedgeState, Index
from clarion_keeper.graph import Reader


@pytest.fixture
async def server(recorded_bithedge_url: str) -> AsyncIterator[Server]:
    deployed = protocol.deployed_by(DEPLOYER.address)
    app = make_app(recorded_bithedge_url, protocols=[protocol], deployed={"bithedge": deployed})
    async with answering(app) as running:
        yield running


@pytest.fixture
def connection(recorded_bithedge_url: str) -> Iterator[Connection[Any]]:
    with connect(recorded_bithedge_url) as opened:
        yield opened


def reader(server: Server, height: int | None = None) -> Reader:
    return Reader("http://test/graphql", transport=httpx.ASGITransport(server.app), as_of=height)


def all_rows(connection: Connection[Any], state: BitHedgeState) -> BitHedgeState:
    """Every row of the tables that jobs read, as it was at the state's block."""
    height = state.receipt.height
    images = {}
    for row_type in (row_type for row_type in protocol.row_types if row_type.model in TABLES):
        query, values = as_of_query(row_type.name, height, "stacks")
        (text,) = connection.execute(query, values).fetchone() or ("",)
        rows = connection.execute(f"SELECT to_jsonb(t) FROM ({text}) t").fetchall()
        images[row_type.model] = [image for (image,) in rows]
    chain = State(RowsSource(images), DEPLOYER.address, height, BurnHeight(state.burn))
    return BitHedgeState(state.receipt, chain)


@contextlib.contextmanager
def walled_off() -> Iterator[None]:
    """Whatever asks for the time, for luck, a file or a connection meanwhile fails."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a check asks the world outside of its state")

    with pytest.MonkeyPatch.context() as patch:
        for module, name in WORLD:
            patch.setattr(module, name, refuse)
        yield


WORLD = (
    *((time, name) for name in ("time", "time_ns", "monotonic", "monotonic_ns", "sleep")),
    *((random, name) for name in ("random", "randrange", "choice")),
    (os, "urandom"),
    (socket, "socket"),
    (builtins, "open"),
)
JOB_BY_NAME = {job.name: job for job in JOBS}
HAPPENED = {
    "close-round": "SELECT max(closed_height) FROM bithedge.price_round WHERE state = 'closed'",
    "fix-expiry-price": "SELECT max(fixed_height) FROM bithedge.expiry_price",
    "settle": "SELECT max(settled_height) FROM bithedge.policy WHERE state = 'settled-itm'",
    "issue-margin-call": "SELECT max(issued_height) FROM bithedge.margin_call",
    "escalate-margin-call": "SELECT max(escalated_height) FROM bithedge.margin_call",
    "resolve-margin-call": "SELECT max(resolved_height) FROM bithedge.margin_call",
    "liquidate": "SELECT max(height) FROM bithedge.liquidation",
    "cover-shortfall": "SELECT max(height) FROM bithedge.fund_payment",
    "complete-recovery": "SELECT max(ended_height) FROM bithedge.recovery_plan",
    "finalize-proposal": "SELECT max(finalized_height) FROM bithedge.proposal",
    "execute-proposal": "SELECT max(ended_height) FROM bithedge.proposal WHERE state = 'executed'",
    "expire-proposal": "SELECT max(ended_height) FROM bithedge.proposal WHERE state = 'expired'",
    "collect-platform-fees": "SELECT max(height) FROM bithedge.treasury_entry WHERE kind = 'fee-collected'",
    "distribute-fees": "SELECT max(height) FROM bithedge.treasury_entry WHERE kind = 'fee-distributed'",
    "claim-fund-share": "SELECT max(height) FROM bithedge.fund_entry WHERE kind = 'share'",
    "withdrawal-reminder": "SELECT max(withdrawn_height) FROM bithedge.withdraw_request",
    "draw-program-funds": "SELECT max(height) FROM bithedge.program_entry WHERE kind = 'budget-added'",
}
"""When what a job does was last done in the recorded run: in the block before, it was to be done."""


async def test_jobs_decide_on_what_they_read_as_on_everything(server: Server, connection: Connection[Any]) -> None:
    index = Index(DEPLOYER.address)
    found: Counter[str] = Counter()
    for name, query in HAPPENED.items():
        (happened,) = connection.execute(query).fetchone() or (None,)
        if happened is None:
            continue
        job = JOB_BY_NAME[name](index, DEPLOYER.address)
        async with reader(server, happened - 1) as at:
            state = await job.read(at)
        with walled_off():
            due = job.check(state)
            assert job.check(state) == due, name
        assert due == job.check(all_rows(connection, state)), (name, happened)
        found[name] += len(due)
    assert len([name for name, count in found.items() if count]) >= 8, found


async def test_who_is_called_on_is_who_the_api_shows_below_its_ratio(
    server: Server, connection: Connection[Any]
) -> None:
    job = IssueMarginCall(Index(DEPLOYER.address))
    question = """
        query ($token: String!) {
          liquidatablePositions(token: $token, below: WARNING, first: 200) { provider tier token }
        }"""
    calls = connection.execute(
        "SELECT issued_height, token FROM bithedge.margin_call ORDER BY id DESC LIMIT 4"
    ).fetchall()
    assert calls
    for issued, token in calls:
        async with reader(server, issued - 1) as at:
            state = await job.read(at)
            shown, _ = await at.query(question, {"token": token})
        below = {(node["provider"], node["tier"], node["token"]) for node in shown["liquidatablePositions"]}
        due = {(one.item["provider"], one.item["tier"], one.item["token"]) for one in job.check(state)}
        assert {key for key in due if key[2] == token} == below - open_calls(state.chain).keys()
        assert due


async def test_every_job_reads_at_the_tip(server: Server, connection: Connection[Any]) -> None:
    index = Index(DEPLOYER.address)
    async with reader(server) as at:
        whole: BitHedgeState | None = None
        for job in [job(index, DEPLOYER.address) for job in JOBS]:
            state = await job.read(at)
            whole = whole or all_rows(connection, state)
            with walled_off():
                due = job.check(state)
            assert due == job.check(whole), job.name


async def test_rules_are_read_once_a_block(server: Server) -> None:
    index = Index(DEPLOYER.address)
    asked: list[str] = []

    class Counted(Reader):
        async def query(self, document: str, *rest: Any, **more: Any) -> Any:
            asked.append(document)
            return await super().query(document, *rest, **more)

    async with Counted("http://test/graphql", transport=httpx.ASGITransport(server.app)) as at:
        for job in JOBS:
            await job(index).read(at)
    assert sum("KeeperRules" in document for document in asked) == 1


@pytest.mark.slow
async def test_roots_that_were_posted_follow_from_the_events_by_both_computations(
    server: Server, connection: Connection[Any]
) -> None:
    found = connection.execute(
        "SELECT program, epoch, root, total::bigint, leaves, posted_height FROM bithedge.program_epoch "
        "WHERE state <> 'voided' ORDER BY posted_height DESC LIMIT 1"
    ).fetchone()
    assert found is not None
    program, epoch, root, total, leaves, height = found
    index = Index(DEPLOYER.address)
    roots = Roots(index)
    async with reader(server, height) as at:
        state = await roots.state(at)
    (expected,) = (one for one in state.expected if (one.program, one.epoch) == (program, epoch))
    assert expected.own == expected.api == EpochRoot(root, total, leaves)
    assert RewardRootDiffers(roots).check(state) == PostRewardRoot(index, "ST1", roots).check(state) == []


async def test_an_epoch_that_is_not_over_has_no_rewards_yet(server: Server) -> None:
    for program, epoch in ((1, 0), (1, 1_000), (1_000, 1)):
        question = f"{{ epochRewards(program: {program}, epoch: {epoch}) {{ root total leaves }} }}"
        assert await server.data(question) == {"epochRewards": None}
