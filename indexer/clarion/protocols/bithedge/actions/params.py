"""The protocol's rules: bh-params."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from clarion.protocols.bithedge.actions.declaration import Action, Call
from clarion.protocols.bithedge.actions.roles import check_governance, check_role
from clarion.protocols.bithedge.outcomes import Check
from clarion.protocols.bithedge.tables import Parameter, Switch, Tier, Token
from clarion.protocols.bithedge.units import BP

KINDS: Final = ("burn", "bp", "sat", "usd8", "amt", "count")
MAX_TIERS: Final = 8


def _check_set_params(call: Call) -> Check[bool]:
    yield from check_governance(call, 2001)
    for change in call["changes"]:
        row = call.state.get(Parameter, change["key"])
        if row is None:
            yield 2004
        elif not row.min <= change["value"] <= row.max:
            yield 2005
    return True


def _check_add_param(call: Call) -> Check[bool]:
    yield from check_governance(call, 2001)
    if call.state.get(Parameter, call["key"]) is not None:
        yield 2006
    if call["kind"] not in KINDS:
        yield 2016
    if not call["min"] <= call["value"] <= call["max"]:
        yield 2005
    return True


def _check_add_switch(call: Call) -> Check[bool]:
    yield from check_governance(call, 2001)
    if call.state.get(Switch, call["name"]) is not None:
        yield 2017
    return True


def _check_switch(call: Call, name: str) -> Check[None]:
    if call.state.get(Switch, name) is None:
        yield 2007


def _check_set_metric(call: Call) -> Check[bool]:
    yield from check_governance(call, 2001)
    yield from _check_switch(call, call["breaker"])
    return True


def _check_set_flag(call: Call) -> Check[bool]:
    yield from check_governance(call, 2001)
    yield from _check_switch(call, call["name"])
    return True


def _check_trip(call: Call) -> Check[bool]:
    yield from check_role(call, 2003, "guardian")
    yield from _check_switch(call, call["name"])
    if call.state.is_tripped(call["name"]):
        yield 2008
    return True


def _check_reset(call: Call) -> Check[bool]:
    yield from check_governance(call, 2001)
    yield from _check_switch(call, call["name"])
    if not call.state.is_tripped(call["name"]):
        yield 2008
    return True


def _check_set_tier(call: Call) -> Check[bool]:
    """The bounds of ``docs/contracts.md``, section "bh-params"."""
    yield from check_governance(call, 2001)
    row: Mapping[str, Any] = call["row"]
    fits = (
        5_000 <= row["strike-min-bp"] < row["strike-max-bp"] <= 12_001
        and 1 <= row["max-duration-burn"] <= 52_560
        and 5_000 <= row["premium-mult-bp"] <= 20_000
        and BP <= row["ratio-min-bp"] <= row["ratio-warn-bp"] <= 50_000
        and 1 <= row["max-policy-bp"] <= BP
        and 1 <= row["max-expiry-bp"] <= BP
    )
    if not fits:
        yield 2009
    if call.state.get(Tier, call["name"]) is None and len(call.state.tiers()) == MAX_TIERS:
        yield 2010
    return True


def _check_set_token(call: Call) -> Check[bool]:
    """The bounds of ``docs/contracts.md``, section "bh-params"."""
    yield from check_governance(call, 2001)
    row: Mapping[str, Any] = call["row"]
    if not row["asset"] or not row["asset-name"] or row["decimals"] > 10 or row["haircut-bp"] > 5_000:
        yield 2011
    known = call.state.get(Token, call["token"])
    if known is not None and (known.asset, known.asset_name, known.native, known.decimals) != (
        row["asset"],
        row["asset-name"],
        row["native"],
        row["decimals"],
    ):
        yield 2012
    return True


def _check_set_fees(call: Call) -> Check[bool]:
    yield from check_governance(call, 2001)
    if call["provider-bp"] + call["platform-bp"] + call["reserve-bp"] != BP or call["provider-bp"] < BP // 2:
        yield 2013
    return True


ACTIONS: Final = (
    Action(
        "set-params",
        "bh-params",
        "set-params",
        "(changes (list 24 {key: (string-ascii 24), value: uint})) (proposal (optional uint))",
        caller="governance",
        about="Sets parameters within their bounds.",
        check=_check_set_params,
        says={"changes": "The parameters, each with its new value."},
    ),
    Action(
        "add-param",
        "bh-params",
        "add-param",
        "(key (string-ascii 24)) (kind (string-ascii 8)) (value uint) (min uint) (max uint) (proposal (optional uint))",
        caller="governance",
        about="Adds a parameter.",
        check=_check_add_param,
        says={"kind": "What it is counted in: burn, bp, sat, usd8, amt or count."},
    ),
    Action(
        "add-switch",
        "bh-params",
        "add-switch",
        "(name (string-ascii 16)) (proposal (optional uint))",
        caller="governance",
        about="Adds a switch.",
        check=_check_add_switch,
    ),
    Action(
        "set-metric",
        "bh-params",
        "set-metric",
        "(name (string-ascii 24)) (module (string-ascii 16)) (limit uint) (breaker (string-ascii 16)) "
        "(proposal (optional uint))",
        caller="governance",
        about="Says who reports a metric, and above which value it trips a breaker.",
        check=_check_set_metric,
        is_whole=False,
    ),
    Action(
        "set-flag",
        "bh-params",
        "set-flag",
        "(name (string-ascii 16)) (on bool) (proposal (optional uint))",
        caller="governance",
        about="Switches something on or off.",
        check=_check_set_flag,
        says={"on": "On, or off."},
    ),
    Action(
        "trip-breaker",
        "bh-params",
        "trip-breaker",
        "(name (string-ascii 16)) (reason (string-ascii 64))",
        caller="guardian",
        about="Stops what a breaker stands for, such as `create` or `deposit`, until governance resets it.",
        check=_check_trip,
    ),
    Action(
        "reset-breaker",
        "bh-params",
        "reset-breaker",
        "(name (string-ascii 16)) (proposal (optional uint))",
        caller="governance",
        about="Resets a breaker.",
        check=_check_reset,
    ),
    Action(
        "set-tier",
        "bh-params",
        "set-tier",
        "(name (string-ascii 16)) (row {strike-min-bp: uint, strike-max-bp: uint, max-duration-burn: uint, "
        "premium-mult-bp: uint, ratio-min-bp: uint, ratio-warn-bp: uint, max-policy-bp: uint, max-expiry-bp: uint, "
        "active: bool}) (proposal (optional uint))",
        caller="governance",
        about="Adds a risk tier or changes one.",
        check=_check_set_tier,
        says={"row": "Its rules.", "active": "Whether it takes deposits and policies."},
    ),
    Action(
        "set-token",
        "bh-params",
        "set-token",
        "(token principal) (row {asset: (string-ascii 12), asset-name: (string-ascii 128), native: bool, "
        "decimals: uint, haircut-bp: uint, cap: uint, active: bool}) (proposal (optional uint))",
        caller="governance",
        about="Adds a collateral token or changes one.",
        check=_check_set_token,
        says={"row": "Its rules.", "active": "Whether it takes deposits and policies."},
    ),
    Action(
        "set-fees",
        "bh-params",
        "set-fees",
        "(provider-bp uint) (platform-bp uint) (reserve-bp uint) (proposal (optional uint))",
        caller="governance",
        about="Says how premiums are shared; the parts sum to 10000.",
        check=_check_set_fees,
    ),
)
