"""What is kept about callers, schema ``clarion_account``: none of it comes from a chain, so none can be made again."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import DateTime, Index, LargeBinary, Text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Field, SQLModel

SCHEMA = "clarion_account"


class SecretRow(SQLModel, table=True):
    """What the servers share to know texts to be signed as their own. One row, made by the first."""

    __tablename__ = "secret"
    __table_args__ = ({"schema": SCHEMA},)
    name: str = Field(primary_key=True, sa_type=Text)
    value: bytes = Field(sa_type=LargeBinary)


class SessionRow(SQLModel, table=True):
    """A sign-in. ``nonce`` is that of the text that was signed: no text signs in twice."""

    __tablename__ = "session"
    __table_args__ = (
        Index("session_by_address", "address", "created_at"),
        Index("session_by_expiry", "expires_at"),
        {"schema": SCHEMA},
    )
    id: str = Field(primary_key=True, sa_type=Text)
    secret_hash: bytes = Field(sa_type=LargeBinary)
    address: str = Field(sa_type=Text)
    host: str = Field(sa_type=Text)
    nonce: bytes = Field(sa_type=LargeBinary, unique=True)
    created_at: datetime = Field(sa_type=DateTime(timezone=True))
    expires_at: datetime = Field(sa_type=DateTime(timezone=True))
    last_used_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    revoked_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))


class ApiKeyRow(SQLModel, table=True):
    """A key that a program sends. Of its secret only the SHA-256 is kept."""

    __tablename__ = "api_key"
    __table_args__ = (Index("api_key_by_address", "address", "created_at"), {"schema": SCHEMA})
    id: str = Field(primary_key=True, sa_type=Text)
    secret_hash: bytes = Field(sa_type=LargeBinary)
    address: str = Field(sa_type=Text)
    name: str = Field(sa_type=Text)
    scopes: list[str] = Field(sa_type=ARRAY(Text))
    created_at: datetime = Field(sa_type=DateTime(timezone=True))
    expires_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    last_used_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    revoked_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
