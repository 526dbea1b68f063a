"""Where an answer was read: the tip of each chain in the same snapshot as the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from psycopg import AsyncConnection

from clarion.chains.model import Chain, Finality
from clarion.follower import finality
from clarion_graphql.scalars import hex_text

TIPS: Final = """
SELECT c.chain, c.height, c.hash, b.burn_height, b.burn_hash, k.hash IS NOT NULL,
    (SELECT max(height) FROM clarion.canonical_burn_block), c.digest, c.sequence
FROM clarion.cursor c
LEFT JOIN clarion.block b ON b.chain = c.chain AND b.hash = c.hash
LEFT JOIN clarion.canonical_burn_block k ON k.height = b.burn_height AND k.hash = b.burn_hash
"""


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


async def read_receipts(connection: AsyncConnection[Any], final_depth: int) -> dict[Chain, Receipt]:
    """The tip of every chain in this database, ``stacks`` first."""
    rows = await (await connection.execute(TIPS)).fetchall()
    receipts: dict[Chain, Receipt] = {}
    for chain, height, block_hash, burn_height, burn_hash, burn_known, burn_tip, digest, sequence in sorted(
        rows, key=lambda row: (row[0] != "stacks", row[0])
    ):
        how_final = (
            None
            if height is None
            else finality(burn_height, burn_known=burn_known, burn_tip=burn_tip, final_depth=final_depth)
        )
        receipts[chain] = Receipt(
            chain, height, block_hash, burn_height, burn_hash, how_final, digest, sequence, burn_tip
        )
    return receipts
