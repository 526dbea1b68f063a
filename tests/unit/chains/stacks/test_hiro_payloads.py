"""What the API may answer that nobody here knows, or that is wrong."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from support import toy
from support.hiro_api import HiroApi
from support.node_posts import block_payload, body, hex_of, signed_call, transaction_entry

from clarion.chains.model import Block, EventKind
from clarion.chains.stacks.hiro_payloads import block_from_api, details_of, may_be_burn_operation, ref_of
from clarion.chains.stacks.node_payloads import PayloadError
from hiro_api_client import BlockHeader, Event, Transaction, TransactionDetails


def answers() -> tuple[dict[str, Any], dict[str, Any]]:
    """A block's header and its only transaction, as the API answers them."""
    call = signed_call(5)
    api = HiroApi([("/new_block", body(block_payload(toy.block(None), [transaction_entry(call)])))])
    return api.tip.header(), api.tip.transactions[0].details(100, 0)


def block_of(header: dict[str, Any], *transactions: dict[str, Any]) -> Block:
    return block_from_api(
        msgspec.convert(header, BlockHeader, strict=False),
        [msgspec.convert(transaction, TransactionDetails, strict=False) for transaction in transactions],
        {},
    )


def test_a_transaction_of_a_type_that_did_not_exist_yet() -> None:
    header, details = answers()
    del details["contract_call"]
    (tx,) = block_of(header, details | {"tx_type": "teleport"}).transactions
    assert (tx.kind, tx.payload, tx.contract, tx.sender, tx.nonce) == ("undecodable", None, None, toy.DEPLOYER, 5)
    assert tx.decode_error == "the Hiro API's teleport: nothing is known of a transaction of this type"


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        ({"contract_id": "nowhere", "function_name": "f", "function_args": []}, "contract_call: "),
        ({"contract_id": toy.CONTRACT, "function_name": "f", "function_args": [{"hex": "0xff"}]}, "at byte 0: "),
        ({"contract_id": toy.CONTRACT, "function_name": "f", "function_args": [{"hex": "zz"}]}, "contract_call: "),
    ],
)
def test_a_call_that_cannot_be_read_is_kept_with_the_reason(call: dict[str, Any], problem: str) -> None:
    header, details = answers()
    (tx,) = block_of(header, details | {"contract_call": call}).transactions
    assert tx.kind == "undecodable"
    assert problem in (tx.decode_error or "")


def test_a_call_without_arguments_and_a_tenure_of_an_unknown_cause() -> None:
    header, details = answers()
    call = {"contract_id": toy.CONTRACT, "function_name": "f", "function_args": None}
    (tx,) = block_of(header, details | {"contract_call": call}).transactions
    assert tx.payload == {"contract": toy.CONTRACT, "function": "f", "arguments": []}
    del details["contract_call"]
    change = {"tx_type": "tenure_change", "tenure_change_payload": {"cause": "boredom"}}
    (tx,) = block_of(header, details | change).transactions
    assert tx.decode_error == "the Hiro API's tenure_change: unknown cause 'boredom'"


def test_an_event_of_a_type_that_did_not_exist_yet() -> None:
    header, details = answers()
    event = {"event_index": 0, "event_type": "stx_teleport", "tx_id": details["tx_id"], "stx_teleport": {"far": 1}}
    (read,) = block_of(header, details | {"events": [event], "event_count": 1}).events
    assert (read.kind, read.topic, read.contract) == (EventKind.UNKNOWN, "stx_teleport", None)


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"tx_status": "lost"}, "unknown status 'lost'"),
        ({"tx_id": "0x12"}, "expected 32 bytes, found 1"),
        ({"tx_result": {"hex": "0xzz"}}, "raw_result"),
    ],
)
def test_what_the_chain_log_is_built_from_is_strict(wrong: dict[str, Any], problem: str) -> None:
    header, details = answers()
    with pytest.raises(PayloadError, match=problem):
        block_of(header, details | wrong)


def test_hashes_that_are_none() -> None:
    header, _ = answers()
    for field, text in (("index_block_hash", "0x12"), ("parent_index_block_hash", "zz")):
        with pytest.raises(PayloadError, match=f"the Hiro API's block 1: {field}: "):
            ref_of(msgspec.convert(header | {field: text}, BlockHeader, strict=False))
    with pytest.raises(PayloadError, match="burn_block_hash: expected 32 bytes"):
        block_of(header | {"burn_block_hash": "0x"})


def test_a_tenure_height_the_api_does_not_know() -> None:
    header, details = answers()
    assert block_of(header | {"tenure_height": -1}, details).extra["tenure_height"] is None
    assert block_of(header | {"block_time": 0}, details).time == header["burn_block_time"]


def test_the_time_of_a_block_without_its_own_is_that_of_its_bitcoin_block() -> None:
    """An API that took the block before version 9 tells when it came instead."""
    header, details = answers()
    del details["contract_call"]
    came = header | {"block_time": header["burn_block_time"] + 777}
    coinbase = {"data": "0x" + "00" * 32, "alt_recipient": None}
    old = details | {"tx_type": "coinbase", "coinbase_payload": coinbase}
    assert block_of(came, old).time == header["burn_block_time"]
    assert block_of(came, old | {"coinbase_payload": coinbase | {"vrf_proof": None}}).time == header["burn_block_time"]
    nakamoto = old | {"coinbase_payload": coinbase | {"vrf_proof": "0x" + "11" * 80}}
    assert block_of(came, nakamoto).time == came["block_time"]
    assert block_of(came).time == came["block_time"], "most Nakamoto blocks have no coinbase"


def test_only_what_is_free_may_come_from_bitcoin() -> None:
    _, details = answers()
    told = msgspec.convert(details, TransactionDetails, strict=False)
    assert not may_be_burn_operation(told)
    assert may_be_burn_operation(msgspec.structs.replace(told, fee_rate="0"))
    assert not may_be_burn_operation(msgspec.structs.replace(told, fee_rate="0", tx_type="coinbase"))


def test_a_sponsor_in_both_versions() -> None:
    header, details = answers()
    sponsor = "ST2CY5V39NHDPWSXMW9QDT3HC3GD6Q6XX4CFRK9AG"
    (tx,) = block_of(header, details | {"sponsored": True, "sponsor_address": sponsor}).transactions
    assert tx.sponsor == sponsor
    whole = {
        "tx_id": hex_of(bytes(32)),
        "type": "poison_microblock",
        "status": "success",
        "sender": {"address": toy.DEPLOYER, "nonce": 1},
        "sponsor": {"address": sponsor, "nonce": 2},
        "fee_rate": "7",
        "event_count": 0,
    }
    told = details_of(msgspec.convert(whole, Transaction, strict=False), list[Event]())
    told = msgspec.structs.replace(told, tx_index=0)
    (tx,) = block_from_api(msgspec.convert(header, BlockHeader, strict=False), [told], {}).transactions
    assert (tx.kind, tx.sponsor, tx.fee, tx.payload) == ("poison_microblock", sponsor, 7, None)
