"""What a transaction pays, in micro-STX: whole numbers only, never below what nodes take, never above the cap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from clarion.chains.stacks.node_client import FeeEstimate
from clarion.config import FeePolicyName
from clarion.config import Keeper as KeeperSettings

MIN_FEE_PER_BYTE: Final = 1
"""What nodes ask for at least, in micro-STX a byte (stacks-core, ``MINIMUM_TX_FEE_RATE_PER_BYTE``)."""


class FeeCapError(ValueError):
    """The cap is below the least that nodes take for a transaction of this size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pricing:
    """What a fee is found from.

    ``size``: of the signed transaction, in bytes. ``estimate``: the nodes', None where none gave one.
    ``burn_blocks_left``: until the deadline, 0 or less when it is over; None: there is none. ``burn_blocks_given``: how
    many there were when it got due; None: more than enough. ``replaced``: the highest fee that any earlier version of
    the transaction pays; None for the first.
    """

    size: int
    estimate: FeeEstimate | None = None
    burn_blocks_left: int | None = None
    burn_blocks_given: int | None = None
    replaced: int | None = None


class FeePolicy(Protocol):
    """A way to find fees."""

    @property
    def cap(self) -> int:
        """The most that a transaction pays, in micro-STX."""
        ...

    @property
    def raise_percent(self) -> int:
        """What a replacement pays at least, of what it replaces."""
        ...

    def fee(self, pricing: Pricing) -> int | None:
        """The fee, strictly higher than what it replaces; None where that is at the cap. Raises FeeCapError."""
        ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """Always the same for a first attempt. ``raise_percent``: what a replacement pays at least of what it replaces."""

    first: int
    cap: int
    raise_percent: int

    def fee(self, pricing: Pricing) -> int | None:
        """``first``, or so much more than what is replaced."""
        return _bounded(self.first, pricing, self.cap, self.raise_percent)


@dataclass(frozen=True, slots=True)
class Estimated:
    """``percent`` of what nodes estimate for a transaction to be mined soon; ``first`` where they estimate nothing."""

    first: int
    cap: int
    percent: int
    raise_percent: int

    def fee(self, pricing: Pricing) -> int | None:
        """By the estimate of now, also for a replacement."""
        return _bounded(_estimated(self.first, self.percent, pricing), pricing, self.cap, self.raise_percent)


@dataclass(frozen=True, slots=True)
class Escalating:
    """As Estimated, and from there to the cap as the deadline comes near: slowly first, then fast.

    It begins to rise ``over`` Bitcoin blocks before the deadline. Where fewer were given it rises over those: what has
    just got due does not begin at the cap.
    """

    first: int
    cap: int
    percent: int
    raise_percent: int
    over: int

    def fee(self, pricing: Pricing) -> int | None:
        """By estimate and deadline."""
        base = _estimated(self.first, self.percent, pricing)
        left = pricing.burn_blocks_left
        given = self.over if pricing.burn_blocks_given is None else max(pricing.burn_blocks_given, 1)
        over = min(self.over, given)
        if left is not None and left < over and base < self.cap:
            gone = over - max(left, 0)
            base += (self.cap - base) * gone**2 // over**2
        return _bounded(base, pricing, self.cap, self.raise_percent)


def fee_policy(settings: KeeperSettings) -> FeePolicy:
    """The policy that the settings name."""
    first, cap, percent = settings.fee_first, settings.fee_cap, settings.fee_estimate_percent
    raised = settings.fee_raise_percent
    match settings.fee_policy:
        case FeePolicyName.FIXED:
            return Fixed(first, cap, raised)
        case FeePolicyName.ESTIMATE:
            return Estimated(first, cap, percent, raised)
        case FeePolicyName.ESCALATING:
            return Escalating(first, cap, percent, raised, settings.fee_escalation_blocks)


def _estimated(first: int, percent: int, pricing: Pricing) -> int:
    if pricing.estimate is None:
        return first
    # What was too little to be mined asks for the place of those that are mined first.
    wanted = pricing.estimate.middle if pricing.replaced is None else pricing.estimate.high
    return -(-wanted * percent // 100)


def _bounded(wanted: int, pricing: Pricing, cap: int, raise_percent: int) -> int | None:
    least = pricing.size * MIN_FEE_PER_BYTE
    if least > cap:
        raise FeeCapError(
            f"a transaction of {pricing.size} bytes costs at least {least} micro-STX, over the cap of {cap}: "
            "raise keeper.fee_cap"
        )
    if pricing.replaced is not None:
        if pricing.replaced >= cap:
            return None
        least = max(least, pricing.replaced + 1, pricing.replaced * raise_percent // 100)
    return min(max(wanted, least), cap)
