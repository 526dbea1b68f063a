"""A second toy protocol over the bank's events, to be added to an index that runs. Its rows depend on every event."""

from __future__ import annotations

import hashlib

from sqlalchemy import BigInteger, Text
from sqlmodel import Field

from clarion.protocol import EventContext, Protocol
from clarion.store.rows import UINT128, Row, Rows
from support import toy


class Entry(Row, table=True):
    """What an account has gone through; removed with it."""

    __tablename__ = "entry"
    __table_args__ = {"schema": "ledger"}
    owner: str = Field(primary_key=True, sa_type=Text, index=True)
    times: int = Field(sa_type=BigInteger)
    trace: str = Field(sa_type=Text)


class Total(Row, table=True):
    """The sum of all balances: one row."""

    __tablename__ = "total"
    __table_args__ = {"schema": "ledger"}
    name: str = Field(primary_key=True, sa_type=Text)
    moves: int = Field(default=0, sa_type=BigInteger)
    highest: int = Field(default=0, sa_type=UINT128)


ledger = Protocol("ledger", tables=[Entry, Total])


@ledger.on("bank", "account.moved")
def moved(event: toy.Moved, at: EventContext, rows: Rows) -> None:
    entry = rows.get(Entry, event.owner) or rows.insert(Entry, owner=event.owner, times=0, trace="")
    entry.times += 1
    entry.trace = hashlib.sha256(f"{entry.trace} {event.balance_after} {at.tx_text}".encode()).hexdigest()
    total = rows.get(Total, "all") or rows.insert(Total, name="all")
    total.moves += 1
    total.highest = max(total.highest, event.balance_after)


@ledger.on("bank", "account.closed")
def closed(event: toy.Closed, at: EventContext, rows: Rows) -> None:
    rows.delete(Entry, event.owner)
