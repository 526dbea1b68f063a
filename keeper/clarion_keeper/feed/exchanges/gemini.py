"""Gemini: the volume of each currency stands under its name, beside the time."""

from __future__ import annotations

from clarion_keeper.feed.exchanges.exchange import Exchange
from clarion_keeper.feed.quotes import Pair, Quote, member, price, scaled, whole


def _route(pair: Pair) -> str:
    return f"/v1/pubticker/{pair.base.lower()}{pair.currency.lower()}"


def _read(pair: Pair, answer: object) -> Quote:
    return Quote(
        source=GEMINI.name,
        pair=pair,
        price_e8=price(member(answer, "last")),
        volume_e8=scaled(member(answer, "volume", pair.base)),
        time_ms=whole(member(answer, "volume", "timestamp")),
    )


GEMINI = Exchange(
    name="gemini",
    url="https://api.gemini.com",
    documentation="https://developer.gemini.com/trading/rest-api/market-data/get-ticker",
    route=_route,
    read=_read,
)
