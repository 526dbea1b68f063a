"""The routes under `/devnet/` with which a devnet is driven: mining, forks, gifts from its faucet."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Final, Self

import httpx

from clarion.chains.stacks.node_client import NodeError

TIMEOUT_S: Final = 600.0
"""A request may ask for hundreds of blocks, of a machine that has other work."""


class DevnetClient:
    """One devnet's control routes. Use as an async context manager."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        # a devnet at work closes connections that it kept just when they are used again
        limits = httpx.Limits(max_keepalive_connections=0)
        self._client = httpx.AsyncClient(base_url=self.url, timeout=TIMEOUT_S, limits=limits)

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def status(self) -> dict[str, Any]:
        """Tips, mempool, queued posts, intervals, and the faucet's address."""
        return await self._ask("GET", "status")

    async def mine(self, blocks: int = 1) -> dict[str, Any]:
        """Mine Stacks blocks."""
        return await self._ask("POST", "mine", blocks=blocks)

    async def burn(self, blocks: int = 1) -> dict[str, Any]:
        """Announce Bitcoin blocks, each with the Stacks block that opens its tenure."""
        return await self._ask("POST", "burn", blocks=blocks)

    async def fund(self, address: str, *, micro_stx: int = 0, sats: int = 0) -> None:
        """Send micro-STX and satoshis of sBTC from the faucet; the transactions wait to be mined."""
        gifts = {"ustx": str(micro_stx)} if micro_stx else {}
        await self._ask("POST", "fund", address=address, **gifts, **({"sbtc": str(sats)} if sats else {}))

    async def fork(self, depth: int, *, keep_transactions: bool = True) -> dict[str, Any]:
        """Replace the newest ``depth`` Stacks blocks and their Bitcoin blocks by a longer branch."""
        return await self._ask("POST", "fork", depth=depth, keep_transactions=keep_transactions)

    async def congest(
        self, capacity: int, *, min_fee_rate: int = 0, strangers: int = 0, stranger_fees: tuple[int, int] = (1, 1)
    ) -> None:
        """Make blocks scarce: they take ``capacity`` transactions, dearest first. Rates are in micro-STX a byte.

        Nothing below ``min_fee_rate`` is mined. ``strangers``: how many transactions of others wait before each block,
        for fees between the two ``stranger_fees``.
        """
        await self._ask(
            "POST",
            "congestion",
            capacity=capacity,
            min_fee_rate=min_fee_rate,
            strangers=strangers,
            stranger_fees=list(stranger_fees),
        )

    async def decongest(self) -> None:
        """Blocks have room for everybody again."""
        await self._ask("POST", "congestion")

    async def drop(self, fraction: float, *, sender: str | None = None, reason: str = "TooExpensive") -> list[str]:
        """Take this part of all waiting transactions, or of one account's, out of the mempool; gives their ids."""
        whose = {} if sender is None else {"sender": sender}
        answer = await self._ask("POST", "drop", fraction=fraction, reason=reason, **whose)
        dropped: list[str] = answer["dropped"]
        return dropped

    async def post_now(self) -> None:
        """Post what waits at once, instead of when the pause after a failed post is over."""
        await self._ask("POST", "pause-posts")
        await self._ask("POST", "resume-posts")

    async def _ask(self, method: str, route: str, **body: Any) -> dict[str, Any]:
        try:
            response = await self._client.request(method, f"/devnet/{route}", json=body or None)
        except httpx.TransportError as error:
            raise NodeError(f"{self.url}/devnet/{route} cannot be reached: {error!r}; does the devnet run?") from error
        if response.status_code != httpx.codes.OK:
            raise NodeError(f"{self.url}/devnet/{route} answered {response.status_code}: {response.text[:300]}")
        answer: dict[str, Any] = response.json()
        return answer
