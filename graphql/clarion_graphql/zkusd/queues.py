"""Which vaults can be liquidated, redeemed against or rescued, at the oracle's price or a supposed one."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from inspect import Parameter
from itertools import islice
from types import SimpleNamespace
from typing import Any, Final

from strawberry.types.base import StrawberryList
from strawberry.types.field import StrawberryField

from clarion.protocols.zkusd.queues import (
    RESCUE_PERCENT,
    Costs,
    LiquidationKind,
    liquidation_queue,
    redemption_queue,
    rescue_queue,
)
from clarion.protocols.zkusd.units import Base, Percent, Price8, Sats
from clarion_graphql.amounts import amount, figure, row_of
from clarion_graphql.bitcoin_columns import BITCOIN
from clarion_graphql.context import Info
from clarion_graphql.decimals import Scale
from clarion_graphql.enums import graphql_enum, named_enum
from clarion_graphql.errors import ApiError, Code, InputError
from clarion_graphql.lengths import Length
from clarion_graphql.scalars import BigInt
from clarion_graphql.types import Types, make_field, make_type, with_arguments
from clarion_graphql.zkusd.columns import PRICE, ZKUSD
from clarion_graphql.zkusd.figures import APP_SET, PRICE8, Market, active_vaults, market, worked_out

#: Most candidates that a queue shows.
MOST_CANDIDATES: Final = 1_000
_FIRST: Final = (int, 100, f"At most so many, up to {MOST_CANDIDATES}; the figures are of all.")


class ZkusdRedemptionPreference(StrEnum):
    """In which order a redemption takes vaults."""

    RATIO = "ratio"
    RATE = "rate"


graphql_enum(
    ZkusdRedemptionPreference,
    {"RATIO": "Riskiest first.", "RATE": "Lowest interest first, as the apps' templates have it."},
)

_DOLLARS: Final = Scale(8, "US dollars", "_usd")


def queries(types: Types) -> Sequence[StrawberryField]:
    """The fields of `Query` about what can be done with vaults."""
    return [_liquidations(types), _redemption(types), _rescues(types)]


def market_fields() -> list[StrawberryField]:
    """What a view says of the market that it was made at."""
    return [
        figure("app_set_name", str, "The set of apps."),
        *amount("price8", PRICE, "The price that it was made at."),
        figure("is_supposed", bool, "Whether that price is another than the oracle's."),
        figure("recovery_mode", bool, "Recovery mode at the price, as the apps see it."),
        figure("tcr_bps", BigInt | None, "Total ratio of the vaults at the price; null without debt. Unit: 1/10000."),
        *amount("pool_total", ZKUSD, "What the stability pool holds."),
    ]


def with_market(of: Market, **figures: Any) -> SimpleNamespace:
    """A view's object: the market's figures and its own."""
    return SimpleNamespace(
        app_set_name=of.app_set,
        price8=of.price8,
        is_supposed=of.is_supposed,
        recovery_mode=of.recovery_mode,
        tcr_bps=of.tcr_bps,
        pool_total=of.pool_total,
        **figures,
    )


def _candidate_fields(types: Types) -> list[StrawberryField]:
    return [
        figure("rank", int, "Its place, from 1."),
        figure("icr_percent", BigInt, "Its ratio at the price as the apps see it, in whole percent rounded down."),
        figure("icr_bps", BigInt, "Its ratio at the price. Unit: 1/10000."),
        *amount("collateral", BITCOIN, "Its collateral, with what it took over from other vaults."),
        *amount("debt", ZKUSD, "Its debt, with interest and what it took over from other vaults."),
        row_of("vault", types, "ZkusdVault", {"app_set": "app_set_name", "genesis": "genesis"}, "The vault."),
    ]


def _candidate(of: Market, candidate: Any, **more: Any) -> SimpleNamespace:
    vault = candidate.vault
    named = {name: getattr(candidate, name) for name in candidate.__struct_fields__ if name != "vault"}
    return SimpleNamespace(
        app_set_name=of.app_set, genesis=vault.genesis, collateral=vault.collateral, debt=vault.debt, **named, **more
    )


def _checked_first(first: int) -> int:
    if not 0 <= first <= MOST_CANDIDATES:
        raise ApiError(Code.LIMIT_EXCEEDED, f"first is from 0 to {MOST_CANDIDATES}.")
    return first


def _liquidations(types: Types) -> StrawberryField:
    kinds = {
        LiquidationKind.REDISTRIBUTE: "Worth no more than its debt: other vaults take it over.",
        LiquidationKind.OFFSET: "The pool takes what it can, other vaults the rest.",
        LiquidationKind.RECOVERY: "Only in recovery mode: the pool takes all of it, for at most the least ratio; the "
        "rest is the owner's.",
    }
    kind = named_enum(
        "ZkusdLiquidationKind",
        {member.name: member.value for member in kinds},
        "What a liquidation does with the debt: " + " ".join(f"{m.name}: {text}" for m, text in kinds.items()),
    )
    split = make_type(
        "ZkusdLiquidationSplit",
        [
            figure("kind", kind, "What is done with the debt."),
            *amount("bonus", BITCOIN, "To who liquidates."),
            *amount("surplus", BITCOIN, "To the owner."),
            *amount("pool_debt", ZKUSD, "Debt that the pool takes."),
            *amount("pool_collateral", BITCOIN, "Collateral that the pool gets."),
            *amount("redistributed_debt", ZKUSD, "Debt that other vaults take over."),
            *amount("redistributed_collateral", BITCOIN, "Collateral that other vaults get."),
        ],
        "Who would get what of a liquidated vault, by the rules: the deployed apps check none of it.",
    )
    candidate = make_type(
        "ZkusdLiquidationCandidate",
        [
            *_candidate_fields(types),
            figure("split", split, "Who would get what."),
            *amount("cumulative_debt", ZKUSD, "Debt of this one and all before it."),
            figure("pool_covers", bool, "Whether the pool has enough for this one and all before it."),
            *amount("reserve_sats", BITCOIN, "What the liquidation reserve is worth at the price."),
            *amount("gross", BITCOIN, "Bonus, and the reserve where it is paid out."),
            *amount("cost", BITCOIN, "What the spell costs, as given."),
            *amount("net", BITCOIN, "What is left of the gross; may be negative."),
        ],
        "A vault that can be liquidated at the price.",
    )
    queue = make_type(
        "ZkusdLiquidationQueue",
        [
            *market_fields(),
            figure("threshold_percent", int, "Ratio below which vaults can be liquidated at the price."),
            figure("count", int, "How many can be, those that earn too little left out."),
            *amount("collateral", BITCOIN, "Their collateral."),
            *amount("debt", ZKUSD, "Their debt."),
            figure("candidates", StrawberryList(candidate), "Lowest ratio first, then the greater debt."),
        ],
        "Vaults that can be liquidated at a price. Whether somebody else than the holders of the apps' coins can do so "
        "is another question: on testnet4 nobody can.",
    )

    async def resolve(root: Any, info: Info, **given: Any) -> Any:
        of = await market(info, given["app_set_name"], given["price8"])
        percent = of.threshold_percent
        vaults = await active_vaults(info.context.session, of, below=percent)
        costs = [
            given[name] for name in ("fee_rate", "virtual_size", "charms_fee_sats", "prover_sats", "charm_outputs")
        ]
        if min(costs) < 0:
            raise InputError("Costs are 0 or more.")
        fee_rate, virtual_size, charms_fee, prover, outputs = costs
        found = await worked_out(
            lambda: list(
                liquidation_queue(
                    vaults,
                    price8=of.price8,
                    recovery=of.recovery_mode,
                    total_percent=of.total_percent,
                    pool_total=of.pool_total,
                    rules=of.rules,
                    costs=Costs(
                        fee_rate=fee_rate,
                        virtual_size=virtual_size,
                        charms_fee=Sats(charms_fee),
                        prover=Sats(prover),
                        charm_outputs=outputs,
                    ),
                    reserve_paid=given["reserve_paid"],
                    min_net=given["min_net_sats"],
                )
            )
        )
        return with_market(
            of,
            threshold_percent=percent,
            count=len(found),
            collateral=sum(one.vault.collateral for one in found),
            debt=sum(one.vault.debt for one in found),
            candidates=[_candidate(of, one) for one in found[: _checked_first(given["first"])]],
        )

    arguments: dict[str, tuple[Any, Any, str]] = {
        "app_set_name": APP_SET,
        "price8": PRICE8,
        "min_net_sats": (BigInt | None, None, "Leave out what would earn less, in satoshis."),
        "reserve_paid": (bool, True, "Whether who liquidates gets the liquidation reserve."),
        "fee_rate": (int, 0, "Fee of the transaction, in satoshis a virtual byte."),
        "virtual_size": (int, 0, "Size of the transaction, in virtual bytes."),
        "charms_fee_sats": (int, 0, "What the spell pays for Charms, in satoshis: 1434 to 2040 were seen."),
        "prover_sats": (int, 0, "What the prover takes, in satoshis."),
        "charm_outputs": (int, 0, "How many outputs only carry charms: 547 satoshis each."),
        "first": _FIRST,
    }
    return make_field(
        "zkusdLiquidationQueue",
        queue,
        "Vaults that can be liquidated, at the oracle's price or a supposed one, lowest ratio first.",
        resolver=with_arguments(resolve, arguments),
        length=Length(MOST_CANDIDATES, "first"),
    )


def _redemption(types: Types) -> StrawberryField:
    candidate = make_type(
        "ZkusdRedemptionCandidate",
        [
            *_candidate_fields(types),
            *amount("take_debt", ZKUSD, "By how much its debt falls."),
            *amount("fee", ZKUSD, "Part of that which is not paid out."),
            *amount("take_collateral", BITCOIN, "By how much its collateral falls."),
            *amount("left_debt", ZKUSD, "Debt that is left, the reserve in it."),
            figure("leaves_too_little", bool, "What is left is below the least debt, and not nothing."),
            *amount("cumulative_debt", ZKUSD, "What is taken of this one and all before it."),
        ],
        "What a redemption takes of a vault.",
    )
    plan = make_type(
        "ZkusdRedemptionPlan",
        [
            *market_fields(),
            *amount("asked", ZKUSD, "What was to be redeemed."),
            *amount("redeemed", ZKUSD, "What can be: less where the vaults have less."),
            *amount("fee", ZKUSD, "Part of that which is not paid out."),
            *amount("collateral", BITCOIN, "What is paid out."),
            *amount("effective_price8", PRICE, "zkUSD given for a bitcoin; null where nothing is paid.", nullable=True),
            *amount(
                "arbitrage",
                _DOLLARS,
                "What is gained by buying the tokens at `tokenPrice8` and selling the bitcoin at the price; null "
                "without that argument.",
                nullable=True,
            ),
            figure("candidates", StrawberryList(candidate), "What is taken of each vault, in order."),
        ],
        "A redemption of an amount at a price, by the rules.",
    )

    async def resolve(root: Any, info: Info, **given: Any) -> Any:
        of = await market(info, given["app_set_name"], given["price8"])
        asked, token_price8 = given["amount"], given["token_price8"]
        if asked <= 0:
            raise InputError("amount is above 0.")
        vaults = await active_vaults(info.context.session, of)
        found = await worked_out(
            lambda: redemption_queue(
                vaults,
                price8=of.price8,
                amount=Base(asked),
                rules=of.rules,
                order=ZkusdRedemptionPreference(given["order"]).value,
            )
        )
        return with_market(
            of,
            asked=found.asked,
            redeemed=found.redeemed,
            fee=found.fee,
            collateral=found.collateral,
            effective_price8=found.effective_price8,
            arbitrage=None
            if token_price8 is None
            else found.arbitrage(price8=of.price8, token_price8=Price8(token_price8)),
            candidates=[_candidate(of, one) for one in found.candidates[: _checked_first(given["first"])]],
        )

    return make_field(
        "zkusdRedemptionQueue",
        plan,
        "What redeeming an amount takes of which vaults, at the oracle's price or a supposed one.",
        resolver=with_arguments(
            resolve,
            {
                "amount": (BigInt, Parameter.empty, "How much to redeem. Unit: zkUSD x 10^8."),
                "app_set_name": APP_SET,
                "price8": PRICE8,
                "order": (ZkusdRedemptionPreference, ZkusdRedemptionPreference.RATIO, "Which vaults come first."),
                "token_price8": (BigInt | None, None, "What a token costs elsewhere. Unit: US dollars x 10^8."),
                "first": _FIRST,
            },
        ),
        length=Length(MOST_CANDIDATES, "first"),
    )


def _rescues(types: Types) -> StrawberryField:
    candidate = make_type(
        "ZkusdRescueCandidate",
        [
            *_candidate_fields(types),
            *amount("add_collateral", BITCOIN, "Least collateral that brings it to the least ratio; 0: it is there."),
            *amount("repay_debt", ZKUSD, "Least debt to repay that brings it there instead."),
        ],
        "A vault below the ratio at which others may add to it.",
    )
    queue = make_type(
        "ZkusdRescueQueue",
        [
            *market_fields(),
            figure("below_percent", int, "Ratio below which they are."),
            figure("count", int, "How many there are."),
            figure("candidates", StrawberryList(candidate), "Lowest ratio first."),
        ],
        "Vaults that others may rescue at a price.",
    )

    async def resolve(root: Any, info: Info, **given: Any) -> Any:
        of = await market(info, given["app_set_name"], given["price8"])
        below = Percent(given["below_percent"])
        if not 0 < below <= 1_000:
            raise InputError("belowPercent is from 1 to 1000.")
        vaults = await active_vaults(info.context.session, of, below=below)
        found = list(rescue_queue(vaults, price8=of.price8, rules=of.rules, below_percent=below))
        return with_market(
            of,
            below_percent=below,
            count=len(found),
            candidates=[_candidate(of, one) for one in islice(found, _checked_first(given["first"]))],
        )

    return make_field(
        "zkusdRescueQueue",
        queue,
        "Vaults that others may rescue, and what that takes, at the oracle's price or a supposed one.",
        resolver=with_arguments(
            resolve,
            {
                "app_set_name": APP_SET,
                "price8": PRICE8,
                "below_percent": (int, int(RESCUE_PERCENT), "Ratio below which vaults are looked at, in percent."),
                "first": _FIRST,
            },
        ),
        length=Length(MOST_CANDIDATES, "first"),
    )
