"""Reminders of withdrawals, from rows made by hand."""

from __future__ import annotations

from typing import Any

import pytest
from support.bithedge_keeper import COIN, INDEX, PROVIDER, STX, TIER, USD, row, rules, state

from clarion.protocols.bithedge.tables import Parameter, Position, WithdrawRequest
from clarion_keeper.bithedge.reminders import WithdrawalReminder

BURN = 300
JOB = WithdrawalReminder(INDEX)
PLACE = {"provider": PROVIDER, "tier": TIER, "token": STX}
FREE = row(Position, **PLACE, available=50 * COIN, requested=20 * COIN)


def request(unlock: int, state: str = "pending") -> Any:
    return row(WithdrawRequest, id=2, **PLACE, amount=20 * COIN, unlock_burn=unlock, state=state)


def due(*rows: Any, tripped: tuple[str, ...] = ()) -> list[Any]:
    delay = row(Parameter, key="withdrawal-delay", value=144)
    return list(JOB.check(state(BURN, *rules(BURN, tripped=tripped), delay, *rows)))


def test_a_provider_is_reminded_of_what_can_be_taken_out() -> None:
    (intent,) = due(FREE, request(BURN))
    assert intent.key == "withdrawal-reminder:2"
    assert str(20 * COIN) in intent.cause
    assert (JOB.chain, JOB.holds) == ("none", False)


@pytest.mark.parametrize("rows", [[request(BURN + 1)], [request(BURN, "withdrawn")]])
def test_there_is_no_reminder_before_it_can_be_done_or_after(rows: list[Any]) -> None:
    assert due(FREE, *rows) == []


def test_there_is_no_reminder_of_what_would_be_refused() -> None:
    assert due(FREE, request(BURN), tripped=("withdraw",)) == []
    bound = row(Position, **PLACE, available=20 * COIN, requested=20 * COIN, locked=COIN, liability_usd8=10 * USD)
    assert due(bound, request(BURN)) == []
