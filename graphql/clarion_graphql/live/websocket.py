"""GraphQL over WebSocket: the protocol graphql-transport-ws.

Protocol: https://github.com/graphql/graphql-over-http/blob/main/rfcs/GraphQLOverWebSocket.md
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, TypeVar

import msgspec
from graphql import GraphQLError, OperationType

from clarion_graphql.accounts.caller import Caller
from clarion_graphql.accounts.errors import RefusedError
from clarion_graphql.context import Service
from clarion_graphql.documents import RequestError
from clarion_graphql.errors import ApiError, Code
from clarion_graphql.execution import Executor, GraphQLRequest
from clarion_graphql.live.frames import PING_FRAME, Message, WebSocketEnvelope, text_frame
from clarion_graphql.live.hub import Hub, Request
from clarion_graphql.live.keep_alive import PING_S, KeepAlive
from clarion_graphql.live.members import Member
from clarion_graphql.live.outlets import Outlet, Receive, Scope, Send, websocket_outlet
from clarion_graphql.persisted import PersistedQueries

SUBPROTOCOL: Final = "graphql-transport-ws"
#: How long a client may take to send ``connection_init``, in seconds.
INIT_TIMEOUT_S: Final = 10.0
#: Most operations at once on one connection.
MAX_OPERATIONS: Final = 100
#: Most characters of a message of a client.
MAX_MESSAGE: Final = 1 << 20
#: How long a client may take to receive why its connection ends, in seconds.
CLOSE_TIMEOUT_S: Final = 5.0


T = TypeVar("T")


class CloseCode(IntEnum):
    """Why a connection is closed. All but ``TOO_BIG`` and ``TOO_SLOW`` are the protocol's."""

    TOO_BIG = 1009
    BAD_REQUEST = 4400
    UNAUTHORIZED = 4401
    SUBPROTOCOL = 4406
    INIT_TIMEOUT = 4408
    ALREADY_EXISTS = 4409
    TOO_SLOW = 4413
    TOO_MANY_INITS = 4429


class _Close(Exception):  # noqa: N818
    """The connection is to be closed."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class _Incoming(msgspec.Struct):
    type: str
    id: str | None = None
    payload: msgspec.Raw = msgspec.Raw(b"null")


class _Subscribe(msgspec.Struct, rename="camel"):
    query: str | None = None
    variables: msgspec.Raw = msgspec.Raw(b"{}")
    operation_name: str | None = None
    extensions: dict[str, Any] | None = None
    document_id: str | None = None


class _Refused(msgspec.Struct):
    errors: list[dict[str, Any]]


class WebSocketEndpoint:
    """An ASGI application that serves WebSockets."""

    def __init__(
        self,
        hub: Hub,
        executor: Executor,
        persisted: PersistedQueries,
        service: Service,
        *,
        max_message: int = MAX_MESSAGE,
        init_timeout_s: float = INIT_TIMEOUT_S,
        ping_s: float = PING_S,
    ) -> None:
        self.hub = hub
        self.executor = executor
        self.persisted = persisted
        self.service = service
        self.max_message = max_message
        self.init_timeout_s = init_timeout_s
        self._keep_alive = KeepAlive(ping_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection until it ends."""
        if (await receive())["type"] != "websocket.connect":
            return
        offered = SUBPROTOCOL in scope["subprotocols"]
        await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL if offered else None})
        if not offered:
            reason = f"Subprotocol not acceptable: offer {SUBPROTOCOL}"
            await send({"type": "websocket.close", "code": CloseCode.SUBPROTOCOL, "reason": reason})
            return
        connection = _Connection(self, scope, receive, websocket_outlet(scope, send))
        try:
            with self._keep_alive.connection(connection.ping_if_quiet):
                await connection.run()
            closing = None
        except _Close as close:
            closing = close
        finally:
            connection.end()
        if closing is not None:
            # what a client does not take is not kept for it
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await connection.outlet.close()
                    await send({"type": "websocket.close", "code": closing.code, "reason": closing.reason})
                    return
        connection.outlet.abort()


@dataclass(eq=False, slots=True)
class _Operation:
    """An operation of a connection. ``leave`` ends a subscription that has begun; ``task`` works for any other."""

    member: Member
    task: asyncio.Task[None] | None = None
    leave: Callable[[], None] | None = None


class _Connection:
    def __init__(self, endpoint: WebSocketEndpoint, scope: Scope, receive: Receive, outlet: Outlet) -> None:
        self.outlet = outlet
        self._endpoint = endpoint
        self._scope = scope
        self._receive = receive
        self._operations: dict[str, _Operation] = {}
        self._waiting: asyncio.Task[Any] | None = None
        self._closing: _Close | None = None
        self._counted = contextlib.ExitStack()
        self._sent: list[int | None] = []

    async def run(self) -> None:
        """Serve until the client goes. Raises _Close where it is to be sent away."""
        try:
            async with asyncio.timeout(self._endpoint.init_timeout_s):
                caller = await self._initialised()
        except TimeoutError:
            raise _Close(CloseCode.INIT_TIMEOUT, "Connection initialisation timeout") from None
        if caller is None:
            return
        self._say(b'{"type":"connection_ack"}')
        while (message := await self._next()) is not None:
            if message.type == "subscribe":
                await self._subscribe(message, caller)
            elif message.type == "complete":
                self._complete(message.id)
            elif message.type == "connection_init":
                raise _Close(CloseCode.TOO_MANY_INITS, "Too many initialisation requests")
            else:
                self._ping(message)

    def end(self) -> None:
        """Stop everything that works for the connection."""
        self._counted.close()
        for operation in list(self._operations.values()):
            if operation.task is not None:
                operation.task.cancel()
            if operation.leave is not None:
                operation.leave()
        self._operations.clear()

    def ping_if_quiet(self) -> None:
        """Ping the client if no subscription sent anything since the last call."""
        sent = [operation.member.position for operation in self._operations.values()]
        if sent == self._sent and self.outlet.ready:
            self.outlet.write(PING_FRAME if self.outlet.direct else b'{"type":"ping"}')
        self._sent = sent

    async def _initialised(self) -> Caller | None:
        """Who has connected, once it has said so; None where it went instead."""
        while (message := await self._next()) is not None:
            if message.type == "connection_init":
                return await self._caller(message)
            if message.type == "subscribe":
                raise _Close(CloseCode.UNAUTHORIZED, "Unauthorized")
            if message.type != "complete":
                self._ping(message)
        return None

    async def _caller(self, message: _Incoming) -> Caller:
        given = _payload(message.payload, dict[str, Any] | None) or {}  # type: ignore[arg-type]
        authorization = next((value for name, value in given.items() if name.lower() == "authorization"), None)
        if authorization is not None and not isinstance(authorization, str):
            raise _Close(CloseCode.UNAUTHORIZED, "`authorization` is text: `Bearer …` with a token or a key, or null")
        accounts = self._endpoint.service.accounts
        try:
            request = accounts.request_of(self._scope)
            caller = await accounts.caller_of(request, authorization)
            self._counted.enter_context(accounts.connection(caller, self._lose_credential))
        except RefusedError as refused:
            raise _Close(refused.close_code, _short(refused.error.message)) from None
        return caller

    async def _next(self) -> _Incoming | None:
        """The next message; None where the client is gone. Raises _Close for what is no message."""
        self._go_on()
        self._waiting = waiting = asyncio.current_task()
        try:
            event = await self._receive()
        except asyncio.CancelledError:
            try:
                self._go_on()
            except _Close:
                assert waiting is not None
                waiting.uncancel()
                raise
            raise
        finally:
            self._waiting = None
        if event["type"] == "websocket.disconnect":
            return None
        text = event.get("text")
        if text is None:
            raise _Close(CloseCode.BAD_REQUEST, "Messages are text")
        if len(text) > self._endpoint.max_message:
            raise _Close(CloseCode.TOO_BIG, f"A message has at most {self._endpoint.max_message} characters")
        return _payload(text, _Incoming)

    def _go_on(self) -> None:
        if self._closing is not None:
            raise self._closing

    def _ping(self, message: _Incoming) -> None:
        if message.type == "ping":
            self._say(b'{"type":"pong"}')
        elif message.type != "pong":
            raise _Close(CloseCode.BAD_REQUEST, _short(f"Unknown message type {message.type!r}"))

    def _say(self, payload: bytes) -> None:
        self.outlet.write(text_frame(payload) if self.outlet.direct else payload)

    async def _subscribe(self, message: _Incoming, caller: Caller) -> None:
        name = message.id
        if not name:
            raise _Close(CloseCode.BAD_REQUEST, "subscribe has an id")
        payload = _payload(message.payload, _Subscribe)
        if name in self._operations:
            raise _Close(CloseCode.ALREADY_EXISTS, _short(f"Subscriber for {name} already exists"))
        envelope = WebSocketEnvelope(name, framed=self.outlet.direct)

        def ended(too_slow: bool) -> None:
            if self._operations.get(name) is operation:
                del self._operations[name]
            if too_slow:
                self._close_later(_Close(CloseCode.TOO_SLOW, "Too slow: subscribe again from the last sequence"))

        member = Member(self.outlet, envelope, ended)
        operation = _Operation(member)
        try:
            self._endpoint.service.accounts.charge(caller, 1)
            if len(self._operations) >= MAX_OPERATIONS:
                said = f"A connection has at most {MAX_OPERATIONS} operations at once."
                raise RequestError([ApiError(Code.LIMIT_EXCEEDED, said)])
            text = self._endpoint.persisted.resolve(payload.query, payload.extensions, payload.document_id)
            found = self._endpoint.executor.documents.read(text).operation(payload.operation_name)
            if found.type is not OperationType.SUBSCRIPTION:
                self._operations[name] = operation
                operation.task = asyncio.create_task(self._execute(text, payload, caller, member))
                return
            variables = bytes(payload.variables)
            request = Request(text, b"{}" if variables == b"null" else variables, payload.operation_name)
            self._operations[name] = operation
            operation.leave = await self._endpoint.hub.open(request, member, caller)
        except RequestError as refused:
            member.fail(refused.errors)
        except RefusedError as refused:
            member.fail([refused.error])
        except GraphQLError as error:
            member.fail([error])

    async def _execute(self, text: str, payload: _Subscribe, caller: Caller, member: Member) -> None:
        """Answer a query or a mutation."""
        try:
            variables = _payload(payload.variables, dict[str, Any] | None)  # type: ignore[arg-type]
            asked = GraphQLRequest(text, variables, payload.operation_name)
            answer = await self._endpoint.executor.execute(asked, caller)
        except RefusedError as refused:
            member.fail([refused.error])
            return
        except _Close as close:
            self._close_later(close)
            return
        if answer.executed:
            self.outlet.write(member.envelope.next(Message(0, 0, answer.body)))
            self.outlet.write(member.envelope.complete())
        else:
            self.outlet.write(member.envelope.refused(msgspec.json.decode(answer.body, type=_Refused).errors))
        member.ended(False)

    def _complete(self, name: str | None) -> None:
        operation = self._operations.pop(name or "", None)
        if operation is None:
            return
        if operation.task is not None:
            operation.task.cancel()
        if operation.leave is not None:
            operation.leave()

    def _lose_credential(self) -> None:
        self._close_later(_Close(CloseCode.UNAUTHORIZED, "The credential was revoked or has expired"))

    def _close_later(self, close: _Close) -> None:
        """Close from outside of :meth:`run`."""
        if self._closing is None:
            self._closing = close
            if self._waiting is not None:
                self._waiting.cancel()


def _payload(text: str | msgspec.Raw, kind: type[T]) -> T:
    """A message, or what is in it. Raises _Close where it is no such thing."""
    try:
        return msgspec.json.decode(text, type=kind)
    except RecursionError:
        raise _Close(CloseCode.BAD_REQUEST, "Invalid message: its JSON nests too deeply") from None
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise _Close(CloseCode.BAD_REQUEST, _short(f"Invalid message: {error}")) from None


def _short(reason: str) -> str:
    """A reason as it fits into a closing frame: 123 bytes."""
    return reason.encode()[:123].decode(errors="ignore")
