"""Indexes a Bitcoin node with the toy protocol in a process of its own: ``python bitcoin_index_process.py DB RPC``.

It prints a line once it indexes.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from clarion.config import Bitcoin, BitcoinSourceName, Log, Settings
from clarion.indexing import run_indexer
from clarion.telemetry import configure_logging
from support import coins


def main() -> None:
    database_url, rpc_url = sys.argv[1:]
    configure_logging(Log())
    settings = Settings(
        database_url=database_url,  # type: ignore[arg-type]
        protocols=[],
        sources=[],
        bitcoin=Bitcoin(
            sources=[BitcoinSourceName.RPC], rpc_url=rpc_url, mock_spells=True, processes=0, finality_depth=100
        ),
    )
    asyncio.run(run_indexer(settings, protocols=[coins.deployed()], ready=lambda _: print("indexing", flush=True)))


if __name__ == "__main__":
    main()
