"""A Bitcoin for development: Bitcoin Core's own consensus code in this process, behind the RPC of a node.

``kernel`` validates, ``chain`` keeps blocks and coins, ``mempool`` takes transactions, ``miner`` makes blocks, ``node``
puts them together, ``rpc`` serves them; ``wallet`` signs, ``spells`` writes spells, ``zkusd`` plays with them.
"""
