"""zkUSD's operations as spells: what is spent, what is made, and the figures that the contracts will accept.

Amounts of zkUSD are in base units (10^-8), collateral in satoshis, prices in base units a bitcoin. Every function gives
a draft and changes nothing; the rules are those of the apps in ``contracts/charms``. States and vaults stay under the
script that they lie under.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from clarion.chains.bitcoin.charms.drafts import SpellDraft, SpellInput, SpellOutput
from clarion.chains.bitcoin.charms.spells import App
from clarion.chains.bitcoin.units import Sats
from clarion.chains.model import JsonValue
from clarion.protocols.zkusd.apps import POOL_BASE_SATS, PRODUCT_UNIT, Data, ZkUsdApps
from clarion.protocols.zkusd.ratios import ratio_percent
from clarion.protocols.zkusd.terms import (
    NotPossibleError,
    OwnerUnknownError,
    can_be_liquidated,
    liquidation_terms,
    redemption_terms,
)
from clarion.protocols.zkusd.units import BPS, Base, Percent, Price8

BORROWING_FEE_BPS: Final = 50
SCALE_FACTOR: Final = 10**9
DUST_SATS: Final = 546
"""What is left for an owner and less than this is not paid: the contracts do not ask for it."""


@dataclass(frozen=True, slots=True)
class Held:
    """A charm and where it lies."""

    where: SpellInput
    data: Data

    def __getitem__(self, name: str) -> Any:
        return self.data[name]


@dataclass(frozen=True, slots=True)
class Purse:
    """Who makes a spell, and with what: ``script`` gets what it earns, ``coins`` pay, ``tokens`` hold zkUSD."""

    script: bytes
    coins: Sequence[SpellInput]
    tokens: Sequence[SpellInput] = ()

    def zkusd(self, apps: ZkUsdApps) -> int:
        """How much zkUSD it spends."""
        return sum(amount_of(one, apps) for one in self.tokens)


@dataclass(frozen=True, slots=True)
class States:
    """The states of one deployment."""

    apps: ZkUsdApps
    oracle: Held
    token: Held
    vault_manager: Held
    stability_pool: Held

    @property
    def price(self) -> Price8:
        """The oracle's price."""
        return Price8(self.oracle["price"]["price"])

    @property
    def total_percent(self) -> Percent | None:
        """All vaults' ratio at the oracle's price, by what is reported; None without debt."""
        totals = self.vault_manager["protocol"]
        return ratio_percent(
            collateral=Sats(totals["total_collateral"]), debt=Base(totals["total_debt"]), price8=self.price
        )

    @property
    def min_debt(self) -> Base:
        """Least debt of a vault."""
        return Base(self.vault_manager["min_debt"])

    @property
    def reserve(self) -> Base:
        """Liquidation reserve of a vault."""
        return Base(self.vault_manager["liquidation_reserve"])

    def is_liquidatable(self, vault: Held) -> bool:
        """Whether the contract lets it be liquidated, if the pool can pay."""
        return can_be_liquidated(
            collateral=vault["collateral"], debt=vault["debt"], price8=self.price, total_percent=self.total_percent
        )


def liquidate(states: States, vault: Held, purse: Purse, *, owner: bytes | None) -> SpellDraft:
    """Have the pool pay a vault's debt, or as much as it can; ``purse`` receives the bonus and the reserve.

    ``owner`` is the script of the vault's owner, who is paid what is left; None: it is not known.

    Raises:
        NotPossibleError: it cannot be done.
        OwnerUnknownError: something is left for the owner.
    """
    pool = states.stability_pool
    terms = liquidation_terms(
        collateral=vault["collateral"],
        debt=vault["debt"],
        price8=states.price,
        total_percent=states.total_percent,
        pool_total=pool["total_zkusd"],
        min_debt=states.min_debt,
        reserve=states.reserve,
    )
    made: Data | None = None
    payments: list[SpellOutput] = []
    if terms.whole:
        payments += _to_owner(terms.returned, owner)
    else:
        made = _priced(
            states, vault.data | {"collateral": vault["collateral"] - terms.seized, "debt": vault["debt"] - terms.paid}
        )
    payments += tokens(states.apps, purse.script, terms.reserve)
    spent = [*purse.coins, pool.where]
    draft = operation(states, "liquidate", spent, vault, made, payments, minted=terms.reserve - terms.paid, priced=True)
    outputs = [*draft.outputs, pool_output(states, offset(pool.data, terms.paid, terms.gained))]
    return SpellDraft(draft.inputs, outputs, {**draft.public_inputs, states.apps.stability_pool: "offset"})


def redeem(states: States, vault: Held, purse: Purse, amount: int, *, owner: bytes | None) -> SpellDraft:
    """Pay ``amount`` of a vault's debt and take collateral of that worth, less the fee.

    What pays all but the reserve ends the vault: what is left of its collateral goes to ``owner``, whose script it is.

    Raises:
        NotPossibleError: it cannot be done.
    """
    terms = redemption_terms(
        collateral=vault["collateral"],
        debt=vault["debt"],
        price8=states.price,
        amount=Base(amount),
        min_debt=states.min_debt,
        reserve=states.reserve,
    )
    made: Data | None = None
    paid: list[SpellOutput] = []
    if terms.whole:
        paid += _to_owner(terms.left, owner)
    else:
        made = _priced(states, vault.data | {"collateral": terms.left, "debt": vault["debt"] - terms.burned})
    paid += tokens(states.apps, purse.script, purse.zkusd(states.apps) - terms.burned)
    spent = [*purse.coins, *purse.tokens]
    return operation(states, "redeem", spent, vault, made, paid, minted=-terms.burned, priced=True)


def adjust(
    states: States, vault: Held, purse: Purse, *, collateral: int = 0, debt: int = 0, fee_receiver: bytes | None = None
) -> SpellDraft:
    """Add to a vault's collateral and debt, or take from them where negative.

    Anybody may make it safer; the rest is the owner's to do. What is borrowed pays its fee to ``fee_receiver``.

    Raises:
        NotPossibleError: the purse has less zkUSD than is repaid, or it is not said who receives the fee.
    """
    fee = up(debt * BORROWING_FEE_BPS, BPS) if debt > 0 else 0
    made = vault.data | {"collateral": vault["collateral"] + collateral, "debt": vault["debt"] + debt + fee}
    risky = collateral < 0 or debt > 0
    if risky:
        made = _priced(states, made)
    paid = tokens(states.apps, purse.script, purse.zkusd(states.apps) + debt)
    if fee:
        if fee_receiver is None:
            raise NotPossibleError("what is borrowed pays a fee, and it is not said who receives it")
        paid += tokens(states.apps, fee_receiver, fee)
    spent = [*purse.coins, *purse.tokens]
    return operation(states, "adjust", spent, vault, made, paid, minted=debt + fee, priced=risky)


def _priced(states: States, vault: Data) -> Data:
    """A vault after an operation that looked at the price: it says of which block the price was."""
    return vault | {"last_updated": states.oracle["price"]["timestamp_block"]}


def operation(
    states: States,
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
    apps, manager = states.apps, states.vault_manager
    old = vault.data if vault else {}
    new = made or {}
    totals = manager["protocol"] | {
        "total_collateral": manager["protocol"]["total_collateral"]
        + (new.get("collateral", 0) - old.get("collateral", 0)),
        "total_debt": manager["protocol"]["total_debt"] + new.get("debt", 0) - old.get("debt", 0),
        "active_vault_count": manager["protocol"]["active_vault_count"] + bool(new) - bool(old),
    }
    inputs = [*spent, *([vault.where] if vault else []), manager.where]
    scroll = vault.where.coin.script if vault else manager.where.coin.script
    outputs = [SpellOutput(scroll, {apps.vault_manager: made}, Sats(made["collateral"]))] if made else []
    outputs.append(_again(manager, apps.vault_manager, manager.data | {"protocol": totals}))
    public: dict[App, JsonValue] = {apps.vault_manager: name}
    if priced:
        inputs.append(states.oracle.where)
        outputs.append(_again(states.oracle, apps.oracle, states.oracle.data))
        public[apps.oracle] = "use"
    if minted:
        inputs.append(states.token.where)
        after = states.token.data | {"total_supply": states.token["total_supply"] + minted}
        outputs.append(_again(states.token, apps.token, after))
    return SpellDraft(inputs, [*outputs, *payments], public)


def pool_output(states: States, state: Mapping[str, Any]) -> SpellOutput:
    """The stability pool's output with this state: it holds what the state says."""
    charms: dict[App, JsonValue] = {states.apps.stability_pool: dict(state)}
    if state["total_zkusd"]:
        charms[states.apps.zkusd] = state["total_zkusd"]
    script = states.stability_pool.where.coin.script
    return SpellOutput(script, charms, Sats(POOL_BASE_SATS + state["total_btc"]))


def offset(pool: Mapping[str, Any], paid: int, gained: int) -> Data:
    """The pool after it has paid debt and received collateral."""
    total: int = pool["total_zkusd"]
    sums = [*pool["past_sums"], pool["sum_s"] + gained * PRODUCT_UNIT * pool["product_p"] // total]
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


def tokens(apps: ZkUsdApps, script: bytes, amount: int) -> list[SpellOutput]:
    """The output that pays somebody zkUSD; none for nothing. Raises NotPossibleError for less than nothing."""
    if amount < 0:
        raise NotPossibleError(f"{-amount} base units of zkUSD are lacking")
    return [SpellOutput(script, {apps.zkusd: amount})] if amount else []


def amount_of(output: SpellInput, apps: ZkUsdApps) -> int:
    """How much zkUSD lies on an output."""
    amount = output.charms.get(apps.zkusd, 0)
    return amount if isinstance(amount, int) else 0


def up(dividend: int, divisor: int) -> int:
    """A quotient, rounded up."""
    return -(-dividend // divisor)


def _again(held: Held, app: App, data: JsonValue) -> SpellOutput:
    """A state as it goes on."""
    return SpellOutput(held.where.coin.script, {app: data}, held.where.coin.amount)


def _to_owner(amount: int, owner: bytes | None) -> list[SpellOutput]:
    if amount < DUST_SATS:
        return []
    if owner is None:
        raise OwnerUnknownError(f"{amount} satoshis are left for the owner, whose script is not known")
    return [SpellOutput(owner, {}, Sats(amount))]
