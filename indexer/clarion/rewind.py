"""Takes an index back to an earlier block by hand, below what is final too: the way out when a source was wrong.

What the follower never does by itself. Rows come back from the change log where it still holds what they were; a
protocol whose changes do not go back so far is emptied, and filled again from the chain log when the index starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import Connection, sql

from clarion.chains.model import Chain
from clarion.follower import REWRITES_FINAL, Follower
from clarion.protocol import DeployedProtocol
from clarion.store.database import connect
from clarion.store.generation import final_height
from clarion.store.store import Store, Tip


class RewindError(RuntimeError):
    """The index cannot be taken back. The message says why and what to do; nothing has changed."""


@dataclass(frozen=True, slots=True)
class Rewound:
    """What a rewind did: blocks taken back, protocols that have to be filled again, and where the index stands now."""

    rolled_back: int
    refill: tuple[str, ...]
    tip: Tip
    followed: int
    """How many blocks of the chain log were applied on top."""


def rewind(
    database_url: str,
    protocols: Sequence[DeployedProtocol],
    *,
    chain: Chain = "stacks",
    to: int,
    accept_final_loss: bool,
    final_depth: int,
    forget: bool = False,
) -> Rewound:
    """Take a chain's index back to block ``to``, choose the highest Bitcoin branch above it anew, and follow that.

    Takes the index over: an indexer that runs ends. ``protocols``: those that are enabled on the chain. ``forget``: the
    blocks above go out of the chain log as well, to be read from a source again. Raises RewindError where ``to`` is not
    a canonical block, or is below a final one and ``accept_final_loss`` does not say that this is meant, or where
    Stacks' blocks would be forgotten: nodes post a block once.
    """
    if forget and chain == "stacks":
        raise RewindError("a Stacks node posts a block once: what the index forgets nobody gives again")
    with connect(database_url, autocommit=True) as connection:
        sequence, burn_height = _target(connection, chain, to)
        final = final_height(connection, chain)
        if final is not None and to < final and not accept_final_loss:
            raise RewindError(
                f"blocks up to {final} are final: readers were told that they stay. Where a source was wrong about "
                "them, say --accept-final-loss; nothing has changed"
            )
        refill = [deployed for deployed in protocols if not _goes_back(connection, chain, deployed, sequence)]
        store = Store(
            connection,
            chain,
            [deployed for deployed in protocols if deployed not in refill],
            final_depth=final_depth,
        )
        store.open()
        with store.batch() as batch:
            batch.give_up_final(to)
            rolled_back = batch.rollback(to)
            _drop_next_generations(connection, chain)
            for deployed in refill:
                _empty(connection, chain, deployed)
            if forget:
                _forget(connection, chain, to)
            batch.choose_burn_blocks_above(burn_height)
            followed = Follower().choose_again(batch)
            batch.flush()
            connection.execute(
                "DELETE FROM clarion.anomaly a USING clarion.canonical_block k WHERE a.chain = %s AND a.kind = %s "
                "AND k.chain = a.chain AND k.height = a.height AND k.hash = a.block_hash",
                (chain, REWRITES_FINAL),
            )
        names = tuple(deployed.protocol.name for deployed in refill)
        return Rewound(rolled_back, names, store.tip, len(followed.applied))


def _target(connection: Connection[Any], chain: Chain, height: int) -> tuple[int, int]:
    """The sequence and the Bitcoin height of the canonical block at a height."""
    found = connection.execute(
        "SELECT k.sequence, b.burn_height FROM clarion.canonical_block k "
        "JOIN clarion.block b ON b.chain = k.chain AND b.hash = k.hash WHERE k.chain = %s AND k.height = %s",
        (chain, height),
    ).fetchone()
    if found is None:
        raise RewindError(
            f"the {chain} index has no block {height} to go back to; clarion status shows where it stands"
        )
    sequence, burn_height = found
    return sequence, -1 if burn_height is None else burn_height


def _goes_back(connection: Connection[Any], chain: Chain, deployed: DeployedProtocol, sequence: int) -> bool:
    """Whether the change log holds what every row of a protocol was at a sequence."""
    found = connection.execute(
        """
        SELECT p.since_sequence <= %(sequence)s AND c.kept_from <= %(sequence)s AND NOT EXISTS (
            SELECT FROM clarion.change WHERE chain = %(chain)s AND sequence > %(sequence)s AND "table" = ANY(%(tables)s)
            AND op <> 'insert' AND before IS NULL
        ) AND NOT EXISTS (
            SELECT FROM clarion.kept t JOIN clarion.canonical_block b ON b.chain = t.chain AND b.height = t.from_height
            WHERE t.chain = %(chain)s AND t."table" = ANY(%(tables)s) AND b.sequence > %(sequence)s
        )
        FROM clarion.protocol p JOIN clarion.cursor c USING (chain)
        WHERE p.chain = %(chain)s AND p.name = %(name)s
        """,
        {
            "chain": chain,
            "sequence": sequence,
            "tables": [row_type.name for row_type in deployed.protocol.row_types],
            "name": deployed.protocol.name,
        },
    ).fetchone()
    return found is not None and bool(found[0])


def _empty(connection: Connection[Any], chain: Chain, deployed: DeployedProtocol) -> None:
    """Empty a protocol's tables and have them filled anew when the index starts."""
    tables = [sql.Identifier(*row_type.name.split(".")) for row_type in deployed.protocol.row_types]
    if tables:
        connection.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(tables)))
    which = (chain, deployed.protocol.name)
    connection.execute("DELETE FROM clarion.digest WHERE chain = %s AND protocol = %s", which)
    connection.execute("UPDATE clarion.protocol SET fingerprint = '' WHERE chain = %s AND name = %s", which)


def _forget(connection: Connection[Any], chain: Chain, height: int) -> None:
    for table in ("event", "transaction", "block", "anomaly"):
        connection.execute(f"DELETE FROM clarion.{table} WHERE chain = %s AND height > %s".encode(), (chain, height))


def _drop_next_generations(connection: Connection[Any], chain: Chain) -> None:
    """Forget what is being filled: it may hold rows of blocks that are not canonical any more."""
    for table, protocol in (("digest", "t.protocol"), ("history", "split_part(t.\"table\", '.', 1)")):
        connection.execute(
            f"DELETE FROM clarion.{table} t USING clarion.protocol p WHERE t.chain = %s AND p.chain = t.chain "
            f"AND p.name = {protocol} AND t.generation > p.generation".encode(),
            (chain,),
        )
    connection.execute(
        "UPDATE clarion.protocol SET next_generation = NULL, next_fingerprint = NULL, next_height = NULL, "
        "next_ready = false WHERE chain = %s",
        (chain,),
    )
