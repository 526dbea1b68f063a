"""How often the index waits for Postgres to apply a block at the tip, and what it does where Postgres refuses one."""

from __future__ import annotations

import tempfile
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace
from support import toy
from support.node_posts import body, burn_payload, moves_payload

from clarion.chains.model import Block, Event, EventKind
from clarion.follower import Follower
from clarion.ingest import ingest
from clarion.protocol import ProjectionError
from clarion.store.store import Store
from clarion.worker import Worker

pytestmark = pytest.mark.usefixtures("toy_tables")


def answers_waited_for(connection: psycopg.Connection[Any], worker: Worker) -> int:
    """How often the worker asked Postgres for an answer while it applied what waits."""
    with tempfile.TemporaryFile() as trace:
        connection.pgconn.trace(trace.fileno())
        assert worker.apply_pending().posts == 1
        connection.pgconn.untrace()
        trace.seek(0)
        sent = [line.split(b"\t") for line in trace.read().splitlines() if b"\tF\t" in line]
    return sum(message[3] in (b"Sync", b"Flush", b"Query", b"CopyDone") for message in sent)


def posted(connection: psycopg.Connection[Any], path: str, content: bytes) -> None:
    connection.execute(
        "INSERT INTO clarion.inbox (path, body, source) VALUES (%s, %b, 'observer:node')", (path, content)
    )


def test_a_block_at_the_tip_waits_for_postgres_five_times_at_most(
    database_url: str, connection: psycopg.Connection[Any]
) -> None:
    worker = Worker(database_url, [toy.deployed()], start_height=0)
    worker.connect()
    burn = toy.burn_block(1)
    posted(connection, "/new_burn_block", body(burn_payload(burn)))
    assert worker.apply_pending().posts == 1
    parent: Block | None = None
    waits = []
    for number in range(4):
        moves = [toy.move(f"user {index}", number) for index in range(10)]
        parent = toy.block(parent, moves, burn=burn)
        posted(connection, "/new_block", body(moves_payload(parent, moves)))
        waits.append(answers_waited_for(worker.store.connection, worker))
        assert worker.store.tip.height == number + 1
    # The first one learns that its Bitcoin block is known, and looks for the rows it changes.
    assert waits[0] <= 9
    assert max(waits[1:]) <= 5
    assert connection.execute("SELECT count(*), min(balance) FROM toy.account").fetchone() == (10, 3)
    worker.close()


def test_a_row_that_a_table_cannot_hold_is_the_packages_defect(store: Store) -> None:
    first = toy.block(None, [toy.move("alice", 1)])
    ingest(store, Follower(), [first])
    with pytest.raises(ProjectionError, match=r"a handler made a row of toy\.account that the table cannot hold"):
        ingest(store, Follower(), [toy.block(first, [toy.move("alice", 10**40)])])
    assert store.tip.height == 1
    ingest(store, Follower(), [toy.block(first, [toy.move("alice", 2)])])
    assert store.connection.execute("SELECT balance FROM toy.account").fetchall() == [(2,)]


def test_what_postgres_refuses_of_a_block_is_not_the_packages_defect(store: Store) -> None:
    first = toy.block(None, [toy.move("alice", 1)])
    ingest(store, Follower(), [first])
    second = toy.block(first, [toy.move(f"user {number}", number) for number in range(10)])
    with_nul = Event(0, 10, EventKind.PRINT, toy.CONTRACT, "n\0ul", None, b"\x03")
    with pytest.raises(psycopg.DataError):
        ingest(store, Follower(), [replace(second, events=(*second.events, with_nul))])
    assert store.tip.height == 1
    assert store.connection.execute("SELECT count(*) FROM toy.account").fetchone() == (1,)
    assert store.connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_a_batch_in_the_callers_transaction_is_undone_with_it(store: Store) -> None:
    with store.connection.transaction(force_rollback=True):
        ingest(store, Follower(), [toy.block(None, [toy.move("alice", 1)])])
    assert store.connection.execute("SELECT count(*) FROM clarion.block").fetchone() == (0,)
