"""What Prometheus is told of the server."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

OPERATION_SECONDS: Final = Histogram(
    "clarion_graphql_operation_seconds",
    "Time a query or mutation took, from its document to its answer.",
    ["kind", "operation"],
)
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

_observers: dict[tuple[str, str | None], Histogram] = {}


def observe_operation(kind: str, name: str | None, seconds: float) -> None:
    """Note how long an operation took: one without a name as ``anonymous``, those beyond the limit as ``other``."""
    observer = _observers.get((kind, name))
    if observer is None:
        if len(_observers) >= MAX_OPERATION_NAMES:
            observer = OPERATION_SECONDS.labels(kind, "other")
        else:
            observer = _observers[kind, name] = OPERATION_SECONDS.labels(kind, name or "anonymous")
    observer.observe(seconds)
