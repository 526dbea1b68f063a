"""Bitcoin's index: finality by depth, reorgs of every depth, and the same rows and digests as a fresh index."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest
from support import coins
from support.bitcoin_chain import HARDER_BITS, LEAST_BITS, NETWORK, Made, random_chain, read_mock_spells
from support.index import truncate_index

from clarion.chains.bitcoin.blocks import parse_header, work_of
from clarion.chains.bitcoin.scanner import Scanner, scan
from clarion.chains.bitcoin.tracked import Tracked
from clarion.chains.model import Block, BurnBlock
from clarion.follower import REWRITES_FINAL, Followed, Follower
from clarion.ingest import ingest
from clarion.store import chain_log
from clarion.store.generation import make_tables
from clarion.store.store import Store

DEPTH = 120


@pytest.fixture
def store(connection: psycopg.Connection[Any]) -> Store:
    make_tables(connection, coins.coins, "coins")
    return opened(connection)


def opened(connection: psycopg.Connection[Any], *, final_depth: int = DEPTH) -> Store:
    store = Store(connection, "bitcoin", [coins.deployed()], final_depth=final_depth)
    store.open()
    return store


def scanned(scanner: Scanner, blocks: Sequence[Made]) -> list[Block]:
    return [scanner.block(made.data, scan(made.data, read_mock_spells), made.height) for made in blocks]


def state(store: Store) -> list[Any]:
    """The canonical chain with its digests, and the rows."""
    execute = store.connection.execute
    return [
        execute(
            "SELECT height, hash, clarion.digest_at(chain, height) FROM clarion.canonical_block ORDER BY height"
        ).fetchall(),
        execute("SELECT * FROM coins.coin ORDER BY outpoint").fetchall(),
        store.tip.digest,
    ]


def fresh(connection: psycopg.Connection[Any], blocks: Sequence[Made]) -> list[Any]:
    """What an index of these blocks alone holds, made in a transaction that is undone."""
    with connection.transaction(force_rollback=True):
        truncate_index(connection, "coins.coin")
        store = opened(connection)
        ingest(store, Follower(), scanned(Scanner(NETWORK, Tracked()), blocks))
        return state(store)


def expected_coins(tip: Made) -> set[tuple[str, int]]:
    return {(f"{tx_id.hex()}:{vout}", amount) for tx_id, vout, amount in tip.live}


def coins_of(store: Store) -> set[tuple[str, int]]:
    rows = store.connection.execute("SELECT outpoint, amount FROM coins.coin").fetchall()
    return {(outpoint, int(amount)) for outpoint, amount in rows}


@pytest.mark.parametrize("depth", [1, 2, 3, 7, 20, 50, 100])
def test_a_reorg_leaves_what_a_fresh_index_has(store: Store, depth: int) -> None:
    scanner, follower = Scanner(NETWORK, Tracked()), Follower()
    main = random_chain(110, seed=depth)
    ingest(store, follower, scanned(scanner, main))
    assert coins_of(store) == expected_coins(main[-1])

    fork = len(main) - 1 - depth
    branch = random_chain(depth + 1, on=main[fork], seed=depth + 1_000)
    followed = Followed()
    for start in range(0, len(branch), 7):
        followed.add(ingest(store, follower, scanned(scanner, branch[start : start + 7])))
    assert followed.rolled_back == depth
    assert coins_of(store) == expected_coins(branch[-1])
    assert state(store) == fresh(store.connection, main[: fork + 1] + branch)

    # and back, over blocks that were scanned before: their spends are in the chain log
    longer = random_chain(3, on=main[-1], seed=depth + 2_000)
    ingest(store, follower, scanned(scanner, longer))
    assert store.tip.hash == longer[-1].hash
    assert state(store) == fresh(store.connection, main + longer)


def test_a_branch_of_the_same_height_waits(store: Store) -> None:
    scanner, follower = Scanner(NETWORK, Tracked()), Follower()
    main = random_chain(10, seed=1)
    ingest(store, follower, scanned(scanner, main))
    equal = random_chain(2, on=main[-3], seed=2)
    assert not ingest(store, follower, scanned(scanner, equal)).applied
    assert store.tip.hash == main[-1].hash


def test_the_branch_with_the_most_work_counts_also_where_it_is_lower(store: Store) -> None:
    scanner, follower = Scanner(NETWORK, Tracked()), Follower()
    main = random_chain(10, seed=20)
    ingest(store, follower, scanned(scanner, main))
    harder = random_chain(2, on=main[5], seed=21, bits=HARDER_BITS)
    # one such block has the work of the four that it would replace
    assert not ingest(store, follower, scanned(scanner, harder[:1])).applied
    followed = ingest(store, follower, scanned(scanner, harder[1:]))
    assert (followed.rolled_back, store.tip.height, store.tip.hash) == (4, 7, harder[1].hash)
    assert state(store) == fresh(store.connection, main[:6] + harder)

    longer = random_chain(5, on=main[-1], seed=22)
    assert not ingest(store, follower, scanned(scanner, longer[:4])).applied
    assert ingest(store, follower, scanned(scanner, longer[4:])).rolled_back == 2
    assert state(store) == fresh(store.connection, main + longer)


def test_blocks_that_were_logged_without_their_work_are_compared_by_height(
    store: Store, connection: psycopg.Connection[Any]
) -> None:
    scanner = Scanner(NETWORK, Tracked())
    main = random_chain(10, seed=23)
    ingest(store, Follower(), scanned(scanner, main))
    connection.execute("UPDATE clarion.block SET extra = extra - 'work'")
    store, follower = opened(connection), Follower()
    harder = random_chain(5, on=main[5], seed=24, bits=HARDER_BITS)
    assert not ingest(store, follower, scanned(scanner, harder[:4])).applied
    assert ingest(store, follower, scanned(scanner, harder[4:])).rolled_back == 4
    assert state(store) == fresh(connection, main[:6] + harder)


def test_after_a_rollback_by_hand_the_branch_with_the_most_work_is_chosen(store: Store) -> None:
    scanner, follower = Scanner(NETWORK, Tracked()), Follower()
    main = random_chain(3, seed=25)
    highest, middle = random_chain(7, on=main[-1], seed=26), random_chain(6, on=main[-1], seed=27)
    heaviest = random_chain(2, on=middle[0], seed=28, bits=HARDER_BITS)
    ingest(store, follower, scanned(scanner, [*main, *highest, *middle, *heaviest]))
    assert store.tip.hash == heaviest[-1].hash
    with store.batch() as batch:
        batch.rollback(2)
        follower.choose_again(batch)
        batch.flush()
    assert store.tip.hash == heaviest[-1].hash
    assert state(store) == fresh(store.connection, [*main, middle[0], *heaviest])


def test_a_block_is_final_by_depth_and_stays(connection: psycopg.Connection[Any]) -> None:
    make_tables(connection, coins.coins, "coins")
    store, scanner, follower = opened(connection, final_depth=3), Scanner(NETWORK, Tracked()), Follower()
    main = random_chain(10, seed=3)
    # what Stacks nodes say of Bitcoin is of no concern
    connection.execute("INSERT INTO clarion.burn_block (hash, height) VALUES (%s, 4)", (main[4].hash,))
    for made in main:
        ingest(store, follower, scanned(scanner, [made]))
    assert store.final_height == 6
    branch = random_chain(9, on=main[5], seed=4)
    followed = ingest(store, follower, scanned(scanner, branch), source="a")
    assert not followed.applied
    assert [refused.continues for refused in followed.refused] == [False, True, True, True, True]
    assert connection.execute("SELECT kind FROM clarion.anomaly").fetchall() == [(REWRITES_FINAL,)]
    kept = random_chain(4, on=main[6], seed=5)
    assert ingest(store, follower, scanned(scanner, kept)).rolled_back == 3
    assert store.final_height == 7


def test_whole_blocks_come_back_out_of_the_chain_log(store: Store) -> None:
    main = random_chain(40, seed=6)
    blocks = scanned(Scanner(NETWORK, Tracked()), main)
    ingest(store, Follower(), blocks)
    loaded = chain_log.load(store.connection, "bitcoin", [made.hash for made in main])
    assert loaded == blocks
    assert all(block.burn == BurnBlock(block.height, block.hash, block.ref.parent_hash, block.time) for block in loaded)


def test_tracked_outpoints_are_read_from_the_chain_log(store: Store) -> None:
    tracked = Tracked()
    scanner = Scanner(NETWORK, tracked)
    main = random_chain(60, seed=7)
    lost = random_chain(5, on=main[-9], seed=8)
    ingest(store, Follower(), scanned(scanner, main + lost))
    again = Tracked()
    again.load(store.connection)
    assert len(again) == len(tracked) > 0
    known = [coin for made in (main[-1], lost[-1]) for coin in made.live]
    outpoints = [tx_id[::-1] + vout.to_bytes(4, "little") for tx_id, vout, _ in known]
    assert again.among([*outpoints, bytes(36)]) == list(range(len(outpoints)))


def test_a_bitcoin_block_is_no_announcement_to_it(store: Store) -> None:
    with pytest.raises(ValueError, match="anchored to themselves"), store.batch() as batch:
        Follower().ingest(batch, [BurnBlock(1, bytes(32))])


def test_random_orders_of_branches(store: Store) -> None:
    choose = random.Random(9)
    scanner, follower = Scanner(NETWORK, Tracked()), Follower()
    branches = [random_chain(30, seed=10)]
    ingest(store, follower, scanned(scanner, branches[0]))
    best, most = branches[0], work(branches[0])
    lower = 0
    for turn in range(16):
        base = branches[choose.randrange(len(branches))]
        cut = choose.randrange(max(1, len(base) - 12), len(base))
        bits = choose.choice([LEAST_BITS, LEAST_BITS, HARDER_BITS])
        grown = base[:cut] + random_chain(choose.randrange(1, 16), on=base[cut - 1], seed=100 + turn, bits=bits)
        branches.append(grown)
        ingest(store, follower, scanned(scanner, grown[cut:]))
        # its blocks come one by one: the branch counts from the first with more work than there was
        if work(grown) > most:
            lower += len(grown) < len(best)
            best, most = grown, work(grown)
        assert store.tip.hash == best[-1].hash
    assert lower
    assert state(store) == fresh(store.connection, best)


def work(chain: Sequence[Made]) -> int:
    return sum(work_of(parse_header(made.data).bits) for made in chain)
