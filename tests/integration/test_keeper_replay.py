"""`clarion keeper replay` on the recorded chain: what was due at a block, always the same."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import psycopg
import pytest
from support.graphql import serving

from clarion.config import Keeper, Settings
from clarion.dev.accounts import DEPLOYER
from clarion.protocols.bithedge import protocol
from clarion.store.database import connect
from clarion_graphql.app import make_app
from clarion_keeper.command.replaying import Replay, ReplayError, replay_block, replay_json, replay_view

#: Policies that were settled in a block after the one that fixed the last price they needed.
SETTLED = """
SELECT p.id, p.settled_height FROM bithedge.policy p WHERE p.state = 'settled-itm' AND (
    SELECT max(e.updated_height) FROM bithedge.expiry_price e WHERE e.expiry_burn = p.expiry_burn
) < p.settled_height ORDER BY p.id LIMIT 1
"""


@pytest.fixture
def connection(recorded_bithedge_url: str) -> Any:
    with connect(recorded_bithedge_url, autocommit=True) as opened:
        yield opened


async def test_what_was_due_is_always_the_same(
    recorded_bithedge_url: str, connection: psycopg.Connection[Any], tmp_path: Path
) -> None:
    row = connection.execute(SETTLED).fetchone()
    assert row is not None
    policy, settled = row
    deployed = {"bithedge": protocol.deployed_by(DEPLOYER.address)}
    app = make_app(recorded_bithedge_url, protocols=[protocol], deployed=deployed)
    async with serving(app) as server:
        settings = Settings(
            state_dir=tmp_path,
            database_url=recorded_bithedge_url,
            deployers={"bithedge": DEPLOYER.address},
            keeper=Keeper(graphql_url=f"{server.client.base_url}/graphql".replace("//graphql", "/graphql")),
        )

        async def replay(height: int) -> Replay:
            return await asyncio.to_thread(replay_block, settings, "stacks", height)

        first, again, after = await replay(settled - 1), await replay(settled - 1), await replay(settled)
        assert replay_json(first) == replay_json(again)
        assert replay_view(first) is not None
        assert first.receipt.height == settled - 1
        due = {intent.key: intent for decided in first.jobs for intent in decided.due}
        assert due[f"settle:{policy}"].value_usd8 > 0
        assert f"settle:{policy}" not in {intent.key for decided in after.jobs for intent in decided.due}
        skipped = {decided.job for decided in first.jobs if decided.skipped}
        assert skipped <= {"oracle-submit", "oracle-feed", "reconcile"}, [
            (decided.job, decided.skipped) for decided in first.jobs if decided.skipped
        ]
        with pytest.raises(ReplayError, match="Block 9999999 of stacks cannot be read"):
            await replay(9_999_999)
