"""An Esplora-compatible REST API (``github.com/Blockstream/esplora``, ``API.md``): the source for those without a node.

Whoever runs it is not trusted to give whole blocks: what it gives is checked against the headers that it gives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

import httpx
import stamina

from clarion.chains.bitcoin.blocks import check_transactions
from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.bitcoin.source import BitcoinSourceError, BlockGoneError, SourceTip
from clarion.chains.bitcoin.transactions import TransactionError
from clarion.credentials import split_credentials

CONNECTIONS: Final = 4


class _PassingError(Exception):
    """What another try may turn into an answer; its text says why."""


class Esplora:
    """One API; ``url`` is what comes before ``/blocks/tip/height``. Use as an async context manager."""

    def __init__(
        self,
        url: str,
        *,
        network: BitcoinNetwork,
        poll_seconds: float = 15.0,
        timeout_seconds: float = 60.0,
        attempts: int = 5,
        name: str = "esplora",
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.name = name
        self._url, credentials = split_credentials(url.rstrip("/"))
        self._network = network
        self._poll_seconds = poll_seconds
        self._attempts = attempts
        self._client = httpx.AsyncClient(
            auth=credentials,
            timeout=timeout_seconds,
            limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS),
            follow_redirects=True,
            transport=transport,
        )
        self._free = asyncio.Semaphore(CONNECTIONS)

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def check(self) -> None:
        """Raise BitcoinSourceError where the API is of another network: its first block tells."""
        (genesis,) = await self.hashes([0])
        if genesis.hex() != self._network.constants.genesis:
            raise BitcoinSourceError(
                f"the API at {self._url} is of another network than {self._network}, its block 0 is {genesis.hex()}: "
                "set CLARION_BITCOIN__NETWORK or CLARION_BITCOIN__ESPLORA_URL"
            )

    async def tip(self) -> SourceTip:
        """The API's best block."""
        height = int(await self._text("/blocks/tip/height"))
        (block_hash,) = await self.hashes([height])
        return SourceTip(height, block_hash)

    async def hashes(self, heights: Sequence[int]) -> list[bytes]:
        """Hashes of the best chain's blocks at these heights. Raises BlockGoneError."""
        texts = await asyncio.gather(*(self._text(f"/block-height/{height}") for height in heights))
        try:
            return [bytes.fromhex(text) for text in texts]
        except ValueError as error:
            raise BitcoinSourceError(f"what answers at {self._url} is no Esplora API: {texts[0][:80]!r}") from error

    async def block(self, block_hash: bytes) -> bytes:
        """A block's bytes, of which it is checked that they are all there. Raises BlockGoneError."""
        data = (await self._get(f"/block/{block_hash.hex()}/raw")).content
        try:
            await asyncio.to_thread(check_transactions, data)
        except TransactionError as error:
            raise BitcoinSourceError(f"block {block_hash.hex()} from {self._url}: {error}") from error
        return data

    async def wait(self, tip: SourceTip) -> None:
        """Wait a while."""
        await asyncio.sleep(self._poll_seconds)

    async def _text(self, path: str) -> str:
        return (await self._get(path)).text.strip()

    async def _get(self, path: str) -> httpx.Response:
        try:
            async for attempt in stamina.retry_context(on=_PassingError, attempts=self._attempts, timeout=None):
                with attempt:
                    async with self._free:
                        return await self._once(path)
        except _PassingError as error:
            raise BitcoinSourceError(f"{self._url}{path} does not answer: {error}") from error
        raise AssertionError("the last attempt returns or raises")

    async def _once(self, path: str) -> httpx.Response:
        try:
            response = await self._client.get(self._url + path)
        except httpx.TransportError as error:
            raise _PassingError(str(error) or type(error).__name__) from error
        if response.status_code == httpx.codes.NOT_FOUND:
            raise BlockGoneError(f"{self._url}{path}: {response.text[:200] or 'HTTP 404'}")
        if response.status_code == httpx.codes.TOO_MANY_REQUESTS or response.status_code >= 500:
            raise _PassingError(f"HTTP {response.status_code}")
        if response.status_code != httpx.codes.OK:
            raise BitcoinSourceError(f"{self._url}{path} answers HTTP {response.status_code}: {response.text[:200]}")
        return response
