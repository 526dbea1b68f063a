"""What was prepared and sent, schema ``clarion_account``: links only; what became of it is in the chain log."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, DateTime, ForeignKey, Index, LargeBinary, Text, func
from sqlmodel import Field, SQLModel

SCHEMA = "clarion_account"


class PreparedRow(SQLModel, table=True):
    """A transaction that was prepared for somebody. ``payload`` is its contract call as consensus bytes."""

    __tablename__ = "prepared_transaction"
    __table_args__ = (
        Index("prepared_transaction_by_age", "prepared_at"),
        Index("prepared_transaction_by_sender", "sender", "prepared_at"),
        {"schema": SCHEMA},
    )
    id: str = Field(primary_key=True, sa_type=Text)
    action: str = Field(sa_type=Text)
    sender: str = Field(sa_type=Text)
    contract: str = Field(sa_type=Text)
    function: str = Field(sa_type=Text)
    payload: bytes = Field(sa_type=LargeBinary)
    height: int = Field(sa_type=BigInteger)
    valid_until_burn: int | None = Field(default=None, sa_type=BigInteger)
    prepared_at: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})


class TrackedRow(SQLModel, table=True):
    """A transaction that somebody said was sent."""

    __tablename__ = "tracked_transaction"
    __table_args__ = (
        Index("tracked_transaction_by_age", "tracked_at"),
        {"schema": SCHEMA},
    )
    tx_id: bytes = Field(primary_key=True, sa_type=LargeBinary)
    tracked_at: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})


class TrackedLinkRow(SQLModel, table=True):
    """A prepared transaction that somebody said a sent one was made of. Anybody may say so of any two."""

    __tablename__ = "tracked_link"
    __table_args__ = (
        Index("tracked_link_by_prepared", "prepared_id", "linked_at"),
        {"schema": SCHEMA},
    )
    tx_id: bytes = Field(
        primary_key=True,
        sa_type=LargeBinary,
        sa_column_args=(ForeignKey(f"{SCHEMA}.tracked_transaction.tx_id", ondelete="CASCADE"),),
    )
    prepared_id: str = Field(
        primary_key=True,
        sa_type=Text,
        sa_column_args=(ForeignKey(f"{SCHEMA}.prepared_transaction.id", ondelete="CASCADE"),),
    )
    linked_at: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})
