"""Parameters in Postgres' text format."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from clarion_graphql.plan.connections import parameter


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        ("é'\\", "é'\\".encode()),
        (True, b"t"),
        (False, b"f"),
        (-(2**100), b"-1267650600228229401496703205376"),
        (b"\x00\xff", b"\\x00ff"),
        (datetime(2026, 1, 1, tzinfo=UTC), b"2026-01-01T00:00:00+00:00"),
        ([], b"{}"),
        (['a"b', "c\\d", "NULL", "", None], b'{"a\\"b","c\\\\d","NULL","",NULL}'),
        ([1, 2], b'{"1","2"}'),
        ([b"\x01"], b'{"\\\\x01"}'),
    ],
)
def test_parameters(value: Any, text: bytes | None) -> None:
    assert parameter(value) == text


def test_what_has_no_text_is_refused() -> None:
    with pytest.raises(TypeError, match="float"):
        parameter(1.5)
