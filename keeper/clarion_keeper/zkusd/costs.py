"""What a spell costs who makes it, before it is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from clarion.config import KeeperZkUsd
from clarion.protocols.zkusd.queues import Costs
from clarion.protocols.zkusd.units import Sats
from clarion_keeper.zkusd.orders import Operation

VIRTUAL_SIZE: Final[Mapping[Operation, int]] = {
    Operation.LIQUIDATE: 4_000,
    Operation.REDEEM: 3_600,
    Operation.RESCUE: 2_500,
}
"""Virtual bytes of an operation's transaction with one coin for the fee and a proof of 356 bytes, at most."""

_PER_KVB: Final = 1_000


def costs_of(operation: Operation, *, fee_rate: int, charm_outputs: int, settings: KeeperZkUsd) -> Costs:
    """What an operation costs at a fee rate (satoshis for 1,000 virtual bytes).

    ``charm_outputs``: how many outputs it makes that only carry charms and are paid for by who makes the spell.
    """
    return Costs(
        fee_rate=-(-fee_rate // _PER_KVB),
        virtual_size=VIRTUAL_SIZE[operation],
        charms_fee=Sats(settings.charms_fee),
        prover=Sats(settings.prover_cost),
        charm_outputs=charm_outputs,
    )
