"""Every token of the chain: balances, supplies and owners, for all contracts or some.

Enabled by the setting ``protocols`` (``CLARION_PROTOCOLS=stacks``), in Python by ``protocol.deployed_at({})``, and
narrowed by ``only`` of either. What happened (transfers, calls, prints, deployments) is not stored again here: it is in
views of the chain log (``clarion.ft_transfer``, ``clarion.contract_call`` …); see docs/generic-tables.md.
"""

from clarion.protocols.stacks.protocol import protocol

__all__ = ["protocol"]
