"""What a client is told when something is wrong. ``extensions.code`` says which kind; the message says what to do."""

from __future__ import annotations

import uuid
from enum import StrEnum

import psycopg
import structlog
from graphql import GraphQLError, GraphQLSyntaxError

from clarion_graphql.metrics import ERRORS

log = structlog.get_logger(__name__)


class Code(StrEnum):
    """``extensions.code`` of an error."""

    PARSE_FAILED = "GRAPHQL_PARSE_FAILED"
    """The document is not GraphQL."""
    VALIDATION_FAILED = "GRAPHQL_VALIDATION_FAILED"
    """The document or its variables do not fit the schema, or the document goes over a limit on its size."""
    BAD_USER_INPUT = "BAD_USER_INPUT"
    """An argument has a value that means nothing."""
    BAD_CURSOR = "BAD_CURSOR"
    """``after`` or ``before`` is no cursor of this list in this order."""
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    """The operation asks for more than one answer may hold."""
    SEQUENCE_AHEAD = "SEQUENCE_AHEAD"
    """``since`` is above the index's sequence: it comes from another index or from before a rebuild."""
    SEQUENCE_EXPIRED = "SEQUENCE_EXPIRED"
    """Changes after ``since`` are no longer kept: read the rows again and subscribe from that answer's receipt."""
    PROJECTION_REBUILT = "PROJECTION_REBUILT"
    """A protocol's rows were made anew since: read them again and subscribe from that answer's receipt."""
    UNKNOWN_BLOCK = "UNKNOWN_BLOCK"
    """``@asOf`` names no canonical block of the index."""
    NOT_KEPT = "NOT_KEPT"
    """A table as of that block is no longer kept."""
    NOT_LIVE = "NOT_LIVE"
    """The table's protocol is not indexed now, so there is no state of it to tell."""
    UNAUTHENTICATED = "UNAUTHENTICATED"
    """Who asks has to be known for this, or what was sent to say so is not known, revoked or expired."""
    FORBIDDEN = "FORBIDDEN"
    """Who asks is known, and may not do this."""
    RATE_LIMITED = "RATE_LIMITED"
    """The caller's quota is used up; ``Retry-After`` says when there is more."""
    TIMEOUT = "TIMEOUT"
    """The database took longer than one operation may."""
    UNAVAILABLE = "UNAVAILABLE"
    """The database cannot be reached or has no free connection; try again."""
    INTERNAL = "INTERNAL_SERVER_ERROR"
    """A defect. ``extensions.id`` is in the server's log beside what happened."""


class ApiError(GraphQLError):
    """An error whose message is for the client."""

    def __init__(self, code: Code, message: str, **extensions: object) -> None:
        super().__init__(message, extensions={"code": code.value, **extensions})


class InputError(ApiError):
    """An argument has a value that means nothing."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.BAD_USER_INPUT, message)


def _shown(error: GraphQLError) -> GraphQLError:
    """The error as the client may see it: with a code, and without what only the operator may know."""
    code, message, extra = _classify(error)
    ERRORS.labels(code.value).inc()
    return GraphQLError(
        message,
        nodes=error.nodes,
        source=error.source,
        positions=error.positions,
        path=error.path,
        extensions={**(error.extensions or {}), "code": code.value, **extra},
    )


def _classify(error: GraphQLError) -> tuple[Code, str, dict[str, str]]:
    known = (error.extensions or {}).get("code")
    if isinstance(known, str):
        return Code(known), error.message, {}
    if isinstance(error, GraphQLSyntaxError):
        return Code.PARSE_FAILED, error.message, {}
    cause = error.original_error
    if error.path is None and (cause is None or isinstance(cause, GraphQLError)):
        return Code.VALIDATION_FAILED, error.message, {}
    if isinstance(cause, psycopg.errors.QueryCanceled):
        return Code.TIMEOUT, "The query took too long. Ask for fewer rows, or filter by height or contract.", {}
    if isinstance(cause, psycopg.OperationalError):
        log.warning("graphql.database_unavailable", error=str(cause))
        return Code.UNAVAILABLE, "The database cannot be reached at the moment. Try again.", {}
    identifier = uuid.uuid4().hex
    log.error("graphql.unexpected_error", id=identifier, path=error.path, error=error.message, exc_info=cause)
    return (
        Code.INTERNAL,
        f"Something went wrong on the server. Its log says more under {identifier}.",
        {"id": identifier},
    )


def show_errors(errors: list[GraphQLError]) -> None:
    """Give every error of an answer its code; log the unexpected ones and hide what they say."""
    errors[:] = [_shown(error) for error in errors]
