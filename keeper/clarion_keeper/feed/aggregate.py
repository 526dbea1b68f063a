"""One price from many quotes: stale ones and outliers left out, then the median. Pure, in integers throughout.

Outliers are dropped by two rules: further than 1.5 interquartile ranges outside the middle half, from four sources on
(Tukey's fences); and more than `outlier_bp` from the median. A quote within `noise_bp` of the median stays whatever the
fences say: sources that agree to the cent make fences of a cent.

With three or more sources counted, one that lies cannot move the median out of what the others say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from clarion.protocols.bithedge.units import BP, E8
from clarion_keeper.feed.quotes import Currency, Quote

#: From so many sources on the fences apply: quartiles of fewer say nothing.
FENCED_FROM: Final = 4
#: How sure a price is by how many sources count, in percent; more than these count as the last.
CONFIDENCE: Final = (0, 30, 50, 70, 85, 95)
#: Most that disagreement takes off the confidence.
MOST_PENALTY: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What quotes and prices have to keep to. Ratios in 1/10000, times in milliseconds."""

    min_sources: int = 3
    max_age_ms: int = 120_000
    max_ahead_ms: int = 30_000
    outlier_bp: int = 500
    noise_bp: int = 20
    max_spread_bp: int = 500


@dataclass(frozen=True, slots=True)
class Judged:
    """A quote and what became of it. ``price_usd8`` is None where its currency has no rate.

    ``deviation_bp``: how far it is from the median, signed, towards zero; None where there is no median or no price.
    ``left_out``: why it does not count; empty where it does.
    """

    quote: Quote
    price_usd8: int | None
    deviation_bp: int | None
    left_out: str = ""

    @property
    def counts(self) -> bool:
        """Whether the median is over it."""
        return not self.left_out


@dataclass(frozen=True, slots=True)
class Aggregate:
    """What all sources together say of an asset at a moment.

    ``price_usd8``: the median of what counts, in US dollars x 10^8; None where nothing counts. ``spread_bp``: from the
    lowest to the highest that counts, rounded up. ``age_ms``: age of the oldest that counts and says its time.
    ``confidence``: 0 to 100, more with more sources, less the further they are apart. ``problem``: why the price is
    not to be relied on, in words; empty where it is.
    """

    asset: str
    at_ms: int
    price_usd8: int | None
    sources: tuple[Judged, ...]
    spread_bp: int
    age_ms: int | None
    confidence: int
    problem: str

    @property
    def counted(self) -> int:
        """How many sources the median is over."""
        return sum(1 for source in self.sources if source.counts)


def aggregate(
    asset: str, quotes: Iterable[Quote], *, rates: Mapping[Currency, Aggregate], at_ms: int, limits: Limits
) -> Aggregate:
    """The price of an asset at Unix time ``at_ms``. ``rates``: stablecoins' prices in dollars.

    A quote in a stablecoin without a rate that can be relied on does not count. The order of quotes does not matter.
    """
    ordered = sorted(quotes, key=lambda quote: (quote.source, str(quote.pair)))
    priced = [(quote, *_in_dollars(quote, rates)) for quote in ordered]
    usable = [
        (quote, usd8) for quote, usd8, why in priced if usd8 is not None and not (why or _stale(quote, at_ms, limits))
    ]
    counted, near, reasons = _without_outliers(usable, limits)
    price = median(counted) if counted else None
    sources = tuple(
        Judged(
            quote,
            usd8,
            None if usd8 is None or price is None else _signed_bp(usd8, price),
            why or _stale(quote, at_ms, limits) or reasons.get(_key(quote), ""),
        )
        for quote, usd8, why in priced
    )
    spread = 0 if price is None else -(-(max(counted) - min(counted)) * BP // price)
    ages = [at_ms - s.quote.time_ms for s in sources if s.counts and s.quote.time_ms is not None]
    return Aggregate(
        asset=asset,
        at_ms=at_ms,
        price_usd8=price,
        sources=sources,
        spread_bp=spread,
        age_ms=max(0, *ages) if ages else None,
        confidence=_confidence(counted, price),
        problem=_problem(len(counted), near, len(usable), spread, limits),
    )


def median(values: Sequence[int]) -> int:
    """The middle value; of an even number the mean of the middle two, rounded down."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) // 2


def distance_bp(value: int, other: int) -> int:
    """How far ``value`` is from ``other``, in 1/10000 of ``other``, rounded down as bh-oracle does."""
    return abs(value - other) * BP // other


def _key(quote: Quote) -> tuple[str, str]:
    return quote.source, str(quote.pair)


def _in_dollars(quote: Quote, rates: Mapping[Currency, Aggregate]) -> tuple[int | None, str]:
    currency = quote.pair.currency
    if currency is Currency.USD:
        return quote.price_e8, ""
    rate = rates.get(currency)
    if rate is None or rate.price_usd8 is None:
        return None, f"no rate of {currency} to USD"
    if rate.problem:
        return None, f"rate of {currency} to USD: {rate.problem}"
    return quote.price_e8 * rate.price_usd8 // E8, ""


def _stale(quote: Quote, at_ms: int, limits: Limits) -> str:
    if quote.time_ms is None:
        return ""
    age = at_ms - quote.time_ms
    if age > limits.max_age_ms:
        return f"{age // 1000} s old"
    if age < -limits.max_ahead_ms:
        return f"{-age // 1000} s in the future"
    return ""


def _without_outliers(
    usable: Sequence[tuple[Quote, int]], limits: Limits
) -> tuple[list[int], int, dict[tuple[str, str], str]]:
    """The prices that count, how many are near the median whatever the fences say, and why each other is left out."""
    if not usable:
        return [], 0, {}
    values = [usd8 for _, usd8 in usable]
    middle = median(values)
    low8, high8 = _fences8(values)
    counted, near, reasons = [], 0, {}
    for quote, usd8 in usable:
        apart = distance_bp(usd8, middle)
        near += apart <= limits.outlier_bp
        fenced_out = len(values) >= FENCED_FROM and not low8 <= 8 * usd8 <= high8
        if apart > limits.outlier_bp:
            reasons[_key(quote)] = f"{apart} bp from the median"
        elif fenced_out and apart > limits.noise_bp:
            reasons[_key(quote)] = f"outside the others' range, {apart} bp from the median"
        else:
            counted.append(usd8)
    return counted, near, reasons


def _fences8(values: Sequence[int]) -> tuple[int, int]:
    """Both of Tukey's fences, times 8; quartiles by linear interpolation between the sorted values."""
    ordered = sorted(values)
    q1x4, q3x4 = (_quartile4(ordered, part) for part in (1, 3))
    return 5 * q1x4 - 3 * q3x4, 5 * q3x4 - 3 * q1x4


def _quartile4(ordered: Sequence[int], part: int) -> int:
    place, rest = divmod((len(ordered) - 1) * part, 4)
    following = ordered[min(place + 1, len(ordered) - 1)]
    return 4 * ordered[place] + rest * (following - ordered[place])


def _signed_bp(value: int, price: int) -> int:
    return distance_bp(value, price) if value >= price else -distance_bp(value, price)


def _confidence(counted: Sequence[int], price: int | None) -> int:
    if price is None:
        return 0
    furthest = max(distance_bp(value, price) for value in counted)
    base = CONFIDENCE[min(len(counted), len(CONFIDENCE) - 1)]
    return max(0, base - min(furthest // 100, MOST_PENALTY))


def _problem(counted: int, near: int, usable: int, spread_bp: int, limits: Limits) -> str:
    if usable < limits.min_sources:
        return f"only {usable} of at least {limits.min_sources} sources"
    if near * 2 <= usable or counted < limits.min_sources:
        return f"sources disagree: {near} of {usable} are within {limits.outlier_bp} bp of the median"
    if spread_bp > limits.max_spread_bp:
        return f"sources disagree: they are {spread_bp} bp apart, above {limits.max_spread_bp}"
    return ""
