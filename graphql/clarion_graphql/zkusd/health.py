"""How well a set of zkUSD's apps stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString, TypeVar

from strawberry.types.base import StrawberryList
from strawberry.types.field import StrawberryField

from clarion.protocols.zkusd import ratios
from clarion.protocols.zkusd.health import HealthLevel, Vitals, assess
from clarion.protocols.zkusd.units import DAY_BLOCKS, Base, Bps, Price8, Sats
from clarion_graphql.amounts import figure
from clarion_graphql.context import Info
from clarion_graphql.enums import named_enum
from clarion_graphql.errors import ApiError, Code
from clarion_graphql.reading import made
from clarion_graphql.types import Types, make_field, make_type, with_arguments
from clarion_graphql.zkusd.figures import APP_SET, named_set
from clarion_graphql.zkusd.reading import TABLES

N = TypeVar("N", bound=int)

_STATE: Final[LiteralString] = (
    "SELECT p.computed_tcr_bps, p.active_vaults, p.recovery_mode, p.paused, {tip_time} - p.price_time, p.price8, "
    "p.claimed_price_height, {tip_height}, p.price_time, {tip_time}, p.computed_debt, p.drift_collateral, "
    "p.drift_debt, p.drift_supply, greatest(p.computed_collateral - p.backing_sats, 0), k.total, k.diverged, "
    "s.max_price_age_blocks, s.max_price_age_seconds, s.max_price_step_bps, s.ccr_percent, "
    "(SELECT o.change_bps FROM {oracle_price} o WHERE o.app_set = p.app_set ORDER BY o.number DESC LIMIT 1), "
    "(SELECT count(*) FROM {liquidation} l WHERE l.app_set = p.app_set AND l.height > {tip_height} - %s), "
    "(SELECT count(*) FROM {vault} v WHERE v.app_set = p.app_set AND v.active AND v.at_risk_since_height IS NOT NULL), "
    "(SELECT count(*) FROM {vault} v WHERE v.app_set = p.app_set AND v.active AND v.entire_debt > 0 "
    "AND div(div(v.entire_collateral * p.price8, 100000000) * 100, v.entire_debt) < s.ccr_percent) "
    "FROM {protocol} p JOIN {app_set} s ON s.app_set = p.app_set "
    "LEFT JOIN {stability_pool} k ON k.app_set = p.app_set WHERE p.app_set = %s"
)
_RISKIEST: Final[LiteralString] = (
    "SELECT v.entire_collateral, v.entire_debt FROM {vault} v WHERE v.app_set = %s AND v.active AND v.entire_debt > 0 "
    "ORDER BY v.entire_collateral / v.entire_debt LIMIT 1"
)
_CONTRACTS: Final[LiteralString] = (
    "SELECT c.role, c.forks, c.live FROM {contract} c WHERE c.app_set = %s ORDER BY c.role"
)


def queries(types: Types) -> Sequence[StrawberryField]:
    """The field of `Query` about a set's health."""
    level = named_enum(
        "ZkusdHealthLevel",
        {member.name: member.value for member in HealthLevel},
        "What a score means: HEALTHY from 90 on, DEGRADED from 70, WARNING from 50, CRITICAL from 25, else EMERGENCY.",
    )
    factor = make_type(
        "ZkusdHealthFactor",
        [
            figure("name", str, "What it looks at."),
            figure("weight", int, "How much it counts in its component."),
            figure("score", int | None, "0 to 100; null: not known, and does not count."),
        ],
        "A part of a component.",
    )
    component = make_type(
        "ZkusdHealthComponent",
        [
            figure("name", str, "What it looks at."),
            figure("weight", int, "How much it counts."),
            figure("score", int | None, "0 to 100, of the factors that are known; null: none is."),
            figure("factors", StrawberryList(factor), "What it is made of."),
        ],
        "A part of the score.",
    )
    alert = make_type(
        "ZkusdAlert",
        [
            figure("kind", str, "What is wrong."),
            figure("severity", str, "warning or critical."),
            figure("detail", str, "What is known of it, for people."),
        ],
        "Something that is wrong now. What was once is in `zkusdEvents` with `anomaly`.",
    )
    health = make_type(
        "ZkusdHealth",
        [
            figure("score", int | None, "0 to 100, of what is known, less what alerts take off; null: nothing is."),
            figure("level", level | None, "What the score means."),
            figure("components", StrawberryList(component), "What it is made of."),
            figure("alerts", StrawberryList(alert), "What is wrong now, the most severe first."),
        ],
        "How well a set of apps stands.",
    )

    async def resolve(root: Any, info: Info, *, app_set_name: str | None) -> Any:
        return assess(await _vitals(info, app_set_name))

    return [
        make_field(
            "zkusdHealth",
            health,
            "How well a set of apps stands: a score out of what is known, and what is wrong now.",
            resolver=with_arguments(resolve, {"app_set_name": APP_SET}),
        )
    ]


@dataclass(frozen=True)
class _State:
    """What :data:`_STATE` selects, in its order."""

    tcr: Any
    vaults: int
    recovery: bool | None
    paused: bool | None
    age: int | None
    price: Any
    claimed: Any
    tip: int
    price_time: int | None
    now: int | None
    debt: Any
    drift_collateral: Any
    drift_debt: Any
    drift_supply: Any
    unbacked: Any
    pool_total: Any
    diverged: bool | None
    max_blocks: int
    max_seconds: int
    max_step: int
    ccr: int
    step: Any
    liquidations: int
    at_risk: int
    risky: int


async def _vitals(info: Info, app_set: str | None) -> Vitals:
    """Raises InputError where there is no such set, and ApiError where nothing of it was seen yet."""
    session = info.context.session
    name = await named_set(session, app_set)
    rows = await TABLES.read(session, _STATE, DAY_BLOCKS, name)
    if not rows:
        raise ApiError(Code.UNAVAILABLE, f"Nothing of {name} was seen yet.")
    state = made(_State, rows[0])
    contracts = await TABLES.read(session, _CONTRACTS, name)
    riskiest = await TABLES.read(session, _RISKIEST, name)
    least = stale = None
    if state.price is not None:
        stale = ratios.price_is_stale(
            claimed_height=int(state.claimed or 0),
            tip_height=state.tip,
            price_time=state.price_time,
            now=state.now,
            max_blocks=state.max_blocks,
            max_seconds=state.max_seconds,
        )
        for collateral, owed in riskiest:
            least = ratios.ratio_bps(
                collateral=Sats(int(collateral)), debt=Base(int(owed)), price8=Price8(int(state.price))
            )
    return Vitals(
        tcr_bps=_whole(Bps, state.tcr),
        least_icr_bps=least,
        vaults=state.vaults,
        risky_vaults=None if state.price is None else state.risky,
        liquidatable_vaults=None if state.price is None else state.at_risk,
        recent_liquidations=state.liquidations,
        recovery_mode=state.recovery,
        paused=state.paused,
        price_age_seconds=state.age,
        price_stale=stale,
        price_step_bps=_whole(Bps, state.step),
        max_price_age_seconds=state.max_seconds,
        max_price_step_bps=Bps(state.max_step),
        ccr_bps=Bps(state.ccr * 100),
        pool_total=_whole(Base, state.pool_total),
        pool_diverged=state.diverged,
        debt=Base(int(state.debt)),
        drift_collateral=_whole(Sats, state.drift_collateral),
        drift_debt=_whole(Base, state.drift_debt),
        drift_supply=_whole(Base, state.drift_supply),
        unbacked=Sats(int(state.unbacked)),
        forked=tuple(role for role, forks, _ in contracts if forks),
        ended=tuple(role for role, _, live in contracts if not live),
    )


def _whole(unit: Callable[[int], N], value: Any) -> N | None:
    return None if value is None else unit(int(value))
