"""Pools: what the vault holds of a token, altogether and by tier, now and over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from inspect import Parameter
from typing import Any, Final

import strawberry
from strawberry.types.field import StrawberryField

from clarion.protocols.bithedge.analytics import apy_bp, share_bp
from clarion.protocols.bithedge.payoff import health_bp, value_usd8
from clarion_graphql.bithedge import intervals, yields
from clarion_graphql.bithedge.intervals import Bucket
from clarion_graphql.bithedge.reading import big, known_burn, read
from clarion_graphql.bithedge.unit_texts import TOKEN
from clarion_graphql.bithedge.yields import Movements, Window, Yield, yield_of
from clarion_graphql.context import Info
from clarion_graphql.errors import ApiError, Code, InputError
from clarion_graphql.lengths import Length
from clarion_graphql.scalars import BigInt
from clarion_graphql.session import Session
from clarion_graphql.types import Types, make_field, with_arguments

#: Most intervals of a pool's history: each is a look into the change log.
MOST_POINTS: Final = 200


@strawberry.type(description="A pool of capital: all positions of one token, in one tier or in all of them.")
class PoolFigures:
    """A row of ``token_pool`` or ``tier_pool`` with what follows from it."""

    token: str = strawberry.field(description="Collateral token.")
    tier: str | None = strawberry.field(description="Risk tier; null: all of them.")
    available: BigInt = strawberry.field(description=f"Not locked, what is asked back included. {TOKEN}")
    locked: BigInt = strawberry.field(description=f"Backs policies. {TOKEN}")
    requested: BigInt = strawberry.field(description=f"Asked back, of the available. {TOKEN}")
    capital: BigInt = strawberry.field(description=f"Available and locked. {TOKEN}")
    utilisation_bp: BigInt | None = strawberry.field(
        description="Locked of capital; null without capital, where premiums are priced as of no use. Unit: 1/10000."
    )
    price_usd8: BigInt | None = strawberry.field(
        description="Last price of the token; null where there is none. Unit: US dollars x 10^8 of a whole token."
    )
    value_usd8: BigInt | None = strawberry.field(
        description="Capital at that price, rounded down. Unit: US dollars x 10^8."
    )
    liability_usd8: BigInt = strawberry.field(
        description="Sum of the maximum payouts it backs. Unit: US dollars x 10^8."
    )
    health_bp: BigInt | None = strawberry.field(
        description="Worth of its capital, less the token's haircut, per liability; null without liability or price. "
        "Unit: 1/10000."
    )
    providers: int = strawberry.field(description="Providers with capital in it.")
    positions: int = strawberry.field(description="Positions with capital.")
    active_policies: int = strawberry.field(description="Policies it backs.")
    policies: int = strawberry.field(description="Policies it backs or backed.")
    deposited: BigInt = strawberry.field(description=f"Deposited, in all. {TOKEN}")
    withdrawn: BigInt = strawberry.field(description=f"Withdrawn, in all. {TOKEN}")
    paid_out: BigInt = strawberry.field(description=f"Paid to owners of policies, in all. {TOKEN}")
    premium_unearned: BigInt = strawberry.field(description=f"The providers' premium of active policies. {TOKEN}")
    premium_earned: BigInt = strawberry.field(description=f"Premium that became yield, in all. {TOKEN}")
    yields: Yield = strawberry.field(description="What its capital has earned and lost lately.")


@strawberry.type(description="Everything about the vault's capital in one token.")
class Pool:
    """A token's pool."""

    whole: PoolFigures = strawberry.field(description="All tiers together.")
    tiers: list[PoolFigures] = strawberry.field(description="By tier, in the order in which tiers are tried.")
    premiums: BigInt = strawberry.field(description=f"Premiums paid by buyers, fees included, in all. {TOKEN}")
    premiums_refunded: BigInt = strawberry.field(description=f"Premium given back, in all. {TOKEN}")
    yield_payable: BigInt = strawberry.field(
        description=f"Earned premium, bounties and penalties not yet claimed. {TOKEN}"
    )
    yield_claimed: BigInt = strawberry.field(description=f"Yield claimed, in all. {TOKEN}")
    platform_fees: BigInt = strawberry.field(description=f"Platform fees that the vault holds. {TOKEN}")
    reserve_fees: BigInt = strawberry.field(description=f"Reserve fees that the vault holds. {TOKEN}")
    fees_collected: BigInt = strawberry.field(description=f"Fees collected out of the vault, in all. {TOKEN}")
    owed: BigInt = strawberry.field(
        description="Everything the vault owes: capital, premium not yet earned, yield, fees. Its token balance, "
        f"unless somebody sent it tokens unasked. {TOKEN}"
    )


@strawberry.type(description="A pool at the end of an interval, and what came and went in it.")
class PoolBucket:
    """A pool's row at two blocks, and the difference."""

    start: datetime = strawberry.field(description="First moment of the interval.")
    height: int = strawberry.field(description="Last Stacks block of the interval, as of which the state is told.")
    burn_height: int | None = strawberry.field(description="Bitcoin block of that block.")
    available: BigInt = strawberry.field(description=f"Not locked, at the end. {TOKEN}")
    locked: BigInt = strawberry.field(description=f"Backs policies, at the end. {TOKEN}")
    requested: BigInt = strawberry.field(description=f"Asked back, at the end. {TOKEN}")
    utilisation_bp: BigInt | None = strawberry.field(
        description="Locked of capital, at the end; null without capital. Unit: 1/10000."
    )
    liability_usd8: BigInt = strawberry.field(
        description="Sum of the maximum payouts it backs, at the end. Unit: US dollars x 10^8."
    )
    positions: int = strawberry.field(description="Positions with capital, at the end.")
    active_policies: int = strawberry.field(description="Policies it backs, at the end.")
    new_policies: int = strawberry.field(description="Policies bought in the interval.")
    deposited: BigInt = strawberry.field(description=f"Deposited in the interval. {TOKEN}")
    withdrawn: BigInt = strawberry.field(description=f"Withdrawn in the interval. {TOKEN}")
    premiums: BigInt | None = strawberry.field(
        description=f"Premiums paid by buyers in the interval, fees included; null for one tier. {TOKEN}"
    )
    premium_earned: BigInt = strawberry.field(description=f"Premium that became yield in the interval. {TOKEN}")
    paid_out: BigInt = strawberry.field(description=f"Paid to owners of policies in the interval. {TOKEN}")
    apy_bp: BigInt | None = strawberry.field(
        description="Premium earned in the interval, a year of 52,560 Bitcoin blocks, of the capital times the blocks "
        "it was there, rounded down; null without capital or where the interval is within one Bitcoin block. "
        "Unit: 1/10000."
    )


_SHARED: Final = (
    "p.available, p.locked, p.requested, p.liability_usd8, p.positions, p.active_policies, p.policies, p.deposited, "
    "p.withdrawn, p.paid_out"
)
_OF_TOKEN: Final = "LEFT JOIN {token} k ON k.token = p.token LEFT JOIN {asset} a ON a.asset = k.asset"
_TIER_POOLS: Final = (
    "SELECT p.token, p.tier, k.decimals, k.haircut_bp, nullif(a.price_usd8, 0), (SELECT count(DISTINCT o.provider) "
    "FROM {position} o WHERE o.token = p.token AND o.tier = p.tier AND o.available + o.locked > 0), "
    + _SHARED
    + ", p.premium_unearned, p.premium_earned FROM {tier_pool} p LEFT JOIN {tier} r ON r.name = p.tier "
    + _OF_TOKEN
    + " WHERE (%s::text IS NULL OR p.token = %s) AND (%s::text IS NULL OR p.tier = %s) "
    "ORDER BY p.token, r.rank, p.tier"
)
_TOKEN_POOL: Final = (
    "SELECT p.token, NULL, k.decimals, k.haircut_bp, nullif(a.price_usd8, 0), (SELECT count(DISTINCT o.provider) "
    "FROM {position} o WHERE o.token = p.token AND o.available + o.locked > 0), "
    + _SHARED
    + ", p.unearned, p.premiums_earned, p.premiums, p.premiums_refunded, p.yield_payable, p.yield_claimed, "
    "p.platform_fees, p.reserve_fees, p.fees_collected FROM {token_pool} p " + _OF_TOKEN + " WHERE p.token = %s"
)


def _figures(row: Sequence[Any], moved: Movements, window: Window) -> PoolFigures:
    token, tier, decimals, haircut, price, providers, available, locked, requested, liability, *rest = row
    positions, active, policies, deposited, withdrawn, paid_out, unearned, earned = rest
    capital = available + locked
    known = price is not None and decimals is not None
    return PoolFigures(
        token=token,
        tier=tier,
        available=available,
        locked=locked,
        requested=requested,
        capital=capital,
        utilisation_bp=big(share_bp(locked, available + locked)),
        price_usd8=price,
        value_usd8=big(value_usd8(capital, decimals, price)) if known else None,
        liability_usd8=liability,
        health_bp=big(health_bp(capital, decimals, price, haircut, liability)) if known else None,
        providers=providers,
        positions=positions,
        active_policies=active,
        policies=policies,
        deposited=deposited,
        withdrawn=withdrawn,
        paid_out=paid_out,
        premium_unearned=unearned,
        premium_earned=earned,
        yields=yield_of(capital, moved, window),
    )


async def _tier_figures(
    session: Session,
    token: str | None,
    tier: str | None,
    moved: Mapping[tuple[str, str | None], Movements],
    window: Window,
) -> list[PoolFigures]:
    rows = await read(session, _TIER_POOLS, token, token, tier, tier)
    return [_figures(row, moved.get((row[0], row[1]), yields.NONE), window) for row in rows]


def _pool_field() -> StrawberryField:
    async def resolve(root: Any, info: Info, *, token: str, days: int) -> Pool | None:
        session = info.context.session
        window = await yields.window_of(session, days, await known_burn(info))
        rows = await read(session, _TOKEN_POOL, token)
        if not rows:
            return None
        moved = await yields.movements(session, window, "e.token = %s", token)
        *figures, premiums, refunded, payable, claimed, platform, reserve, collected = rows[0]
        whole = _figures(figures, yields.together(moved, token), window)
        return Pool(
            whole=whole,
            tiers=await _tier_figures(session, token, None, moved, window),
            premiums=premiums,
            premiums_refunded=refunded,
            yield_payable=payable,
            yield_claimed=claimed,
            platform_fees=platform,
            reserve_fees=reserve,
            fees_collected=collected,
            owed=BigInt(whole.capital + whole.premium_unearned + payable + platform + reserve),
        )

    return make_field(
        "pool",
        Pool | None,
        "A token's pool: what the vault holds of it and what its capital earns; null where it has held none.",
        resolver=with_arguments(resolve, {"token": _TOKEN, **yields.ARGUMENTS}),
    )


def _tier_stats_field() -> StrawberryField:
    async def resolve(root: Any, info: Info, *, tier: str | None, days: int) -> list[PoolFigures]:
        session = info.context.session
        window = await yields.window_of(session, days, await known_burn(info))
        scope = "(%s::text IS NULL OR e.tier = %s)"
        moved = await yields.movements(session, window, scope, tier, tier)
        return await _tier_figures(session, None, tier, moved, window)

    return make_field(
        "tierStats",
        list[PoolFigures],
        "The pools of a tier, or of all tiers, by token.",
        resolver=with_arguments(resolve, {"tier": (str | None, None, "Risk tier."), **yields.ARGUMENTS}),
    )


#: A pool's row as of several blocks: one look into the change log a block, by the pool's key.
_TOKEN_ROWS: Final = (
    "SELECT b.burn_height, " + _SHARED + ", p.premiums_earned, p.premiums "
    "FROM unnest(%s::bigint[]) WITH ORDINALITY AS h(height, place) "
    "JOIN {canonical_block} c ON c.chain = 'stacks' AND c.height = h.height "
    "JOIN clarion.block b ON b.chain = c.chain AND b.hash = c.hash "
    "LEFT JOIN LATERAL (SELECT * FROM clarion.as_of(NULL::bithedge.token_pool, h.height) t WHERE t.token = %s) p "
    "ON true ORDER BY h.place"
)
_TIER_ROWS: Final = (
    "SELECT b.burn_height, " + _SHARED + ", p.premium_earned, NULL "
    "FROM unnest(%s::bigint[]) WITH ORDINALITY AS h(height, place) "
    "JOIN {canonical_block} c ON c.chain = 'stacks' AND c.height = h.height "
    "JOIN clarion.block b ON b.chain = c.chain AND b.hash = c.hash "
    "LEFT JOIN LATERAL (SELECT * FROM clarion.as_of(NULL::bithedge.tier_pool, h.height) t "
    "WHERE t.token = %s AND t.tier = %s) p ON true ORDER BY h.place"
)
_KEPT: Final = (
    "SELECT coalesce((SELECT k.from_height FROM clarion.kept k WHERE k.chain = 'stacks' AND k.\"table\" = %s), 0), "
    "EXISTS (SELECT FROM clarion.protocol p WHERE p.chain = 'stacks' AND p.name = 'bithedge' AND p.generation > 0 "
    "AND p.fingerprint <> '' AND p.stopped_sequence IS NULL)"
)
#: Changes of capital in each bucket, times the Bitcoin blocks since the bucket's first.
_LATE: Final = (
    "SELECT w.place, sum(" + yields.CHANGE + " * (e.burn_height - (%s::bigint[])[w.place])) FROM {account_entry} e "
    "CROSS JOIN LATERAL (SELECT width_bucket(e.height - 1, %s::bigint[]) AS place) w "
    "WHERE e.kind = ANY(%s) AND e.token = %s AND (%s::text IS NULL OR e.tier = %s) AND e.height > %s "
    "AND e.height <= %s GROUP BY w.place"
)


async def _require_kept(session: Session, table: str, height: int) -> None:
    """Raise ApiError where a table cannot be read as of a block."""
    ((kept_from, is_live),) = await read(session, _KEPT, table)
    if not is_live:
        raise ApiError(Code.NOT_LIVE, "BitHedge is not indexed now, so its past cannot be told.")
    if height < kept_from:
        raise ApiError(
            Code.NOT_KEPT,
            f"{table} at block {height} is not kept any more: ask from a moment after block {kept_from} on.",
        )


async def _require_pool(session: Session, token: str, tier: str | None) -> None:
    """Raise InputError where no token or no tier has the name; a pool of known ones may be empty."""
    if not await read(session, "SELECT FROM {token} k WHERE k.token = %s", token):
        raise InputError(f"{token} is no collateral token.")
    if tier is not None and not await read(session, "SELECT FROM {tier} r WHERE r.name = %s", tier):
        raise InputError(f"There is no tier {tier}.")


async def _rows_at(session: Session, token: str, tier: str | None, heights: Sequence[int]) -> list[Sequence[Any]]:
    """A pool's row as of blocks that the index has; all zero where it was not there yet."""
    await _require_kept(session, "bithedge.token_pool" if tier is None else "bithedge.tier_pool", min(heights))
    distinct = sorted(set(heights))  # intervals without a block are as the one before
    if tier is None:
        rows = await read(session, _TOKEN_ROWS, distinct, token)
    else:
        rows = await read(session, _TIER_ROWS, distinct, token, tier)
    found = {
        height: (burn, *(value or 0 for value in row)) for height, (burn, *row) in zip(distinct, rows, strict=True)
    }
    return [found[height] for height in heights]


def _history_field() -> StrawberryField:
    async def resolve(root: Any, info: Info, *, token: str, tier: str | None, **given: Any) -> list[PoolBucket]:
        session = info.context.session
        await _require_pool(session, token, tier)
        wanted = await intervals.buckets(session, given, most=MOST_POINTS)
        if not wanted:
            return []
        first = wanted[0].before
        begun = await read(session, "SELECT FROM {canonical_block} k WHERE k.chain = 'stacks' AND k.height = %s", first)
        heights = [*([first] if begun else []), *(bucket.last for bucket in wanted)]
        rows = await _rows_at(session, token, tier, heights)
        if not begun:
            rows.insert(0, [0] * len(rows[0]))
        burns = [row[0] for row in rows]
        late: dict[int, int] = {}
        if None not in burns:
            found = await read(
                session,
                _LATE,
                burns,
                [first, *(bucket.last for bucket in wanted)],
                yields.KINDS,
                token,
                tier,
                tier,
                first,
                wanted[-1].last,
            )
            late = dict(found)
        return [
            _bucket(bucket, rows[place - 1], rows[place], late.get(place, 0), tier)
            for place, bucket in enumerate(wanted, start=1)
        ]

    return make_field(
        "poolHistory",
        list[PoolBucket],
        "A token's pool over time, oldest first: its row as of the last block of each interval, from the change log, "
        "and what the row's sums grew by. Exact, as far back as the change log is kept. Intervals before the first "
        f"block are left out; at most {MOST_POINTS}. An unknown token or tier is an error.",
        resolver=with_arguments(
            resolve,
            {"token": _TOKEN, "tier": (str | None, None, "Risk tier; all of them without."), **intervals.ARGUMENTS},
        ),
        length=Length(MOST_POINTS),
    )


def _bucket(bucket: Bucket, before: Sequence[Any], after: Sequence[Any], late: int, tier: str | None) -> PoolBucket:
    burn_before, *_, premiums_before = before
    burn, available, locked, requested, liability, positions, active, *sums, premiums = after
    policies, deposited, withdrawn, paid_out, earned = (
        now - then for now, then in zip(sums, before[7:-1], strict=True)
    )
    blocks = 0 if burn is None or burn_before is None else (available + locked) * (burn - burn_before) - late
    return PoolBucket(
        start=bucket.begins,
        height=bucket.last,
        burn_height=burn,
        available=available,
        locked=locked,
        requested=requested,
        utilisation_bp=big(share_bp(locked, available + locked)),
        liability_usd8=liability,
        positions=positions,
        active_policies=active,
        new_policies=policies,
        deposited=deposited,
        withdrawn=withdrawn,
        premiums=None if tier is not None else BigInt(premiums - premiums_before),
        premium_earned=earned,
        paid_out=paid_out,
        apy_bp=big(apy_bp(earned, blocks)),
    )


_TOKEN: Final = (str, Parameter.empty, "Collateral token: its contract id; native STX is that of bh-stx.")


def queries(types: Types) -> Sequence[StrawberryField]:
    """The fields of `Query` about pools."""
    return [_pool_field(), _tier_stats_field(), _history_field()]
