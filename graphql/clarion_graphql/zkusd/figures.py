"""What zkUSD's views work on: a set of apps with its rules and price, and its active vaults, at the receipt's block."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, LiteralString, TypeVar

from clarion.protocols.zkusd import ratios
from clarion.protocols.zkusd.app_sets import Rules
from clarion.protocols.zkusd.queues import VaultFigures
from clarion.protocols.zkusd.units import Base, Bps, Percent, Price8, Sats
from clarion_graphql.context import Info
from clarion_graphql.errors import ApiError, Code, InputError
from clarion_graphql.scalars import BigInt
from clarion_graphql.session import Session
from clarion_graphql.zkusd.reading import RULES, TABLES

T = TypeVar("T")

#: Most active vaults that a view looks at.
MOST_VAULTS: Final = 50_000

APP_SET: Final = (str | None, None, "Which set of apps; null: the only one.")
PRICE8: Final = (
    BigInt | None,
    None,
    "The price to suppose instead of the oracle's, such as a market's. Unit: US dollars a bitcoin x 10^8.",
)

_MARKET: Final[LiteralString] = (
    "SELECT s.app_set, p.price8, p.reported_collateral, p.reported_debt, p.computed_collateral, p.computed_debt, "
    "p.entire_collateral, p.entire_debt, coalesce(k.total, 0), {rules} "
    "FROM {app_set} s LEFT JOIN {protocol} p ON p.app_set = s.app_set "
    "LEFT JOIN {stability_pool} k ON k.app_set = s.app_set WHERE s.app_set = %s"
)
_VAULTS: Final[LiteralString] = (
    "SELECT v.genesis, v.vault_id, v.owner, v.script, v.address, v.entire_collateral, v.entire_debt, "
    "v.interest_rate_bps, v.insurance_balance, v.at_risk_since_height FROM {vault} v "
    "WHERE v.app_set = %s AND v.active"
)


@dataclass(frozen=True)
class Market:
    """A set of apps as it stands, at the oracle's price or a supposed one."""

    app_set: str
    rules: Rules
    price8: Price8
    oracle_price8: Price8 | None
    recovery_mode: bool
    """As the apps see it at the price: by the totals that they report, or where there are none by the vaults'."""
    total_percent: Percent | None
    """The total ratio that goes by, in whole percent; None without debt."""
    pool_total: Base
    collateral: Sats
    """Entire, of the active vaults."""
    debt: Base
    """Entire, of the active vaults."""

    @property
    def threshold_percent(self) -> Percent:
        """The ratio below which vaults can be liquidated at the price."""
        return self.rules.threshold_percent(recovery=self.recovery_mode, total_percent=self.total_percent)

    @property
    def tcr_bps(self) -> Bps | None:
        """The total ratio of the vaults at the price."""
        return ratios.ratio_bps(collateral=self.collateral, debt=self.debt, price8=self.price8)

    @property
    def is_supposed(self) -> bool:
        """Whether the price is another than the oracle's."""
        return self.price8 != self.oracle_price8


async def named_set(session: Session, app_set: str | None) -> str:
    """The name of the set of apps that is meant. Raises InputError where there is none, or it is not said which."""
    rows = await TABLES.read(session, "SELECT s.app_set FROM {app_set} s ORDER BY s.app_set")
    known = [str(name) for (name,) in rows]
    if app_set is not None and app_set in known:
        return app_set
    if app_set is not None or not known:
        unknown = "No set of apps was seen yet." if app_set is None else f"There is no set of apps {app_set[:80]!r}."
        raise InputError(f"{unknown} zkusdAppSets lists them.")
    if len(known) > 1:
        raise InputError(f"Say which with appSetName: {', '.join(known)}.")
    return known[0]


async def market(info: Info, app_set: str | None, price8: int | None = None) -> Market:
    """The set of apps of that name, or the only one.

    Raises InputError where there is no such set or it is not said which, and ApiError where there is no price.
    """
    session = info.context.session
    rows = await TABLES.read(session, _MARKET, await named_set(session, app_set))
    name, oracle, reported_collateral, reported_debt, computed_collateral, computed_debt, *rest = rows[0]
    collateral, debt, pool_total, *figures = rest
    rules = Rules(**{field: _whole(value) for field, value in zip(RULES, figures, strict=True)})
    if price8 is not None and price8 <= 0:
        raise InputError("price8 is above 0.")
    price = oracle if price8 is None else price8
    if price is None:
        raise ApiError(Code.UNAVAILABLE, f"The oracle of {name} has told no price yet: suppose one with price8.")
    told = reported_debt is not None
    total_percent = ratios.ratio_percent(
        collateral=Sats(int(reported_collateral if told else computed_collateral or 0)),
        debt=Base(int(reported_debt if told else computed_debt or 0)),
        price8=Price8(int(price)),
    )
    return Market(
        app_set=name,
        rules=rules,
        price8=Price8(int(price)),
        oracle_price8=None if oracle is None else Price8(int(oracle)),
        recovery_mode=total_percent is not None and total_percent < rules.ccr_percent,
        total_percent=total_percent,
        pool_total=Base(int(pool_total)),
        collateral=Sats(int(collateral or 0)),
        debt=Base(int(debt or 0)),
    )


def _whole(value: Any) -> Any:
    """A number of the database as an integer; anything else as it is."""
    return int(value) if isinstance(value, Decimal) else value


async def worked_out(work: Callable[[], T]) -> T:
    """What takes long to work out over many vaults: beside the event loop, so that others are answered meanwhile."""
    return await asyncio.to_thread(work)


async def active_vaults(session: Session, of: Market, *, below: Percent | None = None) -> list[VaultFigures]:
    """The vaults that count, those that cannot be below a ratio at the price left out where one is given.

    Raises ApiError where there are more than a view looks at.
    """
    if below is None:
        rows = await TABLES.read(session, _VAULTS + " LIMIT %s", of.app_set, MOST_VAULTS + 1, most=MOST_VAULTS)
    else:
        # rounding down twice takes less than one base unit from a vault's value
        rows = await TABLES.read(
            session,
            _VAULTS + " AND v.entire_collateral * %s * 100 < (v.entire_debt * %s + 100) * 100000000 LIMIT %s",
            of.app_set,
            of.price8,
            below,
            MOST_VAULTS + 1,
            most=MOST_VAULTS,
        )
    return [
        VaultFigures(
            genesis=genesis,
            vault_id=vault_id,
            owner=owner,
            script=script,
            address=address,
            collateral=Sats(int(collateral)),
            debt=Base(int(debt)),
            rate_bps=Bps(int(rate)),
            insurance=Sats(int(insurance)),
            at_risk_since_height=since,
        )
        for genesis, vault_id, owner, script, address, collateral, debt, rate, insurance, since in rows
    ]
