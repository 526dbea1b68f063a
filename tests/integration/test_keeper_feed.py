"""The feed against exchanges on loopback that answer, lie, stall and break, and against a recorded oracle."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from io import StringIO
from typing import Any

import httpx
import pytest
import stamina
from prometheus_client import REGISTRY
from rich.console import Console
from structlog.testing import capture_logs
from support.fake_exchange import FORMS, FakeExchange, Fault, serving
from support.graphql import Server, answering

from clarion.config import Keeper, KeeperFeed, Settings
from clarion.dev.accounts import DEPLOYER, make_cast
from clarion.protocols.bithedge import protocol
from clarion_graphql.app import make_app
from clarion_keeper.feed import PriceFeed
from clarion_keeper.feed.aggregate import Aggregate
from clarion_keeper.feed.feed import Reading
from clarion_keeper.feed.job import Desk, SubmitPrice
from clarion_keeper.feed.oracle import read_oracle
from clarion_keeper.feed.report import feed_report
from clarion_keeper.graph import Reader

E8 = 10**8
BTC = 61_234 * E8


class Clock:
    """A clock that a test sets, in Unix milliseconds."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def no_pauses() -> Iterator[None]:
    with stamina.set_testing(True, attempts=2):
        yield


@pytest.fixture
async def exchanges(clock: Clock) -> AsyncIterator[FakeExchange]:
    fake = FakeExchange(lambda: clock.now)
    async with serving(fake):
        yield fake


def settings_of(exchanges: FakeExchange, **given: Any) -> Settings:
    feed = KeeperFeed(**{"urls": exchanges.urls, "assets": ["BTC"], **given})
    return Settings(keeper=Keeper(feed=feed))


def feed_of(exchanges: FakeExchange, clock: Clock, **given: Any) -> PriceFeed:
    return PriceFeed.from_settings(settings_of(exchanges, **given), clock=clock)


def left_out(price: Aggregate) -> dict[str, str]:
    return {source.quote.source: source.left_out for source in price.sources if source.left_out}


def errors(reading: Reading, asset: str = "BTC") -> dict[str, str]:
    return {answer.market.exchange.name: answer.error for answer in reading.answers[asset] if answer.error}


async def test_nine_exchanges_that_agree_make_one_price(exchanges: FakeExchange, clock: Clock) -> None:
    feed = feed_of(exchanges, clock, assets=["BTC", "STX"])
    reading = await feed.read()
    price = reading.prices["BTC"]
    assert (price.price_usd8, price.counted, price.spread_bp, price.confidence) == (BTC, 9, 0, 95)
    assert not price.problem
    assert (reading.prices["STX"].price_usd8, reading.prices["STX"].counted) == (74_430_000, 6)
    assert reading.prices["USDT"].price_usd8 == E8
    assert not errors(reading)
    assert reading.clock_offset_ms is not None
    assert abs(reading.clock_offset_ms) <= 500
    assert {request["accept-encoding"] for request in exchanges.headers} == {"identity"}


async def test_stablecoin_quotes_are_turned_into_dollars_by_their_rate(exchanges: FakeExchange, clock: Clock) -> None:
    exchanges.prices_e8["USDT"] = 97 * E8 // 100
    price = await feed_of(exchanges, clock).reference_price("BTC")
    shown = {source.quote.source: source.quote.price_e8 for source in price.sources}
    assert shown["binance"] == BTC * 100 // 97
    assert price.price_usd8 is not None
    assert abs(price.price_usd8 - BTC) <= 1
    assert price.counted == 9


async def test_without_a_rate_stablecoin_quotes_are_left_out(exchanges: FakeExchange, clock: Clock) -> None:
    for name in ("bitfinex", "bitstamp", "coinbase"):
        exchanges.faults[name] = Fault.BROKEN
    price = await feed_of(exchanges, clock).reference_price("BTC")
    assert left_out(price) == dict.fromkeys(
        ("binance", "bybit", "okx"), "rate of USDT to USD: only 1 of at least 2 sources"
    )
    assert (price.price_usd8, price.counted, price.problem) == (BTC, 3, "")


@pytest.mark.parametrize("lie", [1, BTC // 2, BTC * 94 // 100, BTC * 106 // 100, 10**17])
async def test_a_liar_is_left_out(exchanges: FakeExchange, clock: Clock, lie: int) -> None:
    exchanges.shown_e8["kraken", "BTC"] = lie
    price = await feed_of(exchanges, clock).reference_price("BTC")
    assert (price.price_usd8, price.counted, price.problem) == (BTC, 8, "")
    assert left_out(price).keys() == {"kraken"}


async def test_a_lie_within_the_others_range_moves_nothing_out_of_it(exchanges: FakeExchange, clock: Clock) -> None:
    honest = ["binance", "bitfinex", "bitstamp", "bybit", "coinbase", "coingecko", "gemini", "okx"]
    for number, name in enumerate(honest):
        exchanges.shown_e8[name, "BTC"] = BTC + number * 10 * E8
    exchanges.shown_e8["kraken", "BTC"] = BTC + 400 * E8
    price = await feed_of(exchanges, clock).reference_price("BTC")
    assert price.price_usd8 is not None
    assert BTC <= price.price_usd8 <= BTC + 70 * E8


STALLS = 2
"""Seconds that an exchange has which does not answer."""
ERRORS = {
    Fault.STALL: "no whole answer within 2 s",
    Fault.DRIP: "no whole answer within 2 s",
    Fault.CUT: "no answer: ",
    Fault.GARBAGE: "no JSON: ",
    Fault.EMPTY: "no JSON: ",
    Fault.DEEP: "no JSON: ",
    Fault.HUGE: "the answer has more than 65536 bytes",
    Fault.BOMB: "the answer is gzip, and may be larger than it looks",
    Fault.REDIRECT: "HTTP 307 to http://127.0.0.1:1/elsewhere",
    Fault.TOO_OFTEN: "HTTP 429: asked too often, left alone for 120 s",
    Fault.BROKEN: "HTTP 500",
    Fault.UNLISTED: "HTTP 404",
    Fault.ZERO: "0.00 is no price",
    Fault.NEGATIVE: "'-61234.5' is no number",
    Fault.EXPONENT: "no JSON: ",
    Fault.NAN: "'NaN' is no number",
}


@pytest.mark.parametrize("fault", ERRORS, ids=str)
async def test_what_goes_wrong_stays_with_its_source(exchanges: FakeExchange, clock: Clock, fault: Fault) -> None:
    wrong = ["bitstamp", "coinbase", "gemini"]
    exchanges.faults = dict.fromkeys(wrong, fault)
    feed = feed_of(exchanges, clock, timeout_seconds=STALLS if fault in (Fault.STALL, Fault.DRIP) else 10)
    reading = await feed.read()
    assert errors(reading).keys() == set(wrong)
    assert all(error.startswith(ERRORS[fault]) for error in errors(reading).values()), errors(reading)
    assert (reading.prices["BTC"].price_usd8, reading.prices["BTC"].problem) == (BTC, "")


async def test_an_answer_to_another_question_is_no_quote(exchanges: FakeExchange, clock: Clock) -> None:
    exchanges.faults = dict.fromkeys(FORMS, Fault.OTHER_PAIR)
    reading = await feed_of(exchanges, clock).read()
    told = {"binance", "bybit", "coingecko", "gemini", "okx"}
    assert {name for name in errors(reading) if name in told} == told
    assert reading.prices["BTC"].price_usd8 != BTC


async def test_when_everybody_stalls_it_takes_no_longer_than_the_timeout(exchanges: FakeExchange, clock: Clock) -> None:
    exchanges.faults = dict.fromkeys(FORMS, Fault.STALL)
    reading = await feed_of(exchanges, clock, timeout_seconds=STALLS).read()
    assert len(errors(reading)) == 9
    assert reading.prices["BTC"].problem == "only 0 of at least 3 sources"
    assert max(answer.latency_ms for answer in reading.answers["BTC"]) < 3 * STALLS * 1000


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("120", 120), ("999999999999", 3_600), ("soon", 60), ("Tue, 14 Nov 2023 22:13:50 GMT", 30), ("-5", 60)],
)
async def test_who_asks_to_be_left_alone_is(exchanges: FakeExchange, clock: Clock, said: str, seconds: int) -> None:
    exchanges.faults["kraken"] = Fault.TOO_OFTEN
    exchanges.retry_after = said
    feed = feed_of(exchanges, clock, interval_seconds=1)
    first = await feed.read()
    asked = exchanges.requests["kraken"]
    assert errors(first)["kraken"].endswith(f"left alone for {seconds} s")
    again = await feed.read(burn=1)
    assert "asked to be left alone for" in errors(again)["kraken"]
    assert exchanges.requests["kraken"] == asked
    assert exchanges.requests["gemini"] == 2


async def test_who_keeps_failing_is_left_alone(exchanges: FakeExchange, clock: Clock) -> None:
    exchanges.faults["gemini"] = Fault.BROKEN
    feed = feed_of(exchanges, clock)
    readings = [await feed.read(burn=burn) for burn in range(7)]
    assert [errors(reading)["gemini"] for reading in readings[:5]] == ["HTTP 500"] * 5
    assert "failed too often" in errors(readings[5])["gemini"]
    assert exchanges.requests["gemini"] == 10, "two attempts each, five times"
    assert exchanges.requests["kraken"] == 14, "BTC and USDT, seven times"


async def test_the_log_says_once_that_a_source_is_out_and_once_that_it_is_back(
    exchanges: FakeExchange, clock: Clock
) -> None:
    feed = feed_of(exchanges, clock)
    with capture_logs() as said:
        await feed.read()
        assert said == []
        exchanges.faults["gemini"] = Fault.BROKEN
        for burn in range(1, 4):
            await feed.read(burn=burn)
        exchanges.faults.clear()
        for burn in range(4, 6):
            await feed.read(burn=burn)
    about = {"source": "gemini BTC/USD"}
    assert [line for line in said if line["event"] != "stamina.retry_scheduled"] == [
        {"event": "a source gives no price", "log_level": "warning", "reason": "HTTP 500", **about},
        {"event": "a source gives prices again", "log_level": "info", **about},
    ]


async def test_prometheus_is_told_of_sources_and_prices(exchanges: FakeExchange, clock: Clock) -> None:
    def value(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(f"clarion_feed_{name}", labels) or 0.0

    def asked(name: str) -> list[float]:
        about = {"source": f"{name} BTC/USD"}
        return [
            value("requests_total", outcome="answered", **about),
            value("requests_total", outcome="failed", **about),
            value("answer_seconds_count", **about),
            value("compared_total", counts="yes", **about),
            value("compared_total", counts="no", **about),
        ]

    before = {name: asked(name) for name in ("gemini", "kraken", "bitstamp")}
    exchanges.faults["gemini"] = Fault.BROKEN
    exchanges.shown_e8["kraken", "BTC"] = BTC * 2
    await feed_of(exchanges, clock).read()
    grew = {name: [new - old for new, old in zip(asked(name), before[name], strict=True)] for name in before}
    assert grew == {"gemini": [0, 1, 0, 0, 0], "kraken": [1, 0, 1, 0, 1], "bitstamp": [1, 0, 1, 1, 0]}
    assert value("deviation_bp", source="kraken BTC/USD") == 10_000
    told = [value(name, asset="BTC") for name in ("sources", "spread_bp", "confidence", "refused")]
    assert told == [7, 0, 95, 0]
    exchanges.faults = dict.fromkeys(FORMS, Fault.BROKEN)
    await feed_of(exchanges, clock).read()
    assert value("refused", asset="BTC") == 1


async def test_a_reading_is_used_again_until_a_bitcoin_block_comes(exchanges: FakeExchange, clock: Clock) -> None:
    feed = feed_of(exchanges, clock)
    first = await feed.read(burn=5)
    assert await feed.read(burn=5) is first
    assert await feed.read(burn=4) is first
    assert (await feed.read(burn=6)).burn == 6
    assert exchanges.requests["gemini"] == 2


@pytest.mark.parametrize(("seconds", "side"), [(45, "behind"), (-45, "ahead of")])
async def test_a_clock_that_is_off_is_seen(exchanges: FakeExchange, clock: Clock, seconds: int, side: str) -> None:
    exchanges.now_ms = lambda: clock.now + seconds * 1000
    reading = await feed_of(exchanges, clock, max_clock_offset_seconds=60).read()
    assert reading.clock_offset_ms is not None
    assert abs(reading.clock_offset_ms - seconds * 1000) <= 500
    exchanges.has_date = False
    reading = await feed_of(exchanges, clock).read()
    assert (reading.clock_offset_ms, reading.clocks) == (None, 0)


async def test_an_api_key_goes_to_its_exchange_alone(exchanges: FakeExchange, clock: Clock) -> None:
    await feed_of(exchanges, clock, keys={"coingecko": "CG-secret"}).read()
    keyed = [headers for headers in exchanges.headers if "x-cg-demo-api-key" in headers]
    assert [headers["x-cg-demo-api-key"] for headers in keyed] == ["CG-secret"]


# the oracle


@pytest.fixture
async def recorded(recorded_bithedge_url: str) -> AsyncIterator[Server]:
    """GraphQL over BitHedge's recorded run."""
    deployed = {"bithedge": protocol.deployed_by(DEPLOYER.address)}
    async with answering(make_app(recorded_bithedge_url, protocols=[protocol], deployed=deployed)) as running:
        yield running


@pytest.fixture
async def reader(recorded: Server) -> AsyncIterator[Reader]:
    transport = httpx.ASGITransport(recorded.app)
    async with Reader("http://graphql.test/graphql", transport=transport) as opened:
        yield opened


PROVIDER = make_cast().submitters[0].address


async def test_the_oracle_is_read_as_graphql_has_it(reader: Reader) -> None:
    oracle = await read_oracle(await reader.snapshot(), provider=PROVIDER, assets=["BTC", "STX", "DOGE"])
    assert [asset.asset for asset in oracle.assets] == ["BTC", "STX"]
    assert oracle.rules.weight > 0
    assert oracle.rules.max_age_burn > 0
    assert oracle.rules.timeout_burn > 0
    assert oracle.tip_ms is not None
    document = "{ assets { nodes { asset nextRound priceUsd8 openedBurn } } }"
    data, receipt = await reader.query(document)
    rows = {node["asset"]: node for node in data["assets"]["nodes"]}
    assert oracle.receipt == receipt
    for asset in oracle.assets:
        row = rows[asset.asset]
        assert (asset.next_round, asset.opened_burn) == (row["nextRound"], row["openedBurn"])
        assert asset.price_usd8 == int(row["priceUsd8"])
        assert asset.own_burn is not None
    stranger = await read_oracle(await reader.snapshot(), provider=DEPLOYER.address, assets=["BTC"])
    assert (stranger.rules.weight, stranger.assets[0].own_burn) == (0, None)


async def test_a_price_that_moved_becomes_an_intent(exchanges: FakeExchange, clock: Clock, reader: Reader) -> None:
    settings = settings_of(exchanges, assets=["BTC", "STX"], min_gap_burn=0)
    oracle = await read_oracle(await reader.snapshot(), provider=PROVIDER, assets=["BTC"])
    last = oracle.assets[0].price_usd8
    assert last is not None
    exchanges.prices_e8["BTC"] = last * 2
    job = SubmitPrice(Desk(settings, PriceFeed.from_settings(settings, clock=clock), PROVIDER))
    found = {intent.item["asset"]: intent for intent in job.check(await job.read(reader))}
    item = found["BTC"].item
    assert item["round"] == oracle.assets[0].next_round
    assert item["observed"] == oracle.receipt.burn_height
    assert abs(int(item["price"]) - last * 2) <= 1
    exchanges.now_ms = lambda: clock.now + 3_600_000
    job = SubmitPrice(Desk(settings, PriceFeed.from_settings(settings, clock=clock), PROVIDER))
    assert job.check(await job.read(reader)) == []


async def test_the_report_shows_quotes_price_and_decision(
    exchanges: FakeExchange, clock: Clock, reader: Reader
) -> None:
    exchanges.shown_e8["kraken", "BTC"] = BTC * 2
    exchanges.faults["gemini"] = Fault.BROKEN
    report = await feed_report(settings_of(exchanges), reader, provider=PROVIDER, clock=clock)
    told = json.loads(json.dumps(report.to_json()))
    price = next(price for price in told["prices"] if price["asset"] == "BTC")
    assert (price["priceUsd8"], price["sources"], price["confidence"]) == (str(BTC), 7, 95)
    (kraken,) = (quote for quote in price["quotes"] if quote["source"] == "kraken")
    assert kraken["leftOut"] == "10000 bp from the median"
    assert price["failures"] == [{"source": "gemini", "pair": "BTC/USD", "error": "HTTP 500"}]
    (asset,) = told["oracle"]["assets"]
    assert asset["asset"] == "BTC"
    assert asset["decision"] in ("submit", "wait")
    shown = printed([report.to_table()])
    for part in ("61,234.00", "gemini", "HTTP 500", "confidence 95", PROVIDER, f"BTC: {asset['decision']}"):
        assert part in shown


async def test_the_report_does_without_a_graphql_server(exchanges: FakeExchange, clock: Clock) -> None:
    def nobody(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    async with Reader("http://graphql.test/graphql", transport=httpx.MockTransport(nobody)) as reader:
        report = await feed_report(settings_of(exchanges), reader, provider=None, clock=clock)
    told = report.to_json()
    assert told["oracle"] is None
    assert "cannot be reached" in told["oracleProblem"]
    assert [(price["asset"], price["priceUsd8"]) for price in told["prices"]] == [("BTC", str(BTC)), ("USDT", str(E8))]
    assert "is not known" in printed([report.to_table()])


def printed(parts: Sequence[Any]) -> str:
    console = Console(file=StringIO(), width=200)
    for part in parts:
        console.print(part)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()
