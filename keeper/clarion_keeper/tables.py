"""What the keeper remembers, schema ``keeper``: what it decided, and the exact bytes it signed for it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, DateTime, Identity, Index, LargeBinary, Numeric, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

SCHEMA = "keeper"


class IntentRow(SQLModel, table=True):
    """One thing to get done on the chain, such as settling policy 7.

    ``key`` is its idempotency key: at most one intent with that key is open at a time. ``state``: ``planned`` (no
    transaction yet), ``sent`` (``tx_id`` carries it), ``done`` (the chain says so, by us or by anybody), ``failed``
    (the contract refused for a reason that trying again does not cure), ``cancelled`` (no longer due; may be planned
    again).
    """

    __tablename__ = "intent"
    __table_args__ = (
        Index("intent_open_key", "key", unique=True, postgresql_where=text("state IN ('planned', 'sent')")),
        Index("intent_by_transaction", "tx_id"),
        {"schema": SCHEMA},
    )
    id: int | None = Field(default=None, primary_key=True, sa_type=BigInteger, sa_column_args=(Identity(),))
    key: str = Field(sa_type=Text)
    job: str = Field(sa_type=Text)
    item: Any = Field(sa_type=JSONB)
    state: str = Field(sa_type=Text)
    decided_height: int = Field(sa_type=BigInteger)
    decided_hash: str = Field(sa_type=Text)
    tx_id: bytes | None = Field(default=None, sa_type=LargeBinary)
    outcome: str | None = Field(default=None, sa_type=Text)
    created_at: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})


class OutgoingRow(SQLModel, table=True):
    """A transaction the keeper signed. The bytes are stored before they are sent, and sent again after a crash.

    ``state``: ``signed`` (stored, not known to be with a node), ``broadcast`` (a node took it), ``mined`` (in a
    canonical block), ``final`` (that block is final), ``rejected`` (no node takes it; its intents were released).
    """

    __tablename__ = "outgoing"
    __table_args__ = (
        Index("outgoing_nonce", "sender", "nonce", unique=True, postgresql_where=text("state <> 'rejected'")),
        {"schema": SCHEMA},
    )
    tx_id: bytes = Field(primary_key=True, sa_type=LargeBinary)
    job: str = Field(sa_type=Text)
    sender: str = Field(sa_type=Text)
    nonce: int = Field(sa_type=Numeric(20, 0))
    fee: int = Field(sa_type=Numeric(20, 0))
    contract: str = Field(sa_type=Text)
    function: str = Field(sa_type=Text)
    raw: bytes = Field(sa_type=LargeBinary)
    state: str = Field(sa_type=Text)
    block_hash: bytes | None = Field(default=None, sa_type=LargeBinary)
    block_height: int | None = Field(default=None, sa_type=BigInteger)
    last_error: str | None = Field(default=None, sa_type=Text)
    created_at: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})
