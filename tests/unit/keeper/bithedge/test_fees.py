"""Fees and bounties: moved when enough has come together, or once a week."""

from __future__ import annotations

from typing import Any

import pytest
from support.bithedge_keeper import COIN, FUND, INDEX, KEEPER, STX, row, rules, state

from clarion.chains.stacks.clarity import Err, UInt, contract_principal
from clarion.protocols.bithedge.tables import (
    FundEntry,
    TokenPool,
    TreasuryAllocation,
    TreasuryEntry,
    TreasuryHolding,
    TreasuryShare,
    YieldBalance,
)
from clarion_keeper.bithedge.fees import (
    WEEK_BURN,
    ClaimBounties,
    ClaimFundShare,
    ClaimFundYield,
    CollectPlatformFees,
    CollectReserveFees,
    DistributeFees,
)
from clarion_keeper.intents import Amount, Verdict

BURN = 10_000
ALLOCATION = row(TreasuryAllocation, rank=0, receiver=FUND, share_bp=10_000)


def balance(job: type[Any], amount: int) -> list[Any]:
    """What the job moves, of STX."""
    rows: dict[type[Any], list[Any]] = {
        CollectPlatformFees: [row(TokenPool, token=STX, platform_fees=amount)],
        CollectReserveFees: [row(TokenPool, token=STX, reserve_fees=amount)],
        DistributeFees: [row(TreasuryHolding, token=STX, collected=amount), ALLOCATION],
        ClaimFundShare: [row(TreasuryShare, receiver=FUND, token=STX, amount=amount)],
        ClaimFundYield: [row(YieldBalance, provider=FUND, token=STX, claimable=amount)],
        ClaimBounties: [row(YieldBalance, provider=KEEPER, token=STX, claimable=amount)],
    }
    return rows[job]


NOTED: dict[type[Any], tuple[type[Any], str]] = {
    CollectPlatformFees: (TreasuryEntry, "fee-collected"),
    CollectReserveFees: (FundEntry, "reserve"),
    DistributeFees: (TreasuryEntry, "fee-distributed"),
    ClaimFundShare: (FundEntry, "share"),
    ClaimFundYield: (FundEntry, "yield"),
}
JOBS = [*NOTED, ClaimBounties]


def due(job: type[Any], amount: int, *rows: Any) -> list[Any]:
    return list(job(INDEX, KEEPER).check(state(BURN, *rules(BURN), *balance(job, amount), *rows)))


@pytest.mark.parametrize("job", JOBS)
def test_a_thousand_dollars_are_moved_at_once(job: type[Any]) -> None:
    entries = (
        [row(model, seq=1, token=STX, kind=kind, burn_height=BURN) for model, kind in [NOTED[job]]]
        if (job in NOTED)
        else []
    )
    (intent,) = due(job, 500 * COIN, *entries)
    assert intent.key == f"{job.name}:{STX}"
    assert due(job, 500 * COIN - 1, *entries) == []
    call = job(INDEX, KEEPER).call([intent.item])
    assert call.arguments == (contract_principal(STX),)


@pytest.mark.parametrize("job", list(NOTED))
def test_a_dollar_is_moved_after_a_week(job: type[Any]) -> None:
    model, kind = NOTED[job]

    def last(burn: int, kind: str = kind) -> Any:
        return row(model, seq=1, token=STX, kind=kind, burn_height=burn)

    week_ago = last(BURN - WEEK_BURN)
    assert len(due(job, COIN // 2, week_ago)) == 1
    assert len(due(job, COIN // 2)) == 1
    assert len(due(job, COIN // 2, last(BURN, kind="other"))) == 1
    assert due(job, COIN // 2 - 1, week_ago) == []
    assert due(job, COIN // 2, last(BURN - WEEK_BURN + 1)) == []


@pytest.mark.parametrize("job", JOBS)
def test_where_nothing_has_come_together_nothing_is_moved(job: type[Any]) -> None:
    assert due(job, 0) == []


def test_fees_are_not_shared_out_without_allocations() -> None:
    rows = [row(TreasuryHolding, token=STX, collected=500 * COIN)]
    assert DistributeFees(INDEX).check(state(BURN, *rules(BURN), *rows)) == []


def test_bounties_are_the_keepers_own_and_wait_for_every_rescue() -> None:
    (intent,) = due(ClaimBounties, 500 * COIN)
    assert (intent.reward, intent.value_usd8) == (Amount(token=STX, amount=500 * COIN), 0)
    assert ClaimBounties(INDEX, "").check(state(BURN, *rules(BURN), *balance(ClaimBounties, 500 * COIN))) == []


def test_nothing_to_claim_is_no_success_of_somebody_else() -> None:
    (outcome,) = ClaimBounties(INDEX, KEEPER).outcomes([{"token": STX}], Err(UInt(5013)))
    assert outcome.verdict is Verdict.FAILED
    (outcome,) = ClaimFundYield(INDEX, KEEPER).outcomes([{"token": STX}], Err(UInt(5013)))
    assert (outcome.verdict, outcome.benign) == (Verdict.DONE, True)
