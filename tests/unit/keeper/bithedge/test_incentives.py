"""Reward programmes: what is posted, what is in doubt, closed, drawn and returned, from rows made by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.bithedge_keeper import INDEX, KEEPER, STX, row, rules, state
from support.bithedge_rows import DEPLOYER

from clarion.chains.stacks.clarity import Bool, Buffer, Err, StringAscii, Tuple, UInt, encode, principal
from clarion.protocols.bithedge.tables import Program, ProgramEpoch, ProgramFund, Role
from clarion_keeper.bithedge.incentives import (
    DEPTH_BURN,
    CloseEpoch,
    DrawProgramFunds,
    EpochRoot,
    Expected,
    PostRewardRoot,
    ReturnProgramBudget,
    RewardEvents,
    RewardRootDiffers,
    RewardState,
    Roots,
)
from clarion_keeper.intents import Verdict

ROOTS = Roots(INDEX)
POST, DIFFERS = PostRewardRoot(INDEX, KEEPER, ROOTS), RewardRootDiffers(ROOTS)
ROOT = EpochRoot(f"0x{'ab' * 32}", 500, 3)
OTHER = replace(ROOT, root=f"0x{'cd' * 32}")
PROGRAM: dict[str, Any] = {"id": 1, "token": STX, "start_burn": 100, "epoch_burn": 10, "epochs": 4}
TERMS: dict[str, Any] = {"epoch_cap": 1_000, "premium_bp": 5_000, "budget": 600}
KEEPER_ROLE = row(Role, role="keeper", who=KEEPER)
BURN = 120


def program(**values: Any) -> Any:
    return row(Program, **{**PROGRAM, **TERMS, **values})


def posted(root: EpochRoot, state: str = "posted", **values: Any) -> Any:
    figures = {"root": root.root, "total": root.total, "leaves": root.leaves, "claimable_burn": 200}
    return row(ProgramEpoch, program=1, epoch=1, state=state, **{**figures, "deadline_burn": 300, **values})


def known(own: EpochRoot | None, api: EpochRoot | None, *rows: Any, burn: int = BURN) -> RewardState:
    found = state(burn, *rules(burn), program(), KEEPER_ROLE, *rows)
    return RewardState(found.receipt, found.chain, (Expected(1, 1, own, api),))


def test_a_root_is_posted_that_both_computations_agree_on() -> None:
    (intent,) = POST.check(known(ROOT, ROOT))
    assert intent.key == f"post-reward-root:1:1:{ROOT.root}"
    call = POST.call([intent.item])
    assert (call.contract, call.function) == ("bh-incentives", "post-root")
    assert call.arguments == (UInt(1), UInt(1), Buffer(b"\xab" * 32), UInt(500), UInt(3))
    assert DIFFERS.check(known(ROOT, ROOT)) == []


@pytest.mark.parametrize(("own", "api"), [(ROOT, OTHER), (ROOT, None), (None, ROOT)])
def test_a_root_that_differs_is_not_posted_and_held(own: EpochRoot | None, api: EpochRoot | None) -> None:
    assert POST.check(known(own, api)) == []
    (intent,) = DIFFERS.check(known(own, api))
    assert (intent.entity, DIFFERS.holds, DIFFERS.chain) == ("epoch:1:1", True, "none")


def test_where_nobody_gets_anything_nothing_is_posted_or_in_doubt() -> None:
    assert POST.check(known(None, None)) == []
    assert DIFFERS.check(known(None, None)) == []


def test_a_posted_root_is_compared_while_it_can_be_voided() -> None:
    assert DIFFERS.check(known(ROOT, ROOT, posted(ROOT))) == []
    (intent,) = DIFFERS.check(known(ROOT, ROOT, posted(OTHER)))
    assert "have it voided" in intent.cause
    (intent,) = DIFFERS.check(known(None, None, posted(OTHER)))
    assert "no reward follows" in intent.cause
    assert POST.check(known(ROOT, ROOT, posted(OTHER))) == []


@pytest.mark.parametrize(
    "rows",
    [
        [program(budget=499)],
        [program(ended=True)],
        [row(Role, role="keeper", who=KEEPER, until_burn=BURN - 1)],
        [posted(ROOT, "closed")],
    ],
    ids=["no budget", "ended", "role over", "closed"],
)
def test_what_the_contract_would_refuse_is_not_posted(rows: list[Any]) -> None:
    assert POST.check(known(ROOT, ROOT, *rows)) == []


def test_another_account_than_the_incentives_account_posts_nothing() -> None:
    assert PostRewardRoot(INDEX, "", ROOTS).check(known(ROOT, ROOT)) == []


def test_a_missing_role_stops_the_job() -> None:
    (outcome,) = POST.outcomes([{}], Err(UInt(11002)))
    assert outcome.verdict is Verdict.FAILED


@pytest.mark.parametrize(
    ("state_", "burn", "is_due"), [("posted", 300, False), ("posted", 301, True), ("closed", 301, False)]
)
def test_an_epoch_is_closed_after_its_deadline(state_: str, burn: int, is_due: bool) -> None:
    found = state(burn, *rules(burn), program(), posted(ROOT, state_))
    assert [intent.key for intent in CloseEpoch(INDEX, KEEPER).check(found)] == (["close-epoch:1:1"] if is_due else [])


@pytest.mark.parametrize(
    ("aside", "ended", "budget", "keys"),
    [
        (5, False, 600, ["draw-program-funds:1"]),
        (0, False, 600, []),
        (5, True, 0, []),
        (0, True, 600, ["return-program-budget:1"]),
        (5, True, 600, ["return-program-budget:1"]),
    ],
)
def test_budgets_are_drawn_while_a_programme_goes_on_and_returned_afterwards(
    aside: int, ended: bool, budget: int, keys: list[str]
) -> None:
    rows = [program(ended=ended, budget=budget), row(ProgramFund, program=1, token=STX, amount=aside)]
    found = state(BURN, *rules(BURN), *rows)
    jobs = (DrawProgramFunds(INDEX, KEEPER), ReturnProgramBudget(INDEX, KEEPER))
    assert [intent.key for job in jobs for intent in job.check(found)] == keys


class PagedLook:
    """A history of vault switches, one event a block of Stacks and of Bitcoin, two blocks a page."""

    def __init__(self, burn: int, *, breaks_after: int = 100) -> None:
        self.burn = burn
        self.asked: list[int] = []
        self._breaks_after = breaks_after

    def state(self) -> Any:
        return state(self.burn)

    async def ask(self, _: str, variables: dict[str, Any]) -> Any:
        if len(self.asked) == self._breaks_after:
            raise TimeoutError
        first = int(variables["after"] or variables["above"]) + 1
        self.asked.append(first)
        heights = [height for height in (first, first + 1) if height <= self.burn]
        more = bool(heights) and heights[-1] < self.burn
        about = {"hasNextPage": more, "endCursor": str(heights[-1]) if heights else None}
        return {"events": {"nodes": [printed(height) for height in heights], "pageInfo": about}}


def printed(height: int) -> dict[str, Any]:
    envelope = {"topic": StringAscii("automatch.set"), "v": UInt(1), "seq": UInt(height)}
    who = principal(KEEPER)
    value = Tuple({**envelope, "actor": who, "caller": who, "provider": who, "on": Bool(True), "before": Bool(False)})
    return {
        "contract": f"{DEPLOYER}.bh-vault",
        "topic": "automatch.set",
        "raw": f"0x{encode(value).hex()}",
        "height": height,
        "block": {"burnHeight": height},
    }


async def test_a_history_is_read_on_where_it_was_broken_off_and_what_is_final_once() -> None:
    events: Any = RewardEvents()
    broken = PagedLook(20, breaks_after=4)
    with pytest.raises(TimeoutError):
        await events.read(broken)
    assert broken.asked == [1, 3, 5, 7]
    again = PagedLook(20)
    assert [burn for burn, _ in await events.read(again)] == list(range(1, 21))
    assert again.asked[0] == 8
    later = PagedLook(23)
    assert [burn for burn, _ in await events.read(later)] == list(range(1, 24))
    assert later.asked[0] == 20 - DEPTH_BURN + 1
