"""A protocol added to an index that runs ends with what an index that had it from the first block on has."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from psycopg import sql
from support import index_process, node_posts, toy
from support import ledger as ledger_module
from support.ledger import ledger
from support.pools import TRAIT, pools

from clarion import cli
from clarion.backfill import Task, fill
from clarion.chains.model import Block, BurnBlock, Event, EventKind, Transaction, TransactionStatus
from clarion.chains.stacks.node_payloads import NEW_BLOCK, NEW_BURN_BLOCK, decode_post
from clarion.dev.accounts import DEPLOYER as BITHEDGE_DEPLOYER
from clarion.follower import Follower
from clarion.protocol import DeployedProtocol, ProjectionError, Protocol
from clarion.protocols.bithedge import protocol as bithedge
from clarion.store import generation
from clarion.store.database import connect
from clarion.store.generation import Filling, GenerationError, prune, ready_protocols, require_tables, switch
from clarion.store.store import Store
from clarion.store.time_travel import as_of

TESTS = Path(__file__).parents[1]
BOTH = (toy.deployed(), ledger.deployed_by(toy.DEPLOYER))
ALL_ROWS = ("toy.account", "ledger.entry", "ledger.total")
DEADLINE_SECONDS = 120


@pytest.fixture
def installed_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes this process and others find the ledger as an installed package."""
    info = tmp_path / "ledger-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ledger\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[clarion.protocols]\nledger = support.ledger:ledger\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(TESTS)]))
    monkeypatch.syspath_prepend(str(tmp_path))


@dataclass
class Chain:
    """Blocks one after the other, with forks; what was said is kept to be said again to another index."""

    items: list[Block | BurnBlock] = field(default_factory=list)
    tip: Block | None = None

    def grow(self, count: int, *, branch: str = "main", on: Block | None = None) -> list[Block | BurnBlock]:
        """The next blocks on ``on`` (the tip), each with its Bitcoin block before it."""
        new: list[Block | BurnBlock] = []
        parent = on or self.tip
        for _ in range(count):
            height = 1 if parent is None else parent.height + 1
            values = [] if height % 4 == 0 else [toy.move(f"owner-{height % 5}", height * 10 + len(branch))]
            if height % 6 == 0:
                values.append(toy.close(f"owner-{(height + 2) % 5}"))
            parent = toy.block(parent, values, branch=branch)
            assert parent.burn is not None
            new += [parent.burn, parent]
        self.tip = parent
        self.items += new
        return new

    def block(self, height: int) -> Block:
        """The last block said of this height that the tip builds on."""
        by_hash = {item.hash: item for item in self.items if isinstance(item, Block)}
        current = self.tip
        while current is not None and current.height > height:
            current = by_hash.get(current.ref.parent_hash)
        assert current is not None
        return current


def opened(connection: psycopg.Connection[Any], protocols: Sequence[DeployedProtocol]) -> Store:
    store = Store(connection, "stacks", protocols)
    require_tables(connection, "stacks", protocols)
    store.open()
    return store


def ingest(store: Store, items: Sequence[Block | BurnBlock], *, at_once: int = 7) -> None:
    for start in range(0, len(items), at_once):
        with store.batch() as batch:
            Follower().ingest(batch, items[start : start + at_once])


def rows_of(connection: psycopg.Connection[Any], table: str) -> list[tuple[Any, ...]]:
    query = sql.SQL("SELECT * FROM {}").format(sql.Identifier(*table.split(".")))
    cursor = connection.execute(query)
    assert cursor.description is not None
    names = [column.name for column in cursor.description]
    return sorted((tuple(sorted(zip(names, row, strict=True))) for row in cursor.fetchall()), key=repr)


def past(connection: psycopg.Connection[Any], height: int) -> dict[str, list[tuple[Any, ...]]]:
    """Every row as it was at a height."""
    found = {}
    for table in ALL_ROWS:
        query = sql.SQL("SELECT to_jsonb(t) FROM {} t").format(as_of(connection, table, height))
        found[table] = sorted(connection.execute(query, ()).fetchall(), key=repr)
    return found


def tables_of(connection: psycopg.Connection[Any], *protocols: DeployedProtocol) -> dict[str, list[tuple[Any, ...]]]:
    names = [row_type.name for deployed in protocols for row_type in deployed.protocol.row_types]
    return {name: rows_of(connection, name) for name in names}


def state(connection: psycopg.Connection[Any]) -> dict[str, Any]:
    """Everything that has to be the same in two indexes of the same chain."""
    execute = connection.execute
    heights = [height for (height,) in execute("SELECT height FROM clarion.canonical_block ORDER BY 1")]
    return {
        "rows": {table: rows_of(connection, table) for table in ALL_ROWS},
        "digests": execute(
            "SELECT d.protocol, d.height, d.digest FROM clarion.digest d JOIN clarion.protocol p "
            "ON p.chain = d.chain AND p.name = d.protocol AND p.generation = d.generation ORDER BY 1, 2"
        ).fetchall(),
        "combined": execute(
            "SELECT height, clarion.digest_at('stacks', height) FROM clarion.canonical_block"
        ).fetchall(),
        "cursor": execute("SELECT height, hash, digest, final_height FROM clarion.cursor").fetchall(),
        "past": {height: past(connection, height) for height in heights},
    }


def fresh(url: str, chain: Chain, protocols: Sequence[DeployedProtocol] = BOTH) -> dict[str, Any]:
    with connect(url, autocommit=True) as connection:
        store = opened(connection, protocols)
        assert not store.waiting
        ingest(store, chain.items)
        return state(connection)


def test_a_protocol_added_to_a_running_index_ends_where_a_fresh_one_does(
    connection: psycopg.Connection[Any], database_url: str, other_database_url: str
) -> None:
    chain = Chain()
    before = opened(connection, BOTH[:1])
    ingest(before, chain.grow(25))
    ingest(before, chain.grow(4, branch="b", on=chain.block(23)))
    ingest(before, chain.grow(15))

    store = opened(connection, BOTH)
    assert [deployed.protocol.name for deployed in store.live] == ["toy"]
    assert [deployed.protocol.name for deployed in store.waiting] == ["ledger"]

    with connect(database_url, autocommit=True) as own:
        filling = Filling(own, "stacks", BOTH[1], chunk_blocks=3)
        for _ in range(4):
            assert filling.step()
    assert ready_protocols(store) == []
    ingest(store, chain.grow(5))

    with connect(database_url, autocommit=True) as own:
        filling = Filling(own, "stacks", BOTH[1], chunk_blocks=5)
        assert filling.progress.height is not None, "what was filled in before stays"
        while filling.step():
            pass
    assert ready_protocols(store) == [BOTH[1]]
    assert rows_of(connection, "ledger.entry") == [], "the old tables serve until the switch"
    ingest(store, chain.grow(3, branch="c", on=chain.block(chain.tip.height - 2)))  # type: ignore[union-attr]

    assert switch(store, BOTH[1])
    assert not store.waiting
    assert past(connection, 20)["ledger.entry"] != past(connection, 10)["ledger.entry"] != []
    assert state(connection) == fresh(other_database_url, chain)


def test_reorgs_below_and_above_a_switch_end_where_a_fresh_index_does(
    connection: psycopg.Connection[Any], database_url: str, other_database_url: str
) -> None:
    chain = Chain()
    ingest(opened(connection, BOTH[:1]), chain.grow(30))
    store = opened(connection, BOTH)
    fill_all(database_url)
    assert switch(store, BOTH[1])
    ingest(store, chain.grow(2))
    ingest(store, chain.grow(7, branch="deep", on=chain.block(27)))
    ingest(store, chain.grow(8, branch="deeper", on=chain.block(28)))
    ingest(store, chain.grow(3))
    assert state(connection) == fresh(other_database_url, chain)


def fill_all(url: str, deployed: DeployedProtocol = BOTH[1], *, forced: bool = False) -> None:
    for progress in fill(url, "stacks", deployed, forced=forced):
        assert progress.height is not None


def test_a_rebuild_replaces_a_generation_and_forgets_it(
    connection: psycopg.Connection[Any], database_url: str, other_database_url: str
) -> None:
    chain = Chain()
    store = opened(connection, BOTH)
    ingest(store, chain.grow(20))
    connection.execute("UPDATE ledger.total SET moves = 0")
    with pytest.raises(GenerationError, match="ledger is live"):
        fill_all(database_url)
    for _ in range(2):
        fill_all(database_url, forced=True)
        ingest(store, chain.grow(1))
        assert switch(store, BOTH[1])
        ingest(store, chain.grow(3, branch="b", on=chain.block(chain.tip.height - 1)))  # type: ignore[union-attr]
    while prune(connection, "stacks"):
        pass
    assert connection.execute(
        "SELECT DISTINCT generation FROM clarion.digest WHERE protocol = 'ledger'"
    ).fetchall() == [(3,)]
    assert connection.execute("SELECT DISTINCT generation FROM clarion.history").fetchall() == [(3,)]
    assert state(connection) == fresh(other_database_url, chain)


def test_an_old_generation_serves_until_a_changed_protocol_is_ready(
    connection: psycopg.Connection[Any], database_url: str, other_database_url: str
) -> None:
    chain = Chain()
    ingest(opened(connection, BOTH), chain.grow(15))
    old = rows_of(connection, "ledger.total")
    changed = Protocol("ledger", tables=[ledger_module.Entry, ledger_module.Total], version=2)

    @changed.on("bank", "account.moved")
    def twice(event: toy.Moved, at: Any, rows: Any) -> None:
        total = rows.get(ledger_module.Total, "all") or rows.insert(ledger_module.Total, name="all")
        total.moves += 2

    changed.ignore("bank")
    deployed = changed.deployed_by(toy.DEPLOYER)
    store = opened(connection, (BOTH[0], deployed))
    ingest(store, chain.grow(3))
    assert rows_of(connection, "ledger.total") == old
    fill_all(database_url, deployed)
    assert switch(store, deployed)
    ((moves,),) = connection.execute("SELECT moves FROM ledger.total").fetchall()
    assert moves == 2 * sum(1 for item in chain.items if isinstance(item, Block) and item.height % 4)
    again = opened(connection, (BOTH[0], deployed))
    assert not again.waiting, "it is live after a restart"
    ingest(again, chain.grow(6, branch="deep", on=chain.block(13)))
    assert state(connection) == fresh(other_database_url, chain, (BOTH[0], deployed)), "what was before stays forgotten"


def test_an_empty_index_has_every_protocol_live_from_the_first_block(connection: psycopg.Connection[Any]) -> None:
    store = opened(connection, BOTH)
    assert len(store.live) == 2
    connection.execute("DROP TABLE ledger.entry")
    connection.execute("ALTER TABLE ledger.total ADD COLUMN old text")
    ingest(opened(connection, BOTH), Chain().grow(2))
    assert len(rows_of(connection, "ledger.entry")) == 2


def test_a_generation_that_is_not_ready_is_not_switched_to(
    connection: psycopg.Connection[Any], database_url: str
) -> None:
    chain = Chain()
    ingest(opened(connection, BOTH[:1]), chain.grow(12))
    store = opened(connection, BOTH)
    with pytest.raises(GenerationError, match="not ready"):
        switch(store, BOTH[1])
    with connect(database_url, autocommit=True) as own:
        filling = Filling(own, "stacks", BOTH[1], chunk_blocks=1)
        assert filling.step()
        connection.execute("UPDATE clarion.protocol SET next_generation = 7 WHERE name = 'ledger'")
        with pytest.raises(GenerationError, match="took it over"):
            filling.step()


def test_a_reader_that_holds_on_to_the_old_tables_delays_a_switch_and_not_the_index(
    connection: psycopg.Connection[Any], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "LOCK_SECONDS", 0.05)
    chain = Chain()
    store = opened(connection, BOTH)
    ingest(store, chain.grow(12))
    fill_all(database_url, forced=True)
    with connect(database_url) as reader:
        reader.execute("SELECT * FROM ledger.total")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            switch(store, BOTH[1])
        ingest(store, chain.grow(1))
    assert switch(store, BOTH[1])


def test_an_index_without_final_blocks_is_switched_to_with_all_of_them(
    connection: psycopg.Connection[Any], database_url: str, other_database_url: str
) -> None:
    chain = Chain()
    ingest(opened(connection, BOTH[:1]), chain.grow(4))
    store = opened(connection, BOTH)
    with connect(database_url, autocommit=True) as own:
        filling = Filling(own, "stacks", BOTH[1])
        assert not filling.step()
        assert filling.progress.height is None
    assert switch(store, BOTH[1])
    ingest(store, chain.grow(6, branch="b", on=chain.block(2)))
    assert state(connection) == fresh(other_database_url, chain)


@pytest.mark.parametrize("where", ["value", "null"])
def test_a_row_that_its_table_cannot_hold_is_the_packages_defect(
    where: str, connection: psycopg.Connection[Any], database_url: str
) -> None:
    broken = Protocol("ledger", tables=[ledger_module.Entry])

    @broken.on("bank", "account.moved")
    def overflows(event: toy.Moved, at: Any, rows: Any) -> None:
        times, trace = (1, None) if where == "null" else (2**63, "trace")
        rows.insert(ledger_module.Entry, owner=at.tx_text, times=times, trace=trace)

    broken.ignore("bank")
    deployed = broken.deployed_by(toy.DEPLOYER)
    chain = Chain()
    ingest(opened(connection, BOTH[:1]), chain.grow(10))
    with pytest.raises(ProjectionError, match=r"ledger\.entry that the table cannot hold"):
        fill_all(database_url, deployed)
    emptied(connection)
    store = opened(connection, [deployed])
    with pytest.raises(ProjectionError, match=r"ledger\.entry that the table cannot hold"):
        ingest(store, chain.items[:2])
    assert store.tip.height is None


def test_a_defective_package_fills_nothing_and_leaves_the_rest_alone(
    connection: psycopg.Connection[Any], database_url: str
) -> None:
    chain = Chain()
    ingest(opened(connection, BOTH[:1]), chain.grow(20))
    broken = Protocol("ledger", tables=[ledger_module.Total])

    @broken.on("bank", "account.moved")
    def fails(event: toy.Moved, at: Any, rows: Any) -> None:
        raise KeyError(event.owner)

    with (
        connect(database_url, autocommit=True) as own,
        pytest.raises(ProjectionError, match="KeyError"),
    ):
        Filling(own, "stacks", broken.deployed_by(toy.DEPLOYER)).step()
    store = opened(connection, BOTH)
    ingest(store, chain.grow(2))
    assert len(rows_of(connection, "toy.account")) > 0


@pytest.mark.usefixtures("installed_ledger")
@pytest.mark.slow
def test_a_filling_process_killed_at_any_time_goes_on_where_it_was(
    connection: psycopg.Connection[Any], database_url: str, other_database_url: str
) -> None:
    chain = Chain()
    ingest(opened(connection, BOTH[:1]), chain.grow(150), at_once=100)
    store = opened(connection, BOTH)
    task = Task.of(database_url, "stacks", BOTH[1], chunk_blocks=1)

    def reached() -> int:
        row = connection.execute("SELECT next_height FROM clarion.protocol WHERE name = 'ledger'").fetchone()
        return 0 if row is None or row[0] is None else int(row[0])

    for stop_at in (10, 40):
        with subprocess.Popen([sys.executable, "-m", "clarion.backfill"], stdin=subprocess.PIPE) as process:
            assert process.stdin is not None
            process.stdin.write(msgspec.json.encode(task) + b"\n")
            process.stdin.flush()
            deadline = time.monotonic() + 60
            while reached() < stop_at:
                assert process.poll() is None
                assert time.monotonic() < deadline
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        assert ready_protocols(store) == []
        ingest(store, chain.grow(2))
    done = subprocess.run(
        [sys.executable, "-m", "clarion.backfill"], input=msgspec.json.encode(task) + b"\n", timeout=60, check=False
    )
    assert done.returncode == 0
    assert switch(store, BOTH[1])
    ingest(store, chain.grow(2))
    assert state(connection) == fresh(other_database_url, chain)


def emptied(connection: psycopg.Connection[Any]) -> None:
    """Take everything out of an index."""
    connection.execute("DROP SCHEMA IF EXISTS toy, ledger, ledger__next CASCADE")
    tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'clarion'").fetchall()
    names = sql.SQL(", ").join(sql.Identifier("clarion", name) for (name,) in tables)
    connection.execute(sql.SQL("TRUNCATE {}").format(names))


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("grow"), st.integers(1, 6), st.just(0)),
        st.tuples(st.just("fork"), st.integers(1, 6), st.integers(1, 6)),
        st.tuples(st.just("fill"), st.integers(1, 4), st.just(0)),
        st.tuples(st.just("kill"), st.just(0), st.just(0)),
        st.tuples(st.just("restart"), st.just(0), st.just(0)),
        st.tuples(st.just("switch"), st.just(0), st.just(0)),
    ),
    min_size=4,
    max_size=14,
)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=OPERATIONS)
def test_whatever_happens_in_whatever_order_it_ends_where_a_fresh_index_does(
    operations: list[tuple[str, int, int]],
    connection: psycopg.Connection[Any],
    database_url: str,
    other_database_url: str,
) -> None:
    emptied(connection)
    chain = Chain()
    ingest(opened(connection, BOTH[:1]), chain.grow(14))
    store = opened(connection, BOTH)
    with contextlib.ExitStack() as own:
        filling: Filling | None = None
        for number, (operation, count, depth) in enumerate((*operations, ("fill", 99, 0), ("switch", 0, 0))):
            assert chain.tip is not None
            if operation == "grow":
                ingest(store, chain.grow(count))
            elif operation == "fork":
                fork = max(chain.tip.height - depth, (store.final_height or 0), 1)
                length = chain.tip.height - fork + count
                ingest(store, chain.grow(length, branch=f"branch {number}", on=chain.block(fork)))
            elif operation == "fill" and store.waiting:
                if filling is None:
                    filling = Filling(
                        own.enter_context(connect(database_url, autocommit=True)), "stacks", BOTH[1], chunk_blocks=3
                    )
                while count and filling.step():
                    count -= 1
            elif operation == "kill":
                own.close()
                filling = None
            elif operation == "restart":
                store = opened(connection, BOTH)
            elif operation == "switch" and ready_protocols(store):
                assert switch(store, BOTH[1])
        assert not store.waiting
        ingest(store, chain.grow(3, branch="last", on=chain.block(max(chain.tip.height - 2, store.final_height or 1))))
    with connect(other_database_url, autocommit=True) as other:
        emptied(other)
    assert state(connection) == fresh(other_database_url, chain)


def deployed_pool(block: Block, name: str) -> Block:
    """The block with a transaction that deploys a pool, and without events."""
    deployment = Transaction(
        index=0,
        id=toy.digest_of("deploy", name, block.hash.hex()),
        status=TransactionStatus.SUCCESS,
        kind="smart_contract",
        sender=toy.DEPLOYER,
        sponsor=None,
        nonce=0,
        fee=0,
        contract=f"{toy.DEPLOYER}.{name}",
        function=None,
        stored_payload={"name": name, "clarity_version": 3, "source": f"(impl-trait '{TRAIT})"},
        result=None,
        raw=b"\x00",
    )
    return replace(block, transactions=(deployment,), events=())


@pytest.mark.parametrize("discovery", ["trait", "factory"])
def test_contracts_found_on_the_chain_are_found_again_by_a_filling(
    discovery: str, connection: psycopg.Connection[Any], database_url: str, other_database_url: str
) -> None:
    deployed = pools(trait=TRAIT if discovery == "trait" else None, factory=discovery == "factory").deployed_by(
        toy.DEPLOYER
    )
    items: list[Block | BurnBlock] = []
    parent: Block | None = None
    for height in range(1, 31):
        empty = toy.block(parent, [{"topic": "x"}])
        pool = f"{toy.DEPLOYER}.pool-{height % 4}"
        said = [(pool, "deposit", {"topic": "deposit", "amount": height})]
        if height % 5 == 0 and discovery == "factory":
            said.insert(0, (f"{toy.DEPLOYER}.registry", "pool-created", {"topic": "pool-created", "pool": pool}))
        events = [Event(0, index, EventKind.PRINT, *one, b"\x0c") for index, one in enumerate(said)]
        parent = replace(empty, events=tuple(events))
        if height % 5 == 0 and discovery == "trait":
            parent = deployed_pool(empty, f"pool-{height % 4}")
        assert parent.burn is not None
        items += [parent.burn, parent]
    ingest(opened(connection, BOTH[:1]), items[:-4])
    store = opened(connection, (BOTH[0], deployed))
    fill_all(database_url, deployed)
    assert switch(store, deployed)
    ingest(store, items[-4:])
    with connect(other_database_url, autocommit=True) as other:
        ingest(opened(other, (BOTH[0], deployed)), items)
        assert tables_of(connection, deployed) == tables_of(other, deployed)
        digests = "SELECT clarion.digest_at('stacks', height) FROM clarion.canonical_block ORDER BY height"
        assert connection.execute(digests).fetchall() == other.execute(digests).fetchall()
    assert len(rows_of(connection, "pools.deposited")) == 4


def posts_of(items: Sequence[Block | BurnBlock]) -> list[tuple[str, bytes]]:
    """The items as a node posts them."""
    posts = []
    for item in items:
        if isinstance(item, BurnBlock):
            posts.append((NEW_BURN_BLOCK, node_posts.body(node_posts.burn_payload(item))))
        else:
            values = [event.value for event in item.events if isinstance(event.value, dict)]
            posts.append((NEW_BLOCK, node_posts.body(node_posts.moves_payload(item, values))))
    return posts


@contextlib.contextmanager
def indexer(database_url: str, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The index service in a process of its own, and its observer's URL."""
    command = [sys.executable, index_process.__file__, database_url, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        try:
            url = started.stdout.readline().strip()
            assert url
            yield started, url
        finally:
            started.kill()


def tell(url: str, posts: Sequence[tuple[str, bytes]]) -> None:
    with httpx.Client(timeout=DEADLINE_SECONDS) as client:
        for path, body in posts:
            assert client.post(url + path, content=body).status_code == 200


def wait_until(connection: psycopg.Connection[Any], query: str, expected: Any) -> None:
    """Wait until a query gives one value, looking again whenever the index has moved."""
    connection.execute("LISTEN clarion")
    deadline = time.monotonic() + DEADLINE_SECONDS
    while connection.execute(query.encode()).fetchone() != (expected,):
        assert time.monotonic() < deadline, f"{query} never gave {expected}"
        list(connection.notifies(timeout=1, stop_after=1))


@pytest.mark.usefixtures("installed_ledger")
def test_a_running_indexer_fills_and_switches_while_blocks_and_forks_come(
    connection: psycopg.Connection[Any], database_url: str, other_database_url: str
) -> None:
    chain = Chain()
    said = posts_of(chain.grow(40))
    tip_height = "SELECT height FROM clarion.cursor"
    with indexer(database_url) as (_, url):
        tell(url, said)
        wait_until(connection, tip_height, 40)
    live = "SELECT generation FROM clarion.protocol WHERE name = 'ledger'"
    with indexer(database_url, "ledger") as (_, url):  # ended by a kill, whatever it has begun
        said += (more := posts_of(chain.grow(3)))
        tell(url, more)
    with indexer(database_url, "ledger") as (started, url):
        said += (more := posts_of(chain.grow(4, branch="b", on=chain.block(42))))
        tell(url, more)
        wait_until(connection, live, 1)
        said += (more := posts_of(chain.grow(5, branch="c", on=chain.block(44))))
        tell(url, more)
        wait_until(connection, tip_height, 49)
        started.send_signal(signal.SIGTERM)
        assert started.wait(DEADLINE_SECONDS) == 0
    with connect(other_database_url, autocommit=True) as other:
        ingest(opened(other, BOTH), [item for path, body in said for item in blocks_in(path, body)])
        assert state(connection) == state(other)


def blocks_in(path: str, body: bytes) -> list[Block | BurnBlock]:
    return [item for item in decode_post(path, body) if isinstance(item, Block | BurnBlock)]


def definitions(connection: psycopg.Connection[Any], schema: str) -> dict[str, list[tuple[Any, ...]]]:
    """What the tables of a schema are made of."""
    queries = {
        "columns": "SELECT table_name, column_name, data_type, numeric_precision, numeric_scale, is_nullable, "
        "column_default FROM information_schema.columns WHERE table_schema = %s ORDER BY 1, 2",
        "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = %s ORDER BY 1, 2",
        "constraints": "SELECT table_name, constraint_name, constraint_type FROM information_schema.table_constraints "
        "WHERE table_schema = %s AND constraint_type <> 'CHECK' ORDER BY 1, 2",
    }
    return {what: connection.execute(query.encode(), (schema,)).fetchall() for what, query in queries.items()}


def test_a_protocol_with_migrations_is_rebuilt_as_they_make_it(recorded_copy_url: str) -> None:
    deployed = bithedge.deployed_by(BITHEDGE_DEPLOYER.address)
    with connect(recorded_copy_url, autocommit=True) as connection:
        before = everything_of(connection, deployed)
        assert sum(map(len, before[1].values())) > 100

        fill_all(recorded_copy_url, deployed, forced=True)
        store = opened(connection, [deployed])
        assert switch(store, deployed)
        assert everything_of(connection, deployed) == before


def everything_of(connection: psycopg.Connection[Any], deployed: DeployedProtocol) -> tuple[Any, ...]:
    """The tables of BitHedge, what is in them, and every block's digest."""
    digests = "SELECT height, clarion.digest_at('stacks', height) FROM clarion.canonical_block ORDER BY height"
    return (
        definitions(connection, "bithedge"),
        tables_of(connection, deployed),
        connection.execute(digests).fetchall(),
    )


@pytest.mark.usefixtures("installed_ledger")
def test_the_commands_list_protocols_and_make_one_anew(
    connection: psycopg.Connection[Any],
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CLARION_DATABASE_URL", database_url)
    monkeypatch.setenv("CLARION_PROTOCOLS", "ledger")
    monkeypatch.setenv("CLARION_DEPLOYERS__LEDGER", toy.DEPLOYER)

    def run(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as exit_:
            cli.app(list(arguments))
        assert isinstance(exit_.value.code, int)
        said = capsys.readouterr()
        return exit_.value.code, said.out + said.err

    def listed() -> tuple[Any, ...]:
        code, said = run("protocols", "--json")
        assert code == 0
        (one,) = [one for one in json.loads(said) if one["name"] == "ledger"]
        return one["state"], one["generation"], one["height"], one["filled_height"], one["rows"]

    chain = Chain()
    ingest(opened(connection, BOTH[:1]), chain.grow(30))
    assert listed() == ("waiting", 0, None, None, {})
    with connect(database_url, autocommit=True) as own:
        Filling(own, "stacks", BOTH[1], chunk_blocks=3).step()
    assert listed() == ("filling", 0, None, 3, {})
    code, said = run("backfill", "ledger")
    assert (code, "ledger is filled in" in said) == (0, True)
    final = connection.execute("SELECT final_height FROM clarion.cursor").fetchone()
    assert final is not None
    assert listed() == ("ready", 0, None, final[0], {})
    store = opened(connection, BOTH)
    assert switch(store, BOTH[1])
    rows = {"entry": len(rows_of(connection, "ledger.entry")), "total": 1}
    assert listed() == ("live", 1, 30, None, rows)
    code, said = run("protocols")
    assert (code, "ledger" in said) == (0, True)
    opened(connection, BOTH[:1])
    assert listed()[0] == "waiting", "it was not enabled when the index was last opened"
    monkeypatch.setenv("CLARION_PROTOCOLS", "")
    monkeypatch.delenv("CLARION_DEPLOYERS__LEDGER")
    assert listed()[0] == "stopped"
    code, said = run("backfill", "ledger")
    assert (code, "not enabled" in said) == (2, True)
