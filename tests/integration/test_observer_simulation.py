"""A simulated node that forks, repeats and loses posts, before a worker whose database goes away.

Whatever happened on the way, the index ends where one stands that was given the winning blocks alone.
"""

from __future__ import annotations

import json
import random
from typing import Any

import psycopg
import pytest
from support import toy
from support.index_service import fresh_index_of_posts, index_of
from support.simulated_node import SimulatedNode

from clarion.chains.stacks.node_payloads import decode_new_block
from clarion.worker import Worker

pytestmark = pytest.mark.usefixtures("toy_tables")

STEPS = 60


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
                missing = self.worker.needed(self.worker.apply_said("node", fetched).missing)
            if applied.posts == 0:
                return


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
    node.win()
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
    assert found == fresh_index_of_posts(connection, [node.payloads[block.hash] for block in node.chain])
