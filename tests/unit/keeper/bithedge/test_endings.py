"""Every error that the contracts can give a job is named by the job, and names mean what they say."""

from __future__ import annotations

from typing import Any

import pytest
from support.bithedge_keeper import INDEX, KEEPER
from support.clarity_errors import reachable_errors

from clarion.chains.stacks.clarity import Err, Ok, UInt, Value
from clarion.protocols.bithedge.actions import ACTIONS
from clarion.protocols.bithedge.errors import ERRORS
from clarion_keeper.bithedge import JOBS
from clarion_keeper.bithedge.calls import CallJob, percent, usd
from clarion_keeper.bithedge.endings import Endings
from clarion_keeper.bithedge.incentives import PostRewardRoot
from clarion_keeper.intents import Verdict

CALL_JOBS: list[Any] = [*(job for job in JOBS if issubclass(job, CallJob)), PostRewardRoot]


@pytest.mark.parametrize("job", CALL_JOBS, ids=lambda job: job.name)
def test_every_error_of_the_call_is_named_and_no_other(job: Any) -> None:
    action = ACTIONS[job.action_name]
    reachable = reachable_errors(action.contract, action.function)
    named = [*job.endings.first, *job.endings.later, *job.endings.never]
    assert len(named) == len(set(named))
    if job.name == "execute-proposal":  # its actions' own refusals are looked at again
        reachable = frozenset(code for code in reachable if ERRORS[code].contract == action.contract)
    assert sorted(named) == sorted(reachable)


def test_settle_many_gives_the_errors_of_settle() -> None:
    assert reachable_errors("bh-policy", "settle-many") == reachable_errors("bh-policy", "settle")


def test_the_sources_are_read_as_deep_as_calls_go() -> None:
    assert {9001, 9011, 5029, 8016, 3024} <= reachable_errors("bh-liquidation", "liquidate")
    assert 9011 not in reachable_errors("bh-liquidation", "self-liquidate")
    assert reachable_errors("bh-oracle", "fix-expiry-price") == {3017, 3018, 3019}


ENDINGS = Endings("done", first={3018: "first"}, later={3019: "later"}, never={2004: "never"})


@pytest.mark.parametrize(
    ("result", "verdict", "benign", "reason"),
    [
        (Ok(UInt(1)), Verdict.DONE, False, "done"),
        (Err(UInt(3018)), Verdict.DONE, True, "first (u3018 ERR-EXPIRY-FIXED: expiry price already fixed)"),
        (Err(UInt(3019)), Verdict.AGAIN, False, "later (u3019"),
        (Err(UInt(2004)), Verdict.FAILED, False, "never (u2004"),
        (Err(UInt(9011)), Verdict.FAILED, False, "u9011 ERR-TAKER-CONSENT"),
        (Err(UInt(77)), Verdict.FAILED, False, "u77, which no contract of BitHedge gives"),
        (Err(Ok(UInt(1))), Verdict.FAILED, False, "unexpected result"),
        (None, Verdict.FAILED, False, "the chain kept no result"),
    ],
)
def test_an_answer_means_what_the_job_says(result: Value | None, verdict: Verdict, benign: bool, reason: str) -> None:
    outcome = ENDINGS.of(result)
    assert (outcome.verdict, outcome.benign) == (verdict, benign)
    assert outcome.reason.startswith(reason)


def test_jobs_have_names_of_their_own() -> None:
    names = [job.name for job in JOBS]
    assert len(set(names)) == len(names)
    assert all(job(INDEX, KEEPER).lane for job in JOBS)


def test_figures_are_written_for_people() -> None:
    assert usd(123_456_789 * 10**6) == "1,234,567.89 USD"
    assert usd(99) == "0.00 USD"
    assert percent(13_450) == "134.50%"
    assert percent(None) == "none"
