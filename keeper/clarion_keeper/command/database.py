"""The database that the keeper's commands look at."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from clarion.config import Settings
from clarion.store.database import migrate, open_database


@contextlib.contextmanager
def keeper_database(settings: Settings) -> Iterator[str]:
    """URL of the database, with this version's tables."""
    with open_database(settings) as url:
        migrate(url)
        yield url
