"""A database as `clarion` itself runs one, on a disk: what is measured with the tests' own would say too much."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bench.report import Report

from clarion.store.database import create_database, drop_database, migrate, with_database
from clarion.store.embedded import DEVELOPMENT_SETTINGS, EmbeddedPostgres


@pytest.fixture(scope="session")
def report() -> Iterator[Report]:
    """What was found; printed at the end."""
    report = Report()
    yield report
    report.say(f"\n\n{report.markdown()}\n")


@pytest.fixture(scope="session")
def bench_folder() -> Iterator[Path]:
    """Where generated chains are: `CLARION_BENCH_DIR`, which keeps them, or a folder of this run's own."""
    if configured := os.environ.get("CLARION_BENCH_DIR"):
        Path(configured).mkdir(parents=True, exist_ok=True)
        yield Path(configured)
        return
    with tempfile.TemporaryDirectory(prefix="clarion-bench-") as folder:
        Path(folder).chmod(0o711)  # where root runs this, Postgres runs as another account
        yield Path(folder)


@pytest.fixture(scope="session")
def bench_server(bench_folder: Path) -> Iterator[str]:
    """URL of the server's own database."""
    with tempfile.TemporaryDirectory(prefix="server-", dir=bench_folder) as folder:
        Path(folder).chmod(0o711)
        server = EmbeddedPostgres(Path(folder) / "postgres", settings=DEVELOPMENT_SETTINGS)
        server.start()
        try:
            yield server.url("postgres")
        finally:
            server.remove()


@pytest.fixture
def new_index(bench_server: str) -> Iterator[Callable[[], str]]:
    """Function that makes an empty index and gives its URL. The one before is dropped: Postgres would tidy it up."""
    names = (f"bench_{number}" for number in itertools.count())
    made: list[str] = []

    def drop() -> None:
        while made:
            drop_database(made.pop())

    def make() -> str:
        drop()
        url = with_database(bench_server, next(names))
        create_database(url)
        migrate(url)
        made.append(url)
        return url

    yield make
    drop()
