"""What Prometheus is told of the feed's sources and prices; `docs/oracle-feed.md` says what to watch."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from clarion_keeper.feed.aggregate import Aggregate

REQUESTS: Final = Counter(
    "clarion_feed_requests", "Times a source was asked, by whether it gave a price.", ["source", "outcome"]
)
ANSWER_SECONDS: Final = Histogram(
    "clarion_feed_answer_seconds", "Time until a source's price was there, all attempts together.", ["source"]
)
DEVIATION: Final = Gauge(
    "clarion_feed_deviation_bp", "How far a source's last price was from the median, in 1/10000 of it.", ["source"]
)
COMPARED: Final = Counter(
    "clarion_feed_compared", "Prices that were compared with the median, by whether they counted.", ["source", "counts"]
)
SOURCES: Final = Gauge("clarion_feed_sources", "From how many sources an asset's last price came.", ["asset"])
SPREAD: Final = Gauge("clarion_feed_spread_bp", "How far apart these were, in 1/10000.", ["asset"])
CONFIDENCE: Final = Gauge("clarion_feed_confidence", "Confidence in an asset's last price, 0 to 100.", ["asset"])
REFUSED: Final = Gauge("clarion_feed_refused", "1 while an asset's price cannot be relied on, else 0.", ["asset"])


def asked(source: str, answer_ms: int | None) -> None:
    """Count a request; ``answer_ms``: how long the price took, None where none came."""
    REQUESTS.labels(source, "failed" if answer_ms is None else "answered").inc()
    if answer_ms is not None:
        ANSWER_SECONDS.labels(source).observe(answer_ms / 1000)


def judged(source: str, deviation_bp: int, *, counts: bool) -> None:
    """Count a source's price that was compared with the median."""
    DEVIATION.labels(source).set(deviation_bp)
    COMPARED.labels(source, "yes" if counts else "no").inc()


def priced(asset: str, price: Aggregate) -> None:
    """Set what an asset's price was made of."""
    SOURCES.labels(asset).set(price.counted)
    SPREAD.labels(asset).set(price.spread_bp)
    CONFIDENCE.labels(asset).set(price.confidence)
    REFUSED.labels(asset).set(bool(price.problem))
