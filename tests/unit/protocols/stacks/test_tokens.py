"""Balances, supplies and owners are what a plain sum over the events says, whatever the events are."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from support import tokens

from clarion.chains.model import Block, Event, EventKind
from clarion.chains.stacks import clarity as cl
from clarion.protocol import STX, DeployedProtocol
from clarion.protocols.stacks import protocol
from clarion.protocols.stacks.protocol import MAX_TOKEN_BYTES, token_key
from clarion.store.projector import Projector

Table = dict[tuple[Any, ...], dict[str, Any]]

GOLD, SILVER, ELSEWHERE = tokens.GOLD, tokens.SILVER, tokens.ELSEWHERE


def fold(deployed: DeployedProtocol, blocks: list[Block]) -> dict[str, Table]:
    """The rows after these blocks, by table and key."""
    rows: dict[str, Table] = {row_type.name: {} for row_type in deployed.protocol.row_types}
    projector = Projector([deployed], lambda row_type, key: None)
    for block in blocks:
        projected = projector.project(block)
        assert projected.anomalies == []
        for change in projected.changes:
            if change.after is None:
                del rows[change.table][change.key]
            else:
                rows[change.table][change.key] = change.after
    return rows


def chain(parts: list[list[Event]]) -> list[Block]:
    """Blocks of these events; the first deploys the contract of gold and silver."""
    blocks = [tokens.block(None, parts[0] if parts else (), deploy=[tokens.deployment(1)])]
    for events in parts[1:]:
        blocks.append(tokens.block(blocks[-1], events))
    return blocks


@given(st.lists(st.lists(tokens.movements(), max_size=6), max_size=6))
def test_rows_are_a_sum_over_the_events(parts: list[list[Event]]) -> None:
    rows = fold(protocol.deployed_at({}), chain(parts))
    received: Counter[tuple[str, str]] = Counter()
    sent: Counter[tuple[str, str]] = Counter()
    minted: Counter[str] = Counter()
    burned: Counter[str] = Counter()
    owners: dict[int, str | None] = {}
    for event in (event for events in parts for event in events):
        value: Any = event.value
        if event.kind.startswith("nft"):
            owners[value["value"]] = value.get("recipient")
            continue
        asset = value.get("asset", STX)
        if value.get("recipient"):
            received[asset, value["recipient"]] += value["amount"]
        if value.get("sender"):
            sent[asset, value["sender"]] += value["amount"]
        minted[asset] += value["amount"] if event.kind.endswith("mint") else 0
        burned[asset] += value["amount"] if event.kind.endswith("burn") else 0

    balances = rows["stacks.balance"]
    known = {(row["asset"], row["address"]) for row in balances.values()}
    assert known == set(received.keys() | sent.keys())
    for row in balances.values():
        key = row["asset"], row["address"]
        assert (row["received"], row["sent"]) == (received[key], sent[key])
        net = received[key] - sent[key]
        assert row["amount"] == (net if row["asset"] in (GOLD, SILVER) and net >= 0 else None)
    found = rows["stacks.fungible_token"]
    assert {(GOLD,), (SILVER,)} <= found.keys()
    for (asset,), row in found.items():
        assert (row["minted"], row["burned"]) == (minted[asset], burned[asset])
        assert row["complete"] == (asset in (GOLD, SILVER))
        supply = minted[asset] - burned[asset]
        assert row["supply"] == (supply if row["complete"] and supply >= 0 else None)
    assert {row["value"]: row["owner"] for row in rows["stacks.nft"].values()} == owners


def test_the_deployed_tokens_are_those_that_the_source_defines_at_its_top() -> None:
    (block,) = chain([])

    assert fold(protocol.deployed_at({}), [block])["stacks.fungible_token"].keys() == {(GOLD,), (SILVER,)}


def test_a_mint_while_the_contract_is_deployed_is_seen_completely() -> None:
    mint = tokens.moved(EventKind.FT_MINT, GOLD, recipient="SP-A", amount=5)
    rows = fold(protocol.deployed_at({}), chain([[mint]]))

    assert rows["stacks.balance"][GOLD, "SP-A"]["amount"] == 5


def test_a_filter_leaves_out_other_contracts_and_stx() -> None:
    events = [
        tokens.moved(EventKind.FT_MINT, GOLD, recipient="SP-A", amount=5),
        tokens.moved(EventKind.FT_MINT, ELSEWHERE, recipient="SP-A", amount=6),
        tokens.moved(EventKind.STX_TRANSFER, sender="SP-A", recipient="SP-B", amount=7),
        tokens.moved(EventKind.NFT_MINT, tokens.ART, token=1, recipient="SP-A"),
    ]
    expected = {
        tokens.COIN: {GOLD, SILVER},
        "STX": {STX},
        ELSEWHERE.partition("::")[0]: {ELSEWHERE},
        tokens.ART.partition("::")[0]: {tokens.ART},
    }
    for only, found in expected.items():
        rows = fold(protocol.deployed_at({}, only=[only]), chain([events]))
        assert {row["asset"] for table in rows.values() for row in table.values()} == found


def test_a_long_identifier_is_known_by_its_hash() -> None:
    short = cl.encode(cl.Buffer(bytes(MAX_TOKEN_BYTES - 5)))
    long = cl.encode(cl.Buffer(bytes(MAX_TOKEN_BYTES - 4)))

    assert token_key(short) == f"0x{short.hex()}"
    assert token_key(long).startswith("sha256:")
    assert len({token_key(long), token_key(long[:-1] + b"\x01")}) == 2


@given(st.lists(tokens.movements(), max_size=6))
def test_the_rows_that_events_change_are_foreseen(events: list[Event]) -> None:
    deployed = protocol.deployed_at({})
    names = {row_type.model: row_type.name for row_type in protocol.row_types}
    foreseen = {(names[table], key) for event in events for table, key in deployed.foreseen(event)}
    changed = {(name, key) for name, rows in fold(deployed, chain([events])).items() for key in rows}
    assert changed == foreseen | {("stacks.fungible_token", (GOLD,)), ("stacks.fungible_token", (SILVER,))}
