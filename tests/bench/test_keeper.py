"""A crash in a congested mempool: how long it takes until everything is mined, and what it costs.

The keeper, each account of which has lanes of its own, against a loop that has one account, one fee and no order; both
decide with the same functions, on the same chain of the same seed. A block is mined when all accounts have had a turn,
so that a busy machine changes no figure. `CLARION_BENCH_POSITIONS` (200), `CLARION_BENCH_DUE` (120) and
`CLARION_BENCH_BLOCKS` (200) say how much. Takes about ten minutes.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from bench.report import Report
from support.stage import Stage, accounts_of
from support.storm import JOBS, Storm, Weather
from support.storm_run import Deed, Outcome, Sent, out_of_order, outcome, sent_by, staged_storm, twice

from clarion.chains.stacks.clarity import contract_principal
from clarion.chains.stacks.node_client import NodeClient, NodeError, TransactionRejectedError
from clarion.chains.stacks.payloads import ContractCall
from clarion.chains.stacks.post_conditions import PostConditionMode
from clarion.chains.stacks.signing import signed_transaction
from clarion.config import Lane, Settings
from clarion.dev.accounts import NETWORK, account
from clarion_keeper.graph import GraphError, Reader
from clarion_keeper.intents import Intent
from clarion_keeper.job import Job, JobContext, load_jobs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(0)]

POSITIONS = int(os.environ.get("CLARION_BENCH_POSITIONS", "200"))
DUE = int(os.environ.get("CLARION_BENCH_DUE", "120"))
BLOCKS = int(os.environ.get("CLARION_BENCH_BLOCKS", "200"))
CAPACITY = max(6, POSITIONS // 10)
"""Transactions that a block takes."""
SIZE: dict[str, Any] = {"positions": POSITIONS, "due": DUE, "seed": 12_03_2020}
WEATHER = Weather(
    capacity=CAPACITY,
    strangers=3 * CAPACITY,
    calm_fees=(20, 40),
    wild_fees=(200, 400),
    wild_blocks=60,
    dropped=0.2,
    drop_every=5,
    burn_every=6,
)
"""Fees in micro-STX a byte: a call of 350 bytes pays 7,000 to 14,000 before the storm, ten times as much in it."""
NAIVE_FEE = 15_000
"""What gets a call into the next block before the storm."""
CHAINED = 25
NAIVE = account("naive")
ROLES = {"rescuer": ["rescue"], "settler": ["settle"]}
HOURLY_BUDGET = 3 * (POSITIONS + DUE) * 10**6
"""What an account may spend in an hour, in micro-STX: three times the highest fee for each position and policy."""


class NaiveLoop:
    """One account, one nonce after the other, one fee: what it finds first it sends first, and then it waits."""

    def __init__(self, node: NodeClient, reader: Reader, settings: Settings, chain_id: int) -> None:
        self._node = node
        self._reader = reader
        self._sender = NAIVE
        self._deployer = settings.deployers["bithedge"]
        self._chain_id = chain_id
        context = JobContext(
            settings=settings,
            network=NETWORK,
            deployers=settings.deployers,
            addresses=dict.fromkeys(Lane, NAIVE.address),
        )
        self._jobs = [job for job in load_jobs(context) if job.name in JOBS]
        self._waiting: dict[int, tuple[bytes, tuple[str, ...]]] = {}

    async def turn(self) -> None:
        """Forget what was mined, send again what waits, and sign what is due until no more can be chained."""
        confirmed = (await self._node.account(self._sender.address)).nonce
        self._waiting = {nonce: sent for nonce, sent in self._waiting.items() if nonce >= confirmed}
        for raw, _ in self._waiting.values():
            await self._send(raw)
        nonce = confirmed + len(self._waiting)
        taken = {key for _, keys in self._waiting.values() for key in keys}
        for job in self._jobs:
            if nonce - confirmed >= CHAINED:
                return
            due = [intent for intent in await self._due(job) if intent.key not in taken]
            for start in range(0, len(due), job.batch_size):
                if nonce - confirmed >= CHAINED:
                    return
                batch = due[start : start + job.batch_size]
                raw = self._signed(job, batch, nonce)
                if await self._send(raw):
                    self._waiting[nonce] = raw, tuple(intent.key for intent in batch)
                    nonce += 1

    async def _due(self, job: Job[Any]) -> Sequence[Intent]:
        try:
            return job.check(await job.read(self._reader))
        except GraphError:
            return ()

    async def _send(self, raw: bytes) -> bool:
        try:
            await self._node.send(raw)
        except TransactionRejectedError as error:
            return error.reason == "ConflictingNonceInMempool"
        except NodeError:
            return False
        return True

    def _signed(self, job: Job[Any], batch: Sequence[Intent], nonce: int) -> bytes:
        call = job.call([intent.item for intent in batch])
        contract = call.contract if "." in call.contract else f"{self._deployer}.{call.contract}"
        return signed_transaction(
            ContractCall(contract_principal(contract), call.function, call.arguments),
            self._sender.key,
            nonce=nonce,
            fee=NAIVE_FEE,
            network=NETWORK,
            post_conditions=call.post_conditions,
            post_condition_mode=PostConditionMode.ORIGINATOR,
            chain_id=self._chain_id,
        ).encode()


async def play(stage: Stage, storm: Storm, turn: Callable[[], Awaitable[None]]) -> Outcome:
    """The crash, and blocks until everything is done or there were enough of them, with a turn before each."""
    await storm.congest(WEATHER, wild=False)
    for _ in range(5):
        await storm.mine()
    await storm.crash()
    await storm.congest(WEATHER, wild=True)
    while True:
        await stage.caught_up()
        found = outcome(stage.database, storm)
        if not found.left or storm.blocks >= BLOCKS:
            return found
        await turn()
        await storm.step(WEATHER)


def percentile(deeds: Sequence[Deed], left: int, part: int) -> str:
    """In blocks; what was left undone counts as never."""
    ordered = sorted(deed.blocks for deed in deeds)
    place = -(-(len(ordered) + left) * part // 100) - 1
    return str(ordered[place]) if 0 <= place < len(ordered) else "not in time"


def tell(report: Report, who: str, found: Outcome, sent: Sequence[Sent]) -> None:
    """Rows of the report."""
    wrecks = POSITIONS - len(found.liquidated)
    for what, deeds, left in (
        ("margin calls", found.called, POSITIONS - len(found.called)),
        ("liquidations", found.liquidated, wrecks),
        ("settlements", found.settled, DUE - len(found.settled)),
    ):
        report.add(
            "Trigger to mined, in blocks",
            {
                "": who,
                "what": what,
                "done": f"{len(deeds)} of {len(deeds) + left}",
                "p50": percentile(deeds, left, 50),
                "p99": percentile(deeds, left, 99),
                "twice": str(twice(deeds)),
                "out of order": str(out_of_order(deeds)),
            },
        )
    fees = {one.tx_id: one.fee for one in sent}
    earned = sum(deed.bounty for deed in found.liquidated if deed.tx_id in fees)
    report.add(
        "What it cost",
        {
            "": who,
            "transactions": str(len(sent)),
            "in vain": str(sum(1 for one in sent if one.status != "success")),
            "fees in STX": str(sum(fees.values()) // 10**6),
            "bounties in STX": str(earned // 10**6),
            "at a loss": str(
                sum(1 for deed in found.liquidated if deed.tx_id in fees and deed.bounty < fees[deed.tx_id])
            ),
            "highest fee in micro-STX": str(max(fees.values(), default=0)),
            "until the last": f"{max(deed.height for deed in found.deeds) - found.began} blocks" if found.deeds else "",
        },
    )


async def test_a_loop_of_one_account_and_one_fee(
    new_index: Callable[[], str], bench_folder: Path, report: Report
) -> None:
    """What it would be without lanes, replacement and fees that follow the market."""
    folder = bench_folder / "loop"
    folder.mkdir()
    async with (
        staged_storm(new_index(), folder, **SIZE, keeper={}, accounts=[NAIVE], runs=False) as (stage, storm),
        Reader(stage.settings.keeper.graphql_url) as reader,
    ):
        loop = NaiveLoop(stage.node, reader, stage.settings, (await stage.node.info()).chain_id)
        found = await play(stage, storm, loop.turn)
        tell(report, "loop", found, sent_by(stage.database, [NAIVE.address]))


async def test_everything_is_mined_although_blocks_are_full(
    new_index: Callable[[], str], bench_folder: Path, report: Report
) -> None:
    """The keeper in the same storm: everything, once, and at no loss."""
    folder = bench_folder / "keeper"
    folder.mkdir()
    given, accounts = accounts_of(folder, ROLES)
    budgets = {name: {**one, "hourly_budget": HOURLY_BUDGET} for name, one in given.items()}
    keeper = {"accounts": budgets, "jobs": [*JOBS]}
    async with staged_storm(new_index(), folder, **SIZE, keeper=keeper, accounts=accounts, runs=True) as (stage, storm):
        found = await play(stage, storm, stage.keeper_turned)
        sent = sent_by(stage.database, [one.address for one in accounts])
        tell(report, "keeper", found, sent)
        fees = {one.tx_id: one.fee for one in sent}
        everything = (found.called, found.liquidated, found.settled)
        assert [len(deeds) for deeds in everything] == [POSITIONS, POSITIONS, DUE]
        assert [twice(deeds) for deeds in everything] == [0, 0, 0]
        assert [out_of_order(deeds) for deeds in everything] == [0, 0, 0]
        assert {deed.tx_id for deed in found.deeds} <= fees.keys(), "the keeper itself did it"
        assert [one for one in sent if one.status != "success"] == []
        assert all(deed.bounty >= fees[deed.tx_id] for deed in found.liquidated)
