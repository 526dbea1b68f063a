"""No nonce is used twice, none is skipped, and none is one that nodes refuse."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clarion_keeper.stacks.nonces import MAX_CHAINED, free_nonces


def test_nonces_follow_each_other() -> None:
    assert free_nonces(7, ())[:3] == (7, 8, 9)
    assert free_nonces(7, {7, 8})[:2] == (9, 10)


def test_a_gap_is_filled_before_anything_else() -> None:
    assert free_nonces(7, {8, 9, 11})[:3] == (7, 10, 12)


def test_what_is_mined_already_is_not_given_again() -> None:
    assert free_nonces(12, {7, 8, 12})[:2] == (13, 14)


def test_nodes_chain_only_so_many() -> None:
    assert len(free_nonces(0, ())) == MAX_CHAINED
    assert free_nonces(3, set(range(3, 3 + MAX_CHAINED))) == ()


@given(st.integers(0, 10**9), st.sets(st.integers(0, 60)), st.data())
def test_an_account_that_takes_what_it_is_given_uses_every_nonce_once(
    confirmed: int, offsets: set[int], data: st.DataObject
) -> None:
    taken = {confirmed + offset for offset in offsets}
    used: list[int] = []
    for _ in range(40):
        if data.draw(st.booleans()):
            while confirmed in taken:
                confirmed += 1
        free = free_nonces(confirmed, taken)
        assert list(free) == sorted(set(free))
        assert all(confirmed <= nonce < confirmed + MAX_CHAINED and nonce not in taken for nonce in free)
        if not free:
            assert set(range(confirmed, confirmed + MAX_CHAINED)) <= taken
            continue
        gap = min(set(range(confirmed, confirmed + MAX_CHAINED)) - taken)
        assert free[0] == gap
        taken.add(free[0])
        used.append(free[0])
    assert len(used) == len(set(used))
