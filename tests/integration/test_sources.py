"""Several sources of one index: nodes that post, a node that is asked, an API; switched, behind, forked, wrong."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx
import psycopg
import pytest
from support.hiro_api import HiroApi, serving
from support.index_service import (
    DEADLINE_SECONDS,
    FakeNode,
    Running,
    chain,
    counted,
    fresh_index,
    index_of,
    payload,
    running,
    served,
    settings_for,
    until,
)
from support.node_posts import block_payload, body, burn_payload, hex_of, print_event, signed_call, transaction_entry

from clarion.chains.model import Block
from clarion.chains.stacks import clarity as cl
from clarion.config import Hiro, Metrics, Ready, Settings, SourceName

pytestmark = pytest.mark.usefixtures("toy_tables")


def with_hiro(database_url: str, url: str, *sources: SourceName, **values: Any) -> Settings:
    hiro = Hiro(url=url, poll_seconds=0.02)
    return settings_for(database_url, sources=[*sources, SourceName.HIRO], hiro=hiro, **values)


@contextlib.asynccontextmanager
async def node_at(address: str, observer: Running) -> AsyncIterator[httpx.AsyncClient]:
    """A node that posts from an address of its own."""
    transport = httpx.AsyncHTTPTransport(local_address=address)
    async with httpx.AsyncClient(base_url=observer.url, transport=transport, timeout=DEADLINE_SECONDS) as client:
        yield client


def sources(connection: psycopg.Connection[Any]) -> dict[str, tuple[int | None, str]]:
    rows = connection.execute("SELECT name, height, state FROM clarion.source ORDER BY name").fetchall()
    return {name: (height, state) for name, height, state in rows}


def post_to(api: HiroApi, blocks: list[Block]) -> None:
    for block in blocks:
        api.post("/new_block", payload(block))


async def test_a_source_is_switched_and_switched_back_without_indexing_again(
    database_url: str, connection: psycopg.Connection[Any]
) -> None:
    blocks = chain(12)
    api = HiroApi()
    post_to(api, blocks[:8])
    async with running(settings_for(database_url)) as node:
        for block in blocks[:4]:
            await node.post("/new_block", payload(block))
        await node.until_height(4)
    sequence = connection.execute("SELECT sequence FROM clarion.cursor").fetchone()
    async with serving(api) as server:
        async with running(with_hiro(database_url, server.url)) as service:
            await service.until_height(8)
            assert (await service.post("/new_block", payload(blocks[11]))).status_code == 200
        post_to(api, blocks[8:10])
        async with running(with_hiro(database_url, server.url, SourceName.OBSERVER)) as service:
            for block in blocks[10:]:
                await service.post("/new_block", payload(block))
            await service.until_height(12)
    async with running(settings_for(database_url)) as node:
        await node.until_height(12)
    assert index_of(connection) == fresh_index(connection, blocks)
    steps = connection.execute("SELECT count(*), min(sequence) FROM clarion.step WHERE op = 'apply'").fetchone()
    assert steps == (12, 1)
    assert sequence is not None
    assert sources(connection)["hiro"] == (10, "healthy")


async def test_what_the_node_does_not_have_is_fetched_from_the_api(
    database_url: str, connection: psycopg.Connection[Any]
) -> None:
    blocks = chain(6)
    api = HiroApi()
    post_to(api, blocks[:5])
    node = FakeNode(blocks[4:5])
    async with served(node.app) as node_url, serving(api) as server:
        # It is asked for nothing at the tip, so that blocks come from it only as missing ones.
        settings = with_hiro(database_url, server.url, SourceName.OBSERVER, node=node_url)
        async with running(settings) as service:
            await service.post("/new_block", payload(blocks[5]))
            await service.until_height(6)
    assert index_of(connection) == fresh_index(connection, blocks)


async def test_the_same_blocks_from_two_nodes_count_once(
    database_url: str, connection: psycopg.Connection[Any]
) -> None:
    blocks = chain(10)
    async with (
        running(settings_for(database_url)) as service,
        node_at("127.0.0.2", service) as first,
        node_at("127.0.0.3", service) as second,
    ):

        async def post_all(node: httpx.AsyncClient) -> None:
            for block in blocks:
                assert (await node.post("/new_block", content=payload(block))).status_code == 200

        await asyncio.gather(post_all(first), post_all(second))
        await service.until_height(10)
        answer = await service.readiness()
    assert index_of(connection) == fresh_index(connection, blocks)
    assert connection.execute("SELECT count(*) FROM clarion.step").fetchone() == (10,)
    states = {source["name"]: source["state"] for source in answer["sources"] if source["kind"] == "observer"}
    assert states == {"observer:127.0.0.2": "healthy", "observer:127.0.0.3": "healthy"}


async def test_a_node_that_lags_or_is_on_another_fork_is_visible_and_not_followed(
    database_url: str, connection: psycopg.Connection[Any]
) -> None:
    blocks = chain(8)
    other = chain(1, on=blocks[6], branch="other")
    limits = Ready(source_behind_blocks=3)
    async with (
        running(settings_for(database_url, ready=limits)) as service,
        node_at("127.0.0.2", service) as leading,
        node_at("127.0.0.3", service) as lagging,
        node_at("127.0.0.4", service) as forked,
    ):
        for block in blocks:
            await leading.post("/new_block", content=payload(block))
        for block in blocks[:4]:
            await lagging.post("/new_block", content=payload(block))
        await forked.post("/new_block", content=payload(other[0]))
        await service.until_height(8)
        assert {name: said for name, said in sources(connection).items() if name != "node"} == {
            "observer:127.0.0.2": (8, "healthy"),
            "observer:127.0.0.3": (4, "behind"),
            "observer:127.0.0.4": (8, "forked"),
        }
        assert (await service.readiness())["ready"], "one good source is enough"
        for block in blocks[4:7]:
            await lagging.post("/new_block", content=payload(block))
        await forked.post("/new_block", content=payload(blocks[7]))

        async def both_healthy() -> bool:
            return all(state == "healthy" for name, (_, state) in sources(connection).items() if name != "node")

        await until(both_healthy)
    assert index_of(connection) == fresh_index(connection, blocks)


async def test_a_rewrite_of_final_blocks_is_told_everywhere_and_the_good_chain_goes_on(
    database_url: str, connection: psycopg.Connection[Any]
) -> None:
    blocks = chain(12)
    rewriting = chain(14, on=blocks[2], branch="rewriting")
    refused_before = counted("clarion_refused_rewrites_total", chain="stacks")
    async with (
        running(settings_for(database_url, finality_burn_depth=3)) as service,
        node_at("127.0.0.2", service) as good,
        node_at("127.0.0.3", service) as bad,
    ):
        for block in blocks[:10]:
            assert block.burn is not None
            await good.post("/new_burn_block", content=body(burn_payload(block.burn)))
            await good.post("/new_block", content=payload(block))
        await service.until_height(10)
        for block in rewriting:
            await bad.post("/new_block", content=payload(block))

        async def alarmed() -> bool:
            # the counter moves once the batch is written, which probes can see before
            told = counted("clarion_refused_rewrites_total", chain="stacks") > refused_before
            return told and "rewrites what is final" in str((await service.readiness())["reasons"])

        await until(alarmed)
        assert sources(connection)["observer:127.0.0.3"][1] == "rewrites_final"
        kinds = connection.execute("SELECT kind, count(*) FROM clarion.anomaly GROUP BY kind").fetchall()
        assert kinds == [("rewrites_final", 1)]
        for block in blocks[10:]:
            await good.post("/new_block", content=payload(block))
        await service.until_height(12)
        await bad.post("/new_block", content=payload(blocks[11]))

        async def well_again() -> bool:
            return bool((await service.readiness())["ready"])

        await until(well_again)
    assert index_of(connection) == fresh_index(connection, blocks)


async def test_the_probes_are_on_the_metrics_port_too(database_url: str, connection: psycopg.Connection[Any]) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as reserved:
        port = reserved.getsockname()[1]
    block = chain(1)[0]
    async with (
        running(settings_for(database_url, metrics=Metrics(port=port))) as service,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["reasons"]) == (503, ["nothing is indexed yet"])
        assert (await client.get("/healthz")).json() == {"alive": True, "reasons": []}
        await service.post("/new_block", payload(block))
        await service.until_height(1)
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["ready"]) == (200, True)
        lines = (await client.get("/metrics")).text.splitlines()
        assert {
            'clarion_index_height{chain="stacks"} 1.0',
            "clarion_inbox_pending 0.0",
            'clarion_index_lag_blocks{chain="stacks"} 0.0',
        } <= set(lines)
        assert 'clarion_source_height{chain="stacks",source="observer:127.0.0.1"} 1.0' in lines
        assert any(
            line.startswith('clarion_source_age_seconds{chain="stacks",source="observer:127.0.0.1"}') for line in lines
        )
        assert any(line.startswith('clarion_index_stage_seconds_count{stage="commit"}') for line in lines)
        assert (await client.post("/new_block", content=payload(block))).status_code == 404


async def test_a_block_of_the_api_that_postgres_refuses_stops_nothing_else(
    database_url: str, connection: psycopg.Connection[Any]
) -> None:
    blocks = chain(4)
    call = signed_call(1)
    event = print_event(hex_of(call.txid), 0, cl.UInt(5), contract="SP000\x00.nul")
    api = HiroApi()
    post_to(api, blocks[:2])
    poison = block_payload(blocks[2], [transaction_entry(call)], [event])
    api.post("/new_block", body(poison))
    async with (
        serving(api) as server,
        running(with_hiro(database_url, server.url, SourceName.OBSERVER)) as service,
    ):

        async def told() -> bool:
            detail = connection.execute("SELECT detail FROM clarion.source WHERE name = 'hiro'").fetchone()
            return detail is not None and "cannot be stored" in (detail[0] or "")

        await until(told)
        for block in blocks:
            await service.post("/new_block", payload(block))
        await service.until_height(4)
    assert index_of(connection) == fresh_index(connection, blocks)


async def test_an_api_that_goes_away_is_told_and_goes_on_when_it_is_back(
    database_url: str, connection: psycopg.Connection[Any]
) -> None:
    blocks = chain(5)
    api = HiroApi()
    post_to(api, blocks[:3])
    async with serving(api) as server, running(with_hiro(database_url, server.url)) as service:
        await service.until_height(3)
        await server.stop()

        async def unreachable() -> bool:
            return sources(connection)["hiro"][1] == "unreachable"

        await until(unreachable)
        answer = await service.readiness()
        assert answer["lag_blocks"] is None
        assert answer["reasons"] == ["no source is healthy: nobody says how far the chain is"]
        post_to(api, blocks[3:])
        await server.start()
        await service.until_height(5)

        async def well_again() -> bool:
            return bool((await service.readiness())["ready"])

        await until(well_again)
    assert index_of(connection) == fresh_index(connection, blocks)
