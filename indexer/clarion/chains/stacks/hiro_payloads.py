"""What the Stacks Blockchain API answers, as the values of ``chains.model``: the same as of the node's own payload.

Blocks, transactions and events are put into the form of a ``/new_block`` payload and read like one, so that keys,
topics and values are the same from both. What the API does not tell is listed in ``docs/hiro-api.md``.

Formats: stacks-blockchain-api 9, ``src/api/controllers/db-controller.ts`` and ``src/api/serializers``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import structs

from clarion.chains.model import Block, BlockRef, BurnBlock, Transaction
from clarion.chains.stacks import clarity, payloads
from clarion.chains.stacks.codec_errors import DecodeError
from clarion.chains.stacks.node_payloads import BURN_OPERATION_RAW, PayloadError, block_of
from clarion.chains.stacks.payload_forms import payload_form
from clarion.chains.stacks.wire import Cursor
from hiro_api_client import types as api
from hiro_api_client.types import BlockHeader, EventDetails, TransactionDetails

SOURCE: Final = "the Hiro API's"
_BOOT_ADDRESSES: Final = ("SP000000000000000000002Q6VF78", "ST000000000000000000002AMW42H")
_POISON_MICROBLOCK: Final = b"\x03"  # type of the payload (SIP-005)
_NO_TENURE: Final = -1
"""What the API says where it does not know the tenure height of a Nakamoto block."""


def ref_of(header: BlockHeader) -> BlockRef:
    """The block a header names. Raises ``PayloadError`` where its hashes are none."""
    return BlockRef(
        "stacks",
        header.height,
        _hash(header, "index_block_hash", header.index_block_hash),
        _hash(header, "parent_index_block_hash", header.parent_index_block_hash),
    )


def burn_of(header: BlockHeader) -> BurnBlock:
    """The Bitcoin block a block is anchored to. Raises ``PayloadError`` where its hash is none."""
    burn_hash = _hash(header, "burn_block_hash", header.burn_block_hash)
    return BurnBlock(header.burn_block_height, burn_hash, time=header.burn_block_time)


def details_of(told: api.Transaction, events: Sequence[api.Event]) -> TransactionDetails:
    """A mined transaction and its events of the v3 routes as the v1 routes give them, but for poisoned microblocks."""
    asked: dict[str, Any] = {}
    if (transfer := told.token_transfer) is not None:
        memo = transfer.memo.hex if isinstance(transfer.memo, api.ClarityValue) else transfer.memo
        asked["token_transfer"] = api.TokenTransferDetails(
            recipient_address=transfer.recipient, amount=transfer.amount, memo=memo
        )
    if (coinbase := told.coinbase) is not None:
        asked["coinbase_payload"] = api.CoinbaseDetails(
            data=coinbase.payload or "0x", alt_recipient=coinbase.alt_recipient, vrf_proof=coinbase.vrf_proof
        )
    return TransactionDetails(
        tx_id=told.tx_id,
        tx_type=told.type,
        tx_status=told.status,
        sender_address=told.sender.address,
        fee_rate=told.fee_rate,
        nonce=told.sender.nonce or 0,
        sponsor_address=None if told.sponsor is None else told.sponsor.address,
        canonical=True,
        block_hash=None if told.block is None else told.block.hash,
        block_height=None if told.block is None else told.block.height,
        tx_index=None if told.block is None else told.block.tx_index,
        tx_result=told.result,
        vm_error=told.vm_error,
        event_count=told.event_count,
        events=[_event_details(event) for event in events],
        contract_call=told.contract_call,
        smart_contract=told.smart_contract,
        tenure_change_payload=told.tenure_change,
        **asked,
    )


def _event_details(told: api.Event) -> EventDetails:
    """An event of the v3 routes, as the v1 routes give it."""
    lock, asset = None, None
    kind = told.type
    if told.stx_lock is not None:
        lock = api.StxLockDetails(
            locked_amount=told.stx_lock.amount,
            unlock_height=told.stx_lock.unlock_bitcoin_height,
            locked_address=told.stx_lock.address,
        )
    named = {"stx_asset": told.stx_asset, "ft_asset": told.ft_asset, "nft_asset": told.nft_asset}.get(kind)
    if named is not None:
        kind = _V1_NAMES[kind]
        memo = named.memo.hex if isinstance(named.memo, api.ClarityValue) else named.memo
        asset = api.AssetDetails(
            asset_event_type=named.type,
            asset_id=named.asset_identifier,
            sender=named.sender,
            recipient=named.recipient,
            amount=named.amount,
            memo=memo,
            value=named.value,
        )
    return EventDetails(
        event_index=told.event_index, event_type=kind, contract_log=told.contract_log, asset=asset, stx_lock_event=lock
    )


_V1_NAMES: Final = {
    "stx_asset": "stx_asset",
    "ft_asset": "fungible_token_asset",
    "nft_asset": "non_fungible_token_asset",
}


def may_be_burn_operation(details: TransactionDetails) -> bool:
    """Whether this may have been made on Bitcoin: the API makes up a free transfer or call for what was.

    Only its bytes tell for sure: they are ``0x00``.
    """
    return details.fee_rate == "0" and details.tx_type in ("token_transfer", "contract_call")


def block_from_api(header: BlockHeader, details: Sequence[TransactionDetails], raws: Mapping[str, str]) -> Block:
    """The block of a header, its transactions with their places and all events, and the bytes known (hex), by id.

    A transaction without known bytes has ``raw`` empty; all else is read from its details. Raises ``PayloadError``.
    """
    ordered = sorted(details, key=lambda tx: tx.tx_index or 0)
    block = block_of(
        ref_of(header),
        source=SOURCE,
        time=_time(header, ordered),
        burn=burn_of(header),
        transactions=[_node_transaction(tx, raws.get(tx.tx_id, "0x")) for tx in ordered],
        events=[_node_event(tx, event) for tx in ordered for event in tx.events or ()],
        extra={
            "block_hash": header.hash,
            "parent_block_hash": header.parent_block_hash,
            "consensus_hash": None,
            "miner_txid": header.miner_txid,
            "tenure_height": None if header.tenure_height == _NO_TENURE else header.tenure_height,
        },
    )
    transactions = [
        _completed(read, told, raws.get(told.tx_id)) for read, told in zip(block.transactions, ordered, strict=True)
    ]
    # The API leaves out what failed on Bitcoin; what comes after it keeps its place in the block all the same.
    events = [structs.replace(event, tx_index=transactions[event.tx_index].index) for event in block.events]
    return structs.replace(block, transactions=tuple(transactions), events=tuple(events))


def _time(header: BlockHeader, details: Sequence[TransactionDetails]) -> int | None:
    """A block's own time, or before Nakamoto that of its Bitcoin block.

    Until version 9 the API made up for the missing time with its own clock, which an upgrade does not repair. A block
    from before Nakamoto is known by its coinbase, which has no VRF proof (SIP-005, SIP-021).
    """
    coinbases = [told.coinbase_payload for told in details if told.coinbase_payload is not None]
    if not header.block_time or any(not coinbase.vrf_proof for coinbase in coinbases):
        return header.burn_block_time
    return header.block_time


def _completed(read: Transaction, told: TransactionDetails, raw: str | None) -> Transaction:
    """A transaction with what its bytes do not say, at its place in the block."""
    index = told.tx_index
    assert index is not None  # block_of raises without it
    if raw == BURN_OPERATION_RAW:
        return structs.replace(read, index=index, sender=told.sender_address)
    if raw is not None:
        return structs.replace(read, index=index)
    asked: payloads.Payload | None = None
    problem: str | None = None
    try:
        asked = _payload(told)
    except ValueError as error:
        problem = f"{SOURCE} {told.tx_type}: {error}"
    contract, function = None, None
    if isinstance(asked, payloads.ContractCall):
        contract, function = str(asked.contract), asked.function
    elif isinstance(asked, payloads.SmartContract):
        contract = f"{told.sender_address}.{asked.name}"
    return structs.replace(
        read,
        index=index,
        kind=_kind(told, asked),
        sender=told.sender_address,
        sponsor=told.sponsor_address or None,
        nonce=told.nonce,
        fee=int(told.fee_rate),
        contract=contract,
        function=function,
        stored_payload=None if asked is None else payload_form(asked),
        raw=b"",
        decode_error=problem,
    )


def _node_transaction(told: TransactionDetails, raw: str) -> dict[str, Any]:
    return {
        "txid": told.tx_id,
        "tx_index": told.tx_index,
        "status": told.tx_status,
        "raw_tx": raw,
        "raw_result": None if told.tx_result is None else told.tx_result.hex,
        "vm_error": told.vm_error,
    }


def _kind(told: TransactionDetails, asked: payloads.Payload | None) -> str:
    if asked is not None:
        return asked.kind
    return told.tx_type if told.tx_type == payloads.PoisonMicroblock.kind else "undecodable"


def _payload(told: TransactionDetails) -> payloads.Payload | None:
    """What a transaction asks for, as its bytes would say it; None where the v3 routes do not tell.

    Raises ``ValueError`` for a type unknown here, ``CodecError`` (which is one) for what is not of its type's format.
    """
    if (transfer := told.token_transfer) is not None:
        memo = payloads.memo_bytes(clarity.bytes_from_hex(transfer.memo or "0x"))
        return payloads.TokenTransfer(clarity.principal(transfer.recipient_address), int(transfer.amount), memo)
    if (call := told.contract_call) is not None:
        arguments = tuple([clarity.decode_hex(argument.hex) for argument in call.function_args or ()])
        return payloads.ContractCall(clarity.contract_principal(call.contract_id), call.function_name, arguments)
    if (contract := told.smart_contract) is not None:
        name = contract.contract_id.partition(".")[2]
        return payloads.SmartContract(name, contract.source_code or "", contract.clarity_version)
    if (coinbase := told.coinbase_payload) is not None:
        data = clarity.bytes_from_hex(coinbase.data)
        recipient = clarity.principal(coinbase.alt_recipient) if coinbase.alt_recipient else None
        if coinbase.vrf_proof:
            return payloads.NakamotoCoinbase(data, recipient, clarity.bytes_from_hex(coinbase.vrf_proof))
        if recipient is not None:
            return payloads.CoinbaseToAltRecipient(data, recipient)
        return payloads.Coinbase(data)
    if (change := told.tenure_change_payload) is not None:
        cause = next((cause for cause in payloads.TenureChangeCause if cause.name.lower() == change.cause), None)
        if cause is None:
            raise ValueError(f"unknown cause {change.cause!r}")
        return payloads.TenureChange(
            _bytes(change.tenure_consensus_hash),
            _bytes(change.prev_tenure_consensus_hash),
            _bytes(change.burn_view_consensus_hash),
            _bytes(change.previous_tenure_end),
            change.previous_tenure_blocks or 0,
            cause,
            _bytes(change.pubkey_hash),
        )
    if (poison := told.poison_microblock) is not None:
        headers = [clarity.bytes_from_hex(text) for text in (poison.microblock_header_1, poison.microblock_header_2)]
        return payloads.read_payload(Cursor(_POISON_MICROBLOCK + headers[0] + headers[1]))
    if told.tx_type == payloads.PoisonMicroblock.kind:
        return None
    raise ValueError("nothing is known of a transaction of this type")


def _bytes(text: str | None) -> bytes:
    return clarity.bytes_from_hex(text or "0x")


def _node_event(transaction: TransactionDetails, told: EventDetails) -> dict[str, Any]:
    """An event as a node posts it."""
    kind, body = _event_form(transaction, told)
    return {"txid": transaction.tx_id, "event_index": told.event_index, "type": kind, kind: body}


def _event_form(transaction: TransactionDetails, told: EventDetails) -> tuple[str, dict[str, Any]]:
    if (log := told.contract_log) is not None:
        return "contract_event", {"contract_identifier": log.contract_id, "raw_value": log.value.hex}
    if (lock := told.stx_lock_event) is not None:
        return "stx_lock_event", {
            "locked_amount": lock.locked_amount,
            "unlock_height": str(lock.unlock_height),
            "locked_address": lock.locked_address,
            "contract_identifier": _pox_contract(transaction),
        }
    if (asset := told.asset) is not None and (token := _TOKENS.get(told.event_type)) is not None:
        body: dict[str, Any] = {"sender": asset.sender or None, "recipient": asset.recipient or None}
        if token == "nft":
            body |= {"asset_identifier": asset.asset_id, "raw_value": None if asset.value is None else asset.value.hex}
        elif token == "ft":
            body |= {"asset_identifier": asset.asset_id, "amount": asset.amount}
        else:
            body |= {"amount": asset.amount, "memo": asset.memo}
        return f"{token}_{asset.asset_event_type}_event", body
    return told.event_type, {}


_TOKENS: Final = {"stx_asset": "stx", "fungible_token_asset": "ft", "non_fungible_token_asset": "nft"}


def _pox_contract(transaction: TransactionDetails) -> str | None:
    """The contract that locked STX: the one stacking contract the transaction called or that printed in it.

    The API does not tell. Only a stacking contract of the boot address can lock, and all but the first print about it.
    """
    named = {event.contract_log.contract_id for event in transaction.events or () if event.contract_log is not None}
    if transaction.contract_call is not None:
        named.add(transaction.contract_call.contract_id)
    stacking = {contract for contract in named if _is_stacking(contract)}
    return stacking.pop() if len(stacking) == 1 else None


def _is_stacking(contract: str) -> bool:
    address, _, name = contract.partition(".")
    return address in _BOOT_ADDRESSES and (name == "pox" or name.startswith("pox-"))


def hash_of(where: str, text: str) -> bytes:
    """A hash of 32 bytes. Raises ``PayloadError`` that begins with ``where``."""
    try:
        raw = clarity.bytes_from_hex(text)
    except DecodeError as error:
        raise PayloadError(f"{where}: {error}") from None
    if len(raw) != 32:
        raise PayloadError(f"{where}: expected 32 bytes, found {len(raw)}")
    return raw


def _hash(header: BlockHeader, field: str, text: str) -> bytes:
    return hash_of(f"{SOURCE} block {header.height}: {field}", text)
