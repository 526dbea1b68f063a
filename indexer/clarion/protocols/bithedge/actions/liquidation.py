"""Margin calls and take-overs: bh-liquidation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from clarion.chains.stacks.clarity import StringAscii, UInt, Value, principal
from clarion.protocols.bithedge.actions.declaration import Action, Call, Reading
from clarion.protocols.bithedge.errors import RefusedError
from clarion.protocols.bithedge.health import Margin, position_health
from clarion.protocols.bithedge.outcomes import Check
from clarion.protocols.bithedge.payoff import ceil_div, tokens_up
from clarion.protocols.bithedge.pricing import take_over_usd8
from clarion.protocols.bithedge.state import State
from clarion.protocols.bithedge.tables import Allocation, MarginCall, Policy, Position, Switch
from clarion.protocols.bithedge.units import BP, BurnBlocks, TokenAmount, Usd8


@dataclass(frozen=True, slots=True)
class Standing:
    """A position as the contract's ``get-health`` sees it; ``round`` is 0 where it owes nothing."""

    margin: Margin
    round: int
    price: Usd8
    decimals: int


def standing(state: State, provider: str, tier: str, token: str) -> Standing:
    """Where a position stands at the market's price. Raises RefusedError."""
    position = state.get(Position, provider, tier, token)
    token_row, tier_row = state.token(token, 9002), state.tier(tier, 9002)
    if position is None or position.liability_usd8 == 0:
        return Standing(Margin.IDLE, 0, Usd8(0), token_row.decimals)
    price = state.market_price(token_row.asset)
    health = position_health(
        TokenAmount(position.available + position.locked),
        position.liability_usd8,
        tier_row,
        decimals=token_row.decimals,
        haircut=token_row.haircut_bp,
        price=price.usd8,
    )
    return Standing(health.margin, price.round, price.usd8, token_row.decimals)


def open_call(state: State, provider: str, tier: str, token: str) -> MarginCall | None:
    """The margin call that is open on a position."""
    found = state.select(
        MarginCall, provider=provider, tier=tier, token=token, state="open", order=[("id", True)], limit=1
    )
    return found[0] if found else None


_HEALTHY: Final = (Margin.IDLE, Margin.HEALTHY)
_UNDER: Final = (Margin.UNDER, Margin.INSOLVENT)


def _check_issue(call: Call) -> Check[None]:
    key = (call["provider"], call["tier"], call["token"])
    if not call.state.is_open("liquidate"):
        yield 9001
    if standing(call.state, *key).margin in _HEALTHY:
        yield 9003
    if open_call(call.state, *key) is not None:
        yield 9005


def _check_escalate(call: Call) -> Check[bool]:
    key = (call["provider"], call["tier"], call["token"])
    if not call.state.is_open("liquidate"):
        yield 9001
    row = open_call(call.state, *key)
    if row is None:
        raise RefusedError(9006)
    found = standing(call.state, *key)
    if found.margin in _HEALTHY:
        yield 9003
    if row.level != "soft":
        yield 9007
    if found.margin not in _UNDER and call.state.burn_height <= row.deadline_burn:
        yield 9008
    return True


def _check_resolve(call: Call) -> Check[bool]:
    key = (call["provider"], call["tier"], call["token"])
    if open_call(call.state, *key) is None:
        raise RefusedError(9006)
    if standing(call.state, *key).margin not in _HEALTHY:
        yield 9004
    return True


def fair_value_usd8(state: State, row: Policy, allocation: Allocation) -> Usd8:
    """What an allocation of a live policy is worth now: bh-liquidation's ``get-fair-value``. Raises RefusedError."""
    return take_over_usd8(
        "put" if row.type == "put" else "call",
        spot=state.market_price(row.asset).usd8,
        strike=row.strike_usd8,
        notional=row.notional_sat,
        volatility=state.volatility(row.asset),
        duration=BurnBlocks(row.expiry_burn - state.burn_height),
        max_payout=row.max_payout_usd8,
        liability=allocation.liability_usd8,
    )


def is_overdue(state: State, deadline_burn: int) -> bool:
    """Whether a hard call's deadline is over; after the breaker of deposits was reset there is one more window."""
    switch = state.get(Switch, "deposit")
    reopened = switch.since_burn or 0 if switch is not None else 0
    return state.burn_height > max(deadline_burn, reopened + state.parameter("hard-call-window"))


def _check_take_over(call: Call, provider: str, *, forced: bool, to_fund: bool, least: int) -> Check[None]:
    """What the tables tell of a take-over; whether the taker stays healthy is not among it."""
    state = call.state
    if not state.is_open("liquidate"):
        yield 9001
    row = state.get(Policy, call["policy"])
    if row is None or row.state != "active" or state.burn_height >= row.expiry_burn:
        raise RefusedError(9012)
    allocation = state.get(Allocation, row.id, provider)
    if allocation is None or allocation.state != "active":
        raise RefusedError(9013)
    margin_call = open_call(state, provider, row.tier, row.token)
    if margin_call is None:
        raise RefusedError(9006)
    found = standing(state, provider, row.tier, row.token)
    if found.margin in _HEALTHY:
        yield 9003
    if margin_call.level != "hard":
        yield 9009
    if forced:
        if found.margin is not Margin.INSOLVENT and not is_overdue(state, margin_call.deadline_burn):
            yield 9009
        if found.round <= margin_call.round:
            yield 9010
    load = state.parameter("takeover-load-bp") if to_fund else 0
    price_usd8 = min(ceil_div(fair_value_usd8(state, row, allocation) * (BP + load), BP), allocation.liability_usd8)
    if tokens_up(Usd8(price_usd8), found.decimals, found.price) < least:
        yield 9014


def _check_liquidate(call: Call) -> Check[None]:
    fund = call.state.contract("bh-fund")
    if not call.state.is_open("deposit"):
        yield 9001
    if call["taker"] not in (call.sender, fund):
        yield 9011
    yield from _check_take_over(
        call, call["provider"], forced=True, to_fund=call["taker"] == fund, least=call["min-paid"]
    )


def _check_self(call: Call) -> Check[None]:
    yield from _check_take_over(call, call.sender, forced=False, to_fund=True, least=0)


def _position_arguments(call: Call) -> tuple[Value, ...]:
    return principal(call["provider"]), StringAscii(call["tier"]), principal(call["token"])


_HEALTH: Final = Reading("bh-liquidation", "get-health", _position_arguments)
_POSITION: Final = "(provider principal) (tier (string-ascii 16)) (token principal)"

ACTIONS: Final = (
    Action(
        "issue-margin-call",
        "bh-liquidation",
        "issue-margin-call",
        _POSITION,
        caller="anyone; gives the call",
        about="Calls on a provider whose position is below its tier's warning ratio.",
        check=_check_issue,
        reading=_HEALTH,
    ),
    Action(
        "escalate-margin-call",
        "bh-liquidation",
        "escalate",
        _POSITION,
        caller="anyone",
        about="Turns a soft margin call into a hard one.",
        check=_check_escalate,
        reading=_HEALTH,
    ),
    Action(
        "resolve-margin-call",
        "bh-liquidation",
        "resolve-margin-call",
        _POSITION,
        caller="anyone",
        about="Ends the margin call of a position that is healthy again.",
        check=_check_resolve,
        reading=_HEALTH,
    ),
    Action(
        "liquidate",
        "bh-liquidation",
        "liquidate",
        "(policy uint) (provider principal) (taker principal) (min-paid uint)",
        caller="anyone, for themselves or for the fund as taker; gives the liquidation",
        about="Takes an allocation of a failing position over, inside the vault; the sender gets a bounty.",
        check=_check_liquidate,
        reading=Reading(
            "bh-liquidation", "get-fair-value", lambda call: (UInt(call["policy"]), principal(call["provider"]))
        ),
        fills={
            "taker": (lambda call: call.sender, "the sender"),
            "min-paid": (lambda call: 0, "0"),
        },
        says={
            "taker": "Who backs the allocation from then on: the sender, or the contract bh-fund.",
            "min-paid": "Least that the taker is paid for it, in base units of the position's token.",
        },
        is_whole=False,
    ),
    Action(
        "self-liquidate",
        "bh-liquidation",
        "self-liquidate",
        "(policy uint)",
        caller="the provider; gives the liquidation",
        about="Gives an allocation of the sender's own to the fund, without penalty, under a hard call.",
        check=_check_self,
        reading=Reading(
            "bh-liquidation", "get-fair-value", lambda call: (UInt(call["policy"]), principal(call.sender))
        ),
        is_whole=False,
    ),
)
