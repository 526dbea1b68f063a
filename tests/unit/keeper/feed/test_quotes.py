"""Decimals are read exactly, and only decimals."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion_keeper.feed.quotes import AnswerError, Currency, Pair, decode, member, price, scaled, whole


@given(st.integers(0, 10**20), st.integers(0, 40))
def test_a_number_is_scaled_exactly_and_rounded_half_to_even(digits: int, places: int) -> None:
    text = f"{digits // 10**places}.{digits % 10**places:0{places}d}" if places else str(digits)
    assert scaled(text) == round(Fraction(digits, 10**places) * 10**8)


@given(st.integers(0, 10**18), st.integers(0, 18))
def test_a_number_in_json_is_read_as_its_digits(digits: int, places: int) -> None:
    text = f"{Decimal(digits).scaleb(-places):f}"
    assert scaled(decode(text.encode())) == round(Fraction(text) * 10**8)


@pytest.mark.parametrize(
    ("text", "e8"),
    [
        ("61234.5", 6_123_450_000_000),
        ("0.000000005", 0),
        ("0.000000015", 2),
        ("1e-7", 10),
        ("6.1E+4", 6_100_000_000_000),
        ("5.", 500_000_000),
    ],
)
def test_forms_of_numbers(text: str, e8: int) -> None:
    assert scaled(text) == e8


@pytest.mark.parametrize(
    "value",
    [
        "",
        "-1",
        "+1",
        " 1",
        "1 ",
        "1,000",
        "NaN",
        "Infinity",
        "0x10",
        "1e999",
        "\uff11",
        "1_0",
        "9" * 90,
        None,
        True,
        [],
        1.5,
    ],
)
def test_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(AnswerError, match="number"):
        scaled(value)


@pytest.mark.parametrize("value", ["0", "0.000000001", "10000000000.00000001"])
def test_a_price_is_above_zero_and_fits_the_contract(value: str) -> None:
    with pytest.raises(AnswerError, match="no price"):
        price(value)
    assert price("10000000000") == 10**18


@pytest.mark.parametrize("body", [b"", b"<html>", b"[" * 60_000, b"NaN", b"\xff", b"{", b"1e999999999999999999999"])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(AnswerError):
        scaled(decode(body))


@pytest.mark.parametrize("value", ["-1", "1.0", "", 1 << 63, -1, True, None, "9" * 30])
def test_whole_numbers_are_bounded(value: object) -> None:
    with pytest.raises(AnswerError, match="whole number"):
        whole(value)
    assert (whole("15"), whole(15)) == (15, 15)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(AnswerError, match=r"no result\.list\.0: "):
        member({"result": {"list": []}}, "result", "list", 0, "lastPrice")


@pytest.mark.parametrize("text", ["BTC", "BTC/EUR", "btc/USD", "BTC/USD ", "/USD", "BTC-USD"])
def test_pairs_are_quoted_in_dollars_or_their_tokens(text: str) -> None:
    with pytest.raises(ValueError, match="is no pair such as"):
        Pair.parse(text)
    assert str(Pair("STX", Currency.USDC)) == "STX/USDC"
