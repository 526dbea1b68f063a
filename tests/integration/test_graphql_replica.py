"""Two servers that read a streaming replica: what they tell, and what they do while it lags, restarts or is gone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest
from psycopg import AsyncConnection
from starlette.applications import Starlette
from support import toy
from support.graphql import Messages, Server
from support.replica import Cluster, cluster

from clarion.chains.model import Block
from clarion.follower import Follower
from clarion.store.database import connect, create_database, migrate
from clarion.store.store import Store
from clarion_graphql.feed import Feed

DATABASE = "clarion"
BLOCKS = "subscription ($since: BigInt) { blocks(since: $since) { sequence op block { height } } }"
TIP = "{ status { chains { receipt { height sequence } } } }"
QUIET_S = 0.5
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def servers(open_folder: Path) -> Iterator[Cluster]:
    folder = open_folder / "streaming"
    folder.mkdir(mode=0o711)
    with cluster(folder) as running:
        url = running.primary.url(DATABASE)
        create_database(url)
        migrate(url)
        with connect(url) as connection:
            toy.create_tables(connection)
        yield running


class Chain:
    """The primary's index of a chain that grows when told to."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._tip: Block | None = None

    @property
    def height(self) -> int:
        return 0 if self._tip is None else self._tip.height

    def grow(self) -> int:
        """Add a block, and say its height."""
        self._tip = toy.block(self._tip, [toy.move("alice", 1)])
        with connect(self._url, autocommit=True) as connection:
            store = Store(connection, "stacks", [toy.deployed()])
            store.open()
            with store.batch() as batch:
                Follower().ingest(batch, [self._tip])
        return self.height


@pytest.fixture(scope="module")
def chain(servers: Cluster) -> Chain:
    chain = Chain(servers.primary.url(DATABASE))
    chain.grow()
    return chain


class Process:
    """A `clarion serve` that reads the replica."""

    def __init__(self, servers: Cluster, folder: Path) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CLARION_")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "clarion", "serve", "--port", "0"],
            cwd=folder,
            env=environment
            | {
                "CLARION_DATABASE_URL": servers.primary.url(DATABASE),
                "CLARION_GRAPHQL__DATABASE_URL": servers.either(DATABASE),
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr is not None
        said = []
        for line in self._process.stderr:
            said.append(line)
            if found := re.search(r"url=http://([0-9.:]+)/graphql", line):
                self.address = found[1]
                return
        raise AssertionError("".join(said))

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Server]:
        async with httpx.AsyncClient(base_url=f"http://{self.address}", timeout=30) as client:
            yield Server(client, f"ws://{self.address}/graphql", Starlette())

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


Start = Callable[[], Process]


@pytest.fixture(scope="module")
def start(servers: Cluster, chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts servers, which end with the tests."""
    started: list[Process] = []

    def start_one() -> Process:
        started.append(Process(servers, tmp_path_factory.mktemp("server")))
        return started[-1]

    yield start_one
    for process in started:
        process.kill()


@pytest.fixture(scope="module")
def processes(start: Start) -> tuple[Process, Process]:
    return start(), start()


@pytest.fixture
async def first(processes: tuple[Process, Process]) -> AsyncIterator[Server]:
    async with processes[0].client() as server:
        yield server


@pytest.fixture
async def second(processes: tuple[Process, Process]) -> AsyncIterator[Server]:
    async with processes[1].client() as server:
        yield server


async def tip(server: Server) -> int | None:
    """The height of the index as a server answers."""
    (chain,) = (await server.data(TIP))["status"]["chains"]
    height: int | None = chain["receipt"]["height"]
    return height


async def caught_up(server: Server, height: int) -> None:
    """Wait until a server answers of a block."""
    await server.data(f"query @minBlock(height: {height}) {TIP}")


def applications(url: str) -> set[str]:
    """What is connected to a database."""
    with connect(url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT application_name FROM pg_stat_activity WHERE datname = current_database()"
        ).fetchall()
    return {name for (name,) in found}


async def heights(messages: Messages, count: int) -> list[int]:
    """The heights of the next blocks that a subscription tells of."""
    return [(await messages.next())["block"]["height"] for _ in range(count)]


async def test_reads_go_to_the_replica_and_only_the_listener_to_the_primary(
    servers: Cluster, chain: Chain, first: Server
) -> None:
    await caught_up(first, chain.grow())
    assert "clarion graphql" in applications(servers.replica.url(DATABASE))
    on_primary = applications(servers.primary.url(DATABASE))
    assert "clarion graphql feed" in on_primary
    assert "clarion graphql" not in on_primary


async def test_nothing_is_told_before_it_can_be_read(
    servers: Cluster, chain: Chain, first: Server, second: Server
) -> None:
    height = chain.height
    for server in (first, second):
        await caught_up(server, height)
    async with first.subscribe(BLOCKS) as one, second.subscribe(BLOCKS) as other:
        assert await heights(one, 1) == await heights(other, 1) == [height]
        servers.pause()
        try:
            chain.grow()
            chain.grow()
            for messages in (one, other):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(messages.socket.recv(), QUIET_S)
            assert await tip(first) == await tip(second) == height
            waiting = asyncio.create_task(first.data(f"query @minBlock(height: {height + 2}) {TIP}"))
        finally:
            servers.resume()
        for server, messages in ((first, one), (second, other)):
            for told in (height + 1, height + 2):
                assert await heights(messages, 1) == [told]
                assert await tip(server) in range(told, height + 3)
        assert (await waiting)["status"]["chains"][0]["receipt"]["height"] == height + 2


async def test_a_client_goes_on_at_another_server(chain: Chain, start: Start, second: Server) -> None:
    process = start()
    async with process.client() as server:
        await caught_up(server, chain.height)
        async with server.subscribe(BLOCKS) as messages:
            await messages.next()
            height = chain.grow()
            message = await messages.next()
            assert message["block"]["height"] == height
            process.kill()
    chain.grow()
    async with second.subscribe(BLOCKS, {"since": message["sequence"]}) as messages:
        chain.grow()
        assert await heights(messages, 2) == [height + 1, height + 2]


async def test_while_the_replica_is_gone_the_primary_answers(
    servers: Cluster, chain: Chain, first: Server, start: Start
) -> None:
    await caught_up(first, chain.height)
    async with first.subscribe(BLOCKS) as messages:
        await messages.next()
        servers.replica.stop()
        try:
            height = chain.grow()
            assert await heights(messages, 1) == [height]
            assert await tip(first) == height
            assert (await first.client.get("/readyz")).status_code == 200
        finally:
            servers.replica.start()
        height = chain.grow()
        assert await heights(messages, 1) == [height]
    async with start().client() as late:
        await caught_up(late, height)
        assert "clarion graphql" in applications(servers.replica.url(DATABASE))


async def test_while_the_primary_is_gone_the_replica_answers(servers: Cluster, chain: Chain, start: Start) -> None:
    async with start().client() as server:
        await caught_up(server, chain.height)
        async with server.subscribe(BLOCKS) as messages:
            await messages.next()
            servers.primary.stop()
            try:
                assert await tip(server) == chain.height
            finally:
                servers.primary.start()
            height = chain.grow()
            assert await heights(messages, 1) == [height]


async def test_the_end_of_the_log_is_reached_also_at_the_end_of_a_page(servers: Cluster, chain: Chain) -> None:
    url = servers.primary.url(DATABASE)
    feed = Feed(url, servers.replica.url(DATABASE))
    async with await AsyncConnection.connect(url, autocommit=True) as connection, asyncio.timeout(10):
        for _ in range(3):
            await connection.execute("SELECT pg_switch_wal()")
            await feed._wait_for_replica(connection)
            chain.grow()
    assert feed._replica is not None
    await feed._replica.close()


async def test_what_is_written_goes_to_the_primary(first: Server) -> None:
    document = 'mutation ($address: String!) { createSignInMessage(address: $address, host: "localhost") { message } }'
    message = (await first.data(document, {"address": toy.DEPLOYER}))["createSignInMessage"]["message"]
    assert message.startswith("localhost wants you to sign in")
