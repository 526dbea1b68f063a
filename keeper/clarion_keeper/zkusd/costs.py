"""What a spell costs who makes it, before it is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from clarion.config import KeeperZkUsd
from clarion.protocols.zkusd.queues import DUST_SATS
from clarion.protocols.zkusd.units import Sats
from clarion_keeper.charms.sizes import FeeRate, fee_for
from clarion_keeper.zkusd.orders import Operation

VIRTUAL_SIZE: Final[Mapping[Operation, int]] = {
    Operation.LIQUIDATE: 4_000,
    Operation.REDEEM: 3_600,
    Operation.RESCUE: 2_500,
}
"""Virtual bytes of an operation's transaction with one coin for the fee and a proof of 356 bytes, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpellCosts:
    """What a spell is expected to cost, in satoshis."""

    fee: Sats
    """Of the transaction."""
    charms_fee: Sats
    prover: Sats
    charm_outputs: int
    """Outputs that only carry charms and are paid for by who makes the spell."""

    @property
    def total(self) -> Sats:
        """All of it."""
        return Sats(self.fee + self.charms_fee + self.prover + self.charm_outputs * DUST_SATS)


def costs_of(operation: Operation, *, fee_rate: int, charm_outputs: int, settings: KeeperZkUsd) -> SpellCosts:
    """What an operation costs at a fee rate (satoshis for 1,000 virtual bytes)."""
    return SpellCosts(
        fee=fee_for(VIRTUAL_SIZE[operation], FeeRate(fee_rate)),
        charms_fee=Sats(settings.charms_fee),
        prover=Sats(settings.prover_cost),
        charm_outputs=charm_outputs,
    )
