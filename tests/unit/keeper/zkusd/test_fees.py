"""What a spell's transaction pays for its size."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion.config import Keeper
from clarion_keeper.charms.nodes import Rates
from clarion_keeper.charms.sizes import FeeRate
from clarion_keeper.zkusd.fees import FeeCapError, first_rate, next_rate

CAP = 50_000


def keeper(**settings: Any) -> Keeper:
    return Keeper(bitcoin={"fee_rate_first": 4_000, "fee_rate_cap": CAP}, fee_estimate_percent=110, **settings)


def rates(estimate: int | None = 10_000, *, least: int = 1_000) -> Rates:
    return Rates(
        estimate=None if estimate is None else FeeRate(estimate), least=FeeRate(least), incremental=FeeRate(1_000)
    )


@pytest.mark.parametrize(
    ("policy", "said", "left", "expected"),
    [
        ("fixed", rates(), None, 4_000),
        ("fixed", rates(least=6_000), None, 6_000),
        ("estimate", rates(), 1, 11_000),
        ("estimate", rates(None), None, 4_000),
        ("estimate", rates(90_000), None, CAP),
        ("escalating", rates(), None, 11_000),
        ("escalating", rates(), 6, 11_000),
        ("escalating", rates(), 3, 11_000 + 39_000 * 9 // 36),
        ("escalating", rates(), 0, CAP),
        ("escalating", rates(), -5, CAP),
    ],
)
def test_the_first_rate(policy: str, said: Rates, left: int | None, expected: int) -> None:
    assert first_rate(keeper(fee_policy=policy), said, blocks_left=left) == expected


def test_nothing_is_sent_where_nodes_ask_for_more_than_the_cap() -> None:
    with pytest.raises(FeeCapError, match="fee_rate_cap"):
        first_rate(keeper(), rates(least=CAP + 1), blocks_left=None)


@given(
    estimate=st.none() | st.integers(1, 10**6),
    paid=st.integers(1, CAP),
    least=st.integers(1, CAP),
    left=st.none() | st.integers(-3, 20),
)
def test_a_replacement_pays_a_quarter_more_as_far_as_the_cap_allows(
    estimate: int | None, paid: int, least: int, left: int | None
) -> None:
    found = next_rate(keeper(), rates(estimate, least=least), paid=FeeRate(paid), blocks_left=left)
    assert found == CAP or found * 100 >= paid * 125
    assert least <= found <= CAP
