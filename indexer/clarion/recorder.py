"""Makes recordings: of an index's canonical chain, or of what a node posts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from psycopg import Connection, IsolationLevel

from clarion.chains.model import BurnBlock
from clarion.chains.stacks.compact_recording import RecordingWriter
from clarion.chains.stacks.observer import observer_app
from clarion.config import Observer
from clarion.serving import Server, listen, url_of
from clarion.store import chain_log
from clarion.store.database import connect

CHUNK_BLOCKS: Final = 100


class RecorderError(RuntimeError):
    """A recording cannot be made. The message says why and what to do."""


@dataclass(slots=True)
class Progress:
    """How far a recording of an index is. ``last`` is the height it goes up to."""

    first: int
    last: int
    height: int
    blocks: int = 0
    events: int = 0


def record_index(
    database_url: str,
    out: Path,
    *,
    first: int | None = None,
    last: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Progress:
    """Record the canonical Stacks blocks of an index from height ``first`` to ``last`` (None: all there are).

    With them come the Bitcoin blocks that count, each before the first block that is anchored to it or above it. All is
    read in one snapshot. ``out`` appears when it is whole. Raises RecorderError where there is no such block.
    """
    with connect(database_url) as connection:
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        found = connection.execute(
            "SELECT min(height), max(height) FROM clarion.canonical_block WHERE chain = 'stacks' "
            "AND height >= coalesce(%s, 0) AND height <= coalesce(%s, 9223372036854775807)",
            (first, last),
        ).fetchone()
        if found is None or found[0] is None:
            raise RecorderError("the index holds none of these blocks; clarion status shows where it stands")
        at = Progress(found[0], found[1], found[0] - 1)
        with whole_file(out) as file:
            writer = RecordingWriter(file)
            _record(connection, writer, at, progress or (lambda _: None))
            writer.finish()
    return at


def _record(
    connection: Connection[Any], writer: RecordingWriter, at: Progress, progress: Callable[[Progress], None]
) -> None:
    burn_height: int | None = None
    while at.height < at.last:
        hashes = connection.execute(
            "SELECT height, hash FROM clarion.canonical_block WHERE chain = 'stacks' AND height > %s AND height <= %s "
            "ORDER BY height LIMIT %s",
            (at.height, at.last, CHUNK_BLOCKS),
        ).fetchall()
        for block in chain_log.load(connection, "stacks", [block_hash for _, block_hash in hashes]):
            if block.burn is not None and block.burn.height != burn_height:
                lowest = block.burn.height if burn_height is None else burn_height + 1
                for burn in _burn_blocks(connection, lowest, block.burn.height):
                    writer.item(burn)
                burn_height = max(block.burn.height, burn_height or 0)
            writer.item(block)
            at.blocks += 1
            at.events += len(block.events)
        at.height = hashes[-1][0]
        progress(at)


def _burn_blocks(connection: Connection[Any], lowest: int, highest: int) -> list[BurnBlock]:
    return [
        BurnBlock(*row)
        for row in connection.execute(
            "SELECT c.height, c.hash, b.parent_hash, b.time FROM clarion.canonical_burn_block c "
            "LEFT JOIN clarion.burn_block b ON b.hash = c.hash WHERE c.height BETWEEN %s AND %s ORDER BY c.height",
            (lowest, highest),
        )
    ]


@contextlib.contextmanager
def whole_file(out: Path) -> Iterator[BinaryIO]:
    """A file that appears as ``out`` once it is complete and on disk."""
    partial = out.with_name(f"{out.name}.part")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)


async def record_live(
    settings: Observer, out: Path, *, ready: Callable[[str], None], stop: asyncio.Event | None = None
) -> int:
    """Record what a node posts until SIGTERM or SIGINT (or ``stop``); how many posts there were.

    A post is answered once it is on disk. ``ready`` is given the observer's URL. Raises RecorderError where ``out``
    exists already, and ServiceError.
    """
    stop = stop or asyncio.Event()
    try:
        file = out.open("xb")
    except FileExistsError:
        raise RecorderError(f"{out} exists already: record into another file") from None
    with file, listen(settings.host, settings.port, what="event observer", section="OBSERVER") as listening:
        writer = RecordingWriter(file)
        lock = asyncio.Lock()

        async def keep(path: str, body: bytes, *, source: str, error: str | None = None) -> None:
            if error is not None:
                return
            async with lock:
                writer.post(path, body)
                await asyncio.to_thread(_to_disk, writer, file)

        app = observer_app(keep, max_body_bytes=settings.max_body_bytes, max_memory_bytes=settings.max_memory_bytes)
        server = Server(app, graceful_seconds=5)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        ready(url_of(listening))
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        stop.set()
        await asyncio.gather(serving, stopping)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        writer.finish()
        _to_disk(writer, file)
        return writer.records


def _to_disk(writer: RecordingWriter, file: BinaryIO) -> None:
    writer.flush()
    file.flush()
    os.fsync(file.fileno())
