"""Where a transaction stands: waiting, mined, taken back, final, dropped."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from clarion.chains.model import Chain, Finality
from clarion_graphql.context import Service
from clarion_graphql.core import MEMPOOL_TRANSACTION, TRANSACTION
from clarion_graphql.enums import graphql_enum
from clarion_graphql.filters import equal_to
from clarion_graphql.finality import finality_of
from clarion_graphql.live.sources import State
from clarion_graphql.pages import fetch_one
from clarion_graphql.session import Session
from clarion_graphql.sql import build


class TransactionState(StrEnum):
    """Where a transaction stands."""

    UNKNOWN = "unknown"
    PENDING = "pending"
    MINED = "mined"
    RETRACTED = "retracted"
    DROPPED = "dropped"


graphql_enum(
    TransactionState,
    {
        "UNKNOWN": "Neither the chain nor the node's mempool holds it, or not yet.",
        "PENDING": "The node holds it in its mempool.",
        "MINED": "It is in a canonical block; `finality` says how final that is, `transaction.status` how it ended.",
        "RETRACTED": "It was mined, and a reorganisation took its block back. It may be mined again.",
        "DROPPED": "The node dropped it without mining it; `waiting.droppedReason` says why.",
    },
)


@dataclass(frozen=True, slots=True)
class TransactionMessage:
    """Where a transaction stands, and the rows that say so: attributes by the names of the API's fields."""

    sequence: int
    state: TransactionState
    finality: Finality | None
    transaction: Any
    waiting: Any


async def read_transaction_state(service: Service, chain: Chain, tx_id: bytes) -> list[State]:
    """Where the transaction stands now."""
    session = service.session()
    try:
        receipt = (await session.receipts()).get(chain)
        sequence = 0 if receipt is None else receipt.sequence
        mined = await _mined(session, chain, tx_id)
        waiting = None
        if chain == MEMPOOL_TRANSACTION.chain:
            waiting = await fetch_one(session, MEMPOOL_TRANSACTION, equal_to(MEMPOOL_TRANSACTION, {"tx_id": tx_id}))
        finality = None
        if mined is not None and mined.canonical:
            finality = await finality_of(session, chain, mined.height, mined.block_hash)
    finally:
        await session.close()
    message = TransactionMessage(sequence, _state(mined, waiting), finality, mined, waiting)
    at = None if mined is None else mined.block_hash
    dropped = None if waiting is None else (waiting.dropped_reason, waiting.replaced_by)
    return [State("transaction", (message.state, finality, at, dropped), message, sequence)]


async def _mined(session: Session, chain: Chain, tx_id: bytes) -> Any:
    """The transaction in its canonical block, or else in the highest of those that lost; None where it is in none."""
    query = build(
        "SELECT {columns} FROM {source} t WHERE {condition} ORDER BY t.height DESC LIMIT 100",
        columns=TRANSACTION.selected,
        source=TRANSACTION.source,
        condition=equal_to(TRANSACTION, {"chain": chain, "tx_id": tx_id}),
    )
    rows = [TRANSACTION.make(*row) for row in await session.fetch(query, at_most=100)]
    return next((row for row in rows if row.canonical), rows[0] if rows else None)


def _state(mined: Any, waiting: Any) -> TransactionState:
    if mined is not None and mined.canonical:
        return TransactionState.MINED
    if waiting is not None and waiting.dropped_reason is not None:
        return TransactionState.DROPPED
    if mined is not None:
        return TransactionState.RETRACTED
    return TransactionState.UNKNOWN if waiting is None else TransactionState.PENDING
