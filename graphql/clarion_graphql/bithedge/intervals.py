"""Time in buckets: which intervals there are, where they begin, and which blocks are in them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from inspect import Parameter
from itertools import pairwise
from typing import Any, Final, LiteralString

from clarion_graphql.bithedge.reading import read
from clarion_graphql.enums import graphql_enum
from clarion_graphql.errors import ApiError, Code, InputError
from clarion_graphql.session import Session

MOST_BUCKETS: Final = 500
DEFAULT_BUCKETS: Final = 50
_DAY_S: Final = 86_400
#: The first Monday of Unix time, in seconds.
_MONDAY_S: Final = 4 * _DAY_S


class Interval(StrEnum):
    """How long a bucket of time is. Buckets begin at whole multiples of it in UTC, weeks on Monday."""

    MINUTE = "minute"
    FIFTEEN_MINUTES = "fifteen-minutes"
    HOUR = "hour"
    FOUR_HOURS = "four-hours"
    DAY = "day"
    WEEK = "week"


graphql_enum(
    Interval,
    {
        "MINUTE": "60 seconds.",
        "FIFTEEN_MINUTES": "15 minutes.",
        "HOUR": "60 minutes.",
        "FOUR_HOURS": "4 hours.",
        "DAY": "24 hours from midnight UTC.",
        "WEEK": "7 days from Monday, midnight UTC.",
    },
)

_SECONDS: Final[Mapping[Interval, int]] = {
    Interval.MINUTE: 60,
    Interval.FIFTEEN_MINUTES: 15 * 60,
    Interval.HOUR: 3_600,
    Interval.FOUR_HOURS: 4 * 3_600,
    Interval.DAY: _DAY_S,
    Interval.WEEK: 7 * _DAY_S,
}

#: The arguments of a field that answers in buckets.
ARGUMENTS: Final[Mapping[str, tuple[Any, Any, str]]] = {
    "interval": (Interval, Parameter.empty, "How long a bucket is."),
    "from_": (
        datetime | None,
        None,
        f"The first bucket is the one that holds this moment; without it there are {DEFAULT_BUCKETS} buckets.",
    ),
    "to": (
        datetime | None,
        None,
        "The last bucket is the one that holds this moment, or the tip's, if that is earlier; without it the tip's.",
    ),
}


def bucket_start(seconds: int, interval: Interval) -> int:
    """Unix seconds at which the bucket that holds a moment begins."""
    step = _SECONDS[interval]
    offset = _MONDAY_S if interval is Interval.WEEK else 0
    return (seconds - offset) // step * step + offset


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket: its moments [start, end) in Unix seconds, and its blocks, those above ``before`` up to ``last``."""

    start: int
    end: int
    before: int
    last: int

    @property
    def begins(self) -> datetime:
        """Its first moment."""
        return datetime.fromtimestamp(self.start, UTC)


_TIP: Final = (
    "SELECT b.time FROM {cursor} c JOIN clarion.block b ON b.chain = c.chain AND b.hash = c.hash "
    "WHERE c.chain = 'stacks' AND b.time IS NOT NULL"
)


def _last_before(column: LiteralString) -> LiteralString:
    # times and Bitcoin heights of canonical blocks never fall, so the last one before a value is found by halving
    return (
        "SELECT (WITH RECURSIVE s(low, high) AS (SELECT r.low, r.high UNION ALL "
        "SELECT CASE WHEN " + column + " < w.value THEN m.mid ELSE s.low END, "
        "CASE WHEN " + column + " < w.value THEN s.high ELSE m.mid - 1 END "
        "FROM s CROSS JOIN LATERAL (SELECT (s.low + s.high + 1) / 2 AS mid) m "
        "JOIN {canonical_block} k ON k.chain = 'stacks' AND k.height = m.mid "
        "JOIN clarion.block b ON b.chain = k.chain AND b.hash = k.hash WHERE s.low < s.high) "
        "SELECT s.low FROM s WHERE s.low = s.high), r.low "
        "FROM unnest(%s::bigint[]) WITH ORDINALITY AS w(value, place) "
        "CROSS JOIN (SELECT min(k.height) - 1 AS low, max(k.height) AS high FROM {canonical_block} k "
        "WHERE k.chain = 'stacks') r WHERE r.high IS NOT NULL ORDER BY w.place"
    )


_LAST_BEFORE_TIME: Final = _last_before("b.time")
_LAST_BEFORE_BURN: Final = _last_before("b.burn_height")


async def last_block_before(session: Session, moment: datetime) -> int:
    """The last canonical Stacks block before a moment, -1 where there is none."""
    found = await read(session, _LAST_BEFORE_TIME, [math.ceil(moment.timestamp())])
    return int(found[0][0]) if found else -1


async def last_block_before_burn(session: Session, burn: int) -> int:
    """The last canonical Stacks block below a Bitcoin block, -1 where there is none."""
    found = await read(session, _LAST_BEFORE_BURN, [burn])
    return int(found[0][0]) if found else -1


def starts_of(interval: Interval, first: int | None, last: int, most: int) -> list[int]:
    """Where the buckets from one moment to another begin, and where the last of them ends, in Unix seconds.

    Raises ApiError for more than ``most``, and where ``first`` is after ``last``.
    """
    step = _SECONDS[interval]
    newest = bucket_start(last, interval)
    oldest = newest - (DEFAULT_BUCKETS - 1) * step if first is None else bucket_start(first, interval)
    if oldest > newest:
        raise InputError("from is after to, or after the tip of the chain.")
    count = (newest - oldest) // step + 1
    if count > most:
        raise ApiError(Code.LIMIT_EXCEEDED, f"These are {count} intervals; at most {most}: take longer ones.")
    return list(range(oldest, newest + step + 1, step))


async def moments(session: Session, given: Mapping[str, Any], most: int = MOST_BUCKETS) -> list[int]:
    """:func:`starts_of` of the arguments :data:`ARGUMENTS`; nothing while the index is empty."""
    found = await read(session, _TIP)
    if not found:
        return []
    tip: int = found[0][0]
    first, last = (_seconds(given.get(name)) for name in ("from_", "to"))
    return starts_of(Interval(given["interval"]), first, tip if last is None else min(last, tip), most)


async def buckets(session: Session, given: Mapping[str, Any], most: int = MOST_BUCKETS) -> list[Bucket]:
    """The buckets that the arguments :data:`ARGUMENTS` ask for, oldest first, without those before the first block."""
    starts = await moments(session, given, most)
    if not starts:
        return []
    found = await read(session, _LAST_BEFORE_TIME, starts)
    return [
        Bucket(start, end, before, last)
        for (start, end), ((before, none), (last, _)) in zip(pairwise(starts), pairwise(found), strict=True)
        if last > none
    ]


def _seconds(moment: datetime | None) -> int | None:
    if moment is None:
        return None
    zoned = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return math.floor(zoned.timestamp())
