"""What Bitcoin Core calls locking scripts, and what it makes of them."""

from __future__ import annotations

from typing import Final

DUST_SATS_PER_KVB: Final = 3_000
"""Of what spending an output would take (``policy/policy.h``)."""

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


def dust_limit(script: bytes) -> int:
    """Satoshis below which an output is not relayed: what spending it would cost (``policy/policy.cpp``)."""
    spending = 41 + 107 // 4 if is_witness_program(script) else 148
    return (8 + 1 + len(script) + spending) * DUST_SATS_PER_KVB // 1_000
