"""The keeper's jobs: what is due, decided by pure functions, and the contract calls that get it done.

A job looks at a state and gives intents; it never reads a clock, a network or a database. Losing an intent only delays:
the next look at the chain gives it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from clarion.chains.stacks.clarity import Err, List, Ok, StringAscii, Tuple, UInt, Value, contract_principal
from clarion_keeper.state import BitHedgeState

Item = Mapping[str, int | str]

#: bh-oracle ERR-EXPIRY-FIXED: somebody else fixed this expiry price.
ERR_EXPIRY_FIXED: Final = 3018
#: bh-policy ERR-NOT-ACTIVE: somebody else settled, exercised or cancelled this policy.
ERR_NOT_ACTIVE: Final = 6012
#: Errors of a state that a reorg took back; the next look decides anew. ERR-EXPIRY-AHEAD, ERR-NOT-EXPIRY-ROUND,
#: ERR-NOT-EXPIRED, ERR-PRICE-NOT-FIXED, ERR-UNKNOWN-POLICY.
NOT_YET: Final = frozenset({3017, 3019, 6013, 6014, 6011})
#: Most policies that one settle-many takes.
SETTLE_MANY_LIMIT: Final = 20


@dataclass(frozen=True, slots=True)
class Intent:
    """One thing to get done. ``key`` is its idempotency key; ``item`` what the job needs to make the call."""

    key: str
    job: str
    item: Item


@dataclass(frozen=True, slots=True)
class Call:
    """A public contract function with its arguments; ``contract`` is the short name (``bh-policy``)."""

    contract: str
    function: str
    arguments: tuple[Value, ...]


class Verdict(StrEnum):
    """What a mined transaction means for an intent of it."""

    DONE = "done"
    """The chain says it happened, by this transaction or by somebody else's before it."""
    AGAIN = "again"
    """It was not due at the block that mined it; decide anew."""
    FAILED = "failed"
    """Refused for a reason that nobody expected. Look into it before trying again."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict with the reason in words."""

    verdict: Verdict
    reason: str


class Job(Protocol):
    """A kind of work. ``batch_size`` is how many intents one transaction may carry."""

    name: str
    batch_size: int

    def check(self, state: BitHedgeState) -> list[Intent]:
        """Everything of this kind that is due at the state's block."""

    def call(self, items: Sequence[Item]) -> Call:
        """The contract call for up to ``batch_size`` intents."""

    def outcomes(self, items: Sequence[Item], result: Value | None) -> list[Outcome]:
        """What a mined call means for each of its intents; ``result`` is None where the chain kept none."""


class FixExpiryPrice:
    """Fixes the price of an asset for an expiry height, once a round that was opened at or after it has closed."""

    name = "fix-expiry-price"
    batch_size = 1

    def check(self, state: BitHedgeState) -> list[Intent]:
        """One intent per (asset, expiry height) that a due policy waits for and a closed round can answer."""
        needed = {pair: None for policy in state.due for pair in state.needed_prices(policy)}
        intents = []
        for asset, expiry in needed:
            if (asset, expiry) in state.fixed:
                continue
            rounds = [r.round for r in state.rounds if r.asset == asset and r.opened_burn >= expiry]
            if rounds:
                item: Item = {"asset": asset, "expiry": expiry, "round": min(rounds)}
                intents.append(Intent(f"{self.name}:{asset}:{expiry}", self.name, item))
        return intents

    def call(self, items: Sequence[Item]) -> Call:
        """``bh-oracle.fix-expiry-price(asset, expiry-burn, round)``."""
        (item,) = items
        arguments = (StringAscii(str(item["asset"])), UInt(int(item["expiry"])), UInt(int(item["round"])))
        return Call("bh-oracle", "fix-expiry-price", arguments)

    def outcomes(self, items: Sequence[Item], result: Value | None) -> list[Outcome]:
        """A price that is fixed already counts as done."""
        match result:
            case Ok():
                return [Outcome(Verdict.DONE, "fixed")]
            case Err(UInt(code)):
                return [_by_code(code, done=ERR_EXPIRY_FIXED, reason="fixed already")]
            case _:
                return [Outcome(Verdict.FAILED, f"unexpected result {result!r}")]


class Settle:
    """Settles expired policies whose expiry prices are fixed, many in a transaction."""

    name = "settle"
    batch_size = SETTLE_MANY_LIMIT

    def check(self, state: BitHedgeState) -> list[Intent]:
        """One intent per due policy whose prices are all fixed, oldest expiry first."""
        due = sorted(state.due, key=lambda policy: (policy.expiry_burn, policy.policy))
        return [
            Intent(f"{self.name}:{policy.policy}", self.name, {"policy": policy.policy, "token": policy.token})
            for policy in due
            if policy.token in state.token_assets and all(pair in state.fixed for pair in state.needed_prices(policy))
        ]

    def call(self, items: Sequence[Item]) -> Call:
        """``bh-policy.settle-many``; every item succeeds or fails for itself."""
        entries = tuple(
            Tuple({"policy": UInt(int(item["policy"])), "token": contract_principal(str(item["token"]))})
            for item in items
        )
        return Call("bh-policy", "settle-many", (List(entries),))

    def outcomes(self, items: Sequence[Item], result: Value | None) -> list[Outcome]:
        """``settle-many`` answers with an error code per policy, 0 for settled."""
        codes: dict[int, int] = {}
        match result:
            case Ok(List(entries)):
                for entry in entries:
                    match entry:
                        case Tuple() if isinstance(entry["policy"], UInt) and isinstance(entry["error"], UInt):
                            codes[entry["policy"].value] = entry["error"].value
        outcomes = []
        for item in items:
            code = codes.get(int(item["policy"]))
            if code is None:
                outcomes.append(Outcome(Verdict.FAILED, f"no answer for the policy in {result!r}"))
            elif code == 0:
                outcomes.append(Outcome(Verdict.DONE, "settled"))
            else:
                outcomes.append(_by_code(code, done=ERR_NOT_ACTIVE, reason="ended already"))
        return outcomes


def _by_code(code: int, *, done: int, reason: str) -> Outcome:
    if code == done:
        return Outcome(Verdict.DONE, reason)
    if code in NOT_YET:
        return Outcome(Verdict.AGAIN, f"not due yet (error u{code})")
    return Outcome(Verdict.FAILED, f"contract error u{code}")


#: The jobs in order of urgency.
BITHEDGE_JOBS: Final[tuple[Job, ...]] = (FixExpiryPrice(), Settle())
