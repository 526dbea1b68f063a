"""What sBTC's registry prints, field by field. The token prints nothing but memos; its events are about assets.

The names are those of sbtc-registry.clar in the repository stacks-network/sbtc. Byte strings are ``0x`` hexadecimal,
amounts and fees satoshi.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

Small = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""A number that fits into a ``bigint`` column. Clarity's ``uint`` is wider: a larger one is told as an anomaly."""


class CompletedDeposit(msgspec.Struct, rename="kebab", frozen=True):
    """The signers minted sBTC for a Bitcoin transaction's output."""

    bitcoin_txid: str
    output_index: Small
    amount: int
    burn_hash: str
    burn_height: Small
    sweep_txid: str


class BitcoinAddress(msgspec.Struct, frozen=True):
    """A Bitcoin address as Stacks contracts write it: a version byte and a hash."""

    version: str
    hashbytes: str


class WithdrawalCreate(msgspec.Struct, rename="kebab", frozen=True):
    """Someone asked to withdraw. ``block_height`` is the Bitcoin height of the request."""

    request_id: int
    amount: int
    max_fee: int
    sender: str
    recipient: BitcoinAddress
    block_height: Small


class WithdrawalAccept(msgspec.Struct, rename="kebab", frozen=True):
    """The signers paid a withdrawal on Bitcoin."""

    request_id: int
    bitcoin_txid: str
    signer_bitmap: int
    output_index: Small
    fee: int
    burn_hash: str
    burn_height: Small
    sweep_txid: str


class WithdrawalReject(msgspec.Struct, rename="kebab", frozen=True):
    """The signers refused a withdrawal; the locked sBTC went back."""

    request_id: int
    signer_bitmap: int


class KeyRotation(msgspec.Struct, rename="kebab", frozen=True):
    """A new set of signers took over."""

    new_keys: list[str]
    new_address: str
    new_aggregate_pubkey: str
    new_signature_threshold: Small


class UpdateProtocolContract(msgspec.Struct, rename="kebab", frozen=True):
    """A contract got a role in sBTC: 0x00 governance, 0x01 deposit, 0x02 withdrawal."""

    contract_type: str
    new_contract: str
