"""The index service over the toy protocol as the target of a process, without the pauses that people need."""

from __future__ import annotations

import asyncio
from multiprocessing.connection import Connection

import stamina
from support import toy

from clarion import fetcher, indexing
from clarion.config import Log, LogFormat, LogLevel, Node, Observer, Settings
from clarion.store.store import FencedOutError
from clarion.telemetry import configure_logging

FENCED_OUT = 3
"""Exit code of one whose chain another has taken over."""


def run_index(database_url: str, node_url: str, listening: Connection) -> None:
    """Index what is posted, asking the node at ``node_url`` for what is missing, until SIGTERM.

    The observer's URL is sent to ``listening`` once it listens.
    """
    stamina.set_testing(True, attempts=2)
    fetcher.FETCH_RETRY_SECONDS = 0.05  # type: ignore[misc]
    indexing.RECONNECT_SECONDS = (0.01, 0.05)  # type: ignore[misc]
    indexing.IDLE_POLL_SECONDS = 0.5  # type: ignore[misc]
    configure_logging(Log(level=LogLevel.ERROR, format=LogFormat.JSON))
    settings = Settings(
        database_url=database_url,  # type: ignore[arg-type]
        protocols=[],
        observer=Observer(port=0),
        node=Node(url=node_url),
    )
    try:
        asyncio.run(indexing.run_indexer(settings, protocols=[toy.deployed()], ready=listening.send))
    except FencedOutError as error:
        print(error)
        raise SystemExit(FENCED_OUT) from None
