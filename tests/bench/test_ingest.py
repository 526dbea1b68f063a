"""What indexing costs, from a file of posts to committed rows: ``make bench``.

Each run is a process of its own. It is compared with a bare COPY of the same rows (those that the run left, in binary
form, already in memory) into the same tables with the same indexes, in as many transactions: once with the indexes in
place, once with them made afterwards, as Clarion does it.

`CLARION_BENCH_EVENTS`: how many events the generated chain has (50,000), several with commas between make a curve.
`CLARION_BENCH_BITHEDGE`: percent of them that are BitHedge's (10,5,20,100), the first for all that is measured, the
others beside it. `CLARION_BENCH_INTO`: which of (a), (b) and (c) of a generated chain (a,b,c; b at the smallest size
only). `CLARION_BENCH_DIR`: where generated chains are kept, and where the database is meanwhile.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pytest
from bench import generate
from bench.processes import Memory, PostgresTime, postgres_time
from bench.replay_process import Took, enabled
from bench.report import Report
from psycopg import Connection, sql

from clarion.chains.model import Block
from clarion.chains.stacks.node_payloads import decode_post
from clarion.chains.stacks.recording import read_recording
from clarion.follower import Follower
from clarion.ingest import ingest
from clarion.store.database import connect
from clarion.store.deferred_indexes import defer_indexes, restore_indexes
from clarion.store.generation import require_tables
from clarion.store.store import FINAL_DEPTH, Store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(0)]

SIZES = [int(size) for size in os.environ.get("CLARION_BENCH_EVENTS", "50000").split(",")]
MIX, *OTHER_MIXES = [int(percent) for percent in os.environ.get("CLARION_BENCH_BITHEDGE", "10,5,20,100").split(",")]
INTO = os.environ.get("CLARION_BENCH_INTO", "a,b,c").split(",")
BARE_COPY_AT_MOST = 1_500_000
"""Events; the rows of more do not fit into memory."""
ROLLBACK_EVENTS = 125_000 if max(SIZES) >= 100_000 else max(SIZES)
"""Of the chain that blocks are rolled back of: the larger one has more than 11,111 blocks."""
NOTHING_FINAL = 1 << 30
TIP_POSTS = 1_500

Deployers = Mapping[str, str | None]
"""Which protocols run, each with its deployer."""
LOG_ONLY: Deployers = {}
GENERIC: Deployers = {"stacks": None}
BITHEDGE: Deployers = {"bithedge": generate.BITHEDGE_DEPLOYER}

REPLAY = Path(__file__).with_name("replay_process.py")
COST = "Indexing (wall, processor time by process in us an event; most memory; disk in bytes an event)"


@pytest.fixture(scope="session")
def chain_of(bench_folder: Path, report: Report) -> Callable[[int, int], Path]:
    """Function that gives a generated chain of so many events, of which so many percent are BitHedge's."""
    content = Path(generate.__file__).read_bytes() + generate.FIXTURE.read_bytes()
    made_by = hashlib.sha256(content).hexdigest()[:12]

    def chain(events: int, percent: int) -> Path:
        path = bench_folder / f"chain-{events}-{percent}-{made_by}.tsv.zst"
        if not path.exists():
            unfinished = path.with_name(f"unfinished-{path.name}")
            began = time.process_time()
            mix = generate.generate(unfinished, events=events, bithedge_share=percent / 100)
            report.say(f"\ngenerated in {(time.process_time() - began) / mix.events * 1e6:.1f} us an event: {mix}")
            unfinished.rename(path)
        return path

    return chain


@dataclass(frozen=True)
class Run:
    """One replay, and the bare COPY of what it wrote where that was asked for."""

    took: Took
    postgres: PostgresTime
    memory: Memory
    disk_bytes: int
    """What the database then takes."""
    bare: BareCopy | None
    """Into tables that have their indexes."""
    bare_before_indexes: BareCopy | None

    def row(self, name: str) -> dict[str, str]:
        """A line of a table."""
        took = self.took

        def ratio(bare: BareCopy | None) -> str:
            return "" if bare is None else f"{bare.seconds / took.seconds:.2f}"

        return {
            "Run": name,
            "events": f"{took.events:,}",
            "events/s": f"{took.events / took.seconds:,.0f}",
            "of bare COPY": ratio(self.bare),
            "indexes after it": ratio(self.bare_before_indexes),
            "wall": self._each(took.seconds),
            "writer": self._each(took.writer),
            "decoding": self._each(took.decoders),
            "Postgres' backends": self._each(self.postgres.backends),
            "its others": self._each(self.postgres.others),
            "writer, MB": str(self.memory.own),
            "a decoder, MB": str(self.memory.largest_child or ""),
            "disk, B": f"{self.disk_bytes / took.events:,.0f}",
        }

    def bare_rows(self) -> Iterator[dict[str, str]]:
        """The lines of the bare COPYs."""
        for how, bare in (("", self.bare), (", indexes after it", self.bare_before_indexes)):
            if bare is not None:
                yield {
                    "Run": f"bare COPY of its {bare.rows:,} rows{how}",
                    "events": f"{self.took.events:,}",
                    "events/s": f"{self.took.events / bare.seconds:,.0f}",
                    "wall": self._each(bare.seconds),
                    "Postgres' backends": self._each(bare.postgres.backends),
                    "its others": self._each(bare.postgres.others),
                }

    def _each(self, seconds: float) -> str:
        return f"{seconds / self.took.events * 1e6:.1f}"


def measured(path: Path, url: str, deployers: Deployers, *, bare: bool, final_depth: int = FINAL_DEPTH) -> Run:
    """Replay a file in a process of its own."""
    command = [sys.executable, str(REPLAY), str(path), url, json.dumps(deployers), str(final_depth)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with connect(url, autocommit=True) as watching:
        before = postgres_time(watching)
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process, Memory(process.pid) as most:
            answer, _ = process.communicate()
        assert process.returncode == 0, f"{command} ended with {process.returncode}"
        took = msgspec.json.decode(answer, type=Took)
        spent = postgres_time(watching) - before
        size = watching.execute("SELECT pg_database_size(current_database())").fetchone()
        assert size is not None
        copies = [
            bare_copy(url, watching, deployers, took.batches, indexes_after=after) if bare else None
            for after in (False, True)
        ]
        return Run(took, spent, most, size[0], *copies)


@dataclass(frozen=True)
class BareCopy:
    """What it took to write an index' rows once more."""

    rows: int
    seconds: float
    postgres: PostgresTime


def bare_copy(
    url: str, watching: Connection[Any], deployers: Deployers, commits: int, *, indexes_after: bool
) -> BareCopy:
    """Write what the index holds once more, into empty tables, in so many transactions."""
    core = ("block", "transaction", "event", "canonical_block", "step", "change", "digest")
    names = [sql.Identifier("clarion", name) for name in core]
    for deployed in enabled(deployers):
        names += [sql.Identifier(*row_type.name.split(".")) for row_type in deployed.protocol.row_types]
    with connect(url, autocommit=True) as connection:
        held = [(name, list(read_table(connection, name))) for name in names]
        for name in names:
            connection.execute(sql.SQL("TRUNCATE {}").format(name))
        connection.execute("CHECKPOINT")
    before = postgres_time(watching)
    with connect(url, autocommit=True) as connection:
        began = time.perf_counter()
        if indexes_after:
            defer_indexes(connection)
        for number in range(commits):
            with connection.transaction(), connection.cursor() as cursor:
                for name, rows in held:
                    part = rows[len(rows) * number // commits : len(rows) * (number + 1) // commits]
                    with cursor.copy(sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(name)) as copy:
                        copy.write(b"".join((HEADER, *part, TRAILER)))
        restore_indexes(connection)
        seconds = time.perf_counter() - began
    return BareCopy(sum(len(rows) for _, rows in held), seconds, postgres_time(watching) - before)


HEADER, TRAILER = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"


def read_table(connection: Connection[Any], name: sql.Identifier) -> Iterator[bytes]:
    """A table's rows in binary form, one by one."""
    with connection.cursor().copy(sql.SQL("COPY {} TO STDOUT (FORMAT binary)").format(name)) as copy:
        for number, piece in enumerate(copy):
            row = bytes(piece)
            row = row.removeprefix(HEADER) if number == 0 else row
            if row and row != TRAILER:
                yield row


@pytest.mark.parametrize("events", SIZES)
def test_a_generated_chain(
    events: int, new_index: Callable[[], str], chain_of: Callable[[int, int], Path], report: Report
) -> None:
    path = chain_of(events, MIX)
    bare = events <= BARE_COPY_AT_MOST
    runs = [("(a) chain log only", LOG_ONLY), ("(c) and BitHedge's projections", BITHEDGE)]
    if events == min(SIZES):
        runs.insert(1, ("(b) and tokens, balances, owners", GENERIC))
    for name, deployers in runs:
        if name[1] not in INTO:
            continue
        run = measured(path, new_index(), deployers, bare=bare)
        report.add(COST, run.row(name))
        if bare:
            for row in run.bare_rows():
                report.add(COST, row)


@pytest.mark.parametrize("percent", OTHER_MIXES)
def test_another_share_of_bithedge(
    percent: int, new_index: Callable[[], str], chain_of: Callable[[int, int], Path], report: Report
) -> None:
    path = chain_of(min(SIZES), percent)
    run = measured(path, new_index(), BITHEDGE, bare=True)
    report.add(COST, run.row(f"(c) where {percent} % are BitHedge's"))


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


def test_a_real_block_repeated(chain_data: Path, new_index: Callable[[], str], tmp_path: Path, report: Report) -> None:
    recording = chain_data / "stacks" / "mainnet-2023-585-events.tsv"
    post = next(post for post in read_recording(recording) if post.path == "/new_block")
    repeats = max(4 * min(SIZES) // 585, 20)
    path = tmp_path / "repeated.tsv"
    repeated(path, post.body, repeats)
    began = time.process_time()
    for _ in range(20):
        (block,) = decode_post(post.path, post.body)
    assert isinstance(block, Block)
    report.say(f"\na real block, decoding alone: {20 * 585 / (time.process_time() - began):,.0f} events/s")
    run = measured(path, new_index(), LOG_ONLY, bare=True)
    report.add(COST, run.row(f"(a) a real mainnet block of 585 events, {repeats} times"))


@pytest.mark.parametrize("deployers", [LOG_ONLY, BITHEDGE], ids=["log", "bithedge"])
def test_one_block_a_commit(
    deployers: Deployers, new_index: Callable[[], str], chain_of: Callable[[int, int], Path], report: Report
) -> None:
    """As at the tip, without waiting for blocks: how many a second it takes."""
    path = chain_of(min(SIZES), MIX)
    posts = islice(read_recording(path), TIP_POSTS)
    items = [item for post in posts for item in decode_post(post.path, post.body)]
    blocks = [item for item in items if isinstance(item, Block)]
    url, protocols = new_index(), enabled(deployers)
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
    row = {"Run": "and BitHedge's projections" if protocols else "chain log only"}
    row |= {"blocks/s": f"{len(blocks) / seconds:,.0f}", "events/s": f"{events / seconds:,.0f}"}
    report.add("One block a commit", row)


def test_a_rollback(new_index: Callable[[], str], chain_of: Callable[[int, int], Path], report: Report) -> None:
    path = chain_of(ROLLBACK_EVENTS, MIX)
    url = new_index()
    measured(path, url, BITHEDGE, bare=False, final_depth=NOTHING_FINAL)
    with connect(url, autocommit=True) as connection:
        store = Store(connection, "stacks", enabled(BITHEDGE), final_depth=NOTHING_FINAL)
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
            row = {"Blocks": f"{depth:,}", "Rows put back": f"{retracted:,}", "Time": f"{seconds * 1e3:,.0f} ms"}
            report.add("Rolling back", row)
