"""Clarion's keeper: settles what is due with signed transactions."""
