"""bh-params: parameters, switches, metrics, tiers, tokens and fee shares."""

from __future__ import annotations

from clarion.protocol import EventContext
from clarion.protocols.bithedge.events import (
    BreakerReset,
    BreakerTripped,
    FeesSet,
    FlagSet,
    MetricReported,
    MetricSet,
    ParamSet,
    TierSet,
    TokenSet,
)
from clarion.protocols.bithedge.protocol import on, tx_text
from clarion.protocols.bithedge.tables import FeeShares, Metric, Parameter, ParameterChange, Switch, Tier, Token
from clarion.store.rows import Rows


@on(ParamSet)
def param_set(event: ParamSet, at: EventContext, rows: Rows) -> None:
    """A parameter has a value; every setting is kept."""
    parameter = rows.get(Parameter, event.key)
    if parameter is None:
        rows.insert(Parameter, key=event.key, kind=event.kind, value=event.value, min=event.min, max=event.max)
    else:
        parameter.kind = event.kind
        parameter.value = event.value
        parameter.min = event.min
        parameter.max = event.max
    rows.delete(ParameterChange, event.seq)
    rows.insert(
        ParameterChange,
        seq=event.seq,
        key=event.key,
        before=event.before,
        value=event.value,
        proposal=event.proposal,
        height=at.height,
        burn_height=at.burn_height,
        time=at.time,
        tx_id=tx_text(at),
    )


@on(FlagSet)
def flag_set(event: FlagSet, at: EventContext, rows: Rows) -> None:
    """Governance's half of a switch."""
    switch = _switch(event.name, rows)
    switch.flag = event.on
    _derive_open(switch)


@on(BreakerTripped)
def breaker_tripped(event: BreakerTripped, at: EventContext, rows: Rows) -> None:
    """The guardian, or a metric above its limit, stopped a switch."""
    switch = _switch(event.name, rows)
    switch.tripped = True
    switch.reason = event.reason
    switch.since_burn = event.since_burn
    _derive_open(switch)


@on(BreakerReset)
def breaker_reset(event: BreakerReset, at: EventContext, rows: Rows) -> None:
    """The guardian's half of a switch no longer stops it."""
    switch = _switch(event.name, rows)
    switch.tripped = False
    switch.reason = None
    switch.since_burn = event.since_burn
    _derive_open(switch)


@on(MetricSet)
def metric_set(event: MetricSet, at: EventContext, rows: Rows) -> None:
    """A figure has this limit."""
    _metric(event, rows)


@on(MetricReported)
def metric_reported(event: MetricReported, at: EventContext, rows: Rows) -> None:
    """A module said where a figure stands."""
    _metric(event, rows).reported_height = at.height


@on(TierSet)
def tier_set(event: TierSet, at: EventContext, rows: Rows) -> None:
    """A tier has these rules."""
    rows.delete(Tier, event.name)
    rows.insert(
        Tier,
        name=event.name,
        rank=event.rank,
        strike_min_bp=event.strike_min_bp,
        strike_max_bp=event.strike_max_bp,
        max_duration_burn=event.max_duration_burn,
        premium_mult_bp=event.premium_mult_bp,
        ratio_min_bp=event.ratio_min_bp,
        ratio_warn_bp=event.ratio_warn_bp,
        max_policy_bp=event.max_policy_bp,
        max_expiry_bp=event.max_expiry_bp,
        active=event.active,
    )


@on(TokenSet)
def token_set(event: TokenSet, at: EventContext, rows: Rows) -> None:
    """A token counts as collateral in this way."""
    rows.delete(Token, event.token)
    rows.insert(
        Token,
        token=event.token,
        asset=event.asset,
        asset_name=event.asset_name,
        native=event.native,
        decimals=event.decimals,
        haircut_bp=event.haircut_bp,
        cap=event.cap,
        active=event.active,
    )


@on(FeesSet)
def fees_set(event: FeesSet, at: EventContext, rows: Rows) -> None:
    """Premiums are shared in this way."""
    rows.delete(FeeShares, at.contract)
    rows.insert(
        FeeShares,
        contract=at.contract,
        provider_bp=event.provider_bp,
        platform_bp=event.platform_bp,
        reserve_bp=event.reserve_bp,
    )


def _metric(event: MetricSet | MetricReported, rows: Rows) -> Metric:
    metric = rows.get(Metric, event.name)
    if metric is None:
        return rows.insert(
            Metric,
            name=event.name,
            module=event.module,
            value=event.value,
            limit=event.limit,
            breaker=event.breaker,
        )
    metric.module = event.module
    metric.value = event.value
    metric.limit = event.limit
    metric.breaker = event.breaker
    return metric


def _switch(name: str, rows: Rows) -> Switch:
    return rows.get(Switch, name) or rows.insert(Switch, name=name)


def _derive_open(switch: Switch) -> None:
    if switch.flag is False or switch.tripped is True:
        switch.is_open = False
    elif switch.flag is None or switch.tripped is None:
        switch.is_open = None
    else:
        switch.is_open = True
