"""The event observer and the index service: what a node posts is kept, applied once, and never lost."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from support import index_process, toy
from support.index_service import (
    DEADLINE_SECONDS,
    FakeNode,
    Running,
    chain,
    counted,
    fresh_index,
    index_of,
    payload,
    running,
    served,
    settings_for,
    until,
)
from support.node_posts import (
    block_payload,
    body,
    burn_payload,
    hex_of,
    moves_payload,
    print_event,
    signed_call,
    transaction_entry,
)

from clarion import fetcher, indexing
from clarion.chains.model import Block
from clarion.chains.stacks import clarity as cl
from clarion.chains.stacks.observer import observer_app
from clarion.config import ConfigurationError, Node, Observer, Settings
from clarion.indexing import deployed_protocols, run_indexer
from clarion.serving import ServiceError
from clarion.store.database import connect, create_database, migrate
from clarion.store.embedded import TEST_SETTINGS, EmbeddedPostgres
from clarion.store.store import FencedOutError
from clarion.worker import Worker

pytestmark = pytest.mark.usefixtures("toy_tables")


async def test_what_a_node_posts_is_indexed_and_counted(database_url: str, connection: psycopg.Connection[Any]) -> None:
    blocks = chain(5)
    blocks_before = counted("clarion_indexed_blocks_total", chain="stacks")
    events_before = counted("clarion_indexed_events_total", chain="stacks")
    posts_before = counted("clarion_observer_posts_total", path="/new_block", status="200")
    async with running(settings_for(database_url)) as node:
        assert (await node.post("/new_burn_block", body(burn_payload(toy.burn_block(1))))).status_code == 200
        for block in blocks:
            assert (await node.post("/new_block", payload(block))).status_code == 200
        health = await node.until_height(5)
    assert (health["ready"], health["reasons"]) == (True, [])
    assert (health["chain"], health["hash"]) == ("stacks", hex_of(blocks[-1].hash))
    assert (health["inbox_failed"], health["missing_blocks"], health["lag_blocks"]) == (0, [], 0)
    assert index_of(connection) == fresh_index(connection, blocks)
    assert connection.execute("SELECT count(*) FROM clarion.inbox").fetchone() == (0,)
    assert counted("clarion_indexed_blocks_total", chain="stacks") - blocks_before == 5
    assert counted("clarion_indexed_events_total", chain="stacks") - events_before == 5
    assert counted("clarion_observer_posts_total", path="/new_block", status="200") - posts_before == 5
    assert counted("clarion_index_height", chain="stacks") == 5


async def test_answers_are_what_a_nodes_strict_parser_accepts(
    database_url: str, connection: psycopg.Connection[Any]
) -> None:
    content = payload(chain(1)[0])
    async with running(settings_for(database_url)) as node:
        host, port = node.url.removeprefix("http://").split(":")
        for path, sent in (("/new_block", content), ("/attachments/new", b"[]"), ("/proposal_response", b"{}")):
            reader, writer = await asyncio.open_connection(host, int(port))
            head = f"POST {path} HTTP/1.1\r\nHost: observer\r\nContent-Type: application/json\r\nConnection: close\r\n"
            writer.write(f"{head}Content-Length: {len(sent)}\r\n\r\n".encode() + sent)
            answer = await reader.read()  # to the end: the connection is closed as asked
            writer.close()
            await writer.wait_closed()
            preamble, _, text = answer.partition(b"\r\n\r\n")
            status, *lines = preamble.decode("ascii").split("\r\n")
            names = [line.split(": ")[0].lower() for line in lines]
            headers = dict(line.lower().split(": ", 1) for line in lines)
            assert status == "HTTP/1.1 200 OK"
            assert len(names) == len(set(names))
            assert headers["content-type"] == "application/json"
            assert int(headers["content-length"]) == len(text) > 0
            assert len(preamble) <= 4096


@pytest.mark.parametrize(
    "path",
    [
        "/attachments/new",
        "/new_microblocks",
        "/stackerdb_chunks",
        "/proposal_response",
        "/mined_block",
        "/mined_nakamoto_block",
        "/",
        "/something/new",
    ],
)
async def test_posts_without_use_are_accepted_and_not_kept(
    path: str, database_url: str, connection: psycopg.Connection[Any]
) -> None:
    async with running(settings_for(database_url)) as node:
        assert (await node.post(path, b"\xff" * 100_000)).status_code == 200
    assert connection.execute("SELECT count(*) FROM clarion.inbox").fetchone() == (0,)


async def test_only_posts_are_posts(database_url: str, connection: psycopg.Connection[Any]) -> None:
    async with running(settings_for(database_url)) as node:
        assert (await node.client.get("/new_block")).status_code == 405
        assert (await node.client.put("/new_block", content=b"{}")).status_code == 405
    assert connection.execute("SELECT count(*) FROM clarion.inbox").fetchone() == (0,)


async def test_the_content_type_and_transfer_encoding_do_not_matter(
    database_url: str, connection: psycopg.Connection[Any]
) -> None:
    first, second = chain(2)

    async def in_chunks() -> AsyncIterator[bytes]:
        content = payload(second)
        for start in range(0, len(content), 100):
            yield content[start : start + 100]

    async with running(settings_for(database_url)) as node:
        answer = await node.client.post("/new_block", content=payload(first), headers={"content-type": "text/html"})
        assert answer.status_code == 200
        assert (await node.client.post("/new_block", content=in_chunks())).status_code == 200
        await node.until_height(2)


async def test_what_cannot_be_read_is_put_aside_with_the_reason_and_the_rest_goes_on(
    database_url: str, connection: psycopg.Connection[Any]
) -> None:
    first, second = chain(2)
    rubbish = {
        b"": "not JSON",
        b"\xff\xfe": "not JSON",
        payload(first)[:-30]: "not JSON",
        body(moves_payload(first) | {"block_height": "one"}): "block one .*block_height",
        body(moves_payload(first) | {"index_block_hash": "0x12"}): "expected 32 bytes",
    }
    async with running(settings_for(database_url)) as node:
        for content in rubbish:
            assert (await node.post("/new_block", content)).status_code == 200
        for block in (first, second):
            assert (await node.post("/new_block", payload(block))).status_code == 200
        health = await node.until_height(2)
    assert (health["ready"], health["inbox_failed"]) == (False, len(rubbish))
    assert health["reasons"] == [f"{len(rubbish)} posts could not be applied: see clarion status"]
    kept = connection.execute("SELECT body, error FROM clarion.inbox ORDER BY id").fetchall()
    assert [content for content, _ in kept] == list(rubbish)
    for (_, error), complaint in zip(kept, rubbish.values(), strict=True):
        assert error is not None
        with pytest.raises(AssertionError, match=complaint):
            raise AssertionError(error)


async def test_what_postgres_refuses_is_put_aside_alone(database_url: str, connection: psycopg.Connection[Any]) -> None:
    first, second = chain(2)
    call = signed_call(1)
    event = print_event(hex_of(call.txid), 0, cl.UInt(5), contract="SP000\x00.nul")
    poison = body(block_payload(toy.block(first, branch="b"), [transaction_entry(call)], [event]))
    worker = Worker(database_url, [toy.deployed()], start_height=0)
    worker.connect()
    with connection.transaction():
        for content in (payload(first), poison, payload(second)):
            connection.execute("INSERT INTO clarion.inbox (path, body) VALUES ('/new_block', %s)", (content,))
    applied = worker.apply_pending()
    assert (applied.posts, applied.failed, [ref.height for ref in applied.blocks]) == (3, 1, [1, 2])
    ((content, error),) = connection.execute("SELECT body, error FROM clarion.inbox").fetchall()
    assert content == poison
    assert "0x00" in error
    assert worker.apply_pending().posts == 0
    worker.close()


async def test_a_topic_of_any_length_stops_nothing(database_url: str, connection: psycopg.Connection[Any]) -> None:
    """Anyone can print what does not fit into an index."""
    call = signed_call(1)
    printed = cl.Tuple({"topic": cl.StringAscii("".join(chr(33 + n * n % 90) for n in range(50_000)))})
    event = print_event(hex_of(call.txid), 0, printed)
    (block,) = chain(1)
    async with running(settings_for(database_url)) as node:
        await node.post("/new_block", body(block_payload(block, [transaction_entry(call)], [event])))
        await node.until_height(1)
    assert connection.execute("SELECT topic FROM clarion.event").fetchall() == [("print",)]


async def test_posts_put_aside_are_tried_again_by_the_next_service(
    database_url: str, connection: psycopg.Connection[Any]
) -> None:
    (block,) = chain(1)
    connection.execute(
        "INSERT INTO clarion.inbox (path, body, error) VALUES ('/new_block', %s, 'read by an older version'), "
        "('/new_block', '', 'too large to keep')",
        (payload(block),),
    )
    async with running(settings_for(database_url)) as node:
        await node.until_height(1)
    assert connection.execute("SELECT error FROM clarion.inbox").fetchall() == [("too large to keep",)]


async def test_the_mempool_is_followed(database_url: str, connection: psycopg.Connection[Any]) -> None:
    (block,) = chain(1)
    mined = moves_payload(block, [toy.move("alice", 1)])
    other, replacing = signed_call(1), signed_call(2)
    async with running(settings_for(database_url)) as node:
        raws = [mined["transactions"][0]["raw_tx"], hex_of(other.encode())]
        await node.post("/new_mempool_tx", body(raws))
        drop = {"dropped_txids": [hex_of(other.txid)], "reason": "ReplaceByFee", "new_txid": hex_of(replacing.txid)}
        await node.post("/drop_mempool_tx", body(drop))
        await node.post("/new_block", body(mined))
        await node.until_height(1)
        rows = connection.execute(
            "SELECT tx_id, sender, nonce, fee, dropped_reason, replaced_by FROM clarion.mempool_transaction"
        ).fetchall()
        assert rows == [(other.txid, toy.DEPLOYER, 1, 300, "ReplaceByFee", replacing.txid)]
        # It comes again, and one that is mined is announced late.
        await node.post("/new_mempool_tx", body(raws))
        await until(lambda: nothing_waits(node))
    rows = connection.execute("SELECT tx_id, dropped_reason FROM clarion.mempool_transaction").fetchall()
    assert rows == [(other.txid, None)]


async def is_well(node: Running) -> bool:
    return bool((await node.readiness())["ready"])


async def nothing_waits(node: Running) -> bool:
    return bool((await node.readiness())["inbox_pending"] == 0)


async def test_transactions_of_a_block_that_lost_are_in_the_mempool_again(
    database_url: str, connection: psycopg.Connection[Any]
) -> None:
    first = toy.block(None)
    losing = toy.block(first)
    winning = chain(2, on=first, branch="b")
    async with running(settings_for(database_url)) as node:
        for block in (first, losing, *winning):
            await node.post("/new_block", payload(block))
        await node.until_height(3)
    returned = connection.execute("SELECT tx_id FROM clarion.mempool_transaction").fetchall()
    orphaned = connection.execute("SELECT tx_id FROM clarion.transaction WHERE block_hash = %s", (losing.hash,))
    assert returned == orphaned.fetchall()
    assert len(returned) == 1


async def test_blocks_that_were_never_posted_are_asked_of_the_node(
    database_url: str, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetcher, "FETCH_DEPTH", 3)
    blocks = chain(10)
    fake = FakeNode(blocks, token="secret")
    async with (
        served(fake.app) as node_url,
        running(
            settings_for(database_url).model_copy(update={"node": Node(url=node_url, auth_token="secret")})
        ) as node,  # type: ignore[arg-type]
    ):
        await node.post("/new_block", payload(blocks[0]))
        await node.post("/new_block", payload(blocks[9]))
        await node.until_height(10)
        await until(lambda: is_well(node))
    assert fake.asked == [block.hash.hex() for block in reversed(blocks[1:9])]
    assert index_of(connection) == fresh_index(connection, blocks)
    burns = connection.execute("SELECT count(*) FROM clarion.block WHERE burn_hash IS NULL").fetchone()
    assert burns == (0,)


@pytest.mark.parametrize(
    ("token", "missing_too", "complaint"),
    [("another", False, "CLARION_NODE__AUTH_TOKEN"), (None, True, "does not have it")],
)
async def test_a_block_the_node_does_not_give_is_shown_and_what_comes_is_still_taken(
    token: str | None,
    missing_too: bool,
    complaint: str,
    database_url: str,
    connection: psycopg.Connection[Any],
) -> None:
    blocks = chain(4)
    fake = FakeNode([] if missing_too else blocks, token=token)
    async with served(fake.app) as node_url, running(settings_for(database_url, node=node_url)) as node:
        await node.post("/new_block", payload(blocks[0]))
        await node.post("/new_block", payload(blocks[3]))

        async def complained() -> bool:
            return complaint in str((await node.readiness())["reasons"])

        await until(complained)
        health = await node.readiness()
        assert health["missing_blocks"] == [hex_of(blocks[2].hash)]
        assert (health["height"], health["ready"]) == (1, False)
        for block in blocks[1:3]:
            await node.post("/new_block", payload(block))
        await node.until_height(4)
        await until(lambda: is_well(node))
    assert index_of(connection) == fresh_index(connection, blocks)


async def test_a_body_over_the_limit_is_put_aside_and_the_node_goes_on() -> None:
    kept: list[tuple[str, bytes, str | None]] = []

    async def keep(path: str, content: bytes, *, source: str, error: str | None = None) -> None:
        assert source == "observer:127.0.0.1"
        kept.append((path, content, error))

    app = observer_app(keep, max_body_bytes=1000, max_memory_bytes=2000)
    async with served(app) as url, httpx.AsyncClient(base_url=url, timeout=DEADLINE_SECONDS) as client:
        assert (await client.post("/new_block", content=b"x" * 1000)).status_code == 200
        assert (await client.post("/new_block", content=b"x" * 30_000_000)).status_code == 200
    (_, first, fine), (_, second, error) = kept
    assert (len(first), fine) == (1000, None)
    assert (second, error) == (b"", "/new_block of 30000000 bytes is larger than observer.max_body_bytes, 1000")


@pytest.mark.slow
async def test_a_genesis_of_80_mb_is_kept_whole(database_url: str, connection: psycopg.Connection[Any]) -> None:
    first, second = chain(2)
    padded = body(moves_payload(first) | {"padding": "a" * (80 << 20)})
    async with running(settings_for(database_url)) as node:
        assert (await node.post("/new_block", padded)).status_code == 200
        assert (await node.post("/new_block", payload(second))).status_code == 200
        await node.until_height(2)


async def test_a_post_cut_off_is_not_kept(database_url: str, connection: psycopg.Connection[Any]) -> None:
    (block,) = chain(1)
    async with running(settings_for(database_url)) as node:
        host, port = node.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /new_block HTTP/1.1\r\nHost: observer\r\nContent-Length: 5000\r\n\r\n{")
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        await node.post("/new_block", payload(block))
        await node.until_height(1)
    assert connection.execute("SELECT count(*) FROM clarion.inbox").fetchone() == (0,)


async def test_another_service_takes_over_and_this_one_stops(
    database_url: str, connection: psycopg.Connection[Any]
) -> None:
    first, second = chain(2)

    async def take_over() -> None:
        async with running(settings_for(database_url)) as old:
            await old.post("/new_block", payload(first))
            await old.until_height(1)
            async with running(settings_for(database_url)) as new:
                await old.post("/new_block", payload(second))
                await asyncio.wait({old.task}, timeout=DEADLINE_SECONDS)
                assert old.task.done()
                await new.post("/new_block", payload(second))
                await new.until_height(2)

    with pytest.raises(FencedOutError, match="another process writes the stacks index"):
        await take_over()
    assert index_of(connection) == fresh_index(connection, [first, second])


async def test_a_port_in_use_is_told_before_the_index_is_taken_over(
    database_url: str, connection: psycopg.Connection[Any]
) -> None:
    async with running(settings_for(database_url)) as node:
        fence = connection.execute("SELECT fence FROM clarion.cursor").fetchone()
        port = int(node.url.rpartition(":")[2])
        settings = settings_for(database_url).model_copy(update={"observer": Observer(port=port)})
        with pytest.raises(ServiceError, match=f"cannot listen on 127.0.0.1:{port}.*CLARION_OBSERVER__PORT"):
            await run_indexer(settings, protocols=[])
        assert connection.execute("SELECT fence FROM clarion.cursor").fetchone() == fence


@pytest.fixture
def own_postgres() -> Iterator[EmbeddedPostgres]:
    """A server that the test may stop and start."""
    with tempfile.TemporaryDirectory(prefix="clarion-restart-") as folder:
        Path(folder).chmod(0o711)  # where root runs the tests, Postgres runs as another account
        server = EmbeddedPostgres(Path(folder) / "postgres", settings=TEST_SETTINGS)
        try:
            server.start()
            yield server
        finally:
            server.remove()


async def test_postgres_restarts_under_load(own_postgres: EmbeddedPostgres) -> None:
    blocks = chain(60)
    url = own_postgres.url("restarted")
    create_database(url)
    migrate(url)
    with connect(url, autocommit=True) as connection:
        toy.create_tables(connection)
    async with running(settings_for(url)) as node:
        for number, block in enumerate(blocks):
            if number == 20:
                own_postgres.stop()
                assert (await node.post("/new_block", payload(block))).status_code == 503
                answer = await node.client.get("/readyz")
                assert (answer.status_code, answer.json()["ready"]) == (503, False)
                assert "the database does not answer" in str(answer.json()["reasons"])
                assert (await node.client.get("/healthz")).status_code == 200, "a restart would not help"
                assert "clarion_database_up 0.0" in (await node.client.get("/metrics")).text
                own_postgres.start()
            if number == 40:
                own_postgres.stop()
                own_postgres.start()
            await node.post_until_accepted("/new_block", payload(block))
        await node.until_height(60)
        assert (await node.readiness())["ready"]
    with connect(url, autocommit=True) as connection:
        assert index_of(connection) == fresh_index(connection, blocks)
        assert connection.execute("SELECT count(*) FROM clarion.inbox").fetchone() == (0,)


@contextlib.contextmanager
def process(database_url: str, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The service in a process of its own, and its observer's URL."""
    started = subprocess.Popen(
        [sys.executable, index_process.__file__, database_url, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert started.stdout is not None
        url = started.stdout.readline().strip()
        if not url:
            raise AssertionError(started.communicate()[1])
        yield started, url
    finally:
        started.kill()
        started.communicate()


def post(client: httpx.Client, url: str, content: bytes) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return client.post(f"{url}/new_block", content=content).status_code == 200
    return False


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=DEADLINE_SECONDS) as opened:
        yield opened


def wait_for_sequence(connection: psycopg.Connection[Any], sequence: int) -> None:
    """Wait for the commit that brings the change log to a sequence."""
    connection.execute("LISTEN clarion")

    def reached() -> bool:
        found = connection.execute("SELECT sequence FROM clarion.cursor").fetchone()
        return found is not None and found[0] >= sequence

    while not reached():
        assert list(connection.notifies(timeout=DEADLINE_SECONDS, stop_after=1)), f"change {sequence} never came"


def test_what_was_accepted_survives_a_kill_before_it_is_applied(
    database_url: str, connection: psycopg.Connection[Any], client: httpx.Client
) -> None:
    blocks = chain(5)
    with process(database_url, "never-apply") as (started, url):
        for block in blocks:
            assert post(client, url, payload(block))
        started.send_signal(signal.SIGKILL)
        started.wait(DEADLINE_SECONDS)
    assert connection.execute("SELECT count(*) FROM clarion.inbox").fetchone() == (5,)
    expected = fresh_index(connection, blocks)
    with process(database_url):
        wait_for_sequence(connection, 2 * 5)
    assert index_of(connection) == expected


class PostingNode(threading.Thread):
    """Posts blocks in order, each until it is accepted, wherever the observer is at the time."""

    def __init__(self, client: httpx.Client, blocks: Sequence[Block]) -> None:
        super().__init__(daemon=True)
        self.client = client
        self.blocks = blocks
        self.urls: queue.Queue[str] = queue.Queue()

    def run(self) -> None:
        url = self.urls.get()
        for block in self.blocks:
            while not post(self.client, url, payload(block)):
                url = self.urls.get(timeout=DEADLINE_SECONDS)


def test_killed_at_any_moment_it_loses_and_repeats_nothing(
    database_url: str, connection: psycopg.Connection[Any], client: httpx.Client
) -> None:
    trunk = chain(12)
    blocks = [*trunk, *chain(4, on=trunk[5], branch="b"), *chain(120, on=trunk[-1])]
    expected = fresh_index(connection, blocks)
    node = PostingNode(client, blocks)
    node.start()
    for kill_at in (1, 40, 150):
        with process(database_url) as (started, url):
            node.urls.put(url)
            wait_for_sequence(connection, kill_at)
            started.send_signal(signal.SIGKILL)
            started.wait(DEADLINE_SECONDS)
    with process(database_url) as (_, url):
        node.urls.put(url)
        wait_for_sequence(connection, 2 * 132)
        node.join(DEADLINE_SECONDS)
    assert index_of(connection) == expected
    assert connection.execute("SELECT count(*) FROM clarion.step").fetchone() == (132,)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_ends_well(
    number: signal.Signals, database_url: str, connection: psycopg.Connection[Any], client: httpx.Client
) -> None:
    with process(database_url) as (started, url):
        assert post(client, url, payload(chain(1)[0]))
        started.send_signal(number)
        _, errors = started.communicate(timeout=DEADLINE_SECONDS)
        assert (started.returncode, "Traceback" in errors) == (0, False), errors


def test_protocols_come_from_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "installed_protocols", lambda: {"toy": toy.toy})
    (deployed,) = deployed_protocols(Settings(protocols=["toy"], deployers={"toy": toy.DEPLOYER}))
    assert dict(deployed.contracts) == {toy.CONTRACT: "bank"}
    with pytest.raises(ConfigurationError, match="CLARION_DEPLOYERS__TOY"):
        deployed_protocols(Settings(protocols=["toy"]))
    with pytest.raises(ConfigurationError, match="nope is not installed; installed are toy"):
        deployed_protocols(Settings(protocols=["nope"]))
