"""Tracked outpoints: every output that an acceptable spell gave charms, on whatever branch of the chain.

That is more than is live on any one branch, so a block that is scanned after its ancestors sees every spend of charms,
whichever branch it is on. They are in memory, as transactions hold them, and are read from the chain log at start.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from psycopg import Connection

from clarion.chains.bitcoin.charms.events import SpellEvent

_LOGGED: Final = """
SELECT t.tx_id, array_agg(o.place - 1)
FROM clarion.event e
JOIN clarion.transaction t ON t.chain = e.chain AND t.height = e.height AND t.block_hash = e.block_hash
    AND t.tx_index = e.tx_index
CROSS JOIN jsonb_array_elements(e.value -> 'outs') WITH ORDINALITY o (charms, place)
WHERE e.chain = 'bitcoin' AND e.kind = 'spell' AND e.value ->> 'status' IN ('verified', 'mock') AND o.charms <> '{}'
GROUP BY t.tx_id
"""


_READABLE: Final = """
SELECT count(*), min(e.height) FROM clarion.event e
JOIN clarion.canonical_block k ON k.chain = e.chain AND k.height = e.height AND k.hash = e.block_hash
WHERE e.chain = 'bitcoin' AND e.kind = 'spell' AND e.value ->> 'status' = 'unsupported'
    AND (e.value ->> 'version')::bigint BETWEEN 1 AND %s
"""


def readable_now(connection: Connection[Any], latest_version: int) -> tuple[int, int | None]:
    """How many canonical spells were of a version that could not be read and can be now, and the lowest's height."""
    found = connection.execute(_READABLE, (latest_version,)).fetchone()
    return (0, None) if found is None else found


class Tracked:
    """The tracked outpoints of one index; ``outpoints``: some to begin with, as transactions hold them."""

    def __init__(self, outpoints: Iterable[bytes] = ()) -> None:
        self._outpoints = set(outpoints)

    def __len__(self) -> int:
        return len(self._outpoints)

    def load(self, connection: Connection[Any]) -> None:
        """Track what the spells in the chain log gave charms."""
        for tx_id, places in connection.execute(_LOGGED):
            self._outpoints.update(_outpoint(tx_id, vout) for vout in places)

    def add(self, tx_id: bytes, spell: SpellEvent) -> None:
        """Track what a spell in the transaction ``tx_id`` (display order) gave charms, where it is acceptable."""
        if spell.acceptable:
            self._outpoints.update(_outpoint(tx_id, vout) for vout, charms in enumerate(spell.outs) if charms)

    def among(self, outpoints: Sequence[bytes]) -> list[int]:
        """Which of these outpoints, as transactions hold them, are tracked: their places."""
        tracked = self._outpoints
        if tracked.isdisjoint(outpoints):
            return []
        return [place for place, outpoint in enumerate(outpoints) if outpoint in tracked]


def _outpoint(tx_id: bytes, vout: int) -> bytes:
    return tx_id[::-1] + vout.to_bytes(4, "little")
