"""What becomes of transactions that users sent: linked by `trackTx`, told by the chain log and the mempool alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from inspect import Parameter
from typing import Any, Final

import strawberry
from strawberry.types.field import StrawberryField

from clarion.chains.model import Finality, TransactionStatus
from clarion.chains.stacks.clarity import Err, UInt, Value, decode
from clarion.chains.stacks.clarity_forms import to_json
from clarion.chains.stacks.codec_errors import CodecError
from clarion.chains.stacks.payloads import ContractCall, encode_payload
from clarion.chains.stacks.transactions import decode_transaction
from clarion.protocols.bithedge.errors import ERRORS
from clarion_graphql.bithedge.addresses import about_principal
from clarion_graphql.bithedge.quotes import ContractError, contract_error
from clarion_graphql.context import Info
from clarion_graphql.entities import camel
from clarion_graphql.enums import graphql_enum
from clarion_graphql.errors import InputError
from clarion_graphql.lengths import Length
from clarion_graphql.receipt import ANCHORED, FINALITY
from clarion_graphql.scalars import BigInt, Bytes, Json, parse_tx_id
from clarion_graphql.sql import literal
from clarion_graphql.transactions.store import Link, Prepared, UnknownPreparedError
from clarion_graphql.types import Types, make_field, with_arguments

MOST: Final = 100


class TrackedStatus(StrEnum):
    """Where a tracked transaction stands."""

    PREPARED = "prepared"
    BROADCAST = "broadcast"
    MEMPOOL = "mempool"
    MINED_OK = "mined-ok"
    ABORT_RESPONSE = "abort-response"
    ABORT_POST_CONDITION = "abort-post-condition"
    NOT_RUN = "not-run"
    DROPPED = "dropped"
    REPLACED = "replaced"
    ORPHANED = "orphaned"


graphql_enum(
    TrackedStatus,
    {
        "PREPARED": "Made for its sender; nobody said that it was sent.",
        "BROADCAST": "Somebody said that it was sent; no source has shown it yet.",
        "MEMPOOL": "A node holds it.",
        "MINED_OK": "In a canonical block, and it did what it was to do.",
        "ABORT_RESPONSE": "In a canonical block; the contract refused it, see `contractError`.",
        "ABORT_POST_CONDITION": "In a canonical block; it would have moved what its conditions forbid.",
        "NOT_RUN": "In a canonical block; the node could not run it.",
        "DROPPED": "The node let go of it without mining it, see `droppedReason`.",
        "REPLACED": "Another transaction of the sender took its nonce, see `replacedBy`.",
        "ORPHANED": "The block that mined it is no longer canonical, and no node is known to hold it.",
    },
)

_MINED: Final = {
    TransactionStatus.SUCCESS: TrackedStatus.MINED_OK,
    TransactionStatus.ABORT_BY_RESPONSE: TrackedStatus.ABORT_RESPONSE,
    TransactionStatus.ABORT_BY_POST_CONDITION: TrackedStatus.ABORT_POST_CONDITION,
    TransactionStatus.PROBLEMATIC_SKIPPED: TrackedStatus.NOT_RUN,
}


@strawberry.type(description="A transaction that was prepared or sent, and what became of it.")
class TrackedTransaction:
    """A link and what the chain says of it."""

    prepared_id: strawberry.ID | None = strawberry.field(
        description="What it was prepared as: told to who names it, and to its sender, signed in. Null: nobody said, "
        "or it is another's."
    )
    action: str | None = strawberry.field(description="The action that was prepared; null: none.")
    tx_id: Bytes | None = strawberry.field(description="Its id; null: it was not said to be sent.")
    status: graphql_enum(TrackedStatus) = strawberry.field(description="Where it stands.")  # type: ignore[valid-type]
    matches: bool | None = strawberry.field(
        description="Whether what was sent is the call that was prepared, by the same sender; null where one of the "
        "two is not known."
    )
    sender: str | None = strawberry.field(description="Whose it is; null: not seen yet.")
    nonce: BigInt | None = strawberry.field(description="Its nonce; null: not seen yet.")
    fee: BigInt | None = strawberry.field(description="Its fee, in micro-STX; null: not seen yet.")
    contract: str | None = strawberry.field(description="Contract that is called.")
    function: str | None = strawberry.field(description="Function that is called.")
    height: int | None = strawberry.field(description="Stacks block that mined it; null: none that is known.")
    block_hash: Bytes | None = strawberry.field(description="That block's index block hash.")
    finality: Finality | None = strawberry.field(description="How final that block is; null: not canonical, or none.")
    result: Json | None = strawberry.field(description="What the call gave: `{ok: …}` or `{err: …}`; null: not mined.")
    contract_error: ContractError | None = strawberry.field(
        description="What the error's number means, of BitHedge's contracts; null: no error of theirs."
    )
    vm_error: str | None = strawberry.field(description="What the node's machine said, where the call did not run.")
    dropped_reason: str | None = strawberry.field(description="Why the node let go of it, in its own words.")
    replaced_by: Bytes | None = strawberry.field(description="Transaction that took its nonce.")
    valid_until_burn: int | None = strawberry.field(description="Until when the prepared one was good; null: no end.")
    prepared_at: datetime | None = strawberry.field(description="When it was prepared.")
    tracked_at: datetime | None = strawberry.field(description="When somebody first said that it was sent.")


@dataclass(frozen=True, slots=True)
class _Seen:
    """A transaction as the chain log or the mempool has it."""

    status: TrackedStatus
    sender: str | None
    nonce: int | None
    fee: int | None
    raw: bytes
    result: bytes | None = None
    height: int | None = None
    block_hash: bytes | None = None
    finality: str | None = None
    vm_error: str | None = None
    dropped_reason: str | None = None
    replaced_by: bytes | None = None


_LOGGED: Final = (
    "SELECT DISTINCT ON (t.tx_id) t.tx_id, t.status, t.sender, t.nonce::bigint, t.fee::bigint, t.raw, t.result, "
    f"t.height, t.block_hash, CASE WHEN k.hash IS NOT NULL THEN {FINALITY} END, t.vm_error, k.hash IS NOT NULL "
    "FROM clarion.transaction t "
    "JOIN clarion.block b ON b.chain = t.chain AND b.height = t.height AND b.hash = t.block_hash "
    "JOIN clarion.cursor u ON u.chain = t.chain "
    f"{ANCHORED} "
    "LEFT JOIN clarion.canonical_block k ON k.chain = t.chain AND k.height = t.height AND k.hash = t.block_hash "
    "WHERE t.chain = 'stacks' AND t.tx_id = ANY(%s) ORDER BY t.tx_id, k.hash IS NOT NULL DESC, t.height DESC"
)
_POOLED: Final = (
    "SELECT m.tx_id, m.sender, m.nonce::bigint, m.fee::bigint, m.raw, m.dropped_reason, "
    "coalesce(m.replaced_by, (SELECT t.tx_id FROM clarion.transaction t JOIN clarion.canonical_block k "
    "ON k.chain = t.chain AND k.height = t.height AND k.hash = t.block_hash "
    "WHERE t.chain = 'stacks' AND t.sender = m.sender AND t.nonce = m.nonce AND t.tx_id <> m.tx_id LIMIT 1)) "
    "FROM clarion.mempool_transaction m WHERE m.tx_id = ANY(%s)"
)


async def _seen(info: Info, tx_ids: Iterable[bytes]) -> dict[bytes, _Seen]:
    """What is known of transactions, the canonical chain before the mempool, and that before orphaned blocks."""
    session = info.context.session
    wanted = set(tx_ids)
    found: dict[bytes, _Seen] = {}
    if not wanted:
        return found
    for tx_id, status, *rest, is_canonical in await session.fetch(literal(_LOGGED, list(wanted))):
        sender, nonce, fee, raw, result, height, block_hash, finality, vm_error = rest
        found[tx_id] = _Seen(
            _MINED[TransactionStatus(status)] if is_canonical else TrackedStatus.ORPHANED,
            sender,
            nonce,
            fee,
            raw,
            result if is_canonical else None,
            height,
            block_hash,
            finality,
            vm_error,
        )
        if is_canonical:
            wanted.remove(tx_id)
    for tx_id, sender, nonce, fee, raw, reason, by in await session.fetch(literal(_POOLED, list(wanted))):
        if by is not None:
            status = TrackedStatus.REPLACED
        elif reason is not None:
            status = TrackedStatus.DROPPED
        else:
            status = TrackedStatus.MEMPOOL
        found[tx_id] = _Seen(status, sender, nonce, fee, raw, dropped_reason=reason, replaced_by=by)
    return found


def _rank(link: Link, seen: _Seen | None) -> tuple[int, bool, int]:
    """How a link stands among all of a prepared transaction, the least first.

    What really is the prepared call of its sender goes before what nobody has shown yet, and that before what is
    another call. Among calls alike, one that was mined before this one was prepared is of an earlier one.
    """
    matches = _matches(link, seen)
    is_earlier = seen is not None and None not in (seen.height, link.height) and seen.height <= link.height  # type: ignore[operator]
    return (
        1 if matches is None else 0 if matches else 2,
        is_earlier,
        0 if seen is None else _BY_STATUS.get(seen.status, 0),
    )


#: What was sent again with another fee is one prepared call in several transactions: the one that counts goes first.
_BY_STATUS: Final = {
    TrackedStatus.MEMPOOL: 1,
    TrackedStatus.REPLACED: 2,
    TrackedStatus.DROPPED: 2,
    TrackedStatus.ORPHANED: 3,
}


async def _best(info: Info, links: Sequence[Link]) -> list[tuple[Link, _Seen | None]]:
    """Of each prepared transaction among links the one that tells what became of it, as :func:`_rank` has it."""
    seen = await _seen(info, [link.tx_id for link in links if link.tx_id is not None])
    found: dict[str | None, list[tuple[Link, _Seen | None]]] = {}
    for link in links:
        one = None if link.tx_id is None else seen.get(link.tx_id)
        found.setdefault(link.prepared_id, []).append((link, one))
    return [min(many, key=lambda pair: _rank(*pair)) for many in found.values()]


def _tracked(info: Info, link: Link, seen: _Seen | None, named: str | None = None) -> TrackedTransaction:
    """A link with what the index says of it now.

    ``named``: the prepared transaction that the caller knows. The id of another is told to its sender alone: who has
    it could link what was never made of it.
    """
    call = None if seen is None else _call(seen.raw)
    result = _result(seen)
    is_told = link.prepared_id is not None and (link.prepared_id == named or link.sender == info.context.caller.address)
    if seen is not None:
        status = seen.status
    else:
        status = TrackedStatus.PREPARED if link.tx_id is None else TrackedStatus.BROADCAST
    sent = None if call is None else (str(call.contract), call.function)
    return TrackedTransaction(
        prepared_id=strawberry.ID(str(link.prepared_id)) if is_told else None,
        action=None if link.action is None else camel(link.action.replace("-", "_")),
        tx_id=None if link.tx_id is None else Bytes(link.tx_id),
        status=status,
        matches=_matches(link, seen),
        sender=seen.sender if seen is not None else link.sender,
        nonce=None if seen is None or seen.nonce is None else BigInt(seen.nonce),
        fee=None if seen is None or seen.fee is None else BigInt(seen.fee),
        contract=link.contract if sent is None else sent[0],
        function=link.function if sent is None else sent[1],
        height=None if seen is None else seen.height,
        block_hash=None if seen is None or seen.block_hash is None else Bytes(seen.block_hash),
        finality=None if seen is None or seen.finality is None else Finality(seen.finality),
        result=None if result is None else Json(to_json(result)),
        contract_error=_error(info, call, result),
        vm_error=None if seen is None else seen.vm_error,
        dropped_reason=None if seen is None else seen.dropped_reason,
        replaced_by=None if seen is None or seen.replaced_by is None else Bytes(seen.replaced_by),
        valid_until_burn=link.valid_until_burn,
        prepared_at=link.prepared_at,
        tracked_at=link.tracked_at,
    )


async def _of_transaction(info: Info, store: Prepared, tx_id: bytes) -> TrackedTransaction | None:
    """A tracked transaction with the prepared one that it really was made of, where one is linked."""
    seen = (await _seen(info, [tx_id])).get(tx_id)
    call = None if seen is None else _call(seen.raw)
    sender = None if seen is None else seen.sender
    link = await store.of_transaction(tx_id, sender, None if call is None else encode_payload(call))
    return None if link is None else _tracked(info, link, seen)


def _call(raw: bytes) -> ContractCall | None:
    try:
        payload = decode_transaction(raw).payload
    except CodecError:
        return None
    return payload if isinstance(payload, ContractCall) else None


def _result(seen: _Seen | None) -> Value | None:
    if seen is None or seen.result is None:
        return None
    try:
        return decode(seen.result)
    except CodecError:
        return None


def _matches(link: Link, seen: _Seen | None) -> bool | None:
    if link.payload is None or seen is None:
        return None
    call = _call(seen.raw)
    return call is not None and encode_payload(call) == link.payload and seen.sender == link.sender


def _error(info: Info, call: ContractCall | None, result: Value | None) -> ContractError | None:
    """The error of a call of BitHedge's contracts, where its number is one of theirs."""
    deployed = info.context.service.deployed.get("bithedge")
    if call is None or deployed is None or not isinstance(result, Err) or not isinstance(result.value, UInt):
        return None
    if str(call.contract) not in deployed.contracts or result.value.value not in ERRORS:
        return None
    return contract_error(result.value.value)


async def _track(root: Any, info: Info, *, tx_id: bytes, prepared_id: str | None) -> TrackedTransaction:
    store = Prepared(info.context.service.writes)
    try:
        await store.track(parse_tx_id(tx_id), prepared_id)
    except UnknownPreparedError:
        raise InputError(f"There is no prepared transaction {prepared_id}, or not any more.") from None
    if prepared_id is None:
        found = await _of_transaction(info, store, tx_id)
    else:
        link = await store.one(tx_id, prepared_id)
        seen = (await _seen(info, [tx_id])).get(tx_id)
        found = None if link is None else _tracked(info, link, seen, prepared_id)
    assert found is not None
    return found


async def _tracked_field(
    root: Any, info: Info, *, tx_id: bytes | None, prepared_id: str | None
) -> TrackedTransaction | None:
    if (tx_id is None) == (prepared_id is None):
        raise InputError("Give txId or preparedId.")
    store = Prepared(info.context.service.writes)
    if tx_id is not None:
        return await _of_transaction(info, store, parse_tx_id(tx_id))
    assert prepared_id is not None
    found = await _best(info, await store.of_prepared(prepared_id))
    return _tracked(info, *found[0], prepared_id) if found else None


async def _many_field(root: Any, info: Info, *, sender: str, first: int) -> list[TrackedTransaction]:
    if not 1 <= first <= MOST:
        raise InputError(f"first is from 1 to {MOST}, not {first}.")
    links = await Prepared(info.context.service.writes).of_sender(sender, first)
    return [_tracked(info, link, seen) for link, seen in await _best(info, links)]


def queries(types: Types) -> Sequence[StrawberryField]:
    """The fields that tell what became of transactions."""
    return [
        make_field(
            "trackedTransaction",
            TrackedTransaction | None,
            "A transaction that was prepared here or given to `trackTx`; null: neither, or longer ago than 30 days. "
            "Of several that are linked, the one that really is the call that was prepared, by its sender; while none "
            "is seen, the one that was linked first. Ask for it in `live` to follow it.",
            resolver=with_arguments(
                _tracked_field,
                {
                    "tx_id": (Bytes | None, None, "Id of a transaction that was given to `trackTx`."),
                    "prepared_id": (str | None, None, "Or the id of a prepared one: what was sent of it."),
                },
            ),
        ),
        make_field(
            "trackedTransactions",
            list[TrackedTransaction],
            "What was prepared for somebody, the newest first, each with what became of it.",
            resolver=with_arguments(
                about_principal(_many_field, "sender"),
                {
                    "sender": (str, Parameter.empty, "Whose transactions."),
                    "first": (int, 20, f"How many, at most {MOST}."),
                },
            ),
            length=Length(MOST, "first"),
        ),
    ]


def mutations(types: Types) -> Sequence[StrawberryField]:
    """`trackTx`."""
    return [
        make_field(
            "trackTx",
            TrackedTransaction,
            "Say that a transaction was sent, and what it was prepared as. Only links the two, which anybody may: what "
            "becomes of it, and whether it is what was prepared, is told by the chain.",
            resolver=with_arguments(
                _track,
                {
                    "tx_id": (Bytes, Parameter.empty, "The transaction's id."),
                    "prepared_id": (str | None, None, "Id of the prepared transaction that was signed."),
                },
            ),
        )
    ]
