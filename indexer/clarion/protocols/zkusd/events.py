"""What can happen, as it is told from the states before and after a transaction.

The chain holds no events, and neither what somebody meant to do nor who signed. Each struct is a kind of row of
``zkusd.event``: its name is the row's ``kind``, its fields are the row's ``data``, in base units; the vault concerned,
the account and the other side are columns of their own. What cannot be known is None. A flash mint leaves no trace in
any state, so there is no event of it.
"""

from __future__ import annotations

from typing import ClassVar, Final, Literal, get_args

import msgspec

from clarion.protocols.zkusd.app_sets import Role
from clarion.protocols.zkusd.units import Base, Bps, Percent, Price8, Sats

Severity = Literal["info", "warning", "critical"]
SEVERITIES: Final[tuple[Severity, ...]] = get_args(Severity)


class ZkusdEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened."""

    severity: ClassVar[Severity] = "info"
    anomaly: ClassVar[bool] = False
    """Whether the protocol should not allow it, or it destroyed something."""

    @classmethod
    def kind(cls) -> str:
        """The name that it goes by."""
        return cls.__name__


class Anomaly(ZkusdEvent, frozen=True, kw_only=True):
    """Something the protocol should not allow, and the chain did."""

    severity: ClassVar[Severity] = "critical"
    anomaly: ClassVar[bool] = True


# Vaults


class VaultOpened(ZkusdEvent, frozen=True, kw_only=True):
    """A vault is there that was not."""

    owner: str
    collateral: Sats
    debt: Base
    """Liquidation reserve in it."""
    minted: Base | None
    """By how much the supply grew; None where several vaults were opened at once, or no supply is known."""
    nominal_fee: Base
    """What the rules ask for."""
    charged_fee: Base | None
    """What the fee's receiver was given, or without one debt less reserve and what was minted; None as ``minted``."""
    price8: Price8 | None
    icr_percent: Percent | None


class VaultClosed(ZkusdEvent, frozen=True, kw_only=True):
    """A vault says that it is closed, or is gone in a transaction that runs its app."""

    owner: str
    collateral_returned: Sats
    debt_repaid: Base


class CollateralAdded(ZkusdEvent, frozen=True, kw_only=True):
    """A vault's collateral grew."""

    amount: Sats
    new_collateral: Sats
    new_icr_percent: Percent | None
    composite: bool
    """Its debt changed too: one of two events."""


class CollateralWithdrawn(ZkusdEvent, frozen=True, kw_only=True):
    """A vault's collateral fell."""

    amount: Sats
    new_collateral: Sats
    new_icr_percent: Percent | None
    composite: bool


class DebtMinted(ZkusdEvent, frozen=True, kw_only=True):
    """A vault's debt grew."""

    amount: Base
    nominal_fee: Base
    new_debt: Base
    new_icr_percent: Percent | None
    composite: bool


class DebtRepaid(ZkusdEvent, frozen=True, kw_only=True):
    """A vault's debt fell."""

    amount: Base
    new_debt: Base
    new_icr_percent: Percent | None
    composite: bool


class VaultLiquidated(ZkusdEvent, frozen=True, kw_only=True):
    """A vault says that it is liquidated, or was emptied, or the operation says so."""

    owner: str
    debt_absorbed: Base
    collateral_seized: Sats
    """Without what the owner was paid."""
    collateral_to_pool: Sats | None
    """None where several vaults share what the pool got."""
    price8: Price8 | None
    icr_percent: Percent | None
    recovery_mode: bool | None


class VaultRescued(ZkusdEvent, frozen=True, kw_only=True):
    """Collateral grew and debt fell, paid with tokens that the holder did not hold."""

    collateral_added: Sats
    debt_repaid: Base
    new_icr_percent: Percent | None


class InsurancePurchased(ZkusdEvent, frozen=True, kw_only=True):
    """A vault's insurance grew."""

    amount: Sats
    new_balance: Sats


class InsuranceTriggered(ZkusdEvent, frozen=True, kw_only=True):
    """A vault's insurance fell."""

    amount: Sats
    new_balance: Sats


class VaultTransferred(ZkusdEvent, frozen=True, kw_only=True):
    """A vault has another holder: the account had it, the other side has it."""


class VaultOwnerChanged(ZkusdEvent, frozen=True, kw_only=True):
    """A vault's charm names another owner."""

    old: str
    new: str


class VaultRestated(ZkusdEvent, frozen=True, kw_only=True):
    """Other figures of a vault changed: interest, what it took over, its status."""

    before: dict[str, int | str]
    after: dict[str, int | str]


# Token


class TokenTransfer(ZkusdEvent, frozen=True, kw_only=True):
    """Tokens went from the account to the other side."""

    amount: Base


class TokenMint(ZkusdEvent, frozen=True, kw_only=True):
    """Tokens came into being at the account."""

    amount: Base
    new_total_supply: Base | None


class TokenBurn(ZkusdEvent, frozen=True, kw_only=True):
    """Tokens of the account were burned by a spell."""

    amount: Base
    new_total_supply: Base | None


class TokensBeamed(ZkusdEvent, frozen=True, kw_only=True):
    """Tokens of the account went to another chain."""

    amount: Base
    destination: str
    """Hash of the place there."""


class MinterSet(ZkusdEvent, frozen=True, kw_only=True):
    """The token's state names another minter."""

    old: str
    new: str


class Redemption(ZkusdEvent, frozen=True, kw_only=True):
    """Tokens of the account were burned for collateral of vaults."""

    redeemed: Base
    debt: Base
    collateral: Sats
    nominal_fee_bps: Bps
    vaults_affected: int
    price8: Price8 | None


# Stability pool


class StabilityDeposit(ZkusdEvent, frozen=True, kw_only=True):
    """Tokens went into the pool."""

    owner: str
    amount: Base
    new_deposit: Base
    pool_total: Base


class StabilityWithdrawal(ZkusdEvent, frozen=True, kw_only=True):
    """Tokens came out of the pool."""

    owner: str
    amount: Base
    remaining: Base
    pool_total: Base


class BtcRewardClaimed(ZkusdEvent, frozen=True, kw_only=True):
    """The pool paid out collateral."""

    owner: str | None
    """None where several deposits were operated on at once."""
    amount: Sats
    due: Sats | None
    """What the correct formulas say; None where the pool could not be replayed."""


class LiquidationOffset(ZkusdEvent, frozen=True, kw_only=True):
    """The pool took debt and got collateral."""

    debt_offset: Base | None
    collateral_gained: Sats | None
    new_pool_total: Base


# Apps


class AppDeployed(ZkusdEvent, frozen=True, kw_only=True):
    """An app's first state is there."""

    role: Role
    outpoint: str


class StateMoved(ZkusdEvent, frozen=True, kw_only=True):
    """An app's state has another holder: the account had it, the other side has it."""

    role: Role


class AdminChanged(ZkusdEvent, frozen=True, kw_only=True):
    """An app's state names another admin."""

    role: Role
    old: str
    new: str


class ProtocolPaused(ZkusdEvent, frozen=True, kw_only=True):
    """The vault manager says that it is paused."""


class ProtocolUnpaused(ZkusdEvent, frozen=True, kw_only=True):
    """The vault manager says that it is paused no longer."""


class BaseRateChanged(ZkusdEvent, frozen=True, kw_only=True):
    """The base rate of fees is another."""

    old_bps: Bps
    new_bps: Bps


class ProtocolTotalsChanged(ZkusdEvent, frozen=True, kw_only=True):
    """The vault manager reports other totals."""

    collateral: Sats
    debt: Base
    vaults: int
    collateral_change: Sats
    debt_change: Base
    vaults_change: int


class PriceUpdated(ZkusdEvent, frozen=True, kw_only=True):
    """The oracle says another price, or says it anew."""

    old_price8: Price8 | None
    new_price8: Price8
    source: str
    claimed_height: int
    change_bps: Bps | None


class OracleOperatorChanged(ZkusdEvent, frozen=True, kw_only=True):
    """The oracle has another operator."""

    old: str
    new: str


class OracleActiveChanged(ZkusdEvent, frozen=True, kw_only=True):
    """The oracle says that it is active, or no longer."""

    active: bool


class PriceInputUsed(ZkusdEvent, frozen=True, kw_only=True):
    """A transaction gave the vault manager a price of its own, which is the oracle's."""

    price8: Price8
    claimed_height: int
    oracle_price8: Price8 | None


class RecoveryModeEntered(ZkusdEvent, frozen=True, kw_only=True):
    """The total ratio, by what is reported, fell below what recovery mode begins at."""

    severity: ClassVar[Severity] = "warning"
    tcr_percent: Percent
    computed_tcr_bps: Bps | None


class RecoveryModeExited(ZkusdEvent, frozen=True, kw_only=True):
    """The total ratio, by what is reported, is at what recovery mode ends at, or there is no debt."""

    tcr_percent: Percent | None
    computed_tcr_bps: Bps | None


# What the protocol should not allow


class PriceNotOracle(Anomaly, frozen=True, kw_only=True):
    """A transaction gave the vault manager a price that is not the oracle's."""

    price8: Price8
    claimed_height: int
    oracle_price8: Price8 | None
    """None: there is no oracle's state."""


class UnbackedCollateral(Anomaly, frozen=True, kw_only=True):
    """A vault counts collateral that its coin does not hold."""

    severity: ClassVar[Severity] = "warning"
    collateral: Sats
    utxo_sats: Sats


class HealthyVaultLiquidated(Anomaly, frozen=True, kw_only=True):
    """A vault was liquidated that was not to be, at the oracle's price."""

    price8: Price8
    used_price8: Price8 | None
    icr_percent: Percent | None
    threshold_percent: Percent


class EmptyRedemption(Anomaly, frozen=True, kw_only=True):
    """A transaction says that it redeems, and burns tokens, but no vault's debt fell."""

    burned: Base


class SupplyMismatch(Anomaly, frozen=True, kw_only=True):
    """A transaction's tokens changed otherwise than the supply that the token's state reports."""

    tokens_before: Base
    tokens_after: Base
    reported_change: Base
    """0 also where the token's state was not part of it."""


class TotalsDrift(Anomaly, frozen=True, kw_only=True):
    """What the vault manager reports is not what the vaults come to; reported less computed."""

    severity: ClassVar[Severity] = "warning"
    collateral: Sats
    debt: Base
    vaults: int


class PoolDivergence(Anomaly, frozen=True, kw_only=True):
    """The pool's state differs from what the correct formulas give by more than rounding."""

    observed: dict[str, int]
    replayed: dict[str, int]


class GainMismatch(Anomaly, frozen=True, kw_only=True):
    """The pool paid out another gain than the correct formulas give."""

    amount: Sats
    due: Sats


class ImpostorState(Anomaly, frozen=True, kw_only=True):
    """A state of one of the apps does not descend from the set's own."""

    role: Role
    outpoint: str
    app: str


class StateForked(Anomaly, frozen=True, kw_only=True):
    """Spending a state, or a vault, made more than one of it; the first goes on."""

    role: Role
    outpoint: str
    app: str


class ImpostorVault(Anomaly, frozen=True, kw_only=True):
    """A vault was made without spending the vault manager's own state."""

    collateral: Sats
    debt: Base
    app: str


class ImpostorDeposit(Anomaly, frozen=True, kw_only=True):
    """A deposit was made without spending the pool's own state."""

    initial: Base
    app: str


class ImpostorToken(Anomaly, frozen=True, kw_only=True):
    """Tokens with the verification key of the set's token and another identity."""

    amount: Base
    app: str


class DuplicateVaultId(Anomaly, frozen=True, kw_only=True):
    """A vault was opened with the id of one that there is."""

    severity: ClassVar[Severity] = "warning"
    other: str
    """Outpoint that the other was first seen on."""


class StateVanished(Anomaly, frozen=True, kw_only=True):
    """An app's state was spent and none came of it."""

    role: Role
    how: str
    """vanished, beamed, undecodable, unreadable."""


class VaultVanished(Anomaly, frozen=True, kw_only=True):
    """A vault's coin was spent without its app: it is destroyed, or went where it cannot be read."""

    how: str
    collateral: Sats
    debt: Base


class DepositVanished(Anomaly, frozen=True, kw_only=True):
    """A deposit's coin was spent without its app: it is destroyed, or went where it cannot be read."""

    how: str
    initial: Base


class CharmBurned(Anomaly, frozen=True, kw_only=True):
    """Tokens of the account were destroyed: their coin was spent without a spell, or by one that is not about them."""

    severity: ClassVar[Severity] = "warning"
    amount: Base


class UndecodableCharm(Anomaly, frozen=True, kw_only=True):
    """A charm of one of the apps says nothing that the app is known to write."""

    severity: ClassVar[Severity] = "warning"
    role: Role
    outpoint: str
    app: str
    reason: str


class UnreadableSpell(Anomaly, frozen=True, kw_only=True):
    """Charms were spent with a spell of a version that cannot be verified: what became of them is not known."""

    version: int | None
    reason: str | None


def _kinds(of: type[ZkusdEvent]) -> list[type[ZkusdEvent]]:
    return [kind for sub in of.__subclasses__() for kind in ([*_kinds(sub)] if sub.__subclasses__() else [sub])]


KINDS: Final = {kind.kind(): kind for kind in _kinds(ZkusdEvent)}
"""Every kind by name."""
