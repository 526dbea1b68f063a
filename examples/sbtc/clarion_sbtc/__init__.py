"""sBTC: Bitcoin on Stacks, from the events of its token and its registry."""

from clarion_sbtc import handlers as handlers
from clarion_sbtc.protocol import protocol

__all__ = ["protocol"]
