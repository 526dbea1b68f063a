"""The protocol as a whole: what is stopped, what needs attention, and what happens on it over time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, LiteralString

import strawberry
from strawberry.types.field import StrawberryField

from clarion.protocols.bithedge.analytics import share_bp
from clarion.protocols.bithedge.units import BURN_BLOCKS_PER_DAY, BurnHeight
from clarion_graphql.bithedge import intervals
from clarion_graphql.bithedge.reading import big, known_burn, made, read
from clarion_graphql.bithedge.unit_texts import TOKEN, USD8
from clarion_graphql.context import Info
from clarion_graphql.enums import graphql_enum
from clarion_graphql.lengths import Length
from clarion_graphql.scalars import BigInt
from clarion_graphql.session import Session
from clarion_graphql.types import Types, make_field, with_arguments

# What is stopped


@strawberry.type(description="Something that can be stopped, and whether it is.")
class SwitchState:
    """A switch."""

    name: str = strawberry.field(description="Name, such as create, deposit or oracle.")
    is_open: bool | None = strawberry.field(description="Flag on and breaker not tripped; null where not known.")
    flag: bool | None = strawberry.field(description="Governance's flag: on; null where not known.")
    tripped: bool | None = strawberry.field(description="The guardian's breaker: tripped; null where not known.")
    reason: str | None = strawberry.field(description="Why the breaker was tripped; null: it is not.")
    since_burn: int | None = strawberry.field(description="Bitcoin block since which the breaker is as it is.")


@strawberry.type(description="A version of a module that acts, or may soon.")
class ModuleState:
    """A module's version."""

    module: str = strawberry.field(description="Module name, such as vault or policy.")
    version: int = strawberry.field(description="Version, from 1.")
    contract: str = strawberry.field(description="Contract id.")
    state: str = strawberry.field(description="registered, active or draining.")
    active_from_burn: int | None = strawberry.field(description="First Bitcoin block it may be activated in.")


@strawberry.type(description="A figure that trips a breaker above its limit.")
class MetricState:
    """A metric."""

    name: str = strawberry.field(description="Name, such as fund-used-bp.")
    value: BigInt = strawberry.field(description="Last reported; 0: nothing yet.")
    limit: BigInt = strawberry.field(description="Greatest value that trips nothing.")
    used_bp: BigInt | None = strawberry.field(
        description="Value of limit, rounded down; null for a limit of 0. Unit: 1/10000."
    )
    breaker: str = strawberry.field(description="Switch that it stops.")


@strawberry.type(description="What of the protocol can be used now.")
class ProtocolStanding:
    """Switches, modules and metrics."""

    paused: bool = strawberry.field(description="Whether anything is stopped.")
    stopped: list[str] = strawberry.field(description="Switches that are not open.")
    tripped: list[str] = strawberry.field(description="Of these, those whose breaker is tripped.")
    switches: list[SwitchState] = strawberry.field(description="Every switch, by name.")
    modules: list[ModuleState] = strawberry.field(
        description="Versions of modules that are active, still end what they began, or are announced."
    )
    metrics: list[MetricState] = strawberry.field(description="Figures that can trip breakers, by name.")


def _standing_field() -> StrawberryField:
    async def resolve(root: Any, info: Info) -> ProtocolStanding:
        session = info.context.session
        switches = [
            made(SwitchState, row)
            for row in await read(
                session,
                "SELECT s.name, s.is_open, s.flag, s.tripped, s.reason, s.since_burn FROM {switch} s ORDER BY s.name",
            )
        ]
        modules = await read(
            session,
            "SELECT m.module, m.version, m.contract, m.state, m.active_from_burn FROM {module} m "
            "WHERE m.state <> 'deprecated' ORDER BY m.module, m.version",
        )
        metrics = await read(session, 'SELECT m.name, m.value, m."limit", m.breaker FROM {metric} m ORDER BY m.name')
        stopped = [switch for switch in switches if switch.is_open is False]
        return ProtocolStanding(
            paused=bool(stopped),
            stopped=[switch.name for switch in stopped],
            tripped=[switch.name for switch in stopped if switch.tripped],
            switches=switches,
            modules=[made(ModuleState, row) for row in modules],
            metrics=[
                MetricState(name=name, value=value, limit=limit, used_bp=big(share_bp(value, limit)), breaker=breaker)
                for name, value, limit, breaker in metrics
            ],
        )

    return make_field(
        "protocolStatus",
        ProtocolStanding,
        "What of the protocol can be used now: switches and breakers, versions of modules, metrics.",
        resolver=with_arguments(resolve, {}),
    )


# What needs attention


class HealthState(StrEnum):
    """How much attention something needs."""

    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"


graphql_enum(
    HealthState,
    {
        "OK": "Nothing to do.",
        "WARNING": "Somebody should look at it.",
        "CRITICAL": "Somebody has to act, or the figures cannot be relied on.",
    },
)
_ORDER: Final = (HealthState.OK, HealthState.WARNING, HealthState.CRITICAL)


@strawberry.type(description="One thing that was looked at.")
class HealthCheck:
    """A check's outcome."""

    name: str = strawberry.field(
        description="What: events, anomalies, books, oracle, switches, settlement, margins, unpaid, fund or proposals."
    )
    state: HealthState = strawberry.field(description="How much attention it needs.")
    count: int = strawberry.field(description="How many things need it; 0 where nothing does.")
    detail: str = strawberry.field(description="What was found, in words.")


@strawberry.type(description="Whether the protocol, and what the index knows of it, is in order.")
class SystemHealth:
    """All checks."""

    state: HealthState = strawberry.field(description="The worst of the checks.")
    checks: list[HealthCheck] = strawberry.field(description="Everything that was looked at.")


def _check(name: str, critical: int, warnings: int, detail: str) -> HealthCheck:
    state = HealthState.CRITICAL if critical else HealthState.WARNING if warnings else HealthState.OK
    return HealthCheck(name=name, state=state, count=critical + warnings, detail=detail)


async def _events(session: Session, now: BurnHeight) -> HealthCheck:
    ((missing, late),) = await read(
        session,
        "SELECT count(*) FILTER (WHERE s.missing > 0), count(*) FILTER (WHERE s.missing = 0 AND s.first_seq > 1) "
        "FROM {contract_sequence} s",
    )
    detail = f"{missing} contracts with missing events; {late} that the index began after"
    return _check("events", missing, late, detail)


async def _anomalies(session: Session, now: BurnHeight) -> HealthCheck:
    ((count,),) = await read(
        session,
        "SELECT count(*) FROM {anomaly} a JOIN {canonical_block} c ON c.chain = a.chain AND c.height = a.height "
        "AND c.hash = a.block_hash WHERE a.chain = 'stacks' AND a.contract IN "
        "(SELECT s.contract FROM {contract_sequence} s)",
    )
    return _check("anomalies", count, 0, f"{count} events of the contracts that were not understood")


async def _books(session: Session, now: BurnHeight) -> HealthCheck:
    rows = await read(
        session,
        "SELECT t.token FROM {token_pool} t CROSS JOIN LATERAL (SELECT coalesce(sum(p.available), 0) AS available, "
        "coalesce(sum(p.locked), 0) AS locked, coalesce(sum(p.liability_usd8), 0) AS liability, "
        "coalesce(sum(p.premium_unearned), 0) AS unearned FROM {position} p WHERE p.token = t.token) s "
        "WHERE (t.available, t.locked, t.liability_usd8, t.unearned) IS DISTINCT FROM "
        "(s.available, s.locked, s.liability, s.unearned) ORDER BY t.token",
    )
    tokens = ", ".join(token for (token,) in rows)
    detail = f"positions do not add up to the pool of {tokens}" if rows else "positions add up to every pool"
    return _check("books", len(rows), 0, detail)


async def _oracle(session: Session, now: BurnHeight) -> HealthCheck:
    rows = await read(
        session,
        "SELECT a.asset, a.price_usd8 = 0 OR %s - a.opened_burn > p.value, a.candidate_usd8 IS NOT NULL "
        "OR a.fallback_usd8 IS NOT NULL FROM {asset} a JOIN {parameter} p ON p.key = 'price-max-age' "
        "WHERE a.active IS NOT FALSE AND (a.insurable OR EXISTS (SELECT FROM {token} k WHERE k.asset = a.asset "
        "AND k.active)) ORDER BY a.asset",
        now,
    )
    stale = [asset for asset, is_stale, _ in rows if is_stale]
    waiting = [asset for asset, is_stale, waits in rows if waits and not is_stale]
    return _check(
        "oracle",
        len(stale),
        len(waiting),
        f"without a fresh price: {', '.join(stale) or 'none'}; with a price that waits: {', '.join(waiting) or 'none'}",
    )


async def _switches(session: Session, now: BurnHeight) -> HealthCheck:
    rows = await read(session, "SELECT s.name, s.tripped FROM {switch} s WHERE s.is_open IS FALSE ORDER BY s.name")
    tripped = [name for name, is_tripped in rows if is_tripped]
    off = [name for name, is_tripped in rows if not is_tripped]
    return _check(
        "switches",
        len(tripped),
        len(off),
        f"breakers tripped: {', '.join(tripped) or 'none'}; flags off: {', '.join(off) or 'none'}",
    )


async def _settlement(session: Session, now: BurnHeight) -> HealthCheck:
    ((late, due),) = await read(
        session,
        "SELECT count(*) FILTER (WHERE p.expiry_burn + %s < %s), count(*) FILTER (WHERE p.expiry_burn + %s >= %s) "
        "FROM {policy} p WHERE p.state = 'active' AND p.expiry_burn <= %s",
        BURN_BLOCKS_PER_DAY,
        now,
        BURN_BLOCKS_PER_DAY,
        now,
        now,
    )
    detail = f"{late} policies expired more than {BURN_BLOCKS_PER_DAY} Bitcoin blocks ago and {due} later, not settled"
    return _check("settlement", late, due, detail)


async def _margins(session: Session, now: BurnHeight) -> HealthCheck:
    ((over, running),) = await read(
        session,
        "SELECT count(*) FILTER (WHERE m.deadline_burn < %s), count(*) FILTER (WHERE m.deadline_burn >= %s) "
        "FROM {margin_call} m WHERE m.state = 'open'",
        now,
        now,
    )
    return _check("margins", over, running, f"margin calls: {over} past their deadline, {running} before it")


async def _unpaid(session: Session, now: BurnHeight) -> HealthCheck:
    ((count, owed, claims),) = await read(
        session,
        "SELECT count(*), coalesce(sum(p.unpaid_usd8), 0), (SELECT count(*) FROM {claim} c WHERE c.state = 'open') "
        "FROM {policy} p WHERE p.unpaid_usd8 > 0 AND p.state IN ('settled-itm', 'exercised')",
    )
    detail = f"{count} policies not paid in full, {owed} x 10^-8 US dollars owed; {claims} open claims"
    return _check("unpaid", 0, count, detail)


async def _fund(session: Session, now: BurnHeight) -> HealthCheck:
    rows = await read(session, "SELECT f.token, f.state FROM {fund_holding} f WHERE f.state <> 'normal' ORDER BY 1")
    critical = [token for token, state in rows if state in ("critical", "recovery")]
    detail = "; ".join(f"{token}: {state}" for token, state in rows) or "normal in every token"
    return _check("fund", len(critical), len(rows) - len(critical), detail)


async def _proposals(session: Session, now: BurnHeight) -> HealthCheck:
    ((count,),) = await read(
        session,
        "SELECT count(*) FROM {proposal} p WHERE (p.state = 'active' AND p.voting_ends_burn < %s) "
        "OR (p.state = 'queued' AND p.eta_burn <= %s)",
        now,
        now,
    )
    return _check("proposals", 0, count, f"{count} proposals that somebody has to count, execute or expire")


_CHECKS: Final[Sequence[Callable[[Session, BurnHeight], Awaitable[HealthCheck]]]] = (
    _events,
    _anomalies,
    _books,
    _oracle,
    _switches,
    _settlement,
    _margins,
    _unpaid,
    _fund,
    _proposals,
)


def _health_field() -> StrawberryField:
    async def resolve(root: Any, info: Info) -> SystemHealth:
        now = await known_burn(info)
        checks = [await check(info.context.session, now) for check in _CHECKS]
        return SystemHealth(state=max((check.state for check in checks), key=_ORDER.index), checks=checks)

    return make_field(
        "systemHealth",
        SystemHealth,
        "Whether the protocol, and what the index knows of it, is in order at the receipt's block.",
        resolver=with_arguments(resolve, {}),
    )


# What happens over time


@strawberry.type(description="Movements of one token in and out of the vault in an interval.")
class TokenFlow:
    """Sums of account entries by kind."""

    token: str = strawberry.field(description="Token.")
    deposited: BigInt = strawberry.field(description=f"Deposited by providers. {TOKEN}")
    withdrawn: BigInt = strawberry.field(description=f"Withdrawn by providers. {TOKEN}")
    premiums: BigInt = strawberry.field(description=f"Premiums paid, fees included. {TOKEN}")
    premium_refunded: BigInt = strawberry.field(description=f"Premium given back. {TOKEN}")
    premium_earned: BigInt = strawberry.field(description=f"Premium that became yield. {TOKEN}")
    yield_claimed: BigInt = strawberry.field(description=f"Yield claimed. {TOKEN}")
    payouts: BigInt = strawberry.field(description=f"Paid to owners of policies. {TOKEN}")
    fees_collected: BigInt = strawberry.field(description=f"Fees taken out by treasury and fund. {TOKEN}")


@strawberry.type(description="What happened on the protocol in an interval.")
class PlatformBucket:
    """Counts and sums of an interval."""

    start: datetime = strawberry.field(description="First moment of the interval.")
    height: int = strawberry.field(description="Last Stacks block of the interval.")
    new_policies: int = strawberry.field(description="Policies bought.")
    buyers: int = strawberry.field(description="Addresses that bought any.")
    premiums_usd8: BigInt = strawberry.field(description=f"Premiums of these, at creation prices. {USD8}")
    notional_sat: BigInt = strawberry.field(description="Notional of these. Unit: satoshis.")
    max_payout_usd8: BigInt = strawberry.field(description=f"Most that these pay. {USD8}")
    expired_otm: int = strawberry.field(description="Policies settled as worthless.")
    settled_itm: int = strawberry.field(description="Policies settled in the money.")
    exercised: int = strawberry.field(description="Policies exercised.")
    cancelled: int = strawberry.field(description="Policies cancelled.")
    payoffs_usd8: BigInt = strawberry.field(description=f"Payoffs of the policies that ended. {USD8}")
    new_providers: int = strawberry.field(description="Providers seen for the first time.")
    active_accounts: int = strawberry.field(description="Addresses whose money in the vault moved.")
    tokens: list[TokenFlow] = strawberry.field(description="Money that moved, by token.")


def _in_buckets(select: LiteralString, source: LiteralString, column: LiteralString) -> LiteralString:
    """Sums of rows by the bucket that a height column is in: parameters are the heights, the first and the last."""
    return (
        "SELECT w.place, "
        + select
        + " FROM "
        + source
        + " CROSS JOIN LATERAL (SELECT width_bucket("
        + column
        + " - 1, "
        "%s::bigint[]) AS place) w WHERE " + column + " > %s AND " + column + " <= %s"
    )


_CREATED: Final = (
    _in_buckets(
        "count(*), count(DISTINCT p.owner), sum(p.premium_usd8), sum(p.notional_sat), sum(p.max_payout_usd8)",
        "{policy} p",
        "p.created_height",
    )
    + " GROUP BY w.place"
)
_ENDED: Final = (
    _in_buckets(
        "count(*) FILTER (WHERE p.state = 'expired-otm'), count(*) FILTER (WHERE p.state = 'settled-itm'), "
        "count(*) FILTER (WHERE p.state = 'exercised'), count(*) FILTER (WHERE p.state = 'cancelled'), "
        "coalesce(sum(p.payoff_usd8), 0)",
        "{policy} p",
        "p.settled_height",
    )
    + " GROUP BY w.place"
)
_PROVIDERS: Final = _in_buckets("count(*)", "{provider} p", "p.first_seen_height") + " GROUP BY w.place"
_ACCOUNTS: Final = _in_buckets("count(DISTINCT e.account)", "{account_entry} e", "e.height") + " GROUP BY w.place"
_FLOW_KINDS: Final = (
    "deposit",
    "withdrawal",
    "premium-paid",
    "premium-refund",
    "premium-earned",
    "yield-claim",
    "payout",
    "fee-collection",
)
_FLOWS: Final = (
    _in_buckets(
        "e.token, coalesce(sum(e.amount) FILTER (WHERE e.kind = 'deposit'), 0), "
        "coalesce(sum(e.amount) FILTER (WHERE e.kind = 'withdrawal'), 0), "
        "coalesce(sum(e.amount) FILTER (WHERE e.kind = 'premium-paid'), 0), "
        "coalesce(sum(e.amount) FILTER (WHERE e.kind = 'premium-refund'), 0), "
        "coalesce(sum(e.amount) FILTER (WHERE e.kind = 'premium-earned'), 0), "
        "coalesce(sum(e.amount) FILTER (WHERE e.kind = 'yield-claim'), 0), "
        "coalesce(sum(e.amount) FILTER (WHERE e.kind = 'payout'), 0), "
        "coalesce(sum(e.amount) FILTER (WHERE e.kind = 'fee-collection'), 0)",
        "{account_entry} e",
        "e.height",
    )
    + " AND e.kind = ANY(%s) GROUP BY w.place, e.token ORDER BY w.place, e.token"
)


def _analytics_field() -> StrawberryField:
    async def resolve(root: Any, info: Info, **given: Any) -> list[PlatformBucket]:
        session = info.context.session
        wanted = await intervals.buckets(session, given)
        if not wanted:
            return []
        heights = [wanted[0].before, *(bucket.last for bucket in wanted)]
        within = (heights, heights[0], heights[-1])
        created = {place: row for place, *row in await read(session, _CREATED, *within)}
        ended = {place: row for place, *row in await read(session, _ENDED, *within)}
        providers = dict(await read(session, _PROVIDERS, *within))
        accounts = dict(await read(session, _ACCOUNTS, *within))
        flows: dict[int, list[TokenFlow]] = {}
        for place, *row in await read(session, _FLOWS, *within, list(_FLOW_KINDS)):
            flows.setdefault(place, []).append(made(TokenFlow, row))
        return [
            made(
                PlatformBucket,
                (
                    bucket.begins,
                    bucket.last,
                    *created.get(place, (0,) * 5),
                    *ended.get(place, (0,) * 5),
                    providers.get(place, 0),
                    accounts.get(place, 0),
                    flows.get(place, []),
                ),
            )
            for place, bucket in enumerate(wanted, start=1)
        ]

    return make_field(
        "platformAnalytics",
        list[PlatformBucket],
        "What happened on the protocol by interval, oldest first, by the time of the Stacks block it happened in. "
        f"Intervals before the first block are left out; at most {intervals.MOST_BUCKETS}.",
        resolver=with_arguments(resolve, dict(intervals.ARGUMENTS)),
        length=Length(intervals.MOST_BUCKETS),
    )


def queries(types: Types) -> Sequence[StrawberryField]:
    """The fields of `Query` about the protocol as a whole."""
    return [_standing_field(), _health_field(), _analytics_field()]
