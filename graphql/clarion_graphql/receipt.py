"""Where an answer was read: the tip of each chain in the same snapshot as the data, or the earlier block asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString

import msgspec
from psycopg import AsyncConnection

from clarion.chains.model import Chain, Finality
from clarion_graphql.scalars import hex_text

#: The finality of a canonical block ``b`` of the chain of the cursor ``u``, beside :data:`ANCHORED`. A Bitcoin block
#: is its own anchor.
FINALITY: Final[LiteralString] = (
    "CASE WHEN b.height <= u.final_height THEN 'final' "
    "WHEN a.hash IS NOT NULL OR u.chain = 'bitcoin' THEN 'anchored' ELSE 'soft' END"
)
#: Height of the highest Bitcoin block that counts, of the index of the cursor ``u``.
_BURN_TIP: Final[LiteralString] = (
    "CASE u.chain WHEN 'bitcoin' THEN u.height ELSE (SELECT max(height) FROM clarion.canonical_burn_block) END"
)
#: The Bitcoin block that the block ``b`` is anchored to, where it is known and counts.
ANCHORED: Final[LiteralString] = (
    "LEFT JOIN clarion.canonical_burn_block a ON a.height = b.burn_height AND a.hash = b.burn_hash"
)


_TIPS: Final = f"""
SELECT u.chain, u.height, u.hash, b.burn_height, b.burn_hash, CASE WHEN u.hash IS NOT NULL THEN {FINALITY} END,
    u.digest, u.sequence, {_BURN_TIP}, (
        SELECT jsonb_object_agg(p.name, (
            SELECT max(k.height) FROM clarion.canonical_block k
            WHERE p.generation > 0 AND k.chain = p.chain AND k.sequence <= p.stopped_sequence
        ))
        FROM clarion.protocol p WHERE p.chain = u.chain AND (p.generation = 0 OR p.stopped_sequence IS NOT NULL)
    )
FROM clarion.cursor u
LEFT JOIN clarion.block b ON b.chain = u.chain AND b.hash = u.hash
{ANCHORED}
"""
#: The same as the JSON text that :func:`receipts_of` reads.
TIPS_AS_JSON: Final = f"""
SELECT coalesce(json_agg(json_build_array(
    r.chain, r.height, encode(r.hash, 'hex'), r.burn_height, encode(r.burn_hash, 'hex'), r.finality,
    encode(r.digest, 'hex'), r.sequence, r.burn_tip, r.outdated
)), '[]')::text
FROM ({_TIPS}) r (chain, height, hash, burn_height, burn_hash, finality, digest, sequence, burn_tip, outdated)
"""
_AS_OF: Final = f"""
SELECT u.chain, k.height, k.hash, b.burn_height, b.burn_hash, {FINALITY},
    clarion.digest_at(k.chain, k.height), k.sequence, {_BURN_TIP}
FROM clarion.canonical_block k
JOIN clarion.cursor u ON u.chain = k.chain
JOIN clarion.block b ON b.chain = k.chain AND b.hash = k.hash
{ANCHORED}
WHERE k.chain = %s AND k.height = %s
"""


#: Places of hashes in a row of these.
_BYTES: Final = (2, 4, 6)


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where a chain's index stood. Height and what hangs on it are None while the index is empty."""

    chain: Chain
    height: int | None
    hash: bytes | None
    burn_height: int | None
    burn_hash: bytes | None
    finality: Finality | None
    digest: bytes
    sequence: int
    burn_tip: int | None
    """Height of the highest canonical Bitcoin block."""
    outdated: Mapping[str, int | None] | None = None
    """Protocols whose rows are older, and of which block they are; None where they have not been made yet."""

    def to_json(self) -> dict[str, Any]:
        """The form in ``extensions.receipt``."""
        return {
            "chain": self.chain,
            "height": self.height,
            "hash": None if self.hash is None else hex_text(self.hash),
            "burnHeight": self.burn_height,
            "burnHash": None if self.burn_hash is None else hex_text(self.burn_hash),
            "finality": None if self.finality is None else self.finality.name,
            "digest": hex_text(self.digest),
            "sequence": str(self.sequence),
        }


async def read_receipts(connection: AsyncConnection[Any]) -> dict[Chain, Receipt]:
    """The tip of every chain in this database, ``stacks`` first."""
    return _by_chain(await (await connection.execute(_TIPS.encode())).fetchall())


def receipts_of(text: bytes) -> dict[Chain, Receipt]:
    """The receipts that :data:`TIPS_AS_JSON` gave."""
    rows = []
    for row in msgspec.json.decode(text):
        for place in _BYTES:
            row[place] = None if row[place] is None else bytes.fromhex(row[place])
        rows.append(row)
    return _by_chain(rows)


def _by_chain(rows: Sequence[Sequence[Any]]) -> dict[Chain, Receipt]:
    return {row[0]: _receipt(row) for row in sorted(rows, key=lambda row: (row[0] != "stacks", row[0]))}


def outdated_of(receipts: Mapping[Chain, Receipt], tables: Iterable[str]) -> dict[str, int | None]:
    """Of the protocols of these tables (``schema.name``) those whose rows are older, and of which block they are."""
    found = {name: height for receipt in receipts.values() for name, height in (receipt.outdated or {}).items()}
    if not found:
        return {}
    schemas = {table.partition(".")[0] for table in tables}
    return {name: height for name, height in found.items() if name in schemas}


async def read_receipt_at(connection: AsyncConnection[Any], chain: Chain, height: int) -> Receipt | None:
    """The receipt of the canonical block at a height; None where there is none."""
    row = await (await connection.execute(_AS_OF.encode(), (chain, height))).fetchone()
    return None if row is None else _receipt(row)


def _receipt(row: Sequence[Any]) -> Receipt:
    chain, height, block_hash, burn_height, burn_hash, finality, *rest = row
    known = None if finality is None else Finality(finality)
    return Receipt(chain, height, block_hash, burn_height, burn_hash, known, *rest)
