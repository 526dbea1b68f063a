"""Bitcoin reorgs in the middle of a policy's life: what is indexed equals an index that never saw the lost branches."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import psycopg
import pytest
from e2e.agreement import disagreements
from e2e.flow import Flow, open_flow, until
from e2e.index import free_port, index_afresh, indexed, one, state, surviving_chain
from support.graphql import Server, serving

from clarion.config import Node, Observer, Settings
from clarion.dev.accounts import DEPLOYER
from clarion.indexing import IndexService
from clarion.protocols.bithedge import protocol
from clarion.store.database import connect
from clarion_graphql.app import make_app

FOLLOW = "subscription($since: BigInt) { changes(since: $since) { sequence op table key after } }"
SHALLOW = (3,)
DEEP = (1, 5, 50)

Rows = dict[tuple[str, str], Any]
"""What a subscriber holds: rows by table and key."""


@contextlib.asynccontextmanager
async def indexing(database_url: str, node_url: str, port: int) -> AsyncIterator[None]:
    """The index service, in this process."""
    settings = Settings(
        database_url=database_url,  # type: ignore[arg-type]
        observer=Observer(port=port),
        node=Node(url=node_url),
    )
    service = IndexService(settings, database_url, [protocol.deployed_by(DEPLOYER.address)])
    listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(service.run(listening.set_result))
    await asyncio.wait({listening, task}, return_when=asyncio.FIRST_COMPLETED)
    try:
        yield
    finally:
        service.stop()
        await task


class Subscriber:
    """Somebody who follows all rows from the beginning and keeps what they are told."""

    def __init__(self) -> None:
        self.rows: Rows = {}
        self.sequence = 0

    async def follow(self, server: Server) -> None:
        """Read messages, for ever."""
        async with server.subscribe(FOLLOW, {"since": "0"}) as messages:
            async for text in messages.socket:
                (message,) = json.loads(text)["payload"]["data"].values()
                self.sequence = int(message["sequence"])
                key = (message["table"], json.dumps(message["key"]))
                if message["after"] is None:
                    self.rows.pop(key, None)
                else:
                    self.rows[key] = message["after"]

    async def rows_at(self, sequence: int) -> Rows:
        """The rows, once the subscriber was told of this change."""

        async def ask() -> int:
            return self.sequence

        await until(ask, lambda reached: reached == sequence, "the subscriber's sequence")
        return self.rows


@contextlib.asynccontextmanager
async def subscribed(server: Server) -> AsyncIterator[Subscriber]:
    """A subscriber for as long as the context lasts."""
    subscriber = Subscriber()
    following = asyncio.create_task(subscriber.follow(server))
    try:
        yield subscriber
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following


@pytest.mark.parametrize("depths", [SHALLOW, pytest.param(DEEP, marks=pytest.mark.slow)])
async def test_reorgs_leave_no_trace(
    depths: tuple[int, ...], start_devnet: Callable[..., Any], database_url: str, second_database_url: str
) -> None:
    devnet_port, observer_port = free_port(), free_port()
    url = f"http://127.0.0.1:{devnet_port}"
    app = make_app(
        database_url,
        protocols=[protocol],
        deployed={"bithedge": protocol.deployed_by(DEPLOYER.address)},
    )
    async with indexing(database_url, url, observer_port), serving(app) as server, subscribed(server) as early:
        start_devnet("--port", str(devnet_port), observer=f"http://127.0.0.1:{observer_port}")
        async with open_flow(url) as flow:
            with connect(database_url, autocommit=True) as connection:
                await live_through_forks(flow, connection, depths)
                sequence = one(connection, "SELECT max(sequence) FROM clarion.change")
                async with subscribed(server) as late:
                    assert await early.rows_at(sequence) == await late.rows_at(sequence)
                rows = state(connection)
                assert len(early.rows) == sum(len(found) for name, found in rows.items() if name != "canonical")
                assert one(connection, "SELECT count(*) FROM clarion.anomaly") == 0
                assert one(connection, "SELECT count(*) FROM clarion.step WHERE op = 'retract'") >= sum(depths)
                blocks = await surviving_chain(flow.node, one(connection, "SELECT hash FROM clarion.cursor"))
            assert index_afresh(second_database_url, blocks) == rows


async def live_through_forks(flow: Flow, connection: psycopg.Connection[Any], depths: tuple[int, ...]) -> None:
    """A policy is bought, its price falls, it expires and is settled, with a reorg after every step."""
    await flow.begin()
    await flow.devnet.mine(max(1, depths[-1] - 10))
    await flow.buy(blocks=3)
    for depth in depths:
        await flow.devnet.fork(depth)
        await indexed(flow, connection)
        found, _compared = await disagreements(connection, flow.scenario.reader)
        assert found == []
        await flow.expire(97, blocks=1)
        await flow.settle()
    number = await flow.buy()
    await flow.expire(97)
    await flow.settle()
    assert (await flow.policy(number))["state"] == "settled-itm"
    await indexed(flow, connection)
    found, _compared = await disagreements(connection, flow.scenario.reader)
    assert found == []
