"""Steps of proposals, from rows made by hand."""

from __future__ import annotations

from typing import Any

import pytest
from support.bithedge_keeper import INDEX, KEEPER, SBTC, STX, row, rules, state
from support.bithedge_rows import DEPLOYER

from clarion.chains.stacks.clarity import Err, List, UInt, contract_principal
from clarion.protocols.bithedge.tables import Governance, Proposal, ProposalAction
from clarion_keeper.bithedge.governance import ExecuteProposal, ExpireProposal, FinalizeProposal
from clarion_keeper.intents import Verdict

JOBS = [job(INDEX, KEEPER) for job in (FinalizeProposal, ExecuteProposal, ExpireProposal)]
GOVERNANCE = row(Governance, contract=f"{DEPLOYER}.bh-gov", token=STX)


def proposal(state: str, actions: int = 1) -> Any:
    dates = {"voting_ends_burn": 100, "eta_burn": 110, "grace_ends_burn": 120}
    votes = {"quorum_bp": 2_000, "pass_bp": 5_100, "total_power": 100, "for_power": 60, "against_power": 10}
    return row(Proposal, id=5, state=state, actions=actions, **dates, **votes)


def action(index: int, kind: str, **arguments: Any) -> Any:
    return row(ProposalAction, proposal=5, index=index, kind=kind, arguments=arguments)


def due(burn: int, *rows: Any) -> list[str]:
    found = state(burn, *rules(burn), GOVERNANCE, action(0, "set-flag"), *rows)
    return [intent.key for job in JOBS for intent in job.check(found)]


@pytest.mark.parametrize(
    ("state_", "burn", "step"),
    [
        ("active", 100, None),
        ("active", 101, "finalize"),
        ("queued", 109, None),
        ("queued", 110, "execute"),
        ("queued", 120, "execute"),
        ("queued", 121, "expire"),
        ("defeated", 121, None),
        ("executed", 121, None),
        ("cancelled", 121, None),
    ],
)
def test_each_step_has_its_time(state_: str, burn: int, step: str | None) -> None:
    assert due(burn, proposal(state_)) == ([] if step is None else [f"{step}-proposal:5"])


def test_an_execution_names_the_token_of_each_action() -> None:
    rows = [proposal("queued", actions=2), action(1, "spend", token=SBTC, to=KEEPER, amt="5")]
    (intent,) = JOBS[1].check(state(110, *rules(110), GOVERNANCE, action(0, "set-flag"), *rows))
    assert (intent.item, intent.deadline_burn) == ({"proposal": 5, "tokens": f"{STX} {SBTC}"}, 120)
    call = JOBS[1].call([intent.item])
    assert call.arguments == (UInt(5), List((contract_principal(STX), contract_principal(SBTC))))
    assert call.post_conditions == ()


def test_a_proposal_whose_actions_the_index_lacks_is_not_executed() -> None:
    assert due(110, proposal("queued", actions=2)) == []


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        (10013, Verdict.DONE),
        (10020, Verdict.AGAIN),
        (10019, Verdict.AGAIN),
        (2005, Verdict.AGAIN),
        (7009, Verdict.AGAIN),
        (10017, Verdict.FAILED),
        (99_999, Verdict.FAILED),
    ],
)
def test_what_an_action_is_refused_for_says_nothing_against_other_proposals(code: int, verdict: Verdict) -> None:
    assert [o.verdict for o in JOBS[1].outcomes([{"proposal": 5}], Err(UInt(code)))] == [verdict]
