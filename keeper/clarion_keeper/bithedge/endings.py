"""What the answer of a BitHedge contract means for an intent: it happened, it was not due, or nobody expected that.

Every error that a job's call can come back with is named by the job. Those that nobody named stop the job.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from clarion.chains.stacks.clarity import Err, Ok, UInt, Value
from clarion.protocols.bithedge.errors import ERRORS
from clarion_keeper.intents import Amount, Outcome, Verdict

MARKET: Final[Mapping[int, str]] = {
    3004: "the price feed is not active",
    3015: "the price feed has no price yet",
    3016: "the price is stale",
    3024: "the price is the guardian's fallback",
}
"""What the contracts say to calls that need a market price."""

VAULT_PAYS: Final[Mapping[int, str]] = {5024: "the token does not let the vault pay"}
TREASURY_PAYS: Final[Mapping[int, str]] = {7013: "the token does not let the treasury pay"}
FUND_PAYS: Final[Mapping[int, str]] = {8006: "the token does not let the fund pay"}
REWARDS_PAY: Final[Mapping[int, str]] = {11023: "the token does not let the rewards pay"}
"""A token that stopped its transfers, as sBTC can: it may go on later, and other tokens are not concerned."""

PARAMETERS: Final[Mapping[int, str]] = {2004: "a parameter is missing"}
METRIC: Final[Mapping[int, str]] = {
    2014: "the fund's metric is missing",
    2015: "another contract reports the fund's metric",
}
"""What the fund's state is reported by; bh-fund itself overlooks these."""


@dataclass(frozen=True, slots=True)
class Endings:
    """The errors that a call can come back with, each with what it means in words.

    ``first``: somebody else did it. ``later``: it is not due at the block that said so, because prices, switches or
    balances moved or its time is over: the next look at the chain decides. ``never``: known to be possible
    and to mean that the contracts are not what the job was written for; it stops the job, as what is not named does.
    """

    done: str
    first: Mapping[int, str]
    later: Mapping[int, str]
    never: Mapping[int, str] = field(default_factory=dict)

    def of(self, result: Value | None, earned: Amount | None = None) -> Outcome:
        """What the result of a call means. ``earned``: what the sender got if it succeeded."""
        match result:
            case Ok():
                return Outcome(Verdict.DONE, self.done, earned=earned)
            case Err(UInt(code)):
                return self.of_error(code)
            case None:
                return Outcome(Verdict.FAILED, "the chain kept no result")
            case _:
                return Outcome(Verdict.FAILED, f"unexpected result {result!r}")

    def of_error(self, code: int) -> Outcome:
        """What an error's number means."""
        if code in self.first:
            return Outcome(Verdict.DONE, f"{self.first[code]} ({named(code)})", benign=True)
        if code in self.later:
            return Outcome(Verdict.AGAIN, f"{self.later[code]} ({named(code)})")
        why = f"{self.never[code]} ({named(code)})" if code in self.never else named(code)
        return Outcome(Verdict.FAILED, why)


def named(code: int) -> str:
    """An error with its name and when a call ends with it."""
    error = ERRORS.get(code)
    return f"u{code}, which no contract of BitHedge gives" if error is None else f"u{code} {error.name}: {error.when}"
