"""zkUSD in the keeper: jobs that decide on GraphQL, spells built from what the chain says, and the way to Bitcoin."""

from clarion_keeper.zkusd.executor import BitcoinExecutor, open_executor

__all__ = ["BitcoinExecutor", "open_executor"]
