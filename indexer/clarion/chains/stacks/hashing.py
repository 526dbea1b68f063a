"""The hash functions Stacks uses, with a RIPEMD-160 that does not depend on how OpenSSL was built."""

import hashlib
from collections.abc import Callable

_MASK = 0xFFFFFFFF
# Message word order, rotations and constants of the two lines of RIPEMD-160, from its specification
# (Dobbertin, Bosselaers, Preneel: "RIPEMD-160, a strengthened version of RIPEMD", 1996, appendix A).
_LEFT_WORDS = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    (7, 4, 13, 1, 10, 6, 15, 3, 12, 0, 9, 5, 2, 14, 11, 8),
    (3, 10, 14, 4, 9, 15, 8, 1, 2, 7, 0, 6, 13, 11, 5, 12),
    (1, 9, 11, 10, 0, 8, 12, 4, 13, 3, 7, 15, 14, 5, 6, 2),
    (4, 0, 5, 9, 7, 12, 2, 10, 14, 1, 3, 8, 11, 6, 15, 13),
)
_RIGHT_WORDS = (
    (5, 14, 7, 0, 9, 2, 11, 4, 13, 6, 15, 8, 1, 10, 3, 12),
    (6, 11, 3, 7, 0, 13, 5, 10, 14, 15, 8, 12, 4, 9, 1, 2),
    (15, 5, 1, 3, 7, 14, 6, 9, 11, 8, 12, 2, 10, 0, 4, 13),
    (8, 6, 4, 1, 3, 11, 15, 0, 5, 12, 2, 13, 9, 7, 10, 14),
    (12, 15, 10, 4, 1, 5, 8, 7, 6, 2, 13, 14, 0, 3, 9, 11),
)
_LEFT_SHIFTS = (
    (11, 14, 15, 12, 5, 8, 7, 9, 11, 13, 14, 15, 6, 7, 9, 8),
    (7, 6, 8, 13, 11, 9, 7, 15, 7, 12, 15, 9, 11, 7, 13, 12),
    (11, 13, 6, 7, 14, 9, 13, 15, 14, 8, 13, 6, 5, 12, 7, 5),
    (11, 12, 14, 15, 14, 15, 9, 8, 9, 14, 5, 6, 8, 6, 5, 12),
    (9, 15, 5, 11, 6, 8, 13, 12, 5, 12, 13, 14, 11, 8, 5, 6),
)
_RIGHT_SHIFTS = (
    (8, 9, 9, 11, 13, 15, 15, 5, 7, 7, 8, 11, 14, 14, 12, 6),
    (9, 13, 15, 7, 12, 8, 9, 11, 7, 7, 12, 7, 6, 15, 13, 11),
    (9, 7, 15, 11, 8, 6, 6, 14, 12, 13, 5, 14, 13, 13, 7, 5),
    (15, 5, 8, 11, 14, 14, 6, 14, 6, 9, 12, 9, 12, 5, 15, 8),
    (8, 5, 12, 9, 12, 5, 14, 6, 8, 13, 6, 5, 15, 13, 11, 11),
)
_LEFT_CONSTANTS = (0x00000000, 0x5A827999, 0x6ED9EBA1, 0x8F1BBCDC, 0xA953FD4E)
_RIGHT_CONSTANTS = (0x50A28BE6, 0x5C4DD124, 0x6D703EF3, 0x7A6D76E9, 0x00000000)
_MIXES: tuple[Callable[[int, int, int], int], ...] = (
    lambda x, y, z: x ^ y ^ z,
    lambda x, y, z: (x & y) | (~x & z),
    lambda x, y, z: (x | ~y) ^ z,
    lambda x, y, z: (x & z) | (y & ~z),
    lambda x, y, z: x ^ (y | ~z),
)


def _rotate(word: int, count: int) -> int:
    return ((word << count) | (word >> (32 - count))) & _MASK


def _line(
    state: tuple[int, int, int, int, int],
    block: tuple[int, ...],
    mixes: tuple[Callable[[int, int, int], int], ...],
    words: tuple[tuple[int, ...], ...],
    shifts: tuple[tuple[int, ...], ...],
    constants: tuple[int, ...],
) -> tuple[int, int, int, int, int]:
    a, b, c, d, e = state
    for mix, order, shift, constant in zip(mixes, words, shifts, constants, strict=True):
        for word, count in zip(order, shift, strict=True):
            mixed = (a + mix(b, c, d) + block[word] + constant) & _MASK
            a, b, c, d, e = e, (_rotate(mixed, count) + e) & _MASK, b, _rotate(c, 10), d
    return a, b, c, d, e


def ripemd160_portable(data: bytes) -> bytes:
    """RIPEMD-160 of ``data`` (20 bytes) without OpenSSL, whose newer builds may leave it out."""
    padded = data + b"\x80" + b"\x00" * ((55 - len(data)) % 64) + (8 * len(data)).to_bytes(8, "little")
    state = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0)
    for start in range(0, len(padded), 64):
        block = tuple(int.from_bytes(padded[at : at + 4], "little") for at in range(start, start + 64, 4))
        left = _line(state, block, _MIXES, _LEFT_WORDS, _LEFT_SHIFTS, _LEFT_CONSTANTS)
        right = _line(state, block, _MIXES[::-1], _RIGHT_WORDS, _RIGHT_SHIFTS, _RIGHT_CONSTANTS)
        state = (
            (state[1] + left[2] + right[3]) & _MASK,
            (state[2] + left[3] + right[4]) & _MASK,
            (state[3] + left[4] + right[0]) & _MASK,
            (state[4] + left[0] + right[1]) & _MASK,
            (state[0] + left[1] + right[2]) & _MASK,
        )
    return b"".join(word.to_bytes(4, "little") for word in state)


def _ripemd160_openssl(data: bytes) -> bytes:
    return hashlib.new("ripemd160", data).digest()


def choose_ripemd160() -> Callable[[bytes], bytes]:
    """The fastest RIPEMD-160 that works here: OpenSSL's, or the portable one where OpenSSL lacks it."""
    try:
        _ripemd160_openssl(b"")
    except ValueError:
        return ripemd160_portable
    return _ripemd160_openssl


ripemd160 = choose_ripemd160()


def hash160(data: bytes) -> bytes:
    """RIPEMD-160 of SHA-256 (20 bytes): what an address commits to."""
    return ripemd160(hashlib.sha256(data).digest())


def sha512_256(data: bytes) -> bytes:
    """SHA-512/256 (32 bytes): transaction ids and signature hashes (SIP-005)."""
    return hashlib.new("sha512_256", data).digest()


def index_block_hash(block_hash: bytes, consensus_hash: bytes) -> bytes:
    """A block's id: SHA-512/256 of its header's hash and of the consensus hash of its tenure.

    Source: stacks-core, ``StacksBlockId::new``.
    """
    return sha512_256(block_hash + consensus_hash)
