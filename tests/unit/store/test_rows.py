"""The identity map: what handlers read and write, and the changes that come of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from sqlalchemy import Float, Integer, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from clarion.store.rows import UINT128, Change, Key, Row, Rows, RowSchemaError, RowType


class Holding(Row, table=True):
    __tablename__ = "holding"
    __table_args__ = {"schema": "rows_test"}
    owner: str = Field(primary_key=True, sa_type=Text)
    token: str = Field(primary_key=True, sa_type=Text)
    amount: int = Field(default=0, sa_type=UINT128)
    tags: list[Any] = Field(default_factory=list, sa_type=JSONB)


class WithFloat(Row, table=True):
    __tablename__ = "with_float"
    __table_args__ = {"schema": "rows_test"}
    id: str = Field(primary_key=True, sa_type=Text)
    ratio: float = Field(sa_type=Float)


class WithInteger(Row, table=True):
    __tablename__ = "with_integer"
    __table_args__ = {"schema": "rows_test"}
    id: int = Field(primary_key=True, sa_type=Integer)


class Loads:
    """A database of rows by key that counts what is asked of it."""

    def __init__(self, rows: dict[Key, Sequence[Any]] | None = None) -> None:
        self.rows = rows or {}
        self.asked: list[Key] = []

    def __call__(self, row_type: RowType, key: Key) -> Sequence[Any] | None:
        self.asked.append(key)
        return self.rows.get(key)


TYPE = RowType(Holding)


def stored(owner: str, amount: int, *, height: int = 1) -> Sequence[Any]:
    values = {"updated_height": height, "owner": owner, "token": "STX", "amount": amount, "tags": []}
    return [values[name] for name in TYPE.columns]


@pytest.fixture
def loads() -> Loads:
    return Loads({("alice", "STX"): stored("alice", 5)})


@pytest.fixture
def rows(loads: Loads) -> Rows:
    return Rows([TYPE], loads)


def image(owner: str, amount: int, height: int, tags: list[Any] | None = None) -> dict[str, Any]:
    return {"updated_height": height, "owner": owner, "token": "STX", "amount": amount, "tags": tags or []}


def test_a_row_is_loaded_once_and_is_the_same_object_everywhere(rows: Rows, loads: Loads) -> None:
    first = rows.get(Holding, "alice", "STX")
    assert first is not None
    first.amount += 2
    assert rows.get(Holding, "alice", "STX") is first
    assert rows.get(Holding, "bob", "STX") is None
    assert rows.get(Holding, "bob", "STX") is None
    assert loads.asked == [("alice", "STX"), ("bob", "STX")]


def test_changes_are_whole_rows_before_and_after_in_order_of_table_and_key(rows: Rows) -> None:
    rows.insert(Holding, owner="bob", token="STX", amount=9)
    alice = rows.get(Holding, "alice", "STX")
    assert alice is not None
    alice.amount = 7
    assert rows.end_block(12) == [
        Change("rows_test.holding", ("alice", "STX"), "update", image("alice", 5, 1), image("alice", 7, 12)),
        Change("rows_test.holding", ("bob", "STX"), "insert", None, image("bob", 9, 12)),
    ]
    assert rows.end_block(13) == []


def test_reading_or_setting_the_same_value_changes_nothing(rows: Rows) -> None:
    alice = rows.get(Holding, "alice", "STX")
    assert alice is not None
    alice.amount = 5
    assert rows.end_block(12) == []


def test_several_writes_in_a_block_are_one_change(rows: Rows) -> None:
    alice = rows.get(Holding, "alice", "STX")
    assert alice is not None
    alice.amount = 6
    rows.delete(Holding, "alice", "STX")
    rows.insert(Holding, owner="alice", token="STX", amount=8)
    (change,) = rows.end_block(2)
    assert (change.op, change.before, change.after) == ("update", image("alice", 5, 1), image("alice", 8, 2))


def test_what_is_made_and_removed_within_a_block_never_was(rows: Rows) -> None:
    rows.insert(Holding, owner="bob", token="STX", amount=1)
    rows.delete(Holding, "bob", "STX")
    rows.delete(Holding, "nobody", "STX")
    assert rows.end_block(2) == []


def test_json_changed_in_place_is_seen(rows: Rows) -> None:
    alice = rows.get(Holding, "alice", "STX")
    assert alice is not None
    alice.tags.append({"kind": "whale"})
    (change,) = rows.end_block(4)
    assert change.before == image("alice", 5, 1)
    assert change.after == image("alice", 5, 4, [{"kind": "whale"}])


def test_a_default_list_is_not_shared_between_rows(rows: Rows) -> None:
    one = rows.insert(Holding, owner="one", token="STX")
    two = rows.insert(Holding, owner="two", token="STX")
    one.tags.append("mine")
    assert two.tags == []


def test_clearing_forgets_what_was_not_written(rows: Rows, loads: Loads) -> None:
    alice = rows.get(Holding, "alice", "STX")
    assert alice is not None
    alice.amount = 100
    rows.clear()
    again = rows.get(Holding, "alice", "STX")
    assert again is not None
    assert again.amount == 5
    assert rows.end_block(2) == []


def test_the_cache_is_dropped_when_it_is_over_its_size(loads: Loads) -> None:
    rows = Rows([TYPE], loads, cache_size=1)
    rows.get(Holding, "alice", "STX")
    rows.get(Holding, "bob", "STX")
    rows.end_block(1)
    rows.trim()
    rows.get(Holding, "alice", "STX")
    assert loads.asked.count(("alice", "STX")) == 2


def test_mistakes_of_a_handler_are_told(rows: Rows) -> None:
    with pytest.raises(ValueError, match="exists already"):
        rows.insert(Holding, owner="alice", token="STX")
    with pytest.raises(TypeError, match="needs token"):
        rows.insert(Holding, owner="carol")
    with pytest.raises(TypeError, match="colour"):
        rows.insert(Holding, owner="carol", token="STX", colour="red")
    with pytest.raises(TypeError, match=r"keyed by \('owner', 'token'\)"):
        rows.get(Holding, "alice")
    with pytest.raises(TypeError, match="no protocol"):
        rows.get(WithFloat, "x")
    alice = rows.get(Holding, "alice", "STX")
    assert alice is not None
    alice.owner = "mallory"
    with pytest.raises(ValueError, match="changed the primary key"):
        rows.end_block(2)


@pytest.mark.parametrize("table", [WithFloat, WithInteger])
def test_a_table_that_could_not_be_rebuilt_bit_for_bit_is_refused(table: type[Row]) -> None:
    with pytest.raises(RowSchemaError, match="UINT128"):
        RowType(table)


def test_of_a_table_known_to_be_empty_nothing_is_asked_until_rows_are_dropped(loads: Loads) -> None:
    rows = Rows([TYPE], loads, cache_size=2)
    rows.clear(empty=["rows_test.holding"])
    rows.begin_batch()
    for height, owner in enumerate(("bob", "carol", "dave")):
        assert rows.get(Holding, owner, "STX") is None
        rows.insert(Holding, owner=owner, token="STX")
        rows.end_block(height)
    assert not rows.guessed
    rows.end_batch()
    assert rows.get(Holding, "erin", "STX") is None
    rows.end_block(4)
    assert loads.asked == []
    rows.trim()
    assert rows.get(Holding, "bob", "STX") is None
    assert loads.asked == [("bob", "STX")]
    rows.clear()
    assert rows.get(Holding, "alice", "STX") is not None


def test_a_row_changed_again_in_a_batch_has_the_image_before_it(rows: Rows) -> None:
    rows.begin_batch()
    rows.insert(Holding, owner="bob", token="STX", amount=9, tags=["a"])
    rows.end_block(1)
    again = rows.get(Holding, "bob", "STX")
    assert again is not None
    again.tags.append("b")
    (second,) = rows.end_block(2)
    rows.end_batch()
    rows.begin_batch()
    rows.delete(Holding, "bob", "STX")
    (third,) = rows.end_block(3)
    assert second == Change(
        "rows_test.holding", ("bob", "STX"), "update", image("bob", 9, 1, ["a"]), image("bob", 9, 2, ["a", "b"])
    )
    assert third == Change("rows_test.holding", ("bob", "STX"), "delete", image("bob", 9, 2, ["a", "b"]), None)
    for change in (second, third):
        assert change.key_json == b'["bob","STX"]'
        assert change.before_json == msgspec.json.encode(change.before, order="sorted")


def test_rows_that_were_foreseen_are_loaded_together_and_not_guessed(rows: Rows) -> None:
    asked: list[Sequence[Key]] = []

    def load_many(keys: Mapping[RowType, Sequence[Key]]) -> Mapping[RowType, Sequence[tuple[Key, Sequence[Any]]]]:
        asked.extend(keys.values())
        return {TYPE: [(("alice", "STX"), stored("alice", 5))]}

    alice, bob = ("alice", "STX"), ("bob", "STX")
    for _ in range(2):
        rows.prefetch([(Holding, alice), (Holding, bob), (Holding, alice)], load_many)
    rows.begin_batch()
    found = rows.get(Holding, *alice)
    assert found is not None
    assert found.amount == 5
    assert rows.get(Holding, *bob) is None
    assert not rows.guessed
    assert asked == [[alice, bob]]


def test_of_a_table_whose_rows_are_all_cached_nothing_is_fetched(rows: Rows) -> None:
    rows.clear(empty=["rows_test.holding"])
    assert rows.complete
    rows.prefetch([(Holding, ("alice", "STX"))], lambda _: pytest.fail("asked for rows that are known"))
