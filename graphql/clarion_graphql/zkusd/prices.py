"""The oracle's prices by interval."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from types import SimpleNamespace
from typing import Any, Final, LiteralString

from strawberry.types.base import StrawberryList
from strawberry.types.field import StrawberryField

from clarion_graphql.amounts import amount, figure
from clarion_graphql.context import Info
from clarion_graphql.enums import graphql_enum
from clarion_graphql.errors import ApiError, Code
from clarion_graphql.lengths import Length
from clarion_graphql.types import Types, make_field, make_type, with_arguments
from clarion_graphql.zkusd.columns import PRICE
from clarion_graphql.zkusd.figures import APP_SET, named_set
from clarion_graphql.zkusd.reading import TABLES

#: Most candles at once.
MOST_CANDLES: Final = 1_000


class ZkusdCandleInterval(StrEnum):
    """How long a candle is, by the time in the blocks, UTC."""

    HOUR = "3600"
    FOUR_HOURS = "14400"
    DAY = "86400"
    WEEK = "604800"


graphql_enum(
    ZkusdCandleInterval,
    {
        "HOUR": "An hour.",
        "FOUR_HOURS": "Four hours, from midnight on.",
        "DAY": "A day.",
        "WEEK": "A week, from Monday on.",
    },
)

#: 1970-01-05 was the first Monday.
_MONDAY: Final = 4 * 86_400
_CANDLES: Final[LiteralString] = (
    "SELECT b.start, (array_agg(o.price8 ORDER BY o.number))[1], max(o.price8), min(o.price8), "
    "(array_agg(o.price8 ORDER BY o.number DESC))[1], count(*) FROM {oracle_price} o "
    "CROSS JOIN LATERAL (SELECT o.time - (o.time - %s) %% %s AS start) b "
    "WHERE o.app_set = %s AND (%s::bigint IS NULL OR o.time >= %s) AND (%s::bigint IS NULL OR o.time < %s) "
    "GROUP BY b.start ORDER BY b.start DESC LIMIT %s"
)


def queries(types: Types) -> Sequence[StrawberryField]:
    """The field of `Query` about prices."""
    candle = make_type(
        "ZkusdCandle",
        [
            figure("start", datetime, "First moment of the interval."),
            *amount("open_price8", PRICE, "The first price in it."),
            *amount("high_price8", PRICE, "The greatest price in it."),
            *amount("low_price8", PRICE, "The least price in it."),
            *amount("close_price8", PRICE, "The last price in it."),
            figure("updates", int, "How many prices the oracle told in it."),
        ],
        "The oracle's prices within an interval.",
    )

    async def resolve(root: Any, info: Info, **given: Any) -> Any:
        if not 0 <= given["first"] <= MOST_CANDLES:
            raise ApiError(Code.LIMIT_EXCEEDED, f"first is from 0 to {MOST_CANDLES}.")
        session = info.context.session
        every = int(ZkusdCandleInterval(given["every"]).value)
        after, before = _seconds(given["from_time"]), _seconds(given["to_time"])
        rows = await TABLES.read(
            session,
            _CANDLES,
            _MONDAY if every == int(ZkusdCandleInterval.WEEK.value) else 0,
            every,
            await named_set(session, given["app_set_name"]),
            after,
            after,
            before,
            before,
            given["first"],
        )
        return [
            SimpleNamespace(
                start=datetime.fromtimestamp(start, UTC),
                open_price8=first,
                high_price8=high,
                low_price8=low,
                close_price8=last,
                updates=updates,
            )
            for start, first, high, low, last, updates in rows
        ]

    return [
        make_field(
            "zkusdCandles",
            StrawberryList(candle),
            "The oracle's prices by interval, the newest first; intervals without a price are left out.",
            resolver=with_arguments(
                resolve,
                {
                    "app_set_name": APP_SET,
                    "every": (ZkusdCandleInterval, ZkusdCandleInterval.DAY, "How long a candle is."),
                    "from_time": (datetime | None, None, "Only prices from here on."),
                    "to_time": (datetime | None, None, "Only prices before here."),
                    "first": (int, 100, f"At most so many, up to {MOST_CANDLES}."),
                },
            ),
            length=Length(MOST_CANDLES, "first"),
        )
    ]


def _seconds(moment: datetime | None) -> int | None:
    if moment is None:
        return None
    return int((moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp())
