"""The Bitcoin chain as Stacks nodes tell of it: which Bitcoin block counts at a height. All SQL about it is here.

Nodes announce Bitcoin blocks, in newer versions with the parent's hash; a Stacks block names the one it is anchored to.
A block lower than the highest may fill a gap, may be the start of a reorg, or may come from a node that is behind: the
parents tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from psycopg import Connection

from clarion.chains.model import BurnBlock
from clarion.store import arrays


class Announced(StrEnum):
    """What an announced Bitcoin block did to the Bitcoin chain."""

    KNOWN = "known"
    """Nothing: it counts already."""
    ADDED = "added"
    """It continues the chain or fills a gap."""
    REORG = "reorg"
    """Others count now than before: it replaced some, or brought back some that had lost."""
    WAITS = "waits"
    """It contradicts what counts and is no higher."""
    REFUSED = "refused"
    """It would replace Bitcoin blocks that final blocks are anchored to."""


@dataclass(frozen=True, slots=True)
class _Stored:
    height: int
    hash: bytes
    parent_hash: bytes | None


class SelfAnchored:
    """What stands for it in Bitcoin's own index: a block counts where it is canonical, so none is orphaned beside that.

    What Stacks nodes tell of Bitcoin is of no concern to it.
    """

    def asked(self, hashes: Iterable[bytes]) -> Callable[[], None]:
        """Nothing has to be asked."""
        return lambda: None

    def prefetch(self, hashes: Iterable[bytes]) -> None:
        """Nothing has to be asked."""

    def is_canonical(self, burn_hash: bytes) -> bool:
        """Always."""
        return True

    def is_orphaned(self, burn_hash: bytes | None) -> bool:
        """Never."""
        return False


class BurnChain:
    """The Bitcoin chain within one database transaction.

    What was asked is remembered, so make another one for another transaction.
    """

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection
        self._counts: dict[bytes, bool | None] = {}
        """By hash: whether it counts, None where it was never heard of."""
        self._tip: tuple[int, bytes] | None = None
        """The highest that counts, where that was asked and is so still."""

    def asked(self, hashes: Iterable[bytes]) -> Callable[[], None]:
        """Ask for many Bitcoin blocks at once, before each is asked for; what is given back waits for the answer."""
        unknown = {burn_hash for burn_hash in hashes if burn_hash not in self._counts}
        if not unknown:
            return lambda: None
        answer = self._connection.execute(
            "SELECT b.hash, c.hash IS NOT NULL FROM clarion.burn_block b LEFT JOIN clarion.canonical_burn_block c "
            "ON c.height = b.height AND c.hash = b.hash WHERE b.hash = ANY(%b::bytea[])",
            (arrays.of_hashes(unknown),),
        )

        def take() -> None:
            self._counts |= dict.fromkeys(unknown)
            self._counts |= dict(answer.fetchall())

        return take

    def prefetch(self, hashes: Iterable[bytes]) -> None:
        """The same, waiting for the answer."""
        self.asked(hashes)()

    def is_canonical(self, burn_hash: bytes) -> bool:
        """Whether this Bitcoin block is known and counts."""
        self.prefetch((burn_hash,))
        return self._counts[burn_hash] is True

    def is_orphaned(self, burn_hash: bytes | None) -> bool:
        """Whether this Bitcoin block is known and another one counts in its place."""
        if burn_hash is None:
            return False
        if burn_hash not in self._counts:
            self.prefetch((burn_hash,))
        return self._counts[burn_hash] is False

    def announce(self, burn: BurnBlock, *, at_once: bool, final_height: Callable[[], int | None]) -> Announced:
        """Take a Bitcoin block that a source announced.

        ``at_once``: what it contradicts is the same source's earlier word, so it counts at once; otherwise only when it
        is higher than all that count. ``final_height`` gives that of the Bitcoin block that the highest final block is
        anchored to; neither it nor one below is replaced.
        """
        if self._is_next(burn):
            self._connection.execute(
                """
                WITH known AS (
                    INSERT INTO clarion.burn_block (hash, height, parent_hash, time) VALUES (%b, %s, %b, %s)
                )
                INSERT INTO clarion.canonical_burn_block (hash, height) VALUES (%b, %s)
                """,
                (burn.hash, burn.height, burn.parent_hash, burn.time, burn.hash, burn.height),
            )
            self._counts[burn.hash] = True
            self._tip = burn.height, burn.hash
            return Announced.ADDED
        self._tip = None
        told_before = self._record(burn)
        if self.is_canonical(burn.hash):
            return Announced.KNOWN
        branch, connected = self._branch(burn)
        replaced = self._lowest_replaced(branch, connected=connected)
        if replaced is not None:
            if not at_once and burn.height <= (self.tip_height() or 0):
                return Announced.WAITS
            final = final_height()
            if final is not None and replaced <= final:
                return Announced.REFUSED
            self._connection.execute("DELETE FROM clarion.canonical_burn_block WHERE height >= %s", (replaced,))
            self._counts.clear()
        self._set_canonical((block.height, block.hash) for block in branch)
        self._counts |= {block.hash: True for block in branch}
        changed = replaced is not None or told_before or len(branch) > 1
        return Announced.REORG if changed else Announced.ADDED

    def _is_next(self, burn: BurnBlock) -> bool:
        """Whether there is nothing to choose, as mostly: it is new and builds on the highest that counts."""
        self.prefetch((burn.hash,))
        if self._counts[burn.hash] is not None or burn.parent_hash is None:
            return False
        if self._tip is None:
            self._tip = self._connection.execute(
                "SELECT height, hash FROM clarion.canonical_burn_block ORDER BY height DESC LIMIT 1"
            ).fetchone()
        return self._tip == (burn.height - 1, burn.parent_hash)

    def learn(self, burns: Iterable[tuple[int, bytes]]) -> int:
        """Take (height, hash) of Bitcoin blocks that ancestors of an anchored Stacks block are anchored to.

        They are ancestors of its own Bitcoin block, so they count where no other was announced at their height. Returns
        how many were new.
        """
        return self._set_canonical(burns)

    def tip_height(self) -> int | None:
        """Height of the highest Bitcoin block that counts, or None where none is known."""
        found = self._connection.execute("SELECT max(height) FROM clarion.canonical_burn_block").fetchone()
        return None if found is None else found[0]

    def choose_above(self, height: int) -> None:
        """Forget which Bitcoin blocks count above ``height`` and choose the highest branch of all that were announced.

        Where two are as high, what did not count before does now.
        """
        self._tip = None
        removed = self._connection.execute(
            "DELETE FROM clarion.canonical_burn_block WHERE height > %s RETURNING hash", (height,)
        ).fetchall()
        self._counts.clear()
        known = [
            _Stored(*row)
            for row in self._connection.execute(
                "SELECT height, hash, parent_hash FROM clarion.burn_block WHERE height > %s", (height,)
            )
        ]
        counted = {burn_hash for (burn_hash,) in removed}
        for tip in sorted(known, key=lambda block: (-block.height, block.hash in counted, block.hash)):
            branch, connected = self._branch(BurnBlock(tip.height, tip.hash, tip.parent_hash))
            if self._lowest_replaced(branch, connected=connected) is None:
                self._set_canonical((block.height, block.hash) for block in branch)
                self._counts.clear()

    def _record(self, burn: BurnBlock) -> bool:
        """Note a Bitcoin block and whatever is told of it for the first time; whether it was known before."""
        self.prefetch((burn.hash,))
        known = self._counts[burn.hash] is not None
        self._connection.execute(
            "INSERT INTO clarion.burn_block AS b (hash, height, parent_hash, time) VALUES (%s, %s, %s, %s) "
            "ON CONFLICT (hash) DO UPDATE SET parent_hash = coalesce(b.parent_hash, excluded.parent_hash), "
            "time = coalesce(b.time, excluded.time) WHERE b.parent_hash IS NULL OR b.time IS NULL",
            (burn.hash, burn.height, burn.parent_hash, burn.time),
        )
        if not known:
            self._counts[burn.hash] = False
        return known

    def _branch(self, burn: BurnBlock) -> tuple[list[_Stored], bool]:
        """The block and its known ancestors that do not count, and whether it is known that the next one counts."""
        branch = [_Stored(burn.height, burn.hash, burn.parent_hash)]
        while (lowest := branch[-1]).parent_hash is not None:
            found = self._connection.execute(
                "SELECT b.height, b.hash, b.parent_hash, c.hash IS NOT NULL FROM clarion.burn_block b "
                "LEFT JOIN clarion.canonical_burn_block c ON c.height = b.height AND c.hash = b.hash WHERE b.hash = %s",
                (lowest.parent_hash,),
            ).fetchone()
            if found is None or found[0] != lowest.height - 1:
                break
            *parent, counts = found
            if counts:
                return branch, True
            branch.append(_Stored(*parent))
        return branch, False

    def _lowest_replaced(self, branch: list[_Stored], *, connected: bool) -> int | None:
        """Height of the lowest Bitcoin block that counts and contradicts this branch, or None where none does.

        ``connected``: the one below the branch is known to count.
        """
        highest, lowest = branch[0], branch[-1]
        first = lowest.height if connected or lowest.parent_hash is None else lowest.height - 1
        found = self._connection.execute(
            """
            SELECT min(c.height) FROM clarion.canonical_burn_block c JOIN clarion.burn_block b ON b.hash = c.hash
            WHERE c.height BETWEEN %(first)s AND %(height)s
            OR (c.height = %(height)s + 1 AND b.parent_hash <> %(hash)s)
            """,
            {"first": first, "height": highest.height, "hash": highest.hash},
        ).fetchone()
        return None if found is None else found[0]

    def _set_canonical(self, burns: Iterable[tuple[int, bytes]]) -> int:
        self._tip = None
        heights, hashes = zip(*burns, strict=True) if (burns := list(burns)) else ((), ())
        self._connection.execute(
            "INSERT INTO clarion.burn_block (height, hash) SELECT * FROM unnest(%s::bigint[], %s::bytea[]) "
            "ON CONFLICT DO NOTHING",
            (list(heights), list(hashes)),
        )
        added = self._connection.execute(
            "INSERT INTO clarion.canonical_burn_block (height, hash) "
            "SELECT * FROM unnest(%s::bigint[], %s::bytea[]) ON CONFLICT DO NOTHING",
            (list(heights), list(hashes)),
        ).rowcount
        for burn_hash in hashes:
            self._counts.pop(burn_hash, None)
        return added
