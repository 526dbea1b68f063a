"""Who covers a policy: the tier it falls in, and a proposal of allocations that the vault accepts.

The contracts check allocations, they do not make them. :func:`match` makes them by the rules that bh-vault checks
(``docs/contracts.md``, sections "Tiers" and "Payout and collateral"): deterministic, and it finds allocations whenever
some exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from clarion.protocols.bithedge.payoff import coverable_usd8, split
from clarion.protocols.bithedge.units import BP, BasisPoints, BurnBlocks, PolicyType, TokenAmount, Usd8

MAX_ALLOCATIONS: Final = 10
"""Most allocations that a policy can have."""


class TierRules(Protocol):
    """What matching reads of a tier; rows of the table ``tier`` have it."""

    @property
    def name(self) -> str:
        """Name."""

    @property
    def rank(self) -> int:
        """Place, from 0, in the order in which tiers are tried."""

    @property
    def strike_min_bp(self) -> BasisPoints:
        """Least strike, in bp of spot."""

    @property
    def strike_max_bp(self) -> BasisPoints:
        """First strike above the band, in bp of spot."""

    @property
    def max_duration_burn(self) -> BurnBlocks:
        """Longest policy."""

    @property
    def ratio_min_bp(self) -> BasisPoints:
        """Collateral per liability."""

    @property
    def max_policy_bp(self) -> BasisPoints:
        """Most of a position that one policy locks."""

    @property
    def max_expiry_bp(self) -> BasisPoints:
        """Most of a position that one expiry locks."""

    @property
    def active(self) -> bool:
        """Whether it takes policies."""


class TokenRules(Protocol):
    """What matching reads of a token; rows of the table ``token`` have it."""

    @property
    def decimals(self) -> int:
        """Decimal places of a base unit."""

    @property
    def haircut_bp(self) -> BasisPoints:
        """Part of its value that does not count as collateral."""


class NoTierError(ValueError):
    """No tier takes a policy of this strike and duration."""


class CapacityError(ValueError):
    """The positions cannot cover the policy. ``coverable`` is the most that they could."""

    def __init__(self, needed: Usd8, coverable: Usd8) -> None:
        super().__init__(f"the tier's positions can cover {coverable} of {needed} (US dollars x 10^8)")
        self.needed = needed
        self.coverable = coverable


@dataclass(frozen=True, slots=True)
class Candidate:
    """A position that could cover part of a policy.

    ``exposure`` is what it has locked for the policy's expiry, ``since`` the Stacks height of its first deposit (older
    ones are preferred among equals).
    """

    provider: str
    available: TokenAmount
    requested: TokenAmount
    locked: TokenAmount
    liability: Usd8
    exposure: TokenAmount
    since: int
    auto_match: bool = True


@dataclass(frozen=True, slots=True)
class Allocation:
    """A provider's part of a policy's maximum payout."""

    provider: str
    liability: Usd8


def strike_bp(kind: PolicyType, strike: Usd8, spot: Usd8) -> int | None:
    """Where a strike stands relative to spot: a CALL is mirrored, None where that leaves no place for it."""
    relative = strike * BP // spot
    if kind == "put":
        return relative
    return None if relative > 2 * BP else 2 * BP - relative


def classify(tiers: Iterable[TierRules], kind: PolicyType, strike: Usd8, spot: Usd8, duration: BurnBlocks) -> TierRules:
    """The tier that takes a policy: the first, by rank, whose band holds the strike and whose duration suffices.

    Where the first tier that holds the strike is too short, the next that is long enough takes it. Raises NoTierError.
    """
    place = strike_bp(kind, strike, spot)
    reached = False
    for tier in sorted(tiers, key=lambda tier: tier.rank):
        if place is None or not tier.active:
            continue
        reached = reached or tier.strike_min_bp <= place < tier.strike_max_bp
        if reached and duration <= tier.max_duration_burn:
            return tier
    raise NoTierError(f"no tier takes a {kind} struck at {strike} with spot at {spot} for {duration} Bitcoin blocks")


def capacity(candidate: Candidate, tier: TierRules, token: TokenRules, token_price: Usd8) -> Usd8:
    """The largest part of one policy's maximum payout that a position may cover."""
    if not candidate.auto_match:
        return Usd8(0)
    capital = candidate.available + candidate.locked
    collateral = min(
        candidate.available - candidate.requested,
        capital * tier.max_policy_bp // BP,
        capital * tier.max_expiry_bp // BP - candidate.exposure,
    )
    if collateral <= 0:
        return Usd8(0)

    def coverable(amount: int) -> int:
        return coverable_usd8(TokenAmount(amount), token.decimals, token_price, tier.ratio_min_bp, token.haircut_bp)

    return Usd8(max(0, min(coverable(collateral), coverable(capital) - candidate.liability)))


def match(
    need: Usd8,
    candidates: Sequence[Candidate],
    *,
    tier: TierRules,
    token: TokenRules,
    token_price: Usd8,
    least: Usd8,
) -> list[Allocation]:
    """Allocations that sum to ``need``, each at least ``least`` and within its position's capacity.

    ``candidates`` are positions of ``tier`` in one token. The positions with most capacity are taken, at most
    :data:`MAX_ALLOCATIONS` of them, the older and then the lexically smaller provider first among equals; each gets
    ``least``, and the rest is shared in proportion to what capacity they have left. Raises CapacityError.
    """
    least = Usd8(max(least, 1))
    room = [(capacity(candidate, tier, token, token_price), candidate) for candidate in candidates]
    room = [(most, candidate) for most, candidate in room if most >= least]
    room.sort(key=lambda pair: (-pair[0], pair[1].since, pair[1].provider))
    taken = room[: min(MAX_ALLOCATIONS, need // least)]
    most_together = sum(most for most, _ in taken)
    if need <= 0 or most_together < need:
        raise CapacityError(need, Usd8(most_together))
    rest = need - least * len(taken)
    parts = split(rest, [most - least for most, _ in taken])
    return [
        Allocation(candidate.provider, Usd8(least + part)) for (_, candidate), part in zip(taken, parts, strict=True)
    ]
