"""Prices: as they are and were, as candles, how much they move, and how the oracle and its providers do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from inspect import Parameter
from typing import Any, Final

import strawberry
from strawberry.types.field import StrawberryField

from clarion.protocols.bithedge.analytics import annual_bp
from clarion.protocols.bithedge.pricing import annual_volatility_bp
from clarion.protocols.bithedge.units import BURN_BLOCKS_PER_DAY, E12, BasisPoints
from clarion_graphql.bithedge import intervals
from clarion_graphql.bithedge.reading import big, known_burn, made, parameters, read
from clarion_graphql.context import Info
from clarion_graphql.errors import ApiError, Code, InputError
from clarion_graphql.lengths import Length
from clarion_graphql.scalars import BigInt
from clarion_graphql.session import Session
from clarion_graphql.types import Types, make_field, with_arguments

MOST_DAYS: Final = 366
#: Most rounds that a provider's performance is told over.
MOST_ROUNDS: Final = 1_000
DEFAULT_ROUNDS: Final = 100
DEFAULT_DAYS: Final = 14

_ROUND: Final = (
    "r.asset, r.price_usd8, r.round, r.mode, r.opened_burn, r.closed_burn, r.closed_height, r.closed_time, "
    "r.count, r.deviation_bp, r.spread_bp"
)


@strawberry.type(description="A price that the oracle closed, and how old it is.")
class Price:
    """A closed round as a price."""

    asset: str = strawberry.field(description="Price feed.")
    price_usd8: BigInt = strawberry.field(description="Price. Unit: US dollars x 10^8.")
    round: int = strawberry.field(description="Round it is from.")
    mode: str = strawberry.field(description="How it was closed: normal, confirmed or fallback.")
    opened_burn: int = strawberry.field(
        description="Bitcoin block that its round opened at: every price in it was observed then or later."
    )
    closed_burn: int | None = strawberry.field(description="Bitcoin block it was closed in.")
    closed_height: int | None = strawberry.field(description="Stacks block it was closed in.")
    closed_time: datetime | None = strawberry.field(description="Time of that block.")
    submissions: int = strawberry.field(description="How many providers gave a price.")
    deviation_bp: BigInt | None = strawberry.field(description="Distance from the price before. Unit: 1/10000.")
    spread_bp: BigInt | None = strawberry.field(
        description="Largest distance of a provider's price from it. Unit: 1/10000."
    )
    age_burn: int = strawberry.field(description="Bitcoin blocks since its round opened.")
    is_fresh: bool | None = strawberry.field(
        description="Whether contracts take it as fresh: its age is at most the parameter `price-max-age` of the "
        "receipt's block. Null where that is not known."
    )


@strawberry.type(description="How an asset's price moved in an interval, by the rounds closed in it.")
class Candle:
    """A bucket of closed rounds."""

    start: datetime = strawberry.field(description="First moment of the interval.")
    open_usd8: BigInt = strawberry.field(description="Price of its first round. Unit: US dollars x 10^8.")
    high_usd8: BigInt = strawberry.field(description="Highest price. Unit: US dollars x 10^8.")
    low_usd8: BigInt = strawberry.field(description="Lowest price. Unit: US dollars x 10^8.")
    close_usd8: BigInt = strawberry.field(description="Price of its last round. Unit: US dollars x 10^8.")
    rounds: int = strawberry.field(description="Rounds closed in it.")
    first_round: int = strawberry.field(description="Number of its first round.")
    last_round: int = strawberry.field(description="Number of its last round.")


@strawberry.type(description="How much an asset's price moves.")
class Volatility:
    """Realised volatility over a window, and the contracts' own."""

    asset: str = strawberry.field(description="Price feed.")
    from_burn: int = strawberry.field(description="First Bitcoin block of the window.")
    to_burn: int = strawberry.field(description="Last Bitcoin block of the window: the receipt's.")
    moves: int = strawberry.field(description="Moves from one closed round to the next that closed in the window.")
    variance_e12: BigInt | None = strawberry.field(
        description="Variance per Bitcoin block: the sum of r^2 over the sum of blocks between the rounds, with "
        "r = |price - before| x 10^6 / before; null without a move. Unit: 1/10^12."
    )
    annual_bp: BigInt | None = strawberry.field(
        description="Volatility a year of 52,560 Bitcoin blocks: isqrt(variance x 52560) / 100. Unit: 1/10000."
    )
    contract_variance_e12: BigInt = strawberry.field(
        description="Variance per Bitcoin block that bh-oracle keeps, exponentially weighted. Unit: 1/10^12."
    )
    contract_annual_bp: BigInt | None = strawberry.field(
        description="Volatility a year that premiums are priced with: of that variance, within the parameters "
        "`vol-min-bp` and `vol-max-bp`; null where those are not known. Unit: 1/10000."
    )


@strawberry.type(description="How a provider of prices has done in an asset's last rounds.")
class ProviderPerformance:
    """A provider's submissions beside what rounds became."""

    provider: str = strawberry.field(description="Principal.")
    weight: BigInt = strawberry.field(description="Weight in the median; 0: removed.")
    submissions: int = strawberry.field(description="Prices it submitted in these rounds.")
    missed: int | None = strawberry.field(
        description="Of these rounds, those since its first price for the asset that it gave none in; null for a "
        "removed provider and one that has given none yet."
    )
    last_round: int | None = strawberry.field(description="Last of these rounds that it gave a price in.")
    last_price_usd8: BigInt | None = strawberry.field(description="That price. Unit: US dollars x 10^8.")
    last_observed_burn: int | None = strawberry.field(description="Bitcoin block it was observed at.")
    mean_deviation_bp: BigInt | None = strawberry.field(
        description="Mean distance of its prices from what their rounds became, each and the mean rounded down. "
        "Unit: 1/10000."
    )
    max_deviation_bp: BigInt | None = strawberry.field(
        description="Largest distance of its prices from what their rounds became. Unit: 1/10000."
    )


@strawberry.type(description="How the oracle stands for an asset.")
class OracleStatus:
    """An asset's feed and who feeds it."""

    asset: str = strawberry.field(description="Price feed.")
    price: Price | None = strawberry.field(description="Last closed price; null where there is none.")
    max_age_burn: int | None = strawberry.field(
        description="Bitcoin blocks after which a price is stale: the parameter `price-max-age`."
    )
    is_stale: bool = strawberry.field(
        description="Whether there is no fresh price: nothing can be bought or exercised."
    )
    open_round: int | None = strawberry.field(description="Round that takes prices now; null where none is open.")
    open_submissions: int = strawberry.field(description="Prices in the open round.")
    candidate_usd8: BigInt | None = strawberry.field(
        description="Rejected price that waits for a confirmation. Unit: US dollars x 10^8."
    )
    fallback_usd8: BigInt | None = strawberry.field(
        description="Price announced by the guardian. Unit: US dollars x 10^8."
    )
    rounds: int = strawberry.field(description="Ended rounds that the figures below are over.")
    rejected: int = strawberry.field(description="How many of them were rejected.")
    providers: list[ProviderPerformance] = strawberry.field(description="Who submits prices, by principal.")


def _price(row: Sequence[Any], burn: int, max_age: int | None) -> Price:
    asset, price, number, mode, opened, closed, height, time, count, deviation, spread = row
    age = burn - opened
    return Price(
        asset=asset,
        price_usd8=price,
        round=number,
        mode=mode,
        opened_burn=opened,
        closed_burn=closed,
        closed_height=height,
        closed_time=None if time is None else datetime.fromtimestamp(time, UTC),
        submissions=count,
        deviation_bp=deviation,
        spread_bp=spread,
        age_burn=age,
        is_fresh=None if max_age is None else age <= max_age,
    )


async def _price_at(session: Session, asset: str, burn: int) -> Price | None:
    """The last price closed at or before a Bitcoin block."""
    # rounds open in order, so that the index on opened_burn leads there: none closes before it opens
    rows = await read(
        session,
        "SELECT " + _ROUND + " FROM {price_round} r WHERE r.asset = %s AND r.state = 'closed' "
        "AND r.opened_burn <= %s AND r.closed_burn <= %s ORDER BY r.opened_burn DESC, r.round DESC LIMIT 1",
        asset,
        burn,
        burn,
    )
    return _price(rows[0], burn, (await parameters(session)).get("price-max-age")) if rows else None


async def _require_asset(session: Session, asset: str) -> None:
    known = [name for (name,) in await read(session, "SELECT a.asset FROM {asset} a ORDER BY a.asset")]
    if asset not in known:
        raise InputError(f"There is no price feed {asset[:80]!r}: there are {', '.join(known) or 'none yet'}.")


def _price_field() -> StrawberryField:
    async def resolve(root: Any, info: Info, *, asset: str) -> Price | None:
        session = info.context.session
        await _require_asset(session, asset)
        return await _price_at(session, asset, await known_burn(info))

    return make_field(
        "price",
        Price | None,
        "An asset's last closed price; null where there is none yet.",
        resolver=with_arguments(resolve, {"asset": _ASSET}),
    )


def _price_at_field() -> StrawberryField:
    async def resolve(root: Any, info: Info, *, asset: str, burn: int) -> Price | None:
        session = info.context.session
        now = await known_burn(info)
        if burn > now:
            raise InputError(f"Bitcoin block {burn} is above {now}, the receipt's.")
        await _require_asset(session, asset)
        return await _price_at(session, asset, burn)

    return make_field(
        "priceAt",
        Price | None,
        "The price of an asset that held at the end of a Bitcoin block: of the last round closed in it or before; null "
        "where there was none. Its age is counted at that block. What policies settle at is `expiryPrice`.",
        resolver=with_arguments(
            resolve,
            {"asset": _ASSET, "burn": (int, Parameter.empty, "Bitcoin block, at most the receipt's.")},
        ),
    )


_CANDLES: Final = (
    "SELECT w.place, (array_agg(r.price_usd8 ORDER BY r.round))[1], max(r.price_usd8), min(r.price_usd8), "
    "(array_agg(r.price_usd8 ORDER BY r.round DESC))[1], count(*), min(r.round), max(r.round) "
    "FROM {price_round} r CROSS JOIN LATERAL (SELECT width_bucket(r.closed_time, %s::bigint[]) AS place) w "
    "WHERE r.asset = %s AND r.state = 'closed' AND r.closed_time >= %s AND r.closed_time < %s "
    "GROUP BY w.place ORDER BY w.place"
)


def _candles_field() -> StrawberryField:
    async def resolve(root: Any, info: Info, *, asset: str, **given: Any) -> list[Candle]:
        session = info.context.session
        await _require_asset(session, asset)
        starts = await intervals.moments(session, given)
        if not starts:
            return []
        rows = await read(session, _CANDLES, starts, asset, starts[0], starts[-1])
        return [
            Candle(
                start=datetime.fromtimestamp(starts[place - 1], UTC),
                open_usd8=first,
                high_usd8=high,
                low_usd8=low,
                close_usd8=last,
                rounds=count,
                first_round=first_round,
                last_round=last_round,
            )
            for place, first, high, low, last, count, first_round, last_round in rows
        ]

    return make_field(
        "candles",
        list[Candle],
        "An asset's prices by interval, oldest first, by the time of the Stacks block that closed a round. Intervals "
        f"in which no round was closed are left out. At most {intervals.MOST_BUCKETS} intervals.",
        resolver=with_arguments(resolve, {"asset": _ASSET, **intervals.ARGUMENTS}),
        length=Length(intervals.MOST_BUCKETS),
    )


_VARIANCE: Final = (
    "SELECT count(*), sum(m.move * m.move), sum(greatest(1, m.blocks)) FROM ("
    "SELECT div(abs(r.price_usd8 - r.before_usd8) * 1000000, r.before_usd8) AS move, "
    "r.opened_burn - r.prev_opened_burn AS blocks FROM {price_round} r WHERE r.asset = %s AND r.state = 'closed' "
    "AND r.opened_burn >= %s AND r.prev_round > 0 AND r.before_usd8 > 0) m"
)


def _volatility_field() -> StrawberryField:
    async def resolve(root: Any, info: Info, *, asset: str, days: int) -> Volatility:
        if not 1 <= days <= MOST_DAYS:
            raise InputError(f"days is 1 to {MOST_DAYS}, not {days}.")
        session = info.context.session
        await _require_asset(session, asset)
        now = await known_burn(info)
        first = max(0, now - days * BURN_BLOCKS_PER_DAY + 1)
        ((moves, squares, blocks),) = await read(session, _VARIANCE, asset, first)
        ((own,),) = await read(session, "SELECT a.var_e12 FROM {asset} a WHERE a.asset = %s", asset)
        variance = E12(squares // blocks) if moves else None
        bounds = await parameters(session)
        least, greatest = bounds.get("vol-min-bp"), bounds.get("vol-max-bp")
        return Volatility(
            asset=asset,
            from_burn=first,
            to_burn=now,
            moves=moves,
            variance_e12=big(variance),
            annual_bp=None if variance is None else BigInt(annual_bp(variance)),
            contract_variance_e12=own,
            contract_annual_bp=None
            if least is None or greatest is None
            else BigInt(annual_volatility_bp(own, BasisPoints(least), BasisPoints(greatest))),
        )

    return make_field(
        "volatility",
        Volatility,
        "How much an asset's price moves: realised over the rounds that opened in the last days, and as the contracts "
        "have it.",
        resolver=with_arguments(
            resolve,
            {
                "asset": _ASSET,
                "days": (int, DEFAULT_DAYS, f"Days of 144 Bitcoin blocks to look back, 1 to {MOST_DAYS}."),
            },
        ),
    )


_RECENT: Final = (
    "recent AS (SELECT r.round, r.state, r.price_usd8 FROM {price_round} r "
    "WHERE r.asset = %s AND r.state <> 'open' ORDER BY r.round DESC LIMIT %s)"
)
_PERFORMANCE: Final = (
    "WITH " + _RECENT + ", given AS (SELECT s.provider, s.round, s.price_usd8, s.observed_burn, "
    "CASE WHEN n.price_usd8 > 0 THEN div(abs(s.price_usd8 - n.price_usd8) * 10000, n.price_usd8) END AS away "
    "FROM recent n JOIN {price_submission} s ON s.asset = %s AND s.round = n.round) "
    "SELECT p.provider, p.weight, g.given, CASE WHEN p.weight > 0 AND f.first IS NOT NULL THEN "
    "(SELECT count(*) FROM recent n WHERE n.round >= f.first) - g.given END, "
    "l.round, l.price_usd8, l.observed_burn, g.mean, g.greatest FROM {oracle_provider} p "
    "CROSS JOIN LATERAL (SELECT count(*) AS given, div(sum(v.away), count(v.away)) AS mean, max(v.away) AS greatest "
    "FROM given v WHERE v.provider = p.provider) g "
    "CROSS JOIN LATERAL (SELECT min(s.round) AS first FROM {price_submission} s "
    "WHERE s.provider = p.provider AND s.asset = %s) f "
    "LEFT JOIN LATERAL (SELECT v.round, v.price_usd8, v.observed_burn FROM given v WHERE v.provider = p.provider "
    "ORDER BY v.round DESC LIMIT 1) l ON true ORDER BY p.provider"
)


def _status_field() -> StrawberryField:
    async def resolve(root: Any, info: Info, *, asset: str, rounds: int) -> OracleStatus:
        if not 1 <= rounds <= MOST_ROUNDS:
            raise ApiError(Code.LIMIT_EXCEEDED, f"rounds is 1 to {MOST_ROUNDS}, not {rounds}.")
        session = info.context.session
        await _require_asset(session, asset)
        price = await _price_at(session, asset, await known_burn(info))
        ((candidate, fallback, number, count),) = await read(
            session,
            "SELECT a.candidate_usd8, a.fallback_usd8, r.round, r.count FROM {asset} a LEFT JOIN {price_round} r "
            "ON r.asset = a.asset AND r.round = a.next_round AND r.state = 'open' WHERE a.asset = %s",
            asset,
        )
        ((ended, rejected),) = await read(
            session,
            "WITH " + _RECENT + " SELECT count(*), count(*) FILTER (WHERE n.state = 'rejected') FROM recent n",
            asset,
            rounds,
        )
        rows = await read(session, _PERFORMANCE, asset, rounds, asset, asset)
        return OracleStatus(
            asset=asset,
            price=price,
            max_age_burn=(await parameters(session)).get("price-max-age"),
            is_stale=price is None or price.is_fresh is False,
            open_round=number,
            open_submissions=count or 0,
            candidate_usd8=candidate,
            fallback_usd8=fallback,
            rounds=ended,
            rejected=rejected,
            providers=[made(ProviderPerformance, row) for row in rows],
        )

    return make_field(
        "oracleStatus",
        OracleStatus,
        "How the oracle stands for an asset: its price's age, the open round, and how its providers do.",
        resolver=with_arguments(
            resolve,
            {
                "asset": _ASSET,
                "rounds": (int, DEFAULT_ROUNDS, f"Ended rounds to judge providers by, 1 to {MOST_ROUNDS}."),
            },
        ),
    )


_ASSET: Final = (str, Parameter.empty, "Price feed, such as BTC.")


def queries(types: Types) -> Sequence[StrawberryField]:
    """The fields of `Query` about prices."""
    return [_price_field(), _price_at_field(), _candles_field(), _volatility_field(), _status_field()]
