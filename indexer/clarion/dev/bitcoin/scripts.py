"""What Bitcoin Core calls locking scripts."""

from __future__ import annotations

from typing import Final

_WITNESS_TYPES: Final = {
    (0x00, 22): "witness_v0_keyhash",
    (0x00, 34): "witness_v0_scripthash",
    (0x51, 34): "witness_v1_taproot",
    (0x51, 4): "anchor",
}


def is_witness_program(script: bytes) -> bool:
    """Whether the script is a version and 2 to 40 bytes (BIP 141)."""
    return 4 <= len(script) <= 42 and script[0] in (0, *range(0x51, 0x61)) and script[1] == len(script) - 2


def is_unspendable(script: bytes) -> bool:
    """Whether it begins with OP_RETURN: nobody can ever spend it."""
    return script.startswith(b"\x6a")


def script_type(script: bytes) -> str:
    """Bitcoin Core's name for what the script is; of scripts without a witness only ``nulldata`` is told apart."""
    if is_unspendable(script):
        return "nulldata"
    if not is_witness_program(script):
        return "nonstandard"
    return _WITNESS_TYPES.get((script[0], len(script)), "witness_unknown")
