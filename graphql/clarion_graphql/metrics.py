"""What Prometheus is told of the server."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

CACHE: Final = Counter("clarion_graphql_cache", "Requests, by whether their answer was kept: hit or miss.", ["result"])
PLANS: Final = Counter(
    "clarion_graphql_plans",
    "Plans of operations: made, not_made where resolvers are needed, and stepped_aside where they had to answer.",
    ["result"],
)
ERRORS: Final = Counter("clarion_graphql_errors", "Errors in answers, by extensions.code.", ["code"])
SUBSCRIPTIONS: Final = Gauge("clarion_graphql_subscriptions", "Open subscriptions.")
GROUPS: Final = Gauge("clarion_graphql_subscription_groups", "Subscriptions that are different from each other.")
MESSAGES: Final = Counter("clarion_graphql_messages", "Messages of subscriptions.")
REPLICA_SECONDS: Final = Histogram(
    "clarion_graphql_replica_seconds", "Time from hearing of a commit until the replica that is read has it."
)

#: How many operations are told apart by their names: clients choose these.
MAX_OPERATION_NAMES: Final = 200

_BOUNDS: Final = Histogram.DEFAULT_BUCKETS


class Durations:
    """How many operations took up to each of the bounds and longer than the one before, and all together."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * len(_BOUNDS)
        self.seconds = 0.0

    def observe(self, seconds: float) -> None:
        """Note how long one took."""
        self.counts[bisect_left(_BOUNDS, seconds)] += 1
        self.seconds += seconds


class _OperationSeconds(Collector):
    """A histogram that costs a tenth of prometheus_client's to write: only the event loop does, so it has no lock."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str | None], Durations] = {}

    def of(self, kind: str, name: str | None) -> Durations:
        """What operations of a name took: of none, as ``anonymous``; those beyond the limit count as ``other``."""
        found = self._known.get((kind, name))
        if found is None:
            if len(self._known) >= MAX_OPERATION_NAMES:
                name = "other"
            found = self._known.setdefault((kind, name), Durations())
        return found

    def collect(self) -> Iterator[Metric]:
        """What Prometheus is told."""
        family = HistogramMetricFamily(
            "clarion_graphql_operation_seconds",
            "Time a query or mutation took, from its document to its answer, one that was kept too.",
            labels=["kind", "operation"],
        )
        bounds = [*map(str, _BOUNDS[:-1]), "+Inf"]
        for (kind, name), durations in list(self._known.items()):
            buckets = list(zip(bounds, accumulate(durations.counts), strict=True))
            family.add_metric([kind, name or "anonymous"], buckets, durations.seconds)
        yield family


_OPERATION_SECONDS: Final = _OperationSeconds()
REGISTRY.register(_OPERATION_SECONDS)
durations_of: Final = _OPERATION_SECONDS.of
