"""Puts blocks in order, finds forks, rolls back, and tells how final a block is.

Fork choice for Stacks, as a node makes it: the highest block wins, the first seen among equals, but no block whose
Bitcoin block has been replaced. A Bitcoin reorg therefore rolls back the Stacks blocks anchored to it and only those.
For Bitcoin the branch with the most work wins, the first seen among equals: where the difficulty differs, as it does
from one block to the next on testnet4, that may be the lower one.
What is final stays: a branch that leaves below it is kept in the chain log, told of, and not followed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from clarion.chains.model import Block, BlockRef, BurnBlock, Finality
from clarion.store.burn_chain import Announced
from clarion.store.chain_log import Header, header_of
from clarion.store.projector import AnomalyAt
from clarion.store.store import Batch

#: Kind of the anomaly that is noted with the first block of a branch that would replace final blocks.
REWRITES_FINAL: Final = "rewrites_final"
#: Kind of the anomaly that is noted with a block whose height is not its parent's plus one.
WRONG_HEIGHT: Final = "wrong_height"
#: Kind of the anomaly that is noted with a block that was told again with another place in the chain.
CONTRADICTION: Final = "contradiction"


def finality(height: int, *, final_height: int | None, anchored: bool) -> Finality:
    """How final the canonical block at ``height`` is.

    ``final_height``: of the highest block that was ever final. ``anchored``: the block's Bitcoin block counts.
    """
    if final_height is not None and height <= final_height:
        return Finality.FINAL
    return Finality.ANCHORED if anchored else Finality.SOFT


@dataclass(frozen=True, slots=True)
class Refused:
    """A branch that was not followed because it would have replaced final blocks."""

    source: str
    """Who told of it."""
    detail: str
    """What the branch is and where it leaves, in words."""
    continues: bool = False
    """Whether the branch was told of before."""


@dataclass(slots=True)
class Followed:
    """What a call did to the canonical chain."""

    applied: list[BlockRef] = field(default_factory=list)
    rolled_back: int = 0
    """How many blocks were taken back."""
    missing: set[bytes] = field(default_factory=set)
    """Hashes of blocks that others build on and nobody has sent; ask a source for them."""
    refused: list[Refused] = field(default_factory=list)

    def add(self, other: Followed) -> None:
        """Count what a later call did as well."""
        self.applied += other.applied
        self.rolled_back += other.rolled_back
        self.missing |= other.missing
        self.refused += other.refused


@dataclass(frozen=True, slots=True)
class _Weight:
    """What a branch is compared by from where it leaves: its work, or where that is not known its blocks."""

    blocks: int = 0
    work: int | None = 0

    def plus(self, header: Header) -> _Weight:
        work = None if self.work is None or header.work is None else self.work + header.work
        return _Weight(self.blocks + 1, work)

    def exceeds(self, other: _Weight) -> bool:
        if self.work is None or other.work is None:
            return self.blocks > other.blocks
        return self.work > other.work


class Follower:
    """Applies one chain's blocks to a batch in whatever order they come.

    ``start_height``: the first block at or below it may start an empty index, an earlier one is fetched otherwise; None
    takes the first block that comes as the start, whatever its height (a recorded piece of a chain).
    ``known_sources``: names of sources that were heard before; one that was never heard may contradict none of them.
    """

    def __init__(self, *, start_height: int | None = 0, known_sources: Iterable[str] = ()) -> None:
        self._start_height = start_height
        self._last_burn: dict[str, BurnBlock | None] = dict.fromkeys(known_sources)
        self._refused_tips: set[bytes] = set()
        """Blocks and Bitcoin blocks that end what was refused."""
        self._anchors: list[bytes | None] = []
        """Bitcoin blocks of the blocks that the current call made canonical."""
        self._all_anchored = False
        """Whether the Bitcoin blocks of all canonical blocks are known to count; False where it is not known."""

    def ingest(self, batch: Batch, items: Iterable[Block | BurnBlock], *, source: str = "") -> Followed:
        """Take blocks and Bitcoin blocks in the order a source gave them; everything goes into ``batch``.

        Known blocks are ignored: of two that have the same hash and differ, the first counts. A block whose parent is
        unknown is kept in the chain log and becomes canonical when its ancestors arrive. Blocks of losing branches are
        kept too. ``source`` is the name of whoever gave them.
        """
        followed = Followed()
        anchored = False
        self._anchors.clear()
        batch.if_undone(self._memory())
        items = list(items)
        batch.expect(items)
        for item in items:
            if isinstance(item, BurnBlock):
                anchored |= self._burn_block(batch, item, source, followed)
            elif self._continues(batch, item):
                batch.append(item)
                self._apply(batch, item, followed)
            elif (known_as := batch.header(item.hash)) is not None:
                self._compare(batch, item, known_as, source)
            elif self._builds_on(batch, header_of(item), batch.header(item.ref.parent_hash)):
                batch.append(item)
                self._prefer(batch, self._best_above(batch, header_of(item)), source, followed)
        anchors = set(self._anchors)
        batch.burns.prefetch(burn_hash for burn_hash in anchors if burn_hash)
        known = [burn_hash is not None and batch.burns.is_canonical(burn_hash) for burn_hash in anchors]
        self._all_anchored &= all(known)
        if not self._all_anchored and (anchored or any(known)):
            self._all_anchored = batch.learn_burn_blocks()
        followed.missing = {block_hash for block_hash in followed.missing if batch.header(block_hash) is None}
        return followed

    def _continues(self, batch: Batch, block: Block) -> bool:
        """Whether there is nothing to choose, as of most blocks: it goes on where the tip is, and nothing else does."""
        return (
            batch.continues(block)
            and block.ref.parent_hash not in self._refused_tips
            and not (block.burn and batch.burns.is_orphaned(block.burn.hash))
        )

    def _apply(self, batch: Batch, block: Block, followed: Followed) -> None:
        batch.apply(block)
        followed.applied.append(block.ref)
        self._anchors.append(block.burn.hash if block.burn else None)

    def choose_again(self, batch: Batch) -> Followed:
        """Follow the best of the branches in the chain log, as after a rollback by hand."""
        followed = Followed()
        self._choose_again(batch, "", followed)
        return followed

    def _memory(self) -> Callable[[], None]:
        """What brings back what is remembered now: a batch that fails was never heard."""
        last_burn, refused_tips, all_anchored = dict(self._last_burn), set(self._refused_tips), self._all_anchored

        def restore() -> None:
            self._last_burn, self._refused_tips, self._all_anchored = last_burn, refused_tips, all_anchored

        return restore

    @staticmethod
    def _compare(batch: Batch, block: Block, known_as: Header, source: str) -> None:
        """Note where a block comes again and says something else of its place than it did the first time."""
        again = header_of(block)
        if again == known_as or (again.ref == known_as.ref and None in (again.burn_hash, known_as.burn_hash)):
            return
        # what block 1 builds on has no name that all sources agree on
        if not again.ref.height == known_as.ref.height == 1:
            told, first = (
                f"height {said.ref.height}, parent 0x{said.ref.parent_hash.hex()}, "
                f"Bitcoin block {said.burn_height} (0x{said.burn_hash.hex() if said.burn_hash else ''})"
                for said in (again, known_as)
            )
            detail = f"{source or 'a source'} says {told}; it came first with {first}, which counts"
            batch.note(AnomalyAt(known_as.ref, -1, -1, CONTRADICTION, None, None, detail))

    @staticmethod
    def _builds_on(batch: Batch, child: Header, parent: Header | None) -> bool:
        """Whether a block's height is its parent's plus one, as far as that is known; noted where it is not."""
        if parent is None or child.ref.height == parent.ref.height + 1:
            return True
        detail = f"its height is {child.ref.height}, its parent {parent.ref} has height {parent.ref.height}"
        batch.note(AnomalyAt(child.ref, -1, -1, WRONG_HEIGHT, None, None, detail))
        return False

    def _burn_block(self, batch: Batch, burn: BurnBlock, source: str, followed: Followed) -> bool:
        """Take an announced Bitcoin block; whether it counts now and did not before."""
        outcome = batch.add_burn_block(burn, at_once=self._takes_back(batch, burn, source))
        self._last_burn[source] = burn
        if outcome is Announced.REORG:
            self._choose_again(batch, source, followed)
        elif outcome in (Announced.REFUSED, Announced.WAITS):
            self._burn_not_followed(batch, burn, outcome, source, followed)
        return outcome in (Announced.ADDED, Announced.REORG)

    def _burn_not_followed(
        self, batch: Batch, burn: BurnBlock, outcome: Announced, source: str, followed: Followed
    ) -> None:
        """Tell of a Bitcoin branch that was refused, once for the whole branch."""
        continues = burn.parent_hash in self._refused_tips
        if continues or outcome is Announced.REFUSED:
            self._refused_tips.add(burn.hash)
        if outcome is Announced.REFUSED and continues:
            followed.refused.append(Refused(source, f"{burn} continues what was refused", continues=True))
        elif outcome is Announced.REFUSED:
            detail = f"{burn} would replace Bitcoin blocks that final blocks up to {batch.final_height} are anchored to"
            ref = BlockRef("stacks", batch.final_height or 0, burn.hash, b"")
            self._refuse(batch, ref, source, detail, followed)

    def _takes_back(self, batch: Batch, burn: BurnBlock, source: str) -> bool:
        """Whether what this Bitcoin block may contradict is the source's own earlier word, or nobody else's at least.

        A source that goes on from a lower block contradicts others alone: it is behind, or sees a fork of one block
        that Bitcoin settles with the next.
        """
        alone = not self._last_burn.keys() - {source}
        last = self._last_burn.get(source)
        if last is None:
            return alone
        return (alone or last.height >= burn.height) and batch.burns.is_canonical(last.hash)

    def _choose_again(self, batch: Batch, source: str, followed: Followed) -> None:
        """Leave the blocks whose Bitcoin block was replaced, for the highest that is valid now, wherever it leaves."""
        lowest = batch.lowest_burn_orphaned()
        if lowest is not None:
            self._roll_back(batch, batch.canonical_header(lowest - 1), followed)
        visited: set[bytes] = set()
        for leaf in batch.above_tip():
            self._prefer(batch, leaf, source, followed, visited)

    def _best_above(self, batch: Batch, start: Header) -> Header:
        """The end of the best valid branch that builds on ``start``, or ``start`` itself."""
        best = (start, _Weight())
        level = [best]
        while level:
            level = [
                (child, weight.plus(child))
                for parent, weight in level
                for child in batch.children(parent.ref.hash)
                if not batch.burns.is_orphaned(child.burn_hash) and self._builds_on(batch, child, parent)
            ]
            for leaf in level:
                if leaf[1].exceeds(best[1]):
                    best = leaf
        return best[0]

    def _prefer(
        self, batch: Batch, leaf: Header, source: str, followed: Followed, visited: set[bytes] | None = None
    ) -> None:
        """Make ``leaf`` the tip if it outweighs the tip, is valid, all its ancestors are known, and it keeps what is
        final. Where it builds on one that is ``visited`` it was found not to be; what is found is added.
        """
        visited = set() if visited is None else visited
        if self._counts_or_is_lower(batch, leaf):
            return
        branch: list[bytes] = []
        weight = _Weight()
        current = leaf
        while True:
            if current.ref.hash in visited or batch.burns.is_orphaned(current.burn_hash):
                return
            visited.add(current.ref.hash)
            branch.append(current.ref.hash)
            weight = weight.plus(current)
            if current.ref.parent_hash in self._refused_tips:
                self._refused_tips.add(leaf.ref.hash)
                followed.refused.append(Refused(source, f"{leaf.ref} continues what was refused", continues=True))
                return
            parent = batch.header(current.ref.parent_hash)
            if parent is None:
                if not self._may_start(batch, current.ref):
                    followed.missing.add(current.ref.parent_hash)
                    return
                fork = batch.canonical_header(current.ref.height - 1)
                break
            if not self._builds_on(batch, current, parent):
                return
            if batch.canonical_hash(parent.ref.height) == parent.ref.hash:
                fork = parent
                break
            current = parent
        if batch.tip.hash != (None if fork is None else fork.ref.hash):
            if leaf.work is not None and not weight.exceeds(self._weight_above(batch, fork)):
                visited.difference_update(branch)  # one that builds on these may
                return
            batch.flush()  # which may make more blocks final
            final = batch.final_height
            if final is not None and (fork is None or fork.ref.height < final):
                leaves = "at the beginning" if fork is None else f"after block {fork.ref.height}"
                detail = f"a branch up to {leaf.ref} leaves {leaves} although block {final} is final"
                self._refused_tips.add(leaf.ref.hash)
                self._refuse(batch, current.ref, source, detail, followed)
                return
            self._roll_back(batch, fork, followed)
        for block in batch.load(reversed(branch)):
            self._apply(batch, block, followed)

    @staticmethod
    def _counts_or_is_lower(batch: Batch, leaf: Header) -> bool:
        """Whether there is nothing to choose: by height a look at the tip tells, by work only whether it counts."""
        if batch.tip.height is None:
            return False
        if leaf.work is None:
            return leaf.ref.height <= batch.tip.height
        return batch.canonical_hash(leaf.ref.height) == leaf.ref.hash

    @staticmethod
    def _weight_above(batch: Batch, fork: Header | None) -> _Weight:
        """The weight of the canonical blocks above ``fork``; None: of all."""
        weight = _Weight()
        for header in batch.canonical_above(-1 if fork is None else fork.ref.height):
            weight = weight.plus(header)
        return weight

    def _refuse(self, batch: Batch, ref: BlockRef, source: str, detail: str, followed: Followed) -> None:
        followed.refused.append(Refused(source, detail))
        batch.note(AnomalyAt(ref, -1, -1, REWRITES_FINAL, None, None, detail))

    def _may_start(self, batch: Batch, ref: BlockRef) -> bool:
        """Whether the chain may begin with this block although its parent is unknown.

        Block 1's parent is the genesis block by definition: nodes name that block differently in its own announcement
        and as block 1's parent. What the index began with, at the height it is to start at, may be replaced: nobody
        fetches what is below.
        """
        if ref.height <= 1:
            return True
        if batch.tip.height is not None:
            begins = batch.canonical_hash(ref.height) is not None and batch.canonical_hash(ref.height - 1) is None
            return ref.height == self._start_height and begins
        return self._start_height is None or ref.height <= self._start_height

    def _roll_back(self, batch: Batch, fork: Header | None, followed: Followed) -> None:
        if batch.tip.height is not None:
            followed.rolled_back += batch.rollback(None if fork is None else fork.ref.height)
