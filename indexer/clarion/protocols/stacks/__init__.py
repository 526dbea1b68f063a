"""Every token of the chain: balances, supplies and owners, for all contracts or some.

What happened (transfers, calls, prints, deployments) is not stored again here: it is in the views of
:mod:`clarion.protocols.stacks.views` over the chain log.
"""

from clarion.protocols.stacks.protocol import protocol

__all__ = ["protocol"]
