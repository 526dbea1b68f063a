"""How zkUSD's vaults stand as a whole: their ratios, and what a change of the price would do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from strawberry.types.base import StrawberryList
from strawberry.types.field import StrawberryField

from clarion.protocols.zkusd.queues import FALLS, icr_histogram, price_ladder
from clarion.protocols.zkusd.units import Bps
from clarion_graphql.amounts import amount, figure
from clarion_graphql.bitcoin_columns import BITCOIN
from clarion_graphql.context import Info
from clarion_graphql.errors import ApiError, Code, InputError
from clarion_graphql.lengths import Length
from clarion_graphql.scalars import BigInt
from clarion_graphql.types import Types, make_field, make_type, with_arguments
from clarion_graphql.zkusd.columns import PRICE, ZKUSD
from clarion_graphql.zkusd.figures import APP_SET, PRICE8, active_vaults, market, worked_out
from clarion_graphql.zkusd.queues import market_fields, with_market

#: Most changes of the price that are looked at in one ladder.
MOST_RUNGS: Final = 50
#: Most ranges of ratios: a thousand steps, what is left of one, and what is above.
_MOST_RANGES: Final = 1_002
_STEP_BPS: Final = 1_000
_TOP_BPS: Final = 50_000


def queries(types: Types) -> Sequence[StrawberryField]:
    """The fields of `Query` about all vaults at once."""
    return [_histogram(), _ladder()]


def _histogram() -> StrawberryField:
    bucket = make_type(
        "ZkusdIcrBucket",
        [
            figure("from_bps", int, "The range's least ratio. Unit: 1/10000."),
            figure("to_bps", int | None, "The first ratio above it; null: none. Unit: 1/10000."),
            figure("vaults", int, "Vaults in it."),
            *amount("collateral", BITCOIN, "Their collateral."),
            *amount("debt", ZKUSD, "Their debt."),
        ],
        "Vaults within a range of ratios.",
    )
    histogram = make_type(
        "ZkusdIcrHistogram",
        [*market_fields(), figure("buckets", StrawberryList(bucket), "The ranges, lowest first, empty ones too.")],
        "Vaults with debt by their ratio at a price.",
    )

    async def resolve(root: Any, info: Info, **given: Any) -> Any:
        of = await market(info, given["app_set_name"], given["price8"])
        vaults = await active_vaults(info.context.session, of)
        try:
            buckets = await worked_out(
                lambda: icr_histogram(
                    vaults, price8=of.price8, step_bps=Bps(given["step_bps"]), top_bps=Bps(given["top_bps"])
                )
            )
        except ValueError as error:
            raise InputError(f"stepBps, topBps: {error}.") from None
        return with_market(of, buckets=buckets)

    return make_field(
        "zkusdIcrHistogram",
        histogram,
        "Vaults with debt by their ratio, at the oracle's price or a supposed one.",
        resolver=with_arguments(
            resolve,
            {
                "app_set_name": APP_SET,
                "price8": PRICE8,
                "step_bps": (int, _STEP_BPS, "How wide a range is. Unit: 1/10000."),
                "top_bps": (int, _TOP_BPS, "What is at or above it is in one range. Unit: 1/10000."),
            },
        ),
        length=Length(_MOST_RANGES),
    )


def _ladder() -> StrawberryField:
    rung = make_type(
        "ZkusdPriceRung",
        [
            figure("change_bps", int, "By how much the price would change. Unit: 1/10000."),
            *amount("price8", PRICE, "The price then."),
            figure("tcr_bps", BigInt | None, "Total ratio then; null without debt. Unit: 1/10000."),
            figure("recovery", bool, "Recovery mode then, by what the vaults come to."),
            figure("vaults", int, "Vaults that could be liquidated then."),
            *amount("collateral", BITCOIN, "Their collateral."),
            *amount("debt", ZKUSD, "Their debt."),
            *amount("pool_left", ZKUSD, "What would be left of the stability pool after it took what it can."),
        ],
        "What a change of the price would do.",
    )
    ladder = make_type(
        "ZkusdPriceLadder",
        [*market_fields(), figure("rungs", StrawberryList(rung), "In the order asked for.")],
        "What changes of the price would do to the vaults.",
    )

    async def resolve(root: Any, info: Info, **given: Any) -> Any:
        of = await market(info, given["app_set_name"], given["price8"])
        changes = FALLS if given["changes_bps"] is None else tuple(Bps(change) for change in given["changes_bps"])
        if len(changes) > MOST_RUNGS:
            raise ApiError(Code.LIMIT_EXCEEDED, f"changesBps holds at most {MOST_RUNGS} changes, not {len(changes)}.")
        vaults = await active_vaults(info.context.session, of)
        try:
            rungs = await worked_out(
                lambda: price_ladder(
                    vaults, price8=of.price8, pool_total=of.pool_total, rules=of.rules, changes_bps=changes
                )
            )
        except ValueError as error:
            raise InputError(f"changesBps: {error}.") from None
        return with_market(of, rungs=rungs)

    falls = ", ".join(str(change) for change in FALLS)
    return make_field(
        "zkusdPriceLadder",
        ladder,
        "What could be liquidated if the price changed by so much, from the oracle's price or a supposed one.",
        resolver=with_arguments(
            resolve,
            {
                "app_set_name": APP_SET,
                "price8": PRICE8,
                "changes_bps": (list[int] | None, None, f"Changes of the price, in 1/10000; null: {falls}."),
            },
        ),
        length=Length(MOST_RUNGS, "changesBps"),
    )
