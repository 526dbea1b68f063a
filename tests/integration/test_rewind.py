"""Taking an index back below what is final, and what it holds afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
import pytest
from support import toy
from support.index import truncate_index
from typer.testing import CliRunner

from clarion import cli
from clarion.chains.model import Block, BurnBlock
from clarion.follower import Follower
from clarion.rewind import RewindError, rewind
from clarion.store.generation import Filling, switch
from clarion.store.store import FencedOutError, Store

pytestmark = pytest.mark.usefixtures("toy_tables")

FINAL_DEPTH = 3
Item = Block | BurnBlock


def open_store(connection: psycopg.Connection[Any]) -> Store:
    store = Store(connection, "stacks", [toy.deployed()], final_depth=FINAL_DEPTH)
    store.open()
    return store


def index(store: Store, batches: Sequence[Sequence[Item]]) -> Follower:
    follower = Follower()
    for items in batches:
        with store.batch() as batch:
            follower.ingest(batch, items)
    return follower


def burn_chain(length: int, *, on: BurnBlock | None = None, branch: str = "main") -> list[BurnBlock]:
    burns: list[BurnBlock] = []
    for _ in range(length):
        parent = burns[-1] if burns else on
        burns.append(toy.burn_block(1 if parent is None else parent.height + 1, branch, parent=parent))
    return burns


def blocks_on(burns: Sequence[BurnBlock], *, on: Block | None = None, branch: str = "main") -> list[Block]:
    """A block for each of these Bitcoin blocks; two owners are moved by turns, one comes and goes."""
    blocks: list[Block] = []
    for burn in burns:
        parent = blocks[-1] if blocks else on
        height = 1 if parent is None else parent.height + 1
        values = [toy.move(f"owner-{height % 2}", height), toy.move("guest", 1) if height % 3 else toy.close("guest")]
        blocks.append(toy.block(parent, values, burn=burn, branch=branch))
    return blocks


def one_by_one(burns: Sequence[BurnBlock], blocks: Sequence[Block]) -> list[list[Item]]:
    return [[burn, block] for burn, block in zip(burns, blocks, strict=True)]


def index_of(connection: psycopg.Connection[Any]) -> list[Any]:
    return [
        connection.execute(
            "SELECT height, hash, clarion.digest_at(chain, height) FROM clarion.canonical_block ORDER BY height"
        ).fetchall(),
        connection.execute("SELECT * FROM toy.account ORDER BY owner").fetchall(),
        connection.execute("SELECT digest, final_height FROM clarion.cursor").fetchall(),
    ]


def fresh_index(connection: psycopg.Connection[Any], batches: Sequence[Sequence[Item]]) -> list[Any]:
    with connection.transaction(force_rollback=True):
        truncate_index(connection, "toy.account")
        index(open_store(connection), batches)
        return index_of(connection)


def test_a_branch_that_was_refused_is_followed_after_the_rewind(
    database_url: str, connection: psycopg.Connection[Any]
) -> None:
    burns = burn_chain(8)
    blocks = blocks_on(burns[:6])
    rewriting = blocks_on(burns[2:], on=blocks[1], branch="rewriting")
    store = open_store(connection)
    index(store, [*one_by_one(burns[:6], blocks), burns[6:], rewriting])
    assert (store.tip.hash, store.final_height) == (blocks[5].hash, 3)
    before = index_of(connection)

    with pytest.raises(RewindError, match=r"blocks up to 3 are final.*--accept-final-loss"):
        rewind(database_url, [toy.deployed()], to=2, accept_final_loss=False, final_depth=FINAL_DEPTH)
    assert index_of(connection) == before

    done = rewind(database_url, [toy.deployed()], to=2, accept_final_loss=True, final_depth=FINAL_DEPTH)
    assert (done.rolled_back, done.followed, done.refill) == (4, 6, ())
    assert done.tip.hash == rewriting[-1].hash
    surviving = [*blocks[:2], *rewriting]
    assert index_of(connection) == fresh_index(connection, one_by_one(burns, surviving))
    assert connection.execute("SELECT count(*) FROM clarion.anomaly").fetchone() == (0,)
    with pytest.raises(FencedOutError), store.batch():
        pass


def test_a_bitcoin_branch_that_was_refused_counts_after_the_rewind(
    database_url: str, connection: psycopg.Connection[Any]
) -> None:
    burns = burn_chain(6)
    blocks = blocks_on(burns)
    other = burn_chain(6, on=burns[1], branch="other")
    on_other = blocks_on(other, on=blocks[1], branch="other")
    index(open_store(connection), [*one_by_one(burns, blocks), *one_by_one(other, on_other)])
    assert connection.execute("SELECT height, hash FROM clarion.cursor").fetchone() == (6, blocks[5].hash)

    done = rewind(database_url, [toy.deployed()], to=2, accept_final_loss=True, final_depth=FINAL_DEPTH)
    assert done.tip.hash == on_other[-1].hash
    expected = one_by_one([*burns[:2], *other], [*blocks[:2], *on_other])
    assert index_of(connection) == fresh_index(connection, expected)


def test_a_protocol_whose_changes_do_not_go_back_so_far_is_emptied_and_filled_again(
    database_url: str, connection: psycopg.Connection[Any]
) -> None:
    burns = burn_chain(8)
    blocks = blocks_on(burns[:6])
    rewriting = blocks_on(burns[2:], on=blocks[1], branch="rewriting")
    in_one_go = [item for pair in one_by_one(burns[:6], blocks) for item in pair]
    index(open_store(connection), [in_one_go, burns[6:], rewriting])
    lost = connection.execute("SELECT count(*) FROM clarion.change WHERE before IS NULL AND op <> 'insert'").fetchone()
    assert lost != (0,), "what was final when it was applied cannot be undone"

    done = rewind(database_url, [toy.deployed()], to=2, accept_final_loss=True, final_depth=FINAL_DEPTH)
    assert (done.refill, done.tip.hash) == (("toy",), rewriting[-1].hash)
    assert connection.execute("SELECT count(*) FROM toy.account").fetchone() == (0,)

    store = open_store(connection)
    assert [deployed.protocol.name for deployed in store.waiting] == ["toy"]
    filling = Filling(connection, "stacks", toy.deployed())
    while filling.step():
        pass
    assert switch(store, toy.deployed())
    expected = fresh_index(connection, one_by_one(burns, [*blocks[:2], *rewriting]))
    assert index_of(connection) == expected


def test_a_rewind_to_a_block_that_is_not_there_is_refused(
    database_url: str, connection: psycopg.Connection[Any]
) -> None:
    burns = burn_chain(2)
    store = open_store(connection)
    index(store, one_by_one(burns, blocks_on(burns)))
    with pytest.raises(RewindError, match="no block 9"):
        rewind(database_url, [toy.deployed()], to=9, accept_final_loss=True, final_depth=FINAL_DEPTH)
    with store.batch():
        pass  # the writer was not disturbed


def test_the_command_says_what_it_did(
    database_url: str, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    burns = burn_chain(6)
    index(open_store(connection), one_by_one(burns, blocks_on(burns)))
    monkeypatch.setenv("CLARION_DATABASE_URL", database_url)
    monkeypatch.setenv("CLARION_PROTOCOLS", "")
    monkeypatch.setenv("CLARION_FINALITY_BURN_DEPTH", str(FINAL_DEPTH))
    refused = CliRunner().invoke(cli.commands, ["rewind", "--to", "1"])
    assert isinstance(refused.exception, RewindError)
    done = CliRunner().invoke(cli.commands, ["rewind", "--to", "1", "--accept-final-loss"])
    # What the chain log holds of the same branch is the best there is, and is followed again.
    assert (done.exit_code, done.stdout) == (0, "Took 5 blocks back and applied 5; the tip is block 6.\n")
