"""What the end-to-end tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from clarion.store.database import create_database, drop_database, with_database


@pytest.fixture
def second_database_url(database_url: str, postgres_url: str, template_database: str) -> Iterator[str]:
    """URL of another migrated database, for an index made afresh."""
    url = with_database(postgres_url, f"{template_database}_second")
    create_database(url, template=template_database)
    yield url
    drop_database(url)
