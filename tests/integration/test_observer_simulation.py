"""A simulated node that forks, repeats and loses posts, before a worker whose database goes away.

Whatever happened on the way, the index ends where one stands that was given the winning blocks alone.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from support import toy
from support.index import truncate_index
from support.node_posts import body, burn_payload, moves_payload

from clarion.chains.model import Block, BurnBlock, JsonValue
from clarion.chains.stacks.node_payloads import decode_new_block
from clarion.follower import Follower
from clarion.ingest import ingest
from clarion.store.database import connect
from clarion.store.store import FINAL_DEPTH, Store
from clarion.worker import Worker

STEPS = 60


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with connect(database_url, autocommit=True) as opened:
        toy.create_tables(opened)
        yield opened


class SimulatedNode:
    """A chain with its Bitcoin chain; ``posted`` is called with every post."""

    def __init__(self, chance: random.Random, posted: Callable[[str, bytes], None]) -> None:
        self.chance = chance
        self.posted = posted
        self.forks = 0
        self.burns: list[BurnBlock] = []
        self.chain: list[Block] = []
        self.payloads: dict[bytes, bytes] = {}
        self.burn()
        self.mine()

    def burn(self) -> None:
        parent = self.burns[-1].hash if self.burns else bytes(32)
        height = len(self.burns) + 1
        self.burns.append(BurnBlock(height, toy.digest_of("burn", height, parent, self.forks), parent, height * 600))
        self.posted("/new_burn_block", body(burn_payload(self.burns[-1])))

    def mine(self) -> None:
        parent = self.chain[-1] if self.chain else None
        block = toy.block(parent, branch=str(self.forks), burn=self.burns[-1])
        moves: list[dict[str, JsonValue]] = [
            toy.move(f"owner-{self.chance.randrange(6)}", self.chance.randrange(2**70))
            for _ in range(self.chance.randrange(4))
        ]
        if self.chance.random() < 0.2:
            moves.append(toy.close(f"owner-{self.chance.randrange(6)}"))
        self.payloads[block.hash] = body(moves_payload(block, moves))
        self.chain.append(block)
        self.posted("/new_block", self.payloads[block.hash])

    def fork(self) -> None:
        """Another branch, longer than what it replaces; it leaves above what may be final by now."""
        depth = self.chance.randrange(1, min(8, len(self.chain)))
        while self.burns[-1].height - self.burn_height_under(depth) >= FINAL_DEPTH:
            depth -= 1
        height = len(self.chain)
        del self.chain[-depth:]
        self.forks += 1
        while len(self.chain) <= height:
            self.mine()

    def burn_height_under(self, depth: int) -> int:
        """Height of the Bitcoin block that the lowest of the last ``depth`` blocks is anchored to."""
        burn = self.chain[-depth].burn
        assert burn is not None
        return burn.height

    def burn_fork(self) -> None:
        """Other Bitcoin blocks, and with them other Stacks blocks, perhaps fewer."""
        depth = self.chance.randrange(1, min(4, len(self.burns)))
        del self.burns[-depth:]
        kept = {burn.hash for burn in self.burns}
        self.forks += 1
        while self.chain[-1].burn is None or self.chain[-1].burn.hash not in kept:
            self.chain.pop()
        for _ in range(depth + self.chance.randrange(2)):
            self.burn()
            for _ in range(self.chance.randrange(3)):
                self.mine()

    def step(self) -> None:
        """Something that happens to a chain."""
        draw = self.chance.random()
        if draw < 0.6 or len(self.chain) < 3:
            self.mine()
        elif draw < 0.8 or len(self.burns) < 3:
            self.burn()
            self.mine()
        elif draw < 0.92:
            self.fork()
        else:
            self.burn_fork()


class Indexer:
    """The worker with its inbox, and all that goes wrong about them."""

    def __init__(self, database_url: str, connection: psycopg.Connection[Any], chance: random.Random) -> None:
        self.chance = chance
        self.connection = connection
        self.database_url = database_url
        self.losing = True
        self.restart()

    def restart(self) -> None:
        self.worker = Worker(self.database_url, [toy.deployed()], start_height=0)
        self.worker.connect()

    def keep(self, path: str, content: bytes) -> None:
        """A post arrives once, twice or never; Bitcoin blocks are never lost."""
        if path == "/new_block" and self.losing and self.chance.random() < 0.15:
            return
        for _ in range(2 if self.chance.random() < 0.1 else 1):
            self.connection.execute("INSERT INTO clarion.inbox (path, body) VALUES (%s, %s)", (path, content))

    def work(self, node: SimulatedNode) -> None:
        """Apply everything that waits, and ask the node for what is missing."""
        if self.chance.random() < 0.1:
            self.worker.close()
            self.restart()
        while True:
            if self.chance.random() < 0.1:
                self.connection.execute(
                    "SELECT pg_terminate_backend(%s)", (self.worker.store.connection.info.backend_pid,)
                )
                with pytest.raises(psycopg.OperationalError):
                    self.worker.apply_pending()
                self.worker.connect()
            applied = self.worker.apply_pending()
            missing = self.worker.needed(applied.missing)
            while missing:
                fetched = [decode_new_block(node.payloads[block_hash]) for block_hash in sorted(missing)]
                missing = self.worker.needed(self.worker.apply_fetched(fetched).missing)
            if applied.posts == 0:
                return


def index_of(connection: psycopg.Connection[Any]) -> list[Any]:
    return [
        connection.execute(
            "SELECT height, hash, clarion.digest_at(chain, height) FROM clarion.canonical_block ORDER BY height"
        ).fetchall(),
        connection.execute("SELECT * FROM toy.account ORDER BY owner").fetchall(),
    ]


@pytest.mark.parametrize("seed", range(6))
def test_the_index_ends_where_the_winning_blocks_alone_lead(
    seed: int, database_url: str, connection: psycopg.Connection[Any]
) -> None:
    chance = random.Random(seed)
    indexer = Indexer(database_url, connection, chance)
    node = SimulatedNode(chance, indexer.keep)
    for _ in range(STEPS):
        node.step()
        if chance.random() < 0.4:
            indexer.work(node)
    # A tip that was lost is only found out about when something comes on top of it.
    indexer.losing = False
    node.mine()
    indexer.work(node)
    indexer.worker.close()

    found = index_of(connection)
    assert [block_hash for _, block_hash, _ in found[0]] == [block.hash for block in node.chain]
    assert node.forks > 0
    assert connection.execute("SELECT count(*) FROM clarion.inbox").fetchone() == (0,)
    in_mempool = {tx_id for (tx_id,) in connection.execute("SELECT tx_id FROM clarion.mempool_transaction")}
    mined = {tx["txid"] for block in node.chain for tx in json.loads(node.payloads[block.hash])["transactions"]}
    assert in_mempool
    assert mined.isdisjoint(f"0x{tx_id.hex()}" for tx_id in in_mempool)
    assert found == fresh_index(connection, [node.payloads[block.hash] for block in node.chain])


def fresh_index(connection: psycopg.Connection[Any], payloads: list[bytes]) -> list[Any]:
    with connection.transaction(force_rollback=True):
        truncate_index(connection, "toy.account")
        store = Store(connection, "stacks", [toy.deployed()])
        store.open()
        ingest(store, Follower(), [decode_new_block(payload) for payload in payloads])
        return index_of(connection)
