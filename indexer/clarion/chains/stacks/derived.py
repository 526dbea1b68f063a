"""What the chain log stores of an event's value and of what a transaction asked for: only what their bytes do not say.

The rest follows from the bytes whenever somebody looks. What is stored is given precedence, so that rows hold that were
written with all of it, and whatever has no bytes.

| Of | is stored | follows from the bytes |
|---|---|---|
| a print | nothing | the value |
| an NFT's transfer, mint or burn | asset, sender, recipient | ``value``, the token's identifier |
| every other event | the value | nothing: it has no bytes |
| a transfer, call or deployment with its bytes | nothing | the payload |
| every other transaction | the payload | nothing |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from clarion.chains.stacks import payloads
from clarion.chains.stacks.clarity_forms import decode_json
from clarion.chains.stacks.payload_forms import payload_form
from clarion.chains.stacks.transactions import decode_transaction

if TYPE_CHECKING:  # the model derives by these functions
    from clarion.chains.model import JsonValue

NFT_KINDS: Final = frozenset(("nft_transfer", "nft_mint", "nft_burn"))
DERIVED_PAYLOADS: Final = frozenset(
    (payloads.TokenTransfer.kind, payloads.ContractCall.kind, payloads.SmartContract.kind)
)
"""Kinds of transactions whose payload is not stored where their bytes are."""


def event_value(kind: str, stored: JsonValue, raw: bytes | None) -> JsonValue:
    """The value of an event. Raises ``DecodeError`` where its bytes cannot be decoded."""
    if raw is None:
        return stored
    if kind == "print":
        return decode_json(raw) if stored is None else stored
    if kind in NFT_KINDS and isinstance(stored, dict) and "value" not in stored:
        return stored | {"value": decode_json(raw)}
    return stored


def transaction_payload(kind: str, stored: JsonValue, raw: bytes) -> JsonValue:
    """What a transaction asked for. Raises ``DecodeError`` where its bytes cannot be decoded."""
    if stored is not None or not raw or kind not in DERIVED_PAYLOADS:
        return stored
    return payload_form(decode_transaction(raw).payload)
