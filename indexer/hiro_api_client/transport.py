"""One request at a time over HTTP: tries again what may pass, waits as the API says, names what went wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Final, Self

import httpx
import stamina

from hiro_api_client.errors import (
    CursorLostError,
    HiroApiError,
    NotFoundError,
    RateLimitedError,
    RequestRejectedError,
    RouteMissingError,
    ServerError,
    UnauthorizedError,
    UnreachableError,
)
from hiro_api_client.rate_limit import RateLimit

NOT_MODIFIED: Final = 304

Query = Sequence[tuple[str, str | int]]


class _PassingError(Exception):
    """An answer that another try may turn into a better one."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(response.status_code)
        self.response = response


class Transport:
    """Sends requests to one API. ``max_pause_seconds``: how long a request may be kept back by the rate limit."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None,
        auth: tuple[str, str] | None,
        timeout_seconds: float,
        attempts: int,
        retry_seconds: float,
        max_pause_seconds: float,
        connections: int,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        transport: httpx.AsyncBaseTransport | None,
    ) -> None:
        self._url = url
        self._attempts = attempts
        self._retry_seconds = retry_seconds
        self._max_pause_seconds = max_pause_seconds
        self._limit = RateLimit(clock=clock, sleep=sleep)
        self._client = httpx.AsyncClient(
            base_url=url,
            auth=auth,
            headers={"accept": "application/json"} | ({} if api_key is None else {"x-api-key": api_key}),
            timeout=timeout_seconds,
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            follow_redirects=True,
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def request(
        self,
        method: str,
        route: str,
        *,
        query: Query = (),
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        accept: Sequence[int] = (),
    ) -> httpx.Response:
        """The answer, with status 200 or one of ``accept``; otherwise the error it stands for."""
        wanted = (httpx.codes.OK, *accept)
        try:
            async for attempt in stamina.retry_context(
                on=(httpx.TransportError, _PassingError),
                attempts=self._attempts,
                timeout=None,
                wait_initial=self._retry_seconds,
                wait_max=max(self._retry_seconds, 5.0),
                wait_jitter=self._retry_seconds,
            ):
                with attempt:
                    await self._wait(route)
                    response = await self._client.request(
                        method, route, params=[*query] or None, headers=headers, content=content
                    )
                    self._limit.note(response.status_code, response.headers)
                    if response.status_code not in wanted and _may_pass(response.status_code):
                        raise _PassingError(response)
                    break
        except httpx.TransportError as error:
            raise UnreachableError(
                route, f"{self._url} gave no answer in {self._attempts} attempts: {error!r}; is it running?"
            ) from error
        except _PassingError as error:
            response = error.response
        if response.status_code in wanted:
            return response
        raise self._error(route, response, with_cursor=any(name == "cursor" for name, _ in query))

    async def _wait(self, route: str) -> None:
        pause = self._limit.pause
        if pause > self._max_pause_seconds:
            raise self._limited(route, pause)
        await self._limit.wait()

    def _limited(self, route: str, pause: float, status: int | None = None) -> RateLimitedError:
        problem = f"{self._url} allows the next request in {pause:.0f} s; ask less often, or use an API key"
        return RateLimitedError(route, problem, status=status, retry_after=pause)

    def _error(self, route: str, response: httpx.Response, *, with_cursor: bool) -> HiroApiError:
        status, text = response.status_code, response.text[:300]
        came = f"{self._url} answered {status}: {text}"
        if status == httpx.codes.TOO_MANY_REQUESTS:
            return self._limited(route, self._limit.pause, status)
        if status >= 500:
            return ServerError(route, f"{came}; tried {self._attempts} times", status=status)
        if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            return UnauthorizedError(route, f"{came}; check the API key", status=status)
        if status == httpx.codes.GONE or (status == httpx.codes.NOT_FOUND and _route_is_missing(text)):
            return RouteMissingError(route, f"{came}; this API does not serve the route", status=status)
        if status == httpx.codes.NOT_FOUND:
            if with_cursor:
                return CursorLostError(
                    route, f"{came}; the cursor is no longer canonical, begin again at the newest page", status=status
                )
            return NotFoundError(route, came, status=status)
        return RequestRejectedError(route, f"{came}; check the arguments", status=status)


def _may_pass(status: int) -> bool:
    return status in (httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_MANY_REQUESTS) or status >= 500


def _route_is_missing(text: str) -> bool:
    """Fastify's own 404 names the route: ``{"message":"Route GET:/extended/… not found", …}``."""
    return "Route " in text and " not found" in text
