"""Fetches blocks that others build on and that no source has told of, from whoever can give them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

import psycopg
import structlog

from clarion.chains.model import Block
from clarion.chains.stacks.node_payloads import PayloadError
from clarion.worker import Applied, Worker, is_of_the_post

FETCH_DEPTH: Final = 50
"""Most blocks that are asked for before they are written."""
FETCH_RETRY_SECONDS: Final = 30.0

log = structlog.get_logger(__name__)

InThread = Callable[..., Awaitable[Any]]


class BlockGiver(Protocol):
    """Something that gives whole blocks by hash."""

    async def block(self, block_hash: bytes) -> Block | None:
        """The block, or None where it is not known there."""


class Fetcher:
    """Knows which blocks are missing, and asks for them until they are there.

    ``givers``: who is asked, by the name of the source, in this order; each with the errors that say that it cannot
    give a block now. ``in_thread`` calls a function where the worker may be used; ``report`` is told what came of it.
    """

    def __init__(
        self,
        worker: Worker,
        givers: Sequence[tuple[str, BlockGiver, tuple[type[Exception], ...]]],
        *,
        start_height: int,
        in_thread: InThread,
        report: Callable[[Applied, float], None],
    ) -> None:
        self._worker = worker
        self._givers: list[tuple[str, BlockGiver, tuple[type[Exception], ...]]] = [
            (name, giver, (*errors, PayloadError)) for name, giver, errors in givers
        ]
        self._start_height = start_height
        self._in_thread = in_thread
        self._report = report
        self._changed = asyncio.Event()
        self.missing: set[bytes] = set()
        #: Why the block that was asked for last could not be fetched, or None.
        self.problem: str | None = None

    async def run(self) -> None:
        """Fetch, until cancelled."""
        while True:
            self._changed.clear()
            if not self.missing:
                await self._changed.wait()
                continue
            fetched = [await self._fetch_and_apply(block_hash) for block_hash in sorted(self.missing)]
            if any(fetched):
                self.problem = None
            elif self.missing:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), FETCH_RETRY_SECONDS)

    async def note(self, applied: Applied) -> None:
        """Keep track of which blocks are missing: others may build on none of them any more, or they came."""
        before = set(self.missing)
        self.missing |= applied.missing
        if self.missing and (applied.missing or applied.blocks):
            asked = frozenset(self.missing)
            self.missing -= asked - await self._in_thread(self._worker.needed, asked)
        if not self.missing:
            self.problem = None
        if self.missing != before:
            self._changed.set()

    async def _fetch_and_apply(self, block_hash: bytes) -> bool:
        """Whether somebody gave the block and it is in the chain log now."""
        try:
            source, blocks = await self._fetch_branch(block_hash)
            if not blocks:
                return False
            started = asyncio.get_running_loop().time()
            applied = await self._in_thread(self._worker.apply_said, source, blocks)
            self._report(applied, asyncio.get_running_loop().time() - started)
            await self.note(applied)
        except (psycopg.Error, UnicodeEncodeError) as error:
            if not isinstance(error, psycopg.OperationalError) and not is_of_the_post(error):
                raise
            self._cannot_fetch(block_hash, f"it cannot be stored: {error}")
            return False
        return True

    async def _fetch_branch(self, block_hash: bytes) -> tuple[str, list[Block]]:
        """A missing block and its unknown ancestors, as many as are asked for at once, the oldest first, and the name
        of who gave the last of them.
        """
        blocks: list[Block] = []
        source = ""
        while len(blocks) < FETCH_DEPTH and not await self._in_thread(self._worker.knows, block_hash):
            given = await self._ask(block_hash)
            if given is None:
                break
            source, block = given
            blocks.append(block)
            if block.height <= max(self._start_height, 1):
                break
            block_hash = block.ref.parent_hash
        return source, blocks[::-1]

    async def _ask(self, block_hash: bytes) -> tuple[str, Block] | None:
        reasons = []
        for name, giver, errors in self._givers:
            try:
                block = await giver.block(block_hash)
            except errors as error:
                reasons.append(f"{name}: {error}")
                continue
            if block is not None:
                return name, block
            reasons.append(f"{name} does not have it")
        self._cannot_fetch(block_hash, "; ".join(reasons))
        return None

    def _cannot_fetch(self, block_hash: bytes, reason: str) -> None:
        tip = self._worker.store.tip
        remedy = (
            "nothing is indexed yet: if the node began posting at a later block, set CLARION_START_HEIGHT to its height"
            if tip.height is None
            else f"block {tip.height} stays the tip of the index until it comes; post it again from the node's log, or "
            "add hiro to CLARION_SOURCES"
        )
        problem = f"block 0x{block_hash.hex()}, which others build on, is missing: {reason}"
        if problem != self.problem:
            log.error("block_missing", hash=f"0x{block_hash.hex()}", reason=reason, remedy=remedy)
        self.problem = problem
