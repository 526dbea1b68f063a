"""zkUSD's projection tables, schema ``zkusd``.

Units are those of :mod:`clarion.protocols.zkusd.units`: ``…_price8`` US dollars a bitcoin x 10^8, ``…_bps``,
``…_percent``; bitcoin amounts are satoshis, zkUSD amounts 10^-8 zkUSD. Outpoints are ``txid:vout``, transactions and
ids plain hex, scripts ``0x`` hex. ``…_height`` is a Bitcoin block height as the chain has it, ``claimed_…`` one that
somebody wrote into a charm. What a charm says can be any 64-bit number, so such columns are numeric, whatever is
usual in them.

``app_set`` names a set of the four apps that work together (:mod:`clarion.protocols.zkusd.app_sets`). Vaults and
deposits are named by the outpoint that they were first seen on: their own ids are chosen freely and may repeat.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import BigInteger, Boolean, Index, Numeric, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from clarion.protocols.zkusd.units import Base, Bps, Percent, Price8, Sats
from clarion.store.rows import UINT128, Row

SCHEMA: Final = "zkusd"

POOL_SUM: Final = Numeric(78, 0)
"""Sums of the pool's replay: satoshis x 10^36 over all liquidations."""

_args: Final = {"schema": SCHEMA}
_SET: Final = "Set of apps"


def _set() -> Any:
    return Field(primary_key=True, sa_type=Text, description=_SET)


# Apps


class AppSetRow(Row, table=True):
    """A set of apps that work together, with the rules that its version decides by. Made when first seen."""

    __tablename__ = "app_set"
    __table_args__ = _args
    app_set: str = _set()
    title: str = Field(sa_type=Text, description="What it is called")
    mcr_percent: Percent = Field(sa_type=BigInteger, description="Ratio below which a vault can be liquidated")
    ccr_percent: Percent = Field(sa_type=BigInteger, description="Total ratio below which recovery mode holds")
    recommended_percent: Percent = Field(sa_type=BigInteger, description="Ratio recommended to owners")
    min_debt: Base = Field(sa_type=UINT128, description="Least debt of a vault, reserve included")
    max_debt: Base = Field(sa_type=UINT128, description="Greatest debt of a vault")
    debt_ceiling: Base | None = Field(default=None, sa_type=UINT128, description="Greatest total debt; null: none")
    liquidation_reserve: Base = Field(sa_type=UINT128, description="Part of a vault's debt that nobody was given")
    min_collateral: Sats = Field(sa_type=UINT128, description="Least collateral recommended; enforced by no app")
    borrow_fee_floor_bps: Bps = Field(sa_type=BigInteger, description="Least fee of new debt")
    borrow_fee_cap_bps: Bps = Field(sa_type=BigInteger, description="Greatest fee of new debt")
    redemption_fee_bps: Bps = Field(sa_type=BigInteger, description="Fee of a redemption")
    liquidator_bonus_bps: Bps = Field(sa_type=BigInteger, description="Part of the collateral for who liquidates")
    pool_min_deposit: Base = Field(sa_type=UINT128, description="Least deposit in the stability pool")
    recovery_below_total: bool = Field(
        sa_type=Boolean, description="In recovery mode only what is below the total ratio can be liquidated"
    )
    max_price_age_blocks: int = Field(sa_type=BigInteger, description="Blocks after which a price is stale")
    max_price_age_seconds: int = Field(sa_type=BigInteger, description="Seconds after which a price is stale")
    max_price_step_bps: Bps = Field(sa_type=BigInteger, description="Greatest change of the price at once")


class Contract(Row, table=True):
    """One of a set's apps and where its state is: the coin that descends from the one it began on."""

    __tablename__ = "contract"
    __table_args__ = _args
    app_set: str = _set()
    role: str = Field(primary_key=True, sa_type=Text, description="oracle, token, vault_manager or stability_pool")
    identity: str = Field(sa_type=Text, description="Identity of the app, hex; its first state carries zeros instead")
    vk: str = Field(sa_type=Text, description="Verification key of the app, hex")
    tag: str = Field(sa_type=Text, description="Tag that its states are under")
    genesis: str = Field(sa_type=Text, description="Outpoint of its first state")
    outpoint: str = Field(sa_type=Text, description="Outpoint of its last known state")
    live: bool = Field(sa_type=Boolean, description="That outpoint is unspent and its state known")
    ended: str | None = Field(
        default=None,
        sa_type=Text,
        description="Why there is no state any more: vanished, beamed, undecodable, unreadable; null: there is one",
    )
    spent_by: str | None = Field(default=None, sa_type=Text, description="Transaction that spent the last known state")
    utxo_sats: Sats = Field(sa_type=BigInteger, description="Satoshis on the outpoint")
    script: str = Field(sa_type=Text, description="Locking script of who holds it")
    address: str | None = Field(default=None, sa_type=Text, description="Its address")
    state: Any = Field(sa_type=JSONB, description="What the last known state says")
    version: int = Field(sa_type=BigInteger, description="How many states there were, from 1")
    forks: int = Field(default=0, sa_type=BigInteger, description="Further states that came of spending its own")
    impostors: int = Field(default=0, sa_type=BigInteger, description="States of the same app of other descent")
    deployed_height: int = Field(sa_type=BigInteger, description="Block of its first state")
    height: int = Field(sa_type=BigInteger, description="Block of its last known state")
    time: int = Field(sa_type=BigInteger, description="Unix seconds of that block")
    tx_id: str = Field(sa_type=Text, description="Transaction of its last known state")


class ContractState(Row, table=True):
    """A state that an app had."""

    __tablename__ = "contract_state"
    __table_args__ = (Index("contract_state_by_height", "app_set", "height"), _args)
    app_set: str = _set()
    role: str = Field(primary_key=True, sa_type=Text, description="oracle, token, vault_manager or stability_pool")
    version: int = Field(primary_key=True, sa_type=BigInteger, description="Its number, from 1")
    outpoint: str = Field(sa_type=Text, description="Outpoint")
    utxo_sats: Sats = Field(sa_type=BigInteger, description="Satoshis on the outpoint")
    script: str = Field(sa_type=Text, description="Locking script of who held it")
    address: str | None = Field(default=None, sa_type=Text, description="Its address")
    state: Any = Field(sa_type=JSONB, description="What it says")
    height: int = Field(sa_type=BigInteger, description="Block")
    time: int = Field(sa_type=BigInteger, description="Unix seconds of the block")
    tx_id: str = Field(sa_type=Text, description="Transaction")


class ImpostorState(Row, table=True):
    """A state of one of the set's apps that does not descend from the set's own, or is a fork of it."""

    __tablename__ = "impostor_state"
    __table_args__ = (Index("impostor_state_by_role", "app_set", "role"), _args)
    app_set: str = _set()
    outpoint: str = Field(primary_key=True, sa_type=Text, description="Outpoint")
    app: str = Field(primary_key=True, sa_type=Text, description="App it is under, tag/identity/vk")
    role: str = Field(sa_type=Text, description="App that it resembles")
    reason: str = Field(sa_type=Text, description="fork, or descent: it does not descend from the set's own state")
    state: Any = Field(sa_type=JSONB, description="What it says")
    script: str = Field(sa_type=Text, description="Locking script of who holds it")
    address: str | None = Field(default=None, sa_type=Text, description="Its address")
    height: int = Field(sa_type=BigInteger, description="Block")
    tx_id: str = Field(sa_type=Text, description="Transaction")
    spent_by: str | None = Field(default=None, sa_type=Text, description="Transaction that spent it; null: unspent")


class Outpoint(Row, table=True):
    """A coin with charms of a set's apps: what the inputs of later transactions are known by."""

    __tablename__ = "outpoint"
    __table_args__ = (Index("outpoint_by_script", "script"), _args)
    outpoint: str = Field(primary_key=True, sa_type=Text, description="Transaction and output")
    script: str = Field(sa_type=Text, description="Locking script")
    address: str | None = Field(default=None, sa_type=Text, description="Its address")
    sats: Sats = Field(sa_type=BigInteger, description="Satoshis")
    charms: Any = Field(sa_type=JSONB, description="What is on it: set, kind, and key or amount")
    beamed: bool = Field(sa_type=Boolean, description="Its charms went to another chain")
    height: int = Field(sa_type=BigInteger, description="Block")
    spent_by: str | None = Field(default=None, sa_type=Text, description="Transaction that spent it; null: unspent")
    spent_height: int | None = Field(default=None, sa_type=BigInteger, description="Block it was spent in")


# The protocol as a whole


class ProtocolState(Row, table=True):
    """A set's figures: what its states say (reported), and what its vaults and tokens come to (computed)."""

    __tablename__ = "protocol"
    __table_args__ = _args
    app_set: str = _set()
    reported_collateral: Sats | None = Field(
        default=None, sa_type=UINT128, description="Collateral by the vault manager's state; null: no state yet"
    )
    reported_debt: Base | None = Field(default=None, sa_type=UINT128, description="Debt by the vault manager's state")
    reported_vaults: int | None = Field(default=None, sa_type=UINT128, description="Vaults by its state")
    computed_collateral: Sats = Field(default=Sats(0), sa_type=UINT128, description="Collateral of active vaults")
    computed_debt: Base = Field(default=Base(0), sa_type=UINT128, description="Debt of active vaults, reserves in it")
    entire_collateral: Sats = Field(
        default=Sats(0), sa_type=UINT128, description="The same with what was redistributed"
    )
    entire_debt: Base = Field(
        default=Base(0), sa_type=UINT128, description="The same with interest and debt taken over"
    )
    active_vaults: int = Field(default=0, sa_type=BigInteger, description="Active vaults")
    closed_vaults: int = Field(default=0, sa_type=BigInteger, description="Vaults that were closed")
    liquidated_vaults: int = Field(default=0, sa_type=BigInteger, description="Vaults that were liquidated")
    lost_vaults: int = Field(default=0, sa_type=BigInteger, description="Vaults destroyed, beamed away or unreadable")
    backing_sats: Sats = Field(default=Sats(0), sa_type=UINT128, description="Satoshis on the coins of active vaults")
    drift_collateral: Sats | None = Field(default=None, sa_type=UINT128, description="Reported less computed")
    drift_debt: Base | None = Field(default=None, sa_type=UINT128, description="Reported less computed")
    drift_vaults: int | None = Field(default=None, sa_type=UINT128, description="Reported less computed")
    reported_supply: Base | None = Field(default=None, sa_type=UINT128, description="Supply by the token's state")
    token_supply: Base = Field(default=Base(0), sa_type=UINT128, description="Tokens on unspent coins")
    beamed_out: Base = Field(default=Base(0), sa_type=UINT128, description="Tokens that went to other chains")
    burned_without_spell: Base = Field(
        default=Base(0), sa_type=UINT128, description="Tokens destroyed by spending their coins without a spell"
    )
    drift_supply: Base | None = Field(
        default=None, sa_type=UINT128, description="Reported supply less tokens on unspent coins and beamed ones"
    )
    holders: int = Field(default=0, sa_type=BigInteger, description="Scripts that hold tokens")
    reserves: Base = Field(default=Base(0), sa_type=UINT128, description="Liquidation reserves of active vaults")
    price8: Price8 | None = Field(default=None, sa_type=UINT128, description="The oracle's price; null: none")
    claimed_price_height: int | None = Field(
        default=None, sa_type=UINT128, description="Block the oracle says it is of"
    )
    price_height: int | None = Field(default=None, sa_type=BigInteger, description="Block that it came in")
    price_time: int | None = Field(default=None, sa_type=BigInteger, description="Unix seconds of that block")
    tcr_percent: Percent | None = Field(
        default=None, sa_type=UINT128, description="Total ratio by what is reported, as the apps see it; null: no debt"
    )
    computed_tcr_bps: Bps | None = Field(
        default=None, sa_type=UINT128, description="Total ratio by what the vaults come to; null: no debt or price"
    )
    recovery_mode: bool | None = Field(
        default=None, sa_type=Boolean, description="Recovery mode as the apps see it; null: no price"
    )
    computed_recovery_mode: bool | None = Field(
        default=None, sa_type=Boolean, description="Recovery mode by what the vaults come to"
    )
    recovery_since_height: int | None = Field(default=None, sa_type=BigInteger, description="Block it began in")
    base_rate_bps: Bps | None = Field(default=None, sa_type=UINT128, description="Base rate of fees")
    paused: bool | None = Field(default=None, sa_type=Boolean, description="The vault manager says that it is paused")
    admin: str | None = Field(default=None, sa_type=Text, description="Admin by the vault manager's state")
    risk_price8: Price8 | None = Field(default=None, sa_type=UINT128, description="Price that risk was last judged at")
    risk_percent: Percent | None = Field(default=None, sa_type=BigInteger, description="Ratio it was judged by")


# Vaults


class Vault(Row, table=True):
    """A vault."""

    __tablename__ = "vault"
    __table_args__ = (
        Index("vault_by_id", "app_set", "vault_id"),
        Index("vault_by_owner", "app_set", "owner"),
        Index("vault_by_address", "address"),
        Index("vault_by_risk", "app_set", "liquidation_price8"),
        _args,
    )
    app_set: str = _set()
    genesis: str = Field(primary_key=True, sa_type=Text, description="Outpoint it was first seen on")
    vault_id: str = Field(sa_type=Text, description="Its id as its charm says, hex; others may have the same")
    owner: str = Field(sa_type=Text, description="Owner's tag as its charm says, hex; no address")
    script: str = Field(sa_type=Text, description="Locking script of who holds it")
    address: str | None = Field(default=None, sa_type=Text, description="Its address")
    outpoint: str = Field(sa_type=Text, description="Outpoint it is or was last on")
    utxo_sats: Sats = Field(sa_type=BigInteger, description="Satoshis on the outpoint")
    collateral: Sats = Field(sa_type=UINT128, description="Collateral as its charm says")
    debt: Base = Field(sa_type=UINT128, description="Debt as its charm says, liquidation reserve in it")
    accrued_interest: Base = Field(sa_type=UINT128, description="Interest as its charm says")
    redistributed_debt: Base = Field(sa_type=UINT128, description="Debt taken over from other vaults")
    redistributed_collateral: Sats = Field(sa_type=UINT128, description="Collateral taken over from other vaults")
    insurance_balance: Sats = Field(sa_type=UINT128, description="Insurance as its charm says")
    interest_rate_bps: Bps = Field(sa_type=UINT128, description="Interest a year; no app applies it")
    entire_debt: Base = Field(sa_type=UINT128, description="Debt, interest and debt taken over")
    entire_collateral: Sats = Field(sa_type=UINT128, description="Collateral and collateral taken over")
    liquidation_price8: Price8 | None = Field(
        default=None,
        sa_type=UINT128,
        description="Greatest price it can be liquidated at out of recovery mode, in effect its place by ratio; "
        "null: none",
    )
    status: str = Field(sa_type=Text, description="Active, Liquidating, Closed or Liquidated, as its charm says")
    live: bool = Field(sa_type=Boolean, description="Its outpoint is unspent")
    ended: str | None = Field(
        default=None,
        sa_type=Text,
        description="How its coin ended: closed, redeemed, liquidated, vanished, beamed, undecodable or unreadable; "
        "null: it did not",
    )
    genuine: bool = Field(
        sa_type=Boolean, description="It was opened by spending the vault manager's own state; others count nowhere"
    )
    active: bool = Field(sa_type=Boolean, description="Genuine, live, and neither Closed nor Liquidated: it counts")
    backed: bool = Field(sa_type=Boolean, description="Its outpoint holds at least its collateral")
    at_risk_since_height: int | None = Field(
        default=None,
        sa_type=BigInteger,
        description="Block since which its ratio is below what liquidation asks for, by the oracle's price; null: it "
        "is not, or there is no price",
    )
    claimed_created_height: int = Field(sa_type=UINT128, description="Block its charm says it was created in")
    claimed_updated_height: int = Field(sa_type=UINT128, description="Block its charm says it was last changed in")
    opened_height: int = Field(sa_type=BigInteger, description="Block it was opened in")
    opened_time: int = Field(sa_type=BigInteger, description="Unix seconds of that block")
    opened_tx: str = Field(sa_type=Text, description="Transaction that opened it")
    changed_height: int = Field(sa_type=BigInteger, description="Block it was last changed or moved in")
    changed_time: int = Field(sa_type=BigInteger, description="Unix seconds of that block")
    changed_tx: str = Field(sa_type=Text, description="Transaction that last changed or moved it")
    version: int = Field(sa_type=BigInteger, description="How many states it had, from 1")


class VaultVersion(Row, table=True):
    """A state that a vault had."""

    __tablename__ = "vault_version"
    __table_args__ = (Index("vault_version_by_height", "app_set", "height"), _args)
    app_set: str = _set()
    genesis: str = Field(primary_key=True, sa_type=Text, description="The vault")
    version: int = Field(primary_key=True, sa_type=BigInteger, description="Its number, from 1")
    vault_id: str = Field(sa_type=Text, description="The vault's id, hex")
    events: Any = Field(sa_type=JSONB, description="What happened: kinds of events")
    outpoint: str | None = Field(default=None, sa_type=Text, description="Outpoint; null: its coin ended")
    script: str = Field(sa_type=Text, description="Locking script of who held it")
    address: str | None = Field(default=None, sa_type=Text, description="Its address")
    utxo_sats: Sats = Field(sa_type=BigInteger, description="Satoshis on the outpoint")
    collateral: Sats = Field(sa_type=UINT128, description="Collateral")
    debt: Base = Field(sa_type=UINT128, description="Debt")
    entire_debt: Base = Field(sa_type=UINT128, description="Debt, interest and debt taken over")
    entire_collateral: Sats = Field(sa_type=UINT128, description="Collateral and collateral taken over")
    status: str = Field(sa_type=Text, description="Status as its charm says")
    price8: Price8 | None = Field(default=None, sa_type=UINT128, description="The oracle's price then; null: none")
    icr_bps: Bps | None = Field(
        default=None, sa_type=UINT128, description="Ratio at that price; null: no debt or price"
    )
    height: int = Field(sa_type=BigInteger, description="Block")
    time: int = Field(sa_type=BigInteger, description="Unix seconds of the block")
    tx_id: str = Field(sa_type=Text, description="Transaction")


class VaultName(Row, table=True):
    """How many genuine vaults have an id."""

    __tablename__ = "vault_name"
    __table_args__ = _args
    app_set: str = _set()
    vault_id: str = Field(primary_key=True, sa_type=Text, description="Id, hex")
    opened: int = Field(default=0, sa_type=BigInteger, description="How many were opened")
    live: int = Field(default=0, sa_type=BigInteger, description="How many there are")
    latest: str = Field(sa_type=Text, description="The one opened last")


class RiskBand(Row, table=True):
    """Active vaults by the price at which their debt equals their collateral, so that a new price looks at few."""

    __tablename__ = "risk_band"
    __table_args__ = _args
    app_set: str = _set()
    band: int = Field(primary_key=True, sa_type=BigInteger, description="A 256th of a power of two of that price")
    vaults: Any = Field(sa_type=JSONB, description="Outpoints the vaults were first seen on, in order")


class Liquidation(Row, table=True):
    """A vault's liquidation."""

    __tablename__ = "liquidation"
    __table_args__ = (Index("liquidation_by_height", "app_set", "height"), _args)
    app_set: str = _set()
    genesis: str = Field(primary_key=True, sa_type=Text, description="The vault")
    tx_id: str = Field(primary_key=True, sa_type=Text, description="Transaction")
    vault_id: str = Field(sa_type=Text, description="The vault's id, hex")
    owner: str = Field(sa_type=Text, description="Owner's tag, hex")
    script: str = Field(sa_type=Text, description="Locking script of who held it")
    address: str | None = Field(default=None, sa_type=Text, description="Its address")
    debt: Base = Field(sa_type=UINT128, description="The vault's entire debt before, less what is left")
    collateral: Sats = Field(
        sa_type=UINT128, description="Its entire collateral before, less what is left and what its owner is paid"
    )
    returned: Sats = Field(sa_type=UINT128, description="Satoshis that the transaction pays to its owner or holder")
    pool_debt: Base | None = Field(
        default=None, sa_type=UINT128, description="Debt the pool took; null: several vaults share what it took"
    )
    pool_collateral: Sats | None = Field(
        default=None, sa_type=UINT128, description="Collateral the pool got; null: several vaults share it"
    )
    used_price8: Price8 | None = Field(
        default=None, sa_type=UINT128, description="Price the transaction gave to the app; null: it gave none"
    )
    price8: Price8 | None = Field(default=None, sa_type=UINT128, description="The oracle's price; null: none")
    icr_bps: Bps | None = Field(default=None, sa_type=UINT128, description="Ratio at the oracle's price before")
    recovery_mode: bool | None = Field(
        default=None, sa_type=Boolean, description="Recovery mode before, as apps see it"
    )
    healthy: bool | None = Field(
        default=None, sa_type=Boolean, description="At the oracle's price it was not to be liquidated; null: no price"
    )
    height: int = Field(sa_type=BigInteger, description="Block")
    time: int = Field(sa_type=BigInteger, description="Unix seconds of the block")


class Redemption(Row, table=True):
    """Tokens given for collateral: inferred from debts that fall with collateral while others' tokens are burned."""

    __tablename__ = "redemption"
    __table_args__ = (Index("redemption_by_height", "app_set", "height"), _args)
    app_set: str = _set()
    tx_id: str = Field(primary_key=True, sa_type=Text, description="Transaction")
    redeemer: str | None = Field(
        default=None, sa_type=Text, description="Locking script whose tokens were burned; null: several"
    )
    redeemed: Base = Field(sa_type=UINT128, description="Tokens burned")
    debt: Base = Field(sa_type=UINT128, description="By how much vaults' debts fell")
    collateral: Sats = Field(sa_type=UINT128, description="By how much vaults' collateral fell")
    nominal_fee_bps: Bps = Field(sa_type=BigInteger, description="Fee by the app set's rules; whether paid is not seen")
    effective_price8: Price8 | None = Field(
        default=None, sa_type=UINT128, description="Tokens burned for a bitcoin; null: no collateral moved"
    )
    price8: Price8 | None = Field(default=None, sa_type=UINT128, description="The oracle's price; null: none")
    vaults: int = Field(sa_type=BigInteger, description="How many vaults it touched")
    height: int = Field(sa_type=BigInteger, description="Block")
    time: int = Field(sa_type=BigInteger, description="Unix seconds of the block")


class RedeemedVault(Row, table=True):
    """What a redemption took of a vault. Of one that ended, what its owner is paid is not counted."""

    __tablename__ = "redeemed_vault"
    __table_args__ = (Index("redeemed_vault_by_vault", "app_set", "genesis"), _args)
    app_set: str = _set()
    tx_id: str = Field(primary_key=True, sa_type=Text, description="Transaction")
    genesis: str = Field(primary_key=True, sa_type=Text, description="The vault")
    debt: Base = Field(sa_type=UINT128, description="By how much its debt fell")
    collateral: Sats = Field(sa_type=UINT128, description="By how much its collateral fell")
    height: int = Field(sa_type=BigInteger, description="Block")


# Stability pool


class StabilityPool(Row, table=True):
    """The stability pool as its state says (observed), and as it should be by the correct formulas (replayed)."""

    __tablename__ = "stability_pool"
    __table_args__ = _args
    app_set: str = _set()
    total: Base = Field(sa_type=UINT128, description="Tokens in it, observed")
    collateral: Sats = Field(sa_type=UINT128, description="Satoshis in it, observed")
    product_p: int = Field(sa_type=UINT128, description="Product P, observed")
    sum_s: int = Field(sa_type=UINT128, description="Sum S, observed")
    epoch: int = Field(sa_type=UINT128, description="Epoch, observed")
    scale: int = Field(sa_type=UINT128, description="Scale, observed")
    depositor_count: int = Field(sa_type=UINT128, description="Depositors, observed")
    deposits: int = Field(default=0, sa_type=BigInteger, description="Genuine deposits that there are")
    backing_sats: Sats = Field(sa_type=BigInteger, description="Satoshis on the coin of its state")
    replayed: bool = Field(
        default=True, sa_type=Boolean, description="Every operation so far could be told from another and replayed"
    )
    replayed_total: Base = Field(default=Base(0), sa_type=UINT128, description="Tokens in it, replayed")
    replayed_collateral: Sats = Field(default=Sats(0), sa_type=UINT128, description="Satoshis in it, replayed")
    replayed_p: int = Field(sa_type=UINT128, description="Product P, replayed")
    replayed_epoch: int = Field(default=0, sa_type=UINT128, description="Epoch, replayed")
    replayed_scale: int = Field(default=0, sa_type=UINT128, description="Scale, replayed")
    diverged: bool | None = Field(
        default=None,
        sa_type=Boolean,
        description="Observed and replayed differ by more than rounding; null: not replayed",
    )
    offsets: int = Field(default=0, sa_type=BigInteger, description="How many liquidations it took")


class PoolSum(Row, table=True):
    """The replay's sum S of an epoch and scale: satoshis per token x 10^18 x P."""

    __tablename__ = "pool_sum"
    __table_args__ = _args
    app_set: str = _set()
    epoch: int = Field(primary_key=True, sa_type=BigInteger, description="Epoch")
    scale: int = Field(primary_key=True, sa_type=BigInteger, description="Scale")
    total: int = Field(default=0, sa_type=POOL_SUM, description="The sum")


class SpDeposit(Row, table=True):
    """A deposit in the stability pool. What it is worth follows from its snapshots and the pool's."""

    __tablename__ = "sp_deposit"
    __table_args__ = (
        Index("sp_deposit_by_owner", "app_set", "owner"),
        Index("sp_deposit_by_address", "address"),
        _args,
    )
    app_set: str = _set()
    genesis: str = Field(primary_key=True, sa_type=Text, description="Outpoint it was first seen on")
    owner: str = Field(sa_type=Text, description="Owner's tag as its charm says, hex; no address")
    script: str = Field(sa_type=Text, description="Locking script of who holds it")
    address: str | None = Field(default=None, sa_type=Text, description="Its address")
    outpoint: str = Field(sa_type=Text, description="Outpoint it is or was last on")
    live: bool = Field(sa_type=Boolean, description="Its outpoint is unspent")
    ended: str | None = Field(
        default=None,
        sa_type=Text,
        description="How its coin ended: withdrawn, vanished, beamed, undecodable or unreadable; null: not",
    )
    genuine: bool = Field(sa_type=Boolean, description="It was made by spending the pool's own state")
    initial: Base = Field(sa_type=UINT128, description="Value at its last operation, observed")
    snapshot_p: int | None = Field(default=None, sa_type=UINT128, description="P at its last operation, observed")
    snapshot_s: int | None = Field(default=None, sa_type=UINT128, description="S at its last operation, observed")
    snapshot_epoch: int = Field(sa_type=UINT128, description="Epoch at its last operation, observed")
    snapshot_scale: int = Field(sa_type=UINT128, description="Scale at its last operation, observed")
    replayed_initial: Base | None = Field(
        default=None, sa_type=UINT128, description="Value at its last operation, replayed; null: not replayed"
    )
    replayed_p: int | None = Field(default=None, sa_type=UINT128, description="P at its last operation, replayed")
    replayed_s: int | None = Field(default=None, sa_type=POOL_SUM, description="S at its last operation, replayed")
    replayed_epoch: int | None = Field(
        default=None, sa_type=UINT128, description="Epoch at its last operation, replayed"
    )
    replayed_scale: int | None = Field(
        default=None, sa_type=UINT128, description="Scale at its last operation, replayed"
    )
    replayed_paid: Sats | None = Field(
        default=None, sa_type=UINT128, description="Gains that its operations should have paid, replayed"
    )
    claimed_updated_height: int = Field(sa_type=UINT128, description="Block its charm says it was last changed in")
    opened_height: int = Field(sa_type=BigInteger, description="Block it was made in")
    changed_height: int = Field(sa_type=BigInteger, description="Block it was last changed or moved in")
    changed_tx: str = Field(sa_type=Text, description="Transaction that last changed or moved it")
    version: int = Field(sa_type=BigInteger, description="How many states it had, from 1")


class SpOffset(Row, table=True):
    """A liquidation that the pool took, with the pool as it was after."""

    __tablename__ = "sp_offset"
    __table_args__ = (Index("sp_offset_by_height", "app_set", "height"), _args)
    app_set: str = _set()
    number: int = Field(primary_key=True, sa_type=BigInteger, description="Its number, from 1")
    tx_id: str = Field(sa_type=Text, description="Transaction")
    debt: Base | None = Field(
        default=None, sa_type=UINT128, description="Tokens burned; null: not to be told from other operations"
    )
    collateral: Sats | None = Field(default=None, sa_type=UINT128, description="Satoshis gained; null: not to be told")
    total: Base = Field(sa_type=UINT128, description="Tokens left in the pool, observed")
    product_p: int = Field(sa_type=UINT128, description="P after, observed")
    sum_s: int = Field(sa_type=UINT128, description="S after, observed")
    epoch: int = Field(sa_type=UINT128, description="Epoch after, observed")
    scale: int = Field(sa_type=UINT128, description="Scale after, observed")
    replayed_p: int | None = Field(default=None, sa_type=UINT128, description="P after, replayed; null: not replayed")
    replayed_s: int | None = Field(default=None, sa_type=POOL_SUM, description="S after, replayed")
    replayed_epoch: int | None = Field(default=None, sa_type=UINT128, description="Epoch after, replayed")
    replayed_scale: int | None = Field(default=None, sa_type=UINT128, description="Scale after, replayed")
    height: int = Field(sa_type=BigInteger, description="Block")
    time: int = Field(sa_type=BigInteger, description="Unix seconds of the block")


# Token


class TokenUtxo(Row, table=True):
    """A coin with zkUSD on it."""

    __tablename__ = "token_utxo"
    __table_args__ = (
        Index("token_utxo_by_script", "app_set", "script"),
        Index("token_utxo_by_height", "app_set", "height"),
        _args,
    )
    app_set: str = _set()
    outpoint: str = Field(primary_key=True, sa_type=Text, description="Transaction and output")
    amount: Base = Field(sa_type=UINT128, description="Tokens")
    script: str = Field(sa_type=Text, description="Locking script")
    address: str | None = Field(default=None, sa_type=Text, description="Its address")
    sats: Sats = Field(sa_type=BigInteger, description="Satoshis")
    live: bool = Field(sa_type=Boolean, description="Unspent, and its tokens are here")
    beamed: bool = Field(sa_type=Boolean, description="Its tokens went to another chain")
    height: int = Field(sa_type=BigInteger, description="Block")
    tx_id: str = Field(sa_type=Text, description="Transaction")
    spent_by: str | None = Field(default=None, sa_type=Text, description="Transaction that spent it; null: unspent")
    spent_height: int | None = Field(default=None, sa_type=BigInteger, description="Block it was spent in")


class TokenBalance(Row, table=True):
    """The zkUSD a script holds. One that held some once stays with zero."""

    __tablename__ = "token_balance"
    __table_args__ = (
        Index("token_balance_by_amount", "app_set", "amount"),
        Index("token_balance_by_address", "address"),
        _args,
    )
    app_set: str = _set()
    script: str = Field(primary_key=True, sa_type=Text, description="Locking script")
    address: str | None = Field(default=None, sa_type=Text, description="Its address")
    amount: Base = Field(default=Base(0), sa_type=UINT128, description="Tokens on its unspent coins")
    utxos: int = Field(default=0, sa_type=BigInteger, description="How many unspent coins with tokens")
    first_height: int = Field(sa_type=BigInteger, description="Block of its first tokens")
    last_height: int = Field(sa_type=BigInteger, description="Block of the last movement")


# Prices


class OraclePrice(Row, table=True):
    """A price that the oracle's own state said."""

    __tablename__ = "oracle_price"
    __table_args__ = (Index("oracle_price_by_height", "app_set", "height"), _args)
    app_set: str = _set()
    number: int = Field(primary_key=True, sa_type=BigInteger, description="Number of the oracle's state, from 1")
    price8: Price8 = Field(sa_type=UINT128, description="The price")
    claimed_height: int = Field(sa_type=UINT128, description="Block the operator says it is of")
    source: str = Field(sa_type=Text, description="Mock, Aggregated, Chainlink, DIA or Custom, as the operator says")
    confidence: int = Field(sa_type=BigInteger, description="0 to 255, as the operator says")
    operator: str = Field(sa_type=Text, description="Operator's tag, hex")
    active: bool = Field(sa_type=Boolean, description="The oracle says that it is active")
    last_valid_price8: Price8 = Field(sa_type=UINT128, description="Last valid price, as the state says")
    change_bps: Bps | None = Field(
        default=None, sa_type=UINT128, description="Change since the price before; null: none, or that was 0"
    )
    height: int = Field(sa_type=BigInteger, description="Block it came in")
    time: int = Field(sa_type=BigInteger, description="Unix seconds of that block")
    tx_id: str = Field(sa_type=Text, description="Transaction")
    outpoint: str = Field(sa_type=Text, description="Outpoint of the oracle's state")


class PriceInput(Row, table=True):
    """A price that a transaction gave to the vault manager, beside the oracle's own."""

    __tablename__ = "price_input"
    __table_args__ = (Index("price_input_by_height", "app_set", "height"), _args)
    app_set: str = _set()
    tx_id: str = Field(primary_key=True, sa_type=Text, description="Transaction")
    app: str = Field(primary_key=True, sa_type=Text, description="App it was given to, tag/identity/vk")
    price8: Price8 = Field(sa_type=UINT128, description="The price given")
    claimed_height: int = Field(sa_type=UINT128, description="Block it says it is of")
    source: str = Field(sa_type=Text, description="Source, as it says")
    confidence: int = Field(sa_type=BigInteger, description="0 to 255, as it says")
    oracle_price8: Price8 | None = Field(default=None, sa_type=UINT128, description="The oracle's price; null: none")
    matches: bool | None = Field(
        default=None, sa_type=Boolean, description="It is the oracle's price; null: the oracle has none"
    )
    height: int = Field(sa_type=BigInteger, description="Block")
    time: int = Field(sa_type=BigInteger, description="Unix seconds of the block")


# What happened


class EventRow(Row, table=True):
    """Something that happened, told from the states before and after a transaction."""

    __tablename__ = "event"
    __table_args__ = (
        Index("event_by_height", "height", "tx_index", "ordinal"),
        Index("event_by_kind", "app_set", "kind", "height"),
        Index("event_by_vault", "vault", "height"),
        Index("event_by_account", "account", "height"),
        Index("event_by_counterparty", "counterparty", "height"),
        _args,
    )
    tx_id: str = Field(primary_key=True, sa_type=Text, description="Transaction")
    ordinal: int = Field(primary_key=True, sa_type=BigInteger, description="Its place among the transaction's, from 0")
    app_set: str = Field(sa_type=Text, description=_SET)
    kind: str = Field(sa_type=Text, description="What happened: see the list of kinds")
    severity: str = Field(sa_type=Text, description="info, warning or critical")
    anomaly: bool = Field(sa_type=Boolean, description="Something the protocol should not allow, and the chain did")
    vault: str | None = Field(default=None, sa_type=Text, description="Outpoint the vault concerned was first seen on")
    vault_id: str | None = Field(default=None, sa_type=Text, description="Its id, hex")
    account: str | None = Field(default=None, sa_type=Text, description="Locking script of whom it concerns")
    counterparty: str | None = Field(default=None, sa_type=Text, description="Locking script of the other side")
    data: Any = Field(sa_type=JSONB, description="What else is known of it, by its kind; amounts in base units")
    height: int = Field(sa_type=BigInteger, description="Block")
    time: int = Field(sa_type=BigInteger, description="Unix seconds of the block")
    tx_index: int = Field(sa_type=BigInteger, description="The transaction's place in the block")


class Day(Row, table=True):
    """A day's figures, by the time in the blocks, UTC."""

    __tablename__ = "day"
    __table_args__ = _args
    app_set: str = _set()
    day: int = Field(primary_key=True, sa_type=BigInteger, description="Days since 1970-01-01")
    supply: Base = Field(default=Base(0), sa_type=UINT128, description="Tokens on unspent coins at its end")
    debt: Base = Field(default=Base(0), sa_type=UINT128, description="Debt of active vaults at its end")
    collateral: Sats = Field(default=Sats(0), sa_type=UINT128, description="Collateral of active vaults at its end")
    active_vaults: int = Field(default=0, sa_type=BigInteger, description="Active vaults at its end")
    price8: Price8 | None = Field(default=None, sa_type=UINT128, description="The oracle's price at its end")
    tcr_bps: Bps | None = Field(default=None, sa_type=UINT128, description="Total ratio of the vaults at its end")
    pool_total: Base = Field(default=Base(0), sa_type=UINT128, description="Tokens in the stability pool at its end")
    minted: Base = Field(default=Base(0), sa_type=UINT128, description="Tokens minted")
    burned: Base = Field(default=Base(0), sa_type=UINT128, description="Tokens burned")
    transferred: Base = Field(default=Base(0), sa_type=UINT128, description="Tokens that changed hands")
    opened: int = Field(default=0, sa_type=BigInteger, description="Vaults opened")
    closed: int = Field(default=0, sa_type=BigInteger, description="Vaults closed")
    liquidated: int = Field(default=0, sa_type=BigInteger, description="Vaults liquidated")
    liquidated_debt: Base = Field(default=Base(0), sa_type=UINT128, description="Their debt")
    redeemed: Base = Field(default=Base(0), sa_type=UINT128, description="Tokens redeemed")
    nominal_fees: Base = Field(
        default=Base(0), sa_type=UINT128, description="Borrowing fees by the rules; the apps of 2026 charge none"
    )
    anomalies: int = Field(default=0, sa_type=BigInteger, description="Anomalies")
    transactions: int = Field(default=0, sa_type=BigInteger, description="Transactions of the set's apps")
    active_scripts: int = Field(default=0, sa_type=BigInteger, description="Scripts that held what these moved")


class DayScript(Row, table=True):
    """A script was active on a day."""

    __tablename__ = "day_script"
    __table_args__ = _args
    app_set: str = _set()
    day: int = Field(primary_key=True, sa_type=BigInteger, description="Days since 1970-01-01")
    script: str = Field(primary_key=True, sa_type=Text, description="Locking script")


TABLES: Final[tuple[type[Row], ...]] = (
    AppSetRow,
    Contract,
    ContractState,
    ImpostorState,
    Outpoint,
    ProtocolState,
    Vault,
    VaultVersion,
    VaultName,
    RiskBand,
    Liquidation,
    Redemption,
    RedeemedVault,
    StabilityPool,
    PoolSum,
    SpDeposit,
    SpOffset,
    TokenUtxo,
    TokenBalance,
    OraclePrice,
    PriceInput,
    EventRow,
    Day,
    DayScript,
)
"""Every table."""
