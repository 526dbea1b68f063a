"""Governance: how votes stand, who has which power, and what has become of proposals."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import Parameter
from typing import Final

import strawberry
from strawberry.types.field import StrawberryField

from clarion.protocols.bithedge.analytics import concentration_bp, share_bp
from clarion_graphql.bithedge.addresses import about_principal
from clarion_graphql.bithedge.reading import big, composed, known_burn, read
from clarion_graphql.context import Info
from clarion_graphql.entities import Column, Kind
from clarion_graphql.errors import InputError
from clarion_graphql.scalars import BigInt
from clarion_graphql.types import Types, make_field, with_arguments

_CAST: Final = "(t.for_power + t.against_power + t.abstain_power)"
_REACHED: Final = _CAST + " * 10000 >= t.quorum_bp * t.total_power"

#: How a proposal's votes stand, by the rules of bh-gov: compared by multiplication, and somebody has to be for it.
PROPOSAL: Final = (
    Column(
        "turnout_bp",
        Kind.BIG_INT,
        "Power that has voted, of all power at its snapshot, rounded down; null where not known. Unit: 1/10000.",
        nullable=True,
        expression=composed("div(" + _CAST + " * 10000, nullif(t.total_power, 0))"),
        filterable=False,
        orderable=False,
    ),
    Column(
        "approval_bp",
        Kind.BIG_INT,
        "Power for it, of the power for and against it, rounded down; null where nobody is either. Unit: 1/10000.",
        nullable=True,
        expression=composed("div(t.for_power * 10000, nullif(t.for_power + t.against_power, 0))"),
        filterable=False,
        orderable=False,
    ),
    Column(
        "quorum_reached",
        Kind.BOOLEAN,
        "Whether enough power has voted; null where its rules are not known.",
        nullable=True,
        expression=composed("(" + _REACHED + ")"),
        filterable=False,
        orderable=False,
    ),
    Column(
        "passing",
        Kind.BOOLEAN,
        "Whether it would pass, or has passed, with these votes; null where its rules are not known.",
        nullable=True,
        expression=composed(
            "(" + _REACHED + " AND t.for_power > 0 "
            "AND t.for_power * 10000 >= t.pass_bp * (t.for_power + t.against_power))"
        ),
        filterable=False,
        orderable=False,
    ),
)


@strawberry.type(description="An address' voting power at the end of a Bitcoin block.")
class VotingPower:
    """Power at a height."""

    address: str = strawberry.field(description="Principal.")
    at_burn: int = strawberry.field(description="Bitcoin block at whose end it is told.")
    power: BigInt = strawberry.field(
        description="Its power: its stake, unless delegated, and stakes delegated to it. Unit: base units of the "
        "governance token."
    )
    total_power: BigInt = strawberry.field(
        description="Power of everybody together. Unit: base units of the governance token."
    )
    share_bp: BigInt | None = strawberry.field(
        description="Its part of all power, rounded down; null where there is none. Unit: 1/10000."
    )
    can_propose: bool | None = strawberry.field(
        description="Whether this power would be enough to propose, by the parameters `gov-threshold-bp` and "
        "`gov-min-stake` of the receipt's block; null where those are not known."
    )


@strawberry.type(description="How many proposals are in a state.")
class ProposalCount:
    """Proposals by state."""

    state: str = strawberry.field(description="As in `Proposal.state`.")
    count: int = strawberry.field(description="How many.")


@strawberry.type(description="What governance has done, and who takes part.")
class GovernanceStats:
    """Sums over proposals, votes and stakers."""

    token: str | None = strawberry.field(description="Token that is staked; null where it has not begun.")
    total_power: BigInt = strawberry.field(
        description="Power of everybody together now. Unit: base units of the governance token."
    )
    stakers: int = strawberry.field(description="Addresses with a stake.")
    delegating: int = strawberry.field(description="Of these, how many have somebody else vote.")
    voters: int = strawberry.field(description="Addresses that have ever voted.")
    votes: int = strawberry.field(description="Votes cast.")
    proposals: list[ProposalCount] = strawberry.field(description="Proposals by state.")
    mean_turnout_bp: BigInt | None = strawberry.field(
        description="Mean turnout of the proposals whose voting is over, each and the mean rounded down; null without "
        "one. Unit: 1/10000."
    )
    largest_share_bp: BigInt | None = strawberry.field(
        description="Part of all power that the most powerful address has, rounded down. Unit: 1/10000."
    )
    concentration_bp: BigInt | None = strawberry.field(
        description="How concentrated power is among the 1000 most powerful: sum of the squares of their shares "
        "(Herfindahl-Hirschman), 10000 if one has all. Unit: 1/10000."
    )
    parameter_changes: int = strawberry.field(description="Parameters that proposals have set.")


_POWER_AT: Final = (
    "SELECT coalesce((SELECT p.power FROM {power_checkpoint} p WHERE p.who = w.who AND p.from_burn <= %s "
    "ORDER BY p.from_burn DESC, p.index DESC LIMIT 1), 0) FROM (VALUES (1, %s), (2, "
    "(SELECT g.contract FROM {governance} g LIMIT 1))) w(place, who) ORDER BY w.place"
)


def _power_field() -> StrawberryField:
    async def resolve(root: object, info: Info, *, address: str, burn: int | None) -> VotingPower:
        session = info.context.session
        now = await known_burn(info)
        at = now if burn is None else burn
        if at > now:
            raise InputError(f"Bitcoin block {at} is above {now}, the receipt's.")
        (power,), (total,) = await read(session, _POWER_AT, at, address)
        rules = dict(
            await read(
                session,
                "SELECT p.key, p.value FROM {parameter} p WHERE p.key IN ('gov-threshold-bp', 'gov-min-stake')",
            )
        )
        can_propose = None
        if len(rules) == 2:
            can_propose = power * 10_000 >= rules["gov-threshold-bp"] * total and total >= rules["gov-min-stake"]
        return VotingPower(
            address=address,
            at_burn=at,
            power=power,
            total_power=total,
            share_bp=big(share_bp(power, total)),
            can_propose=can_propose,
        )

    return make_field(
        "votingPower",
        VotingPower,
        "An address' voting power at the end of a Bitcoin block, as bh-gov counts it at a proposal's snapshot.",
        resolver=with_arguments(
            about_principal(resolve),
            {
                "address": (str, Parameter.empty, "Principal."),
                "burn": (int | None, None, "Bitcoin block, at most the receipt's, which it is without."),
            },
        ),
    )


_STATS: Final = (
    "SELECT (SELECT g.token FROM {governance} g LIMIT 1), coalesce((SELECT g.power FROM {governance} g LIMIT 1), 0), "
    "count(*) FILTER (WHERE s.stake > 0), count(*) FILTER (WHERE s.stake > 0 AND s.delegate <> s.who), "
    "count(*) FILTER (WHERE s.votes > 0), coalesce(sum(s.votes), 0), "
    "(SELECT count(*) FROM {parameter_change} c WHERE c.proposal IS NOT NULL) FROM {staker} s"
)
_TURNOUTS: Final = (
    "SELECT div(sum(v.turnout), count(*)) FROM (SELECT div((p.for_power + p.against_power + p.abstain_power) * 10000, "
    "p.total_power) AS turnout FROM {proposal} p WHERE p.total_power > 0 AND p.finalized_height IS NOT NULL) v"
)


def _stats_field() -> StrawberryField:
    async def resolve(root: object, info: Info) -> GovernanceStats:
        session = info.context.session
        ((token, power, stakers, delegating, voters, votes, changes),) = await read(session, _STATS)
        ((turnout,),) = await read(session, _TURNOUTS)
        states = await read(session, "SELECT p.state, count(*) FROM {proposal} p GROUP BY 1 ORDER BY 1")
        powers = [
            power
            for (power,) in await read(
                session, "SELECT s.power FROM {staker} s WHERE s.power > 0 ORDER BY s.power DESC LIMIT 1000"
            )
        ]
        return GovernanceStats(
            token=token,
            total_power=power,
            stakers=stakers,
            delegating=delegating,
            voters=voters,
            votes=votes,
            proposals=[ProposalCount(state=state, count=count) for state, count in states],
            mean_turnout_bp=turnout,
            largest_share_bp=big(share_bp(max(powers, default=0), power)),
            concentration_bp=big(concentration_bp(powers)),
            parameter_changes=changes,
        )

    return make_field(
        "govStats",
        GovernanceStats,
        "What governance has done, and who takes part.",
        resolver=with_arguments(resolve, {}),
    )


def queries(types: Types) -> Sequence[StrawberryField]:
    """The fields of `Query` about governance."""
    return [_power_field(), _stats_field()]
