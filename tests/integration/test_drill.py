"""Drills: a reorganisation rehearsed on copies, beside an index that goes on."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from support import toy

from clarion.chains.model import Block
from clarion.drill import drill
from clarion.store.shadow import ShadowError
from clarion.store.store import Store

pytestmark = pytest.mark.usefixtures("toy_generation")

PROTOCOLS = [toy.deployed()]


@pytest.fixture
def chain(connection: psycopg.Connection[Any]) -> list[Block]:
    """Twelve blocks that insert, update and delete, after a fork at the ninth; the fourth is final."""
    store = Store(connection, "stacks", PROTOCOLS)
    store.open()
    blocks: list[Block] = []
    for height in range(1, 13):
        values = [toy.move(f"owner-{height % 4}", height), toy.close(f"owner-{(height + 1) % 4}")]
        blocks.append(toy.block(blocks[-1] if blocks else None, values))
    lost = toy.block(blocks[8], [toy.move("lost", 1), toy.close("owner-1")], branch="lost")
    with store.batch() as batch:
        for block in (*blocks[:9], lost):
            batch.append(block)
            batch.apply(block)
        batch.rollback(9)
        for block in blocks[9:]:
            batch.append(block)
            batch.apply(block)
    connection.execute("UPDATE clarion.cursor SET final_height = 4")
    return blocks


@pytest.mark.parametrize("depth", [0, 1, 2, 3, 4, 8])
def test_a_sound_index_comes_out_the_same(connection: psycopg.Connection[Any], chain: list[Block], depth: int) -> None:
    before = connection.execute("SELECT * FROM toy.account ORDER BY owner").fetchall()
    schemas = connection.execute("SELECT nspname FROM pg_namespace ORDER BY nspname").fetchall()

    done = drill(connection, "stacks", PROTOCOLS, depth)

    assert done.passed
    assert (done.tip_height, done.rows) == (12, len(before))
    assert (done.undone > 0, done.applied > 0) == (depth > 0, depth > 0)
    assert done.size > 0
    assert connection.execute("SELECT * FROM toy.account ORDER BY owner").fetchall() == before
    assert connection.execute("SELECT nspname FROM pg_namespace ORDER BY nspname").fetchall() == schemas


def test_a_wrong_undo_image_is_found(connection: psycopg.Connection[Any], chain: list[Block]) -> None:
    connection.execute(
        "UPDATE clarion.change SET before = jsonb_set(before, '{balance}', '77') WHERE height = 11 AND op = 'delete'"
    )
    done = drill(connection, "stacks", PROTOCOLS, 3)
    assert done.after_undo is not None
    assert (done.after_undo.table, done.after_undo.key) == ("toy.account", ("owner-0",))
    assert done.after_undo.derived is not None
    assert done.after_undo.derived["balance"] == 77
    assert not done.passed


def test_a_wrong_event_or_digest_is_found(connection: psycopg.Connection[Any], chain: list[Block]) -> None:
    connection.execute("UPDATE clarion.digest SET digest = '\\x00' WHERE height = 12")
    done = drill(connection, "stacks", PROTOCOLS, 3)
    assert (done.passed, done.digests_differ, done.after_apply) == (False, ("toy",), None)
    connection.execute(
        "UPDATE clarion.event SET value = jsonb_set(value, '{balance-after}', '9') "
        "WHERE height = 12 AND event_index = 0"
    )
    done = drill(connection, "stacks", PROTOCOLS, 3)
    assert done.after_apply is not None
    assert done.after_apply.key == ("owner-0",)


def test_depths_that_are_refused(connection: psycopg.Connection[Any], chain: list[Block]) -> None:
    with pytest.raises(ShadowError, match=r"block 4 is final .* 8 blocks at most, not 9"):
        drill(connection, "stacks", PROTOCOLS, 9)
    connection.execute("UPDATE clarion.cursor SET final_height = NULL")
    with pytest.raises(ShadowError, match="does not hold block 0"):
        drill(connection, "stacks", PROTOCOLS, 12)
