"""BitHedge's projection tables, schema ``bithedge``.

Units are in the names, as in :mod:`clarion.protocols.bithedge.units`: ``…_usd8``, ``…_bp``, ``…_sat``, ``…_burn``,
``…_e12``; amounts without a suffix are base units of the row's ``token``. A token is named by its contract, a
transaction by ``0x`` hex. ``…_height`` is a Stacks block height, ``…_time`` Unix seconds.

Ids, heights and counts that the contracts bound are ``bigint``; every other ``uint`` is :data:`UINT128`.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import BigInteger, Index, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from clarion.protocols.bithedge.units import E12, BasisPoints, BurnBlocks, BurnHeight, Sats, TokenAmount, Usd8
from clarion.store.rows import UINT128, Row

SCHEMA: Final = "bithedge"

_args: Final = {"schema": SCHEMA}


# Where the events stand


class ContractSequence(Row, table=True):
    """How far a contract's events were seen. Rows that sum up are exact only while nothing is missing."""

    __tablename__ = "contract_sequence"
    __table_args__ = _args
    contract: str = Field(primary_key=True, sa_type=Text, description="Contract id")
    first_seq: int = Field(sa_type=BigInteger, description="Number of the first event seen; more than 1: begun late")
    last_seq: int = Field(sa_type=BigInteger, description="Number of the last event seen")
    missing: int = Field(default=0, sa_type=BigInteger, description="How many numbers were skipped since the first")


class SequenceGap(Row, table=True):
    """An event whose number was not the one after the contract's last."""

    __tablename__ = "sequence_gap"
    __table_args__ = _args
    contract: str = Field(primary_key=True, sa_type=Text, description="Contract id")
    seq: int = Field(primary_key=True, sa_type=BigInteger, description="Number the event has")
    expected: int = Field(sa_type=BigInteger, description="Number it should have had")
    height: int = Field(sa_type=BigInteger, description="Stacks block it was found in")
    tx_id: str = Field(sa_type=Text, description="Transaction it was found in")


# bh-registry


class Role(Row, table=True):
    """A role somebody holds. A revoked one is gone."""

    __tablename__ = "role"
    __table_args__ = (Index("role_by_holder", "who"), _args)
    role: str = Field(primary_key=True, sa_type=Text, description="governance, guardian, …")
    who: str = Field(primary_key=True, sa_type=Text, description="Principal that holds it")
    until_burn: int | None = Field(
        default=None, sa_type=UINT128, description="Last Bitcoin block it holds in; null: without end"
    )
    granted_height: int = Field(sa_type=BigInteger, description="Stacks block it was last granted in")


class Module(Row, table=True):
    """A contract that is a version of a module."""

    __tablename__ = "module"
    __table_args__ = (Index("module_by_contract", "contract"), _args)
    module: str = Field(primary_key=True, sa_type=Text, description="Module name, such as vault or policy")
    version: int = Field(primary_key=True, sa_type=BigInteger, description="Version, from 1")
    contract: str = Field(sa_type=Text, description="Contract id")
    code_hash: str | None = Field(default=None, sa_type=Text, description="Hash of its code, 0x hex")
    state: str = Field(sa_type=Text, description="registered, active, draining or deprecated")
    active_from_burn: BurnHeight | None = Field(
        default=None, sa_type=BigInteger, description="First Bitcoin block it may be activated in"
    )


class Migration(Row, table=True):
    """A copy of a module's rows into its next version. Null: not known, because indexing began after it."""

    __tablename__ = "migration"
    __table_args__ = (Index("migration_by_module", "module", "version"), _args)
    id: int = Field(primary_key=True, sa_type=BigInteger, description="Migration id, from 1")
    module: str = Field(sa_type=Text, description="Module name")
    from_version: int | None = Field(default=None, sa_type=BigInteger, description="Active version then; null: none")
    version: int = Field(sa_type=BigInteger, description="Version that is filled")
    cursor: int = Field(sa_type=UINT128, description="How far the copy is, in the new contract's own terms")
    hash: str = Field(sa_type=Text, description="Hash that chains what was copied, 0x hex")
    steps: int = Field(default=0, sa_type=BigInteger, description="Steps seen")
    done: bool = Field(description="Ended; the version can be activated")
    begun_height: int | None = Field(default=None, sa_type=BigInteger, description="Stacks block it began in")
    finished_height: int | None = Field(default=None, sa_type=BigInteger, description="Stacks block it ended in")


# bh-params


class Parameter(Row, table=True):
    """A protocol parameter as it is."""

    __tablename__ = "parameter"
    __table_args__ = _args
    key: str = Field(primary_key=True, sa_type=Text, description="Name")
    kind: str = Field(sa_type=Text, description="Unit of value, min and max: burn, bp, sat, usd8, amt, count")
    value: int = Field(sa_type=UINT128, description="Value in force")
    min: int = Field(sa_type=UINT128, description="Least value governance can set")
    max: int = Field(sa_type=UINT128, description="Greatest value governance can set")


class ParameterChange(Row, table=True):
    """One setting of a parameter."""

    __tablename__ = "parameter_change"
    __table_args__ = (Index("parameter_change_by_key", "key", "seq"), _args)
    seq: int = Field(primary_key=True, sa_type=BigInteger, description="Number of the event in bh-params")
    key: str = Field(sa_type=Text, description="Name of the parameter")
    before: int | None = Field(default=None, sa_type=UINT128, description="Value until then; null: a new parameter")
    value: int = Field(sa_type=UINT128, description="Value from then on")
    proposal: int | None = Field(default=None, sa_type=UINT128, description="Governance proposal, where it names one")
    height: int = Field(sa_type=BigInteger, description="Stacks block")
    burn_height: int = Field(sa_type=BigInteger, description="Bitcoin block")
    time: int = Field(sa_type=BigInteger, description="Unix seconds of the Stacks block")
    tx_id: str = Field(sa_type=Text, description="Transaction")


class Switch(Row, table=True):
    """What can be stopped: a flag of governance and a breaker of the guardian under one name.

    Open when the flag is on and the breaker not tripped. Null: not known, because indexing began after it was set.
    """

    __tablename__ = "switch"
    __table_args__ = _args
    name: str = Field(primary_key=True, sa_type=Text, description="Name, such as create, deposit or oracle")
    flag: bool | None = Field(default=None, description="Governance's flag: on")
    tripped: bool | None = Field(default=None, description="The guardian's breaker: tripped")
    reason: str | None = Field(default=None, sa_type=Text, description="Why the breaker was tripped; null: it is not")
    since_burn: BurnHeight | None = Field(
        default=None, sa_type=BigInteger, description="Bitcoin block since which the breaker is as it is"
    )
    is_open: bool | None = Field(default=None, description="Flag on and breaker not tripped")


class Metric(Row, table=True):
    """A figure that a module reports; above its limit a breaker trips."""

    __tablename__ = "metric"
    __table_args__ = _args
    name: str = Field(primary_key=True, sa_type=Text, description="Name, such as fund-used-bp")
    module: str = Field(sa_type=Text, description="Module whose active version reports it")
    value: int = Field(sa_type=UINT128, description="Last reported; 0: nothing yet")
    limit: int = Field(sa_type=UINT128, description="Greatest value that trips nothing")
    breaker: str = Field(sa_type=Text, description="Switch that it stops")
    reported_height: int | None = Field(default=None, sa_type=BigInteger, description="Stacks block of the last report")


class Tier(Row, table=True):
    """A risk tier: which policies it takes and how they are covered."""

    __tablename__ = "tier"
    __table_args__ = _args
    name: str = Field(primary_key=True, sa_type=Text, description="Name")
    rank: int = Field(sa_type=BigInteger, description="Place, from 0, in the order in which tiers are tried")
    strike_min_bp: BasisPoints = Field(sa_type=UINT128, description="Least strike it takes, in bp of spot")
    strike_max_bp: BasisPoints = Field(sa_type=UINT128, description="First strike above it, in bp of spot")
    max_duration_burn: BurnBlocks = Field(sa_type=BigInteger, description="Longest policy, in Bitcoin blocks")
    premium_mult_bp: BasisPoints = Field(sa_type=UINT128, description="Premium multiplier")
    ratio_min_bp: BasisPoints = Field(sa_type=UINT128, description="Collateral per liability of a new policy")
    ratio_warn_bp: BasisPoints = Field(sa_type=UINT128, description="Health a withdrawal must leave")
    max_policy_bp: BasisPoints = Field(sa_type=UINT128, description="Most of a position that one policy locks")
    max_expiry_bp: BasisPoints = Field(sa_type=UINT128, description="Most of a position that one expiry locks")
    active: bool = Field(description="Takes deposits and policies")


class Token(Row, table=True):
    """A collateral token."""

    __tablename__ = "token"
    __table_args__ = _args
    token: str = Field(primary_key=True, sa_type=Text, description="Contract id; native STX is that of bh-stx")
    asset: str = Field(sa_type=Text, description="Price feed that values it")
    asset_name: str = Field(sa_type=Text, description="Its name in post-conditions")
    native: bool = Field(description="Native STX")
    decimals: int = Field(sa_type=BigInteger, description="Decimal places of a base unit")
    haircut_bp: BasisPoints = Field(sa_type=UINT128, description="Part of its value that does not count as collateral")
    cap: TokenAmount = Field(sa_type=UINT128, description="Most that the vault takes by deposits")
    active: bool = Field(description="Takes deposits and policies")


class FeeShares(Row, table=True):
    """How a premium is shared. One row."""

    __tablename__ = "fee_shares"
    __table_args__ = _args
    contract: str = Field(primary_key=True, sa_type=Text, description="Contract that set them: bh-params")
    provider_bp: BasisPoints = Field(sa_type=UINT128, description="Share of the providers")
    platform_bp: BasisPoints = Field(sa_type=UINT128, description="Share of the platform")
    reserve_bp: BasisPoints = Field(sa_type=UINT128, description="Share of the insurance reserve")


# bh-oracle


class OracleProvider(Row, table=True):
    """Somebody who submits prices, now or earlier."""

    __tablename__ = "oracle_provider"
    __table_args__ = _args
    provider: str = Field(primary_key=True, sa_type=Text, description="Principal")
    weight: int = Field(default=0, sa_type=UINT128, description="Weight in the median; 0: removed")
    submissions: int = Field(default=0, sa_type=BigInteger, description="Prices submitted")
    last_observed_burn: BurnHeight | None = Field(
        default=None, sa_type=BigInteger, description="Bitcoin block of the newest observation"
    )
    last_submitted_height: int | None = Field(
        default=None, sa_type=BigInteger, description="Stacks block of the newest submission"
    )


class Asset(Row, table=True):
    """A price feed with its latest price. Null: not known, because indexing began after it was set."""

    __tablename__ = "asset"
    __table_args__ = _args
    asset: str = Field(primary_key=True, sa_type=Text, description="Name, such as BTC")
    active: bool | None = Field(default=None, description="Takes rounds")
    insurable: bool | None = Field(default=None, description="Policies may be on it")
    reference_usd8: Usd8 | None = Field(
        default=None, sa_type=UINT128, description="What the first round is compared with"
    )
    next_round: int = Field(default=1, sa_type=BigInteger, description="Number of the open or next round")
    last_round: int = Field(default=0, sa_type=BigInteger, description="Number of the last closed round; 0: none")
    price_usd8: Usd8 = Field(default=Usd8(0), sa_type=UINT128, description="Last closed price; 0: none")
    opened_burn: BurnHeight = Field(
        default=BurnHeight(0), sa_type=BigInteger, description="Bitcoin block from which the last price was observed"
    )
    var_e12: E12 = Field(default=E12(0), sa_type=UINT128, description="Variance per Bitcoin block x 10^12")
    candidate_usd8: Usd8 | None = Field(
        default=None, sa_type=UINT128, description="Rejected price that waits for a confirmation"
    )
    fallback_usd8: Usd8 | None = Field(default=None, sa_type=UINT128, description="Price announced by the guardian")
    fallback_from_burn: BurnHeight | None = Field(
        default=None, sa_type=BigInteger, description="First Bitcoin block it may be applied in"
    )
    fallback_reason: str | None = Field(default=None, sa_type=Text, description="Why it was announced")


class PriceRound(Row, table=True):
    """A round of prices. Rounds are kept for ever."""

    __tablename__ = "price_round"
    __table_args__ = (
        Index("price_round_by_opened", "asset", "state", "opened_burn"),
        Index("price_round_by_time", "asset", "closed_time"),
        _args,
    )
    asset: str = Field(primary_key=True, sa_type=Text, description="Price feed")
    round: int = Field(primary_key=True, sa_type=BigInteger, description="Number, from 1")
    state: str = Field(sa_type=Text, description="open, closed or rejected")
    mode: str = Field(
        sa_type=Text,
        description="open; normal, confirmed or fallback where closed; deviation, no-quorum or fallback where rejected",
    )
    opened_burn: BurnHeight = Field(sa_type=BigInteger, description="Every price was observed at or after this block")
    count: int = Field(default=0, sa_type=BigInteger, description="Submissions")
    weight: int = Field(default=0, sa_type=UINT128, description="Weight of the submissions")
    price_usd8: Usd8 | None = Field(
        default=None, sa_type=UINT128, description="Weighted median; null while open or where there was none"
    )
    before_usd8: Usd8 | None = Field(default=None, sa_type=UINT128, description="Price it was compared with")
    deviation_bp: BasisPoints | None = Field(default=None, sa_type=UINT128, description="Distance from that price")
    spread_bp: BasisPoints | None = Field(
        default=None, sa_type=UINT128, description="Largest distance of a submission from the median"
    )
    var_e12: E12 | None = Field(default=None, sa_type=UINT128, description="Variance per Bitcoin block x 10^12 then")
    prev_round: int | None = Field(default=None, sa_type=BigInteger, description="Closed round before it; 0: none")
    prev_opened_burn: BurnHeight | None = Field(
        default=None, sa_type=BigInteger, description="Bitcoin block that round opened at"
    )
    closed_burn: BurnHeight | None = Field(default=None, sa_type=BigInteger, description="Bitcoin block it ended in")
    closed_height: int | None = Field(default=None, sa_type=BigInteger, description="Stacks block it ended in")
    closed_time: int | None = Field(default=None, sa_type=BigInteger, description="Unix seconds of that block")


class PriceSubmission(Row, table=True):
    """A provider's price in a round."""

    __tablename__ = "price_submission"
    __table_args__ = (Index("price_submission_by_provider", "provider", "height"), _args)
    asset: str = Field(primary_key=True, sa_type=Text, description="Price feed")
    round: int = Field(primary_key=True, sa_type=BigInteger, description="Round")
    provider: str = Field(primary_key=True, sa_type=Text, description="Principal")
    place: int = Field(sa_type=BigInteger, description="Place among the round's submissions, from 1")
    price_usd8: Usd8 = Field(sa_type=UINT128, description="Price")
    weight: int = Field(sa_type=UINT128, description="The provider's weight then")
    observed_burn: BurnHeight = Field(sa_type=BigInteger, description="Bitcoin block it was observed at")
    height: int = Field(sa_type=BigInteger, description="Stacks block it was submitted in")
    tx_id: str = Field(sa_type=Text, description="Transaction")


class ExpiryPrice(Row, table=True):
    """The price that everything of an asset expiring at a Bitcoin block settles at. Fixed once."""

    __tablename__ = "expiry_price"
    __table_args__ = _args
    asset: str = Field(primary_key=True, sa_type=Text, description="Price feed")
    expiry_burn: BurnHeight = Field(primary_key=True, sa_type=BigInteger, description="Expiry")
    round: int = Field(sa_type=BigInteger, description="Round the price is from")
    price_usd8: Usd8 = Field(sa_type=UINT128, description="Price")
    fixed_height: int = Field(sa_type=BigInteger, description="Stacks block it was fixed in")


# bh-vault


class Provider(Row, table=True):
    """Somebody who provides, or provided, capital."""

    __tablename__ = "provider"
    __table_args__ = _args
    provider: str = Field(primary_key=True, sa_type=Text, description="Principal")
    auto_match: bool = Field(default=True, description="Policies may be put on the provider's positions")
    first_seen_height: int = Field(sa_type=BigInteger, description="Stacks block of the first event")


class Position(Row, table=True):
    """A provider's capital of one token in one tier.

    ``available`` + ``locked`` = ``deposited`` + ``moved_in`` - ``withdrawn`` - ``moved_out`` - ``paid_out``, where
    indexing began at the first event.
    """

    __tablename__ = "position"
    __table_args__ = (
        Index("position_by_pool", "tier", "token"),
        Index("position_by_token", "token"),
        Index(
            "position_by_leverage",
            "token",
            "tier",
            text("div(liability_usd8 * 1000000000000, greatest(available + locked, 1))"),
            postgresql_where=text("liability_usd8 > 0"),
        ),
        _args,
    )
    provider: str = Field(primary_key=True, sa_type=Text, description="Principal")
    tier: str = Field(primary_key=True, sa_type=Text, description="Risk tier")
    token: str = Field(primary_key=True, sa_type=Text, description="Collateral token")
    available: TokenAmount = Field(
        default=TokenAmount(0), sa_type=UINT128, description="Not locked; what is requested back included"
    )
    locked: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Backs policies")
    requested: TokenAmount = Field(
        default=TokenAmount(0), sa_type=UINT128, description="Asked back, not yet withdrawn; no policy can lock it"
    )
    liability_usd8: Usd8 = Field(
        default=Usd8(0), sa_type=UINT128, description="Sum of the maximum payouts that it backs"
    )
    deposited: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Deposited, in all")
    withdrawn: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Withdrawn, in all")
    moved_in: TokenAmount = Field(
        default=TokenAmount(0), sa_type=UINT128, description="From other tiers, and for allocations taken over, in all"
    )
    moved_out: TokenAmount = Field(
        default=TokenAmount(0), sa_type=UINT128, description="To other tiers, and for allocations given up, in all"
    )
    paid_out: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Paid to policy owners, in all")
    premium_unearned: TokenAmount = Field(
        default=TokenAmount(0), sa_type=UINT128, description="Its part of the premiums of active policies"
    )
    premium_earned: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Premium earned, in all")
    active_policies: int = Field(default=0, sa_type=BigInteger, description="Policies it backs")
    first_deposit_height: int | None = Field(default=None, sa_type=BigInteger, description="Stacks block")
    first_deposit_burn: int | None = Field(default=None, sa_type=BigInteger, description="Bitcoin block")
    arrived_height: int | None = Field(
        default=None,
        sa_type=BigInteger,
        description="Stacks block that capital last came in, by deposit or change of tier; none leaves in it",
    )


class Exposure(Row, table=True):
    """What a position has locked for the policies of one expiry."""

    __tablename__ = "exposure"
    __table_args__ = (Index("exposure_by_pool", "tier", "token", "expiry_burn"), _args)
    provider: str = Field(primary_key=True, sa_type=Text, description="Principal")
    tier: str = Field(primary_key=True, sa_type=Text, description="Risk tier")
    token: str = Field(primary_key=True, sa_type=Text, description="Collateral token")
    expiry_burn: BurnHeight = Field(primary_key=True, sa_type=BigInteger, description="Expiry")
    amount: TokenAmount = Field(sa_type=UINT128, description="Collateral locked for it")


class YieldBalance(Row, table=True):
    """What somebody can claim of one token: premiums earned in all tiers, bounties and penalties of liquidations."""

    __tablename__ = "yield_balance"
    __table_args__ = _args
    provider: str = Field(primary_key=True, sa_type=Text, description="Principal")
    token: str = Field(primary_key=True, sa_type=Text, description="Token")
    claimable: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Can be claimed now")
    earned: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Premiums earned, in all")
    credited: TokenAmount = Field(
        default=TokenAmount(0), sa_type=UINT128, description="Bounties and penalties of moved allocations, in all"
    )
    claimed: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Claimed, in all")


class WithdrawRequest(Row, table=True):
    """A provider's request to take capital out."""

    __tablename__ = "withdraw_request"
    __table_args__ = (
        Index("withdraw_request_by_provider", "provider", "state"),
        Index("withdraw_request_by_unlock", "state", "unlock_burn"),
        _args,
    )
    id: int = Field(primary_key=True, sa_type=BigInteger, description="Request id")
    provider: str = Field(sa_type=Text, description="Principal")
    tier: str = Field(sa_type=Text, description="Risk tier")
    token: str = Field(sa_type=Text, description="Collateral token")
    amount: TokenAmount = Field(sa_type=UINT128, description="Asked back")
    paid: TokenAmount = Field(
        default=TokenAmount(0), sa_type=UINT128, description="Paid out; less than asked where a liquidation took of it"
    )
    state: str = Field(sa_type=Text, description="pending or withdrawn")
    unlock_burn: BurnHeight | None = Field(
        default=None, sa_type=BigInteger, description="First Bitcoin block it can be withdrawn in"
    )
    requested_height: int | None = Field(default=None, sa_type=BigInteger, description="Stacks block")
    withdrawn_height: int | None = Field(default=None, sa_type=BigInteger, description="Stacks block")


class PolicyLock(Row, table=True):
    """What the vault holds for a policy, whichever contract made it."""

    __tablename__ = "policy_lock"
    __table_args__ = (Index("policy_lock_by_owner", "owner"), _args)
    policy: int = Field(primary_key=True, sa_type=BigInteger, description="Policy id")
    module: str | None = Field(default=None, sa_type=Text, description="Contract that locked and may end it")
    owner: str | None = Field(default=None, sa_type=Text, description="Owner of the policy")
    tier: str = Field(sa_type=Text, description="Risk tier")
    token: str = Field(sa_type=Text, description="Token of collateral and premium")
    expiry_burn: BurnHeight = Field(sa_type=BigInteger, description="Expiry")
    state: str = Field(sa_type=Text, description="locked or closed")
    max_payout_usd8: Usd8 = Field(default=Usd8(0), sa_type=UINT128, description="Sum of its allocations' liabilities")
    collateral: TokenAmount = Field(
        default=TokenAmount(0), sa_type=UINT128, description="Locked at the start, or since an allocation moved"
    )
    premium: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Paid by the owner")
    premium_provider: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="The providers' part")
    providers: list[Any] = Field(sa_type=JSONB, description="Providers in the order of the allocations")
    paid: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Paid out to the owner")
    refunded: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Premium given back")
    earned: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Premium that became yield")


class Allocation(Row, table=True):
    """The part of a policy that one provider covers."""

    __tablename__ = "allocation"
    __table_args__ = (
        Index("allocation_by_provider", "provider", "state", "expiry_burn"),
        Index("allocation_of_provider", "provider", "policy"),
        Index("allocation_by_pool", "tier", "token", "state"),
        _args,
    )
    policy: int = Field(primary_key=True, sa_type=BigInteger, description="Policy id")
    provider: str = Field(primary_key=True, sa_type=Text, description="Principal")
    place: int = Field(
        sa_type=BigInteger, description="Place among the policy's allocations, from 0; of a moved one, the last it had"
    )
    tier: str = Field(sa_type=Text, description="Risk tier of the position")
    token: str = Field(sa_type=Text, description="Token of the position")
    expiry_burn: BurnHeight = Field(sa_type=BigInteger, description="Expiry of the policy")
    state: str = Field(sa_type=Text, description="active, released, or moved: another provider has taken it over")
    liability_usd8: Usd8 = Field(sa_type=UINT128, description="Its part of the maximum payout")
    collateral: TokenAmount = Field(sa_type=UINT128, description="Locked for it, at the start and at each take-over")
    premium: TokenAmount = Field(
        default=TokenAmount(0), sa_type=UINT128, description="Its part of the premium, by liability"
    )
    paid: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Paid out to the owner")
    released: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Collateral that came back")
    premium_earned: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Premium that was earned")


class AccountEntry(Row, table=True):
    """One movement of an account's money in or out of the vault, or between its own balances there."""

    __tablename__ = "account_entry"
    __table_args__ = (
        Index("account_entry_by_account", "account", "seq"),
        Index("account_entry_by_policy", "policy"),
        Index("account_entry_by_kind", "kind", "token", "height"),
        _args,
    )
    seq: int = Field(primary_key=True, sa_type=BigInteger, description="Number of the event in bh-vault")
    account: str = Field(sa_type=Text, description="Principal whose money it is")
    kind: str = Field(
        sa_type=Text,
        description=(
            "deposit, withdrawal, tier-out, tier-in, payout-debit, premium-earned, yield-claim, takeover-paid, "
            "takeover-received (providers); bounty, penalty (whoever gets them as yield); "
            "premium-paid, payout, premium-refund (owners); fee-collection (treasury and fund)"
        ),
    )
    token: str = Field(sa_type=Text, description="Token")
    amount: TokenAmount = Field(sa_type=UINT128, description="How much")
    tier: str | None = Field(default=None, sa_type=Text, description="Risk tier, of a position's movement")
    policy: int | None = Field(default=None, sa_type=BigInteger, description="Policy, where one is concerned")
    height: int = Field(sa_type=BigInteger, description="Stacks block")
    burn_height: int = Field(sa_type=BigInteger, description="Bitcoin block")
    time: int = Field(sa_type=BigInteger, description="Unix seconds of the Stacks block")
    tx_id: str = Field(sa_type=Text, description="Transaction")


class TierPool(Row, table=True):
    """All positions of one token in one tier."""

    __tablename__ = "tier_pool"
    __table_args__ = _args
    tier: str = Field(primary_key=True, sa_type=Text, description="Risk tier")
    token: str = Field(primary_key=True, sa_type=Text, description="Collateral token")
    available: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Not locked")
    locked: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Backs policies")
    requested: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Asked back, of the available")
    liability_usd8: Usd8 = Field(default=Usd8(0), sa_type=UINT128, description="Sum of the maximum payouts it backs")
    deposited: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Deposited, in all")
    withdrawn: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Withdrawn, in all")
    moved_in: TokenAmount = Field(
        default=TokenAmount(0), sa_type=UINT128, description="Into positions, otherwise than deposited, in all"
    )
    moved_out: TokenAmount = Field(
        default=TokenAmount(0), sa_type=UINT128, description="Out of positions, otherwise than withdrawn, in all"
    )
    paid_out: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Paid to owners, in all")
    premium_unearned: TokenAmount = Field(
        default=TokenAmount(0), sa_type=UINT128, description="The providers' premium of active policies"
    )
    premium_earned: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Premium earned, in all")
    positions: int = Field(default=0, sa_type=BigInteger, description="Positions with capital")
    active_policies: int = Field(default=0, sa_type=BigInteger, description="Policies it backs")
    policies: int = Field(default=0, sa_type=BigInteger, description="Policies it backs or backed")


class TokenPool(Row, table=True):
    """Everything the vault holds of one token.

    It owes ``available`` + ``locked`` + ``unearned`` + ``yield_payable`` + ``platform_fees`` + ``reserve_fees``.
    """

    __tablename__ = "token_pool"
    __table_args__ = _args
    token: str = Field(primary_key=True, sa_type=Text, description="Token")
    available: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Capital that is not locked")
    locked: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Capital that backs policies")
    unearned: TokenAmount = Field(
        default=TokenAmount(0), sa_type=UINT128, description="The providers' premium of active policies"
    )
    yield_payable: TokenAmount = Field(
        default=TokenAmount(0), sa_type=UINT128, description="Earned premium, bounties and penalties not yet claimed"
    )
    platform_fees: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Platform fees held")
    reserve_fees: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Reserve fees held")
    requested: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Asked back, of the available")
    liability_usd8: Usd8 = Field(default=Usd8(0), sa_type=UINT128, description="Sum of the maximum payouts it backs")
    deposited: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Deposited, in all")
    withdrawn: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Withdrawn, in all")
    moved_in: TokenAmount = Field(
        default=TokenAmount(0), sa_type=UINT128, description="Into positions, otherwise than deposited, in all"
    )
    moved_out: TokenAmount = Field(
        default=TokenAmount(0), sa_type=UINT128, description="Out of positions, otherwise than withdrawn, in all"
    )
    paid_out: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Paid to owners, in all")
    premiums: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Premiums paid, in all")
    premiums_earned: TokenAmount = Field(
        default=TokenAmount(0), sa_type=UINT128, description="Premium that became yield, in all"
    )
    premiums_refunded: TokenAmount = Field(
        default=TokenAmount(0), sa_type=UINT128, description="Premium given back, in all"
    )
    yield_claimed: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Yield claimed, in all")
    fees_collected: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Fees collected, in all")
    positions: int = Field(default=0, sa_type=BigInteger, description="Positions with capital")
    active_policies: int = Field(default=0, sa_type=BigInteger, description="Policies it backs")
    policies: int = Field(default=0, sa_type=BigInteger, description="Policies it backs or backed")


# bh-policy


class Policy(Row, table=True):
    """A policy, from its creation to its end."""

    __tablename__ = "policy"
    __table_args__ = (
        Index("policy_by_owner", "owner", "state"),
        Index("policy_by_expiry", "state", "expiry_burn"),
        Index("policy_by_asset", "asset", "state", "expiry_burn"),
        Index("policy_by_tier", "tier", "token", "state"),
        Index("policy_by_creation", "created_height"),
        # sums over time are read from the index alone: a row is ten times as wide
        Index("policy_premiums", "id", postgresql_include=["created_time", "premium"]),
        _args,
    )
    id: int = Field(primary_key=True, sa_type=BigInteger, description="Policy id, from 1")
    owner: str = Field(sa_type=Text, description="Principal that bought it and is paid")
    type: str = Field(sa_type=Text, description="put or call")
    style: str = Field(sa_type=Text, description="european or american")
    tier: str = Field(sa_type=Text, description="Risk tier that covers it")
    asset: str = Field(sa_type=Text, description="Price feed it is on")
    token: str = Field(sa_type=Text, description="Token of premium, collateral and payout")
    strike_usd8: Usd8 = Field(sa_type=UINT128, description="Strike")
    notional_sat: Sats = Field(sa_type=UINT128, description="Protected amount")
    max_payout_usd8: Usd8 = Field(sa_type=UINT128, description="Most it pays")
    collateral: TokenAmount = Field(sa_type=UINT128, description="Locked for it at its creation")
    spot_usd8: Usd8 = Field(sa_type=UINT128, description="Price of the asset at creation")
    round: int = Field(sa_type=BigInteger, description="Round of that price")
    token_price_usd8: Usd8 = Field(sa_type=UINT128, description="Price of the token at creation")
    token_round: int = Field(sa_type=BigInteger, description="Round of that price")
    vol_bp: BasisPoints = Field(sa_type=UINT128, description="Annual volatility it was priced with")
    util_bp: BasisPoints = Field(sa_type=UINT128, description="Utilisation it was priced with")
    premium_usd8: Usd8 = Field(sa_type=UINT128, description="Premium")
    premium: TokenAmount = Field(sa_type=UINT128, description="Premium paid")
    discount: TokenAmount = Field(sa_type=UINT128, description="Taken off it, at the platform's cost")
    fee_platform: TokenAmount = Field(sa_type=UINT128, description="Part of it for the platform")
    fee_reserve: TokenAmount = Field(sa_type=UINT128, description="Part of it for the insurance reserve")
    premium_provider: TokenAmount = Field(sa_type=UINT128, description="Part of it for the providers")
    created_burn: BurnHeight = Field(sa_type=BigInteger, description="Bitcoin block of creation")
    expiry_burn: BurnHeight = Field(sa_type=BigInteger, description="Bitcoin block of expiry")
    cancel_until_burn: BurnHeight = Field(sa_type=BigInteger, description="Last Bitcoin block to cancel in")
    created_height: int = Field(sa_type=BigInteger, description="Stacks block of creation")
    created_time: int = Field(sa_type=BigInteger, description="Unix seconds of that block")
    created_tx: str = Field(sa_type=Text, description="Transaction")
    state: str = Field(sa_type=Text, description="active, exercised, settled-itm, expired-otm or cancelled")
    settlement_usd8: Usd8 | None = Field(default=None, sa_type=UINT128, description="Price it ended at")
    settlement_round: int | None = Field(default=None, sa_type=BigInteger, description="Round of that price")
    settlement_token_usd8: Usd8 | None = Field(
        default=None, sa_type=UINT128, description="Price of the token it was paid at"
    )
    settlement_token_round: int | None = Field(default=None, sa_type=BigInteger, description="Round of that price")
    payoff_usd8: Usd8 | None = Field(default=None, sa_type=UINT128, description="Due at its end; null: not ended")
    paid: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Paid to the owner")
    unpaid_usd8: Usd8 = Field(default=Usd8(0), sa_type=UINT128, description="Still owed to the owner")
    refund: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Premium given back on cancel")
    cancel_fee: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Premium kept on cancel")
    settled_burn: BurnHeight | None = Field(default=None, sa_type=BigInteger, description="Bitcoin block of its end")
    settled_height: int | None = Field(default=None, sa_type=BigInteger, description="Stacks block of its end")
    settled_time: int | None = Field(default=None, sa_type=BigInteger, description="Unix seconds of that block")
    settled_tx: str | None = Field(default=None, sa_type=Text, description="Transaction that ended it")


class RemainderCover(Row, table=True):
    """A payment of the fund for what a policy's collateral had not covered."""

    __tablename__ = "remainder_cover"
    __table_args__ = (Index("remainder_cover_by_policy", "policy"), _args)
    seq: int = Field(primary_key=True, sa_type=BigInteger, description="Number of the event in bh-policy")
    policy: int = Field(sa_type=BigInteger, description="Policy id")
    by: str = Field(sa_type=Text, description="Contract that paid")
    amount_usd8: Usd8 = Field(sa_type=UINT128, description="Paid")
    unpaid_usd8: Usd8 = Field(sa_type=UINT128, description="Left to pay")
    height: int = Field(sa_type=BigInteger, description="Stacks block")
    tx_id: str = Field(sa_type=Text, description="Transaction")


class Claim(Row, table=True):
    """An owner's claim on what a policy's collateral had not covered. Null: not known, or not yet."""

    __tablename__ = "claim"
    __table_args__ = (Index("claim_by_state", "state"), Index("claim_by_owner", "owner"), _args)
    policy: int = Field(primary_key=True, sa_type=BigInteger, description="Policy id")
    owner: str = Field(sa_type=Text, description="Principal that claims")
    state: str = Field(sa_type=Text, description="open, approved or rejected")
    unpaid_usd8: Usd8 = Field(
        sa_type=UINT128, description="Unpaid when it was opened; once it is resolved, what was unpaid then"
    )
    approved_usd8: Usd8 = Field(
        default=Usd8(0), sa_type=UINT128, description="What the fund may pay beyond its cap for one event"
    )
    reason_hash: str | None = Field(default=None, sa_type=Text, description="Hash of the owner's reasons, 0x hex")
    resolution_hash: str | None = Field(default=None, sa_type=Text, description="Hash of the arbiter's, 0x hex")
    arbiter: str | None = Field(default=None, sa_type=Text, description="Principal that resolved it")
    opened_burn: BurnHeight | None = Field(default=None, sa_type=BigInteger, description="Bitcoin block")
    opened_height: int | None = Field(default=None, sa_type=BigInteger, description="Stacks block")
    opened_time: int | None = Field(default=None, sa_type=BigInteger, description="Unix seconds of that block")
    opened_tx: str | None = Field(default=None, sa_type=Text, description="Transaction")
    resolved_burn: BurnHeight | None = Field(default=None, sa_type=BigInteger, description="Bitcoin block")
    resolved_height: int | None = Field(default=None, sa_type=BigInteger, description="Stacks block")
    resolved_time: int | None = Field(default=None, sa_type=BigInteger, description="Unix seconds of that block")
    resolved_tx: str | None = Field(default=None, sa_type=Text, description="Transaction")


class PolicyTotals(Row, table=True):
    """All policies on one asset."""

    __tablename__ = "policy_totals"
    __table_args__ = _args
    asset: str = Field(primary_key=True, sa_type=Text, description="Price feed")
    created: int = Field(default=0, sa_type=BigInteger, description="Policies created")
    active: int = Field(default=0, sa_type=BigInteger, description="Policies active")
    exercised: int = Field(default=0, sa_type=BigInteger, description="Policies exercised")
    settled_itm: int = Field(default=0, sa_type=BigInteger, description="Policies expired in the money")
    expired_otm: int = Field(default=0, sa_type=BigInteger, description="Policies expired worthless")
    cancelled: int = Field(default=0, sa_type=BigInteger, description="Policies cancelled")
    notional_sat: Sats = Field(default=Sats(0), sa_type=UINT128, description="Notional of active policies")
    max_payout_usd8: Usd8 = Field(default=Usd8(0), sa_type=UINT128, description="Maximum payout of active policies")
    premium_usd8: Usd8 = Field(default=Usd8(0), sa_type=UINT128, description="Premiums, in all, at creation prices")
    payoff_usd8: Usd8 = Field(default=Usd8(0), sa_type=UINT128, description="Payoffs, in all, at settlement prices")
    unpaid_usd8: Usd8 = Field(default=Usd8(0), sa_type=UINT128, description="Still owed to owners")


# bh-treasury


class TreasuryHolding(Row, table=True):
    """What the treasury holds of one token. ``collected`` + ``shared`` + ``programs`` is its balance."""

    __tablename__ = "treasury_holding"
    __table_args__ = _args
    token: str = Field(primary_key=True, sa_type=Text, description="Token")
    collected: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Fees not yet shared out")
    shared: TokenAmount = Field(
        default=TokenAmount(0),
        sa_type=UINT128,
        description="Shared out and not paid, the treasury's own share included",
    )
    programs: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Set aside for programmes")
    fees: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Fees collected, in all")
    contributed: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Given to it, in all")
    claimed: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Shares paid, in all")
    spent: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Spent by governance, in all")
    passed_on: TokenAmount = Field(
        default=TokenAmount(0), sa_type=UINT128, description="Sent to the treasury that replaced it, in all"
    )


class TreasuryShare(Row, table=True):
    """What was shared out to a receiver. The treasury's own is what governance can spend."""

    __tablename__ = "treasury_share"
    __table_args__ = (Index("treasury_share_by_token", "token"), _args)
    receiver: str = Field(primary_key=True, sa_type=Text, description="Principal")
    token: str = Field(primary_key=True, sa_type=Text, description="Token")
    amount: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Can be claimed, or spent")
    received: TokenAmount = Field(
        default=TokenAmount(0), sa_type=UINT128, description="Shared out or contributed to it, in all"
    )


class TreasuryAllocation(Row, table=True):
    """Who gets which part of collected fees. The parts sum to 10000."""

    __tablename__ = "treasury_allocation"
    __table_args__ = _args
    rank: int = Field(primary_key=True, sa_type=BigInteger, description="Place, from 0")
    name: str = Field(sa_type=Text, description="What it is for")
    receiver: str = Field(sa_type=Text, description="Principal whose share grows")
    share_bp: BasisPoints = Field(sa_type=UINT128, description="Part of the fees")
    proposal: int | None = Field(
        default=None, sa_type=BigInteger, description="Governance proposal, where it names one"
    )
    set_height: int = Field(sa_type=BigInteger, description="Stacks block it was set in")


class ProgramFund(Row, table=True):
    """What the treasury has set aside for an incentives programme."""

    __tablename__ = "program_fund"
    __table_args__ = _args
    program: int = Field(primary_key=True, sa_type=BigInteger, description="Programme")
    token: str = Field(primary_key=True, sa_type=Text, description="Token")
    amount: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Not yet drawn")


class FeeDiscount(Row, table=True):
    """A user who pays a lower platform fee."""

    __tablename__ = "fee_discount"
    __table_args__ = _args
    who: str = Field(primary_key=True, sa_type=Text, description="Principal")
    discount_bp: BasisPoints = Field(
        default=BasisPoints(0), sa_type=UINT128, description="Part of the platform fee that is not paid"
    )
    until_burn: BurnHeight | None = Field(
        default=None, sa_type=BigInteger, description="Last Bitcoin block it holds in; null: not known"
    )
    proposal: int | None = Field(
        default=None, sa_type=BigInteger, description="Governance proposal, where it names one"
    )
    uses: int = Field(default=0, sa_type=BigInteger, description="Policies whose fee it lowered")


class TreasuryEntry(Row, table=True):
    """One movement of the treasury's money, in, out or between its holdings."""

    __tablename__ = "treasury_entry"
    __table_args__ = (
        Index("treasury_entry_by_token", "token", "kind", "height"),
        Index("treasury_entry_by_account", "account", "seq"),
        _args,
    )
    seq: int = Field(primary_key=True, sa_type=BigInteger, description="Number of the event in bh-treasury")
    kind: str = Field(
        sa_type=Text,
        description=(
            "fee-collected, contributed, fee-distributed, share-claimed, spent, program-funded, program-unfunded, "
            "program-drawn or passed-on"
        ),
    )
    token: str = Field(sa_type=Text, description="Token")
    amount: TokenAmount = Field(sa_type=UINT128, description="How much")
    account: str | None = Field(
        default=None,
        sa_type=Text,
        description="Principal that gave it, got it, or whose share grew; null: fees out of the vault",
    )
    allocation: str | None = Field(default=None, sa_type=Text, description="Allocation, of a distribution")
    batch: int | None = Field(default=None, sa_type=BigInteger, description="Number of the distribution")
    program: int | None = Field(default=None, sa_type=BigInteger, description="Programme, where one is concerned")
    proposal: int | None = Field(
        default=None, sa_type=BigInteger, description="Governance proposal, where it names one"
    )
    height: int = Field(sa_type=BigInteger, description="Stacks block")
    burn_height: int = Field(sa_type=BigInteger, description="Bitcoin block")
    time: int = Field(sa_type=BigInteger, description="Unix seconds of the Stacks block")
    tx_id: str = Field(sa_type=Text, description="Transaction")


# bh-fund


class FundHolding(Row, table=True):
    """What the fund itself owns of one token: ``received`` + ``released`` - ``allocated`` - ``paid`` - ``passed_on``.

    What it has in the vault is its position there.
    """

    __tablename__ = "fund_holding"
    __table_args__ = _args
    token: str = Field(primary_key=True, sa_type=Text, description="Token")
    balance: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="In the fund")
    cover: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Promised to tiers, of the balance")
    state: str = Field(default="normal", sa_type=Text, description="normal, warning, critical or recovery")
    received: TokenAmount = Field(
        default=TokenAmount(0), sa_type=UINT128, description="Fees, shares, yield and gifts, in all"
    )
    paid: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Paid for shortfalls, in all")
    allocated: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Put into the vault, in all")
    released: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Taken out of the vault, in all")
    passed_on: TokenAmount = Field(
        default=TokenAmount(0), sa_type=UINT128, description="Sent to the fund that replaced it, in all"
    )


class FundCover(Row, table=True):
    """What the fund will do for a tier's policies in one token."""

    __tablename__ = "fund_cover"
    __table_args__ = _args
    tier: str = Field(primary_key=True, sa_type=Text, description="Risk tier")
    token: str = Field(primary_key=True, sa_type=Text, description="Token")
    left: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Still to be paid for shortfalls")
    max_liability_usd8: Usd8 | None = Field(
        default=None, sa_type=UINT128, description="Most liability its own position takes over; null: not known"
    )
    paid: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Paid for shortfalls, in all")
    proposal: int | None = Field(
        default=None, sa_type=BigInteger, description="Governance proposal, where it names one"
    )
    set_height: int | None = Field(default=None, sa_type=BigInteger, description="Stacks block it was last set in")


class FundPayment(Row, table=True):
    """A payment to an owner for what a policy's collateral could not cover."""

    __tablename__ = "fund_payment"
    __table_args__ = (
        Index("fund_payment_by_policy", "policy"),
        Index("fund_payment_by_owner", "owner", "seq"),
        _args,
    )
    seq: int = Field(primary_key=True, sa_type=BigInteger, description="Number of the event in bh-fund")
    policy: int = Field(sa_type=BigInteger, description="Policy id")
    owner: str = Field(sa_type=Text, description="Principal that was paid")
    tier: str = Field(sa_type=Text, description="Risk tier of the policy")
    token: str = Field(sa_type=Text, description="Token it was paid in")
    amount: TokenAmount = Field(sa_type=UINT128, description="Paid")
    amount_usd8: Usd8 = Field(sa_type=UINT128, description="What it counted for")
    unpaid_usd8: Usd8 = Field(sa_type=UINT128, description="Left to pay")
    round: int = Field(sa_type=BigInteger, description="Round of the token's price")
    price_usd8: Usd8 = Field(sa_type=UINT128, description="Price of the token")
    height: int = Field(sa_type=BigInteger, description="Stacks block")
    burn_height: int = Field(sa_type=BigInteger, description="Bitcoin block")
    time: int = Field(sa_type=BigInteger, description="Unix seconds of the Stacks block")
    tx_id: str = Field(sa_type=Text, description="Transaction")


class FundTakeover(Row, table=True):
    """An allocation that the fund took over from a failing position."""

    __tablename__ = "fund_takeover"
    __table_args__ = (Index("fund_takeover_by_policy", "policy"), _args)
    seq: int = Field(primary_key=True, sa_type=BigInteger, description="Number of the event in bh-fund")
    policy: int = Field(sa_type=BigInteger, description="Policy id")
    provider: str = Field(sa_type=Text, description="Principal whose allocation it was")
    tier: str = Field(sa_type=Text, description="Risk tier")
    token: str = Field(sa_type=Text, description="Collateral token")
    expiry_burn: BurnHeight = Field(sa_type=BigInteger, description="Expiry of the policy")
    liability_usd8: Usd8 = Field(sa_type=UINT128, description="Its part of the policy's maximum payout")
    collateral: TokenAmount = Field(sa_type=UINT128, description="Locked of the fund's capital")
    price: TokenAmount = Field(sa_type=UINT128, description="What the fund asked for it")
    paid: TokenAmount = Field(sa_type=UINT128, description="What it got")
    height: int = Field(sa_type=BigInteger, description="Stacks block")
    time: int = Field(sa_type=BigInteger, description="Unix seconds of the Stacks block")
    tx_id: str = Field(sa_type=Text, description="Transaction")


class RecoveryPlan(Row, table=True):
    """A plan to fill the fund up. One that was started before indexing began is not shown."""

    __tablename__ = "recovery_plan"
    __table_args__ = _args
    id: int = Field(primary_key=True, sa_type=BigInteger, description="Plan id, from 1")
    token: str = Field(sa_type=Text, description="Token to raise")
    target: TokenAmount = Field(sa_type=UINT128, description="To be raised")
    raised: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Raised")
    ends_burn: BurnHeight = Field(sa_type=BigInteger, description="Last Bitcoin block to contribute in")
    state: str = Field(sa_type=Text, description="open, completed or failed")
    contributions: int = Field(default=0, sa_type=BigInteger, description="How many there were")
    proposal: int | None = Field(
        default=None, sa_type=BigInteger, description="Governance proposal, where it names one"
    )
    started_height: int = Field(sa_type=BigInteger, description="Stacks block it was started in")
    ended_height: int | None = Field(default=None, sa_type=BigInteger, description="Stacks block it ended in")


class FundEntry(Row, table=True):
    """One movement of the fund's money, in or out."""

    __tablename__ = "fund_entry"
    __table_args__ = (
        Index("fund_entry_by_kind", "kind", "token", "height"),
        Index("fund_entry_by_account", "account", "seq"),
        _args,
    )
    seq: int = Field(primary_key=True, sa_type=BigInteger, description="Number of the event in bh-fund")
    kind: str = Field(
        sa_type=Text,
        description="gift, reserve, share, yield, release, surplus or recovery (in); shortfall, allocation or "
        "passed-on (out)",
    )
    token: str = Field(sa_type=Text, description="Token")
    amount: TokenAmount = Field(sa_type=UINT128, description="How much")
    balance: TokenAmount = Field(sa_type=UINT128, description="In the fund afterwards")
    account: str | None = Field(
        default=None, sa_type=Text, description="Principal it came from or went to; null: the fund's own position"
    )
    policy: int | None = Field(default=None, sa_type=BigInteger, description="Policy, of a shortfall")
    tier: str | None = Field(default=None, sa_type=Text, description="Risk tier, of what went out")
    height: int = Field(sa_type=BigInteger, description="Stacks block")
    burn_height: int = Field(sa_type=BigInteger, description="Bitcoin block")
    time: int = Field(sa_type=BigInteger, description="Unix seconds of the Stacks block")
    tx_id: str = Field(sa_type=Text, description="Transaction")


# bh-liquidation


class MarginCall(Row, table=True):
    """A call on a provider to bring a position back to health. One issued before indexing began is not shown."""

    __tablename__ = "margin_call"
    __table_args__ = (
        Index("margin_call_by_position", "provider", "tier", "token"),
        Index("margin_call_by_state", "state", "deadline_burn"),
        _args,
    )
    id: int = Field(primary_key=True, sa_type=BigInteger, description="Call id, from 1")
    provider: str = Field(sa_type=Text, description="Principal that is called on")
    tier: str = Field(sa_type=Text, description="Risk tier of the position")
    token: str = Field(sa_type=Text, description="Collateral token of the position")
    state: str = Field(sa_type=Text, description="open or resolved")
    level: str = Field(sa_type=Text, description="soft or hard")
    issued_burn: BurnHeight = Field(sa_type=BigInteger, description="Bitcoin block it was issued in")
    deadline_burn: BurnHeight = Field(
        sa_type=BigInteger, description="After it a soft call turns hard and a hard one lets the position be liquidated"
    )
    round: int = Field(sa_type=BigInteger, description="Round of the token's price at which it got its level")
    price_usd8: Usd8 = Field(sa_type=UINT128, description="That price")
    health_bp: BasisPoints | None = Field(default=None, sa_type=UINT128, description="Health at that price")
    liability_usd8: Usd8 = Field(sa_type=UINT128, description="What the position backed then")
    capital: TokenAmount = Field(sa_type=UINT128, description="Available and locked then")
    deficit: TokenAmount = Field(sa_type=UINT128, description="What was missing when it was issued")
    liquidations: int = Field(default=0, sa_type=BigInteger, description="Allocations that were taken over under it")
    issued_height: int = Field(sa_type=BigInteger, description="Stacks block it was issued in")
    issued_time: int = Field(sa_type=BigInteger, description="Unix seconds of that block")
    issued_tx: str = Field(sa_type=Text, description="Transaction that issued it")
    escalated_height: int | None = Field(
        default=None, sa_type=BigInteger, description="Stacks block a soft call turned hard in"
    )
    resolved_health_bp: BasisPoints | None = Field(
        default=None, sa_type=UINT128, description="Health at its end; null: open, or nothing was backed any more"
    )
    resolved_height: int | None = Field(default=None, sa_type=BigInteger, description="Stacks block it ended in")
    resolved_time: int | None = Field(default=None, sa_type=BigInteger, description="Unix seconds of that block")
    resolved_tx: str | None = Field(default=None, sa_type=Text, description="Transaction that ended it")


class Liquidation(Row, table=True):
    """An allocation that passed from a failing position to a taker."""

    __tablename__ = "liquidation"
    __table_args__ = (
        Index("liquidation_by_provider", "provider", "id"),
        Index("liquidation_by_taker", "taker", "id"),
        Index("liquidation_by_policy", "policy"),
        _args,
    )
    id: int = Field(primary_key=True, sa_type=BigInteger, description="Liquidation id, from 1")
    call: int = Field(sa_type=BigInteger, description="Margin call it came under")
    policy: int = Field(sa_type=BigInteger, description="Policy id")
    provider: str = Field(sa_type=Text, description="Principal whose allocation it was")
    tier: str = Field(sa_type=Text, description="Risk tier")
    token: str = Field(sa_type=Text, description="Collateral token")
    taker: str = Field(sa_type=Text, description="Principal that backs it now")
    is_forced: bool = Field(description="False: the provider asked for it")
    liability_usd8: Usd8 = Field(sa_type=UINT128, description="Its part of the policy's maximum payout")
    collateral_from: TokenAmount = Field(sa_type=UINT128, description="Collateral that the provider got free")
    collateral_to: TokenAmount = Field(sa_type=UINT128, description="Collateral that the taker locked")
    spot_usd8: Usd8 = Field(sa_type=UINT128, description="Price of the policy's asset")
    spot_round: int = Field(sa_type=BigInteger, description="Round of that price")
    token_price_usd8: Usd8 = Field(sa_type=UINT128, description="Price of the token")
    token_round: int = Field(sa_type=BigInteger, description="Round of that price")
    vol_bp: BasisPoints = Field(sa_type=UINT128, description="Annual volatility it was valued with")
    fair_usd8: Usd8 = Field(sa_type=UINT128, description="Fair value of the allocation")
    price_usd8: Usd8 = Field(sa_type=UINT128, description="What the taker was due: dearer if it is the fund")
    price: TokenAmount = Field(sa_type=UINT128, description="The same in the token")
    paid: TokenAmount = Field(sa_type=UINT128, description="What the position had left of it")
    bounty: TokenAmount = Field(sa_type=UINT128, description="To whoever called")
    bounty_to: str = Field(sa_type=Text, description="Who called")
    penalty: TokenAmount = Field(sa_type=UINT128, description="To the fund")
    health_bp_before: BasisPoints | None = Field(sa_type=UINT128, description="Health of the position before")
    health_bp_after: BasisPoints | None = Field(
        sa_type=UINT128, description="And afterwards; null: it backs nothing any more"
    )
    taker_health_bp: BasisPoints | None = Field(
        sa_type=UINT128, description="Health of the taker's position afterwards"
    )
    height: int = Field(sa_type=BigInteger, description="Stacks block")
    burn_height: int = Field(sa_type=BigInteger, description="Bitcoin block")
    time: int = Field(sa_type=BigInteger, description="Unix seconds of the Stacks block")
    tx_id: str = Field(sa_type=Text, description="Transaction")


# bh-incentives


class Program(Row, table=True):
    """An incentives programme. Null terms: not known, because indexing began after it was created."""

    __tablename__ = "program"
    __table_args__ = _args
    id: int = Field(primary_key=True, sa_type=BigInteger, description="Programme id, from 1")
    token: str | None = Field(default=None, sa_type=Text, description="Token it pays in")
    start_burn: BurnHeight | None = Field(default=None, sa_type=BigInteger, description="First block of epoch 1")
    epoch_burn: BurnBlocks | None = Field(default=None, sa_type=BigInteger, description="Length of an epoch")
    epochs: int | None = Field(default=None, sa_type=BigInteger, description="How many epochs it has")
    epoch_cap: TokenAmount | None = Field(default=None, sa_type=UINT128, description="Most that one epoch gives")
    premium_bp: BasisPoints | None = Field(
        default=None, sa_type=UINT128, description="Part of an epoch that goes by premium paid; the rest by capital"
    )
    vesting_burn: BurnBlocks | None = Field(default=None, sa_type=BigInteger, description="How long a reward vests")
    claim_burn: BurnBlocks | None = Field(
        default=None, sa_type=BigInteger, description="How long claims are open once all has vested"
    )
    budget: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Not yet given to an epoch")
    funded: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Added to the budget, in all")
    claimed: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Paid to users, in all")
    returned: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Given back to the treasury")
    ended: bool = Field(default=False, description="Takes no more epochs")
    proposal: int | None = Field(default=None, sa_type=BigInteger, description="Governance proposal that made it")
    created_height: int | None = Field(default=None, sa_type=BigInteger, description="Stacks block it was created in")


class ProgramEpoch(Row, table=True):
    """An epoch whose rewards were posted."""

    __tablename__ = "program_epoch"
    __table_args__ = (Index("program_epoch_by_state", "state", "claimable_burn"), _args)
    program: int = Field(primary_key=True, sa_type=BigInteger, description="Programme")
    epoch: int = Field(primary_key=True, sa_type=BigInteger, description="Number, from 1")
    state: str = Field(sa_type=Text, description="posted, voided (can be posted again) or closed")
    token: str = Field(sa_type=Text, description="Token it pays in")
    root: str = Field(sa_type=Text, description="Merkle root of the rewards, 0x hex")
    total: TokenAmount = Field(sa_type=UINT128, description="Sum of the rewards")
    leaves: int = Field(sa_type=BigInteger, description="How many rewards")
    posted_burn: BurnHeight = Field(sa_type=BigInteger, description="Bitcoin block it was posted in; vesting begins")
    claimable_burn: BurnHeight = Field(
        sa_type=BigInteger, description="First Bitcoin block to claim in; before it the root can be voided"
    )
    vested_burn: BurnHeight = Field(sa_type=BigInteger, description="Bitcoin block from which all is vested")
    deadline_burn: BurnHeight = Field(sa_type=BigInteger, description="Last Bitcoin block to claim in")
    claimed: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Paid to users")
    returned: TokenAmount = Field(
        default=TokenAmount(0), sa_type=UINT128, description="Nobody claimed it by the deadline; back in the budget"
    )
    posted_height: int = Field(sa_type=BigInteger, description="Stacks block it was posted in")
    posted_tx: str = Field(sa_type=Text, description="Transaction")


class Reward(Row, table=True):
    """What a user has claimed of an epoch. One who has claimed nothing has no row."""

    __tablename__ = "reward"
    __table_args__ = (Index("reward_by_user", "who"), _args)
    program: int = Field(primary_key=True, sa_type=BigInteger, description="Programme")
    epoch: int = Field(primary_key=True, sa_type=BigInteger, description="Epoch")
    who: str = Field(primary_key=True, sa_type=Text, description="Principal")
    token: str = Field(sa_type=Text, description="Token")
    index: int = Field(sa_type=BigInteger, description="Place of the reward in the epoch's tree, from 0")
    entitled: TokenAmount = Field(sa_type=UINT128, description="The whole reward")
    claimed: TokenAmount = Field(sa_type=UINT128, description="Paid so far")
    first_claim_height: int = Field(sa_type=BigInteger, description="Stacks block of the first claim")
    last_claim_height: int = Field(sa_type=BigInteger, description="Stacks block of the last claim")


class ProgramEntry(Row, table=True):
    """One movement of a programme's money."""

    __tablename__ = "program_entry"
    __table_args__ = (
        Index("program_entry_by_program", "program", "seq"),
        Index("program_entry_by_account", "account", "seq"),
        _args,
    )
    seq: int = Field(primary_key=True, sa_type=BigInteger, description="Number of the event in bh-incentives")
    program: int = Field(sa_type=BigInteger, description="Programme")
    kind: str = Field(
        sa_type=Text,
        description=(
            "budget-added, budget-returned, reward-claimed (in and out); epoch-posted, epoch-voided, epoch-closed "
            "(from and to the budget)"
        ),
    )
    token: str = Field(sa_type=Text, description="Token")
    amount: TokenAmount = Field(sa_type=UINT128, description="How much")
    account: str | None = Field(
        default=None, sa_type=Text, description="Principal that gave or got it; null: it stays in the programme"
    )
    epoch: int | None = Field(default=None, sa_type=BigInteger, description="Epoch, where one is concerned")
    height: int = Field(sa_type=BigInteger, description="Stacks block")
    burn_height: int = Field(sa_type=BigInteger, description="Bitcoin block")
    time: int = Field(sa_type=BigInteger, description="Unix seconds of the Stacks block")
    tx_id: str = Field(sa_type=Text, description="Transaction")


# bh-gov


class Governance(Row, table=True):
    """What governance is by. One row."""

    __tablename__ = "governance"
    __table_args__ = _args
    contract: str = Field(primary_key=True, sa_type=Text, description="Contract id of bh-gov")
    token: str | None = Field(default=None, sa_type=Text, description="Token that is staked; native STX is bh-stx")
    asset_name: str | None = Field(default=None, sa_type=Text, description="Its name in post-conditions")
    power: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Power of everybody together")


class Staker(Row, table=True):
    """Somebody who stakes, or has power that others gave."""

    __tablename__ = "staker"
    __table_args__ = (Index("staker_by_delegate", "delegate"), Index("staker_by_power", "power"), _args)
    who: str = Field(primary_key=True, sa_type=Text, description="Principal")
    stake: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Governance tokens staked")
    delegate: str = Field(sa_type=Text, description="Who votes with the stake; the same principal: nobody else")
    power: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Voting power now")
    locked_until_burn: BurnHeight | None = Field(
        default=None, sa_type=BigInteger, description="Last Bitcoin block in which the stake cannot be taken out"
    )
    proposals: int = Field(default=0, sa_type=BigInteger, description="Proposals made")
    votes: int = Field(default=0, sa_type=BigInteger, description="Votes cast")
    first_seen_height: int = Field(sa_type=BigInteger, description="Stacks block of the first event")


class PowerCheckpoint(Row, table=True):
    """Voting power from a Bitcoin block on."""

    __tablename__ = "power_checkpoint"
    __table_args__ = (Index("power_checkpoint_by_block", "who", "from_burn"), _args)
    who: str = Field(primary_key=True, sa_type=Text, description="Principal; the contract itself: everybody together")
    index: int = Field(primary_key=True, sa_type=BigInteger, description="Number of the checkpoint, from 1")
    from_burn: BurnHeight = Field(sa_type=BigInteger, description="First Bitcoin block it counts in")
    power: TokenAmount = Field(sa_type=UINT128, description="Power")


class Proposal(Row, table=True):
    """A proposal, with the rules and dates that hold for it. Null: not known, because indexing began after it."""

    __tablename__ = "proposal"
    __table_args__ = (Index("proposal_by_state", "state", "voting_ends_burn"), _args)
    id: int = Field(primary_key=True, sa_type=BigInteger, description="Proposal id, from 1")
    state: str = Field(
        sa_type=Text, description="active, queued, defeated, executed, expired or cancelled; see status for dates"
    )
    proposer: str | None = Field(default=None, sa_type=Text, description="Who made it")
    title_hash: str | None = Field(default=None, sa_type=Text, description="SHA-256 of its title, 0x hex")
    uri: str | None = Field(default=None, sa_type=Text, description="Where its text is")
    actions: int | None = Field(default=None, sa_type=BigInteger, description="How many actions it has")
    about_guardian: bool | None = Field(
        default=None, description="It only grants or revokes the guardian role; the guardian cannot cancel it"
    )
    created_burn: BurnHeight | None = Field(
        default=None, sa_type=BigInteger, description="Bitcoin block it was made in"
    )
    snapshot_burn: BurnHeight | None = Field(
        default=None, sa_type=BigInteger, description="Bitcoin block at whose end power counts"
    )
    total_power: TokenAmount | None = Field(
        default=None, sa_type=UINT128, description="Power of everybody at the snapshot"
    )
    voting_ends_burn: BurnHeight | None = Field(
        default=None, sa_type=BigInteger, description="Last Bitcoin block to vote in"
    )
    eta_burn: BurnHeight | None = Field(
        default=None, sa_type=BigInteger, description="First Bitcoin block to execute it in"
    )
    grace_ends_burn: BurnHeight | None = Field(
        default=None, sa_type=BigInteger, description="Last Bitcoin block to execute it in"
    )
    quorum_bp: BasisPoints | None = Field(
        default=None, sa_type=UINT128, description="Part of all power that has to vote"
    )
    pass_bp: BasisPoints | None = Field(
        default=None, sa_type=UINT128, description="Part of for and against that has to be for"
    )
    for_power: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Power that voted for it")
    against_power: TokenAmount = Field(
        default=TokenAmount(0), sa_type=UINT128, description="Power that voted against it"
    )
    abstain_power: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Power that abstained")
    votes: int = Field(default=0, sa_type=BigInteger, description="Votes cast")
    created_height: int | None = Field(default=None, sa_type=BigInteger, description="Stacks block it was made in")
    created_time: int | None = Field(default=None, sa_type=BigInteger, description="Unix seconds of that block")
    created_tx: str | None = Field(default=None, sa_type=Text, description="Transaction")
    finalized_height: int | None = Field(
        default=None, sa_type=BigInteger, description="Stacks block its votes were counted in"
    )
    ended_height: int | None = Field(
        default=None, sa_type=BigInteger, description="Stacks block it was executed, cancelled, expired or defeated in"
    )
    ended_tx: str | None = Field(default=None, sa_type=Text, description="Transaction of that")
    cancelled_from: str | None = Field(
        default=None,
        sa_type=Text,
        description="State it was cancelled in: active by its proposer, queued by the guardian",
    )


class ProposalAction(Row, table=True):
    """One call that a proposal makes when it is executed."""

    __tablename__ = "proposal_action"
    __table_args__ = (Index("proposal_action_by_kind", "kind"), _args)
    proposal: int = Field(primary_key=True, sa_type=BigInteger, description="Proposal")
    index: int = Field(primary_key=True, sa_type=BigInteger, description="Place among its actions, from 0")
    kind: str = Field(sa_type=Text, description="Governance function that it calls")
    data: str = Field(sa_type=Text, description="Arguments as consensus bytes, 0x hex")
    arguments: dict[str, Any] = Field(
        sa_type=JSONB, description="Arguments, decoded; a list is under the key items; empty: unknown"
    )


class ProposalVote(Row, table=True):
    """A vote on a proposal."""

    __tablename__ = "proposal_vote"
    __table_args__ = (Index("proposal_vote_by_voter", "voter"), _args)
    proposal: int = Field(primary_key=True, sa_type=BigInteger, description="Proposal")
    voter: str = Field(primary_key=True, sa_type=Text, description="Principal")
    choice: str = Field(sa_type=Text, description="for, against or abstain")
    power: TokenAmount = Field(sa_type=UINT128, description="The voter's power at the snapshot")
    height: int = Field(sa_type=BigInteger, description="Stacks block")
    burn_height: int = Field(sa_type=BigInteger, description="Bitcoin block")
    time: int = Field(sa_type=BigInteger, description="Unix seconds of the Stacks block")
    tx_id: str = Field(sa_type=Text, description="Transaction")


TABLES: Final[tuple[type[Row], ...]] = (
    ContractSequence,
    SequenceGap,
    Role,
    Module,
    Migration,
    Parameter,
    ParameterChange,
    Switch,
    Metric,
    Tier,
    Token,
    FeeShares,
    OracleProvider,
    Asset,
    PriceRound,
    PriceSubmission,
    ExpiryPrice,
    Provider,
    Position,
    Exposure,
    YieldBalance,
    WithdrawRequest,
    PolicyLock,
    Allocation,
    AccountEntry,
    TierPool,
    TokenPool,
    Policy,
    RemainderCover,
    Claim,
    PolicyTotals,
    TreasuryHolding,
    TreasuryShare,
    TreasuryAllocation,
    ProgramFund,
    FeeDiscount,
    TreasuryEntry,
    FundHolding,
    FundCover,
    FundPayment,
    FundTakeover,
    RecoveryPlan,
    FundEntry,
    MarginCall,
    Liquidation,
    Program,
    ProgramEpoch,
    Reward,
    ProgramEntry,
    Governance,
    Staker,
    PowerCheckpoint,
    Proposal,
    ProposalAction,
    ProposalVote,
)
"""Every table of the protocol."""
