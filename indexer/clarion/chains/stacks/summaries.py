"""What the chain log keeps of a transaction, read straight from its bytes: a transfer or a call with a single key.

Nearly all transactions are such, and reading them in full (typed authorization, post-conditions and arguments) takes
several times as long. Whatever is of another form, or not valid, is left to
:func:`clarion.chains.stacks.transactions.decode_transaction`, which also says what is wrong with it. What is summarised
here is exactly what it would read, checked against it by a property test: the same rules, but for texts within the
arguments of a call, of which only the structure is looked at (:mod:`clarion.chains.stacks.structure`).
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import Final, NamedTuple

from clarion.chains.stacks.authorization import AuthType, HashMode, KeyEncoding
from clarion.chains.stacks.clarity import read_clarity_name, read_contract_name
from clarion.chains.stacks.clarity_forms import address_text, contract_text
from clarion.chains.stacks.codec_errors import CodecError
from clarion.chains.stacks.networks import Network
from clarion.chains.stacks.payloads import MEMO_LENGTH, ContractCall, TokenTransfer
from clarion.chains.stacks.post_conditions import AmountCode, PostConditionMode
from clarion.chains.stacks.structure import Structures, skip_arguments
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


# version, chain id, authorization type, hash mode, signer
_SIGNER: Final = Struct(">B4xBB20s")
# nonce, fee, key encoding, signature
_FEE_AND_KEY: Final = Struct(">QQB65x")
_HEAD_BYTES: Final = _SIGNER.size + _FEE_AND_KEY.size
# anchor mode, post-condition mode, count of post-conditions
_MODES: Final = Struct(">BBI")
_ADDRESS_VERSIONS: Final = {network.transaction_version: bytes((network.single_sig_version,)) for network in Network}
_KEY_ENCODINGS: Final = frozenset(encoding.value for encoding in KeyEncoding)
_ANCHOR_MODES: Final = frozenset(mode.value for mode in AnchorMode)
_POST_CONDITION_MODES: Final = frozenset(mode.value for mode in PostConditionMode)
_AMOUNT_CODES: Final = frozenset(code.value for code in AmountCode)
_TRANSFER, _CALL = 0, 2
_STANDARD_PRINCIPAL, _CONTRACT_PRINCIPAL = 5, 6
_STX, _FUNGIBLE_TOKEN = 0, 1
_ORIGIN, _ADDRESS_SUBJECT, _CONTRACT_SUBJECT = 1, 2, 3
_ADDRESS_BYTES: Final = 21
_AMOUNT_BYTES: Final = 8
_ADDRESS_VERSION_LIMIT: Final = 32


class _OtherError(Exception):
    """The transaction is of a form that is not summarised here."""


def summarise(raw: bytes) -> Summary | None:
    """The summary of the transaction whose wire bytes are ``raw``, or None where it has to be decoded in full."""
    if not _HEAD_BYTES < len(raw) <= MAX_TRANSACTION_BYTES:
        return None
    sender = _sender(raw[: _SIGNER.size])
    nonce, fee, key = _FEE_AND_KEY.unpack_from(raw, _SIGNER.size)
    if sender is None or key not in _KEY_ENCODINGS:
        return None
    try:
        kind, contract, function = _requests.found(None, raw[_HEAD_BYTES:])
    except (_OtherError, CodecError, IndexError):
        return None
    return Summary(kind, sender, nonce, fee, contract, function)


@lru_cache(maxsize=65_536)
def _sender(signer: bytes) -> str | None:
    """The sender that the first bytes of a transaction name, None where they are of another form."""
    version, kind, hash_mode, hash160 = _SIGNER.unpack(signer)
    address_version = _ADDRESS_VERSIONS.get(version)
    if address_version is None or kind != AuthType.STANDARD or hash_mode != HashMode.P2PKH:
        return None
    return address_text(address_version + hash160)


def _examine_request(raw: bytes) -> tuple[tuple[str, str | None, str | None], list[tuple[int, int]]]:
    """Kind, contract and function of what follows a transaction's authorization; the spans of which nothing depends."""
    if len(raw) < _MODES.size:
        raise _OtherError
    anchor, mode, conditions = _MODES.unpack_from(raw)
    if anchor not in _ANCHOR_MODES or mode not in _POST_CONDITION_MODES or conditions > len(raw):
        raise _OtherError
    free: list[tuple[int, int]] = []
    at = _MODES.size
    for _ in range(conditions):
        at = _skip_condition(raw, at, free)
    payload_kind = raw[at]
    if payload_kind == _CALL:
        (contract, function), at = _member(raw, at + 1)
        if skip_arguments(raw, at, free) != len(raw):
            raise _OtherError
        return (ContractCall.kind, contract, function), free
    if payload_kind == _TRANSFER:
        _check_transfer(raw, at + 1, free)
        return (TokenTransfer.kind, None, None), free
    raise _OtherError


def _check_transfer(raw: bytes, at: int, free: list[tuple[int, int]]) -> None:
    recipient = raw[at]
    at = _skip_address(raw, at + 1, free)
    if recipient == _CONTRACT_PRINCIPAL:
        _, at = read_contract_name(raw, at)
    elif recipient != _STANDARD_PRINCIPAL:
        raise _OtherError
    if at + _AMOUNT_BYTES + MEMO_LENGTH != len(raw):
        raise _OtherError
    free.append((at, len(raw)))


def _skip_condition(raw: bytes, at: int, free: list[tuple[int, int]]) -> int:
    """The position after a condition about STX or a fungible token."""
    kind, subject = raw[at], raw[at + 1]
    at += 2
    if subject != _ORIGIN:
        at = _skip_address(raw, at, free)
        if subject == _CONTRACT_SUBJECT:
            at = _skip_contract_name(raw, at)
        elif subject != _ADDRESS_SUBJECT:
            raise _OtherError
    if kind == _FUNGIBLE_TOKEN:
        _, at = _member(raw, at)
    elif kind != _STX:
        raise _OtherError
    end = at + 1 + _AMOUNT_BYTES
    if raw[at] not in _AMOUNT_CODES or end > len(raw):
        raise _OtherError
    free.append((at + 1, end))
    return end


def _skip_address(raw: bytes, at: int, free: list[tuple[int, int]]) -> int:
    if raw[at] >= _ADDRESS_VERSION_LIMIT:
        raise _OtherError
    free.append((at + 1, at + _ADDRESS_BYTES))
    return at + _ADDRESS_BYTES


def _skip_contract_name(raw: bytes, at: int) -> int:
    if raw[at] > MAX_CONTRACT_NAME_BYTES:
        raise _OtherError
    _, end = read_contract_name(raw, at)
    return end


def _member(raw: bytes, at: int) -> tuple[tuple[str, str], int]:
    """A contract and the name of a function or token of it, and the position after both."""
    name_at = at + _ADDRESS_BYTES + 1 + raw[at + _ADDRESS_BYTES]
    end = name_at + 1 + raw[name_at]
    # Of bytes that end too early the lengths within say so: they are never what was read before.
    return _read_member(raw[at:end]), end


@lru_cache(maxsize=16_384)
def _read_member(raw: bytes) -> tuple[str, str]:
    at = _skip_contract_name(raw, _skip_address(raw, 0, []))
    contract_name, _ = read_contract_name(raw, _ADDRESS_BYTES)
    name, _ = read_clarity_name(raw, at)
    return contract_text(raw[:_ADDRESS_BYTES], contract_name), name


_requests: Final = Structures(_examine_request)
