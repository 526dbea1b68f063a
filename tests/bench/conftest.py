"""A database as `clarion` itself runs one, on a disk: what is measured with the tests' own would say too much."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clarion.store.database import create_database, drop_database, migrate, with_database
from clarion.store.embedded import DEVELOPMENT_SETTINGS, EmbeddedPostgres


@pytest.fixture(scope="session")
def bench_server() -> Iterator[str]:
    """URL of the server's own database."""
    with tempfile.TemporaryDirectory(prefix="clarion-bench-") as folder:
        Path(folder).chmod(0o711)
        server = EmbeddedPostgres(Path(folder) / "postgres", settings=DEVELOPMENT_SETTINGS)
        server.start()
        try:
            yield server.url("postgres")
        finally:
            server.remove()


@pytest.fixture
def new_index(bench_server: str) -> Iterator[Callable[[], str]]:
    """Function that makes an empty index and gives its URL."""
    names = (f"bench_{number}" for number in itertools.count())
    made: list[str] = []

    def make() -> str:
        url = with_database(bench_server, next(names))
        create_database(url)
        migrate(url)
        made.append(url)
        return url

    yield make
    for url in made:
        drop_database(url)
