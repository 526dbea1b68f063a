"""Retention on a real Postgres: what is pruned is said to be, and everything else is as it was."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import toy
from support.index import truncate_index

from clarion.chains.model import Block
from clarion.drill import drill
from clarion.pruning import Pruner
from clarion.store.chain_log import json_text
from clarion.store.database import connect
from clarion.store.projector import Projector
from clarion.store.retention import Retention, RetentionError, prune
from clarion.store.store import Store
from clarion.store.time_travel import Refusal, TimeTravelError, refused
from clarion.verify import verify

pytestmark = pytest.mark.usefixtures("toy_generation")

PROTOCOLS = [toy.deployed()]
TABLE = "toy.account"

State = list[tuple[Any, ...]]


def index(
    connection: psycopg.Connection[Any],
    events: Sequence[Sequence[Any]],
    *,
    final: int,
    switched: int | None = None,
    filled: int = 0,
) -> list[Block]:
    """Blocks from 10 on with these events, each after a branch of one block that lost; the first ``final`` are final.

    After ``switched`` blocks the rows are made anew, the first ``filled`` of them beforehand.
    """
    truncate_index(connection, TABLE)
    store = Store(connection, "stacks", PROTOCOLS)
    store.open()
    blocks: list[Block] = []
    for number, values in enumerate(events):
        tip = blocks[-1] if blocks else None
        block = toy.block(tip, values, height=10 + number)
        with store.batch() as batch:
            if tip is not None:
                lost = toy.block(tip, [toy.move("a", 77), toy.close("b"), toy.move("lost", number)], branch="lost")
                batch.append(lost)
                batch.apply(lost)
                batch.rollback(tip.height)
            batch.append(block)
            batch.apply(block)
        blocks.append(block)
        if len(blocks) == switched:
            switch_generation(connection, blocks, 9 + filled)
            store.open()
    connection.execute("UPDATE clarion.cursor SET final_height = %s", (9 + final,))
    return blocks


def rows_at(connection: psycopg.Connection[Any], height: int) -> State:
    try:
        query = "SELECT owner, balance FROM clarion.as_of(NULL::toy.account, %s)"
        return sorted(connection.execute(query, (height,)).fetchall())
    except psycopg.Error as error:
        raise refused(error) or error from error


def fresh_states(blocks: Sequence[Block]) -> dict[int, State]:
    now: dict[Any, Any] = {}
    projector = Projector(PROTOCOLS, lambda row_type, key: None)
    states = {}
    for block in blocks:
        for change in projector.project(block).changes:
            now.pop(change.key, None)
            if change.after is not None:
                now[change.key] = (change.after["owner"], change.after["balance"])
        states[block.height] = sorted(now.values())
    return states


def kept_from(connection: psycopg.Connection[Any]) -> int:
    found = connection.execute("SELECT from_height FROM clarion.kept").fetchone()
    return 10 if found is None else int(found[0])


values = st.one_of(
    st.builds(toy.move, st.sampled_from("abc"), st.integers(0, 5)), st.builds(toy.close, st.sampled_from("abc"))
)


@settings(max_examples=settings().max_examples // 2, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    events=st.lists(st.lists(values, max_size=3), min_size=1, max_size=10),
    final=st.integers(1, 10),
    retentions=st.lists(st.tuples(st.integers(0, 9), st.one_of(st.none(), st.integers(0, 9))), min_size=1, max_size=3),
    chunk=st.integers(1, 8),
    switched=st.one_of(st.none(), st.integers(1, 6)),
    filled=st.integers(0, 6),
)
def test_what_is_kept_is_as_it_was(
    connection: psycopg.Connection[Any],
    events: list[list[Any]],
    final: int,
    retentions: list[tuple[int, int | None]],
    chunk: int,
    switched: int | None,
    filled: int,
) -> None:
    final = min(final, len(events))
    blocks = index(connection, events, final=final, switched=switched, filled=min(filled, final, switched or 0))
    states = fresh_states(blocks)
    for table_blocks, feed_blocks in retentions:
        prune(connection, "stacks", Retention({"*": table_blocks}, feed_blocks), chunk=chunk)
        expected = max(10, min(9 + final, blocks[-1].height - max(0, min(table_blocks, blocks[-1].height))))
        assert kept_from(connection) >= expected
        for height, state in states.items():
            if height >= kept_from(connection):
                assert rows_at(connection, height) == state
    assert verify(connection, "stacks", PROTOCOLS).difference is None
    assert drill(connection, "stacks", PROTOCOLS, len(events) - final).passed


def switch_generation(connection: psycopg.Connection[Any], blocks: Sequence[Block], filled: int) -> None:
    """As if another generation had been filled up to a height and switched to at the tip."""
    execute = connection.execute
    execute('UPDATE clarion.change SET after = \'{"owner": "of an earlier generation"}\' WHERE after IS NOT NULL')
    execute("UPDATE clarion.protocol SET generation = 2, since_sequence = (SELECT sequence + 1 FROM clarion.cursor)")
    execute("UPDATE clarion.digest SET generation = 2")
    execute("UPDATE clarion.cursor SET sequence = sequence + 1")
    projector = Projector(PROTOCOLS, lambda row_type, key: None)
    for block in blocks:
        for change in projector.project(block).changes:
            images = (json_text(change.key), json_text(change.before), json_text(change.after))
            if block.height <= filled:
                execute(
                    'INSERT INTO clarion.history (chain, "table", generation, key, height, after) '
                    "VALUES ('stacks', %s, 2, %s, %s, %s)",
                    (change.table, images[0], block.height, images[2]),
                )
            else:
                execute(
                    "WITH moved AS (UPDATE clarion.cursor SET sequence = sequence + 1 RETURNING sequence) "
                    'INSERT INTO clarion.change (chain, sequence, height, block_hash, "table", key, op, before, after, '
                    "retraction) SELECT 'stacks', sequence, %s, %s, %s, %s, %s, %s, %s, false FROM moved",
                    (block.height, block.hash, change.table, images[0], change.op, *images[1:]),
                )


EVENTS = [[toy.move("a", 1), toy.move("b", 1)], [toy.move("a", 2)], [toy.close("b")], [toy.move("a", 4)], [], []]


def count(connection: psycopg.Connection[Any], what: str) -> int:
    found = connection.execute(f"SELECT count(*) FROM {what}".encode()).fetchone()
    assert found is not None
    return int(found[0])


def test_by_default_everything_is_kept(connection: psycopg.Connection[Any]) -> None:
    index(connection, EVENTS, final=6)
    before = count(connection, "clarion.change")
    assert Retention().keeps_everything
    pruned = prune(connection, "stacks", Retention())
    assert (pruned.changes, pruned.steps, count(connection, "clarion.change")) == (0, 0, before)


def test_only_the_newest_of_what_is_over_stays(connection: psycopg.Connection[Any]) -> None:
    index(connection, EVENTS, final=6)
    pruned = prune(connection, "stacks", Retention({"*": 1}, 1))
    assert kept_from(connection) == 14
    left = connection.execute(
        "SELECT key, height, op FROM clarion.change WHERE height <= 14 AND NOT retraction"
    ).fetchall()
    assert [row for row in left if row[0] in (["a"], ["b"])] == [(["a"], 13, "update")]
    assert (pruned.steps, count(connection, "clarion.step") > 0) == (13, True)
    with pytest.raises(TimeTravelError) as caught:
        rows_at(connection, 13)
    assert caught.value.refusal is Refusal.NOT_KEPT


def test_blocks_that_lost_go_with_the_steps_that_name_them(connection: psycopg.Connection[Any]) -> None:
    blocks = index(connection, EVENTS, final=4)
    lost = "clarion.{} t WHERE NOT EXISTS (SELECT FROM clarion.canonical_block k WHERE k.hash = t.{})"
    tables = {"block": "hash", "transaction": "block_hash", "event": "block_hash"}
    held = {table: count(connection, f"clarion.{table}") for table in tables}
    before = {table: count(connection, lost.format(table, column)) for table, column in tables.items()}
    assert before == {"block": 5, "transaction": 5, "event": 15}

    assert prune(connection, "stacks", Retention({"*": 0})).blocks == 0
    assert prune(connection, "stacks", Retention(feed=0), chunk=3).blocks == 3
    assert {table: count(connection, lost.format(table, column)) for table, column in tables.items()} == {
        "block": 2,
        "transaction": 2,
        "event": 6,
    }
    assert {table: held[table] - count(connection, f"clarion.{table}") for table in tables} == {
        "block": 3,
        "transaction": 3,
        "event": 9,
    }
    assert verify(connection, "stacks", PROTOCOLS).difference is None
    store = Store(connection, "stacks", PROTOCOLS)
    store.open()
    assert store.header(blocks[2].hash) is not None
    assert store.header(toy.block(blocks[1], EVENTS[0], height=12, branch="lost").hash) is None


def test_of_a_history_the_last_rows_stay(connection: psycopg.Connection[Any]) -> None:
    moves = [[toy.move(name, height) for name in "abc"] for height in range(3)]
    events = [*moves, [toy.close("c"), toy.move("d", 1)], [], [toy.move("d", 2)], [], [toy.move("a", 7)], [], []]
    blocks = index(connection, events, final=10, switched=5, filled=4)
    states = fresh_states(blocks)
    assert count(connection, "clarion.history") == 11

    for kept, left in ((12, 11), (14, 11), (16, 2), (18, 1)):
        prune(connection, "stacks", Retention({"*": blocks[-1].height - kept}), chunk=2)
        assert kept_from(connection) == kept
        for height in range(kept, blocks[-1].height + 1):
            assert rows_at(connection, height) == states[height]
        history = connection.execute("SELECT key, height FROM clarion.history ORDER BY key").fetchall()
        assert len(history) == left
    assert history == [(["b"], 12)]


def test_what_is_not_final_is_kept(connection: psycopg.Connection[Any]) -> None:
    index(connection, EVENTS, final=2)
    prune(connection, "stacks", Retention({"*": 0}, 0))
    assert kept_from(connection) == 11
    assert drill(connection, "stacks", PROTOCOLS, 4).passed
    store = Store(connection, "stacks", PROTOCOLS)
    store.open()
    with store.batch() as batch:
        batch.rollback(11)
    assert connection.execute("SELECT owner, balance FROM toy.account ORDER BY owner").fetchall() == [
        ("a", 2),
        ("b", 1),
    ]


def test_a_table_s_own_limit_goes_before_that_of_the_others(connection: psycopg.Connection[Any]) -> None:
    index(connection, EVENTS, final=6)
    assert prune(connection, "stacks", Retention({"*": 0, TABLE: None})).changes == 0
    with pytest.raises(RetentionError, match=r"names toy\.acount; the tables are toy\.account"):
        prune(connection, "stacks", Retention({"toy.acount": 1}))
    assert prune(connection, "stacks", Retention({"absent.table": 1})).changes == 0


def test_mempool_transactions_that_were_dropped_long_ago_go(connection: psycopg.Connection[Any]) -> None:
    for number, (age, reason) in enumerate([(3, "expired"), (1, "expired"), (9, None)]):
        connection.execute(
            "INSERT INTO clarion.mempool_transaction (tx_id, raw, dropped_reason, received_at) "
            "VALUES (%s, '', %s, now() - make_interval(days => %s))",
            (bytes([number]), reason, age),
        )
    assert prune(connection, "stacks", Retention(dropped_mempool_days=2)).mempool_transactions == 1
    assert count(connection, "clarion.mempool_transaction") == 2


def test_readers_beside_it_see_what_was_there_or_that_it_is_gone(
    connection: psycopg.Connection[Any], database_url: str
) -> None:
    blocks = index(connection, [[toy.move("a", n), toy.move(f"o{n % 7}", n)] for n in range(60)], final=60)
    states = fresh_states(blocks)
    done, problems = threading.Event(), []

    def read() -> None:
        with connect(database_url, autocommit=True) as reader:
            while not done.is_set():
                for height, state in list(states.items())[::7]:
                    try:
                        if rows_at(reader, height) != state:
                            problems.append(height)
                    except TimeTravelError as error:
                        if error.refusal is not Refusal.NOT_KEPT:
                            problems.append(height)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for thread in readers:
        thread.start()
    try:
        with connect(database_url, autocommit=True) as reader, reader.transaction():
            reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            assert rows_at(reader, 12) == states[12]
            prune(connection, "stacks", Retention({"*": 5}, 5), chunk=3)
            assert rows_at(reader, 12) == states[12]
    finally:
        done.set()
        for thread in readers:
            thread.join()
    assert problems == []
    assert kept_from(connection) == blocks[-1].height - 5


def test_it_stops_when_told_and_goes_on_the_next_time(connection: psycopg.Connection[Any]) -> None:
    blocks = index(connection, [[toy.move("a", n)] for n in range(30)], final=30)
    calls = iter([False, False, True])
    prune(connection, "stacks", Retention({"*": 5}), chunk=4, stopped=lambda: next(calls))
    first = kept_from(connection)
    assert 10 < first < blocks[-1].height - 5
    prune(connection, "stacks", Retention({"*": 5}), chunk=4)
    assert kept_from(connection) == blocks[-1].height - 5


async def test_beside_an_index_it_happens_by_itself(connection: psycopg.Connection[Any], database_url: str) -> None:
    blocks = index(connection, [[toy.move("a", n)] for n in range(30)], final=29)
    pruner = Pruner(database_url, "stacks", Retention({"*": 5}), interval_seconds=0.01)
    running = asyncio.create_task(pruner.run())
    async with asyncio.timeout(20):
        while await asyncio.to_thread(kept_from, connection) < blocks[-1].height - 5:
            assert not running.done()
        with connect(database_url, autocommit=True) as other:
            store = Store(other, "stacks", PROTOCOLS)
            store.open()
            with store.batch() as batch:
                block = toy.block(blocks[-1], [toy.move("a", 99)])
                batch.append(block)
                batch.apply(block)
        while await asyncio.to_thread(kept_from, connection) < block.height - 5:
            assert not running.done()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
