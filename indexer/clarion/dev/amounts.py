"""Amounts in words for people: the exact integers are everywhere else."""

from __future__ import annotations

from typing import Final

E8: Final = 10**8
FINE_BELOW_USD8: Final = 10 * E8


def usd(usd8: int) -> str:
    """USD x 10^8 in dollars and cents, cut off; to 4 places below 10 dollars.

    >>> usd(10_032_712_000_000), usd(74_430_000)
    ('100,327.12', '0.7443')
    """
    if usd8 < FINE_BELOW_USD8:
        return f"{usd8 // E8}.{usd8 % E8 // 10**4:04d}"
    return f"{usd8 // E8:,}.{usd8 % E8 // 10**6:02d}"


def tokens(token: str, amount: int) -> str:
    """An amount of STX (micro-STX) or sBTC (satoshis), by the token's contract, cut off.

    >>> tokens("ST1.bh-stx", 388_000_500_000), tokens("SM3.sbtc-token", 165_000_000)
    ('388,000.50 STX', '1.6500 sBTC')
    """
    if token.endswith(".bh-stx"):
        return f"{amount // 10**6:,}.{amount % 10**6 // 10**4:02d} STX"
    return f"{amount // E8}.{amount % E8 // 10**4:04d} sBTC"
