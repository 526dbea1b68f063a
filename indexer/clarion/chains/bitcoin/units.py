"""Units and names of Bitcoin.

Hashes of blocks and transactions are ``bytes`` in display order, as explorers and RPC show them; the reversed, internal
order is only inside serialized transactions and blocks.
"""

from __future__ import annotations

import hashlib
from typing import Final, NewType

Sats = NewType("Sats", int)
"""An amount of satoshis, of which a bitcoin has 10^8."""

SATS_PER_BITCOIN: Final = 100_000_000

_MOST_SCRIPT_BYTES: Final = 256


def outpoint_text(tx_id: bytes, vout: int) -> str:
    """An output's name as text: ``txid:vout``, the id (display order) in hexadecimal."""
    return f"{tx_id.hex()}:{vout}"


def parse_outpoint(text: str) -> tuple[bytes, int]:
    """The transaction's id (display order) and the output's index of ``txid:vout``. Raises ValueError."""
    tx_id, separator, vout = text.partition(":")
    if len(tx_id) != 64 or not separator or not (vout.isascii() and vout.isdigit()) or int(vout) >= 1 << 32:
        raise ValueError(f"{text!r} is no outpoint: 64 hexadecimal digits, a colon and the output's index")
    return bytes.fromhex(tx_id), int(vout)


def script_text(script: bytes) -> str:
    """A script as text: ``0x`` and hexadecimal."""
    return f"0x{script.hex()}"


def script_key(script: str) -> str:
    """How a script (``0x`` hex) is written in columns with an index: a longer one than 256 bytes as its hash.

    Whoever makes an output decides how long its script is, and an index takes no text of any length.
    """
    if len(script) <= 2 + 2 * _MOST_SCRIPT_BYTES:
        return script
    return f"sha256:{hashlib.sha256(bytes.fromhex(script[2:])).hexdigest()}"
