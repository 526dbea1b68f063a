"""Replays a file in a process of its own and prints as JSON what it took:
``python replay_process.py FILE URL PROTOCOLS FINAL_DEPTH``.

PROTOCOLS is a JSON object: installed protocols, each with its deployer or null.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from clarion.config import Log
from clarion.protocol import DeployedProtocol
from clarion.protocols.bithedge import protocol as bithedge
from clarion.protocols.stacks import protocol as stacks
from clarion.replay import replay
from clarion.telemetry import configure_logging


class Took(msgspec.Struct, frozen=True):
    """What a replay took: seconds of wall, and of processor of the writing process and all decoding ones."""

    events: int
    seconds: float
    batches: int
    writer: float
    decoders: float


def enabled(deployers: Mapping[str, str | None]) -> list[DeployedProtocol]:
    """The protocols of that name, ``stacks`` without a deployer."""
    return [
        bithedge.deployed_by(deployer) if name == bithedge.name and deployer else stacks.deployed_at({})
        for name, deployer in deployers.items()
    ]


def main() -> None:
    file, url, deployers, final_depth = sys.argv[1:]
    configure_logging(Log())
    batches = 0

    def count(_: object) -> None:
        nonlocal batches
        batches += 1

    processor, began = time.process_time(), time.perf_counter()
    done = replay(Path(file), url, enabled(json.loads(deployers)), final_depth=int(final_depth), progress=count)
    seconds, processor = time.perf_counter() - began, time.process_time() - processor
    if done.undecodable or done.anomalies or done.waiting:
        sys.exit(f"undecodable {done.undecodable[:3]}, {done.anomalies} anomalies, {done.waiting} blocks wait")
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = Took(done.events, seconds, batches, processor, children.ru_utime + children.ru_stime)
    print(msgspec.json.encode(took).decode(), flush=True)


if __name__ == "__main__":
    main()
