"""What the keeper remembers, schema ``keeper``: what it decided, the exact bytes it signed for it, and every step.

Every write happens in a database transaction that first checks the lease's fence (`clarion_keeper.store.lease`).
A change of an intent or an outgoing notifies the channel ``clarion_keeper``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, DateTime, ForeignKey, Identity, Index, LargeBinary, Numeric, Text, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlmodel import Field, SQLModel

SCHEMA = "keeper"


class IntentRow(SQLModel, table=True):
    """One thing to get done on a chain, such as settling policy 7.

    ``key`` is its idempotency key: at most one intent with that key is open at a time. ``state``: ``planned`` (no
    transaction yet), ``sent`` (``outgoing_id`` carries it), ``done`` (the chain says so, by us or by anybody),
    ``failed`` (refused for a reason that trying again does not cure), ``cancelled`` (no longer due; may be planned
    again). ``decided_*``: the block at which it was last found due; ``first_burn``: the Bitcoin height since which it
    has been due without a break. ``waiting``: why a
    planned one is not sent yet, in words. ``earned_*``: what the sender got.
    """

    __tablename__ = "intent"
    __table_args__ = (
        Index("intent_open_key", "key", unique=True, postgresql_where=text("state IN ('planned', 'sent')")),
        Index("intent_by_key", "key", "id"),
        Index("intent_by_outgoing", "outgoing_id"),
        Index("intent_by_state", "state", "id"),
        Index("intent_by_end", "ended_at"),
        {"schema": SCHEMA},
    )
    id: int | None = Field(default=None, primary_key=True, sa_type=BigInteger, sa_column_args=(Identity(),))
    key: str = Field(sa_type=Text)
    job: str = Field(sa_type=Text)
    lane: str = Field(sa_type=Text)
    chain: str = Field(sa_type=Text)
    item: Any = Field(sa_type=JSONB)
    state: str = Field(sa_type=Text)
    value_usd8: int = Field(sa_type=Numeric(40, 0))
    reward_token: str | None = Field(default=None, sa_type=Text)
    reward_amount: int | None = Field(default=None, sa_type=Numeric(40, 0))
    deadline_burn: int | None = Field(default=None, sa_type=BigInteger)
    cause: str = Field(sa_type=Text)
    entity: str = Field(sa_type=Text)
    decided_height: int = Field(sa_type=BigInteger)
    decided_hash: str = Field(sa_type=Text)
    decided_burn: int = Field(sa_type=BigInteger)
    decided_sequence: int = Field(sa_type=BigInteger)
    first_burn: int = Field(sa_type=BigInteger)
    outgoing_id: int | None = Field(default=None, sa_type=BigInteger)
    waiting: str | None = Field(default=None, sa_type=Text)
    outcome: str | None = Field(default=None, sa_type=Text)
    benign: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    earned_token: str | None = Field(default=None, sa_type=Text)
    earned_amount: int | None = Field(default=None, sa_type=Numeric(40, 0))
    created_at: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})
    ended_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))


class OutgoingRow(SQLModel, table=True):
    """A transaction slot: on Stacks one nonce of one account, on Bitcoin the coins in ``keeper.coin``.

    ``state``: ``signed`` (stored, not known to be with a node), ``broadcast`` (a node took it), ``mined`` (in a
    canonical block), ``final`` (that block is final), ``displaced`` (another transaction took its place, which a
    reorganisation may undo; what it carried was released), ``rejected`` (it can never be mined, or was displaced for
    good). ``tx_id``, ``block_*`` and ``fee_paid`` (micro-STX or satoshis) are those of the attempt that was mined.
    ``height`` and ``burn``: where the index stood, with its Bitcoin height, when its newest attempt was signed or the
    block was lost that had mined it; ``height`` of a displaced one: since when it has been displaced.
    """

    __tablename__ = "outgoing"
    __table_args__ = (
        Index(
            "outgoing_nonce",
            "sender",
            "nonce",
            unique=True,
            postgresql_where=text("state NOT IN ('rejected', 'displaced')"),
        ),
        Index(
            "outgoing_followed",
            "account",
            postgresql_where=text("state IN ('signed', 'broadcast', 'mined', 'displaced')"),
        ),
        Index("outgoing_by_end", "ended_at"),
        {"schema": SCHEMA},
    )
    id: int | None = Field(default=None, primary_key=True, sa_type=BigInteger, sa_column_args=(Identity(),))
    chain: str = Field(sa_type=Text)
    account: str = Field(sa_type=Text)
    sender: str = Field(sa_type=Text)
    nonce: int | None = Field(default=None, sa_type=Numeric(20, 0))
    lane: str = Field(sa_type=Text)
    job: str = Field(sa_type=Text)
    contract: str = Field(sa_type=Text)
    function: str = Field(sa_type=Text)
    state: str = Field(sa_type=Text)
    height: int = Field(sa_type=BigInteger)
    burn: int = Field(sa_type=BigInteger)
    first_burn: int = Field(sa_type=BigInteger)
    seen_sequence: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs={"server_default": text("0")})
    deadline_burn: int | None = Field(default=None, sa_type=BigInteger)
    tx_id: bytes | None = Field(default=None, sa_type=LargeBinary)
    block_height: int | None = Field(default=None, sa_type=BigInteger)
    block_hash: bytes | None = Field(default=None, sa_type=LargeBinary)
    fee_paid: int | None = Field(default=None, sa_type=Numeric(20, 0))
    error: str | None = Field(default=None, sa_type=Text)
    created_at: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})
    ended_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))


class AttemptRow(SQLModel, table=True):
    """One signed version of an outgoing. The bytes are stored before they are sent, and sent again after a crash.

    ``state``: ``signed``, ``broadcast``, ``refused``, ``replaced`` (a newer one exists), ``mined``. At most one attempt
    of an outgoing is ever mined. ``fee`` in micro-STX or satoshis. ``intents``: what it carries, in the order of its
    arguments; a replacement may carry less than the attempt before it, and nothing where it only frees the slot.
    """

    __tablename__ = "attempt"
    __table_args__ = (
        Index("attempt_number", "outgoing_id", "number", unique=True),
        {"schema": SCHEMA},
    )
    tx_id: bytes = Field(primary_key=True, sa_type=LargeBinary)
    outgoing_id: int = Field(sa_type=BigInteger, sa_column_args=(ForeignKey("keeper.outgoing.id"),))
    number: int = Field(sa_type=BigInteger)
    fee: int = Field(sa_type=Numeric(20, 0))
    raw: bytes = Field(sa_type=LargeBinary)
    intents: list[int] = Field(sa_type=ARRAY(BigInteger))
    state: str = Field(sa_type=Text)
    signed_at: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})
    first_sent_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    last_error: str | None = Field(default=None, sa_type=Text)


class StepRow(SQLModel, table=True):
    """A line of an intent's post-mortem.

    ``what``: ``decided``, ``waited``, ``simulated``, ``refused``, ``signed``, ``sent``, ``replaced``, ``mined``,
    ``orphaned``, ``displaced``, ``handed-out``, ``ended``. ``detail`` says the rest: reason, transaction, fee, block.
    """

    __tablename__ = "step"
    __table_args__ = (Index("step_by_intent", "intent_id", "id"), {"schema": SCHEMA})
    id: int | None = Field(default=None, primary_key=True, sa_type=BigInteger, sa_column_args=(Identity(),))
    intent_id: int = Field(sa_type=BigInteger, sa_column_args=(ForeignKey("keeper.intent.id"),))
    at: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})
    what: str = Field(sa_type=Text)
    detail: Any = Field(sa_type=JSONB)


class AccountRow(SQLModel, table=True):
    """An account as the leader last saw it. Money in micro-STX or satoshis; ``nonce`` is the next to be mined.

    ``hourly_budget``: what it may spend in an hour, by its budget or its signer's limit, whichever is less.
    """

    __tablename__ = "account"
    __table_args__ = ({"schema": SCHEMA},)
    name: str = Field(primary_key=True, sa_type=Text)
    sender: str = Field(sa_type=Text)
    chain: str = Field(sa_type=Text)
    lanes: list[str] = Field(sa_type=ARRAY(Text))
    balance: int = Field(sa_type=Numeric(20, 0))
    nonce: int | None = Field(default=None, sa_type=Numeric(20, 0))
    spent_last_hour: int = Field(sa_type=Numeric(20, 0))
    hourly_budget: int | None = Field(default=None, sa_type=Numeric(20, 0))
    checked_at: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})


class LeaseRow(SQLModel, table=True):
    """Which keeper leads. ``fence`` rises with every one that takes over; only its holder may write.

    ``holder`` is ``host:pid:random``. ``expires_at`` is by the database's clock.
    """

    __tablename__ = "lease"
    __table_args__ = ({"schema": SCHEMA},)
    name: str = Field(primary_key=True, sa_type=Text)
    holder: str = Field(sa_type=Text)
    fence: int = Field(sa_type=BigInteger)
    expires_at: datetime = Field(sa_type=DateTime(timezone=True))


class ControlRow(SQLModel, table=True):
    """What people, or an unknown error, have stopped: a job by name, or everything (``*``, the kill switch)."""

    __tablename__ = "control"
    __table_args__ = ({"schema": SCHEMA},)
    job: str = Field(primary_key=True, sa_type=Text)
    paused: bool
    reason: str = Field(sa_type=Text)
    at: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})


class CoinRow(SQLModel, table=True):
    """A Bitcoin output (``txid:index``) that a live outgoing spends: nothing else may spend it."""

    __tablename__ = "coin"
    __table_args__ = (Index("coin_by_outgoing", "outgoing_id"), {"schema": SCHEMA})
    outpoint: str = Field(primary_key=True, sa_type=Text)
    outgoing_id: int = Field(sa_type=BigInteger, sa_column_args=(ForeignKey("keeper.outgoing.id"),))
