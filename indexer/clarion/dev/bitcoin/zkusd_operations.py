"""zkUSD's operations as spells: what is spent, what is made, and the figures that the contracts will accept.

Amounts of zkUSD are in base units (10^-8), collateral in satoshis, prices in base units a bitcoin. Every function gives
a draft and changes nothing; the rules are those of the apps in ``contracts/charms``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from clarion.chains.bitcoin.charms.drafts import SpellDraft, SpellInput, SpellOutput, outpoint_identity
from clarion.chains.bitcoin.charms.spells import App
from clarion.chains.bitcoin.units import Sats
from clarion.chains.model import JsonValue
from clarion.dev.bitcoin import zkusd_apps as shapes
from clarion.dev.bitcoin.chain_view import ChainView
from clarion.dev.bitcoin.keys import Key
from clarion.dev.bitcoin.zkusd_apps import DEPLOYER, FEES, ORACLE, SCROLLS, UNIT, Data, ZkUsdApps, owner_of
from clarion.protocols.zkusd.ratios import ratio_percent
from clarion.protocols.zkusd.units import Base, Price8

BASIS_POINTS: Final = 10_000
BORROWING_FEE_BPS: Final = 50
REDEMPTION_FEE_BPS: Final = 75
LIQUIDATION_BONUS_BPS: Final = 50
MINIMUM_PERCENT: Final = 110
CRITICAL_PERCENT: Final = 150
MAXIMUM_DEVIATION_BPS: Final = 500
POOL_MINIMUM: Final = UNIT
SCALE_FACTOR: Final = 10**9
DUST_SATS: Final = 546
FEE_SATS: Final = 100_000
"""What a spell may cost its sender: coins are looked for until they are worth this more than is needed."""


class NotPossibleError(Exception):
    """An operation cannot be done as things stand; the message says why."""


@dataclass(frozen=True, slots=True)
class Held:
    """A charm and where it lies."""

    where: SpellInput
    data: Data

    def __getitem__(self, name: str) -> Any:
        return self.data[name]


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
            if isinstance(data, dict) and shapes.is_vault(data) and mine in (None, data["owner"])
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
        return sum(_amount(output, self.apps.zkusd) for output in self._purse(owner))

    def price(self) -> int:
        """The oracle's price."""
        found: int = self.oracle()["price"]["price"]
        return found

    def ratio(self, vault: Held) -> int:
        """A vault's ratio in percent at the oracle's price."""
        return _percent(vault["collateral"], vault["debt"], self.price())

    def total_ratio(self) -> int | None:
        """All vaults' ratio in percent at the oracle's price; None without debt."""
        totals = self.vault_manager()["protocol"]
        if not totals["total_debt"]:
            return None
        return _percent(totals["total_collateral"], totals["total_debt"], self.price())

    def is_liquidatable(self, vault: Held) -> bool:
        """Whether the contract lets it be liquidated, if the pool can pay."""
        own, total = self.ratio(vault), self.total_ratio()
        return own < MINIMUM_PERCENT or (total is not None and total < CRITICAL_PERCENT and own < total)

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
        outputs = [SpellOutput(SCROLLS.segwit_script, {app: states[name]}, Sats(shapes.POOL_BASE_SATS))]
        if name == "token":
            outputs.append(SpellOutput(DEPLOYER.taproot_script, {self.apps.description: shapes.token_description()}))
        return SpellDraft([coin], outputs, {} if name == "token" else {app: "deploy"})

    def update_price(self, price: int) -> SpellDraft:
        """Set the oracle's price, as far as one update may move it."""
        before = self.oracle()
        old: int = before["price"]["price"]
        most = old * MAXIMUM_DEVIATION_BPS // BASIS_POINTS
        block = max(before["price"]["timestamp_block"] + 1, self._view.height + 1)
        after = shapes.oracle_state(min(max(price, old - most), old + most), block=block, last_valid=old)
        return SpellDraft(
            [before.where, *self._coins(ORACLE)],
            [SpellOutput(SCROLLS.segwit_script, {self.apps.oracle: after}, before.where.coin.amount)],
            {self.apps.oracle: "update"},
        )

    def open(self, owner: Key, *, collateral: int, borrow: int) -> SpellDraft:
        """Open a vault and receive ``borrow``; the debt is that with the fee and the reserve."""
        fee = _up(borrow * BORROWING_FEE_BPS, BASIS_POINTS)
        debt = borrow + fee + shapes.LIQUIDATION_RESERVE
        coins = self._coins(owner, collateral)
        block = self.oracle()["price"]["timestamp_block"]
        identity = outpoint_identity(coins[0].outpoint)
        made = shapes.vault(identity, owner, collateral=collateral, debt=debt, block=block)
        paid = self._tokens(owner, borrow) + self._tokens(FEES, fee)
        return self._operation("open", coins, None, made, paid, minted=borrow + fee, priced=True)

    def adjust(self, owner: Key, vault: Held, *, collateral: int = 0, debt: int = 0) -> SpellDraft:
        """Add to a vault's collateral and debt, or take from them where negative. What is borrowed pays its fee."""
        fee = _up(debt * BORROWING_FEE_BPS, BASIS_POINTS) if debt > 0 else 0
        made = vault.data | {
            "collateral": vault["collateral"] + collateral,
            "debt": vault["debt"] + debt + fee,
        }
        risky = collateral < 0 or debt > 0
        if risky:
            made["last_updated"] = self.oracle()["price"]["timestamp_block"]
        spent = self._coins(owner, max(collateral, 0)) + self._zkusd(owner, max(-debt, 0))
        left = sum(_amount(one, self.apps.zkusd) for one in spent)
        paid = self._tokens(owner, left + debt) + self._tokens(FEES, fee)
        return self._operation("adjust", spent, vault, made, paid, minted=debt + fee, priced=risky)

    def close(self, owner: Key, vault: Held) -> SpellDraft:
        """Pay a vault's debt, less the reserve, and take its collateral."""
        burned = vault["debt"] - shapes.LIQUIDATION_RESERVE
        spent = self._coins(owner) + self._zkusd(owner, burned)
        left = sum(_amount(one, self.apps.zkusd) for one in spent) - burned
        return self._operation("close", spent, vault, None, self._tokens(owner, left), minted=-burned, priced=False)

    def redeem(self, redeemer: Key, vault: Held, amount: int, *, owner: Key | None = None) -> SpellDraft:
        """Pay ``amount`` of a vault's debt and take collateral of that worth, less the fee.

        What pays all but the reserve ends the vault: what is left of its collateral goes to ``owner``.
        """
        all_of_it = vault["debt"] - shapes.LIQUIDATION_RESERVE
        burned = min(amount, all_of_it)
        worth = burned * UNIT // self.price()
        left = vault["collateral"] - (worth - _up(worth * REDEMPTION_FEE_BPS, BASIS_POINTS))
        made: Data | None = None
        paid: list[SpellOutput] = []
        if burned < all_of_it:
            block = self.oracle()["price"]["timestamp_block"]
            made = vault.data | {"collateral": left, "debt": vault["debt"] - burned, "last_updated": block}
        elif owner is None:
            raise NotPossibleError("a redemption that ends a vault has to name its owner")
        elif left >= DUST_SATS:
            paid.append(SpellOutput(owner.taproot_script, {}, Sats(left)))
        spent = self._coins(redeemer) + self._zkusd(redeemer, burned)
        change = sum(_amount(one, self.apps.zkusd) for one in spent) - burned
        paid += self._tokens(redeemer, change)
        return self._operation("redeem", spent, vault, made, paid, minted=-burned, priced=True)

    def liquidate(self, keeper: Key, vault: Held, owner: Key) -> SpellDraft:
        """Have the pool pay a vault's debt, or as much as it can; the keeper receives the bonus and the reserve."""
        pool = self.pool()
        price, own, total = self.price(), self.ratio(vault), self.total_ratio()
        debt, collateral = vault["debt"], vault["collateral"]
        available = max(pool["total_zkusd"] - POOL_MINIMUM, 0)
        paid, seized = debt, collateral
        if own >= MINIMUM_PERCENT:
            if total is None or total >= CRITICAL_PERCENT or own >= total or available < debt:
                raise NotPossibleError("the vault cannot be liquidated")
            seized = min(collateral, debt * MINIMUM_PERCENT // 100 * UNIT // price)
        elif available < debt:
            paid = min(available, debt - shapes.MINIMUM_DEBT)
            if paid < UNIT:
                raise NotPossibleError("the pool cannot pay the debt")
            seized = collateral * paid // debt
        gained = seized - seized * LIQUIDATION_BONUS_BPS // BASIS_POINTS
        pool_after = _offset(pool.data, paid, gained)
        made: Data | None = None
        payments: list[SpellOutput] = []
        reserve = 0
        if paid == debt:
            reserve = shapes.LIQUIDATION_RESERVE
            if collateral - seized >= DUST_SATS:
                payments.append(SpellOutput(owner.taproot_script, {}, Sats(collateral - seized)))
        else:
            block = self.oracle()["price"]["timestamp_block"]
            made = vault.data | {"collateral": collateral - seized, "debt": debt - paid, "last_updated": block}
        payments += self._tokens(keeper, reserve)
        spent = [*self._coins(keeper), pool.where]
        draft = self._operation("liquidate", spent, vault, made, payments, minted=reserve - paid, priced=True)
        outputs = [*draft.outputs, self._pool_output(pool_after)]
        return SpellDraft(draft.inputs, outputs, {**draft.public_inputs, self.apps.stability_pool: "offset"})

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
        change = sum(_amount(one, self.apps.zkusd) for one in spent) + left - value
        count = pool["depositor_count"] - (before is not None) + (value > 0)
        after = pool.data | {
            "total_zkusd": pool["total_zkusd"] - left + value,
            "total_btc": pool["total_btc"] - gained,
            "depositor_count": count,
        }
        outputs = [self._pool_output(after)]
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
        change = sum(_amount(one, zkusd) for one in spent) - amount
        outputs = [SpellOutput(recipient, {zkusd: amount}), *self._tokens(sender, change)]
        return SpellDraft([*self._coins(sender), *spent], outputs)

    def _operation(
        self,
        name: str,
        spent: Sequence[SpellInput],
        vault: Held | None,
        made: Data | None,
        payments: Sequence[SpellOutput],
        *,
        minted: int,
        priced: bool,
    ) -> SpellDraft:
        """An operation of the vault manager: one vault before and after, and what it does to states and supply."""
        apps, manager = self.apps, self.vault_manager()
        old = vault.data if vault else {}
        new = made or {}
        totals = manager["protocol"] | {
            "total_collateral": manager["protocol"]["total_collateral"]
            + (new.get("collateral", 0) - old.get("collateral", 0)),
            "total_debt": manager["protocol"]["total_debt"] + new.get("debt", 0) - old.get("debt", 0),
            "active_vault_count": manager["protocol"]["active_vault_count"] + bool(new) - bool(old),
        }
        inputs = [*spent, *([vault.where] if vault else []), manager.where]
        scroll = SCROLLS.segwit_script
        outputs = [SpellOutput(scroll, {apps.vault_manager: made}, Sats(made["collateral"]))] if made else []
        outputs.append(
            SpellOutput(scroll, {apps.vault_manager: manager.data | {"protocol": totals}}, manager.where.coin.amount)
        )
        public: dict[App, JsonValue] = {apps.vault_manager: name}
        if priced:
            oracle = self.oracle()
            inputs.append(oracle.where)
            outputs.append(SpellOutput(scroll, {apps.oracle: oracle.data}, oracle.where.coin.amount))
            public[apps.oracle] = "use"
        if minted:
            token = self.token()
            inputs.append(token.where)
            after = token.data | {"total_supply": token["total_supply"] + minted}
            outputs.append(SpellOutput(scroll, {apps.token: after}, token.where.coin.amount))
        return SpellDraft(inputs, [*outputs, *payments], public)

    def _pool_output(self, state: Mapping[str, Any]) -> SpellOutput:
        charms: dict[App, JsonValue] = {self.apps.stability_pool: dict(state)}
        if state["total_zkusd"]:
            charms[self.apps.zkusd] = state["total_zkusd"]
        return SpellOutput(SCROLLS.segwit_script, charms, Sats(shapes.POOL_BASE_SATS + state["total_btc"]))

    def _tokens(self, owner: Key, amount: int) -> list[SpellOutput]:
        """The output that pays somebody zkUSD; none for nothing."""
        if amount < 0:
            raise NotPossibleError(f"{owner.name} lacks {-amount} base units of zkUSD")
        return [SpellOutput(owner.taproot_script, {self.apps.zkusd: amount})] if amount else []

    def _states(self, app: App) -> list[Held]:
        return [
            Held(where, data)
            for where, data in self._view.with_charm(app)
            if isinstance(data, dict) and not shapes.is_vault(data) and where.coin.script == SCROLLS.segwit_script
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
        zkusd = self.apps.zkusd
        for one in sorted(self._purse(owner), key=lambda one: (-_amount(one, zkusd), one.outpoint)):
            if amount <= 0:
                break
            chosen.append(one)
            amount -= _amount(one, zkusd)
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
    found: int = deposit["initial_value"] * both // deposit["snapshot_p"] // shapes.PRODUCT_UNIT
    return found


def _offset(pool: Mapping[str, Any], paid: int, gained: int) -> Data:
    """The pool after it has paid debt and received collateral."""
    total: int = pool["total_zkusd"]
    sums = [*pool["past_sums"], pool["sum_s"] + gained * shapes.PRODUCT_UNIT * pool["product_p"] // total]
    product = pool["product_p"] * (total - paid)
    factor = 1
    while product * factor // total < SCALE_FACTOR:
        factor *= SCALE_FACTOR
        sums.append(0)
    return {
        **pool,
        "total_zkusd": total - paid,
        "total_btc": pool["total_btc"] + gained,
        "product_p": product * factor // total,
        "sum_s": sums[-1],
        "current_scale": len(sums) - 1,
        "past_sums": sums[:-1],
    }


def _percent(collateral: int, debt: int, price: int) -> int:
    found = ratio_percent(collateral=Sats(collateral), debt=Base(debt), price8=Price8(price))
    return 1 << 63 if found is None else found


def _amount(output: SpellInput, zkusd: App) -> int:
    amount = output.charms.get(zkusd, 0)
    return amount if isinstance(amount, int) else 0


def _up(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)
