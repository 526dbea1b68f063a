"""What a policy is worth where the chain stands: derived columns of the table ``policy``."""

from __future__ import annotations

from typing import Final

from clarion_graphql.bithedge.reading import composed
from clarion_graphql.entities import Column, Kind

#: What was paid for it, at the token's price then.
PAID: Final = (
    "(SELECT div(t.premium * t.token_price_usd8, power(10::numeric, k.decimals)) FROM {token} k "
    "WHERE k.token = t.token)"
)
#: What it would pay at the asset's last closed price.
INTRINSIC: Final = (
    "(SELECT least(t.max_payout_usd8, div(greatest(0, CASE t.type WHEN 'put' THEN t.strike_usd8 - a.price_usd8 "
    "ELSE a.price_usd8 - t.strike_usd8 END) * t.notional_sat, 100000000)) FROM {asset} a "
    "WHERE a.asset = t.asset AND a.price_usd8 > 0)"
)

#: What its owner has won or lost.
PNL: Final = (
    "(CASE t.state WHEN 'active' THEN " + INTRINSIC + " WHEN 'cancelled' THEN "
    "(SELECT div(t.refund * t.token_price_usd8, power(10::numeric, k.decimals)) FROM {token} k "
    "WHERE k.token = t.token) ELSE t.payoff_usd8 - t.unpaid_usd8 END - " + PAID + ")"
)

POLICY: Final = (
    Column(
        "days_left",
        Kind.INT,
        "Whole days of 144 Bitcoin blocks from the receipt's block to its expiry, 0 once expired; null where it has "
        "ended or the former is not known.",
        nullable=True,
        expression=composed("CASE WHEN t.state = 'active' THEN greatest(0, t.expiry_burn - {burn_now}) / 144 END"),
        filterable=False,
        orderable=False,
    ),
    Column(
        "intrinsic_usd8",
        Kind.BIG_INT,
        "What it would pay at the last closed price of its asset, at most its maximum payout; null where it has ended "
        "or there is no price. Unit: US dollars x 10^8.",
        nullable=True,
        expression=composed("CASE WHEN t.state = 'active' THEN " + INTRINSIC + " END"),
        filterable=False,
        orderable=False,
    ),
    Column(
        "premium_paid_usd8",
        Kind.BIG_INT,
        "Premium paid at the token's price of its creation, rounded down. Unit: US dollars x 10^8.",
        nullable=True,
        expression=composed(PAID),
        filterable=False,
        orderable=False,
    ),
    Column(
        "pnl_usd8",
        Kind.BIG_INT,
        "What its owner has won or (negative) lost: while it is active its intrinsic value, once cancelled the refund "
        "at the token's price of its creation, otherwise the payoff as far as it was paid; less the premium paid. Null "
        "where there is no price. Unit: US dollars x 10^8.",
        nullable=True,
        expression=composed(PNL),
        filterable=False,
        orderable=False,
    ),
    Column(
        "break_even_usd8",
        Kind.BIG_INT,
        "Price of its asset at which it pays back what was paid for it: the strike less (PUT) or plus (CALL) the "
        "premium paid per whole unit, that rounded up; null where it can never pay as much. Unit: US dollars x 10^8.",
        nullable=True,
        expression=composed(
            "(SELECT CASE WHEN v.paid > t.max_payout_usd8 THEN NULL "
            "WHEN t.type = 'call' THEN t.strike_usd8 + w.distance "
            "WHEN t.strike_usd8 >= w.distance THEN t.strike_usd8 - w.distance END "
            "FROM (SELECT " + PAID + " AS paid) v CROSS JOIN LATERAL "
            "(SELECT div(v.paid * 100000000 + t.notional_sat - 1, t.notional_sat) AS distance "
            "WHERE t.notional_sat > 0) w)"
        ),
        filterable=False,
        orderable=False,
    ),
    Column(
        "distance_to_strike_bp",
        Kind.BIG_INT,
        "How far the last closed price of its asset is above (negative: below) the strike, of the strike, rounded "
        "towards zero; null where it has ended or there is no price. Unit: 1/10000.",
        nullable=True,
        expression=composed(
            "CASE WHEN t.state = 'active' THEN (SELECT div((a.price_usd8 - t.strike_usd8) * 10000, t.strike_usd8) "
            "FROM {asset} a WHERE a.asset = t.asset AND a.price_usd8 > 0 AND t.strike_usd8 > 0) END"
        ),
        filterable=False,
        orderable=False,
    ),
)
