"""Kraken: BTC is XBT there, the answer stands under a longer name than asked for, and it says no time."""

from __future__ import annotations

from typing import Final

from clarion_keeper.feed.exchanges.exchange import Exchange
from clarion_keeper.feed.quotes import AnswerError, Pair, Quote, member, price, scaled

_CODES: Final = {"BTC": "XBT"}


def _route(pair: Pair) -> str:
    return f"/0/public/Ticker?pair={_CODES.get(pair.base, pair.base)}{pair.currency}"


def _read(pair: Pair, answer: object) -> Quote:
    if error := member(answer, "error"):
        raise AnswerError(f"it answered {str(error)[:200]}")
    result = member(answer, "result")
    if not isinstance(result, dict) or len(result) != 1:
        raise AnswerError(f"asked for one pair, and it answered {str(result)[:200]}")
    (ticker,) = result.values()
    return Quote(
        source=KRAKEN.name,
        pair=pair,
        price_e8=price(member(ticker, "c", 0)),
        volume_e8=scaled(member(ticker, "v", 1)),
        time_ms=None,
    )


KRAKEN = Exchange(
    name="kraken",
    url="https://api.kraken.com",
    documentation="https://docs.kraken.com/api/docs/rest-api/get-ticker-information",
    route=_route,
    read=_read,
)
