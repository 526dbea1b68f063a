"""Health of positions: margin calls are issued, made hard, and ended when their position is healthy again.

Anyone may do any of it, and earns nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from clarion.protocols.bithedge.actions.liquidation import Standing, standing
from clarion.protocols.bithedge.errors import RefusedError
from clarion.protocols.bithedge.health import Margin
from clarion.protocols.bithedge.state import State
from clarion.protocols.bithedge.tables import MarginCall, Position, Tier
from clarion_keeper.bithedge.calls import CallJob, percent, usd
from clarion_keeper.bithedge.endings import MARKET, PARAMETERS, Endings
from clarion_keeper.bithedge.reading import BitHedgeState, Look
from clarion_keeper.intents import Intent, Item, Lane

HEALTHY: Final = (Margin.IDLE, Margin.HEALTHY)
UNDER: Final = (Margin.UNDER, Margin.INSOLVENT)
EVERY: Final = 1_000_000

#: Bitcoin blocks in which a position should be called on, once the price has come that says so.
SOON: Final = 1

_CLOSED: Final[Mapping[int, str]] = {9001: "liquidations are switched off"}
_UNKNOWN: Final[Mapping[int, str]] = {**PARAMETERS, 9002: "the contract does not know the token or tier"}


@dataclass(frozen=True, slots=True)
class Checked:
    """A position with its open margin call and where it stands at the market's price."""

    position: Position
    call: MarginCall | None
    standing: Standing

    @property
    def key(self) -> tuple[str, str, str]:
        """Provider, tier and token."""
        return self.position.provider, self.position.tier, self.position.token


def position_entity(provider: str, tier: str, token: str) -> str:
    """How intents name a position."""
    return f"position:{provider}:{tier}:{token}"


async def learn_positions(look: Look) -> None:
    """Read every position that backs something or is called on, and the open calls."""
    calls = await look.learn(MarginCall, {"state": {"eq": "open"}})
    await look.learn(Position, {"liabilityUsd8": {"gt": 0}})
    await look.learn_each(Position, "provider", (call.provider for call in calls))


def open_calls(chain: State) -> dict[tuple[str, str, str], MarginCall]:
    """The open margin calls by position."""
    rows = chain.select(MarginCall, state="open", order=[("id", False)], limit=EVERY)
    return {(row.provider, row.tier, row.token): row for row in rows}


def checked_positions(state: BitHedgeState) -> Iterator[Checked]:
    """Every position that backs something or is called on, where its token's price tells how it stands.

    At a stale or announced price the contracts decide nothing, so neither does this.
    """
    calls = open_calls(state.chain)
    for position in state.chain.select(Position, order=[("provider", False), ("tier", False)], limit=EVERY):
        key = (position.provider, position.tier, position.token)
        call = calls.get(key)
        if position.liability_usd8 == 0 and call is None:
            continue
        try:
            yield Checked(position, call, standing(state.chain, *key))
        except RefusedError:
            continue


def _price_since(state: BitHedgeState, token: str) -> int:
    """The Bitcoin block from which the price of a token was observed; now, where it has none."""
    try:
        return state.chain.price(state.chain.token(token, 9002).asset).opened_burn
    except RefusedError:
        return state.burn


class _MarginJob(CallJob):
    """A job about single positions."""

    lane = Lane.RESCUE

    async def learn(self, look: Look) -> None:
        """Positions and open calls."""
        await learn_positions(look)

    def about(self, state: BitHedgeState, checked: Checked, *parts: int | str) -> Intent:
        """An intent about a position."""
        provider, tier, token = checked.key
        item: Item = {"provider": provider, "tier": tier, "token": token}
        found, limits = checked.standing, state.chain.get(Tier, tier)
        ratios = "" if limits is None else f" ({percent(limits.ratio_min_bp)} to {percent(limits.ratio_warn_bp)} asked)"
        backs = f"it backs {usd(checked.position.liability_usd8)}"
        if found.margin is Margin.IDLE:
            cause = "the position backs nothing any more"
        else:
            cause = (
                f"the position is {found.margin.value}{ratios} at {usd(found.price)} in round {found.round}; {backs}"
            )
        return self.intent(
            (provider, tier, token, *parts),
            item,
            value_usd8=checked.position.liability_usd8,
            deadline_burn=_price_since(state, token) + SOON,
            cause=cause,
            entity=position_entity(provider, tier, token),
        )


class IssueMarginCall(_MarginJob):
    """Calls on the provider of a position that is below its tier's warning ratio."""

    name = "issue-margin-call"
    action_name = "issue-margin-call"
    endings = Endings(
        "called",
        first={9005: "somebody else called"},
        later={9003: "the position is healthy again", **_CLOSED, **MARKET},
        never=_UNKNOWN,
    )

    def check(self, state: BitHedgeState) -> Sequence[Intent]:
        """One intent for each position below its warning ratio that has no call."""
        if not state.chain.is_open("liquidate"):
            return []
        return [
            self.about(state, found)
            for found in checked_positions(state)
            if found.call is None and found.standing.margin not in HEALTHY
        ]


class EscalateMarginCall(_MarginJob):
    """Makes a soft call hard: the position fell below its tier's least ratio, or did not answer in time."""

    name = "escalate-margin-call"
    action_name = "escalate-margin-call"
    endings = Endings(
        "made hard",
        first={9007: "somebody else made it hard"},
        later={
            9003: "the position is healthy again",
            9006: "the call has ended",
            9008: "the position keeps its least ratio again",
            **_CLOSED,
            **MARKET,
        },
        never=_UNKNOWN,
    )

    def check(self, state: BitHedgeState) -> Sequence[Intent]:
        """One intent for each soft call that has to be hard."""
        if not state.chain.is_open("liquidate"):
            return []
        return [
            self.about(state, found, found.call.id)
            for found in checked_positions(state)
            if found.call is not None
            and found.call.level == "soft"
            and found.standing.margin not in HEALTHY
            and (found.standing.margin in UNDER or state.burn > found.call.deadline_burn)
        ]


class ResolveMarginCall(_MarginJob):
    """Ends the call of a position that is healthy again. Its deadline runs on until somebody says so."""

    name = "resolve-margin-call"
    action_name = "resolve-margin-call"
    endings = Endings(
        "ended",
        first={9006: "the call has ended already"},
        later={9004: "the position is below its warning ratio again", **MARKET},
        never=_UNKNOWN,
    )

    def check(self, state: BitHedgeState) -> Sequence[Intent]:
        """One intent for each open call whose position is healthy."""
        return [
            self.about(state, found, found.call.id)
            for found in checked_positions(state)
            if found.call is not None and found.standing.margin in HEALTHY
        ]
