"""What assets are worth to whom: tables that the asset events of the chain become.

Amounts are in the asset's base units (micro-STX for STX). Sums over all time have their own type: a token may move
more often than its supply fits into 128 bits, and any contract can make that happen.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Boolean, Index, Numeric, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from clarion.store.rows import UINT128, Row

#: 2^64 events of 2^128 - 1 each are below 10^58.
TOTAL: Final = Numeric(58, 0)


class FungibleToken(Row, table=True):
    """A fungible token, or STX, with what came into being and what was destroyed of it by events.

    Genesis, mining rewards and fees are no events, so of STX neither the supply nor an amount is known from them.
    """

    __tablename__ = "fungible_token"
    __table_args__ = (Index("fungible_token_by_contract", "contract"), {"schema": "stacks"})
    asset: str = Field(primary_key=True, sa_type=Text, description="`<contract id>::<asset name>`, or `STX`")
    contract: str | None = Field(default=None, sa_type=Text, description="Contract that defines it; null for STX")
    complete: bool = Field(
        sa_type=Boolean,
        description="Whether every event of it is indexed: its contract was deployed in an indexed block",
    )
    minted: int = Field(default=0, sa_type=TOTAL, description="What the indexed blocks brought into being")
    burned: int = Field(default=0, sa_type=TOTAL, description="What the indexed blocks destroyed")
    supply: int | None = Field(
        default=None, sa_type=UINT128, description="What there is; null where not every event of it is indexed"
    )


class Balance(Row, table=True):
    """What an address has of an asset, by the events of the indexed blocks."""

    __tablename__ = "balance"
    __table_args__ = (
        Index("balance_by_address", "address"),
        Index("balance_by_amount", "asset", "amount"),
        {"schema": "stacks"},
    )
    asset: str = Field(primary_key=True, sa_type=Text, description="`<contract id>::<asset name>`, or `STX`")
    address: str = Field(primary_key=True, sa_type=Text, description="Address or contract that has it")
    received: int = Field(default=0, sa_type=TOTAL, description="What came in by transfers and mints")
    sent: int = Field(default=0, sa_type=TOTAL, description="What went out by transfers and burns")
    amount: int | None = Field(
        default=None,
        sa_type=UINT128,
        description="What it has; null where not every event of the asset is indexed, and for STX",
    )


class NonFungibleToken(Row, table=True):
    """A token of its own kind and who owns it. One that no indexed block has an event of has no row."""

    __tablename__ = "nft"
    __table_args__ = (Index("nft_by_owner", "owner", "asset"), {"schema": "stacks"})
    asset: str = Field(primary_key=True, sa_type=Text, description="`<contract id>::<asset name>`")
    token: str = Field(
        primary_key=True,
        sa_type=Text,
        description="Its identifier, a Clarity value in consensus encoding, as `0x` hexadecimal; a longer one's hash, "
        "after `sha256:`",
    )
    value: Any = Field(default=None, sa_type=JSONB, nullable=True, description="Its identifier in the JSON form")
    owner: str | None = Field(
        default=None, sa_type=Text, description="Address or contract that has it; null: destroyed"
    )
