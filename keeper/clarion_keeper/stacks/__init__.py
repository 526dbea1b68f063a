"""The way to Stacks: what a transaction pays, which nonce it has, whether it would succeed, and how it gets mined."""

from clarion_keeper.stacks.executor import StacksExecutor, open_executor

__all__ = ["StacksExecutor", "open_executor"]
