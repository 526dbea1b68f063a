"""A toy protocol that finds its contracts on the chain: pools, by a trait they declare or by what a registry prints."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from sqlalchemy import Text
from sqlmodel import Field

from clarion.discovery import DiscoveredContract
from clarion.protocol import EventContext, Protocol
from clarion.store.rows import UINT128, Row, Rows

TRAIT = "SP3FBR2AGK5H9QBDH3EEN6DF8EK8JY7RX8QJ5SVTE.pool-trait.pool"


class Found(DiscoveredContract, table=True):
    __tablename__ = "contract"
    __table_args__ = {"schema": "pools"}


class Deposited(Row, table=True):
    """What a pool was given."""

    __tablename__ = "deposited"
    __table_args__ = {"schema": "pools"}
    pool: str = Field(primary_key=True, sa_type=Text)
    amount: int = Field(sa_type=UINT128)


class Deposit(msgspec.Struct):
    amount: int


def pools(*, trait: str | Mapping[str, str] | None = None, factory: bool = False) -> Protocol:
    """The protocol, with the ways in which it finds pools."""
    protocol = Protocol("pools", tables=[Found, Deposited])
    if trait is not None:
        protocol.by_trait("pool", trait)
    if factory:
        protocol.by_factory("pool", factory="registry", topic="pool-created", field="pool")

    @protocol.on("pool", "deposit")
    def deposit(event: Deposit, at: EventContext, rows: Rows) -> None:
        row = rows.get(Deposited, at.contract) or rows.insert(Deposited, pool=at.contract, amount=0)
        row.amount += event.amount

    return protocol
