"""The insurance fund pays owners what collateral could not, and its recovery plans are ended. Anyone may."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from clarion.protocols.bithedge.errors import RefusedError
from clarion.protocols.bithedge.payoff import tokens_down, value_usd8
from clarion.protocols.bithedge.state import State
from clarion.protocols.bithedge.tables import Claim, FundCover, FundHolding, FundPayment, Policy, RecoveryPlan, Token
from clarion.protocols.bithedge.units import E8, TokenAmount
from clarion_keeper.bithedge.calls import CallJob, usd
from clarion_keeper.bithedge.endings import FUND_PAYS, MARKET, METRIC, PARAMETERS, Endings
from clarion_keeper.bithedge.margins import EVERY
from clarion_keeper.bithedge.reading import BitHedgeState, ChangedRows, Look
from clarion_keeper.intents import Intent, Lane

#: Least payment that is worth a transaction, unless it pays all that is left: 1 US dollar.
LEAST_USD8: Final = E8


class CoverShortfall(CallJob):
    """Has the fund pay what a policy's collateral could not, as far as its caps reach; what is owed most goes first.

    A policy is paid in its own token, and where the fund has none left for it there, in another.
    """

    name = "cover-shortfall"
    lane = Lane.SETTLE
    action_name = "cover-shortfall"
    endings = Endings(
        "paid",
        first={8008: "nothing is unpaid any more"},
        later={
            6025: "less is unpaid than before",
            8007: "the fund's cover is switched off",
            8009: "the cap, the cover or the balance is used up",
            **MARKET,
            **FUND_PAYS,
        },
        never={
            **PARAMETERS,
            **METRIC,
            6011: "the policy does not exist",
            6024: "another fund is active",
            8003: "the token is not in the token table",
        },
    )

    async def learn(self, look: Look) -> None:
        """Policies with an unpaid remainder, what was paid for them, and what the fund has."""
        unpaid = await look.learn(Policy, {"unpaidUsd8": {"gt": 0}})
        policies = [policy.id for policy in unpaid]
        await look.learn_each(FundPayment, "policy", policies)
        await look.learn_each(Claim, "policy", policies)
        await look.learn(FundHolding)
        await look.learn(FundCover)

    def check(self, state: BitHedgeState) -> Sequence[Intent]:
        """One intent for each policy that the fund can pay for now, counting what it pays for those before it."""
        changed = ChangedRows(state.chain.rows)
        chain = replace(state.chain, rows=changed)
        unpaid = state.chain.select(
            Policy, at_least=("unpaid_usd8", 1), order=[("unpaid_usd8", True), ("id", False)], limit=EVERY
        )
        intents = []
        for policy in unpaid:
            tokens = [policy.token, *(one.token for one in chain.select(Token, order=[("token", False)], limit=100))]
            for token in dict.fromkeys(tokens):
                amount = self._amount(chain, policy, token)
                if amount:
                    intents.append(self._intent(chain, policy, token, amount))
                    changed.add(FundHolding, (token,), balance=-amount, cover=-amount)
                    changed.add(FundCover, (policy.tier, token), left=-amount)
                    break
        return intents

    def _amount(self, chain: State, policy: Policy, token: str) -> TokenAmount:
        """What the fund would pay; 0 where it is nothing, or too little for a transaction."""
        foretold = self.foretold(chain, policy=policy.id, token=token)
        if foretold is None or not foretold.ok:
            return TokenAmount(0)
        amount = TokenAmount(foretold.result)
        row = chain.token(token, 8003)
        price = chain.market_price(row.asset).usd8
        is_all = amount == tokens_down(policy.unpaid_usd8, row.decimals, price)
        return amount if is_all or value_usd8(amount, row.decimals, price) >= LEAST_USD8 else TokenAmount(0)

    def _intent(self, chain: State, policy: Policy, token: str, amount: TokenAmount) -> Intent:
        row = chain.token(token, 8003)
        worth = value_usd8(amount, row.decimals, chain.market_price(row.asset).usd8)
        return self.intent(
            (policy.id, token, policy.unpaid_usd8),
            {"policy": policy.id, "token": token},
            value_usd8=worth,
            cause=f"{usd(policy.unpaid_usd8)} of policy {policy.id} are unpaid; the fund can pay {usd(worth)}",
            entity=f"policy:{policy.id}",
        )


class CompleteRecovery(CallJob):
    """Ends a recovery plan of the fund that has reached its target, or whose time is over."""

    name = "complete-recovery"
    lane = Lane.UPKEEP
    action_name = "complete-recovery"
    endings = Endings(
        "ended",
        first={8018: "somebody else ended it"},
        later={8021: "the plan is neither full nor over after a reorganisation"},
        never={**PARAMETERS, **METRIC},
    )

    async def learn(self, look: Look) -> None:
        """Open plans."""
        await look.learn(RecoveryPlan, {"state": {"eq": "open"}})

    def check(self, state: BitHedgeState) -> Sequence[Intent]:
        """One intent for each open plan that can be ended."""
        plans = state.chain.select(RecoveryPlan, state="open", order=[("id", False)], limit=EVERY)
        return [
            self.intent(
                (plan.id,),
                {"plan": plan.id},
                value_usd8=_worth(state.chain, plan),
                cause=f"plan {plan.id} raised {plan.raised} of {plan.target} until {plan.ends_burn}",
                entity=f"plan:{plan.id}",
            )
            for plan in plans
            if self.would_succeed(state.chain, plan=plan.id)
        ]


def _worth(chain: State, plan: RecoveryPlan) -> int:
    """What a plan has raised, in usd8; 0 where its token has no price."""
    try:
        token = chain.token(plan.token, 8003)
        return value_usd8(plan.raised, token.decimals, chain.price(token.asset).usd8)
    except RefusedError:
        return 0
