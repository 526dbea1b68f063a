"""docs/keeper-bithedge.md lists every job, in its lane and with the call that it makes; docs/contracts.md its cost."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

from clarion.protocols.bithedge.actions import ACTIONS
from clarion_keeper.bithedge import JOBS
from clarion_keeper.bithedge.calls import CallJob
from clarion_keeper.bithedge.incentives import PostRewardRoot, RewardRootDiffers
from clarion_keeper.bithedge.reconciliation import Reconcile
from clarion_keeper.bithedge.settlement import MOST_POLICIES

DOCS = Path(__file__).parents[4] / "docs"
PAGE = DOCS / "keeper-bithedge.md"
ROW = re.compile(r"^\| `([a-z-]+)` \| ([a-z]+) \| [^|]+ \| ([^|]+) \|", re.MULTILINE)


def test_every_job_is_listed_with_its_lane_and_its_call() -> None:
    every: list[Any] = [*JOBS, PostRewardRoot, RewardRootDiffers, Reconcile]
    expected = {}
    for job in every:
        call = "nothing"
        if issubclass(job, CallJob):
            action = ACTIONS[job.action_name]
            call = f"`{action.contract}.{action.function}`"
        expected[job.name] = (job.lane.value, call)
    expected["settle"] = ("settle", "`bh-policy.settle`, `settle-many`")
    assert {name: (lane, call) for name, lane, call in ROW.findall(PAGE.read_text())} == expected


def test_the_most_that_is_settled_at_once_was_measured_and_is_less_than_half_of_a_block() -> None:
    row = re.search(
        r"^\| `bh-policy\.settle-many` \| (\d+) policies of 10 allocations that pay \| ([0-9. |]+) \|$",
        (DOCS / "contracts.md").read_text(),
        re.MULTILINE,
    )
    assert row is not None
    assert int(row[1]) == MOST_POLICIES
    shares = [Decimal(share) for share in row[2].split(" | ")]
    assert len(shares) == 5
    assert max(shares) < 50
