"""Asking exchanges, all at once: bounded in time and size, with breakers, and waiting where they ask for it.

Nothing an exchange does reaches further than its own quote: a redirect, a body that is too large or too slow, garbage
and silence each end as an error of that source.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

import certifi
import httpx
import stamina

from clarion.config import BreakerPreset
from clarion_keeper.breakers import Breakers, LeftAloneError
from clarion_keeper.feed.exchanges import Exchange
from clarion_keeper.feed.quotes import AnswerError, Pair, Quote, decode

#: Largest answer that is read; the longest documented one has about 1 kB.
MAX_BODY_BYTES: Final = 64 << 10
#: How long a source is left alone that says it was asked too often, and not for how long.
PAUSE_SECONDS: Final = 60
#: Longest time that a source may ask to be left alone for.
MAX_PAUSE_SECONDS: Final = 3_600
#: Statuses of "too often": 429, and Binance's 418 for those that went on asking.
TOO_OFTEN: Final = (429, 418)
CONNECTIONS: Final = 40


@dataclass(frozen=True, slots=True)
class Market:
    """A pair at an exchange."""

    exchange: Exchange
    pair: Pair

    def __str__(self) -> str:
        return f"{self.exchange.name} {self.pair}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of asking a market: a quote, or an error in words.

    ``clock_offset_ms``: how far the source's clock (its Date header) is ahead of ours; None where it did not say.
    """

    market: Market
    quote: Quote | None
    error: str
    latency_ms: int
    clock_offset_ms: int | None


class _PassingError(Exception):
    """What another try may turn into an answer; its text says why."""


class _NoAnswerError(Exception):
    """No answer that is of use; its text says why."""


class Fetcher:
    """Asks markets. ``urls``: base addresses by exchange, ``keys``: API keys by exchange. ``clock``: Unix ms."""

    def __init__(
        self,
        *,
        urls: Mapping[str, str],
        keys: Mapping[str, str],
        timeout_ms: int,
        attempts: int,
        breaker: BreakerPreset,
        clock: Callable[[], int],
    ) -> None:
        self._urls = urls
        self._keys = keys
        self._timeout = timeout_ms / 1000
        self._attempts = attempts
        self._clock = clock
        self._breakers = Breakers(breaker)
        self._left_alone_until: dict[str, float] = {}
        self._tls = ssl.create_default_context(cafile=certifi.where())

    async def ask(self, markets: Iterable[Market]) -> list[Answer]:
        """What each market says, in the order given. Takes as long as the slowest, at most the timeout."""
        limits = httpx.Limits(max_connections=CONNECTIONS)
        async with httpx.AsyncClient(
            timeout=self._timeout, limits=limits, verify=self._tls, follow_redirects=False, trust_env=True
        ) as client:
            return await asyncio.gather(*(self._ask(client, market) for market in markets))

    async def _ask(self, client: httpx.AsyncClient, market: Market) -> Answer:
        began = time.monotonic_ns()
        quote, error, offset = None, "", None
        try:
            quote, offset = await self._breakers.call(str(market), lambda: self._quote(client, market))
        except TimeoutError:
            error = f"no whole answer within {self._timeout:g} s"
        except (LeftAloneError, _NoAnswerError, AnswerError) as problem:
            error = str(problem)
        return Answer(market, quote, error, (time.monotonic_ns() - began) // 1_000_000, offset)

    async def _quote(self, client: httpx.AsyncClient, market: Market) -> tuple[Quote, int | None]:
        async with asyncio.timeout(self._timeout):
            body, offset = await self._body(client, market)
        return market.exchange.read(market.pair, decode(body)), offset

    async def _body(self, client: httpx.AsyncClient, market: Market) -> tuple[bytes, int | None]:
        name = market.exchange.name
        until = self._left_alone_until.get(name, 0.0)
        if time.monotonic() < until:
            raise _NoAnswerError(f"asked to be left alone for {until - time.monotonic():.0f} s more")
        try:
            async for attempt in stamina.retry_context(on=_PassingError, attempts=self._attempts, timeout=None):
                with attempt:
                    return await self._once(client, market)
        except _PassingError as error:
            raise _NoAnswerError(str(error)) from error
        raise AssertionError("the last attempt returns or raises")

    async def _once(self, client: httpx.AsyncClient, market: Market) -> tuple[bytes, int | None]:
        exchange = market.exchange
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", **exchange.headers}
        if exchange.key_header is not None and exchange.name in self._keys:
            headers[exchange.key_header] = self._keys[exchange.name]
        url = self._urls.get(exchange.name, exchange.url) + exchange.route(market.pair)
        began = self._clock()
        try:
            async with client.stream("GET", url, headers=headers) as response:
                offset = _clock_offset_ms(response.headers.get("Date"), (began + self._clock()) // 2)
                self._check(exchange.name, response)
                return await _bounded(response), offset
        except httpx.TransportError as error:
            raise _PassingError(f"no answer: {str(error) or type(error).__name__}") from error
        except httpx.HTTPError as error:
            raise _NoAnswerError(f"no answer: {error}") from error

    def _check(self, name: str, response: httpx.Response) -> None:
        status = response.status_code
        if status in TOO_OFTEN:
            seconds = _retry_after(response.headers.get("Retry-After"), self._clock())
            self._left_alone_until[name] = time.monotonic() + seconds
            raise _NoAnswerError(f"HTTP {status}: asked too often, left alone for {seconds} s")
        if status >= 500:
            raise _PassingError(f"HTTP {status}")
        if status != httpx.codes.OK:
            where = f" to {response.headers.get('Location', '')[:100]}" if response.is_redirect else ""
            raise _NoAnswerError(f"HTTP {status}{where}")


async def _bounded(response: httpx.Response) -> bytes:
    if (encoding := response.headers.get("Content-Encoding", "identity")) != "identity":
        raise _NoAnswerError(f"the answer is {encoding[:40]}, and may be larger than it looks")
    body = bytearray()
    async for piece in response.aiter_raw(4096):
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise _NoAnswerError(f"the answer has more than {MAX_BODY_BYTES} bytes")
    return bytes(body)


def _clock_offset_ms(date: str | None, now_ms: int) -> int | None:
    """How far the time in a Date header is ahead; it is cut off to seconds, so that half of one is added."""
    told = None if date is None else _unix_ms(date)
    return None if told is None else told + 500 - now_ms


def _retry_after(value: str | None, now_ms: int) -> int:
    """Seconds that a Retry-After header asks for, as a number of seconds or a date (RFC 9110, 10.2.3)."""
    if value is None:
        return PAUSE_SECONDS
    if value.isascii() and value.isdigit():
        return min(int(value[:9]), MAX_PAUSE_SECONDS)
    until = _unix_ms(value)
    return PAUSE_SECONDS if until is None else min(max(0, -(-(until - now_ms) // 1000)), MAX_PAUSE_SECONDS)


def _unix_ms(date: str) -> int | None:
    try:
        return int(parsedate_to_datetime(date).replace(tzinfo=UTC).timestamp()) * 1000
    except (ValueError, OverflowError):
        return None
