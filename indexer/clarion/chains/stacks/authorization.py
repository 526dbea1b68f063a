"""Who pays for and signs a transaction: spending conditions, single- and multi-signature (SIP-005, SIP-027).

Decoding checks the format only. Whether the signatures were made by the signer, and whether there are enough of them,
is for ``signing.verify``: a transaction that is still being signed is well-formed.
"""

from enum import IntEnum
from typing import Final, TypeAlias

from msgspec import Struct

from clarion.chains.stacks.codec_errors import DecodeError, EncodeError
from clarion.chains.stacks.wire import Cursor, fixed, unsigned

SIGNATURE_LENGTH: Final = 65
"""Recovery id, R and S: 1 + 32 + 32 bytes."""
EMPTY_SIGNATURE: Final = bytes(SIGNATURE_LENGTH)


class HashMode(IntEnum):
    """How the signer's 20-byte hash is made from its keys."""

    P2PKH = 0x00
    P2SH = 0x01
    P2WPKH_P2SH = 0x02
    P2WSH_P2SH = 0x03
    P2SH_NON_SEQUENTIAL = 0x05
    P2WSH_P2SH_NON_SEQUENTIAL = 0x07

    @property
    def is_multisig(self) -> bool:
        """Several keys, written out as authorization fields."""
        return self not in (HashMode.P2PKH, HashMode.P2WPKH_P2SH)

    @property
    def is_sequential(self) -> bool:
        """Each signature covers the one before it, so signers sign in the order of their keys."""
        return self in (HashMode.P2SH, HashMode.P2WSH_P2SH)

    @property
    def is_segwit(self) -> bool:
        """Only compressed keys are allowed."""
        return self in (HashMode.P2WPKH_P2SH, HashMode.P2WSH_P2SH, HashMode.P2WSH_P2SH_NON_SEQUENTIAL)


class KeyEncoding(IntEnum):
    """How a public key is written where it is hashed."""

    COMPRESSED = 0x00
    UNCOMPRESSED = 0x01


class AuthType(IntEnum):
    """Who pays the fee."""

    STANDARD = 0x04
    SPONSORED = 0x05


class SingleSig(Struct, frozen=True, gc=False):
    """One key. ``fee`` in micro-STX; ``signature`` is recovery id, R, S (all zero: not signed yet)."""

    hash_mode: HashMode
    signer: bytes
    nonce: int
    fee: int
    key_encoding: KeyEncoding = KeyEncoding.COMPRESSED
    signature: bytes = EMPTY_SIGNATURE


class SignatureField(Struct, frozen=True, gc=False):
    """A signature by the key in this place."""

    key_encoding: KeyEncoding
    signature: bytes


class PublicKeyField(Struct, frozen=True, gc=False):
    """The key in this place, which has not signed: always 33 bytes; ``key_encoding`` is how it is hashed."""

    key_encoding: KeyEncoding
    public_key: bytes


AuthField: TypeAlias = SignatureField | PublicKeyField


class MultiSig(Struct, frozen=True, gc=False):
    """Several keys, of which ``signatures_required`` must sign; one field for each key, in the address's order."""

    hash_mode: HashMode
    signer: bytes
    nonce: int
    fee: int
    fields: tuple[AuthField, ...]
    signatures_required: int


SpendingCondition: TypeAlias = SingleSig | MultiSig


class Authorization(Struct, frozen=True, gc=False):
    """The origin, and the sponsor if someone else pays the fee."""

    origin: SpendingCondition
    sponsor: SpendingCondition | None = None

    @property
    def auth_type(self) -> AuthType:
        """Standard or sponsored."""
        return AuthType.STANDARD if self.sponsor is None else AuthType.SPONSORED


_HASH_MODES: Final = {mode.value: mode for mode in HashMode}
_KEY_ENCODINGS: Final = {encoding.value: encoding for encoding in KeyEncoding}
_AUTH_TYPES: Final = {kind.value: kind for kind in AuthType}


def read_authorization(cursor: Cursor) -> Authorization:
    """The authorization of a transaction."""
    kind = cursor.choice(_AUTH_TYPES, "an authorization type")
    origin = _read_condition(cursor)
    return Authorization(origin, _read_condition(cursor) if kind is AuthType.SPONSORED else None)


def write_authorization(authorization: Authorization, out: bytearray) -> None:
    """Append the authorization of a transaction to ``out``."""
    out.append(authorization.auth_type)
    _write_condition(authorization.origin, out)
    if authorization.sponsor is not None:
        _write_condition(authorization.sponsor, out)


def _read_condition(cursor: Cursor) -> SpendingCondition:
    start = cursor.at
    mode = cursor.choice(_HASH_MODES, "a hash mode")
    signer = cursor.take(20, "a signer hash")
    nonce = cursor.integer(8, "a nonce")
    fee = cursor.integer(8, "a fee")
    if not mode.is_multisig:
        encoding = cursor.choice(_KEY_ENCODINGS, "a key encoding")
        if mode.is_segwit and encoding is not KeyEncoding.COMPRESSED:
            raise DecodeError("a compressed key in a segwit hash mode", cursor.at - 1, "an uncompressed one")
        return SingleSig(mode, signer, nonce, fee, encoding, cursor.take(SIGNATURE_LENGTH, "a signature"))
    fields = tuple([_read_field(cursor) for _ in range(cursor.count("authorization fields"))])
    required = cursor.integer(2, "a number of required signatures")
    if mode.is_segwit and any(field.key_encoding is not KeyEncoding.COMPRESSED for field in fields):
        raise DecodeError("compressed keys in a segwit hash mode", start, "an uncompressed one")
    return MultiSig(mode, signer, nonce, fee, fields, required)


def _read_field(cursor: Cursor) -> AuthField:
    start = cursor.at
    kind = cursor.integer(1, "an authorization field type")
    if kind > 3:
        raise DecodeError("an authorization field type of 0 to 3", start, str(kind))
    encoding = KeyEncoding.COMPRESSED if kind in (0, 2) else KeyEncoding.UNCOMPRESSED
    if kind >= 2:
        return SignatureField(encoding, cursor.take(SIGNATURE_LENGTH, "a signature"))
    key = cursor.take(33, "a public key")
    if key[0] not in (2, 3):
        raise DecodeError("a public key that begins with 0x02 or 0x03", start + 1, f"0x{key[0]:02x}")
    return PublicKeyField(encoding, key)


def _write_condition(condition: SpendingCondition, out: bytearray) -> None:
    if condition.hash_mode.is_multisig is not isinstance(condition, MultiSig):
        raise EncodeError(f"{type(condition).__name__} cannot have the hash mode {condition.hash_mode.name}")
    out.append(condition.hash_mode)
    out += fixed(condition.signer, 20, "a signer hash")
    out += unsigned(condition.nonce, 8, "a nonce")
    out += unsigned(condition.fee, 8, "a fee")
    if isinstance(condition, SingleSig):
        out.append(condition.key_encoding)
        out += fixed(condition.signature, SIGNATURE_LENGTH, "a signature")
        return
    out += unsigned(len(condition.fields), 4, "a count of authorization fields")
    for field in condition.fields:
        if isinstance(field, SignatureField):
            out.append(2 + field.key_encoding)
            out += fixed(field.signature, SIGNATURE_LENGTH, "a signature")
        else:
            out.append(field.key_encoding)
            out += fixed(field.public_key, 33, "a public key")
    out += unsigned(condition.signatures_required, 2, "a number of required signatures")
