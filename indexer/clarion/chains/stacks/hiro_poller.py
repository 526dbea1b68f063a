"""Follows a chain through a Stacks Blockchain API: cheap at the tip, several blocks at a time behind it.

    async with HiroPoller(client, index, start_height=0, report=report) as poller:
        async for items in poller.follow():     # list[Block | BurnBlock], parents first
            ...                                 # apply them; then ask for more
        block = await poller.block(block_hash)  # Block | None, for a missing parent

``index`` says what is known already (``Index``: ``async tip() -> IndexTip | None`` and ``async knows(hash) -> bool``),
and ``report`` is told how the API does (``Health``), at each look. ``follow`` never ends and never raises for what the
API or the network does: it goes on trying, with growing pauses. What ``index`` raises ends it.

Forks are found by hashes: from the API's tip the parents are followed back to a known block, and everything above that
is given in order, each Bitcoin block before the first block that is anchored to it. Which branch wins is the follower's
decision. An API whose tip is below the index's is behind, which is a state of health and never a fork; except where it
has seen more of Bitcoin than the index, for a Bitcoin fork may leave a lower tip.

The API does not tell of Bitcoin blocks without Stacks blocks, and not of blocks that lost.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Any, Final, Protocol, Self

import structlog

from clarion.chains.model import Block, BurnBlock
from clarion.chains.stacks.hiro_payloads import SOURCE, hash_of, ref_of
from clarion.chains.stacks.hiro_source import HiroForkError, HiroSource, HiroSourceError
from clarion.chains.stacks.node_payloads import PayloadError
from hiro_api_client import (
    MAX_BLOCKS,
    BlockHeader,
    HiroApiClient,
    HiroApiError,
    NotFoundError,
    RateLimitedError,
    RouteMissingError,
)

FIRST_HEIGHT: Final = 1
"""The API holds the genesis block, height 0, to be no canonical block."""

DEEP_FORK: Final = 300
"""A fork of that many blocks may be none: then it is asked whether the chain began in the same way."""

log = structlog.get_logger(__name__)


class SourceState(StrEnum):
    """How a source of blocks does."""

    HEALTHY = "healthy"
    BEHIND = "behind"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Health:
    """How the API does, and where it last said that it stands. ``detail`` says what is wrong."""

    state: SourceState
    detail: str | None = None
    height: int | None = None
    hash: bytes | None = None
    burn_height: int | None = None


@dataclass(frozen=True, slots=True)
class IndexTip:
    """Where an index stands, or an API."""

    height: int
    hash: bytes
    burn_height: int | None = None


class Index(Protocol):
    """What the poller needs to know of the index it feeds."""

    async def tip(self) -> IndexTip | None:
        """The tip, or None where nothing is indexed yet."""
        ...

    async def knows(self, block_hash: bytes) -> bool:
        """Whether a block is in the chain log, canonical or not."""
        ...


class HiroPoller:
    """Follows one API for one index. Opens and closes ``client``, which nobody else uses meanwhile.

    ``start_height``: the lowest block to ask for. ``with_raw``: fetch the bytes of transactions too, a request each.
    ``batch``: most blocks given at once, of which the next are fetched while these are applied. ``poll_seconds``: how
    often the API is asked at the tip where no wake-up comes; ``listen`` takes wake-ups from its WebSocket.
    ``backoff_seconds``: shortest and longest pause between attempts to reach it.
    """

    def __init__(
        self,
        client: HiroApiClient,
        index: Index,
        *,
        start_height: int = 0,
        with_raw: bool = False,
        batch: int = MAX_BLOCKS,
        concurrency: int = 8,
        poll_seconds: float = 10.0,
        listen: bool = True,
        backoff_seconds: tuple[float, float] = (1.0, 60.0),
        report: Callable[[Health], None] = lambda health: None,
    ) -> None:
        self._client = client
        self._index = index
        self._source = HiroSource(client, with_raw=with_raw, concurrency=concurrency)
        self._lowest = max(start_height, FIRST_HEIGHT)
        self._batch = batch
        self._poll_seconds = poll_seconds
        self._listen = listen
        self._backoff = backoff_seconds
        self._report = report
        self._woken = asyncio.Event()
        self._tip: IndexTip | None = None
        """Where the API last said that it stands."""
        self._etag: str | None = None
        self._planned: deque[BlockHeader] = deque()
        self._burn_hash: bytes | None = None

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def block(self, block_hash: bytes) -> Block | None:
        """A canonical block by index block hash, or None where the API does not have it.

        Raises ``HiroApiError``, ``PayloadError`` or ``HiroSourceError``.
        """
        return await self._source.block(block_hash)

    async def follow(self) -> AsyncGenerator[list[Block | BurnBlock], None]:
        """New blocks and the Bitcoin blocks they are anchored to, parents first, in lists that are never empty.

        The next list is made for an index that holds everything given before.
        """
        pause, longest = self._backoff
        ahead: asyncio.Task[list[Block]] | None = None
        listening = asyncio.create_task(self._wake_up()) if self._listen else None
        self._begin_again()
        try:
            while True:
                try:
                    await self._look()
                    blocks = await (ahead or self._next(()))
                except (HiroApiError, HiroSourceError, PayloadError) as error:
                    await _ended(ahead)
                    ahead = None
                    self._planned.clear()
                    if not (isinstance(error, HiroForkError) and pause == self._backoff[0]):
                        self._say(SourceState.UNREACHABLE, str(error))
                    await self._wait(max(pause, error.retry_after) if isinstance(error, RateLimitedError) else pause)
                    pause = min(2 * pause, longest)
                    continue
                ahead = None
                if not blocks:
                    pause = self._backoff[0]
                    await self._wait(self._poll_seconds)
                    continue
                ahead = asyncio.create_task(self._next(blocks))
                yield self._with_burn_blocks(blocks)
                if await self._index.knows(blocks[-1].hash):
                    pause = self._backoff[0]
                    continue
                await _ended(ahead)
                ahead = None
                self._begin_again()
                self._say(SourceState.HEALTHY, f"the index was given {blocks[-1].ref} and does not hold it")
                await self._wait(pause)
                pause = min(2 * pause, longest)
        finally:
            await _ended(ahead, listening)

    def _begin_again(self) -> None:
        """Forget what was planned on top of blocks that the index may not have taken."""
        self._planned.clear()
        self._burn_hash = None

    async def _look(self) -> None:
        """Ask where the API stands."""
        changed = await self._client.changed_status(self._etag)
        if changed is not None:
            told = changed.value.chain_tip
            self._tip = (
                None
                if told is None
                else IndexTip(
                    told.block_height, hash_of(f"{SOURCE} tip", told.index_block_hash), told.burn_block_height
                )
            )
            self._etag = changed.etag

    async def _next(self, before: Sequence[Block]) -> list[Block]:
        """The next blocks for an index that holds those ``before`` too; none where there is nothing new."""
        tip = self._tip
        if tip is None:
            self._say(SourceState.BEHIND, "it has no blocks yet")
            return []
        index = _tip_of(before[-1]) if before else await self._index.tip()
        given = {block.hash for block in before}
        if not self._planned:
            if not await self._is_news(tip, index, given):
                return []
            self._planned.extend(await self._plan(tip, index, given))
        self._say(SourceState.HEALTHY)
        headers = [self._planned.popleft() for _ in range(min(self._batch, len(self._planned)))]
        blocks = []
        for block in await self._source.blocks_of(headers):
            if block is None:
                # A fork took it away. What is below it stands, the rest is planned anew from there.
                self._planned.clear()
                break
            blocks.append(block)
        if not blocks:
            raise HiroForkError(f"{self._client.url}: the chain forked while its blocks were read")
        return blocks

    async def _is_news(self, tip: IndexTip, index: IndexTip | None, given: set[bytes]) -> bool:
        """Whether there is anything to fetch; says how the API does where there is not."""
        if index is None and tip.height < self._lowest:
            self._say(SourceState.BEHIND, f"its tip is {tip.height}, the index begins with {self._lowest}")
            return False
        known = await self._knows(tip.hash, given)
        if index is None or tip.height >= index.height:
            if known:
                self._say(SourceState.HEALTHY)
            return not known
        if known or (tip.burn_height or 0) <= (index.burn_height or 0):
            self._say(SourceState.BEHIND, f"its tip is {tip.height}, the index is at {index.height}")
            return False
        return True

    async def _plan(self, tip: IndexTip, index: IndexTip | None, given: set[bytes]) -> list[BlockHeader]:
        """Headers of unknown blocks from the lowest on, as many as make a batch and more where there is a fork."""
        first = self._lowest if index is None else index.height + 1
        last = min(first + self._batch - 1, tip.height)
        try:
            header = await self._client.block(f"0x{tip.hash.hex()}" if last == tip.height else last)
            branch = [header]
            page: dict[str, BlockHeader] = {}
            limit = min(max(last - first + 1, 1), MAX_BLOCKS)
            while header.height > self._lowest:
                parent = header.parent_index_block_hash
                # Above the index nothing is known but what it could not use.
                near = index is None or header.height <= index.height + 1
                if near and await self._knows(ref_of(header).parent_hash, given):
                    break
                if parent not in page:
                    listed = await self._client.blocks(limit=limit, cursor=parent)
                    page = {header.index_block_hash: header for header in listed.results}
                    limit = MAX_BLOCKS
                if parent not in page:
                    raise HiroForkError(f"{self._client.url}: block {header.height} builds on {parent}, not listed")
                header = page[parent]
                branch.append(header)
                if index is not None and len(branch) == self._batch + DEEP_FORK:
                    await self._require_same_chain()
        except RouteMissingError:
            raise
        except NotFoundError as error:
            raise HiroForkError(f"{self._client.url}: the chain forked while its headers were read") from error
        return branch[::-1]

    async def _require_same_chain(self) -> None:
        """Raise where the API's chain is another one from its beginning, such as another network's."""
        first = await self._client.block(self._lowest)
        if not await self._index.knows(ref_of(first).hash):
            raise HiroSourceError(
                f"{self._client.url} is of another chain: its block {first.height} ({first.index_block_hash}) is not "
                "the one that is indexed; check the address of the API and the network"
            )

    async def _knows(self, block_hash: bytes, given: set[bytes]) -> bool:
        return block_hash in given or await self._index.knows(block_hash)

    def _with_burn_blocks(self, blocks: Sequence[Block]) -> list[Block | BurnBlock]:
        """The blocks, before each the Bitcoin block it is anchored to where that is not the last one given."""
        items: list[Block | BurnBlock] = []
        for block in blocks:
            if block.burn is not None and block.burn.hash != self._burn_hash:
                self._burn_hash = block.burn.hash
                items.append(block.burn)
            items.append(block)
        return items

    def _say(self, state: SourceState, detail: str | None = None) -> None:
        tip = self._tip
        self._report(
            Health(state, detail) if tip is None else Health(state, detail, tip.height, tip.hash, tip.burn_height)
        )

    async def _wake_up(self) -> None:
        """End pauses when the API's WebSocket says that there is something new."""
        try:
            async for _ in self._client.listen():
                self._woken.set()
        except HiroApiError as error:
            log.warning("hiro_api_gives_no_wake_ups", error=str(error))

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), seconds)
        self._woken.clear()


async def _ended(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel tasks and wait until they have ended."""
    running = [task for task in tasks if task is not None]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


def _tip_of(block: Block) -> IndexTip:
    return IndexTip(block.height, block.hash, None if block.burn is None else block.burn.height)
