"""The apps' states: each is where the coin is that descends from its first; others are impostors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from clarion.protocols.zkusd.app_sets import ROLES, Role
from clarion.protocols.zkusd.events import (
    AdminChanged,
    AppDeployed,
    BaseRateChanged,
    ImpostorState,
    MinterSet,
    OracleActiveChanged,
    OracleOperatorChanged,
    ProtocolPaused,
    ProtocolTotalsChanged,
    ProtocolUnpaused,
    StateForked,
    StateMoved,
    StateVanished,
)
from clarion.protocols.zkusd.projections.reading import Made, Step, View
from clarion.protocols.zkusd.shapes import OracleState, PoolState, State, TokenState, VaultManagerState
from clarion.protocols.zkusd.tables import Contract, ContractState
from clarion.protocols.zkusd.tables import ImpostorState as ImpostorStateRow
from clarion.protocols.zkusd.units import Base, Sats

_STATES: Final[Mapping[Role, type[State]]] = {
    "oracle": OracleState,
    "token": TokenState,
    "vault_manager": VaultManagerState,
    "stability_pool": PoolState,
}


def follow_states(view: View) -> None:
    """Carry every app's state on, and note in ``view.steps`` what it was and is."""
    for spent in view.of_kind("impostor"):
        impostor = view.rows.get(ImpostorStateRow, view.app_set.name, spent.coin.outpoint, spent.holding.key)
        if impostor is not None:  # else it is about to be loaded, and all this done again
            impostor.spent_by = view.at.tx_text
    for role in ROLES:
        made = [state for state in view.states if state.role == role]
        contract = view.rows.get(Contract, view.app_set.name, role)
        view.steps[role] = Step()
        if contract is None:
            first = _first_state(view, role, made)
            if first is not None:
                _deploy(view, first)
            _impostors(view, role, [state for state in made if state is not first])
        elif any(spent.holding.role == role for spent in view.of_kind("state")):
            _carry_on(view, contract, made)
        else:
            _impostors(view, role, made)


def _first_state(view: View, role: Role, made: Sequence[Made]) -> Made | None:
    app = view.app_set.app(role)
    if app.genesis is not None:
        return next((state for state in made if state.outpoint == app.genesis), None)
    if all(hashlib.sha256(name.encode()).hexdigest() != app.identity for name in view.transaction.event.inputs):
        return None
    return next((state for state in made if state.app.identity == app.identity), None)


def _deploy(view: View, made: Made) -> None:
    app = view.app_set.app(made.role)
    at, output = view.at, made.output
    contract = view.rows.insert(
        Contract,
        app_set=view.app_set.name,
        role=made.role,
        identity=app.identity,
        vk=app.vk,
        tag=made.app.tag,
        genesis=made.outpoint,
        outpoint=made.outpoint,
        live=True,
        utxo_sats=Sats(output.amount),
        script=output.script,
        address=output.address,
        state=msgspec.to_builtins(made.charm),
        version=0,
        deployed_height=at.height,
        height=at.height,
        time=at.time,
        tx_id=at.tx_text,
    )
    view.emit(AppDeployed(role=made.role, outpoint=made.outpoint), account=output.script)
    _put(view, contract, made)
    _compare(view, made.role, None, _state_of(made))


def _carry_on(view: View, contract: Contract, made: Sequence[Made]) -> None:
    role: Role = contract.role  # type: ignore[assignment]
    before = msgspec.convert(contract.state, _STATES[role])
    contract.spent_by = view.at.tx_text
    identity = view.app_set.app(role).identity
    heirs = sorted(made, key=lambda s: (s.app.tag != contract.tag, s.app.identity != identity, s.index))
    if not heirs:
        how = view.lost or ("undecodable" if view.unreadable(role) else "vanished")
        contract.live, contract.ended = False, how
        view.steps[role] = Step(before, None)
        view.emit(StateVanished(role=role, how=how), account=contract.script)
        return
    heir = heirs[0]
    if heir.output.script != contract.script:
        view.emit(StateMoved(role=role), account=contract.script, counterparty=heir.output.script)
    _put(view, contract, heir)
    if heir.beamed_to is not None:
        contract.live, contract.ended = False, "beamed"
        view.emit(StateVanished(role=role, how="beamed"), account=contract.script)
    view.steps[role].before = before
    _compare(view, role, before, _state_of(heir))
    for fork in heirs[1:]:
        contract.forks += 1
        _keep_impostor(view, fork, "fork")
        view.emit(StateForked(role=role, outpoint=fork.outpoint, app=fork.app.id), account=fork.output.script)


def _put(view: View, contract: Contract, made: Made) -> None:
    """Make this the app's state."""
    at, output = view.at, made.output
    contract.version += 1
    contract.outpoint = made.outpoint
    contract.live, contract.spent_by = True, None
    contract.utxo_sats = Sats(output.amount)
    contract.script, contract.address = output.script, output.address
    contract.state = msgspec.to_builtins(made.charm)
    contract.height, contract.time, contract.tx_id = at.height, at.time, at.tx_text
    view.rows.insert(
        ContractState,
        app_set=contract.app_set,
        role=contract.role,
        version=contract.version,
        outpoint=made.outpoint,
        utxo_sats=Sats(output.amount),
        script=output.script,
        address=output.address,
        state=msgspec.to_builtins(made.charm),
        height=at.height,
        time=at.time,
        tx_id=at.tx_text,
    )
    view.hold(made, "state")
    view.steps[made.role] = Step(None, _state_of(made))


def _impostors(view: View, role: Role, made: Sequence[Made]) -> None:
    """Keep states of other descent. Only the first of a line is an event."""
    known = any(spent.holding.role == role for spent in view.of_kind("impostor"))
    contract = view.rows.get(Contract, view.app_set.name, role)
    for state in made:
        _keep_impostor(view, state, "descent")
        if contract is not None:
            contract.impostors += 1
        if not known:
            view.emit(ImpostorState(role=role, outpoint=state.outpoint, app=state.app.id), account=state.output.script)


def _keep_impostor(view: View, made: Made, reason: str) -> None:
    view.rows.insert(
        ImpostorStateRow,
        app_set=view.app_set.name,
        outpoint=made.outpoint,
        app=made.app.id,
        role=made.role,
        reason=reason,
        state=msgspec.to_builtins(made.charm),
        script=made.output.script,
        address=made.output.address,
        height=view.at.height,
        tx_id=view.at.tx_text,
    )
    view.hold(made, "impostor", key=made.app.id)


def _state_of(made: Made) -> State:
    state = made.charm
    assert isinstance(state, VaultManagerState | TokenState | OracleState | PoolState)
    return state


def _compare(view: View, role: Role, before: State | None, after: State) -> None:
    """Make events of what changed in a state, but for prices and the pool."""
    if before is not None and before.admin != after.admin:
        view.emit(AdminChanged(role=role, old=before.admin, new=after.admin))
    if isinstance(after, VaultManagerState):
        _compare_totals(view, before if isinstance(before, VaultManagerState) else None, after)
    elif isinstance(after, TokenState):
        old = before.authorized_minter if isinstance(before, TokenState) else "00" * 32
        if old != after.authorized_minter:
            view.emit(MinterSet(old=old, new=after.authorized_minter))
    elif isinstance(after, OracleState) and isinstance(before, OracleState):
        if before.operator != after.operator:
            view.emit(OracleOperatorChanged(old=before.operator, new=after.operator))
        if before.is_active != after.is_active:
            view.emit(OracleActiveChanged(active=after.is_active))


def _compare_totals(view: View, before: VaultManagerState | None, after: VaultManagerState) -> None:
    if before is not None and before.is_paused != after.is_paused:
        view.emit(ProtocolPaused() if after.is_paused else ProtocolUnpaused())
    if before is not None and before.base_rate_bps != after.base_rate_bps:
        view.emit(BaseRateChanged(old_bps=before.base_rate_bps, new_bps=after.base_rate_bps))
    if after.min_debt is not None:
        view.set_row.min_debt = after.min_debt
    if after.liquidation_reserve is not None:
        view.set_row.liquidation_reserve = after.liquidation_reserve
    old = (before.total_collateral, before.total_debt, before.active_vault_count) if before else (0, 0, 0)
    new = (after.total_collateral, after.total_debt, after.active_vault_count)
    if new != old:
        view.emit(
            ProtocolTotalsChanged(
                collateral=after.total_collateral,
                debt=after.total_debt,
                vaults=after.active_vault_count,
                collateral_change=Sats(new[0] - old[0]),
                debt_change=Base(new[1] - old[1]),
                vaults_change=new[2] - old[2],
            )
        )
