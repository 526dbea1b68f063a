"""What capital has earned and lost over a window, from the movements of money that vault events tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, LiteralString

import strawberry

from clarion.protocols.bithedge.analytics import apy_bp, time_weighted
from clarion.protocols.bithedge.units import BURN_BLOCKS_PER_DAY, BurnHeight, TokenAmount
from clarion_graphql.bithedge.intervals import last_block_before_burn
from clarion_graphql.bithedge.reading import big, read
from clarion_graphql.errors import InputError
from clarion_graphql.scalars import BigInt
from clarion_graphql.session import Session

MOST_DAYS: Final = 3_650
DEFAULT_DAYS: Final = 30

#: The argument of a field that tells a yield.
ARGUMENTS: Final[Mapping[str, tuple[Any, Any, str]]] = {
    "days": (
        int,
        DEFAULT_DAYS,
        f"Days of 144 Bitcoin blocks, up to the receipt's block, that yields are over: 1 to {MOST_DAYS}.",
    )
}


@strawberry.type(description="What capital has earned and lost over a window of Bitcoin blocks.")
class Yield:
    """Earnings over time-weighted capital."""

    from_burn: int = strawberry.field(description="First Bitcoin block of the window.")
    to_burn: int = strawberry.field(description="Bitcoin block that the window ends before: the receipt's.")
    earned: BigInt = strawberry.field(description="Premium that became yield. Unit: base units of the token.")
    paid_out: BigInt = strawberry.field(
        description="Collateral paid to owners of policies. Unit: base units of the token."
    )
    taken_over: BigInt = strawberry.field(
        description="Received for allocations taken over, less what was paid for allocations given up, bounties and "
        "penalties included. Unit: base units of the token."
    )
    time_weighted_capital: BigInt | None = strawberry.field(
        description="Average over the window's blocks of the capital after each, available and locked, rounded down; "
        "null in an empty window. Unit: base units of the token."
    )
    apy_bp: BigInt | None = strawberry.field(
        description="What was earned, a year of 52,560 Bitcoin blocks, of that capital, without compounding: "
        "earned x 10000 x 52560 / sum of capital x blocks, rounded down; null without capital. Unit: 1/10000."
    )
    net_apy_bp: BigInt | None = strawberry.field(
        description="The same of what was earned and taken over less what was paid out. Unit: 1/10000."
    )


@dataclass(frozen=True, slots=True)
class Window:
    """Bitcoin blocks from ``start`` up to and without ``end``; ``before`` is the last Stacks block below it."""

    start: BurnHeight
    end: BurnHeight
    before: int


async def window_of(session: Session, days: int, now: BurnHeight) -> Window:
    """The window of the argument :data:`ARGUMENTS`. Raises InputError."""
    if not 1 <= days <= MOST_DAYS:
        raise InputError(f"days is 1 to {MOST_DAYS}, not {days}.")
    start = BurnHeight(max(0, now - days * BURN_BLOCKS_PER_DAY))
    return Window(start, now, await last_block_before_burn(session, start))


@dataclass(frozen=True, slots=True)
class Movements:
    """Sums over a window: capital that came times the blocks it came late, premiums, payouts, take-overs."""

    late: int = 0
    earned: int = 0
    paid_out: int = 0
    taken_over: int = 0

    def __add__(self, other: Movements) -> Movements:
        return Movements(
            self.late + other.late,
            self.earned + other.earned,
            self.paid_out + other.paid_out,
            self.taken_over + other.taken_over,
        )


NONE: Final = Movements()

#: What changes the capital of positions, and premiums, which do not.
KINDS: Final = [
    *("deposit", "tier-in", "takeover-received"),
    *("withdrawal", "tier-out", "payout-debit", "takeover-paid"),
    "premium-earned",
]

#: The signed change of capital that an entry ``e`` is.
CHANGE: Final = (
    "(CASE WHEN e.kind IN ('deposit', 'tier-in', 'takeover-received') THEN e.amount "
    "WHEN e.kind = 'premium-earned' THEN 0 ELSE -e.amount END)"
)
#: The sums of :class:`Movements` besides the first.
SUMS: Final = (
    "coalesce(sum(e.amount) FILTER (WHERE e.kind = 'premium-earned'), 0), "
    "coalesce(sum(e.amount) FILTER (WHERE e.kind = 'payout-debit'), 0), "
    "coalesce(sum(CASE e.kind WHEN 'takeover-received' THEN e.amount ELSE -e.amount END) "
    "FILTER (WHERE e.kind IN ('takeover-received', 'takeover-paid')), 0)"
)


async def movements(
    session: Session, window: Window, scope: LiteralString, *parameters: Any
) -> dict[tuple[str, str | None], Movements]:
    """Movements of a window by token and tier, of the entries ``e`` that fulfil ``scope``.

    A premium of an allocation that the index does not know has the tier None.
    """
    rows = await read(
        session,
        "SELECT e.token, e.tier, sum(" + CHANGE + " * (e.burn_height - %s)), " + SUMS + " FROM {account_entry} e "
        "WHERE e.kind = ANY(%s) AND e.height > %s AND " + scope + " GROUP BY e.token, e.tier",
        window.start,
        KINDS,
        window.before,
        *parameters,
    )
    return {(token, tier): Movements(*sums) for token, tier, *sums in rows}


def yield_of(capital: TokenAmount, moved: Movements, window: Window) -> Yield:
    """The yield of capital that stands at ``capital`` at the window's end, from what moved in it."""
    blocks = capital * (window.end - window.start) - moved.late
    return Yield(
        from_burn=window.start,
        to_burn=window.end,
        earned=BigInt(moved.earned),
        paid_out=BigInt(moved.paid_out),
        taken_over=BigInt(moved.taken_over),
        time_weighted_capital=big(time_weighted(blocks, window.start, window.end)),
        apy_bp=big(apy_bp(moved.earned, blocks)),
        net_apy_bp=big(apy_bp(moved.earned + moved.taken_over - moved.paid_out, blocks)),
    )


def together(moved: Mapping[tuple[str, str | None], Movements], token: str) -> Movements:
    """A token's movements in all tiers."""
    return sum((sums for (of, _), sums in moved.items() if of == token), NONE)
