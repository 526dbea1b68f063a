"""The exchanges whose public APIs are read, by name, and where each asset is quoted unless settings say otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from clarion_keeper.feed.exchanges.binance import BINANCE
from clarion_keeper.feed.exchanges.bitfinex import BITFINEX
from clarion_keeper.feed.exchanges.bitstamp import BITSTAMP
from clarion_keeper.feed.exchanges.bybit import BYBIT
from clarion_keeper.feed.exchanges.coinbase import COINBASE
from clarion_keeper.feed.exchanges.coingecko import COINGECKO
from clarion_keeper.feed.exchanges.exchange import Exchange
from clarion_keeper.feed.exchanges.gemini import GEMINI
from clarion_keeper.feed.exchanges.kraken import KRAKEN
from clarion_keeper.feed.exchanges.okx import OKX

EXCHANGES: Final[Mapping[str, Exchange]] = {
    exchange.name: exchange
    for exchange in (BINANCE, BITFINEX, BITSTAMP, BYBIT, COINBASE, COINGECKO, GEMINI, KRAKEN, OKX)
}

#: Pairs by asset and exchange. USDT and USDC are here for their rates: what turns stablecoin quotes into dollars.
MARKETS: Final[Mapping[str, Mapping[str, str]]] = {
    "BTC": {
        "binance": "BTC/USDT",
        "bitfinex": "BTC/USD",
        "bitstamp": "BTC/USD",
        "bybit": "BTC/USDT",
        "coinbase": "BTC/USD",
        "coingecko": "BTC/USD",
        "gemini": "BTC/USD",
        "kraken": "BTC/USD",
        "okx": "BTC/USDT",
    },
    "STX": {
        "binance": "STX/USDT",
        "bybit": "STX/USDT",
        "coinbase": "STX/USD",
        "coingecko": "STX/USD",
        "kraken": "STX/USD",
        "okx": "STX/USDT",
    },
    "USDT": {
        "bitfinex": "USDT/USD",
        "bitstamp": "USDT/USD",
        "coinbase": "USDT/USD",
        "kraken": "USDT/USD",
    },
    "USDC": {
        "bitfinex": "USDC/USD",
        "bitstamp": "USDC/USD",
        "coingecko": "USDC/USD",
        "kraken": "USDC/USD",
    },
}

__all__ = ["EXCHANGES", "MARKETS", "Exchange"]
