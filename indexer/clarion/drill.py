"""A rehearsal of a reorganisation: rolls blocks back and applies them again, on copies of the tables.

It uses the undo images that a rollback would use and compares what comes of it with the rows as of the fork point; then
it derives the blocks again from the chain log and compares rows and digests with the live ones.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import Connection

from clarion.chains.model import Chain
from clarion.protocol import DeployedProtocol
from clarion.store import chain_log
from clarion.store.chain_log import json_text
from clarion.store.digest import EMPTY_DIGEST
from clarion.store.projector import Projector
from clarion.store.shadow import CHUNK_BLOCKS, RowDifference, Shadow, ShadowError, shadow
from clarion.store.undo import net_changes


@dataclass(frozen=True, slots=True)
class Drilled:
    """What was rehearsed and how it went. Times are in seconds, ``size`` in bytes of the copies with their indexes."""

    tip_height: int
    depth: int
    rows: int
    size: int
    undone: int
    """How many rows the rollback brought back."""
    applied: int
    """How many row changes applying again made."""
    copy_seconds: float
    undo_seconds: float
    apply_seconds: float
    after_undo: RowDifference | None
    """The first row that is not as it was at the fork point."""
    after_apply: RowDifference | None
    """The first row that is not as it was at the tip."""
    digests_differ: tuple[str, ...]
    """Protocols whose digest after applying again is not the live one."""

    @property
    def passed(self) -> bool:
        """Whether everything came out the same."""
        return self.after_undo is None and self.after_apply is None and not self.digests_differ


def drill(connection: Connection[Any], chain: Chain, protocols: Sequence[DeployedProtocol], depth: int) -> Drilled:
    """Roll back ``depth`` blocks and apply them again, on copies; the live tables are not touched.

    ``connection`` is in autocommit mode; the indexer may go on meanwhile. Raises ShadowError where final blocks would
    be rolled back, or there are not so many.
    """
    with shadow(connection, chain, protocols, "drill") as copies:
        tip, fork, sequence = _fork_point(connection, chain, depth)
        started = time.monotonic()
        rows = copies.fill(tip)
        copied = time.monotonic()
        undo = net_changes(connection, chain, sequence, fork, copies.tables.names)
        copies.tables.write(connection, undo)
        undone = time.monotonic()
        after_undo = copies.difference(fork)
        compared = time.monotonic()
        applied, digests_differ = _apply_again(copies, protocols, fork, tip)
        ended = time.monotonic()
        return Drilled(
            tip,
            depth,
            rows,
            copies.size(),
            len(undo),
            applied,
            copied - started,
            undone - copied,
            ended - compared,
            after_undo,
            copies.difference(tip),
            digests_differ,
        )


def _fork_point(connection: Connection[Any], chain: Chain, depth: int) -> tuple[int, int, int]:
    """Heights of the tip and of the block to go back to, and the last change sequence of the latter."""
    cursor = connection.execute(
        "SELECT height, final_height FROM clarion.cursor WHERE chain = %s AND height IS NOT NULL", (chain,)
    ).fetchone()
    if cursor is None:
        raise ShadowError(f"the {chain} index holds no block yet")
    tip, final = cursor
    fork = tip - depth
    if final is not None and fork < final:
        raise ShadowError(
            f"{chain} block {final} is final and nothing below it is ever rolled back: from the tip {tip} that is "
            f"{tip - final} blocks at most, not {depth}"
        )
    found = connection.execute(
        "SELECT sequence FROM clarion.canonical_block WHERE chain = %s AND height = %s", (chain, fork)
    ).fetchone()
    if found is None:
        raise ShadowError(f"the {chain} index does not hold block {fork}, which is {depth} blocks below its tip {tip}")
    return tip, fork, found[0]


def _apply_again(
    copies: Shadow, protocols: Sequence[DeployedProtocol], fork: int, tip: int
) -> tuple[int, tuple[str, ...]]:
    """Project the blocks above the fork point; how many changes that made, and which digests are other than live."""
    connection = copies.connection
    projector = Projector(protocols, lambda row_type, key: copies.tables.load(connection, row_type, key))
    projector.clear(copies.digests(fork))
    changes = 0
    for low in range(fork + 1, tip + 1, CHUNK_BLOCKS):
        hashes = connection.execute(
            "SELECT hash FROM clarion.canonical_block WHERE chain = %s AND height BETWEEN %s AND %s ORDER BY height",
            (copies.chain, low, min(low + CHUNK_BLOCKS - 1, tip)),
        ).fetchall()
        blocks = chain_log.load(connection, copies.chain, [block_hash for (block_hash,) in hashes])
        projected = projector.project_all(blocks, lambda keys: copies.tables.load_many(connection, keys))
        made = [change for one in projected for change in one.changes]
        copies.tables.write(connection, made)
        projector.rows.trim()
        changes += len(made)
    live = copies.digests(tip)
    return changes, tuple(name for name, digest in projector.digests.items() if live.get(name, EMPTY_DIGEST) != digest)


def describe(done: Drilled) -> list[str]:
    """How it went, in lines for a person."""
    lines = [
        f"copied    {done.rows} rows as of block {done.tip_height} in {done.copy_seconds:.2f} s, "
        f"{done.size / 2**20:.1f} MiB",
        f"undone    {done.depth} blocks, {done.undone} rows in {done.undo_seconds:.2f} s",
        f"applied   {done.depth} blocks, {done.applied} row changes in {done.apply_seconds:.2f} s",
    ]
    for when, found in (("rolling back", done.after_undo), ("applying again", done.after_apply)):
        if found is not None:
            lines += [
                f"differs   after {when}: {found.table} {json_text(found.key)}",
                f"  index   {json_text(found.stored) or 'nothing'}",
                f"  drill   {json_text(found.derived) or 'nothing'}",
            ]
    lines += [f"differs   the digest of {name} after applying again" for name in done.digests_differ]
    lines.append("passed" if done.passed else "failed")
    return lines
