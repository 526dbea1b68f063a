"""The feed: asks all sources of all assets at once, and gives each asset's reference price.

One reading serves whoever asks within `keeper.feed.interval_seconds`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Self

import structlog

from clarion.config import ConfigurationError, KeeperFeed, Settings
from clarion_keeper.feed import metrics
from clarion_keeper.feed.aggregate import Aggregate, Limits, aggregate, median
from clarion_keeper.feed.exchanges import EXCHANGES, MARKETS
from clarion_keeper.feed.fetch import Answer, Fetcher, Market
from clarion_keeper.feed.quotes import Currency, Pair

log = structlog.get_logger()


def unix_ms() -> int:
    """This machine's clock, in Unix milliseconds."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Reading:
    """What all sources said at a moment.

    ``prices``: by asset, the rates of stablecoins that were needed among them. ``clock_offset_ms``: how far the clocks
    of the sources are ahead of ours, the median of those that said (``clocks`` of them). ``burn``: a Bitcoin height
    that was reached before anybody was asked, so that every price was observed at it or above.
    """

    at_ms: int
    burn: int
    prices: Mapping[str, Aggregate]
    answers: Mapping[str, tuple[Answer, ...]]
    clock_offset_ms: int | None
    clocks: int


class PriceFeed:
    """Reference prices of assets. ``markets`` by asset; ``clock`` gives Unix milliseconds."""

    def __init__(
        self,
        markets: Mapping[str, tuple[Market, ...]],
        *,
        fetcher: Fetcher,
        limits: Limits,
        rate_limits: Limits,
        interval_ms: int,
        clock: Callable[[], int] = unix_ms,
    ) -> None:
        self._markets = markets
        self._fetcher = fetcher
        self._limits = limits
        self._rate_limits = rate_limits
        self._interval_ns = interval_ms * 1_000_000
        self._clock = clock
        self._reading: Reading | None = None
        self._read_at_ns = 0
        self._asking = asyncio.Lock()
        self._failing: set[str] = set()

    @classmethod
    def from_settings(cls, settings: Settings, *, clock: Callable[[], int] = unix_ms) -> Self:
        """The feed that ``keeper.feed`` describes. Raises ConfigurationError."""
        given = settings.keeper.feed
        limits = Limits(
            min_sources=given.min_sources,
            max_age_ms=given.max_age_seconds * 1000,
            max_ahead_ms=given.max_clock_offset_seconds * 1000,
            outlier_bp=given.outlier_bp,
            max_spread_bp=given.max_spread_bp,
        )
        return cls(
            markets_of(given),
            fetcher=Fetcher(
                urls=given.urls,
                keys={name: key.get_secret_value() for name, key in given.keys.items()},
                timeout_ms=given.timeout_seconds * 1000,
                attempts=given.attempts,
                breaker=settings.keeper.breaker,
                clock=clock,
            ),
            limits=limits,
            rate_limits=replace(limits, min_sources=given.min_rate_sources),
            interval_ms=given.interval_seconds * 1000,
            clock=clock,
        )

    async def reference_price(self, asset: str) -> Aggregate:
        """An asset's price now; its ``problem`` says where it is not to be relied on. Raises ConfigurationError."""
        if asset not in self._markets:
            raise ConfigurationError(
                f"keeper.feed.assets has no {asset}: there are {', '.join(sorted(self._markets)) or 'none'}"
            )
        return (await self.read()).prices[asset]

    async def read(self, *, burn: int = 0) -> Reading:
        """All prices: asked for now, or the last reading within the interval that was begun at ``burn`` or above.

        ``burn`` is the Bitcoin height that has been reached.
        """
        async with self._asking:
            if (
                self._reading is None
                or self._reading.burn < burn
                or time.monotonic_ns() - self._read_at_ns >= self._interval_ns
            ):
                self._reading = await self._ask(burn)
                self._read_at_ns = time.monotonic_ns()
            return self._reading

    async def _ask(self, burn: int) -> Reading:
        asked = [(asset, market) for asset, markets in self._markets.items() for market in markets]
        answers = await self._fetcher.ask(market for _, market in asked)
        at_ms = self._clock()
        by_asset: dict[str, list[Answer]] = {asset: [] for asset in self._markets}
        for (asset, _), answer in zip(asked, answers, strict=True):
            by_asset[asset].append(answer)
        rates: dict[Currency, Aggregate] = {}
        prices: dict[str, Aggregate] = {}
        for asset in sorted(by_asset, key=lambda asset: asset not in STABLECOINS):
            quotes = [answer.quote for answer in by_asset[asset] if answer.quote is not None]
            if asset in STABLECOINS:
                prices[asset] = aggregate(asset, quotes, rates={}, at_ms=at_ms, limits=self._rate_limits)
                rates[Currency(asset)] = prices[asset]
            else:
                prices[asset] = aggregate(asset, quotes, rates=rates, at_ms=at_ms, limits=self._limits)
        self._tell(answers, prices)
        offsets = [answer.clock_offset_ms for answer in answers if answer.clock_offset_ms is not None]
        return Reading(
            at_ms=at_ms,
            burn=burn,
            prices={asset: prices[asset] for asset in self._markets},
            answers={asset: tuple(found) for asset, found in by_asset.items()},
            clock_offset_ms=median(offsets) if offsets else None,
            clocks=len(offsets),
        )

    def _tell(self, answers: Iterable[Answer], prices: Mapping[str, Aggregate]) -> None:
        """Tell metrics of everything, and the log of sources that fall silent or are back."""
        for answer in answers:
            name, failed = str(answer.market), answer.quote is None
            metrics.asked(name, None if failed else answer.latency_ms)
            if failed and name not in self._failing:
                self._failing.add(name)
                log.warning("a source gives no price", source=name, reason=answer.error)
            elif not failed and name in self._failing:
                self._failing.remove(name)
                log.info("a source gives prices again", source=name)
        for asset, price in prices.items():
            metrics.priced(asset, price)
            for source in price.sources:
                if source.deviation_bp is not None:
                    name = f"{source.quote.source} {source.quote.pair}"
                    metrics.judged(name, source.deviation_bp, counts=source.counts)


#: Assets that are asked for their rate too, where quotes are in them.
STABLECOINS: Final = frozenset(str(currency) for currency in Currency if currency is not Currency.USD)


def markets_of(settings: KeeperFeed) -> dict[str, tuple[Market, ...]]:
    """Where the assets of ``keeper.feed`` are quoted, and the stablecoins that they are quoted in.

    Raises:
        ConfigurationError: an asset has no market, or an exchange or pair is unknown.
    """
    if unknown := sorted({*settings.urls, *settings.keys} - EXCHANGES.keys()):
        raise ConfigurationError(f"keeper.feed names {', '.join(unknown)}: there are {', '.join(EXCHANGES)}")
    found = {asset: _markets(asset, settings) for asset in settings.assets}
    needed = {str(market.pair.currency) for markets in found.values() for market in markets} & STABLECOINS
    return found | {coin: _markets(coin, settings) for coin in sorted(needed - found.keys())}


def _markets(asset: str, settings: KeeperFeed) -> tuple[Market, ...]:
    pairs = settings.markets.get(asset, MARKETS.get(asset, {}))
    if not pairs:
        raise ConfigurationError(f"keeper.feed.markets does not say where {asset} is quoted")
    made = []
    for name, text in sorted(pairs.items()):
        if name not in EXCHANGES:
            raise ConfigurationError(
                f"keeper.feed.markets.{asset} names {name}, which is no exchange: there are {', '.join(EXCHANGES)}"
            )
        try:
            pair = Pair.parse(text)
        except ValueError as error:
            raise ConfigurationError(f"keeper.feed.markets.{asset}.{name}: {error}") from error
        if asset in STABLECOINS and pair.currency is not Currency.USD:
            raise ConfigurationError(f"keeper.feed.markets.{asset}.{name}: a stablecoin's rate is asked in USD")
        made.append(Market(EXCHANGES[name], pair))
    return tuple(made)
