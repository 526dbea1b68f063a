"""c32check: the text form of Stacks addresses (SIP-005, after Crockford's base 32 with a checksum)."""

import hashlib
from functools import lru_cache

from clarion.chains.stacks.codec_errors import AddressError

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
HASH_LENGTH = 20

# Two digits at a time: half as many steps.
_PAIRS = [first + second for first in ALPHABET for second in ALPHABET]
_PAIR_BITS = 10
_PAIR_MASK = (1 << _PAIR_BITS) - 1
_PAYLOAD_SHIFTS = range(24 * 8 // _PAIR_BITS * _PAIR_BITS, -1, -_PAIR_BITS)
_DIGITS = {character: value for value, character in enumerate(ALPHABET)}
# Crockford reads letters that look like digits as those digits.
_LOOKALIKES = str.maketrans("OIL", "011")


def _checksum(version: int, payload: bytes) -> bytes:
    first = hashlib.sha256(bytes((version,)) + payload).digest()
    return hashlib.sha256(first).digest()[:4]


@lru_cache(maxsize=65_536)
def encode_address(version: int, hash160: bytes) -> str:
    """The address text of a version (0 to 31) and a 20-byte hash, for example ``SP000...``."""
    if not 0 <= version < 32:
        raise AddressError(f"address version must be 0 to 31, found {version}")
    if len(hash160) != HASH_LENGTH:
        raise AddressError(f"address hash must be {HASH_LENGTH} bytes, found {len(hash160)}")
    payload = hash160 + _checksum(version, hash160)
    number = int.from_bytes(payload)
    digits = "".join([_PAIRS[number >> shift & _PAIR_MASK] for shift in _PAYLOAD_SHIFTS]).lstrip("0")
    # A leading zero byte is one leading zero character, whatever the number of bits.
    zeros = len(payload) - len(payload.lstrip(b"\x00"))
    return "S" + ALPHABET[version] + "0" * zeros + digits


@lru_cache(maxsize=65_536)
def decode_address(address: str) -> tuple[int, bytes]:
    """The version and the 20-byte hash of an address text.

    Lower case and Crockford's look-alikes (O, I, L) are read as the digits they stand for. Raises ``AddressError``
    where the text is not an address or its checksum is wrong.
    """
    text = address.upper().translate(_LOOKALIKES)
    if not 8 <= len(text) <= 41 or text[0] != "S":
        raise AddressError(f"not a Stacks address: {address[:60]!r}")
    number = 0
    for character in text[1:]:
        digit = _DIGITS.get(character)
        if digit is None:
            raise AddressError(f"not a Stacks address: {address!r} holds {character!r}")
        number = number * 32 + digit
    version = _DIGITS[text[1]]
    number -= version * 32 ** (len(text) - 2)
    if number >= 1 << 192:
        raise AddressError(f"not a Stacks address: {address!r} is longer than 24 bytes")
    payload = number.to_bytes(24, "big")
    hash160 = payload[:HASH_LENGTH]
    if payload[HASH_LENGTH:] != _checksum(version, hash160):
        raise AddressError(f"checksum of address {address!r} does not match; it may be mistyped")
    if encode_address(version, hash160) != text:
        raise AddressError(f"not a Stacks address: {address!r} has the wrong length")
    return version, hash160
