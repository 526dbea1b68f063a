"""What follows from zkUSD's rows where the chain stands: derived columns, by the arithmetic of the protocol's package.

Formulas: :mod:`clarion.protocols.zkusd.ratios` and :mod:`clarion.protocols.zkusd.pool`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, LiteralString

from clarion_graphql.bitcoin_columns import BITCOIN, confirmations
from clarion_graphql.decimals import Scale
from clarion_graphql.entities import Column, Kind
from clarion_graphql.enums import graphql_enum
from clarion_graphql.zkusd.reading import TABLES

ZKUSD: Final = Scale(8, "zkUSD", "_zkusd")
"""Base units of zkUSD, shown in whole ones as well."""
PRICE: Final = Scale(8, "US dollars a bitcoin", "_usd", ending="8")
"""Prices, shown in whole dollars as well."""


class ZkusdVaultHealth(StrEnum):
    """How far a vault is from liquidation."""

    SAFE = "safe"
    WARNING = "warning"
    DANGER = "danger"


graphql_enum(
    ZkusdVaultHealth,
    {
        "SAFE": "Its ratio is not below what recovery mode asks for.",
        "WARNING": "It can be liquidated in recovery mode, and only then.",
        "DANGER": "It can be liquidated.",
    },
)

# the row's protocol with the set's rules, where the oracle has a price
_PRICED: Final = (
    "FROM {protocol} p JOIN {app_set} s ON s.app_set = p.app_set WHERE p.app_set = t.app_set AND p.price8 IS NOT NULL"
)
_VALUE: Final = "div(t.entire_collateral * p.price8, 100000000)"
_PERCENT: Final = "div(" + _VALUE + " * 100, nullif(t.entire_debt, 0))"
_AT_THE_PRICE: Final = "at the oracle's price; null where there is no price"


def _derived(
    name: str,
    kind: Kind,
    description: str,
    expression: LiteralString,
    *,
    scale: Scale | None = None,
    find: bool = False,
) -> Column:
    return Column(
        name,
        kind,
        description,
        nullable=True,
        expression=TABLES.composed(expression),
        scale=scale,
        filterable=find,
        orderable=find,
    )


VAULT: Final = (
    _derived(
        "icr_percent",
        Kind.BIG_INT,
        f"Its ratio as the apps see it, in whole percent rounded down, {_AT_THE_PRICE} or no debt.",
        "(SELECT " + _PERCENT + " " + _PRICED + ")",
        find=True,
    ),
    _derived(
        "icr_bps",
        Kind.BIG_INT,
        f"Its ratio {_AT_THE_PRICE} or no debt. Unit: 1/10000.",
        "(SELECT div(" + _VALUE + " * 10000, nullif(t.entire_debt, 0)) " + _PRICED + ")",
        find=True,
    ),
    Column(
        "health",
        Kind.TEXT,
        f"How far it is from liquidation {_AT_THE_PRICE}, no debt, or it does not count any more.",
        nullable=True,
        enum=ZkusdVaultHealth,
        expression=TABLES.composed(
            "(SELECT CASE WHEN NOT t.active OR t.entire_debt = 0 THEN NULL WHEN " + _PERCENT + " >= s.ccr_percent "
            "THEN 'safe' WHEN " + _PERCENT + " >= s.mcr_percent THEN 'warning' ELSE 'danger' END " + _PRICED + ")"
        ),
        orderable=False,
    ),
    Column(
        "liquidatable",
        Kind.BOOLEAN,
        "Whether it can be liquidated now, by the rules and the oracle's price: `atRiskSinceHeight` says since when.",
        expression=TABLES.composed("(t.at_risk_since_height IS NOT NULL)"),
        orderable=False,
    ),
    _derived(
        "net_debt",
        Kind.BIG_INT,
        "Its debt less the liquidation reserve. Unit: base units of zkUSD.",
        "(SELECT greatest(t.debt - s.liquidation_reserve, 0) FROM {app_set} s WHERE s.app_set = t.app_set)",
        scale=ZKUSD,
    ),
    _derived(
        "max_mintable",
        Kind.BIG_INT,
        f"By how much its debt can grow until the least ratio, {_AT_THE_PRICE}. In recovery mode nothing can be minted "
        "at all. Unit: base units of zkUSD.",
        "(SELECT greatest(div(" + _VALUE + " * 100, s.mcr_percent) - t.entire_debt, 0) " + _PRICED + ")",
        scale=ZKUSD,
    ),
    _derived(
        "withdrawable",
        Kind.BIG_INT,
        f"By how much its collateral can fall until the least ratio, {_AT_THE_PRICE}. In recovery mode nothing can be "
        "withdrawn at all. Unit: satoshis.",
        "(SELECT CASE WHEN p.price8 > 0 THEN greatest(t.entire_collateral - "
        "ceil(ceil(t.entire_debt * s.mcr_percent / 100) * 100000000 / p.price8), 0) "
        "ELSE CASE WHEN t.entire_debt = 0 THEN t.entire_collateral ELSE 0 END END " + _PRICED + ")",
        scale=BITCOIN,
    ),
    _derived(
        "accrued_estimate",
        Kind.BIG_INT,
        "Interest since the block in which it was last changed, which no app applies. Unit: base units of zkUSD.",
        "div(div(t.debt * t.interest_rate_bps * ({tip_height} - t.changed_height), 52560), 10000)",
        scale=ZKUSD,
    ),
    confirmations("t.changed_height", "the block that last changed it"),
)

_AGE: Final = (
    "({tip_height} - t.claimed_price_height > s.max_price_age_blocks "
    "OR {tip_time} - t.price_time > s.max_price_age_seconds)"
)

PROTOCOL: Final = (
    _derived(
        "price_age_blocks",
        Kind.INT,
        "Bitcoin blocks since the one the oracle says its price is of; null where it says none, or one to come.",
        "CASE WHEN t.claimed_price_height BETWEEN 1 AND {tip_height} "
        "THEN ({tip_height} - t.claimed_price_height)::bigint END",
    ),
    _derived(
        "price_age_seconds",
        Kind.INT,
        "Seconds between the block that the price came in and the receipt's, by their headers; null without a price.",
        "({tip_time} - t.price_time)",
    ),
    _derived(
        "price_stale",
        Kind.BOOLEAN,
        "Whether the price is too old to rely on, by blocks or by seconds, or says no block or one to come; null "
        "without a price.",
        "(SELECT CASE WHEN t.price8 IS NOT NULL THEN t.claimed_price_height = 0 "
        "OR t.claimed_price_height > {tip_height} OR coalesce(" + _AGE + ", false) END "
        "FROM {app_set} s WHERE s.app_set = t.app_set)",
    ),
    _derived(
        "borrow_fee_bps",
        Kind.BIG_INT,
        "Fee of new debt by the rules: the base rate on the floor, at most the cap; null before the first state. The "
        "apps on testnet4 charge none. Unit: 1/10000.",
        "(SELECT least(t.base_rate_bps + s.borrow_fee_floor_bps, s.borrow_fee_cap_bps) FROM {app_set} s "
        "WHERE s.app_set = t.app_set AND t.base_rate_bps IS NOT NULL)",
    ),
    _derived(
        "debt_gap",
        Kind.BIG_INT,
        "Debt of active vaults less their reserves, the tokens there are and those beamed out: not 0 where tokens were "
        "made without debt (negative) or debt has no tokens. Unit: base units of zkUSD.",
        "(t.computed_debt - t.reserves - t.token_supply - t.beamed_out)",
        scale=ZKUSD,
    ),
    _derived(
        "collateral_gap",
        Kind.BIG_INT,
        "Collateral of active vaults less the satoshis on their coins: what nobody has locked. Unit: satoshis.",
        "greatest(t.computed_collateral - t.backing_sats, 0)",
        scale=BITCOIN,
    ),
    _derived(
        "pool_coverage_bps",
        Kind.BIG_INT,
        "What the stability pool holds, for the debt of active vaults; null without debt. Unit: 1/10000.",
        "div((SELECT k.total FROM {stability_pool} k WHERE k.app_set = t.app_set) * 10000, nullif(t.computed_debt, 0))",
    ),
)

# a deposit, the pool and what it has gained by epoch and scale, as they were replayed
_VALUE_NOW: Final = (
    "(SELECT CASE WHEN v.value < div(t.replayed_initial, 1000000000) THEN 0 ELSE v.value END FROM ("
    "SELECT CASE WHEN t.replayed_p > 0 AND k.replayed_epoch = t.replayed_epoch "
    "AND k.replayed_scale - t.replayed_scale BETWEEN 0 AND 100 "
    "THEN div(div(t.replayed_initial * k.replayed_p, t.replayed_p), "
    "power(1000000000::numeric, k.replayed_scale - t.replayed_scale)) ELSE 0 END AS value "
    "FROM {stability_pool} k WHERE k.app_set = t.app_set AND k.replayed AND t.live AND t.replayed_p IS NOT NULL) v)"
)
_SUM: Final = (
    "coalesce((SELECT div(m.total, 1{zeros}) FROM {pool_sum} m WHERE m.app_set = t.app_set "
    "AND m.epoch = t.replayed_epoch AND m.scale = t.replayed_scale + {scale}), 0)"
)
_GAIN: Final = (
    "(SELECT CASE WHEN t.replayed_p > 0 THEN div(div(t.replayed_initial * ("
    + _SUM.replace("{zeros}", "").replace("{scale}", "0")
    + " - t.replayed_s + "
    + _SUM.replace("{zeros}", "0" * 9).replace("{scale}", "1")
    + " + "
    + _SUM.replace("{zeros}", "0" * 18).replace("{scale}", "2")
    + "), t.replayed_p), 1000000000000000000) ELSE 0 END "
    "FROM {stability_pool} k WHERE k.app_set = t.app_set AND k.replayed AND t.live AND t.replayed_p IS NOT NULL)"
)
_REPLAYED: Final = "by the correct formulas; null where the pool could not be replayed or it is gone"

DEPOSIT: Final = (
    _derived(
        "compounded",
        Kind.BIG_INT,
        f"What is left of it after the liquidations that the pool took, {_REPLAYED}. Unit: base units of zkUSD.",
        _VALUE_NOW,
        scale=ZKUSD,
    ),
    _derived(
        "gain",
        Kind.BIG_INT,
        f"What it has gained since its last operation and could claim, {_REPLAYED}. Unit: satoshis.",
        _GAIN,
        scale=BITCOIN,
    ),
)

BALANCE: Final = (
    _derived(
        "share_bps",
        Kind.BIG_INT,
        "Its part of all tokens there are, rounded down. Unit: 1/10000.",
        "(SELECT div(t.amount * 10000, nullif(p.token_supply, 0)) FROM {protocol} p WHERE p.app_set = t.app_set)",
    ),
)

DAY: Final = (
    _derived(
        "date", Kind.TEXT, "The day, such as 2026-01-31.", "to_char(date '1970-01-01' + t.day::integer, 'YYYY-MM-DD')"
    ),
)

CONTRACT: Final = (
    _derived("app", Kind.TEXT, "The app, `tag/identity/vk`.", "(t.tag || '/' || t.identity || '/' || t.vk)"),
    confirmations("t.height", "the block of its last known state"),
)

EVENT: Final = (confirmations("t.height", "the event's block"),)
