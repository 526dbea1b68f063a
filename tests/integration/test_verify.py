"""Verification: an index that was tampered with is found out, at the first block, table and row that differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from support import toy

from clarion.chains.model import Block
from clarion.store.database import connect
from clarion.store.shadow import ShadowError
from clarion.store.store import Store
from clarion.store.time_travel import Refusal, TimeTravelError
from clarion.verify import Difference, describe, verify

pytestmark = pytest.mark.usefixtures("toy_generation")

Execute = Callable[..., Any]


@pytest.fixture
def chain(connection: psycopg.Connection[Any]) -> list[Block]:
    """Blocks 1 to 6 in the index, after a fork at 3 that lost; block 3 is final."""
    blocks = [toy.block(None, [toy.move("a", 1), toy.move("b", 1)])]
    blocks.append(toy.block(blocks[-1], [toy.move("a", 2)]))
    lost = toy.block(blocks[-1], [toy.move("b", 99), toy.move("x", 1)], branch="lost")
    blocks.append(toy.block(blocks[-1], [toy.close("b"), toy.move("c", 3)]))
    blocks.append(toy.block(blocks[-1], []))
    blocks.append(toy.block(blocks[-1], [toy.move("c", 4), toy.move("b", 5)]))
    blocks.append(toy.block(blocks[-1], [toy.close("a"), toy.move("c", 6)]))
    store = Store(connection, "stacks", [toy.deployed()])
    store.open()
    with store.batch() as batch:
        for block in (*blocks[:2], lost):
            batch.append(block)
            batch.apply(block)
        batch.rollback(2)
        for block in blocks[2:]:
            batch.append(block)
            batch.apply(block)
    connection.execute("UPDATE clarion.cursor SET final_height = 3")
    return blocks


def difference(connection: psycopg.Connection[Any], **heights: int) -> Difference | None:
    return verify(connection, "stacks", [toy.deployed()], **heights).difference


def test_a_sound_index_passes_in_every_range(connection: psycopg.Connection[Any], chain: list[Block]) -> None:
    for first in range(1, 7):
        for last in range(first, 7):
            verified = verify(connection, "stacks", [toy.deployed()], from_height=first, to_height=last)
            assert verified.difference is None
            assert verified.blocks == last - first + 1
    assert verify(connection, "stacks", [toy.deployed()]).changes == 9
    schemas = connection.execute("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'clarion\\_verify%'").fetchone()
    assert schemas == (0,)


@pytest.mark.parametrize(
    ("tampering", "height", "what", "table", "key"),
    [
        (
            "UPDATE clarion.change SET after = jsonb_set(after, '{balance}', '7') WHERE height = 5 AND key = '[\"c\"]'",
            5,
            "a row differs after the block",
            "toy.account",
            ("c",),
        ),
        (
            "UPDATE clarion.change SET before = jsonb_set(before, '{balance}', '7') "
            "WHERE height = 6 AND key = '[\"c\"]'",
            6,
            "a row differs before the block",
            "toy.account",
            ("c",),
        ),
        (
            "DELETE FROM clarion.change WHERE height = 5 AND key = '[\"b\"]'",
            5,
            "not in the change log",
            "toy.account",
            ("b",),
        ),
        (
            "INSERT INTO clarion.change SELECT chain, 1000, 4, k.hash, 'toy.account', '[\"z\"]', 'delete', NULL, NULL, "
            "false FROM clarion.canonical_block k WHERE height = 4",
            4,
            "no event made",
            "toy.account",
            ("z",),
        ),
        ("UPDATE toy.account SET balance = 8 WHERE owner = 'b'", 6, "another row", "toy.account", ("b",)),
        ("DELETE FROM toy.account WHERE owner = 'c'", 6, "another row", "toy.account", ("c",)),
        ("INSERT INTO toy.account VALUES (1, 'z', 1, NULL)", 6, "another row", "toy.account", ("z",)),
        ("UPDATE clarion.digest SET digest = '\\x00' WHERE height = 3", 3, "the digest of toy differs", None, None),
        ("DELETE FROM clarion.digest WHERE height = 3", 3, "the digest of toy differs", None, None),
        (
            "INSERT INTO clarion.digest SELECT chain, protocol, generation, 4, digest FROM clarion.digest "
            "WHERE height = 3",
            4,
            "the digest of toy differs",
            None,
            None,
        ),
        ("UPDATE clarion.cursor SET digest = '\\x00'", 6, "the tip's digest", None, None),
        (
            "UPDATE clarion.event SET value = jsonb_set(value, '{balance-after}', '9') "
            "WHERE height = 2 AND value ->> 'owner' = 'a'",
            2,
            "a row differs after the block",
            "toy.account",
            ("a",),
        ),
        (
            "DELETE FROM clarion.event WHERE height = 5 AND event_index = 1",
            5,
            "lacks transactions or events",
            None,
            None,
        ),
        ("DELETE FROM clarion.canonical_block WHERE height = 4", 4, "there is no canonical block 4", None, None),
        (
            "UPDATE clarion.block SET parent_hash = '\\x00' WHERE height = 5",
            5,
            "does not build on the canonical one",
            None,
            None,
        ),
    ],
)
def test_tampering_is_found_where_it_is(
    connection: psycopg.Connection[Any],
    chain: list[Block],
    tampering: str,
    height: int,
    what: str,
    table: str | None,
    key: tuple[Any, ...] | None,
) -> None:
    assert connection.execute(tampering.encode()).rowcount > 0

    found = difference(connection)

    assert found is not None
    assert what in found.what
    assert (found.height, found.table, found.key) == (height, table, key)
    assert any(f"block {height}" in line for line in describe(found))


def test_both_rows_are_told(connection: psycopg.Connection[Any], chain: list[Block]) -> None:
    connection.execute("UPDATE toy.account SET balance = 8 WHERE owner = 'b'")
    found = difference(connection, from_height=5)
    assert found is not None
    derived = {"owner": "b", "balance": 5, "note": "burn 5", "updated_height": 5}
    assert (found.stored, found.derived) == (derived | {"balance": 8}, derived)
    assert describe(found)[1:3] == ["table   toy.account", 'key     ["b"]']


def test_what_is_before_the_range_is_taken_as_right(connection: psycopg.Connection[Any], chain: list[Block]) -> None:
    connection.execute("UPDATE clarion.digest SET digest = '\\x00' WHERE height = 2")
    assert difference(connection, to_height=1) is None
    found = difference(connection, from_height=3)
    assert found is not None
    assert found.height == 3


def test_pruned_changes_are_no_difference(connection: psycopg.Connection[Any], chain: list[Block]) -> None:
    connection.execute("DELETE FROM clarion.change WHERE height = 2")
    found = difference(connection)
    assert found is not None
    assert found.what == "the change of a row is not in the change log"
    connection.execute("INSERT INTO clarion.kept VALUES ('stacks', 'toy.account', 3)")
    assert difference(connection) is None
    with pytest.raises(TimeTravelError) as caught:
        difference(connection, from_height=2)
    assert caught.value.refusal is Refusal.NOT_KEPT


def test_what_cannot_be_verified(connection: psycopg.Connection[Any], chain: list[Block]) -> None:
    with pytest.raises(ShadowError, match="it holds 1 to 6"):
        difference(connection, to_height=7)
    other = toy.toy.deployed_by("SP000000000000000000002Q6VF78")
    with pytest.raises(ShadowError, match="another version"):
        verify(connection, "stacks", [other])
    Store(connection, "stacks", []).open()
    with pytest.raises(ShadowError, match="toy is not indexed on stacks now"):
        difference(connection)


def test_the_index_may_go_on_meanwhile(
    connection: psycopg.Connection[Any], chain: list[Block], database_url: str
) -> None:
    connection.execute("UPDATE clarion.cursor SET final_height = NULL")
    happened = []

    def go_on(done: int, total: int) -> None:
        with connect(database_url, autocommit=True) as other:
            store = Store(other, "stacks", [toy.deployed()])
            store.open()
            with store.batch() as batch:
                batch.rollback(2)
                block = toy.block(chain[1], [toy.move("a", 50), toy.close("b")], branch="other")
                batch.append(block)
                batch.apply(block)
        happened.append((done, total))

    verified = verify(connection, "stacks", [toy.deployed()], progress=go_on)

    assert (verified.difference, verified.to_height, happened) == (None, 6, [(6, 6)])
    assert difference(connection) is None
