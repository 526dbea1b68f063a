"""How well a set of apps stands: a score out of what is known, and what is wrong, on plain values.

A component that nothing is known of does not count. Weights and limits are those of the protocol's own monitoring plan
(zkUSD, ``src/monitoring``), without its factors that are constants; levels too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Final

import msgspec

from clarion.protocols.zkusd.events import Severity
from clarion.protocols.zkusd.units import BPS, Base, Bps, Sats

_FULL: Final = 100
_GOOD_TCR_BPS: Final = 20_000
_GOOD_LEAST_BPS: Final = 15_000
_DANGEROUS_LEAST_BPS: Final = 11_500
_PENALTIES: Final[dict[Severity, tuple[int, int]]] = {"critical": (15, 30), "warning": (5, 15)}
"""By severity: what an alert takes off the score, and what all of them do at most."""


class HealthLevel(StrEnum):
    """What a score means."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    WARNING = "warning"
    CRITICAL = "critical"
    EMERGENCY = "emergency"


_LEVELS: Final = (
    (90, HealthLevel.HEALTHY),
    (70, HealthLevel.DEGRADED),
    (50, HealthLevel.WARNING),
    (25, HealthLevel.CRITICAL),
    (0, HealthLevel.EMERGENCY),
)


class Vitals(msgspec.Struct, frozen=True, kw_only=True):
    """What health is told from. None: not known."""

    tcr_bps: Bps | None
    least_icr_bps: Bps | None
    """Of the riskiest active vault; None without one that has debt."""
    vaults: int
    """Active ones."""
    risky_vaults: int | None
    """Below the ratio that recovery mode asks for."""
    liquidatable_vaults: int | None
    recent_liquidations: int
    """Within the last day."""
    recovery_mode: bool | None
    paused: bool | None
    price_age_seconds: int | None
    price_stale: bool | None
    price_step_bps: Bps | None
    """Last change of the price."""
    max_price_age_seconds: int
    max_price_step_bps: Bps
    ccr_bps: Bps
    pool_total: Base | None
    pool_diverged: bool | None
    debt: Base
    """Of active vaults."""
    drift_collateral: Sats | None
    drift_debt: Base | None
    drift_supply: Base | None
    unbacked: Sats
    """Collateral of active vaults that is not on their coins."""
    forked: tuple[str, ...] = ()
    """Apps whose state has forked."""
    ended: tuple[str, ...] = ()
    """Apps whose state is gone."""


class Factor(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a component."""

    name: str
    weight: int
    score: int | None
    """0 to 100; None: not known."""


class Component(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the score."""

    name: str
    weight: int
    score: int | None
    """0 to 100, of the factors that are known."""
    factors: tuple[Factor, ...]


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is wrong now."""

    kind: str
    severity: Severity
    detail: str


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """How well a set of apps stands."""

    score: int | None
    """0 to 100, less what alerts take off; None: nothing is known."""
    level: HealthLevel | None
    components: tuple[Component, ...]
    alerts: tuple[Alert, ...]
    """The most severe first."""


def assess(vitals: Vitals) -> Health:
    """The score, what it is made of, and what is wrong."""
    components = tuple(_components(vitals))
    alerts = tuple(sorted(_alerts(vitals), key=lambda alert: alert.severity != "critical"))
    score = _weighted((component.weight, component.score) for component in components)
    if score is None:
        return Health(score=None, level=None, components=components, alerts=alerts)
    for severity, (each, most) in _PENALTIES.items():
        score -= min(most, each * sum(alert.severity == severity for alert in alerts))
    score = max(score, 0)
    level = next(level for least, level in _LEVELS if score >= least)
    return Health(score=score, level=level, components=components, alerts=alerts)


def _weighted(parts: Iterable[tuple[int, int | None]]) -> int | None:
    known = [(weight, score) for weight, score in parts if score is not None]
    total = sum(weight for weight, _ in known)
    return sum(weight * score for weight, score in known) // total if total else None


def _component(name: str, weight: int, *factors: Factor) -> Component:
    score = _weighted((factor.weight, factor.score) for factor in factors)
    return Component(name=name, weight=weight, score=score, factors=factors)


def _up_to(value: int | None, good: int) -> int | None:
    """100 from ``good`` on, in proportion below."""
    return None if value is None else max(0, min(_FULL, value * _FULL // good))


def _down_to(value: int | None, bad: int) -> int | None:
    """0 from ``bad`` on, in proportion below."""
    return None if value is None else max(0, _FULL - value * _FULL // bad)


def _components(vitals: Vitals) -> Iterator[Component]:
    risky = None
    if vitals.vaults and vitals.risky_vaults is not None:
        risky = _down_to(vitals.risky_vaults * BPS // vitals.vaults, BPS // 2)
    yield _component(
        "collateralization",
        30,
        Factor(name="total_ratio", weight=50, score=_up_to(vitals.tcr_bps, _GOOD_TCR_BPS)),
        Factor(name="risky_vaults", weight=30, score=risky),
        Factor(name="least_ratio", weight=20, score=_up_to(vitals.least_icr_bps, _GOOD_LEAST_BPS)),
    )
    yield _component(
        "oracle",
        25,
        Factor(name="freshness", weight=40, score=_freshness(vitals)),
        Factor(
            name="step",
            weight=25,
            score=_down_to(
                None if vitals.price_step_bps is None else abs(vitals.price_step_bps), vitals.max_price_step_bps
            ),
        ),
    )
    coverage = None
    if vitals.debt and vitals.pool_total is not None:
        coverage = _up_to(vitals.pool_total, vitals.debt)
    yield _component("stability_pool", 15, Factor(name="coverage", weight=70, score=coverage))
    yield _component("liquidation", 15, Factor(name="backlog", weight=60, score=_backlog(vitals)))


def _freshness(vitals: Vitals) -> int | None:
    """100 until half of the greatest age, then in proportion down to 0 at all of it; 0 for a stale price."""
    if vitals.price_stale:
        return 0
    if vitals.price_age_seconds is None:
        return None
    half = max(vitals.max_price_age_seconds // 2, 1)
    return _down_to(max(vitals.price_age_seconds - half, 0), half)


def _backlog(vitals: Vitals) -> int | None:
    """100 without vaults to liquidate; with some 70 where liquidations are made, 30 where none are."""
    if vitals.liquidatable_vaults is None:
        return None
    if not vitals.liquidatable_vaults:
        return _FULL
    return 70 if vitals.recent_liquidations else 30


def _alerts(vitals: Vitals) -> Iterator[Alert]:
    def alert(kind: str, severity: Severity, detail: str) -> Alert:
        return Alert(kind=kind, severity=severity, detail=detail)

    if vitals.recovery_mode:
        yield alert("RecoveryMode", "critical", "Recovery mode holds.")
    if vitals.tcr_bps is not None and vitals.tcr_bps < vitals.ccr_bps:
        yield alert("LowCollateralization", "warning", f"The total ratio is {vitals.tcr_bps} bps.")
    if vitals.least_icr_bps is not None and vitals.least_icr_bps < _DANGEROUS_LEAST_BPS:
        yield alert("DangerousVault", "critical", f"A vault's ratio is {vitals.least_icr_bps} bps.")
    if vitals.price_stale:
        yield alert("StalePrice", "critical", "The oracle's price is too old to rely on, or says no true block.")
    if vitals.price_step_bps is not None and abs(vitals.price_step_bps) > vitals.max_price_step_bps:
        yield alert("PriceStep", "warning", f"The last price changed by {vitals.price_step_bps} bps at once.")
    if vitals.paused:
        yield alert("Paused", "warning", "The vault manager says that it is paused.")
    if vitals.drift_collateral or vitals.drift_debt:
        yield alert(
            "TotalsDrift",
            "warning",
            f"The vault manager's totals are off by {vitals.drift_collateral} satoshis and {vitals.drift_debt} base "
            "units from what its vaults come to.",
        )
    if vitals.drift_supply:
        yield alert("SupplyMismatch", "critical", f"The reported supply is off by {vitals.drift_supply} base units.")
    if vitals.unbacked > 0:
        yield alert(
            "UnbackedCollateral",
            "critical",
            f"Of the vaults' collateral {vitals.unbacked} satoshis are not on their coins.",
        )
    if vitals.pool_diverged:
        yield alert("PoolDiverged", "critical", "The stability pool says other than the correct formulas.")
    for role in vitals.forked:
        yield alert("StateForked", "critical", f"The state of the {role} has forked.")
    for role in vitals.ended:
        yield alert("StateEnded", "critical", f"The {role} has no state any more.")
