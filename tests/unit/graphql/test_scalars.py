"""Scalars: what is accepted, what is sent."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion_graphql.errors import InputError
from clarion_graphql.scalars import exact_json, hex_text, parse_big_int, parse_bytes


@given(st.integers(-(2**130), 2**130))
def test_big_int_is_exact(value: int) -> None:
    assert parse_big_int(str(value)) == value
    assert parse_big_int(value) == value


@pytest.mark.parametrize("value", ["", "1.0", "1e3", " 1", "0x1", "1_000", "٣", 1.0, True, None, [], "9" * 79])
def test_big_int_takes_nothing_else(value: Any) -> None:
    with pytest.raises(InputError, match="BigInt"):
        parse_big_int(value)


@given(st.binary())
def test_bytes_are_exact(value: bytes) -> None:
    assert parse_bytes(hex_text(value)) == value


@pytest.mark.parametrize("value", ["", "00", "0x0", "0xgg", "0x0 0", 5, None])
def test_bytes_take_nothing_else(value: Any) -> None:
    with pytest.raises(InputError, match="hexadecimal"):
        parse_bytes(value)


def test_json_keeps_every_digit() -> None:
    value = {"amt": 2**127, "on": True, "none": None, "list": [1, "x", {"deep": -3}]}

    assert exact_json(value) == {
        "amt": "170141183460469231731687303715884105728",
        "on": True,
        "none": None,
        "list": ["1", "x", {"deep": "-3"}],
    }


def test_json_has_no_floats() -> None:
    with pytest.raises(TypeError, match="float"):
        exact_json({"price": 1.5})
