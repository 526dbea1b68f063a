"""What indexing costs, from a file of posts to committed rows: ``make bench``.

Each run is compared with a bare COPY of the same rows (those that the run left, in binary form, already in memory) into
the same tables with the same indexes, in as many transactions. `CLARION_BENCH_EVENTS` is how many events the generated
chain has (50,000), several with commas between make a curve.
"""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bench import generate
from psycopg import Connection, sql

from clarion.chains.model import Block
from clarion.chains.stacks.node_payloads import decode_post
from clarion.chains.stacks.recording import read_recording
from clarion.follower import Follower
from clarion.ingest import ingest
from clarion.protocol import DeployedProtocol
from clarion.protocols.bithedge import protocol as bithedge
from clarion.protocols.stacks import protocol as stacks
from clarion.replay import replay
from clarion.store.database import connect
from clarion.store.deferred_indexes import defer_indexes, restore_indexes
from clarion.store.generation import require_tables
from clarion.store.store import Store

SIZES = [int(size) for size in os.environ.get("CLARION_BENCH_EVENTS", "50000").split(",")]
BARE_COPY_AT_MOST = 1_500_000
"""Events; the rows of more do not fit into memory."""
LOG_ONLY: tuple[DeployedProtocol, ...] = ()
GENERIC = (stacks.deployed_at({}),)
BITHEDGE = (bithedge.deployed_by(generate.BITHEDGE_DEPLOYER),)

Show = Callable[[str], None]


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Show:
    def printed(text: str) -> None:
        with capsys.disabled():
            print(text, flush=True)

    return printed


@pytest.fixture(scope="session")
def chain_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, float], tuple[Path, generate.Mix]]:
    """Function that gives a generated chain of so many events, of which this share is BitHedge's."""
    folder = tmp_path_factory.mktemp("chains")
    made: dict[tuple[int, float], tuple[Path, generate.Mix]] = {}

    def chain(events: int, share: float) -> tuple[Path, generate.Mix]:
        if (events, share) not in made:
            path = folder / f"{events}-{share}.tsv.zst"
            made[events, share] = path, generate.generate(path, events=events, bithedge_share=share)
        return made[events, share]

    return chain


@dataclass
class Run:
    """One replay and the bare COPY of what it wrote. Seconds; events a second of processor time of this process."""

    events: int
    seconds: float
    batches: int
    own_cpu_us: float
    rows: int = 0
    bare_seconds: float | None = None

    def __str__(self) -> str:
        text = (
            f"{self.events / self.seconds:9,.0f} events/s  {self.own_cpu_us:6.1f} us of the writer's processor an event"
        )
        if self.bare_seconds is not None:
            bare = f"{self.events / self.bare_seconds:9,.0f}"
            text += f"  {self.bare_seconds / self.seconds:5.2f} of bare COPY ({bare} events/s, {self.rows:,} rows)"
        return text


def measured(path: Path, url: str, protocols: Sequence[DeployedProtocol], *, bare: bool) -> Run:
    batches = 0

    def count(_: object) -> None:
        nonlocal batches
        batches += 1

    processor, began = time.process_time(), time.perf_counter()
    replayed = replay(path, url, protocols, progress=count)
    seconds, processor = time.perf_counter() - began, time.process_time() - processor
    assert not replayed.undecodable
    assert (replayed.anomalies, replayed.waiting) == (0, 0)
    run = Run(replayed.events, seconds, batches, processor / replayed.events * 1e6)
    if bare:
        with connect(url, autocommit=True) as connection:
            run.rows, run.bare_seconds = bare_copy(connection, protocols, batches)
    return run


def bare_copy(connection: Connection[Any], protocols: Sequence[DeployedProtocol], commits: int) -> tuple[int, float]:
    """Write what the index holds once more, into empty tables: how many rows, and how long it took."""
    core = ("block", "transaction", "event", "canonical_block", "step", "change", "digest")
    names = [sql.Identifier("clarion", name) for name in core]
    for deployed in protocols:
        names += [sql.Identifier(*row_type.name.split(".")) for row_type in deployed.protocol.row_types]
    held = [(name, list(read_table(connection, name))) for name in names]
    for name in names:
        connection.execute(sql.SQL("TRUNCATE {}").format(name))
    connection.execute("CHECKPOINT")
    began = time.perf_counter()
    defer_indexes(connection)
    for number in range(commits):
        with connection.transaction(), connection.cursor() as cursor:
            for name, rows in held:
                part = rows[len(rows) * number // commits : len(rows) * (number + 1) // commits]
                with cursor.copy(sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(name)) as copy:
                    copy.write(b"".join((HEADER, *part, TRAILER)))
    restore_indexes(connection)
    return sum(len(rows) for _, rows in held), time.perf_counter() - began


HEADER, TRAILER = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"


def read_table(connection: Connection[Any], name: sql.Identifier) -> Iterator[bytes]:
    """A table's rows in binary form, one by one."""
    with connection.cursor().copy(sql.SQL("COPY {} TO STDOUT (FORMAT binary)").format(name)) as copy:
        for number, piece in enumerate(copy):
            row = bytes(piece)
            row = row.removeprefix(HEADER) if number == 0 else row
            if row and row != TRAILER:
                yield row


def memory() -> str:
    own, children = (
        resource.getrusage(who).ru_maxrss >> 10 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return f"most memory so far: {own} MB here, {children} MB in the largest child process"


@pytest.mark.slow
@pytest.mark.parametrize("events", SIZES)
def test_a_generated_chain(
    events: int, new_index: Callable[[], str], chain_of: Callable[[int, float], tuple[Path, generate.Mix]], show: Show
) -> None:
    mixed, mix = chain_of(events, 0.2)
    show(f"\ngenerated chain: {mix}")
    bare = events <= BARE_COPY_AT_MOST
    show(f"(a) chain log only                  {measured(mixed, new_index(), LOG_ONLY, bare=bare)}")
    if not bare:
        show(memory())
        return
    show(f"(b) and tokens, balances, owners    {measured(mixed, new_index(), GENERIC, bare=True)}")
    show(f"(c) and BitHedge's projections      {measured(mixed, new_index(), BITHEDGE, bare=True)}")
    show(memory())


@pytest.mark.slow
@pytest.mark.parametrize("events", [min(SIZES)])
def test_nothing_but_bithedge(
    events: int, new_index: Callable[[], str], chain_of: Callable[[int, float], tuple[Path, generate.Mix]], show: Show
) -> None:
    path, mix = chain_of(events, 1.0)
    show(f"\nonly BitHedge: {mix}")
    show(f"(c) BitHedge's projections          {measured(path, new_index(), BITHEDGE, bare=True)}")


def repeated(path: Path, post: bytes, times: int) -> None:
    """A recording of one block, again and again with other hashes."""
    block = json.loads(post)
    text = post.decode()
    parts = (f'"{block["index_block_hash"]}"', f'"{block["parent_index_block_hash"]}"', '"block_height":')
    text = text.replace(parts[0], '"@hash@"').replace(parts[1], '"@parent@"')
    before = (
        f'"block_height": {block["block_height"]}'
        if '"block_height": ' in text
        else f'"block_height":{block["block_height"]}'
    )
    assert text.count(before) == 1
    text = text.replace(before, '"block_height":@height@')
    assert text.count("@hash@") == text.count("@parent@") == 1
    with path.open("w", encoding="utf-8") as file:
        for height in range(1, times + 1):
            body = text.replace("@height@", str(height))
            body = body.replace("@hash@", f"0x{height:064x}").replace("@parent@", f"0x{height - 1:064x}")
            body = body.replace("\\", "\\\\")
            file.write(f"{height}\t2026-01-01 00:00:00\t/new_block\t{body}\n")


@pytest.mark.slow
def test_a_real_block_repeated(chain_data: Path, new_index: Callable[[], str], tmp_path: Path, show: Show) -> None:
    recording = chain_data / "stacks" / "mainnet-2023-585-events.tsv"
    post = next(post for post in read_recording(recording) if post.path == "/new_block")
    repeats = max(4 * min(SIZES) // 585, 20)
    path = tmp_path / "repeated.tsv"
    repeated(path, post.body, repeats)
    show(f"\na real block of 585 events, {repeats} times")
    began = time.process_time()
    for _ in range(20):
        (block,) = decode_post(post.path, post.body)
    assert isinstance(block, Block)
    show(f"decoding alone, one process         {20 * 585 / (time.process_time() - began):9,.0f} events/s")
    show(f"(a) chain log only                  {measured(path, new_index(), LOG_ONLY, bare=True)}")


@pytest.mark.slow
@pytest.mark.parametrize("protocols", [LOG_ONLY, BITHEDGE], ids=["log", "bithedge"])
def test_one_block_a_commit(
    protocols: Sequence[DeployedProtocol],
    new_index: Callable[[], str],
    chain_of: Callable[[int, float], tuple[Path, generate.Mix]],
    show: Show,
) -> None:
    """As at the tip, without waiting for blocks: how many a second it takes."""
    path, _ = chain_of(min(SIZES), 0.2)
    items = [item for post in list(read_recording(path))[:1_500] for item in decode_post(post.path, post.body)]
    blocks = [item for item in items if isinstance(item, Block)]
    url = new_index()
    with connect(url, autocommit=True) as connection:
        require_tables(connection, "stacks", protocols)
        store = Store(connection, "stacks", protocols)
        store.open()
        follower = Follower(start_height=None)
        began = time.perf_counter()
        for item in items:
            ingest(store, follower, [item])
        seconds = time.perf_counter() - began
    events = sum(len(block.events) for block in blocks)
    name = "and BitHedge's projections" if protocols else "chain log only"
    show(f"\n1 block a commit, {name:26} {len(blocks) / seconds:9,.0f} blocks/s {events / seconds:9,.0f} events/s")


@pytest.mark.slow
def test_a_rollback(
    new_index: Callable[[], str], chain_of: Callable[[int, float], tuple[Path, generate.Mix]], show: Show
) -> None:
    path, _ = chain_of(min(SIZES), 0.2)
    url = new_index()
    replay(path, url, BITHEDGE, final_depth=1 << 30)
    show("\nrollback, BitHedge's projections, nothing final")
    with connect(url, autocommit=True) as connection:
        store = Store(connection, "stacks", BITHEDGE, final_depth=1 << 30)
        store.open()
        assert store.tip.height is not None
        for depth in (1, 10, 100, 1_000, 10_000):
            height = store.tip.height - depth
            if height < 1:
                break
            since = store.tip.sequence
            began = time.perf_counter()
            with store.batch() as batch:
                batch.rollback(height)
            seconds = time.perf_counter() - began
            retracted = store.tip.sequence - since - depth
            show(f"{depth:6,} blocks, {retracted:7,} rows put back: {seconds * 1e3:8.1f} ms")
