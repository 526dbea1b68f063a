"""docs/keeper-bithedge.md lists every job, in its lane and with the call that it makes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from clarion.protocols.bithedge.actions import ACTIONS
from clarion_keeper.bithedge import JOBS
from clarion_keeper.bithedge.calls import CallJob
from clarion_keeper.bithedge.incentives import PostRewardRoot, RewardRootDiffers
from clarion_keeper.bithedge.reconciliation import Reconcile

PAGE = Path(__file__).parents[4] / "docs" / "keeper-bithedge.md"
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
