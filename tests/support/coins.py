"""A toy protocol of Bitcoin over synthetic blocks: who holds which output of a token."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from psycopg import Connection
from sqlalchemy import Text
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateSchema, CreateTable
from sqlmodel import Field

from clarion.chains.bitcoin.charms.events import AppUse, Output, SpellEvent, SpendEvent
from clarion.chains.bitcoin.scanner import log_entry
from clarion.chains.model import Block, BlockRef, BurnBlock, EventKind
from clarion.protocol import EventContext, Protocol
from clarion.store.rows import UINT128, Row, Rows
from support.toy import digest_of

TOKEN = AppUse("t", "11" * 32, "22" * 32)


class Coin(Row, table=True):
    """An unspent output that holds the token."""

    __tablename__ = "coin"
    __table_args__ = {"schema": "coins"}
    outpoint: str = Field(primary_key=True, sa_type=Text, description="Where it is: txid:vout")
    owner: str = Field(sa_type=Text, description="Script that it is locked by")
    amount: int = Field(sa_type=UINT128, description="Base units")


coins = Protocol("coins", tables=[Coin], title="Coins", chain="bitcoin")


@coins.on_any(kind=EventKind.SPELL)
def spell(event: SpellEvent, at: EventContext, rows: Rows) -> None:
    _spend(event.inputs, rows)
    for index, output in enumerate(event.outputs):
        for _, amount in event.charms(index):
            rows.insert(Coin, outpoint=f"{at.tx_text}:{index}", owner=output.script, amount=amount)


@coins.on_any(kind=EventKind.SPEND)
def spend(event: SpendEvent, at: EventContext, rows: Rows) -> None:
    _spend(event.inputs, rows)


def _spend(outpoints: Iterable[str], rows: Rows) -> None:
    for outpoint in outpoints:
        if rows.get(Coin, outpoint) is not None:
            rows.delete(Coin, outpoint)


def deployed() -> Any:
    """The toy protocol on regtest."""
    return coins.deployed_on("regtest")


def create_tables(connection: Connection[Any]) -> None:
    """Make the toy protocol's schema; it has no migrations."""
    dialect = postgresql.dialect()
    connection.execute(str(CreateSchema("coins", if_not_exists=True).compile(dialect=dialect)))
    connection.execute(str(CreateTable(Coin.__table__).compile(dialect=dialect)))  # type: ignore[attr-defined]


def pay(to: Mapping[str, int], *spent: str) -> SpellEvent:
    """A spell that gives amounts to owners, out of outpoints."""
    return SpellEvent(
        inputs=list(spent),
        outputs=[Output(547, owner) for owner in to],
        status="verified",
        failed_step=None,
        version=14,
        location="op_return",
        mock=False,
        apps=[TOKEN],
        outs=[{"0": amount} for amount in to.values()],
        beamed_outs={},
        refs=None,
        scrolls=[],
    )


def lose(*spent: str) -> SpendEvent:
    """A spend of outpoints without a spell."""
    return SpendEvent(inputs=list(spent), outputs=[Output(500, "0x51")], spent=list(range(len(spent))))


def block(parent: Block | None, events: Iterable[SpellEvent | SpendEvent] = (), *, branch: str = "main") -> Block:
    """A Bitcoin block on top of ``parent`` (None: height 100) with a transaction for each of ``events``."""
    height = 100 if parent is None else parent.height + 1
    parent_hash = bytes(32) if parent is None else parent.hash
    block_hash = digest_of("bitcoin", height, parent_hash.hex(), branch)
    listed = list(events)
    logged = [
        log_entry(index + 1, digest_of("transaction", block_hash.hex(), index), b"\x02", event)
        for index, event in enumerate(listed)
    ]
    time = 1_700_000_000 + height * 600
    return Block(
        BlockRef("bitcoin", height, block_hash, parent_hash),
        time,
        BurnBlock(height, block_hash, parent_hash, time),
        tuple(transaction for transaction, _ in logged),
        tuple(event for _, event in logged),
        {"transactions": len(listed) + 1, "size": 1_000, "weight": 4_000},
    )


def outpoint(of: Block, transaction: int = 0, output: int = 0) -> str:
    """An output of a block's transaction."""
    return f"{of.transactions[transaction].id.hex()}:{output}"
