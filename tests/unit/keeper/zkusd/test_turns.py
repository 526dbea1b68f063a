"""Orders that want the same states take turns."""

from __future__ import annotations

from collections.abc import Collection

from clarion_keeper.zkusd.turns import Turns


def round_of(turns: Turns, height: int, *keys: str, declined: Collection[str] = ()) -> list[str]:
    """The orders of a round that are drafted, most urgent first; ``declined`` in vain."""
    turns.new_round()
    for key in keys:
        turns.ask(key)
    found = []
    for key in keys:
        if not turns.why_not(key, height):
            found.append(key)
            turns.drafted(key, proven=key not in declined)
    return found


def test_one_order_is_drafted_to_the_end() -> None:
    assert round_of(Turns(), 1, "a", "b", "c") == ["a"]
    assert round_of(Turns(), 1, "a", "b", "c", declined="a") == ["a", "b"]


def test_what_is_not_signed_keeps_its_turn_for_a_block_and_then_lets_others_go() -> None:
    turns = Turns()
    assert round_of(turns, 1, "a", "b", "c") == ["a"]
    assert round_of(turns, 1, "a", "b", "c") == ["a"]
    assert round_of(turns, 2, "a", "b", "c") == ["b"]
    assert round_of(turns, 3, "a", "b", "c") == ["c"]
    assert round_of(turns, 4, "a", "b", "c") == ["a"], "all had their turn"


def test_alone_it_need_not_wait() -> None:
    turns = Turns()
    assert [round_of(turns, height, "a") for height in range(3)] == [["a"]] * 3


def test_what_is_gone_stands_in_nobodys_way() -> None:
    turns = Turns()
    assert round_of(turns, 1, "a", "b") == ["a"]
    assert round_of(turns, 1, "b") == ["b"]


def test_what_was_signed_is_not_passed_over() -> None:
    turns = Turns()
    assert round_of(turns, 1, "a", "b") == ["a"]
    turns.signed()
    assert round_of(turns, 2, "a", "b") == ["a"]
