"""kill -9 at every step of a spell's way to Bitcoin: nothing lost, nothing doubled, every satoshi accounted for.

A keeper in a process of its own dies at a step; where and what happens on the chain meanwhile is seeded. The next
keeper does the rest, and the books are compared with the chain.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

import psutil
import pytest
from e2e.flow import until
from support.keeper_process import Keepers, lease_over
from support.keeper_regtest import BONUS, CHARMED, STEPS, Town, in_process_parts, keeping, town_of

from clarion.chains.bitcoin.transactions import BitcoinTransaction, write_transaction
from clarion.config import Settings
from clarion.dev.bitcoin.chain import transaction_fee
from clarion.dev.bitcoin.zkusd_apps import SCROLLS
from clarion.dev.bitcoin.zkusd_scenario import KEEPER

WAIT_SECONDS = 120
REPLACE_AFTER = 2
CAUSE_BLOCKS = 6
"""Without the last blocks of the fall nothing is to be liquidated yet."""
TURNS = 12
"""More than any keeper needs to do the rest."""

ASKING, SIGNING = STEPS[:2], STEPS[2:]
FOLLOWING = ("followed", "applied")
SENDING = ("read", "decided", *FOLLOWING, *ASKING, "drafted", *SIGNING, "signed", "stored", "sent", "answered")
REPLACING = (*FOLLOWING, "replacement drafted", *SIGNING, "replacement signed", "replacement stored")


@pytest.fixture(scope="module")
def keepers() -> Iterator[Keepers]:
    with Keepers("support.zkusd_keeper_process") as keepers:
        yield keepers


@dataclass
class Scene:
    """A town after the fall, in which a vault is to be liquidated."""

    town: Town
    settings: Settings
    url: str
    keepers: Keepers
    funds: int
    height: int
    seen: set[bytes] = field(default_factory=set)
    """Every transaction that was in the mempool when somebody looked."""

    def look(self) -> list[bytes]:
        """What is in the mempool."""
        self.seen |= set(self.town.waiting())
        return self.town.waiting()

    async def turns(self, count: int) -> None:
        """A keeper that lives takes its turns, and ends in order."""
        async with keeping(self.settings, in_process_parts(self.settings, SCROLLS)) as keeper:
            for _ in range(count):
                await keeper.turn()
                self.look()

    async def killed_at(self, stage: str, nth: int = 1) -> None:
        """A keeper in a process of its own is killed when it reaches a stage."""
        pid = self.keepers.start(self.url, fault=(stage, nth, "kill"), **self.settings.model_dump(mode="json"))
        ended = asyncio.create_task(asyncio.to_thread(self.keepers.wait, pid))
        await asyncio.wait([ended], timeout=WAIT_SECONDS)
        if not ended.done():
            os.kill(pid, signal.SIGTERM)
        assert await ended == -signal.SIGKILL, f"{stage} was not reached"
        self.look()
        lease_over(self.town)

    async def happens(self, chance: random.Random) -> None:
        """What the chain may do while no keeper lives."""
        match chance.choice(("nothing", "other blocks", "a block", "a full mempool")):
            case "other blocks":
                await self.town.mine_without_the_mempool(chance.randint(1, REPLACE_AFTER))
            case "a block":
                await self.town.mine()
            case "a full mempool":
                mempool = self.town.node.mempool
                for tx_id in self.look():
                    mempool.remove(mempool.entries[tx_id])

    async def finish(self) -> None:
        """The next keeper does the rest, a block at a time."""
        async with keeping(self.settings, in_process_parts(self.settings, SCROLLS)) as keeper:
            for _ in range(TURNS):
                await keeper.turn()
                if not self.look() and not self.under_way():
                    return
                await self.town.mine()
        raise AssertionError(f"still under way: {self.under_way()}")

    def under_way(self) -> list[tuple[object, ...]]:
        """What the keeper has not ended yet."""
        return self.town.rows(
            "SELECT key, state, waiting FROM keeper.intent WHERE chain = 'bitcoin' AND state IN ('planned', 'sent') "
            "UNION ALL SELECT job, state, error FROM keeper.outgoing WHERE state IN ('signed', 'broadcast')"
        )

    async def fence(self) -> int:
        """How many keepers have led."""
        return int(self.town.rows("SELECT fence FROM keeper.lease")[0][0])

    def mined(self) -> list[tuple[BitcoinTransaction, int, int]]:
        """The keeper's transactions on the chain since the fall, each with its height and fee."""
        found = []
        chain = self.town.node.chain
        for digest in chain.active[self.height + 1 :]:
            block = chain.blocks[digest]
            for transaction, spent in zip(block.transactions, block.spent, strict=True):
                if any(coin.script == KEEPER.taproot_script for coin in spent):
                    found.append((transaction, block.height, transaction_fee(transaction, spent)))
        return found

    def check_books(self) -> None:
        """What the keeper has written down against the chain."""
        town = self.town
        ours = self.mined()
        booked = town.rows(
            "SELECT tx_id, block_height, fee_paid::bigint FROM keeper.outgoing WHERE state IN ('mined', 'final')"
        )
        assert booked == [(mined.id, height, fee) for mined, height, fee in ours], "the books are the chain's"
        ((liquidation, _, fee),) = ours
        assert len(town.zkusd.vaults()) == 1, "the vault is liquidated"
        assert town.funds() == self.funds + BONUS - fee - CHARMED, "every satoshi is accounted for"
        stored = dict(town.rows("SELECT tx_id, raw FROM keeper.attempt"))
        assert self.seen <= set(stored), "nothing was sent that was not stored"
        assert stored[liquidation.id] == write_transaction(liquidation)
        done = "SELECT benign FROM keeper.intent WHERE job = 'zkusd-liquidate' AND state = 'done'"
        assert town.rows(done) == [(False,)], "it is done once, by us"
        assert self.under_way() == []
        coins = {coin for (coin,) in town.rows("SELECT outpoint FROM keeper.coin")}
        assert coins == {taken.outpoint for taken in liquidation.inputs}, "of what is not final the coins are reserved"
        assert town.rows("SELECT job, reason FROM keeper.control WHERE paused") == []


@contextlib.asynccontextmanager
async def fallen(database_url: str, folder: Path, keepers: Keepers) -> AsyncIterator[Scene]:
    """A town after the fall, without a keeper."""
    async with town_of(database_url, folder, cosigned=False, replace_after_blocks=REPLACE_AFTER) as (town, settings):
        await town.let_fall()
        yield Scene(town, settings, database_url, keepers, town.funds(), town.node.chain.height)


async def nothing(scene: Scene) -> None:
    """Nothing was decided before."""


async def waits_for_long(scene: Scene) -> None:
    """A spell is in the mempool, and others pay more."""
    await scene.turns(1)
    await scene.town.mine_without_the_mempool(REPLACE_AFTER)


async def is_mined(scene: Scene) -> None:
    """A spell is in a block that no keeper has seen."""
    await scene.turns(1)
    await scene.town.mine()


async def was_mined_and_is_lost(scene: Scene) -> None:
    """The block that had the spell is gone, and it is in no mempool."""
    await is_mined(scene)
    await scene.turns(1)
    await scene.town.fork(1, keep=False)


async def was_mined_and_waits_again(scene: Scene) -> None:
    """The block that had the spell is gone, and it waits."""
    await is_mined(scene)
    await scene.turns(1)
    await scene.town.fork(1, keep=True)
    assert scene.look() != []


async def lost_its_cause(scene: Scene) -> None:
    """The prices that a waiting spell was due by are of blocks that are gone."""
    await scene.turns(1)
    await scene.town.fork(CAUSE_BLOCKS, keep=False)


async def lost_its_cause_when_mined(scene: Scene) -> None:
    """Both are gone: the prices, and the block that had the spell."""
    await is_mined(scene)
    await scene.turns(1)
    await scene.town.fork(CAUSE_BLOCKS + 1, keep=False)


Before: TypeAlias = Callable[[Scene], Awaitable[None]]

DEATHS: Final[Sequence[tuple[Before, Sequence[str]]]] = (
    (nothing, SENDING),
    (waits_for_long, REPLACING),
    (waits_for_long, ["replacement sent"]),
    (waits_for_long, ["replacement answered"]),
    (is_mined, FOLLOWING),
    (was_mined_and_is_lost, (*FOLLOWING, "sent")),
    (was_mined_and_is_lost, ["answered"]),
    (was_mined_and_waits_again, FOLLOWING),
    (lost_its_cause, FOLLOWING),
    (lost_its_cause_when_mined, FOLLOWING),
)
"""What has happened when a keeper starts, and the steps at which it and those after it die, one further each time.

What is stored and sent again afterwards is not sent as a replacement any more: those steps stand alone.
"""
SEEDS = 12


async def its_cause_comes_back(scene: Scene, before: Before) -> None:
    """Where the chain lost it, nothing is done until the price has fallen again."""
    if before in (lost_its_cause, lost_its_cause_when_mined):
        await scene.turns(1)
        assert (scene.under_way(), scene.look()) == ([], []), "nothing is due without its cause"
        await scene.town.set_price(60_000)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "stages"), DEATHS, ids=[f"{before.__name__}: {stages[-1]}" for before, stages in DEATHS]
)
async def test_one_keeper_after_another_dies_one_step_further(
    database_url: str, tmp_path: Path, keepers: Keepers, before: Before, stages: Sequence[str]
) -> None:
    async with fallen(database_url, tmp_path, keepers) as scene:
        await before(scene)
        for stage in stages:
            await scene.killed_at(stage)
        await its_cause_comes_back(scene, before)
        await scene.finish()
        scene.check_books()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_a_keeper_dies_anywhere_and_the_chain_goes_on(
    database_url: str, tmp_path: Path, keepers: Keepers, seed: int
) -> None:
    chance = random.Random(seed)
    before, stages = chance.choice(DEATHS)
    async with fallen(database_url, tmp_path, keepers) as scene:
        await before(scene)
        await scene.killed_at(chance.choice(stages))
        await its_cause_comes_back(scene, before)
        await scene.happens(chance)
        await scene.finish()
        scene.check_books()


def status_of(pid: int) -> Callable[[], Awaitable[str]]:
    async def status() -> str:
        return str(psutil.Process(pid).status())

    return status


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["proven", "signed", "stored", "sent"])
async def test_a_keeper_that_was_asleep_writes_nothing_more(
    database_url: str, tmp_path: Path, keepers: Keepers, stage: str
) -> None:
    async with fallen(database_url, tmp_path, keepers) as scene:
        settings = scene.settings.model_dump(mode="json")
        asleep = keepers.start(database_url, fault=(stage, 1, "stop"), **settings)
        await until(status_of(asleep), lambda status: status == psutil.STATUS_STOPPED, "it to fall asleep")
        lease_over(scene.town)
        await scene.finish()
        os.kill(asleep, signal.SIGCONT)
        await until(scene.fence, lambda fence: fence == 3, "it to find out, and to lead anew")
        assert await asyncio.to_thread(keepers.end, asleep) == 0
        assert scene.look() == []
        scene.check_books()
