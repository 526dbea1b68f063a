"""The keeper's tables in the API: intents with their steps, transactions with their attempts, accounts, alerts.

:mod:`clarion_graphql` finds them through the entry point group ``clarion.graphql``. What is on chain anybody may see;
what is planned would tell rivals, so callers need the scope ``keeper``. Signed bytes are never shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import strawberry
from psycopg import sql
from strawberry.types.base import StrawberryList
from strawberry.types.field import StrawberryField

from clarion.config import Scope
from clarion_graphql.aggregate_types import aggregate_field
from clarion_graphql.context import Info, Service
from clarion_graphql.entities import Column, Entity, Kind, Relation
from clarion_graphql.enums import graphql_enum
from clarion_graphql.errors import InputError
from clarion_graphql.extensions import Extension
from clarion_graphql.live.sources import Source, State, StateSource
from clarion_graphql.session import fetch, snapshot
from clarion_graphql.sql import Sql, all_of, build, literal
from clarion_graphql.types import Types, make_field, make_type, with_arguments
from clarion_keeper.intents import Lane
from clarion_keeper.views.alerts import ALERTS, BUDGET_PERCENT, RESCUE_BLOCKS, RUNWAY_HOURS, Limits, alerts
from clarion_keeper.views.watch import read_watch

#: What the database notifies when an intent or an outgoing changes (:mod:`clarion_keeper.tables`).
CHANNEL: Final = "clarion_keeper"
#: For how long the subscription tells of intents that have ended, in minutes, and of how many intents at most.
TOLD_MINUTES: Final = 10
TOLD_AT_MOST: Final = 5_000


class KeeperIntentState(StrEnum):
    """Where an intent stands."""

    PLANNED = "planned"
    SENT = "sent"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class KeeperTransactionState(StrEnum):
    """Where a transaction of the keeper's stands."""

    SIGNED = "signed"
    BROADCAST = "broadcast"
    MINED = "mined"
    FINAL = "final"
    DISPLACED = "displaced"
    REJECTED = "rejected"


class KeeperAttemptState(StrEnum):
    """Where a signed version of a transaction stands."""

    SIGNED = "signed"
    BROADCAST = "broadcast"
    REFUSED = "refused"
    REPLACED = "replaced"
    MINED = "mined"


class KeeperChain(StrEnum):
    """Where a transaction goes."""

    STACKS = "stacks"
    BITCOIN = "bitcoin"
    NONE = "none"


graphql_enum(
    KeeperIntentState,
    {
        "PLANNED": "No transaction carries it yet; `waiting` says why.",
        "SENT": "A transaction carries it.",
        "DONE": "The chain says that it happened, by this keeper or by somebody else.",
        "FAILED": "Refused for a reason that trying again does not cure.",
        "CANCELLED": "No longer due; it may be planned again.",
    },
)
graphql_enum(
    KeeperTransactionState,
    {
        "SIGNED": "Stored; no node is known to hold it.",
        "BROADCAST": "A node took it.",
        "MINED": "In a canonical block.",
        "FINAL": "That block is final.",
        "DISPLACED": "Another one took its place; it is followed until that is final.",
        "REJECTED": "It can never be mined, or another one took its place for good.",
    },
)
graphql_enum(
    KeeperAttemptState,
    {
        "SIGNED": "Stored; no node is known to hold it.",
        "BROADCAST": "A node took it.",
        "REFUSED": "The nodes refused it.",
        "REPLACED": "There is a newer one; it may be mined all the same.",
        "MINED": "In a canonical block.",
    },
)
graphql_enum(KeeperChain, {"NONE": "Nowhere: there is something to look at, and no transaction."})
graphql_enum(
    Lane,
    {
        "RESCUE": "What loses money by the block: liquidations and what leads to them.",
        "SETTLE": "What is owed to users.",
        "UPKEEP": "What keeps a protocol going.",
        "ORACLE": "Prices.",
        "INCENTIVES": "Rewards.",
    },
    name="KeeperLane",
)


def _column(name: str, kind: Kind, description: str, *, search: bool = False, **more: Any) -> Column:
    return Column(name, kind, description, filterable=search, orderable=search, **more)


_CREATED: Final = _column("created_at", Kind.TIME, "When it was made.", search=True)
_ENDED: Final = _column("ended_at", Kind.TIME, "When it ended; null: it is open.", nullable=True, search=True)
_HIDDEN_OUTGOING: Final = Column("outgoing_id", Kind.INT, "", exposed=False, filterable=False, orderable=False)

STEP: Final = Entity(
    name="KeeperStep",
    table="keeper.step",
    description="A line of an intent's post-mortem.",
    columns=[
        _column("id", Kind.INT, "Number, in order.", search=True),
        Column("intent_id", Kind.INT, "", exposed=False, filterable=False, orderable=False),
        _column("at", Kind.TIME, "When.", search=True),
        _column(
            "what",
            Kind.TEXT,
            "decided, waited, simulated, refused, signed, sent, replaced, mined, orphaned, displaced, handed-out or "
            "ended.",
            search=True,
        ),
        _column("detail", Kind.JSON, "The rest: reason, block, transaction, fee, node."),
    ],
    key=("id",),
    single="keeperStep",
    plural="keeperSteps",
)

ATTEMPT: Final = Entity(
    name="KeeperAttempt",
    table="keeper.attempt",
    description="A signed version of a transaction of the keeper's. At most one of a transaction is ever mined.",
    columns=[
        _column("tx_id", Kind.BYTES, "Transaction id.", search=True),
        _HIDDEN_OUTGOING,
        _column("number", Kind.INT, "From 1.", search=True),
        _column("fee", Kind.BIG_INT, "Fee in micro-STX or satoshis.", search=True),
        _column("state", Kind.TEXT, "Where it stands.", enum=KeeperAttemptState, search=True),
        _column("signed_at", Kind.TIME, "When it was signed.", search=True),
        _column("first_sent_at", Kind.TIME, "When a node first took it; null: none has.", nullable=True),
        _column("last_error", Kind.TEXT, "What the nodes last said against it.", nullable=True),
    ],
    key=("tx_id",),
    single="keeperAttempt",
    plural="keeperAttempts",
    order=(("number", False),),
)

INTENT: Final = Entity(
    name="KeeperIntent",
    table="keeper.intent",
    description="One thing that the keeper wants to get done on a chain, such as settling policy 7, and its record.",
    columns=[
        _column("id", Kind.INT, "Number, in the order they were first planned.", search=True),
        _column("key", Kind.TEXT, "Its idempotency key: at most one with that key is open.", search=True),
        _column("job", Kind.TEXT, "The kind of work.", search=True),
        _column("lane", Kind.TEXT, "How urgent it is.", enum=Lane, search=True),
        _column("chain", Kind.TEXT, "Where its transaction goes.", enum=KeeperChain, search=True),
        _column("item", Kind.JSON, "What the job makes the call of."),
        _column("entity", Kind.TEXT, "What it is about, such as `policy:7`.", search=True),
        _column("state", Kind.TEXT, "Where it stands.", enum=KeeperIntentState, search=True),
        _column("cause", Kind.TEXT, "Why it was decided, with the figures."),
        _column("waiting", Kind.TEXT, "Why it is not sent yet; null where it does not wait.", nullable=True),
        _column("outcome", Kind.TEXT, "What came of it; null while it is open.", nullable=True),
        _column(
            "handed_out",
            Kind.JSON,
            "What others were last given to sign, where a key is not the keeper's: the unsigned transaction (`psbt`, "
            "base64), who has to sign which input (`signers`), `fee` and `inputs`; null: nothing.",
            nullable=True,
            expression=sql.SQL(
                "(SELECT s.detail FROM keeper.step s WHERE s.intent_id = t.id AND s.what = 'handed-out' "
                "ORDER BY s.id DESC LIMIT 1)"
            ),
        ),
        _column("benign", Kind.BOOLEAN, "Whether somebody else did it first.", search=True),
        _column("value_usd8", Kind.BIG_INT, "The money at stake, in US dollars x 10^8.", search=True),
        _column("reward_token", Kind.TEXT, "Token that the sender is to earn; null: nothing.", nullable=True),
        _column("reward_amount", Kind.BIG_INT, "How much of it, in base units.", nullable=True),
        _column("earned_token", Kind.TEXT, "Token that the sender earned; null: nothing.", nullable=True),
        _column("earned_amount", Kind.BIG_INT, "How much of it, in base units.", nullable=True),
        _column("deadline_burn", Kind.INT, "Bitcoin block by which it should be mined; null: none.", nullable=True),
        _column("decided_height", Kind.INT, "Block at which it was last found due."),
        _column("decided_hash", Kind.TEXT, "Hash of that block."),
        _column("decided_burn", Kind.INT, "Bitcoin height of that block."),
        _column("first_burn", Kind.INT, "Bitcoin height since which it has been due without a break."),
        _HIDDEN_OUTGOING,
        _CREATED,
        _ENDED,
    ],
    key=("id",),
    single="keeperIntent",
    plural="keeperIntents",
    order=(("id", True),),
    relations=[
        Relation(
            "steps",
            "KeeperStep",
            (("id", "intent_id"),),
            "Everything that happened to it, in order.",
            many=True,
            order=(("id", False),),
        ),
        Relation(
            "transaction",
            "KeeperTransaction",
            (("outgoing_id", "id"),),
            "The transaction that carries it; null while none does.",
        ),
    ],
)

TRANSACTION: Final = Entity(
    name="KeeperTransaction",
    table="keeper.outgoing",
    description="A transaction of the keeper's, in all its signed versions: on Stacks one nonce of one account.",
    columns=[
        _column("id", Kind.INT, "Number, in the order they were signed.", search=True),
        _column("chain", Kind.TEXT, "Where it goes.", enum=KeeperChain, search=True),
        _column("account", Kind.TEXT, "Name of the account that sends it.", search=True),
        _column("sender", Kind.TEXT, "Its address.", search=True),
        _column("nonce", Kind.BIG_INT, "Its nonce; null on Bitcoin.", nullable=True, search=True),
        _column("lane", Kind.TEXT, "How urgent it is.", enum=Lane, search=True),
        _column("job", Kind.TEXT, "The kind of work.", search=True),
        _column("contract", Kind.TEXT, "Contract that it calls.", search=True),
        _column("function", Kind.TEXT, "Function that it calls.", search=True),
        _column("state", Kind.TEXT, "Where it stands.", enum=KeeperTransactionState, search=True),
        _column(
            "error",
            Kind.TEXT,
            "Why it is displaced or was rejected, or what the nodes last said against it; null: nothing.",
            nullable=True,
        ),
        _column("tx_id", Kind.BYTES, "Id of the version that was mined; null: none.", nullable=True, search=True),
        _column("block_height", Kind.INT, "Block that mined it; null: none.", nullable=True, search=True),
        _column("block_hash", Kind.BYTES, "Hash of that block.", nullable=True),
        _column("fee_paid", Kind.BIG_INT, "Fee that was paid, in micro-STX or satoshis.", nullable=True, search=True),
        _CREATED,
        _ENDED,
    ],
    key=("id",),
    single="keeperTransaction",
    plural="keeperTransactions",
    order=(("id", True),),
    relations=[
        Relation("intents", "KeeperIntent", (("id", "outgoing_id"),), "What it carries.", many=True),
        Relation("attempts", "KeeperAttempt", (("id", "outgoing_id"),), "Its signed versions.", many=True),
    ],
)

ACCOUNT: Final = Entity(
    name="KeeperAccount",
    table="keeper.account",
    description="An account of the keeper's, as the one that leads last saw it.",
    columns=[
        _column("name", Kind.TEXT, "Its name in the settings.", search=True),
        _column("sender", Kind.TEXT, "Its address.", search=True),
        _column("chain", Kind.TEXT, "Its chain.", enum=KeeperChain, search=True),
        _column("lanes", Kind.JSON, "The lanes that it serves.", expression=sql.SQL("to_jsonb(t.lanes)")),
        _column("balance", Kind.BIG_INT, "Balance in micro-STX or satoshis.", search=True),
        _column("nonce", Kind.BIG_INT, "The nonce that is mined next; null on Bitcoin.", nullable=True),
        _column("spent_last_hour", Kind.BIG_INT, "Fees of the last hour, in micro-STX or satoshis.", search=True),
        _column(
            "hourly_budget", Kind.BIG_INT, "What it may spend in an hour, in micro-STX or satoshis.", nullable=True
        ),
        _column(
            "runway_hours",
            Kind.BIG_INT,
            "How long the balance lasts at that pace, in hours; null where nothing was spent.",
            nullable=True,
            expression=sql.SQL("div(t.balance, nullif(t.spent_last_hour, 0))"),
        ),
        _column("checked_at", Kind.TIME, "When it was looked at.", search=True),
    ],
    key=("name",),
    single="keeperAccount",
    plural="keeperAccounts",
)


@strawberry.type(description="Something about the keeper that somebody should look at.")
class KeeperAlert:
    """Something to look at."""

    alert: str = strawberry.field(description=f"Which: {', '.join(ALERTS)}.")
    subject: str = strawberry.field(description="The account, job, lane or intent that it is about; `*`: all.")
    message: str = strawberry.field(description="What was found, in words.")
    since: datetime | None = strawberry.field(description="Since when; null where that is not known.")


def _queries(types: Types) -> Sequence[StrawberryField]:
    async def keeper_alerts(
        root: Any, info: Info, *, runway_hours: int, budget_percent: int, rescue_blocks: int
    ) -> list[KeeperAlert]:
        if runway_hours < 0 or budget_percent < 0 or rescue_blocks < 0:
            raise InputError("runwayHours, budgetPercent and rescueBlocks are 0 or more.")
        watch = await read_watch(await info.context.session.open())
        limits = Limits(runway_hours=runway_hours, budget_percent=budget_percent, rescue_blocks=rescue_blocks)
        return [
            KeeperAlert(alert=one.alert, subject=one.subject, message=one.message, since=one.since)
            for one in alerts(watch, limits)
        ]

    shown = (INTENT, TRANSACTION, ACCOUNT)
    return [
        *(field for entity in shown for field in types.root_fields(entity)),
        *(aggregate_field(types, entity) for entity in (INTENT, TRANSACTION)),
        make_field(
            "keeperAlerts",
            StrawberryList(KeeperAlert),
            "What somebody should look at, the most urgent first.",
            resolver=with_arguments(
                keeper_alerts,
                {
                    "runway_hours": (int, RUNWAY_HOURS, "Tell of accounts that last for fewer hours."),
                    "budget_percent": (
                        int,
                        BUDGET_PERCENT,
                        "Tell of accounts that have spent more of what they may spend in an hour.",
                    ),
                    "rescue_blocks": (int, RESCUE_BLOCKS, "Tell of rescues that have waited for more Bitcoin blocks."),
                },
            ),
        ),
    ]


class _IntentMessage:
    def __init__(self, intent: Any) -> None:
        self.intent = intent


def _subscriptions(types: Types) -> Sequence[StrawberryField]:
    message = make_type(
        "KeeperIntentMessage",
        [make_field("intent", types.named[INTENT.name], "The intent as it is now.")],
        "An intent of the keeper's that is new or has changed.",
    )

    def resolve(root: Any, info: Info, *, job: str | None, lane: Any, id: int | None) -> Source:  # noqa: A002
        service = info.context.service
        condition = all_of(
            [
                None if job is None else literal("t.job = %s", job),
                None if lane is None else literal("t.lane = %s", str(lane)),
                None if id is None else literal("t.id = %s", id),
            ]
        )
        what = ("keeper intents", job, None if lane is None else str(lane), id)
        return StateSource(what, (CHANNEL,), lambda: _intents(service, condition, ended_too=id is not None))

    return [
        make_field(
            "keeperIntentChanged",
            message,
            "The intents that are open, each as it is now and whenever it is another; last what came of it. Those that "
            f"ended within {TOLD_MINUTES} minutes are told of too. Nothing is told again after a while: ask for "
            "`keeperIntents`.",
            resolver=with_arguments(
                resolve,
                {
                    "job": (str | None, None, "Only of this job."),
                    "lane": (graphql_enum(Lane) | None, None, "Only in this lane."),
                    "id": (int | None, None, "Only this one, however long ago it ended."),
                },
            ),
            is_subscription=True,
        )
    ]


async def _intents(service: Service, condition: Sql, *, ended_too: bool) -> list[State]:
    recent = literal("t.ended_at > now() - make_interval(mins => %s)", TOLD_MINUTES)
    told = build("(t.state IN ('planned', 'sent') OR {recent})", recent=recent)
    query = build(
        "SELECT {columns}, (SELECT concat(o.state, ' ', (SELECT max(a.number) FROM keeper.attempt a "
        "WHERE a.outgoing_id = o.id)) FROM keeper.outgoing o WHERE o.id = t.outgoing_id) "
        "FROM {source} t WHERE {condition} AND {told} ORDER BY t.id LIMIT {most}",
        columns=INTENT.selected,
        source=INTENT.source,
        condition=condition,
        told=Sql(sql.SQL("true")) if ended_too else told,
        most=sql.Literal(TOLD_AT_MOST),
    )
    async with snapshot(service.pool) as connection:
        found = await fetch(connection, query)
    states = []
    for *values, carried in found:
        row = INTENT.make(*values)
        # not by the block that it was last found due at: that is another one with every block
        fingerprint = (row.state, row.waiting, row.outcome, row.outgoing_id, carried)
        states.append(State(str(row.id), fingerprint, _IntentMessage(row), 0))
    return states


def extension() -> Extension:
    """What the entry point names."""
    return Extension(
        scope=Scope.KEEPER,
        entities=(INTENT, STEP, TRANSACTION, ATTEMPT, ACCOUNT),
        queries=(_queries,),
        subscriptions=(_subscriptions,),
        channels=(CHANNEL,),
    )
