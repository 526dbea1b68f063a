"""The stability pool: as its state says, and replayed by the correct formulas.

Which operation was done follows from the difference of the pool's state: its product changes only by a liquidation.
Where several operations cannot be told apart, the replay ends and says so.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from clarion.protocols.zkusd import pool
from clarion.protocols.zkusd.events import (
    BtcRewardClaimed,
    DepositVanished,
    GainMismatch,
    ImpostorDeposit,
    LiquidationOffset,
    PoolDivergence,
    StabilityDeposit,
    StabilityWithdrawal,
)
from clarion.protocols.zkusd.projections.reading import Made, View
from clarion.protocols.zkusd.shapes import DepositCharm, PoolState
from clarion.protocols.zkusd.tables import PoolSum, SpDeposit, SpOffset, StabilityPool
from clarion.protocols.zkusd.units import Base, Sats

_ROUNDING: Final = 10**6
"""Observed and replayed figures may differ by a part in so many: the formulas of some apps round otherwise."""


@dataclass(slots=True)
class _Change:
    """A deposit that the transaction operates on, or only moves."""

    deposit: SpDeposit
    made: Made | None
    """None: it is gone."""
    initial: Base
    """Its value before, as its charm said; 0 of a new one."""


def follow_pool(view: View) -> None:
    """Carry on the pool and its deposits."""
    step = view.steps["stability_pool"]
    before = step.before if isinstance(step.before, PoolState) else None
    after = step.after if isinstance(step.after, PoolState) else None
    if after is not None and before is None:
        _deploy(view, after)
    changes = _matched(view, operated=before is not None and after is not None)
    row = view.rows.get(StabilityPool, view.app_set.name)
    if row is None or before is None or after is None:
        return
    _observe(view, row, after)
    if _product(before) != _product(after) or before.sum_s != after.sum_s:
        _offset(view, row, before, after, alone=not changes)
    elif changes:
        _operations(view, row, before, after, changes)
    elif (before.total_zkusd, before.total_btc) != (after.total_zkusd, after.total_btc):
        row.replayed = False
    _compare(view, row, after)


def pool_of(row: StabilityPool) -> pool.Pool:
    """The replayed pool, of its row."""
    return pool.Pool(
        row.replayed_total,
        row.replayed_collateral,
        row.replayed_p,
        row.replayed_epoch,
        row.replayed_scale,
    )


def deposit_of(row: SpDeposit) -> pool.Deposit | None:
    """The replayed deposit, of its row; None where it was not replayed."""
    parts = (row.replayed_p, row.replayed_s, row.replayed_epoch, row.replayed_scale)
    if row.replayed_initial is None or None in parts:
        return None
    p, s, epoch, scale = (part or 0 for part in parts)
    return pool.Deposit(row.replayed_initial, p, s, epoch, scale)


def _product(state: PoolState) -> tuple[int, int, int]:
    return state.product_p, state.current_epoch, state.current_scale


def _deploy(view: View, state: PoolState) -> None:
    view.rows.insert(
        StabilityPool,
        app_set=view.app_set.name,
        total=Base(0),
        collateral=Sats(0),
        product_p=0,
        sum_s=0,
        epoch=0,
        scale=0,
        depositor_count=0,
        backing_sats=Sats(0),
        replayed=not state.total_zkusd and not state.total_btc,
        replayed_p=pool.ONE,
    )
    row = view.rows.get(StabilityPool, view.app_set.name)
    assert row is not None
    _observe(view, row, state)


def _observe(view: View, row: StabilityPool, state: PoolState) -> None:
    row.total, row.collateral = state.total_zkusd, state.total_btc
    row.product_p, row.sum_s = state.product_p, state.sum_s
    row.epoch, row.scale = state.current_epoch, state.current_scale
    row.depositor_count = state.depositor_count
    made = next(made for made in view.states if made.charm is view.steps["stability_pool"].after)
    row.backing_sats = Sats(made.output.amount)


# Deposits from coin to coin


def _charm(made: Made) -> DepositCharm:
    assert isinstance(made.charm, DepositCharm)
    return made.charm


def _matched(view: View, *, operated: bool) -> list[_Change]:
    """The genuine deposits that the transaction operates on. Those that only move are carried on here."""
    old: dict[str, list[SpDeposit]] = defaultdict(list)
    for spent in view.of_kind("deposit"):
        deposit = view.rows.get(SpDeposit, view.app_set.name, spent.holding.key)
        if deposit is not None:  # else it is about to be loaded, and all this done again
            old[deposit.owner].append(deposit)
    changes: list[_Change] = []
    for made in sorted(view.deposits, key=lambda made: not _is_among(old[_charm(made).owner], made)):
        charm = _charm(made)
        waiting = old[charm.owner]
        same = next((deposit for deposit in waiting if _same(deposit, charm)), waiting[0] if waiting else None)
        if same is None:
            deposit = _insert(view, made, genuine=operated)
            if operated:
                changes.append(_Change(deposit, made, Base(0)))
            else:
                event = ImpostorDeposit(initial=charm.initial_value, app=made.app.id)
                view.emit(event, account=made.output.script)
            continue
        waiting.remove(same)
        initial, moved_only = same.initial, _same(same, charm)
        _take_charm(view, same, made)
        if moved_only or not same.genuine:
            continue
        if operated:
            changes.append(_Change(same, made, initial))
        else:
            _disown(view, same, made)
    for deposit in (deposit for waiting in old.values() for deposit in waiting):
        initial = deposit.initial
        if _end(view, deposit, operated=operated):
            changes.append(_Change(deposit, None, initial))
    return changes


def _is_among(deposits: list[SpDeposit], made: Made) -> bool:
    return any(_same(deposit, _charm(made)) for deposit in deposits)


def _same(deposit: SpDeposit, charm: DepositCharm) -> bool:
    return (deposit.initial, deposit.snapshot_p, deposit.snapshot_s, deposit.claimed_updated_height) == (
        charm.initial_value,
        charm.snapshot_p,
        charm.snapshot_s,
        charm.last_updated,
    )


def _insert(view: View, made: Made, *, genuine: bool) -> SpDeposit:
    charm, at = _charm(made), view.at
    deposit = view.rows.insert(
        SpDeposit,
        app_set=view.app_set.name,
        genesis=made.outpoint,
        owner=charm.owner,
        script=made.output.script,
        outpoint=made.outpoint,
        live=True,
        genuine=genuine,
        initial=charm.initial_value,
        snapshot_epoch=charm.snapshot_epoch,
        snapshot_scale=charm.snapshot_scale,
        claimed_updated_height=charm.last_updated,
        opened_height=at.height,
        changed_height=at.height,
        changed_tx=at.tx_text,
        version=0,
    )
    _count(view, deposit, 1)
    _take_charm(view, deposit, made)
    return deposit


def _take_charm(view: View, deposit: SpDeposit, made: Made) -> None:
    charm = _charm(made)
    deposit.owner = charm.owner
    deposit.script, deposit.address = made.output.script, made.output.address
    deposit.outpoint = made.outpoint
    deposit.initial = charm.initial_value
    deposit.snapshot_p, deposit.snapshot_s = charm.snapshot_p, charm.snapshot_s
    deposit.snapshot_epoch, deposit.snapshot_scale = charm.snapshot_epoch, charm.snapshot_scale
    deposit.claimed_updated_height = charm.last_updated
    deposit.changed_height, deposit.changed_tx = view.at.height, view.at.tx_text
    deposit.version += 1
    view.hold(made, "deposit", key=deposit.genesis)
    if made.beamed_to is not None:
        _lose(view, deposit, "beamed")


def _disown(view: View, deposit: SpDeposit, made: Made) -> None:
    """A deposit says something else though the pool was no part of it: what it says is worth nothing."""
    _count(view, deposit, -1)
    deposit.genuine = False
    row = view.rows.get(StabilityPool, view.app_set.name)
    if row is not None:
        row.replayed = False
    view.emit(ImpostorDeposit(initial=deposit.initial, app=made.app.id), account=deposit.script)


def _end(view: View, deposit: SpDeposit, *, operated: bool) -> bool:
    """End a deposit whose coin is spent; whether the pool operated on it."""
    deposit.changed_height, deposit.changed_tx = view.at.height, view.at.tx_text
    withdrawn = operated and deposit.genuine and not view.unreadable("stability_pool")
    if withdrawn:
        _count(view, deposit, -1)
        deposit.live, deposit.ended = False, "withdrawn"
    else:
        _lose(view, deposit, view.lost or ("undecodable" if view.unreadable("stability_pool") else "vanished"))
    return withdrawn


def _lose(view: View, deposit: SpDeposit, how: str) -> None:
    _count(view, deposit, -1)
    deposit.live, deposit.ended = False, how
    view.emit(DepositVanished(how=how, initial=deposit.initial), account=deposit.script)


def _count(view: View, deposit: SpDeposit, sign: int) -> None:
    row = view.rows.get(StabilityPool, view.app_set.name)
    if row is not None and deposit.genuine:
        row.deposits += sign


# Operations


def _offset(view: View, row: StabilityPool, before: PoolState, after: PoolState, *, alone: bool) -> None:
    debt: Base | None = None
    collateral: Sats | None = None
    if alone:
        debt = Base(before.total_zkusd - after.total_zkusd)
        collateral = Sats(after.total_btc - before.total_btc)
    view.emit(LiquidationOffset(debt_offset=debt, collateral_gained=collateral, new_pool_total=after.total_zkusd))
    if debt is None or collateral is None:
        row.replayed = False
    elif row.replayed:
        _replay_offset(view, row, debt, collateral)
    row.offsets += 1
    replayed = row.replayed
    view.rows.insert(
        SpOffset,
        app_set=row.app_set,
        number=row.offsets,
        tx_id=view.at.tx_text,
        debt=debt,
        collateral=collateral,
        total=after.total_zkusd,
        product_p=after.product_p,
        sum_s=after.sum_s,
        epoch=after.current_epoch,
        scale=after.current_scale,
        replayed_p=row.replayed_p if replayed else None,
        replayed_s=_sum(view, row.replayed_epoch, row.replayed_scale) if replayed else None,
        replayed_epoch=row.replayed_epoch if replayed else None,
        replayed_scale=row.replayed_scale if replayed else None,
        height=view.at.height,
        time=view.at.time,
    )


def _replay_offset(view: View, row: StabilityPool, debt: Base, collateral: Sats) -> None:
    try:
        done = pool.offset(pool_of(row), debt=debt, collateral=collateral)
    except pool.PoolError:
        row.replayed = False
        return
    grown = view.rows.get(PoolSum, row.app_set, done.epoch, done.scale)
    if grown is None:
        grown = view.rows.insert(PoolSum, app_set=row.app_set, epoch=done.epoch, scale=done.scale)
    grown.total += done.grows_by
    _put(row, done.pool)


def _operations(view: View, row: StabilityPool, before: PoolState, after: PoolState, changes: list[_Change]) -> None:
    """Deposits, withdrawals and claims. One is known by the pool's total, several by what their charms say."""
    total_change = after.total_zkusd - before.total_zkusd
    paid = Sats(before.total_btc - after.total_btc)
    amounts = [total_change] if len(changes) == 1 else _several(view, row, changes, total_change)
    due: Sats | None = Sats(0)
    for change, amount in zip(changes, amounts, strict=True):
        gain = _replay_operation(view, row, change, amount)
        due = None if due is None or gain is None else Sats(due + gain)
        deposit = change.deposit
        left = Base(deposit.initial if change.made else 0)
        if amount > 0:
            view.emit(
                StabilityDeposit(
                    owner=deposit.owner, amount=Base(amount), new_deposit=left, pool_total=after.total_zkusd
                ),
                account=deposit.script,
            )
        elif amount < 0:
            view.emit(
                StabilityWithdrawal(
                    owner=deposit.owner, amount=Base(-amount), remaining=left, pool_total=after.total_zkusd
                ),
                account=deposit.script,
            )
    single = changes[0].deposit if len(changes) == 1 else None
    account = single.script if single else None
    if paid > 0:
        view.emit(BtcRewardClaimed(owner=single.owner if single else None, amount=paid, due=due), account=account)
    if due is not None and abs(paid - due) > len(changes) + max(paid, due) // _ROUNDING:
        view.emit(GainMismatch(amount=paid, due=due), account=account)


def _several(view: View, row: StabilityPool, changes: list[_Change], total_change: int) -> list[int]:
    """By how much each deposit changes; what rounding leaves goes to the last."""
    amounts = []
    for change in changes:
        replayed = deposit_of(change.deposit) if row.replayed else None
        worth = pool.value_of(replayed, pool_of(row)) if replayed else change.initial
        amounts.append((change.deposit.initial if change.made else 0) - worth)
    amounts[-1] += total_change - sum(amounts)
    return amounts


def _replay_operation(view: View, row: StabilityPool, change: _Change, amount: int) -> Sats | None:
    """Replay an operation; the gain that it should pay, or None where there is no replay."""
    deposit = change.deposit
    known = deposit_of(deposit)
    if not row.replayed or (known is None and deposit.version > 1) or row.replayed_total + amount < 0:
        row.replayed = False
        deposit.replayed_initial = None
        return None
    done = pool.operate(pool_of(row), known, lambda epoch, scale: _sum(view, epoch, scale), change=amount)
    # what the pool's state says went in or out did; what a deposit lacks of it is rounding
    _put(row, done.pool)
    row.replayed_total = Base(row.replayed_total + amount - (done.deposit.initial if done.deposit else 0) + done.value)
    left = done.deposit or pool.Deposit(Base(0), row.replayed_p, 0, row.replayed_epoch, row.replayed_scale)
    deposit.replayed_initial = left.initial
    deposit.replayed_p, deposit.replayed_s = left.p, left.s
    deposit.replayed_epoch, deposit.replayed_scale = left.epoch, left.scale
    deposit.replayed_paid = Sats((deposit.replayed_paid or 0) + done.paid)
    return done.paid


def _put(row: StabilityPool, done: pool.Pool) -> None:
    row.replayed_total, row.replayed_collateral = done.total, done.collateral
    row.replayed_p, row.replayed_epoch, row.replayed_scale = done.p, done.epoch, done.scale


def _sum(view: View, epoch: int, scale: int) -> int:
    found = view.rows.get(PoolSum, view.app_set.name, epoch, scale)
    return 0 if found is None else found.total


# Observed against replayed


def _compare(view: View, row: StabilityPool, state: PoolState) -> None:
    if not row.replayed:
        row.diverged = None
        return
    s = _sum(view, row.replayed_epoch, row.replayed_scale)
    if _apart(state.sum_s, s) and not _apart(state.sum_s * pool.ONE, s):
        s //= pool.ONE  # some apps keep it without the factor
    observed = {
        "total": state.total_zkusd,
        "product_p": state.product_p,
        "sum_s": state.sum_s,
        "epoch": state.current_epoch,
        "scale": state.current_scale,
    }
    replayed = {
        "total": row.replayed_total,
        "product_p": row.replayed_p,
        "sum_s": s,
        "epoch": row.replayed_epoch,
        "scale": row.replayed_scale,
    }
    diverged = any(_apart(observed[name], replayed[name]) for name in observed)
    if diverged and not row.diverged:
        view.emit(PoolDivergence(observed={**observed}, replayed={**replayed}))
    row.diverged = diverged


def _apart(one: int, other: int) -> bool:
    return abs(one - other) > max(one, other) // _ROUNDING
