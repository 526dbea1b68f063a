"""What a spell's transaction pays for 1,000 virtual bytes: by the nodes' estimate, up to the cap as it waits."""

from __future__ import annotations

from typing import Final

from clarion.config import FeePolicyName, Keeper
from clarion_keeper.charms.nodes import Rates
from clarion_keeper.charms.sizes import FeeRate

PERCENT: Final = 100


class FeeCapError(ValueError):
    """What nodes relay for now costs more than the cap."""


def first_rate(settings: Keeper, rates: Rates, *, blocks_left: int | None) -> FeeRate:
    """The rate of a first attempt.

    ``blocks_left``: until the deadline; None: there is none. Raises FeeCapError.
    """
    bitcoin = settings.bitcoin
    wanted = bitcoin.fee_rate_first
    if settings.fee_policy is not FeePolicyName.FIXED and rates.estimate is not None:
        wanted = -(-rates.estimate * settings.fee_estimate_percent // PERCENT)
    if settings.fee_policy is FeePolicyName.ESCALATING and blocks_left is not None:
        over = settings.fee_escalation_blocks
        gone = min(max(over - blocks_left, 0), over)
        wanted += max(bitcoin.fee_rate_cap - wanted, 0) * gone**2 // over**2
    return _bounded(max(wanted, rates.least), rates, bitcoin.fee_rate_cap)


def next_rate(settings: Keeper, rates: Rates, *, paid: FeeRate, blocks_left: int | None) -> FeeRate:
    """The rate of a replacement: so much more than what is paid, or what a first attempt would pay, if that is more.

    Raises FeeCapError.
    """
    wanted = max(first_rate(settings, rates, blocks_left=blocks_left), -(-paid * settings.fee_raise_percent // PERCENT))
    return FeeRate(min(wanted, settings.bitcoin.fee_rate_cap))


def _bounded(wanted: int, rates: Rates, cap: int) -> FeeRate:
    if rates.least > cap:
        raise FeeCapError(
            f"nodes relay nothing below {rates.least} satoshis for 1,000 virtual bytes for now, over the cap of {cap}: "
            "wait, or raise keeper.bitcoin.fee_rate_cap"
        )
    return FeeRate(min(wanted, cap))
