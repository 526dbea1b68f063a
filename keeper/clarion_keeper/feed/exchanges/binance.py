"""Binance's spot market: quotes in stablecoins alone."""

from __future__ import annotations

from clarion_keeper.feed.exchanges.exchange import Exchange
from clarion_keeper.feed.quotes import AnswerError, Pair, Quote, member, price, scaled, whole


def _symbol(pair: Pair) -> str:
    return f"{pair.base}{pair.currency}"


def _route(pair: Pair) -> str:
    return f"/api/v3/ticker/24hr?symbol={_symbol(pair)}"


def _read(pair: Pair, answer: object) -> Quote:
    if (said := member(answer, "symbol")) != _symbol(pair):
        raise AnswerError(f"asked for {_symbol(pair)}, and it answered {str(said)[:40]}")
    return Quote(
        source=BINANCE.name,
        pair=pair,
        price_e8=price(member(answer, "lastPrice")),
        volume_e8=scaled(member(answer, "volume")),
        time_ms=whole(member(answer, "closeTime")),
    )


BINANCE = Exchange(
    name="binance",
    url="https://api.binance.com",
    documentation="https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints",
    route=_route,
    read=_read,
)
