"""Units and names of Bitcoin.

Hashes of blocks and transactions are ``bytes`` in display order, as explorers and RPC show them; the reversed, internal
order is only inside serialized transactions and blocks.
"""

from __future__ import annotations

from typing import Final, NewType

Sats = NewType("Sats", int)
"""An amount of satoshis, of which a bitcoin has 10^8."""

SATS_PER_BITCOIN: Final = 100_000_000


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
