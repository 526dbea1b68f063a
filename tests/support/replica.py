"""A Postgres that streams to a replica, both of the wheel's binaries, over Unix sockets."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, quote, urlsplit

import psycopg

from clarion.store.embedded import SOCKET_NAME, TEST_SETTINGS, EmbeddedPostgres

#: What a server that streams needs beside what every test's server has.
STREAMING: Final[Mapping[str, str]] = {
    **TEST_SETTINGS,
    "wal_level": "replica",
    "max_wal_senders": "4",
    "wal_writer_delay": "10ms",
    "hot_standby_feedback": "on",
}


@dataclass(frozen=True, slots=True)
class Cluster:
    """A primary and its replica, both running."""

    primary: EmbeddedPostgres
    replica: EmbeddedPostgres

    def either(self, database: str) -> str:
        """URL of the replica, or of the primary while the replica does not answer."""
        places = [parse_qs(urlsplit(server.url(database)).query) for server in (self.replica, self.primary)]
        hosts, ports = (",".join(place[name][0] for place in places) for name in ("host", "port"))
        return (
            f"postgresql://postgres@/{database}?host={quote(hosts, safe='')}&port={ports}"
            f"&target_session_attrs=prefer-standby"
        )

    def pause(self) -> None:
        """Let the replica fall behind: it receives and does not apply."""
        with psycopg.connect(self.replica.url("postgres"), autocommit=True) as connection:
            connection.execute("SELECT pg_wal_replay_pause()")
            while connection.execute("SELECT pg_get_wal_replay_pause_state()").fetchone() != ("paused",):
                pass

    def resume(self) -> None:
        """Let the replica catch up."""
        with psycopg.connect(self.replica.url("postgres"), autocommit=True) as connection:
            connection.execute("SELECT pg_wal_replay_resume()")


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """A new primary with a replica, in a folder that other accounts may enter."""
    primary = EmbeddedPostgres(folder / "primary", settings=STREAMING)
    replica = EmbeddedPostgres(folder / "replica", settings=STREAMING)
    try:
        primary.start()
        _copy(primary, folder / "primary", folder / "replica")
        replica.start()
        yield Cluster(primary, replica)
    finally:
        replica.remove()
        primary.remove()


def _copy(primary: EmbeddedPostgres, source: Path, target: Path) -> None:
    """Make a base backup that follows the primary, as the account that the primary runs as."""
    owner = source.stat()
    target.mkdir(mode=0o700)
    os.chown(target, owner.st_uid, owner.st_gid)
    program = Path(f"/proc/{_postmaster(source)}/exe").resolve().with_name("pg_basebackup")
    command = [str(program), "--dbname", primary.url("postgres"), "--pgdata", str(target)]
    as_owner = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    subprocess.run(
        [*command, "--wal-method", "stream", "--write-recovery-conf", "--checkpoint", "fast", "--no-sync"],
        check=True,
        cwd="/",
        stderr=subprocess.DEVNULL,  # that it leaves the socket out
        **as_owner,  # type: ignore[call-overload]
    )
    (target / f"{SOCKET_NAME}.lock").unlink()


def _postmaster(data_dir: Path) -> int:
    return int((data_dir / "postmaster.pid").read_text().splitlines()[0])
