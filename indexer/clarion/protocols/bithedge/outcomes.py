"""What ends a policy or takes capital out, foretold: the checks that the contracts make, and what they would pay.

A check is a generator: it yields the number of every error that stands against the call, in the contract's order, and
returns what the call would give. The first number is the error that the contract gives.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from clarion.protocols.bithedge.errors import RefusedError
from clarion.protocols.bithedge.payoff import (
    Settlement,
    ceil_div,
    health_bp,
    intrinsic_usd8,
    payoff_usd8,
    settlement,
)
from clarion.protocols.bithedge.state import Price, State
from clarion.protocols.bithedge.tables import Allocation, Policy, PolicyLock, Position, Token, WithdrawRequest
from clarion.protocols.bithedge.units import BP, TokenAmount, Usd8

T = TypeVar("T")
Check = Generator[int, None, T]
"""Yields what stands against a call, returns what it would give."""


@dataclass(frozen=True, slots=True)
class Foretold:
    """How a call would end now. ``refusals`` are error numbers, the contract's first; ``result`` is where none is."""

    refusals: tuple[int, ...]
    result: Any

    @property
    def ok(self) -> bool:
        """Whether nothing that is known stands against it."""
        return not self.refusals


def foretell(check: Callable[[], Check[Any]]) -> Foretold:
    """Run a check to its end. One that cannot go on after an error ends with that."""
    refusals: list[int] = []
    running = check()
    try:
        while True:
            refusals.append(next(running))
    except StopIteration as end:
        return Foretold(tuple(refusals), None if refusals else end.value)
    except RefusedError as refused:
        return Foretold((*refusals, refused.code), None)


@dataclass(frozen=True, slots=True)
class Payout:
    """What a policy pays at prices of its asset and of its token."""

    price: Usd8
    token_price: Usd8
    payoff_usd8: Usd8
    paid: TokenAmount
    unpaid_usd8: Usd8


def allocations_of(state: State, policy: int) -> Sequence[Allocation]:
    """The allocations that back a policy, in order."""
    found = state.select(Allocation, policy=policy, order=[("place", False)], limit=100)
    return [row for row in found if row.state != "moved"]


def payout(state: State, row: Policy, token: Token, price: Usd8, token_price: Usd8) -> Payout:
    """What an active policy pays at these prices, out of its collateral as it is."""
    payoff = payoff_usd8(_kind(row), row.strike_usd8, price, row.notional_sat, row.max_payout_usd8)
    parts = [(part.liability_usd8, part.collateral) for part in allocations_of(state, row.id)]
    ended: Settlement = settlement(payoff, parts, token.decimals, token_price)
    return Payout(price, token_price, payoff, ended.paid, ended.unpaid)


def _kind(row: Policy) -> Any:
    return row.type


def collateral_of(state: State, row: Policy) -> TokenAmount:
    """Everything that is locked for a policy: it cannot pay more."""
    lock = state.get(PolicyLock, row.id)
    return row.collateral if lock is None else lock.collateral


def _price_after(state: State, asset: str, burn: int) -> Check[Price]:
    price = state.fresh_price(asset)
    if price.opened_burn <= burn:
        yield 6019
    return price


def check_exercise(state: State, policy: int, who: str | None) -> Check[Payout]:
    """An early exercise by ``who``; None: by its owner."""
    row = state.get(Policy, policy)
    if row is None:
        raise RefusedError(6011)
    token = state.token(row.token, 6005)
    if who is not None and who != row.owner:
        yield 6015
    if not state.is_open("exercise"):
        yield 6016
    if row.state != "active":
        yield 6012
    if row.style != "american":
        yield 6017
    if state.burn_height >= row.expiry_burn:
        yield 6018
    price = yield from _price_after(state, row.asset, row.created_burn)
    token_price = yield from _price_after(state, token.asset, row.created_burn)
    found = payout(state, row, token, price.usd8, token_price.usd8)
    if found.payoff_usd8 == 0:
        yield 6020
    return found


def check_cancel(state: State, policy: int, who: str | None) -> Check[TokenAmount]:
    """A cancellation by ``who``; None: by its owner. Gives the refund."""
    row = state.get(Policy, policy)
    if row is None:
        raise RefusedError(6011)
    if who is not None and who != row.owner:
        yield 6015
    if not state.is_open("cancel"):
        yield 6021
    if row.state != "active":
        yield 6012
    if state.burn_height > row.cancel_until_burn:
        yield 6022
    price = state.fresh_price(row.asset)
    if intrinsic_usd8(_kind(row), row.strike_usd8, price.usd8) > 0:
        yield 6023
    return refund(state, row)


def refund(state: State, row: Policy) -> TokenAmount:
    """What a cancellation gives back."""
    fee = ceil_div(row.premium_provider * state.parameter("cancel-fee-bp"), BP)
    return TokenAmount(row.premium_provider - fee)


def check_settle(state: State, policy: int) -> Check[Payout]:
    """A settlement at the fixed prices of the policy's expiry, by anyone."""
    row = state.get(Policy, policy)
    if row is None:
        raise RefusedError(6011)
    token = state.token(row.token, 6005)
    if row.state != "active":
        raise RefusedError(6012)
    if state.burn_height < row.expiry_burn:
        yield 6013
    price = state.expiry_price(row.asset, row.expiry_burn)
    token_price = state.expiry_price(token.asset, row.expiry_burn)
    if price is None or token_price is None:
        raise RefusedError(6014)
    return payout(state, row, token, price.price_usd8, token_price.price_usd8)


def check_withdraw(state: State, request: int, who: str) -> Check[TokenAmount]:
    """A withdrawal of what was asked back. Gives what it would pay."""
    row = state.get(WithdrawRequest, request)
    if row is None or row.state != "pending":
        raise RefusedError(5008)
    position = state.need(Position, row.provider, row.tier, row.token)
    amount = withdrawal(row, position)
    if who != row.provider:
        yield 5009
    if not state.is_open("withdraw"):
        yield 5005
    if row.unlock_burn is not None and state.burn_height < row.unlock_burn:
        yield 5010
    yield from check_health(state, position, TokenAmount(position.available + position.locked - amount))
    return amount


def withdrawal(row: WithdrawRequest, position: Position) -> TokenAmount:
    """What a request pays: less than asked for where a liquidation took of it."""
    return TokenAmount(min(row.amount, position.available))


def check_health(state: State, position: Position, capital: TokenAmount) -> Check[None]:
    """A position that backs policies keeps its tier's warning ratio with this capital, at a fresh price."""
    if position.liability_usd8 == 0:
        return
    token, tier = state.token(position.token, 5001), state.tier(position.tier, 5002)
    price = state.fresh_price(token.asset)
    health = health_bp(capital, token.decimals, price.usd8, token.haircut_bp, position.liability_usd8)
    if (health or 0) < tier.ratio_warn_bp:
        yield 5011


def free_until_warning(position: Position, token: Token, ratio_warn: int, price: Usd8) -> TokenAmount:
    """The most that can leave a position before it is below its tier's warning ratio at a price of the token."""
    if position.liability_usd8 == 0:
        needed = 0
    else:
        needed = ceil_div(ratio_warn * 10**token.decimals * position.liability_usd8, price * (BP - token.haircut_bp))
    capital = position.available + position.locked
    return TokenAmount(max(0, min(position.available - position.requested, capital - position.requested - needed)))
