"""What a transaction does: one frozen type per payload kind (SIP-005, SIP-015, SIP-021, SIP-034)."""

import re
from enum import IntEnum
from typing import Any, ClassVar, Final, TypeAlias

from msgspec import Struct

from clarion.chains.stacks.clarity import (
    NONE,
    ContractPrincipal,
    OptionalNone,
    Principal,
    Some,
    StandardPrincipal,
    Value,
    check_clarity_name,
    check_contract_name,
    write_name,
    write_value,
)
from clarion.chains.stacks.codec_errors import DecodeError, EncodeError
from clarion.chains.stacks.wire import MAX_CONTRACT_NAME_BYTES, Cursor, fixed, unsigned, write_contract

MEMO_LENGTH: Final = 34
COINBASE_LENGTH: Final = 32
VRF_PROOF_LENGTH: Final = 80
MAX_CLARITY_VERSION: Final = 6

_NOT_SOURCE = re.compile(rb"[^\t\n\x20-\x7e]")


class TokenTransfer(Struct, frozen=True, gc=False):
    """Send ``amount`` micro-STX. ``memo`` is 34 bytes, zero-padded; see ``memo_bytes``."""

    kind: ClassVar[str] = "token_transfer"

    recipient: Principal
    amount: int
    memo: bytes = bytes(MEMO_LENGTH)


class ContractCall(Struct, frozen=True, gc=False):
    """Call a public function."""

    kind: ClassVar[str] = "contract_call"

    contract: ContractPrincipal
    function: str
    arguments: tuple[Value, ...]


class SmartContract(Struct, frozen=True, gc=False):
    """Deploy a contract. ``clarity_version`` is None in the older form, which takes the epoch's default version."""

    kind: ClassVar[str] = "smart_contract"

    name: str
    source: str
    clarity_version: int | None = None


class MicroblockHeader(Struct, frozen=True, gc=False):
    """The header of a microblock, as a poison-microblock transaction reports it."""

    version: int
    sequence: int
    previous_block: bytes
    merkle_root: bytes
    signature: bytes


class PoisonMicroblock(Struct, frozen=True, gc=False):
    """Proof that a miner signed two conflicting microblocks (before epoch 2.5)."""

    kind: ClassVar[str] = "poison_microblock"

    first: MicroblockHeader
    second: MicroblockHeader


class Coinbase(Struct, frozen=True, gc=False):
    """The miner's reward, to the miner. ``data`` is 32 bytes."""

    kind: ClassVar[str] = "coinbase"

    data: bytes


class CoinbaseToAltRecipient(Struct, frozen=True, gc=False):
    """The miner's reward, to someone else."""

    kind: ClassVar[str] = "coinbase_to_alt_recipient"

    data: bytes
    recipient: Principal


class NakamotoCoinbase(Struct, frozen=True, gc=False):
    """The miner's reward since Nakamoto; ``recipient`` None means the miner. ``vrf_proof`` is 80 bytes."""

    kind: ClassVar[str] = "nakamoto_coinbase"

    data: bytes
    recipient: Principal | None
    vrf_proof: bytes


class TenureChangeCause(IntEnum):
    """Why a tenure began or was extended (SIP-021, SIP-034)."""

    BLOCK_FOUND = 0
    EXTENDED = 1
    EXTENDED_RUNTIME = 2
    EXTENDED_READ_COUNT = 3
    EXTENDED_READ_LENGTH = 4
    EXTENDED_WRITE_COUNT = 5
    EXTENDED_WRITE_LENGTH = 6


class TenureChange(Struct, frozen=True, gc=False):
    """The start or extension of a miner's tenure. The three consensus hashes and the key hash are 20 bytes."""

    kind: ClassVar[str] = "tenure_change"

    tenure_consensus_hash: bytes
    previous_tenure_consensus_hash: bytes
    burn_view_consensus_hash: bytes
    previous_tenure_end: bytes
    previous_tenure_blocks: int
    cause: TenureChangeCause
    public_key_hash: bytes


Payload: TypeAlias = (
    TokenTransfer
    | ContractCall
    | SmartContract
    | PoisonMicroblock
    | Coinbase
    | CoinbaseToAltRecipient
    | NakamotoCoinbase
    | TenureChange
)

_CAUSES: Final = {cause.value: cause for cause in TenureChangeCause}


def memo_bytes(memo: str | bytes) -> bytes:
    """A memo padded with zeros to 34 bytes. Raises ``EncodeError`` where it is longer."""
    raw = memo.encode() if isinstance(memo, str) else memo
    if len(raw) > MEMO_LENGTH:
        raise EncodeError(f"a memo has at most {MEMO_LENGTH} bytes, found {len(raw)}")
    return raw.ljust(MEMO_LENGTH, b"\x00")


def read_payload(cursor: Cursor) -> Payload:
    """The payload of a transaction."""
    start = cursor.at
    kind = cursor.integer(1, "a payload type")
    if kind >= len(_READERS):
        raise DecodeError(f"a payload type of 0 to {len(_READERS) - 1}", start, str(kind))
    return _READERS[kind](cursor)


def write_payload(payload: Payload, out: bytearray) -> None:
    """Append the payload of a transaction to ``out``."""
    writer = _WRITERS.get(type(payload))
    if writer is None:
        raise EncodeError(f"not a payload: {type(payload).__name__}")
    writer(payload, out)


def encode_payload(payload: Payload) -> bytes:
    """The wire bytes of a payload alone, which nodes estimate fees for."""
    out = bytearray()
    write_payload(payload, out)
    return bytes(out)


def _read_transfer(cursor: Cursor) -> Payload:
    return TokenTransfer(cursor.principal(), cursor.integer(8, "an amount"), cursor.take(MEMO_LENGTH, "a memo"))


def _read_call(cursor: Cursor) -> Payload:
    contract, function = cursor.contract(), cursor.clarity_name()
    return ContractCall(contract, function, tuple([cursor.value() for _ in range(cursor.count("arguments"))]))


def _read_source(cursor: Cursor) -> str:
    length = cursor.integer(4, "the length of a contract's source")
    start = cursor.at
    raw = cursor.take(length, "a contract's source")
    wrong = _NOT_SOURCE.search(raw)
    if wrong:
        raise DecodeError("printable ASCII, tab or newline", start + wrong.start(), f"0x{wrong.group().hex()}")
    return raw.decode("ascii")


def _read_contract(cursor: Cursor) -> Payload:
    return SmartContract(cursor.contract_name(), _read_source(cursor))


def _read_versioned_contract(cursor: Cursor) -> Payload:
    start = cursor.at
    version = cursor.integer(1, "a Clarity version")
    if not 1 <= version <= MAX_CLARITY_VERSION:
        raise DecodeError(f"a Clarity version of 1 to {MAX_CLARITY_VERSION}", start, str(version))
    return SmartContract(cursor.contract_name(), _read_source(cursor), version)


def _read_header(cursor: Cursor) -> MicroblockHeader:
    return MicroblockHeader(
        cursor.integer(1, "a microblock version"),
        cursor.integer(2, "a microblock sequence"),
        cursor.take(32, "a previous block hash"),
        cursor.take(32, "a Merkle root"),
        cursor.take(65, "a signature"),
    )


def _read_poison(cursor: Cursor) -> Payload:
    return PoisonMicroblock(_read_header(cursor), _read_header(cursor))


def _read_coinbase(cursor: Cursor) -> Payload:
    return Coinbase(cursor.take(COINBASE_LENGTH, "coinbase data"))


def _read_coinbase_to_alt(cursor: Cursor) -> Payload:
    return CoinbaseToAltRecipient(cursor.take(COINBASE_LENGTH, "coinbase data"), cursor.principal())


def _read_nakamoto_coinbase(cursor: Cursor) -> Payload:
    data = cursor.take(COINBASE_LENGTH, "coinbase data")
    start = cursor.at
    value = cursor.value()
    recipient: Principal | None
    if isinstance(value, OptionalNone):
        recipient = None
    elif isinstance(value, Some) and isinstance(value.value, StandardPrincipal | ContractPrincipal):
        recipient = value.value
    else:
        raise DecodeError("an optional principal", start, type(value).__name__)
    return NakamotoCoinbase(data, recipient, cursor.take(VRF_PROOF_LENGTH, "a VRF proof"))


def _read_tenure_change(cursor: Cursor) -> Payload:
    return TenureChange(
        cursor.take(20, "a tenure consensus hash"),
        cursor.take(20, "a previous tenure consensus hash"),
        cursor.take(20, "a burn view consensus hash"),
        cursor.take(32, "the id of the previous tenure's last block"),
        cursor.integer(4, "a number of blocks"),
        cursor.choice(_CAUSES, "a tenure change cause"),
        cursor.take(20, "a public key hash"),
    )


_READERS: Final = (
    _read_transfer,
    _read_contract,
    _read_call,
    _read_poison,
    _read_coinbase,
    _read_coinbase_to_alt,
    _read_versioned_contract,
    _read_tenure_change,
    _read_nakamoto_coinbase,
)


def _write_transfer(payload: Any, out: bytearray) -> None:
    out.append(0)
    if not isinstance(payload.recipient, StandardPrincipal | ContractPrincipal):
        raise EncodeError(f"a transfer goes to a principal, found {type(payload.recipient).__name__}")
    write_value(payload.recipient, out)
    out += unsigned(payload.amount, 8, "an amount of micro-STX")
    out += fixed(payload.memo, MEMO_LENGTH, "a memo")


def _write_call(payload: Any, out: bytearray) -> None:
    out.append(2)
    write_contract(payload.contract, out)
    write_name(check_clarity_name(payload.function), out)
    out += unsigned(len(payload.arguments), 4, "a count of arguments")
    for argument in payload.arguments:
        write_value(argument, out)


def _write_contract(payload: Any, out: bytearray) -> None:
    if payload.clarity_version is None:
        out.append(1)
    else:
        out.append(6)
        if not 1 <= payload.clarity_version <= MAX_CLARITY_VERSION:
            raise EncodeError(f"a Clarity version is 1 to {MAX_CLARITY_VERSION}, found {payload.clarity_version}")
        out.append(payload.clarity_version)
    if len(payload.name) > MAX_CONTRACT_NAME_BYTES:
        raise EncodeError(f"a contract name has at most {MAX_CONTRACT_NAME_BYTES} characters: {payload.name!r}")
    write_name(check_contract_name(payload.name), out)
    raw = payload.source.encode("utf-8", "surrogatepass")
    wrong = _NOT_SOURCE.search(raw)
    if wrong:
        line = raw.count(b"\n", 0, wrong.start()) + 1
        raise EncodeError(f"a contract's source is printable ASCII, tabs and newlines: line {line} holds another byte")
    out += unsigned(len(raw), 4, "the length of a contract's source")
    out += raw


def _write_header(header: MicroblockHeader, out: bytearray) -> None:
    out += unsigned(header.version, 1, "a microblock version")
    out += unsigned(header.sequence, 2, "a microblock sequence")
    out += fixed(header.previous_block, 32, "a previous block hash")
    out += fixed(header.merkle_root, 32, "a Merkle root")
    out += fixed(header.signature, 65, "a signature")


def _write_poison(payload: Any, out: bytearray) -> None:
    out.append(3)
    _write_header(payload.first, out)
    _write_header(payload.second, out)


def _write_coinbase(payload: Any, out: bytearray) -> None:
    out.append(4)
    out += fixed(payload.data, COINBASE_LENGTH, "coinbase data")


def _write_coinbase_to_alt(payload: Any, out: bytearray) -> None:
    out.append(5)
    out += fixed(payload.data, COINBASE_LENGTH, "coinbase data")
    write_value(payload.recipient, out)


def _write_nakamoto_coinbase(payload: Any, out: bytearray) -> None:
    out.append(8)
    out += fixed(payload.data, COINBASE_LENGTH, "coinbase data")
    write_value(NONE if payload.recipient is None else Some(payload.recipient), out)
    out += fixed(payload.vrf_proof, VRF_PROOF_LENGTH, "a VRF proof")


def _write_tenure_change(payload: Any, out: bytearray) -> None:
    out.append(7)
    out += fixed(payload.tenure_consensus_hash, 20, "a tenure consensus hash")
    out += fixed(payload.previous_tenure_consensus_hash, 20, "a previous tenure consensus hash")
    out += fixed(payload.burn_view_consensus_hash, 20, "a burn view consensus hash")
    out += fixed(payload.previous_tenure_end, 32, "the id of the previous tenure's last block")
    out += unsigned(payload.previous_tenure_blocks, 4, "a number of blocks")
    out.append(payload.cause)
    out += fixed(payload.public_key_hash, 20, "a public key hash")


_WRITERS: Final = {
    TokenTransfer: _write_transfer,
    ContractCall: _write_call,
    SmartContract: _write_contract,
    PoisonMicroblock: _write_poison,
    Coinbase: _write_coinbase,
    CoinbaseToAltRecipient: _write_coinbase_to_alt,
    NakamotoCoinbase: _write_nakamoto_coinbase,
    TenureChange: _write_tenure_change,
}
