"""The store and the follower on a real Postgres: apply, fork, roll back, and end where a fresh index would."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any
from unittest.mock import patch

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs
from support import toy
from support.index import truncate_index

from clarion.chains.model import Block, BurnBlock, Finality
from clarion.follower import Followed, Follower, finality
from clarion.protocol import ProjectionError
from clarion.store import store as store_module
from clarion.store.database import connect
from clarion.store.deferred_indexes import defer_indexes, restore_keys
from clarion.store.digest import EMPTY_DIGEST
from clarion.store.store import FencedOutError, Store, UnknownBlockError

pytestmark = pytest.mark.usefixtures("toy_tables")

Item = Block | BurnBlock


@pytest.fixture
def store(connection: psycopg.Connection[Any]) -> Store:
    opened = Store(connection, "stacks", [toy.deployed()])
    opened.open()
    return opened


def ingest(store: Store, items: Sequence[Item], *, start_height: int | None = 0) -> Followed:
    with store.batch() as batch:
        return Follower(start_height=start_height).ingest(batch, items)


def accounts(store: Store) -> list[tuple[Any, ...]]:
    return store.connection.execute(
        "SELECT owner, balance, note, updated_height FROM toy.account ORDER BY owner"
    ).fetchall()


def canonical(store: Store) -> list[tuple[int, bytes, bytes]]:
    return store.connection.execute(
        "SELECT height, hash, clarion.digest_at(chain, height) FROM clarion.canonical_block "
        "WHERE chain = 'stacks' ORDER BY height"
    ).fetchall()


def chain_of(length: int, *, on: Block | None = None, branch: str = "main") -> list[Block]:
    blocks: list[Block] = []
    for index in range(length):
        parent = blocks[-1] if blocks else on
        height = 1 if parent is None else parent.height + 1
        values = [toy.move(f"owner-{height % 3}", height * 10 + index)]
        if height % 5 == 0:
            values.append(toy.close(f"owner-{(height + 1) % 3}"))
        blocks.append(toy.block(parent, values, branch=branch))
    return blocks


def test_events_become_rows_changes_and_a_digest(store: Store) -> None:
    first = toy.block(None, [toy.move("alice", 5), toy.move("bob", 2**128 - 1)])
    second = toy.block(first, [toy.move("alice", 7), toy.close("bob")])

    followed = ingest(store, [first, second])

    assert [ref.height for ref in followed.applied] == [1, 2]
    assert accounts(store) == [("alice", 7, "burn 2", 2)]
    changes = store.connection.execute(
        "SELECT sequence, height, key, op, before ->> 'balance', after ->> 'balance' FROM clarion.change "
        "ORDER BY sequence"
    ).fetchall()
    assert changes == [
        (2, 1, ["alice"], "insert", None, "5"),
        (3, 1, ["bob"], "insert", None, str(2**128 - 1)),
        (5, 2, ["alice"], "update", "5", "7"),
        (6, 2, ["bob"], "delete", str(2**128 - 1), None),
    ]
    assert store.tip.sequence == 6
    assert store.tip.digest not in (EMPTY_DIGEST, canonical(store)[0][2])


def test_digest_and_rows_do_not_depend_on_how_blocks_were_batched(database_url: str, store: Store) -> None:
    blocks = chain_of(12)
    for block in blocks:
        ingest(store, [block])
    one_by_one = (accounts(store), canonical(store))
    truncate_index(store.connection, "toy.account")
    fresh = Store(store.connection, "stacks", [toy.deployed()])
    fresh.open()
    ingest(fresh, blocks)
    assert (accounts(fresh), canonical(fresh)) == one_by_one


def test_a_longer_branch_wins_and_leaves_what_a_fresh_index_of_it_has(store: Store) -> None:
    trunk = chain_of(6)
    losing = chain_of(3, on=trunk[-1], branch="a")
    winning = chain_of(5, on=trunk[-1], branch="b")
    ingest(store, trunk + losing)
    before = accounts(store)

    assert ingest(store, winning[:3]).applied == []
    assert accounts(store) == before
    followed = ingest(store, winning[3:])

    assert followed.rolled_back == 3
    assert [ref.hash for ref in followed.applied] == [block.hash for block in winning]
    assert [row[1] for row in canonical(store)] == [block.hash for block in trunk + winning]
    assert (accounts(store), canonical(store)) == fresh_index(store, trunk + winning)


def fresh_index(store: Store, blocks: Sequence[Item]) -> tuple[Any, Any]:
    """What an index of ``blocks`` alone holds, made in the same database inside a transaction that is undone."""
    with store.connection.transaction(force_rollback=True):
        truncate_index(store.connection, "toy.account")
        fresh = Store(store.connection, "stacks", [toy.deployed()])
        fresh.open()
        ingest(fresh, blocks)
        return accounts(fresh), canonical(fresh)


def test_a_block_whose_parent_is_unknown_waits_for_it(store: Store) -> None:
    blocks = chain_of(5)
    ingest(store, blocks[:2])
    followed = ingest(store, blocks[3:])
    assert followed.missing == {blocks[2].hash}
    assert store.tip.height == 2
    followed = ingest(store, [blocks[2]])
    assert [ref.height for ref in followed.applied] == [3, 4, 5]
    assert not followed.missing


def test_an_empty_index_asks_for_what_comes_before_the_first_block(store: Store) -> None:
    blocks = chain_of(4)
    assert ingest(store, [blocks[3]]).missing == {blocks[2].hash}
    assert store.tip.height is None
    ingest(store, blocks[:3])
    assert store.tip.height == 4


def test_a_recorded_piece_of_a_chain_starts_where_it_starts(store: Store) -> None:
    blocks = chain_of(8)
    ingest(store, blocks[5:], start_height=None)
    assert [row[0] for row in canonical(store)] == [6, 7, 8]


def test_duplicates_change_nothing(store: Store) -> None:
    blocks = chain_of(4)
    ingest(store, blocks)
    before = (store.tip, accounts(store))
    assert ingest(store, blocks + blocks).applied == []
    assert (store.tip, accounts(store)) == before


def test_a_bitcoin_reorg_rolls_back_the_blocks_anchored_to_it_and_only_those(store: Store) -> None:
    burns = [toy.burn_block(height) for height in range(1, 5)]
    first = toy.block(None, [toy.move("alice", 1)], burn=burns[0])
    second = toy.block(first, [toy.move("alice", 2)], burn=burns[1])
    third = toy.block(second, [toy.move("alice", 3)], burn=burns[2])
    fourth = toy.block(third, [toy.move("alice", 4)], burn=burns[2])
    ingest(store, [*burns[:3], first, second, third, fourth])

    other = toy.burn_block(3, "other", parent=burns[1])
    assert ingest(store, [other]).rolled_back == 2
    assert accounts(store) == [("alice", 2, "burn 2", 2)]

    replacement = toy.block(second, [toy.move("alice", 33)], branch="other", burn=other)
    assert [ref.height for ref in ingest(store, [replacement]).applied] == [3]
    late = toy.block(fourth, [toy.move("alice", 5)], burn=burns[2])
    assert ingest(store, [late]).applied == []

    assert ingest(store, [burns[2]]).rolled_back == 1
    assert accounts(store) == [("alice", 5, "burn 3", 5)]


def test_a_rollback_is_in_the_change_log_as_retractions(store: Store) -> None:
    trunk = chain_of(3)
    ingest(store, [*trunk, *chain_of(2, on=trunk[-1], branch="a")])
    since = store.tip.sequence
    held = {row[0]: row for row in accounts(store)}
    ingest(store, chain_of(3, on=trunk[-1], branch="b"))

    steps = store.connection.execute(
        "SELECT op, height FROM clarion.step WHERE sequence > %s ORDER BY sequence", (since,)
    ).fetchall()
    assert steps == [("retract", 5), ("retract", 4), ("apply", 4), ("apply", 5), ("apply", 6)]
    for key, after in store.connection.execute(
        "SELECT key, after FROM clarion.change WHERE sequence > %s ORDER BY sequence", (since,)
    ):
        if after is None:
            del held[key[0]]
        else:
            held[key[0]] = (after["owner"], after["balance"], after["note"], after["updated_height"])
    assert sorted(held.values()) == accounts(store)


def test_a_second_writer_fences_the_first_out(database_url: str, store: Store) -> None:
    blocks = chain_of(3)
    ingest(store, blocks[:1])
    with connect(database_url, autocommit=True) as other:
        second = Store(other, "stacks", [toy.deployed()])
        second.open()
        with pytest.raises(FencedOutError, match="another process"):
            ingest(store, blocks[1:2])
        ingest(second, blocks[1:])
    assert len(accounts(store)) == 3


def test_a_failed_batch_leaves_nothing_behind(store: Store) -> None:
    blocks = chain_of(4)
    ingest(store, blocks[:2])
    before = (store.tip, accounts(store))
    with pytest.raises(RuntimeError, match="interrupted"):
        interrupted_ingest(store, blocks[2:])
    assert (store.tip, accounts(store)) == before
    ingest(store, blocks[2:])
    assert (accounts(store), canonical(store)) == fresh_index(store, blocks)


def interrupted_ingest(store: Store, items: Sequence[Item]) -> None:
    with store.batch() as batch:
        Follower().ingest(batch, items)
        raise RuntimeError("interrupted")


def test_what_cannot_be_understood_is_recorded_and_does_not_stop_the_chain(store: Store) -> None:
    values = [{"topic": "account.frozen"}, {"topic": "account.moved", "owner": "alice"}, toy.move("bob", 1), 7]
    ingest(store, [toy.block(None, values)])
    assert [row[0] for row in accounts(store)] == ["bob"]
    anomalies = store.connection.execute(
        "SELECT event_index, kind, topic FROM clarion.anomaly ORDER BY event_index"
    ).fetchall()
    assert anomalies == [
        (0, "unknown_topic", "account.frozen"),
        (1, "undecodable_event", "account.moved"),
        (3, "unknown_topic", "print"),
    ]


@pytest.fixture(params=[store_module.LEAST_BYTES_AHEAD, 0], ids=["projected first", "written meanwhile"])
def least_bytes_ahead(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "LEAST_BYTES_AHEAD", request.param)


@pytest.mark.usefixtures("least_bytes_ahead")
def test_a_defective_handler_stops_before_the_block(store: Store) -> None:
    first = toy.block(None, [toy.move("alice", 1)])
    second = toy.block(first, [toy.move("alice", 2)])
    ingest(store, [first])
    with (
        patch.object(toy, "Account", None),
        pytest.raises(ProjectionError, match=r"stacks block 2 .*transaction 0x"),
    ):
        ingest(store, [second])
    assert store.tip.height == 1
    ingest(store, [second])
    assert accounts(store) == [("alice", 2, "burn 2", 2)]


@pytest.mark.usefixtures("least_bytes_ahead")
def test_what_postgres_refuses_of_a_block_leaves_nothing_of_it(store: Store) -> None:
    first = toy.block(None, [toy.move("alice", 1)])
    second = toy.block(first, [toy.move("alice", 2)])
    (event,) = second.events
    refused = structs.replace(second, events=(structs.replace(event, topic="account.moved\0"),))
    ingest(store, [first])
    with pytest.raises(psycopg.DataError, match="invalid byte sequence"):
        ingest(store, [refused])
    assert (store.tip.height, len(canonical(store))) == (1, 1)
    ingest(store, [second])
    assert accounts(store) == [("alice", 2, "burn 2", 2)]


def test_keys_that_were_deferred_are_made_when_blocks_have_to_be_read_back(store: Store) -> None:
    connection = store.connection
    trunk = chain_of(3)
    one, other = chain_of(2, on=trunk[-1], branch="one"), chain_of(3, on=trunk[-1], branch="other")
    before = index_names(connection)
    with connection.transaction(force_rollback=True):
        defer_indexes(connection)
        deferred = before - index_names(connection)
        store.before_log_is_read = partial(restore_keys, connection)
        for blocks in (trunk, one, other[:2]):
            ingest(store, blocks)
        assert before - index_names(connection) == deferred
        ingest(store, other[2:])
        assert store.tip.hash == other[-1].hash
        assert deferred & index_names(connection) == {"event_pkey", "transaction_pkey"}
    store.reconnect(connection)


def index_names(connection: psycopg.Connection[Any]) -> set[str]:
    found = connection.execute("SELECT indexname FROM pg_indexes WHERE schemaname = 'clarion'").fetchall()
    return {name for (name,) in found}


def test_rolling_back_to_a_block_that_is_not_canonical_is_refused(store: Store) -> None:
    ingest(store, chain_of(2))
    with pytest.raises(UnknownBlockError, match="stacks block 9"), store.batch() as batch:
        batch.rollback(9)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_order_of_any_tree_ends_where_a_fresh_index_of_the_best_branch_does(
    store: Store, data: st.DataObject
) -> None:
    with store.connection.transaction(force_rollback=True):
        blocks: list[Block] = []
        owners = st.sampled_from(["alice", "bob", "carol"])
        for index in range(data.draw(st.integers(3, 14))):
            parent = None if not blocks else data.draw(st.sampled_from([*blocks[-3:], *blocks[:1]]))
            value = st.one_of(st.builds(toy.move, owners, st.integers(0, 9)), st.builds(toy.close, owners))
            values = data.draw(st.lists(value, max_size=3))
            blocks.append(toy.block(parent, values, branch=str(index)))
        order = data.draw(st.permutations(blocks))
        sizes = data.draw(st.lists(st.integers(1, 4), min_size=len(order), max_size=len(order)))
        at = 0
        with patch.object(store_module, "LEAST_BYTES_AHEAD", data.draw(st.sampled_from([0, 1 << 30]))):
            for size in sizes:
                ingest(store, order[at : at + size])
                at += size
        tip = store.tip
        assert tip.height == max(block.height for block in blocks)
        by_hash = {block.hash: block for block in blocks}
        surviving = []
        current = by_hash.get(tip.hash or b"")
        while current is not None:
            surviving.append(current)
            current = by_hash.get(current.ref.parent_hash)
        assert (accounts(store), canonical(store)) == fresh_index(store, surviving[::-1])
    store.reconnect(store.connection)


@pytest.mark.parametrize(
    ("final_height", "anchored", "expected"),
    [
        (None, False, Finality.SOFT),
        (None, True, Finality.ANCHORED),
        (99, True, Finality.ANCHORED),
        (100, True, Finality.FINAL),
        (101, False, Finality.FINAL),
    ],
)
def test_what_was_final_once_stays_final(final_height: int | None, anchored: bool, expected: Finality) -> None:
    assert finality(100, final_height=final_height, anchored=anchored) is expected
