"""The recorded chain in `fixtures/`: what is in it, what it is indexed to, and that it can be made again."""

from __future__ import annotations

import collections
import re

import psycopg
import pytest
import zstandard

from clarion.chains.model import Block, EventKind
from clarion.chains.stacks.node_payloads import decode_post
from clarion.chains.stacks.recording import read_recording
from clarion.dev.accounts import DEPLOYER
from clarion.dev.record import FIXTURES, RECORDING, record
from clarion.protocols.bithedge import protocol
from clarion.replay import replay
from clarion.store.database import connect


@pytest.fixture(scope="module")
def facts() -> dict[str, str]:
    """The table of facts in `fixtures/README.md`."""
    rows = re.findall(r"^\| (.+?) \| `?([^|`]+?)`? \|$", (FIXTURES / "README.md").read_text(), re.MULTILINE)
    assert len(rows) > 20
    return dict(rows)


@pytest.fixture(scope="module")
def blocks() -> list[Block]:
    posts = read_recording(RECORDING)
    return [item for post in posts for item in decode_post(post.path, post.body) if isinstance(item, Block)]


def test_it_is_small() -> None:
    assert RECORDING.stat().st_size < 2_000_000


def test_every_topic_of_the_contracts_is_in_it(blocks: list[Block]) -> None:
    printed = {
        ((event.contract or "").removeprefix(f"{DEPLOYER.address}."), event.topic)
        for block in blocks
        for event in block.events
        if event.kind is EventKind.PRINT and (event.contract or "").startswith(DEPLOYER.address)
    }
    assert printed == protocol.topics().keys()


def test_what_is_recorded_is_what_the_facts_say(blocks: list[Block], facts: dict[str, str]) -> None:
    statuses = collections.Counter(transaction.status for block in blocks for transaction in block.transactions)
    found = {f"transactions {status}": str(count) for status, count in statuses.items()}
    found["posts"] = str(sum(1 for _ in read_recording(RECORDING)))
    found["blocks"] = str(len(blocks))
    found["events"] = str(sum(len(block.events) for block in blocks))
    assert {name: facts.get(name) for name in found} == found


def test_it_is_indexed_to_what_the_facts_say(database_url: str, facts: dict[str, str]) -> None:
    replayed = replay(RECORDING, database_url, [protocol.deployed_by(DEPLOYER.address)])
    assert replayed.tip is not None
    assert replayed.undecodable == []
    with connect(database_url, autocommit=True) as connection:
        found = {
            "canonical blocks": str(replayed.canonical),
            "orphaned blocks": str(replayed.orphaned),
            "blocks that wait for a parent": str(replayed.waiting),
            "anomalies": str(replayed.anomalies),
            "tip": str(replayed.tip.height),
            "digest": replayed.tip.digest.hex(),
            "blocks taken back": _count(connection, "SELECT count(*) FROM clarion.step WHERE op = 'retract'"),
            "missing events": _count(connection, "SELECT sum(missing)::bigint FROM bithedge.contract_sequence"),
            "unpaid at the end": _count(connection, "SELECT count(*) FROM bithedge.policy WHERE unpaid_usd8 > 0"),
        }
        for state, count in connection.execute("SELECT state, count(*) FROM bithedge.policy GROUP BY state"):
            found[f"policies {state}"] = str(count)
        for state, count in connection.execute("SELECT state, count(*) FROM bithedge.withdraw_request GROUP BY state"):
            found[f"withdrawals {state}"] = str(count)
    assert {name: facts.get(name) for name in found} == found


def _count(connection: psycopg.Connection, query: str) -> str:
    row = connection.execute(query).fetchone()  # type: ignore[arg-type]  # this module's own
    assert row is not None
    return str(row[0])


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_it_can_be_made_again() -> None:
    with RECORDING.open("rb") as file:
        lines = zstandard.ZstdDecompressor().stream_reader(file).read()
    again = (await record()).lines()
    assert again == lines, "contracts, devnet or cast have changed: run `python -m clarion.dev.record`"
