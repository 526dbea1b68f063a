"""Vaults: carried on from coin to coin, and what happened to them told from the difference."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from clarion.protocols.zkusd import ratios
from clarion.protocols.zkusd.events import (
    CollateralAdded,
    CollateralWithdrawn,
    DebtMinted,
    DebtRepaid,
    DuplicateVaultId,
    EmptyRedemption,
    HealthyVaultLiquidated,
    ImpostorVault,
    InsurancePurchased,
    InsuranceTriggered,
    StateForked,
    UnbackedCollateral,
    VaultClosed,
    VaultLiquidated,
    VaultOpened,
    VaultOwnerChanged,
    VaultRescued,
    VaultRestated,
    VaultTransferred,
    VaultVanished,
    ZkusdEvent,
)
from clarion.protocols.zkusd.events import Redemption as Redeemed
from clarion.protocols.zkusd.projections import risk
from clarion.protocols.zkusd.projections.prices import used_price8
from clarion.protocols.zkusd.projections.reading import Made, View, is_tagged
from clarion.protocols.zkusd.shapes import ZERO, PoolState, TokenState, VaultCharm, VaultManagerState
from clarion.protocols.zkusd.tables import Liquidation, RedeemedVault, Redemption, Vault, VaultName, VaultVersion
from clarion.protocols.zkusd.units import SATS_PER_BITCOIN, Base, Bps, Percent, Price8, Sats

_OPEN: Final = ("Active", "Liquidating")
"""Statuses of vaults that count."""


@dataclass(slots=True)
class _Taken:
    """What the transaction takes of vaults by redemption."""

    by_vault: dict[str, tuple[Base, Sats]] = field(default_factory=dict)


def follow_vaults(view: View) -> None:
    """Carry on every vault that the transaction spends or makes."""
    gone, kept, opened, forked = _matched(view)
    terms = _terms(view)
    taken = _Taken()
    liquidated = _liquidations(view, gone, kept)
    for vault, made in kept:
        _change(view, vault, made, taken, terms, liquidated)
    for vault in gone:
        _end(view, vault, taken, terms, liquidated)
    for made in opened:
        _open(view, made, alone=len(opened) == 1)
    for made in forked:
        _fork(view, made)
    if taken.by_vault:
        _record_redemption(view, taken)
    elif view.operations.get("vault_manager") == "redeem" and view.flow.burned:
        view.emit(EmptyRedemption(burned=view.flow.burned))


def _matched(view: View) -> tuple[list[Vault], list[tuple[Vault, Made]], list[Made], list[Made]]:
    """Vaults that end, go on (with what they become), begin, and come twice of one."""
    old: dict[str, list[Vault]] = defaultdict(list)
    for spent in view.of_kind("vault"):
        vault = view.rows.get(Vault, view.app_set.name, spent.holding.key)
        if vault is not None:  # else it is about to be loaded, and all this done again
            old[vault.vault_id].append(vault)
    spent_ids = set(old)
    kept: list[tuple[Vault, Made]] = []
    opened: list[Made] = []
    forked: list[Made] = []
    waiting: list[Made] = []
    # what says the same goes on as it is, before anything is taken for a change
    for made in view.vaults:
        charm = _charm(made)
        same = next((vault for vault in old[charm.id] if _figures(vault) == _charm_figures(charm)), None)
        if same is None:
            waiting.append(made)
        else:
            old[charm.id].remove(same)
            kept.append((same, made))
    for made in waiting:
        charm = _charm(made)
        if old[charm.id]:
            kept.append((old[charm.id].pop(0), made))
        else:
            (forked if charm.id in spent_ids else opened).append(made)
    return [vault for vaults in old.values() for vault in vaults], kept, opened, forked


def _charm(made: Made) -> VaultCharm:
    assert isinstance(made.charm, VaultCharm)
    return made.charm


def _figures(vault: Vault) -> tuple[object, ...]:
    return (vault.collateral, vault.debt, vault.status, vault.owner, vault.claimed_updated_height)


def _charm_figures(charm: VaultCharm) -> tuple[object, ...]:
    return (charm.collateral, charm.debt, charm.status, charm.owner, charm.last_updated)


class _Terms(msgspec.Struct, frozen=True):
    """What liquidation goes by when the transaction begins, at the price that it leaves; None: not known."""

    recovery: bool | None
    threshold: Percent | None


def _terms(view: View) -> _Terms:
    protocol, rules = view.protocol, view.rules
    price8, collateral, debt = protocol.price8, protocol.reported_collateral, protocol.reported_debt
    if price8 is None or collateral is None or debt is None:
        return _Terms(None, None)
    total = ratios.ratio_percent(collateral=collateral, debt=debt, price8=price8)
    recovery = total is not None and total < rules.ccr_percent
    return _Terms(recovery, rules.threshold_percent(recovery=recovery, total_percent=total))


# What happens to a vault


def _open(view: View, made: Made, *, alone: bool) -> None:
    charm, rules = _charm(made), view.rules
    genuine = view.steps["vault_manager"].before is not None
    vault = _insert(view, made, genuine=genuine)
    if genuine:
        _name(view, vault)
    events: list[ZkusdEvent] = []
    if not genuine:
        event: ZkusdEvent = ImpostorVault(collateral=charm.collateral, debt=charm.debt, app=made.app.id)
    else:
        minted = _supply_change(view) if alone else None
        price8 = view.price8()
        user_debt = Base(max(charm.debt - rules.liquidation_reserve, 0))
        event = VaultOpened(
            owner=charm.owner,
            collateral=charm.collateral,
            debt=charm.debt,
            minted=minted,
            nominal_fee=_nominal_fee(view, user_debt),
            charged_fee=None if minted is None else _charged_fee(view, user_debt, minted),
            price8=price8,
            icr_percent=_icr_percent(charm.entire_collateral, charm.entire_debt, price8),
        )
    view.emit(event, vault=vault, account=made.output.script)
    events.append(event)
    events += _check_backing(view, vault, grew=True)
    _write_version(view, vault, events)
    if made.beamed_to is not None:
        _lose(view, vault, "beamed")


def _fork(view: View, made: Made) -> None:
    vault = _insert(view, made, genuine=False)
    event = StateForked(role="vault_manager", outpoint=made.outpoint, app=made.app.id)
    view.emit(event, vault=vault, account=made.output.script)
    _write_version(view, vault, [event])


def _change(view: View, vault: Vault, made: Made, taken: _Taken, terms: _Terms, liquidated: Sequence[Vault]) -> None:
    charm = _charm(made)
    before = _Before(vault)
    category = _category(vault)
    _leave(view, vault, category)
    collateral_change, debt_change = charm.collateral - vault.collateral, charm.debt - vault.debt
    closed = charm.status == "Closed" != vault.status
    holder_pays = _holder_pays(view, vault)
    _take_charm(view, vault, made)
    if made.beamed_to is not None:
        vault.live, vault.ended = False, "beamed"
    vault.active = _is_active(vault)
    icr = _icr_percent(vault.entire_collateral, vault.entire_debt, view.price8())
    events: list[ZkusdEvent] = []
    if vault in liquidated:
        events += _liquidate(view, vault, before, terms, alone=len(liquidated) == 1)
    elif _is_redeemed(view, collateral_change, debt_change, holder_pays=holder_pays):
        taken.by_vault[vault.genesis] = (Base(-debt_change), Sats(-collateral_change))
        if closed:
            events.append(VaultClosed(owner=vault.owner, collateral_returned=vault.collateral, debt_repaid=vault.debt))
    elif closed:
        events.append(
            VaultClosed(owner=vault.owner, collateral_returned=before.collateral, debt_repaid=before.entire_debt)
        )
    elif collateral_change > 0 and debt_change < 0 and view.flow.burned and not holder_pays:
        events.append(
            VaultRescued(collateral_added=Sats(collateral_change), debt_repaid=Base(-debt_change), new_icr_percent=icr)
        )
    else:
        events += _adjustments(view, vault, collateral_change, debt_change, icr)
    events += _further_changes(vault, before)
    for event in events:
        view.emit(event, vault=vault, account=vault.script)
    if before.script != vault.script:
        moved = VaultTransferred()
        view.emit(moved, vault=vault, account=before.script, counterparty=vault.script)
        events.append(moved)
    if made.beamed_to is not None:
        beamed = VaultVanished(how="beamed", collateral=vault.collateral, debt=vault.debt)
        view.emit(beamed, vault=vault, account=vault.script)
        events.append(beamed)
    events += _check_backing(view, vault, grew=collateral_change > 0 or vault.utxo_sats < before.utxo_sats)
    if vault.genesis in taken.by_vault:
        _write_version(view, vault, events, Redeemed.kind())
    else:
        _write_version(view, vault, events)
    _enter(view, vault, category)


def _end(view: View, vault: Vault, taken: _Taken, terms: _Terms, liquidated: Sequence[Vault]) -> None:
    """The vault's coin is spent and no vault came of it."""
    before = _Before(vault)
    category = _category(vault)
    _leave(view, vault, category)
    vault.live = vault.active = False
    vault.changed_height, vault.changed_time, vault.changed_tx = view.at.height, view.at.time, view.at.tx_text
    events: list[ZkusdEvent] = []
    kinds: tuple[str, ...] = ()
    if vault.status in ("Closed", "Liquidated"):
        vault.ended = vault.status.lower()
    elif view.lost or view.unreadable("vault_manager") or "vault_manager" not in view.listed:
        vault.ended = view.lost or ("undecodable" if view.unreadable("vault_manager") else "vanished")
        events.append(VaultVanished(how=vault.ended, collateral=vault.collateral, debt=vault.debt))
    elif vault in liquidated:
        vault.ended = "liquidated"
        events += _liquidate(view, vault, before, terms, alone=len(liquidated) == 1)
    elif view.operations.get("vault_manager") == "redeem":
        vault.ended = "redeemed"
        left = Sats(max(vault.entire_collateral - _paid_to_owner(view, vault), 0))
        taken.by_vault[vault.genesis] = (vault.entire_debt, left)
        kinds = (Redeemed.kind(),)
    else:
        vault.ended = "closed"
        events.append(
            VaultClosed(owner=vault.owner, collateral_returned=before.entire_collateral, debt_repaid=before.entire_debt)
        )
    vault.version += 1
    for event in events:
        view.emit(event, vault=vault, account=vault.script)
    _write_version(view, vault, events, *kinds)
    _enter(view, vault, category)


def _lose(view: View, vault: Vault, how: str) -> None:
    category = _category(vault)
    _leave(view, vault, category)
    vault.live, vault.ended = False, how
    vault.active = _is_active(vault)
    view.emit(VaultVanished(how=how, collateral=vault.collateral, debt=vault.debt), vault=vault, account=vault.script)
    _enter(view, vault, category)


# Telling what it was


class _Before:
    """A vault's figures before the transaction."""

    def __init__(self, vault: Vault) -> None:
        self.script = vault.script
        self.owner = vault.owner
        self.utxo_sats = vault.utxo_sats
        self.collateral = vault.collateral
        self.entire_debt = vault.entire_debt
        self.entire_collateral = vault.entire_collateral
        self.insurance = vault.insurance_balance
        self.others = _others(vault)


def _others(vault: Vault) -> dict[str, int | str]:
    return {
        "status": vault.status,
        "interest_rate_bps": vault.interest_rate_bps,
        "accrued_interest": vault.accrued_interest,
        "redistributed_debt": vault.redistributed_debt,
        "redistributed_collateral": vault.redistributed_collateral,
    }


def _liquidations(view: View, gone: Sequence[Vault], kept: Sequence[tuple[Vault, Made]]) -> list[Vault]:
    """Which vaults are liquidated: they say so, the operation says so, or they are emptied."""
    operation = view.operations.get("vault_manager")
    pool = view.steps["stability_pool"]
    offset = (
        isinstance(pool.before, PoolState)
        and isinstance(pool.after, PoolState)
        and (pool.before.product_p, pool.before.current_epoch, pool.before.current_scale)
        != (pool.after.product_p, pool.after.current_epoch, pool.after.current_scale)
    )
    found: list[Vault] = []
    for vault, made in kept:
        charm = _charm(made)
        emptied = vault.debt > 0 and charm.debt == 0 and vault.collateral > 0 and charm.collateral == 0
        if charm.status == "Liquidated":
            liquidated = vault.status != "Liquidated"
        elif operation is not None:
            liquidated = operation == "liquidate" and charm.debt < vault.debt
        else:
            liquidated = emptied and charm.status in _OPEN
        if liquidated:
            found.append(vault)
    if view.lost is None and "vault_manager" in view.listed and not view.unreadable("vault_manager"):
        taken = operation == "liquidate" or (operation is None and offset)
        found += [vault for vault in gone if taken and vault.status in _OPEN]
    return found


def _liquidate(view: View, vault: Vault, before: _Before, terms: _Terms, *, alone: bool) -> Iterator[ZkusdEvent]:
    left_debt, left_collateral = (vault.entire_debt, vault.entire_collateral) if vault.active else (0, 0)
    pool = view.steps["stability_pool"]
    pool_debt: Base | None = None
    pool_collateral: Sats | None = None
    if alone:
        pool_debt, pool_collateral = Base(0), Sats(0)
        if isinstance(pool.before, PoolState) and isinstance(pool.after, PoolState):
            pool_debt = Base(pool.before.total_zkusd - pool.after.total_zkusd)
            pool_collateral = Sats(pool.after.total_btc - pool.before.total_btc)
    price8, used = view.price8(), used_price8(view)
    icr = _icr_percent(before.entire_collateral, before.entire_debt, price8)
    threshold = terms.threshold
    healthy = None if price8 is None or threshold is None else icr is None or icr >= threshold
    absorbed = Base(before.entire_debt - left_debt)
    freed = before.entire_collateral - left_collateral
    returned = Sats(min(_paid_to_owner(view, vault), freed) if vault.ended else 0)
    seized = Sats(freed - returned)
    yield VaultLiquidated(
        owner=vault.owner,
        debt_absorbed=absorbed,
        collateral_seized=seized,
        collateral_to_pool=pool_collateral,
        price8=price8,
        icr_percent=icr,
        recovery_mode=terms.recovery,
    )
    if healthy and price8 is not None and threshold is not None:
        yield HealthyVaultLiquidated(price8=price8, used_price8=used, icr_percent=icr, threshold_percent=threshold)
    view.rows.insert(
        Liquidation,
        app_set=view.app_set.name,
        genesis=vault.genesis,
        tx_id=view.at.tx_text,
        vault_id=vault.vault_id,
        owner=before.owner,
        script=before.script,
        address=vault.address if vault.script == before.script else None,
        debt=absorbed,
        collateral=seized,
        returned=returned,
        pool_debt=pool_debt,
        pool_collateral=pool_collateral,
        used_price8=used,
        price8=price8,
        icr_bps=_icr_bps(before.entire_collateral, before.entire_debt, price8),
        recovery_mode=terms.recovery,
        healthy=healthy,
        height=view.at.height,
        time=view.at.time,
    )


def _holder_pays(view: View, vault: Vault) -> bool:
    """Whether tokens of the vault's holder, or of its owner where the tag names a script, are spent."""
    return any(_is_owner(vault, script) for script in view.flow.spent)


def _is_owner(vault: Vault, script: str) -> bool:
    return script == vault.script or is_tagged(vault.owner, script)


def _paid_to_owner(view: View, vault: Vault) -> Sats:
    """What the transaction pays to the vault's owner or holder on coins without charms."""
    outputs = enumerate(view.transaction.outputs)
    charmed = {made.index for made in (*view.states, *view.vaults, *view.deposits, *view.tokens)}
    return Sats(sum(one.amount for i, one in outputs if i not in charmed and _is_owner(vault, one.script)))


def _is_redeemed(view: View, collateral_change: int, debt_change: int, *, holder_pays: bool) -> bool:
    operation = view.operations.get("vault_manager")
    if operation is not None:
        return operation == "redeem" and debt_change < 0
    return collateral_change < 0 and debt_change < 0 and view.flow.burned > 0 and not holder_pays


def _adjustments(
    view: View, vault: Vault, collateral_change: int, debt_change: int, icr: Percent | None
) -> Iterator[ZkusdEvent]:
    composite = bool(collateral_change and debt_change)
    if collateral_change:
        moved = CollateralAdded if collateral_change > 0 else CollateralWithdrawn
        yield moved(
            amount=Sats(abs(collateral_change)),
            new_collateral=vault.collateral,
            new_icr_percent=icr,
            composite=composite,
        )
    if debt_change > 0:
        yield DebtMinted(
            amount=Base(debt_change),
            nominal_fee=_nominal_fee(view, Base(debt_change)),
            new_debt=vault.debt,
            new_icr_percent=icr,
            composite=composite,
        )
    elif debt_change:
        yield DebtRepaid(amount=Base(-debt_change), new_debt=vault.debt, new_icr_percent=icr, composite=composite)


def _further_changes(vault: Vault, before: _Before) -> Iterator[ZkusdEvent]:
    insured = vault.insurance_balance - before.insurance
    if insured:
        kind = InsurancePurchased if insured > 0 else InsuranceTriggered
        yield kind(amount=Sats(abs(insured)), new_balance=vault.insurance_balance)
    if vault.owner != before.owner:
        yield VaultOwnerChanged(old=before.owner, new=vault.owner)
    others = _others(vault)
    told = vault.status in ("Closed", "Liquidated")
    names = sorted(name for name in others if others[name] != before.others[name] and not (told and name == "status"))
    if names:
        yield VaultRestated(
            before={name: before.others[name] for name in names}, after={name: others[name] for name in names}
        )


def _check_backing(view: View, vault: Vault, *, grew: bool) -> list[ZkusdEvent]:
    if vault.backed or not grew or not vault.active:
        return []
    event = UnbackedCollateral(collateral=vault.collateral, utxo_sats=vault.utxo_sats)
    view.emit(event, vault=vault, account=vault.script)
    return [event]


def _record_redemption(view: View, taken: _Taken) -> None:
    debt = Base(sum(part for part, _ in taken.by_vault.values()))
    collateral = Sats(sum(part for _, part in taken.by_vault.values()))
    redeemed, at = view.flow.burned, view.at
    payers = sorted(view.flow.spent)
    redeemer = payers[0] if len(payers) == 1 else None
    view.rows.insert(
        Redemption,
        app_set=view.app_set.name,
        tx_id=at.tx_text,
        redeemer=redeemer,
        redeemed=redeemed,
        debt=debt,
        collateral=collateral,
        nominal_fee_bps=view.rules.redemption_fee_bps,
        effective_price8=Price8(redeemed * SATS_PER_BITCOIN // collateral) if collateral > 0 else None,
        price8=view.price8(),
        vaults=len(taken.by_vault),
        height=at.height,
        time=at.time,
    )
    for genesis, (part_debt, part_collateral) in taken.by_vault.items():
        view.rows.insert(
            RedeemedVault,
            app_set=view.app_set.name,
            tx_id=at.tx_text,
            genesis=genesis,
            debt=part_debt,
            collateral=part_collateral,
            height=at.height,
        )
    view.emit(
        Redeemed(
            redeemed=redeemed,
            debt=debt,
            collateral=collateral,
            nominal_fee_bps=view.rules.redemption_fee_bps,
            vaults_affected=len(taken.by_vault),
            price8=view.price8(),
        ),
        account=redeemer,
    )


# Rows


def _insert(view: View, made: Made, *, genuine: bool) -> Vault:
    charm, at = _charm(made), view.at
    vault = view.rows.insert(
        Vault,
        app_set=view.app_set.name,
        genesis=made.outpoint,
        vault_id=charm.id,
        owner=charm.owner,
        script=made.output.script,
        outpoint=made.outpoint,
        utxo_sats=Sats(made.output.amount),
        collateral=Sats(0),
        debt=Base(0),
        accrued_interest=Base(0),
        redistributed_debt=Base(0),
        redistributed_collateral=Sats(0),
        insurance_balance=Sats(0),
        interest_rate_bps=Bps(0),
        entire_debt=Base(0),
        entire_collateral=Sats(0),
        status=charm.status,
        live=True,
        genuine=genuine,
        active=False,
        backed=True,
        claimed_created_height=charm.created_at,
        claimed_updated_height=charm.last_updated,
        opened_height=at.height,
        opened_time=at.time,
        opened_tx=at.tx_text,
        changed_height=at.height,
        changed_time=at.time,
        changed_tx=at.tx_text,
        version=0,
    )
    _take_charm(view, vault, made)
    vault.active = _is_active(vault)
    _enter(view, vault, None)
    return vault


def _take_charm(view: View, vault: Vault, made: Made) -> None:
    """Write what a vault's charm says, and where it is."""
    charm, at = _charm(made), view.at
    vault.owner = charm.owner
    vault.script, vault.address = made.output.script, made.output.address
    vault.outpoint = made.outpoint
    vault.utxo_sats = Sats(made.output.amount)
    vault.collateral, vault.debt = charm.collateral, charm.debt
    vault.accrued_interest = charm.accrued_interest
    vault.redistributed_debt = charm.redistributed_debt
    vault.redistributed_collateral = charm.redistributed_collateral
    vault.insurance_balance = charm.insurance_balance
    vault.interest_rate_bps = charm.interest_rate_bps
    vault.entire_debt, vault.entire_collateral = charm.entire_debt, charm.entire_collateral
    vault.liquidation_price8 = ratios.liquidation_price8(
        collateral=charm.entire_collateral, debt=charm.entire_debt, percent=view.rules.mcr_percent
    )
    vault.status = charm.status
    vault.backed = made.output.amount >= charm.collateral
    vault.claimed_created_height, vault.claimed_updated_height = charm.created_at, charm.last_updated
    vault.changed_height, vault.changed_time, vault.changed_tx = at.height, at.time, at.tx_text
    vault.version += 1
    view.hold(made, "vault", key=vault.genesis)


def _is_active(vault: Vault) -> bool:
    return vault.genuine and vault.live and vault.status in _OPEN


def _category(vault: Vault) -> str | None:
    """What a vault counts as."""
    if not vault.genuine:
        return None
    if vault.active:
        return "active"
    if vault.status == "Liquidated" or vault.ended == "liquidated":
        return "liquidated"
    if vault.status == "Closed" or vault.ended in ("closed", "redeemed"):
        return "closed"
    return "lost"


def _leave(view: View, vault: Vault, category: str | None) -> None:
    """Count a vault no longer as what it was."""
    if category is None:
        return
    _count(view, vault, category, -1)
    if category == "active":
        risk.leave(view, vault)


def _enter(view: View, vault: Vault, before: str | None) -> None:
    """Count a vault as what it is now; ``before`` None: it is new."""
    category = _category(vault)
    if category is not None:
        _count(view, vault, category, 1)
    if category == "active":
        risk.enter(view, vault)
    else:
        risk.judge(view, vault)
    name = view.rows.get(VaultName, vault.app_set, vault.vault_id) if vault.genuine else None
    if name is not None and before is not None:
        name.live += (category == "active") - (before == "active")


def _count(view: View, vault: Vault, category: str, sign: int) -> None:
    protocol = view.protocol
    if category == "closed":
        protocol.closed_vaults += sign
    elif category == "liquidated":
        protocol.liquidated_vaults += sign
    elif category == "lost":
        protocol.lost_vaults += sign
    else:
        protocol.active_vaults += sign
        protocol.computed_collateral = Sats(protocol.computed_collateral + sign * vault.collateral)
        protocol.computed_debt = Base(protocol.computed_debt + sign * vault.debt)
        protocol.entire_collateral = Sats(protocol.entire_collateral + sign * vault.entire_collateral)
        protocol.entire_debt = Base(protocol.entire_debt + sign * vault.entire_debt)
        protocol.backing_sats = Sats(protocol.backing_sats + sign * vault.utxo_sats)
        protocol.reserves = Base(protocol.active_vaults * view.rules.liquidation_reserve)


def _name(view: View, vault: Vault) -> None:
    """Count vaults by their id, which anybody chooses freely."""
    name = view.rows.get(VaultName, vault.app_set, vault.vault_id)
    if name is None:
        name = view.rows.insert(VaultName, app_set=vault.app_set, vault_id=vault.vault_id, latest=vault.genesis)
    elif name.live:
        view.emit(DuplicateVaultId(other=name.latest), vault=vault, account=vault.script)
    name.opened += 1
    name.live += vault.active
    name.latest = vault.genesis


def _write_version(view: View, vault: Vault, events: Sequence[ZkusdEvent], *kinds: str) -> None:
    at, price8 = view.at, view.price8()
    view.rows.insert(
        VaultVersion,
        app_set=vault.app_set,
        genesis=vault.genesis,
        version=vault.version,
        vault_id=vault.vault_id,
        events=[*kinds, *(event.kind() for event in events)],
        outpoint=vault.outpoint if vault.live else None,
        script=vault.script,
        address=vault.address,
        utxo_sats=vault.utxo_sats,
        collateral=vault.collateral,
        debt=vault.debt,
        entire_debt=vault.entire_debt,
        entire_collateral=vault.entire_collateral,
        status=vault.status,
        price8=price8,
        icr_bps=_icr_bps(vault.entire_collateral, vault.entire_debt, price8),
        height=at.height,
        time=at.time,
        tx_id=at.tx_text,
    )


def _supply_change(view: View) -> Base | None:
    step = view.steps["token"]
    if not isinstance(step.before, TokenState) or not isinstance(step.after, TokenState):
        return None
    return Base(step.after.total_supply - step.before.total_supply)


def _charged_fee(view: View, user_debt: Base, minted: Base) -> Base:
    state = view.steps["vault_manager"].after
    receiver = state.fee_receiver if isinstance(state, VaultManagerState) else ZERO
    if receiver == ZERO:
        return Base(user_debt - minted)
    flow = view.flow
    scripts = {script for script in (*flow.made, *flow.spent) if is_tagged(receiver, script)}
    return Base(sum(flow.made.get(script, 0) - flow.spent.get(script, 0) for script in scripts))


def _nominal_fee(view: View, amount: Base) -> Base:
    rules = view.rules
    return ratios.borrow_fee(
        amount=amount,
        base_rate_bps=view.protocol.base_rate_bps or Bps(0),
        floor_bps=rules.borrow_fee_floor_bps,
        cap_bps=rules.borrow_fee_cap_bps,
    )


def _icr_percent(collateral: Sats, debt: Base, price8: Price8 | None) -> Percent | None:
    return None if price8 is None else ratios.ratio_percent(collateral=collateral, debt=debt, price8=price8)


def _icr_bps(collateral: Sats, debt: Base, price8: Price8 | None) -> Bps | None:
    return None if price8 is None else ratios.ratio_bps(collateral=collateral, debt=debt, price8=price8)
