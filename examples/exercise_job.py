"""A job of one's own in one file: exercise our American policies that pay, in the last blocks before they expire.

    CLARION_KEEPER__JOB_FILES=examples/exercise_job.py clarion keeper plan

The policies are those of the keeper's account of the lane `settle`. `docs/keeper.md` goes through this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from clarion.chains.stacks.clarity import Err, Ok, UInt, Value, contract_principal
from clarion_keeper.graph import Reader, Receipt
from clarion_keeper.intents import Amount, Call, Intent, Item, Lane, Outcome, Verdict
from clarion_keeper.job import Job, JobContext

#: How many Bitcoin blocks before its expiry a policy is exercised.
LAST_BLOCKS: Final = 6

OURS: Final = """
query Ours($owner: String!, $until: Int!, $first: Int!, $after: String) {
  policies(
    filter: {owner: {eq: $owner}, style: {eq: "american"}, state: {eq: "active"}, expiryBurn: {lte: $until}}
    first: $first, after: $after
  ) { nodes { id token expiryBurn } pageInfo { hasNextPage endCursor } }
}"""
CHECK: Final = "query Check($policy: Int!) { exerciseCheck(policy: $policy) { eligible payout payoffUsd8 } }"

#: What the contract says when the policy has ended: somebody settled it, or we exercised it ourselves.
ENDED: Final = frozenset({6012, 6018})
#: What it says when the policy does not pay at the moment, or may not be exercised yet.
NOT_NOW: Final = frozenset({6011, 6016, 6019, 6020, 6027})


@dataclass(frozen=True, slots=True)
class Ours:
    """A policy of ours that could be exercised now."""

    policy: int
    token: str
    expiry_burn: int
    payout: int
    payoff_usd8: int


@dataclass(frozen=True, slots=True)
class State:
    """What is decided on, all of it read at one block."""

    receipt: Receipt
    policies: tuple[Ours, ...]


class Exercise(Job[State]):
    """Exercises our policies before they expire."""

    name = "exercise-ours"
    lane = Lane.SETTLE
    needs_account = True  # only a policy's owner may exercise it

    def __init__(self, owner: str, contract: str) -> None:
        self.owner, self.contract = owner, contract

    async def read(self, reader: Reader) -> State:
        """Our policies that are about to expire, with what exercising them would pay."""
        snapshot = await reader.snapshot()
        until = snapshot.receipt.burn_height + LAST_BLOCKS
        found = []
        for node in await snapshot.pages(OURS, "policies", {"owner": self.owner, "until": until}):
            check = (await snapshot.ask(CHECK, {"policy": node["id"]}))["exerciseCheck"]
            if check["eligible"]:
                payout, payoff = int(check["payout"]), int(check["payoffUsd8"])
                found.append(Ours(node["id"], node["token"], node["expiryBurn"], payout, payoff))
        return State(snapshot.receipt, tuple(found))

    def check(self, state: State) -> Sequence[Intent]:
        """One intent for each of them. The payout is the reward: a fee above it is not paid."""
        return [
            Intent(
                key=f"{self.name}:{ours.policy}",
                job=self.name,
                item={"policy": ours.policy, "token": ours.token},
                value_usd8=ours.payoff_usd8,
                reward=Amount(token=ours.token, amount=ours.payout),
                deadline_burn=ours.expiry_burn - 1,
                cause=f"policy {ours.policy} expires at {ours.expiry_burn} and pays {ours.payout} now",
                entity=f"policy:{ours.policy}",
            )
            for ours in state.policies
        ]

    def call(self, items: Sequence[Item]) -> Call:
        """`bh-policy.exercise`. The payout goes to us, and we send nothing."""
        (item,) = items
        token = contract_principal(str(item["token"]))
        return Call(self.contract, "exercise", (UInt(int(item["policy"])), token))

    def outcomes(self, items: Sequence[Item], result: Value | None) -> Sequence[Outcome]:
        """What the contract's answer means. What nobody named stops the job until somebody looked."""
        match result:
            case Ok():
                return [Outcome(Verdict.DONE, "exercised")]
            case Err(UInt(code)) if code in ENDED:
                return [Outcome(Verdict.DONE, f"it has ended already (u{code})", benign=True)]
            case Err(UInt(code)) if code in NOT_NOW:
                return [Outcome(Verdict.AGAIN, f"it does not pay now (u{code})")]
        return [Outcome(Verdict.FAILED, f"unexpected answer {result!r}")]


def jobs(context: JobContext) -> Sequence[Job[State]]:
    """What `keeper.job_files` asks for."""
    owner, deployer = context.addresses.get(Lane.SETTLE), context.deployers.get("bithedge")
    return [] if owner is None or deployer is None else [Exercise(owner, f"{deployer}.bh-policy")]
