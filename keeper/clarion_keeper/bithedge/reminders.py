"""What only its owner can do: shown as open intents for which nothing is sent, until the owner has done it."""

from __future__ import annotations

from collections.abc import Sequence

from clarion.protocols.bithedge.outcomes import check_withdraw, foretell
from clarion.protocols.bithedge.tables import Position, WithdrawRequest
from clarion_keeper.bithedge.calls import BitHedgeJob, NoTransactions
from clarion_keeper.bithedge.margins import EVERY, position_entity
from clarion_keeper.bithedge.reading import BitHedgeState, Look
from clarion_keeper.intents import Intent, Lane


class WithdrawalReminder(NoTransactions, BitHedgeJob):
    """Reminds of capital that a provider asked back and could take out now. Only the provider can."""

    name = "withdrawal-reminder"
    lane = Lane.UPKEEP

    async def learn(self, look: Look) -> None:
        """Requests whose delay is over, with their positions."""
        pending = await look.learn(WithdrawRequest, {"state": {"eq": "pending"}, "unlockBurn": {"lte": look.burn}})
        await look.learn_each(Position, "provider", (request.provider for request in pending))

    def check(self, state: BitHedgeState) -> Sequence[Intent]:
        """One intent for each request that would be paid now."""
        intents = []
        for row in state.chain.select(WithdrawRequest, state="pending", order=[("id", False)], limit=EVERY):
            found = foretell(lambda row=row: check_withdraw(state.chain, row.id, row.provider))  # type: ignore[misc]
            if found.ok:
                intents.append(
                    Intent(
                        key=f"{self.name}:{row.id}",
                        job=self.name,
                        item={"request": row.id, "provider": row.provider, "token": row.token},
                        cause=f"{row.provider} can take out {found.result} of {row.token} since {row.unlock_burn}",
                        entity=position_entity(row.provider, row.tier, row.token),
                    )
                )
        return intents
