"""What `clarion keeper intents` and `clarion keeper explain` read, and how it is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from psycopg import Connection
from psycopg.rows import class_row, dict_row
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from clarion_keeper.command.text import listing, short, usd
from clarion_keeper.store.steps import json_text

#: Most intents that are listed at once.
MOST: Final = 1_000
STATES: Final = ("planned", "sent", "done", "failed", "cancelled")
#: The step at which an unsigned transaction is given to others, and what of it is too long for a table.
HANDED_OUT: Final = "handed-out"
_LONG: Final = frozenset({"psbt", "request"})


class UnknownIntentError(Exception):
    """There is no such intent; the message says how to find one."""


class NothingHandedOutError(Exception):
    """There is no PSBT for others to sign; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """An intent as it is stored. Amounts are in base units of their tokens; ``value_usd8`` in 10^-8 US dollars."""

    id: int
    key: str
    job: str
    lane: str
    chain: str
    item: Any
    entity: str
    state: str
    cause: str
    waiting: str | None
    outcome: str | None
    benign: bool
    value_usd8: int
    reward_token: str | None
    reward_amount: int | None
    earned_token: str | None
    earned_amount: int | None
    deadline_burn: int | None
    decided_height: int
    decided_hash: str
    decided_burn: int
    first_burn: int
    outgoing_id: int | None
    created_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A line of an intent's post-mortem."""

    at: datetime
    what: str
    detail: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A signed version of the transaction that carries an intent. ``fee`` in micro-STX or satoshis."""

    tx_id: bytes
    number: int
    fee: int
    state: str
    signed_at: datetime
    first_sent_at: datetime | None
    last_error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Carrier:
    """The transaction that carries an intent, in all its versions."""

    id: int
    account: str
    sender: str
    nonce: int | None
    contract: str
    function: str
    state: str
    tx_id: bytes | None
    block_height: int | None
    block_hash: bytes | None
    fee_paid: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class PostMortem:
    """Everything that is known of an intent."""

    intent: Record
    carrier: Carrier | None
    versions: Sequence[Version]
    companions: int
    """How many other intents the transaction carries."""
    steps: Sequence[Step]

    @property
    def handed_out(self) -> Mapping[str, Any] | None:
        """What others were last given to sign, as the executor described it; None: nothing was handed out."""
        return next((step.detail for step in reversed(self.steps) if step.what == HANDED_OUT), None)


_RECORD: Final = ", ".join(Record.__dataclass_fields__)


def list_intents(
    connection: Connection[Any],
    *,
    jobs: Sequence[str] = (),
    lanes: Sequence[str] = (),
    states: Sequence[str] = (),
    entity: str | None = None,
    first: int = 50,
) -> list[Record]:
    """The newest intents, those first that are open, then by number from the highest."""
    with connection.cursor(row_factory=class_row(Record)) as cursor:
        return cursor.execute(
            f"SELECT {_RECORD} FROM keeper.intent WHERE (%(jobs)s::text[] = '{{}}' OR job = ANY(%(jobs)s)) "
            "AND (%(lanes)s::text[] = '{}' OR lane = ANY(%(lanes)s)) "
            "AND (%(states)s::text[] = '{}' OR state = ANY(%(states)s)) "
            "AND (%(entity)s::text IS NULL OR entity = %(entity)s) "
            "ORDER BY state IN ('planned', 'sent') DESC, id DESC LIMIT %(first)s",
            {"jobs": list(jobs), "lanes": list(lanes), "states": list(states), "entity": entity, "first": first},
        ).fetchall()


def explain(connection: Connection[Any], name: str) -> PostMortem:
    """Everything about an intent, named by its number, its key (the newest of it) or the id of a transaction.

    Raises UnknownIntentError.
    """
    with connection.cursor(row_factory=class_row(Record)) as cursor:
        found = cursor.execute(
            f"SELECT {_RECORD} FROM keeper.intent WHERE {_condition(name)} ORDER BY id DESC LIMIT 1",
            {"name": name.removeprefix("0x")},
        ).fetchone()
    if found is None:
        raise UnknownIntentError(
            f"There is no intent {name}: give its number, its key or the id of its transaction, as "
            "`clarion keeper intents` shows them."
        )
    carrier, versions, companions = _carrier(connection, found)
    with connection.cursor(row_factory=class_row(Step)) as cursor:
        steps = cursor.execute(
            "SELECT at, what, detail FROM keeper.step WHERE intent_id = %s ORDER BY id", (found.id,)
        ).fetchall()
    return PostMortem(found, carrier, versions, companions, steps)


def _condition(name: str) -> str:
    if name.isascii() and name.isdigit() and len(name) < 19:
        return "id = %(name)s::bigint"
    digits = name.removeprefix("0x")
    if len(digits) == 64 and all(digit in "0123456789abcdefABCDEF" for digit in digits):
        return "outgoing_id IN (SELECT a.outgoing_id FROM keeper.attempt a WHERE a.tx_id = decode(%(name)s, 'hex'))"
    return "key = %(name)s"


def _carrier(connection: Connection[Any], intent: Record) -> tuple[Carrier | None, Sequence[Version], int]:
    if intent.outgoing_id is None:
        return None, (), 0
    columns = ", ".join(Carrier.__dataclass_fields__)
    with connection.cursor(row_factory=class_row(Carrier)) as cursor:
        carrier = cursor.execute(
            f"SELECT {columns} FROM keeper.outgoing WHERE id = %s",
            (intent.outgoing_id,),
        ).fetchone()
    columns = ", ".join(Version.__dataclass_fields__)
    with connection.cursor(row_factory=class_row(Version)) as cursor:
        versions = cursor.execute(
            f"SELECT {columns} FROM keeper.attempt WHERE outgoing_id = %s ORDER BY number",
            (intent.outgoing_id,),
        ).fetchall()
    with connection.cursor(row_factory=dict_row) as cursor:
        counted = cursor.execute(
            "SELECT count(*) - 1 AS others FROM keeper.intent WHERE outgoing_id = %s", (intent.outgoing_id,)
        ).fetchone()
    return carrier, versions, counted["others"] if counted else 0


def record_json(record: Record) -> dict[str, Any]:
    """An intent for programs: amounts as digits, times in ISO 8601."""
    return {name: _plain(name, value) for name, value in asdict(record).items()}


def post_mortem_json(found: PostMortem) -> dict[str, Any]:
    """Everything about an intent for programs."""

    def plain(row: Any) -> dict[str, Any]:
        return {name: _plain(name, value) for name, value in asdict(row).items()}

    return {
        "intent": record_json(found.intent),
        "transaction": None
        if found.carrier is None
        else {
            **plain(found.carrier),
            "carries_others": found.companions,
            "attempts": [plain(version) for version in found.versions],
        },
        "handed_out": found.handed_out,
        "steps": [plain(step) for step in found.steps],
    }


def psbt_of(found: PostMortem) -> str:
    """The unsigned transaction that was last handed out, in base64 (BIP 174). Raises NothingHandedOutError."""
    psbt = (found.handed_out or {}).get("psbt")
    if psbt is None:
        raise NothingHandedOutError(
            f"No PSBT of intent {found.intent.id} ({found.intent.key}) was handed out: the keeper has all keys that it "
            "needs, or has built no transaction yet. `clarion keeper explain` without --psbt says more."
        )
    return str(psbt)


#: Money can be larger than a JSON number holds exactly.
_MONEY: Final = frozenset({"value_usd8", "reward_amount", "earned_amount", "fee", "fee_paid", "nonce"})


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    return str(value) if name in _MONEY and value is not None else value


def intents_table(records: Sequence[Record]) -> Table:
    """Intents for people."""
    table = listing(f"{len(records)} intents", "id", "state", "lane", "job", wide="what, and why")
    for record in records:
        why = record.outcome or record.waiting or record.cause
        what = f"{record.entity or record.key}: {why}"
        table.add_row(str(record.id), record.state, record.lane, record.job, short(what))
    return table


def post_mortem_view(found: PostMortem) -> RenderableType:
    """Everything about an intent for people."""
    intent = found.intent
    head = Table(title=f"intent {intent.id}: {intent.key}", show_header=False, title_justify="left")
    head.add_column(no_wrap=True)
    head.add_column(overflow="fold")
    rows: list[tuple[str, object]] = [
        ("job", f"{intent.job} (lane {intent.lane}, {intent.chain})"),
        ("about", intent.entity),
        ("cause", intent.cause),
        ("state", intent.state),
        ("waiting", intent.waiting),
        ("outcome", f"{intent.outcome} (somebody else did it)" if intent.benign else intent.outcome),
        ("at stake", usd(intent.value_usd8) if intent.value_usd8 else None),
        ("reward", intent.reward_token and f"{intent.reward_amount} of {intent.reward_token}"),
        ("earned", intent.earned_token and f"{intent.earned_amount} of {intent.earned_token}"),
        ("due since", f"Bitcoin block {intent.first_burn}"),
        ("deadline", intent.deadline_burn and f"Bitcoin block {intent.deadline_burn}"),
        ("last found due", f"block {intent.decided_height} {intent.decided_hash}"),
    ]
    for name, value in rows:
        if value:
            head.add_row(name, Text(str(value)))
    parts: list[RenderableType] = [head]
    if found.carrier is not None:
        parts.append(_transaction_view(found.carrier, found.versions, found.companions))
    if found.handed_out is not None:
        parts.append(_handed_out_view(found.handed_out))
    steps = Table("at", "step", title="steps", title_justify="left")
    steps.add_column("detail", overflow="fold")
    for step in found.steps:
        told = step.detail.items() if isinstance(step.detail, dict) else ()
        detail = ", ".join(f"{name} {value}" for name, value in told if name not in _LONG)
        steps.add_row(f"{step.at:%Y-%m-%d %H:%M:%S.%f}"[:-3], step.what, Text(detail))
    return Group(*parts, steps)


def _transaction_view(carrier: Carrier, versions: Sequence[Version], companions: int) -> RenderableType:
    nonce = "" if carrier.nonce is None else f", nonce {carrier.nonce}"
    title = f"{carrier.contract} {carrier.function}: {carrier.state}, account {carrier.account}{nonce}"
    if companions:
        title += f", with {companions} others"
    table = Table("attempt", title=title, title_justify="left")
    table.add_column("transaction", overflow="fold")
    for header in ("fee", "state", "signed", "sent"):
        table.add_column(header, no_wrap=True)
    table.add_column("said", overflow="fold")
    for version in versions:
        table.add_row(
            str(version.number),
            f"0x{version.tx_id.hex()}",
            str(version.fee),
            version.state,
            f"{version.signed_at:%H:%M:%S}",
            f"{version.first_sent_at:%H:%M:%S}" if version.first_sent_at else "-",
            Text(version.last_error or ""),
        )
    if carrier.block_height is not None:
        table.caption = f"mined in block {carrier.block_height}, fee {carrier.fee_paid}"
    return table


def _handed_out_view(given: Mapping[str, Any]) -> RenderableType:
    """What others have to sign, and below it, to be copied, what they are given."""
    table = Table(title=f"handed out unsigned: {given.get('operation', '')}", show_header=False, title_justify="left")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for outpoint, signer in given.get("signers", {}).items():
        table.add_row("has to sign", f"{signer}: {outpoint}")
    for name in ("tx", "fee", "virtual_size"):
        if name in given:
            table.add_row(name.replace("_", " "), str(given[name]))
    parts: list[RenderableType] = [table]
    if "psbt" in given:
        parts.append(Text(f"PSBT (also: clarion keeper explain --psbt):\n{given['psbt']}", overflow="fold"))
    if "request" in given:
        parts.append(Text(f"what it has to do: {json_text(given['request'])}", overflow="fold"))
    return Group(*parts)
