"""Transactions that users sign themselves: unsigned ones made for them, and what becomes of those they send."""
