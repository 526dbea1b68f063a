"""The words that jobs, planner and engine share: an intent, the call that gets it done, and what came of it.

Everything here is plain data. Losing an intent only delays: the next look at the chain gives it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from clarion.chains.stacks.clarity import Value
from clarion.chains.stacks.post_conditions import PostCondition
from clarion.config import Lane

__all__ = ["Amount", "Call", "Intent", "Item", "Lane", "Outcome", "Verdict"]

Item: TypeAlias = Mapping[str, int | str]
"""What a job needs to make its call, as flat JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """So much of a token, in its smallest unit.

    ``token``: a token's contract principal, ``STX`` (micro-STX) or ``BTC`` (satoshis).
    """

    token: str
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """One thing to get done on a chain, such as settling policy 7.

    ``key`` is its idempotency key: at most one intent with that key is open at a time. ``value_usd8`` is the money at
    stake, in 10^-8 US dollars: within a lane the largest goes first. ``reward`` is what the sender earns; None where
    it earns nothing. ``deadline_burn`` is the Bitcoin height by which it should be mined, after which it costs
    somebody money. ``cause`` says in words why it is due, with the figures. ``entity`` names what it is about
    (``policy:7``); nothing is done about an entity that a job which ``holds`` has an open intent of.
    """

    key: str
    job: str
    item: Item
    value_usd8: int = 0
    reward: Amount | None = None
    deadline_burn: int | None = None
    cause: str = ""
    entity: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a public contract function.

    ``contract`` is a full principal, or the short name of a contract of the job's protocol (``bh-policy``). The
    transaction's post-condition mode is Originator: besides what ``post_conditions`` allow, the sender sends nothing.
    """

    contract: str
    function: str
    arguments: tuple[Value, ...]
    post_conditions: tuple[PostCondition, ...] = ()


class Verdict(StrEnum):
    """What a mined transaction, or the simulation of one, means for an intent of it."""

    DONE = "done"
    """The chain says it happened, by this transaction or by somebody else's before it."""
    AGAIN = "again"
    """It was not due at the block that mined it; decide anew."""
    FAILED = "failed"
    """Refused for a reason that nobody expected. Look into it before trying again."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict with the reason in words. ``benign``: somebody else did it first. ``earned``: what the sender got."""

    verdict: Verdict
    reason: str
    benign: bool = False
    earned: Amount | None = None
