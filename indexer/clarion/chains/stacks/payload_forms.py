"""The JSON form of what a transaction asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from clarion.chains.stacks import payloads
from clarion.chains.stacks.clarity import Principal, Value
from clarion.chains.stacks.clarity_forms import to_json

if TYPE_CHECKING:  # the model derives values by these forms
    from clarion.chains.model import JsonValue


def _hex(raw: bytes) -> str:
    return f"0x{raw.hex()}"


def _principal(value: Principal | None) -> str | None:
    return None if value is None else str(value)


def _header_form(header: payloads.MicroblockHeader) -> JsonValue:
    return {
        "version": header.version,
        "sequence": header.sequence,
        "previous_block": _hex(header.previous_block),
        "merkle_root": _hex(header.merkle_root),
        "signature": _hex(header.signature),
    }


def _arguments_form(arguments: Iterable[Value]) -> list[JsonValue]:
    return [to_json(argument) for argument in arguments]


#: The JSON form of what a transaction asks for, by the type of its payload.
_PAYLOAD_FORMS: Final[dict[type[Any], Callable[[Any], JsonValue]]] = {
    payloads.TokenTransfer: lambda payload: {
        "recipient": str(payload.recipient),
        "amount": payload.amount,
        "memo": _hex(payload.memo),
    },
    payloads.ContractCall: lambda payload: {
        "contract": str(payload.contract),
        "function": payload.function,
        "arguments": _arguments_form(payload.arguments),
    },
    payloads.SmartContract: lambda payload: {
        "name": payload.name,
        "clarity_version": payload.clarity_version,
        "source": payload.source,
    },
    payloads.PoisonMicroblock: lambda payload: {
        "first": _header_form(payload.first),
        "second": _header_form(payload.second),
    },
    payloads.Coinbase: lambda payload: {"data": _hex(payload.data)},
    payloads.CoinbaseToAltRecipient: lambda payload: {
        "data": _hex(payload.data),
        "recipient": str(payload.recipient),
    },
    payloads.NakamotoCoinbase: lambda payload: {
        "data": _hex(payload.data),
        "recipient": _principal(payload.recipient),
        "vrf_proof": _hex(payload.vrf_proof),
    },
    payloads.TenureChange: lambda payload: {
        "tenure_consensus_hash": _hex(payload.tenure_consensus_hash),
        "previous_tenure_consensus_hash": _hex(payload.previous_tenure_consensus_hash),
        "burn_view_consensus_hash": _hex(payload.burn_view_consensus_hash),
        "previous_tenure_end": _hex(payload.previous_tenure_end),
        "previous_tenure_blocks": payload.previous_tenure_blocks,
        "cause": payload.cause.name.lower(),
        "public_key_hash": _hex(payload.public_key_hash),
    },
}


def payload_form(payload: payloads.Payload) -> JsonValue:
    """The JSON form of what a transaction asks for."""
    return _PAYLOAD_FORMS[type(payload)](payload)
