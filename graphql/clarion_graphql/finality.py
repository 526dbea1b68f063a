"""How final a block is, as the indexer decided: nothing at or below ``clarion.cursor.final_height`` is rolled back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, LiteralString

from clarion.chains.model import Chain, Finality
from clarion_graphql.receipt import ANCHORED, FINALITY
from clarion_graphql.session import Session
from clarion_graphql.sql import literal

_OF_HEIGHTS: Final[LiteralString] = (
    "SELECT c.height, c.hash, " + FINALITY + " FROM clarion.canonical_block c "
    "JOIN clarion.cursor u ON u.chain = c.chain "
    "JOIN clarion.block b ON b.chain = c.chain AND b.hash = c.hash " + ANCHORED + " "
    "WHERE c.chain = %s AND c.height = ANY(%s::bigint[])"
)


async def finality_of(session: Session, chain: Chain, height: int, block_hash: bytes | None) -> Finality | None:
    """How final the canonical block at ``height`` is; None where there is none, or it is not ``block_hash``."""

    async def load(heights: Sequence[int]) -> dict[int, tuple[bytes, Finality]]:
        found = await session.fetch(literal(_OF_HEIGHTS, chain, list(heights)), at_most=len(heights))
        return {at: (canonical, Finality(finality)) for at, canonical, finality in found}

    found = await session.loader(("finality", chain), load).load(height)
    if found is None or (block_hash is not None and block_hash != found[0]):
        return None
    return found[1]
