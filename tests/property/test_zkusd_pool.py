"""The stability pool's replay against a simulation that keeps every depositor's value and gain as exact fractions."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from clarion.protocols.zkusd import pool
from clarion.protocols.zkusd.units import Base, Sats

PEOPLE = 4

# what is put in, what part is taken out or wiped out (in 10^-18), collateral, and who
AMOUNTS = st.integers(1, 10**6) | st.integers(10**8, 10**13) | st.sampled_from([10**18, 3 * 10**17])
PARTS = st.integers(0, 10**18) | st.sampled_from([10**18, 10**18 - 1, 10**18 - 10**9, 10**18 - 10**12, 1])
WHO = st.integers(0, PEOPLE - 1)
OPERATIONS = st.lists(
    st.tuples(st.just("put"), WHO, AMOUNTS)
    | st.tuples(st.just("take"), WHO, PARTS)
    | st.tuples(st.just("claim"), WHO, st.just(0))
    | st.tuples(st.just("offset"), st.integers(0, 10**10), PARTS),
    min_size=2,
    max_size=25,
)


@dataclass
class Naive:
    """What everybody has, touched one by one at every liquidation, and how far rounding may put a replay off."""

    values: dict[int, Fraction] = field(default_factory=lambda: defaultdict(Fraction))
    gains: dict[int, Fraction] = field(default_factory=lambda: defaultdict(Fraction))
    value_error: dict[int, Fraction] = field(default_factory=lambda: defaultdict(Fraction))
    gain_error: dict[int, Fraction] = field(default_factory=lambda: defaultdict(Fraction))

    def offset(self, total: int, debt: int, collateral: int, initial: Mapping[int, int]) -> None:
        """``total`` is what the replay has in the pool: with what rounding left of those who took all.

        ``initial``: deposits as they were made. Of one of which less than 10^-9 is left the replay may see nothing,
        and nothing of what it gains.
        """
        dust = total - sum(self.values.values())
        for who, value in self.values.items():
            share = value / total
            self.gains[who] += collateral * share
            off = self.value_error[who] + 3 * value / pool.SCALE
            unseen = value if value - off <= Fraction(initial.get(who, 0), pool.SCALE) else 0
            self.gain_error[who] += collateral * (off + abs(dust) * share + unseen) / total + 1
            kept = 1 - Fraction(debt, total)
            self.values[who] = value * kept
            self.value_error[who] = off * kept + Fraction(3 * total, pool.ONE) + 3 * value * kept / pool.SCALE + 1

    def forget(self, who: int) -> None:
        """What rounding left of a deposit is nobody's."""
        self.values[who] = self.value_error[who] = Fraction(0)


class Pool:
    """The replay, with its sums and deposits."""

    def __init__(self) -> None:
        self.pool = pool.Pool()
        self.sums: dict[tuple[int, int], int] = defaultdict(int)
        self.deposits: dict[int, pool.Deposit] = {}
        self.paid: dict[int, int] = defaultdict(int)

    def sum_of(self, epoch: int, scale: int) -> int:
        return self.sums[epoch, scale]

    def operate(self, who: int, change: int) -> None:
        done = pool.operate(self.pool, self.deposits.pop(who, None), self.sum_of, change=change)
        self.pool = done.pool
        self.paid[who] += done.paid
        if done.deposit is not None:
            self.deposits[who] = done.deposit

    def offset(self, debt: int, collateral: int) -> None:
        done = pool.offset(self.pool, debt=Base(debt), collateral=Sats(collateral))
        self.pool = done.pool
        self.sums[done.epoch, done.scale] += done.grows_by

    def value(self, who: int) -> int:
        return pool.value_of(self.deposits[who], self.pool) if who in self.deposits else 0

    def gain(self, who: int) -> int:
        pending = pool.gain_of(self.deposits[who], self.sum_of) if who in self.deposits else 0
        return self.paid[who] + pending


def run(operations: list[tuple[str, int, int]]) -> None:
    """Check that the replay stays by the simulation, and never owes more than there is."""
    replay, naive = Pool(), Naive()
    collateral_in = 0
    for kind, who, number in operations:
        if kind == "offset":
            debt = replay.pool.total * number // pool.ONE
            if not debt:
                continue
            event("wiped out" if debt == replay.pool.total else "offset")
            scale = replay.pool.scale
            initial = {person: deposit.initial for person, deposit in replay.deposits.items()}
            naive.offset(replay.pool.total, debt, who, initial)
            replay.offset(debt, who)
            collateral_in += who
            if replay.pool.scale > scale:
                event(f"scale up by {replay.pool.scale - scale}")
        else:
            change = number if kind == "put" else -(replay.value(who) * number // pool.ONE)
            lost = who in replay.deposits and not replay.value(who)
            everything = -change == replay.value(who) > 0
            replay.operate(who, change)
            if lost or everything:
                event("everything taken" if everything else "nothing left")
                naive.forget(who)
            naive.values[who] += max(change, 0) if lost or everything else change

        values = [replay.value(who) for who in range(PEOPLE)]
        assert sum(values) <= replay.pool.total
        assert sum(replay.gain(who) for who in range(PEOPLE)) <= collateral_in
        assert pool.SCALE <= replay.pool.p <= pool.ONE
        assert replay.pool.collateral >= 0
        for person in range(PEOPLE):
            begun = replay.deposits[person].initial if person in replay.deposits else 0
            allowed = naive.value_error[person] + 2 * Fraction(begun, pool.SCALE) + 2
            assert abs(values[person] - naive.values[person]) <= allowed
            assert abs(replay.gain(person) - naive.gains[person]) <= naive.gain_error[person] + len(operations)


#: Two scales on 300 units are left of a deposit of 3 * 10^17: they count as nothing, and gain nothing.
NOTHING_LEFT = [
    ("put", 0, 10**8),
    ("offset", 0, 10**18 - 1),
    ("put", 0, 3 * 10**17),
    ("offset", 0, 10**18 - 10**12),
    ("offset", 1, 10**18 - 10**9),
    ("offset", 10, 10**18),
]


@settings(max_examples=6 * settings().max_examples)
@example(NOTHING_LEFT)
@given(OPERATIONS)
def test_replay_is_what_a_simulation_of_every_depositor_gives(operations: list[tuple[str, int, int]]) -> None:
    run(operations)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=10_000)
@given(OPERATIONS)
def test_replay_in_thousands_of_random_runs(operations: list[tuple[str, int, int]]) -> None:
    run(operations)


def test_two_depositors_two_offsets() -> None:
    """A 1000, absorb 500 for 600k sats, B 500, absorb 500 for 600k: A is due 900k, B 300k, each keeps 250."""
    replay = Pool()
    replay.operate(0, 1000 * 10**8)
    replay.offset(500 * 10**8, 600_000)
    replay.operate(1, 500 * 10**8)
    replay.offset(500 * 10**8, 600_000)
    assert (replay.gain(0), replay.gain(1)) == (900_000, 300_000)
    assert (replay.value(0), replay.value(1)) == (250 * 10**8, 250 * 10**8)
    assert replay.pool.total == 500 * 10**8


def test_emptying_the_pool_begins_an_epoch_and_pays_its_gains() -> None:
    replay = Pool()
    replay.operate(0, 700)
    replay.operate(1, 300)
    replay.offset(1000, 50_000)
    assert (replay.pool.epoch, replay.pool.p, replay.pool.total) == (1, pool.ONE, 0)
    assert (replay.value(0), replay.gain(0), replay.gain(1)) == (0, 35_000, 15_000)
    replay.operate(2, 500)
    replay.offset(250, 1000)
    assert (replay.gain(2), replay.value(2), replay.gain(0)) == (1000, 250, 35_000)
    replay.operate(0, 500)
    assert replay.paid[0] == 35_000


def test_a_top_up_keeps_the_principal() -> None:
    replay = Pool()
    replay.operate(0, 1000 * 10**8)
    replay.operate(0, 500 * 10**8)
    assert replay.value(0) == 1500 * 10**8


@pytest.mark.parametrize("debt", [0, -1, 101])
def test_what_the_pool_does_not_have_it_cannot_take(debt: int) -> None:
    replay = Pool()
    replay.operate(0, 100)
    with pytest.raises(pool.PoolError, match="the pool holds 100"):
        replay.offset(debt, 5)
