"""The hour's budget, over restarts, several agents and clocks that are wrong."""

from __future__ import annotations

import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion_keeper.signers.ledger import HOUR_SECONDS, Ledger, LedgerError, OverBudgetError


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_budget_is_used_up_and_comes_back_after_an_hour(tmp_path: Path, clock: Clock) -> None:
    ledger = Ledger(tmp_path / "a.sqlite", clock)
    ledger.reserve("nonce 1", 60, 100)
    clock.now += 1_800
    ledger.reserve("nonce 2", 40, 100)
    with pytest.raises(OverBudgetError) as caught:
        ledger.reserve("nonce 3", 1, 100)
    assert (caught.value.spent, caught.value.free_at) == (100, int(clock.now) + 1_800)
    assert ledger.spent() == 100
    clock.now += 1_800
    assert ledger.spent() == 40
    ledger.reserve("nonce 3", 60, 100)
    ledger.close()


def test_of_one_slot_the_dearest_counts(tmp_path: Path, clock: Clock) -> None:
    ledger = Ledger(tmp_path / "a.sqlite", clock)
    for fee in (50, 50, 80, 30):
        ledger.reserve("nonce 1", fee, 80)
    assert ledger.spent() == 80
    with pytest.raises(OverBudgetError):
        ledger.reserve("nonce 1", 81, 80)
    ledger.close()


def test_a_restart_forgets_nothing(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "sub" / "a.sqlite"
    first = Ledger(path, clock)
    first.reserve("nonce 1", 100, 100)
    first.close()
    second = Ledger(path, clock)
    with pytest.raises(OverBudgetError):
        second.reserve("nonce 2", 1, 100)
    second.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_two_agents_share_one_budget(tmp_path: Path, clock: Clock) -> None:
    one, other = Ledger(tmp_path / "a.sqlite", clock), Ledger(tmp_path / "a.sqlite", clock)
    one.reserve("nonce 1", 60, 100)
    with pytest.raises(OverBudgetError):
        other.reserve("nonce 2", 60, 100)
    one.close()
    other.close()


def test_a_clock_that_was_ahead_does_not_hold_the_budget_for_long(tmp_path: Path, clock: Clock) -> None:
    ledger = Ledger(tmp_path / "a.sqlite", clock)
    clock.now += 10**9
    ledger.reserve("nonce 1", 100, 100)
    clock.now -= 10**9
    with pytest.raises(OverBudgetError) as caught:
        ledger.reserve("nonce 2", 1, 100)
    assert caught.value.free_at == clock.now + HOUR_SECONDS
    with pytest.raises(OverBudgetError):  # what was refused was not counted, but what was ahead was
        ledger.reserve("nonce 2", 1, 100)
    clock.now += HOUR_SECONDS
    ledger.reserve("nonce 2", 100, 100)
    ledger.close()


def test_a_file_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(LedgerError, match=r"a\.sqlite"):
        Ledger(tmp_path / "a.sqlite")
    with pytest.raises(LedgerError):
        Ledger(tmp_path)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 50), st.integers(0, 2_000)), max_size=30),
    st.integers(0, 150),
)
def test_no_hour_ever_takes_more_than_the_budget(
    open_folder: Path, moves: list[tuple[int, int, int]], budget: int
) -> None:
    clock = Clock()
    with tempfile.TemporaryDirectory(dir=open_folder) as folder:
        check_hours(Ledger(Path(folder) / "a.sqlite", clock), clock, moves, budget)


def check_hours(ledger: Ledger, clock: Clock, moves: list[tuple[int, int, int]], budget: int) -> None:
    signed: list[tuple[float, int, int]] = []
    for slot, amount, seconds in moves:
        clock.now += seconds
        try:
            ledger.reserve(f"nonce {slot}", amount, budget)
        except OverBudgetError:
            continue
        signed.append((clock.now, slot, amount))
        within = [one for one in signed if one[0] > clock.now - HOUR_SECONDS]
        dearest = {slot: max(one[2] for one in within if one[1] == slot) for _, slot, _ in within}
        assert sum(dearest.values()) <= budget
    ledger.close()
