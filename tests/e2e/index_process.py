"""The index service as the target of a process."""

from __future__ import annotations

import asyncio

from clarion.config import Node, Observer, Settings
from clarion.dev.accounts import DEPLOYER
from clarion.indexing import run_indexer
from clarion.protocols.bithedge import protocol


def run_index(database_url: str, node_url: str, port: int) -> None:
    """Index what the devnet at ``node_url`` posts to ``port``, until SIGTERM."""
    settings = Settings(
        database_url=database_url,  # type: ignore[arg-type]
        observer=Observer(port=port),
        node=Node(url=node_url),
    )
    asyncio.run(run_indexer(settings, protocols=[protocol.deployed_by(DEPLOYER.address)]))
