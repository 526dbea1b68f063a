"""Proposals: counted when the voting is over, executed when their time has come, expired when it is over.

Anyone may do any of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clarion.chains.stacks.clarity import Err, UInt, Value
from clarion.protocols.bithedge.actions.declaration import Call as ActionCall
from clarion.protocols.bithedge.errors import ERRORS
from clarion.protocols.bithedge.tables import Proposal, ProposalAction
from clarion_keeper.bithedge.calls import CallJob
from clarion_keeper.bithedge.endings import Endings, named
from clarion_keeper.bithedge.margins import EVERY
from clarion_keeper.bithedge.reading import BitHedgeState, Look
from clarion_keeper.intents import Intent, Item, Lane, Outcome, Verdict


class _ProposalJob(CallJob):
    """A step of a proposal."""

    lane = Lane.UPKEEP
    needs: str
    """The state that the step needs."""

    async def learn(self, look: Look) -> None:
        """Proposals in the state that the step needs."""
        await look.learn(Proposal, {"state": {"eq": self.needs}})

    def check(self, state: BitHedgeState) -> Sequence[Intent]:
        """One intent for each proposal whose step is due."""
        rows = state.chain.select(Proposal, state=self.needs, order=[("id", False)], limit=EVERY)
        return [self.step(state, row) for row in rows if self.would_succeed(state.chain, proposal=row.id)]

    def step(self, state: BitHedgeState, row: Proposal) -> Intent:
        """The intent of a proposal's step."""
        raise NotImplementedError


class FinalizeProposal(_ProposalJob):
    """Counts the votes of a proposal whose voting is over: it is queued, or defeated."""

    name = "finalize-proposal"
    action_name = "finalize-proposal"
    needs = "active"
    endings = Endings(
        "counted",
        first={10013: "somebody else counted, or it was cancelled"},
        later={10012: "the proposal does not exist after a reorganisation", 10014: "the voting is open again"},
    )

    def step(self, state: BitHedgeState, row: Proposal) -> Intent:
        """The counting."""
        return self.intent(
            (row.id,),
            {"proposal": row.id},
            deadline_burn=row.eta_burn,
            cause=f"the voting on proposal {row.id} ended at {row.voting_ends_burn}",
            entity=f"proposal:{row.id}",
        )


class ExecuteProposal(_ProposalJob):
    """Executes a queued proposal between its earliest and its last block.

    What one of its actions is refused with is that contract's own error. It says nothing against other proposals, and
    the proposal can be tried again until its time is over.
    """

    name = "execute-proposal"
    action_name = "execute-proposal"
    needs = "queued"
    endings = Endings(
        "executed",
        first={10013: "somebody else executed it, or it was cancelled"},
        later={
            10003: "an action's token is not the one that it names",
            10011: "an action has no meaning to the contract",
            10012: "the proposal does not exist after a reorganisation",
            10019: "its time has not come",
            10020: "its time is over",
            10023: "the index knows another number of actions",
        },
    )

    async def learn(self, look: Look) -> None:
        """Queued proposals with their actions: those that spend name a token."""
        await super().learn(look)
        rows = look.state().chain.select(Proposal, state=self.needs, order=[("id", False)], limit=EVERY)
        await look.learn_each(ProposalAction, "proposal", (row.id for row in rows))

    def step(self, state: BitHedgeState, row: Proposal) -> Intent:
        """The execution, with the token of each action."""
        call = self.action.complete(ActionCall(self.sender, {"proposal": row.id}, state.chain))
        return self.intent(
            (row.id,),
            {"proposal": row.id, "tokens": " ".join(call["tokens"])},
            deadline_burn=row.grace_ends_burn,
            cause=f"proposal {row.id} can be executed from {row.eta_burn} to {row.grace_ends_burn}",
            entity=f"proposal:{row.id}",
        )

    def given(self, item: Item) -> dict[str, Any]:
        """The proposal and its tokens."""
        return {"proposal": item["proposal"], "tokens": str(item["tokens"]).split()}

    def outcomes(self, items: Sequence[Item], result: Value | None) -> Sequence[Outcome]:
        """What the call's result means; an action's refusal is looked at again with the next block."""
        match result:
            case Err(UInt(code)) if code in ERRORS and ERRORS[code].contract != self.action.contract:
                return [Outcome(Verdict.AGAIN, f"one of its actions was refused: {named(code)}") for _ in items]
        return super().outcomes(items, result)


class ExpireProposal(_ProposalJob):
    """Ends a queued proposal that nobody executed in time."""

    name = "expire-proposal"
    action_name = "expire-proposal"
    needs = "queued"
    endings = Endings(
        "expired",
        first={10013: "somebody else expired it, or it was executed or cancelled"},
        later={10012: "the proposal does not exist after a reorganisation", 10021: "it can be executed again"},
    )

    def step(self, state: BitHedgeState, row: Proposal) -> Intent:
        """The expiry."""
        return self.intent(
            (row.id,),
            {"proposal": row.id},
            cause=f"proposal {row.id} could be executed until {row.grace_ends_burn}",
            entity=f"proposal:{row.id}",
        )
