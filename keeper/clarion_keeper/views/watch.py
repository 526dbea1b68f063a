"""Where the keeper stands, read from its tables in one go: what alerts are decided on and gauges are set to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, TypeVar

from psycopg import AsyncConnection
from psycopg.rows import class_row

from clarion_keeper.rates import BTC, STX
from clarion_keeper.store.intents import HOUR_USED_UP, SIGNER_REFUSES

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountFacts:
    """An account as the leader last saw it. Money in micro-STX or satoshis.

    ``hourly_budget``: what it may spend in an hour. ``pending``: transactions that are signed and in no block;
    ``stuck``: those of them that had to be replaced or that no node has taken. ``unsigned``: intents that its signer
    does not sign as the hour's limit is used up, and ``used_up`` what it said; None where there are none.
    """

    name: str
    chain: str
    balance: int
    spent_last_hour: int
    hourly_budget: int | None = None
    pending: int
    stuck: int
    unsigned: int = 0
    used_up: str | None = None
    checked_at: datetime

    @property
    def runway_hours(self) -> int | None:
        """How long the balance lasts at the pace of the last hour; None where nothing was spent."""
        return self.balance // self.spent_last_hour if self.spent_last_hour > 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneFacts:
    """What is open in a lane. Ages since it was decided, in seconds, and since it has been due, in Bitcoin blocks."""

    lane: str
    open: int
    oldest_seconds: int
    oldest_blocks: int
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Profit:
    """What was earned of a token within the last day, less the fees that were paid in it.

    ``amount``: a whole number of base units, of tokens with many decimals more than a bigint holds.
    """

    token: str
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A job that is paused (``*``: all of them)."""

    job: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """An intent that is for people: one without a transaction, one that failed, or one that was refused a signature."""

    intent: int
    job: str
    entity: str
    message: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Leader:
    """Who holds the lease, and whether it still counts."""

    holder: str
    fence: int
    leads: bool
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Everything that is watched, read in one snapshot."""

    leader: Leader | None
    accounts: tuple[AccountFacts, ...]
    lanes: tuple[LaneFacts, ...]
    profits: tuple[Profit, ...]
    stops: tuple[Stop, ...]
    notices: tuple[Notice, ...]
    refusals: tuple[Notice, ...]
    failures: tuple[Notice, ...]


_LEADER: Final = """
SELECT holder, fence, expires_at > clock_timestamp() AS leads, expires_at AS until FROM keeper.lease
ORDER BY fence DESC LIMIT 1
"""
_ACCOUNTS: Final = f"""
SELECT a.name, a.chain, a.balance::bigint, a.spent_last_hour::bigint, a.hourly_budget::bigint,
    p.pending, p.stuck, u.unsigned, u.used_up, a.checked_at
FROM keeper.account a CROSS JOIN LATERAL (
    SELECT count(*) AS pending, count(*) FILTER (WHERE o.state = 'signed' OR EXISTS (
        SELECT FROM keeper.attempt t WHERE t.outgoing_id = o.id AND t.number > 1
    )) AS stuck
    FROM keeper.outgoing o WHERE o.account = a.name AND o.state IN ('signed', 'broadcast')
) p CROSS JOIN LATERAL (
    SELECT count(*) AS unsigned, max(i.waiting) AS used_up FROM keeper.intent i
    WHERE i.state = 'planned' AND i.chain = a.chain AND i.lane = ANY(a.lanes)
        AND starts_with(i.waiting, '{HOUR_USED_UP}')
) u ORDER BY a.name
"""
_LANES: Final = """
SELECT lane, count(*) AS open, extract(epoch FROM clock_timestamp() - min(created_at))::bigint AS oldest_seconds,
    max(decided_burn - first_burn) AS oldest_blocks, min(created_at) AS since
FROM keeper.intent WHERE state IN ('planned', 'sent') AND chain <> 'none' GROUP BY lane ORDER BY lane
"""
#: Fees are those of transactions of which something ended within the day: so much an index finds.
_PROFITS: Final = f"""
WITH ended AS (
    SELECT outgoing_id, state, earned_token, earned_amount FROM keeper.intent WHERE ended_at > now() - interval '1 day'
), moved AS (
    SELECT earned_token AS token, earned_amount AS amount FROM ended WHERE state = 'done' AND earned_token IS NOT NULL
    UNION ALL
    SELECT CASE o.chain WHEN 'bitcoin' THEN '{BTC}' ELSE '{STX}' END, -o.fee_paid FROM keeper.outgoing o
    WHERE o.id IN (SELECT outgoing_id FROM ended) AND o.state IN ('mined', 'final')
)
SELECT token, sum(amount) AS amount FROM moved GROUP BY token ORDER BY token
"""
_STOPS: Final = "SELECT job, reason, at FROM keeper.control WHERE paused ORDER BY job"
_NOTICES: Final = """
SELECT id AS intent, job, entity, cause AS message, created_at AS at
FROM keeper.intent WHERE state IN ('planned', 'sent') AND chain = 'none' ORDER BY id LIMIT 1000
"""
_REFUSALS: Final = f"""
SELECT id AS intent, job, entity, waiting AS message, created_at AS at
FROM keeper.intent WHERE state = 'planned' AND starts_with(waiting, '{SIGNER_REFUSES}') ORDER BY id LIMIT 1000
"""
_FAILURES: Final = """
SELECT id AS intent, job, entity, coalesce(outcome, '') AS message, ended_at AS at
FROM keeper.intent WHERE state = 'failed' AND ended_at > now() - interval '1 day' ORDER BY id LIMIT 1000
"""


async def read_watch(connection: AsyncConnection[Any]) -> Watch:
    """Where the keeper stands. Raises psycopg.Error."""

    async def rows(query: str, of: type[T]) -> tuple[T, ...]:
        async with connection.cursor(row_factory=class_row(of)) as cursor:
            return tuple(await (await cursor.execute(query.encode())).fetchall())

    leaders = await rows(_LEADER, Leader)
    return Watch(
        leader=leaders[0] if leaders else None,
        accounts=await rows(_ACCOUNTS, AccountFacts),
        lanes=await rows(_LANES, LaneFacts),
        profits=await rows(_PROFITS, Profit),
        stops=await rows(_STOPS, Stop),
        notices=await rows(_NOTICES, Notice),
        refusals=await rows(_REFUSALS, Notice),
        failures=await rows(_FAILURES, Notice),
    )
