"""A crash while blocks are full, fees are up tenfold and transactions get lost: the keeper does all that is due."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.stage import accounts_of
from support.storm import JOBS, Weather
from support.storm_run import out_of_order, outcome, sent_by, staged_storm, twice

POSITIONS = 6
DUE = 5
MOST_BLOCKS = 150
WEATHER = Weather(
    capacity=5,
    strangers=12,
    calm_fees=(20, 40),
    wild_fees=(200, 400),
    wild_blocks=MOST_BLOCKS,
    dropped=0.3,
    drop_every=4,
    burn_every=5,
)
ROLES = {"rescuer": ["rescue"], "settler": ["settle"]}


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_all_that_is_due_is_done_once_in_order_of_value_and_at_no_loss(database_url: str, tmp_path: Path) -> None:
    given, accounts = accounts_of(tmp_path, ROLES)
    async with staged_storm(
        database_url,
        tmp_path,
        positions=POSITIONS,
        due=DUE,
        seed=7,
        keeper={"accounts": given, "jobs": [*JOBS]},
        accounts=accounts,
        runs=True,
    ) as (stage, storm):
        await storm.congest(WEATHER, wild=False)
        await storm.mine()
        await storm.crash()
        await storm.congest(WEATHER, wild=True)
        await stage.keeper_turned()
        while (found := outcome(stage.database, storm)).left:
            assert storm.blocks < MOST_BLOCKS, f"{found.left} left"
            await storm.step(WEATHER)
            await stage.keeper_turned()
        sent = {one.tx_id: one for one in sent_by(stage.database, [one.address for one in accounts])}

        assert len(found.called) == POSITIONS
        assert len(found.liquidated) == POSITIONS
        assert [twice(deeds) for deeds in (found.called, found.liquidated, found.settled)] == [0, 0, 0]
        assert {deed.tx_id for deed in found.deeds} <= sent.keys(), "the keeper itself did it"
        assert [one for one in sent.values() if one.status != "success"] == []
        assert all(deed.bounty > sent[deed.tx_id].fee for deed in found.liquidated)
        assert [out_of_order(deeds) for deeds in (found.called, found.liquidated, found.settled)] == [0, 0, 0]
