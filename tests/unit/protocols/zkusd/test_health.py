"""How well a set of apps stands: only of what is known, and never better for something that is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from clarion.protocols.zkusd.health import HealthLevel, Vitals, assess
from clarion.protocols.zkusd.units import Base, Bps, Sats

GOOD = Vitals(
    tcr_bps=Bps(25_000),
    least_icr_bps=Bps(18_000),
    vaults=10,
    risky_vaults=0,
    liquidatable_vaults=0,
    recent_liquidations=0,
    recovery_mode=False,
    paused=False,
    price_age_seconds=600,
    price_stale=False,
    price_step_bps=Bps(0),
    max_price_age_seconds=3_600,
    max_price_step_bps=Bps(500),
    ccr_bps=Bps(15_000),
    pool_total=Base(500),
    pool_diverged=False,
    debt=Base(500),
    drift_collateral=Sats(0),
    drift_debt=Base(0),
    drift_supply=Base(0),
    unbacked=Sats(0),
)


def test_nothing_is_wrong() -> None:
    found = assess(GOOD)
    assert (found.score, found.level, found.alerts) == (100, HealthLevel.HEALTHY, ())
    assert [component.score for component in found.components] == [100] * 4


def test_what_is_not_known_does_not_count() -> None:
    unknown = {"tcr_bps", "least_icr_bps", "risky_vaults", "liquidatable_vaults", "price_age_seconds"}
    unknown |= {"price_stale", "price_step_bps", "pool_total"}
    found = assess(replace(GOOD, **dict.fromkeys(unknown)))
    assert (found.score, found.level) == (None, None)
    assert assess(replace(GOOD, pool_total=None)).score == 100


@pytest.mark.parametrize(
    ("changed", "name", "score"),
    [
        ({"tcr_bps": Bps(10_000)}, "total_ratio", 50),
        ({"least_icr_bps": Bps(7_500)}, "least_ratio", 50),
        ({"risky_vaults": 1}, "risky_vaults", 80),
        ({"risky_vaults": 5}, "risky_vaults", 0),
        ({"price_age_seconds": 1_800}, "freshness", 100),
        ({"price_age_seconds": 2_700}, "freshness", 50),
        ({"price_age_seconds": 9_999}, "freshness", 0),
        ({"price_stale": True}, "freshness", 0),
        ({"price_step_bps": Bps(-250)}, "step", 50),
        ({"pool_total": Base(125)}, "coverage", 25),
        ({"liquidatable_vaults": 1}, "backlog", 30),
        ({"liquidatable_vaults": 1, "recent_liquidations": 2}, "backlog", 70),
    ],
)
def test_factors(changed: dict[str, Any], name: str, score: int) -> None:
    found = assess(replace(GOOD, **changed))
    factors = {factor.name: factor.score for component in found.components for factor in component.factors}
    assert factors[name] == score


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"recovery_mode": True}, "RecoveryMode"),
        ({"tcr_bps": Bps(14_999)}, "LowCollateralization"),
        ({"least_icr_bps": Bps(11_499)}, "DangerousVault"),
        ({"price_stale": True}, "StalePrice"),
        ({"price_step_bps": Bps(-501)}, "PriceStep"),
        ({"paused": True}, "Paused"),
        ({"drift_debt": Base(-1)}, "TotalsDrift"),
        ({"drift_supply": Base(1)}, "SupplyMismatch"),
        ({"unbacked": Sats(1)}, "UnbackedCollateral"),
        ({"pool_diverged": True}, "PoolDiverged"),
        ({"forked": ("oracle",)}, "StateForked"),
        ({"ended": ("token",)}, "StateEnded"),
    ],
)
def test_alerts(changed: dict[str, Any], kind: str) -> None:
    found = assess(replace(GOOD, **changed))
    (alert,) = found.alerts
    assert alert.kind == kind
    assert alert.detail.endswith(".")
    assert found.score is not None
    assert found.score <= 100 - {"critical": 15, "warning": 5}[alert.severity]


@given(st.data())
def test_the_score_is_of_a_hundred(data: st.DataObject) -> None:
    number = st.none() | st.integers(-(10**20), 10**20)
    count = st.integers(0, 1_000)
    vitals = replace(
        GOOD,
        tcr_bps=data.draw(st.none() | st.integers(0, 10**20)),
        least_icr_bps=data.draw(st.none() | st.integers(0, 10**20)),
        vaults=data.draw(count),
        risky_vaults=data.draw(st.none() | count),
        liquidatable_vaults=data.draw(st.none() | count),
        price_age_seconds=data.draw(st.none() | st.integers(-100, 10**9)),
        price_step_bps=data.draw(number),
        pool_total=data.draw(st.none() | st.integers(0, 10**20)),
        debt=data.draw(st.integers(0, 10**20)),
        drift_debt=data.draw(number),
    )
    found = assess(vitals)
    assert found.score is None or 0 <= found.score <= 100
    assert all(component.score is None or 0 <= component.score <= 100 for component in found.components)
