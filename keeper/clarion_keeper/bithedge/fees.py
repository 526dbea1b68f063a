"""Fees: from the vault to treasury and fund, shared out by the allocations; and what the fund and the keeper earned.

None of it is urgent and each costs a fee, so it is done when enough has come together, or once a week.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from clarion.protocols.bithedge.errors import RefusedError
from clarion.protocols.bithedge.payoff import value_usd8
from clarion.protocols.bithedge.state import State
from clarion.protocols.bithedge.tables import (
    FundEntry,
    Token,
    TokenPool,
    TreasuryAllocation,
    TreasuryEntry,
    TreasuryHolding,
    TreasuryShare,
    YieldBalance,
)
from clarion.protocols.bithedge.units import BURN_BLOCKS_PER_DAY, E8, TokenAmount
from clarion.store.rows import Row
from clarion_keeper.bithedge.calls import CallJob, usd
from clarion_keeper.bithedge.endings import METRIC, PARAMETERS, TREASURY_PAYS, VAULT_PAYS, Endings
from clarion_keeper.bithedge.reading import BitHedgeState, Look
from clarion_keeper.intents import Amount, Intent, Lane

#: What has to have come together for it to be moved at once: 1,000 US dollars.
ENOUGH_USD8: Final = 1_000 * E8
#: What has to have come together for it to be moved after a week: 1 US dollar.
LEAST_USD8: Final = E8
WEEK_BURN: Final = 7 * BURN_BLOCKS_PER_DAY

_UNKNOWN: Final = "the token is not in the token table"
_MODULE: Final[Mapping[int, str]] = {5001: _UNKNOWN, 5023: "another treasury or fund is active"}
_FUND: Final[Mapping[int, str]] = {**PARAMETERS, **METRIC}


class _MoneyJob(CallJob):
    """Moves what has come together in each token. A subclass says what it reads, and where it is noted."""

    lane = Lane.UPKEEP
    what: ClassVar[str]
    balances: ClassVar[type[Row] | tuple[type[Row], ...]]
    noted: ClassVar[tuple[type[Row], str] | None] = None
    """The table and kind of the entries that say when it was last done; None: only the amount counts."""

    async def learn(self, look: Look) -> None:
        """What has come together, and when it was last moved."""
        for model in self.balances if isinstance(self.balances, tuple) else (self.balances,):
            await look.learn(model)
        if self.noted is not None:
            model, kind = self.noted
            for token in look.state().chain.select(Token, order=[("token", False)], limit=100):
                where = {"token": {"eq": token.token}, "kind": {"eq": kind}}
                await look.learn_newest(model, where, by="seq")

    def check(self, state: BitHedgeState) -> Sequence[Intent]:
        """One intent for each token of which enough has come together, or something a week ago."""
        intents = []
        for token in state.chain.select(Token, order=[("token", False)], limit=100):
            foretold = self.foretold(state.chain, token=token.token)
            if foretold is None or not foretold.ok:
                continue
            amount = TokenAmount(foretold.result)
            worth = _worth(state.chain, token, amount)
            if worth >= ENOUGH_USD8 or (worth >= LEAST_USD8 and self._is_a_week_ago(state, token.token)):
                intents.append(self._intent(token.token, amount, worth))
        return intents

    def _intent(self, token: str, amount: TokenAmount, worth: int) -> Intent:
        return self.intent(
            (token,),
            {"token": token},
            value_usd8=worth,
            cause=f"{self.what}: {amount} of {token}, worth {usd(worth)}",
            entity=f"token:{token}",
        )

    def _is_a_week_ago(self, state: BitHedgeState, token: str) -> bool:
        if self.noted is None:
            return False
        model, kind = self.noted
        newest = state.chain.select(model, token=token, kind=kind, order=[("seq", True)], limit=1)
        last: int = newest[0].burn_height if newest else 0  # type: ignore[attr-defined]
        return state.burn >= last + WEEK_BURN


def _worth(chain: State, token: Token, amount: TokenAmount) -> int:
    """What an amount is worth at the token's last price, in usd8; 0 where it has none."""
    try:
        return value_usd8(amount, token.decimals, chain.price(token.asset).usd8)
    except RefusedError:
        return 0


class CollectPlatformFees(_MoneyJob):
    """Brings the platform's fees from the vault to the treasury."""

    name = "collect-platform-fees"
    action_name = "collect-platform-fees"
    what = "platform fees in the vault"
    balances = TokenPool
    noted = (TreasuryEntry, "fee-collected")
    endings = Endings("collected", first={5003: "somebody else collected them"}, later=VAULT_PAYS, never=_MODULE)


class CollectReserveFees(_MoneyJob):
    """Brings the reserve's fees from the vault to the fund."""

    name = "collect-reserve-fees"
    action_name = "collect-reserve-fees"
    what = "reserve fees in the vault"
    balances = TokenPool
    noted = (FundEntry, "reserve")
    endings = Endings(
        "collected", first={5003: "somebody else collected them"}, later=VAULT_PAYS, never={**_MODULE, **_FUND}
    )


class DistributeFees(_MoneyJob):
    """Shares the treasury's collected fees out by its allocations."""

    name = "distribute-fees"
    action_name = "distribute-fees"
    what = "collected fees to be shared out"
    balances = (TreasuryHolding, TreasuryAllocation)
    noted = (TreasuryEntry, "fee-distributed")
    endings = Endings("shared out", first={7007: "somebody else shared them out"}, later={})


class ClaimFundShare(_MoneyJob):
    """Brings the fund's share of the treasury's fees to the fund."""

    name = "claim-fund-share"
    action_name = "claim-fund-share"
    what = "the fund's share in the treasury"
    balances = TreasuryShare
    noted = (FundEntry, "share")
    endings = Endings(
        "claimed", first={7008: "somebody else claimed it"}, later=TREASURY_PAYS, never={**_FUND, 7012: _UNKNOWN}
    )


class ClaimFundYield(_MoneyJob):
    """Brings what the fund's capital earned in the vault, penalties of liquidations included, to the fund."""

    name = "claim-fund-yield"
    action_name = "claim-fund-yield"
    what = "the fund's yield in the vault"
    balances = ()
    noted = (FundEntry, "yield")
    endings = Endings(
        "claimed", first={5013: "somebody else claimed it"}, later=VAULT_PAYS, never={**_FUND, 5001: _UNKNOWN}
    )

    async def learn(self, look: Look) -> None:
        """The fund's yield, and when it was last claimed."""
        await _learn_yield(look, look.state().chain.contract("bh-fund"))
        await super().learn(look)


class ClaimBounties(_MoneyJob):
    """Takes the keeper's own bounties out of the vault, to the account that liquidates."""

    name = "claim-bounties"
    needs_account = True
    lane = Lane.RESCUE
    action_name = "claim-yield"
    what = "bounties in the vault"
    balances = ()
    endings = Endings(
        "claimed",
        # a made-up sender, whose call is simulated first, has no yield: that says nothing of this account
        first={},
        later=VAULT_PAYS,
        never={5001: _UNKNOWN, 5013: "the account's yield was claimed elsewhere"},
    )

    async def learn(self, look: Look) -> None:
        """The keeper's yield."""
        await _learn_yield(look, self.sender)

    def _intent(self, token: str, amount: TokenAmount, worth: int) -> Intent:
        # its value is 0 among rescues: money that is the keeper's already waits for everything else
        return self.intent(
            (token,),
            {"token": token},
            reward=Amount(token=token, amount=amount),
            cause=f"{self.what}: {amount} of {token}, worth {usd(worth)}",
            entity=f"token:{token}",
        )


async def _learn_yield(look: Look, provider: str) -> None:
    await look.learn(YieldBalance, {"provider": {"eq": provider}})
