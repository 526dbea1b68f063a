"""OKX's spot market: quotes in stablecoins, and in USD for some pairs; errors come with status 200 and a ``code``."""

from __future__ import annotations

from clarion_keeper.feed.exchanges.exchange import Exchange
from clarion_keeper.feed.quotes import AnswerError, Pair, Quote, member, price, scaled, whole


def _symbol(pair: Pair) -> str:
    return f"{pair.base}-{pair.currency}"


def _route(pair: Pair) -> str:
    return f"/api/v5/market/ticker?instId={_symbol(pair)}"


def _read(pair: Pair, answer: object) -> Quote:
    if member(answer, "code") != "0":
        raise AnswerError(f"it answered {str(answer)[:200]}")
    ticker = member(answer, "data", 0)
    if (said := member(ticker, "instId")) != _symbol(pair):
        raise AnswerError(f"asked for {_symbol(pair)}, and it answered {str(said)[:40]}")
    return Quote(
        source=OKX.name,
        pair=pair,
        price_e8=price(member(ticker, "last")),
        volume_e8=scaled(member(ticker, "vol24h")),
        time_ms=whole(member(ticker, "ts")),
    )


OKX = Exchange(
    name="okx",
    url="https://www.okx.com",
    documentation="https://www.okx.com/docs-v5/en/#order-book-trading-market-data-get-ticker",
    route=_route,
    read=_read,
)
