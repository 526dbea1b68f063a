"""Margin calls and take-overs: bh-liquidation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from clarion.chains.stacks.clarity import StringAscii, UInt, Value, principal
from clarion.protocols.bithedge.actions.declaration import Action, Call, Reading
from clarion.protocols.bithedge.errors import RefusedError
from clarion.protocols.bithedge.health import Margin, position_health
from clarion.protocols.bithedge.outcomes import Check
from clarion.protocols.bithedge.payoff import ceil_div, health_bp, required_collateral, tokens_up
from clarion.protocols.bithedge.pricing import take_over_usd8
from clarion.protocols.bithedge.state import State, UnknownStateError
from clarion.protocols.bithedge.tables import (
    Allocation,
    FundCover,
    FundHolding,
    FundTakeover,
    MarginCall,
    Policy,
    Position,
    Switch,
)
from clarion.protocols.bithedge.units import BP, BurnBlocks, TokenAmount, Usd8

MOST_USED_BP: Final = 1_000_000


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


@dataclass(frozen=True, slots=True)
class TakeOver:
    """What a take-over would do, in base units of the position's token.

    ``price`` is what the taker is due, ``paid`` what the allocation's collateral pays of it; ``bounty`` goes to the
    sender and ``penalty`` to the fund. What is left of ``collateral_from`` is free again; the taker locks
    ``collateral_to``.
    """

    fair_usd8: Usd8
    price_usd8: Usd8
    price: TokenAmount
    paid: TokenAmount
    bounty: TokenAmount
    penalty: TokenAmount
    collateral_from: TokenAmount
    collateral_to: TokenAmount


def check_take_over(
    state: State, policy: int, provider: str, taker: str, *, forced: bool, least: int = 0
) -> Check[TakeOver]:
    """A taker's take-over of a provider's part of a policy; ``least`` is the least that the taker is to be paid."""
    if not state.is_open("liquidate"):
        yield 9001
    row = state.get(Policy, policy)
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
    terms = _terms(state, row, allocation, found, forced=forced, to_fund=taker == state.contract("bh-fund"))
    if provider == taker:
        yield 5029
    yield from _check_taker(state, row, allocation, found, taker, terms, least)
    return terms


def _terms(
    state: State, row: Policy, allocation: Allocation, found: Standing, *, forced: bool, to_fund: bool
) -> TakeOver:
    """What moves: price, bounty and penalty out of the allocation's collateral, in this order, as far as it reaches."""
    token, tier = state.token(row.token, 5001), state.tier(row.tier, 5002)
    load = state.parameter("takeover-load-bp") if to_fund else 0
    fair = fair_value_usd8(state, row, allocation)
    price_usd8 = Usd8(min(ceil_div(fair * (BP + load), BP), allocation.liability_usd8))
    price = tokens_up(price_usd8, found.decimals, found.price)
    collateral = allocation.collateral
    bounty_bp = state.parameter("liquidation-bounty-bp") if forced else 0
    penalty_bp = state.parameter("liquidation-penalty-bp") if forced else 0
    paid = min(price, collateral)
    bounty = min(collateral * bounty_bp // BP, collateral - paid)
    return TakeOver(
        fair_usd8=fair,
        price_usd8=price_usd8,
        price=price,
        paid=TokenAmount(paid),
        bounty=TokenAmount(bounty),
        penalty=TokenAmount(min(collateral * penalty_bp // BP, collateral - paid - bounty)),
        collateral_from=collateral,
        collateral_to=required_collateral(
            allocation.liability_usd8, token.decimals, found.price, tier.ratio_min_bp, token.haircut_bp
        ),
    )


def _check_taker(
    state: State,
    row: Policy,
    allocation: Allocation,
    found: Standing,
    taker: str,
    terms: TakeOver,
    least: int,
) -> Check[None]:
    """Whether the taker can bear it: free capital, its tier's ratios, and the fund's own limits."""
    token, tier = state.token(row.token, 5001), state.tier(row.tier, 5002)
    position = state.get(Position, taker, row.tier, row.token) or Position(
        provider=taker, tier=row.tier, token=row.token
    )
    available = position.available + terms.paid
    capital = TokenAmount(available + position.locked)
    liability = Usd8(position.liability_usd8 + allocation.liability_usd8)
    health = health_bp(capital, token.decimals, found.price, token.haircut_bp, liability) or 0
    if position.requested + terms.collateral_to > available:
        yield 5007
    if health < tier.ratio_min_bp:
        yield 5011
    if terms.paid < least:
        yield 9014
    if health < tier.ratio_warn_bp:
        yield 9015
    if taker == state.contract("bh-fund"):
        yield from _check_fund(state, row, terms, capital, liability)


def used_bp(holding: FundHolding | None) -> int:
    """What the fund has promised of a token over what it has of it: bh-fund's ``get-used-bp``."""
    if holding is None or holding.cover == 0:
        return 0
    if holding.cover >= holding.balance * (MOST_USED_BP // BP):
        return MOST_USED_BP
    return holding.cover * BP // holding.balance


def _check_fund(state: State, row: Policy, terms: TakeOver, capital: TokenAmount, liability: Usd8) -> Check[None]:
    """What bh-fund refuses to take over; capital and liability are those of its position afterwards."""
    cover = state.get(FundCover, row.tier, row.token)
    taken = state.select(FundTakeover, policy=row.id, order=[("seq", False)], limit=1000)
    collateral = terms.collateral_to + sum(one.collateral for one in taken)
    if used_bp(state.get(FundHolding, row.token)) >= state.parameter("fund-critical-bp"):
        yield 8011
    if liability > _most_liability(cover):
        yield 8013
    if row.expiry_burn < state.burn_height + state.parameter("takeover-min-duration"):
        yield 8014
    if terms.paid < terms.price:
        yield 8015
    if collateral * BP > capital * state.parameter("fund-event-cap-bp"):
        yield 8016


def _most_liability(cover: FundCover | None) -> int:
    if cover is None:
        return 0
    if cover.max_liability_usd8 is None:
        raise UnknownStateError(
            f"The index does not know the fund's limit in {cover.tier} and {cover.token}: it began after that was set."
        )
    return cover.max_liability_usd8


def _check_liquidate(call: Call) -> Check[None]:
    fund = call.state.contract("bh-fund")
    if not call.state.is_open("deposit"):
        yield 9001
    if call["taker"] not in (call.sender, fund):
        yield 9011
    yield from check_take_over(
        call.state, call["policy"], call["provider"], call["taker"], forced=True, least=call["min-paid"]
    )


def _check_self(call: Call) -> Check[None]:
    fund = call.state.contract("bh-fund")
    yield from check_take_over(call.state, call["policy"], call.sender, fund, forced=False)


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
    ),
)
