"""The values every chain source produces and everything after it consumes."""

from __future__ import annotations

from bisect import bisect_left
from enum import StrEnum
from operator import attrgetter
from typing import Final, Literal, Union

from msgspec import Struct

from clarion.chains.stacks.derived import event_value, transaction_payload

Chain = Literal["stacks", "bitcoin"]

#: JSON as it is stored: integers are exact at any size, byte strings are ``0x`` hex text.
JsonValue = Union[None, bool, int, str, list["JsonValue"], dict[str, "JsonValue"]]  # noqa: UP007


class EventKind(StrEnum):
    """What a contract said: a ``print``, or something that happened to an asset.

    On Bitcoin: what a transaction does to charms, by its ``spell``, or by a ``spend`` without one.
    """

    PRINT = "print"
    STX_TRANSFER = "stx_transfer"
    STX_MINT = "stx_mint"
    STX_BURN = "stx_burn"
    STX_LOCK = "stx_lock"
    FT_TRANSFER = "ft_transfer"
    FT_MINT = "ft_mint"
    FT_BURN = "ft_burn"
    NFT_TRANSFER = "nft_transfer"
    NFT_MINT = "nft_mint"
    NFT_BURN = "nft_burn"
    SPELL = "spell"
    SPEND = "spend"
    UNKNOWN = "unknown"


#: Kinds of events of Bitcoin; all others are of Stacks.
BITCOIN_KINDS: Final = frozenset({EventKind.SPELL, EventKind.SPEND})


class TransactionStatus(StrEnum):
    """How a mined transaction ended, in the node's own words."""

    SUCCESS = "success"
    ABORT_BY_RESPONSE = "abort_by_response"
    ABORT_BY_POST_CONDITION = "abort_by_post_condition"
    PROBLEMATIC_SKIPPED = "problematic_skipped"


class Finality(StrEnum):
    """How sure it is that a block stays.

    ``soft``: seen. ``anchored``: its burn block is known and canonical. ``final``: that burn block is deep enough to be
    irreversible in practice (a setting, counted in burn blocks).
    """

    SOFT = "soft"
    ANCHORED = "anchored"
    FINAL = "final"


class BlockRef(Struct, frozen=True, gc=False):
    """Names one block. A Stacks block's ``hash`` is its index block hash, a Bitcoin block's is in display order."""

    chain: Chain
    height: int
    hash: bytes
    parent_hash: bytes

    def __str__(self) -> str:
        return f"{self.chain} block {self.height} (0x{self.hash.hex()})"


class BurnBlock(Struct, frozen=True, gc=False):
    """A Bitcoin block as a Stacks node reports it. ``parent_hash`` and ``time`` are absent in old payloads."""

    height: int
    hash: bytes
    parent_hash: bytes | None = None
    time: int | None = None

    def __str__(self) -> str:
        return f"burn block {self.height} (0x{self.hash.hex()})"


class Event(Struct, frozen=True, eq=False, gc=False):
    """One thing a contract said.

    ``index`` counts from 0 within the transaction, in the order the chain produced the events; it is the same from
    every source. ``topic`` is what handlers select by: for a ``print`` of a tuple its ``topic`` (or ``event``,
    ``action``, ``notification``) field, otherwise the kind. ``raw`` is the consensus bytes of a print's or NFT's
    Clarity value, ``stored_value`` what of :attr:`value` these do not say, or all of it (``chains.stacks.derived``).
    """

    tx_index: int
    index: int
    kind: EventKind
    contract: str | None
    topic: str
    stored_value: JsonValue
    raw: bytes | None = None

    @property
    def value(self) -> JsonValue:
        """The JSON form of all of it, decoded anew each time. Raises ``DecodeError`` where ``raw`` is not valid."""
        return event_value(self.kind, self.stored_value, self.raw)

    def __eq__(self, other: object) -> bool:
        """Whether both say the same, whatever of it is stored."""
        if not isinstance(other, Event):
            return NotImplemented
        return (
            (self.tx_index, self.index, self.kind, self.contract, self.topic, self.raw)
            == (other.tx_index, other.index, other.kind, other.contract, other.topic, other.raw)
        ) and (self.stored_value == other.stored_value or self.value == other.value)


class Transaction(Struct, frozen=True, eq=False, gc=False):
    """One mined transaction. ``kind`` is the payload's name, ``burn_operation`` for one made on Bitcoin, or
    ``undecodable`` (then ``decode_error`` says why). ``fee`` is in micro-STX. ``stored_payload`` is what of
    :attr:`payload` the bytes do not say (or all of it). ``interface`` is that of the contract it deployed, where the
    source told it; not all do, so it is no part of what the transaction is.
    """

    index: int
    id: bytes
    status: TransactionStatus
    kind: str
    sender: str | None
    sponsor: str | None
    nonce: int | None
    fee: int | None
    contract: str | None
    function: str | None
    stored_payload: JsonValue
    result: bytes | None
    raw: bytes
    vm_error: str | None = None
    decode_error: str | None = None
    interface: JsonValue = None

    @property
    def payload(self) -> JsonValue:
        """The JSON form of what it asked for (contract, function and arguments of a call, recipient and amount of a
        transfer), decoded anew each time. Raises ``DecodeError`` where ``raw`` cannot be decoded.
        """
        return transaction_payload(self.kind, self.stored_payload, self.raw)

    def __eq__(self, other: object) -> bool:
        """Whether both are the same, whatever of the payload is stored and whether or not the interface is known."""
        if not isinstance(other, Transaction):
            return NotImplemented
        return _identity(self) == _identity(other) and (
            self.stored_payload == other.stored_payload or self.payload == other.payload
        )


def _identity(tx: Transaction) -> tuple[object, ...]:
    who = (tx.sender, tx.sponsor, tx.nonce, tx.fee)
    asked = (tx.kind, tx.contract, tx.function, tx.raw)
    return (tx.index, tx.id, who, asked, tx.status, tx.result, tx.vm_error, tx.decode_error)


class Block(Struct, frozen=True, gc=False):
    """A block with everything in it.

    ``time`` is Unix seconds. ``burn`` is the Bitcoin block it is anchored to (for Bitcoin: itself), None only where
    the source could not tell. ``events`` are ordered by (transaction, index). ``extra`` holds what the source said
    beyond this (tenure height, consensus hash, block hash), and for Bitcoin the block's ``work``.
    """

    ref: BlockRef
    time: int | None
    burn: BurnBlock | None
    transactions: tuple[Transaction, ...]
    events: tuple[Event, ...]
    extra: dict[str, JsonValue]

    @property
    def height(self) -> int:
        """The block's height on its own chain."""
        return self.ref.height

    @property
    def hash(self) -> bytes:
        """The block's hash (for Stacks the index block hash)."""
        return self.ref.hash

    @property
    def transaction_count(self) -> int:
        """How many transactions the block has."""
        return len(self.transactions)

    @property
    def event_count(self) -> int:
        """How many events the block has."""
        return len(self.events)

    def transaction(self, index: int) -> Transaction:
        """The transaction in that place of the block, of which there may be only some here."""
        transactions = self.transactions
        if index < len(transactions) and transactions[index].index == index:
            return transactions[index]
        return transactions[bisect_left(transactions, index, key=attrgetter("index"))]
