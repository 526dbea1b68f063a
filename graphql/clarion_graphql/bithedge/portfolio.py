"""What an address has in BitHedge: as a provider of capital, and as an owner of policies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import Parameter
from typing import Any, Final

import strawberry
from strawberry.types.field import StrawberryField

from clarion.protocols.bithedge.health import position_health
from clarion.protocols.bithedge.payoff import value_usd8
from clarion.protocols.bithedge.units import TokenAmount
from clarion_graphql.bithedge import yields
from clarion_graphql.bithedge.addresses import about_principal
from clarion_graphql.bithedge.margins import MARGIN
from clarion_graphql.bithedge.policy_columns import INTRINSIC, PAID, PNL
from clarion_graphql.bithedge.reading import big, known_burn, made, read
from clarion_graphql.bithedge.unit_texts import TOKEN, USD8
from clarion_graphql.bithedge.yields import Movements, Window, Yield, yield_of
from clarion_graphql.context import Info
from clarion_graphql.scalars import BigInt
from clarion_graphql.session import Session
from clarion_graphql.types import Types, make_field, with_arguments


@strawberry.type(description="A position with what it is worth, how well it covers what it owes, and what it earns.")
class PositionFigures:
    """A position and what follows from it."""

    tier: str = strawberry.field(description="Risk tier.")
    token: str = strawberry.field(description="Collateral token.")
    available: BigInt = strawberry.field(description=f"Not locked, what is asked back included. {TOKEN}")
    locked: BigInt = strawberry.field(description=f"Backs policies. {TOKEN}")
    requested: BigInt = strawberry.field(description=f"Asked back, of the available. {TOKEN}")
    value_usd8: BigInt | None = strawberry.field(
        description=f"Available and locked at the token's last price, rounded down; null without a price. {USD8}"
    )
    liability_usd8: BigInt = strawberry.field(description=f"Sum of the maximum payouts that it backs. {USD8}")
    health_bp: BigInt | None = strawberry.field(
        description="Worth of its capital, less the token's haircut, per liability; null without liability or price. "
        "Unit: 1/10000."
    )
    margin: MARGIN | None = strawberry.field(description="Where that health stands; null without a price.")
    deficit: BigInt | None = strawberry.field(
        description="What would bring it to its tier's warning ratio, 0 where it is there; null without a price. "
        f"{TOKEN}"
    )
    active_policies: int = strawberry.field(description="Policies it backs.")
    premium_unearned: BigInt = strawberry.field(description=f"Its part of the premiums of active policies. {TOKEN}")
    premium_earned: BigInt = strawberry.field(description=f"Premium earned, in all. {TOKEN}")
    paid_out: BigInt = strawberry.field(description=f"Paid to owners of policies, in all. {TOKEN}")
    yields: Yield = strawberry.field(description="What its capital has earned and lost lately.")


@strawberry.type(description="What a provider has earned in one token, in all tiers.")
class Income:
    """Yield of one token."""

    token: str = strawberry.field(description="Token.")
    earned: BigInt = strawberry.field(description=f"Premiums earned, in all. {TOKEN}")
    credited: BigInt = strawberry.field(description=f"Bounties and penalties of moved allocations, in all. {TOKEN}")
    claimed: BigInt = strawberry.field(description=f"Yield claimed, in all. {TOKEN}")
    claimable: BigInt = strawberry.field(description=f"Yield that can be claimed now. {TOKEN}")
    pending: BigInt = strawberry.field(description=f"Its part of the premiums of active policies. {TOKEN}")
    paid_out: BigInt = strawberry.field(description=f"Collateral paid to owners of policies, in all. {TOKEN}")
    exposure_usd8: BigInt = strawberry.field(description=f"Sum of the maximum payouts that it backs. {USD8}")
    yields: Yield = strawberry.field(description="What its capital has earned and lost lately.")


@strawberry.type(description="How the policies stand that a provider backs or backed.")
class CoveredCounts:
    """Allocations of a provider by what became of their policies."""

    total: int = strawberry.field(description="Policies it backs or backed.")
    active: int = strawberry.field(description="Active, and still backed by it.")
    expired_otm: int = strawberry.field(description="Expired worthless while it backed them.")
    settled_itm: int = strawberry.field(description="Expired in the money while it backed them.")
    exercised: int = strawberry.field(description="Exercised while it backed them.")
    cancelled: int = strawberry.field(description="Cancelled while it backed them.")
    moved: int = strawberry.field(description="Taken over by another provider.")


@strawberry.type(description="An address as a provider of capital.")
class ProviderPortfolio:
    """Positions and what they earn."""

    auto_match: bool = strawberry.field(description="Policies may be put on its positions.")
    first_seen_height: int = strawberry.field(description="Stacks block of its first event.")
    value_usd8: BigInt | None = strawberry.field(
        description=f"Worth of its positions; null where a token has no price. {USD8}"
    )
    liability_usd8: BigInt = strawberry.field(description=f"Sum of the maximum payouts that it backs. {USD8}")
    positions: list[PositionFigures] = strawberry.field(description="Its positions, by tier and token.")
    income: list[Income] = strawberry.field(description="What it has earned, by token.")
    policies: CoveredCounts = strawberry.field(description="Policies it backs or backed, by what became of them.")
    open_margin_calls: int = strawberry.field(description="Open margin calls on it; `marginCalls` lists them.")
    pending_withdrawals: int = strawberry.field(
        description="Requests not yet withdrawn; `withdrawRequests` lists them."
    )


@strawberry.type(description="What an owner has paid and got in one token.")
class OwnerTotals:
    """Premiums and payouts of one token."""

    token: str = strawberry.field(description="Token.")
    premiums: BigInt = strawberry.field(description=f"Premiums paid, in all. {TOKEN}")
    payouts: BigInt = strawberry.field(description=f"Paid to it at the end of policies, in all. {TOKEN}")
    refunds: BigInt = strawberry.field(description=f"Premium given back for cancelled policies, in all. {TOKEN}")


@strawberry.type(description="An address as an owner of policies.")
class OwnerPortfolio:
    """Policies and what they brought."""

    total: int = strawberry.field(description="Policies it has bought.")
    active: int = strawberry.field(description="Active policies.")
    expired_otm: int = strawberry.field(description="Policies that expired worthless.")
    settled_itm: int = strawberry.field(description="Policies that expired in the money.")
    exercised: int = strawberry.field(description="Policies it exercised.")
    cancelled: int = strawberry.field(description="Policies it cancelled.")
    protected_sat: BigInt = strawberry.field(description="Notional of its active policies. Unit: satoshis.")
    max_payout_usd8: BigInt = strawberry.field(description=f"Most that its active policies pay. {USD8}")
    intrinsic_usd8: BigInt | None = strawberry.field(
        description=f"What its active policies would pay at the last prices; null where one has no price. {USD8}"
    )
    premiums_usd8: BigInt | None = strawberry.field(
        description=f"Premiums paid, in all, at the tokens' prices of the policies' creation. {USD8}"
    )
    payoffs_usd8: BigInt = strawberry.field(description=f"Payoffs of its ended policies, in all. {USD8}")
    unpaid_usd8: BigInt = strawberry.field(description=f"Still owed to it. {USD8}")
    pnl_usd8: BigInt | None = strawberry.field(
        description="Sum of its policies' `pnlUsd8`: what it has won or (negative) lost; null where one has none. "
        f"{USD8}"
    )
    totals: list[OwnerTotals] = strawberry.field(description="Paid and got, by token.")


@strawberry.type(description="What an address has in BitHedge.")
class Portfolio:
    """An address in both its parts."""

    address: str = strawberry.field(description="Principal.")
    provider: ProviderPortfolio | None = strawberry.field(
        description="As a provider of capital; null where it never was one."
    )
    owner: OwnerPortfolio | None = strawberry.field(description="As an owner of policies; null where it never had one.")


_POSITIONS: Final = (
    "SELECT p.tier, p.token, p.available, p.locked, p.requested, p.liability_usd8, p.active_policies, "
    "p.premium_unearned, p.premium_earned, p.paid_out, k.decimals, k.haircut_bp, nullif(a.price_usd8, 0), "
    "r.ratio_min_bp, r.ratio_warn_bp FROM {position} p LEFT JOIN {token} k ON k.token = p.token "
    "LEFT JOIN {asset} a ON a.asset = k.asset LEFT JOIN {tier} r ON r.name = p.tier WHERE p.provider = %s "
    "ORDER BY r.rank, p.tier, p.token"
)
_COVERED: Final = (
    "SELECT count(*), count(*) FILTER (WHERE a.state = 'active'), "
    "count(*) FILTER (WHERE a.state = 'released' AND p.state = 'expired-otm'), "
    "count(*) FILTER (WHERE a.state = 'released' AND p.state = 'settled-itm'), "
    "count(*) FILTER (WHERE a.state = 'released' AND p.state = 'exercised'), "
    "count(*) FILTER (WHERE a.state = 'released' AND p.state = 'cancelled'), "
    "count(*) FILTER (WHERE a.state = 'moved') "
    "FROM {allocation} a LEFT JOIN {policy} p ON p.id = a.policy WHERE a.provider = %s"
)


class _Ratios:
    """A tier's ratios as health reads them."""

    def __init__(self, ratio_min_bp: Any, ratio_warn_bp: Any) -> None:
        self.ratio_min_bp = ratio_min_bp
        self.ratio_warn_bp = ratio_warn_bp


def _position(row: Sequence[Any], moved: Mapping[tuple[str, str | None], Movements], window: Window) -> PositionFigures:
    tier, token, available, locked, requested, liability, active, unearned, earned, paid_out, *terms = row
    decimals, haircut, price, least, warn = terms
    capital = available + locked
    health = None
    if None not in terms:
        ratios = _Ratios(least, warn)
        health = position_health(capital, liability, ratios, decimals=decimals, haircut=haircut, price=price)
    return PositionFigures(
        tier=tier,
        token=token,
        available=available,
        locked=locked,
        requested=requested,
        value_usd8=None if price is None or decimals is None else BigInt(value_usd8(capital, decimals, price)),
        liability_usd8=liability,
        health_bp=None if health is None else big(health.health),
        margin=None if health is None else health.margin,
        deficit=None if health is None else BigInt(health.deficit),
        active_policies=active,
        premium_unearned=unearned,
        premium_earned=earned,
        paid_out=paid_out,
        yields=yield_of(capital, moved.get((token, tier), yields.NONE), window),
    )


async def _provider(session: Session, address: str, window: Window) -> ProviderPortfolio | None:
    known = await read(
        session, "SELECT p.auto_match, p.first_seen_height FROM {provider} p WHERE p.provider = %s", address
    )
    balances = {
        row[0]: row[1:]
        for row in await read(
            session,
            "SELECT y.token, y.earned, y.credited, y.claimed, y.claimable FROM {yield_balance} y "
            "WHERE y.provider = %s ORDER BY y.token",
            address,
        )
    }
    if not known:
        return None
    moved = await yields.movements(session, window, "e.account = %s", address)
    positions = [_position(row, moved, window) for row in await read(session, _POSITIONS, address)]
    values = [position.value_usd8 for position in positions]
    income = []
    for token in sorted({*balances, *(position.token for position in positions)}):
        own = [position for position in positions if position.token == token]
        earned, credited, claimed, claimable = balances.get(token, (0, 0, 0, 0))
        capital = TokenAmount(sum(position.available + position.locked for position in own))
        income.append(
            Income(
                token=token,
                earned=earned,
                credited=credited,
                claimed=claimed,
                claimable=claimable,
                pending=BigInt(sum(position.premium_unearned for position in own)),
                paid_out=BigInt(sum(position.paid_out for position in own)),
                exposure_usd8=BigInt(sum(position.liability_usd8 for position in own)),
                yields=yield_of(capital, yields.together(moved, token), window),
            )
        )
    ((calls, withdrawals),) = await read(
        session,
        "SELECT (SELECT count(*) FROM {margin_call} m WHERE m.provider = %s AND m.state = 'open'), "
        "(SELECT count(*) FROM {withdraw_request} w WHERE w.provider = %s AND w.state = 'pending')",
        address,
        address,
    )
    return ProviderPortfolio(
        auto_match=known[0][0],
        first_seen_height=known[0][1],
        value_usd8=None if None in values else BigInt(sum(value for value in values if value is not None)),
        liability_usd8=BigInt(sum(position.liability_usd8 for position in positions)),
        positions=positions,
        income=income,
        policies=made(CoveredCounts, (await read(session, _COVERED, address))[0]),
        open_margin_calls=calls,
        pending_withdrawals=withdrawals,
    )


_OWNED: Final = (
    "SELECT count(*), count(*) FILTER (WHERE t.state = 'active'), count(*) FILTER (WHERE t.state = 'expired-otm'), "
    "count(*) FILTER (WHERE t.state = 'settled-itm'), count(*) FILTER (WHERE t.state = 'exercised'), "
    "count(*) FILTER (WHERE t.state = 'cancelled'), "
    "coalesce(sum(t.notional_sat) FILTER (WHERE t.state = 'active'), 0), "
    "coalesce(sum(t.max_payout_usd8) FILTER (WHERE t.state = 'active'), 0), "
    "CASE WHEN bool_and(t.state <> 'active' OR w.intrinsic IS NOT NULL) THEN coalesce(sum(w.intrinsic) "
    "FILTER (WHERE t.state = 'active'), 0) END, "
    "CASE WHEN bool_and(w.paid IS NOT NULL) THEN sum(w.paid) END, coalesce(sum(t.payoff_usd8), 0), "
    "coalesce(sum(t.unpaid_usd8), 0), CASE WHEN bool_and(w.pnl IS NOT NULL) THEN sum(w.pnl) END "
    "FROM {policy} t CROSS JOIN LATERAL (SELECT "
    + INTRINSIC
    + " AS intrinsic, "
    + PAID
    + " AS paid, "
    + PNL
    + " AS pnl) w "
    "WHERE t.owner = %s"
)
_OWNER_TOTALS: Final = (
    "SELECT e.token, coalesce(sum(e.amount) FILTER (WHERE e.kind = 'premium-paid'), 0), "
    "coalesce(sum(e.amount) FILTER (WHERE e.kind = 'payout'), 0), "
    "coalesce(sum(e.amount) FILTER (WHERE e.kind = 'premium-refund'), 0) FROM {account_entry} e "
    "WHERE e.account = %s AND e.kind IN ('premium-paid', 'payout', 'premium-refund') GROUP BY e.token ORDER BY e.token"
)


async def _owner(session: Session, address: str) -> OwnerPortfolio | None:
    ((total, *rest),) = await read(session, _OWNED, address)
    if not total:
        return None
    totals = [made(OwnerTotals, row) for row in await read(session, _OWNER_TOTALS, address)]
    return made(OwnerPortfolio, (total, *rest, totals))


def queries(types: Types) -> Sequence[StrawberryField]:
    """The field of `Query` about what an address has."""

    async def resolve(root: Any, info: Info, *, address: str, days: int) -> Portfolio:
        session = info.context.session
        window = await yields.window_of(session, days, await known_burn(info))
        return Portfolio(
            address=address,
            provider=await _provider(session, address, window),
            owner=await _owner(session, address),
        )

    return [
        make_field(
            "portfolio",
            Portfolio,
            "What an address has in BitHedge, as a provider and as an owner. Its rows themselves are in lists: "
            "`provider` with its relations, `policies`, `allocations`, `activity`.",
            resolver=with_arguments(
                about_principal(resolve), {"address": (str, Parameter.empty, "Principal."), **yields.ARGUMENTS}
            ),
        )
    ]
