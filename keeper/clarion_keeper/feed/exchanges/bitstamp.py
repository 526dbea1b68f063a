"""Bitstamp: its time is in seconds, as text."""

from __future__ import annotations

from clarion_keeper.feed.exchanges.exchange import Exchange
from clarion_keeper.feed.quotes import Pair, Quote, member, price, scaled, whole


def _route(pair: Pair) -> str:
    return f"/api/v2/ticker/{pair.base.lower()}{pair.currency.lower()}/"


def _read(pair: Pair, answer: object) -> Quote:
    return Quote(
        source=BITSTAMP.name,
        pair=pair,
        price_e8=price(member(answer, "last")),
        volume_e8=scaled(member(answer, "volume")),
        time_ms=whole(member(answer, "timestamp")) * 1000,
    )


BITSTAMP = Exchange(
    name="bitstamp",
    url="https://www.bitstamp.net",
    documentation="https://www.bitstamp.net/api/#tag/Tickers",
    route=_route,
    read=_read,
)
