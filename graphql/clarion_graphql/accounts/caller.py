"""Who asks, and what they may do."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from clarion.config import Scope
from clarion_graphql.errors import ApiError, Code

EVERY_SCOPE: Final = frozenset(Scope)

_MEANING: Final = {
    Scope.READ: "queries",
    Scope.SUBSCRIBE: "subscriptions",
    Scope.PREPARE: "transactions to be prepared",
    Scope.KEEPER: "what the keeper plans and sends",
}


class CallerKind(StrEnum):
    """How a caller says who it is."""

    ANONYMOUS = "anonymous"
    SESSION = "session"
    API_KEY = "api-key"


class Caller(msgspec.Struct, frozen=True):
    """Who an operation is run for."""

    kind: CallerKind = CallerKind.ANONYMOUS
    address: str | None = None
    """The Stacks address that signed in or made the key; None for an anonymous caller."""
    scopes: frozenset[Scope] = EVERY_SCOPE
    credential: str | None = None
    """Id of the session or the key."""
    quota_key: str = ""
    """Whose quota is charged: a network address, a Stacks address or a key. Empty: nobody's."""
    client: str = ""
    """Network address it came from; empty where it came over no network."""
    origin: str | None = None
    """Host (and port) of the page that asks, as its browser says; None where no browser does."""
    request_id: str = ""
    """Stands in the log beside everything that happens for the request."""

    def require(self, scope: Scope) -> None:
        """Raise ApiError where the caller may not do what ``scope`` allows."""
        if scope in self.scopes:
            return
        if self.kind is CallerKind.ANONYMOUS:
            raise ApiError(
                Code.UNAUTHENTICATED,
                f"This server gives {_MEANING[scope]} only to callers it knows: sign in, or send an API key with the "
                f"scope {scope.name} as `Authorization: Bearer …`.",
            )
        if self.kind is CallerKind.SESSION:
            raise ApiError(
                Code.FORBIDDEN,
                f"{self.address} may not ask for {_MEANING[scope]}: accounts.operators does not name it.",
            )
        raise ApiError(Code.FORBIDDEN, f"The API key lacks the scope {scope.name}, which {_MEANING[scope]} need.")


#: A caller that comes over no network: a test, or a program that runs operations itself. It may do everything.
ANYONE: Final = Caller()
