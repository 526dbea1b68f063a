"""Allocations of positions that did not answer their margin call are taken over, for a bounty to whoever calls.

The bounty is a share of the allocation's collateral and becomes yield of the caller in the vault. Nothing of the
caller's moves: the taker is the fund where it can bear the allocation, else the keeper's own position in that tier and
token, if somebody has put capital there for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from clarion.chains.stacks.clarity import Ok, Value
from clarion.protocols.bithedge.actions.liquidation import TakeOver, check_take_over, open_call, standing
from clarion.protocols.bithedge.errors import RefusedError
from clarion.protocols.bithedge.health import Margin
from clarion.protocols.bithedge.outcomes import foretell
from clarion.protocols.bithedge.state import State
from clarion.protocols.bithedge.tables import (
    Allocation,
    FundCover,
    FundHolding,
    FundTakeover,
    MarginCall,
    Policy,
    Position,
    Token,
)
from clarion.protocols.bithedge.units import BP
from clarion_keeper.bithedge.calls import CallJob, usd
from clarion_keeper.bithedge.endings import MARKET, PARAMETERS, Endings
from clarion_keeper.bithedge.margins import EVERY, position_entity
from clarion_keeper.bithedge.reading import BitHedgeState, ChangedRows, Look
from clarion_keeper.intents import Amount, Intent, Item, Lane, Outcome

#: Bitcoin blocks in which an allocation should be taken over once the price has come that allows it.
SOON: Final = 1
#: How much less than foretold the keeper's own position may be paid for an allocation, in basis points.
SLIPPAGE_BP: Final = 300


class Liquidate(CallJob):
    """Takes over one allocation after the other of a failing position, the largest first, until it is healthy again.

    The first allocations that bring the position back are chosen, each foretold on what the ones before it leave; one
    that would find nobody to take it is left out.
    """

    name = "liquidate"
    lane = Lane.RESCUE
    action_name = "liquidate"
    endings = Endings(
        "taken over",
        first={
            5028: "somebody else took it over",
            9013: "somebody else took it over",
        },
        later={
            5007: "the taker lacks free capital",
            5011: "the taker would not keep its ratio",
            5016: "the policy has ended",
            5030: "the policy has expired",
            8011: "the fund has promised too much",
            8013: "the fund's liability would be too large",
            8014: "the policy expires too soon for the fund",
            8015: "the collateral does not pay the fund's price",
            8016: "the policy would bind too much of the fund",
            9001: "liquidations are switched off",
            9003: "the position is healthy again",
            9006: "the margin call has ended",
            9009: "the call's deadline is not over",
            9010: "no round was closed since the call became hard",
            9012: "the policy has ended or expired",
            9014: "the taker would be paid too little",
            9015: "the taker would be below its warning ratio",
            **MARKET,
        },
        never={
            **PARAMETERS,
            5001: "the vault does not know the token",
            5002: "the vault does not know the tier",
            5027: "another liquidation module is active",
            5029: "the provider was to take over from itself",
            5031: "the vault finds the price too high",
            5032: "the vault finds the bounty too high",
            5033: "the vault finds the penalty too high",
            8012: "another liquidation module is active",
            9002: "the contract does not know the token or tier",
            9011: "the taker is neither the sender nor the fund",
        },
    )

    async def learn(self, look: Look) -> None:
        """Called positions with their allocations and policies, and who could take these over."""
        calls = await look.learn(MarginCall, {"state": {"eq": "open"}, "level": {"eq": "hard"}})
        providers = {call.provider for call in calls}
        takers = {look.state().chain.contract("bh-fund"), self.sender} - {""} if calls else set()
        await look.learn_each(Position, "provider", providers | takers)
        allocations = await look.learn_each(Allocation, "provider", providers, {"state": {"eq": "active"}})
        policies = {allocation.policy for allocation in allocations}
        await look.learn_each(Policy, "id", policies)
        await look.learn_each(FundTakeover, "policy", policies)
        await look.learn(FundCover)
        await look.learn(FundHolding)

    def check(self, state: BitHedgeState) -> Sequence[Intent]:
        """One intent for each allocation that has to pass on, and can. Its reward is the bounty."""
        if not (state.chain.is_open("liquidate") and state.chain.is_open("deposit")):
            return []
        changed = ChangedRows(state.chain.rows)
        chain = replace(state.chain, rows=changed)
        moved: set[int] = set()
        intents = []
        for allocation in _called_allocations(state):
            if allocation.policy in moved:  # what the fund has of one policy is limited; the next look counts it
                continue
            for taker in self._takers(chain):
                terms = self._foretold(chain, allocation, taker)
                if terms is not None:
                    intents.append(self._intent(chain, allocation, taker, terms))
                    _take_over(changed, allocation, taker, terms)
                    moved.add(allocation.policy)
                    break
        return intents

    def _takers(self, chain: State) -> Sequence[str]:
        fund = chain.contract("bh-fund")
        return (fund, self.sender) if self.sender else (fund,)

    def _foretold(self, chain: State, allocation: Allocation, taker: str) -> TakeOver | None:
        """The take-over, where nothing stands against it and the keeper's own position is paid the whole price."""
        foretold = foretell(lambda: check_take_over(chain, allocation.policy, allocation.provider, taker, forced=True))
        terms = foretold.result
        if not isinstance(terms, TakeOver) or (taker == self.sender and terms.paid < terms.price):
            return None
        return terms

    def _intent(self, chain: State, allocation: Allocation, taker: str, terms: TakeOver) -> Intent:
        policy, provider = allocation.policy, allocation.provider
        call = open_call(chain, provider, allocation.tier, allocation.token)
        found = standing(chain, provider, allocation.tier, allocation.token)
        least = 0 if taker != self.sender else terms.paid * (BP - SLIPPAGE_BP) // BP
        why = "insolvent" if found.margin is Margin.INSOLVENT else "past its deadline"
        deadline = "" if call is None else f" {call.deadline_burn} of call {call.id}"
        token = chain.get(Token, allocation.token)
        opened = chain.burn_height if token is None else chain.price(token.asset).opened_burn
        return self.intent(
            (policy, provider),
            {
                "policy": policy,
                "provider": provider,
                "taker": taker,
                "min-paid": least,
                "token": allocation.token,
                "bounty": terms.bounty,
            },
            value_usd8=allocation.liability_usd8,
            reward=Amount(token=allocation.token, amount=terms.bounty),
            deadline_burn=opened + SOON,
            cause=f"the position is {why}{deadline} at {usd(found.price)} in round {found.round}; its part of policy "
            f"{policy}, {usd(allocation.liability_usd8)}, is worth {usd(terms.fair_usd8)}",
            entity=position_entity(provider, allocation.tier, allocation.token),
        )

    def outcomes(self, items: Sequence[Item], result: Value | None) -> Sequence[Outcome]:
        """What the call's result means. The bounty is what was foretold: a fixed share of the same collateral."""
        earned = [Amount(token=str(item["token"]), amount=int(item["bounty"])) for item in items]
        return [self.endings.of(result, amount if isinstance(result, Ok) else None) for amount in earned]


def _called_allocations(state: BitHedgeState) -> list[Allocation]:
    """The allocations of positions under a hard call, the largest liability first."""
    calls = state.chain.select(MarginCall, state="open", level="hard", order=[("id", False)], limit=EVERY)
    found: list[Allocation] = []
    for call in calls:
        try:
            margin = standing(state.chain, call.provider, call.tier, call.token).margin
        except RefusedError:
            continue
        if margin not in (Margin.IDLE, Margin.HEALTHY):
            found += state.chain.select(
                Allocation,
                provider=call.provider,
                tier=call.tier,
                token=call.token,
                state="active",
                order=[("policy", False)],
                limit=EVERY,
            )
    return sorted(found, key=lambda one: (-one.liability_usd8, one.policy, one.provider))


def _take_over(changed: ChangedRows, allocation: Allocation, taker: str, terms: TakeOver) -> None:
    """What an allocation's passing on leaves of both positions."""
    changed.add(
        Position,
        (allocation.provider, allocation.tier, allocation.token),
        available=terms.collateral_from - terms.paid - terms.bounty - terms.penalty,
        locked=-terms.collateral_from,
        liability_usd8=-allocation.liability_usd8,
    )
    changed.add(
        Position,
        (taker, allocation.tier, allocation.token),
        available=terms.paid - terms.collateral_to,
        locked=terms.collateral_to,
        liability_usd8=allocation.liability_usd8,
    )
