"""CoinGecko: a mean of many exchanges, asked by its own names of coins; its volume is in dollars."""

from __future__ import annotations

from typing import Final

from clarion_keeper.feed.exchanges.exchange import Exchange
from clarion_keeper.feed.quotes import AnswerError, Currency, Pair, Quote, member, price, whole

#: CoinGecko's names of coins that differ from the lower-case symbol.
COIN_IDS: Final = {"BTC": "bitcoin", "STX": "blockstack", "USDT": "tether", "USDC": "usd-coin"}


def _coin(pair: Pair) -> str:
    return COIN_IDS.get(pair.base, pair.base.lower())


def _route(pair: Pair) -> str:
    return f"/api/v3/simple/price?ids={_coin(pair)}&vs_currencies=usd&include_last_updated_at=true&precision=full"


def _read(pair: Pair, answer: object) -> Quote:
    if pair.currency is not Currency.USD:
        raise AnswerError(f"it quotes in USD, not in {pair.currency}")
    return Quote(
        source=COINGECKO.name,
        pair=pair,
        price_e8=price(member(answer, _coin(pair), "usd")),
        volume_e8=None,
        time_ms=whole(member(answer, _coin(pair), "last_updated_at")) * 1000,
    )


COINGECKO = Exchange(
    name="coingecko",
    url="https://api.coingecko.com",
    documentation="https://docs.coingecko.com/reference/simple-price",
    route=_route,
    read=_read,
    key_header="x-cg-demo-api-key",
)
