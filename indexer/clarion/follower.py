"""Puts blocks in order, finds forks, rolls back, and tells how final a block is.

Fork choice for Stacks, as a node makes it: the highest block wins, the first seen among equals, but no block whose
Bitcoin block has been replaced. A Bitcoin reorg therefore rolls back the Stacks blocks anchored to it and only those.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from clarion.chains.model import Block, BlockRef, BurnBlock, Finality
from clarion.store.chain_log import Header, header_of
from clarion.store.store import Batch


def finality(burn_height: int | None, *, burn_known: bool, burn_tip: int | None, final_depth: int) -> Finality:
    """How final a canonical block is.

    ``burn_height``: of the Bitcoin block it is anchored to. ``burn_known``: that Bitcoin block was announced and is
    canonical. ``burn_tip``: height of the highest canonical Bitcoin block. ``final_depth``: how many Bitcoin blocks on
    top of its own make it final.
    """
    if burn_height is None or burn_tip is None or not burn_known:
        return Finality.SOFT
    return Finality.FINAL if burn_tip - burn_height >= final_depth else Finality.ANCHORED


@dataclass(slots=True)
class Followed:
    """What a call did to the canonical chain."""

    applied: list[BlockRef] = field(default_factory=list)
    rolled_back: int = 0
    """How many blocks were taken back."""
    missing: set[bytes] = field(default_factory=set)
    """Hashes of blocks that others build on and nobody has sent; ask a source for them."""


class Follower:
    """Applies one chain's blocks to a batch in whatever order they come.

    ``start_height``: the first block at or below it may start an empty index, an earlier one is fetched otherwise; None
    takes the first block that comes as the start, whatever its height (a recorded piece of a chain).
    """

    def __init__(self, *, start_height: int | None = 0) -> None:
        self._start_height = start_height

    def ingest(self, batch: Batch, items: Iterable[Block | BurnBlock]) -> Followed:
        """Take blocks and Bitcoin blocks in the order a source gave them; everything goes into ``batch``.

        Known blocks are ignored. A block whose parent is unknown is kept in the chain log and becomes canonical when
        its ancestors arrive. Blocks of losing branches are kept too.
        """
        followed = Followed()
        for item in items:
            if isinstance(item, BurnBlock):
                if batch.add_burn_block(item):
                    self._burn_reorg(batch, followed)
            elif batch.header(item.hash) is None:
                batch.append(item)
                self._prefer(batch, self._best_above(batch, header_of(item)), followed)
        followed.missing = {block_hash for block_hash in followed.missing if batch.header(block_hash) is None}
        return followed

    def _burn_reorg(self, batch: Batch, followed: Followed) -> None:
        """Leave the blocks whose Bitcoin block was replaced, for the best branch that is still valid."""
        lowest = batch.lowest_burn_orphaned()
        if lowest is None:
            return
        fork = batch.canonical_header(lowest - 1)
        self._roll_back(batch, fork, followed)
        if fork is not None:
            self._prefer(batch, self._best_above(batch, fork), followed)

    def _best_above(self, batch: Batch, start: Header) -> Header:
        """The highest valid block that builds on ``start``, or ``start`` itself."""
        level = [start]
        while level:
            best = level[0]
            level = [
                child
                for parent in level
                for child in batch.children(parent.ref.hash)
                if not batch.burn_orphaned(child.burn_hash)
            ]
        return best

    def _prefer(self, batch: Batch, leaf: Header, followed: Followed) -> None:
        """Make ``leaf`` the tip if it is higher than the tip, valid, and all its ancestors are known."""
        if batch.tip.height is not None and leaf.ref.height <= batch.tip.height:
            return
        branch: list[bytes] = []
        current = leaf
        while True:
            if batch.burn_orphaned(current.burn_hash):
                return
            branch.append(current.ref.hash)
            parent = batch.header(current.ref.parent_hash)
            if parent is None:
                if not self._may_start(batch, current.ref):
                    followed.missing.add(current.ref.parent_hash)
                    return
                fork = batch.canonical_header(current.ref.height - 1)
                break
            if batch.canonical_hash(parent.ref.height) == parent.ref.hash:
                fork = parent
                break
            current = parent
        if fork is None or fork.ref.hash != batch.tip.hash:
            self._roll_back(batch, fork, followed)
        for block in batch.load(reversed(branch)):
            batch.apply(block)
            followed.applied.append(block.ref)

    def _may_start(self, batch: Batch, ref: BlockRef) -> bool:
        """Whether the chain may begin with this block although its parent is unknown.

        Block 1's parent is the genesis block by definition: nodes name that block differently in its own announcement
        and as block 1's parent.
        """
        if ref.height <= 1:
            return True
        if batch.tip.height is not None:
            return False
        return self._start_height is None or ref.height <= self._start_height

    def _roll_back(self, batch: Batch, fork: Header | None, followed: Followed) -> None:
        if batch.tip.height is not None:
            followed.rolled_back += batch.rollback(None if fork is None else fork.ref.height)
