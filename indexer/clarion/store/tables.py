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
    """A transaction within one block; the same transaction mined on two branches has two rows.

    ``payload`` is null where it follows from ``raw``: ``clarion.transaction_payload(kind, payload, raw)`` is all of it.
    """

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
    """An event within one block, keyed (block, transaction, ordinal within the transaction).

    ``value`` holds what ``raw`` does not say; ``clarion.event_value(kind, value, raw)`` is all of it.
    """

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
    """The canonical pointer: which block counts at a height, and the last change sequence it wrote."""

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
    """How far a chain is indexed. ``fence`` rises with every writer that takes over; only its holder may write.

    ``digest`` is the tip's (``clarion.digest_at``). ``final_height`` is the highest block that was ever final: it never
    falls, and nothing at or below it is rolled back. Steps and changes after ``kept_from`` are kept.
    """

    __tablename__ = "cursor"
    __table_args__ = ({"schema": SCHEMA},)
    chain: str = Field(primary_key=True, sa_type=Text)
    height: int | None = Field(default=None, sa_type=BigInteger)
    hash: bytes | None = Field(default=None, sa_type=LargeBinary)
    sequence: int = Field(default=0, sa_type=BigInteger)
    digest: bytes = Field(sa_type=LargeBinary)
    fence: int = Field(default=0, sa_type=BigInteger)
    final_height: int | None = Field(default=None, sa_type=BigInteger)
    kept_from: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs={"server_default": text("0")})
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
    a rollback returned to (height -1 and an empty hash: back to nothing). ``before`` is kept for blocks that may still
    be rolled back; one that was final when it was applied has none.
    """

    __tablename__ = "change"
    __table_args__ = (
        Index("change_by_key", text('clarion.key_hash("table", key)'), "sequence"),
        Index("change_deletes", "chain", "table", "sequence", postgresql_where=text("op = 'delete'")),
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


class ProtocolRow(SQLModel, table=True):
    """A protocol's projection of a chain: which generation of it is live, and how far the next one is filled.

    The live generation's tables are in the schema ``<name>``, the next one's in ``<name>__next``. Generation 0: none is
    live yet. ``fingerprint`` says of which code, tables and contracts a generation is made. Changes of the live
    generation have sequences after ``since_sequence``; what was before is in ``history``. ``stopped_sequence`` is where
    the index stood when the protocol was last enabled, None while it is.
    """

    __tablename__ = "protocol"
    __table_args__ = ({"schema": SCHEMA},)
    chain: str = Field(primary_key=True, sa_type=Text)
    name: str = Field(primary_key=True, sa_type=Text)
    generation: int = Field(default=0, sa_type=BigInteger)
    fingerprint: str = Field(default="", sa_type=Text)
    contracts: dict[str, Any] = Field(sa_type=JSONB)
    since_sequence: int = Field(default=0, sa_type=BigInteger)
    stopped_sequence: int | None = Field(default=None, sa_type=BigInteger)
    next_generation: int | None = Field(default=None, sa_type=BigInteger)
    next_fingerprint: str | None = Field(default=None, sa_type=Text)
    next_height: int | None = Field(default=None, sa_type=BigInteger)
    next_ready: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    updated_at: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})


class DigestRow(SQLModel, table=True):
    """The digest of a protocol at a canonical block in which it changed rows, chained to its previous one."""

    __tablename__ = "digest"
    __table_args__ = ({"schema": SCHEMA},)
    chain: str = Field(primary_key=True, sa_type=Text)
    protocol: str = Field(primary_key=True, sa_type=Text)
    generation: int = Field(primary_key=True, sa_type=BigInteger)
    height: int = Field(primary_key=True, sa_type=BigInteger)
    digest: bytes = Field(sa_type=LargeBinary)


class HistoryRow(SQLModel, table=True):
    """A row after a final block, written when a protocol's generation was filled from the chain log.

    Only time travel reads it; ``after`` is null where the row was deleted.
    """

    __tablename__ = "history"
    __table_args__ = (
        Index("history_deletes", "chain", "table", "generation", "height", postgresql_where=text("after IS NULL")),
        {"schema": SCHEMA},
    )
    chain: str = Field(primary_key=True, sa_type=Text)
    table: str = Field(primary_key=True, sa_type=Text)
    generation: int = Field(primary_key=True, sa_type=BigInteger)
    key: Any = Field(primary_key=True, sa_type=JSONB)
    height: int = Field(primary_key=True, sa_type=BigInteger)
    after: Any = Field(default=None, sa_type=JSONB, nullable=True)


class KeptRow(SQLModel, table=True):
    """From which height on a projection table can be read as it was; all heights where there is no row."""

    __tablename__ = "kept"
    __table_args__ = ({"schema": SCHEMA},)
    chain: str = Field(primary_key=True, sa_type=Text)
    table: str = Field(primary_key=True, sa_type=Text)
    from_height: int = Field(sa_type=BigInteger)


class SourceRow(SQLModel, table=True):
    """What a source of blocks last said of itself. ``state`` is healthy, behind, unreachable or rewrites_final."""

    __tablename__ = "source"
    __table_args__ = ({"schema": SCHEMA},)
    chain: str = Field(primary_key=True, sa_type=Text)
    name: str = Field(primary_key=True, sa_type=Text)
    kind: str = Field(sa_type=Text)
    height: int | None = Field(default=None, sa_type=BigInteger)
    hash: bytes | None = Field(default=None, sa_type=LargeBinary)
    burn_height: int | None = Field(default=None, sa_type=BigInteger)
    state: str = Field(sa_type=Text)
    detail: str | None = Field(default=None, sa_type=Text)
    seen_at: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})


class ContractInterfaceRow(SQLModel, table=True):
    """A contract's interface as a node gave it: functions, variables, maps and tokens with their types. A cache."""

    __tablename__ = "contract_interface"
    __table_args__ = ({"schema": SCHEMA},)
    contract: str = Field(primary_key=True, sa_type=Text)
    interface: dict[str, Any] = Field(sa_type=JSONB)


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
    """A payload that ``source`` posted, kept until it is applied. ``error`` says why one could not be; those stay."""

    __tablename__ = "inbox"
    __table_args__ = (
        Index("inbox_pending", "id", postgresql_where=text("error IS NULL")),
        {"schema": SCHEMA},
    )
    id: int | None = Field(default=None, primary_key=True, sa_type=BigInteger, sa_column_args=(Identity(),))
    path: str = Field(sa_type=Text)
    source: str | None = Field(default=None, sa_type=Text)
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
