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
    tx_id: str = Field(primary_key=True, sa_type=Text, description="Id of the Stacks transaction")
    event_index: int = Field(
        primary_key=True, sa_type=BigInteger, description="Ordinal of the event in the transaction"
    )
    recipient: str = Field(sa_type=Text, description="Who got it")
    amount: int = Field(sa_type=UINT128, description="Satoshi")


class Deposit(Row, table=True):
    """A Bitcoin deposit that the signers completed. ``recipient`` is None where its mint was not seen."""

    __tablename__ = "deposit"
    __table_args__ = {"schema": SCHEMA}
    bitcoin_txid: str = Field(
        primary_key=True, sa_type=Text, description="Id of the Bitcoin transaction that deposited"
    )
    output_index: int = Field(primary_key=True, sa_type=BigInteger, description="Which of its outputs")
    recipient: str | None = Field(default=None, sa_type=Text, index=True, description="Who got the sBTC")
    amount: int = Field(sa_type=UINT128, description="Satoshi that were minted")
    sweep_txid: str = Field(
        sa_type=Text, description="Id of the Bitcoin transaction by which the signers took the deposit"
    )
    bitcoin_height: int = Field(sa_type=BigInteger, description="Height of the Bitcoin block with the sweep")
    completed_height: int = Field(sa_type=BigInteger, description="Stacks height of the completion")
    completed_tx: str = Field(sa_type=Text, description="Stacks transaction of the completion")


class Withdrawal(Row, table=True):
    """A request to withdraw to Bitcoin. ``status``: pending, accepted or rejected."""

    __tablename__ = "withdrawal"
    __table_args__ = {"schema": SCHEMA}
    request_id: int = Field(primary_key=True, sa_type=UINT128, description="Number of the request")
    sender: str = Field(sa_type=Text, index=True, description="Who withdraws")
    amount: int = Field(sa_type=UINT128, description="Satoshi to be paid")
    max_fee: int = Field(sa_type=UINT128, description="Most satoshi that the payment may cost")
    address_version: str = Field(sa_type=Text, description="Kind of the Bitcoin address, as in PoX")
    address_hash: str = Field(sa_type=Text, description="Hash of the Bitcoin address")
    status: str = Field(sa_type=Text, description="pending, accepted or rejected")
    requested_height: int = Field(sa_type=BigInteger, description="Stacks height of the request")
    requested_tx: str = Field(sa_type=Text, description="Stacks transaction of the request")
    settled_height: int | None = Field(default=None, sa_type=BigInteger, description="Stacks height of the answer")
    settled_tx: str | None = Field(default=None, sa_type=Text, description="Stacks transaction of the answer")
    fee: int | None = Field(default=None, sa_type=UINT128, description="Satoshi that the payment cost")
    bitcoin_txid: str | None = Field(default=None, sa_type=Text, description="Id of the Bitcoin transaction that paid")
    output_index: int | None = Field(default=None, sa_type=BigInteger, description="Which of its outputs paid")


class Balance(Row, table=True):
    """What a holder has. ``locked`` waits for a withdrawal to be settled. A holder of nothing has no row."""

    __tablename__ = "balance"
    __table_args__ = {"schema": SCHEMA}
    holder: str = Field(primary_key=True, sa_type=Text, description="Address or contract")
    available: int = Field(default=0, sa_type=UINT128, description="Satoshi that can be moved")
    locked: int = Field(default=0, sa_type=UINT128, description="Satoshi that wait for a withdrawal to be settled")


class Supply(Row, table=True):
    """Totals, in one row with the key ``sbtc``."""

    __tablename__ = "supply"
    __table_args__ = {"schema": SCHEMA}
    name: str = Field(primary_key=True, sa_type=Text, description="sbtc")
    available: int = Field(default=0, sa_type=UINT128, description="Satoshi that can be moved")
    locked: int = Field(default=0, sa_type=UINT128, description="Satoshi that wait for withdrawals")
    holders: int = Field(default=0, sa_type=BigInteger, description="How many have any")
    deposits: int = Field(default=0, sa_type=BigInteger, description="How many deposits were completed")
    pending_withdrawals: int = Field(default=0, sa_type=BigInteger, description="How many requests wait")


class SignerSet(Row, table=True):
    """A set of signers, from the block that brought it in."""

    __tablename__ = "signer_set"
    __table_args__ = {"schema": SCHEMA}
    aggregate_pubkey: str = Field(primary_key=True, sa_type=Text, description="Public key of all together")
    address: str = Field(sa_type=Text, description="Their Stacks address")
    keys: list[Any] = Field(sa_type=JSONB, description="Public key of each")
    threshold: int = Field(sa_type=BigInteger, description="How many have to sign")
    from_height: int = Field(sa_type=BigInteger, description="Stacks height of the rotation")
    from_tx: str = Field(sa_type=Text, description="Stacks transaction of the rotation")


class Role(Row, table=True):
    """The contract that was last given a role. ``role``: governance, deposit, withdrawal, or the type byte as it is."""

    __tablename__ = "role"
    __table_args__ = {"schema": SCHEMA}
    role: str = Field(
        primary_key=True, sa_type=Text, description="governance, deposit, withdrawal, or the type byte as it is"
    )
    contract: str = Field(sa_type=Text, description="Its id")


TABLES: Final[list[type[Row]]] = [Mint, Deposit, Withdrawal, Balance, Supply, SignerSet, Role]
