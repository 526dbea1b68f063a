"""Feeds the index from a Stacks Blockchain API: its poller, and the worker that applies what it gives."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Final, Self

import psycopg
import structlog

from clarion.chains.model import Block
from clarion.chains.stacks.hiro_poller import Health, HiroPoller, IndexTip
from clarion.chains.stacks.hiro_poller import SourceState as PollerState
from clarion.chains.stacks.hiro_source import HiroSourceError
from clarion.config import NetworkName, Settings
from clarion.credentials import split_credentials
from clarion.worker import Applied, Worker, is_of_the_post
from hiro_api_client import MAINNET_URL, TESTNET_URL, HiroApiClient, HiroApiError

NAME: Final = "hiro"
URLS: Final = {NetworkName.MAINNET: MAINNET_URL, NetworkName.TESTNET: TESTNET_URL}
ERRORS: Final = (HiroApiError, HiroSourceError)
"""What says that the API cannot give a block now."""
RETRY_SECONDS: Final = 2.0

log = structlog.get_logger(__name__)

InThread = Callable[..., Awaitable[Any]]


def hiro_client(settings: Settings) -> HiroApiClient:
    """The API that settings name, or Hiro's own of the network."""
    hiro = settings.hiro
    url, credentials = split_credentials(hiro.url or URLS[settings.network])
    key = hiro.api_key.get_secret_value() if hiro.api_key else None
    return HiroApiClient(url, api_key=key, auth=credentials)


class HiroFeed:
    """One API's poller and the worker it feeds. Use as an async context manager.

    ``in_thread`` calls a function where the worker may be used; ``applied`` is told what came of a list of blocks.
    """

    def __init__(
        self,
        settings: Settings,
        worker: Worker,
        *,
        in_thread: InThread,
        applied: Callable[[Applied, float], Awaitable[None]],
    ) -> None:
        hiro = settings.hiro
        self._worker = worker
        self._in_thread = in_thread
        self._applied = applied
        self._said: asyncio.Queue[Health] = asyncio.Queue()
        self._poller = HiroPoller(
            hiro_client(settings),
            self,
            start_height=settings.start_height,
            with_raw=hiro.raw_transactions,
            poll_seconds=hiro.poll_seconds,
            report=self._said.put_nowait,
        )
        self._problem: str | None = None
        """Why what it gave last cannot be stored: whatever it says of itself, its blocks are of no use then."""
        #: Height of the API's tip, or None where it did not say yet.
        self.tip_height: int | None = None

    async def __aenter__(self) -> Self:
        await self._poller.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._poller.__aexit__(kind, error, trace)

    async def tip(self) -> IndexTip | None:
        """Where the index stands, for the poller."""
        found: IndexTip | None = await self._in_thread(self._tip)
        return found

    def _tip(self) -> IndexTip | None:
        store = self._worker.store
        if store.tip.height is None or store.tip.hash is None:
            return None
        header = store.header(store.tip.hash)
        return IndexTip(store.tip.height, store.tip.hash, None if header is None else header.burn_height)

    async def knows(self, block_hash: bytes) -> bool:
        """Whether a block is in the chain log, for the poller."""
        return bool(await self._in_thread(self._worker.knows, block_hash))

    async def block(self, block_hash: bytes) -> Block | None:
        """A canonical block, for whoever misses one. Raises one of ``ERRORS``, or PayloadError."""
        return await self._poller.block(block_hash)

    async def run(self) -> None:
        """Feed, until cancelled. Raises FencedOutError or ProjectionError."""
        noting = asyncio.create_task(self._note_health())
        try:
            while True:
                with contextlib.suppress(psycopg.OperationalError):  # the worker finds out and connects again
                    await self._follow()
                await asyncio.sleep(RETRY_SECONDS)
        finally:
            noting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await noting

    async def _follow(self) -> None:
        async with contextlib.aclosing(self._poller.follow()) as following:
            async for items in following:
                started = time.monotonic()
                try:
                    applied = await self._in_thread(self._worker.apply_said, NAME, items)
                except (psycopg.Error, UnicodeEncodeError) as error:
                    if not is_of_the_post(error):
                        raise
                    # The poller finds that they are not there, and gives them again after a pause that grows.
                    self._problem = f"its blocks cannot be stored: {error}"
                    log.error("blocks_not_storable", source=NAME, error=str(error))
                    await self._in_thread(self._worker.note_failure, NAME, self._problem)
                    continue
                self._problem = None
                await self._applied(applied, time.monotonic() - started)

    async def _note_health(self) -> None:
        while True:
            said = await self._said.get()
            if self._problem is not None or said.state is PollerState.UNREACHABLE:
                note: tuple[Any, ...] = (self._worker.note_failure, NAME, self._problem or said.detail or "")
            elif said.height is None or said.hash is None:
                continue
            else:
                self.tip_height = said.height
                note = (self._worker.note_answer, NAME, said.height, said.hash, said.burn_height)
            with contextlib.suppress(psycopg.OperationalError):
                await self._in_thread(*note)
