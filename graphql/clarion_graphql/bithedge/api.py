"""How the API shows BitHedge: what hangs together, and what is derived from where the chain stands."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from psycopg import sql

from clarion_graphql.bithedge import (
    activity,
    availability,
    estimates,
    governance,
    incentives,
    oracle,
    platform,
    pools,
    portfolio,
    prepare,
    quotes,
    risk,
    statements,
    tracking,
)
from clarion_graphql.bithedge.governance import PROPOSAL
from clarion_graphql.bithedge.policy_columns import POLICY
from clarion_graphql.bithedge.reading import BURN_NOW, table
from clarion_graphql.bithedge.roles import read_roles
from clarion_graphql.decimals import PlacesTable, Scale
from clarion_graphql.entities import Column, Kind, Relation, Via
from clarion_graphql.enums import graphql_enum
from clarion_graphql.protocols import ProtocolApi

#: A policy is EXPIRING for its last day, in Bitcoin blocks.
EXPIRING_BLOCKS: Final = 144


class PolicyStatus(StrEnum):
    """Where a policy stands, with what its state alone does not say while it is active."""

    ACTIVE = "active"
    EXPIRING = "expiring"
    AWAITING_PRICE = "awaiting-price"
    SETTLEABLE = "settleable"
    EXERCISED = "exercised"
    SETTLED_ITM = "settled-itm"
    EXPIRED_OTM = "expired-otm"
    CANCELLED = "cancelled"


graphql_enum(
    PolicyStatus,
    {
        "ACTIVE": f"Running, with more than {EXPIRING_BLOCKS} Bitcoin blocks to go.",
        "EXPIRING": f"Running, with {EXPIRING_BLOCKS} Bitcoin blocks or less to go.",
        "AWAITING_PRICE": "Expired; the expiry price of its asset or of its token's asset is not fixed yet.",
        "SETTLEABLE": "Expired with both prices fixed: anyone can settle it.",
        "EXERCISED": "Ended by its owner before expiry.",
        "SETTLED_ITM": "Ended in the money.",
        "EXPIRED_OTM": "Ended worthless.",
        "CANCELLED": "Taken back by its owner.",
    },
)


class ProposalStatus(StrEnum):
    """Where a proposal stands, with what its state alone does not say while it is not ended."""

    VOTING = "voting"
    COUNTABLE = "countable"
    QUEUED = "queued"
    EXECUTABLE = "executable"
    OVERDUE = "overdue"
    EXECUTED = "executed"
    DEFEATED = "defeated"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


graphql_enum(
    ProposalStatus,
    {
        "VOTING": "Takes votes.",
        "COUNTABLE": "The voting is over: anyone can finalize it.",
        "QUEUED": "Passed; its timelock runs.",
        "EXECUTABLE": "Anyone can execute it.",
        "OVERDUE": "Nobody executed it in time: anyone can expire it.",
        "EXECUTED": "Its calls were made.",
        "DEFEATED": "The votes did not carry it.",
        "EXPIRED": "Nobody executed it in time.",
        "CANCELLED": "Withdrawn by its proposer, or stopped by the guardian.",
    },
)


_STATUS: Final = sql.SQL(
    "CASE WHEN t.state <> 'active' THEN t.state "
    "WHEN t.expiry_burn - {now} > {expiring} THEN 'active' "
    "WHEN t.expiry_burn > {now} THEN 'expiring' "
    "WHEN t.expiry_burn <= {now} THEN CASE WHEN "
    "EXISTS (SELECT FROM {expiry_price} p WHERE p.asset = t.asset AND p.expiry_burn = t.expiry_burn) "
    "AND EXISTS (SELECT FROM {expiry_price} p JOIN {token} k ON k.asset = p.asset "
    "WHERE k.token = t.token AND p.expiry_burn = t.expiry_burn) THEN 'settleable' ELSE 'awaiting-price' END END"
).format(
    now=BURN_NOW,
    expiring=sql.Literal(EXPIRING_BLOCKS),
    expiry_price=table("expiry_price"),
    token=table("token"),
)

_IN_THE_MONEY: Final = sql.SQL(
    "(SELECT CASE t.type WHEN 'put' THEN a.price_usd8 < t.strike_usd8 ELSE a.price_usd8 > t.strike_usd8 END "
    "FROM {asset} a WHERE a.asset = t.asset AND a.price_usd8 > 0)"
).format(asset=table("asset"))

_POLICY: Final = (
    Column(
        "status",
        Kind.TEXT,
        "Where it stands at the receipt's Bitcoin block; null where that is not known.",
        nullable=True,
        enum=PolicyStatus,
        expression=_STATUS,
        orderable=False,
    ),
    Column(
        "blocks_to_expiry",
        Kind.INT,
        "Bitcoin blocks from the receipt's to its expiry; 0 or less: expired. Null where the former is not known.",
        nullable=True,
        expression=sql.SQL("(t.expiry_burn - {})").format(BURN_NOW),
        orderable=False,
    ),
    Column(
        "in_the_money",
        Kind.BOOLEAN,
        "Whether it would pay at the last closed price of its asset; null where there is none.",
        nullable=True,
        expression=_IN_THE_MONEY,
        orderable=False,
    ),
)

_PROPOSAL: Final = (
    Column(
        "status",
        Kind.TEXT,
        "Where it stands at the receipt's Bitcoin block; null where that is not known.",
        nullable=True,
        enum=ProposalStatus,
        expression=sql.SQL(
            "CASE WHEN t.state NOT IN ('active', 'queued') THEN t.state "
            "WHEN t.state = 'active' AND {now} <= t.voting_ends_burn THEN 'voting' "
            "WHEN t.state = 'active' AND {now} > t.voting_ends_burn THEN 'countable' "
            "WHEN {now} < t.eta_burn THEN 'queued' WHEN {now} <= t.grace_ends_burn THEN 'executable' "
            "WHEN {now} > t.grace_ends_burn THEN 'overdue' END"
        ).format(now=BURN_NOW),
        orderable=False,
    ),
)

# in the transactions that made it, moved parts of it, ended it, decided a claim and paid what was left: each is found
# by an index. Of the events in them it is those with the bytes of a field `policy` with this number (SIP-005: name with
# its length, 01, 16 bytes): these contracts print nothing else that holds them, and to decode takes a hundred times as
# long.
_EVENTS_OF_POLICY: Final = sql.SQL(
    "t.chain = 'stacks' "
    "AND position('\\x06706f6c69637901'::bytea || decode(lpad(to_hex(k.key0), 32, '0'), 'hex') IN t.raw) > 0 "
    "AND t.contract IN (SELECT s.contract FROM {contract_sequence} s) "
    "AND EXISTS (SELECT FROM clarion.canonical_block c "
    "WHERE c.chain = t.chain AND c.height = t.height AND c.hash = t.block_hash) "
    "AND (t.height, t.block_hash, t.tx_index) IN (SELECT x.height, x.block_hash, x.tx_index FROM ("
    "SELECT unnest(ARRAY[p.created_tx, p.settled_tx]) AS tx FROM {policy} p WHERE p.id = k.key0 "
    "UNION SELECT r.tx_id FROM {remainder_cover} r WHERE r.policy = k.key0 "
    "UNION SELECT unnest(ARRAY[m.opened_tx, m.resolved_tx]) FROM {claim} m WHERE m.policy = k.key0 "
    "UNION SELECT l.tx_id FROM {liquidation} l WHERE l.policy = k.key0) own "
    "JOIN clarion.transaction x ON x.chain = 'stacks' AND x.tx_id = decode(substr(own.tx, 3), 'hex'))"
).format(
    contract_sequence=table("contract_sequence"),
    policy=table("policy"),
    remainder_cover=table("remainder_cover"),
    claim=table("claim"),
    liquidation=table("liquidation"),
)

_POSITION: Final = (("provider", "provider"), ("tier", "tier"), ("token", "token"))
_POOL: Final = (("tier", "tier"), ("token", "token"))
_TOKEN: Final = (("token", "token"),)
_PROVIDER: Final = (("provider", "provider"),)
_FEED: Final = (("asset", "asset"),)

_TIER_OF: Final = Relation("riskTier", "tier", (("tier", "name"),), "Its risk tier.")
_TOKEN_OF: Final = Relation("collateralToken", "token", _TOKEN, "Its token.")
_FEED_OF: Final = Relation("feed", "asset", _FEED, "Its price feed.")
_POSITION_OF: Final = Relation("position", "position", _POSITION, "Its position.")
_POLICY_OF: Final = Relation("policy", "policy", (("policy", "id"),), "Its policy.")
_PROVIDER_OF: Final = Relation("account", "provider", _PROVIDER, "Its provider.")
_PROPOSAL_OF: Final = Relation("proposal", "proposal", (("proposal", "id"),), "Its proposal.")
_DECIDED_BY: Final = Relation("decidedBy", "proposal", (("proposal", "id"),), "The proposal that did it.")
_PROGRAM_OF: Final = Relation("program", "program", (("program", "id"),), "Its programme.")
_EPOCH: Final = (("program", "program"), ("epoch", "epoch"))
_EPOCH_OF: Final = Relation("epoch", "program_epoch", _EPOCH, "Its epoch.")


def _entries(own: str, remote: str, description: str) -> Relation:
    return Relation("entries", "account_entry", ((own, remote),), description, many=True)


API: Final = ProtocolApi(
    prefix="",
    routes=(statements.route,),
    mutations=(prepare.mutations, tracking.mutations),
    queries=(
        governance.queries,
        oracle.queries,
        pools.queries,
        portfolio.queries,
        quotes.queries,
        estimates.queries,
        tracking.queries,
        platform.queries,
        risk.queries,
        incentives.queries,
        activity.queries,
        availability.queries,
    ),
    plurals={"policy_totals": "all_policy_totals", "fee_shares": "all_fee_shares"},
    units={
        "Usd8": "US dollars x 10^8",
        "Sats": "satoshis, 1/10^8 BTC",
        "TokenAmount": "base units of the token",
        "BasisPoints": "1/10000",
        "BurnHeight": "Bitcoin block height",
        "BurnBlocks": "Bitcoin blocks",
        "E12": "1/10^12",
    },
    scales={
        "Usd8": Scale(8, "US dollars", "_usd", ending="_usd8"),
        "Sats": Scale(8, "BTC", "_btc", ending="_sat"),
        "TokenAmount": Scale(PlacesTable("bithedge.token", "token", "decimals"), "whole tokens", "_decimal"),
    },
    renamed={
        **{table: {"proposal": "proposal_id"} for table in ("proposal_action", "proposal_vote")},
        "proposal": {"actions": "action_count", "votes": "vote_count"},
        "staker": {"proposals": "proposal_count", "votes": "vote_count"},
        **{
            table: {"policy": "policy_id"}
            for table in ("allocation", "policy_lock", "remainder_cover", "claim", "account_entry")
        },
        **{table: {"positions": "position_count", "policies": "policy_count"} for table in ("tier_pool", "token_pool")},
        **{table: {"program": "program_id"} for table in ("program_fund", "treasury_entry", "program_epoch")},
        **{table: {"program": "program_id", "epoch": "epoch_number"} for table in ("reward", "program_entry")},
        "program": {"epochs": "epoch_count"},
        **{table: {"policy": "policy_id"} for table in ("fund_payment", "fund_takeover", "fund_entry")},
        "margin_call": {"liquidations": "liquidation_count"},
        "liquidation": {"policy": "policy_id", "call": "call_id"},
    },
    derived={"policy": (*_POLICY, *POLICY), "proposal": (*_PROPOSAL, *PROPOSAL)},
    relations={
        "contract_sequence": [
            Relation("gaps", "sequence_gap", (("contract", "contract"),), "Where its numbers have gaps.", many=True)
        ],
        "parameter": [Relation("changes", "parameter_change", (("key", "key"),), "How it was set.", many=True)],
        "parameter_change": [
            Relation("parameter", "parameter", (("key", "key"),), "The parameter as it is."),
            _DECIDED_BY,
        ],
        "module": [
            Relation(
                "migrations",
                "migration",
                (("module", "module"), ("version", "version")),
                "Copies of another version's rows into it.",
                many=True,
            )
        ],
        "migration": [
            Relation("filled", "module", (("module", "module"), ("version", "version")), "The version it fills.")
        ],
        "metric": [Relation("stops", "switch", (("breaker", "name"),), "The switch whose breaker it trips.")],
        "switch": [
            Relation("metrics", "metric", (("name", "breaker"),), "Figures that can trip its breaker.", many=True)
        ],
        "staker": [
            Relation("delegators", "staker", (("who", "delegate"),), "Whose stake it votes with.", many=True),
            Relation("checkpoints", "power_checkpoint", (("who", "who"),), "Its power over time.", many=True),
            Relation("proposals", "proposal", (("who", "proposer"),), "What it proposed.", many=True),
            Relation("votes", "proposal_vote", (("who", "voter"),), "How it voted.", many=True),
        ],
        "power_checkpoint": [Relation("staker", "staker", (("who", "who"),), "Whose power it is.")],
        "proposal": [
            Relation("actions", "proposal_action", (("id", "proposal"),), "The calls that it makes.", many=True),
            Relation("votes", "proposal_vote", (("id", "proposal"),), "Who voted how.", many=True),
            Relation("proposerAccount", "staker", (("proposer", "who"),), "Who made it."),
            Relation(
                "parameterChanges", "parameter_change", (("id", "proposal"),), "Parameters that it set.", many=True
            ),
        ],
        "proposal_action": [_PROPOSAL_OF],
        "proposal_vote": [
            _PROPOSAL_OF,
            Relation("voterAccount", "staker", (("voter", "who"),), "Who voted."),
        ],
        "tier": [
            Relation("pools", "tier_pool", (("name", "tier"),), "Its positions summed up, by token.", many=True),
            Relation("positions", "position", (("name", "tier"),), "Its positions.", many=True),
            Relation("policies", "policy", (("name", "tier"),), "Policies it covers or covered.", many=True),
        ],
        "token": [
            _FEED_OF,
            Relation("pool", "token_pool", _TOKEN, "Everything the vault holds of it."),
            Relation("tierPools", "tier_pool", _TOKEN, "Its positions summed up, by tier.", many=True),
        ],
        "oracle_provider": [Relation("prices", "price_submission", _PROVIDER, "What it submitted.", many=True)],
        "asset": [
            Relation("rounds", "price_round", _FEED, "Its rounds.", many=True),
            Relation("expiryPrices", "expiry_price", _FEED, "Its fixed prices.", many=True),
            Relation("policies", "policy", _FEED, "Policies on it.", many=True),
            Relation("policyTotals", "policy_totals", _FEED, "Policies on it, summed up."),
            Relation("lastClosedRound", "price_round", (*_FEED, ("last_round", "round")), "The round of its price."),
        ],
        "price_round": [
            _FEED_OF,
            Relation("submissions", "price_submission", (*_FEED, ("round", "round")), "Its prices.", many=True),
        ],
        "price_submission": [
            Relation("priceRound", "price_round", (*_FEED, ("round", "round")), "Its round."),
            Relation("oracleProvider", "oracle_provider", _PROVIDER, "Who submitted it."),
        ],
        "expiry_price": [
            _FEED_OF,
            Relation("priceRound", "price_round", (*_FEED, ("round", "round")), "The round it is from."),
            Relation(
                "policies", "policy", (*_FEED, ("expiry_burn", "expiry_burn")), "Policies on its asset.", many=True
            ),
        ],
        "provider": [
            Relation("positions", "position", _PROVIDER, "Its positions.", many=True),
            Relation("allocations", "allocation", _PROVIDER, "What it covers or covered.", many=True),
            Relation("yields", "yield_balance", _PROVIDER, "Its earned premiums, by token.", many=True),
            Relation("withdrawRequests", "withdraw_request", _PROVIDER, "What it asked back.", many=True),
            _entries("provider", "account", "Its movements of money."),
        ],
        "position": [
            _PROVIDER_OF,
            _TIER_OF,
            _TOKEN_OF,
            Relation("allocations", "allocation", _POSITION, "What it covers or covered.", many=True),
            Relation(
                "policies",
                "policy",
                _POSITION,
                "Policies it backs or backed.",
                many=True,
                via=Via("bithedge.allocation", ("provider", "tier", "token"), (("policy", "id"),)),
            ),
            Relation("exposures", "exposure", _POSITION, "What it has locked, by expiry.", many=True),
            Relation("marginCalls", "margin_call", _POSITION, "Margin calls on it.", many=True),
            Relation("liquidations", "liquidation", _POSITION, "What was taken over from it.", many=True),
            Relation("withdrawRequests", "withdraw_request", _POSITION, "What was asked back of it.", many=True),
        ],
        "exposure": [_POSITION_OF],
        "yield_balance": [_PROVIDER_OF, _TOKEN_OF],
        "withdraw_request": [_POSITION_OF, _PROVIDER_OF],
        "policy_lock": [
            _POLICY_OF,
            Relation("allocations", "allocation", (("policy", "policy"),), "Its parts, by provider.", many=True),
        ],
        "allocation": [_POLICY_OF, _POSITION_OF, _PROVIDER_OF],
        "account_entry": [_POLICY_OF],
        "tier_pool": [
            _TIER_OF,
            _TOKEN_OF,
            Relation("positions", "position", _POOL, "Its positions.", many=True),
            Relation("policies", "policy", _POOL, "Policies it covers or covered.", many=True),
        ],
        "token_pool": [
            _TOKEN_OF,
            Relation("tierPools", "tier_pool", _TOKEN, "Its positions summed up, by tier.", many=True),
        ],
        "policy": [
            _FEED_OF,
            _TIER_OF,
            _TOKEN_OF,
            Relation("allocations", "allocation", (("id", "policy"),), "Its parts, by provider.", many=True),
            Relation("lock", "policy_lock", (("id", "policy"),), "What the vault holds for it."),
            Relation(
                "expiryPrice", "expiry_price", (*_FEED, ("expiry_burn", "expiry_burn")), "The price it settles at."
            ),
            Relation("spotRound", "price_round", (*_FEED, ("round", "round")), "The round it was priced at."),
            Relation(
                "settlementPriceRound", "price_round", (*_FEED, ("settlement_round", "round")), "The round it ended at."
            ),
            Relation("remainderCovers", "remainder_cover", (("id", "policy"),), "What the fund added.", many=True),
            Relation("fundPayments", "fund_payment", (("id", "policy"),), "How the fund paid it.", many=True),
            Relation("liquidations", "liquidation", (("id", "policy"),), "Parts that changed hands.", many=True),
            Relation("claim", "claim", (("id", "policy"),), "The owner's claim on what stayed unpaid."),
            _entries("id", "policy", "Movements of money that concern it."),
            Relation(
                "events",
                "Event",
                (("id", "value"),),
                "What the contracts said of it, in order.",
                many=True,
                order=(("height", False),),
                condition=_EVENTS_OF_POLICY,
            ),
        ],
        "treasury_holding": [
            _TOKEN_OF,
            Relation("shares", "treasury_share", _TOKEN, "Who can claim of it.", many=True),
            Relation("entries", "treasury_entry", _TOKEN, "How it came and went.", many=True),
        ],
        "treasury_share": [
            _TOKEN_OF,
            Relation(
                "allocations", "treasury_allocation", (("receiver", "receiver"),), "What it grows by now.", many=True
            ),
            Relation(
                "entries", "treasury_entry", (("receiver", "account"), *_TOKEN), "Its movements of money.", many=True
            ),
        ],
        "treasury_allocation": [
            _DECIDED_BY,
            Relation(
                "shares", "treasury_share", (("receiver", "receiver"),), "What its receiver can claim.", many=True
            ),
        ],
        "fee_discount": [
            _DECIDED_BY,
            Relation("policies", "policy", (("who", "owner"),), "The user's policies.", many=True),
        ],
        "program_fund": [_PROGRAM_OF, _TOKEN_OF],
        "treasury_entry": [_DECIDED_BY, _TOKEN_OF, _PROGRAM_OF],
        "program": [
            _DECIDED_BY,
            _TOKEN_OF,
            Relation("epochs", "program_epoch", (("id", "program"),), "Its epochs with rewards.", many=True),
            Relation("rewards", "reward", (("id", "program"),), "What users have claimed.", many=True),
            Relation("funds", "program_fund", (("id", "program"),), "What the treasury holds for it.", many=True),
            Relation("entries", "program_entry", (("id", "program"),), "Its movements of money.", many=True),
        ],
        "program_epoch": [
            _PROGRAM_OF,
            _TOKEN_OF,
            Relation("rewards", "reward", _EPOCH, "What users have claimed of it.", many=True),
            Relation("entries", "program_entry", _EPOCH, "Its movements of money.", many=True),
        ],
        "reward": [_PROGRAM_OF, _EPOCH_OF, _TOKEN_OF],
        "program_entry": [_PROGRAM_OF, _EPOCH_OF, _TOKEN_OF],
        "remainder_cover": [_POLICY_OF],
        "claim": [
            _POLICY_OF,
            Relation(
                "remainderCovers", "remainder_cover", (("policy", "policy"),), "What the fund has paid.", many=True
            ),
        ],
        "policy_totals": [_FEED_OF],
        "fund_holding": [
            _TOKEN_OF,
            Relation("covers", "fund_cover", _TOKEN, "What is promised of it, by tier.", many=True),
            Relation("recoveryPlans", "recovery_plan", _TOKEN, "Plans to fill it up.", many=True),
            Relation("entries", "fund_entry", _TOKEN, "How it came and went.", many=True),
        ],
        "fund_cover": [
            _DECIDED_BY,
            _TIER_OF,
            _TOKEN_OF,
            Relation("payments", "fund_payment", _POOL, "What was paid of it.", many=True),
            Relation("takeovers", "fund_takeover", _POOL, "Allocations taken over there.", many=True),
        ],
        "fund_payment": [_POLICY_OF, _TIER_OF, _TOKEN_OF],
        "fund_takeover": [
            _POLICY_OF,
            _TOKEN_OF,
            Relation(
                "liquidations",
                "liquidation",
                (("policy", "policy"), ("provider", "provider")),
                "Liquidations of the same provider's part of the policy.",
                many=True,
            ),
        ],
        "recovery_plan": [_DECIDED_BY, _TOKEN_OF],
        "fund_entry": [_POLICY_OF, _TOKEN_OF],
        "margin_call": [
            _POSITION_OF,
            _PROVIDER_OF,
            _TIER_OF,
            _TOKEN_OF,
            Relation("liquidations", "liquidation", (("id", "call"),), "What was taken over under it.", many=True),
        ],
        "liquidation": [
            _POLICY_OF,
            _POSITION_OF,
            _PROVIDER_OF,
            _TOKEN_OF,
            Relation("marginCall", "margin_call", (("call", "id"),), "The call it came under."),
            Relation(
                "takerPosition",
                "position",
                (("taker", "provider"), ("tier", "tier"), ("token", "token")),
                "The position that backs it now.",
            ),
        ],
    },
    roles=read_roles,
)
