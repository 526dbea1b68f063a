"""A Bitcoin reorg that takes back hundreds of Stacks blocks: the index equals one that never saw the lost branch."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from e2e.flow import open_flow
from e2e.index import free_port, index_afresh, indexed, one, state, surviving_chain
from e2e.test_forks import indexing

from clarion.store.database import connect

DEPTH = 500
BURN_BLOCKS = 5
"""Fewer than make a block final."""
BEFORE = 20
"""Blocks below the fork that stay, besides those that deploy the contracts."""


@pytest.mark.slow
async def test_a_fork_500_deep_leaves_no_trace(
    start_devnet: Callable[..., Any],
    database_url: str,
    second_database_url: str,
    record_property: Callable[[str, object], None],
) -> None:
    devnet_port, observer_port = free_port(), free_port()
    url = f"http://127.0.0.1:{devnet_port}"
    async with indexing(database_url, url, observer_port):
        start_devnet("--port", str(devnet_port), observer=f"http://127.0.0.1:{observer_port}")
        async with open_flow(url) as flow:
            with connect(database_url, autocommit=True) as connection:
                await flow.begin()
                await flow.devnet.mine(BEFORE)
                height = (await flow.devnet.status())["tip"]["height"]
                for number in range(BURN_BLOCKS):
                    await flow.devnet.burn()
                    await flow.price(100 + number)
                    mined = (await flow.devnet.status())["tip"]["height"] - height
                    await flow.devnet.mine(DEPTH // BURN_BLOCKS * (number + 1) - mined)
                await indexed(flow, connection)
                before = one(connection, "SELECT clarion.digest_at('stacks', height) FROM clarion.cursor")

                await flow.devnet.fork(DEPTH)
                started = time.monotonic()
                await indexed(flow, connection)
                seconds = time.monotonic() - started
                record_property("seconds", seconds)
                print(f"\nforked {DEPTH} blocks deep; the index followed within {seconds:.1f} s of the devnet's answer")

                assert one(connection, "SELECT height FROM clarion.cursor") == height + DEPTH + 1
                assert one(connection, "SELECT count(*) FROM clarion.step WHERE op = 'retract'") == DEPTH
                assert one(connection, "SELECT digest FROM clarion.cursor") != before
                assert one(connection, "SELECT count(*) FROM clarion.anomaly") == 0
                rows = state(connection)
                assert rows["price_round"]
                blocks = await surviving_chain(flow.node, one(connection, "SELECT hash FROM clarion.cursor"))
    assert len(blocks) == height + DEPTH + 2
    assert index_afresh(second_database_url, blocks) == rows
