"""What can go wrong between here and the API, one exception a kind.

Every message says which route, what came back, and what to do.
"""

from __future__ import annotations


class HiroApiError(RuntimeError):
    """The API did not give what was asked for. ``route`` is the path, ``status`` the HTTP status where one came."""

    def __init__(self, route: str, problem: str, *, status: int | None = None) -> None:
        super().__init__(f"{route}: {problem}")
        self.route = route
        self.status = status


class UnreachableError(HiroApiError):
    """No answer came, however often it was tried."""


class ServerError(HiroApiError):
    """The API failed (status 500 and above), however often it was tried."""


class RateLimitedError(HiroApiError):
    """The API wants a pause that is longer than the client may wait. ``retry_after`` is that pause in seconds."""

    def __init__(self, route: str, problem: str, *, status: int | None = None, retry_after: float) -> None:
        super().__init__(route, problem, status=status)
        self.retry_after = retry_after


class UnauthorizedError(HiroApiError):
    """The API refused the key, or wants one."""


class NotFoundError(HiroApiError):
    """What was asked for is not there: never was, or no longer on the canonical chain."""


class RouteMissingError(NotFoundError):
    """The API has no such route: another version, or a deprecated route that is switched off."""


class CursorLostError(NotFoundError):
    """The cursor's block or transaction is no longer on the canonical chain: begin at the newest page again."""


class RequestRejectedError(HiroApiError):
    """The API understood the route and refused the request (status 400 and the like)."""


class InvalidAnswerError(HiroApiError):
    """The answer is not of the documented shape."""


class TransactionRejectedError(HiroApiError):
    """The node behind the API refused a transaction. ``reason`` is its word (``BadNonce``, ``FeeTooLow``, …)."""

    def __init__(self, route: str, reason: str, data: object, tx_id: str | None, *, status: int | None = None) -> None:
        super().__init__(route, f"the node refused transaction {tx_id or '(undecodable)'}: {reason}", status=status)
        self.reason = reason
        self.data = data
        self.tx_id = tx_id
