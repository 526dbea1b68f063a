"""secp256k1 keys, the signatures Stacks uses, and the address hashes keys make (SIP-005).

A private key never shows itself: not in ``repr``, errors or pickles.
"""

import hashlib
from collections.abc import Sequence
from typing import Final, NoReturn

import coincurve

from clarion.chains.stacks.authorization import SIGNATURE_LENGTH, HashMode, KeyEncoding
from clarion.chains.stacks.clarity import StandardPrincipal
from clarion.chains.stacks.codec_errors import SignatureError
from clarion.chains.stacks.hashing import hash160
from clarion.chains.stacks.networks import Network

MAX_MULTISIG_KEYS: Final = 15
_CURVE_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


class PrivateKey:
    """A private key, which also says whether its public key is hashed compressed (33 bytes) or not (65)."""

    __slots__ = ("_secret", "key_encoding")

    def __init__(self, raw: bytes) -> None:
        """``raw`` is 32 bytes (uncompressed public key) or 33 ending in 01 (compressed), as Stacks wallets export."""
        if len(raw) == 33 and raw[32] == 1:
            self.key_encoding = KeyEncoding.COMPRESSED
        elif len(raw) == 32:
            self.key_encoding = KeyEncoding.UNCOMPRESSED
        else:
            raise SignatureError(f"a private key is 32 bytes, or 33 of which the last is 01; found {len(raw)} bytes")
        if not 0 < int.from_bytes(raw[:32], "big") < _CURVE_ORDER:
            raise SignatureError("a private key is greater than 0 and less than the order of secp256k1")
        self._secret = coincurve.PrivateKey(raw[:32])

    @classmethod
    def from_hex(cls, text: str) -> "PrivateKey":
        """A key of 64 hexadecimal digits, or 66 ending in 01, with or without ``0x``."""
        try:
            raw = bytes.fromhex(text.removeprefix("0x"))
        except ValueError:
            raise SignatureError("a private key is 64 hexadecimal digits, or 66 ending in 01") from None
        return cls(raw)

    @property
    def public_key(self) -> bytes:
        """The public key as it is hashed: 33 or 65 bytes."""
        return self._secret.public_key.format(compressed=self.key_encoding is KeyEncoding.COMPRESSED)

    def address(self, network: Network) -> StandardPrincipal:
        """The key's single-signature (P2PKH) address."""
        return address_of_public_key(self.public_key, network)

    def sign_digest(self, digest: bytes) -> bytes:
        """A deterministic (RFC 6979) low-S signature of a 32-byte digest: recovery id, R, S."""
        signature = self._secret.sign_recoverable(digest, hasher=None)
        return signature[64:] + signature[:64]

    def __repr__(self) -> str:
        return "PrivateKey(hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a private key is not pickled")


def recover_public_key(digest: bytes, signature: bytes, key_encoding: KeyEncoding) -> bytes:
    """The public key that made ``signature`` (recovery id, R, S) over a 32-byte digest, 33 or 65 bytes.

    Raises ``SignatureError`` where the signature is malformed, has a high S (nodes refuse those) or no key fits.
    """
    if len(signature) != SIGNATURE_LENGTH:
        raise SignatureError(f"a signature is {SIGNATURE_LENGTH} bytes, found {len(signature)}")
    if signature[0] > 3:
        raise SignatureError(f"a recovery id is 0 to 3, found {signature[0]}")
    if int.from_bytes(signature[33:], "big") > _CURVE_ORDER // 2:
        raise SignatureError("the signature has a high S")
    try:
        key = coincurve.PublicKey.from_signature_and_message(signature[1:] + signature[:1], digest, hasher=None)
    except Exception as error:  # coincurve raises plain Exception where no point fits
        raise SignatureError(f"no public key fits the signature: {error}") from None
    return key.format(compressed=key_encoding is KeyEncoding.COMPRESSED)


def format_public_key(key: bytes, key_encoding: KeyEncoding) -> bytes:
    """A public key of 33 or 65 bytes, written compressed or uncompressed. Raises ``SignatureError``."""
    try:
        return coincurve.PublicKey(key).format(compressed=key_encoding is KeyEncoding.COMPRESSED)
    except ValueError as error:
        raise SignatureError(f"not a public key: {error}") from None


def encoding_of_public_key(key: bytes) -> KeyEncoding:
    """How a public key is written, by its length."""
    if len(key) == 33 and key[0] in (2, 3):
        return KeyEncoding.COMPRESSED
    if len(key) == 65 and key[0] == 4:
        return KeyEncoding.UNCOMPRESSED
    raise SignatureError(f"a public key is 33 bytes from 02 or 03, or 65 from 04; found {len(key)} bytes")


def address_of_public_key(public_key: bytes, network: Network) -> StandardPrincipal:
    """The single-signature (P2PKH) address of a public key."""
    return StandardPrincipal(network.single_sig_version, signer_hash(HashMode.P2PKH, (public_key,), 1))


def address_of_public_keys(
    public_keys: Sequence[bytes], signatures_required: int, network: Network, hash_mode: HashMode = HashMode.P2SH
) -> StandardPrincipal:
    """The address that ``signatures_required`` of ``public_keys``, in this order, can sign for."""
    return StandardPrincipal(network.multi_sig_version, signer_hash(hash_mode, public_keys, signatures_required))


def signer_hash(hash_mode: HashMode, public_keys: Sequence[bytes], signatures_required: int) -> bytes:
    """The 20 bytes that an address and a spending condition commit to, for each of the hash modes of SIP-005.

    Raises ``SignatureError`` for keys the mode does not allow.
    """
    encodings = [encoding_of_public_key(key) for key in public_keys]
    if hash_mode.is_segwit and KeyEncoding.UNCOMPRESSED in encodings:
        raise SignatureError(f"{hash_mode.name} takes compressed keys only")
    if not hash_mode.is_multisig:
        if len(public_keys) != 1 or signatures_required != 1:
            raise SignatureError(f"{hash_mode.name} takes one key, found {len(public_keys)}")
        key_hash = hash160(public_keys[0])
        return key_hash if hash_mode is HashMode.P2PKH else hash160(b"\x00\x14" + key_hash)
    if not 1 <= signatures_required <= len(public_keys) <= MAX_MULTISIG_KEYS:
        raise SignatureError(
            f"multisig takes 1 to {MAX_MULTISIG_KEYS} keys and no more signatures than keys, "
            f"found {signatures_required} of {len(public_keys)}"
        )
    script = bytearray((0x50 + signatures_required,))
    for key in public_keys:
        script.append(len(key))
        script += key
    script += bytes((0x50 + len(public_keys), 0xAE))
    if hash_mode.is_segwit:
        return hash160(b"\x00\x20" + hashlib.sha256(script).digest())
    return hash160(bytes(script))
