"""Time travel on a real Postgres: a table as of a block is what an index that ends there holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql
from sqlalchemy import BigInteger, Boolean, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field
from support import toy
from support.index import truncate_index

from clarion.chains.model import Block, JsonValue
from clarion.protocol import EventContext, Protocol
from clarion.store.chain_log import json_text
from clarion.store.database import connect
from clarion.store.generation import make_tables
from clarion.store.projector import Projector
from clarion.store.rows import UINT128, Row, Rows
from clarion.store.store import Store
from clarion.store.time_travel import Refusal, TimeTravelError, as_of

TABLES = ("toy.account", "mixed.entry")


class Entry(Row, table=True):
    """A row whose key has a column of every type."""

    __tablename__ = "entry"
    __table_args__ = {"schema": "mixed"}
    amount: int = Field(primary_key=True, sa_type=UINT128)
    label: str = Field(sa_type=Text)
    key: str = Field(primary_key=True, sa_type=Text)
    number: int = Field(primary_key=True, sa_type=BigInteger)
    flag: bool = Field(primary_key=True, sa_type=Boolean)
    extra: Any = Field(default=None, sa_type=JSONB, nullable=True)


class Moved(msgspec.Struct, rename="kebab"):
    owner: str
    balance_after: int


class Closed(msgspec.Struct, rename="kebab"):
    owner: str


mixed = Protocol("mixed", tables=[Entry])


@mixed.on("bank", "account.moved")
def moved(event: Moved, at: EventContext, rows: Rows) -> None:
    key = (2**127 + event.balance_after % 2, event.owner, event.balance_after % 2 - 2**62, event.balance_after % 2 == 0)
    names = ("amount", "key", "number", "flag")
    entry = rows.get(Entry, *key) or rows.insert(Entry, **dict(zip(names, key, strict=True)), label='50% "{}"')
    entry.extra = {"balance": event.balance_after, "at": [at.block.height]}


@mixed.on("bank", "account.closed")
def closed(event: Closed, at: EventContext, rows: Rows) -> None:
    for parity in (0, 1):
        rows.delete(Entry, 2**127 + parity, event.owner, parity - 2**62, parity == 0)


PROTOCOLS = (toy.deployed(), mixed.deployed_by(toy.DEPLOYER))


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with connect(database_url, autocommit=True) as opened:
        for deployed in PROTOCOLS:
            make_tables(opened, deployed.protocol, deployed.protocol.name)
        yield opened


def open_store(connection: psycopg.Connection[Any]) -> Store:
    store = Store(connection, "stacks", PROTOCOLS)
    store.open()
    return store


def apply(store: Store, blocks: Sequence[Block], *, known: bool = False) -> None:
    with store.batch() as batch:
        for block in blocks:
            if not known:
                batch.append(block)
            batch.apply(block)


State = dict[str, list[dict[str, Any]]]


def in_order(row: dict[str, Any]) -> str:
    return repr(sorted(row.items()))


def fresh_states(blocks: Sequence[Block]) -> dict[int, State]:
    """What an index of these blocks alone holds after each of them."""
    now: dict[str, dict[Any, dict[str, JsonValue]]] = {table: {} for table in TABLES}
    projector = Projector(PROTOCOLS, lambda row_type, key: None)
    states = {}
    for block in blocks:
        for change in projector.project(block).changes:
            if change.after is None:
                del now[change.table][change.key]
            else:
                now[change.table][change.key] = change.after
        states[block.height] = {
            table: sorted((dict(row) for row in rows.values()), key=in_order) for table, rows in now.items()
        }
    return states


def state_as_of(connection: psycopg.Connection[Any], moment: int | bytes) -> State:
    found = {}
    for table in TABLES:
        name = sql.Identifier(*table.split("."))
        rows = connection.execute(
            sql.SQL("SELECT to_jsonb(t) FROM clarion.as_of(NULL::{}, %s) t").format(name), (moment,)
        )
        found[table] = sorted((row for (row,) in rows), key=in_order)
    return found


def assert_every_height_is_as_a_fresh_index_has_it(
    connection: psycopg.Connection[Any], blocks: Sequence[Block], *, since: int = 0
) -> None:
    for height, state in fresh_states(blocks).items():
        if height >= since:
            assert state_as_of(connection, height) == state


values = st.one_of(
    st.builds(toy.move, st.sampled_from("abcd"), st.integers(0, 5)), st.builds(toy.close, st.sampled_from("abcd"))
)
#: How many blocks to take back first, whether to put the same ones back before the new ones, and these blocks' values.
steps = st.lists(
    st.tuples(st.integers(0, 3), st.booleans(), st.lists(st.lists(values, max_size=4), min_size=1, max_size=3)),
    min_size=1,
    max_size=6,
)


def play(store: Store, plan: Any) -> list[Block]:
    """Forks, retractions, and blocks applied a second time; returns the blocks that are canonical at the end."""
    chain: list[Block] = []
    for number, (back, again, following) in enumerate(plan):
        lost = chain[len(chain) - back :] if back < len(chain) else []
        if lost:
            chain = chain[: -len(lost)]
            with store.batch() as batch:
                batch.rollback(chain[-1].height)
            if again:
                apply(store, lost, known=True)
                chain += lost
        blocks: list[Block] = []
        for events in following:
            blocks.append(toy.block(blocks[-1] if blocks else chain[-1] if chain else None, events, branch=str(number)))
        apply(store, blocks)
        chain += blocks
    return chain


@settings(max_examples=settings().max_examples // 2, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=steps)
def test_as_of_is_what_a_fresh_index_up_to_there_holds(connection: psycopg.Connection[Any], plan: Any) -> None:
    truncate_index(connection, *TABLES)
    store = open_store(connection)
    chain = play(store, plan)
    assert_every_height_is_as_a_fresh_index_has_it(connection, chain)
    assert state_as_of(connection, chain[0].hash) == state_as_of(connection, chain[0].height)


def forget_generation(connection: psycopg.Connection[Any], blocks: Sequence[Block], filled: int) -> None:
    """As if a second generation had been filled up to a height and then switched to: its past is in the history."""
    execute = connection.execute
    execute("CREATE TEMPORARY TABLE earlier AS SELECT * FROM clarion.change")
    execute("DELETE FROM clarion.change WHERE height <= %s", (filled,))
    execute("UPDATE clarion.change SET sequence = sequence + 1000")
    execute("UPDATE earlier SET after = '{\"balance\": 1234}' WHERE after IS NOT NULL")
    execute("INSERT INTO clarion.change SELECT * FROM earlier")
    execute("DROP TABLE earlier")
    execute("UPDATE clarion.cursor SET sequence = sequence + 1000")
    execute("UPDATE clarion.protocol SET generation = 2, since_sequence = 1000")
    projector = Projector(PROTOCOLS, lambda row_type, key: None)
    for block in blocks:
        for change in projector.project(block).changes if block.height <= filled else ():
            execute(
                'INSERT INTO clarion.history (chain, "table", generation, key, height, after) '
                "VALUES ('stacks', %s, 2, %s, %s, %s), ('stacks', %s, 1, %s, %s, '{}')",
                (change.table, json_text(change.key), block.height, json_text(change.after))
                + (change.table, json_text(change.key), block.height),
            )


@settings(max_examples=settings().max_examples // 2, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=steps, filled=st.integers(0, 12))
def test_the_past_of_a_generation_is_in_its_history(
    connection: psycopg.Connection[Any], plan: Any, filled: int
) -> None:
    truncate_index(connection, *TABLES)
    chain = play(open_store(connection), plan)
    forget_generation(connection, chain, filled)
    assert_every_height_is_as_a_fresh_index_has_it(connection, chain)


class TestRefusals:
    """What cannot be told is refused, with the reason."""

    @pytest.fixture
    def chain(self, connection: psycopg.Connection[Any]) -> list[Block]:
        first = toy.block(None, [toy.move("a", 1)], height=10)
        chain = [first, toy.block(first, [toy.move("a", 2)])]
        store = open_store(connection)
        lost = toy.block(first, [toy.move("a", 3)], branch="lost")
        apply(store, [first, lost])
        with store.batch() as batch:
            batch.rollback(10)
        apply(store, chain[1:])
        return chain

    def refusal(self, connection: psycopg.Connection[Any], height: int, table: str = "toy.account") -> TimeTravelError:
        with pytest.raises(TimeTravelError) as caught:
            as_of(connection, table, height)
        return caught.value

    def test_heights_outside_the_index(self, connection: psycopg.Connection[Any], chain: list[Block]) -> None:
        for height in (9, 12):
            error = self.refusal(connection, height)
            assert error.refusal is Refusal.UNKNOWN_BLOCK
            assert str(error) == f"stacks block {height} is not in the index: it holds blocks 10 to 11"

    def test_hashes_that_are_not_canonical(self, connection: psycopg.Connection[Any], chain: list[Block]) -> None:
        lost = toy.block(chain[0], [toy.move("a", 3)], branch="lost")
        for unknown, words in ((lost.hash, r"\(height 11\) is not canonical"), (bytes(32), "is not in the index")):
            with pytest.raises(psycopg.Error, match=words) as caught:
                state_as_of(connection, unknown)
            assert caught.value.sqlstate == Refusal.UNKNOWN_BLOCK

    def test_heights_that_are_not_kept(self, connection: psycopg.Connection[Any], chain: list[Block]) -> None:
        connection.execute("INSERT INTO clarion.kept VALUES ('stacks', 'toy.account', 11)")
        error = self.refusal(connection, 10)
        assert (error.refusal, str(error)) == (
            Refusal.NOT_KEPT,
            "toy.account at block 10 is not kept any more: it can be read as of block 11 and later",
        )
        assert connection.execute(
            sql.SQL("SELECT owner, balance FROM {} t WHERE true OR %s").format(as_of(connection, "toy.account", 11)),
            (True,),
        ).fetchall() == [("a", 2)]

    def test_tables_of_no_live_protocol(self, connection: psycopg.Connection[Any], chain: list[Block]) -> None:
        assert self.refusal(connection, 10, "clarion.cursor").refusal is Refusal.NOT_LIVE
        Store(connection, "stacks", PROTOCOLS[:1]).open()
        assert self.refusal(connection, 10, "mixed.entry").refusal is Refusal.NOT_LIVE
        assert as_of(connection, "toy.account", 10) is not None


@pytest.mark.parametrize("analyzed", [True, False], ids=["with statistics", "without statistics"])
def test_a_condition_on_the_key_reaches_the_indexes(connection: psycopg.Connection[Any], analyzed: bool) -> None:
    store = open_store(connection)
    chain = [toy.block(None, [toy.move(f"owner-{number:04}", 1) for number in range(3_000)])]
    chain.append(toy.block(chain[0], [toy.move(f"owner-{number:04}", 2) for number in range(1_500)]))
    apply(store, chain)
    if analyzed:
        connection.execute("ANALYZE toy.account")
        connection.execute("ANALYZE clarion.change")
    plan = connection.execute(
        sql.SQL("EXPLAIN (FORMAT JSON) SELECT * FROM {} t WHERE owner = %s").format(
            as_of(connection, "toy.account", 1)
        ),
        ("owner-0007",),
    ).fetchone()
    assert plan is not None
    scans = [node for node in _nodes(plan[0][0]["Plan"]) if node.get("Relation Name") == "account"]
    assert scans
    assert {node["Node Type"] for node in scans} <= {"Index Scan", "Index Only Scan", "Bitmap Heap Scan"}
    indexes = {node.get("Index Name") for node in _nodes(plan[0][0]["Plan"])}
    assert "change_by_key" in indexes
    assert "change_pkey" not in indexes


def test_keys_that_share_a_hash_are_told_apart(connection: psycopg.Connection[Any]) -> None:
    store = open_store(connection)
    chain = [toy.block(None, [toy.move("alice", 1), toy.move("bob", 5)])]
    chain.append(toy.block(chain[0], [toy.move("alice", 2), toy.move("bob", 6)]))
    with connection.transaction(force_rollback=True):
        connection.execute("DROP INDEX clarion.change_by_key")
        connection.execute(
            'CREATE OR REPLACE FUNCTION clarion.key_hash("table" text, key jsonb) RETURNS bigint '
            "LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 1"
        )
        apply(store, chain)
        rows = sql.SQL("SELECT owner, balance FROM {} t ORDER BY owner").format(as_of(connection, "toy.account", 1))
        assert connection.execute(rows).fetchall() == [("alice", 1), ("bob", 5)]


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for inside in node.get("Plans", ()):
        yield from _nodes(inside)
