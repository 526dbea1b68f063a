"""Amounts in whole units, without a database."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion_graphql.decimals import MAX_PLACES, Scale, decimal_text


@given(st.integers(-(2**256), 2**256), st.integers(0, MAX_PLACES))
def test_nothing_is_lost_and_nothing_is_too_much(amount: int, places: int) -> None:
    text = decimal_text(amount, places)

    assert Fraction(text) * 10**places == amount
    assert "." not in text or not text.endswith(("0", "."))
    assert text.removeprefix("-")[0].isdigit()


@pytest.mark.parametrize(
    ("amount", "places", "text"),
    [(0, 6, "0"), (1, 6, "0.000001"), (-1_500_000, 6, "-1.5"), (2_000_000, 6, "2"), (7, 0, "7"), (105, 2, "1.05")],
)
def test_as_one_writes_them(amount: int, places: int, text: str) -> None:
    assert decimal_text(amount, places) == text


def test_names_take_the_place_of_what_says_the_unit() -> None:
    assert Scale(8, "US dollars", "_usd", ending="_usd8").name_of("strike_usd8") == "strike_usd"
    assert Scale(6, "STX", "_stx").name_of("fee") == "fee_stx"
