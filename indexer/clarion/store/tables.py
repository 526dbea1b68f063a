"""The core tables, schema ``clarion``. Projections live in a schema of their own per protocol.

The chain log (``block``, ``transaction``, ``event``) is append-only and keeps orphaned blocks; which blocks count is
said in one place, ``canonical_block``. Hashes and raw bytes are ``bytea``; heights, indexes and sequences ``bigint``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, DateTime, Identity, Index, LargeBinary, MetaData, Numeric, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

SCHEMA = "clarion"

#: Every table of the core, of the protocols and of the keeper registers here; Alembic compares it with the database.
metadata: MetaData = SQLModel.metadata


class BlockRow(SQLModel, table=True):
    """A block as it arrived, canonical or not."""

    __tablename__ = "block"
    __table_args__ = (
        Index("block_by_parent", "chain", "parent_hash"),
        Index("block_by_height", "chain", "height"),
        {"schema": SCHEMA},
    )
    chain: str = Field(primary_key=True, sa_type=Text)
    hash: bytes = Field(primary_key=True, sa_type=LargeBinary)
    height: int = Field(sa_type=BigInteger)
    parent_hash: bytes = Field(sa_type=LargeBinary)
    time: int | None = Field(default=None, sa_type=BigInteger)
    burn_height: int | None = Field(default=None, sa_type=BigInteger)
    burn_hash: bytes | None = Field(default=None, sa_type=LargeBinary)
    transaction_count: int = Field(sa_type=BigInteger)
    event_count: int = Field(sa_type=BigInteger)
    extra: dict[str, Any] = Field(sa_type=JSONB)


class TransactionRow(SQLModel, table=True):
    """A transaction within one block; the same transaction mined on two branches has two rows."""

    __tablename__ = "transaction"
    __table_args__ = (
        Index("transaction_by_id", "tx_id"),
        Index("transaction_by_sender", "sender", "height"),
        Index("transaction_by_contract", "contract", "function", "height"),
        {"schema": SCHEMA},
    )
    chain: str = Field(primary_key=True, sa_type=Text)
    height: int = Field(primary_key=True, sa_type=BigInteger)
    block_hash: bytes = Field(primary_key=True, sa_type=LargeBinary)
    tx_index: int = Field(primary_key=True, sa_type=BigInteger)
    tx_id: bytes = Field(sa_type=LargeBinary)
    status: str = Field(sa_type=Text)
    kind: str = Field(sa_type=Text)
    sender: str | None = Field(default=None, sa_type=Text)
    sponsor: str | None = Field(default=None, sa_type=Text)
    nonce: int | None = Field(default=None, sa_type=Numeric(20, 0))
    fee: int | None = Field(default=None, sa_type=Numeric(20, 0))
    contract: str | None = Field(default=None, sa_type=Text)
    function: str | None = Field(default=None, sa_type=Text)
    payload: Any = Field(default=None, sa_type=JSONB, nullable=True)
    result: bytes | None = Field(default=None, sa_type=LargeBinary)
    raw: bytes = Field(sa_type=LargeBinary)
    vm_error: str | None = Field(default=None, sa_type=Text)
    decode_error: str | None = Field(default=None, sa_type=Text)


class EventRow(SQLModel, table=True):
    """An event within one block, keyed (block, transaction, ordinal within the transaction)."""

    __tablename__ = "event"
    __table_args__ = (
        Index("event_by_contract", "contract", "topic", "height"),
        {"schema": SCHEMA},
    )
    chain: str = Field(primary_key=True, sa_type=Text)
    height: int = Field(primary_key=True, sa_type=BigInteger)
    block_hash: bytes = Field(primary_key=True, sa_type=LargeBinary)
    tx_index: int = Field(primary_key=True, sa_type=BigInteger)
    event_index: int = Field(primary_key=True, sa_type=BigInteger)
    kind: str = Field(sa_type=Text)
    contract: str | None = Field(default=None, sa_type=Text)
    topic: str = Field(sa_type=Text)
    value: Any = Field(default=None, sa_type=JSONB, nullable=True)
    raw: bytes | None = Field(default=None, sa_type=LargeBinary)


class CanonicalBlock(SQLModel, table=True):
    """The canonical pointer: which block counts at a height, the last change sequence it wrote, and its digest."""

    __tablename__ = "canonical_block"
    __table_args__ = (
        Index("canonical_block_by_hash", "chain", "hash", unique=True),
        Index("canonical_block_by_sequence", "chain", "sequence"),
        {"schema": SCHEMA},
    )
    chain: str = Field(primary_key=True, sa_type=Text)
    height: int = Field(primary_key=True, sa_type=BigInteger)
    hash: bytes = Field(sa_type=LargeBinary)
    sequence: int = Field(sa_type=BigInteger)
    digest: bytes = Field(sa_type=LargeBinary)


class BurnBlockRow(SQLModel, table=True):
    """A Bitcoin block the Stacks node announced; more than one at a height after a Bitcoin reorg."""

    __tablename__ = "burn_block"
    __table_args__ = (Index("burn_block_by_height", "height"), {"schema": SCHEMA})
    hash: bytes = Field(primary_key=True, sa_type=LargeBinary)
    height: int = Field(sa_type=BigInteger)
    parent_hash: bytes | None = Field(default=None, sa_type=LargeBinary)
    time: int | None = Field(default=None, sa_type=BigInteger)


class CanonicalBurnBlock(SQLModel, table=True):
    """Which announced Bitcoin block counts at a height."""

    __tablename__ = "canonical_burn_block"
    __table_args__ = ({"schema": SCHEMA},)
    height: int = Field(primary_key=True, sa_type=BigInteger)
    hash: bytes = Field(sa_type=LargeBinary)


class Cursor(SQLModel, table=True):
    """How far a chain is indexed. ``fence`` rises with every writer that takes over; only its holder may write."""

    __tablename__ = "cursor"
    __table_args__ = ({"schema": SCHEMA},)
    chain: str = Field(primary_key=True, sa_type=Text)
    height: int | None = Field(default=None, sa_type=BigInteger)
    hash: bytes | None = Field(default=None, sa_type=LargeBinary)
    sequence: int = Field(default=0, sa_type=BigInteger)
    digest: bytes = Field(sa_type=LargeBinary)
    fence: int = Field(default=0, sa_type=BigInteger)
    updated_at: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})


class Step(SQLModel, table=True):
    """One block applied or retracted, in order. Its changes follow it in sequence."""

    __tablename__ = "step"
    __table_args__ = ({"schema": SCHEMA},)
    chain: str = Field(primary_key=True, sa_type=Text)
    sequence: int = Field(primary_key=True, sa_type=BigInteger)
    op: str = Field(sa_type=Text)
    height: int = Field(sa_type=BigInteger)
    hash: bytes = Field(sa_type=LargeBinary)


class ChangeRow(SQLModel, table=True):
    """One projection row's before and after within one block, or (``retraction``) within one rollback.

    ``height`` and ``block_hash`` name the block whose state the row now has: the block applied, or the fork point that
    a rollback returned to (height -1 and an empty hash: back to nothing).
    """

    __tablename__ = "change"
    __table_args__ = (
        Index("change_by_key", "chain", "table", "key", "sequence"),
        {"schema": SCHEMA},
    )
    chain: str = Field(primary_key=True, sa_type=Text)
    sequence: int = Field(primary_key=True, sa_type=BigInteger)
    height: int = Field(sa_type=BigInteger)
    block_hash: bytes = Field(sa_type=LargeBinary)
    table: str = Field(sa_type=Text)
    key: Any = Field(sa_type=JSONB)
    op: str = Field(sa_type=Text)
    before: Any = Field(default=None, sa_type=JSONB, nullable=True)
    after: Any = Field(default=None, sa_type=JSONB, nullable=True)
    retraction: bool = Field(default=False)


class Anomaly(SQLModel, table=True):
    """Something in a block that could not be understood and was not skipped in silence.

    ``tx_index`` and ``event_index`` are -1 where it concerns the block or the whole transaction.
    """

    __tablename__ = "anomaly"
    __table_args__ = ({"schema": SCHEMA},)
    chain: str = Field(primary_key=True, sa_type=Text)
    height: int = Field(primary_key=True, sa_type=BigInteger)
    block_hash: bytes = Field(primary_key=True, sa_type=LargeBinary)
    tx_index: int = Field(primary_key=True, sa_type=BigInteger)
    event_index: int = Field(primary_key=True, sa_type=BigInteger)
    kind: str = Field(primary_key=True, sa_type=Text)
    contract: str | None = Field(default=None, sa_type=Text)
    topic: str | None = Field(default=None, sa_type=Text)
    detail: str = Field(sa_type=Text)


class InboxRow(SQLModel, table=True):
    """A payload a node posted, kept until it has been applied. ``error`` says why one could not be; those stay."""

    __tablename__ = "inbox"
    __table_args__ = (
        Index("inbox_pending", "id", postgresql_where=text("error IS NULL")),
        {"schema": SCHEMA},
    )
    id: int | None = Field(default=None, primary_key=True, sa_type=BigInteger, sa_column_args=(Identity(),))
    path: str = Field(sa_type=Text)
    body: bytes = Field(sa_type=LargeBinary)
    received_at: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})
    error: str | None = Field(default=None, sa_type=Text)


class MempoolTransaction(SQLModel, table=True):
    """A transaction the node holds or has dropped without mining. Not part of the chain and of no digest."""

    __tablename__ = "mempool_transaction"
    __table_args__ = (Index("mempool_transaction_by_sender", "sender"), {"schema": SCHEMA})
    tx_id: bytes = Field(primary_key=True, sa_type=LargeBinary)
    raw: bytes = Field(sa_type=LargeBinary)
    sender: str | None = Field(default=None, sa_type=Text)
    nonce: int | None = Field(default=None, sa_type=Numeric(20, 0))
    fee: int | None = Field(default=None, sa_type=Numeric(20, 0))
    received_at: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})
    dropped_reason: str | None = Field(default=None, sa_type=Text)
    replaced_by: bytes | None = Field(default=None, sa_type=LargeBinary)
