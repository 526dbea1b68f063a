"""Events and transactions say what their bytes say, however much of it is stored beside them."""

from __future__ import annotations

import pytest
from msgspec import structs
from support import toy
from support.node_posts import signed_call

from clarion.chains.model import Event, EventKind
from clarion.chains.stacks import clarity as cl
from clarion.chains.stacks.clarity_forms import decode_json
from clarion.chains.stacks.codec_errors import DecodeError

RAW = cl.encode(cl.Tuple({"topic": cl.StringAscii("moved"), "amount": cl.UInt(5)}))
PRINT = Event(0, 0, EventKind.PRINT, toy.CONTRACT, "moved", None, RAW)


def test_a_print_is_the_same_with_and_without_its_stored_value() -> None:
    whole = structs.replace(PRINT, stored_value=decode_json(RAW))
    assert PRINT.value == whole.value == {"topic": "moved", "amount": 5}
    assert whole == PRINT
    assert structs.replace(PRINT, stored_value={"topic": "moved", "amount": 6}) != PRINT
    assert structs.replace(PRINT, index=1) != PRINT


def test_an_nft_event_is_completed_by_its_identifier() -> None:
    moved = {"asset": "a::b", "sender": "c", "recipient": "d"}
    event = Event(0, 0, EventKind.NFT_TRANSFER, toy.CONTRACT, "nft_transfer", {**moved}, cl.encode(cl.UInt(7)))
    assert event.value == {**moved, "value": 7}
    assert structs.replace(event, stored_value={**moved, "value": 7}) == event


def test_a_value_that_cannot_be_decoded_is_told_when_it_is_asked_for() -> None:
    broken = structs.replace(PRINT, raw=b"\x0d\0\0\0\1\xff")
    with pytest.raises(DecodeError, match="printable ASCII"):
        broken.value  # noqa: B018


def test_a_call_is_the_same_with_and_without_its_stored_payload() -> None:
    (transaction,) = toy.block(None, [toy.move("a", 1)]).transactions
    call = structs.replace(transaction, stored_payload=None, raw=signed_call(3).encode())
    assert call.payload == {"contract": toy.CONTRACT, "function": "move", "arguments": [3]}
    assert structs.replace(call, stored_payload=call.payload) == call
    assert structs.replace(call, stored_payload={}) != call
    assert structs.replace(call, interface={"functions": []}) == call
    assert structs.replace(call, raw=b"", stored_payload=None).payload is None
