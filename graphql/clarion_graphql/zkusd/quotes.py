"""What a vault would be like before it is opened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from inspect import Parameter
from typing import Any

from strawberry.types.field import StrawberryField

from clarion.protocols.zkusd import ratios
from clarion.protocols.zkusd.units import Base, Bps, Percent, Sats
from clarion_graphql.amounts import amount, figure
from clarion_graphql.bitcoin_columns import BITCOIN
from clarion_graphql.context import Info
from clarion_graphql.errors import InputError
from clarion_graphql.scalars import BigInt
from clarion_graphql.types import Types, make_field, make_type, with_arguments
from clarion_graphql.zkusd.columns import PRICE, ZKUSD
from clarion_graphql.zkusd.figures import APP_SET, PRICE8, Market, market
from clarion_graphql.zkusd.queues import market_fields, with_market
from clarion_graphql.zkusd.reading import TABLES


def queries(types: Types) -> Sequence[StrawberryField]:
    """The field of `Query` about a vault that there is not yet."""
    quote = make_type(
        "ZkusdVaultQuote",
        [
            *market_fields(),
            *amount("collateral", BITCOIN, "Collateral, as given."),
            *amount("borrow", ZKUSD, "What the owner gets, as given."),
            *amount("fee", ZKUSD, "Borrowing fee by the rules; the apps on testnet4 charge none."),
            *amount("reserve", ZKUSD, "Liquidation reserve, which comes back when the vault is closed."),
            *amount("debt", ZKUSD, "All of it together: the vault's debt."),
            figure("icr_percent", BigInt, "Its ratio as the apps see it, in whole percent rounded down."),
            figure("icr_bps", BigInt, "Its ratio. Unit: 1/10000."),
            *amount("liquidation_price8", PRICE, "Greatest price it could be liquidated at out of recovery mode.",
                    nullable=True),
            *amount("max_debt", ZKUSD, "The greatest debt that the collateral bears."),
            *amount("min_collateral", BITCOIN, "The least collateral that bears the debt."),
            figure("required_percent", int, "Least ratio that a new vault has to have: more in recovery mode."),
            figure("tcr_after_bps", BigInt, "The total ratio with it. Unit: 1/10000."),
            figure("problems", list[str], "Why it could not be opened, for people; empty: nothing known."),
        ],
        "A vault as it would be, by the rules.",
    )  # fmt: skip

    async def resolve(root: Any, info: Info, **given: Any) -> Any:
        of = await market(info, given["app_set_name"], given["price8"])
        collateral, borrow = Sats(given["collateral"]), Base(given["borrow"])
        if collateral <= 0 or borrow <= 0:
            raise InputError("collateral and borrow are above 0.")
        rows = await TABLES.read(
            info.context.session,
            "SELECT p.base_rate_bps, p.paused FROM {protocol} p WHERE p.app_set = %s",
            of.app_set,
        )
        base_rate, paused = rows[0] if rows else (None, None)
        rules = of.rules
        fee = ratios.borrow_fee(
            amount=borrow,
            base_rate_bps=Bps(int(base_rate or 0)),
            floor_bps=rules.borrow_fee_floor_bps,
            cap_bps=rules.borrow_fee_cap_bps,
        )
        debt = Base(borrow + fee + rules.liquidation_reserve)
        required = rules.ccr_percent if of.recovery_mode else rules.mcr_percent
        icr = ratios.ratio_percent(collateral=collateral, debt=debt, price8=of.price8)
        after = ratios.ratio_bps(
            collateral=Sats(of.collateral + collateral), debt=Base(of.debt + debt), price8=of.price8
        )
        assert icr is not None
        assert after is not None
        return with_market(
            of,
            collateral=collateral,
            borrow=borrow,
            fee=fee,
            reserve=rules.liquidation_reserve,
            debt=debt,
            icr_percent=icr,
            icr_bps=ratios.ratio_bps(collateral=collateral, debt=debt, price8=of.price8),
            liquidation_price8=ratios.liquidation_price8(collateral=collateral, debt=debt, percent=rules.mcr_percent),
            max_debt=ratios.max_debt(collateral=collateral, price8=of.price8, percent=required),
            min_collateral=ratios.min_collateral(debt=debt, price8=of.price8, percent=required),
            required_percent=required,
            tcr_after_bps=after,
            problems=list(_problems(of, debt=debt, icr=icr, required=required, after=after, paused=bool(paused))),
        )

    return [
        make_field(
            "zkusdVaultQuote",
            quote,
            "What a vault would be like, and whether it could be opened, at the oracle's price or a supposed one.",
            resolver=with_arguments(
                resolve,
                {
                    "collateral": (BigInt, Parameter.empty, "Unit: satoshis."),
                    "borrow": (BigInt, Parameter.empty, "What the owner is to get. Unit: zkUSD x 10^8."),
                    "app_set_name": APP_SET,
                    "price8": PRICE8,
                },
            ),
        )
    ]


def _problems(of: Market, *, debt: Base, icr: Percent, required: Percent, after: Bps, paused: bool) -> Iterator[str]:
    rules = of.rules
    if paused:
        yield "The vault manager says that it is paused."
    if debt < rules.min_debt:
        yield f"The debt is {debt} base units, and at least {rules.min_debt} is asked for."
    if debt > rules.max_debt:
        yield f"The debt is {debt} base units, and at most {rules.max_debt} is allowed."
    if rules.debt_ceiling is not None and of.debt + debt > rules.debt_ceiling:
        yield f"All debt together would be above {rules.debt_ceiling} base units."
    if icr < required:
        yield f"The ratio is {icr} %, and at least {required} % is asked for."
    if not of.recovery_mode and after < rules.ccr_percent * 100:
        yield "It would bring about recovery mode."
