"""BitHedge: Bitcoin price protection on Stacks, from its contracts' events.

``events`` says what the contracts print, ``tables`` what it becomes, ``projections`` how. ``pricing``, ``payoff`` and
``matching`` are the contracts' arithmetic in Python; ``deployment`` is what it takes to put the contracts on a chain.
"""

from clarion.protocols.bithedge import projections as projections
from clarion.protocols.bithedge.protocol import protocol

__all__ = ["protocol"]
