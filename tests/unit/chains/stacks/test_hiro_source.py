"""Blocks out of the API's answers: equal to what the node's own payload gives."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from support import toy
from support.hiro_api import HiroApi
from support.node_posts import block_payload, body, print_event, signed_call, transaction_entry

from clarion.chains.model import Block, EventKind, JsonValue
from clarion.chains.stacks import clarity as cl
from clarion.chains.stacks import hiro_source
from clarion.chains.stacks.hiro_source import HiroSource, HiroSourceError
from clarion.chains.stacks.node_payloads import NEW_BLOCK, decode_new_block
from clarion.chains.stacks.recording import read_recording
from hiro_api_client import HiroApiClient

REPOSITORY = Path(__file__).parents[4]
DEVNET = REPOSITORY / "fixtures" / "bithedge-devnet.tsv.zst"


def posted(path: Path) -> list[bytes]:
    return [post.body for post in read_recording(path) if post.path == NEW_BLOCK]


def client_of(api: HiroApi) -> HiroApiClient:
    transport = httpx.ASGITransport(app=api.app)
    return HiroApiClient("http://api", transport=transport, retry_seconds=0.001)


def as_the_api_tells(block: Block) -> Block:
    """A posted block without what the API leaves out: the consensus hash, and locks' and tenures' oldest form."""
    extra: dict[str, JsonValue] = dict(block.extra)
    extra["consensus_hash"] = None
    if extra["tenure_height"] is None:
        extra["tenure_height"] = block.height
    return replace(block, extra=extra)


def without_raw(block: Block) -> Block:
    return replace(block, transactions=tuple(replace(tx, raw=b"") for tx in block.transactions))


async def equal_blocks(bodies: list[bytes]) -> list[Block]:
    """Ask for each block that is canonical, with and without its transactions' bytes, and compare."""
    api = HiroApi((NEW_BLOCK, body) for body in bodies)
    canonical = {block.hash for block in api.canonical}
    compared = []
    async with client_of(api) as client:
        source, whole = HiroSource(client), HiroSource(client, with_raw=True)
        for post in bodies:
            expected = as_the_api_tells(decode_new_block(post))
            got = await source.block(expected.hash)
            if f"0x{expected.hash.hex()}" not in canonical:
                assert got is None
                continue
            assert got == without_raw(expected)
            assert await whole.block(expected.hash) == expected
            compared.append(expected)
    return compared


async def test_a_mainnet_block_of_585_events(chain_data: Path) -> None:
    (block, same) = await equal_blocks(posted(chain_data / "stacks" / "mainnet-2023-585-events.tsv"))
    assert block == same
    assert (len(block.transactions), len(block.events)) == (63, 585)
    assert {event.kind for event in block.events} >= {EventKind.PRINT, EventKind.NFT_TRANSFER, EventKind.STX_BURN}


async def test_nakamoto_blocks(chain_data: Path) -> None:
    blocks = await equal_blocks(posted(chain_data / "stacks" / "nakamoto-2025.tsv"))
    assert [block.height for block in blocks] == list(range(1, 13))


async def test_the_devnet_with_prints_failures_and_a_fork() -> None:
    bodies = posted(DEVNET)
    forked = [number for number, body in enumerate(bodies[1:], 1) if _height(body) <= _height(bodies[number - 1])]
    assert forked
    near = bodies[:60] + bodies[forked[0] - 25 : forked[0] + 40]
    blocks = await equal_blocks(near)
    assert len(blocks) > 80
    assert {tx.status.value for block in blocks for tx in block.transactions} >= {"success", "abort_by_response"}
    assert {event.kind for block in blocks for event in block.events} >= {EventKind.PRINT, EventKind.FT_MINT}


def _height(body: bytes) -> int:
    height: int = json.loads(body)["block_height"]
    return height
