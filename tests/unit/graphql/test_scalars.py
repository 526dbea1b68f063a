"""Scalars: what is accepted, what is sent."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from graphql import GraphQLError, parse_value
from hypothesis import given
from hypothesis import strategies as st

from clarion_graphql.errors import InputError
from clarion_graphql.scalars import SCALARS, BigInt, Bytes, exact_json, hex_text, parse_big_int, parse_bytes


@given(st.integers(-(2**130), 2**130))
def test_big_int_is_exact(value: int) -> None:
    assert parse_big_int(str(value)) == value
    assert parse_big_int(value) == value


@pytest.mark.parametrize("value", ["", "1.0", "1e3", " 1", "0x1", "1_000", "٣", 1.0, True, None, [], "9" * 79])
def test_big_int_takes_nothing_else(value: Any) -> None:
    with pytest.raises(InputError, match="BigInt"):
        parse_big_int(value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("9" * 400, f"at most 78, not '{'9' * 79}…."),
        (True, "not true."),
        (None, "not null."),
        (1.5, "not 1.5."),
    ],
)
def test_what_is_no_integer_is_repeated_as_far_as_it_helps(value: Any, words: str) -> None:
    with pytest.raises(InputError) as raised:
        parse_big_int(value)

    assert raised.value.message.endswith(words)


@given(st.binary())
def test_bytes_are_exact(value: bytes) -> None:
    assert parse_bytes(hex_text(value)) == value


@pytest.mark.parametrize("value", ["", "00", "0x0", "0xgg", "0x0 0", 5, None])
def test_bytes_take_nothing_else(value: Any) -> None:
    with pytest.raises(InputError, match="hexadecimal"):
        parse_bytes(value)


@pytest.mark.parametrize(
    ("scalar", "literal"), [(BigInt, "1.5"), (Bytes, '"abc"'), (datetime, '"yesterday"'), (datetime, "5")]
)
def test_a_literal_that_does_not_fit_is_pointed_at(scalar: Any, literal: str) -> None:
    node = parse_value(literal)
    read = SCALARS[scalar].parse_literal
    assert read is not None

    with pytest.raises(GraphQLError) as raised:
        read(node, None)

    assert raised.value.nodes == [node]


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
