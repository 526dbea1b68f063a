"""What a spell that liquidates a vault, or redeems, would have to spend, change and pay."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import Parameter
from typing import Any, Final, LiteralString

from strawberry.types.base import StrawberryList
from strawberry.types.field import StrawberryField

from clarion.protocols.zkusd import ratios
from clarion.protocols.zkusd.queues import VaultFigures, liquidation_queue, redemption_queue
from clarion.protocols.zkusd.requests import (
    AppCoin,
    SpellOperation,
    SpellRequest,
    Totals,
    VaultCoin,
    liquidation_request,
    redemption_request,
)
from clarion.protocols.zkusd.units import Base, Sats
from clarion_graphql.amounts import amount, figure, row_of
from clarion_graphql.bitcoin_columns import BITCOIN
from clarion_graphql.context import Info
from clarion_graphql.enums import named_enum
from clarion_graphql.errors import ApiError, Code, InputError
from clarion_graphql.scalars import BigInt
from clarion_graphql.session import Session
from clarion_graphql.types import Types, make_field, make_type, with_arguments
from clarion_graphql.zkusd.figures import APP_SET, PRICE8, Market, active_vaults, market, worked_out
from clarion_graphql.zkusd.queues import ZkusdRedemptionPreference, market_fields, with_market
from clarion_graphql.zkusd.reading import TABLES

#: Most vaults that one redemption takes of: a transaction has to hold them.
MOST_VAULTS: Final = 100

_COINS: Final[LiteralString] = (
    "SELECT c.role, c.tag || '/' || c.identity || '/' || c.vk, c.outpoint, c.utxo_sats, c.script, c.address, c.live "
    "FROM {contract} c WHERE c.app_set = %s ORDER BY c.role"
)
_VAULT_COINS: Final[LiteralString] = (
    "SELECT v.genesis, v.outpoint, v.utxo_sats, v.script, v.address FROM {vault} v "
    "WHERE v.app_set = %s AND v.genesis = ANY(%s)"
)
_TOTALS: Final[LiteralString] = (
    "SELECT p.reported_collateral, p.reported_debt, p.reported_vaults, p.reported_supply, k.total, k.collateral, "
    "p.price8, p.claimed_price_height, {tip_height}, p.price_time, {tip_time} FROM {protocol} p "
    "LEFT JOIN {stability_pool} k ON k.app_set = p.app_set WHERE p.app_set = %s"
)


def queries(types: Types) -> Sequence[StrawberryField]:
    """The fields of `Query` that say what a spell would have to do."""
    request = _request_type(types)

    async def liquidate(root: Any, info: Info, *, vault: str, app_set_name: str | None, price8: int | None) -> Any:
        of = await market(info, app_set_name, price8)
        session = info.context.session
        figures = next((one for one in await active_vaults(session, of) if one.genesis == vault), None)
        if figures is None:
            raise InputError(f"{of.app_set} has no active vault {vault[:80]!r}: `vault` is its `genesis`.")
        found = list(
            liquidation_queue(
                [figures],
                price8=of.price8,
                recovery=of.recovery_mode,
                total_percent=of.total_percent,
                pool_total=of.pool_total,
                rules=of.rules,
            )
        )
        if not found:
            icr = ratios.ratio_percent(collateral=figures.collateral, debt=figures.debt, price8=of.price8)
            stands = "it has no debt" if icr is None else f"its ratio is {icr} %"
            raise InputError(
                f"The vault cannot be liquidated at this price: {stands}; it could be below {of.threshold_percent} %."
            )
        totals, stale = await _totals(session, of)
        made = liquidation_request(
            found[0],
            coins=await _coins(session, of),
            vault=(await _vault_coins(session, of, [figures]))[0],
            totals=totals,
            rules=of.rules,
            price_stale=stale,
        )
        return _shown(of, made)

    async def redeem(root: Any, info: Info, **given: Any) -> Any:
        of = await market(info, given["app_set_name"], given["price8"])
        session = info.context.session
        if given["amount"] <= 0:
            raise InputError("amount is above 0.")
        vaults = await active_vaults(session, of)
        plan = await worked_out(
            lambda: redemption_queue(
                vaults,
                price8=of.price8,
                amount=Base(given["amount"]),
                rules=of.rules,
                order=ZkusdRedemptionPreference(given["order"]).value,
            )
        )
        if len(plan.candidates) > MOST_VAULTS:
            raise ApiError(
                Code.LIMIT_EXCEEDED,
                f"The redemption would take of {len(plan.candidates)} vaults, more than the {MOST_VAULTS} that one "
                "transaction may: redeem less.",
            )
        if not plan.candidates:
            raise InputError("No vault can be redeemed against at this price.")
        totals, stale = await _totals(session, of)
        made = redemption_request(
            plan,
            coins=await _coins(session, of),
            vaults=await _vault_coins(session, of, [one.vault for one in plan.candidates]),
            totals=totals,
            rules=of.rules,
            price_stale=stale,
        )
        return _shown(of, made)

    return [
        make_field(
            "zkusdLiquidationRequest",
            request,
            "What a spell that liquidates a vault has to spend, change and pay, for who builds, proves and signs it.",
            resolver=with_arguments(
                liquidate,
                {
                    "vault": (str, Parameter.empty, "The vault's `genesis`."),
                    "app_set_name": APP_SET,
                    "price8": PRICE8,
                },
            ),
        ),
        make_field(
            "zkusdRedemptionRequest",
            request,
            "What a spell that redeems an amount has to spend, change and pay, for who builds, proves and signs it.",
            resolver=with_arguments(
                redeem,
                {
                    "amount": (BigInt, Parameter.empty, "How much to redeem. Unit: zkUSD x 10^8."),
                    "app_set_name": APP_SET,
                    "price8": PRICE8,
                    "order": (
                        ZkusdRedemptionPreference,
                        ZkusdRedemptionPreference.RATIO,
                        "Which vaults come first.",
                    ),
                },
            ),
        ),
    ]


def _request_type(types: Types) -> Any:
    operation = named_enum(
        "ZkusdSpellOperation", {member.name: member.value for member in SpellOperation}, "What a spell does."
    )
    coin = make_type(
        "ZkusdSpellInput",
        [
            figure("role", str, "oracle, token, vault_manager, stability_pool, or vault."),
            figure("app", str, "The app whose charm it holds, `tag/identity/vk`."),
            figure("outpoint", str, "Where it is, `txid:vout`."),
            *amount("sats", BITCOIN, "What it holds."),
            figure("script", str, "Locking script of who holds it."),
            figure("address", str | None, "Its address, where it has one."),
            row_of("charms", types, "ZkusdOutpoint", {"outpoint": "outpoint"}, "The coin, with all its charms."),
        ],
        "A coin that a spell has to spend; the oracle's says the price, and may only be referred to.",
    )
    change = make_type(
        "ZkusdSpellChange",
        [
            figure("role", str, "Whose state it is."),
            figure("outpoint", str, "Where that state is now."),
            figure("figure", str, "Which figure of it: collateral, debt, vaults, supply, total."),
            figure("before", BigInt, "What it is. Unit: satoshis, base units of zkUSD, or a number."),
            figure("after", BigInt, "What it has to become, in the same unit."),
        ],
        "A figure of a state that becomes another. The pool's P and S follow from its app's own formula.",
    )
    payment = make_type(
        "ZkusdSpellPayment",
        [
            figure("to", str, "sender, who builds the spell, or owner of the vault."),
            figure("script", str | None, "Locking script of whom; null: the sender's."),
            figure("asset", str, "BTC, in satoshis, or zkUSD, in base units."),
            figure("amount", BigInt, "How much; negative: what is given."),
        ],
        "What somebody gets.",
    )
    return make_type(
        "ZkusdSpellRequest",
        [
            *market_fields(),
            figure("operation", operation, "What it does."),
            figure("inputs", StrawberryList(coin), "What it spends. The sender adds coins for fees and tokens."),
            figure("changes", StrawberryList(change), "What becomes of the states."),
            figure("payments", StrawberryList(payment), "Who gets what."),
            figure("signers", list[str], "Scripts whose holders have to sign, besides the sender."),
            figure("problems", list[str], "Why it cannot be done as things stand, for people; empty: nothing known."),
        ],
        "What a spell has to do, by the rules. It is neither proven nor signed, and this server does neither.",
    )


def _shown(of: Market, made: SpellRequest) -> Any:
    return with_market(of, **{name: getattr(made, name) for name in made.__struct_fields__})


async def _coins(session: Session, of: Market) -> list[AppCoin]:
    return [
        AppCoin(role=role, app=app, outpoint=outpoint, sats=Sats(int(sats)), script=script, address=address, live=live)
        for role, app, outpoint, sats, script, address, live in await TABLES.read(session, _COINS, of.app_set)
    ]


async def _vault_coins(session: Session, of: Market, vaults: Sequence[VaultFigures]) -> list[VaultCoin]:
    rows = await TABLES.read(session, _VAULT_COINS, of.app_set, [vault.genesis for vault in vaults])
    found = {
        genesis: VaultCoin(outpoint=outpoint, sats=Sats(int(sats)), script=script, address=address)
        for genesis, outpoint, sats, script, address in rows
    }
    return [found[vault.genesis] for vault in vaults]


async def _totals(session: Session, of: Market) -> tuple[Totals, bool | None]:
    """What the states say, and whether the oracle's price is stale; None without one."""
    ((*figures, price8, claimed, tip_height, price_time, now),) = await TABLES.read(session, _TOTALS, of.app_set)
    collateral, debt, vaults, supply, pool_total, pool_collateral = (
        None if value is None else int(value) for value in figures
    )
    stale = None
    if price8 is not None:
        stale = ratios.price_is_stale(
            claimed_height=int(claimed or 0),
            tip_height=tip_height,
            price_time=price_time,
            now=now,
            max_blocks=of.rules.max_price_age_blocks,
            max_seconds=of.rules.max_price_age_seconds,
        )
    totals = Totals(
        collateral=None if collateral is None else Sats(collateral),
        debt=None if debt is None else Base(debt),
        vaults=vaults,
        supply=None if supply is None else Base(supply),
        pool_total=None if pool_total is None else Base(pool_total),
        pool_collateral=None if pool_collateral is None else Sats(pool_collateral),
    )
    return totals, stale
