"""Charms over made-up chains: whatever is spent and made, what the tables say adds up."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.charms_world import Rows, chains, make_chain

from clarion.protocols.charms.moves import Holder, Part, continued, token_moves

HOLDERS = [None, *(Holder(script, None) for script in "abc")]
amounts = st.integers(0, 100)
spent_parts = st.lists(st.builds(Part, st.sampled_from(HOLDERS[1:]), amounts), max_size=6)
made_parts = st.lists(st.builds(Part, st.sampled_from(HOLDERS), amounts), max_size=6)

#: Where others use the machine everything takes long.
PATIENT = settings(suppress_health_check=[HealthCheck.too_slow])


@given(chains)
@PATIENT
def test_balances_supply_and_transfers_tell_the_same_story(happenings: list[list[dict[str, object]]]) -> None:
    blocks = make_chain(happenings)
    Rows(blocks).assert_consistent(blocks)


@given(spent_parts, made_parts)
@PATIENT
def test_moves_of_a_token_account_for_everything(spent: Sequence[Part], made: Sequence[Part]) -> None:
    moves = token_moves(spent, made)
    assert all(move.amount > 0 for move in moves)
    assert all(move.sender is None or move.sender != move.recipient for move in moves)
    for holder in HOLDERS[1:]:
        more = sum(part.amount for part in made if part.holder == holder)
        less = sum(part.amount for part in spent if part.holder == holder)
        came = sum(move.amount for move in moves if move.recipient == holder)
        went = sum(move.amount for move in moves if move.sender == holder)
        assert came - went == more - less
        assert not (came and went)
    assert sum(move.amount for move in moves if move.beamed) == sum(part.amount for part in made if part.holder is None)
    created = sum(move.amount for move in moves if move.sender is None)
    burned = sum(move.amount for move in moves if move.recipient is None and not move.beamed)
    total = sum(part.amount for part in made) - sum(part.amount for part in spent)
    assert (created, burned) == (max(total, 0), max(-total, 0))


states = st.lists(st.sampled_from([None, 1, "a", {"x": 1, "y": 2}, {"y": 2, "x": 1}, [1]]), max_size=6)


@given(states, states)
@PATIENT
def test_every_charm_continues_at_most_one(spent: list[object], made: list[object]) -> None:
    steps = continued(
        [(data, place) for place, data in enumerate(spent)], [(data, place) for place, data in enumerate(made)]
    )
    assert [step.made for step in steps if step.made is not None] == list(range(len(made)))
    assert sorted(step.spent for step in steps if step.spent is not None) == list(range(len(spent)))
    assert sum(step.spent is not None and step.made is not None for step in steps) == min(len(spent), len(made))
    same = sum(
        spent[step.spent] == made[step.made] for step in steps if step.spent is not None and step.made is not None
    )
    assert same >= max((min(spent.count(data), made.count(data)) for data in made), default=0)
