"""The server and other people's clients: the audit of GraphQL over HTTP, urql, graphql-ws, graphql-sse."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support import toy
from support.graphql import Server, serving, toy_app

from clarion.node import find_node
from clarion.store.store import Store

CLIENTS = Path(__file__).resolve().parents[1] / "clients"

pytestmark = pytest.mark.skipif(
    not (CLIENTS / "node_modules").exists(), reason="the clients are not installed: `make test` installs them"
)


@contextlib.asynccontextmanager
async def running(script: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A script of ``tests/clients`` that runs; what is left of it is ended."""
    process = await asyncio.create_subprocess_exec(
        find_node(), CLIENTS / script, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line_of(process: asyncio.subprocess.Process) -> Any:
    """The next line of JSON that a script writes."""
    assert process.stdout is not None
    assert process.stderr is not None
    text = await asyncio.wait_for(process.stdout.readline(), 30)
    if not text:
        pytest.fail((await process.stderr.read()).decode())
    return msgspec.json.decode(text)


def http_url(server: Server) -> str:
    return server.url.replace("ws://", "http://")


async def test_the_audit_of_graphql_over_http(store: Store, database_url: str) -> None:
    async with serving(toy_app(database_url)) as server, running("audit.js", http_url(server)) as process:
        output, errors = await asyncio.wait_for(process.communicate(), 60)

    assert process.returncode == 0, errors.decode()
    results: list[dict[str, Any]] = msgspec.json.decode(output)
    assert len(results) > 50
    assert [result for result in results if result["status"] != "ok"] == []


@pytest.mark.parametrize(
    ("client", "path"), [("urql", ""), ("graphql-ws", ""), ("graphql-sse", ""), ("graphql-sse", "/stream")]
)
async def test_a_client_reads_and_follows(store: Store, database_url: str, client: str, path: str) -> None:
    def ingest(parent: Any, balance: int) -> Any:
        block = toy.block(parent, [toy.move("alice", balance)])
        with store.batch() as batch:
            batch.append(block)
            batch.apply(block)
        return block

    block = ingest(None, 1)
    async with (
        serving(toy_app(database_url)) as server,
        running("follow.js", client, http_url(server) + path) as process,
    ):
        read, start = await line_of(process), await line_of(process)
        for balance in (2, 3):
            block = ingest(block, balance)
        changes = [await line_of(process), await line_of(process)]
        status = await asyncio.wait_for(process.wait(), 30)

    assert read == {"toyAccounts": {"nodes": [{"owner": "alice", "balance": "1"}], "totalCount": 1}}
    assert (start["op"], start["after"]) == ("START", None)
    assert [change["after"]["balance"] for change in changes] == ["2", "3"]
    assert status == 0
