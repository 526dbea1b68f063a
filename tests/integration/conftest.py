"""What tests against a real Postgres share: a connection, the toy protocol's tables, a store and GraphQL over it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest
from support import toy
from support.graphql import Server, answering, toy_app, toy_store

from clarion.store.database import connect
from clarion.store.generation import make_tables
from clarion.store.store import Store


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection to the test's own database, in autocommit mode."""
    with connect(database_url, autocommit=True) as opened:
        yield opened


@pytest.fixture
def toy_tables(connection: psycopg.Connection[Any]) -> None:
    """The toy protocol's tables, empty."""
    toy.create_tables(connection)


@pytest.fixture
def toy_generation(connection: psycopg.Connection[Any]) -> None:
    """The same as an index makes them."""
    make_tables(connection, toy.toy, "toy")


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """A store of the toy protocol, open."""
    with toy_store(database_url) as opened:
        yield opened


@pytest.fixture
async def server(database_url: str, store: Store) -> AsyncIterator[Server]:
    """GraphQL over what ``store`` writes."""
    async with answering(toy_app(database_url)) as running:
        yield running
