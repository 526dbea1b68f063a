"""Whether the index service works and can be relied on: ``/healthz``, ``/readyz`` and ``/metrics``.

``/healthz`` is about the process: an orchestrator restarts one that fails it. ``/readyz`` is about the answers: whoever
depends on the index asks it. Both answer 200 or 503, with the reasons as JSON. What they say is read from the database
when they are asked, never remembered.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import psycopg
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Gauge, generate_latest
from psycopg import AsyncConnection
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from clarion import metrics
from clarion.chains.model import Chain, JsonValue
from clarion.config import Ready
from clarion.source_health import SourceState
from clarion.store import inbox
from clarion.store.database import script_directory, with_server_settings

CONNECT_TIMEOUT_SECONDS: Final = 5
STATEMENT_TIMEOUT_MS: Final = 10_000

T = TypeVar("T")
Reasons = list[str]
Probe = Callable[[], Awaitable[tuple[Reasons, dict[str, JsonValue]]]]
"""What speaks against an unlimited yes (nothing: all is well), and the facts."""


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """A source as it was last heard."""

    name: str
    kind: str
    height: int | None
    state: str
    detail: str | None
    age_seconds: float


@dataclass(frozen=True, slots=True)
class IndexFacts:
    """Where one chain's index stands, read in one go."""

    revision: str | None
    height: int | None
    hash: bytes | None
    sequence: int
    final_height: int | None
    tip_age_seconds: float | None
    inbox_pending: int
    inbox_failed: int
    inbox_oldest_seconds: float
    sources: tuple[SourceFacts, ...]

    @property
    def lag_blocks(self) -> int | None:
        """How many blocks of a healthy source are not in the index yet; None where none says how far the chain is."""
        heights = [source.height for source in self.sources if source.state == SourceState.HEALTHY]
        highest = max((height for height in heights if height is not None), default=None)
        return None if highest is None else max(0, highest - (-1 if self.height is None else self.height))


_FACTS: Final = f"""
SELECT (SELECT version_num FROM alembic_version LIMIT 1),
    c.height, c.hash, coalesce(c.sequence, 0), c.final_height,
    (SELECT extract(epoch FROM now())::float8 - b.time FROM clarion.block b
        WHERE b.chain = c.chain AND b.hash = c.hash),
    i.pending, i.failed, i.oldest_seconds
FROM (SELECT %s AS chain) one LEFT JOIN clarion.cursor c ON c.chain = one.chain
CROSS JOIN ({inbox.STATE}) i
"""
_SOURCES: Final = """
SELECT name, kind, height, state, detail, extract(epoch FROM now() - seen_at)::float8
FROM clarion.source WHERE chain = %s ORDER BY name
"""
_ANOMALIES: Final = """
SELECT a.kind, count(*) FROM clarion.anomaly a
JOIN clarion.canonical_block k ON k.chain = a.chain AND k.height = a.height AND k.hash = a.block_hash
WHERE a.chain = %s GROUP BY a.kind
"""


class IndexHealth:
    """Reads the facts over a connection of its own, made when needed and again after it was lost."""

    def __init__(self, database_url: str, chain: Chain, limits: Ready) -> None:
        self._url = with_server_settings(database_url, statement_timeout=STATEMENT_TIMEOUT_MS)
        self._chain = chain
        self._limits = limits
        self._revision = script_directory().get_current_head()
        self._connection: AsyncConnection[Any] | None = None
        self._shown: list[tuple[Gauge, tuple[str, ...]]] = []
        """What was measured by name last time."""
        self._lock = asyncio.Lock()

    async def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def facts(self) -> IndexFacts:
        """Where the index stands. Raises psycopg.Error where the database cannot be asked."""
        return await self._ask(self._read)

    async def _ask(self, action: Callable[[AsyncConnection[Any]], Awaitable[T]]) -> T:
        async with self._lock:
            if self._connection is not None and not self._connection.closed:
                try:
                    return await action(self._connection)
                except psycopg.OperationalError:
                    await self._connection.close()
            self._connection = await AsyncConnection.connect(
                self._url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_SECONDS
            )
            return await action(self._connection)

    async def _read(self, connection: AsyncConnection[Any]) -> IndexFacts:
        row = await (await connection.execute(_FACTS, (self._chain,))).fetchone()
        assert row is not None
        if self._chain != "stacks":  # the inbox is of Stacks' posts
            row = (*row[:-3], 0, 0, 0.0)
        sources = await (await connection.execute(_SOURCES, (self._chain,))).fetchall()
        return IndexFacts(*(*row, tuple(SourceFacts(*source) for source in sources)))

    async def _count_anomalies(self, connection: AsyncConnection[Any]) -> dict[str, int]:
        return dict(await (await connection.execute(_ANOMALIES, (self._chain,))).fetchall())

    def reasons(self, facts: IndexFacts) -> Reasons:
        """Why the index cannot be relied on."""
        limits = self._limits
        reasons = []
        if facts.revision != self._revision:
            reasons.append(
                f"the database is at revision {facts.revision}, not at {self._revision}: run clarion db migrate"
            )
        if facts.height is None:
            reasons.append("nothing is indexed yet")
        elif facts.lag_blocks is None:
            reasons.append("no source is healthy: nobody says how far the chain is")
        elif facts.lag_blocks > limits.max_lag_blocks:
            reasons.append(f"the index is {facts.lag_blocks} blocks behind: more than ready.max_lag_blocks")
        if facts.inbox_oldest_seconds > limits.max_lag_seconds:
            waits = round(facts.inbox_oldest_seconds)
            reasons.append(f"a post has been waiting for {waits} s: more than ready.max_lag_seconds")
        if facts.inbox_failed > limits.max_failed_posts:
            reasons.append(f"{facts.inbox_failed} posts could not be applied: see clarion status")
        reasons += [
            f"source {source.name} rewrites what is final: {source.detail}; see docs/operations.md"
            for source in facts.sources
            if source.state == SourceState.REWRITES_FINAL
        ]
        return reasons

    async def measure(self) -> IndexFacts:
        """Read the facts and set the metrics to them. Raises psycopg.Error."""
        facts, chain = await self.facts(), self._chain
        if facts.height is not None:
            metrics.INDEX_HEIGHT.labels(chain).set(facts.height)
        if facts.final_height is not None:
            metrics.FINAL_HEIGHT.labels(chain).set(facts.final_height)
        if facts.tip_age_seconds is not None:
            metrics.TIP_AGE_SECONDS.labels(chain).set(facts.tip_age_seconds)
        metrics.LAG_BLOCKS.labels(chain).set(math.nan if facts.lag_blocks is None else facts.lag_blocks)
        if chain == "stacks":
            metrics.INBOX_PENDING.set(facts.inbox_pending)
            metrics.INBOX_FAILED.set(facts.inbox_failed)
            metrics.INBOX_OLDEST_SECONDS.set(facts.inbox_oldest_seconds)
        anomalies = await self._ask(self._count_anomalies)
        for gauge, labels in self._shown:
            gauge.remove(*labels)
        self._shown.clear()
        for source in facts.sources:
            self._show(metrics.SOURCE_AGE_SECONDS, source.name, source.age_seconds)
            self._show(metrics.SOURCE_HEALTHY, source.name, source.state == SourceState.HEALTHY)
            if source.height is not None:
                self._show(metrics.SOURCE_HEIGHT, source.name, source.height)
        for kind, count in anomalies.items():
            self._show(metrics.ANOMALIES, kind, count)
        return facts

    def _show(self, gauge: Gauge, name: str, value: float) -> None:
        gauge.labels(self._chain, name).set(value)
        self._shown.append((gauge, (self._chain, name)))


def facts_json(facts: IndexFacts) -> dict[str, JsonValue]:
    """The facts for programs."""
    return {
        "height": facts.height,
        "hash": None if facts.hash is None else f"0x{facts.hash.hex()}",
        "sequence": facts.sequence,
        "final_height": facts.final_height,
        "lag_blocks": facts.lag_blocks,
        "inbox_pending": facts.inbox_pending,
        "inbox_oldest_ms": round(facts.inbox_oldest_seconds * 1000),
        "inbox_failed": facts.inbox_failed,
        "sources": [
            {
                "name": source.name,
                "kind": source.kind,
                "height": source.height,
                "state": source.state,
                "detail": source.detail,
                "age_ms": round(source.age_seconds * 1000),
            }
            for source in facts.sources
        ],
    }


class BatchWatch:
    """Tells whether the thread that applies batches works: how long the one in hand has been taking."""

    def __init__(self, *, max_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_seconds = max_seconds
        self._clock = clock
        self._started: float | None = None

    def __enter__(self) -> None:
        self._started = self._clock()

    def __exit__(self, *_: object) -> None:
        self._started = None

    def reasons(self) -> Reasons:
        """Why the thread counts as stuck."""
        taken = 0.0 if self._started is None else self._clock() - self._started
        if taken <= self._max_seconds:
            return []
        return [f"a batch has been taking {round(taken)} s: more than ready.max_batch_seconds"]


def probe_routes(
    alive: Probe,
    ready: Probe,
    measure: Callable[[], Awaitable[object]],
    registry: CollectorRegistry = REGISTRY,
) -> list[Route]:
    """Routes that answer 200 where a probe has no reasons, else 503; and one for Prometheus.

    ``measure`` brings metrics up to date; where it raises psycopg.Error they are as they were.
    """

    async def healthz(request: Request) -> JSONResponse:
        return probe_answer("alive", *await alive())

    async def readyz(request: Request) -> JSONResponse:
        return probe_answer("ready", *await ready())

    async def scrape(request: Request) -> Response:
        try:
            await measure()
        except psycopg.Error:
            metrics.DATABASE_UP.set(0)
        else:
            metrics.DATABASE_UP.set(1)
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", scrape)]


def probe_answer(word: str, reasons: Reasons, facts: dict[str, JsonValue]) -> JSONResponse:
    """200 with ``word`` true where there are no reasons against it, else 503, and the facts."""
    answer: dict[str, JsonValue] = {word: not reasons, "reasons": list(reasons), **facts}
    return JSONResponse(answer, status_code=503 if reasons else 200)
