"""What BitHedge's integers measure. Every amount is a whole number of its smallest unit; nothing is a float."""

from __future__ import annotations

from typing import Final, Literal, NewType

Usd8 = NewType("Usd8", int)
"""US dollars x 10^8."""

Sats = NewType("Sats", int)
"""Satoshis of BTC, 1/10^8 BTC: the notional of a policy."""

TokenAmount = NewType("TokenAmount", int)
"""Base units of a collateral token: micro-STX for STX, satoshis for sBTC."""

BasisPoints = NewType("BasisPoints", int)
"""Ratios, shares and volatilities: 1/10000."""

BurnHeight = NewType("BurnHeight", int)
"""Height of a Bitcoin block."""

BurnBlocks = NewType("BurnBlocks", int)
"""A duration, in Bitcoin blocks."""

E12 = NewType("E12", int)
"""A dimensionless number x 10^12: variance per Bitcoin block."""

PolicyType = Literal["put", "call"]

BP: Final = 10_000
"""One, in basis points."""

E8: Final = 10**8
"""One US dollar in :data:`Usd8`, and one BTC in :data:`Sats`."""

BURN_BLOCKS_PER_DAY: Final = 144
"""A day of Bitcoin blocks, ten minutes each."""

BURN_BLOCKS_PER_YEAR: Final = 365 * BURN_BLOCKS_PER_DAY
"""365 days."""


def plus(amount: TokenAmount, change: int) -> TokenAmount:
    """A balance or a total after a change."""
    return TokenAmount(amount + change)
