"""Coinbase Exchange: its time is that of the last trade, in ISO 8601."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from clarion_keeper.feed.exchanges.exchange import Exchange
from clarion_keeper.feed.quotes import AnswerError, Pair, Quote, member, price, scaled


def _route(pair: Pair) -> str:
    return f"/products/{pair.base}-{pair.currency}/ticker"


def _read(pair: Pair, answer: object) -> Quote:
    return Quote(
        source=COINBASE.name,
        pair=pair,
        price_e8=price(member(answer, "price")),
        volume_e8=scaled(member(answer, "volume")),
        time_ms=_milliseconds(member(answer, "time")),
    )


def _milliseconds(value: object) -> int:
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise AnswerError(f"{str(value)[:80]!r} is no time in ISO 8601 with a zone")
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


COINBASE = Exchange(
    name="coinbase",
    url="https://api.exchange.coinbase.com",
    documentation="https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/products/get-product-ticker",
    route=_route,
    read=_read,
    headers={"User-Agent": "clarion"},
)
