"""What a Stacks node posts to an event observer, and what its replay route answers, as the values of ``chains.model``.

Payloads of every era are read: fields a node added later are optional, fields unknown here are ignored. What the chain
log is built from is strict, and a payload without it is a ``PayloadError`` that names the field, the block and the
transaction. What contracts or senders alone decide (a transaction's bytes, a printed value, an event of a type that
did not exist yet) never is an error: it is kept as it came, marked ``undecodable`` or ``unknown``.

Formats: stacks-core, ``stacks-node/src/event_dispatcher/payloads.rs``, ``clarity/src/vm/events.rs`` and
``stackslib/src/net/api/blockreplay.rs``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter
from typing import Annotated, Any, Final, TypeAlias

import msgspec
from msgspec import Meta, Struct

from clarion.chains.model import (
    Block,
    BlockRef,
    BurnBlock,
    Event,
    EventKind,
    JsonValue,
    Transaction,
    TransactionStatus,
)
from clarion.chains.stacks import payloads, transactions
from clarion.chains.stacks.clarity import bytes_from_hex
from clarion.chains.stacks.codec_errors import CodecError, DecodeError
from clarion.chains.stacks.derived import DERIVED_PAYLOADS
from clarion.chains.stacks.hashing import index_block_hash
from clarion.chains.stacks.payload_forms import payload_form
from clarion.chains.stacks.structure import check_value, topic_of_value
from clarion.chains.stacks.summaries import summarise

NEW_BLOCK: Final = "/new_block"
NEW_BURN_BLOCK: Final = "/new_burn_block"
NEW_MEMPOOL_TX: Final = "/new_mempool_tx"
DROP_MEMPOOL_TX: Final = "/drop_mempool_tx"

BURN_OPERATION_RAW: Final = "0x00"
"""What a node gives as the bytes of a transaction that was made on Bitcoin."""

_HASH_BYTES: Final = 32
_AMOUNT_DIGITS: Final = 39
_RESPONSE_ERR: Final = 0x08  # type prefix of (err ..) in a serialised Clarity value (SIP-005)
_UINT128_MAX: Final = (1 << 128) - 1


class PayloadError(ValueError):
    """A payload is not what a node sends. The message names the path, the block, the field and what is wrong."""


@dataclass(frozen=True, slots=True)
class MempoolEntry:
    """A transaction that entered the node's mempool. Sender, nonce and fee are None where it cannot be decoded."""

    tx_id: bytes
    raw: bytes
    sender: str | None
    nonce: int | None
    fee: int | None


@dataclass(frozen=True, slots=True)
class MempoolDrop:
    """Transactions that left the mempool without being mined. ``reason`` is the node's word (``ReplaceByFee``, …)."""

    tx_ids: tuple[bytes, ...]
    reason: str
    replaced_by: bytes | None


Item: TypeAlias = Block | BurnBlock | MempoolEntry | MempoolDrop

_Height = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
_Index = Annotated[int, Meta(ge=0, le=(1 << 31) - 1)]


# A contract's address and name and an asset's name take 41 + 1 + 128 + 2 + 128 characters at most, names of event types
# fewer. What is longer is no node's, and has no place in an index.
_Identifier = Annotated[str, Meta(max_length=512)]


class _Print(Struct, gc=False):
    contract_identifier: _Identifier
    raw_value: str


class _StxTransfer(Struct, gc=False):
    sender: _Identifier
    recipient: _Identifier
    amount: str
    memo: str | None = None


class _StxMint(Struct, gc=False):
    recipient: _Identifier
    amount: str


class _StxBurn(Struct, gc=False):
    sender: _Identifier
    amount: str


class _StxLock(Struct, gc=False):
    locked_address: _Identifier
    locked_amount: str
    unlock_height: str
    contract_identifier: _Identifier | None = None


class _FungibleToken(Struct, gc=False):
    asset_identifier: _Identifier
    amount: str
    sender: _Identifier | None = None
    recipient: _Identifier | None = None


class _NonFungibleToken(Struct, gc=False):
    asset_identifier: _Identifier
    raw_value: str
    sender: _Identifier | None = None
    recipient: _Identifier | None = None


class _NodeEvent(Struct, gc=False):
    txid: str
    event_index: _Index
    type: _Identifier
    committed: bool = True
    contract_event: _Print | None = None
    stx_transfer_event: _StxTransfer | None = None
    stx_mint_event: _StxMint | None = None
    stx_burn_event: _StxBurn | None = None
    stx_lock_event: _StxLock | None = None
    ft_transfer_event: _FungibleToken | None = None
    ft_mint_event: _FungibleToken | None = None
    ft_burn_event: _FungibleToken | None = None
    nft_transfer_event: _NonFungibleToken | None = None
    nft_mint_event: _NonFungibleToken | None = None
    nft_burn_event: _NonFungibleToken | None = None


class _NodeTransaction(Struct, gc=False):
    txid: str
    tx_index: _Index
    status: str
    raw_tx: str
    raw_result: str | None = None
    burnchain_op: Any = None
    vm_error: str | None = None
    contract_interface: Any = None
    contract_abi: Any = None
    """What older nodes call the interface."""


class _NewBlock(Struct, gc=False):
    block_height: _Height
    index_block_hash: str
    parent_index_block_hash: str
    burn_block_height: _Height
    burn_block_hash: str
    transactions: list[_NodeTransaction]
    events: list[_NodeEvent]
    burn_block_time: _Height | None = None
    block_time: _Height | None = None
    block_hash: str | None = None
    parent_block_hash: str | None = None
    consensus_hash: str | None = None
    miner_txid: str | None = None
    tenure_height: _Height | None = None


class _ReplayedTransaction(Struct, gc=False):
    txid: str
    tx_index: _Index
    hex: str
    result_hex: str
    post_condition_aborted: bool
    events: list[_NodeEvent]
    vm_error: str | None = None


class _ReplayedBlock(Struct, gc=False):
    block_id: str
    block_hash: str
    block_height: _Height
    parent_block_id: str
    consensus_hash: str
    timestamp: _Height
    transactions: list[_ReplayedTransaction]


class _ReplayedHead(Struct):
    consensus_hash: str


class _Sortition(Struct):
    burn_block_hash: str
    burn_block_height: _Height
    consensus_hash: str | None = None
    burn_header_timestamp: _Height | None = None


class _NewBurnBlock(Struct):
    burn_block_hash: str
    burn_block_height: _Height
    parent_burn_block_hash: str | None = None


class _DropMempool(Struct):
    dropped_txids: list[str]
    reason: str
    new_txid: str | None = None


_new_block = msgspec.json.Decoder(_NewBlock)
_replayed_block = msgspec.json.Decoder(_ReplayedBlock)
_replayed_head = msgspec.json.Decoder(_ReplayedHead)
_sortitions = msgspec.json.Decoder(list[_Sortition])
_new_burn_block = msgspec.json.Decoder(_NewBurnBlock)
_new_mempool = msgspec.json.Decoder(list[str])
_drop_mempool = msgspec.json.Decoder(_DropMempool)


def decode_post(path: str, body: bytes) -> list[Item]:
    """What a post to ``path`` says; nothing for a path that says nothing about the chain or the mempool.

    Microblocks are among those: the block that confirms one carries its transactions. Raises ``PayloadError``.
    """
    if path == NEW_BLOCK:
        return [decode_new_block(body)]
    if path == NEW_BURN_BLOCK:
        return [decode_new_burn_block(body)]
    if path == NEW_MEMPOOL_TX:
        return [*decode_new_mempool_tx(body)]
    if path == DROP_MEMPOOL_TX:
        return [decode_drop_mempool_tx(body)]
    return []


def decode_new_block(body: bytes) -> Block:
    """The block of a ``/new_block`` payload.

    Its time is the block's own; before Nakamoto blocks had none and it is that of the Bitcoin block. Raises
    ``PayloadError``.
    """
    node = _decode(NEW_BLOCK, _new_block, body)
    place = _Place(NEW_BLOCK, node.block_height, node.index_block_hash)
    extra: dict[str, JsonValue] = {
        "block_hash": node.block_hash,
        "parent_block_hash": node.parent_block_hash,
        "consensus_hash": node.consensus_hash,
        "miner_txid": node.miner_txid,
        "tenure_height": node.tenure_height,
    }
    burn_hash = place.hash("burn_block_hash", node.burn_block_hash)
    if node.block_hash and node.consensus_hash:
        _require_own_id(place, node.block_hash, node.consensus_hash)
    return _block(
        place,
        parent_hash=place.hash("parent_index_block_hash", node.parent_index_block_hash),
        time=node.burn_block_time if node.block_time is None else node.block_time,
        burn=BurnBlock(node.burn_block_height, burn_hash, time=node.burn_block_time),
        node_transactions=node.transactions,
        node_events=node.events,
        unknown_events=lambda: _untyped(body)["events"],
        extra=extra,
    )


def decode_replayed_block(body: bytes, burn: BurnBlock | None) -> Block:
    """The block that ``GET /v3/blocks/replay/{id}`` answers, equal to what ``/new_block`` said of it.

    ``burn`` is the Bitcoin block its consensus hash names (``decode_sortition``). The route tells less in two things:
    ``extra`` lacks the tenure height, the miner's transaction and the parent's block hash, and the lock events that a
    node appends to a block at a reward cycle's end are not replayed. Raises ``PayloadError``.
    """
    path = "/v3/blocks/replay"
    node = _decode(path, _replayed_block, body)
    place = _Place(path, node.block_height, node.block_id)
    _require_own_id(place, node.block_hash, node.consensus_hash)
    node_transactions = []
    node_events = []
    offset = 0
    for tx in node.transactions:
        result = place.hex(f"transactions[{tx.tx_index}].result_hex", tx.result_hex)
        if tx.post_condition_aborted:
            status = TransactionStatus.ABORT_BY_POST_CONDITION
        elif result[:1] == bytes((_RESPONSE_ERR,)):
            status = TransactionStatus.ABORT_BY_RESPONSE
        else:
            status = TransactionStatus.SUCCESS
        node_transactions.append(
            _NodeTransaction(tx.txid, tx.tx_index, status.value, tx.hex, tx.result_hex, None, tx.vm_error)
        )
        for event in tx.events:
            event.event_index += offset
            event.txid = tx.txid  # the node writes the same id with 0x here and without it there
            node_events.append(event)
        offset += len(tx.events)
    return _block(
        place,
        parent_hash=place.hash("parent_block_id", node.parent_block_id),
        time=node.timestamp,
        burn=burn,
        node_transactions=node_transactions,
        node_events=node_events,
        unknown_events=lambda: [event for tx in _untyped(body)["transactions"] for event in tx["events"]],
        extra={
            "block_hash": _with_prefix(node.block_hash),
            "parent_block_hash": None,
            "consensus_hash": _with_prefix(node.consensus_hash),
            "miner_txid": None,
            "tenure_height": None,
        },
    )


def block_of(
    ref: BlockRef,
    *,
    source: str,
    time: int | None,
    burn: BurnBlock,
    transactions: Sequence[dict[str, Any]],
    events: Sequence[dict[str, Any]],
    extra: dict[str, JsonValue],
) -> Block:
    """The block of another source that tells its transactions and events in the form of a ``/new_block`` payload.

    ``source`` is what an error names. Raises ``PayloadError``.
    """
    try:
        node_transactions = msgspec.convert(transactions, list[_NodeTransaction])
        node_events = msgspec.convert(events, list[_NodeEvent])
    except msgspec.ValidationError as error:
        raise PayloadError(f"{source} {ref}: {error}") from None
    return _block(
        _Place(source, ref.height, _hex(ref.hash)),
        parent_hash=ref.parent_hash,
        time=time,
        burn=burn,
        node_transactions=node_transactions,
        node_events=node_events,
        unknown_events=lambda: events,
        extra=extra,
    )


def replayed_consensus_hash(body: bytes) -> str:
    """The consensus hash (40 hexadecimal digits) in a replay route's answer. Raises ``PayloadError``."""
    head: _ReplayedHead = _decode("/v3/blocks/replay", _replayed_head, body)
    return head.consensus_hash.removeprefix("0x")


def decode_sortition(body: bytes, consensus_hash: str) -> BurnBlock:
    """The Bitcoin block that ``GET /v3/sortitions/consensus/{consensus_hash}`` answers.

    ``consensus_hash`` is the one asked for (40 hexadecimal digits). Raises ``PayloadError``, also for an answer about
    another one.
    """
    path = f"/v3/sortitions/consensus/{consensus_hash}"
    found = _decode(path, _sortitions, body)
    if not found:
        raise PayloadError(f"{path}: the node answered no sortition")
    sortition: _Sortition = found[0]
    if sortition.consensus_hash is not None and sortition.consensus_hash.removeprefix("0x") != consensus_hash:
        raise PayloadError(f"{path}: the answer is about {sortition.consensus_hash}")
    burn_hash = _Place(path, None, None).hash("burn_block_hash", sortition.burn_block_hash)
    return BurnBlock(sortition.burn_block_height, burn_hash, time=sortition.burn_header_timestamp)


def decode_new_burn_block(body: bytes) -> BurnBlock:
    """The Bitcoin block of a ``/new_burn_block`` payload. Raises ``PayloadError``."""
    node = _decode(NEW_BURN_BLOCK, _new_burn_block, body)
    place = _Place(NEW_BURN_BLOCK, node.burn_block_height, node.burn_block_hash)
    burn_hash = place.hash("burn_block_hash", node.burn_block_hash)
    parent = node.parent_burn_block_hash
    parent_hash = None if parent is None else place.hash("parent_burn_block_hash", parent)
    if burn_hash == parent_hash:
        raise place.error("parent_burn_block_hash", "a block cannot be its own parent")
    return BurnBlock(node.burn_block_height, burn_hash, parent_hash)


def decode_new_mempool_tx(body: bytes) -> list[MempoolEntry]:
    """The transactions of a ``/new_mempool_tx`` payload. Raises ``PayloadError`` where one is not even hexadecimal."""
    place = _Place(NEW_MEMPOOL_TX, None, None)
    entries = []
    for index, text in enumerate(_decode(NEW_MEMPOOL_TX, _new_mempool, body)):
        raw = place.hex(f"[{index}]", text)
        entries.append(mempool_entry(transactions.transaction_id(raw), raw))
    return entries


def mempool_entry(tx_id: bytes, raw: bytes) -> MempoolEntry:
    """A transaction as the mempool holds it."""
    try:
        tx = transactions.decode_transaction(raw)
    except CodecError:
        return MempoolEntry(tx_id, raw, None, None, None)
    return MempoolEntry(tx_id, raw, str(tx.sender), tx.nonce, tx.fee)


def decode_drop_mempool_tx(body: bytes) -> MempoolDrop:
    """The transactions a ``/drop_mempool_tx`` payload takes away. Raises ``PayloadError``."""
    node = _decode(DROP_MEMPOOL_TX, _drop_mempool, body)
    place = _Place(DROP_MEMPOOL_TX, None, None)
    return MempoolDrop(
        tuple(place.hash(f"dropped_txids[{index}]", text) for index, text in enumerate(node.dropped_txids)),
        node.reason,
        None if node.new_txid is None else place.hash("new_txid", node.new_txid),
    )


class _Place(Struct, gc=False):
    """Where in which payload something is read: what an error says."""

    path: str
    height: int | None
    block: Any

    def error(self, field: str, problem: object) -> PayloadError:
        which = "" if self.height is None else f" block {self.height} ({self.block})"
        return PayloadError(f"{self.path}{which}: {field}: {problem}")

    def hex(self, field: str, text: str) -> bytes:
        try:
            return bytes_from_hex(text)
        except DecodeError as error:
            raise self.error(field, error) from None

    def hash(self, field: str, text: str) -> bytes:
        raw = self.hex(field, text)
        if len(raw) != _HASH_BYTES:
            raise self.error(field, f"expected {_HASH_BYTES} bytes, found {len(raw)}")
        return raw


def _decode(path: str, decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise PayloadError(f"{path}{_which(body, str(error))}: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PayloadError(f"{path}: not JSON: {error}") from None


def _which(body: bytes, message: str) -> str:
    """The block and transaction that a validation error is about, as far as the payload can be read at all."""
    try:
        payload = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return ""
    if not isinstance(payload, dict):
        return ""
    height = payload.get("block_height", payload.get("burn_block_height"))
    block = payload.get("index_block_hash", payload.get("block_id", payload.get("burn_block_hash")))
    found = re.search(r"\$\.(transactions|events)\[(\d+)\]", message)
    entry = payload[found[1]][int(found[2])] if found else None
    tx_id = f", transaction {entry['txid']}" if isinstance(entry, dict) and "txid" in entry else ""
    return f" block {height} ({block}){tx_id}"


def _untyped(body: bytes) -> Any:
    """A payload with all its fields, for what no type describes."""
    return msgspec.json.decode(body)


def _with_prefix(text: str) -> str:
    return text if text.startswith("0x") else f"0x{text}"


def _require_own_id(place: _Place, block_hash: str, consensus_hash: str) -> None:
    """Raise where the header is not that of the block it is given for.

    A block's id is SHA-512/256 of its header's hash and of the consensus hash of its tenure (stacks-core,
    ``StacksBlockId::new``).
    """
    named = place.hash("index_block_hash", place.block)
    told = index_block_hash(place.hash("block_hash", block_hash), place.hex("consensus_hash", consensus_hash))
    if told != named:
        raise place.error(
            "index_block_hash", f"block_hash and consensus_hash are those of another block, 0x{told.hex()}"
        )


def _block(
    place: _Place,
    *,
    parent_hash: bytes,
    time: int | None,
    burn: BurnBlock | None,
    node_transactions: Sequence[_NodeTransaction],
    node_events: Sequence[_NodeEvent],
    unknown_events: Callable[[], Sequence[dict[str, Any]]],
    extra: dict[str, JsonValue],
) -> Block:
    ordered = sorted(node_transactions, key=_by_tx_index)
    if len({tx.tx_index for tx in ordered}) != len(ordered):
        before, tx = next(pair for pair in pairwise(ordered) if pair[0].tx_index == pair[1].tx_index)
        raise place.error("transactions", f"two have the tx_index {tx.tx_index}: {before.txid} and {tx.txid}")
    block_hash = place.hash("index_block_hash", place.block)
    if block_hash == parent_hash:
        raise place.error("parent_index_block_hash", "a block cannot be its own parent")
    return Block(
        BlockRef("stacks", place.height or 0, block_hash, parent_hash),
        time,
        burn,
        tuple([_transaction(place, index, tx) for index, tx in enumerate(ordered)]),
        _events(place, ordered, node_events, unknown_events),
        extra,
    )


_STATUSES: Final = {status.value: status for status in TransactionStatus}


def _transaction(place: _Place, index: int, node: _NodeTransaction) -> Transaction:
    status = _STATUSES.get(node.status)
    if status is None:
        raise place.error(f"transaction {node.txid}: status", f"unknown status {node.status!r}")
    try:
        tx_id = bytes_from_hex(node.txid)
        result = None if node.raw_result is None else bytes_from_hex(node.raw_result)
        raw = bytes_from_hex(node.raw_tx)
    except DecodeError:
        for name in ("txid", "raw_result", "raw_tx"):
            place.hex(f"transaction {node.txid}: {name}", getattr(node, name) or "")
        raise
    if len(tx_id) != _HASH_BYTES:
        raise place.error(f"transaction {node.txid}: txid", f"expected {_HASH_BYTES} bytes, found {len(tx_id)}")
    if node.raw_tx != BURN_OPERATION_RAW:
        summary = summarise(raw)
        if summary is not None:
            kind, sender, nonce, fee, contract, function = summary
            return Transaction(
                index,
                tx_id,
                status,
                kind,
                sender,
                None,
                nonce,
                fee,
                contract,
                function,
                None,
                result,
                raw,
                node.vm_error,
            )
    return _unusual_transaction(index, node, tx_id, status, result, raw)


def _unusual_transaction(
    index: int, node: _NodeTransaction, tx_id: bytes, status: TransactionStatus, result: bytes | None, raw: bytes
) -> Transaction:
    """One that has to be decoded in full, or was made on Bitcoin."""
    kind, sender, sponsor, contract, function = "undecodable", None, None, None, None
    nonce: int | None = None
    fee: int | None = None
    payload: JsonValue = None
    interface: JsonValue = None
    decode_error: str | None = None
    if node.raw_tx == BURN_OPERATION_RAW:
        kind, payload = "burn_operation", _storable(node.burnchain_op)
        sender = _burn_operation_sender(node.burnchain_op)
    else:
        try:
            tx = transactions.decode_transaction(raw)
        except CodecError as error:
            decode_error = str(error)
        else:
            kind, sender, nonce, fee = tx.payload.kind, str(tx.sender), tx.nonce, tx.fee
            sponsor = None if tx.sponsor is None else str(tx.sponsor)
            payload = None if kind in DERIVED_PAYLOADS else payload_form(tx.payload)
            if isinstance(tx.payload, payloads.ContractCall):
                contract, function = str(tx.payload.contract), tx.payload.function
            elif isinstance(tx.payload, payloads.SmartContract):
                contract = f"{sender}.{tx.payload.name}"
                if status is TransactionStatus.SUCCESS:
                    interface = interface_form(node.contract_interface or node.contract_abi)
    return Transaction(
        index=index,
        id=tx_id,
        status=status,
        kind=kind,
        sender=sender,
        sponsor=sponsor,
        nonce=nonce,
        fee=fee,
        contract=contract,
        function=function,
        stored_payload=payload,
        result=result,
        raw=raw,
        vm_error=node.vm_error,
        decode_error=decode_error,
        interface=interface,
    )


def _burn_operation_sender(operation: Any) -> str | None:
    """Who made an operation on Bitcoin: ``{"transfer_stx": {"sender": {"address": ..}, ..}}``."""
    if not isinstance(operation, dict):
        return None
    for body in operation.values():
        sender = body.get("sender") if isinstance(body, dict) else None
        address = sender.get("address") if isinstance(sender, dict) else None
        if isinstance(address, str):
            return address
    return None


def _hex(raw: bytes) -> str:
    return f"0x{raw.hex()}"


class _Named(Struct):
    name: str


class _Function(_Named):
    args: list[_Named]


class _Interface(Struct):
    functions: list[_Function]


def interface_form(interface: Any) -> JsonValue:
    """A contract's interface as a node gives it, storable; None for anything without functions and their arguments."""
    try:
        msgspec.convert(interface, _Interface)
    except msgspec.ValidationError:
        return None
    return _storable(interface)


def _events(
    place: _Place,
    ordered: Sequence[_NodeTransaction],
    node_events: Sequence[_NodeEvent],
    unknown_events: Callable[[], Sequence[dict[str, Any]]],
) -> tuple[Event, ...]:
    """Events in the chain's order, numbered from 0 within each transaction.

    A node lists them in no order and counts ``event_index`` over the block; the Hiro API and the replay route count
    over the transaction. The ordinal within the transaction is the same from all three.
    """
    tx_indexes = {tx.txid: index for index, tx in enumerate(ordered)}
    if len(tx_indexes) != len(ordered):
        raise place.error("transactions", "a transaction is there twice")
    counts = [0] * len(ordered)
    latest = [-1] * len(ordered)
    untyped: Sequence[dict[str, Any]] | None = None
    events: list[Event] = []
    for node in sorted(node_events, key=_by_event_index):
        if not node.committed:
            continue
        tx_index = tx_indexes.get(node.txid)
        if tx_index is None:
            raise place.error(f"event {node.event_index}: txid", f"the block has no transaction {node.txid}")
        if node.event_index == latest[tx_index]:
            raise place.error(f"transaction {node.txid}", f"two events have the event_index {node.event_index}")
        latest[tx_index] = node.event_index
        read = _EVENT_READERS.get(node.type)
        if read is None:
            untyped = unknown_events() if untyped is None else untyped
            position = next(position for position, other in enumerate(node_events) if other is node)
            said = _storable(untyped[position].get(node.type))
            kind, contract, topic, value, raw = EventKind.UNKNOWN, None, node.type, said, None
        else:
            kind, contract, topic, value, raw = read(place, node)
        events.append(Event(tx_index, counts[tx_index], kind, contract, topic, value, raw))
        counts[tx_index] += 1
    events.sort(key=_by_tx_index)
    return tuple(events)


_by_event_index = attrgetter("event_index")
_by_tx_index = attrgetter("tx_index")

_Said: TypeAlias = tuple[EventKind, str | None, str, JsonValue, bytes | None]


def _read_print(place: _Place, node: _NodeEvent) -> _Said:
    said = node.contract_event
    if said is None:
        raise _missing(place, node)
    raw = _event_hex(place, node, said.raw_value)
    try:
        topic = topic_of_value(said.contract_identifier, raw)
    except DecodeError as error:
        return _undecodable(node, said.contract_identifier, raw, error)
    return EventKind.PRINT, said.contract_identifier, topic, None, raw


def _undecodable(node: _NodeEvent, contract: str, raw: bytes, error: DecodeError) -> _Said:
    return EventKind.UNKNOWN, contract, node.type, {"undecodable": str(error)}, raw


def _read_stx_transfer(place: _Place, node: _NodeEvent) -> _Said:
    said = node.stx_transfer_event
    if said is None:
        raise _missing(place, node)
    value: JsonValue = {
        "sender": said.sender,
        "recipient": said.recipient,
        "amount": _amount(place, node, said.amount),
        # Old nodes tell no memo, new ones an empty one where there is none; other sources do not tell these apart.
        "memo": _hex(_event_hex(place, node, said.memo)) if said.memo else None,
    }
    return EventKind.STX_TRANSFER, None, "stx_transfer", value, None


def _read_stx_mint(place: _Place, node: _NodeEvent) -> _Said:
    said = node.stx_mint_event
    if said is None:
        raise _missing(place, node)
    value: JsonValue = {"recipient": said.recipient, "amount": _amount(place, node, said.amount)}
    return EventKind.STX_MINT, None, "stx_mint", value, None


def _read_stx_burn(place: _Place, node: _NodeEvent) -> _Said:
    said = node.stx_burn_event
    if said is None:
        raise _missing(place, node)
    value: JsonValue = {"sender": said.sender, "amount": _amount(place, node, said.amount)}
    return EventKind.STX_BURN, None, "stx_burn", value, None


def _read_stx_lock(place: _Place, node: _NodeEvent) -> _Said:
    said = node.stx_lock_event
    if said is None:
        raise _missing(place, node)
    value: JsonValue = {
        "locked_address": said.locked_address,
        "locked_amount": _amount(place, node, said.locked_amount),
        "unlock_height": _amount(place, node, said.unlock_height),
        "contract_identifier": said.contract_identifier,
    }
    return EventKind.STX_LOCK, None, "stx_lock", value, None


def _ft_reader(kind: EventKind) -> Callable[[_Place, _NodeEvent], _Said]:
    said_of: Callable[[_NodeEvent], _FungibleToken | None] = attrgetter(f"{kind}_event")
    topic = kind.value

    def read(place: _Place, node: _NodeEvent) -> _Said:
        said = said_of(node)
        if said is None:
            raise _missing(place, node)
        value: JsonValue = {
            "asset": said.asset_identifier,
            "sender": said.sender,
            "recipient": said.recipient,
            "amount": _amount(place, node, said.amount),
        }
        return kind, said.asset_identifier.partition("::")[0], topic, value, None

    return read


def _nft_reader(kind: EventKind) -> Callable[[_Place, _NodeEvent], _Said]:
    said_of: Callable[[_NodeEvent], _NonFungibleToken | None] = attrgetter(f"{kind}_event")
    topic = kind.value

    def read(place: _Place, node: _NodeEvent) -> _Said:
        said = said_of(node)
        if said is None:
            raise _missing(place, node)
        contract = said.asset_identifier.partition("::")[0]
        raw = _event_hex(place, node, said.raw_value)
        try:
            check_value(contract, raw)
        except DecodeError as error:
            return _undecodable(node, contract, raw, error)
        value: JsonValue = {"asset": said.asset_identifier, "sender": said.sender, "recipient": said.recipient}
        return kind, contract, topic, value, raw

    return read


_EVENT_READERS: Final[dict[str, Callable[[_Place, _NodeEvent], _Said]]] = {
    "contract_event": _read_print,
    "stx_transfer_event": _read_stx_transfer,
    "stx_mint_event": _read_stx_mint,
    "stx_burn_event": _read_stx_burn,
    "stx_lock_event": _read_stx_lock,
    "ft_transfer_event": _ft_reader(EventKind.FT_TRANSFER),
    "ft_mint_event": _ft_reader(EventKind.FT_MINT),
    "ft_burn_event": _ft_reader(EventKind.FT_BURN),
    "nft_transfer_event": _nft_reader(EventKind.NFT_TRANSFER),
    "nft_mint_event": _nft_reader(EventKind.NFT_MINT),
    "nft_burn_event": _nft_reader(EventKind.NFT_BURN),
}


def _event_field(node: _NodeEvent) -> str:
    return f"transaction {node.txid}, event {node.event_index} ({node.type})"


def _missing(place: _Place, node: _NodeEvent) -> PayloadError:
    return place.error(_event_field(node), f"the field {node.type} is missing")


def _amount(place: _Place, node: _NodeEvent, text: str) -> int:
    if len(text) <= _AMOUNT_DIGITS and text.isdecimal() and text.isascii() and (amount := int(text)) <= _UINT128_MAX:
        return amount
    problem = f"expected a whole number of 128 bits in decimal digits, found {text[:50]!r}"
    raise place.error(_event_field(node), problem)


def _event_hex(place: _Place, node: _NodeEvent, text: str) -> bytes:
    try:
        return bytes_from_hex(text)
    except DecodeError as error:
        raise place.error(_event_field(node), error) from None


def _storable(value: Any) -> JsonValue:
    """JSON of a shape nobody here knows, made storable: Postgres holds no NUL, the chain log no floats."""
    if isinstance(value, dict):
        return {_text(name): _storable(inside) for name, inside in value.items()}
    if isinstance(value, list):
        return [_storable(inside) for inside in value]
    if isinstance(value, float):
        return repr(value)
    return _text(value) if isinstance(value, str) else value


def _text(text: str) -> str:
    return text.replace("\x00", "\\0")
