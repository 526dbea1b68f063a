"""zkUSD's rows in Postgres: the greatest numbers that charms can hold fit, and blocks are undone and read anew."""

from __future__ import annotations

from typing import Any

import msgspec
import psycopg
import pytest
from psycopg import sql
from support.zkusd_chain import Chain, Out, Tx
from support.zkusd_world import (
    D18,
    ONE,
    PRICE,
    TOKEN,
    World,
    app,
    deposit,
    manager,
    oracle,
    pool,
    price_input,
    token,
    vault,
)

from clarion.chains.model import Block
from clarion.follower import Follower
from clarion.ingest import ingest
from clarion.protocols.zkusd import protocol
from clarion.store.generation import make_tables
from clarion.store.store import Store

VM, SP = app("vault_manager"), app("stability_pool")
MOST = 2**64 - 1
WIDE = 2**128 - 1
LONG_SCRIPT = "0x" + "6a" * 5000


class Recorded(Chain):
    """A chain that keeps its blocks."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        super().__init__(parameters, start=-1)
        self.mined_blocks: list[Block] = []

    def add(self, block: Block) -> None:
        super().add(block)
        self.mined_blocks.append(block)


@pytest.fixture
def world() -> World:
    made = World()
    made.chain = Recorded(made.parameters)
    made.deploy()
    return made


def opened(connection: psycopg.Connection[Any], world: World) -> Store:
    make_tables(connection, protocol, protocol.name)
    deployed = protocol.deployed_on("regtest", parameters=world.parameters)
    store = Store(connection, "bitcoin", [deployed], final_depth=50)
    store.open()
    return store


def blocks_of(world: World) -> list[Block]:
    assert isinstance(world.chain, Recorded)
    return world.chain.mined_blocks


def rows(connection: psycopg.Connection[Any]) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table, in the order of its JSON."""
    found = {}
    for row_type in protocol.row_types:
        name = sql.Identifier(*row_type.name.split("."))
        taken = connection.execute(sql.SQL("SELECT to_jsonb(t) FROM {} t").format(name)).fetchall()
        found[row_type.name] = sorted((row for (row,) in taken), key=canonical)
    return {name: taken for name, taken in found.items() if taken}


def in_memory(chain: Chain) -> dict[str, list[dict[str, Any]]]:
    """The same of the rows in memory."""
    return {name: sorted(of.values(), key=canonical) for name, of in chain.state().items()}


def canonical(row: dict[str, Any]) -> bytes:
    return msgspec.json.encode(row, order="sorted")


def extremes(world: World) -> None:
    """Charms that say the most they can, on coins with scripts of any length."""
    most = {"accrued_interest": MOST, "redistributed_debt": MOST, "insurance_balance": MOST, "interest_rate_bps": MOST}
    most |= {"created_at": MOST, "last_updated": MOST, "redistributed_collateral": MOST}
    great = {**vault("a", MOST, MOST), **most}
    world.do({"oracle": oracle(MOST, height=MOST)})
    first = world.do(
        {
            "vault_manager": manager(MOST, MOST, MOST, base_rate=MOST),
            "token": token(MOST),
            "stability_pool": pool(MOST, MOST, WIDE, WIDE, count=MOST, current_epoch=MOST, current_scale=MOST),
        },
        makes=[
            Out(LONG_SCRIPT, {VM: great}),
            Out(LONG_SCRIPT, {TOKEN: MOST}),
            Out("bob", {SP: {**deposit(MOST, p=WIDE, s=WIDE), "snapshot_epoch": MOST, "last_updated": MOST}}),
            Out("eve", {app("oracle", identity="ab" * 32): oracle(MOST)}),
        ],
        inputs=price_input(MOST, MOST),
    )
    world.do({"oracle": oracle(1)})
    world.do({"oracle": oracle(MOST)})
    world.do(
        {"vault_manager": manager(0, 1, 0), "stability_pool": pool(0, MOST, 1, 0)},
        spends=[f"{first}:3", f"{first}:4"],
        makes=[Out("carol", {VM: vault("a", 0, 1, status="Liquidated")}), Out("carol", {TOKEN: 1})],
    )


def lives(world: World) -> None:
    """A vault's life, with a pool."""
    opening = world.open("v", ONE, 50_000 * ONE)
    made = world.do({"stability_pool": pool(9 * ONE, count=1)}, makes=[Out("bob", {SP: deposit(9 * ONE)})])
    world.do({"stability_pool": pool(4 * ONE, 700, D18 * 4 // 9, 700 * D18 * D18 // (9 * ONE), count=1)})
    world.chain.block(Tx([f"{opening}:3", f"{made}:1"], [Out("eve")], status=None))
    world.do({"oracle": oracle(PRICE // 3)})


def test_whatever_charms_say_has_room(connection: psycopg.Connection[Any], world: World) -> None:
    lives(world)
    extremes(world)
    store = opened(connection, world)
    for block in blocks_of(world):
        ingest(store, Follower(), [block])
    assert rows(connection) == in_memory(world.chain)


def test_blocks_are_undone_and_a_batch_is_as_good_as_one_by_one(
    connection: psycopg.Connection[Any], world: World
) -> None:
    lives(world)
    store, follower = opened(connection, world), Follower()
    ingest(store, follower, blocks_of(world))
    before = rows(connection)
    assert before == in_memory(world.chain)
    digest = store.connection.execute("SELECT clarion.digest_at('bitcoin', %s)", (world.chain.height,)).fetchone()

    depth, known = 3, list(blocks_of(world))
    world.chain.roll_back(depth)
    blocks_of(world).clear()
    for number in range(depth + 1):
        world.chain.block(Tx([world.funds()], [Out("eve", {TOKEN: 5 + number})]), branch="other")
    assert ingest(store, follower, blocks_of(world)).rolled_back == depth
    assert rows(connection) == in_memory(world.chain)

    # and back to the first branch, which has become the longer one
    other = list(blocks_of(world))
    world.chain.roll_back(len(other))
    for block in known[-depth:]:
        world.chain.add(block)
    more = []
    for _ in range(2):
        more.append(world.chain.mined())
        world.chain.add(more[-1])
    assert ingest(store, follower, more).rolled_back == len(other)
    assert rows(connection) == before
    again = store.connection.execute("SELECT clarion.digest_at('bitcoin', %s)", (known[-1].height,)).fetchone()
    assert again == digest
