"""What a dev run gives its processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from clarion.config import Devnet, GraphQL, Observer, Settings
from clarion.dev.run import DevOptions, settings_of_run
from clarion_keeper.signers.accounts import hourly_budget, limits_of


def settings(folder: Path, block_interval_ms: int) -> Settings:
    chosen = Settings(devnet=Devnet(port=0), graphql=GraphQL(port=0), observer=Observer(port=0))
    return settings_of_run(chosen, DevOptions(block_interval_ms=block_interval_ms, zkusd=False), folder)


@pytest.mark.parametrize("block_interval_ms", [50, 1_000, 20_000])
def test_the_keeper_can_pay_the_highest_fee_in_every_block_of_an_hour(tmp_path: Path, block_interval_ms: int) -> None:
    made = settings(tmp_path, block_interval_ms)
    blocks = 3_600_000 // block_interval_ms
    assert hourly_budget(made, "keeper") >= 2 * blocks * made.keeper.fee_cap


def test_the_fees_of_a_dev_run_are_those_of_any_keeper(tmp_path: Path) -> None:
    made = settings(tmp_path, 1_000)
    assert limits_of(made, "keeper").max_fee == Settings().keeper.fee_cap == made.keeper.fee_cap


def test_a_chain_without_a_clock_has_the_usual_limits(tmp_path: Path) -> None:
    made = settings(tmp_path, 0)
    assert hourly_budget(made, "keeper") == 100 * made.keeper.fee_cap
