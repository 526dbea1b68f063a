"""Prices: bh-oracle."""

from __future__ import annotations

from typing import Final

from clarion.protocols.bithedge.actions.declaration import Action, Call
from clarion.protocols.bithedge.actions.roles import check_governance, check_role
from clarion.protocols.bithedge.errors import RefusedError
from clarion.protocols.bithedge.outcomes import Check
from clarion.protocols.bithedge.tables import Asset, OracleProvider, PriceRound, PriceSubmission
from clarion.protocols.bithedge.units import BP

MAX_PRICE: Final = 10**18
MAX_WEIGHT: Final = 10**6
MAX_PROVIDERS: Final = 10


def _next_round(call: Call) -> int:
    return call.state.need(Asset, call["asset"]).next_round


def _check_set_asset(call: Call) -> Check[bool]:
    yield from check_governance(call, 3001)
    if not 0 < call["reference-usd8"] <= MAX_PRICE:
        yield 3009
    return True


def _check_set_provider(call: Call) -> Check[bool]:
    yield from check_governance(call, 3001)
    if call["weight"] > MAX_WEIGHT:
        yield 3023
    rows = call.state.select(OracleProvider, at_least=("weight", 1), order=[("provider", False)], limit=MAX_PROVIDERS)
    known = call["provider"] in {row.provider for row in rows}
    if call["weight"] and not known and len(rows) == MAX_PROVIDERS:
        yield 3006
    return True


def _check_submit(call: Call) -> Check[bool]:
    state = call.state
    asset, now, observed = state.asset(call["asset"]), state.burn_height, call["observed-burn"]
    provider = state.get(OracleProvider, call.sender)
    if provider is None or provider.weight == 0:
        yield 3005
    if not state.is_open("oracle"):
        yield 3007
    if call["round"] != asset.next_round:
        yield 3008
    if not 0 < call["price-usd8"] <= MAX_PRICE:
        yield 3009
    if observed > now:
        yield 3011
    row = state.get(PriceRound, call["asset"], call["round"])
    opened = observed if row is None else row.opened_burn
    if now > observed + state.parameter("price-max-age") or observed < max(opened, asset.opened_burn):
        yield 3010
    if now > opened + state.parameter("round-timeout"):
        yield 3013
    if state.get(PriceSubmission, call["asset"], call["round"], call.sender) is not None:
        yield 3012
    return True


def _check_close(call: Call) -> Check[None]:
    """Whether it closes or rejects the round is not foretold."""
    state = call.state
    asset = state.asset(call["asset"])
    if not state.is_open("oracle"):
        yield 3007
    row = state.get(PriceRound, call["asset"], call["round"])
    if call["round"] != asset.next_round or row is None:
        raise RefusedError(3008)
    providers = state.select(OracleProvider, at_least=("weight", 1), order=[("provider", False)], limit=MAX_PROVIDERS)
    total = sum(provider.weight for provider in providers)
    is_quorum = (
        row.count >= state.parameter("oracle-min-providers")
        and row.weight * BP >= state.parameter("oracle-quorum-bp") * total
    )
    if not is_quorum and state.burn_height <= row.opened_burn + state.parameter("round-timeout"):
        yield 3014


def _expiry_round(call: Call) -> int:
    row = call.state.first_round_from(call["asset"], call["expiry-burn"])
    if row is None:
        raise RefusedError(3019)
    return row.round


def _check_fix(call: Call) -> Check[int]:
    state = call.state
    if state.burn_height < call["expiry-burn"]:
        yield 3017
    if state.expiry_price(call["asset"], call["expiry-burn"]) is not None:
        yield 3018
    row = state.first_round_from(call["asset"], call["expiry-burn"])
    if row is None or row.round != call["round"] or row.price_usd8 is None:
        raise RefusedError(3019)
    return row.price_usd8


def _is_tripped(call: Call) -> bool:
    return call.state.is_tripped("oracle")


def _check_fallback(call: Call) -> Check[bool]:
    yield from check_role(call, 3003, "guardian")
    call.state.asset(call["asset"])
    if not _is_tripped(call):
        yield 3020
    if not 0 < call["price-usd8"] <= MAX_PRICE:
        yield 3009
    return True


def _check_cancel(call: Call) -> Check[bool]:
    yield from check_role(call, 3003, "governance", "guardian")
    row = call.state.get(Asset, call["asset"])
    if row is None or row.fallback_usd8 is None:
        yield 3021
    return True


def _check_apply(call: Call) -> Check[int]:
    row = call.state.asset(call["asset"])
    if row.fallback_usd8 is None or row.fallback_from_burn is None:
        raise RefusedError(3021)
    if not _is_tripped(call):
        yield 3020
    if call.state.burn_height < row.fallback_from_burn:
        yield 3022
    return row.next_round


ACTIONS: Final = (
    Action(
        "set-asset",
        "bh-oracle",
        "set-asset",
        "(asset (string-ascii 12)) (insurable bool) (reference-usd8 uint) (active bool)",
        caller="governance",
        about="Adds a price feed or changes one.",
        check=_check_set_asset,
        says={"active": "Whether it takes rounds."},
    ),
    Action(
        "set-oracle-provider",
        "bh-oracle",
        "set-provider",
        "(provider principal) (weight uint)",
        caller="governance; weight 0 removes",
        about="Adds an oracle provider, changes its weight, or removes it with weight 0.",
        check=_check_set_provider,
        says={"provider": "Who submits prices."},
    ),
    Action(
        "submit-price",
        "bh-oracle",
        "submit-price",
        "(asset (string-ascii 12)) (round uint) (price-usd8 uint) (observed-burn uint)",
        caller="provider",
        about="Submits a price to the round that is open or opens with it.",
        check=_check_submit,
        fills={
            "round": (_next_round, "the current one"),
            "observed-burn": (lambda call: call.state.burn_height, "the receipt's Bitcoin block"),
        },
        says={"observed-burn": "Bitcoin block at which the price was observed."},
    ),
    Action(
        "close-round",
        "bh-oracle",
        "close-round",
        "(asset (string-ascii 12)) (round uint)",
        caller="anyone; `true` closed, `false` rejected",
        about="Ends a round of prices that has its quorum, or its timeout behind it.",
        check=_check_close,
        fills={"round": (_next_round, "the current one")},
    ),
    Action(
        "fix-expiry-price",
        "bh-oracle",
        "fix-expiry-price",
        "(asset (string-ascii 12)) (expiry-burn uint) (round uint)",
        caller="anyone",
        about="Fixes the price that everything of an asset expiring at a Bitcoin block settles at.",
        check=_check_fix,
        fills={"round": (_expiry_round, "the first one closed at or after the expiry")},
    ),
    Action(
        "set-fallback-price",
        "bh-oracle",
        "set-fallback",
        "(asset (string-ascii 12)) (price-usd8 uint) (reason (string-ascii 64))",
        caller="guardian, while breaker `oracle` is tripped",
        about="Announces a price for a dead oracle.",
        check=_check_fallback,
    ),
    Action(
        "cancel-fallback-price",
        "bh-oracle",
        "cancel-fallback",
        "(asset (string-ascii 12))",
        caller="governance or guardian",
        about="Takes an announced fallback price back.",
        check=_check_cancel,
    ),
    Action(
        "apply-fallback-price",
        "bh-oracle",
        "apply-fallback",
        "(asset (string-ascii 12))",
        caller="anyone, after `fallback-delay`, while tripped",
        about="Makes an announced fallback price the asset's, once its delay is over.",
        check=_check_apply,
    ),
)
