"""The follower's rules: which Bitcoin blocks count, what becomes final, and what is refused then."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from support import toy

from clarion.chains.model import Block, BurnBlock
from clarion.follower import REWRITES_FINAL, Followed, Follower
from clarion.store.database import connect
from clarion.store.store import Store

Item = Block | BurnBlock


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with connect(database_url, autocommit=True) as connection:
        toy.create_tables(connection)
        opened = Store(connection, "stacks", [toy.deployed()], final_depth=3)
        opened.open()
        yield opened


def ingest(store: Store, follower: Follower, items: Sequence[Item], *, source: str = "") -> Followed:
    with store.batch() as batch:
        return follower.ingest(batch, items, source=source)


def burns_of(store: Store) -> list[tuple[int, bytes]]:
    return store.connection.execute("SELECT height, hash FROM clarion.canonical_burn_block ORDER BY height").fetchall()


def named(burns: Sequence[BurnBlock]) -> list[tuple[int, bytes]]:
    return [(burn.height, burn.hash) for burn in burns]


def rewrites(store: Store) -> list[tuple[Any, ...]]:
    return store.connection.execute(
        "SELECT height, block_hash, detail FROM clarion.anomaly WHERE kind = %s ORDER BY height", (REWRITES_FINAL,)
    ).fetchall()


def burn_chain(length: int, *, on: BurnBlock | None = None, branch: str = "main") -> list[BurnBlock]:
    burns: list[BurnBlock] = []
    for _ in range(length):
        parent = burns[-1] if burns else on
        burns.append(toy.burn_block(1 if parent is None else parent.height + 1, branch, parent=parent))
    return burns


def blocks_on(burns: Sequence[BurnBlock], *, on: Block | None = None, branch: str = "main") -> list[Block]:
    """A block for each of these Bitcoin blocks."""
    blocks: list[Block] = []
    for burn in burns:
        parent = blocks[-1] if blocks else on
        height = 1 if parent is None else parent.height + 1
        blocks.append(toy.block(parent, [toy.move(f"{branch} {height % 2}", height)], burn=burn, branch=branch))
    return blocks


def alternately(burns: Sequence[BurnBlock], blocks: Sequence[Block]) -> list[Item]:
    return [item for pair in zip(burns, blocks, strict=True) for item in pair]


def test_a_bitcoin_block_told_late_fills_a_gap_and_rolls_nothing_back(store: Store) -> None:
    follower, burns = Follower(), burn_chain(5)
    blocks = blocks_on(burns)
    ingest(store, follower, [burns[0], *burns[2:4], *blocks[:4]])
    followed = ingest(store, follower, [burns[1], burns[4]])
    assert (followed.rolled_back, burns_of(store)) == (0, named(burns))


def test_one_below_all_that_were_announced_is_no_reorg_even_where_no_parent_is_known(store: Store) -> None:
    follower = Follower()
    burns = [BurnBlock(burn.height, burn.hash) for burn in burn_chain(3)]
    ingest(store, follower, [*burns[1:], *blocks_on(burns)])
    assert ingest(store, follower, [burns[0]]).rolled_back == 0
    assert burns_of(store) == named(burns)


def test_a_block_whose_parent_replaced_another_replaces_that_too(store: Store) -> None:
    follower, burns = Follower(), burn_chain(3)
    blocks = blocks_on(burns)
    ingest(store, follower, alternately(burns, blocks))
    other = burn_chain(2, on=burns[1], branch="other")
    followed = ingest(store, follower, [other[1]])
    assert burns_of(store) == named([*burns[:2], other[1]])
    assert (followed.rolled_back, store.tip.height) == (1, 2)


def test_a_fork_that_only_another_node_sees_waits_for_the_block_that_decides(store: Store) -> None:
    follower, burns = Follower(), burn_chain(3)
    blocks = blocks_on(burns)
    ingest(store, follower, alternately(burns, blocks), source="a")
    other = burn_chain(2, on=burns[1], branch="other")
    on_other = blocks_on(other[:1], on=blocks[1], branch="other")
    assert ingest(store, follower, [other[0], *on_other], source="b").rolled_back == 0
    assert burns_of(store) == named(burns)

    followed = ingest(store, follower, [other[1]], source="b")
    assert followed.rolled_back == 1
    assert [ref.hash for ref in followed.applied] == [on_other[0].hash]
    assert burns_of(store) == named([*burns[:2], *other])


def test_a_node_takes_its_own_word_back_at_once(store: Store) -> None:
    follower, burns = Follower(), burn_chain(4)
    blocks = blocks_on(burns)
    ingest(store, follower, alternately(burns, blocks), source="a")
    ingest(store, follower, burns, source="b")
    other = burn_chain(1, on=burns[1], branch="other")
    assert ingest(store, follower, other, source="a").rolled_back == 2
    assert burns_of(store) == named([*burns[:2], *other])


def test_a_source_that_is_behind_takes_nothing_back(store: Store) -> None:
    """It goes on from a block that all agree on, with one that another source has seen replaced."""
    burns = burn_chain(3)
    winning = burn_chain(3, on=burns[-1], branch="winning")
    losing = burn_chain(2, on=burns[-1], branch="losing")
    blocks = blocks_on(burns + winning)
    follower = Follower()
    ingest(store, follower, burns, source="behind")
    ingest(store, follower, [*burns, *winning, *blocks], source="ahead")
    followed = ingest(store, follower, losing, source="behind")
    assert followed.rolled_back == 0
    assert burns_of(store) == named(burns + winning)
    ingest(store, follower, winning, source="behind")
    assert store.tip.hash == blocks[-1].hash


def test_a_source_never_heard_before_takes_back_nobodys_word(store: Store) -> None:
    burns = burn_chain(3)
    ingest(store, Follower(), alternately(burns, blocks_on(burns)), source="a")
    restarted = Follower(known_sources=["a"])
    other = burn_chain(1, on=burns[1], branch="other")
    assert ingest(store, restarted, other, source="b").rolled_back == 0
    assert burns_of(store) == named(burns)


def test_a_branch_of_bitcoin_that_lost_counts_again_when_it_grows(store: Store) -> None:
    follower, burns = Follower(), burn_chain(5)
    blocks = blocks_on(burns)
    ingest(store, follower, alternately(burns[:4], blocks[:4]))
    ingest(store, follower, burn_chain(2, on=burns[1], branch="other"))
    assert store.tip.height == 2
    followed = ingest(store, follower, [burns[4]])
    assert [ref.hash for ref in followed.applied] == [block.hash for block in blocks[2:4]]
    assert burns_of(store) == named(burns)


def test_what_was_mined_before_the_observer_started_becomes_final(store: Store) -> None:
    follower, burns = Follower(), burn_chain(8)
    blocks = blocks_on(burns)
    ingest(store, follower, blocks[:5])
    assert (burns_of(store), store.final_height) == ([], None)
    ingest(store, follower, [burns[5]])
    assert burns_of(store) == named(burns[5:6])
    ingest(store, follower, [blocks[5]])
    assert burns_of(store) == named(burns[:6])
    assert store.final_height == 3


def test_a_bitcoin_block_known_from_a_block_alone_does_not_count_before_another_builds_on_it(store: Store) -> None:
    follower, burns = Follower(), burn_chain(5)
    blocks = blocks_on(burns)
    ingest(store, follower, [*alternately(burns[:2], blocks[:2]), *blocks[2:4]])
    assert burns_of(store) == named(burns[:2])
    ingest(store, follower, [burns[4], blocks[4]])
    assert burns_of(store) == named(burns)


def test_a_branch_that_leaves_below_a_final_block_is_kept_and_told_but_not_followed(store: Store) -> None:
    follower, burns = Follower(), burn_chain(8)
    blocks = blocks_on(burns)
    ingest(store, follower, alternately(burns[:6], blocks[:6]))
    assert store.final_height == 3

    rewriting = blocks_on([*burns[2:7], burns[6]], on=blocks[1], branch="rewriting")
    followed = ingest(store, follower, rewriting, source="b")
    assert (followed.rolled_back, store.tip.hash) == (0, blocks[5].hash)
    assert {refused.source for refused in followed.refused} == {"b"}
    ((height, block_hash, detail),) = rewrites(store)
    assert (height, block_hash) == (3, rewriting[0].hash)
    assert "leaves after block 2 although block 3 is final" in detail
    assert store.header(rewriting[-1].hash) is not None

    further = blocks_on([burns[7]], on=rewriting[-1], branch="rewriting")
    assert [refused.continues for refused in ingest(store, follower, further, source="b").refused] == [True]
    assert len(rewrites(store)) == 1
    followed = ingest(store, follower, [burns[6], blocks[6], burns[7], blocks[7]])
    assert [ref.hash for ref in followed.applied] == [block.hash for block in blocks[6:]]
    assert ingest(store, Follower(), blocks_on([burns[7]], on=further[-1], branch="rewriting")).refused
    assert len(rewrites(store)) == 1


def test_a_bitcoin_reorg_below_a_final_block_is_refused(store: Store) -> None:
    follower, burns = Follower(), burn_chain(7)
    blocks = blocks_on(burns)
    ingest(store, follower, alternately(burns[:6], blocks[:6]))
    assert store.final_height == 3
    other = burn_chain(6, on=burns[1], branch="other")
    followed = ingest(store, follower, [*other, *blocks_on(other, on=blocks[1], branch="other")])
    assert (followed.rolled_back, store.tip.hash) == (0, blocks[5].hash)
    assert [refused.continues for refused in followed.refused] == [False, True, True]
    ((height, block_hash, detail),) = rewrites(store)
    assert (height, block_hash) == (3, other[0].hash)
    assert "up to 3 are anchored to" in detail
    assert burns_of(store) == named(burns[:6])
    assert ingest(store, follower, [burns[6], blocks[6]]).applied == [blocks[6].ref]


def test_a_batch_in_which_blocks_become_final_does_not_roll_them_back(store: Store) -> None:
    burns = burn_chain(8)
    blocks = blocks_on(burns)
    rewriting = blocks_on([*burns[1:], burns[7]], on=blocks[0], branch="rewriting")
    followed = ingest(store, Follower(), [*alternately(burns, blocks), *rewriting])
    assert (store.tip.hash, store.final_height) == (blocks[7].hash, 5)
    assert followed.refused
