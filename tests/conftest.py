"""What tests share: a Postgres with a fresh database per test, recorded chains, Node, and a devnet."""

import contextlib
import itertools
import json
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import hypothesis
import psutil
import pytest

from clarion.dev.accounts import DEPLOYER
from clarion.dev.record import RECORDING
from clarion.node import find_node
from clarion.protocols.bithedge import protocol as bithedge
from clarion.replay import replay
from clarion.store.database import create_database, drop_database, migrate, with_database
from clarion.store.embedded import TEST_SETTINGS, EmbeddedPostgres

# how long an example takes says how busy the machine is
hypothesis.settings.register_profile("clarion", deadline=None, max_examples=50)
hypothesis.settings.register_profile("long", deadline=None, max_examples=300)
hypothesis.settings.load_profile("clarion")

REPOSITORY = Path(__file__).resolve().parent.parent
DEVNET_PROGRAM = REPOSITORY / "contracts" / "devnet" / "main.js"
DEVNET_START_TIMEOUT_S = 60
DEVNET_STOP_TIMEOUT_S = 20
TEMPORARY_PREFIX = "clarion-tests-"
ROOM_FOR_DATABASES = 2 << 30  # bytes


@pytest.fixture(scope="session")
def open_folder() -> Iterator[Path]:
    """A fast folder that other accounts may enter: where root runs the tests, Postgres runs as another one."""
    base = _fast_temporary_folder()
    _remove_what_killed_sessions_left(base)
    with tempfile.TemporaryDirectory(prefix=f"{TEMPORARY_PREFIX}{os.getpid()}-", dir=base) as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


@pytest.fixture(scope="session")
def postgres_url(open_folder: Path) -> Iterator[str]:
    """URL of a Postgres server's own database: `CLARION_TEST_DATABASE_URL`, or an embedded server of this session."""
    if configured := os.environ.get("CLARION_TEST_DATABASE_URL"):
        yield configured
        return
    server = EmbeddedPostgres(open_folder / "postgres", settings=TEST_SETTINGS)
    try:
        server.start()
        yield server.url("postgres")
    finally:
        server.remove()


def _fast_temporary_folder() -> Path:
    """Folder in memory where there is one with room: a database there is made ten times as fast as on a busy disk."""
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > ROOM_FOR_DATABASES:
        return memory
    return Path(tempfile.gettempdir())


def _remove_what_killed_sessions_left(base: Path) -> None:
    for folder in base.glob(f"{TEMPORARY_PREFIX}*-*"):
        pid = int(folder.name.removeprefix(TEMPORARY_PREFIX).partition("-")[0])
        if folder.stat().st_uid == os.geteuid() and not psutil.pid_exists(pid):
            with contextlib.suppress(FileNotFoundError):  # another session removes it as well
                EmbeddedPostgres(folder / "postgres").remove()
                shutil.rmtree(folder)


@pytest.fixture(scope="session")
def template_database(postgres_url: str) -> Iterator[str]:
    """Name of a migrated database without rows, to be copied and not connected to."""
    name = f"clarion_template_{os.getpid()}"
    url = with_database(postgres_url, name)
    create_database(url)
    try:
        migrate(url)
        yield name
    finally:
        drop_database(url)


@pytest.fixture(scope="session")
def recorded_template(postgres_url: str, template_database: str) -> Iterator[str]:
    """Name of a database with BitHedge's recorded run, to be copied and not connected to."""
    name = f"{template_database}_recorded"
    url = with_database(postgres_url, name)
    create_database(url, template=template_database)
    try:
        replay(RECORDING, url, [bithedge.deployed_by(DEPLOYER.address)])
        yield name
    finally:
        drop_database(url)


class DatabaseOfItsOwn(Protocol):
    """Makes a database, and drops it where the context ends."""

    def __call__(self, template: str | None = None) -> contextlib.AbstractContextManager[str]:
        """URL of a copy of ``template``, or of a database without tables."""


@pytest.fixture(scope="session")
def database_of_its_own(postgres_url: str) -> DatabaseOfItsOwn:
    """Function that makes a database that nobody else uses."""
    numbers = itertools.count()

    @contextlib.contextmanager
    def make(template: str | None = None) -> Iterator[str]:
        url = with_database(postgres_url, f"clarion_test_{os.getpid()}_{next(numbers)}")
        create_database(url, template=template)
        yield url
        drop_database(url)

    return make


@pytest.fixture
def empty_database_url(database_of_its_own: DatabaseOfItsOwn) -> Iterator[str]:
    """URL of a database of this test's own, without tables."""
    with database_of_its_own() as url:
        yield url


@pytest.fixture
def database_url(database_of_its_own: DatabaseOfItsOwn, template_database: str) -> Iterator[str]:
    """URL of a migrated database of this test's own."""
    with database_of_its_own(template_database) as url:
        yield url


@pytest.fixture
def other_database_url(database_of_its_own: DatabaseOfItsOwn, template_database: str) -> Iterator[str]:
    """URL of another one."""
    with database_of_its_own(template_database) as url:
        yield url


@pytest.fixture(scope="session")
def recorded_bithedge_url(database_of_its_own: DatabaseOfItsOwn, recorded_template: str) -> Iterator[str]:
    """URL of a database with BitHedge's recorded run, for tests that only read chain data."""
    with database_of_its_own(recorded_template) as url:
        yield url


@pytest.fixture
def recorded_copy_url(database_of_its_own: DatabaseOfItsOwn, recorded_template: str) -> Iterator[str]:
    """URL of such a database of this test's own."""
    with database_of_its_own(recorded_template) as url:
        yield url


@pytest.fixture(scope="session")
def chain_data() -> Path:
    """Folder of recorded chains: `CLARION_TEST_DATA`, or `shared/data` beside the checkout; skips without one."""
    folder = Path(os.environ.get("CLARION_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no recorded chains in {folder}; CLARION_TEST_DATA names another folder")
    return folder


@pytest.fixture(scope="session")
def node_command() -> list[str]:
    """Command line that runs Node.js; add the program and its arguments."""
    return [str(find_node())]


@dataclass(frozen=True)
class Devnet:
    """A running devnet."""

    url: str
    state: Path
    process: subprocess.Popen[str]

    def stop(self) -> int:
        """Ask it to end, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEVNET_STOP_TIMEOUT_S)

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait(DEVNET_STOP_TIMEOUT_S)


@pytest.fixture
def start_devnet(node_command: list[str], tmp_path: Path) -> Iterator[Callable[..., Devnet]]:
    """Function that starts a devnet that mines when asked to: `start_devnet(observer=URL, seed=1, state=FOLDER)`.

    Every devnet that a test started is stopped when it ends.
    """
    numbers = itertools.count()
    with contextlib.ExitStack() as running:

        def start(*options: str, observer: str | None = None, seed: int = 1, state: Path | None = None) -> Devnet:
            number = next(numbers)
            folder = state or tmp_path / f"devnet-{number}"
            command = [*node_command, str(DEVNET_PROGRAM), "--host", "127.0.0.1", "--port", "0"]
            command += [
                "--block-interval-ms",
                "0",
                "--burn-interval-ms",
                "0",
                "--seed",
                str(seed),
                "--state",
                str(folder),
            ]
            command += ["--observer", observer] if observer else []
            log_path = tmp_path / f"devnet-{number}.log"
            log = running.enter_context(log_path.open("w"))
            process = running.enter_context(
                subprocess.Popen([*command, *options], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=log, text=True)
            )
            running.callback(process.kill)
            url = _wait_until_ready(process, log_path)
            return Devnet(url, folder, process)

        yield start


@pytest.fixture
def devnet(start_devnet: Callable[..., Devnet]) -> Devnet:
    """A devnet that mines when asked to and tells no observer."""
    return start_devnet()


def _wait_until_ready(process: subprocess.Popen[str], log_path: Path) -> str:
    """URL that the devnet says it is ready at; what it prints later is read and dropped."""
    assert process.stdout is not None
    output = process.stdout
    ready: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in output:
            with contextlib.suppress(json.JSONDecodeError):
                message = json.loads(line)
                if message.get("event") == "ready":
                    ready.put(message["url"])
        ready.put(None)

    threading.Thread(target=read, daemon=True).start()
    try:
        url = ready.get(timeout=DEVNET_START_TIMEOUT_S)
    except queue.Empty:
        url = None
    if url is None:
        raise RuntimeError(f"The devnet did not become ready. It said:\n{log_path.read_text()}")
    return url
