"""Every exchange that the feed reads, on one loopback port, in the forms that their documentation shows.

Prices are set by the test; so is what an exchange does wrong: lying, stalling, answering garbage or too much, sending
elsewhere, refusing. Each answers under ``/{exchange}``, with the routes that the exchange has.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from email.utils import formatdate
from enum import StrEnum
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

E8: Final = 10**8


class Fault(StrEnum):
    """What an exchange does wrong."""

    STALL = "stall"
    """Takes the request and never answers."""
    DRIP = "drip"
    """Sends its answer a byte at a time, and not to the end."""
    CUT = "cut"
    """Ends the connection in the middle of the answer."""
    GARBAGE = "garbage"
    EMPTY = "empty"
    DEEP = "deep"
    """JSON that nests without end."""
    HUGE = "huge"
    """A body without end."""
    BOMB = "bomb"
    """A compressed body, although none was asked for."""
    REDIRECT = "redirect"
    TOO_OFTEN = "too often"
    """429 with a Retry-After."""
    BROKEN = "broken"
    """500."""
    UNLISTED = "unlisted"
    """404, as for a pair that is not traded."""
    OTHER_PAIR = "other pair"
    """The answer to another question."""
    ZERO = "zero"
    NEGATIVE = "negative"
    EXPONENT = "exponent"
    """A price with an exponent that fills a memory when it is written out."""
    NAN = "nan"


class FakeExchange:
    """``prices_e8``: price of each base in dollars x 10^8; ``shown_e8`` replaces it for one exchange and base.

    A stablecoin is a base too. A pair in a stablecoin shows the price in dollars over the coin's.
    ``now_ms`` is the clock of all exchanges; ``age_ms`` how old an exchange's quotes are, ``has_date`` whether answers
    have a Date header.
    """

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self.now_ms = now_ms
        self.prices_e8: dict[str, int] = {"BTC": 61_234 * E8, "STX": 74_430_000, "USDT": E8, "USDC": E8}
        self.shown_e8: dict[tuple[str, str], int] = {}
        self.faults: dict[str, Fault] = {}
        self.age_ms: dict[str, int] = {}
        self.has_date = True
        self.retry_after = "120"
        self.requests: Counter[str] = Counter()
        self.headers: list[Mapping[str, str]] = []
        self.urls: dict[str, str] = {}
        self.released = asyncio.Event()
        self.app = Starlette(routes=[Route("/{exchange}/{rest:path}", self._answer)])

    async def _answer(self, request: Request) -> Response:
        exchange = request.path_params["exchange"]
        self.requests[exchange] += 1
        self.headers.append(dict(request.headers))
        asked = f"/{request.path_params['rest']}" + (f"?{request.url.query}" if request.url.query else "")
        response = await self._respond(exchange, asked)
        if self.has_date:
            response.headers["Date"] = formatdate(self.now_ms() // 1000, usegmt=True)
        return response

    async def _respond(self, exchange: str, asked: str) -> Response:
        fault = self.faults.get(exchange)
        if fault in PLAIN:
            return PLAIN[fault]()
        if fault is Fault.TOO_OFTEN:
            return PlainTextResponse("slow down", 429, headers={"Retry-After": self.retry_after})
        if fault is Fault.STALL:
            await self.released.wait()
        body = json.dumps(self.body(exchange, asked)).encode()
        if fault is Fault.DRIP:
            return StreamingResponse(self._drip(body), media_type="application/json")
        if fault is Fault.CUT:
            return Response(body[:20], headers={"Content-Length": str(len(body))})
        if fault is Fault.BOMB:
            return Response(BOMB, headers={"Content-Encoding": "gzip"})
        if fault in ODD_PRICES:
            body = re.sub(rb'"?\b7\.77\b"?', ODD_PRICES[fault], json.dumps(self.body(exchange, asked, "7.77")).encode())
        return Response(body, media_type="application/json")

    async def _drip(self, body: bytes) -> AsyncIterator[bytes]:
        yield body[:1]
        await self.released.wait()

    def body(self, exchange: str, asked: str, shown: str | None = None) -> Any:
        """The answer to a question such as ``/api/v3/ticker/24hr?symbol=BTCUSDT``. ``shown``: the price as text."""
        form, pattern = FORMS[exchange]
        found = re.fullmatch(pattern, asked)
        if found is None:
            raise AssertionError(f"{exchange} has no route {asked}")
        base, currency = found["base"].upper(), found["currency"].upper()
        if self.faults.get(exchange) is Fault.OTHER_PAIR:
            base = "DOGE"
        base, currency = NAMES.get(base, base), NAMES.get(currency, currency)
        usd8 = self.shown_e8.get((exchange, base), self.prices_e8.get(base, 777_000_000))
        e8 = usd8 * E8 // self.prices_e8[currency] if currency != "USD" else usd8
        text = shown or f"{e8 // E8}.{e8 % E8:08d}"
        return form(base, currency, text, self.now_ms() - self.age_ms.get(exchange, 0))


def _binance(base: str, currency: str, price: str, ms: int) -> Any:
    return {
        "symbol": f"{base}{currency}",
        "lastPrice": price,
        "lastQty": "0.00100000",
        "bidPrice": price,
        "askPrice": price,
        "volume": "8913.30000000",
        "quoteVolume": "15.30000000",
        "openTime": ms - 86_400_000,
        "closeTime": ms,
    }


def _bitfinex(base: str, currency: str, price: str, ms: int) -> Any:
    last = json.loads(price)
    return [last, 31.67, last, 27.12, -12.5, -0.0021, last, 1540.27861322, last, last]


def _bitstamp(base: str, currency: str, price: str, ms: int) -> Any:
    return {"last": price, "bid": price, "ask": price, "volume": "213.26801100", "timestamp": str(ms // 1000)}


def _bybit(base: str, currency: str, price: str, ms: int) -> Any:
    ticker = {"symbol": f"{base}{currency}", "bid1Price": price, "lastPrice": price, "volume24h": "11801.27771"}
    result = {"category": "spot", "list": [ticker]}
    return {"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": ms}


def _coinbase(base: str, currency: str, price: str, ms: int) -> Any:
    time = f"{datetime.fromtimestamp(ms // 1000, UTC):%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}000Z"
    return {
        "ask": price,
        "bid": price,
        "price": price,
        "volume": "53602.03940154",
        "trade_id": 86326522,
        "size": "0.00698254",
        "time": time,
    }


def _coingecko(base: str, currency: str, price: str, ms: int) -> Any:
    (name,) = (name for name, known in NAMES.items() if known == base and name.isupper() and len(name) > 5)
    return {name.lower(): {"usd": json.loads(price), "last_updated_at": ms // 1000}}


def _gemini(base: str, currency: str, price: str, ms: int) -> Any:
    volume = {base: "2210.505328803", currency: "2135477.463379586263", "timestamp": ms}
    return {"bid": price, "ask": price, "last": price, "volume": volume}


def _kraken(base: str, currency: str, price: str, ms: int) -> Any:
    ticker = {
        "a": [price, "1", "1.000"],
        "b": [price, "1", "1.000"],
        "c": [price, "0.00067643"],
        "v": ["4083.67001100", "4412.73601799"],
        "p": [price, price],
        "t": [34619, 38907],
        "l": [price, price],
        "h": [price, price],
        "o": price,
    }
    return {"error": [], "result": {f"X{base}Z{currency}": ticker}}


def _okx(base: str, currency: str, price: str, ms: int) -> Any:
    ticker = {"instType": "SPOT", "instId": f"{base}-{currency}", "last": price, "vol24h": "2222", "ts": str(ms)}
    return {"code": "0", "msg": "", "data": [ticker]}


BOMB: Final = gzip.compress(bytes(1 << 24))
NAMES: Final = {
    "XBT": "BTC",
    "UST": "USDT",
    "UDC": "USDC",
    "BITCOIN": "BTC",
    "BLOCKSTACK": "STX",
    "TETHER": "USDT",
    "USD-COIN": "USDC",
    "DOGECOIN": "DOGE",
}
FORMS: Final[Mapping[str, tuple[Callable[[str, str, str, int], Any], str]]] = {
    "binance": (_binance, r"/api/v3/ticker/24hr\?symbol=(?P<base>[A-Z]+?)(?P<currency>USD[TC]?)"),
    "bitfinex": (_bitfinex, r"/v2/ticker/t(?P<base>[A-Z]{3})(?P<currency>USD|UST|UDC)"),
    "bitstamp": (_bitstamp, r"/api/v2/ticker/(?P<base>[a-z]+?)(?P<currency>usd[tc]?)/"),
    "bybit": (_bybit, r"/v5/market/tickers\?category=spot&symbol=(?P<base>[A-Z]+?)(?P<currency>USD[TC]?)"),
    "coinbase": (_coinbase, r"/products/(?P<base>[A-Z]+)-(?P<currency>USD[TC]?)/ticker"),
    "coingecko": (
        _coingecko,
        r"/api/v3/simple/price\?ids=(?P<base>[a-z-]+)&vs_currencies=(?P<currency>usd)"
        r"&include_last_updated_at=true&precision=full",
    ),
    "gemini": (_gemini, r"/v1/pubticker/(?P<base>[a-z]+?)(?P<currency>usd[tc]?)"),
    "kraken": (_kraken, r"/0/public/Ticker\?pair=(?P<base>[A-Z]+?)(?P<currency>USD[TC]?)"),
    "okx": (_okx, r"/api/v5/market/ticker\?instId=(?P<base>[A-Z]+)-(?P<currency>USD[TC]?)"),
}


async def _endless() -> AsyncIterator[bytes]:
    for _ in range(4096):
        yield bytes([32]) * 4096


PLAIN: Final[Mapping[Fault | None, Callable[[], Response]]] = {
    Fault.GARBAGE: lambda: PlainTextResponse("<html>Attention required!</html>"),
    Fault.EMPTY: lambda: Response(b""),
    Fault.DEEP: lambda: Response(b"[" * 60_000),
    Fault.HUGE: lambda: StreamingResponse(_endless()),
    Fault.REDIRECT: lambda: RedirectResponse("http://127.0.0.1:1/elsewhere"),
    Fault.BROKEN: lambda: PlainTextResponse("oops", 500),
    Fault.UNLISTED: lambda: JSONResponse({"message": "NotFound"}, 404),
}
ODD_PRICES: Final[Mapping[Fault | None, bytes]] = {
    Fault.ZERO: b'"0.00"',
    Fault.NEGATIVE: b'"-61234.5"',
    Fault.EXPONENT: b"1e999999999",
    Fault.NAN: b'"NaN"',
}


class _Server(uvicorn.Server):
    """Tells when it listens, and leaves signals alone."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


@contextlib.asynccontextmanager
async def serving(exchange: FakeExchange) -> AsyncIterator[None]:
    """Serve all exchanges while the context lasts; ``exchange.urls`` are what ``keeper.feed.urls`` takes then."""
    config = uvicorn.Config(
        exchange.app,
        port=0,
        log_config=None,
        access_log=False,
        date_header=False,
        lifespan="off",
        loop="none",
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    with contextlib.closing(config.bind_socket()) as listener:
        running = asyncio.create_task(server.serve(sockets=[listener]))
        await server.listening.wait()
        port = listener.getsockname()[1]
        exchange.urls = {name: f"http://127.0.0.1:{port}/{name}" for name in FORMS}
        try:
            yield
        finally:
            exchange.released.set()
            server.should_exit = True
            await running
