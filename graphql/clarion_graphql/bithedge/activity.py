"""Everything the chain tells of an address on BitHedge, as one list: what it called, and what happened to it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from inspect import Parameter
from typing import Any, Final, LiteralString, NamedTuple

import msgspec
import strawberry
from psycopg import sql
from strawberry.types.field import StrawberryField

from clarion_graphql.bithedge.addresses import about_principal
from clarion_graphql.bithedge.reading import composed
from clarion_graphql.context import Info
from clarion_graphql.enums import graphql_enum
from clarion_graphql.errors import ApiError, Code, InputError
from clarion_graphql.pages import DEFAULT_PAGE, MAX_PAGE
from clarion_graphql.scalars import BigInt
from clarion_graphql.session import Session
from clarion_graphql.sql import Sql, build, join
from clarion_graphql.types import PageInfo, Types, make_field, with_arguments


class ActivityKind(StrEnum):
    """What happened, or was done."""

    CALL = "call"
    DEPOSIT = "deposit"
    WITHDRAWAL_REQUESTED = "withdrawal-requested"
    WITHDRAWAL = "withdrawal"
    TIER_OUT = "tier-out"
    TIER_IN = "tier-in"
    COVER_BEGUN = "cover-begun"
    PAYOUT_DEBIT = "payout-debit"
    PREMIUM_EARNED = "premium-earned"
    YIELD_CLAIM = "yield-claim"
    TAKEOVER_PAID = "takeover-paid"
    TAKEOVER_RECEIVED = "takeover-received"
    BOUNTY = "bounty"
    PENALTY = "penalty"
    FEE_COLLECTION = "fee-collection"
    MARGIN_CALL = "margin-call"
    MARGIN_CALL_ESCALATED = "margin-call-escalated"
    MARGIN_CALL_RESOLVED = "margin-call-resolved"
    ALLOCATION_LOST = "allocation-lost"
    ALLOCATION_TAKEN = "allocation-taken"
    POLICY_CREATED = "policy-created"
    PREMIUM_PAID = "premium-paid"
    PREMIUM_REFUND = "premium-refund"
    POLICY_EXERCISED = "policy-exercised"
    POLICY_SETTLED_ITM = "policy-settled-itm"
    POLICY_EXPIRED_OTM = "policy-expired-otm"
    POLICY_CANCELLED = "policy-cancelled"
    PAYOUT = "payout"
    CLAIM_OPENED = "claim-opened"
    CLAIM_RESOLVED = "claim-resolved"
    FUND_GIFT = "fund-gift"
    FUND_RECOVERY = "fund-recovery"
    FUND_SHORTFALL = "fund-shortfall"
    FUND_OTHER = "fund-other"
    TREASURY_CONTRIBUTED = "treasury-contributed"
    TREASURY_SHARE = "treasury-share"
    TREASURY_SHARE_CLAIMED = "treasury-share-claimed"
    TREASURY_SPENT = "treasury-spent"
    TREASURY_OTHER = "treasury-other"
    PROGRAM_CONTRIBUTED = "program-contributed"
    PROGRAM_RETURNED = "program-returned"
    REWARD_CLAIMED = "reward-claimed"
    PRICE_SUBMITTED = "price-submitted"
    PROPOSAL_CREATED = "proposal-created"
    PROPOSAL_ENDED = "proposal-ended"
    VOTE = "vote"
    ROLE_GRANTED = "role-granted"


graphql_enum(
    ActivityKind,
    {
        "CALL": "It called a function of the contracts; `detail` has the function and how the call ended.",
        "DEPOSIT": "It put capital into the vault.",
        "WITHDRAWAL_REQUESTED": "It asked capital back; `number` is the request.",
        "WITHDRAWAL": "It took capital out of the vault.",
        "TIER_OUT": "Its capital left a tier for another.",
        "TIER_IN": "Its capital came to a tier from another.",
        "COVER_BEGUN": "A new policy was put on its position, for `amountUsd8` of the maximum payout.",
        "PAYOUT_DEBIT": "Its collateral paid an owner.",
        "PREMIUM_EARNED": "Its part of a premium became yield.",
        "YIELD_CLAIM": "It took yield out.",
        "TAKEOVER_PAID": "Its position paid for giving up an allocation, bounty and penalty included.",
        "TAKEOVER_RECEIVED": "Its position got paid for taking over an allocation.",
        "BOUNTY": "It earned the bounty of a liquidation that it called.",
        "PENALTY": "It got the penalty of a liquidation.",
        "FEE_COLLECTION": "It took fees out of the vault.",
        "MARGIN_CALL": "Its position was called on; `number` is the call, `amount` the deficit.",
        "MARGIN_CALL_ESCALATED": "A soft margin call on it turned hard.",
        "MARGIN_CALL_RESOLVED": "A margin call on it ended.",
        "ALLOCATION_LOST": "Another provider, `counterparty`, took an allocation of it over.",
        "ALLOCATION_TAKEN": "It took an allocation of another provider, `counterparty`, over.",
        "POLICY_CREATED": "It bought a policy; `amount` is the premium.",
        "PREMIUM_PAID": "It paid a premium.",
        "PREMIUM_REFUND": "It got premium back.",
        "POLICY_EXERCISED": "It exercised a policy; `amount` was paid, `amountUsd8` was due.",
        "POLICY_SETTLED_ITM": "A policy of it expired in the money; `amount` was paid, `amountUsd8` was due.",
        "POLICY_EXPIRED_OTM": "A policy of it expired worthless.",
        "POLICY_CANCELLED": "It cancelled a policy; `amount` is the refund.",
        "PAYOUT": "The vault paid it for a policy.",
        "CLAIM_OPENED": "It opened a claim on what stayed unpaid.",
        "CLAIM_RESOLVED": "An arbiter, `counterparty`, resolved its claim.",
        "FUND_GIFT": "It gave to the insurance fund.",
        "FUND_RECOVERY": "It contributed to a recovery plan of the insurance fund.",
        "FUND_SHORTFALL": "The insurance fund paid it for a policy.",
        "FUND_OTHER": "Another movement of the fund's money; `detail` names it.",
        "TREASURY_CONTRIBUTED": "It gave to the treasury.",
        "TREASURY_SHARE": "Its share in the treasury grew by distributed fees.",
        "TREASURY_SHARE_CLAIMED": "It took its share out of the treasury.",
        "TREASURY_SPENT": "Governance paid it out of the treasury.",
        "TREASURY_OTHER": "Another movement of the treasury's money; `detail` names it.",
        "PROGRAM_CONTRIBUTED": "It gave to a reward programme; `number` is the programme.",
        "PROGRAM_RETURNED": "It got back what an ended programme did not give; `number` is the programme.",
        "REWARD_CLAIMED": "It claimed a reward; `number` is the programme, `detail` the epoch.",
        "PRICE_SUBMITTED": "It submitted a price; `number` is the round, `detail` the asset.",
        "PROPOSAL_CREATED": "It made a proposal; `number` is the proposal.",
        "PROPOSAL_ENDED": "A proposal of it ended; `detail` says how.",
        "VOTE": "It voted on the proposal `number` with the power `amount`; `detail` is the choice.",
        "ROLE_GRANTED": "It was granted the role in `detail`, which it still holds.",
    },
)


class Place(NamedTuple):
    """A row's place in the list: by block, kind of source, and number within it."""

    height: int
    rank: int
    id: int


@dataclass(frozen=True, slots=True)
class _Source:
    """Rows of one kind of table about an address (``%s``), with these kinds.

    ``by_id``: ids only rise with height, so that the table's index on (address, id) gives the order.
    """

    kinds: tuple[ActivityKind, ...]
    text: LiteralString
    by_id: bool = False


def _kinds(*names: str) -> tuple[ActivityKind, ...]:
    return tuple(ActivityKind(name) for name in names)


# each gives: height, id, kind, token, amount, amount_usd8, policy, tier, counterparty, number, detail, tx_id
_SOURCES: Final = (
    _Source(
        _kinds("call"),
        "SELECT x.height, x.tx_index, 'call', NULL::text, NULL::numeric, NULL::numeric, NULL::bigint, "
        "NULL::text, NULL::text, NULL::bigint, split_part(x.contract, '.', 2) || '.' || x.function || ' ' || x.status, "
        "'0x' || encode(x.tx_id, 'hex') FROM {transaction} x JOIN {canonical_block} c ON c.chain = x.chain "
        "AND c.height = x.height AND c.hash = x.block_hash WHERE x.chain = 'stacks' AND x.sender = %s "
        "AND x.function IS NOT NULL AND x.contract IN (SELECT s.contract FROM {contract_sequence} s)",
    ),
    _Source(
        _kinds("role-granted"),
        "SELECT r.granted_height, hashtext(r.role)::bigint, 'role-granted', NULL::text, NULL::numeric, "
        "NULL::numeric, NULL::bigint, NULL::text, NULL::text, NULL::bigint, r.role, NULL::text FROM {role} r "
        "WHERE r.who = %s",
    ),
    _Source(
        _kinds(
            *("deposit", "withdrawal", "tier-out", "tier-in", "payout-debit", "premium-earned", "yield-claim"),
            *("takeover-paid", "takeover-received", "bounty", "penalty", "premium-paid", "payout", "premium-refund"),
            "fee-collection",
        ),
        "SELECT e.height, e.seq, e.kind, e.token, e.amount, NULL::numeric, e.policy, e.tier, NULL::text, "
        "NULL::bigint, NULL::text, e.tx_id FROM {account_entry} e WHERE e.account = %s",
        by_id=True,
    ),
    _Source(
        _kinds("treasury-contributed", "treasury-share", "treasury-share-claimed", "treasury-spent", "treasury-other"),
        "SELECT e.height, e.seq, CASE e.kind WHEN 'contributed' THEN 'treasury-contributed' "
        "WHEN 'fee-distributed' THEN 'treasury-share' WHEN 'share-claimed' THEN 'treasury-share-claimed' "
        "WHEN 'spent' THEN 'treasury-spent' ELSE 'treasury-other' END, e.token, e.amount, NULL::numeric, "
        "NULL::bigint, NULL::text, NULL::text, coalesce(e.program, e.proposal), coalesce(e.allocation, e.kind), "
        "e.tx_id FROM {treasury_entry} e WHERE e.account = %s",
        by_id=True,
    ),
    _Source(
        _kinds("fund-gift", "fund-recovery", "fund-shortfall", "fund-other"),
        "SELECT e.height, e.seq, CASE WHEN e.kind IN ('gift', 'recovery', 'shortfall') THEN 'fund-' || e.kind "
        "ELSE 'fund-other' END, e.token, e.amount, NULL::numeric, e.policy, e.tier, NULL::text, NULL::bigint, "
        "e.kind, e.tx_id FROM {fund_entry} e WHERE e.account = %s",
        by_id=True,
    ),
    _Source(
        _kinds("program-contributed", "program-returned", "reward-claimed"),
        "SELECT e.height, e.seq, CASE e.kind WHEN 'budget-added' THEN 'program-contributed' "
        "WHEN 'budget-returned' THEN 'program-returned' ELSE e.kind END, e.token, e.amount, NULL::numeric, "
        "NULL::bigint, NULL::text, NULL::text, e.program, e.epoch::text, e.tx_id FROM {program_entry} e "
        "WHERE e.account = %s",
        by_id=True,
    ),
    _Source(
        _kinds("policy-created"),
        "SELECT p.created_height, p.id, 'policy-created', p.token, p.premium, "
        "p.premium_usd8, p.id, p.tier, NULL::text, NULL::bigint, p.type, p.created_tx FROM {policy} p "
        "WHERE p.owner = %s",
    ),
    _Source(
        _kinds("policy-exercised", "policy-settled-itm", "policy-expired-otm", "policy-cancelled"),
        "SELECT p.settled_height, p.id, 'policy-' || p.state, p.token, "
        "CASE p.state WHEN 'cancelled' THEN p.refund ELSE p.paid END, p.payoff_usd8, p.id, p.tier, "
        "NULL::text, NULL::bigint, p.type, p.settled_tx FROM {policy} p "
        "WHERE p.owner = %s AND p.settled_height IS NOT NULL",
    ),
    _Source(
        _kinds("cover-begun"),
        # what an allocation began with: what it has (or had when it went), more what it gave up, less what it took
        "SELECT p.created_height, p.id, 'cover-begun', a.token, NULL::numeric, "
        "w.liability, p.id, a.tier, p.owner, NULL::bigint, p.type, p.created_tx FROM {allocation} a "
        "JOIN {policy} p ON p.id = a.policy CROSS JOIN LATERAL (SELECT "
        "CASE WHEN a.state = 'moved' THEN 0 ELSE a.liability_usd8 END "
        "+ coalesce((SELECT sum(l.liability_usd8) FROM {liquidation} l WHERE l.policy = a.policy "
        "AND l.provider = a.provider), 0) - coalesce((SELECT sum(l.liability_usd8) FROM {liquidation} l "
        "WHERE l.policy = a.policy AND l.taker = a.provider), 0) AS liability) w "
        "WHERE a.provider = %s AND w.liability > 0",
    ),
    _Source(
        _kinds("withdrawal-requested"),
        "SELECT w.requested_height, w.id, 'withdrawal-requested', w.token, w.amount, NULL::numeric, "
        "NULL::bigint, w.tier, NULL::text, w.id, NULL::text, NULL::text FROM {withdraw_request} w "
        "WHERE w.provider = %s AND w.requested_height IS NOT NULL",
    ),
    _Source(
        _kinds("margin-call"),
        "SELECT m.issued_height, m.id, 'margin-call', m.token, m.deficit, "
        "m.liability_usd8, NULL::bigint, m.tier, NULL::text, m.id, m.level, m.issued_tx FROM {margin_call} m "
        "WHERE m.provider = %s",
    ),
    _Source(
        _kinds("margin-call-escalated"),
        "SELECT m.escalated_height, m.id, 'margin-call-escalated', m.token, NULL::numeric, "
        "NULL::numeric, NULL::bigint, m.tier, NULL::text, m.id, m.level, NULL::text FROM {margin_call} m "
        "WHERE m.provider = %s AND m.escalated_height IS NOT NULL",
    ),
    _Source(
        _kinds("allocation-lost"),
        "SELECT l.height, l.id, 'allocation-lost', l.token, l.paid, l.liability_usd8, l.policy, "
        "l.tier, l.taker, l.call, CASE WHEN l.is_forced THEN 'forced' ELSE 'asked for' END, l.tx_id "
        "FROM {liquidation} l WHERE l.provider = %s",
    ),
    _Source(
        _kinds("allocation-taken"),
        "SELECT l.height, l.id, 'allocation-taken', l.token, l.paid, l.liability_usd8, l.policy, "
        "l.tier, l.provider, l.call, CASE WHEN l.is_forced THEN 'forced' ELSE 'asked for' END, l.tx_id "
        "FROM {liquidation} l WHERE l.taker = %s",
    ),
    _Source(
        _kinds("margin-call-resolved"),
        "SELECT m.resolved_height, m.id, 'margin-call-resolved', m.token, NULL::numeric, "
        "NULL::numeric, NULL::bigint, m.tier, NULL::text, m.id, NULL::text, m.resolved_tx FROM {margin_call} m "
        "WHERE m.provider = %s AND m.resolved_height IS NOT NULL",
    ),
    _Source(
        _kinds("claim-opened"),
        "SELECT c.opened_height, c.policy, 'claim-opened', NULL::text, NULL::numeric, "
        "CASE c.state WHEN 'open' THEN c.unpaid_usd8 END, c.policy, NULL::text, NULL::text, NULL::bigint, NULL::text, "
        "c.opened_tx FROM {claim} c WHERE c.owner = %s AND c.opened_height IS NOT NULL",
    ),
    _Source(
        _kinds("claim-resolved"),
        "SELECT c.resolved_height, c.policy, 'claim-resolved', NULL::text, "
        "NULL::numeric, c.approved_usd8, c.policy, NULL::text, c.arbiter, NULL::bigint, c.state, "
        "c.resolved_tx FROM {claim} c WHERE c.owner = %s AND c.resolved_height IS NOT NULL",
    ),
    _Source(
        _kinds("price-submitted"),
        # rounds of several assets have the same numbers
        "SELECT s.height, s.round * 1000 + (SELECT count(*) FROM {asset} a WHERE a.asset < s.asset), "
        "'price-submitted', NULL::text, NULL::numeric, s.price_usd8, "
        "NULL::bigint, NULL::text, NULL::text, s.round, s.asset, s.tx_id FROM {price_submission} s "
        "WHERE s.provider = %s",
    ),
    _Source(
        _kinds("proposal-created"),
        "SELECT p.created_height, p.id, 'proposal-created', NULL::text, NULL::numeric, "
        "NULL::numeric, NULL::bigint, NULL::text, NULL::text, p.id, p.uri, p.created_tx FROM {proposal} p "
        "WHERE p.proposer = %s AND p.created_height IS NOT NULL",
    ),
    _Source(
        _kinds("vote"),
        "SELECT v.height, v.proposal, 'vote', g.token, v.power, NULL::numeric, NULL::bigint, "
        "NULL::text, NULL::text, v.proposal, v.choice, v.tx_id FROM {proposal_vote} v "
        "LEFT JOIN {governance} g ON true WHERE v.voter = %s",
    ),
    _Source(
        _kinds("proposal-ended"),
        "SELECT p.ended_height, p.id, 'proposal-ended', NULL::text, NULL::numeric, "
        "NULL::numeric, NULL::bigint, NULL::text, NULL::text, p.id, p.state, p.ended_tx FROM {proposal} p "
        "WHERE p.proposer = %s AND p.ended_height IS NOT NULL",
    ),
)


@strawberry.type(description="Something that an address did, or that happened to it.")
class Activity:
    """One row of the list."""

    kind: ActivityKind = strawberry.field(description="What.")
    height: int = strawberry.field(description="Stacks block.")
    burn_height: int | None = strawberry.field(description="Bitcoin block of that block.")
    time: datetime | None = strawberry.field(description="Time of that block.")
    tx_id: str | None = strawberry.field(description="Transaction; null where the index does not have it.")
    token: str | None = strawberry.field(description="Token, where one is concerned.")
    amount: BigInt | None = strawberry.field(description="How much. Unit: base units of the token.")
    amount_usd8: BigInt | None = strawberry.field(description="How much in dollars. Unit: US dollars x 10^8.")
    policy_id: int | None = strawberry.field(description="Policy, where one is concerned.")
    tier: str | None = strawberry.field(description="Risk tier, where one is concerned.")
    counterparty: str | None = strawberry.field(description="The other principal, where there is one.")
    number: int | None = strawberry.field(description="What `kind` says it is: a request, a call, a proposal …")
    detail: str | None = strawberry.field(description="What `kind` says it is: a function, a choice, a role …")
    place: strawberry.Private[Place]


@strawberry.type(description="An `Activity` in a list.")
class ActivityEdge:
    """A row with its cursor."""

    cursor: str = strawberry.field(description="Its place in the list, for `after`.")
    node: Activity = strawberry.field(description="The row.")


@strawberry.type(description="A page of a list of `Activity`, the newest first.")
class ActivityConnection:
    """A page."""

    nodes: list[Activity] = strawberry.field(description="The page's rows.")
    edges: list[ActivityEdge] = strawberry.field(description="The page's rows with their cursors.")
    page_info: PageInfo = strawberry.field(description="Where the page stands.")


def _select(rank: int, after: Place | None, *, ascending: bool, by_id: bool) -> tuple[LiteralString, tuple[int, ...]]:
    """The end of one source's query, and its parameters: rows after a place, in order."""
    direction: LiteralString = "ASC" if ascending else "DESC"
    order: LiteralString = "s.id " + direction if by_id else "s.height " + direction + ", s.id " + direction
    place: LiteralString = "true"
    parameters: tuple[int, ...] = ()
    if after is not None:
        comparison: LiteralString = ">" if ascending else "<"
        if rank == after.rank:
            place, parameters = "(s.height, s.id) " + comparison + " (%s, %s)", (after.height, after.id)
        else:
            is_after = rank > after.rank if ascending else rank < after.rank
            equal: LiteralString = "=" if is_after else ""
            place, parameters = "s.height " + comparison + equal + " %s", (after.height,)
    return " AND " + place + " ORDER BY " + order + " LIMIT %s", parameters


_COLUMNS: Final = "s(height, id, kind, token, amount, amount_usd8, policy, tier, counterparty, number, detail, tx_id)"
_WITHIN: Final = " WHERE s.kind = ANY(%s) AND s.height BETWEEN %s AND %s"


def _wanted(kinds: Iterable[ActivityKind] | None) -> list[tuple[_Source, Sequence[ActivityKind]]]:
    """The sources that have any of these kinds, with those."""
    asked = frozenset(ActivityKind) if kinds is None else frozenset(kinds)
    found = [(source, [kind for kind in source.kinds if kind in asked]) for source in _SOURCES]
    return [(source, own) for source, own in found if own]


async def activity_rows(
    session: Session,
    address: str,
    kinds: Iterable[ActivityKind] | None,
    limit: int,
    *,
    after: Place | None = None,
    ascending: bool = False,
    heights: tuple[int, int] = (0, 2**62),
) -> list[Activity]:
    """At most ``limit`` rows about an address after a place: by height, and within a block by kind of source.

    ``heights``: the first and the last block to look at.
    """
    parts = []
    for source, own in _wanted(kinds):
        rank = _SOURCES.index(source)
        end, place = _select(rank, after, ascending=ascending, by_id=source.by_id)
        text: LiteralString = (
            "(SELECT %s::int AS rank, s.* FROM (" + source.text + ") " + _COLUMNS + _WITHIN + end + ")"
        )
        listed = [kind.value for kind in own]
        parts.append(Sql(composed(text), (rank, address, listed, *heights, *place, limit)))
    if not parts:
        return []
    direction: LiteralString = "ASC" if ascending else "DESC"
    query = build(
        "SELECT u.rank, u.id, u.kind, u.height, b.burn_height, to_timestamp(b.time), u.tx_id, u.token, u.amount, "
        "u.amount_usd8, u.policy, u.tier, u.counterparty, u.number, u.detail FROM (SELECT * FROM ({parts}) a "
        "ORDER BY a.height {direction}, a.rank {direction}, a.id {direction} LIMIT {limit}) u "
        "LEFT JOIN clarion.canonical_block c ON c.chain = 'stacks' AND c.height = u.height "
        "LEFT JOIN clarion.block b ON b.chain = c.chain AND b.hash = c.hash "
        "ORDER BY u.height {direction}, u.rank {direction}, u.id {direction}",
        parts=join(parts, " UNION ALL "),
        limit=Sql(sql.SQL("%s"), (limit,)),
        direction=sql.SQL(direction),
    )
    return [
        Activity(
            kind=ActivityKind(kind),
            height=height,
            burn_height=burn,
            time=time,
            tx_id=tx_id,
            token=token,
            amount=amount,
            amount_usd8=usd8,
            policy_id=policy,
            tier=tier,
            counterparty=counterparty,
            number=number,
            detail=detail,
            place=Place(height, rank, number_of_row),
        )
        for (
            rank,
            number_of_row,
            kind,
            height,
            burn,
            time,
            tx_id,
            token,
            amount,
            usd8,
            policy,
            tier,
            counterparty,
            number,
            detail,
        ) in await session.fetch(query, at_most=limit)
    ]


async def activity_count(
    session: Session, address: str, kinds: Iterable[ActivityKind] | None, most: int, *, heights: tuple[int, int]
) -> int:
    """How many rows there are about an address from the first to the last block of ``heights``, at most ``most``."""
    parts = []
    for source, own in _wanted(kinds):
        text: LiteralString = "(SELECT 1 FROM (" + source.text + ") " + _COLUMNS + _WITHIN + " LIMIT %s)"
        parts.append(Sql(composed(text), (address, [kind.value for kind in own], *heights, most)))
    if not parts:
        return 0
    counted = build(
        "SELECT count(*) FROM (SELECT FROM ({parts}) a LIMIT {most}) u",
        parts=join(parts, " UNION ALL "),
        most=Sql(sql.SQL("%s"), (most,)),
    )
    return int(await session.value(counted))


_CURSOR: Final = "activity"


def _encoded(place: Place) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode([_CURSOR, *place])).decode().rstrip("=")


def _decoded(cursor: str) -> Place:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        name, height, rank, number = msgspec.json.decode(
            base64.b64decode(padded, altchars=b"-_", validate=True), type=tuple[str, int, int, int]
        )
    except (binascii.Error, msgspec.MsgspecError, UnicodeError, ValueError):
        name, height, rank, number = "", 0, 0, 0
    if name != _CURSOR or not all(-(2**63) <= value < 2**63 for value in (height, rank, number)):
        raise ApiError(
            Code.BAD_CURSOR, f"{cursor[:80]!r} is no cursor of this list. Take cursors from a page of `activity`."
        )
    return Place(height, rank, number)


def queries(types: Types) -> Sequence[StrawberryField]:
    """The field of `Query` about what an address did."""

    async def resolve(
        root: Any, info: Info, *, address: str, kinds: list[ActivityKind] | None, first: int | None, after: str | None
    ) -> ActivityConnection:
        limit = DEFAULT_PAGE if first is None else first
        if limit < 0:
            raise InputError("first is 0 or more.")
        if limit > MAX_PAGE:
            raise ApiError(Code.LIMIT_EXCEEDED, f"A page holds at most {MAX_PAGE} rows, not {limit}.")
        wanted = None if kinds is None else [ActivityKind(kind) for kind in kinds]
        place = None if after is None else _decoded(after)
        rows = await activity_rows(info.context.session, address, wanted, limit + 1, after=place)
        kept = rows[:limit]
        edges = [ActivityEdge(cursor=_encoded(row.place), node=row) for row in kept]
        return ActivityConnection(
            nodes=kept,
            edges=edges,
            page_info=PageInfo(
                has_previous_page=after is not None,
                has_next_page=len(rows) > limit,
                start_cursor=edges[0].cursor if edges else None,
                end_cursor=edges[-1].cursor if edges else None,
            ),
        )

    return [
        make_field(
            "activity",
            ActivityConnection,
            "What an address called and what happened to it on BitHedge, the newest first; within a block by what it "
            "is. One event can be several rows: a purchase is a call, a policy and a premium.",
            resolver=with_arguments(
                about_principal(resolve),
                {
                    "address": (str, Parameter.empty, "Principal."),
                    "kinds": (list[ActivityKind] | None, None, "Only these kinds; all without."),
                    "first": (int | None, None, f"Page size, {DEFAULT_PAGE} without, at most {MAX_PAGE}."),
                    "after": (str | None, None, "Start after this cursor."),
                },
            ),
        )
    ]
