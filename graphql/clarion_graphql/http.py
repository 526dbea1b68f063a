"""``/graphql`` over HTTP, as `GraphQL over HTTP <https://graphql.github.io/graphql-over-http/draft/>`_ says.

A bare ASGI application: what a request costs beside its execution is paid by every request.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from time import perf_counter
from typing import Any, Final, NamedTuple, Protocol, TypeVar
from urllib.parse import parse_qsl

import msgspec
import structlog
import zstandard
from graphql import GraphQLError
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from clarion.config import Scope
from clarion_graphql.accounts.accounts import Accounts
from clarion_graphql.accounts.caller import Caller
from clarion_graphql.accounts.errors import RefusedError
from clarion_graphql.errors import ApiError, BadRequestError, Code, show_errors
from clarion_graphql.execution import Answer, Executor, GraphQLRequest
from clarion_graphql.metrics import CACHE
from clarion_graphql.persisted import PersistedQueries
from clarion_graphql.response_cache import CachedAnswer, ResponseCache

log = structlog.get_logger(__name__)

T = TypeVar("T")
Header = tuple[bytes, bytes]

JSON: Final = b"application/json"
RESPONSE_JSON: Final = b"application/graphql-response+json"
HTML: Final = b"text/html"
EVENT_STREAM: Final = b"text/event-stream"

#: Answers that are shorter are not worth compressing: they fit into one packet.
_SMALLEST_COMPRESSED: Final = 1_400
#: Longer ones are compressed in a thread.
_LARGEST_INLINE: Final = 256 * 1024

_HITS: Final = CACHE.labels("hit")
_MISSES: Final = CACHE.labels("miss")

_ALLOWED_METHODS: Final = b"GET, HEAD, POST, OPTIONS"
_EXPOSED_HEADERS: Final = b"ETag, Retry-After, X-Request-Id"


class Origins:
    """The web pages that browsers may show answers to (CORS), by their origin; ``*`` for every page."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self.any = "*" in allowed
        self._allowed = frozenset(origin.encode() for origin in allowed)

    def headers(self, origin: bytes | None) -> list[Header]:
        """What an answer says to a page of this origin; nothing to no page and to one that may not read it."""
        if origin is None or not (self.any or origin in self._allowed):
            return []
        return [
            (b"access-control-allow-origin", b"*" if self.any else origin),
            (b"access-control-expose-headers", _EXPOSED_HEADERS),
        ]


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """How requests are taken."""

    origins: Sequence[str] = ("*",)
    """Of which web pages the browser may show answers; ``*`` for all."""
    max_body_bytes: int = 1 << 20
    body_timeout_s: float = 10.0
    max_batch: int = 10
    """Operations of one request; 1: a request is one operation."""
    max_requests: int = 1_000
    """Requests that are answered at once; further ones are told to come back."""
    compression: bool = True


class JsonRequest(msgspec.Struct, rename="camel", frozen=True):
    """A request's JSON. Further members are let pass, as the specification asks."""

    query: str | None = None
    variables: dict[str, Any] | None = None
    operation_name: str | None = None
    extensions: dict[str, Any] | None = None
    document_id: str | None = None


_ONE: Final = msgspec.json.Decoder(JsonRequest)
_MANY: Final = msgspec.json.Decoder(list[JsonRequest])
_OBJECT: Final = msgspec.json.Decoder(dict[str, Any] | None)


class HttpError(Exception):
    """The request is answered with a status and an error instead of being executed."""

    def __init__(self, status: int, error: ApiError, *headers: Header) -> None:
        super().__init__(error.message)
        self.status = status
        self.error = error
        self.headers = headers


def _refused(status: int, code: Code, message: str, *headers: Header) -> HttpError:
    return HttpError(status, ApiError(code, message), *headers)


def error_body(error: GraphQLError) -> bytes:
    """The answer to a request that only has an error, as JSON."""
    errors = [error]
    show_errors(errors)
    return msgspec.json.encode({"errors": [shown.formatted for shown in errors]})


class Head:
    """What the headers of a request say: the same of every request that has the same ones."""

    __slots__ = ("accepted", "coding", "headers", "is_json", "media_type")

    def __init__(self, headers: Iterable[Header]) -> None:
        self.headers = dict(headers)
        self.accepted = _accepted(self.headers.get(b"accept", b""))
        self.media_type = next((name for name in self.accepted if name in _CONTENT_TYPES), None)
        """Of the answer; None where the client takes none that there is."""
        self.coding = _coding(self.headers.get(b"accept-encoding", b""))
        """Of a long answer."""
        self.is_json = _is_json(self.headers.get(b"content-type", b""))


class Response(NamedTuple):
    """What is sent back."""

    status: int
    headers: list[Header]
    body: bytes


class _Exchange:
    """One request on the way to its response."""

    __slots__ = ("body", "head", "headers", "method", "receive", "request_id", "scope")

    def __init__(self, scope: AsgiScope, head: Head, receive: Receive | None, body: bytes | None = None) -> None:
        """``body``: the whole of it, where it need not be received."""
        self.scope, self.head, self.receive, self.body = scope, head, receive, body
        self.method: str = scope["method"]
        self.headers = head.headers
        self.request_id = b""


class Taken(NamedTuple):
    """A request that was read and charged already."""

    caller: Caller
    body: bytes


class EventStream(Protocol):
    """The endpoint of event streams."""

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send, taken: Taken | None = None) -> None:
        """Answer a request. ``taken``: what is known of it; None: nothing yet."""


class _StreamError(Exception):
    """The request is one for the endpoint of event streams."""

    def __init__(self, taken: Taken | None = None) -> None:
        super().__init__()
        self.taken = taken


class Endpoint:
    """Answers queries over GET and POST, and mutations over POST."""

    def __init__(
        self,
        executor: Executor,
        accounts: Accounts,
        persisted: PersistedQueries,
        cache: ResponseCache,
        options: HttpOptions = HttpOptions(),
        page: str | None = None,
        event_stream: EventStream | None = None,
    ) -> None:
        """``page``: what browsers are shown that open the address; None: nothing.

        ``event_stream`` answers subscriptions of clients that take event streams.
        """
        self._executor = executor
        self._accounts = accounts
        self._persisted = persisted
        self._cache = cache
        self._options = options
        self._page = None if page is None else page.encode()
        self._event_stream = event_stream
        self._origins = Origins(options.origins)
        self._vary = b"Accept, Accept-Encoding" + (b"" if self._origins.any else b", Origin")
        self._running = 0

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        exchange = _Exchange(scope, Head(scope["headers"]), receive)
        try:
            status, headers, body = await self._respond(exchange)
        except _StreamError as asked:
            assert self._event_stream is not None
            await self._event_stream(scope, receive, send, asked.taken)
            return
        # nothing was sent yet but by a connection that has ended, and to that nothing more is
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if exchange.method == "HEAD" else body})

    async def post(self, scope: AsgiScope, head: Head, body: bytes) -> Response:
        """The response to a POST whose body is there, by a client that takes no event streams."""
        return await self._respond(_Exchange(scope, head, None, body))

    def kept(self, scope: AsgiScope, head: Head, body: bytes) -> Response | None:
        """The response to such a POST where that is kept and anybody may have it; None: :meth:`post` makes one."""
        began = perf_counter()
        found = self._cache.get(body)
        if found is None or head.media_type is None or not head.is_json:
            return None
        coding = self._coding_for(head, found.answer.body)
        caller = self._accounts.anonymous(scope)
        if caller is None or Scope.READ not in caller.scopes or (coding is not None and coding not in found.encoded):
            return None
        try:
            self._accounts.charge(caller, 1)
        except RefusedError:
            return None
        _HITS.inc()
        exchange = _Exchange(scope, head, None, body)
        exchange.request_id = caller.request_id.encode()
        response = self._answered(exchange, found, coding, ())
        found.observe(perf_counter() - began)
        return response

    async def _respond(self, exchange: _Exchange) -> Response:
        self._running += 1
        try:
            return await self._serve(exchange)
        except _StreamError:
            raise
        except RefusedError as refused:
            headers = [(name.lower().encode(), value.encode()) for name, value in refused.headers.items()]
            return await self._error(exchange, refused.status, refused.error, headers)
        except HttpError as refused:
            return await self._error(exchange, refused.status, refused.error, refused.headers)
        except Exception as error:
            return await self._error(exchange, 500, GraphQLError("A defect.", original_error=error))
        finally:
            self._running -= 1

    async def _serve(self, exchange: _Exchange) -> Response:
        request = self._accounts.request_of(exchange.scope)
        exchange.request_id = request.request_id.encode()
        if exchange.method == "OPTIONS":
            return self._preflight(exchange)
        if self._running > self._options.max_requests:
            raise _refused(503, Code.UNAVAILABLE, "The server has too much to do. Try again.", (b"retry-after", b"1"))
        if exchange.method not in ("GET", "HEAD", "POST"):
            message = f"{exchange.method} is no way to ask: send queries with GET or POST, mutations with POST."
            raise _refused(405, Code.METHOD_NOT_ALLOWED, message, (b"allow", _ALLOWED_METHODS))
        if exchange.head.accepted[:1] == (EVENT_STREAM,) and self._event_stream is not None:
            raise _StreamError
        caller = await self._accounts.caller_of(request)
        self._accounts.charge(caller, 1)
        return await (self._post if exchange.method == "POST" else self._get)(exchange, caller)

    async def _post(self, exchange: _Exchange, caller: Caller) -> Response:
        self._require_media_type(exchange)
        body = exchange.body
        if body is None:
            assert exchange.receive is not None
            body = await read_body(exchange.head, exchange.receive, self._options)
        else:
            require_json(exchange.head)
            _require_size(len(body), self._options)
        if body.lstrip()[:1] == b"[":
            return await self._batch(exchange, body, caller)
        answer = await self._answer(body, lambda: request_of_body(body), caller, read_only=False)
        streams = EVENT_STREAM in exchange.head.accepted and self._event_stream is not None
        if answer.answer.kind == "subscription" and streams:
            raise _StreamError(Taken(caller, body))
        return await self._send_answer(exchange, body, answer)

    async def _get(self, exchange: _Exchange, caller: Caller) -> Response:
        query: bytes = exchange.scope["query_string"]
        given = parameters_of(query)
        if (
            HTML in exchange.head.accepted
            and self._page is not None
            and given.keys().isdisjoint(("query", "documentId", "extensions"))
        ):
            return self._response(exchange, 200, self._page, [(b"content-type", b"text/html; charset=utf-8")])
        self._require_media_type(exchange)
        _require_size(len(query), self._options)
        answer = await self._answer(b"GET?" + query, lambda: request_of_parameters(given), caller, read_only=True)
        etag = _etag(answer)
        if answer.answer.has_errors:
            lasting = b"no-store"
        elif answer.answer.cacheable and b"authorization" not in exchange.headers:
            lasting = b"public, no-cache"
        else:
            lasting = b"private, no-cache"
        headers = [(b"cache-control", lasting), (b"etag", etag)]
        if not answer.answer.has_errors and _matches(exchange.headers.get(b"if-none-match", b""), etag):
            return self._response(exchange, 304, b"", headers)
        return await self._send_answer(exchange, b"GET?" + query, answer, headers)

    async def _batch(self, exchange: _Exchange, body: bytes, caller: Caller) -> Response:
        most = self._options.max_batch
        if most <= 1:
            raise HttpError(400, BadRequestError("This server takes one operation in a request, no batch."))
        requests = _decoded(_MANY, body)
        if not 1 <= len(requests) <= most:
            raise HttpError(400, BadRequestError(f"A batch has 1 to {most} operations, this one {len(requests)}."))
        self._accounts.charge(caller, len(requests) - 1)
        # one after another: a batch takes no more of the database's connections than a single operation
        answers = [await self._execute(request, caller, read_only=False) for request in requests]
        joined = b"[" + b",".join(answer.body for answer in answers) + b"]"
        return await self._json_or_shorter(exchange, 200, joined)

    async def _answer(
        self, key: bytes, decode: Callable[[], JsonRequest], caller: Caller, *, read_only: bool
    ) -> CachedAnswer:
        began = perf_counter()
        found = self._cache.get(key)
        if found is not None and Scope.READ in caller.scopes:
            _HITS.inc()
            found.observe(perf_counter() - began)
            return found
        _MISSES.inc()
        before = self._cache.now()
        answer = CachedAnswer(await self._execute(decode(), caller, read_only=read_only))
        self._cache.put(key, answer, before)
        return answer

    async def _execute(self, request: JsonRequest, caller: Caller, *, read_only: bool) -> Answer:
        try:
            text = self._persisted.resolve(request.query, request.extensions, request.document_id)
        except BadRequestError as error:
            raise HttpError(400, error) from None
        except ApiError as error:
            return self._executor.refused([error])
        return await self._executor.execute(
            GraphQLRequest(text, request.variables, request.operation_name, read_only), caller
        )

    @staticmethod
    def _require_media_type(exchange: _Exchange) -> None:
        if exchange.head.media_type is None:
            raise _refused(
                406, Code.BAD_REQUEST, "Answers are application/graphql-response+json or application/json: accept one."
            )

    async def _send_answer(
        self, exchange: _Exchange, key: bytes, cached: CachedAnswer, headers: Sequence[Header] = ()
    ) -> Response:
        coding = self._coding_for(exchange.head, cached.answer.body)
        if coding is not None and coding not in cached.encoded:
            self._cache.encoded(key, cached, coding, await _compressed(coding, cached.answer.body))
        return self._answered(exchange, cached, coding, headers)

    def _answered(
        self, exchange: _Exchange, cached: CachedAnswer, coding: str | None, headers: Sequence[Header]
    ) -> Response:
        answer = cached.answer
        status, extra = 200, list(headers)
        if not answer.executed:
            if answer.kind == "mutation" and exchange.method != "POST":
                status = 405
                extra.append((b"allow", b"POST"))
            elif exchange.head.media_type == RESPONSE_JSON:
                status = 400
        if coding is None:
            return self._json(exchange, status, answer.body, extra)
        return self._json(exchange, status, cached.encoded[coding], [*extra, (b"content-encoding", coding.encode())])

    async def _error(
        self, exchange: _Exchange, status: int, error: GraphQLError, headers: Sequence[Header] = ()
    ) -> Response:
        headers = [*headers, (b"cache-control", b"no-store")]
        return await self._json_or_shorter(exchange, status, error_body(error), headers)

    async def _json_or_shorter(
        self, exchange: _Exchange, status: int, body: bytes, headers: Sequence[Header] = ()
    ) -> Response:
        coding = self._coding_for(exchange.head, body)
        if coding is None:
            return self._json(exchange, status, body, headers)
        shorter = await _compressed(coding, body)
        return self._json(exchange, status, shorter, [*headers, (b"content-encoding", coding.encode())])

    def _coding_for(self, head: Head, body: bytes) -> str | None:
        return head.coding if self._options.compression and len(body) >= _SMALLEST_COMPRESSED else None

    def _json(self, exchange: _Exchange, status: int, body: bytes, headers: Sequence[Header]) -> Response:
        content_type = _CONTENT_TYPES[exchange.head.media_type or JSON]
        return self._response(exchange, status, body, [(b"content-type", content_type), *headers])

    def _response(self, exchange: _Exchange, status: int, body: bytes, headers: list[Header]) -> Response:
        if status not in (204, 304):
            headers.append((b"content-length", b"%d" % len(body)))
        if exchange.request_id:
            headers.append((b"x-request-id", exchange.request_id))
        headers.append((b"vary", self._vary))
        headers += self._origins.headers(exchange.headers.get(b"origin"))
        return Response(status, headers, body)

    def _preflight(self, exchange: _Exchange) -> Response:
        headers: list[Header] = [(b"allow", _ALLOWED_METHODS)]
        if self._origins.headers(exchange.headers.get(b"origin")):
            asked = exchange.headers.get(b"access-control-request-headers", b"content-type")
            headers += [
                (b"access-control-allow-methods", _ALLOWED_METHODS),
                (b"access-control-allow-headers", asked),
                (b"access-control-max-age", b"86400"),
            ]
        return self._response(exchange, 204, b"", headers)


def require_json(head: Head) -> None:
    """Raise HttpError for a body that is not said to be JSON, or is coded.

    Other types any page may have a browser send here without asking: mutations too.
    """
    if not head.is_json:
        raise _refused(415, Code.BAD_REQUEST, "The body has to be JSON: send `Content-Type: application/json`.")
    if b"content-encoding" in head.headers:
        raise _refused(415, Code.BAD_REQUEST, "The body has to be sent as it is, without Content-Encoding.")


async def read_body(head: Head, receive: Callable[[], Awaitable[Mapping[str, Any]]], options: HttpOptions) -> bytes:
    """The whole body. Raises HttpError for one that is no JSON, is too large or takes too long."""
    require_json(head)
    length = head.headers.get(b"content-length", b"")
    if length.isdigit():
        _require_size(int(length), options)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(options.body_timeout_s):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _refused(400, Code.BAD_REQUEST, "The request ended before its body did.")
                part: bytes = message.get("body", b"")
                size += len(part)
                _require_size(size, options)
                parts.append(part)
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        raise _refused(
            408, Code.BAD_REQUEST, f"The body took longer than {options.body_timeout_s:g} seconds.", _CLOSE
        ) from None


def _require_size(size: int, options: HttpOptions) -> None:
    limit = options.max_body_bytes
    if size > limit:
        raise _refused(413, Code.LIMIT_EXCEEDED, f"A request holds at most {limit} bytes.", _CLOSE)


_CLOSE: Final = (b"connection", b"close")
_CONTENT_TYPES: Final[Mapping[bytes, bytes]] = {
    JSON: JSON + b"; charset=utf-8",
    RESPONSE_JSON: RESPONSE_JSON + b"; charset=utf-8",
}


def _decoded(decoder: msgspec.json.Decoder[T], text: bytes | str) -> T:
    try:
        return decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise HttpError(400, BadRequestError(f"The request is not the JSON of one: {_reason(error)}.")) from None
    except RecursionError:
        raise HttpError(400, BadRequestError("The request's JSON nests too deeply.")) from None


def _reason(error: Exception) -> str:
    """Why a text is no JSON. The decoder calls one cut off that has half of a surrogate pair at the end of a string."""
    reason = str(error)
    return "it or a string in it is cut off, or has half of a surrogate pair" if "truncated" in reason else reason


def request_of_body(body: bytes) -> JsonRequest:
    """The operation that a body asks for. Raises HttpError where it is no JSON of one."""
    return _decoded(_ONE, body)


def parameters_of(query: bytes) -> dict[str, str]:
    """What stands in an address after the question mark. Raises HttpError where that cannot be read."""
    try:
        return dict(parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=50))
    except ValueError as error:
        raise HttpError(400, BadRequestError(f"The address's parameters cannot be read: {error}.")) from None


def request_of_parameters(given: Mapping[str, str]) -> JsonRequest:
    """The operation that an address asks for. Raises HttpError for variables or extensions that are no objects."""
    return JsonRequest(
        given.get("query"),
        _object(given, "variables"),
        given.get("operationName") or None,
        _object(given, "extensions"),
        given.get("documentId"),
    )


def _object(given: Mapping[str, str], name: str) -> dict[str, Any] | None:
    text = given.get(name)
    try:
        return _OBJECT.decode(text) if text else None
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise HttpError(400, BadRequestError(f"`{name}` is not the JSON of an object: {_reason(error)}.")) from None


def _etag(cached: CachedAnswer) -> bytes:
    """Names an answer by where it was read and by what it says; weak, for it is the same in every coding."""
    if cached.etag is None:
        read = "-".join(str(receipt.sequence) for receipt in cached.answer.receipts.values())
        cached.etag = f'W/"{read or 0}-{blake2b(cached.answer.body, digest_size=12).hexdigest()}"'.encode()
    return cached.etag


def _matches(if_none_match: bytes, etag: bytes) -> bool:
    known = {part.strip() for part in if_none_match.split(b",")}
    return b"*" in known or etag in known or etag.removeprefix(b"W/") in known


@lru_cache(maxsize=256)
def _is_json(content_type: bytes) -> bool:
    media_type, *parameters = (part.strip().lower() for part in content_type.split(b";"))
    charsets = [
        value.strip(b'" ') for name, _, value in (part.partition(b"=") for part in parameters) if name == b"charset"
    ]
    return media_type == JSON and all(charset in (b"utf-8", b"utf8") for charset in charsets)


def _weighted(value: bytes) -> list[tuple[bytes, float]]:
    """The elements of an ``Accept`` or ``Accept-Encoding`` with their weights, the heaviest first."""
    found = []
    for element in value.lower().split(b","):
        name, *parameters = (part.strip() for part in element.split(b";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith(b"q="):
                try:
                    weight = float(parameter[2:])
                except ValueError:
                    weight = 0.0
        if name:
            found.append((name, weight))
    return sorted(found, key=lambda part: -part[1])


@lru_cache(maxsize=256)
def _accepted(accept: bytes) -> tuple[bytes, ...]:
    """Which media types a client takes, the best first."""
    found = [
        JSON if name in (b"*/*", b"application/*") else name
        for name, weight in _weighted(accept or b"*/*")
        if weight > 0
    ]
    return tuple(found)


@lru_cache(maxsize=256)
def _coding(accept_encoding: bytes) -> str | None:
    """The content coding that a client takes and the server makes."""
    weights = dict(_weighted(accept_encoding))
    anything = weights.get(b"*", 0.0)
    best = max(("zstd", "gzip"), key=lambda name: weights.get(name.encode(), anything))
    return best if weights.get(best.encode(), anything) > 0 else None


async def _compressed(coding: str, body: bytes) -> bytes:
    compress = _CODINGS[coding]
    return compress(body) if len(body) <= _LARGEST_INLINE else await asyncio.to_thread(compress, body)


_CODINGS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "zstd": lambda body: zstandard.compress(body, 3),
    "gzip": lambda body: gzip.compress(body, 5, mtime=0),
}
