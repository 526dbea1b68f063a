"""The database that the keeper's commands look at, and what a keeper left there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from psycopg import AsyncConnection

from clarion.config import Settings
from clarion.store.database import migrate, open_database, with_server_settings
from clarion.store.roles import require_role
from clarion_keeper.intents import Lane
from clarion_keeper.job import JobContext


@contextlib.contextmanager
def keeper_database(settings: Settings) -> Iterator[str]:
    """URL of the database with this version's tables, as the role that settings name.

    Raises:
        DatabaseError: it cannot be used, or not as that role.
    """
    role = settings.keeper.role
    with open_database(settings) as url:
        migrate(url)
        if role is None:
            yield url
        else:
            require_role(url, role)
            yield with_server_settings(url, role=role)


async def remembered_context(settings: Settings, database_url: str) -> JobContext:
    """What jobs are told. The keeper's own addresses are those that it has written down: no key is needed."""
    addresses: dict[str, dict[Lane, str]] = {"stacks": {}, "bitcoin": {}}
    async with await AsyncConnection.connect(database_url, autocommit=True) as connection:
        cursor = await connection.execute("SELECT chain, sender, lanes FROM keeper.account")
        for chain, sender, lanes in await cursor.fetchall():
            addresses[chain] |= {Lane(lane): sender for lane in lanes}
    return JobContext(
        settings=settings,
        network=settings.network.constants,
        deployers=settings.deployers,
        addresses=addresses["stacks"],
        bitcoin_addresses=addresses["bitcoin"],
    )
