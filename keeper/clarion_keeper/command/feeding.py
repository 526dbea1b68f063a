"""`clarion keeper feed`: the oracle feed as the account of the lane `oracle` would use it."""

from __future__ import annotations

from psycopg import AsyncConnection

from clarion.config import LogLevel, Settings
from clarion.telemetry import configure_logging
from clarion_keeper.command.database import keeper_database
from clarion_keeper.feed.report import FeedReport, feed_report
from clarion_keeper.graph import reader_of
from clarion_keeper.intents import Lane


async def report(settings: Settings) -> FeedReport:
    """One reading of the feed. What sources do wrong is in the report, and not in the log too.

    Raises:
        ConfigurationError: ``keeper.feed`` cannot be used.
    """
    configure_logging(settings.log.model_copy(update={"level": LogLevel.ERROR}))
    async with reader_of(settings) as reader:
        return await feed_report(settings, reader, provider=await _provider(settings))


async def _provider(settings: Settings) -> str | None:
    """The account's address, as the keeper that runs has written it down."""
    with keeper_database(settings) as url:
        async with await AsyncConnection.connect(url, autocommit=True) as connection:
            cursor = await connection.execute(
                "SELECT sender FROM keeper.account WHERE chain = 'stacks' AND %s = ANY(lanes)", (Lane.ORACLE.value,)
            )
            row = await cursor.fetchone()
    return None if row is None else str(row[0])
