"""The stability pool's arithmetic by the correct formulas, in exact integers.

A deposit's value shrinks with every liquidation that the pool takes, and it gains a share of the collateral. Rather
than touch every deposit, the pool keeps a product P (what a token of the beginning is still worth) and sums S (what it
gained); a deposit keeps both as they were when it was made. P shrinks; where it would lose precision it is multiplied
by 10^9 and the scale counts up; where the pool is emptied, a new epoch begins at P = 1. Sums are kept by epoch and
scale. Source: Liquity version 1, contracts/StabilityPool.sol, https://github.com/liquity/dev.

Two things differ from there. The scale may count up more than once at a time, so that P never loses precision. And
rounding is not carried from one liquidation to the next: each rounds against the deposits by itself, so that what they
are worth and have gained together is never more than what is in the pool. (Carried on, it can be more, by a satoshi.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from clarion.protocols.zkusd.units import Base, Sats

ONE: Final = 10**18
"""P at the beginning of an epoch."""

SCALE: Final = 10**9
"""P never falls below this; what the scale counts."""

_SCALES_SEEN: Final = 2
"""A deposit counts in its own scale and the next; after that less than 10^-9 of it is left."""

#: The sum S of an epoch and scale; 0 where none was kept.
SumOf = Callable[[int, int], int]


class PoolError(ValueError):
    """An operation that the pool cannot have done."""


class Pool(Struct, frozen=True):
    """The pool as it is. Sums are kept beside it."""

    total: Base = Base(0)
    collateral: Sats = Sats(0)
    """Gained and not yet paid out."""
    p: int = ONE
    epoch: int = 0
    scale: int = 0


class Deposit(Struct, frozen=True):
    """A deposit as it was at its last operation."""

    initial: Base
    p: int
    s: int
    epoch: int
    scale: int


class Offset(Struct, frozen=True):
    """What taking a liquidation does."""

    pool: Pool
    epoch: int
    scale: int
    """Which sum grows,"""
    grows_by: int
    """and by how much."""


class Operation(Struct, frozen=True):
    """What a depositor's operation does."""

    pool: Pool
    deposit: Deposit | None
    """None: nothing is left."""
    paid: Sats
    """The gain, which every operation pays."""
    value: Base
    """What the deposit was worth just before."""


def offset(pool: Pool, *, debt: Base, collateral: Sats) -> Offset:
    """Burn ``debt`` of the pool's tokens and take ``collateral``. Raises PoolError where it has less."""
    if not 0 < debt <= pool.total or collateral < 0:
        raise PoolError(f"the pool holds {pool.total} and cannot take a debt of {debt} with {collateral} satoshis")
    total = Base(pool.total - debt)
    grows_by = collateral * ONE * pool.p // pool.total
    p, epoch, scale = pool.p * total // pool.total, pool.epoch, pool.scale
    if not total:
        p, epoch, scale = ONE, epoch + 1, 0
    factor = 1
    while p < SCALE:
        factor *= SCALE
        scale += 1
        p = pool.p * total * factor // pool.total
    after = Pool(total, Sats(pool.collateral + collateral), p, epoch, scale)
    return Offset(after, pool.epoch, pool.scale, grows_by)


def value_of(deposit: Deposit, pool: Pool) -> Base:
    """What is left of a deposit. Less than 10^-9 of it is mostly rounding, and counts as nothing."""
    apart = pool.scale - deposit.scale
    if deposit.epoch != pool.epoch or not 0 <= apart < _SCALES_SEEN or not deposit.p:
        return Base(0)
    value = deposit.initial * pool.p // deposit.p // SCALE**apart
    return Base(0 if value < deposit.initial // SCALE else value)


def gain_of(deposit: Deposit, sum_of: SumOf) -> Sats:
    """What a deposit has gained since its last operation."""
    if not deposit.p:
        return Sats(0)
    gained = sum_of(deposit.epoch, deposit.scale) - deposit.s
    for apart in range(1, _SCALES_SEEN):
        gained += sum_of(deposit.epoch, deposit.scale + apart) // SCALE**apart
    return Sats(deposit.initial * gained // deposit.p // ONE)


def operate(pool: Pool, deposit: Deposit | None, sum_of: SumOf, *, change: int) -> Operation:
    """Put in (``change`` > 0) or take out tokens, or only claim (0); the gain is paid and the deposit begins anew.

    ``change`` below the deposit's value takes all. ``deposit`` None: a new one.
    """
    value = Base(0) if deposit is None else value_of(deposit, pool)
    paid = Sats(0) if deposit is None else gain_of(deposit, sum_of)
    left = Base(max(value + change, 0))
    after = replace(pool, total=Base(pool.total + left - value), collateral=Sats(pool.collateral - paid))
    if not left:
        return Operation(after, None, paid, value)
    return Operation(after, Deposit(left, pool.p, sum_of(pool.epoch, pool.scale), pool.epoch, pool.scale), paid, value)
