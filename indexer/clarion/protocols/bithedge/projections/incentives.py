"""bh-incentives: programmes, the roots of their epochs, and what users claimed."""

from __future__ import annotations

from clarion.protocol import EventContext
from clarion.protocols.bithedge.events import (
    BudgetAdded,
    BudgetReturned,
    EpochClosed,
    EpochPosted,
    EpochVoided,
    Event,
    ProgramCreated,
    ProgramEnded,
    RewardClaimed,
)
from clarion.protocols.bithedge.protocol import on, tx_text
from clarion.protocols.bithedge.tables import Program, ProgramEntry, ProgramEpoch, Reward
from clarion.protocols.bithedge.units import TokenAmount, plus
from clarion.store.rows import Rows


@on(ProgramCreated)
def program_created(event: ProgramCreated, at: EventContext, rows: Rows) -> None:
    """A programme has these terms."""
    rows.delete(Program, event.program)
    rows.insert(
        Program,
        id=event.program,
        token=event.token,
        start_burn=event.start_burn,
        epoch_burn=event.epoch_burn,
        epochs=event.epochs,
        epoch_cap=event.epoch_cap,
        premium_bp=event.premium_bp,
        vesting_burn=event.vesting_burn,
        claim_burn=event.claim_burn,
        proposal=event.proposal,
        created_height=at.height,
    )


@on(BudgetAdded)
def budget_added(event: BudgetAdded, at: EventContext, rows: Rows) -> None:
    """A programme has more to give."""
    program = _program(event.program, rows)
    program.budget = event.budget_after
    program.funded = plus(program.funded, event.amt)
    _enter(event, at, rows, "budget-added", event.program, event.token, event.amt, account=event.from_)


@on(BudgetReturned)
def budget_returned(event: BudgetReturned, at: EventContext, rows: Rows) -> None:
    """What an ended programme did not give is the treasury's again."""
    program = _program(event.program, rows)
    program.budget = event.budget_after
    program.returned = plus(program.returned, event.amt)
    _enter(event, at, rows, "budget-returned", event.program, event.token, event.amt, account=event.to)


@on(ProgramEnded)
def program_ended(event: ProgramEnded, at: EventContext, rows: Rows) -> None:
    """A programme takes no more epochs."""
    _program(event.program, rows).ended = True


@on(EpochPosted)
def epoch_posted(event: EpochPosted, at: EventContext, rows: Rows) -> None:
    """An epoch's rewards are known."""
    _program(event.program, rows).budget = event.budget_after
    rows.delete(ProgramEpoch, event.program, event.epoch)
    rows.insert(
        ProgramEpoch,
        program=event.program,
        epoch=event.epoch,
        state="posted",
        token=event.token,
        root=event.root,
        total=event.total,
        leaves=event.leaves,
        posted_burn=event.posted_burn,
        claimable_burn=event.claimable_burn,
        vested_burn=event.vested_burn,
        deadline_burn=event.deadline_burn,
        posted_height=at.height,
        posted_tx=tx_text(at),
    )
    _enter(event, at, rows, "epoch-posted", event.program, event.token, event.total, epoch=event.epoch)


@on(EpochVoided)
def epoch_voided(event: EpochVoided, at: EventContext, rows: Rows) -> None:
    """A root was refused before anyone could claim."""
    _program(event.program, rows).budget = event.budget_after
    epoch = rows.get(ProgramEpoch, event.program, event.epoch)
    if epoch is not None:
        epoch.state = "voided"
    _enter(event, at, rows, "epoch-voided", event.program, event.token, event.total, epoch=event.epoch)


@on(EpochClosed)
def epoch_closed(event: EpochClosed, at: EventContext, rows: Rows) -> None:
    """What nobody claimed is in the budget again."""
    _program(event.program, rows).budget = event.budget_after
    epoch = rows.get(ProgramEpoch, event.program, event.epoch)
    if epoch is not None:
        epoch.state = "closed"
        epoch.returned = event.amt
    _enter(event, at, rows, "epoch-closed", event.program, event.token, event.amt, epoch=event.epoch)


@on(RewardClaimed)
def reward_claimed(event: RewardClaimed, at: EventContext, rows: Rows) -> None:
    """A user took what had vested."""
    program = _program(event.program, rows)
    program.claimed = plus(program.claimed, event.amt)
    epoch = rows.get(ProgramEpoch, event.program, event.epoch)
    if epoch is not None:
        epoch.claimed = event.epoch_claimed_after
    reward = rows.get(Reward, event.program, event.epoch, event.who) or rows.insert(
        Reward,
        program=event.program,
        epoch=event.epoch,
        who=event.who,
        token=event.token,
        index=event.index,
        entitled=event.entitled,
        claimed=TokenAmount(0),
        first_claim_height=at.height,
        last_claim_height=at.height,
    )
    reward.claimed = event.claimed_after
    reward.last_claim_height = at.height
    _enter(
        event,
        at,
        rows,
        "reward-claimed",
        event.program,
        event.token,
        event.amt,
        account=event.who,
        epoch=event.epoch,
    )


def _enter(
    event: Event,
    at: EventContext,
    rows: Rows,
    kind: str,
    program: int,
    token: str,
    amount: TokenAmount,
    *,
    account: str | None = None,
    epoch: int | None = None,
) -> None:
    rows.delete(ProgramEntry, event.seq)
    rows.insert(
        ProgramEntry,
        seq=event.seq,
        program=program,
        kind=kind,
        token=token,
        amount=amount,
        account=account,
        epoch=epoch,
        height=at.height,
        burn_height=at.burn_height,
        time=at.time,
        tx_id=tx_text(at),
    )


def _program(program: int, rows: Rows) -> Program:
    return rows.get(Program, program) or rows.insert(Program, id=program)
