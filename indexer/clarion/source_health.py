"""What each source of blocks last said, compared with the index: the table ``clarion.source``.

A source is a node that posts, the node that is asked, or an API. One that is behind the index, or on a branch that does
not count, is told apart from one whose word is followed: that it says less is no reorg.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from psycopg import Connection

from clarion.chains.model import Block, BurnBlock, Chain
from clarion.chains.stacks.node_payloads import Item
from clarion.follower import Refused

OBSERVER: Final = "observer"
"""The kind of sources that post by themselves; others are asked."""
FORGET_DAYS: Final = 7
"""Sources that were not heard for so long are forgotten."""


class SourceState(StrEnum):
    """How far a source can be relied on."""

    HEALTHY = "healthy"
    BEHIND = "behind"
    """Its last block is lower than the index's tip, by more than is usual."""
    FORKED = "forked"
    """Its last block is on a branch that does not count."""
    UNREACHABLE = "unreachable"
    """It does not answer, or not with what was asked for."""
    REWRITES_FINAL = "rewrites_final"
    """It told of a branch that would replace final blocks, and of none since that counts."""


@dataclass(slots=True)
class Source:
    """What is known of one source. ``kind`` is observer, node or hiro; heights are of the last block it told of."""

    name: str
    kind: str
    height: int | None = None
    hash: bytes | None = None
    burn_height: int | None = None
    state: SourceState = SourceState.HEALTHY
    detail: str | None = None
    written: tuple[object, ...] = field(default=(), repr=False)

    @property
    def said(self) -> tuple[object, ...]:
        """What is stored of it, besides when."""
        return (self.kind, self.height, self.hash, self.burn_height, self.state, self.detail)


def kind_of(name: str) -> str:
    """The kind of a source, which its name begins with: ``observer:10.0.0.7``."""
    return name.partition(":")[0]


class Sources:
    """All sources of one chain. ``behind_blocks``: how far below the tip one may be without being behind."""

    def __init__(self, chain: Chain, *, behind_blocks: int) -> None:
        self._chain = chain
        self._behind_blocks = behind_blocks
        self._by_name: dict[str, Source] = {}
        self._heard: set[str] = set()
        self._judged: dict[str, SourceState] = {}

    def load(self, connection: Connection[Any]) -> list[str]:
        """Read what earlier processes wrote, forget who was not heard for long, and give the names."""
        connection.execute(
            "DELETE FROM clarion.source WHERE chain = %s AND seen_at < now() - make_interval(days => %s)",
            (self._chain, FORGET_DAYS),
        )
        self._by_name = {
            name: Source(name, kind, height, block_hash, burn_height, SourceState(state), detail)
            for name, kind, height, block_hash, burn_height, state, detail in connection.execute(
                "SELECT name, kind, height, hash, burn_height, state, detail FROM clarion.source WHERE chain = %s",
                (self._chain,),
            )
        }
        return sorted(self._by_name)

    def heard(self, said: Iterable[tuple[str, Sequence[Item]]], refused: Sequence[Refused]) -> None:
        """Take note of what sources told, and of which of it was refused."""
        for name, items in said:
            source = self._source(name)
            if source.kind != OBSERVER:
                continue  # it gives the blocks it is asked for, and tells where it stands beside them
            for item in items:
                if isinstance(item, Block):
                    source.height, source.hash = item.height, item.hash
                    source.burn_height = item.burn.height if item.burn else source.burn_height
                elif isinstance(item, BurnBlock):
                    source.burn_height = item.height
        for refusal in refused:
            source = self._source(refusal.source)
            if source.state is not SourceState.REWRITES_FINAL or not refusal.continues:
                source.state, source.detail = SourceState.REWRITES_FINAL, refusal.detail

    def answered(self, name: str, height: int, block_hash: bytes, burn_height: int) -> None:
        """Take note of where a source says that it stands."""
        source = self._source(name)
        source.height, source.hash, source.burn_height = height, block_hash, burn_height
        if source.state is SourceState.UNREACHABLE:
            source.state, source.detail = SourceState.HEALTHY, None

    def failed(self, name: str, detail: str) -> None:
        """Take note that a source does not answer, or not with what was asked for."""
        source = self._by_name.setdefault(name, Source(name, kind_of(name)))
        source.state, source.detail = SourceState.UNREACHABLE, detail

    def _source(self, name: str) -> Source:
        self._heard.add(name)
        return self._by_name.setdefault(name, Source(name, kind_of(name)))

    def judge(
        self,
        tip: int | None,
        canonical_hash: Callable[[int], bytes | None],
        lost: Callable[[bytes], bool] = lambda _: False,
    ) -> list[Source]:
        """Compare every source with the index, whose tip has height ``tip``; gives those whose state is another now.

        ``lost``: whether a block above the tip was compared with it and does not count.
        """
        before = {name: self._judged.get(name, SourceState.HEALTHY) for name in self._by_name}
        self._compare(tip, canonical_hash, lost)
        self._judged = {name: source.state for name, source in self._by_name.items()}
        return [source for name, source in self._by_name.items() if source.state is not before[name]]

    def _compare(
        self, tip: int | None, canonical_hash: Callable[[int], bytes | None], lost: Callable[[bytes], bool]
    ) -> None:
        for source in self._by_name.values():
            if source.height is None or tip is None or source.state is SourceState.UNREACHABLE:
                continue
            if source.kind != OBSERVER and source.name not in self._heard:
                continue  # one that is asked stands elsewhere by now
            counts = canonical_hash(source.height) if source.height <= tip else None
            if source.state is SourceState.REWRITES_FINAL and counts != source.hash:
                continue
            if source.height < tip - self._behind_blocks:
                source.state = SourceState.BEHIND
                source.detail = f"{tip - source.height} blocks behind the index"
            elif counts != source.hash and (source.height <= tip or (source.hash is not None and lost(source.hash))):
                source.state = SourceState.FORKED
                source.detail = f"its block {source.height} is on a branch that does not count"
            else:
                source.state, source.detail = SourceState.HEALTHY, None

    def write(self, connection: Connection[Any]) -> None:
        """Write what is new, in the caller's transaction."""
        for source in self._by_name.values():
            if source.name in self._heard:
                connection.execute(
                    """
                    INSERT INTO clarion.source (chain, name, kind, height, hash, burn_height, state, detail)
                    VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
                    ON CONFLICT (chain, name) DO UPDATE SET kind = excluded.kind, height = excluded.height,
                    hash = excluded.hash, burn_height = excluded.burn_height, state = excluded.state,
                    detail = excluded.detail, seen_at = now()
                    """,
                    (self._chain, source.name, *source.said),
                )
            elif source.said != source.written:
                connection.execute(
                    "INSERT INTO clarion.source (chain, name, kind, state, detail) VALUES (%s, %s, %s, %s, %s) "
                    "ON CONFLICT (chain, name) DO UPDATE SET state = excluded.state, detail = excluded.detail",
                    (self._chain, source.name, source.kind, source.state, source.detail),
                )
            source.written = source.said
        self._heard.clear()

    @property
    def by_name(self) -> Mapping[str, Source]:
        """What is known of each source."""
        return self._by_name
