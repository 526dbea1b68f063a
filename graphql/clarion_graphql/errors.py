"""What a client is told when something is wrong. ``extensions.code`` says which kind; the message says what to do."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from contextvars import ContextVar
from enum import StrEnum
from typing import Final

import psycopg
import structlog
from graphql import GraphQLError, GraphQLSyntaxError
from graphql.execution.values import get_argument_values

from clarion_graphql.metrics import ERRORS

log = structlog.get_logger(__name__)

REQUEST_ID: Final[ContextVar[str | None]] = ContextVar("clarion_request_id", default=None)
"""The id of the request that is being answered: ``extensions.requestId`` of its errors."""
#: Most characters of a message: some repeat what was sent.
MAX_MESSAGE: Final = 1_000


class Code(StrEnum):
    """``extensions.code`` of an error."""

    PARSE_FAILED = "GRAPHQL_PARSE_FAILED"
    """The document is not GraphQL."""
    VALIDATION_FAILED = "GRAPHQL_VALIDATION_FAILED"
    """The document or its variables do not fit the schema."""
    BAD_REQUEST = "BAD_REQUEST"
    """The HTTP request is none that GraphQL can be asked with."""
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    """A mutation came with GET."""
    PERSISTED_QUERY_NOT_FOUND = "PERSISTED_QUERY_NOT_FOUND"
    """The server does not know the document of this hash: send it with its text."""
    DOCUMENT_NOT_ALLOWED = "DOCUMENT_NOT_ALLOWED"
    """The server only answers the documents on its list, and this is none of them."""
    BAD_USER_INPUT = "BAD_USER_INPUT"
    """An argument has a value that means nothing."""
    BAD_CURSOR = "BAD_CURSOR"
    """``after`` or ``before`` is no cursor of this list in this order."""
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    """The document, or what it asks for, is larger than one may be."""
    SEQUENCE_AHEAD = "SEQUENCE_AHEAD"
    """``since`` is above the index's sequence: it comes from another index or from before a rebuild."""
    SEQUENCE_EXPIRED = "SEQUENCE_EXPIRED"
    """Changes after ``since`` are no longer kept: read the rows again and subscribe from that answer's receipt."""
    PROJECTION_REBUILT = "PROJECTION_REBUILT"
    """A protocol's rows were made anew since: read them again and subscribe from that answer's receipt."""
    UNKNOWN_BLOCK = "UNKNOWN_BLOCK"
    """``@asOf`` names no canonical block of the index."""
    NOT_YET = "NOT_YET"
    """The index has not got the block or transaction that ``@minBlock`` or ``@afterTx`` asks for."""
    NOT_KEPT = "NOT_KEPT"
    """A table as of that block is no longer kept."""
    NOT_LIVE = "NOT_LIVE"
    """The table's protocol is not indexed now, so there is no state of it to tell."""
    UNAUTHENTICATED = "UNAUTHENTICATED"
    """Who asks has to be known for this, or what was sent to say so is not known, revoked or expired."""
    FORBIDDEN = "FORBIDDEN"
    """Who asks is known, and may not do this; or nobody may on this server."""
    RATE_LIMITED = "RATE_LIMITED"
    """The caller's quota is used up; ``Retry-After`` says when there is more."""
    CONTRACT_REFUSES = "CONTRACT_REFUSES"
    """A contract's error keeps the transaction from being made; ``extensions.contractError`` says which."""
    TOO_SLOW = "TOO_SLOW"
    """The client did not read what it subscribed to for too long: subscribe again from the last message's sequence."""
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


class BadRequestError(ApiError):
    """What came is no request that GraphQL can be asked with."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.BAD_REQUEST, message)


#: What Python raises for a value in a document or a variable that does not fit its type.
_UNFIT_VALUES: Final = (ValueError, TypeError, ArithmeticError)

#: Where messages of graphql-core have Python's word for a value.
_PYTHON_WORD: Final = re.compile(r"(not to be |cannot represent [a-z0-9 -]*value: )(None|True|False)\b")
_GRAPHQL_WORDS: Final[Mapping[str, str]] = {"None": "null", "True": "true", "False": "false"}


def _shown(error: GraphQLError) -> GraphQLError:
    """The error as the client may see it: with a code, and without what only the operator may know."""
    code, message, extra = _classify(error)
    ERRORS.labels(code.value).inc()
    request_id = REQUEST_ID.get()
    if request_id is not None:
        extra = {**extra, "requestId": request_id}
    return GraphQLError(
        message if len(message) <= MAX_MESSAGE else f"{message[:MAX_MESSAGE]}…",
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
    unfit = cause is None or isinstance(cause, GraphQLError) or (error.nodes and isinstance(cause, _UNFIT_VALUES))
    if (error.path is None and unfit) or _is_of_arguments(cause):
        return Code.VALIDATION_FAILED, _in_graphql_words(error.message), {}
    if isinstance(cause, psycopg.DataError) and cause.sqlstate is None:  # the driver's: it never came to a statement
        return Code.BAD_USER_INPUT, "A text holds a zero character, which no stored text does.", {}
    if isinstance(cause, psycopg.errors.QueryCanceled):
        return Code.TIMEOUT, "The query took too long. Ask for fewer rows, or filter by height or contract.", {}
    if isinstance(cause, psycopg.errors.InsufficientPrivilege):
        log.warning("graphql.role_may_not", error=str(cause).strip())
        return Code.FORBIDDEN, "The role that this server reads its database as may not see that.", {}
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


def _is_of_arguments(cause: Exception | None) -> bool:
    """Whether graphql-core says with this that a field's or directive's arguments do not fit.

    Validation finds most of these; it is only seen in execution where a variable is null that has a default.
    """
    traceback = cause.__traceback__ if isinstance(cause, GraphQLError) else None
    while traceback is not None:
        if traceback.tb_frame.f_code is get_argument_values.__code__:
            return True
        traceback = traceback.tb_next
    return False


def _in_graphql_words(message: str) -> str:
    return _PYTHON_WORD.sub(lambda found: found[1] + _GRAPHQL_WORDS[found[2]], message)


def show_errors(errors: list[GraphQLError]) -> None:
    """Give every error of an answer its code; log the unexpected ones and hide what they say."""
    errors[:] = [_shown(error) for error in errors]
