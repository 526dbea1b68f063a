"""Posts as a node makes them, over the toy protocol's blocks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from clarion.chains.model import Block, BurnBlock, JsonValue
from clarion.chains.stacks import clarity as cl
from clarion.chains.stacks.authorization import Authorization, HashMode, SingleSig
from clarion.chains.stacks.networks import Network
from clarion.chains.stacks.payloads import ContractCall, Payload
from clarion.chains.stacks.transactions import Transaction
from support import toy


def hex_of(raw: bytes) -> str:
    return f"0x{raw.hex()}"


def clarity_tuple(value: dict[str, JsonValue]) -> cl.Value:
    """The printed tuple that reads back as ``value`` (texts and whole numbers)."""
    return cl.Tuple(
        {
            name: cl.StringUtf8(field) if isinstance(field, str) else cl.UInt(int(str(field)))
            for name, field in value.items()
        }
    )


def signed_call(nonce: int, payload: Payload | None = None) -> Transaction:
    """A transaction of the toy protocol's user; its signature is empty."""
    sender = cl.principal(toy.DEPLOYER)
    assert isinstance(sender, cl.StandardPrincipal)
    contract = cl.principal(toy.CONTRACT)
    assert isinstance(contract, cl.ContractPrincipal)
    return Transaction(
        Network.TESTNET,
        Network.TESTNET.chain_id,
        Authorization(SingleSig(HashMode.P2PKH, sender.hash160, nonce, 300)),
        payload or ContractCall(contract, "move", (cl.UInt(nonce),)),
    )


def print_event(txid: str, event_index: int, value: cl.Value, contract: str = toy.CONTRACT) -> dict[str, Any]:
    return {
        "txid": txid,
        "event_index": event_index,
        "committed": True,
        "type": "contract_event",
        "contract_event": {
            "contract_identifier": contract,
            "topic": "print",
            "raw_value": hex_of(cl.encode(value)),
        },
    }


def transaction_entry(transaction: Transaction, tx_index: int = 0, **fields: Any) -> dict[str, Any]:
    return {
        "txid": hex_of(transaction.txid),
        "tx_index": tx_index,
        "status": "success",
        "raw_result": "0x0703",
        "raw_tx": hex_of(transaction.encode()),
        "contract_interface": None,
        "burnchain_op": None,
        "vm_error": None,
        **fields,
    }


def block_payload(
    block: Block,
    transactions: Sequence[dict[str, Any]] = (),
    events: Sequence[dict[str, Any]] = (),
    **fields: Any,
) -> dict[str, Any]:
    """``/new_block`` of a block whose place in the chain is ``block``'s."""
    assert block.burn is not None
    return {
        "block_height": block.height,
        "block_hash": block.extra["block_hash"],
        "index_block_hash": hex_of(block.hash),
        "parent_block_hash": hex_of(toy.digest_of("header", block.ref.parent_hash)),
        "parent_index_block_hash": hex_of(block.ref.parent_hash),
        "block_time": block.time,
        "burn_block_height": block.burn.height,
        "burn_block_hash": hex_of(block.burn.hash),
        "burn_block_time": block.burn.time,
        "consensus_hash": hex_of(toy.consensus_hash(block.burn)),
        "miner_txid": hex_of(bytes(32)),
        "tenure_height": block.height,
        "transactions": list(transactions),
        "events": list(events),
        **fields,
    }


def moves_payload(block: Block, values: Iterable[dict[str, JsonValue]] = ()) -> dict[str, Any]:
    """``/new_block`` in which one transaction prints ``values`` in the toy protocol's contract."""
    values = list(values)
    if not values:
        return block_payload(block)
    # On another branch it is another transaction.
    nonce = int.from_bytes(block.hash[:4], "big")
    call = signed_call(nonce)
    txid = hex_of(call.txid)
    events = [print_event(txid, index, clarity_tuple(value)) for index, value in enumerate(values)]
    return block_payload(block, [transaction_entry(call)], events[::-1])


def replayed_payload(posted: dict[str, Any]) -> dict[str, Any]:
    """What ``/v3/blocks/replay`` answers for a block of at most one transaction, from its ``/new_block``."""
    events = sorted(posted["events"], key=lambda event: event["event_index"])
    return {
        "block_id": posted["index_block_hash"].removeprefix("0x"),
        "block_hash": posted["block_hash"].removeprefix("0x"),
        "block_height": posted["block_height"],
        "parent_block_id": posted["parent_index_block_hash"].removeprefix("0x"),
        "consensus_hash": posted["consensus_hash"].removeprefix("0x"),
        "timestamp": posted["block_time"],
        "transactions": [
            {
                "txid": tx["txid"].removeprefix("0x"),
                "tx_index": tx["tx_index"],
                "hex": tx["raw_tx"].removeprefix("0x"),
                "result_hex": tx["raw_result"],
                "post_condition_aborted": False,
                "vm_error": None,
                "events": events,
            }
            for tx in posted["transactions"]
        ],
    }


def burn_payload(burn: BurnBlock) -> dict[str, Any]:
    return {
        "burn_block_hash": hex_of(burn.hash),
        "burn_block_height": burn.height,
        "burn_amount": 0,
        "reward_recipients": [],
        "reward_slot_holders": [],
        **({} if burn.parent_hash is None else {"parent_burn_block_hash": hex_of(burn.parent_hash)}),
    }


def body(payload: Any) -> bytes:
    return json.dumps(payload).encode()
