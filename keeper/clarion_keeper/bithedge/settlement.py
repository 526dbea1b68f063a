"""Policies are settled at their expiry, many in a transaction. Anyone may; a payout goes to the policy's owner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from clarion.chains.stacks.clarity import List, Ok, Tuple, UInt, Value
from clarion.protocols.bithedge.actions import ACTIONS
from clarion.protocols.bithedge.outcomes import Payout, check_settle, foretell
from clarion.protocols.bithedge.tables import Allocation, PriceRound, Token
from clarion_keeper.bithedge.calls import CallJob, usd
from clarion_keeper.bithedge.endings import VAULT_PAYS, Endings
from clarion_keeper.bithedge.prices import due_policies, learn_due
from clarion_keeper.bithedge.reading import BitHedgeState, Look
from clarion_keeper.intents import Call, Intent, Item, Lane, Outcome, Verdict

MOST_POLICIES: Final = 20
"""The longest list that ``settle-many`` takes. With ten allocations each that pay, it costs less than half of what a
block may (measured: ``docs/contracts.md``, section "Costs")."""

#: Bitcoin blocks in which a policy should be settled once its prices are there.
SOON: Final = 2

_SETTLE_MANY: Final = ACTIONS["settle-many"]


class Settle(CallJob):
    """Settles expired policies whose expiry prices are fixed, those that pay most first.

    A batch that leaves no result (it was too dear for the block, or a token broke it off) is tried again at half the
    size, down to single policies, so that one that cannot be settled stops no other. A batch that goes through lets
    the next one be twice as long.
    """

    name = "settle"
    lane = Lane.SETTLE
    action_name = "settle"
    endings = Endings(
        "settled",
        first={6012: "the policy has ended already"},
        later={
            6011: "the policy does not exist after a reorganisation",
            6013: "the expiry is ahead again after a reorganisation",
            6014: "the price is not fixed after a reorganisation",
            5001: "its token is not in the token table",
            5012: "it was made in another token",
            5014: "another policy module is in charge of it",
            5016: "the vault has nothing locked for it",
            6005: "its token is not in the token table",
            **VAULT_PAYS,
        },
    )

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.batch_size = MOST_POLICIES

    async def learn(self, look: Look) -> None:
        """Due policies with their prices, and the collateral that pays them."""
        await learn_due(look)
        state = look.state()
        await look.learn_each(Allocation, "policy", (policy.id for policy in due_policies(state)))

    def check(self, state: BitHedgeState) -> Sequence[Intent]:
        """One intent for each due policy whose prices are fixed. Its value is what its owner is owed."""
        intents = []
        for policy in due_policies(state):
            foretold = foretell(lambda policy=policy: check_settle(state.chain, policy.id))  # type: ignore[misc]
            if not isinstance(foretold.result, Payout):
                continue
            intents.append(
                self.intent(
                    (policy.id,),
                    {"policy": policy.id, "token": policy.token},
                    value_usd8=foretold.result.payoff_usd8,
                    deadline_burn=self._settleable_since(state, policy.asset, policy.token, policy.expiry_burn) + SOON,
                    cause=f"policy {policy.id} expired at {policy.expiry_burn} and pays "
                    f"{usd(foretold.result.payoff_usd8)} at {usd(foretold.result.price)}",
                    entity=f"policy:{policy.id}",
                )
            )
        return intents

    def _settleable_since(self, state: BitHedgeState, asset: str, token: str, expiry: int) -> int:
        """The Bitcoin block in which the later of the two prices of a policy became known."""
        row = state.chain.get(Token, token)
        since = expiry
        for one in {asset, row.asset} if row is not None else {asset}:
            fixed = state.chain.expiry_price(one, expiry)
            closed = None if fixed is None else state.chain.get(PriceRound, one, fixed.round)
            since = max(since, closed.closed_burn or 0 if closed is not None else 0)
        return since

    def group(self, item: Item) -> str:
        """The token: one whose transfer breaks a batch off stops the settlement of no other."""
        return str(item["token"])

    def call(self, items: Sequence[Item]) -> Call:
        """``settle`` of one policy; ``settle-many`` of several, each of which succeeds or fails for itself."""
        if len(items) == 1:
            return super().call(items)
        entries = [{"policy": item["policy"], "token": item["token"]} for item in items]
        return self.call_of(_SETTLE_MANY, {"items": entries})

    def outcomes(self, items: Sequence[Item], result: Value | None) -> Sequence[Outcome]:
        """``settle-many`` answers with an error for each policy, 0 for settled."""
        if result is None:
            self.batch_size = max(1, len(items) // 2)
            return [Outcome(Verdict.AGAIN, f"a settlement of {len(items)} at once left no result") for _ in items]
        if isinstance(result, Ok) and len(items) >= self.batch_size:
            self.batch_size = min(MOST_POLICIES, 2 * self.batch_size)
        if len(items) == 1:
            return super().outcomes(items, result)
        codes = _codes(result)
        return [self._outcome(codes.get(int(item["policy"])), result) for item in items]

    def _outcome(self, code: int | None, result: Value | None) -> Outcome:
        if code is None:
            return Outcome(Verdict.FAILED, f"no answer for the policy in {result!r}")
        return Outcome(Verdict.DONE, self.endings.done) if code == 0 else self.endings.of_error(code)


def _codes(result: Value | None) -> dict[int, int]:
    """The error of each policy in an answer of ``settle-many``."""
    codes: dict[int, int] = {}
    match result:
        case Ok(List(entries)):
            for entry in entries:
                match entry:
                    case Tuple() if isinstance(entry["policy"], UInt) and isinstance(entry["error"], UInt):
                        codes[entry["policy"].value] = entry["error"].value
    return codes
