"""Recorded files through the follower into Postgres."""

from __future__ import annotations

import gzip
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from support import toy
from support.index import truncate_index
from support.node_posts import body, burn_payload, moves_payload

from clarion.chains.model import Block, BurnBlock
from clarion.chains.stacks.node_payloads import decode_post
from clarion.chains.stacks.recording import RecordingError, read_recording
from clarion.follower import Follower
from clarion.ingest import ingest
from clarion.replay import Replayed, replay
from clarion.store.store import Store

pytestmark = pytest.mark.usefixtures("toy_tables")

FOUR_FORKS = "stacks/mainnet-2021-four-forks.tsv"
MANY_EVENTS = "stacks/mainnet-2023-585-events.tsv"
NAKAMOTO = "stacks/nakamoto-2025.tsv"


def everything(connection: psycopg.Connection[Any]) -> list[Any]:
    """All there is to say about the canonical chain, digests included."""
    canonical = connection.execute(
        "SELECT height, hash, clarion.digest_at(chain, height) FROM clarion.canonical_block "
        "WHERE chain = 'stacks' ORDER BY height"
    ).fetchall()
    rows = [canonical]
    for table in ("block", "transaction", "event", "anomaly"):
        hash_column = "hash" if table == "block" else "block_hash"
        rows.append(
            connection.execute(
                f"SELECT to_jsonb(t) FROM clarion.{table} t JOIN clarion.canonical_block c ON c.chain = t.chain "
                f"AND c.hash = t.{hash_column} ORDER BY to_jsonb(t)::text"
            ).fetchall()
        )
    rows.append(connection.execute("SELECT * FROM toy.account ORDER BY owner").fetchall())
    return rows


def empty(connection: psycopg.Connection[Any]) -> None:
    truncate_index(connection, "toy.account")


def counts(replayed: Replayed) -> tuple[int, ...]:
    return (replayed.blocks, replayed.other_posts, replayed.transactions, replayed.events)


def test_mainnet_with_four_forks(chain_data: Path, database_url: str, connection: psycopg.Connection[Any]) -> None:
    replayed = replay(chain_data / FOUR_FORKS, database_url)
    assert counts(replayed) == (50, 99, 107, 58)
    assert (replayed.canonical, replayed.orphaned, replayed.waiting, replayed.anomalies) == (47, 3, 0, 0)
    assert replayed.undecodable == []
    # Read off the file by hand: the second block 30 got child 31, the first block 45 got child 46, and of two blocks
    # 47 nothing followed, so the first one seen stays.
    canonical = dict(
        connection.execute("SELECT height, encode(hash, 'hex') FROM clarion.canonical_block ORDER BY height").fetchall()
    )
    assert list(canonical) == list(range(1, 48))
    assert canonical[30].startswith("101dc10b")
    assert canonical[45].startswith("9cb73562")
    assert canonical[47].startswith("4f6dc8e3")
    orphaned = connection.execute(
        "SELECT b.height, encode(b.hash, 'hex'), b.transaction_count FROM clarion.block b WHERE NOT EXISTS "
        "(SELECT FROM clarion.canonical_block c WHERE c.chain = b.chain AND c.hash = b.hash) ORDER BY b.height"
    ).fetchall()
    assert [(height, block_hash[:8], txs) for height, block_hash, txs in orphaned] == [
        (30, "65549af9", 4),
        (45, "5b3b7490", 3),
        (47, "68fb02f8", 5),
    ]
    assert replayed.tip is not None
    assert replayed.tip.height == 47
    assert connection.execute("SELECT count(*), max(height) FROM clarion.canonical_burn_block").fetchone() == (
        96,
        666146,
    )


def test_a_block_of_585_events_that_came_twice(
    chain_data: Path, database_url: str, connection: psycopg.Connection[Any]
) -> None:
    replayed = replay(chain_data / MANY_EVENTS, database_url)
    assert counts(replayed) == (2, 0, 126, 1170)
    assert (replayed.canonical, replayed.orphaned, replayed.anomalies) == (1, 0, 0)
    assert connection.execute("SELECT count(*) FROM clarion.transaction").fetchone() == (63,)
    kinds = connection.execute("SELECT kind, count(*) FROM clarion.event GROUP BY kind ORDER BY kind").fetchall()
    assert dict(kinds) == {
        "ft_burn": 157,
        "ft_mint": 157,
        "ft_transfer": 163,
        "nft_mint": 2,
        "nft_transfer": 1,
        "print": 37,
        "stx_burn": 5,
        "stx_transfer": 63,
    }


def test_nakamoto_with_a_mempool(chain_data: Path, database_url: str, connection: psycopg.Connection[Any]) -> None:
    replayed = replay(chain_data / NAKAMOTO, database_url)
    assert counts(replayed) == (13, 16, 16, 9)
    assert (replayed.canonical, replayed.orphaned, replayed.anomalies) == (13, 0, 0)
    # Of eleven transactions that entered the mempool ten were mined.
    waiting = connection.execute("SELECT tx_id, sender, nonce, dropped_reason FROM clarion.mempool_transaction")
    ((tx_id, sender, nonce, dropped_reason),) = waiting.fetchall()
    assert (sender, nonce, dropped_reason) == ("ST1YEHRRYJ4GF9CYBFFN0ZVCXX1APSBEEQ5KEDN7M", 9, None)
    assert connection.execute("SELECT count(*) FROM clarion.transaction WHERE tx_id = %s", (tx_id,)).fetchone() == (0,)


@pytest.mark.parametrize("name", [FOUR_FORKS, MANY_EVENTS, NAKAMOTO])
def test_replaying_again_changes_nothing(
    name: str, chain_data: Path, database_url: str, connection: psycopg.Connection[Any]
) -> None:
    first = replay(chain_data / name, database_url)
    before = everything(connection)
    again = replay(chain_data / name, database_url)
    assert again == first
    assert everything(connection) == before


def test_batches_of_any_size_end_the_same(
    chain_data: Path, database_url: str, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    replay(chain_data / FOUR_FORKS, database_url)
    whole = everything(connection)
    for size in (1, 7):
        empty(connection)
        monkeypatch.setattr("clarion.replay.BATCH_POSTS", size)
        batches: list[Replayed] = []
        replay(chain_data / FOUR_FORKS, database_url, progress=batches.append)
        assert len(batches) == -(-149 // size)
        assert everything(connection) == whole


def test_an_interrupted_replay_goes_on(
    chain_data: Path, database_url: str, connection: psycopg.Connection[Any], tmp_path: Path
) -> None:
    replay(chain_data / FOUR_FORKS, database_url)
    whole = everything(connection)
    empty(connection)
    lines = (chain_data / FOUR_FORKS).read_bytes().splitlines(keepends=True)
    beginning = tmp_path / "beginning.tsv"
    beginning.write_bytes(b"".join(lines[:100]))
    replay(beginning, database_url)
    assert everything(connection) != whole
    replay(chain_data / FOUR_FORKS, database_url)
    assert everything(connection) == whole


@pytest.mark.parametrize("seed", range(4))
def test_the_order_blocks_come_in_does_not_matter(
    seed: int, chain_data: Path, connection: psycopg.Connection[Any]
) -> None:
    posts = list(read_recording(chain_data / FOUR_FORKS))
    items = [item for post in posts for item in decode_post(post.path, post.body)]
    # A node announces Bitcoin blocks in order, and a lower one after a higher one is a reorg.
    burns = [item for item in items if isinstance(item, BurnBlock)]
    # Which of two blocks at the tip counts is decided by which came first, so these keep their order.
    tips = [item for item in items if isinstance(item, Block) and item.height == 47]
    rest = [item for item in items if item not in burns and item not in tips]
    index_in_batches(connection, burns + rest + tips, 200)
    in_order = everything(connection)
    empty(connection)
    shuffler = random.Random(seed)
    shuffler.shuffle(rest)
    store = index_in_batches(connection, burns + rest + tips, shuffler.choice([1, 5, 40]))
    assert store.tip.height == 47
    assert everything(connection) == in_order


def index_in_batches(connection: psycopg.Connection[Any], items: Sequence[Any], size: int) -> Store:
    store = Store(connection, "stacks", [toy.deployed()])
    store.open()
    for start in range(0, len(items), size):
        ingest(store, Follower(), items[start : start + size])
    return store


def recording(path: Path, posts: Sequence[tuple[str, bytes]]) -> Path:
    lines = [b"%d\t-\t%s\t%s\n" % (number, name.encode(), posted) for number, (name, posted) in enumerate(posts, 1)]
    content = b"".join(lines)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def test_a_protocols_rows_follow_a_fork_and_an_anomaly_is_recorded(
    database_url: str, connection: psycopg.Connection[Any], tmp_path: Path
) -> None:
    first = toy.block(None)
    second, other = toy.block(first), toy.block(first, branch="b")
    third = toy.block(other, branch="b")
    posts = [
        ("/new_burn_block", body(burn_payload(toy.burn_block(1)))),
        ("/new_block", body(moves_payload(first, [toy.move("alice", 1), {"topic": "account.renamed", "owner": "x"}]))),
        ("/new_block", body(moves_payload(second, [toy.move("alice", 2), toy.move("bob", 2)]))),
        ("/new_block", body(moves_payload(other, [toy.move("carol", 3), {"topic": "account.moved", "owner": "x"}]))),
        ("/new_block", body(moves_payload(third, [toy.close("alice")]))),
    ]
    replayed = replay(recording(tmp_path / "posts.tsv.gz", posts), database_url, [toy.deployed()])
    assert (replayed.canonical, replayed.orphaned, replayed.anomalies) == (3, 1, 2)
    assert connection.execute("SELECT owner, balance FROM toy.account").fetchall() == [("carol", 3)]
    assert connection.execute(
        "SELECT height, kind, contract, topic FROM clarion.anomaly ORDER BY height"
    ).fetchall() == [
        (1, "unknown_topic", toy.CONTRACT, "account.renamed"),
        (2, "undecodable_event", toy.CONTRACT, "account.moved"),
    ]


def test_blocks_above_a_gap_wait_and_are_counted(
    database_url: str, connection: psycopg.Connection[Any], tmp_path: Path
) -> None:
    blocks = [toy.block(None)]
    for _ in range(4):
        blocks.append(toy.block(blocks[-1]))
    posts = [("/new_block", body(moves_payload(block, [toy.move("alice", block.height)]))) for block in blocks]
    with_gap = posts[:2] + posts[3:]
    replayed = replay(recording(tmp_path / "gap.tsv", with_gap), database_url, [toy.deployed()])
    assert (replayed.canonical, replayed.waiting, replayed.orphaned) == (2, 2, 0)
    assert connection.execute("SELECT balance FROM toy.account").fetchall() == [(2,)]
    replayed = replay(recording(tmp_path / "rest.tsv", posts[2:3]), database_url, [toy.deployed()])
    assert (replayed.canonical, replayed.waiting) == (5, 0)
    assert connection.execute("SELECT balance FROM toy.account").fetchall() == [(5,)]


def test_a_recording_may_begin_anywhere(database_url: str, tmp_path: Path) -> None:
    first = toy.block(None, height=500_000)
    posts = [("/new_block", body(moves_payload(block))) for block in (first, toy.block(first))]
    replayed = replay(recording(tmp_path / "posts.tsv", posts), database_url)
    assert replayed.tip is not None
    assert (replayed.canonical, replayed.tip.height) == (2, 500_001)


def test_posts_that_cannot_be_read_are_counted_with_their_line(database_url: str, tmp_path: Path) -> None:
    first = toy.block(None)
    posts = [
        ("/new_block", body(moves_payload(first))),
        ("/new_block", body(moves_payload(toy.block(first)))[:-20]),
        ("/new_microblocks", b"not read at all"),
    ]
    replayed = replay(recording(tmp_path / "posts.tsv", posts), database_url)
    assert (replayed.canonical, replayed.other_posts) == (1, 1)
    (complaint,) = replayed.undecodable
    assert complaint.startswith(f"{tmp_path / 'posts.tsv'}, line 2: /new_block: not JSON")


def test_what_is_no_recording_is_refused_and_what_came_before_stays(
    database_url: str, connection: psycopg.Connection[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = recording(tmp_path / "posts.tsv", [("/new_block", body(moves_payload(toy.block(None))))])
    path.write_bytes(path.read_bytes() + b"and then something else\n")
    monkeypatch.setattr("clarion.replay.BATCH_POSTS", 1)
    with pytest.raises(RecordingError, match="line 2"):
        replay(path, database_url)
    assert connection.execute("SELECT count(*) FROM clarion.canonical_block").fetchone() == (1,)


def test_a_bitcoin_reorg_takes_its_stacks_blocks_and_their_transactions_back(
    database_url: str, connection: psycopg.Connection[Any], tmp_path: Path
) -> None:
    below = toy.burn_block(1)
    old, new = toy.burn_block(2), toy.burn_block(2, "b", parent=below)
    first = toy.block(None)
    orphaned = toy.block(first, burn=old)
    replacing = toy.block(first, burn=BurnBlock(2, new.hash, new.parent_hash, new.time), branch="b")
    posts = [
        ("/new_burn_block", body(burn_payload(below))),
        ("/new_block", body(moves_payload(first))),
        ("/new_burn_block", body(burn_payload(old))),
        ("/new_block", body(moves_payload(orphaned, [toy.move("alice", 2)]))),
        ("/new_burn_block", body(burn_payload(new))),
    ]
    replayed = replay(recording(tmp_path / "posts.tsv", posts), database_url, [toy.deployed()])
    assert (replayed.canonical, replayed.orphaned) == (1, 1)
    assert connection.execute("SELECT count(*) FROM toy.account").fetchone() == (0,)
    returned = connection.execute("SELECT tx_id, sender FROM clarion.mempool_transaction").fetchall()
    stored = connection.execute("SELECT tx_id, sender FROM clarion.transaction").fetchall()
    assert returned == stored
    assert len(returned) == 1
    more = recording(tmp_path / "more.tsv", [("/new_block", body(moves_payload(replacing)))])
    assert replay(more, database_url, [toy.deployed()]).canonical == 2
