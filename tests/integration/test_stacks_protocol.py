"""Balances, owners and the views of the chain log, on recorded blocks of mainnet and on made-up ones."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from clarion.protocols.stacks import protocol
from clarion.replay import replay
from clarion.store.database import connect

MANY_EVENTS = "stacks/mainnet-2023-585-events.tsv"
NAKAMOTO = "stacks/nakamoto-2025.tsv"

Sums = dict[tuple[str, str], tuple[int, int]]


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with connect(database_url, autocommit=True) as opened:
        yield opened


def raw_events(recording: Path) -> list[dict[str, Any]]:
    """The events of a recording's blocks as the node told them, each block once."""
    blocks: dict[str, list[dict[str, Any]]] = {}
    for line in recording.read_text(encoding="utf-8").splitlines():
        _, _, path, payload = line.split("\t")
        if path == "/new_block":
            block = json.loads(payload.replace("\\\\", "\\"))
            blocks[block["index_block_hash"]] = block["events"]
    return [event for events in blocks.values() for event in events if event["committed"]]


def sums(events: list[dict[str, Any]]) -> Sums:
    """What every address received and sent of every asset, added up from the node's own words."""
    received: Counter[tuple[str, str]] = Counter()
    sent: Counter[tuple[str, str]] = Counter()
    for event in events:
        if event["type"].startswith(("ft_", "stx_")) and event["type"] != "stx_lock_event":
            said = event[event["type"]]
            asset = said.get("asset_identifier", "STX")
            if "recipient" in said:
                received[asset, said["recipient"]] += int(said["amount"])
            if "sender" in said:
                sent[asset, said["sender"]] += int(said["amount"])
    return {key: (received[key], sent[key]) for key in received.keys() | sent.keys()}


@pytest.mark.parametrize("recording", [MANY_EVENTS, NAKAMOTO])
def test_balances_are_the_sums_of_what_the_node_said(
    chain_data: Path, database_url: str, connection: psycopg.Connection[Any], recording: str
) -> None:
    replay(chain_data / recording, database_url, [protocol.deployed_at({})])
    expected = sums(raw_events(chain_data / recording))
    found = connection.execute("SELECT asset, address, received, sent, amount FROM stacks.balance").fetchall()
    assert {(asset, address): (received, sent) for asset, address, received, sent, _ in found} == expected
    assert len(expected) >= 3
    # none of these assets' contracts was deployed in the recording
    assert {amount for *_, amount in found} == {None}
