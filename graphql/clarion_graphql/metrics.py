"""What Prometheus is told of the server."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

QUERY_SECONDS: Final = Histogram("clarion_graphql_query_seconds", "Time a query took, from its document to its answer.")
ERRORS: Final = Counter("clarion_graphql_errors", "Errors in answers, by extensions.code.", ["code"])
SUBSCRIPTIONS: Final = Gauge("clarion_graphql_subscriptions", "Open subscriptions.")
MESSAGES: Final = Counter("clarion_graphql_messages", "Messages of subscriptions.")
REPLICA_SECONDS: Final = Histogram(
    "clarion_graphql_replica_seconds", "Time from hearing of a commit until the replica that is read has it."
)
