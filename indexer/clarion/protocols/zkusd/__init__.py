"""zkUSD, a stablecoin on bitcoin collateral, from the charms of its apps.

The chain holds states, not events: what happened is told from the charms that a transaction spends and makes.
``shapes`` reads the charms, ``app_sets`` says which apps belong together, ``projections`` carry them on from coin to
coin, ``events`` lists what can happen, ``tables`` what it becomes. ``ratios``, ``pool`` and ``queues`` are the
arithmetic, on plain values.
"""

from clarion.protocols.zkusd.protocol import protocol

__all__ = ["protocol"]
