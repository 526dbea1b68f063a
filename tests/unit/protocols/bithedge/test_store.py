"""BitHedge's rows on a real Postgres: written, read back by the next batch, and rolled back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row
from support.bithedge_rows import DEPLOYER, Folded, Printed, block_of
from support.bithedge_vault import Vault

from clarion.protocols.bithedge import protocol
from clarion.protocols.bithedge.tables import Exposure, PolicyLock
from clarion.store.database import connect
from clarion.store.rows import RowType
from clarion.store.store import Store

STX = f"{DEPLOYER}.bh-stx"
LARGE = 2**127


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with connect(database_url, autocommit=True) as opened:
        yield opened


def history() -> list[Printed]:
    """Three providers and three policies: one changes hands and pays, one is cancelled, one stays."""
    vault = Vault()
    vault.deposit(("ST1", "balanced", STX), LARGE)
    vault.deposit(("ST2", "balanced", STX), 1_000)
    for expiry in (5, 6, 5):
        vault.create("balanced", STX, {"ST2": (10, 7), "ST1": (20, 900)}, expiry, 101)
    vault.change_tier(("ST1", "balanced", STX), "aggressive", 10)
    vault.deposit(("ST3", "balanced", STX), 5_000)
    vault.move_allocation(0, "ST3", 30)
    vault.end(0, "settled-itm", 33)
    vault.claim_rest(0, 2)
    vault.request(("ST1", "balanced", STX), 50)
    vault.end(0, "cancelled", 95)
    vault.withdraw(0)
    vault.claim("ST1", STX)
    vault.collect(STX, "platform")
    return vault.printed


def stored(connection: psycopg.Connection[Any], row_type: RowType) -> list[dict[str, Any]]:
    schema, table = row_type.name.split(".")
    query = sql.SQL("SELECT * FROM {}").format(sql.Identifier(schema, table))
    rows = connection.cursor(row_factory=dict_row).execute(query).fetchall()
    return sorted(rows, key=lambda row: [row[name] for name in row_type.key_columns])


def folded(events: list[Printed]) -> Folded:
    result = Folded()
    for event in events:
        result.block([event])
    return result


def assert_stored(connection: psycopg.Connection[Any], events: list[Printed]) -> None:
    expected = folded(events)
    for row_type in protocol.row_types:
        assert stored(connection, row_type) == expected.stored(row_type.model), row_type.name


def test_rows_survive_the_database_and_a_rollback(connection: psycopg.Connection[Any]) -> None:
    events = history()
    half = len(events) // 2
    assert folded(events).all(PolicyLock)
    assert len(folded(events[:half]).all(Exposure)) != len(folded(events).all(Exposure))
    for number, event in enumerate(events, start=1):
        # a store of its own for each block: what it needs of the rows it reads from the database
        store = Store(connection, "stacks", [protocol.deployed_by(DEPLOYER)])
        store.open()
        with store.batch() as batch:
            block = block_of(number, [event])
            batch.append(block)
            batch.apply(block)
    assert_stored(connection, events)
    with store.batch() as batch:
        assert batch.rollback(half) == len(events) - half
    assert_stored(connection, events[:half])
    assert connection.execute("SELECT count(*) FROM clarion.anomaly").fetchone() == (0,)
