"""The API's routes, as methods."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import msgspec

from hiro_api_client.errors import (
    InvalidAnswerError,
    NotFoundError,
    RouteMissingError,
    TransactionRejectedError,
)
from hiro_api_client.types import (
    BlockHeader,
    BlockId,
    BurnBlock,
    Contract,
    Event,
    EventDetails,
    FtBalance,
    Include,
    MempoolFees,
    NftPosition,
    NodeAccount,
    NodeInfo,
    Nonces,
    Page,
    PrincipalTransaction,
    RawTransaction,
    RawUnavailable,
    Status,
    StxBalance,
    Tagged,
    Transaction,
    TransactionDetails,
    Wakeup,
)

if TYPE_CHECKING:
    import httpx

    from hiro_api_client.transport import Transport

MAINNET_URL: Final = "https://api.hiro.so"
TESTNET_URL: Final = "https://api.testnet.hiro.so"

MAX_BLOCKS: Final = 30
MAX_TRANSACTIONS: Final = 50
MAX_EVENTS: Final = 100
"""Most rows a page may have, by what is listed (``src/api/pagination.ts``)."""

T = TypeVar("T")


class _Cursors(msgspec.Struct):
    next: str | None = None
    previous: str | None = None


class _List(msgspec.Struct):
    """A page as it comes: v2 has ``next_cursor`` and ``prev_cursor`` beside the results, v3 an object ``cursor``."""

    results: msgspec.Raw
    total: int | None = None
    next_cursor: str | None = None
    prev_cursor: str | None = None
    cursor: _Cursors | str | None = None


class _Found(msgspec.Struct):
    found: bool
    result: msgspec.Raw = msgspec.Raw(b"null")


class _Events(msgspec.Struct):
    events: list[EventDetails]


class _Rejection(msgspec.Struct):
    reason: str = "Undecodable"
    reason_data: Any = None
    txid: str | None = None


class HiroApiClient:
    """One stacks-blockchain-api: Hiro's hosted one or your own. Use as an async context manager.

    ``url`` is the API's address without a path, as messages show it; ``api_key`` goes into ``x-api-key``, ``auth``
    (user and password) into ``authorization``. Passing faults (no connection, status 429, 500 and above) are tried
    ``attempts`` times, the pauses between them growing from ``retry_seconds``.
    Before each request the client waits as the API's rate limit headers say, but never longer than
    ``max_pause_seconds``: then it raises ``RateLimitedError``. At most ``connections`` requests run at once.
    ``clock`` (Unix seconds) and ``sleep`` are for tests, as is ``transport``.

    Every method raises a ``HiroApiError`` where the API does not give what was asked for.
    """

    def __init__(
        self,
        url: str = MAINNET_URL,
        *,
        api_key: str | None = None,
        auth: tuple[str, str] | None = None,
        timeout_seconds: float = 30.0,
        attempts: int = 5,
        retry_seconds: float = 0.2,
        max_pause_seconds: float = 120.0,
        connections: int = 16,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._api_key = api_key
        self._options: dict[str, Any] = {
            "auth": auth,
            "timeout_seconds": timeout_seconds,
            "attempts": attempts,
            "retry_seconds": retry_seconds,
            "max_pause_seconds": max_pause_seconds,
            "connections": connections,
            "clock": clock,
            "sleep": sleep,
            "transport": transport,
        }
        self._open_transport: Transport | None = None

    async def __aenter__(self) -> Self:
        # Imported when it is used: httpx brings a command line along that takes most of a second to import.
        from hiro_api_client.transport import Transport

        self._open_transport = await Transport(self.url, api_key=self._api_key, **self._options).__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.__aexit__(kind, error, trace)
        self._open_transport = None

    @property
    def _transport(self) -> Transport:
        if self._open_transport is None:
            raise RuntimeError("a HiroApiClient works inside `async with` only")
        return self._open_transport

    # The chain

    async def status(self) -> Status:
        """The API's version and where it stands."""
        return await self._get(Status, "/extended")

    async def changed_status(self, etag: str | None) -> Tagged[Status] | None:
        """The status, or None if the chain's tip is still the one of ``etag`` (the cheapest way to ask).

        The tag follows the tip's hash, so a fork of the same height changes it too.
        """
        headers = {} if etag is None else {"if-none-match": etag}
        response = await self._transport.request("GET", "/extended", headers=headers, accept=(304,))
        if response.status_code == 304:
            return None
        return Tagged(value=_decode("/extended", response.content, Status), etag=response.headers.get("etag"))

    async def blocks(self, *, limit: int = 20, cursor: str | None = None) -> Page[BlockHeader]:
        """Canonical blocks, the newest first; ``cursor`` is the index block hash the page begins with."""
        return await self._page(BlockHeader, "/extended/v2/blocks", limit, cursor)

    async def block(self, block: BlockId) -> BlockHeader:
        """A block by height, hash or ``latest``. Raises ``NotFoundError``, also for one that is not canonical."""
        return await self._get(BlockHeader, f"/extended/v2/blocks/{block}")

    async def block_transactions(
        self, block: BlockId, *, limit: int = 20, cursor: str | None = None
    ) -> Page[Transaction]:
        """Transactions of a canonical block, the last one first."""
        return await self._page(Transaction, f"/extended/v3/blocks/{block}/transactions", limit, cursor)

    async def burn_blocks(self, *, limit: int = 20, offset: int = 0) -> Page[BurnBlock]:
        """Bitcoin blocks that canonical Stacks blocks are anchored to, the newest first. Pages go by offset only."""
        return await self._page(BurnBlock, "/extended/v2/burn-blocks", limit, None, [("offset", offset)])

    async def burn_block_blocks(self, block: BlockId, *, limit: int = 20, offset: int = 0) -> Page[BlockHeader]:
        """Canonical Stacks blocks that are anchored to a Bitcoin block, the newest first."""
        route = f"/extended/v2/burn-blocks/{block}/blocks"
        return await self._page(BlockHeader, route, limit, None, [("offset", offset)])

    # Transactions

    async def transactions(self, *, limit: int = 20, cursor: str | None = None) -> Page[Transaction]:
        """Mined transactions, the newest first.

        ``cursor`` is ``height:sequence of the microblock:index in the block`` of the first one, or a place between two.
        """
        return await self._page(Transaction, "/extended/v3/transactions", limit, cursor)

    async def transaction(self, tx_id: str, *, include: Sequence[Include] = ()) -> Transaction:
        """A mined or pending transaction. What ``include`` does not name is left out."""
        query = [("include", ",".join(include))] if include else []
        return await self._get(Transaction, f"/extended/v3/transactions/{_prefixed(tx_id)}", query)

    async def transaction_events(self, tx_id: str, *, limit: int = 20, cursor: str | None = None) -> Page[Event]:
        """Events of a mined transaction in the order they happened: this list begins with the oldest."""
        page = await self._page(Event, f"/extended/v3/transactions/{_prefixed(tx_id)}/events", limit, cursor)
        return Page(results=page.results, total=page.total, older=page.newer, newer=page.older)

    async def transaction_event_details(self, tx_id: str, *, limit: int = 20, offset: int = 0) -> list[EventDetails]:
        """Events of a mined transaction as the v1 routes give them, the last one first. Pages go by offset only."""
        query: list[tuple[str, str | int]] = [("tx_id", _prefixed(tx_id)), ("limit", limit), ("offset", offset)]
        return (await self._get(_Events, "/extended/v1/tx/events", query)).events

    async def transaction_details(
        self, tx_ids: Sequence[str], *, event_limit: int = MAX_EVENTS, event_offset: int = 0
    ) -> dict[str, TransactionDetails]:
        """Up to 50 transactions with everything in them, by id; those the API does not know are not in the answer.

        Each has the events from ``event_offset`` on, ``event_limit`` at most. The events of a transaction that was in
        another branch too come from both, with the same ``event_index``. One request for what otherwise takes one or
        two a transaction. Raises ``ServerError`` where one of them calls a function its contract does not have.
        """
        if len(tx_ids) > MAX_TRANSACTIONS:
            raise ValueError(f"{len(tx_ids)} transactions asked for at once, at most {MAX_TRANSACTIONS} are allowed")
        if not tx_ids:
            return {}
        route = "/extended/v1/tx/multiple"
        query: list[tuple[str, str | int]] = [
            *(("tx_id", _prefixed(tx_id)) for tx_id in tx_ids),
            ("event_limit", event_limit),
            ("event_offset", event_offset),
        ]
        found = await self._get(dict[str, _Found], route, query)
        return {
            tx_id: _decode(route, bytes(entry.result), TransactionDetails)
            for tx_id, entry in found.items()
            if entry.found
        }

    async def raw_transaction(self, tx_id: str) -> RawTransaction | RawUnavailable:
        """A transaction's bytes. The route is deprecated: an API may answer that it no longer serves it."""
        try:
            return await self._get(RawTransaction, f"/extended/v1/tx/{_prefixed(tx_id)}/raw")
        except RouteMissingError as error:
            return RawUnavailable(reason="not_served", detail=str(error))
        except NotFoundError as error:
            return RawUnavailable(reason="no_transaction", detail=str(error))

    # The mempool

    async def mempool_transactions(self, *, limit: int = 20, cursor: str | None = None) -> Page[Transaction]:
        """Pending transactions, the newest first."""
        return await self._page(Transaction, "/extended/v3/mempool/transactions", limit, cursor)

    async def mempool_fees(self) -> MempoolFees:
        """What pending transactions pay."""
        return await self._get(MempoolFees, "/extended/v2/mempool/fees")

    # Contracts and principals

    async def contract(self, contract: str) -> Contract:
        """A contract with its source and interface."""
        return await self._get(Contract, f"/extended/v1/contract/{contract}")

    async def contract_logs(self, contract: str, *, limit: int = 20, cursor: str | None = None) -> Page[EventDetails]:
        """What a contract printed, the newest first, up to 50 a page.

        The rows do not name their block; ask for their transaction.
        """
        return await self._page(EventDetails, f"/extended/v2/smart-contracts/{contract}/logs", limit, cursor)

    async def principal_transactions(
        self, principal: str, *, limit: int = 20, cursor: str | None = None
    ) -> Page[PrincipalTransaction]:
        """Mined transactions that touched a principal, the newest first."""
        return await self._page(
            PrincipalTransaction, f"/extended/v3/principals/{principal}/transactions", limit, cursor
        )

    async def principal_nonces(self, principal: str) -> Nonces:
        """A principal's next nonce, with the mempool counted in."""
        return await self._get(Nonces, f"/extended/v3/principals/{principal}/nonces")

    async def stx_balance(self, principal: str) -> StxBalance:
        """A principal's STX."""
        return await self._get(StxBalance, f"/extended/v3/principals/{principal}/balances/stx")

    async def ft_balances(self, principal: str, *, limit: int = 20, cursor: str | None = None) -> Page[FtBalance]:
        """A principal's fungible tokens, the largest balance first."""
        return await self._page(FtBalance, f"/extended/v3/principals/{principal}/balances/ft", limit, cursor)

    async def nft_balances(self, principal: str, *, limit: int = 20, cursor: str | None = None) -> Page[NftPosition]:
        """A principal's non-fungible tokens."""
        return await self._page(NftPosition, f"/extended/v3/principals/{principal}/balances/nft", limit, cursor)

    # The node behind the API

    async def node_info(self) -> NodeInfo:
        """Where the node stands; the API may be behind it."""
        return await self._get(NodeInfo, "/v2/info")

    async def node_account(self, principal: str) -> NodeAccount:
        """Balance and next nonce at the node's tip, without the mempool."""
        return await self._get(NodeAccount, f"/v2/accounts/{principal}", [("proof", 0)])

    async def send_transaction(self, raw: bytes) -> str:
        """Give a signed transaction to the node and get its id (``0x`` hex). Sending the same bytes again is harmless.

        Raises ``TransactionRejectedError`` with the node's reason.
        """
        route = "/v2/transactions"
        response = await self._transport.request(
            "POST", route, headers={"content-type": "application/octet-stream"}, content=raw, accept=(400,)
        )
        if response.status_code == 200:
            return _prefixed(_decode(route, response.content, str))
        try:
            rejection = msgspec.json.decode(response.content, type=_Rejection)
        except msgspec.MsgspecError:
            rejection = _Rejection(reason_data=response.text[:300])
        raise TransactionRejectedError(
            route, rejection.reason, rejection.reason_data, rejection.txid, status=response.status_code
        )

    # Wake-ups

    def listen(
        self,
        events: Sequence[str] = ("block",),
        *,
        addresses: Sequence[str] = (),
        ping_seconds: float = 20.0,
        silence_seconds: float = 300.0,
        backoff_seconds: tuple[float, float] = (0.5, 30.0),
    ) -> AsyncGenerator[Wakeup, None]:
        """Wake-ups for ``events`` (``block``, ``microblock``, ``mempool``) and for transactions of ``addresses``.

        Goes on for ever. The connection is made anew when it ends, when a ping is not answered in ``ping_seconds``, or
        when nothing came for ``silence_seconds``; between attempts the pause grows as ``backoff_seconds`` say. Each
        new connection yields a wake-up with the reason ``connected``, the first one too.
        """
        from hiro_api_client.listening import listen

        subscriptions = [{"event": event} for event in events]
        subscriptions += [{"event": "address_tx_update", "address": address} for address in addresses]
        return listen(
            self.url,
            subscriptions,
            headers={} if self._api_key is None else {"x-api-key": self._api_key},
            ping_seconds=ping_seconds,
            silence_seconds=silence_seconds,
            backoff_seconds=backoff_seconds,
        )

    async def _get(self, kind: type[T], route: str, query: Sequence[tuple[str, str | int]] = ()) -> T:
        response = await self._transport.request("GET", route, query=query)
        return _decode(route, response.content, kind)

    async def _page(
        self,
        kind: type[T],
        route: str,
        limit: int,
        cursor: str | None,
        query: Sequence[tuple[str, str | int]] = (),
    ) -> Page[T]:
        asked = [("limit", limit), *query, *([] if cursor is None else [("cursor", cursor)])]
        response = await self._transport.request("GET", route, query=asked)
        page = _decode(route, response.content, _List)
        results = _decode(route, bytes(page.results), list[kind])  # type: ignore[valid-type]
        if isinstance(page.cursor, _Cursors):
            older, newer = page.cursor.next, page.cursor.previous
        else:
            older, newer = page.prev_cursor, page.next_cursor
        return Page(results=results, total=page.total, older=older, newer=newer)


def _decode(route: str, body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind, strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidAnswerError(
            route, f"the answer is not of the documented shape: {error}; is this a stacks-blockchain-api?"
        ) from error


def _prefixed(text: str) -> str:
    """The API redirects ids without ``0x``, or reads those of digits only as numbers."""
    return text if text.startswith("0x") else f"0x{text}"
