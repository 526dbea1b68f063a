"""A large recording is decoded in other processes and written before its indexes: the index made of it is the same."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import psycopg
import pytest
import zstandard
from support.index import truncate_index

from clarion import replay as replaying
from clarion.chains.stacks.recording import RecordingError
from clarion.dev.accounts import DEPLOYER
from clarion.protocols.bithedge import protocol
from clarion.replay import replay
from clarion.store.database import connect
from clarion.store.deferred_indexes import defer_indexes, restore_indexes

FIXTURE = Path(__file__).resolve().parents[2] / "fixtures" / "bithedge-devnet.tsv.zst"
DEPLOYED = protocol.deployed_by(DEPLOYER.address)
POSTS = 1_500


@pytest.fixture
def as_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaying, "LARGE_BYTES", 0)
    monkeypatch.setattr(replaying, "default_processes", lambda: 2)


def content(connection: psycopg.Connection[Any], table: str) -> list[Any]:
    order = {"block": "hash", "transaction": "height, block_hash, tx_index", "change": "sequence"}
    by = order.get(table, "height, block_hash, tx_index, event_index")
    # which changes have the row before depends on the batches: those of blocks that were final then have none
    columns = 'chain, sequence, height, block_hash, "table", key, op, after, retraction' if table == "change" else "*"
    return connection.execute(f"SELECT {columns} FROM clarion.{table} ORDER BY {by}".encode()).fetchall()


def indexes(connection: psycopg.Connection[Any]) -> list[Any]:
    return connection.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'clarion' ORDER BY 1"
    ).fetchall()


def test_it_is_the_index_that_one_process_makes(
    database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tables = ("block", "transaction", "event", "change", "anomaly")
    beginning = tmp_path / "beginning.tsv"
    with zstandard.open(FIXTURE, "rt", encoding="utf-8") as whole:
        beginning.write_text("".join(islice(whole, POSTS)), encoding="utf-8")
    with connect(database_url, autocommit=True) as connection:
        before = indexes(connection)
        alone = replay(beginning, database_url, [DEPLOYED])
        expected = {table: content(connection, table) for table in tables}
        truncate_index(connection, *(row_type.name for row_type in protocol.row_types))
        monkeypatch.setattr(replaying, "LARGE_BYTES", 0)
        monkeypatch.setattr(replaying, "default_processes", lambda: 2)
        seen = []
        together = replay(beginning, database_url, [DEPLOYED], progress=lambda _: seen.append(indexes(connection)))
        assert together == alone
        assert len(expected["change"]) > 100
        assert {table: content(connection, table) for table in tables} == expected
        assert len(seen[0]) == len(before) - 8
        assert indexes(connection) == before


@pytest.mark.usefixtures("as_large")
def test_a_file_that_breaks_off_leaves_its_beginning_and_all_indexes(database_url: str, tmp_path: Path) -> None:
    cut = tmp_path / "cut.tsv.zst"
    cut.write_bytes(FIXTURE.read_bytes()[:100_000])
    with connect(database_url, autocommit=True) as connection:
        before = indexes(connection)
        with pytest.raises(RecordingError, match="cannot be decompressed"):
            replay(cut, database_url, [DEPLOYED])
        (blocks,) = connection.execute("SELECT count(*) FROM clarion.canonical_block").fetchone() or (0,)
        assert blocks > 10
        assert indexes(connection) == before


def test_what_a_killed_replay_left_out_is_made_by_whoever_opens_the_index_next(database_url: str) -> None:
    with connect(database_url, autocommit=True) as connection:
        before = indexes(connection)
        defer_indexes(connection)
        assert indexes(connection) != before
        restore_indexes(connection)
        restore_indexes(connection)
        assert indexes(connection) == before
