"""What the chain log keeps of a transaction, read straight from its bytes: a transfer or a call with a single key.

Nearly all transactions are such, and reading them in full (typed authorization, post-conditions and arguments) takes
several times as long. Whatever is of another form, or not valid, is left to
:func:`clarion.chains.stacks.transactions.decode_transaction`, which also says what is wrong with it. What is summarised
here is exactly what it would read, checked against it by a property test: the same rules, but for texts within the
arguments of a call, of which only the structure is looked at (:mod:`clarion.chains.stacks.structure`).
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from clarion.chains.stacks.authorization import AuthType, HashMode, KeyEncoding
from clarion.chains.stacks.clarity import read_clarity_name, read_contract_name
from clarion.chains.stacks.clarity_forms import address_text, contract_text
from clarion.chains.stacks.codec_errors import CodecError
from clarion.chains.stacks.networks import Network
from clarion.chains.stacks.payloads import MEMO_LENGTH, ContractCall, TokenTransfer
from clarion.chains.stacks.post_conditions import AmountCode, PostConditionMode
from clarion.chains.stacks.structure import check_arguments
from clarion.chains.stacks.transactions import MAX_TRANSACTION_BYTES, AnchorMode
from clarion.chains.stacks.wire import MAX_CONTRACT_NAME_BYTES


class Summary(NamedTuple):
    """What a transaction is and asks for, as ``clarion.chains.model.Transaction`` has it."""

    kind: str
    sender: str
    nonce: int
    fee: int
    contract: str | None
    function: str | None


# version, chain id, authorization type, hash mode, signer, nonce, fee, key encoding, signature, anchor mode,
# post-condition mode, count of post-conditions
_HEAD: Final = Struct(">BIBB20sQQB65sBBI")
_ADDRESS_VERSIONS: Final = {network.transaction_version: bytes((network.single_sig_version,)) for network in Network}
_KEY_ENCODINGS: Final = frozenset(encoding.value for encoding in KeyEncoding)
_ANCHOR_MODES: Final = frozenset(mode.value for mode in AnchorMode)
_POST_CONDITION_MODES: Final = frozenset(mode.value for mode in PostConditionMode)
_AMOUNT_CODES: Final = frozenset(code.value for code in AmountCode)
_TRANSFER, _CALL = 0, 2
_STANDARD_PRINCIPAL, _CONTRACT_PRINCIPAL = 5, 6
_ADDRESS_BYTES: Final = 21
_AMOUNT_BYTES: Final = 8
_ADDRESS_VERSION_LIMIT: Final = 32

_from_bytes = int.from_bytes


class _OtherError(Exception):
    """The transaction is of a form that is not summarised here."""


def summarise(raw: bytes) -> Summary | None:
    """The summary of the transaction whose wire bytes are ``raw``, or None where it has to be decoded in full."""
    if not _HEAD.size < len(raw) <= MAX_TRANSACTION_BYTES:
        return None
    version, _, kind, hash_mode, signer, nonce, fee, key, _, anchor, mode, conditions = _HEAD.unpack_from(raw)
    address_version = _ADDRESS_VERSIONS.get(version)
    if (
        address_version is None
        or kind != AuthType.STANDARD
        or hash_mode != HashMode.P2PKH
        or key not in _KEY_ENCODINGS
        or anchor not in _ANCHOR_MODES
        or mode not in _POST_CONDITION_MODES
        or conditions > len(raw) - _HEAD.size
    ):
        return None
    try:
        at = _HEAD.size
        for _ in range(conditions):
            at = _skip_condition(raw, at)
        sender = address_text(address_version + signer)
        payload_kind = raw[at]
        if payload_kind == _CALL:
            contract, function = _call(raw, at + 1)
            return Summary(ContractCall.kind, sender, nonce, fee, contract, function)
        if payload_kind == _TRANSFER:
            _check_transfer(raw, at + 1)
            return Summary(TokenTransfer.kind, sender, nonce, fee, None, None)
    except (_OtherError, CodecError, IndexError):
        pass
    return None


def _check_transfer(raw: bytes, at: int) -> None:
    recipient = raw[at]
    if recipient == _STANDARD_PRINCIPAL:
        _, at = _address(raw, at + 1)
    elif recipient == _CONTRACT_PRINCIPAL:
        _, at = _address(raw, at + 1)
        _, at = read_contract_name(raw, at)
    else:
        raise _OtherError
    if at + _AMOUNT_BYTES + MEMO_LENGTH != len(raw):
        raise _OtherError


def _call(raw: bytes, at: int) -> tuple[str, str]:
    issuer, at = _address(raw, at)
    name, at = _contract_name(raw, at)
    function, at = read_clarity_name(raw, at)
    check_arguments((issuer, name, function), raw[at:])
    return contract_text(issuer, name), function


def _skip_condition(raw: bytes, at: int) -> int:
    """The position after a condition about STX or a fungible token."""
    kind = raw[at]
    if kind > 1:
        raise _OtherError
    subject = raw[at + 1]
    at += 2
    if subject == 2:
        _, at = _address(raw, at)
    elif subject == 3:
        _, at = _address(raw, at)
        _, at = _contract_name(raw, at)
    elif subject != 1:
        raise _OtherError
    if kind == 1:
        _, at = _address(raw, at)
        _, at = _contract_name(raw, at)
        _, at = read_clarity_name(raw, at)
    end = at + 1 + _AMOUNT_BYTES
    if raw[at] not in _AMOUNT_CODES or end > len(raw):
        raise _OtherError
    return end


def _address(raw: bytes, at: int) -> tuple[bytes, int]:
    end = at + _ADDRESS_BYTES
    if end > len(raw) or raw[at] >= _ADDRESS_VERSION_LIMIT:
        raise _OtherError
    return raw[at:end], end


def _contract_name(raw: bytes, at: int) -> tuple[str, int]:
    if raw[at] > MAX_CONTRACT_NAME_BYTES:
        raise _OtherError
    return read_contract_name(raw, at)
