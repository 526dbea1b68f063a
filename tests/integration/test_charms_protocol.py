"""Charms in a database: taken back by reorganisations, and the same as if those had never been."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from support.charms_world import OWNERS, Rows, chains, make_chain
from support.index import truncate_index

from clarion.chains.model import Block
from clarion.follower import Follower
from clarion.protocols.charms import protocol
from clarion.store.store import Store

TABLES = [row_type.name for row_type in protocol.row_types]


def indexed(connection: psycopg.Connection[Any], blocks: Sequence[Sequence[Block]]) -> dict[str, Any]:
    """What a new index holds after these batches of blocks."""
    truncate_index(connection, *TABLES)
    store = Store(connection, "bitcoin", [protocol.deployed_on("regtest")], final_depth=200)
    store.open()
    follower = Follower(start_height=100)
    for items in blocks:
        with store.batch() as batch:
            follower.ingest(batch, items)
    rows = {
        name: connection.execute(f"SELECT to_jsonb(t) FROM {name} t ORDER BY to_jsonb(t)::text").fetchall()
        for name in TABLES
    }
    tip = connection.execute("SELECT height, hash, digest FROM clarion.cursor WHERE chain = 'bitcoin'").fetchone()
    return {**rows, "tip": tip}


@given(common=chains, orphaned=chains, kept=chains)
@settings(
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_a_reorganisation_leaves_what_a_fresh_index_has(
    connection: psycopg.Connection[Any], common: Any, orphaned: Any, kept: Any
) -> None:
    kept = [*kept, *([[]] * (len(orphaned) + 1 - len(kept)))]
    below = make_chain(common)
    loses, wins = make_chain(orphaned, below, "loses"), make_chain(kept, below, "wins")
    reorganised = indexed(connection, [below, loses, wins])
    assert reorganised == indexed(connection, [[*below, *wins]])
    assert reorganised["tip"][1] == wins[-1].hash


def deep_chain(length: int, on: Sequence[Block] = (), branch: str = "main", seed: int = 1) -> list[Block]:
    """A block with a spell or two each time."""
    draw = random.Random(seed)
    happenings = []
    for _ in range(length):
        outs = [
            {
                "owner": draw.choice(OWNERS),
                "charms": {"1": {"id": draw.randrange(9)}, "2": draw.randrange(1, 99)},
                "beamed": False,
            }
            for _ in range(2)
        ]
        status = draw.choice(["verified", "verified", "invalid"])
        cast = {"spends": [draw.randrange(99)], "outs": outs, "status": status, "version": 15, "placeholder": True}
        happenings.append([cast, {"loses": [draw.randrange(99)]}] if draw.randrange(3) == 0 else [cast])
    return make_chain(happenings, on, branch)


@pytest.mark.parametrize("depth", [1, 100])
def test_a_reorganisation_of_many_blocks(connection: psycopg.Connection[Any], depth: int) -> None:
    below = deep_chain(20)
    loses = deep_chain(depth, below, "loses", seed=2)
    wins = deep_chain(depth + 1, below, "wins", seed=3)
    one_by_one = [[block] for block in (*below, *loses, *wins)]
    assert indexed(connection, one_by_one) == indexed(connection, [[*below, *wins]])
    Rows([*below, *wins]).assert_consistent([*below, *wins])


def test_rows_in_the_database_are_those_in_memory(connection: psycopg.Connection[Any]) -> None:
    blocks = deep_chain(30)
    found = indexed(connection, [blocks])
    rows = Rows(blocks)
    for row_type in protocol.row_types:
        stored = [row for (row,) in found[row_type.name]]
        assert canonical(stored) == canonical(rows.of(row_type.model))


def canonical(rows: Sequence[Any]) -> list[bytes]:
    """Rows as text, in one order."""
    return sorted(msgspec.json.encode(row, order="sorted") for row in rows)
