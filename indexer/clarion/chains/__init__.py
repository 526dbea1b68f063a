"""Chains as Clarion sees them: blocks, transactions and events, and the sources they come from."""
