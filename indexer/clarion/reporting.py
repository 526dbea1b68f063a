"""Says what the services do: in metrics and in the log."""

from __future__ import annotations

from typing import Final

import structlog

from clarion import metrics
from clarion.chains.model import Chain
from clarion.progress import Progress
from clarion.worker import Applied

REMEDY: Final = (
    "if that source is wrong, repair it; if it is right, clarion rewind --accept-final-loss: see docs/operations.md"
)

log = structlog.get_logger(__name__)


class Reporter:
    """Reports what was applied of one chain. ``targets``: heights of the sources' tips, for the time that is left."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._progress = Progress()
        self.targets = self._progress.targets

    def applied(self, applied: Applied, seconds: float, tip_height: int | None) -> None:
        """Report what one turn of the worker did, how long that took, and where the index stands now."""
        chain = self._chain
        lag = applied.waited_seconds + seconds
        metrics.INDEXED_BLOCKS.labels(chain).inc(len(applied.blocks))
        metrics.INDEXED_EVENTS.labels(chain).inc(applied.events)
        metrics.ROLLED_BACK_BLOCKS.labels(chain).inc(applied.rolled_back)
        metrics.FAILED_POSTS.inc(applied.failed)
        metrics.REFUSED_REWRITES.labels(chain).inc(len(applied.refused))
        if applied.posts:
            metrics.BATCH_SECONDS.observe(seconds)
            metrics.LAG_SECONDS.observe(lag)
        if tip_height is not None:
            metrics.INDEX_HEIGHT.labels(chain).set(tip_height)
        if applied.rolled_back:
            metrics.REORG_DEPTH.labels(chain).observe(applied.rolled_back)
            log.warning("rolled_back", chain=chain, blocks=applied.rolled_back)
        for refused in applied.refused:
            write = log.debug if refused.continues else log.error
            write("rewrite_of_final_blocks_refused", source=refused.source, detail=refused.detail, remedy=REMEDY)
        if applied.blocks:
            tip = applied.blocks[-1]
            log.info(
                "indexed",
                chain=chain,
                height=tip.height,
                hash=f"0x{tip.hash.hex()}",
                blocks=len(applied.blocks),
                events=applied.events,
                ms=round(seconds * 1000),
                lag_ms=round(lag * 1000),
            )
            if line := self._progress.add(tip.height, len(applied.blocks), applied.events):
                log.info("progress", chain=chain, **line)
