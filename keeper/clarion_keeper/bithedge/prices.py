"""Prices: rounds are closed, expiry prices fixed, and a fallback applied where its delay is over. Anyone may."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from clarion.protocols.bithedge.tables import Asset, ExpiryPrice, OracleProvider, Policy, Position, PriceRound, Token
from clarion_keeper.bithedge.calls import BitHedgeJob, CallJob, NoTransactions, usd
from clarion_keeper.bithedge.endings import PARAMETERS, Endings
from clarion_keeper.bithedge.reading import BitHedgeState, Look
from clarion_keeper.intents import Intent, Lane

#: Bitcoin blocks in which a round with its quorum should be closed, and an expiry price fixed once it can be.
SOON: Final = 1
#: Bitcoin blocks after an expiry at which somebody has to look why there is no price yet.
PRICE_LATE: Final = 6


class CloseRound(CallJob):
    """Closes a round of prices that has its quorum, or ends one whose time is over.

    It is as urgent as what waits for the price: a new price is what margin calls and liquidations follow from.
    """

    name = "close-round"
    lane = Lane.RESCUE
    action_name = "close-round"
    endings = Endings(
        "closed",
        first={3008: "somebody else closed it"},
        later={
            3004: "the price feed is not active",
            3007: "the oracle is switched off",
            3014: "the round has no quorum yet",
        },
        never=PARAMETERS,
    )

    async def learn(self, look: Look) -> None:
        """The providers, whose weights make a quorum, and what is backed at the feeds' prices."""
        await look.learn(OracleProvider, {"weight": {"gt": 0}})
        await look.learn(Position, {"liabilityUsd8": {"gt": 0}})

    def check(self, state: BitHedgeState) -> Sequence[Intent]:
        """One intent for each feed whose current round would close or end."""
        chain = state.chain
        stakes = _backed(state)
        intents = []
        for asset in chain.select(Asset, active=True, order=[("asset", False)], limit=100):
            row = chain.get(PriceRound, asset.asset, asset.next_round)
            if row is None or not self.would_succeed(chain, asset=asset.asset, round=asset.next_round):
                continue
            intents.append(
                self.intent(
                    (asset.asset, row.round),
                    {"asset": asset.asset, "round": row.round},
                    value_usd8=stakes[asset.asset],
                    deadline_burn=row.opened_burn + SOON,
                    cause=f"round {row.round} of {asset.asset} has {row.count} prices of weight {row.weight}",
                    entity=f"asset:{asset.asset}",
                )
            )
        return intents


def _backed(state: BitHedgeState) -> dict[str, int]:
    """The liability of all positions in the tokens that a feed prices, by feed."""
    assets = {token.token: token.asset for token in state.chain.select(Token, order=[("token", False)], limit=100)}
    backed: dict[str, int] = defaultdict(int)
    for position in state.chain.select(Position, order=[("provider", False)], limit=1_000_000):
        backed[assets[position.token]] += position.liability_usd8
    return backed


async def learn_due(look: Look) -> None:
    """Read the policies that have expired and not ended, the prices fixed for them, and the rounds that can fix others.

    Rounds are read from the first expiry on that lacks a price.
    """
    due = await look.learn(Policy, {"state": {"eq": "active"}, "expiryBurn": {"lte": look.burn}})
    fixed = await look.learn_each(ExpiryPrice, "expiry_burn", (policy.expiry_burn for policy in due))
    await look.learn_each(PriceRound, "round", (price.round for price in fixed))
    known = {(price.asset, price.expiry_burn) for price in fixed}
    missing = [pair for pair in needed_prices(look.state()) if pair not in known]
    if missing:
        await look.learn(
            PriceRound,
            {
                "asset": {"in": sorted({asset for asset, _ in missing})},
                "state": {"eq": "closed"},
                "openedBurn": {"gte": min(expiry for _, expiry in missing)},
            },
        )


def due_policies(state: BitHedgeState) -> Sequence[Policy]:
    """Active policies whose expiry has been reached, the oldest expiry first."""
    return state.chain.select(
        Policy,
        state="active",
        at_most=("expiry_burn", state.burn),
        order=[("expiry_burn", False), ("id", False)],
        limit=1_000_000,
    )


def needed_prices(state: BitHedgeState) -> dict[tuple[str, int], list[Policy]]:
    """The (feed, expiry) pairs whose price due policies settle at, each with these policies.

    A policy in a token that is not in the token table needs none: it cannot be settled.
    """
    needed: dict[tuple[str, int], list[Policy]] = defaultdict(list)
    for policy in due_policies(state):
        token = state.chain.get(Token, policy.token)
        if token is not None:
            for asset in dict.fromkeys((policy.asset, token.asset)):
                needed[asset, policy.expiry_burn].append(policy)
    return needed


class FixExpiryPrice(CallJob):
    """Fixes the price of a feed for an expiry, once a round that was opened at or after it is closed."""

    name = "fix-expiry-price"
    lane = Lane.SETTLE
    action_name = "fix-expiry-price"
    endings = Endings(
        "fixed",
        first={3018: "somebody else fixed it"},
        later={
            3017: "the expiry is ahead again after a reorganisation",
            3019: "the round does not count after a reorganisation",
        },
    )

    async def learn(self, look: Look) -> None:
        """Due policies with their prices and rounds."""
        await learn_due(look)

    def check(self, state: BitHedgeState) -> Sequence[Intent]:
        """One intent for each (feed, expiry) that a due policy waits for and a closed round can answer."""
        intents = []
        for (asset, expiry), policies in needed_prices(state).items():
            row = state.chain.first_round_from(asset, expiry)
            if row is None or not self.would_succeed(state.chain, asset=asset, expiry_burn=expiry, round=row.round):
                continue
            intents.append(
                self.intent(
                    (asset, expiry),
                    {"asset": asset, "expiry-burn": expiry, "round": row.round},
                    value_usd8=sum(policy.max_payout_usd8 for policy in policies),
                    deadline_burn=(row.closed_burn or row.opened_burn) + SOON,
                    cause=f"{len(policies)} policies wait for the price of {asset} at {expiry}: round {row.round} "
                    f"opened at {row.opened_burn}, {usd(row.price_usd8 or 0)}",
                    entity=f"asset:{asset}",
                )
            )
        return intents


class ApplyFallback(CallJob):
    """Makes the guardian's announced price a feed's price, once its delay is over and while the oracle is stopped."""

    name = "apply-fallback"
    lane = Lane.SETTLE
    action_name = "apply-fallback-price"
    endings = Endings(
        "applied",
        first={3021: "somebody else applied it, or it was taken back"},
        later={
            3004: "the price feed is not active",
            3020: "the oracle's breaker was reset",
            3022: "the delay is not over after a reorganisation",
        },
        never={**PARAMETERS, 3008: "the contract rejects a round of its own"},
    )

    def check(self, state: BitHedgeState) -> Sequence[Intent]:
        """One intent for each announced price whose time has come."""
        return [
            self.intent(
                (asset.asset, asset.fallback_from_burn or 0),
                {"asset": asset.asset},
                cause=f"the guardian announced {usd(asset.fallback_usd8 or 0)} for {asset.asset}, due from "
                f"{asset.fallback_from_burn} on",
                entity=f"asset:{asset.asset}",
            )
            for asset in state.chain.select(Asset, order=[("asset", False)], limit=100)
            if asset.fallback_usd8 is not None and self.would_succeed(state.chain, asset=asset.asset)
        ]


class PriceOverdue(NoTransactions, BitHedgeJob):
    """Tells people that policies have expired and no round has come that could settle them.

    Nothing can be sent: providers have to submit prices, or the guardian has to announce one.
    """

    name = "expiry-price-overdue"
    lane = Lane.SETTLE

    async def learn(self, look: Look) -> None:
        """Due policies with their prices and rounds."""
        await learn_due(look)

    def check(self, state: BitHedgeState) -> Sequence[Intent]:
        """One intent for each (feed, expiry) that has waited too long for a round."""
        return [
            Intent(
                key=f"{self.name}:{asset}:{expiry}",
                job=self.name,
                item={"asset": asset, "expiry-burn": expiry},
                value_usd8=sum(policy.max_payout_usd8 for policy in policies),
                cause=f"{len(policies)} policies expired at {expiry}, and {state.burn - expiry} blocks later no round "
                f"of {asset} has closed: look at the oracle's providers, or have the guardian announce a price",
                entity=f"asset:{asset}",
            )
            for (asset, expiry), policies in needed_prices(state).items()
            if state.burn >= expiry + PRICE_LATE
            and state.chain.expiry_price(asset, expiry) is None
            and state.chain.first_round_from(asset, expiry) is None
        ]
