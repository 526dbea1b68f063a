"""Signed messages: plain text, and structured data that contracts can check too (SIP-018).

Signatures here are R, S, recovery id (65 bytes), the order Clarity's ``secp256k1-recover?`` takes; transactions carry
the recovery id first.
"""

import hashlib
from typing import Final

from clarion.chains.stacks.authorization import SIGNATURE_LENGTH, KeyEncoding
from clarion.chains.stacks.clarity import StandardPrincipal, StringAscii, Tuple, UInt, Value, encode, principal
from clarion.chains.stacks.codec_errors import CodecError, EncodeError, SignatureError
from clarion.chains.stacks.hashing import hash160
from clarion.chains.stacks.keys import PrivateKey, address_of_public_key, format_public_key, recover_public_key
from clarion.chains.stacks.networks import Network

MESSAGE_PREFIX: Final = b"\x17Stacks Signed Message:\n"
STRUCTURED_DATA_PREFIX: Final = b"SIP018"


def hash_message(message: str | bytes) -> bytes:
    """The 32 bytes a wallet signs for a text message: SHA-256 of prefix, length and text."""
    raw = message.encode() if isinstance(message, str) else message
    return hashlib.sha256(MESSAGE_PREFIX + _compact_size(len(raw)) + raw).digest()


def sign_message(message: str | bytes, key: PrivateKey) -> bytes:
    """The signature of a text message (R, S, recovery id)."""
    return _sign(hash_message(message), key)


def recover_message_signer(message: str | bytes, signature: bytes, network: Network) -> StandardPrincipal:
    """The address whose (compressed) key signed a text message. Raises ``SignatureError``."""
    return address_of_public_key(_recover(hash_message(message), signature), network)


def verify_message(message: str | bytes, signature: bytes, address: str) -> bool:
    """Whether the single-key account at ``address`` signed the text message."""
    return _signed_by(hash_message(message), signature, address)


def structured_data_domain(name: str, version: str, chain_id: int) -> Tuple:
    """The domain that binds a structured message to an application, its version and a chain."""
    return Tuple({"name": StringAscii(name), "version": StringAscii(version), "chain-id": UInt(chain_id)})


def hash_structured_data(domain: Tuple, message: Value) -> bytes:
    """The 32 bytes a wallet signs for a structured message. Raises ``EncodeError`` where the domain lacks a key."""
    for key, kind in (("name", StringAscii), ("version", StringAscii), ("chain-id", UInt)):
        if not isinstance(domain.fields.get(key), kind):
            raise EncodeError(f"the domain needs {key!r} as {kind.__name__}")
    hashes = (hashlib.sha256(encode(value)).digest() for value in (domain, message))
    return hashlib.sha256(STRUCTURED_DATA_PREFIX + b"".join(hashes)).digest()


def sign_structured_data(domain: Tuple, message: Value, key: PrivateKey) -> bytes:
    """The signature of a structured message (R, S, recovery id)."""
    return _sign(hash_structured_data(domain, message), key)


def recover_structured_data_signer(
    domain: Tuple, message: Value, signature: bytes, network: Network
) -> StandardPrincipal:
    """The address whose (compressed) key signed a structured message. Raises ``SignatureError``."""
    return address_of_public_key(_recover(hash_structured_data(domain, message), signature), network)


def verify_structured_data(domain: Tuple, message: Value, signature: bytes, address: str) -> bool:
    """Whether the single-key account at ``address`` signed the structured message."""
    return _signed_by(hash_structured_data(domain, message), signature, address)


def _compact_size(length: int) -> bytes:
    """Bitcoin's variable-length integer."""
    if length < 0xFD:
        return bytes((length,))
    if length <= 0xFFFF:
        return b"\xfd" + length.to_bytes(2, "little")
    return b"\xfe" + length.to_bytes(4, "little")


def _sign(digest: bytes, key: PrivateKey) -> bytes:
    signature = key.sign_digest(digest)
    return signature[1:] + signature[:1]


def _recover(digest: bytes, signature: bytes) -> bytes:
    if len(signature) != SIGNATURE_LENGTH:
        raise SignatureError(f"a signature is {SIGNATURE_LENGTH} bytes, found {len(signature)}")
    return recover_public_key(digest, signature[-1:] + signature[:-1], KeyEncoding.COMPRESSED)


def _signed_by(digest: bytes, signature: bytes, address: str) -> bool:
    try:
        account = principal(address)
        public_key = _recover(digest, signature)
    except CodecError:
        return False
    if not isinstance(account, StandardPrincipal):
        return False
    # The signature does not say how the account hashes its key.
    return any(hash160(format_public_key(public_key, encoding)) == account.hash160 for encoding in KeyEncoding)
