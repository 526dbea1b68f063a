"""The protocol object, and how a projection registers with it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final, TypeVar

from clarion.protocol import EventContext, Protocol
from clarion.protocols.bithedge.events import Event, source_of
from clarion.protocols.bithedge.tables import TABLES, ContractSequence, SequenceGap
from clarion.store.rows import Rows

protocol: Final = Protocol("bithedge", tables=TABLES, title="BitHedge")
"""BitHedge: Bitcoin price protection on Stacks."""

E = TypeVar("E", bound=Event)
Projection = Callable[[E, EventContext, Rows], None]


def on(event: type[E]) -> Callable[[Projection[E]], Projection[E]]:
    """Register a projection for the events that this struct decodes; each also advances its contract's sequence."""
    contract, topic = source_of(event)

    def register(projection: Projection[E]) -> Projection[E]:
        @functools.wraps(projection)
        def numbered(payload: Any, at: EventContext, rows: Rows) -> None:
            follow_sequence(payload.seq, at, rows)
            projection(payload, at, rows)

        protocol.on(contract, topic)(numbered)
        return projection

    return register


def follow_sequence(seq: int, at: EventContext, rows: Rows) -> None:
    """Record that the contract's event number ``seq`` was seen, and a gap where it is not the next."""
    known = rows.get(ContractSequence, at.contract)
    if known is None:
        rows.insert(ContractSequence, contract=at.contract, first_seq=seq, last_seq=seq)
        return
    expected = known.last_seq + 1
    if seq != expected:
        known.missing += max(seq - expected, 0)
        if rows.get(SequenceGap, at.contract, seq) is None:
            rows.insert(
                SequenceGap,
                contract=at.contract,
                seq=seq,
                expected=expected,
                height=at.height,
                tx_id=tx_text(at),
            )
    known.last_seq = seq


def tx_text(at: EventContext) -> str:
    """The transaction's id as columns hold it."""
    return f"0x{at.tx_id.hex()}"
