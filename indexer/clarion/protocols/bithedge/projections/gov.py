"""bh-gov: stakes, power, proposals and votes."""

from __future__ import annotations

from typing import Any

from clarion.chains.stacks.clarity import bytes_from_hex
from clarion.chains.stacks.clarity_forms import decode_json
from clarion.protocol import EventContext
from clarion.protocols.bithedge.events import (
    ActionAdded,
    DelegationSet,
    GovernanceBegun,
    PowerChanged,
    ProposalCancelled,
    ProposalCreated,
    ProposalExecuted,
    ProposalExpired,
    ProposalFinalized,
    StakeAdded,
    StakeRemoved,
    VoteCast,
)
from clarion.protocols.bithedge.protocol import on, tx_text
from clarion.protocols.bithedge.tables import (
    Governance,
    PowerCheckpoint,
    Proposal,
    ProposalAction,
    ProposalVote,
    Staker,
)
from clarion.store.rows import Rows


@on(GovernanceBegun)
def governance_begun(event: GovernanceBegun, at: EventContext, rows: Rows) -> None:
    """Governance by stake has its token."""
    governance = _governance(at, rows)
    governance.token = event.token
    governance.asset_name = event.asset_name


@on(StakeAdded)
def stake_added(event: StakeAdded, at: EventContext, rows: Rows) -> None:
    """A staker put tokens in."""
    _staker(event.staker, at, rows).stake = event.stake_after


@on(StakeRemoved)
def stake_removed(event: StakeRemoved, at: EventContext, rows: Rows) -> None:
    """A staker took tokens out."""
    _staker(event.staker, at, rows).stake = event.stake_after


@on(DelegationSet)
def delegation_set(event: DelegationSet, at: EventContext, rows: Rows) -> None:
    """Somebody else votes with a stake from now on."""
    _staker(event.staker, at, rows).delegate = event.to


@on(PowerChanged)
def power_changed(event: PowerChanged, at: EventContext, rows: Rows) -> None:
    """Power from a Bitcoin block on; within the block the last one counts."""
    who = event.who or at.contract
    if event.who is None:
        _governance(at, rows).power = event.power_after
    else:
        _staker(who, at, rows).power = event.power_after
    rows.delete(PowerCheckpoint, who, event.index)
    rows.insert(PowerCheckpoint, who=who, index=event.index, from_burn=event.from_burn, power=event.power_after)


@on(ActionAdded)
def action_added(event: ActionAdded, at: EventContext, rows: Rows) -> None:
    """One of the calls of a proposal that is being made."""
    rows.delete(ProposalAction, event.proposal, event.index)
    rows.insert(
        ProposalAction,
        proposal=event.proposal,
        index=event.index,
        kind=event.kind,
        data=event.data,
        arguments=_arguments(event.data),
    )


@on(ProposalCreated)
def proposal_created(event: ProposalCreated, at: EventContext, rows: Rows) -> None:
    """A proposal, open for votes."""
    proposal = _proposal(event.proposal, event.state, rows)
    proposal.proposer = event.proposer
    proposal.title_hash = event.title_hash
    proposal.uri = event.uri
    proposal.actions = event.actions
    proposal.about_guardian = event.about_guardian
    proposal.created_burn = event.created_burn
    proposal.snapshot_burn = event.snapshot_burn
    proposal.total_power = event.total_power
    proposal.voting_ends_burn = event.voting_ends_burn
    proposal.eta_burn = event.eta_burn
    proposal.grace_ends_burn = event.grace_ends_burn
    proposal.quorum_bp = event.quorum_bp
    proposal.pass_bp = event.pass_bp
    proposal.created_height = at.height
    proposal.created_time = at.time
    proposal.created_tx = tx_text(at)
    _staker(event.proposer, at, rows).proposals += 1


@on(VoteCast)
def vote_cast(event: VoteCast, at: EventContext, rows: Rows) -> None:
    """A vote; the voter's own stake is locked until the voting is over."""
    proposal = _proposal(event.proposal, "active", rows)
    proposal.for_power = event.for_after
    proposal.against_power = event.against_after
    proposal.abstain_power = event.abstain_after
    proposal.votes += 1
    voter = _staker(event.voter, at, rows)
    voter.locked_until_burn = event.locked_until_burn
    voter.votes += 1
    rows.delete(ProposalVote, event.proposal, event.voter)
    rows.insert(
        ProposalVote,
        proposal=event.proposal,
        voter=event.voter,
        choice=event.choice,
        power=event.power,
        height=at.height,
        burn_height=at.burn_height,
        time=at.time,
        tx_id=tx_text(at),
    )


@on(ProposalFinalized)
def proposal_finalized(event: ProposalFinalized, at: EventContext, rows: Rows) -> None:
    """The votes are counted: it waits for its execution, or has failed."""
    proposal = _proposal(event.proposal, event.state, rows)
    proposal.for_power = event.for_power
    proposal.against_power = event.against_power
    proposal.abstain_power = event.abstain_power
    proposal.eta_burn = event.eta_burn
    proposal.grace_ends_burn = event.grace_ends_burn
    proposal.finalized_height = at.height
    if event.state == "defeated":
        _end(proposal, at)


@on(ProposalExecuted)
def proposal_executed(event: ProposalExecuted, at: EventContext, rows: Rows) -> None:
    """All of its calls were made."""
    proposal = _proposal(event.proposal, "executed", rows)
    proposal.actions = event.actions
    _end(proposal, at)


@on(ProposalExpired)
def proposal_expired(event: ProposalExpired, at: EventContext, rows: Rows) -> None:
    """Nobody executed it in time."""
    _end(_proposal(event.proposal, "expired", rows), at)


@on(ProposalCancelled)
def proposal_cancelled(event: ProposalCancelled, at: EventContext, rows: Rows) -> None:
    """Its proposer withdrew it, or the guardian stopped it."""
    proposal = _proposal(event.proposal, "cancelled", rows)
    proposal.cancelled_from = event.from_state
    _end(proposal, at)


def _arguments(data: str) -> dict[str, Any]:
    """An action's arguments; bh-gov takes none that cannot be decoded, but what it prints must not stop an index."""
    try:
        arguments = decode_json(bytes_from_hex(data))
    except ValueError:
        return {}
    return arguments if isinstance(arguments, dict) else {"items": arguments}


def _end(proposal: Proposal, at: EventContext) -> None:
    proposal.ended_height = at.height
    proposal.ended_tx = tx_text(at)


def _proposal(number: int, state: str, rows: Rows) -> Proposal:
    proposal = rows.get(Proposal, number)
    if proposal is None:
        return rows.insert(Proposal, id=number, state=state)
    proposal.state = state
    return proposal


def _staker(who: str, at: EventContext, rows: Rows) -> Staker:
    return rows.get(Staker, who) or rows.insert(Staker, who=who, delegate=who, first_seen_height=at.height)


def _governance(at: EventContext, rows: Rows) -> Governance:
    return rows.get(Governance, at.contract) or rows.insert(Governance, contract=at.contract)
