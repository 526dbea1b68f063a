"""Amounts come out of Postgres' `numeric` as the integers they are."""

from decimal import Decimal

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.types.numeric import DecimalBinaryDumper

from clarion.store.database import NumericAsInt, NumericAsIntBinary

NUMERIC_OID = 1700
amounts = st.integers(min_value=-(2**256), max_value=2**256) | st.integers(min_value=-99_999, max_value=99_999)


@given(amounts)
def test_text_format(amount: int) -> None:
    assert NumericAsInt(NUMERIC_OID).load(str(amount).encode()) == amount


@given(amounts)
def test_binary_format(amount: int) -> None:
    sent = DecimalBinaryDumper(Decimal).dump(Decimal(amount))
    assert sent is not None
    assert NumericAsIntBinary(NUMERIC_OID).load(sent) == amount


@given(st.integers(min_value=1, max_value=10**8), st.integers(min_value=0, max_value=60))
def test_binary_format_leaves_zeros_at_the_end_out(amount: int, zeros: int) -> None:
    exact = amount * 10**zeros
    sent = DecimalBinaryDumper(Decimal).dump(Decimal(exact))
    assert sent is not None
    assert NumericAsIntBinary(NUMERIC_OID).load(sent) == exact


@pytest.mark.parametrize("value", ["1.5", "0.0", "-3.10", "NaN", "Infinity", "-Infinity"])
def test_what_is_not_a_whole_number_is_refused(value: str) -> None:
    with pytest.raises(psycopg.DataError, match="not a whole number"):
        NumericAsInt(NUMERIC_OID).load(value.encode())
    sent = DecimalBinaryDumper(Decimal).dump(Decimal(value))
    assert sent is not None
    with pytest.raises(psycopg.DataError, match="not a whole number"):
        NumericAsIntBinary(NUMERIC_OID).load(sent)
