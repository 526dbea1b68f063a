"""Stacks: addresses, Clarity values, transactions, keys and the sources blocks come from."""
