"""What `clarion keeper feed` shows: the sources' quotes, the prices they make, and what would be submitted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from clarion.config import Settings
from clarion.protocols.bithedge.units import E8
from clarion_keeper.feed.aggregate import Judged
from clarion_keeper.feed.feed import PriceFeed, Reading, unix_ms
from clarion_keeper.feed.job import Desk, FeedState
from clarion_keeper.feed.quotes import Quote
from clarion_keeper.graph import GraphError, MovedError, Reader

#: How often the chain is read again that moves meanwhile.
ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class FeedReport:
    """One reading of the feed. ``oracle_problem``: why it is not known what would be submitted; empty where it is."""

    reading: Reading
    state: FeedState | None
    oracle_problem: str

    def to_json(self) -> dict[str, Any]:
        """The report for machines: prices are whole numbers of US dollars x 10^8, as text."""
        return {
            "at": self.reading.at_ms,
            "clockOffsetMs": self.reading.clock_offset_ms,
            "prices": [self._price(asset) for asset in self.reading.prices],
            "oracle": None if self.state is None else self._oracle(self.state),
            "oracleProblem": self.oracle_problem or None,
        }

    def to_table(self) -> RenderableType:
        """The report for people."""
        return Group(*(part for asset in self.reading.prices for part in self._of_asset(asset)), *self._notes())

    def _price(self, asset: str) -> dict[str, Any]:
        price = self.reading.prices[asset]
        return {
            "asset": asset,
            "priceUsd8": None if price.price_usd8 is None else str(price.price_usd8),
            "sources": price.counted,
            "spreadBp": price.spread_bp,
            "ageMs": price.age_ms,
            "confidence": price.confidence,
            "problem": price.problem or None,
            "quotes": [self._quote(source) for source in price.sources],
            "failures": [
                {"source": answer.market.exchange.name, "pair": str(answer.market.pair), "error": answer.error}
                for answer in self.reading.answers[asset]
                if answer.quote is None
            ],
        }

    def _quote(self, source: Judged) -> dict[str, Any]:
        quote = source.quote
        return {
            "source": quote.source,
            "pair": str(quote.pair),
            "priceE8": str(quote.price_e8),
            "priceUsd8": None if source.price_usd8 is None else str(source.price_usd8),
            "volumeE8": None if quote.volume_e8 is None else str(quote.volume_e8),
            "timeMs": quote.time_ms,
            "deviationBp": source.deviation_bp,
            "leftOut": source.left_out or None,
            "latencyMs": self._latency_ms(quote),
        }

    def _latency_ms(self, quote: Quote) -> int:
        """How long a quote took to come."""
        return next(
            answer.latency_ms
            for answers in self.reading.answers.values()
            for answer in answers
            if answer.quote is quote
        )

    def _oracle(self, state: FeedState) -> dict[str, Any]:
        return {
            "height": state.receipt.height,
            "burnHeight": state.receipt.burn_height,
            "provider": state.provider or None,
            "assets": [
                {
                    "asset": asset.asset,
                    "round": asset.next_round,
                    "lastUsd8": None if asset.price_usd8 is None else str(asset.price_usd8),
                    "decision": decision.say.value,
                    "reason": decision.reason,
                }
                for asset in state.oracle.assets
                if (decision := state.decide(asset))
            ],
        }

    def _of_asset(self, asset: str) -> list[RenderableType]:
        price = self.reading.prices[asset]
        table = Table(title=asset, title_justify="left")
        for heading in ("source", "pair", "price", "USD", "from median", "age", "latency", "counts"):
            table.add_column(heading, justify="right" if heading in ("price", "USD", "from median") else "left")
        for source in price.sources:
            quote = source.quote
            table.add_row(
                quote.source,
                str(quote.pair),
                plain(quote.price_e8),
                "" if source.price_usd8 is None else plain(source.price_usd8),
                "" if source.deviation_bp is None else f"{source.deviation_bp:+} bp",
                "" if quote.time_ms is None else f"{(self.reading.at_ms - quote.time_ms) // 1000} s",
                f"{self._latency_ms(quote)} ms",
                source.left_out or "yes",
            )
        for answer in self.reading.answers[asset]:
            if answer.quote is None:
                market = answer.market
                table.add_row(market.exchange.name, str(market.pair), "", "", "", "", "", answer.error)
        said = "no price" if price.price_usd8 is None else f"{plain(price.price_usd8)} USD"
        summary = f"{said}: {price.counted} sources, {price.spread_bp} bp apart, confidence {price.confidence} of 100"
        return [table, Text(summary), *([Text(price.problem, style="red")] if price.problem else []), Text()]

    def _notes(self) -> list[RenderableType]:
        offset = self.reading.clock_offset_ms
        clock = "no source says its time" if offset is None else f"the exchanges' clocks are {offset:+} ms from ours"
        if self.state is None:
            return [Text(clock), Text(f"What would be submitted is not known: {self.oracle_problem}")]
        lines = [
            f"{asset.asset}: {decision.say.value}, {decision.reason}"
            for asset in self.state.oracle.assets
            if (decision := self.state.decide(asset))
        ]
        at = f"at block {self.state.receipt.height}, Bitcoin block {self.state.receipt.burn_height}"
        provider = self.state.provider or "no account (none serves the lane oracle)"
        return [Text(clock), Text(f"As provider {provider}, {at}:"), *map(Text, lines)]


async def feed_report(
    settings: Settings, reader: Reader, *, provider: str | None, clock: Callable[[], int] = unix_ms
) -> FeedReport:
    """Ask all sources once, and look at the oracle where it can be read. ``provider``: our account, if there is one.

    Raises:
        ConfigurationError: ``keeper.feed`` cannot be used.
    """
    feed = PriceFeed.from_settings(settings, clock=clock)
    desk = Desk(settings, feed, provider or "")
    state, problem = None, ""
    for _ in range(ATTEMPTS):
        try:
            state, problem = await desk.look(reader), ""
            break
        except MovedError as error:
            problem = str(error)
        except GraphError as error:
            problem = str(error)
            break
    return FeedReport(await feed.read(), state, problem)


def plain(value_e8: int) -> str:
    """A value x 10^8 in units, with the decimals it needs, two at least.

    >>> plain(6_123_450_000_000), plain(74_430_001)
    ('61,234.50', '0.74430001')
    """
    decimals = f"{value_e8 % E8:08d}".rstrip("0").ljust(2, "0")
    return f"{value_e8 // E8:,}.{decimals}"
