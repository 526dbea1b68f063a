"""Each exchange's answer in the documented form.

The bodies are written from the exchanges' documentation (`Exchange.documentation` names the page), with its own example
figures where it has some; they were not taken from the exchanges.
"""

from __future__ import annotations

import json

import pytest

from clarion_keeper.feed.exchanges import EXCHANGES, MARKETS
from clarion_keeper.feed.quotes import AnswerError, Pair, Quote, decode

BTC_USD, BTC_USDT = Pair.parse("BTC/USD"), Pair.parse("BTC/USDT")

BINANCE = """{"symbol":"BTCUSDT","priceChange":"-94.99999800","priceChangePercent":"-95.960","weightedAvgPrice":
"0.29628482","prevClosePrice":"0.10002000","lastPrice":"61234.00000200","lastQty":"200.00000000","bidPrice":
"61234.00000000","bidQty":"100.00000000","askPrice":"61234.00000200","askQty":"100.00000000","openPrice":"99.00000000",
"highPrice":"100.00000000","lowPrice":"0.10000000","volume":"8913.30000000","quoteVolume":"15.30000000",
"openTime":1499783499040,"closeTime":1499869899040,"firstId":28385,"lastId":28460,"count":76}"""
BITFINEX = "[10645,73.93854271,10647,75.22266119,731.60645389,0.0738,10644.00645389,14480.89849423,10766,9889.1449809]"
BITSTAMP = """{"ask":"2211.00","bid":"2188.97","high":"2811.00","last":"2211.00","low":"2188.97","open":"2211.00",
"open_24":"2211.00","percent_change_24":"13.57","side":"0","timestamp":"1643640186","volume":"213.26801100",
"vwap":"2189.80"}"""
BYBIT = """{"retCode":0,"retMsg":"OK","result":{"category":"spot","list":[{"symbol":"BTCUSDT","bid1Price":"20517.96",
"bid1Size":"2","ask1Price":"20527.77","ask1Size":"1.862172","lastPrice":"20533.13","prevPrice24h":"20393.48",
"price24hPcnt":"0.0068","highPrice24h":"21128.12","lowPrice24h":"20318.89","turnover24h":"243765620.65899866",
"volume24h":"11801.27771","usdIndexPrice":"20784.12009279"}]},"retExtInfo":{},"time":1673859087947}"""
COINBASE = """{"ask":"6267.71","bid":"6265.15","volume":"53602.03940154","trade_id":86326522,"price":"6268.48",
"size":"0.00698254","time":"2020-03-20T00:22:57.833897Z"}"""
COINGECKO = '{"bitcoin":{"usd":67187.3358936566,"last_updated_at":1711356300}}'
GEMINI = """{"bid":"977.59","ask":"977.35","last":"977.65","volume":{"BTC":"2210.505328803",
"USD":"2135477.463379586263","timestamp":1483018200000}}"""
KRAKEN = """{"error":[],"result":{"XXBTZUSD":{"a":["30300.10000","1","1.000"],"b":["30300.00000","1","1.000"],
"c":["30303.20000","0.00067643"],"v":["4083.67001100","4412.73601799"],"p":["30706.77771","30689.13205"],
"t":[34619,38907],"l":["29868.30000","29868.30000"],"h":["31631.00000","31631.00000"],"o":"30502.80000"}}}"""
OKX = """{"code":"0","msg":"","data":[{"instType":"SPOT","instId":"BTC-USDT","last":"9999.99","lastSz":"0.1","askPx":
"9999.99","askSz":"11","bidPx":"8888.88","bidSz":"5","open24h":"9000","high24h":"10000","low24h":"8888.88",
"volCcy24h":"2222","vol24h":"2222","sodUtc0":"2222","sodUtc8":"2222","ts":"1597026383085"}]}"""

DOCUMENTED = {
    "binance": (BTC_USDT, BINANCE, 6_123_400_000_200, 891_330_000_000, 1_499_869_899_040),
    "bitfinex": (BTC_USD, BITFINEX, 1_064_400_645_389, 1_448_089_849_423, None),
    "bitstamp": (BTC_USD, BITSTAMP, 221_100_000_000, 21_326_801_100, 1_643_640_186_000),
    "bybit": (BTC_USDT, BYBIT, 2_053_313_000_000, 1_180_127_771_000, 1_673_859_087_947),
    "coinbase": (BTC_USD, COINBASE, 626_848_000_000, 5_360_203_940_154, 1_584_663_777_833),
    "coingecko": (BTC_USD, COINGECKO, 6_718_733_589_366, None, 1_711_356_300_000),
    "gemini": (BTC_USD, GEMINI, 97_765_000_000, 221_050_532_880, 1_483_018_200_000),
    "kraken": (BTC_USD, KRAKEN, 3_030_320_000_000, 441_273_601_799, None),
    "okx": (BTC_USDT, OKX, 999_999_000_000, 222_200_000_000, 1_597_026_383_085),
}

ROUTES = {
    "binance": ("/api/v3/ticker/24hr?symbol=STXUSDT", "STX/USDT"),
    "bitfinex": ("/v2/ticker/tUSTUSD", "USDT/USD"),
    "bitstamp": ("/api/v2/ticker/usdtusd/", "USDT/USD"),
    "bybit": ("/v5/market/tickers?category=spot&symbol=STXUSDT", "STX/USDT"),
    "coinbase": ("/products/STX-USD/ticker", "STX/USD"),
    "coingecko": (
        "/api/v3/simple/price?ids=blockstack&vs_currencies=usd&include_last_updated_at=true&precision=full",
        "STX/USD",
    ),
    "gemini": ("/v1/pubticker/btcusd", "BTC/USD"),
    "kraken": ("/0/public/Ticker?pair=XBTUSD", "BTC/USD"),
    "okx": ("/api/v5/market/ticker?instId=STX-USDT", "STX/USDT"),
}


def test_every_exchange_has_its_documented_form_here() -> None:
    assert DOCUMENTED.keys() == ROUTES.keys() == EXCHANGES.keys()


@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_documented_answer_is_read_exactly(name: str) -> None:
    pair, body, price_e8, volume_e8, time_ms = DOCUMENTED[name]
    quote = EXCHANGES[name].read(pair, decode(body.encode()))
    assert quote == Quote(name, pair, price_e8, volume_e8, time_ms)


@pytest.mark.parametrize("name", ROUTES)
def test_the_documented_route_is_asked(name: str) -> None:
    route, pair = ROUTES[name]
    assert EXCHANGES[name].route(Pair.parse(pair)) == route


@pytest.mark.parametrize("name", DOCUMENTED)
@pytest.mark.parametrize("body", ["null", "{}", "[]", "0", '"down for maintenance"', '{"result":{}}', '{"data":[]}'])
def test_another_answer_is_an_error_in_words(name: str, body: str) -> None:
    with pytest.raises(AnswerError, match=r"no |asked for|it answered"):
        EXCHANGES[name].read(DOCUMENTED[name][0], decode(body.encode()))


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("kraken", '{"error":["EQuery:Unknown asset pair"]}', "EQuery:Unknown asset pair"),
        ("okx", '{"code":"51001","msg":"Instrument ID does not exist","data":[]}', "Instrument ID does not exist"),
        ("bybit", '{"retCode":10001,"retMsg":"Not supported symbols","result":{}}', "Not supported symbols"),
        ("binance", BINANCE.replace("BTCUSDT", "BTCUSDC"), "asked for BTCUSDT, and it answered BTCUSDC"),
        ("okx", OKX.replace("BTC-USDT", "ETH-USDT"), "asked for BTC-USDT, and it answered ETH-USDT"),
        ("bybit", BYBIT.replace("BTCUSDT", "ETHUSDT"), "asked for BTCUSDT, and it answered ETHUSDT"),
        ("kraken", '{"error":[],"result":{"A":{},"B":{}}}', "asked for one pair"),
        ("coinbase", COINBASE.replace("2020-03-20T00:22:57.833897Z", "yesterday"), "no time in ISO 8601"),
        ("coinbase", COINBASE.replace("57.833897Z", "57"), "with a zone"),
        ("gemini", GEMINI.replace("BTC", "ETH"), "no volume.BTC"),
    ],
)
def test_what_exchanges_say_of_errors_is_kept(name: str, body: str, said: str) -> None:
    with pytest.raises(AnswerError, match=said):
        EXCHANGES[name].read(DOCUMENTED[name][0], decode(body.encode()))


def test_coingecko_quotes_in_dollars_alone() -> None:
    with pytest.raises(AnswerError, match="USD, not in USDT"):
        EXCHANGES["coingecko"].read(BTC_USDT, json.loads(COINGECKO))


def test_markets_name_pairs_of_exchanges_there_are() -> None:
    for asset, pairs in MARKETS.items():
        for name, text in pairs.items():
            assert name in EXCHANGES
            assert Pair.parse(text).base == asset
    assert len(MARKETS["BTC"]) >= 8
