"""sBTC's tables. Amounts are satoshi; ``…_height`` is a Stacks height unless its name says Bitcoin."""

from __future__ import annotations

from typing import Any, Final

from clarion.store.rows import UINT128, Row
from sqlalchemy import BigInteger, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

SCHEMA: Final = "sbtc"


class Mint(Row, table=True):
    """sBTC that became available: for a deposit, as the part of a withdrawal's fee that was not used, or unlocked."""

    __tablename__ = "mint"
    __table_args__ = {"schema": SCHEMA}
    tx_id: str = Field(primary_key=True, sa_type=Text)
    event_index: int = Field(primary_key=True, sa_type=BigInteger)
    recipient: str = Field(sa_type=Text)
    amount: int = Field(sa_type=UINT128)


class Deposit(Row, table=True):
    """A Bitcoin deposit that the signers completed. ``recipient`` is None where its mint was not seen."""

    __tablename__ = "deposit"
    __table_args__ = {"schema": SCHEMA}
    bitcoin_txid: str = Field(primary_key=True, sa_type=Text)
    output_index: int = Field(primary_key=True, sa_type=BigInteger)
    recipient: str | None = Field(default=None, sa_type=Text, index=True)
    amount: int = Field(sa_type=UINT128)
    sweep_txid: str = Field(sa_type=Text)
    bitcoin_height: int = Field(sa_type=BigInteger)
    completed_height: int = Field(sa_type=BigInteger)
    completed_tx: str = Field(sa_type=Text)


class Withdrawal(Row, table=True):
    """A request to withdraw to Bitcoin. ``status``: pending, accepted or rejected."""

    __tablename__ = "withdrawal"
    __table_args__ = {"schema": SCHEMA}
    request_id: int = Field(primary_key=True, sa_type=UINT128)
    sender: str = Field(sa_type=Text, index=True)
    amount: int = Field(sa_type=UINT128)
    max_fee: int = Field(sa_type=UINT128)
    address_version: str = Field(sa_type=Text)
    address_hash: str = Field(sa_type=Text)
    status: str = Field(sa_type=Text)
    requested_height: int = Field(sa_type=BigInteger)
    requested_tx: str = Field(sa_type=Text)
    settled_height: int | None = Field(default=None, sa_type=BigInteger)
    settled_tx: str | None = Field(default=None, sa_type=Text)
    fee: int | None = Field(default=None, sa_type=UINT128)
    bitcoin_txid: str | None = Field(default=None, sa_type=Text)
    output_index: int | None = Field(default=None, sa_type=BigInteger)


class Balance(Row, table=True):
    """What a holder has. ``locked`` waits for a withdrawal to be settled. A holder of nothing has no row."""

    __tablename__ = "balance"
    __table_args__ = {"schema": SCHEMA}
    holder: str = Field(primary_key=True, sa_type=Text)
    available: int = Field(default=0, sa_type=UINT128)
    locked: int = Field(default=0, sa_type=UINT128)


class Supply(Row, table=True):
    """Totals, in one row with the key ``sbtc``."""

    __tablename__ = "supply"
    __table_args__ = {"schema": SCHEMA}
    name: str = Field(primary_key=True, sa_type=Text)
    available: int = Field(default=0, sa_type=UINT128)
    locked: int = Field(default=0, sa_type=UINT128)
    holders: int = Field(default=0, sa_type=BigInteger)
    deposits: int = Field(default=0, sa_type=BigInteger)
    pending_withdrawals: int = Field(default=0, sa_type=BigInteger)


class SignerSet(Row, table=True):
    """A set of signers, from the block that brought it in."""

    __tablename__ = "signer_set"
    __table_args__ = {"schema": SCHEMA}
    aggregate_pubkey: str = Field(primary_key=True, sa_type=Text)
    address: str = Field(sa_type=Text)
    keys: list[Any] = Field(sa_type=JSONB)
    threshold: int = Field(sa_type=BigInteger)
    from_height: int = Field(sa_type=BigInteger)
    from_tx: str = Field(sa_type=Text)


class Role(Row, table=True):
    """The contract that was last given a role. ``role``: governance, deposit, withdrawal, or the type byte as it is."""

    __tablename__ = "role"
    __table_args__ = {"schema": SCHEMA}
    role: str = Field(primary_key=True, sa_type=Text)
    contract: str = Field(sa_type=Text)


TABLES: Final[list[type[Row]]] = [Mint, Deposit, Withdrawal, Balance, Supply, SignerSet, Role]
