"""A toy protocol over synthetic blocks: accounts with balances, moved by events."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from psycopg import Connection
from sqlalchemy import Text
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateSchema, CreateTable
from sqlmodel import Field

from clarion.chains.model import (
    Block,
    BlockRef,
    BurnBlock,
    Event,
    EventKind,
    JsonValue,
    Transaction,
    TransactionStatus,
)
from clarion.chains.stacks.hashing import sha512_256
from clarion.protocol import EventContext, Protocol
from clarion.store.rows import UINT128, Row, Rows

DEPLOYER = "ST1PQHQKV0RJXZFY1DGX8MNSNYVE3VGZJSRTPGZGM"
CONTRACT = f"{DEPLOYER}.bank"


class Account(Row, table=True):
    """A balance by owner."""

    __tablename__ = "account"
    __table_args__ = {"schema": "toy"}
    owner: str = Field(primary_key=True, sa_type=Text, description="Who owns it")
    balance: int = Field(sa_type=UINT128, description="Base units")
    note: str | None = Field(default=None, sa_type=Text)


class Moved(msgspec.Struct, rename="kebab", forbid_unknown_fields=True):
    topic: str
    owner: str
    balance_after: int


class Closed(msgspec.Struct, rename="kebab", forbid_unknown_fields=True):
    topic: str
    owner: str


toy = Protocol("toy", tables=[Account], title="Toy")


@toy.on("bank", "account.moved")
def moved(event: Moved, at: EventContext, rows: Rows) -> None:
    account = rows.get(Account, event.owner) or rows.insert(Account, owner=event.owner, balance=0)
    account.balance = event.balance_after
    account.note = f"burn {at.burn_height}"


@toy.on("bank", "account.closed")
def closed(event: Closed, at: EventContext, rows: Rows) -> None:
    rows.delete(Account, event.owner)


def deployed() -> Any:
    """The toy protocol at its test address."""
    return toy.deployed_by(DEPLOYER)


def create_tables(connection: Connection[Any]) -> None:
    """Make the toy protocol's schema; it has no migrations."""
    dialect = postgresql.dialect()
    connection.execute(str(CreateSchema("toy", if_not_exists=True).compile(dialect=dialect)))
    connection.execute(str(CreateTable(Account.__table__).compile(dialect=dialect)))  # type: ignore[attr-defined]


def move(owner: str, balance_after: int) -> dict[str, JsonValue]:
    """An event's value that sets a balance."""
    return {"topic": "account.moved", "owner": owner, "balance-after": balance_after}


def close(owner: str) -> dict[str, JsonValue]:
    """An event's value that removes an account."""
    return {"topic": "account.closed", "owner": owner}


def digest_of(*parts: object) -> bytes:
    """A made-up 32-byte hash."""
    return hashlib.sha256(repr(parts).encode()).digest()


def consensus_hash(burn: BurnBlock) -> bytes:
    """What names a Bitcoin block in the blocks anchored to it."""
    return burn.hash[:20]


def burn_block(height: int, branch: str = "main", *, parent: BurnBlock | None = None) -> BurnBlock:
    """A Bitcoin block of a branch, on top of ``parent`` or of the same branch's block below it."""
    parent_hash = digest_of("burn", height - 1, branch) if parent is None else parent.hash
    return BurnBlock(height, digest_of("burn", height, branch), parent_hash, 1_700_000_000 + height * 600)


def block(
    parent: Block | None,
    values: Iterable[JsonValue] = (),
    *,
    branch: str = "main",
    burn: BurnBlock | None = None,
    height: int | None = None,
) -> Block:
    """A block on top of ``parent`` (None: the first) in which one transaction prints ``values``."""
    at = height if height is not None else 1 if parent is None else parent.height + 1
    parent_hash = bytes(32) if parent is None else parent.hash
    values = list(values)
    burn = burn or burn_block(at)
    header_hash = digest_of("header", at, parent_hash.hex(), branch)
    ref = BlockRef("stacks", at, sha512_256(header_hash + consensus_hash(burn)), parent_hash)
    transactions: Sequence[Transaction] = (
        (
            Transaction(
                index=0,
                id=digest_of("tx", ref.hash.hex()),
                status=TransactionStatus.SUCCESS,
                kind="contract_call",
                sender=DEPLOYER,
                sponsor=None,
                nonce=at,
                fee=200,
                contract=CONTRACT,
                function="move",
                stored_payload={"function": "move", "args": []},
                result=bytes.fromhex("0703"),
                raw=b"\x00",
            ),
        )
        if values
        else ()
    )
    events = tuple(
        Event(
            0,
            index,
            EventKind.PRINT,
            CONTRACT,
            str(value["topic"]) if isinstance(value, dict) else "print",
            value,
            b"\x03",
        )
        for index, value in enumerate(values)
    )
    extra: dict[str, JsonValue] = {"tenure_height": at, "block_hash": f"0x{header_hash.hex()}"}
    return Block(ref, 1_700_000_000 + at * 10, burn, tuple(transactions), events, extra)
