"""The chain log: blocks, transactions and events as they arrived, written once and read back whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import msgspec
from psycopg import Connection

from clarion.chains.model import Block, BlockRef, BurnBlock, Chain, Event, EventKind, Transaction, TransactionStatus
from clarion.store import arrays
from clarion.store.packed import BLOCK_COLUMNS, EVENT_COLUMNS, TRANSACTION_COLUMNS, PackedBlock, pack

#: Canonical JSON: object keys sorted, no white space.
json_bytes = msgspec.json.Encoder(order="sorted").encode


def json_text(value: Any) -> str | None:
    """A JSON column's text for COPY and parameters; Postgres's own null for None."""
    return None if value is None else json_bytes(value).decode()


@dataclass(frozen=True, slots=True)
class Header:
    """What fork choice needs of a block in the log."""

    ref: BlockRef
    burn_height: int | None
    burn_hash: bytes | None
    work: int | None
    """How many hashes it takes to make such a block, where branches are compared by that; None: by their height."""


def header_of(block: Block) -> Header:
    """A block's header."""
    burn = block.burn
    work = block.extra.get("work")
    return Header(
        block.ref, burn.height if burn else None, burn.hash if burn else None, work if isinstance(work, int) else None
    )


def rows_of(blocks: Sequence[Block]) -> dict[bytes, list[bytes]]:
    """The rows of blocks with their transactions and events, for :func:`clarion.store.write_rows.write_rows`."""
    rows = [block.rows if isinstance(block, PackedBlock) else pack(block) for block in blocks]
    return {
        BLOCK_COLUMNS: [of.block for of in rows],
        TRANSACTION_COLUMNS: [of.transactions for of in rows],
        EVENT_COLUMNS: [of.events for of in rows],
    }


def remember_interfaces(connection: Connection[Any], blocks: Iterable[Block]) -> None:
    """Keep the interfaces of contracts that these blocks deploy, as far as their source told them.

    They are a cache, part of no digest: of a contract that two branches deploy differently, the last one told is kept.
    """
    told = {tx.contract: tx.interface for block in blocks for tx in block.transactions if tx.interface is not None}
    if told:
        connection.execute(
            "INSERT INTO clarion.contract_interface AS i (contract, interface) SELECT * FROM jsonb_each(%s::jsonb) "
            "ON CONFLICT (contract) DO UPDATE SET interface = excluded.interface "
            "WHERE i.interface <> excluded.interface",
            (json_text(told),),
        )


def header(connection: Connection[Any], chain: Chain, block_hash: bytes) -> Header | None:
    """The header of a block in the log, or None."""
    found = _headers(connection, chain, "hash = %s", block_hash)
    return found[0] if found else None


def headers(connection: Connection[Any], chain: Chain, hashes: Iterable[bytes]) -> list[Header]:
    """Headers of those blocks that are in the log, in no order."""
    return _headers(connection, chain, "hash = ANY(%b::bytea[])", arrays.of_hashes(hashes))


def children(connection: Connection[Any], chain: Chain, parent_hash: bytes) -> list[Header]:
    """Headers of the blocks in the log that build on ``parent_hash``, in the order of their hashes."""
    return _headers(connection, chain, "parent_hash = %s ORDER BY hash", parent_hash)


def above(connection: Connection[Any], chain: Chain, height: int) -> list[Header]:
    """Headers of all blocks in the log that are higher than ``height``, the highest first."""
    return _headers(connection, chain, "height > %s ORDER BY height DESC, hash", height)


def canonical_above(connection: Connection[Any], chain: Chain, height: int) -> list[Header]:
    """Headers of the canonical blocks that are higher than ``height``, in no order."""
    return _headers(
        connection,
        chain,
        "height > %s AND EXISTS (SELECT FROM clarion.canonical_block k "
        "WHERE k.chain = block.chain AND k.height = block.height AND k.hash = block.hash)",
        height,
    )


def _headers(connection: Connection[Any], chain: Chain, condition: LiteralString, parameter: Any) -> list[Header]:
    return [
        Header(BlockRef(chain, height, block_hash, parent_hash), burn_height, burn_hash, work)
        for height, block_hash, parent_hash, burn_height, burn_hash, work in connection.execute(
            "SELECT height, hash, parent_hash, burn_height, burn_hash, (extra ->> 'work')::numeric "
            "FROM clarion.block WHERE chain = %s AND " + condition,
            (chain, parameter),
        )
    ]


def highest(connection: Connection[Any], chain: Chain) -> int:
    """Height of the highest block in the log, canonical or not; -1 where there is none."""
    found = connection.execute(
        "SELECT coalesce(max(height), -1) FROM clarion.block WHERE chain = %s", (chain,)
    ).fetchone()
    assert found is not None
    return int(found[0])


def highest_above(connection: Connection[Any], chain: Chain, block_hash: bytes) -> int | None:
    """Height of the highest block in the log that builds on ``block_hash``, or None where none does."""
    found = connection.execute(
        """
        WITH RECURSIVE above AS (
            SELECT hash, height FROM clarion.block WHERE chain = %(chain)s AND parent_hash = %(hash)s
            UNION
            SELECT b.hash, b.height FROM clarion.block b JOIN above a ON b.parent_hash = a.hash
            WHERE b.chain = %(chain)s
        )
        SELECT max(height) FROM above
        """,
        {"chain": chain, "hash": block_hash},
    ).fetchone()
    return None if found is None else found[0]


def load(connection: Connection[Any], chain: Chain, hashes: Iterable[bytes]) -> list[Block]:
    """Whole blocks out of the log, in the order of ``hashes``. Raises LookupError for one that is not there."""
    wanted = list(hashes)
    blocks = {
        row[0]: row
        for row in connection.execute(
            "SELECT b.hash, b.height, b.parent_hash, b.time, b.burn_height, b.burn_hash, b.extra, "
            "bb.parent_hash, bb.time FROM clarion.block b LEFT JOIN clarion.burn_block bb ON bb.hash = b.burn_hash "
            "WHERE b.chain = %s AND b.hash = ANY(%s)",
            (chain, wanted),
        )
    }
    heights = [row[1] for row in blocks.values()]
    transactions: dict[bytes, list[Transaction]] = {block_hash: [] for block_hash in wanted}
    events: dict[bytes, list[Event]] = {block_hash: [] for block_hash in wanted}
    for row in connection.execute(
        "SELECT block_hash, tx_index, tx_id, status, kind, sender, sponsor, nonce, fee, contract, function, payload, "
        "result, raw, vm_error, decode_error FROM clarion.transaction "
        "WHERE chain = %s AND height = ANY(%s) AND block_hash = ANY(%s) ORDER BY tx_index",
        (chain, heights, wanted),
    ):
        block_hash, index, tx_id, status, *rest = row
        transactions[block_hash].append(Transaction(index, tx_id, TransactionStatus(status), *rest))
    for row in connection.execute(
        "SELECT block_hash, tx_index, event_index, kind, contract, topic, value, raw FROM clarion.event "
        "WHERE chain = %s AND height = ANY(%s) AND block_hash = ANY(%s) ORDER BY tx_index, event_index",
        (chain, heights, wanted),
    ):
        block_hash, tx_index, index, kind, contract, topic, value, raw = row
        events[block_hash].append(Event(tx_index, index, EventKind(kind), contract, topic, value, raw))
    loaded = []
    for block_hash in wanted:
        if block_hash not in blocks:
            raise LookupError(f"{chain} block 0x{block_hash.hex()} is not in the chain log")
        _, height, parent_hash, time, burn_height, burn_hash, extra, burn_parent, burn_time = blocks[block_hash]
        burn = None if burn_hash is None else BurnBlock(burn_height, burn_hash, burn_parent, burn_time)
        if chain == "bitcoin":
            burn = BurnBlock(height, block_hash, parent_hash, time)
        loaded.append(
            Block(
                BlockRef(chain, height, block_hash, parent_hash),
                time,
                burn,
                tuple(transactions[block_hash]),
                tuple(events[block_hash]),
                extra,
            )
        )
    return loaded
