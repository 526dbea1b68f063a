"""Whether to submit a price, and why or why not. Pure.

An oracle provider speaks when it has something to say: the price moved, the last one grows old, others have opened a
round, a rejected price waits for a second opinion, or policies wait for a price at their expiry. It stays silent when
its own sources or clocks disagree, whatever is due: a late price delays, a wrong one takes money from somebody.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from clarion_keeper.feed.aggregate import Aggregate, distance_bp

#: Switch of bh-params that stops the oracle.
SWITCH: Final = "oracle"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRound:
    """A round that takes prices."""

    opened_burn: int
    has_own: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetState:
    """An asset as bh-oracle has it.

    ``price_usd8``: the last closed price; None before the first. ``opened_burn``: since when that price was observed.
    ``candidate_usd8``: a rejected price that the next round may confirm. ``own_burn``: Bitcoin block of our last price
    of it. ``waiting``: active policies have expired at a block that no closed round covers yet.
    """

    asset: str
    active: bool
    next_round: int
    price_usd8: int | None
    opened_burn: int
    candidate_usd8: int | None = None
    open_round: OpenRound | None = None
    own_burn: int | None = None
    waiting: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OracleRules:
    """What bh-oracle asks for: its parameters, whether it is open, and our weight."""

    is_open: bool
    weight: int
    max_age_burn: int
    timeout_burn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitRules:
    """What the provider has set for itself. ``heartbeat_burn`` None: half of the contract's ``price-max-age``."""

    deviation_bp: int
    heartbeat_burn: int | None
    min_gap_burn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """What is known about our clock. Offsets in milliseconds, positive where the other clock is ahead of ours.

    ``tip_offset_ms``: the time of the tip's block; None where block times are not to be compared.
    """

    sources_offset_ms: int | None
    max_offset_ms: int
    tip_offset_ms: int | None
    max_tip_offset_ms: int


class Say(StrEnum):
    """What to do about an asset."""

    SUBMIT = "submit"
    WAIT = "wait"
    """Nothing is due, or the contract would not take it now."""
    REFUSE = "refuse"
    """A price is due or not, and ours cannot be relied on."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, and why in words."""

    say: Say
    reason: str


def clock_problem(clocks: Clocks) -> str:
    """Why our clock cannot be relied on; empty where it can."""
    offset = clocks.sources_offset_ms
    if offset is None:
        return "no source says what time it is"
    if abs(offset) > clocks.max_offset_ms:
        return f"our clock is {_off(offset)} the exchanges'"
    tip = clocks.tip_offset_ms
    if tip is not None and abs(tip) > clocks.max_tip_offset_ms:
        return f"our clock is {_off(tip)} the time of the chain's tip: is the clock wrong, or the index behind?"
    return ""


def decide(
    state: AssetState,
    price: Aggregate,
    *,
    burn: int,
    oracle: OracleRules,
    rules: SubmitRules,
    clocks: Clocks,
) -> Decision:
    """What to do about an asset at Bitcoin height ``burn``."""
    if problem := clock_problem(clocks) or price.problem:
        return Decision(Say.REFUSE, problem)
    if price.price_usd8 is None:
        return Decision(Say.REFUSE, "no source has a price")
    if barrier := _barrier(state, burn=burn, oracle=oracle):
        return Decision(Say.WAIT, barrier)
    reason, is_urgent = _reason(state, price.price_usd8, burn=burn, oracle=oracle, rules=rules)
    if not reason:
        return Decision(Say.WAIT, "nothing new: the price is near the last one, which is not old")
    if not is_urgent and state.own_burn is not None and burn < state.own_burn + rules.min_gap_burn:
        return Decision(Say.WAIT, f"{reason}; our last price is of Bitcoin block {state.own_burn}")
    return Decision(Say.SUBMIT, reason)


def _barrier(state: AssetState, *, burn: int, oracle: OracleRules) -> str:
    """Why bh-oracle would refuse a price observed now; empty where it would not."""
    if not oracle.is_open:
        return f"the switch {SWITCH} is off"
    if oracle.weight == 0:
        return "our account is no provider"
    if not state.active:
        return "the asset takes no rounds"
    if burn < state.opened_burn:
        return f"the last round opened at Bitcoin block {state.opened_burn}, above the tip's"
    opened = state.open_round
    if opened is None:
        return ""
    if opened.has_own:
        return f"round {state.next_round} has our price and is open"
    if burn < opened.opened_burn:
        return f"round {state.next_round} opened at Bitcoin block {opened.opened_burn}, above the tip's"
    if burn > opened.opened_burn + oracle.timeout_burn:
        return f"round {state.next_round} timed out: it has to be closed first"
    return ""


def _reason(
    state: AssetState, price_usd8: int, *, burn: int, oracle: OracleRules, rules: SubmitRules
) -> tuple[str, bool]:
    """Why a price is due, and whether it may come sooner after our last one than usual; empty where none is due."""
    if state.candidate_usd8 is not None:
        return f"round {state.next_round} may confirm the rejected price {state.candidate_usd8} usd8", True
    if state.open_round is not None:
        return f"round {state.next_round} is open and lacks our price", False
    if state.price_usd8 is None:
        return "the asset has no price yet", False
    if state.waiting:
        return "policies that have expired wait for a price", False
    moved = distance_bp(price_usd8, state.price_usd8)
    if moved >= rules.deviation_bp:
        return f"the price moved by {moved} bp from {state.price_usd8} to {price_usd8} usd8", False
    heartbeat = rules.heartbeat_burn or max(1, oracle.max_age_burn // 2)
    age = burn - state.opened_burn
    if age >= heartbeat:
        return f"the last price is {age} Bitcoin blocks old", False
    return "", False


def _off(offset_ms: int) -> str:
    return f"{abs(offset_ms) // 1000} s {'behind' if offset_ms > 0 else 'ahead of'}"
