"""Post-conditions: what a transaction may move, checked by the node after it ran (SIP-005, SIP-040, SIP-044).

The node compares what each principal sent with the conditions and aborts the transaction where one does not hold.
"""

from enum import IntEnum
from typing import Any, Final, TypeAlias

from msgspec import Struct

from clarion.chains.stacks.clarity import (
    ContractPrincipal,
    Principal,
    StandardPrincipal,
    Value,
    check_clarity_name,
    contract_principal,
    write_name,
    write_standard_principal,
    write_value,
)
from clarion.chains.stacks.codec_errors import DecodeError, EncodeError
from clarion.chains.stacks.wire import Cursor, unsigned, write_contract


class PostConditionMode(IntEnum):
    """What happens to transfers that no condition names."""

    ALLOW = 1
    DENY = 2
    ORIGINATOR = 3
    """Denied for the transaction's origin, allowed for everyone else (SIP-040)."""


class AmountCode(IntEnum):
    """How an amount sent compares with the condition's amount."""

    EQUAL = 0x01
    GREATER = 0x02
    GREATER_OR_EQUAL = 0x03
    LESS = 0x04
    LESS_OR_EQUAL = 0x05


class NftCode(IntEnum):
    """Whether a non-fungible token is sent."""

    SENT = 0x10
    NOT_SENT = 0x11
    MAYBE_SENT = 0x12
    """Always holds (SIP-040)."""


class PoxCode(IntEnum):
    """Whether proof-of-transfer state that does not lock STX is changed (SIP-044)."""

    WILL_NOT_PERFORM = 0x30
    MAY_PERFORM = 0x31
    WILL_PERFORM = 0x32


class Origin(Struct, frozen=True, gc=False):
    """Whoever signs the transaction; use the constant ``ORIGIN``."""


ORIGIN: Final = Origin()
Subject: TypeAlias = Origin | Principal
"""Whose transfers a condition limits."""


class Asset(Struct, frozen=True, gc=False):
    """A token: the contract that defines it and its name there. ``str()`` gives ``ADDRESS.contract::token``."""

    contract: ContractPrincipal
    name: str

    def __post_init__(self) -> None:
        check_clarity_name(self.name)

    def __str__(self) -> str:
        return f"{self.contract}::{self.name}"


def asset(text: str) -> Asset:
    """The asset that ``ADDRESS.contract::token`` names."""
    contract, separator, name = text.partition("::")
    if not separator:
        raise EncodeError(f"expected ADDRESS.contract::token, found {text!r}")
    return Asset(contract_principal(contract), name)


class StxPostCondition(Struct, frozen=True, gc=False):
    """Micro-STX that ``subject`` sends."""

    subject: Subject
    code: AmountCode
    amount: int


class FtPostCondition(Struct, frozen=True, gc=False):
    """Units of a fungible token that ``subject`` sends."""

    subject: Subject
    asset: Asset
    code: AmountCode
    amount: int


class NftPostCondition(Struct, frozen=True, gc=False):
    """Whether ``subject`` sends the token of ``asset`` whose identifier is ``token_id``."""

    subject: Subject
    asset: Asset
    token_id: Value
    code: NftCode


class StakingPostCondition(Struct, frozen=True, gc=False):
    """Micro-STX that ``subject`` stakes (SIP-044)."""

    subject: Subject
    code: AmountCode
    amount: int


class PoxPostCondition(Struct, frozen=True, gc=False):
    """Whether ``subject`` changes proof-of-transfer state that does not lock STX (SIP-044)."""

    subject: Subject
    code: PoxCode


PostCondition: TypeAlias = (
    StxPostCondition | FtPostCondition | NftPostCondition | StakingPostCondition | PoxPostCondition
)

_MODES: Final = {mode.value: mode for mode in PostConditionMode}
_AMOUNT_CODES: Final = {code.value: code for code in AmountCode}
_NFT_CODES: Final = {code.value: code for code in NftCode}
_POX_CODES: Final = {code.value: code for code in PoxCode}


def read_mode(cursor: Cursor) -> PostConditionMode:
    """The mode byte that precedes a transaction's conditions."""
    return cursor.choice(_MODES, "a post-condition mode")


def read_post_condition(cursor: Cursor) -> PostCondition:
    """One condition."""
    start = cursor.at
    kind = cursor.integer(1, "a post-condition type")
    if kind > 4:
        raise DecodeError("a post-condition type of 0 to 4", start, str(kind))
    subject = _read_subject(cursor)
    match kind:
        case 0:
            return StxPostCondition(subject, *_read_amount(cursor))
        case 1:
            return FtPostCondition(subject, _read_asset(cursor), *_read_amount(cursor))
        case 2:
            asset_named, token_id = _read_asset(cursor), cursor.value()
            return NftPostCondition(subject, asset_named, token_id, cursor.choice(_NFT_CODES, "an NFT condition"))
        case 3:
            return StakingPostCondition(subject, *_read_amount(cursor))
        case _:
            return PoxPostCondition(subject, cursor.choice(_POX_CODES, "a PoX condition"))


def write_post_condition(condition: PostCondition, out: bytearray) -> None:
    """Append one condition to ``out``."""
    writer = _WRITERS.get(type(condition))
    if writer is None:
        raise EncodeError(f"not a post-condition: {type(condition).__name__}")
    writer(condition, out)


def _read_subject(cursor: Cursor) -> Subject:
    start = cursor.at
    kind = cursor.integer(1, "a post-condition principal type")
    match kind:
        case 1:
            return ORIGIN
        case 2:
            return cursor.address()
        case 3:
            return cursor.contract()
    raise DecodeError("a post-condition principal type of 1 to 3", start, str(kind))


def _read_asset(cursor: Cursor) -> Asset:
    return Asset(cursor.contract(), cursor.clarity_name())


def _read_amount(cursor: Cursor) -> tuple[AmountCode, int]:
    return cursor.choice(_AMOUNT_CODES, "an amount condition"), cursor.integer(8, "an amount")


def _write_subject(subject: Subject, out: bytearray) -> None:
    match subject:
        case Origin():
            out.append(1)
        case StandardPrincipal():
            out.append(2)
            write_standard_principal(subject, out)
        case ContractPrincipal():
            out.append(3)
            write_contract(subject, out)


def _write_asset(named: Asset, out: bytearray) -> None:
    write_contract(named.contract, out)
    write_name(named.name, out)


def _write_amount(code: AmountCode, amount: int, out: bytearray) -> None:
    out.append(AmountCode(code))
    out += unsigned(amount, 8, "a post-condition amount")


def _write_stx(condition: Any, out: bytearray) -> None:
    out.append(0 if isinstance(condition, StxPostCondition) else 3)
    _write_subject(condition.subject, out)
    _write_amount(condition.code, condition.amount, out)


def _write_ft(condition: Any, out: bytearray) -> None:
    out.append(1)
    _write_subject(condition.subject, out)
    _write_asset(condition.asset, out)
    _write_amount(condition.code, condition.amount, out)


def _write_nft(condition: Any, out: bytearray) -> None:
    out.append(2)
    _write_subject(condition.subject, out)
    _write_asset(condition.asset, out)
    write_value(condition.token_id, out)
    out.append(NftCode(condition.code))


def _write_pox(condition: Any, out: bytearray) -> None:
    out.append(4)
    _write_subject(condition.subject, out)
    out.append(PoxCode(condition.code))


_WRITERS: Final = {
    StxPostCondition: _write_stx,
    FtPostCondition: _write_ft,
    NftPostCondition: _write_nft,
    StakingPostCondition: _write_stx,
    PoxPostCondition: _write_pox,
}
