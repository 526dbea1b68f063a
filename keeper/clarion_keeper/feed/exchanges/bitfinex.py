"""Bitfinex: an array of numbers without a time; USDT is UST there, USDC is UDC."""

from __future__ import annotations

from typing import Final

from clarion_keeper.feed.exchanges.exchange import Exchange
from clarion_keeper.feed.quotes import AnswerError, Pair, Quote, member, price, scaled

_CODES: Final = {"USDT": "UST", "USDC": "UDC"}
_FIELDS: Final = 10
_LAST_PRICE: Final = 6
_VOLUME: Final = 7


def _symbol(pair: Pair) -> str:
    base, currency = (_CODES.get(code, code) for code in (pair.base, str(pair.currency)))
    return f"t{base}{currency}" if len(base) == len(currency) == 3 else f"t{base}:{currency}"


def _route(pair: Pair) -> str:
    return f"/v2/ticker/{_symbol(pair)}"


def _read(pair: Pair, answer: object) -> Quote:
    if not isinstance(answer, list) or len(answer) < _FIELDS:
        raise AnswerError(f"the answer is no array of {_FIELDS} numbers: {str(answer)[:200]}")
    return Quote(
        source=BITFINEX.name,
        pair=pair,
        price_e8=price(member(answer, _LAST_PRICE)),
        volume_e8=scaled(member(answer, _VOLUME)),
        time_ms=None,
    )


BITFINEX = Exchange(
    name="bitfinex",
    url="https://api-pub.bitfinex.com",
    documentation="https://docs.bitfinex.com/reference/rest-public-ticker",
    route=_route,
    read=_read,
)
