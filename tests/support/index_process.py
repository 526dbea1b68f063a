"""Runs the index service over the toy protocol in a process of its own: ``python index_process.py URL [OPTION...]``.

It prints the observer's URL once it listens. With ``never-apply`` posts are kept and never applied, as if the process
were about to die between the two. With ``ledger`` that protocol is enabled too.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from clarion import indexing
from clarion.config import Log, Observer, Settings
from clarion.telemetry import configure_logging
from clarion.worker import Worker
from support import toy
from support.ledger import ledger


def main() -> None:
    url, *options = sys.argv[1:]
    if "never-apply" in options:
        Worker.apply_pending = lambda self: threading.Event().wait()  # type: ignore[assignment,return-value,method-assign]
    configure_logging(Log())
    settings = Settings(database_url=url, protocols=[], observer=Observer(port=0))
    protocols = [toy.deployed()]
    if "ledger" in options:
        protocols.append(ledger.deployed_by(toy.DEPLOYER))
    asyncio.run(indexing.run_indexer(settings, protocols=protocols, ready=lambda observer: print(observer, flush=True)))


if __name__ == "__main__":
    main()
