"""Blocks whose rows of the chain log are packed already, so that whoever writes them need not look at them.

Most of what a chain says is only stored. Where blocks are decoded in other processes, those pack the rows as well and
hand over, beside the bytes, only what the protocols look at (:class:`Interest`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from struct import Struct
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import structs

from clarion.chains.model import Block, EventKind, Transaction
from clarion.chains.stacks.payloads import SmartContract
from clarion.store import copy

if TYPE_CHECKING:  # decoding processes need neither, and start in a fraction of the time without
    from clarion.protocol import DeployedProtocol

_ALWAYS: Final = frozenset((EventKind.UNKNOWN,))
#: Postgres puts the keys of a jsonb column into an order of its own.
_json = msgspec.json.Encoder().encode

BLOCK_COLUMNS: Final = (
    b"clarion.block (chain, hash, height, parent_hash, time, burn_height, burn_hash, transaction_count, event_count, "
    b"extra)"
)
TRANSACTION_COLUMNS: Final = (
    b"clarion.transaction (chain, height, block_hash, tx_index, tx_id, status, kind, sender, sponsor, nonce, fee, "
    b"contract, function, payload, result, raw, vm_error, decode_error)"
)
EVENT_COLUMNS: Final = (
    b"clarion.event (chain, height, block_hash, tx_index, event_index, kind, contract, topic, value, raw)"
)


class BlockRows(msgspec.Struct, frozen=True, gc=False):
    """A block's rows of the chain log, packed for :mod:`clarion.store.copy` with the columns above."""

    block: bytes
    transactions: bytes
    events: bytes


@dataclass(frozen=True, slots=True)
class Interest:
    """What of a block the protocols look at. ``kinds``: of events of all contracts; None: every event."""

    contracts: frozenset[str]
    kinds: frozenset[EventKind] | None
    deployments: bool

    @staticmethod
    def of(protocols: Iterable[DeployedProtocol]) -> Interest:
        """What these protocols look at together."""
        protocols = tuple(protocols)
        kinds: frozenset[EventKind] | None = frozenset()
        for deployed in protocols:
            kinds = None if kinds is None or deployed.kinds_of_all is None else kinds | deployed.kinds_of_all
        return Interest(
            frozenset(contract for deployed in protocols for contract in deployed.contracts),
            kinds,
            any(deployed.sees_deployments for deployed in protocols),
        )

    def covers(self, other: Interest) -> bool:
        """Whether whoever has this has all that the other wants."""
        return (
            self.contracts >= other.contracts
            and (self.kinds is None or (other.kinds is not None and self.kinds >= other.kinds))
            and self.deployments >= other.deployments
        )


class PackedBlock(Block, frozen=True, gc=False):
    """A block with its packed rows.

    ``transactions`` and ``events`` hold only those that matter beyond the chain log: what ``interest`` says, what could
    not be decoded, contract interfaces, and the transactions of these events; of transactions that deploy nothing
    neither the bytes nor what they asked for and returned.
    """

    rows: BlockRows
    interest: Interest
    counts: tuple[int, int]
    """How many transactions and events the block has."""

    @property
    def transaction_count(self) -> int:
        """How many transactions the block has."""
        return self.counts[0]

    @property
    def event_count(self) -> int:
        """How many events the block has."""
        return self.counts[1]

    def transaction(self, index: int) -> Transaction:
        """The transaction in that place of the block."""
        found = self.transactions[bisect_left(self.transactions, index, key=attrgetter("index"))]
        if found.index != index:
            raise LookupError(f"{self.ref}: transaction {index} was packed away")
        return found


def packed(block: Block, interest: Interest) -> PackedBlock:
    """The block with its rows packed, and without what nobody is interested in."""
    contracts, kinds, deployments = interest.contracts, interest.kinds, interest.deployments
    events = block.events
    if kinds is not None:
        kinds |= _ALWAYS
        events = tuple([event for event in events if event.contract in contracts or event.kind in kinds])
    needed = {event.tx_index for event in events}
    transactions = tuple(
        [
            tx if tx.kind == SmartContract.kind else structs.replace(tx, stored_payload=None, result=None, raw=b"")
            for tx in block.transactions
            if tx.index in needed
            or tx.decode_error is not None
            or tx.interface is not None
            or (deployments and tx.kind == SmartContract.kind)
        ]
    )
    counts = len(block.transactions), len(block.events)
    return PackedBlock(
        block.ref, block.time, block.burn, transactions, events, block.extra, pack(block), interest, counts
    )


def pack(block: Block) -> BlockRows:
    """The rows of a block."""
    ref, burn = block.ref, block.burn
    place = copy.common_text(ref.chain) + copy.bigint(ref.height) + copy.bytea(ref.hash)
    block_row = (
        _BLOCK_HEAD,
        copy.common_text(ref.chain),
        copy.bytea(ref.hash),
        copy.bigint(ref.height),
        copy.bytea(ref.parent_hash),
        copy.bigint(block.time),
        copy.bigint(burn.height if burn else None),
        copy.bytea(burn.hash if burn else None),
        copy.bigint(len(block.transactions)),
        copy.bigint(len(block.events)),
        copy.jsonb(_json(block.extra)),
    )
    head = _TRANSACTION_HEAD + place
    transactions: list[bytes] = []
    for tx in block.transactions:
        result = tx.result
        transactions += (
            head,
            _bigint_and_length(8, tx.index, len(tx.id)),
            tx.id,
            _two_texts(tx.status, tx.kind),
            _two_texts(tx.sender, tx.sponsor),
            copy.common_numeric(tx.nonce),
            copy.common_numeric(tx.fee),
            _two_texts(tx.contract, tx.function),
            copy.NULL if tx.stored_payload is None else copy.jsonb(_json(tx.stored_payload)),
            copy.NULL if result is None else _length(len(result)) + result,
            _length(len(tx.raw)),
            tx.raw,
            _NO_ERRORS
            if tx.vm_error is None and tx.decode_error is None
            else copy.text(_storable(tx.vm_error)) + copy.text(_storable(tx.decode_error)),
        )
    head = _EVENT_HEAD + place
    events: list[bytes] = []
    for event in block.events:
        value, raw = event.stored_value, event.raw
        events += (
            head,
            _two_bigints(8, event.tx_index, 8, event.index),
            _three_texts(event.kind, event.contract, event.topic),
            copy.NULL if value is None else copy.jsonb(_json(value)),
            copy.NULL if raw is None else _length(len(raw)) + raw,
        )
    return BlockRows(b"".join(block_row), b"".join(transactions), b"".join(events))


# Here a call for each field of each row is what packing costs, so the most frequent ones are packed in place.
_length: Final = Struct(">i").pack
_bigint_and_length: Final = Struct(">iqi").pack
_two_bigints: Final = Struct(">iqiq").pack
_BLOCK_HEAD: Final = copy.row_head(10)
_TRANSACTION_HEAD: Final = copy.row_head(18)
_EVENT_HEAD: Final = copy.row_head(10)
_NO_ERRORS: Final = copy.NULL + copy.NULL


@lru_cache(maxsize=65_536)
def _two_texts(first: str | None, second: str | None) -> bytes:
    return copy.text(first) + copy.text(second)


@lru_cache(maxsize=65_536)
def _three_texts(first: str | None, second: str | None, third: str | None) -> bytes:
    return copy.text(first) + copy.text(second) + copy.text(third)


def _storable(text: str | None) -> str | None:
    """Postgres text cannot hold NUL."""
    return None if text is None else text.replace("\x00", "\\0")
