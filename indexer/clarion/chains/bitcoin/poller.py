"""Reads blocks from a source in the order of its best chain, from where it leaves what the index knows.

Forks are found by hash. Blocks are fetched and gone through ahead of their turn: many at once in processes of their own
where many are missing, one at a time at the tip.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from clarion.chains.bitcoin.scanner import Scanned, SpellReader, check_hash, scan
from clarion.chains.bitcoin.source import BitcoinSourceError, BlockGoneError, BlockSource, SourceTip
from clarion.chains.bitcoin.transactions import TransactionError
from clarion.child import end_with

AHEAD: Final = 12
"""How many blocks are fetched and gone through before their turn; each takes some megabytes."""
HASHES_AT_ONCE: Final = 100
BATCH_BLOCKS: Final = 200
BATCH_BYTES: Final = 32 << 20
PROCESSES_FROM: Final = 50
"""With as many blocks missing, processes are started to go through them."""
RETRY_SECONDS: Final = (1.0, 30.0)
"""Before a source that failed is asked again: at first, and at most."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ReadBlock:
    """A block as its source gave it, and what it says by itself."""

    height: int
    data: bytes
    scanned: Scanned


class Index(Protocol):
    """What the poller asks of the index that it feeds."""

    async def knows(self, block_hash: bytes) -> bool:
        """Whether a block is in the chain log, on whatever branch, with all its ancestors from the first on."""


Report = Callable[[SourceTip | BitcoinSourceError], Awaitable[None]]
"""Told where the source stands, or why it cannot say, every time it is asked."""


class BitcoinPoller:
    """Follows one source.

    ``start_height``: the first block to read. ``processes``: how many to go through blocks in while many are missing.
    """

    def __init__(
        self,
        source: BlockSource,
        index: Index,
        read_spells: SpellReader,
        *,
        start_height: int,
        report: Report,
        processes: int = 0,
    ) -> None:
        self._source = source
        self._index = index
        self._read_spells = read_spells
        self._start_height = start_height
        self._report = report
        self._processes = processes
        self._checked = False

    async def follow(self) -> AsyncGenerator[list[ReadBlock], None]:
        """Give blocks that the index does not know, parents first, for as long as it is asked; failures are waited out.

        Whoever takes them applies them before asking for more.
        """
        pause, longest = RETRY_SECONDS
        while True:
            try:
                tip = await self._ask_tip()
                async with contextlib.aclosing(self._missing(tip)) as missing:
                    async for blocks in missing:
                        pause = RETRY_SECONDS[0]
                        yield blocks
                await self._source.wait(tip)
            except BlockGoneError as error:  # its chain changed while it was read
                log.info("bitcoin_source_moved", source=self._source.name, detail=str(error))
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)
            except BrokenExecutor as error:
                log.error("scanning_process_ended", detail=f"{error}; was it killed for its memory?", again_in_s=pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)
            except BitcoinSourceError as error:
                await self._report(error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)

    async def _ask_tip(self) -> SourceTip:
        if not self._checked:
            await self._source.check()
            self._checked = True
        tip = await self._source.tip()
        await self._report(tip)
        return tip

    async def _missing(self, tip: SourceTip) -> AsyncGenerator[list[ReadBlock], None]:
        """The blocks up to ``tip`` that the index does not know."""
        first = await self._first_unknown(tip)
        if first > tip.height:
            return
        with self._executor(tip.height - first + 1) as executor:
            async with contextlib.aclosing(self._read(first, tip, executor)) as read:
                batch: list[ReadBlock] = []
                held = 0
                async for block, waits in read:
                    batch.append(block)
                    held += len(block.data)
                    if waits or len(batch) >= BATCH_BLOCKS or held >= BATCH_BYTES:
                        yield batch
                        batch, held = [], 0
                if batch:
                    yield batch

    async def _first_unknown(self, tip: SourceTip) -> int:
        """Height of the lowest block of the source's chain that the index does not know: where it leaves, plus one."""
        if await self._index.knows(tip.hash):
            return tip.height + 1
        unknown, step = tip.height, 1
        while True:
            height = max(unknown - step, self._start_height - 1)
            if height < self._start_height:
                break
            if await self._knows(height):
                break
            unknown, step = height, 2 * step
        known = height
        while unknown - known > 1:
            middle = (known + unknown) // 2
            if await self._knows(middle):
                known = middle
            else:
                unknown = middle
        return max(unknown, self._start_height)

    async def _knows(self, height: int) -> bool:
        (block_hash,) = await self._source.hashes([height])
        return await self._index.knows(block_hash)

    async def _read(
        self, first: int, tip: SourceTip, executor: Executor
    ) -> AsyncGenerator[tuple[ReadBlock, bool], None]:
        """Blocks in order, each with whether the next one is not there yet."""
        ahead: deque[asyncio.Task[ReadBlock]] = deque()
        hashes: deque[bytes] = deque()
        next_height, next_to_fetch = first, first
        parent: bytes | None = None
        try:
            while next_height <= tip.height:
                if not hashes and next_to_fetch <= tip.height:
                    last = min(next_to_fetch + HASHES_AT_ONCE - 1, tip.height)
                    hashes.extend(await self._source.hashes(range(next_to_fetch, last + 1)))
                while hashes and len(ahead) < AHEAD:
                    ahead.append(asyncio.create_task(self._fetch(next_to_fetch, hashes.popleft(), executor)))
                    next_to_fetch += 1
                block = await ahead.popleft()
                if parent not in (None, block.scanned.header.parent_hash):
                    raise BlockGoneError(f"block {block.height} does not build on the one before: a reorg meanwhile")
                parent = block.scanned.header.hash
                next_height += 1
                yield block, not (ahead and ahead[0].done())
        finally:
            for task in ahead:
                task.cancel()
            await asyncio.gather(*ahead, return_exceptions=True)

    async def _fetch(self, height: int, block_hash: bytes, executor: Executor) -> ReadBlock:
        data = await self._source.block(block_hash)
        try:
            scanned = await asyncio.get_running_loop().run_in_executor(executor, scan, data, self._read_spells)
            check_hash(scanned, block_hash)
        except TransactionError as error:
            raise BitcoinSourceError(
                f"{self._source.name} gave block {height} ({block_hash.hex()}) as something that is none: {error}"
            ) from error
        return ReadBlock(height, data, scanned)

    @contextlib.contextmanager
    def _executor(self, blocks: int) -> Iterator[Executor]:
        if self._processes and blocks >= PROCESSES_FROM:
            log.info("bitcoin_blocks_missing", source=self._source.name, blocks=blocks, processes=self._processes)
            with scanning_processes(self._processes) as pool:
                yield pool
        else:
            with ThreadPoolExecutor(1, thread_name_prefix="clarion-scan") as thread:
                yield thread


@contextlib.contextmanager
def scanning_processes(count: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that go through blocks. They end with this, and with the process that made them."""
    pool = ProcessPoolExecutor(
        count,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_end_with_parent,
        initargs=(os.getpid(),),
    )
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, meant for the parent, which then ends this
    end_with(parent)
