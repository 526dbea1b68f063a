"""Records Bitcoin's blocks from a source into a file, and indexes such a file as the service indexes a source."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from clarion.bitcoin_indexing import sources_of
from clarion.chains.bitcoin.charms.verify import read_spells
from clarion.chains.bitcoin.poller import ReadBlock, scanning_processes
from clarion.chains.bitcoin.recording import BitcoinRecordingError, BitcoinRecordingWriter, read_bitcoin_recording
from clarion.chains.bitcoin.scanner import Scanned, Scanner, SpellReader, scan
from clarion.chains.bitcoin.tracked import Tracked
from clarion.chains.bitcoin.transactions import TransactionError
from clarion.config import Bitcoin, ConfigurationError
from clarion.decoding import default_processes
from clarion.follower import Follower
from clarion.ingest import ingest
from clarion.protocol import DeployedProtocol
from clarion.recorder import whole_file
from clarion.store.database import connect, migrate
from clarion.store.generation import require_tables
from clarion.store.store import Store, Tip

AHEAD: Final = 12
BATCH_BLOCKS: Final = 200
BATCH_BYTES: Final = 32 << 20
HASHES_AT_ONCE: Final = 500
PROCESSES_FROM_BYTES: Final = 8 << 20
"""A file at least as large is gone through in processes of its own."""


@dataclass(slots=True)
class ReplayedBlocks:
    """What a recorded file held, and where the index stands after it. ``bytes`` are those of the blocks."""

    blocks: int = 0
    bytes: int = 0
    events: int = 0
    tip: Tip | None = None


def replay_bitcoin(
    path: Path,
    database_url: str,
    settings: Bitcoin,
    protocols: Sequence[DeployedProtocol] = (),
    *,
    progress: Callable[[ReplayedBlocks], None] | None = None,
) -> ReplayedBlocks:
    """Index a recorded file into a database, which is migrated first.

    The index starts with the first block in the file, whatever its height; what is known already is ignored.
    ``progress`` is called after every batch. Raises BitcoinRecordingError where the file is none, is damaged or was cut
    off; what comes before stays.
    """
    replayed = ReplayedBlocks()
    with path.open("rb") as file, ExitStack() as stack:
        migrate(database_url)
        connection = stack.enter_context(connect(database_url, autocommit=True))
        require_tables(connection, "bitcoin", protocols)
        store = Store(connection, "bitcoin", protocols, final_depth=settings.finality_depth)
        store.open()
        tracked = Tracked()
        tracked.load(connection)
        scanner, follower = Scanner(settings.network, tracked), Follower(start_height=None)
        reader = partial(read_spells, network=settings.network, accept_mock=settings.mock_spells)
        executor = stack.enter_context(_executor(settings, path.stat().st_size))
        blocks = stack.enter_context(closing(_scanned(read_bitcoin_recording(file, str(path)), reader, executor, path)))
        for batch in _batches(blocks):
            found = [scanner.block(block.data, block.scanned, block.height) for block in batch]
            ingest(store, follower, found)
            replayed.blocks += len(batch)
            replayed.bytes += sum(len(block.data) for block in batch)
            replayed.events += sum(len(block.events) for block in found)
            replayed.tip = store.tip
            if progress is not None:
                progress(replayed)
        replayed.tip = store.tip
    return replayed


def _executor(settings: Bitcoin, size: int) -> AbstractContextManager[Executor]:
    processes = default_processes() if settings.processes is None else settings.processes
    if processes and size >= PROCESSES_FROM_BYTES:
        return scanning_processes(processes)
    return ThreadPoolExecutor(1, thread_name_prefix="clarion-scan")


def _scanned(
    blocks: Iterator[tuple[int, bytes]], reader: SpellReader, executor: Executor, path: Path
) -> Generator[ReadBlock, None, None]:
    """Blocks gone through, some ahead of their turn. Where the file breaks off, what came before is given first."""
    ahead: deque[tuple[int, bytes, Future[Scanned]]] = deque()
    broken: BitcoinRecordingError | None = None
    more = True
    while more or ahead:
        while more and len(ahead) < AHEAD:
            try:
                height, data = next(blocks)
            except StopIteration:
                more = False
            except BitcoinRecordingError as error:
                more, broken = False, error
            else:
                ahead.append((height, data, executor.submit(scan, data, reader)))
        if ahead:
            height, data, scanning = ahead.popleft()
            try:
                yield ReadBlock(height, data, scanning.result())
            except TransactionError as error:
                raise BitcoinRecordingError(f"{path}: block {height} is none: {error}") from error
    if broken is not None:
        raise broken


def _batches(blocks: Iterator[ReadBlock]) -> Iterator[list[ReadBlock]]:
    batch: list[ReadBlock] = []
    held = 0
    broken: BitcoinRecordingError | None = None
    try:
        for block in blocks:
            batch.append(block)
            held += len(block.data)
            if len(batch) >= BATCH_BLOCKS or held >= BATCH_BYTES:
                yield batch
                batch, held = [], 0
    except BitcoinRecordingError as error:
        broken = error
    if batch:
        yield batch
    if broken is not None:
        raise broken


async def record_bitcoin(
    settings: Bitcoin,
    out: Path,
    *,
    first: int | None = None,
    last: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[int, int]:
    """Record the blocks of the first source's best chain from height ``first`` (None: where the index starts) to
    ``last`` (None: its tip); gives both heights.

    ``out`` appears when it is whole. ``progress`` is told how many of how many are done. Raises ConfigurationError
    where no source is set or it has no such block, and BitcoinSourceError.
    """
    sources = sources_of(settings)
    if not sources:
        raise ConfigurationError("bitcoin.sources is empty: nobody gives the blocks to record")
    async with sources[0] as source:
        await source.check()
        tip = await source.tip()
        lowest = settings.start_height if first is None else first
        highest = tip.height if last is None else last
        if not lowest <= highest <= tip.height:
            raise ConfigurationError(
                f"blocks {lowest} to {highest} are not all there: {source.name} stands at {tip.height}"
            )
        with whole_file(out) as file:
            writer = BitcoinRecordingWriter(file)
            for low in range(lowest, highest + 1, HASHES_AT_ONCE):
                heights = range(low, min(low + HASHES_AT_ONCE - 1, highest) + 1)
                for height, block_hash in zip(heights, await source.hashes(heights), strict=True):
                    writer.block(height, await source.block(block_hash))
                    if progress is not None:
                        progress(height - lowest + 1, highest - lowest + 1)
            writer.finish()
    return lowest, highest
