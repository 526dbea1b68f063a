"""Units of zkUSD. Amounts are integers; a function that takes several takes them by keyword."""

from __future__ import annotations

from typing import Final, NewType

from clarion.chains.bitcoin.units import SATS_PER_BITCOIN, Sats

__all__ = ["BPS", "DAY_BLOCKS", "ONE_BASE", "ONE_PRICE8", "SATS_PER_BITCOIN", "YEAR_BLOCKS", "Base", "Bps", "Percent"]
__all__ += ["Price8", "Sats"]

Base = NewType("Base", int)
"""zkUSD x 10^8."""

Price8 = NewType("Price8", int)
"""US dollars a bitcoin x 10^8."""

Bps = NewType("Bps", int)
"""Hundredths of a percent."""

Percent = NewType("Percent", int)
"""Whole percent, rounded down: what the apps decide by."""

ONE_BASE: Final = 10**8
"""One zkUSD."""

ONE_PRICE8: Final = 10**8
"""One US dollar a bitcoin."""

BPS: Final = 10_000
"""One, in basis points."""

DAY_BLOCKS: Final = 144
"""A day of Bitcoin blocks, ten minutes each."""

YEAR_BLOCKS: Final = 365 * DAY_BLOCKS
"""365 days: 52,560 blocks."""
