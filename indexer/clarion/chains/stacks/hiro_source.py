"""Whole blocks from a Stacks Blockchain API, as a node would have posted them.

The API has no route for a block with everything in it. It takes one request for 50 transactions, of one block or of
several on top of each other, one for their details and events, and more for transactions of over 100 events. The pieces
are put together only if all of them are of the same block: a fork between two requests shows in their hashes.

The bytes of transactions take another request each, over a deprecated route; without them ``Transaction.raw`` is empty
and everything else is the same. Where the API does not serve that route, they are empty too.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import msgspec
import structlog

from clarion.chains.model import Block
from clarion.chains.stacks.hiro_payloads import block_from_api, details_of, may_be_burn_operation, ref_of
from hiro_api_client import (
    MAX_EVENTS,
    MAX_TRANSACTIONS,
    BlockHeader,
    EventDetails,
    HiroApiClient,
    NotFoundError,
    RawTransaction,
    RequestRejectedError,
    RouteMissingError,
    ServerError,
    Transaction,
    TransactionDetails,
    pages,
)

ATTEMPTS: Final = 4
"""How often a block is put together before giving up; between them it is asked whether it is still canonical."""
RETRY_SECONDS: Final = 0.5

_TOP: Final = f"{(1 << 31) - 1}:{(1 << 15) - 1}"
"""What a block's height is followed by in the cursor of its last transaction or the place above it: the sequence number
of what is in no microblock, and the highest index there may be (``src/datastore/v3/helpers.ts``)."""

log = structlog.get_logger(__name__)

T = TypeVar("T")


class HiroSourceError(RuntimeError):
    """The API's pieces of a block do not fit together, again and again."""


class HiroForkError(HiroSourceError):
    """The chain forked while it was read. Asking again will do, if it does not happen again and again."""


class _PiecesDifferError(Exception):
    """A piece is not of the block, or not whole: the chain may have forked meanwhile."""


class HiroSource:
    """Blocks of one API. ``with_raw``: fetch the bytes of transactions too. At most ``concurrency`` requests at once.

    Its methods raise ``HiroApiError`` where the API fails, ``PayloadError`` where a block cannot be read, and
    ``HiroSourceError`` where its pieces do not fit.
    """

    def __init__(self, client: HiroApiClient, *, with_raw: bool = False, concurrency: int = 8) -> None:
        self._client = client
        self._with_raw = with_raw
        self._serves_raw = True
        self._serves_many = True
        self._slots = asyncio.Semaphore(concurrency)

    async def header(self, block_hash: bytes) -> BlockHeader | None:
        """A canonical block's header by index block hash, or None where the API does not have it (any more)."""
        wanted = f"0x{block_hash.hex()}"
        try:
            async with self._slots:
                header = await self._client.block(wanted)
        except RouteMissingError:
            raise
        except NotFoundError:
            return None
        # The route takes the block's own hash too, and answers another block for it.
        return header if header.canonical and header.index_block_hash == wanted else None

    async def block(self, block_hash: bytes) -> Block | None:
        """A canonical block by index block hash, or None where the API does not have it (any more)."""
        header = await self.header(block_hash)
        return None if header is None else await self.block_of(header)

    async def block_of(self, header: BlockHeader) -> Block | None:
        """The block of a header, or None where a fork took it away."""
        wanted = ref_of(header).hash
        current: BlockHeader | None = header
        problem = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(RETRY_SECONDS * attempt)
                current = await self.header(wanted)
            if current is None:
                return None
            try:
                return await self._assemble(current)
            except RouteMissingError:
                raise
            except (_PiecesDifferError, NotFoundError) as error:
                problem = str(error)
        raise HiroSourceError(
            f"{self._client.url}: block {header.height} ({header.index_block_hash}) does not fit together after "
            f"{ATTEMPTS} attempts: {problem}"
        )

    async def blocks_of(self, headers: Sequence[BlockHeader]) -> list[Block | None]:
        """The blocks of headers that build on each other, the lowest first; None for what a fork took away."""
        found = await all_of(self._group(group) for group in _groups(headers))
        return [block for blocks in found for block in blocks]

    async def _group(self, headers: Sequence[BlockHeader]) -> list[Block | None]:
        """Blocks that together have no more transactions than a page."""
        if len(headers) == 1:
            return [await self.block_of(headers[0])]
        listed = await self._listed(headers)
        # Where the header counts otherwise, the block's own list decides.
        agreed = {
            header.index_block_hash: listed[header.index_block_hash]
            for header in headers
            if len(listed[header.index_block_hash]) == header.tx_count
        }
        details = await self._together([summary.tx_id for summaries in agreed.values() for summary in summaries])
        return await all_of(self._of_group(header, agreed.get(header.index_block_hash), details) for header in headers)

    async def _of_group(
        self, header: BlockHeader, listed: Sequence[Transaction] | None, details: Mapping[str, TransactionDetails]
    ) -> Block | None:
        if listed is not None:
            with contextlib.suppress(_PiecesDifferError, NotFoundError):
                return await self._put_together(header, listed, details)
        return await self.block_of(header)

    async def _listed(self, headers: Sequence[BlockHeader]) -> dict[str, list[Transaction]]:
        """The transactions of blocks that build on each other, by index block hash, each block's last one first."""
        listed: dict[str, list[Transaction]] = {header.index_block_hash: [] for header in headers}
        async with self._slots:
            async for page in pages(
                self._client.transactions, limit=MAX_TRANSACTIONS, cursor=f"{headers[-1].height}:{_TOP}"
            ):
                for summary in page.results:
                    if summary.block is not None and summary.block.index_hash in listed:
                        listed[summary.block.index_hash].append(summary)
                lowest = page.results[-1].block if page.results else None
                if lowest is None or lowest.height < headers[0].height:
                    break
        return listed

    async def _assemble(self, header: BlockHeader) -> Block:
        summaries = await self._summaries(header)
        ids = [summary.tx_id for summary in summaries]
        groups = [ids[start : start + MAX_TRANSACTIONS] for start in range(0, len(ids), MAX_TRANSACTIONS)]
        found = await all_of(self._together(group) for group in groups)
        details = {tx_id: told for group in found for tx_id, told in group.items()}
        return await self._put_together(header, summaries, details)

    async def _put_together(
        self, header: BlockHeader, listed: Sequence[Transaction], details: Mapping[str, TransactionDetails]
    ) -> Block:
        positions = _positions(header, listed)
        checked = await all_of(self._checked(header, summary.tx_id, details.get(summary.tx_id)) for summary in listed)
        placed = [msgspec.structs.replace(told, tx_index=index) for told, index in zip(checked, positions, strict=True)]
        return block_from_api(header, placed, await self._raws(placed))

    async def _summaries(self, header: BlockHeader) -> list[Transaction]:
        """The block's transactions as they are listed, the last one first, each checked to be the block's."""
        route = partial(self._client.block_transactions, header.index_block_hash)
        found: dict[str, Transaction] = {}
        async with self._slots:
            async for page in pages(route, limit=MAX_TRANSACTIONS):
                for summary in page.results:
                    if summary.block is None or summary.block.index_hash != header.index_block_hash:
                        raise _PiecesDifferError(f"transaction {summary.tx_id} is listed but belongs to another block")
                    found[summary.tx_id] = summary
        left_out = (header.tx_count or 0) - len(found)
        if left_out > 0:
            log.warning("hiro_api_left_out_transactions", height=header.height, transactions=left_out)
        return list(found.values())

    async def _checked(self, header: BlockHeader, tx_id: str, told: TransactionDetails | None) -> TransactionDetails:
        """The details of one of the block's transactions with all its events."""
        if told is None or _problem(header, told) is not None:
            # The v3 routes take one transaction at a time, but only ever know the canonical one.
            told = await self._alone(tx_id)
            if (problem := _problem(header, told)) is not None:
                raise _PiecesDifferError(problem)
        return told

    async def _together(self, tx_ids: Sequence[str]) -> dict[str, TransactionDetails]:
        """Details by id of those transactions that are found, over the route that takes many at once."""
        whole: dict[str, TransactionDetails] = {}
        wanted, offset = list(tx_ids), 0
        while wanted and self._serves_many:
            try:
                async with self._slots:
                    found = await self._client.transaction_details(wanted, event_limit=MAX_EVENTS, event_offset=offset)
            except (RouteMissingError, RequestRejectedError) as error:
                # Without this route its name would be taken for a transaction's id, which is refused.
                log.warning("hiro_api_serves_transactions_one_by_one", detail=str(error))
                self._serves_many = False
                return {}
            except ServerError as error:
                # One call of a function that its contract lacks fails the answer for all of them.
                log.warning("hiro_api_fails_for_transactions", transactions=len(wanted), detail=str(error))
                return {}
            for tx_id, told in found.items():
                before = whole.get(tx_id)
                events = [*((before and before.events) or ()), *(told.events or ())]
                whole[tx_id] = msgspec.structs.replace(told, events=events)
            offset += MAX_EVENTS
            wanted = [tx_id for tx_id, told in found.items() if (told.event_count or 0) > offset]
        return whole

    async def _alone(self, tx_id: str) -> TransactionDetails:
        """The details of one transaction, over routes that take one."""
        async with self._slots:
            told = await self._client.transaction(tx_id, include=("function_args", "source_code", "result"))
        if told.block is None:
            return details_of(told, ())  # back in the mempool, where it has no events
        try:
            async with self._slots:
                events = [
                    event
                    async for page in pages(
                        partial(self._client.transaction_events, tx_id), towards="newer", limit=MAX_EVENTS
                    )
                    for event in page.results
                ]
        except RequestRejectedError as error:
            raise _PiecesDifferError(f"transaction {tx_id} was mined, and has no events now: {error}") from error
        except ServerError as error:
            # Versions up to 9.0 fail for tokens whose name has more than letters and hyphens.
            log.warning("hiro_api_fails_for_events", transaction=tx_id, detail=str(error))
            return msgspec.structs.replace(details_of(told, ()), events=await self._older_events(tx_id))
        return details_of(told, events)

    async def _older_events(self, tx_id: str) -> list[EventDetails]:
        """The events of one transaction, over the route of the v1 ones."""
        events: list[EventDetails] = []
        page: list[EventDetails] | None = None
        while page is None or len(page) == MAX_EVENTS:
            async with self._slots:
                page = await self._client.transaction_event_details(tx_id, limit=MAX_EVENTS, offset=len(events))
            events += page
        return events[::-1]

    async def _raws(self, details: Sequence[TransactionDetails]) -> dict[str, str]:
        """Bytes (hex) by transaction id: of all if asked for, otherwise of those that only their bytes can tell."""
        asked = [told.tx_id for told in details if self._with_raw or may_be_burn_operation(told)]
        found = await all_of(self._raw(tx_id) for tx_id in asked)
        return {tx_id: raw for tx_id, raw in zip(asked, found, strict=True) if raw is not None}

    async def _raw(self, tx_id: str) -> str | None:
        if not self._serves_raw:
            return None
        async with self._slots:
            answer = await self._client.raw_transaction(tx_id)
        if isinstance(answer, RawTransaction):
            return answer.raw_tx
        if answer.reason == "no_transaction":
            raise _PiecesDifferError(f"transaction {tx_id} is listed but has no bytes")
        if self._serves_raw:
            log.warning("hiro_api_serves_no_raw_transactions", detail=answer.detail)
        self._serves_raw = False
        return None


async def all_of(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """What all the calls answer. Where one raises the others are cancelled first, so that none goes on asking."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _groups(headers: Sequence[BlockHeader]) -> list[list[BlockHeader]]:
    """Headers in their order, as many together as have no more transactions than a page."""
    groups: list[list[BlockHeader]] = []
    room = 0
    for header in headers:
        count = MAX_TRANSACTIONS if header.tx_count is None else header.tx_count
        if not groups or count > room:
            groups.append([])
            room = MAX_TRANSACTIONS
        groups[-1].append(header)
        room -= count
    return groups


def _positions(header: BlockHeader, listed: Sequence[Transaction]) -> list[int]:
    """Where in the block each transaction is, for the order they are listed in.

    Before Nakamoto a block could confirm microblocks. The API lists their transactions after the block's own, which go
    down to 0, and may number them within their microblock; a node counts on after the block's own.
    """
    told = [summary.block.tx_index for summary in listed if summary.block is not None]
    own = told.index(0) + 1 if 0 in told else len(told)
    positions = told[:own]
    if any(lower >= higher for higher, lower in itertools.pairwise(positions)):
        raise _PiecesDifferError(f"the transactions of block {header.height} are not listed in their order")
    last = max(positions, default=-1)
    confirmed = []
    for index in reversed(told[own:]):
        last = max(last + 1, index)
        confirmed.append(last)
    return positions + confirmed[::-1]


def _problem(header: BlockHeader, told: TransactionDetails) -> str | None:
    """Why a transaction's details are not of this block, or not whole; None where they are."""
    if told.block_hash != header.hash or told.block_height != header.height or told.canonical is False:
        return f"transaction {told.tx_id} is in block {told.block_hash} now"
    events = {event.event_index for event in told.events or ()}
    if len(events) != len(told.events or ()) or len(events) != (told.event_count or 0):
        return f"transaction {told.tx_id} has {told.event_count} events, but {len(events)} are answered"
    return None
