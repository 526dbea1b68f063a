"""What a spell that liquidates or redeems has to spend, change and pay, by the rules: figures for whoever builds it.

A request is neither signed nor proven, and holds no charm data: how an app writes its states is the builder's to know.
Whether it can be done depends on the holders of the coins it spends; ``signers`` names them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from clarion.protocols.zkusd.app_sets import ROLES, Role, Rules
from clarion.protocols.zkusd.queues import LiquidationCandidate, RedemptionPlan
from clarion.protocols.zkusd.units import Base, Sats


class SpellOperation(StrEnum):
    """What a request is for."""

    LIQUIDATE = "liquidate"
    REDEEM = "redeem"


class AppCoin(msgspec.Struct, frozen=True, kw_only=True):
    """Where an app's state is."""

    role: Role
    app: str
    outpoint: str
    sats: Sats
    script: str
    address: str | None
    live: bool


class VaultCoin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a vault is."""

    outpoint: str
    sats: Sats
    script: str
    address: str | None


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """What the states say now. None: there is no such state, or it says nothing."""

    collateral: Sats | None
    debt: Base | None
    vaults: int | None
    supply: Base | None
    pool_total: Base | None
    pool_collateral: Sats | None


class SpellInput(msgspec.Struct, frozen=True, kw_only=True):
    """A coin that the spell has to spend or, for the price, to refer to."""

    role: str
    """An app's role, or ``vault``."""
    app: str
    outpoint: str
    sats: Sats
    script: str
    address: str | None


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A figure of a state that becomes another."""

    role: str
    outpoint: str
    figure: str
    before: int
    after: int


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody gets."""

    to: str
    """``sender`` (who builds the spell), or ``owner`` of the vault."""
    script: str | None
    asset: str
    """``BTC`` in satoshis, or ``zkUSD`` in base units; negative: what the sender gives."""
    amount: int


class SpellRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a spell has to do."""

    operation: SpellOperation
    inputs: tuple[SpellInput, ...]
    changes: tuple[Change, ...]
    payments: tuple[Payment, ...]
    signers: tuple[str, ...]
    """Scripts of the coins that it spends, besides the sender's own."""
    problems: tuple[str, ...]
    """Why it cannot be done as things stand, for people."""


_SPENT: Final[Mapping[SpellOperation, Sequence[Role]]] = {
    SpellOperation.LIQUIDATE: ("vault_manager", "token", "stability_pool"),
    SpellOperation.REDEEM: ("vault_manager", "token"),
}
"""Apps whose states change; the oracle's says the price."""


def liquidation_request(
    candidate: LiquidationCandidate,
    *,
    coins: Sequence[AppCoin],
    vault: VaultCoin,
    totals: Totals,
    rules: Rules,
    price_stale: bool | None,
) -> SpellRequest:
    """Liquidate a vault: the pool and other vaults take its debt, who sends gets the bonus and the reserve."""
    split, figures = candidate.split, candidate.vault
    payments = [Payment(to="sender", script=None, asset="BTC", amount=split.bonus)]
    if rules.liquidation_reserve:
        payments.append(Payment(to="sender", script=None, asset="zkUSD", amount=rules.liquidation_reserve))
    if split.surplus:
        payments.append(Payment(to="owner", script=vault.script, asset="BTC", amount=split.surplus))
    changes = [
        *_vault_changes(vault, (figures.collateral, 0), (figures.debt, 0)),
        *_manager_changes(
            coins,
            totals,
            collateral=figures.collateral - split.redistributed_collateral,
            debt=figures.debt - split.redistributed_debt,
            vaults=1,
        ),
        *_changes(coins, "token", "supply", totals.supply, rules.liquidation_reserve - split.pool_debt),
        *_changes(coins, "stability_pool", "total", totals.pool_total, -split.pool_debt),
        *_changes(coins, "stability_pool", "collateral", totals.pool_collateral, split.pool_collateral),
    ]
    problems = list(_problems(SpellOperation.LIQUIDATE, coins, price_stale))
    if split.redistributed_debt:
        problems.append("The pool does not take all of the debt: other vaults would have to take over the rest.")
    return _request(SpellOperation.LIQUIDATE, coins, [vault], changes, payments, problems)


def redemption_request(
    plan: RedemptionPlan,
    *,
    coins: Sequence[AppCoin],
    vaults: Sequence[VaultCoin],
    totals: Totals,
    rules: Rules,
    price_stale: bool | None,
) -> SpellRequest:
    """Redeem tokens against vaults, which are given in the plan's order: each pays collateral, less the fee."""
    changes: list[Change] = []
    ended = 0
    for candidate, vault in zip(plan.candidates, vaults, strict=True):
        figures = candidate.vault
        ended += candidate.left_debt <= rules.liquidation_reserve
        changes += _vault_changes(
            vault,
            (figures.collateral, figures.collateral - candidate.take_collateral),
            (figures.debt, candidate.left_debt),
        )
    changes += _manager_changes(coins, totals, collateral=plan.collateral, debt=plan.redeemed, vaults=ended)
    changes += _changes(coins, "token", "supply", totals.supply, -plan.redeemed)
    payments = [
        Payment(to="sender", script=None, asset="zkUSD", amount=-plan.redeemed),
        Payment(to="sender", script=None, asset="BTC", amount=plan.collateral),
    ]
    problems = list(_problems(SpellOperation.REDEEM, coins, price_stale))
    if plan.redeemed < plan.asked:
        problems.append("The vaults have less debt to redeem than was asked for.")
    if any(candidate.leaves_too_little for candidate in plan.candidates):
        problems.append("A vault would be left with less than the least debt.")
    return _request(SpellOperation.REDEEM, coins, vaults, changes, payments, problems)


def _request(
    operation: SpellOperation,
    coins: Sequence[AppCoin],
    vaults: Sequence[VaultCoin],
    changes: Sequence[Change],
    payments: Sequence[Payment],
    problems: Sequence[str],
) -> SpellRequest:
    manager = next((coin.app for coin in coins if coin.role == "vault_manager"), "")
    inputs = [
        *(_input("vault", manager, vault) for vault in vaults),
        *(_input(coin.role, coin.app, coin) for coin in coins if coin.role in (*_SPENT[operation], "oracle")),
    ]
    spent = [one.script for one in inputs if one.role != "oracle"]
    return SpellRequest(
        operation=operation,
        inputs=tuple(inputs),
        changes=tuple(changes),
        payments=tuple(payments),
        signers=tuple(dict.fromkeys(spent)),
        problems=tuple(problems),
    )


def _input(role: str, app: str, coin: AppCoin | VaultCoin) -> SpellInput:
    return SpellInput(
        role=role, app=app, outpoint=coin.outpoint, sats=coin.sats, script=coin.script, address=coin.address
    )


def _vault_changes(vault: VaultCoin, collateral: tuple[int, int], debt: tuple[int, int]) -> Iterator[Change]:
    for figure, (before, after) in (("collateral", collateral), ("debt", debt)):
        yield Change(role="vault", outpoint=vault.outpoint, figure=figure, before=before, after=after)


def _manager_changes(
    coins: Sequence[AppCoin], totals: Totals, *, collateral: int, debt: int, vaults: int
) -> Iterator[Change]:
    yield from _changes(coins, "vault_manager", "collateral", totals.collateral, -collateral)
    yield from _changes(coins, "vault_manager", "debt", totals.debt, -debt)
    yield from _changes(coins, "vault_manager", "vaults", totals.vaults, -vaults)


def _changes(coins: Sequence[AppCoin], role: Role, figure: str, before: int | None, by: int) -> Iterator[Change]:
    for coin in coins:
        if coin.role == role and before is not None and by:
            yield Change(role=role, outpoint=coin.outpoint, figure=figure, before=before, after=before + by)


def _problems(operation: SpellOperation, coins: Sequence[AppCoin], price_stale: bool | None) -> Iterator[str]:
    live = {coin.role for coin in coins if coin.live}
    for role in ROLES:
        if role in (*_SPENT[operation], "oracle") and role not in live:
            yield f"The {role.replace('_', ' ')} has no state."
    if price_stale:
        yield "The oracle's price is too old to rely on, or says no true block."
