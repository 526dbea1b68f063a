"""What the index service measures for Prometheus; `docs/operations.md` says what to watch."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

INDEXED_BLOCKS: Final = Counter("clarion_indexed_blocks", "Blocks that were made canonical.", ["chain"])
INDEXED_EVENTS: Final = Counter("clarion_indexed_events", "Events in blocks made canonical.", ["chain"])
ROLLED_BACK_BLOCKS: Final = Counter("clarion_rolled_back_blocks", "Blocks that were taken back by a reorg.", ["chain"])
REORG_DEPTH: Final = Histogram(
    "clarion_reorg_depth_blocks",
    "Blocks that a reorg took back.",
    ["chain"],
    buckets=(1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000),
)
REFUSED_REWRITES: Final = Counter(
    "clarion_refused_rewrites", "Times a source told of a branch that would have replaced final blocks.", ["chain"]
)
FAILED_POSTS: Final = Counter("clarion_failed_posts", "Posts that were put aside because they could not be applied.")

DATABASE_UP: Final = Gauge("clarion_database_up", "1 where the database answered when this was asked for, else 0.")
INDEX_HEIGHT: Final = Gauge("clarion_index_height", "Height of the index's tip.", ["chain"])
FINAL_HEIGHT: Final = Gauge("clarion_final_height", "Height of the highest final block.", ["chain"])
LAG_BLOCKS: Final = Gauge(
    "clarion_index_lag_blocks", "Blocks that the highest healthy source is ahead; NaN: none is.", ["chain"]
)
TIP_AGE_SECONDS: Final = Gauge("clarion_tip_age_seconds", "Since the time in the header of the index's tip.", ["chain"])
MISSING_BLOCKS: Final = Gauge("clarion_missing_blocks", "Blocks that others build on and that nobody has sent.")
ANOMALIES: Final = Gauge(
    "clarion_anomalies", "What was not understood in canonical blocks, by kind.", ["chain", "kind"]
)

SOURCE_AGE_SECONDS: Final = Gauge("clarion_source_age_seconds", "Since a source was last heard.", ["chain", "source"])
SOURCE_HEIGHT: Final = Gauge("clarion_source_height", "Height of the last block a source told of.", ["chain", "source"])
SOURCE_HEALTHY: Final = Gauge("clarion_source_healthy", "1 where a source is healthy, else 0.", ["chain", "source"])

INBOX_PENDING: Final = Gauge("clarion_inbox_pending", "Posts that wait to be applied.")
INBOX_OLDEST_SECONDS: Final = Gauge("clarion_inbox_oldest_seconds", "How long the oldest of them has been waiting.")
INBOX_FAILED: Final = Gauge("clarion_inbox_failed", "Posts that were put aside because they could not be applied.")

BATCH_SECONDS: Final = Histogram("clarion_index_batch_seconds", "Time to apply a batch of posts.")
STAGE_SECONDS: Final = Histogram(
    "clarion_index_stage_seconds",
    "Time of a batch by stage: read (out of the inbox), decode, apply (fork choice and projections), write, commit.",
    ["stage"],
)
LAG_SECONDS: Final = Histogram("clarion_index_lag_seconds", "From a post's arrival to the commit of what it says.")
