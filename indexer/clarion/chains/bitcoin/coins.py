"""Outputs that can be spent: their names, and what they hold."""

from __future__ import annotations

from typing import Final, NamedTuple

from clarion.chains.bitcoin.units import Sats

COINBASE_MATURITY: Final = 100
"""Blocks that a reward is to be deep before it can be spent (consensus)."""


class OutPoint(NamedTuple):
    """Names an output: its transaction (display order) and its index."""

    tx_id: bytes
    vout: int


class Coin(NamedTuple):
    """An output with where it comes from. ``height`` is None in the mempool."""

    amount: Sats
    script: bytes
    height: int | None
    coinbase: bool
