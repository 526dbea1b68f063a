"""Locking scripts on regtest and the addresses that stand for them."""

from __future__ import annotations

from typing import Final

from embit import bech32  # type: ignore[import-untyped]

PREFIX: Final = "bcrt"


class AddressError(ValueError):
    """A text that is no address of regtest."""


def address_of(script: bytes) -> str | None:
    """The address of a witness program's script; None for any other script."""
    if not is_witness_program(script):
        return None
    version = 0 if script[0] == 0 else script[0] - 0x50
    text: str = bech32.encode(PREFIX, version, script[2:])
    return text


def script_of(address: str) -> bytes:
    """The script of a bech32 address of regtest. Raises AddressError."""
    version, program = bech32.decode(PREFIX, address)
    if version is None:
        raise AddressError(f"{address!r} is no bech32 address of regtest (bcrt1..)")
    body = bytes(program)
    return bytes((0x50 + version if version else 0, len(body))) + body


def is_witness_program(script: bytes) -> bool:
    """Whether the script is a version and 2 to 40 bytes (BIP 141)."""
    return 4 <= len(script) <= 42 and script[0] in (0, *range(0x51, 0x61)) and script[1] == len(script) - 2


def script_type(script: bytes) -> str:
    """Bitcoin Core's name for what the script is."""
    if script.startswith(b"\x6a"):
        return "nulldata"
    if not is_witness_program(script):
        return "nonstandard"
    return _WITNESS_TYPES.get((script[0], len(script)), "witness_unknown")


_WITNESS_TYPES: Final = {
    (0x00, 22): "witness_v0_keyhash",
    (0x00, 34): "witness_v0_scripthash",
    (0x51, 34): "witness_v1_taproot",
    (0x51, 4): "anchor",
}
