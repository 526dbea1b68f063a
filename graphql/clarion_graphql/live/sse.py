"""GraphQL over server-sent events, one connection for each operation.

Protocol: https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md, "distinct connections mode". Every event of
a subscription carries the sequence as its id, so that a browser's EventSource goes on where it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec
from graphql import GraphQLError, OperationType

from clarion_graphql.accounts.caller import Caller
from clarion_graphql.accounts.errors import RefusedError
from clarion_graphql.context import Service
from clarion_graphql.documents import RequestError
from clarion_graphql.errors import REQUEST_ID, InputError
from clarion_graphql.execution import Executor, GraphQLRequest
from clarion_graphql.http import Header, Origins
from clarion_graphql.live.frames import EventStreamEnvelope
from clarion_graphql.live.hub import Hub, Request
from clarion_graphql.live.members import Member
from clarion_graphql.live.outlets import Outlet, Receive, Scope, Send, response_outlet
from clarion_graphql.persisted import PersistedQueries

#: How often a comment is sent where nothing else is, in seconds.
KEEP_ALIVE_S: Final = 15.0
#: Most bytes of a request's body.
MAX_BODY: Final = 1 << 20
#: How long a client may take to receive the end of its stream, in seconds.
CLOSE_TIMEOUT_S: Final = 5.0

_SEQUENCE: Final = re.compile(rb"[0-9]{1,19}\Z")
_HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]


class _Request(msgspec.Struct, rename="camel"):
    query: str | None = None
    variables: msgspec.Raw = msgspec.Raw(b"{}")
    operation_name: str | None = None
    extensions: dict[str, Any] | None = None
    document_id: str | None = None


class _RefusedError(Exception):
    """The request is answered with a status."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.errors: list[dict[str, Any]] = [{"message": message}]
        self.headers = dict(headers or {})


class EventStreamEndpoint:
    """An ASGI application that answers with an event stream."""

    def __init__(
        self,
        hub: Hub,
        executor: Executor,
        persisted: PersistedQueries,
        service: Service,
        origins: Origins,
        *,
        max_body: int = MAX_BODY,
        keep_alive_s: float = KEEP_ALIVE_S,
    ) -> None:
        self._hub = hub
        self._executor = executor
        self._persisted = persisted
        self._service = service
        self._origins = origins
        self._max_body = max_body
        self._keep_alive_s = keep_alive_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        ended = asyncio.Event()
        with contextlib.ExitStack() as counted:
            headers = self._origins.headers(_header(scope, b"origin"))
            try:
                if scope["method"] not in ("GET", "POST"):
                    raise _RefusedError(405, "Send GET or POST.", {"Allow": "GET, POST"})
                caller = await self._caller(scope, counted, ended.set)
                request = await _read(scope, receive, self._max_body)
                since = _last_event_id(scope)
            except _RefusedError as refused:
                await _refuse(send, refused, headers)
                return
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS + headers})
            # the head goes out at once: a client may wait for it long before the first event
            await send({"type": "http.response.body", "body": b":\n\n", "more_body": True})
            outlet = response_outlet(scope, send)
            try:
                await self._answer(scope, receive, outlet, request, caller, since, ended)
            finally:
                await _end(outlet, send)

    async def _caller(self, scope: Scope, counted: contextlib.ExitStack, end: Callable[[], None]) -> Caller:
        accounts = self._service.accounts
        try:
            caller = await accounts.caller_of(scope)
            counted.enter_context(accounts.connection(caller, end))
        except RefusedError as refused:
            error = _RefusedError(refused.status, refused.error.message, refused.headers)
            error.errors = [dict(refused.error.formatted)]
            raise error from None
        REQUEST_ID.set(caller.request_id or None)
        return caller

    async def _answer(
        self,
        scope: Scope,
        receive: Receive,
        outlet: Outlet,
        request: _Request,
        caller: Caller,
        since: int | None,
        ended: asyncio.Event,
    ) -> None:
        def end(too_slow: bool) -> None:
            ended.set()
            if too_slow:
                outlet.abort()

        envelope = EventStreamEnvelope(chunked=outlet.direct)
        member = Member(outlet, envelope, end)
        try:
            text = self._persisted.resolve(request.query, request.extensions, request.document_id)
            operation = self._executor.documents.read(text).operation(request.operation_name)
            if operation.type is OperationType.SUBSCRIPTION:
                self._service.accounts.charge(caller, 1)
                variables = bytes(request.variables)
                asked = Request(text, b"{}" if variables == b"null" else variables, request.operation_name)
                leave = await self._hub.open(asked, member, caller, since=since)
                try:
                    await self._until_over(receive, outlet, envelope, ended)
                finally:
                    leave()
                return
            read_only = scope["method"] == "GET"
            query = GraphQLRequest(text, _variables(request), request.operation_name, read_only=read_only)
            answer = await self._executor.execute(query, caller)
            outlet.write(envelope.answer(answer.body))
            outlet.write(envelope.complete())
        except RequestError as refused:
            member.fail(refused.errors)
        except RefusedError as refused:
            member.fail([refused.error])
        except GraphQLError as error:
            member.fail([error])

    async def _until_over(
        self, receive: Receive, outlet: Outlet, envelope: EventStreamEnvelope, ended: asyncio.Event
    ) -> None:
        """Wait until the client goes or nothing more comes."""
        gone = asyncio.create_task(_gone(receive))
        over = asyncio.create_task(ended.wait())
        try:
            while not (gone.done() or over.done()):
                done, _ = await asyncio.wait(
                    (gone, over), timeout=self._keep_alive_s, return_when=asyncio.FIRST_COMPLETED
                )
                if not done and outlet.ready:
                    outlet.write(envelope.keep_alive())
        finally:
            gone.cancel()
            over.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end(outlet: Outlet, send: Send) -> None:
    if not outlet.closed:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await outlet.close()
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                return
    outlet.abort()


async def _read(scope: Scope, receive: Receive, max_body: int) -> _Request:
    """The request, from the address or the body. Raises _RefusedError."""
    if scope["method"] == "GET":
        return _from_address(scope["query_string"])
    body = bytearray()
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise _RefusedError(400, "The body is not whole.")
        body += event.get("body", b"")
        if len(body) > max_body:
            raise _RefusedError(413, f"A body has at most {max_body} bytes.")
        if not event.get("more_body", False):
            break
    try:
        return msgspec.json.decode(body, type=_Request)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise _RefusedError(400, "The body is a JSON object with query, variables, operationName.") from None


def _from_address(query_string: bytes) -> _Request:
    try:
        given = {name: values[-1] for name, values in parse_qs(query_string.decode("ascii"), errors="strict").items()}
    except (UnicodeError, ValueError):
        raise _RefusedError(400, "The address is not readable.") from None
    variables = given.get("variables") or "{}"
    try:
        extensions = msgspec.json.decode(given.get("extensions") or "null", type=dict[str, Any] | None)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise _RefusedError(400, "extensions is a JSON object.") from None
    return _Request(
        given.get("query"),
        msgspec.Raw(variables.encode()),
        given.get("operationName"),
        extensions,
        given.get("documentId"),
    )


def _variables(request: _Request) -> dict[str, Any]:
    try:
        return msgspec.json.decode(request.variables, type=dict[str, Any] | None) or {}
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise RequestError([InputError("variables is a JSON object.")]) from None


def _last_event_id(scope: Scope) -> int | None:
    """The sequence of the last event that the client had, where it says so. Raises _RefusedError."""
    given = _header(scope, b"last-event-id")
    if not given:
        return None
    if not _SEQUENCE.match(given):
        raise _RefusedError(400, "Last-Event-ID is the id of an event of this stream: a sequence.")
    return int(given)


def _header(scope: Scope, wanted: bytes) -> bytes | None:
    return next((value for name, value in scope["headers"] if name == wanted), None)


async def _refuse(send: Send, refused: _RefusedError, headers: list[Header]) -> None:
    body = msgspec.json.encode({"errors": refused.errors})
    headers = [
        *headers,
        *((name.lower().encode(), value.encode()) for name, value in refused.headers.items()),
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
    ]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
