"""What following costs: a real 585-event mainnet block, again and again, from JSON to committed rows.

Prints events per second for each stage and the ratio of the whole path to a bare COPY of the same rows.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.index import truncate_index

from clarion.chains.model import Block
from clarion.chains.stacks.node_payloads import decode_post
from clarion.chains.stacks.recording import read_recording
from clarion.follower import Follower
from clarion.store import chain_log
from clarion.store.database import connect
from clarion.store.store import Store

REPEATS = 100
ROUNDS = 3


def median_seconds(run: Callable[[], None], *, rounds: int = ROUNDS) -> float:
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return sorted(taken)[len(taken) // 2]


@pytest.mark.slow
def test_ingest(database_url: str, chain_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    posts = [
        post
        for post in read_recording(chain_data / "stacks" / "mainnet-2023-585-events.tsv")
        if post.path == "/new_block"
    ]
    (first,) = decode_post(posts[0].path, posts[0].body)
    assert isinstance(first, Block)
    events = len(first.events)
    counter = iter(range(1, 1 << 30))

    def chain() -> list[Block]:
        blocks: list[Block] = []
        base = next(counter)
        for index in range(REPEATS):
            parent = blocks[-1].hash if blocks else bytes(32)
            ref = replace(
                first.ref,
                height=index + 1,
                hash=base.to_bytes(16, "big") + index.to_bytes(16, "big"),
                parent_hash=parent,
            )
            blocks.append(replace(first, ref=ref))
        return blocks

    def decode() -> None:
        for _ in range(REPEATS):
            decode_post(posts[0].path, posts[0].body)

    def clear() -> None:
        with connect(database_url, autocommit=True) as connection:
            truncate_index(connection)

    def copy() -> None:
        clear()
        with connect(database_url, autocommit=True) as connection, connection.transaction():
            chain_log.append(connection, chain())

    def follow(size: int) -> Callable[[], None]:
        def run() -> None:
            clear()
            with connect(database_url, autocommit=True) as connection:
                store = Store(connection, "stacks")
                store.open()
                follower = Follower()
                blocks = chain()
                for start in range(0, len(blocks), size):
                    with store.batch() as batch:
                        follower.ingest(batch, blocks[start : start + size])
                assert store.tip.height == REPEATS

        return run

    total = events * REPEATS
    stages = {
        "decode only": median_seconds(decode),
        "bare COPY": median_seconds(copy),
        "follow, 1 block a commit": median_seconds(follow(1)),
        "follow, 100 blocks a commit": median_seconds(follow(100)),
    }
    with capsys.disabled():
        print(f"\n{REPEATS} blocks of {events} events and {len(first.transactions)} transactions, median of {ROUNDS}")
        for name, seconds in stages.items():
            ratio = stages["bare COPY"] / seconds
            print(f"{name:30} {total / seconds:10.0f} events/s   {ratio:5.2f} of bare COPY")
        print(json.dumps({name: round(total / seconds) for name, seconds in stages.items()}))
