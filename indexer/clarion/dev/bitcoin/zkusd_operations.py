"""zkUSD's operations by a regtest's cast, in the state that a view of the chain shows.

Amounts of zkUSD are in base units (10^-8), collateral in satoshis, prices in base units a bitcoin. Every method gives
a draft and changes nothing; the rules are those of the apps in ``contracts/charms``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from clarion.chains.bitcoin.charms.drafts import SpellDraft, SpellInput, SpellOutput, outpoint_identity
from clarion.chains.bitcoin.charms.spells import App
from clarion.chains.bitcoin.units import Sats
from clarion.dev.bitcoin import zkusd_apps as shapes
from clarion.dev.bitcoin.chain_view import ChainView
from clarion.dev.bitcoin.keys import Key
from clarion.dev.bitcoin.zkusd_apps import DEPLOYER, FEES, ORACLE, SCROLLS
from clarion.protocols.zkusd import operations
from clarion.protocols.zkusd.apps import POOL_BASE_SATS, PRODUCT_UNIT, Data, ZkUsdApps, is_vault, owner_of
from clarion.protocols.zkusd.operations import (
    BORROWING_FEE_BPS,
    SCALE_FACTOR,
    Held,
    Purse,
    States,
    amount_of,
    pool_output,
    up,
)
from clarion.protocols.zkusd.ratios import ratio_percent
from clarion.protocols.zkusd.terms import NotPossibleError
from clarion.protocols.zkusd.units import BPS

MAXIMUM_DEVIATION_BPS: Final = 500
FEE_SATS: Final = 100_000
"""What a spell may cost its sender: coins are looked for until they are worth this more than is needed."""


class ZkUsd:
    """One deployment, in the state that a view of the chain shows."""

    def __init__(self, apps: ZkUsdApps, view: ChainView) -> None:
        self.apps = apps
        self._view = view

    # --- what there is

    def oracle(self) -> Held:
        """The oracle's state. Raises NotPossibleError while it is not deployed, as the next three do."""
        return self._state(self.apps.oracle)

    def token(self) -> Held:
        """The token's state."""
        return self._state(self.apps.token)

    def vault_manager(self) -> Held:
        """The vault manager's state."""
        return self._state(self.apps.vault_manager)

    def pool(self) -> Held:
        """The stability pool's state."""
        return self._state(self.apps.stability_pool)

    def is_deployed(self) -> bool:
        """Whether all four states are there."""
        apps = self.apps
        return all(self._states(app) for app in (apps.oracle, apps.token, apps.vault_manager, apps.stability_pool))

    def vaults(self, owner: Key | None = None) -> list[Held]:
        """All vaults, or those of an owner, in the order of their ids."""
        mine = None if owner is None else owner_of(owner.taproot_script)
        found = [
            Held(where, data)
            for where, data in self._view.with_charm(self.apps.vault_manager)
            if isinstance(data, dict) and is_vault(data) and mine in (None, data["owner"])
        ]
        return sorted(found, key=lambda vault: bytes(vault["id"]))

    def deposits(self, owner: Key) -> list[Held]:
        """An owner's deposits in the stability pool."""
        found = self._view.with_charm(self.apps.deposit)
        return [
            Held(where, data)
            for where, data in sorted(found, key=lambda one: one[0].outpoint)
            if isinstance(data, dict) and where.coin.script == owner.taproot_script
        ]

    def balance(self, owner: Key) -> int:
        """An owner's zkUSD."""
        return sum(amount_of(output, self.apps) for output in self._purse(owner))

    def states(self) -> States:
        """All four states."""
        return States(self.apps, self.oracle(), self.token(), self.vault_manager(), self.pool())

    def price(self) -> int:
        """The oracle's price."""
        found: int = self.oracle()["price"]["price"]
        return found

    def ratio(self, vault: Held) -> int:
        """A vault's ratio in percent at the oracle's price."""
        found = ratio_percent(collateral=vault["collateral"], debt=vault["debt"], price8=self.states().price)
        return 1 << 63 if found is None else found

    def total_ratio(self) -> int | None:
        """All vaults' ratio in percent at the oracle's price; None without debt."""
        return self.states().total_percent

    def is_liquidatable(self, vault: Held) -> bool:
        """Whether the contract lets it be liquidated, if the pool can pay."""
        return self.states().is_liquidatable(vault)

    # --- what can be done

    def deploy(self, name: str, coin: SpellInput) -> SpellDraft:
        """Deploy the app of this name (a field of `ZkUsdApps`) by spending the coin that its identity is of."""
        app: App = getattr(self.apps, name)
        if outpoint_identity(coin.outpoint) != app.identity:
            raise NotPossibleError(f"the identity of {name} is not that of the coin")
        states: dict[str, Data] = {
            "oracle": shapes.oracle_state(shapes.FIRST_PRICE, block=1, last_valid=shapes.FIRST_PRICE),
            "token": shapes.token_state(self.apps, 0),
            "vault_manager": shapes.vault_manager_state(self.apps),
            "stability_pool": shapes.pool_state(self.apps),
        }
        outputs = [SpellOutput(SCROLLS.segwit_script, {app: states[name]}, Sats(POOL_BASE_SATS))]
        if name == "token":
            outputs.append(SpellOutput(DEPLOYER.taproot_script, {self.apps.description: shapes.token_description()}))
        return SpellDraft([coin], outputs, {} if name == "token" else {app: "deploy"})

    def update_price(self, price: int) -> SpellDraft:
        """Set the oracle's price, as far as one update may move it."""
        before = self.oracle()
        old: int = before["price"]["price"]
        most = old * MAXIMUM_DEVIATION_BPS // BPS
        block = max(before["price"]["timestamp_block"] + 1, self._view.height + 1)
        after = shapes.oracle_state(min(max(price, old - most), old + most), block=block, last_valid=old)
        return SpellDraft(
            [before.where, *self._coins(ORACLE)],
            [SpellOutput(SCROLLS.segwit_script, {self.apps.oracle: after}, before.where.coin.amount)],
            {self.apps.oracle: "update"},
        )

    def open(self, owner: Key, *, collateral: int, borrow: int) -> SpellDraft:
        """Open a vault and receive ``borrow``; the debt is that with the fee and the reserve."""
        fee = up(borrow * BORROWING_FEE_BPS, BPS)
        debt = borrow + fee + shapes.LIQUIDATION_RESERVE
        coins = self._coins(owner, collateral)
        block = self.oracle()["price"]["timestamp_block"]
        identity = outpoint_identity(coins[0].outpoint)
        made = shapes.vault(identity, owner, collateral=collateral, debt=debt, block=block)
        paid = self._tokens(owner, borrow) + self._tokens(FEES, fee)
        return operations.operation(self.states(), "open", coins, None, made, paid, minted=borrow + fee, priced=True)

    def adjust(self, owner: Key, vault: Held, *, collateral: int = 0, debt: int = 0) -> SpellDraft:
        """Add to a vault's collateral and debt, or take from them where negative. What is borrowed pays its fee."""
        purse = self._spending(owner, max(collateral, 0), zkusd=max(-debt, 0))
        return operations.adjust(
            self.states(), vault, purse, collateral=collateral, debt=debt, fee_receiver=FEES.taproot_script
        )

    def close(self, owner: Key, vault: Held) -> SpellDraft:
        """Pay a vault's debt, less the reserve, and take its collateral."""
        burned = vault["debt"] - shapes.LIQUIDATION_RESERVE
        purse = self._spending(owner, zkusd=burned)
        paid = self._tokens(owner, purse.zkusd(self.apps) - burned)
        spent = [*purse.coins, *purse.tokens]
        return operations.operation(self.states(), "close", spent, vault, None, paid, minted=-burned, priced=False)

    def redeem(self, redeemer: Key, vault: Held, amount: int, *, owner: Key | None = None) -> SpellDraft:
        """Pay ``amount`` of a vault's debt and take collateral of that worth, less the fee.

        What pays all but the reserve ends the vault: what is left of its collateral goes to ``owner``.
        """
        purse = self._spending(redeemer, zkusd=min(amount, vault["debt"] - shapes.LIQUIDATION_RESERVE))
        script = None if owner is None else owner.taproot_script
        return operations.redeem(self.states(), vault, purse, amount, owner=script)

    def liquidate(self, keeper: Key, vault: Held, owner: Key) -> SpellDraft:
        """Have the pool pay a vault's debt, or as much as it can; the keeper receives the bonus and the reserve."""
        return operations.liquidate(self.states(), vault, self._spending(keeper), owner=owner.taproot_script)

    def position(self, owner: Key, value: int) -> SpellDraft:
        """Have ``value`` in the stability pool: make a deposit, change it, take it out with 0. Gains are paid out."""
        pool = self.pool()
        before = next(iter(self.deposits(owner)), None)
        left = gained = 0
        if before is None and not value:
            raise NotPossibleError(f"{owner.name} has no deposit")
        if before is not None:
            left, gained = compounded(before.data, pool.data), gain(before.data, pool.data)
        spent = self._coins(owner) + self._zkusd(owner, max(value - left, 0))
        change = sum(amount_of(one, self.apps) for one in spent) + left - value
        count = pool["depositor_count"] - (before is not None) + (value > 0)
        after = pool.data | {
            "total_zkusd": pool["total_zkusd"] - left + value,
            "total_btc": pool["total_btc"] - gained,
            "depositor_count": count,
        }
        outputs = [pool_output(self.states(), after)]
        if value:
            script = owner.taproot_script
            outputs.append(SpellOutput(script, {self.apps.deposit: shapes.deposit(owner, value, pool.data)}))
        outputs += self._tokens(owner, change)
        inputs = [pool.where, *([before.where] if before else []), *spent]
        return SpellDraft(inputs, outputs, {self.apps.stability_pool: "position"})

    def transfer(self, sender: Key, recipient: bytes, amount: int) -> SpellDraft:
        """Send zkUSD to a script."""
        zkusd = self.apps.zkusd
        spent = self._zkusd(sender, amount)
        change = sum(amount_of(one, self.apps) for one in spent) - amount
        outputs = [SpellOutput(recipient, {zkusd: amount}), *self._tokens(sender, change)]
        return SpellDraft([*self._coins(sender), *spent], outputs)

    def _spending(self, owner: Key, sats: int = 0, *, zkusd: int = 0) -> Purse:
        """What an owner spends: coins that are worth so much and the fees, and outputs with as much zkUSD."""
        return Purse(owner.taproot_script, self._coins(owner, sats), self._zkusd(owner, zkusd))

    def _tokens(self, owner: Key, amount: int) -> list[SpellOutput]:
        """The output that pays somebody zkUSD; none for nothing."""
        return operations.tokens(self.apps, owner.taproot_script, amount)

    def _states(self, app: App) -> list[Held]:
        return [
            Held(where, data)
            for where, data in self._view.with_charm(app)
            if isinstance(data, dict) and not is_vault(data) and where.coin.script == SCROLLS.segwit_script
        ]

    def _state(self, app: App) -> Held:
        found = self._states(app)
        if len(found) != 1:
            raise NotPossibleError(f"there are {len(found)} states of the app {app.identity.hex()}")
        return found[0]

    def _coins(self, owner: Key, sats: int = 0) -> list[SpellInput]:
        """Coins without charms that are worth as much and the fees; the largest first."""
        plain = [one for one in self._view.of_script(owner.taproot_script) if not one.charms]
        chosen: list[SpellInput] = []
        total = 0
        for one in sorted(filter(self._view.is_mature, plain), key=lambda one: (-one.coin.amount, one.outpoint)):
            chosen.append(one)
            total += one.coin.amount
            if total >= sats + FEE_SATS:
                return chosen
        raise NotPossibleError(f"{owner.name} has {total} satoshis and needs {sats + FEE_SATS}")

    def _purse(self, owner: Key) -> list[SpellInput]:
        """Outputs of an owner with zkUSD and nothing else."""
        mine = self._view.of_script(owner.taproot_script)
        return [one for one in mine if one.charms.keys() == {self.apps.zkusd}]

    def _zkusd(self, owner: Key, amount: int) -> list[SpellInput]:
        """Outputs of an owner with as much zkUSD, the largest first."""
        chosen: list[SpellInput] = []
        for one in sorted(self._purse(owner), key=lambda one: (-amount_of(one, self.apps), one.outpoint)):
            if amount <= 0:
                break
            chosen.append(one)
            amount -= amount_of(one, self.apps)
        if amount > 0:
            raise NotPossibleError(f"{owner.name} lacks {amount} base units of zkUSD")
        return chosen


def compounded(deposit: Mapping[str, Any], pool: Mapping[str, Any]) -> int:
    """What liquidations have left of a deposit, in base units, as the pool's contract rounds it."""
    scales = pool["current_scale"] - deposit["snapshot_scale"]
    value: int = deposit["initial_value"]
    left: int = value * pool["product_p"] // deposit["snapshot_p"]
    if scales > 1:
        return 0
    left //= SCALE_FACTOR if scales else 1
    return 0 if left < value // SCALE_FACTOR else left


def gain(deposit: Mapping[str, Any], pool: Mapping[str, Any]) -> int:
    """Satoshis that a deposit has gained, as the pool's contract rounds it."""
    sums = [*pool["past_sums"], pool["sum_s"], 0]
    scale = deposit["snapshot_scale"]
    both = sums[scale] - deposit["snapshot_s"] + sums[scale + 1] // SCALE_FACTOR
    found: int = deposit["initial_value"] * both // deposit["snapshot_p"] // PRODUCT_UNIT
    return found
