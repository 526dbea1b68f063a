"""The protocol's figures after a transaction: reported against computed, ratios, recovery mode, and the day's."""

from __future__ import annotations

from typing import Final

from clarion.protocols.zkusd import events as kinds
from clarion.protocols.zkusd import ratios
from clarion.protocols.zkusd.events import RecoveryModeEntered, RecoveryModeExited, TotalsDrift
from clarion.protocols.zkusd.projections import risk
from clarion.protocols.zkusd.projections.reading import View
from clarion.protocols.zkusd.shapes import TokenState, VaultManagerState
from clarion.protocols.zkusd.tables import Day, DayScript, ProtocolState, StabilityPool
from clarion.protocols.zkusd.units import Base, Sats

_DAY_SECONDS: Final = 86_400


def follow_totals(view: View) -> None:
    """Bring the protocol's figures up to date and compare them."""
    protocol = view.protocol
    manager, token = view.steps["vault_manager"], view.steps["token"]
    if isinstance(manager.after, VaultManagerState):
        state = manager.after
        protocol.reported_collateral, protocol.reported_debt = state.total_collateral, state.total_debt
        protocol.reported_vaults = state.active_vault_count
        protocol.base_rate_bps, protocol.paused, protocol.admin = state.base_rate_bps, state.is_paused, state.admin
    elif manager.before is not None:
        protocol.reported_collateral = protocol.reported_debt = protocol.reported_vaults = None
        protocol.base_rate_bps = protocol.paused = protocol.admin = None
    if isinstance(token.after, TokenState):
        protocol.reported_supply = token.after.total_supply
    elif token.before is not None:
        protocol.reported_supply = None
    _drift(view, protocol)
    _ratios(view, protocol)


def _drift(view: View, protocol: ProtocolState) -> None:
    supply = protocol.reported_supply
    protocol.drift_supply = None if supply is None else Base(supply - protocol.token_supply - protocol.beamed_out)
    collateral, debt, vaults = protocol.reported_collateral, protocol.reported_debt, protocol.reported_vaults
    if collateral is None or debt is None or vaults is None:
        protocol.drift_collateral = protocol.drift_debt = protocol.drift_vaults = None
        return
    old = (protocol.drift_collateral or 0, protocol.drift_debt or 0, protocol.drift_vaults or 0)
    new = (
        Sats(collateral - protocol.computed_collateral),
        Base(debt - protocol.computed_debt),
        vaults - protocol.active_vaults,
    )
    protocol.drift_collateral, protocol.drift_debt, protocol.drift_vaults = new
    if new != old and any(new):
        view.emit(TotalsDrift(collateral=new[0], debt=new[1], vaults=new[2]))


def _ratios(view: View, protocol: ProtocolState) -> None:
    price8, rules = protocol.price8, view.rules
    collateral, debt = protocol.reported_collateral, protocol.reported_debt
    was = protocol.recovery_mode
    protocol.tcr_percent = protocol.computed_tcr_bps = None
    protocol.recovery_mode = protocol.computed_recovery_mode = None
    if price8 is not None:
        whole, owed = protocol.entire_collateral, protocol.entire_debt
        protocol.computed_tcr_bps = ratios.ratio_bps(collateral=whole, debt=owed, price8=price8)
        protocol.computed_recovery_mode = ratios.is_below(
            collateral=whole, debt=owed, price8=price8, percent=rules.ccr_percent
        )
        if collateral is not None and debt is not None:
            protocol.tcr_percent = ratios.ratio_percent(collateral=collateral, debt=debt, price8=price8)
            protocol.recovery_mode = ratios.is_below(
                collateral=collateral, debt=debt, price8=price8, percent=rules.ccr_percent
            )
    if protocol.recovery_mode and not was:
        protocol.recovery_since_height = view.at.height
        assert protocol.tcr_percent is not None
        view.emit(RecoveryModeEntered(tcr_percent=protocol.tcr_percent, computed_tcr_bps=protocol.computed_tcr_bps))
    elif was and not protocol.recovery_mode:
        protocol.recovery_since_height = None
        view.emit(RecoveryModeExited(tcr_percent=protocol.tcr_percent, computed_tcr_bps=protocol.computed_tcr_bps))
    threshold = rules.threshold_percent(recovery=bool(protocol.recovery_mode), total_percent=protocol.tcr_percent)
    if price8 != protocol.risk_price8 or (price8 is not None and threshold != protocol.risk_percent):
        risk.judge_all(view, price8, threshold)


def follow_day(view: View) -> None:
    """Add the transaction to its day's figures."""
    number = view.at.time // _DAY_SECONDS
    day = view.rows.get(Day, view.app_set.name, number)
    if day is None:
        day = view.rows.insert(Day, app_set=view.app_set.name, day=number)
    protocol = view.protocol
    pool = view.rows.get(StabilityPool, view.app_set.name)
    day.supply, day.debt, day.collateral = protocol.token_supply, protocol.computed_debt, protocol.computed_collateral
    day.active_vaults, day.price8, day.tcr_bps = protocol.active_vaults, protocol.price8, protocol.computed_tcr_bps
    day.pool_total = pool.total if pool is not None else Base(0)
    day.transactions += 1
    for event in view.emitted:
        day.anomalies += event.anomaly
        _add(day, event)
    made = (*view.states, *view.vaults, *view.deposits, *view.tokens)
    scripts = {spent.coin.script for spent in view.spent} | {one.output.script for one in made}
    for script in sorted(scripts):
        if view.rows.get(DayScript, view.app_set.name, number, script) is None:
            view.rows.insert(DayScript, app_set=view.app_set.name, day=number, script=script)
            day.active_scripts += 1


def _add(day: Day, event: kinds.ZkusdEvent) -> None:
    if isinstance(event, kinds.TokenMint):
        day.minted = Base(day.minted + event.amount)
    elif isinstance(event, kinds.TokenBurn | kinds.CharmBurned):
        day.burned = Base(day.burned + event.amount)
    elif isinstance(event, kinds.TokenTransfer):
        day.transferred = Base(day.transferred + event.amount)
    elif isinstance(event, kinds.VaultOpened):
        day.opened += 1
        day.nominal_fees = Base(day.nominal_fees + event.nominal_fee)
    elif isinstance(event, kinds.DebtMinted):
        day.nominal_fees = Base(day.nominal_fees + event.nominal_fee)
    elif isinstance(event, kinds.VaultClosed):
        day.closed += 1
    elif isinstance(event, kinds.VaultLiquidated):
        day.liquidated += 1
        day.liquidated_debt = Base(day.liquidated_debt + event.debt_absorbed)
    elif isinstance(event, kinds.Redemption):
        day.redeemed = Base(day.redeemed + event.redeemed)
