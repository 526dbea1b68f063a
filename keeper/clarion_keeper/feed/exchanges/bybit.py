"""Bybit's spot market: quotes in stablecoins alone; errors come with status 200 and a ``retCode``."""

from __future__ import annotations

from clarion_keeper.feed.exchanges.exchange import Exchange
from clarion_keeper.feed.quotes import AnswerError, Pair, Quote, member, price, scaled, whole


def _symbol(pair: Pair) -> str:
    return f"{pair.base}{pair.currency}"


def _route(pair: Pair) -> str:
    return f"/v5/market/tickers?category=spot&symbol={_symbol(pair)}"


def _read(pair: Pair, answer: object) -> Quote:
    if member(answer, "retCode") != 0:
        raise AnswerError(f"it answered {str(answer)[:200]}")
    ticker = member(answer, "result", "list", 0)
    if (said := member(ticker, "symbol")) != _symbol(pair):
        raise AnswerError(f"asked for {_symbol(pair)}, and it answered {str(said)[:40]}")
    return Quote(
        source=BYBIT.name,
        pair=pair,
        price_e8=price(member(ticker, "lastPrice")),
        volume_e8=scaled(member(ticker, "volume24h")),
        time_ms=whole(member(answer, "time")),
    )


BYBIT = Exchange(
    name="bybit",
    url="https://api.bybit.com",
    documentation="https://bybit-exchange.github.io/docs/v5/market/tickers",
    route=_route,
    read=_read,
)
