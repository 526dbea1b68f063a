"""Addresses: the text forms of the scripts that have one (base58check, bech32 of BIP 173, bech32m of BIP 350)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from clarion.chains.bitcoin.networks import BitcoinNetwork

_BECH32: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_GENERATORS: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_BECH32_CHECK: Final = 1
_BECH32M_CHECK: Final = 0x2BC830A3
_CHECK_SYMBOLS: Final = 6
_LEAST_PROGRAM_BYTES: Final = 4
_MOST_SCRIPT_BYTES: Final = 42
"""Of a script that has an address: the longest witness program has 40 bytes (BIP 141)."""


class AddressError(ValueError):
    """Text that is no address of the network."""


def address_of(script: bytes, network: BitcoinNetwork) -> str | None:
    """The address that stands for a locking script on a network; None for a script that has none.

    P2PKH, P2SH and every witness program that can be spent by a rule of its own or of a later fork (versions 0 to 16)
    have one; bare keys, bare multisig and ``OP_RETURN`` have none.
    """
    return _address(script, network) if len(script) <= _MOST_SCRIPT_BYTES else None


@lru_cache(maxsize=65_536)
def _address(script: bytes, network: BitcoinNetwork) -> str | None:
    """Of a short script: a block may hold megabytes of others, and what is asked for is kept."""
    constants, length = network.constants, len(script)
    if length == 25 and script.startswith(b"\x76\xa9\x14") and script.endswith(b"\x88\xac"):
        return base58check(constants.key_hash_version, script[3:23])
    if length == 23 and script.startswith(b"\xa9\x14") and script.endswith(b"\x87"):
        return base58check(constants.script_hash_version, script[2:22])
    if length < _LEAST_PROGRAM_BYTES or script[1] != length - 2:
        return None
    version = 0 if script[0] == 0 else script[0] - 0x50
    if not 0 <= version <= 16 or (version == 0 and length not in (22, 34)):
        return None
    return _segwit(constants.segwit_prefix, version, script[2:])


def script_of(address: str, network: BitcoinNetwork) -> bytes:
    """The locking script that an address stands for. Raises AddressError, also for an address of another network."""
    constants = network.constants
    if address.lower().startswith(f"{constants.segwit_prefix}1"):
        version, program = _read_segwit(address, constants.segwit_prefix)
        return bytes((version + 0x50 if version else 0, len(program))) + program
    first, payload = _read_base58check(address)
    if first == constants.key_hash_version:
        return b"\x76\xa9\x14" + payload + b"\x88\xac"
    if first == constants.script_hash_version:
        return b"\xa9\x14" + payload + b"\x87"
    raise AddressError(f"{address!r} is no address of {network}")


def base58check(version: int, payload: bytes) -> str:
    """Bytes after a version byte, with a checksum, as base58 text."""
    data = bytes((version,)) + payload
    data += _checksum(data)
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = _BASE58[digit] + text
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + text


def _read_base58check(text: str) -> tuple[int, bytes]:
    number = 0
    for character in text:
        digit = _BASE58.find(character)
        if digit < 0:
            raise AddressError(f"{text!r} is no address: {character!r} is no character of one")
        number = number * 58 + digit
    if number >> 200:
        raise AddressError(f"{text!r} is no address: it is too long")
    data = number.to_bytes(25, "big")
    if base58check(data[0], data[1:21]) != text:
        raise AddressError(f"{text!r} is no address: its checksum is wrong")
    return data[0], data[1:21]


def _checksum(data: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()[:4]


def _segwit(prefix: str, version: int, program: bytes) -> str:
    symbols = [version, *_regroup(program, 8, 5, padded=True)]
    check = _polymod([*_expanded(prefix), *symbols, *[0] * _CHECK_SYMBOLS]) ^ _check_of(version)
    symbols += [(check >> 5 * (_CHECK_SYMBOLS - 1 - place)) & 31 for place in range(_CHECK_SYMBOLS)]
    return f"{prefix}1" + "".join(_BECH32[symbol] for symbol in symbols)


def _read_segwit(address: str, prefix: str) -> tuple[int, bytes]:
    if address != address.lower() and address != address.upper():
        raise AddressError(f"{address!r} is no address: it mixes upper and lower case")
    symbols = [_BECH32.find(character) for character in address.lower()[len(prefix) + 1 :]]
    if len(symbols) <= _CHECK_SYMBOLS or -1 in symbols or symbols[0] > 16:
        raise AddressError(f"{address!r} is no segwit address")
    version = symbols[0]
    if _polymod([*_expanded(prefix), *symbols]) != _check_of(version):
        raise AddressError(f"{address!r} is no address: its checksum is wrong")
    try:
        program = bytes(_regroup(symbols[1:-_CHECK_SYMBOLS], 5, 8, padded=False))
    except ValueError as error:
        raise AddressError(f"{address!r} is no address: {error}") from None
    if not 2 <= len(program) <= 40 or (version == 0 and len(program) not in (20, 32)):
        raise AddressError(f"{address!r} is no address: no witness program has {len(program)} bytes")
    return version, program


def _check_of(version: int) -> int:
    return _BECH32M_CHECK if version else _BECH32_CHECK


def _expanded(prefix: str) -> list[int]:
    return [*(ord(character) >> 5 for character in prefix), 0, *(ord(character) & 31 for character in prefix)]


def _polymod(symbols: Iterable[int]) -> int:
    check = 1
    for symbol in symbols:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ symbol
        for place, generator in enumerate(_GENERATORS):
            if top >> place & 1:
                check ^= generator
    return check


def _regroup(values: Iterable[int], of: int, into: int, *, padded: bool) -> list[int]:
    """Bits in groups of ``of`` as groups of ``into``."""
    buffer = bits = 0
    groups: list[int] = []
    for value in values:
        buffer = (buffer << of | value) & ((1 << of + into) - 1)
        bits += of
        while bits >= into:
            bits -= into
            groups.append(buffer >> bits & ((1 << into) - 1))
    if padded and bits:
        groups.append(buffer << into - bits & ((1 << into) - 1))
    elif not padded and (bits >= of or buffer & ((1 << bits) - 1)):
        raise ValueError("its padding is not zero")
    return groups
