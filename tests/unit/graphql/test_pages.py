"""Cursors and names, without a database."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion_graphql.entities import Column, Kind, camel, pascal, plural_of
from clarion_graphql.errors import ApiError
from clarion_graphql.pages import decode_cursor, encode_cursor

TERMS = (
    (Column("text", Kind.TEXT, ""), False),
    (Column("height", Kind.INT, ""), True),
    (Column("amount", Kind.BIG_INT, "", nullable=True), False),
    (Column("hash", Kind.BYTES, ""), False),
    (Column("time", Kind.UNIX_TIME, ""), False),
    (Column("on", Kind.BOOLEAN, ""), False),
)


@given(
    st.text(),
    st.integers(-(2**63), 2**63 - 1),
    st.none() | st.integers(0, 2**128 - 1),
    st.binary(),
    st.datetimes(timezones=st.just(UTC)),
    st.booleans(),
)
def test_a_cursor_holds_its_place(
    text: str, height: int, amount: int | None, raw: bytes, time: datetime, on: bool
) -> None:
    row = SimpleNamespace(text=text, height=height, amount=amount, hash=raw, time=time, on=on)

    assert decode_cursor(TERMS, encode_cursor(TERMS, row)) == (text, height, amount, raw, time, on)


@given(st.text())
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ApiError, match="no cursor of this list"):
        decode_cursor(TERMS, text)


@pytest.mark.parametrize(
    ("place", "value"),
    [(0, 5), (1, "5"), (1, 2**63), (1, True), (2, "5"), (3, "zz"), (3, 1), (4, "yesterday"), (4, 5), (5, 1), (0, None)],
)
def test_a_cursor_with_a_value_of_another_type_is_refused(place: int, value: Any) -> None:
    now = datetime.now(UTC)
    good = encode_cursor(TERMS, SimpleNamespace(text="", height=1, amount=None, hash=b"", time=now, on=True))
    values = msgspec.json.decode(base64.urlsafe_b64decode(good + "=="))
    values[place + 1] = value
    forged = base64.urlsafe_b64encode(msgspec.json.encode(values)).decode()

    with pytest.raises(ApiError, match="no cursor of this list"):
        decode_cursor(TERMS, forged)


def test_names() -> None:
    assert camel("expiry_burn") == "expiryBurn"
    assert pascal("policy_totals") == "PolicyTotals"
    assert [plural_of(name) for name in ("policy", "price", "match", "key", "asset", "class")] == [
        "policies",
        "prices",
        "matches",
        "keys",
        "assets",
        "classes",
    ]
