"""Payouts, collateral and health: the arithmetic of the contract bh-math, to the same last digit.

Formulas are those of ``docs/contracts.md``, section "Payout and collateral". The contract's integers end at 2^128 - 1
and it aborts above; here they do not end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clarion.protocols.bithedge.units import BP, E8, BasisPoints, PolicyType, Sats, TokenAmount, Usd8


def ceil_div(dividend: int, divisor: int) -> int:
    """The smallest integer that is at least ``dividend / divisor``."""
    return -(-dividend // divisor)


def max_payout_usd8(kind: PolicyType, strike: Usd8, notional: Sats, call_cap: BasisPoints) -> Usd8:
    """The most a policy can pay: strike x notional for a PUT, the share ``call_cap`` of it for a CALL."""
    if kind == "put":
        return Usd8(strike * notional // E8)
    return Usd8(strike * notional * call_cap // (E8 * BP))


def intrinsic_usd8(kind: PolicyType, strike: Usd8, price: Usd8) -> Usd8:
    """What one whole unit of the asset pays at ``price``, before any cap."""
    return Usd8(max(0, strike - price if kind == "put" else price - strike))


def payoff_usd8(kind: PolicyType, strike: Usd8, price: Usd8, notional: Sats, max_payout: Usd8) -> Usd8:
    """What a policy pays when its asset is at ``price``."""
    return Usd8(min(max_payout, intrinsic_usd8(kind, strike, price) * notional // E8))


def tokens_up(usd: Usd8, decimals: int, price: Usd8) -> TokenAmount:
    """Tokens worth at least ``usd`` at ``price`` per whole token. Raises ZeroDivisionError at price 0."""
    return TokenAmount(ceil_div(usd * 10**decimals, price))


def tokens_down(usd: Usd8, decimals: int, price: Usd8) -> TokenAmount:
    """Tokens worth at most ``usd`` at ``price`` per whole token. Raises ZeroDivisionError at price 0."""
    return TokenAmount(usd * 10**decimals // price)


def value_usd8(amount: TokenAmount, decimals: int, price: Usd8) -> Usd8:
    """What ``amount`` is worth at ``price`` per whole token, rounded down."""
    return Usd8(amount * price // 10**decimals)


def required_collateral(
    liability: Usd8, decimals: int, price: Usd8, ratio: BasisPoints, haircut: BasisPoints
) -> TokenAmount:
    """Tokens that must be locked for ``liability``, at a tier's ``ratio`` and a token's ``haircut``."""
    return TokenAmount(ceil_div(liability * 10**decimals * ratio, price * (BP - haircut)))


def coverable_usd8(
    collateral: TokenAmount, decimals: int, price: Usd8, ratio: BasisPoints, haircut: BasisPoints
) -> Usd8:
    """The largest liability whose :func:`required_collateral` is at most ``collateral``."""
    return Usd8(collateral * price * (BP - haircut) // (10**decimals * ratio))


def health_bp(
    collateral: TokenAmount, decimals: int, price: Usd8, haircut: BasisPoints, liability: Usd8
) -> BasisPoints | None:
    """Worth of the collateral, less the haircut, per liability. None without liability."""
    if liability == 0:
        return None
    return BasisPoints(collateral * price * (BP - haircut) // (10**decimals * liability))


def slice_of(amount: int, start: int, stop: int, total: int) -> int:
    """The part of ``amount`` that the stretch from ``start`` to ``stop`` of ``total`` has."""
    return amount * stop // total - amount * start // total


def split(amount: int, shares: Sequence[int]) -> list[int]:
    """``amount`` in proportion to ``shares``; the parts sum to it exactly. All zero where the shares are."""
    total = sum(shares)
    parts = []
    start = 0
    for share in shares:
        parts.append(slice_of(amount, start, start + share, total) if total else 0)
        start += share
    return parts


@dataclass(frozen=True, slots=True)
class Settlement:
    """What each allocation of a policy pays, what that is together, and how much of the payoff stays unpaid."""

    losses: tuple[TokenAmount, ...]
    paid: TokenAmount
    unpaid: Usd8


def settlement(payoff: Usd8, allocations: Sequence[tuple[Usd8, TokenAmount]], decimals: int, price: Usd8) -> Settlement:
    """How ``payoff`` is paid out of the (liability, collateral) of a policy's allocations, in their order.

    Each pays its liability's part, at most its own collateral. ``payoff`` is at most the sum of the liabilities.
    """
    due = tokens_down(payoff, decimals, price)
    parts = split(due, [liability for liability, _ in allocations])
    losses = tuple(TokenAmount(min(part, collateral)) for part, (_, collateral) in zip(parts, allocations, strict=True))
    paid = TokenAmount(sum(losses))
    return Settlement(losses, paid, Usd8(0) if paid == due else Usd8(payoff - value_usd8(paid, decimals, price)))
