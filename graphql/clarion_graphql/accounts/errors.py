"""What a caller is told that is turned away before anything is executed."""

from __future__ import annotations

from collections.abc import Mapping

from clarion_graphql.errors import ApiError


class RefusedError(Exception):
    """The request is not executed.

    Args:
        status: HTTP status: 401 (who asks is not known), 403, 429 (asks too much) or 503.
        error: what the answer's ``errors`` hold.
        retry_after_s: when to try again, in whole seconds; None where that would not help.
    """

    def __init__(self, status: int, error: ApiError, retry_after_s: int | None = None) -> None:
        super().__init__(error.message)
        self.status = status
        self.error = error
        self.retry_after_s = retry_after_s

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers of the answer that belong to the status."""
        if self.status == 401:
            return {"WWW-Authenticate": "Bearer"}
        return {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}

    @property
    def close_code(self) -> int:
        """The code that a WebSocket is closed with: 4401, 4403, 4429 or 4503."""
        return 4000 + self.status
