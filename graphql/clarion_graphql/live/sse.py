"""GraphQL over server-sent events, one connection for each operation.

Protocol: https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md, "distinct connections mode". Every event of
a subscription carries the sequence as its id, so that a browser's EventSource goes on where it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import Final

import msgspec
from graphql import GraphQLError, OperationType

from clarion_graphql.accounts.caller import Caller
from clarion_graphql.accounts.client import Request as Sender
from clarion_graphql.accounts.errors import RefusedError
from clarion_graphql.context import Service
from clarion_graphql.documents import RequestError
from clarion_graphql.errors import ApiError, BadRequestError, Code
from clarion_graphql.execution import Executor, GraphQLRequest
from clarion_graphql.http import (
    Head,
    Header,
    HttpError,
    HttpOptions,
    JsonRequest,
    Origins,
    Taken,
    error_body,
    parameters_of,
    read_body,
    request_of_body,
    request_of_parameters,
)
from clarion_graphql.live.frames import EventStreamEnvelope
from clarion_graphql.live.hub import Hub, Request
from clarion_graphql.live.members import Member
from clarion_graphql.live.outlets import Outlet, Receive, Scope, Send, response_outlet
from clarion_graphql.persisted import PersistedQueries

#: How often a comment is sent where nothing else is, in seconds.
KEEP_ALIVE_S: Final = 15.0
#: How long a client may take to receive the end of its stream, in seconds.
CLOSE_TIMEOUT_S: Final = 5.0

_SEQUENCE: Final = re.compile(rb"[0-9]{1,19}\Z")
_HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]


class EventStreamEndpoint:
    """An ASGI application that answers with an event stream."""

    def __init__(
        self,
        hub: Hub,
        executor: Executor,
        persisted: PersistedQueries,
        service: Service,
        options: HttpOptions,
        *,
        keep_alive_s: float = KEEP_ALIVE_S,
    ) -> None:
        self._hub = hub
        self._executor = executor
        self._persisted = persisted
        self._service = service
        self._options = options
        self._origins = Origins(options.origins)
        self._keep_alive_s = keep_alive_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send, taken: Taken | None = None) -> None:
        """Answer one request. ``taken``: what is known of it; None: nothing yet."""
        ended = asyncio.Event()
        head = Head(scope["headers"])
        sender = self._service.accounts.request_of(scope)
        headers = [
            (b"x-request-id", sender.request_id.encode()),
            *self._origins.headers(head.headers.get(b"origin")),
        ]
        with contextlib.ExitStack() as counted:
            try:
                caller = await self._caller(scope, sender, taken)
                counted.enter_context(self._service.accounts.connection(caller, ended.set))
                request = await self._read(scope, head, receive, taken)
                since = _last_event_id(head)
            except RefusedError as refused:
                said = [(name.lower().encode(), value.encode()) for name, value in refused.headers.items()]
                await _refuse(send, refused.status, refused.error, [*headers, *said])
                return
            except HttpError as refused:
                await _refuse(send, refused.status, refused.error, [*headers, *refused.headers])
                return
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS + headers})
            # the head goes out at once: a client may wait for it long before the first event
            await send({"type": "http.response.body", "body": b":\n\n", "more_body": True})
            outlet = response_outlet(scope, send)
            try:
                await self._answer(scope, receive, outlet, request, caller, since, ended)
            finally:
                await _end(outlet, send)

    async def _caller(self, scope: Scope, sender: Sender, taken: Taken | None) -> Caller:
        if scope["method"] not in ("GET", "POST"):
            message = f"{scope['method']} is no way to ask for an event stream: send GET or POST."
            raise HttpError(405, ApiError(Code.METHOD_NOT_ALLOWED, message), (b"allow", b"GET, POST"))
        if taken is not None:
            return taken.caller
        caller = await self._service.accounts.caller_of(sender)
        self._service.accounts.charge(caller, 1)
        return caller

    async def _read(self, scope: Scope, head: Head, receive: Receive, taken: Taken | None) -> JsonRequest:
        """The request, from the address or the body. Raises HttpError."""
        if scope["method"] == "GET":
            return request_of_parameters(parameters_of(scope["query_string"]))
        body = await read_body(head, receive, self._options) if taken is None else taken.body
        return request_of_body(body)

    async def _answer(
        self,
        scope: Scope,
        receive: Receive,
        outlet: Outlet,
        request: JsonRequest,
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
                asked = Request(text, msgspec.json.encode(request.variables or {}), request.operation_name)
                leave = await self._hub.open(asked, member, caller, since=since)
                try:
                    await self._until_over(receive, outlet, envelope, ended)
                finally:
                    leave()
                return
            read_only = scope["method"] == "GET"
            query = GraphQLRequest(text, request.variables, request.operation_name, read_only=read_only)
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


def _last_event_id(head: Head) -> int | None:
    """The sequence of the last event that the client had, where it says so. Raises HttpError."""
    given = head.headers.get(b"last-event-id")
    if not given:
        return None
    if not _SEQUENCE.match(given):
        raise HttpError(400, BadRequestError("Last-Event-ID is the id of an event of this stream: a sequence."))
    return int(given)


async def _refuse(send: Send, status: int, error: ApiError, headers: list[Header]) -> None:
    body = error_body(error)
    headers = [
        *headers,
        (b"content-type", b"application/json; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
