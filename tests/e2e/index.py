"""Looking into an index, and making one afresh to compare it with."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

import psycopg
from e2e.flow import Flow, until
from psycopg import sql

from clarion.chains.model import Block
from clarion.chains.stacks.node_client import NodeClient
from clarion.dev.accounts import DEPLOYER
from clarion.follower import Follower
from clarion.ingest import ingest
from clarion.protocols.bithedge import protocol
from clarion.store.database import connect
from clarion.store.store import Store


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


async def indexed(flow: Flow, connection: psycopg.Connection[Any]) -> None:
    """Wait until the index is at the devnet's tip."""
    tip = (await flow.devnet.status())["tip"]["index_block_hash"]

    async def ask() -> str | None:
        row = connection.execute("SELECT hash FROM clarion.cursor WHERE chain = 'stacks'").fetchone()
        return f"0x{row[0].hex()}" if row and row[0] else None

    await until(ask, lambda found: found == tip, "the index's tip")


def one(connection: psycopg.Connection[Any], query: str) -> Any:
    """The only value of a query's only row."""
    row = connection.execute(query).fetchone()  # type: ignore[arg-type]  # this module's own
    assert row is not None
    return row[0]


def state(connection: psycopg.Connection[Any]) -> dict[str, list[Any]]:
    """Every row of every projection, and every canonical block with its digest."""
    found = {
        name: connection.execute(
            sql.SQL("SELECT to_jsonb(t)::text FROM {} t ORDER BY 1").format(sql.Identifier("bithedge", name))
        ).fetchall()
        for name in (row_type.name.partition(".")[2] for row_type in protocol.row_types)
    }
    found["canonical"] = connection.execute(
        "SELECT height, hash, clarion.digest_at(chain, height) FROM clarion.canonical_block "
        "WHERE chain = 'stacks' ORDER BY height"
    ).fetchall()
    return found


async def surviving_chain(node: NodeClient, tip: bytes) -> list[Block]:
    """The canonical blocks as the node gives them, the lowest first."""
    blocks: list[Block] = []
    block = await node.block(tip)
    while block is not None:
        blocks.append(block)
        block = await node.block(block.ref.parent_hash) if block.height else None
    return blocks[::-1]


def index_afresh(database_url: str, blocks: Sequence[Block]) -> dict[str, list[Any]]:
    """The state of an index that is given these blocks and nothing else."""
    with connect(database_url, autocommit=True) as connection:
        store = Store(connection, "stacks", [protocol.deployed_by(DEPLOYER.address)])
        store.open()
        ingest(store, Follower(), blocks)
        return state(connection)
