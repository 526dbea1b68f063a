"""How final the block is that a row was last changed in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from clarion.chains.model import Chain, Finality
from clarion.follower import finality
from clarion_graphql.session import Session
from clarion_graphql.sql import literal

ANCHORS: Final = """
SELECT c.height, c.hash, b.burn_height, k.hash IS NOT NULL
FROM clarion.canonical_block c
JOIN clarion.block b ON b.chain = c.chain AND b.hash = c.hash
LEFT JOIN clarion.canonical_burn_block k ON k.height = b.burn_height AND k.hash = b.burn_hash
WHERE c.chain = %s AND c.height = ANY(%s::bigint[])
"""


async def finality_of(session: Session, chain: Chain, height: int, block_hash: bytes | None) -> Finality | None:
    """How final the canonical block at ``height`` is; None where there is none, or it is not ``block_hash``."""

    async def load(heights: Sequence[int]) -> dict[int, tuple[bytes, Finality]]:
        receipt = (await session.receipts()).get(chain)
        query = literal(ANCHORS, chain, list(heights))
        burn_tip = None if receipt is None else receipt.burn_tip
        return {
            at: (canonical, finality(burn, burn_known=known, burn_tip=burn_tip, final_depth=session.final_depth))
            for at, canonical, burn, known in await session.fetch(query, at_most=len(heights))
        }

    found = await session.loader(("finality", chain), load).load(height)
    if found is None or (block_hash is not None and block_hash != found[0]):
        return None
    return found[1]
